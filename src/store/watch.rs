//! Whether a file was written to while it is sent. Its modification time does not tell: a backup
//! program or `touch` changes that too, and the content is what it was.

use super::meta::Identity;
use rustix::fs::fstatfs;
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

/// Asks the kernel about files, with one descriptor for all of them.
#[derive(Clone)]
pub struct Watcher(Rc<RefCell<Notices>>);

struct Notices {
    /// Kept open: the kernel takes milliseconds to close it.
    inotify: Option<OwnedFd>,
    files: HashMap<i32, Watched>,
    /// How often something was lost.
    losses: u64,
}

struct Watched {
    watches: usize,
    changes: Changes,
}

/// What the kernel has told of a file.
#[derive(Clone, Copy, Default)]
struct Changes {
    /// Writes and cuts, and that the modification time alone was set.
    modifications: u64,
    /// That somebody had opened it to write.
    closes: u64,
}

/// A file that is watched until this is dropped.
pub struct Watch {
    watcher: Watcher,
    file: i32,
    before: Changes,
    losses: u64,
}

impl Watcher {
    /// Without the descriptor nothing is ever watched.
    pub fn open() -> Self {
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok();
        Self(Rc::new(RefCell::new(Notices { inotify, files: HashMap::new(), losses: 0 })))
    }

    /// Watches `file` from now on; `None` where nobody would tell of a write.
    pub fn watch(&self, file: &File) -> Option<Watch> {
        if !fstatfs(file).is_ok_and(|stat| LOCAL.contains(&(stat.f_type as u64 & 0xffff_ffff))) {
            return None;
        }
        let mut notices = self.0.borrow_mut();
        notices.take();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let file = add_watch(notices.inotify.as_ref()?, path, WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE).ok()?;
        let losses = notices.losses;
        let watched = notices.files.entry(file).or_insert(Watched { watches: 0, changes: Changes::default() });
        watched.watches += 1;
        Some(Watch { watcher: self.clone(), file, before: watched.changes, losses })
    }
}

impl Notices {
    /// Takes what the kernel has told.
    fn take(&mut self) {
        let Some(inotify) = &self.inotify else { return };
        let mut memory = [MaybeUninit::uninit(); NOTICE_BYTES];
        let mut reader = Reader::new(inotify, &mut memory);
        while let Ok(event) = reader.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                self.losses += 1;
            } else if let Some(watched) = self.files.get_mut(&event.wd()) {
                watched.changes.modifications += u64::from(event.events().contains(ReadFlags::MODIFY));
                watched.changes.closes += u64::from(event.events().contains(ReadFlags::CLOSE_WRITE));
            }
        }
    }
}

impl Watch {
    /// Whether the file, which looks like this `now`, may have been written to or cut since. A modification
    /// time that was set is told as a write is; but a write leaves the time at which it happened, and
    /// needs a descriptor to write by.
    pub fn may_be_written(&self, now: &Identity) -> bool {
        let mut notices = self.watcher.0.borrow_mut();
        notices.take();
        let Some(watched) = notices.files.get(&self.file) else { return true };
        let is_time_set = now.mtime_ns != now.ctime_ns && watched.changes.closes == self.before.closes;
        let is_modified = watched.changes.modifications != self.before.modifications;
        notices.losses != self.losses || (is_modified && !is_time_set)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut notices = self.watcher.0.borrow_mut();
        let Some(watched) = notices.files.get_mut(&self.file) else { return };
        watched.watches -= 1;
        if watched.watches == 0 {
            notices.files.remove(&self.file);
            // The kernel may have done so by itself.
            let _ = notices.inotify.as_ref().map(|inotify| remove_watch(inotify, self.file));
        }
    }
}

/// Of the kernel's notices at once.
const NOTICE_BYTES: usize = 4096;

/// Filesystems to which this machine alone writes, by the numbers in statfs(2): elsewhere a write
/// from another machine goes unnoticed. ext, xfs, btrfs, f2fs, zfs, tmpfs, ramfs, overlayfs.
const LOCAL: [u64; 8] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x2fc1_2fc1, 0x0102_1994, 0x8584_58f6, 0x794c_7630];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::meta::meta_of;
    use std::os::unix::fs::FileExt;
    use std::time::SystemTime;

    #[test]
    fn a_write_is_told_from_a_touch_and_from_an_earlier_write() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("file");
        std::fs::write(&path, b"0123456789").expect("written");
        let watcher = Watcher::open();
        let file = File::open(&path).expect("there");
        let now = || meta_of(&file).expect("open").identity;
        let first = watcher.watch(&file).expect("a local filesystem");
        file.set_modified(SystemTime::UNIX_EPOCH).expect("ours");
        std::fs::hard_link(&path, folder.path().join("other")).expect("linked");
        assert!(!first.may_be_written(&now()));
        let writer = File::options().write(true).open(&path).expect("there");
        writer.write_at(b"x", 3).expect("written");
        assert!(first.may_be_written(&now()));
        drop(writer);
        // Whatever its time says then.
        file.set_modified(SystemTime::UNIX_EPOCH).expect("ours");
        assert!(first.may_be_written(&now()));
        let second = watcher.watch(&file).expect("a local filesystem");
        assert!(!second.may_be_written(&now()) && first.may_be_written(&now()));
        drop(first);
        File::options().write(true).open(&path).and_then(|file| file.set_len(1)).expect("cut");
        assert!(second.may_be_written(&now()));
        drop(second);
        assert!(watcher.0.borrow().files.is_empty());
    }
}
