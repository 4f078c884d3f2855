//! Detects writes to a file while it is sent. The modification time does not prove a write: backup
//! programs and `touch` change it, too, without changing the content.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch};

use super::meta::Identity;
use crate::base::file_system_type;

/// Watches files, with one inotify descriptor for all of them.
#[derive(Clone)]
pub struct Watcher(Rc<RefCell<WatchedFiles>>);

struct WatchedFiles {
    /// Kept open, because the kernel takes milliseconds to close it; `None` if it could not be opened.
    inotify: Option<OwnedFd>,
    files: HashMap<i32, WatchState>,
    /// The number of overflows of the kernel's event queue.
    losses: u64,
}

struct WatchState {
    /// The number of [`Watch`]es of the file.
    watches: usize,
    changes: Changes,
}

/// The number of events of a file.
#[derive(Clone, Copy, Default)]
struct Changes {
    /// `IN_MODIFY`: a write, a truncation, or a new modification time with the access time left alone.
    modifications: u64,
    /// `IN_CLOSE_WRITE`: a descriptor that was open for writing was closed.
    closes: u64,
}

/// A watch on a file, until dropped.
pub struct Watch {
    watcher: Watcher,
    file: i32,
    before: Changes,
    losses: u64,
}

impl Watcher {
    /// Opens the descriptor. If that fails, no file is ever watched.
    pub fn open() -> Self {
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok();
        Self(Rc::new(RefCell::new(WatchedFiles { inotify, files: HashMap::new(), losses: 0 })))
    }

    /// Watches `file` from now on. Returns `None` if a write to it could go unnoticed.
    pub fn watch(&self, file: &File) -> Option<Watch> {
        // On other file systems a write from another machine goes unnoticed.
        if !file_system_type::is_local(file) {
            return None;
        }
        let mut file_watches = self.0.borrow_mut();
        file_watches.read_events();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let file =
            add_watch(file_watches.inotify.as_ref()?, path, WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE).ok()?;
        let losses = file_watches.losses;
        let watched = file_watches.files.entry(file).or_insert(WatchState { watches: 0, changes: Changes::default() });
        watched.watches += 1;
        Some(Watch { watcher: self.clone(), file, before: watched.changes, losses })
    }
}

impl WatchedFiles {
    /// Reads all pending events.
    fn read_events(&mut self) {
        let Some(inotify) = &self.inotify else { return };
        let mut memory = [MaybeUninit::uninit(); EVENT_BYTES];
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
    /// Returns whether the file, whose identity is `now`, may have been written to or truncated since the
    /// watch began. Setting the modification time alone causes the same event as a write. But a write
    /// leaves the modification time equal to the change time, and its descriptor is closed at some time.
    pub fn may_be_written(&self, now: &Identity) -> bool {
        let mut file_watches = self.watcher.0.borrow_mut();
        file_watches.read_events();
        let Some(watched) = file_watches.files.get(&self.file) else { return true };
        let is_time_set = now.mtime_ns != now.ctime_ns && watched.changes.closes == self.before.closes;
        let is_modified = watched.changes.modifications != self.before.modifications;
        file_watches.losses != self.losses || (is_modified && !is_time_set)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut file_watches = self.watcher.0.borrow_mut();
        let Some(watched) = file_watches.files.get_mut(&self.file) else { return };
        watched.watches -= 1;
        if watched.watches == 0 {
            file_watches.files.remove(&self.file);
            // The kernel may have removed the watch itself, together with the file.
            let _ = file_watches.inotify.as_ref().map(|inotify| remove_watch(inotify, self.file));
        }
    }
}

/// Bytes of events that are read at once.
const EVENT_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;
    use std::time::SystemTime;

    use super::*;
    use crate::store::meta::meta_of;

    #[test]
    fn a_write_is_told_from_a_touch_and_from_an_earlier_write() {
        let directory = tempfile::tempdir().expect("folder");
        let path = directory.path().join("file");
        std::fs::write(&path, b"0123456789").expect("written");
        let watcher = Watcher::open();
        let file = File::open(&path).expect("there");
        let now = || meta_of(&file).expect("open").identity;
        let first = watcher.watch(&file).expect("a local filesystem");
        file.set_modified(SystemTime::UNIX_EPOCH).expect("ours");
        std::fs::hard_link(&path, directory.path().join("other")).expect("linked");
        assert!(!first.may_be_written(&now()));
        let writer = File::options().write(true).open(&path).expect("there");
        writer.write_at(b"x", 3).expect("written");
        assert!(first.may_be_written(&now()));
        drop(writer);
        // The close was noticed, whatever the modification time says now.
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
