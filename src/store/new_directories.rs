//! Makes a directory and its missing parents, in steps: a legal path can have two thousand components,
//! and the kernel looks up all parents of each new directory.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::StoreError;
use super::home::{Home, make_directory_in};
use crate::base::budget::{DIRECTORY_COST, PATH_COMPONENT_COST};
use crate::base::virtual_path::VirtualPath;

/// Directories that are being made. Those already made stay, even after a failure.
pub struct NewDirectories {
    home: Rc<Home>,
    path: VirtualPath,
    /// The deepest existing directory found so far, and its depth in the path.
    at: Arc<OwnedFd>,
    existing_depth: usize,
    /// The smallest depth known not to exist; one more than the path's if unknown.
    missing_depth: usize,
    /// The depth of the path.
    depth: usize,
    /// Permission bits for the directory at `path`.
    bits: Option<u32>,
}

/// An O_PATH handle, because the kernel checks all parents of a directory that it opens for reading.
const HANDLE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl NewDirectories {
    /// Begins to make the directory at `path`, with these permission bits, and the missing ones above it.
    pub fn begin(home: Rc<Home>, path: &VirtualPath, bits: Option<u32>) -> Result<Self, StoreError> {
        let (at, depth) = (Arc::new(home.root_fd()?), path.depth());
        Ok(Self { home, path: path.clone(), at, existing_depth: 0, missing_depth: depth + 1, depth, bits })
    }

    /// Returns the requested path.
    pub fn path(&self) -> &VirtualPath {
        &self.path
    }

    /// Returns whether the directory exists.
    pub fn is_complete(&self) -> bool {
        self.existing_depth == self.depth
    }

    /// Searches once more, or makes the next directory. Returns the cost.
    pub async fn step(&mut self) -> Result<u64, StoreError> {
        let _changing = self.home.file_system().begin_change();
        if self.existing_depth + 1 < self.missing_depth { self.find_existing().await } else { self.make_next().await }
    }

    /// Finds the deepest existing directory by binary search, so that a long path is walked only a few times.
    async fn find_existing(&mut self) -> Result<u64, StoreError> {
        let middle = usize::midpoint(self.existing_depth, self.missing_depth);
        let path = self.path.first(middle);
        match self.home.run(move |home| home.open_directory(&path)).await {
            Ok(directory) => {
                (self.at, self.existing_depth) = (Arc::new(directory.into_std_file().into()), middle);
            }
            // An entry that is not a directory causes the error when one is to be made in its place.
            Err(StoreError::NotFound | StoreError::NotADirectory) => self.missing_depth = middle,
            Err(error) => return Err(error),
        }
        Ok(DIRECTORY_COST + middle as u64 * PATH_COMPONENT_COST)
    }

    async fn make_next(&mut self) -> Result<u64, StoreError> {
        let name = self.path.components().nth(self.existing_depth).ok_or(StoreError::BadName)?.to_vec();
        let bits = self.bits.filter(|_| self.existing_depth + 1 == self.depth);
        let reservation = self.home.ledger().reserve(0, 1)?;
        let at = Arc::clone(&self.at);
        let (is_new, directory) = self.home.run(move |_| Ok(make_and_open(&at, &name, bits))).await?;
        if is_new {
            reservation.take(0, 1);
        }
        self.at = Arc::new(directory?);
        let cost = DIRECTORY_COST + self.existing_depth as u64 * PATH_COMPONENT_COST;
        self.existing_depth += 1;
        self.missing_depth = self.missing_depth.max(self.existing_depth + 1).min(self.depth + 1);
        Ok(cost)
    }
}

/// Makes the directory `name`, unless it exists. Returns whether it is new, and its handle.
fn make_and_open(at: &OwnedFd, name: &[u8], bits: Option<u32>) -> (bool, Result<OwnedFd, StoreError>) {
    let is_new = match make_directory_in(at, name, bits) {
        Ok(()) => true,
        // Another session may have made it since the search.
        Err(StoreError::Exists) => false,
        Err(error) => return (false, Err(error)),
    };
    let opened = rustix::fs::openat(at, name, HANDLE, Mode::empty()).map_err(|errno| match errno {
        Errno::NOTDIR | Errno::LOOP => StoreError::Exists,
        errno => errno.into(),
    });
    (is_new, opened)
}
