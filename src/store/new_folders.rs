//! A folder that is made with those above it that are missing, in slices: of legal length a path has
//! two thousand components, and the kernel looks at all folders above each new one.

use super::StoreError;
use super::home::Home;
use crate::base::attributes::{FOLDER_BITS_MIN, NEW_FOLDER, PERMISSIONS};
use crate::base::buffers::Budget;
use crate::base::limits::{FOLDER_COST, PATH_COMPONENT_COST};
use crate::base::virtual_path::VPath;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

/// Folders that are being made. Those that are made stay, however this ends.
pub struct NewFolders {
    home: Rc<Home>,
    path: VPath,
    /// The deepest folder that is known to be there, and how many names of the path lead to it.
    at: OwnedFd,
    there: usize,
    /// So many names lead to none; one more than there are if that is not known of any.
    missing: usize,
    depth: usize,
    /// Permission bits for the last of them.
    bits: Option<u32>,
}

/// A handle that only names a folder. To open one for reading the kernel checks all folders above.
const HANDLE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl NewFolders {
    /// The folder at `path`, with these permission bits if it is new, and those above it.
    pub fn begin(home: Rc<Home>, path: &VPath, bits: Option<u32>) -> Result<Self, StoreError> {
        let (at, depth) = (home.root_fd()?, path.depth());
        Ok(Self { home, path: path.clone(), at, there: 0, missing: depth + 1, depth, bits })
    }

    /// What was asked for.
    pub fn path(&self) -> &VPath {
        &self.path
    }

    /// Works on within `budget`; true once the folder is there.
    pub fn advance(&mut self, budget: &mut Budget) -> Result<bool, StoreError> {
        // A count must not be overtaken.
        if !self.home.settle(budget)? {
            return Ok(false);
        }
        while self.there < self.depth {
            if budget.is_spent() {
                return Ok(false);
            }
            if self.there + 1 < self.missing {
                self.look(budget)?;
            } else {
                self.make_next(budget)?;
            }
        }
        Ok(true)
    }

    /// Finds what is there by halving: however long the path is, it is walked a few times only.
    fn look(&mut self, budget: &mut Budget) -> Result<(), StoreError> {
        let middle = usize::midpoint(self.there, self.missing);
        budget.spend(FOLDER_COST + middle as u64 * PATH_COMPONENT_COST);
        match self.home.open_folder(&self.path.first(middle)) {
            Ok(folder) => (self.at, self.there) = (folder.into_std_file().into(), middle),
            // What is no folder shows when one is to be made in its place.
            Err(StoreError::NotFound | StoreError::NotADirectory) => self.missing = middle,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn make_next(&mut self, budget: &mut Budget) -> Result<(), StoreError> {
        budget.spend(FOLDER_COST + self.there as u64 * PATH_COMPONENT_COST);
        let Some(name) = self.path.components().nth(self.there) else { return Err(StoreError::BadName) };
        let bits = self.bits.filter(|_| self.there + 1 == self.depth);
        let made = self.home.make_folder_in(&self.at, name, bits);
        // Another session may have made it since the look.
        if !matches!(made, Err(StoreError::Exists)) {
            made?;
        }
        match rustix::fs::openat(&self.at, name, HANDLE, Mode::empty()) {
            Ok(folder) => self.at = folder,
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(StoreError::Exists),
            Err(errno) => return Err(errno.into()),
        }
        self.there += 1;
        self.missing = self.missing.max(self.there + 1).min(self.depth + 1);
        Ok(())
    }
}

impl Home {
    pub(super) fn make_folder_in(&self, parent: impl AsFd, name: &[u8], bits: Option<u32>) -> Result<(), StoreError> {
        let promise = self.ledger().reserve(0, 1)?;
        let bits = bits.map_or(NEW_FOLDER, |bits| bits & PERMISSIONS | FOLDER_BITS_MIN);
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(bits))?;
        promise.take(0, 1);
        Ok(())
    }
}
