//! Counting what a home holds, in slices, without recursion and with one open folder at a time:
//! the way down is by name, the way up by `..`, checked to be the folder that was left.

use super::StoreError;
use super::home::STAGING;
use super::quota::Usage;
use super::staging::PART_SUFFIX;
use crate::lane::Budget;
use crate::limits::{COUNT_DEPTH_MAX, COUNT_RESTARTS_MAX, ENTRY_COST};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// A walk through a home that has not ended yet.
pub struct Count {
    root: OwnedFd,
    at: Folder,
    /// The folders above `at`, outermost first.
    above: Vec<Level>,
    usage: Usage,
    /// Files with several names, so that each counts once.
    linked: HashSet<(u64, u64)>,
    restarts: u32,
}

struct Folder {
    dir: Dir,
    id: (u64, u64),
    is_read: bool,
    is_staging: bool,
    pending: Vec<CString>,
}

struct Level {
    id: (u64, u64),
    pending: Vec<CString>,
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Count {
    /// A count of everything below `root`, which itself does not count.
    pub fn new(root: OwnedFd) -> Result<Self, StoreError> {
        let at = Folder::open(root.as_fd(), c".")?;
        Ok(Self { root, at, above: Vec::new(), usage: Usage::default(), linked: HashSet::new(), restarts: 0 })
    }

    /// Goes on within `budget`; what the home holds once the walk has ended.
    pub fn advance(&mut self, budget: &mut Budget) -> Result<Option<Usage>, StoreError> {
        while !budget.is_spent() {
            budget.spend(ENTRY_COST);
            if !self.at.is_read {
                self.read_entry()?;
            } else if let Some(name) = self.at.pending.pop() {
                self.descend(&name)?;
            } else if !self.ascend()? {
                return Ok(Some(self.usage));
            }
        }
        Ok(None)
    }

    fn read_entry(&mut self) -> Result<(), StoreError> {
        let Some(entry) = self.at.dir.read() else {
            self.at.is_read = true;
            return Ok(());
        };
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            return Ok(());
        }
        if self.above.is_empty() && name.to_bytes() == STAGING.as_bytes() {
            self.at.pending.push(name.to_owned());
            return Ok(());
        }
        if self.at.is_staging && !name.to_bytes().ends_with(PART_SUFFIX.as_bytes()) {
            return Ok(());
        }
        let known = entry.file_type();
        let stat = match known {
            FileType::RegularFile | FileType::Unknown => self.stat(name)?,
            _ => None,
        };
        let kind = stat.as_ref().map_or(known, |stat| FileType::from_raw_mode(stat.st_mode));
        self.usage.files += 1;
        match (kind, stat) {
            (FileType::Directory, _) => self.at.pending.push(name.to_owned()),
            (FileType::RegularFile, Some(stat)) => self.add_file(&stat),
            // Gone between the listing and the look, so it does not count after all.
            (FileType::RegularFile | FileType::Unknown, None) => self.usage.files -= 1,
            _ => {}
        }
        Ok(())
    }

    fn add_file(&mut self, stat: &Stat) {
        if stat.st_nlink > 1 && !self.linked.insert((stat.st_dev, stat.st_ino)) {
            return;
        }
        self.usage.bytes += u64::try_from(stat.st_size).unwrap_or(0);
    }

    fn stat(&self, name: &CStr) -> Result<Option<Stat>, StoreError> {
        match rustix::fs::statat(self.at.dir.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    fn descend(&mut self, name: &CStr) -> Result<(), StoreError> {
        if self.above.len() >= COUNT_DEPTH_MAX {
            return Err(StoreError::TooLarge);
        }
        let mut below = match Folder::open(self.at.dir.fd()?, name) {
            Ok(folder) => folder,
            Err(StoreError::NotFound | StoreError::NotADirectory | StoreError::OutsideHome) => return Ok(()),
            Err(error) => return Err(error),
        };
        below.is_staging = self.above.is_empty() && name.to_bytes() == STAGING.as_bytes();
        let left = std::mem::replace(&mut self.at, below);
        self.above.push(Level { id: left.id, pending: left.pending });
        Ok(())
    }

    /// Back to the folder above; false at the top.
    fn ascend(&mut self) -> Result<bool, StoreError> {
        let Some(level) = self.above.pop() else { return Ok(false) };
        let mut parent = Folder::open(self.at.dir.fd()?, c"..")?;
        if parent.id != level.id {
            self.restart()?;
            return Ok(true);
        }
        parent.is_read = true;
        parent.pending = level.pending;
        self.at = parent;
        Ok(true)
    }

    /// Somebody moved folders about; what was added up may be wrong.
    fn restart(&mut self) -> Result<(), StoreError> {
        self.restarts += 1;
        if self.restarts > COUNT_RESTARTS_MAX {
            return Err(StoreError::Io(io::Error::other("folders keep moving while they are counted")));
        }
        let restarts = self.restarts;
        *self = Self::new(self.root.try_clone()?)?;
        self.restarts = restarts;
        Ok(())
    }
}

impl Folder {
    fn open(at: impl AsFd, name: &CStr) -> Result<Self, StoreError> {
        let fd = rustix::fs::openat(at, name, FOLDER, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        Ok(Self {
            dir: Dir::new(fd)?,
            id: (stat.st_dev, stat.st_ino),
            is_read: false,
            is_staging: false,
            pending: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn count(path: &std::path::Path, slice: u64) -> Usage {
        let root = fs::File::open(path).expect("open").into();
        let mut count = Count::new(root).expect("count");
        loop {
            if let Some(usage) = count.advance(&mut Budget::new(slice)).expect("advance") {
                return usage;
            }
        }
    }

    #[test]
    fn each_inode_counts_once_and_folders_count_as_entries() {
        let home = tempfile::tempdir().expect("temporary folder");
        let at = |name: &str| home.path().join(name);
        fs::create_dir_all(at("a/b/c")).expect("mkdir");
        fs::write(at("a/one"), [0; 100]).expect("write");
        fs::write(at("a/b/two"), [0; 50]).expect("write");
        fs::hard_link(at("a/one"), at("a/b/c/again")).expect("link");
        std::os::unix::fs::symlink("/etc", at("out")).expect("symlink");
        for slice in [1, ENTRY_COST * 3, u64::MAX] {
            assert_eq!(count(home.path(), slice), Usage { bytes: 150, files: 7 });
        }
    }

    #[test]
    fn staging_itself_does_not_count_but_partial_uploads_do() {
        let home = tempfile::tempdir().expect("temporary folder");
        let staging = home.path().join(STAGING);
        fs::create_dir(&staging).expect("mkdir");
        fs::write(staging.join("x.part"), [0; 10]).expect("write");
        fs::write(staging.join("x.json"), [0; 99]).expect("write");
        assert_eq!(count(home.path(), 1), Usage { bytes: 10, files: 1 });
    }

    #[test]
    fn a_thousand_levels_are_counted_without_recursion() {
        let home = tempfile::tempdir().expect("temporary folder");
        let name = "d".repeat(255);
        let mut at: OwnedFd = fs::File::open(home.path()).expect("open").into();
        for _ in 0..1000 {
            rustix::fs::mkdirat(&at, &name, Mode::RWXU).expect("mkdir");
            at = rustix::fs::openat(&at, &name, FOLDER, Mode::empty()).expect("open");
        }
        assert_eq!(count(home.path(), u64::MAX), Usage { bytes: 0, files: 1000 });
    }
}
