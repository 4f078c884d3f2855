//! Makes a directory and its missing parents, in slices: a legal path can have two thousand components,
//! and the kernel looks up all parents of each new directory.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::StoreError;
use super::home::{Home, make_directory_in};
use crate::base::budget::{Budget, DIRECTORY_COST, PATH_COMPONENT_COST};
use crate::base::virtual_path::VirtualPath;

/// Directories that are being made. Those already made stay, even after a failure.
pub struct NewDirectories {
    home: Rc<Home>,
    path: VirtualPath,
    /// The deepest existing directory found so far, and its depth in the path.
    at: OwnedFd,
    existing_depth: usize,
    /// The smallest depth known not to exist; one more than the path's if unknown.
    missing_depth: usize,
    depth: usize,
    /// Permission bits for the directory at `path`.
    bits: Option<u32>,
}

/// An O_PATH handle. To open a directory for reading the kernel checks all its parents.
const HANDLE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl NewDirectories {
    /// Begins to make the directory at `path`, with these permission bits, and the missing ones above it.
    pub fn begin(home: Rc<Home>, path: &VirtualPath, bits: Option<u32>) -> Result<Self, StoreError> {
        let (at, depth) = (home.root_fd()?, path.depth());
        Ok(Self { home, path: path.clone(), at, existing_depth: 0, missing_depth: depth + 1, depth, bits })
    }

    /// Returns the requested path.
    pub fn path(&self) -> &VirtualPath {
        &self.path
    }

    /// Continues within `budget`. Returns true once the directory exists.
    pub fn advance(&mut self, budget: &mut Budget) -> Result<bool, StoreError> {
        // A count must finish first.
        if !self.home.settle(0, budget)? {
            return Ok(false);
        }
        while self.existing_depth < self.depth {
            if budget.is_spent() {
                return Ok(false);
            }
            if self.existing_depth + 1 < self.missing_depth {
                self.find_existing(budget)?;
            } else {
                self.make_next(budget)?;
            }
        }
        Ok(true)
    }

    /// Finds the deepest existing directory by binary search, so that a long path is walked only a few times.
    fn find_existing(&mut self, budget: &mut Budget) -> Result<(), StoreError> {
        let middle = usize::midpoint(self.existing_depth, self.missing_depth);
        budget.spend(DIRECTORY_COST + middle as u64 * PATH_COMPONENT_COST);
        match self.home.open_directory(&self.path.first(middle)) {
            Ok(directory) => (self.at, self.existing_depth) = (directory.into_std_file().into(), middle),
            // An entry that is not a directory causes the error when one is to be made in its place.
            Err(StoreError::NotFound | StoreError::NotADirectory) => self.missing_depth = middle,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn make_next(&mut self, budget: &mut Budget) -> Result<(), StoreError> {
        budget.spend(DIRECTORY_COST + self.existing_depth as u64 * PATH_COMPONENT_COST);
        let Some(name) = self.path.components().nth(self.existing_depth) else { return Err(StoreError::BadName) };
        let bits = self.bits.filter(|_| self.existing_depth + 1 == self.depth);
        let reservation = self.home.ledger().reserve(0, 1)?;
        let made = make_directory_in(&self.at, name, bits);
        if made.is_ok() {
            reservation.take(0, 1);
        }
        // Another session may have made it since the search.
        if !matches!(made, Err(StoreError::Exists)) {
            made?;
        }
        match rustix::fs::openat(&self.at, name, HANDLE, Mode::empty()) {
            Ok(directory) => self.at = directory,
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(StoreError::Exists),
            Err(errno) => return Err(errno.into()),
        }
        self.existing_depth += 1;
        self.missing_depth = self.missing_depth.max(self.existing_depth + 1).min(self.depth + 1);
        Ok(())
    }
}
