//! Counts the content of a home in slices, without recursion and with two open directories at a time: it
//! descends by name and ascends by `..`, which must be the directory it came from. An entry that cannot be
//! read counts as one and is reported; it never ends the count.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::StoreError;
use super::names::{PART_SUFFIX, STAGING};
use super::usage::Usage;
use crate::base::budget::{Budget, ENTRY_COST, PATH_COMPONENT_COST};
use crate::base::virtual_path::PATH_BYTES_MAX;

/// The number of directory levels that a count descends. The kernel accepts about 2,000 in one path.
const COUNT_DEPTH_MAX: usize = 100_000;
/// How often a count starts again, because directories were moved or the file system failed.
const COUNT_RESTARTS_MAX: u32 = 8;
/// The number of unreadable entries that the log and `berthd usage` name. The others are only counted.
const UNREADABLE_NAMED_MAX: usize = 8;

/// A running count of a home.
pub struct Count {
    root: OwnedFd,
    at: Directory,
    /// The parents of `at`, outermost first. Only the last may be open.
    above: Vec<Level>,
    usage: Usage,
    unreadable: UnreadableEntries,
    /// Files with several names, so that each is counted once.
    linked: HashSet<(u64, u64)>,
    restarts: u32,
    depth_max: usize,
    /// A directory was moved during this walk, so the result may be wrong.
    has_moved: bool,
    /// The file system failed during this walk. The next walk may succeed.
    has_failed: bool,
    redescent: Option<Redescent>,
}

/// The result of a count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Usage on disk.
    pub usage: Usage,
    /// Entries that could not be read. Each counts as one, whatever is in it.
    pub unreadable: UnreadableEntries,
}

/// Entries that could not be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnreadableEntries {
    /// Their number. A directory whose entries are all unreadable counts once.
    pub count: u64,
    /// The first ones, at most [`UNREADABLE_NAMED_MAX`].
    pub named: Vec<UnreadableEntry>,
}

/// An entry that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableEntry {
    /// Its path in the home, without a leading slash; empty for the home itself.
    pub path: Vec<u8>,
    /// The system's error text.
    pub problem: String,
}

struct Directory {
    dir: Dir,
    id: (u64, u64),
    name: CString,
    is_read: bool,
    is_staging: bool,
    /// It is already counted as unreadable.
    is_unreadable: bool,
    pending: Vec<CString>,
}

struct Level {
    id: (u64, u64),
    name: CString,
    /// Open until a deeper directory is entered: a directory that cannot be searched has no `..` to ascend by.
    dir: Option<Dir>,
    pending: Vec<CString>,
}

/// A new descent from the root to the deepest directory of the walk that is still in its place, after another
/// program has moved a directory.
struct Redescent {
    at: OwnedFd,
    /// The parent, unless this is the root.
    parent: Option<OwnedFd>,
    depth: usize,
}

/// An O_PATH handle. Opening it does not check the parents.
const HANDLE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Count {
    /// Begins to count everything below `root`, which does not count itself.
    pub fn new(root: OwnedFd) -> Result<Self, StoreError> {
        let at = Directory::open(root.as_fd(), c".")?;
        Ok(Self {
            root,
            at,
            above: Vec::new(),
            usage: Usage::default(),
            unreadable: UnreadableEntries::default(),
            linked: HashSet::new(),
            restarts: 0,
            depth_max: COUNT_DEPTH_MAX,
            has_moved: false,
            has_failed: false,
            redescent: None,
        })
    }

    /// Continues within `budget`. Returns the result once the walk has ended. An error means that the
    /// system had no resources for the count; it says nothing about the home.
    pub fn advance(&mut self, budget: &mut Budget) -> Result<Option<Counted>, StoreError> {
        while !budget.is_spent() {
            budget.spend(ENTRY_COST);
            if self.redescent.is_some() {
                self.redescend()?;
            } else if !self.at.is_read {
                self.read_entry()?;
            } else if let Some(name) = self.at.pending.pop() {
                self.charge_for_depth(budget);
                self.descend(&name)?;
            } else if !self.ascend(budget)? && !self.restart()? {
                return Ok(Some(Counted { usage: self.usage, unreadable: std::mem::take(&mut self.unreadable) }));
            }
        }
        Ok(None)
    }

    fn read_entry(&mut self) -> Result<(), StoreError> {
        let entry = match self.at.dir.read() {
            Some(Ok(entry)) => entry,
            end => {
                self.at.is_read = true;
                return end.map_or(Ok(()), |error| self.record_unreadable_directory(error.err().unwrap_or(Errno::IO)));
            }
        };
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
        match entry.file_type() {
            FileType::RegularFile | FileType::Unknown => self.examine(name)?,
            kind => self.add_entry(kind, name, None),
        }
        Ok(())
    }

    fn examine(&mut self, name: &CStr) -> Result<(), StoreError> {
        match rustix::fs::statat(self.at.dir.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => self.add_entry(FileType::from_raw_mode(stat.st_mode), name, Some(&stat)),
            // It was removed after it was listed, so it does not count.
            Err(Errno::NOENT) => {}
            Err(errno) => {
                self.usage.files += 1;
                match errno {
                    // The directory may not be searched, so none of its entries can be read.
                    Errno::ACCESS => self.record_unreadable_directory(errno)?,
                    _ => self.record_unreadable(Some(name), errno)?,
                }
            }
        }
        Ok(())
    }

    fn add_entry(&mut self, kind: FileType, name: &CStr, stat: Option<&Stat>) {
        self.usage.files += 1;
        match (kind, stat) {
            (FileType::Directory, _) => self.at.pending.push(name.to_owned()),
            (FileType::RegularFile, Some(stat)) => self.add_file(stat),
            _ => {}
        }
    }

    fn add_file(&mut self, stat: &Stat) {
        if stat.st_nlink > 1 && !self.linked.insert((stat.st_dev, stat.st_ino)) {
            return;
        }
        self.usage.bytes = self.usage.bytes.saturating_add(u64::try_from(stat.st_size).unwrap_or(0));
    }

    fn descend(&mut self, name: &CStr) -> Result<(), StoreError> {
        if self.above.len() >= self.depth_max {
            return self.record_unreadable(Some(name), Errno::NAMETOOLONG);
        }
        let mut below = match Directory::open(self.at.dir.fd()?, name) {
            Ok(directory) => directory,
            // Removed or replaced since its name was read.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
            Err(errno) => return self.record_unreadable(Some(name), errno),
        };
        below.is_staging = self.above.is_empty() && name.to_bytes() == STAGING.as_bytes();
        if let Some(level) = self.above.last_mut() {
            level.dir = None;
        }
        let Directory { dir, id, name, pending, .. } = std::mem::replace(&mut self.at, below);
        self.above.push(Level { id, name, dir: Some(dir), pending });
        Ok(())
    }

    /// Opening a directory takes longer the deeper it lies, because the kernel checks all its parents.
    fn charge_for_depth(&self, budget: &mut Budget) {
        budget.spend(self.above.len() as u64 * PATH_COMPONENT_COST);
    }

    /// Ascends to the parent. Returns false at the top.
    fn ascend(&mut self, budget: &mut Budget) -> Result<bool, StoreError> {
        self.charge_for_depth(budget);
        let Some(Level { id, name, dir, pending }) = self.above.pop() else { return Ok(false) };
        match self.open_above(id, dir)? {
            Some(dir) => {
                self.at = Directory { dir, id, name, is_read: true, is_staging: false, is_unreadable: false, pending }
            }
            None => {
                self.above.push(Level { id, name, dir: None, pending });
                self.has_moved = true;
                self.redescent = Some(Redescent { at: self.root.try_clone()?, parent: None, depth: 0 });
            }
        }
        Ok(true)
    }

    /// Opens the parent, if it is still the directory that was left.
    fn open_above(&self, id: (u64, u64), left: Option<Dir>) -> Result<Option<Dir>, StoreError> {
        let at = self.at.dir.fd()?;
        let Some(left) = left else {
            return Ok(Directory::open(at, c"..").ok().filter(|above| above.id == id).map(|above| above.dir));
        };
        let is_there = match rustix::fs::statat(at, c"..", AtFlags::SYMLINK_NOFOLLOW) {
            Ok(above) => (above.st_dev, above.st_ino) == id,
            // The directory cannot be searched, or is on a dead mount.
            Err(errno) => errno != Errno::NOENT,
        };
        Ok(is_there.then_some(left))
    }

    /// Another program moved or removed directories: descends one step towards the deepest one that has not
    /// moved, and continues there.
    fn redescend(&mut self) -> Result<(), StoreError> {
        let Some(Redescent { at, parent, depth }) = self.redescent.take() else { return Ok(()) };
        if let Some(level) = self.above.get(depth + 1)
            && let Ok(below) = rustix::fs::openat(&at, &*level.name, HANDLE, Mode::empty())
            && rustix::fs::fstat(&below).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == level.id)
        {
            self.redescent = Some(Redescent { at: below, parent: Some(at), depth: depth + 1 });
            return Ok(());
        }
        let found = match (parent, self.above.get(depth)) {
            (Some(parent), Some(level)) => {
                Directory::open(&parent, &level.name).ok().filter(|directory| directory.id == level.id)
            }
            _ => None,
        };
        // A directory that has become unreadable is counted again from the top.
        let (at, depth) = match found {
            Some(directory) => (directory, depth),
            None => (Directory::open(self.root.as_fd(), c".")?, 0),
        };
        self.above.truncate(depth + 1);
        if let Some(Level { name, pending, .. }) = self.above.pop() {
            self.at = Directory { name, pending, is_read: true, ..at };
        }
        Ok(())
    }

    /// Starts again if directories were moved, or if the file system failed in the first walk. Returns false if the
    /// count is complete. If directories keep moving, the last walk counts.
    fn restart(&mut self) -> Result<bool, StoreError> {
        let is_needed = self.has_moved || (self.has_failed && self.restarts == 0);
        if !is_needed || self.restarts >= COUNT_RESTARTS_MAX {
            return Ok(false);
        }
        let (restarts, depth_max) = (self.restarts + 1, self.depth_max);
        *self = Self { restarts, depth_max, ..Self::new(self.root.try_clone()?)? };
        Ok(true)
    }

    // ---- Unreadable entries ---------------------------------------------------------------

    fn record_unreadable_directory(&mut self, errno: Errno) -> Result<(), StoreError> {
        if std::mem::replace(&mut self.at.is_unreadable, true) { Ok(()) } else { self.record_unreadable(None, errno) }
    }

    /// Records that `name`, or the directory itself, could not be read. It is an error if the system was out
    /// of descriptors or memory, which says nothing about the entry.
    fn record_unreadable(&mut self, name: Option<&CStr>, errno: Errno) -> Result<(), StoreError> {
        if matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) {
            return Err(errno.into());
        }
        self.has_failed |= !matches!(errno, Errno::ACCESS | Errno::PERM | Errno::NAMETOOLONG);
        self.unreadable.count += 1;
        if self.unreadable.named.len() < UNREADABLE_NAMED_MAX {
            let problem = io::Error::from(errno).to_string();
            self.unreadable.named.push(UnreadableEntry { path: self.path_of(name), problem });
        }
        Ok(())
    }

    /// Returns the path of the entry in the home, cut to the maximum length of a path.
    fn path_of(&self, name: Option<&CStr>) -> Vec<u8> {
        let directories = self.above.iter().map(|level| &*level.name).chain([&*self.at.name]);
        let mut path = Vec::new();
        for name in directories.chain(name).map(CStr::to_bytes).filter(|name| !name.is_empty()) {
            if path.len() + name.len() > PATH_BYTES_MAX {
                path.extend_from_slice(b"/...");
                break;
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        path
    }
}

impl Directory {
    fn open(at: impl AsFd, name: &CStr) -> Result<Self, Errno> {
        let fd = rustix::fs::openat(at, name, DIRECTORY, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        let is_named = !matches!(name.to_bytes(), b"." | b"..");
        Ok(Self {
            dir: Dir::new(fd)?,
            id: (stat.st_dev, stat.st_ino),
            name: if is_named { name.to_owned() } else { CString::default() },
            is_read: false,
            is_staging: false,
            is_unreadable: false,
            pending: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::base::budget::TURN_BUDGET;

    fn begin(path: &std::path::Path) -> Count {
        Count::new(fs::File::open(path).expect("open").into()).expect("count")
    }

    fn finish(mut count: Count, slice: u64) -> Counted {
        loop {
            if let Some(counted) = count.advance(&mut Budget::new(slice)).expect("advance") {
                return counted;
            }
        }
    }

    fn count(path: &std::path::Path, slice: u64) -> Usage {
        let Counted { usage, unreadable } = finish(begin(path), slice);
        assert_eq!(unreadable, UnreadableEntries::default());
        usage
    }

    #[test]
    fn each_inode_counts_once_and_directories_count_as_entries() {
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
            at = rustix::fs::openat(&at, &name, DIRECTORY, Mode::empty()).expect("open");
        }
        assert_eq!(count(home.path(), u64::MAX), Usage { bytes: 0, files: 1000 });
    }

    #[test]
    fn a_directory_that_vanishes_or_moves_while_it_is_counted_ends_no_count() {
        for change in ["moves", "vanishes"] {
            let home = tempfile::tempdir().expect("temporary folder");
            let at = |name: &str| home.path().join(name);
            fs::create_dir_all(at("a/b/c/d/e")).expect("mkdir");
            fs::write(at("one"), [0; 100]).expect("write");
            let mut running = begin(home.path());
            while running.above.len() < 4 {
                assert_eq!(running.advance(&mut Budget::new(1)).expect("advance"), None);
            }
            // Entries counted before they vanished may stay counted.
            let files = if change == "moves" {
                fs::rename(at("a/b/c"), at("c")).expect("rename");
                6..=6
            } else {
                fs::remove_dir_all(at("a/b")).expect("remove");
                2..=6
            };
            let Counted { usage, unreadable } = finish(running, 1);
            assert!(usage.bytes == 100 && files.contains(&usage.files), "{change}: {usage:?}");
            assert_eq!(unreadable, UnreadableEntries::default(), "{change}");
        }
    }

    #[test]
    fn directories_that_never_rest_are_counted_all_the_same() {
        let home = tempfile::tempdir().expect("temporary folder");
        fs::create_dir_all(home.path().join("a/b/c/d")).expect("mkdir");
        let mut running = begin(home.path());
        let mut names = ["a/b", "b"].map(|name| home.path().join(name));
        for _ in 0..1000 {
            if let Some(counted) = running.advance(&mut Budget::new(1)).expect("advance") {
                assert!(counted.usage.files <= 4, "{counted:?}");
                return;
            }
            if running.above.len() == 3 {
                fs::rename(&names[0], &names[1]).expect("rename");
                names.reverse();
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn what_is_nested_too_deep_counts_as_one_entry_and_the_rest_as_it_is() {
        let home = tempfile::tempdir().expect("temporary folder");
        fs::create_dir_all(home.path().join("a/b/c/d/e")).expect("mkdir");
        fs::write(home.path().join("one"), [0; 100]).expect("write");
        let mut running = begin(home.path());
        running.depth_max = 3;
        let Counted { usage, unreadable } = finish(running, u64::MAX);
        assert_eq!(usage, Usage { bytes: 100, files: 5 });
        let paths: Vec<_> = unreadable.named.iter().map(|entry| String::from_utf8_lossy(&entry.path)).collect();
        assert_eq!((unreadable.count, &paths[..]), (1, &["a/b/c/d".into()][..]));
    }

    #[test]
    fn a_deep_tree_is_counted_a_few_levels_at_a_time_also_where_its_directories_move() {
        const DEPTH: usize = 1000;
        let home = tempfile::tempdir().expect("temporary folder");
        let mut at: OwnedFd = fs::File::open(home.path()).expect("open").into();
        for _ in 0..DEPTH {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).expect("mkdir");
            at = rustix::fs::openat(&at, "d", DIRECTORY, Mode::empty()).expect("open");
        }
        let (mut running, mut turns, mut name) = (begin(home.path()), 0, "d");
        let usage = loop {
            turns += 1;
            if let Some(counted) = running.advance(&mut Budget::new(TURN_BUDGET)).expect("advance") {
                break counted.usage;
            }
            if running.above.len() >= DEPTH / 2 && name == "d" {
                fs::rename(home.path().join(name), home.path().join("e")).expect("rename");
                name = "e";
            }
        };
        assert!(usage.files >= DEPTH as u64, "{usage:?}");
        assert!(turns >= DEPTH / 3, "{turns} turns");
    }
}
