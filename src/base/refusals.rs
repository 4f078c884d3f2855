//! Optional operations that some file systems refuse: SMB, exFAT and some FUSE file systems have no
//! owners, modes, locks or syncs. A refused operation is left out and reported once for each file
//! system. The record is global, because refusals arise on several threads and in code without a log.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::io::Errno;

use crate::base::text::{Escaped, plain};

/// The least time between two log lines of one kind.
pub const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// Returns whether the system or the file system does not know the operation.
pub fn is_unsupported(errno: Errno) -> bool {
    matches!(errno, Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOTTY)
}

/// Returns whether the file system does not support the operation, or not for this user. Other errors
/// are failures.
pub fn is_refusal(errno: Errno) -> bool {
    is_unsupported(errno) || matches!(errno, Errno::PERM | Errno::NOLCK)
}

/// An operation that some file systems refuse and that files can be served without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OptionalOperation {
    /// utimensat.
    SetTimes,
    /// fchmod.
    SetMode,
    /// fchown.
    SetOwner,
    /// setxattr of an access control list.
    SetAcl,
    /// setxattr of anything else.
    SetAttribute,
    /// renameat2 with RENAME_NOREPLACE.
    RenameWithoutReplacing,
    /// statvfs.
    FreeSpace,
}

impl OptionalOperation {
    /// Returns what is left out, as a noun in the plural with its system call.
    pub fn noun(self) -> &'static str {
        match self {
            Self::SetTimes => "modification times (utimensat)",
            Self::SetMode => "modes (fchmod)",
            Self::SetOwner => "owners (fchown)",
            Self::SetAcl => "access control lists of files that are replaced (setxattr)",
            Self::SetAttribute => "extended attributes of files that are replaced (setxattr)",
            Self::RenameWithoutReplacing => "renames without replacing (renameat2)",
            Self::FreeSpace => "figures of free space (statvfs)",
        }
    }
}

/// Reports a refusal by the file system of `path` and turns it into success. Returns any other error. `what`
/// is a noun in the plural.
pub fn allow(what: &'static str, path: &Path, result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error().map(Errno::from_raw_os_error).is_some_and(is_refusal) => {
            report(what, path, &error);
            Ok(())
        }
        result => result,
    }
}

/// Reports once that the file system of `path` refuses `what`, a noun in the plural. A program without a log
/// gets the message from [`take`].
pub fn report(what: &'static str, path: &Path, error: &io::Error) {
    let device = std::fs::metadata(path).or_else(|_| std::fs::metadata(path.parent().unwrap_or(path)));
    report_on(device.map_or(0, |metadata| metadata.dev()), what, path, error);
}

/// Like [`report`], for the file system with this device number. `path` only names it in the message.
pub fn report_on(device: u64, what: &'static str, path: &Path, error: &io::Error) {
    let mut refusals = REFUSALS.lock().unwrap_or_else(PoisonError::into_inner);
    if refusals.reported.len() >= REPORTED_MAX || !refusals.reported.insert((device, what)) {
        return;
    }
    let (path, error) = (Escaped(path.as_os_str().as_bytes()), plain(error));
    let text = format!("{path}: {what} are left out, because the file system refuses them: {error}");
    if log::log_enabled!(log::Level::Warn) {
        log::warn!("{text}");
    } else {
        refusals.unlogged.push(text);
    }
}

/// Takes the messages that could not be logged.
pub fn take() -> Vec<String> {
    std::mem::take(&mut REFUSALS.lock().unwrap_or_else(PoisonError::into_inner).unlogged)
}

struct Refusals {
    reported: BTreeSet<(u64, &'static str)>,
    unlogged: Vec<String>,
}

static REFUSALS: Mutex<Refusals> = Mutex::new(Refusals { reported: BTreeSet::new(), unlogged: Vec::new() });

/// The largest number of refusals that are reported.
const REPORTED_MAX: usize = 256;
