//! Permission bits of local files: the bits that a new file gets from its source, and changes of the bits of existing
//! files.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::base::attributes::{
    DIRECTORY_BITS_MIN, FILE_BITS_MIN, NEW_DIRECTORY, NewFile, PERMISSIONS, RequestedMode, default_list,
    has_access_list, mode_for_change, mode_of_new,
};
use crate::base::refusals::{self, OptionalOperation};

/// Which files get the permission bits of their source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ModePolicy {
    /// No files.
    Ignore,
    /// New files. A replaced file keeps its own bits.
    #[default]
    NewFiles,
    /// New and replaced files.
    AllFiles,
}

impl ModePolicy {
    /// Returns the mode for the copy of a file with these bits.
    pub fn wanted(self, bits: u32) -> Option<RequestedMode> {
        let bits = bits & PERMISSIONS;
        (self != Self::Ignore).then_some(RequestedMode { bits, applies_to_replaced_file: self == Self::AllFiles })
    }

    /// Returns the bits for a new directory whose source has these bits.
    pub fn of_directory(self, bits: u32) -> Option<u32> {
        self.wanted(bits).map(|wanted| wanted.bits | DIRECTORY_BITS_MIN)
    }
}

/// Creates a directory. The umask, or the default ACL of the parent directory, removes some of the bits.
pub fn create_directory(path: &Path, bits: Option<u32>) -> io::Result<()> {
    DirBuilder::new().mode(bits.map_or(NEW_DIRECTORY, |bits| bits | DIRECTORY_BITS_MIN)).create(path)
}

/// Sets the attributes of a complete download before it appears at `destination`: those of the file that it
/// replaces, or those of a new file.
pub fn apply_attributes(
    file: &File,
    destination: &Path,
    replaces: bool,
    wanted: Option<RequestedMode>,
) -> Result<(), Errno> {
    let on_refusal = |operation: OptionalOperation, device, errno: Errno| {
        refusals::report_on(device, operation.noun(), destination, &errno.into());
    };
    let new = NewFile { file, on_refusal: &on_refusal };
    let default = default_list(&path_bytes(directory_of(destination)))?;
    if !replaces {
        let bits = wanted.map_or(FILE_MODE, |wanted| wanted.bits | FILE_BITS_MIN);
        return match default {
            None => new.set_mode(mode_of_new(bits, umask(), None)),
            list => new.apply_default_acl(list, bits),
        };
    }
    let old = rustix::fs::lstat(destination)?;
    new.copy_attributes_of(path_bytes(destination), &old)?;
    match wanted {
        Some(RequestedMode { bits, applies_to_replaced_file: true }) => {
            new.set_mode(changed(file, bits | FILE_BITS_MIN, mode_of_new(bits | FILE_BITS_MIN, umask(), default))?)
        }
        _ => Ok(()),
    }
}

/// Sets the permission bits of an existing local file or directory to those that a new copy of its source would get.
/// Returns the resulting bits.
pub fn change(path: &Path, bits: u32, is_directory: bool) -> io::Result<u32> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let entry = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let bits = bits | if is_directory { DIRECTORY_BITS_MIN } else { FILE_BITS_MIN };
    let before = rustix::fs::fstat(&entry)?.st_mode;
    let default = default_list(&path_bytes(directory_of(path)))?;
    let mode = changed(&entry, bits, mode_of_new(bits, umask(), default))?;
    let kept = if is_directory { before & 0o7000 } else { 0 };
    rustix::fs::fchmod(&entry, Mode::from_raw_mode(mode | kept))?;
    Ok(rustix::fs::fstat(&entry)?.st_mode & PERMISSIONS)
}

fn changed(entry: impl AsFd, bits: u32, of_new: u32) -> Result<u32, Errno> {
    Ok(mode_for_change(bits, rustix::fs::fstat(&entry)?.st_mode, of_new, has_access_list(entry)))
}

/// Returns the directory that contains `path`.
pub fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn path_bytes(path: &Path) -> Vec<u8> {
    OsStr::as_bytes(path.as_os_str()).to_vec()
}

/// Returns the process's file mode creation mask. It can be read only by setting it, so it is read once.
pub fn umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        let mask = rustix::process::umask(Mode::from_raw_mode(0o077));
        rustix::process::umask(mask);
        mask.as_raw_mode()
    })
}

/// The permission bits of a downloaded file whose source bits are not used, before the umask.
const FILE_MODE: u32 = 0o644;
