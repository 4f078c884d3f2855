//! Finds the part of an earlier download, or creates one. The user's own files may have the same names.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::base::buffers::PIECE_BYTES;
use crate::base::explanation::Explanation;
use crate::client::error::Failure;
use crate::client::files::local::{hash_up_to, shown};
use crate::client::interrupt::OnProgress;
use crate::client::transfer::part::create::create_new;
use crate::client::transfer::part::names::{Occupant, occupant, part_path};
use crate::client::transfer::part::{Part, Reserved};

impl Part {
    /// Finds the part that an earlier download to `destination` left at a path that is not `reserved`, and
    /// hashes its bytes. A file without a mark may be the user's own, so it is never written to. If it
    /// has at most `bytes_max` bytes, a copy of it becomes the part.
    pub fn find(
        destination: &Path,
        reserved: &Reserved,
        bytes_max: u64,
        on_progress: OnProgress,
    ) -> Result<Option<Self>, Failure> {
        let mut unmarked = None;
        for (at, path) in candidate_paths(destination, reserved).enumerate() {
            let path = path?;
            match occupant(&path, destination)? {
                Occupant::Nothing | Occupant::Link => break,
                Occupant::Ours(_, metadata) if metadata.len() == 0 => return Ok(None),
                Occupant::Ours(file, metadata) => {
                    let mut part = Self::lock_file(file, path, destination)?;
                    // The bytes are kept even if hashing is interrupted.
                    part.received_bytes = metadata.len();
                    let hashed = hash_up_to(&mut part.file, u64::MAX, on_progress);
                    (part.hash, part.received_bytes) = hashed.map_err(|error| error.about(&part.destination))?;
                    return Ok(Some(part));
                }
                Occupant::Unmarked { file, bytes, cannot_tell } if at == 0 && bytes > 0 && bytes <= bytes_max => {
                    unmarked = Some((file, path, cannot_tell));
                }
                Occupant::Unmarked { .. } | Occupant::Foreign => {}
            }
        }
        match unmarked {
            Some((file, path, cannot_tell)) => Self::copy(file, path, cannot_tell, destination, reserved, on_progress),
            None => Ok(None),
        }
    }

    /// Creates a part with the content of `file`. Returns `None` if the content cannot be read or there is
    /// no room for it. If `removes_original`, the file at `path` is removed when the part is complete.
    fn copy(
        mut file: File,
        path: PathBuf,
        removes_original: bool,
        destination: &Path,
        reserved: &Reserved,
        on_progress: OnProgress,
    ) -> Result<Option<Self>, Failure> {
        let mut part = Self::create(destination, reserved, true)?;
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            if on_progress(part.received_bytes) {
                part.discard();
                return Err(Failure::Interrupted);
            }
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(count) if part.write(&piece[..count]).is_ok() => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    part.discard();
                    return Ok(None);
                }
            }
        }
        part.copied_from = removes_original.then_some(path);
        Ok(Some(part))
    }

    /// Creates an empty part for `destination`, at the first of its paths that is not `reserved` and that no
    /// other file has. An existing part is emptied. The part is marked only if `is_resumable`, because
    /// setting the mark costs a quarter of the time of downloading a small file.
    pub fn create(destination: &Path, reserved: &Reserved, is_resumable: bool) -> Result<Self, Failure> {
        for path in candidate_paths(destination, reserved) {
            let path = path?;
            match create_new(&path, destination, is_resumable) {
                Ok(file) => {
                    let mut part = Self::lock_file(file, path, destination)?;
                    part.is_resumable = is_resumable;
                    return Ok(part);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // The user knows the destination, not the part.
                Err(error) => return Err(Failure::local(destination, &error)),
            }
            match occupant(&path, destination)? {
                Occupant::Ours(file, metadata) => {
                    let mut part = Self::lock_file(file, path, destination)?;
                    part.received_bytes = metadata.len();
                    part.restart()?;
                    return Ok(part);
                }
                Occupant::Link => {
                    return Err(Failure::Local(Explanation::new(
                        format!("local {} is a symlink", shown(&path)),
                        "remove it, then run the command again",
                    )));
                }
                Occupant::Nothing | Occupant::Unmarked { .. } | Occupant::Foreign => {}
            }
        }
        let path = part_path(destination, 0)?;
        Err(Failure::Local(Explanation::new(
            format!(
                "no partial download of {} can be stored: {NAMES_MAX} names such as {} are taken",
                shown(destination),
                shown(&path)
            ),
            "remove old ones",
        )))
    }
}

/// Returns the paths to try for a part of `destination`.
fn candidate_paths<'a>(
    destination: &'a Path,
    reserved: &'a Reserved,
) -> impl Iterator<Item = Result<PathBuf, Failure>> + use<'a> {
    let is_free = |path: &Result<PathBuf, Failure>| !path.as_ref().is_ok_and(|path| reserved.contains(path));
    (0..).map(|number| part_path(destination, number)).filter(is_free).take(NAMES_MAX)
}

/// The number of paths that are tried for a part.
const NAMES_MAX: usize = 100;
