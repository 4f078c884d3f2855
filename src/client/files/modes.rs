//! Permission bits of local files: what a new one gets of those of its source, and how those of one that is
//! there are changed.

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
    FILE_BITS_MIN, FOLDER_BITS_MIN, NEW_FOLDER, NewFile, PERMISSIONS, WantedMode, default_list, has_access_list,
    mode_for_change, mode_of_new,
};
use crate::base::refusals::{self, Operation};
use crate::client::shell::lexer::Word;

/// Which files get the permission bits of their source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ModePolicy {
    /// None.
    Ignore,
    /// New ones. Those that are replaced keep their own.
    #[default]
    NewFiles,
    /// All.
    AllFiles,
}

impl ModePolicy {
    /// What the copy of a file with these bits is to have.
    pub fn wanted(self, bits: u32) -> Option<WantedMode> {
        let bits = bits & PERMISSIONS;
        (self != Self::Ignore).then_some(WantedMode { bits, also_of_replaced: self == Self::AllFiles })
    }

    /// The bits for a new folder whose source has these.
    pub fn of_folder(self, bits: u32) -> Option<u32> {
        self.wanted(bits).map(|wanted| wanted.bits | FOLDER_BITS_MIN)
    }
}

/// Makes a folder. The umask, or the default list of the folder above, takes some of its bits away.
pub fn create_folder(path: &Path, bits: Option<u32>) -> io::Result<()> {
    DirBuilder::new().mode(bits.map_or(NEW_FOLDER, |bits| bits | FOLDER_BITS_MIN)).create(path)
}

/// Gives a complete download its attributes, before it appears at `destination`: those of the file it replaces,
/// or those of a new file there.
pub fn take_attributes(
    file: &File,
    destination: &Path,
    replaces: bool,
    wanted: Option<WantedMode>,
) -> Result<(), Errno> {
    let on_refusal = |operation: Operation, device, errno: Errno| {
        refusals::note_on(device, operation.noun(), destination, &errno.into());
    };
    let new = NewFile { file, on_refusal: &on_refusal };
    let default = default_list(&path_bytes(folder_of(destination)))?;
    if !replaces {
        let bits = wanted.map_or(FILE_MODE, |wanted| wanted.bits | FILE_BITS_MIN);
        return match default {
            None => new.set_mode(mode_of_new(bits, umask(), None)),
            list => new.take_default(list, bits),
        };
    }
    let old = rustix::fs::lstat(destination)?;
    new.take_over(path_bytes(destination), &old)?;
    match wanted {
        Some(WantedMode { bits, also_of_replaced: true }) => {
            new.set_mode(changed(file, bits | FILE_BITS_MIN, mode_of_new(bits | FILE_BITS_MIN, umask(), default))?)
        }
        _ => Ok(()),
    }
}

/// Gives a local file or folder the permission bits of its source, as far as a new one there would get
/// them. Returns those that it has then.
pub fn change(path: &Path, bits: u32, is_folder: bool) -> io::Result<u32> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let entry = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let bits = bits | if is_folder { FOLDER_BITS_MIN } else { FILE_BITS_MIN };
    let before = rustix::fs::fstat(&entry)?.st_mode;
    let default = default_list(&path_bytes(folder_of(path)))?;
    let mode = changed(&entry, bits, mode_of_new(bits, umask(), default))?;
    let kept = if is_folder { before & 0o7000 } else { 0 };
    rustix::fs::fchmod(&entry, Mode::from_raw_mode(mode | kept))?;
    Ok(rustix::fs::fstat(&entry)?.st_mode & PERMISSIONS)
}

fn changed(entry: impl AsFd, bits: u32, of_new: u32) -> Result<u32, Errno> {
    Ok(mode_for_change(bits, rustix::fs::fstat(&entry)?.st_mode, of_new, has_access_list(entry)))
}

/// The folder that holds `path`.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn path_bytes(path: &Path) -> Vec<u8> {
    OsStr::as_bytes(path.as_os_str()).to_vec()
}

/// What `words` say of permission bits by `--no-perms`, and the other words.
pub fn mode_policy(words: &[Word]) -> (ModePolicy, Vec<Word>) {
    let end = words.iter().position(|word| word.is_bare(b"--")).unwrap_or(words.len());
    let is_flag = |at: usize, word: &Word| at < end && word.is_option() && word.as_str() == NO_PERMS;
    let others: Vec<Word> =
        words.iter().enumerate().filter(|(at, word)| !is_flag(*at, word)).map(|(_, word)| word.clone()).collect();
    (if others.len() < words.len() { ModePolicy::Ignore } else { ModePolicy::NewFiles }, others)
}

/// The file mode creation mask of the process. It can be read only by setting it, so it is read once.
pub fn umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        let mask = rustix::process::umask(Mode::from_raw_mode(0o077));
        rustix::process::umask(mask);
        mask.as_raw_mode()
    })
}

/// The option that leaves permission bits as they are.
pub const NO_PERMS: &str = "--no-perms";
/// Permission bits of downloaded files whose source's are not used, before the umask.
const FILE_MODE: u32 = 0o644;
