//! Landlock: restricts this process to the files below the directories it needs, even if its user may access
//! others. The restriction is permanent. It applies to the calling thread, to threads that it starts later, and
//! to files opened later.

use std::fmt;
use std::path::PathBuf;

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags,
};

/// A directory that stays accessible, with all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedDirectory {
    /// The directory; symlinks are resolved now and not later.
    pub directory: PathBuf,
    /// The allowed access to the directory and all below it.
    pub rights: DirectoryRights,
}

/// The access to an [`AllowedDirectory`]. It never includes making devices or running programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectoryRights {
    /// Read.
    Read,
    /// Append to files, make new ones, and rename one, which needs the right to remove.
    Append,
    /// Read, and replace files.
    ReplaceFiles,
    /// All that users may do in their homes.
    All,
}

/// Whether the process is confined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Confinement {
    /// Confined to its directories.
    Full,
    /// Confined to its directories, except for access that an older kernel does not check.
    Partial,
    /// Not confined; holds the reason.
    Off(String),
}

/// Confines the calling thread to the `allowed` directories. Directories that do not exist are left out.
pub fn confine(allowed: &[AllowedDirectory]) -> Confinement {
    restrict(allowed).unwrap_or_else(|error| Confinement::Off(error.to_string()))
}

fn restrict(allowed: &[AllowedDirectory]) -> Result<Confinement, RulesetError> {
    let mut ruleset = Ruleset::default()
        // A kernel without this right would refuse every rename from one directory to another, and so every
        // upload.
        .set_compatibility(CompatLevel::SoftRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(CHECKED))?
        .scope(Scope::from_all(CHECKED))?
        .create()?;
    for AllowedDirectory { directory, rights } in allowed {
        match PathFd::new(directory) {
            Ok(directory) => ruleset = ruleset.add_rule(PathBeneath::new(directory, rights.landlock_rights()))?,
            Err(error) => log::warn!("a directory cannot be used until a restart: {error}"),
        }
    }
    let status = ruleset.restrict_self()?;
    Ok(Confinement::of(&status.ruleset, &status.landlock))
}

/// The requested rights: all that Linux 6.12 can check. Rights of later versions are not requested,
/// because they were not tested.
const CHECKED: ABI = ABI::V6;

impl DirectoryRights {
    fn landlock_rights(self) -> BitFlags<AccessFs> {
        let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
        let append = make_bitflags!(AccessFs::{WriteFile | MakeReg | RemoveFile});
        let replace = read | append | AccessFs::RemoveFile;
        // Moving an entry needs the right to make its kind.
        let kinds = make_bitflags!(AccessFs::{MakeDir | MakeSym | MakeFifo | MakeSock});
        match self {
            Self::Read => read,
            Self::Append => append,
            Self::ReplaceFiles => replace,
            Self::All => replace | kinds | AccessFs::RemoveDir | AccessFs::Refer | AccessFs::Truncate,
        }
    }
}

impl Confinement {
    fn of(ruleset: &RulesetStatus, landlock: &LandlockStatus) -> Self {
        let reason = match (ruleset, landlock) {
            (RulesetStatus::FullyEnforced, _) => return Self::Full,
            (RulesetStatus::PartiallyEnforced, _) => return Self::Partial,
            (_, LandlockStatus::NotImplemented) => "this kernel is built without it",
            (_, LandlockStatus::NotEnabled) => "it is switched off; add it to `lsm=` of the kernel",
            _ => "with this kernel it forbids moving files between directories; Linux 5.19 can do better",
        };
        Self::Off(reason.into())
    }
}

impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("full"),
            Self::Partial => f.write_str("partial, because this kernel is older than Linux 6.12"),
            Self::Off(reason) => write!(f, "off: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::io::{self, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use rustix::fs::{AtFlags, CWD, FileType, OFlags, linkat, mknodat};

    use super::*;

    /// Runs `act` in a confined thread. Returns `None`, with a message, if the kernel does not support it.
    fn confined<T: Send>(allowed: &[(&Path, DirectoryRights)], act: impl FnOnce() -> T + Send) -> Option<T> {
        let allowed: Vec<_> = allowed
            .iter()
            .map(|(directory, rights)| AllowedDirectory { directory: directory.to_path_buf(), rights: *rights })
            .collect();
        let run = move || match confine(&allowed) {
            Confinement::Off(reason) => {
                // Written directly, because the test harness captures prints.
                let _ = writeln!(io::stderr(), "SKIPPED, because Landlock is off: {reason}");
                None
            }
            _ => Some(act()),
        };
        std::thread::scope(|scope| scope.spawn(run).join().expect("no panic"))
    }

    fn is_denied<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    fn directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join("file"), "content").expect("writable");
        directory
    }

    #[test]
    fn files_outside_the_allowed_directories_cannot_be_reached() {
        let (inside, outside) = (directory(), directory());
        let (inside, outside) = (inside.path(), outside.path());
        symlink(outside, inside.join("link")).expect("writable");
        confined(&[(inside, DirectoryRights::All)], || {
            assert_eq!(fs::read(inside.join("file")).expect("within reach"), b"content");
            assert!(is_denied(fs::read(outside.join("file"))));
            assert!(is_denied(fs::read(inside.join("link/file"))));
            assert!(is_denied(fs::read(inside.join("..").join(outside.file_name().expect("a name")).join("file"))));
            assert!(is_denied(fs::read_dir(outside)));
            assert!(is_denied(fs::write(outside.join("new"), "")));
            assert!(is_denied(fs::remove_file(outside.join("file"))));
            assert!(fs::rename(inside.join("file"), outside.join("new")).is_err());
            assert!(fs::rename(outside.join("file"), inside.join("new")).is_err());
            assert!(fs::hard_link(outside.join("file"), inside.join("new")).is_err());
            assert!(is_denied(fs::read("/proc/self/status")));
        });
        fs::read(outside.join("file")).expect("this thread is as free as before");
    }

    #[test]
    fn a_home_made_later_can_be_used_like_any_other() {
        let homes = directory();
        let home = homes.path().join("new");
        let file = home.join("file");
        confined(&[(homes.path(), DirectoryRights::All)], || {
            fs::create_dir_all(home.join("a/b")).expect("allowed");
            fs::write(&file, "content").expect("allowed");
            fs::rename(&file, home.join("a/b/moved")).expect("from one directory to another");
            fs::write(home.join("a/b/moved"), "shorter").expect("allowed to truncate");
            symlink("a", home.join("link")).expect("allowed");
            fs::rename(home.join("link"), home.join("a/link")).expect("allowed");
            fs::remove_dir_all(home.join("a")).expect("allowed");
            let device = mknodat(CWD, &file, FileType::CharacterDevice, 0o600.into(), 0);
            assert!(device.is_err() && !file.exists());
        });
    }

    #[test]
    fn an_upload_may_begin_without_a_name_and_get_one_in_any_directory_of_its_root() {
        let homes = directory();
        let homes = homes.path();
        for name in ["home", "home/.berth", "other"] {
            fs::create_dir(homes.join(name)).expect("writable");
        }
        confined(&[(homes, DirectoryRights::All)], || {
            let unnamed = |directory: &str| {
                let flags = OFlags::TMPFILE | OFlags::RDWR;
                let file = rustix::fs::open(homes.join(directory), flags, 0o640.into()).expect("allowed");
                let mut file = File::from(file);
                file.write_all(b"content").expect("allowed");
                file
            };
            for (made_in, named) in [("home", "home/a"), ("home", "home/.berth/a"), ("home/.berth", "home/b")] {
                let file = unnamed(made_in);
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                linkat(CWD, path, CWD, homes.join(named), AtFlags::SYMLINK_FOLLOW).expect(named);
                assert_eq!(fs::read(homes.join(named)).expect("there"), b"content");
            }
            fs::rename(homes.join("home/.berth/a"), homes.join("home/a")).expect("in its place");
            fs::hard_link(homes.join("home/a"), homes.join("other/a")).expect("as rename between directories");
        });
    }

    #[test]
    fn each_directory_allows_only_its_own_access() {
        let (readable, logs, keys) = (directory(), directory(), directory());
        let (readable, logs, keys) = (readable.path(), logs.path(), keys.path());
        let allowed =
            [(readable, DirectoryRights::Read), (logs, DirectoryRights::Append), (keys, DirectoryRights::ReplaceFiles)];
        confined(&allowed, || {
            let append = |path: &Path| OpenOptions::new().append(true).create(true).open(path);
            fs::read(readable.join("file")).expect("allowed");
            assert!(is_denied(append(&readable.join("file"))) && is_denied(File::create(readable.join("new"))));
            assert!(is_denied(fs::remove_file(readable.join("file"))));

            append(&logs.join("file")).expect("allowed");
            append(&logs.join("new")).expect("allowed");
            for old in ["file", "new"] {
                assert!(is_denied(File::create(logs.join(old))), "cut to nothing");
                assert!(fs::rename(logs.join(old), keys.join("moved")).is_err(), "moved away");
                assert!(fs::hard_link(logs.join(old), keys.join("linked")).is_err(), "linked elsewhere");
            }
            let open = append(&logs.join("new")).expect("allowed");
            assert!(is_denied(open.set_len(0)), "cut by who has it open");
            assert!(is_denied(fs::read(logs.join("file"))) && is_denied(fs::create_dir(logs.join("folder"))));
            fs::rename(logs.join("new"), logs.join("file")).expect("allowed: put aside when it is full");

            fs::read(keys.join("file")).expect("allowed");
            crate::base::atomic_file::replace(&keys.join("file"), b"new", 0o600).expect("allowed");
            assert!(is_denied(fs::create_dir(keys.join("folder"))) && is_denied(symlink("x", keys.join("link"))));
        });
    }

    #[test]
    fn a_missing_directory_does_not_affect_the_others() {
        let there = directory();
        let missing = there.path().join("missing");
        confined(&[(&missing, DirectoryRights::All), (there.path(), DirectoryRights::Read)], || {
            fs::read(there.path().join("file")).expect("within reach");
        });
    }

    #[test]
    fn the_log_says_why_there_is_no_confinement() {
        let off = |landlock| Confinement::of(&RulesetStatus::NotEnforced, &landlock).to_string();
        let first = LandlockStatus::Available { effective_abi: ABI::V1, kernel_abi: None };
        assert!(off(LandlockStatus::NotImplemented).contains("off: this kernel is built without"));
        assert!(off(LandlockStatus::NotEnabled).contains("off: it is switched off"));
        assert!(off(first).contains("off: with this kernel it forbids moving"));
        assert_eq!(Confinement::of(&RulesetStatus::FullyEnforced, &first), Confinement::Full);
        assert_eq!(Confinement::of(&RulesetStatus::PartiallyEnforced, &first), Confinement::Partial);
    }
}
