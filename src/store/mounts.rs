//! File systems that are mounted inside homes. A path can lead into one of them, so the loop does not call a home
//! that contains one.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec};

/// The largest table that is read. In a larger one, homes are taken to contain mounts.
const TABLE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The mount points of this process. Their table is opened at start, because Landlock forbids that later.
#[derive(Clone)]
pub(super) struct Mounts(Option<Arc<MountTable>>);

struct MountTable {
    file: File,
    /// The mount points when the table was last read; `None` if it was not, or could not be.
    points: Mutex<Option<Vec<PathBuf>>>,
}

impl Mounts {
    /// Opens the table. Without `/proc`, no home is taken to contain a mount.
    pub(super) fn open() -> Self {
        let file = File::open("/proc/self/mountinfo").ok();
        Self(file.map(|file| Arc::new(MountTable { file, points: Mutex::default() })))
    }

    /// Returns whether a file system is mounted below `directory`.
    pub(super) fn has_any_below(&self, directory: &Path) -> bool {
        let Some(table) = &self.0 else { return false };
        let mut points = table.points.lock().unwrap_or_else(PoisonError::into_inner);
        if table.has_changed() || points.is_none() {
            *points = table.read().map(|text| mount_points(&text));
        }
        points.as_ref().is_none_or(|points| is_any_below(points, directory))
    }
}

impl MountTable {
    /// Returns whether the mounts have changed since the last call (proc_pid_mountinfo(5)).
    fn has_changed(&self) -> bool {
        let mut poll = [PollFd::new(&self.file, PollFlags::PRI)];
        !matches!(rustix::event::poll(&mut poll, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
    }

    /// Reads the table from its beginning. `None` if it is too large or cannot be read.
    fn read(&self) -> Option<Vec<u8>> {
        let (mut text, mut piece) = (Vec::new(), vec![0; 16 * 1024]);
        while text.len() <= TABLE_BYTES_MAX {
            match self.file.read_at(&mut piece, text.len() as u64).ok()? {
                0 => return Some(text),
                count => text.extend_from_slice(&piece[..count]),
            }
        }
        None
    }
}

/// Returns the mount points of a table: the fifth field of each line (proc_pid_mountinfo(5)).
fn mount_points(table: &[u8]) -> Vec<PathBuf> {
    let points = table.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    points.map(unescaped).collect()
}

/// Returns whether one of `points` lies below `directory`, but not at it.
fn is_any_below(points: &[PathBuf], directory: &Path) -> bool {
    points.iter().any(|point| point != directory && point.starts_with(directory))
}

/// Replaces the octal escapes of blanks and backslashes.
fn unescaped(field: &[u8]) -> PathBuf {
    let (mut path, mut rest) = (Vec::with_capacity(field.len()), field);
    while let [first, after @ ..] = rest {
        rest = after;
        match (first, after) {
            (b'\\', [high @ b'0'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', after @ ..]) => {
                path.push((high - b'0') << 6 | (middle - b'0') << 3 | (low - b'0'));
                rest = after;
            }
            _ => path.push(*first),
        }
    }
    PathBuf::from(OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_below_a_directory_and_not_at_it_or_beside_it() {
        let table = b"22 1 254:0 / / rw - ext4 /dev/vda rw\n\
            30 22 0:5 / /homes/ann rw - tmpfs none rw\n\
            31 22 0:6 / /homes/bob/my\\040disk rw - fuse x rw\n";
        let is_below = |path: &str| is_any_below(&mount_points(table), Path::new(path));
        assert!(is_below("/homes") && is_below("/homes/bob") && is_below("/"));
        assert!(!is_below("/homes/ann") && !is_below("/homes/bob/my disk") && !is_below("/homes/bo"));
        assert_eq!(unescaped(b"a\\134040\\09"), Path::new("a\\040\\09"));
    }

    #[test]
    fn the_table_of_this_machine_can_be_read_again_and_again() {
        let mounts = Mounts::open();
        for _ in 0..2 {
            assert!(mounts.has_any_below(Path::new("/")), "/proc is mounted");
            assert!(!mounts.has_any_below(Path::new("/proc/self/nothing")));
        }
    }
}
