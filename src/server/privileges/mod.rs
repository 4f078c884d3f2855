//! The rights of the process: its user, and ([`confine`]) the files it can access. Root switches to the
//! configured user before it touches the server's files, so that new files belong to that user and root
//! never follows a path that this user could change.

mod landlock;

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User, setgroups, setresgid, setresuid};
use rustix::fs::{AtFlags, chownat};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

pub use self::landlock::{AllowedDirectory, Confinement, DirectoryRights, confine};
use crate::base::atomic_file::{self, GROUP_DIRECTORY, SECRET_DIRECTORY};
use crate::config::{Config, ConfigError};

/// The configured user and its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUser {
    name: String,
    user: Uid,
    group: Gid,
}

/// Returns whether this process is root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl ServiceUser {
    /// Returns the configured user, or `None` if none is configured.
    pub fn find(config: &Config) -> Result<Option<Self>, ConfigError> {
        let Some(name) = config.user.clone() else { return Ok(None) };
        let wrong = |key, problem| ConfigError::new(&config.file, key, problem);
        let user =
            system_entry("user", "passwd", &name, User::from_name(&name)).map_err(|problem| wrong("user", problem))?;
        if user.uid.is_root() {
            let problem = format!("'{name}' is root; name a user with fewer rights, or none to run as root");
            return Err(wrong("user", problem));
        }
        let group = match &config.group {
            None => user.gid,
            Some(name) => {
                let group = system_entry("group", "group", name, Group::from_name(name));
                group.map_err(|problem| wrong("group", problem))?.gid
            }
        };
        Ok(Some(Self { name, user: user.uid, group }))
    }

    /// Returns whether this process runs as this user.
    pub fn is_current(&self) -> bool {
        rustix::process::geteuid().as_raw() == self.user.as_raw()
    }

    /// Makes the missing directories of the server below root's directories, and gives them to the user.
    /// Directories below those of other users are left out: the user makes them itself. Does nothing unless
    /// root calls it.
    pub fn make_directories(&self, config: &Config) -> Result<(), ConfigError> {
        for (directory, mode) in own_directories(config) {
            if is_root() && parents_belong_to_root(&directory) {
                let owner = Some((self.user.as_raw(), self.group.as_raw()));
                atomic_file::make_directory_for(owner, &directory, mode)
                    .map_err(|error| ConfigError::new(&directory, "", format!("cannot be made: {error}")))?;
            }
        }
        Ok(())
    }

    /// Makes the user the owner of a file or directory. Does nothing unless root calls it. The handle may be
    /// `O_PATH`.
    pub fn give_ownership(&self, made: &File) -> io::Result<()> {
        if !is_root() {
            return Ok(());
        }
        let (user, group) =
            (rustix::fs::Uid::from_raw(self.user.as_raw()), rustix::fs::Gid::from_raw(self.group.as_raw()));
        Ok(chownat(made, "", Some(user), Some(group), AtFlags::EMPTY_PATH)?)
    }

    /// Switches the process to the user, permanently and without supplementary groups. Does nothing unless
    /// root calls it.
    pub fn switch_process(&self, config: &Config) -> Result<(), ConfigError> {
        if !is_root() {
            return Ok(());
        }
        let name = &self.name;
        let failed = |problem| ConfigError::new(&config.file, "user", problem);
        self.switch().map_err(|error| failed(format!("cannot become '{name}': {error}")))?;
        // Checked at the start, so that the first reload does not fail.
        atomic_file::read(&config.file).map(drop).map_err(|error| {
            failed(format!(
                "'{name}' cannot read this file: {error}; let that user read it and enter the directories above it"
            ))
        })
    }

    /// Must be called while the process has one thread.
    fn switch(&self) -> io::Result<()> {
        setgroups(&[])?;
        setresgid(self.group, self.group, self.group)?;
        setresuid(self.user, self.user, self.user)?;
        // The kernel drops them with the user id, unless the parent process has disabled that.
        set_capabilities(None, NONE)?;
        if setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok() {
            return Err(io::Error::other("the way back to root is open"));
        }
        Ok(())
    }
}

/// Drops rights that a listening server never needs: capabilities, unless it runs as root, and rights
/// gained by executing other programs.
pub fn give_up_rights() -> io::Result<()> {
    set_no_new_privs(true)?;
    if is_root() { Ok(()) } else { Ok(set_capabilities(None, NONE)?) }
}

const NONE: CapabilitySets = CapabilitySets {
    effective: CapabilitySet::empty(),
    permitted: CapabilitySet::empty(),
    inheritable: CapabilitySet::empty(),
};

/// Returns the entry of a system database, or the problem as text.
fn system_entry<T>(kind: &str, database: &str, name: &str, found: nix::Result<Option<T>>) -> Result<T, String> {
    match found {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(format!("there is no {kind} '{name}' on this machine; `getent {database}` lists all")),
        Err(error) => Err(format!("the {kind} '{name}' cannot be looked up: {error}")),
    }
}

/// Returns the server's directories and home roots, with their modes.
fn own_directories(config: &Config) -> Vec<(PathBuf, u32)> {
    let mut directories = vec![(config.accounts_dir(), SECRET_DIRECTORY)];
    let tls = config.tls.key.parent().filter(|_| config.tls.is_own);
    directories.extend(tls.map(|directory| (directory.to_path_buf(), SECRET_DIRECTORY)));
    let logs = [&config.logs.access, &config.logs.transactions].into_iter().filter_map(|log| log.parent());
    directories.extend(logs.map(|directory| (directory.to_path_buf(), GROUP_DIRECTORY)));
    directories.extend(config.home_roots.iter().map(|root| (root.clone(), GROUP_DIRECTORY)));
    directories
}

/// Returns whether all existing parents belong to root, so that no other user can put a symlink there.
fn parents_belong_to_root(path: &Path) -> bool {
    let is_roots = |found: io::Result<Metadata>| found.map_or(true, |found| found.uid() == 0);
    path.ancestors().skip(1).all(|directory| is_roots(directory.symlink_metadata()) && is_roots(directory.metadata()))
}
