//! The rules for homes: below a home root, apart from each other and from the server's own files.
//! Checked on resolved paths, so that a symlink above a home cannot lead elsewhere.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::Access;
use rustix::io::Errno;

use super::{Account, AccountError, HomeError};
use crate::base::atomic_file::{self, GROUP_DIRECTORY};

/// Where homes may lie. A worker can check it.
#[derive(Debug)]
pub struct HomeRules {
    pub(super) roots: Vec<PathBuf>,
    /// The directory of configuration, accounts and keys.
    pub(super) configuration: PathBuf,
    pub(super) config_file: PathBuf,
}

impl HomeRules {
    /// Checks that the account's home lies below a home root, with symlinks resolved. Called after each
    /// login, because files and symlinks may be changed without this program. Overlaps of homes are checked
    /// when accounts are changed, and by [`Accounts::check`](super::Accounts::check).
    pub fn check(&self, account: &Account) -> Result<(), AccountError> {
        check(self, account, &[])
    }
}

/// Checks `account`'s home against the rules and all `others`, which may include the account itself.
pub(super) fn check(rules: &HomeRules, account: &Account, others: &[Account]) -> Result<(), AccountError> {
    check_rules(rules, account, others).map_err(|problem| refuse(account, problem))
}

/// Checks that the home of an existing account exists, and that this process has the permissions there
/// that the account needs.
pub(super) fn check_usable(account: &Account) -> Result<(), AccountError> {
    let reading = Access::READ_OK | Access::EXEC_OK;
    let needed = if account.read_only { reading } else { reading | Access::WRITE_OK };
    rustix::fs::access(&account.home, needed).map_err(|error| match error {
        Errno::NOENT => refuse(account, HomeError::Missing(account.name.clone())),
        error => refuse(account, HomeError::NotUsable(error.into())),
    })
}

fn refuse(account: &Account, problem: HomeError) -> AccountError {
    AccountError::Home { name: account.name.clone(), home: account.home.clone(), problem }
}

fn check_rules(rules: &HomeRules, account: &Account, others: &[Account]) -> Result<(), HomeError> {
    let home = real_path(&account.home)?;
    check_is_below_root(rules, &account.home, &home)?;
    let configuration = real_path(&rules.configuration)?;
    if overlap(&home, &configuration) {
        return Err(HomeError::HoldsConfiguration(configuration));
    }
    for other in others.iter().filter(|other| other.name != account.name) {
        // If the path of the other home cannot be resolved now, it is compared as it is written.
        let others_home = real_path(&other.home).unwrap_or_else(|_| other.home.clone());
        if overlap(&home, &others_home) {
            return Err(HomeError::Overlaps(other.name.clone()));
        }
    }
    if home.exists() && !home.is_dir() { Err(HomeError::NotADirectory) } else { Ok(()) }
}

/// Checks that the home lies below a home root and is not itself one, because a root contains other homes.
fn check_is_below_root(rules: &HomeRules, path: &Path, home: &Path) -> Result<(), HomeError> {
    let (likely, others): (Vec<_>, Vec<_>) = rules.roots.iter().partition(|root| path.starts_with(root));
    // The likely ones first: another root may be on a file system that does not answer. A root that cannot be
    // resolved now contains no home.
    for root in likely.into_iter().chain(others).filter_map(|root| real_path(root).ok()) {
        if home != root && home.starts_with(&root) {
            return Ok(());
        }
    }
    let roots: Vec<_> = rules.roots.iter().map(|root| root.display().to_string()).collect();
    Err(HomeError::OutsideRoots { roots: roots.join(" or "), config: rules.config_file.clone() })
}

/// Makes the home if it does not exist. Returns true if it was made.
pub(super) fn make(account: &Account) -> Result<bool, AccountError> {
    atomic_file::make_directory(&account.home, GROUP_DIRECTORY)
        .map_err(|error| refuse(account, HomeError::NotMade(error)))
}

fn overlap(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

/// Returns the path with its symlinks resolved as far as it exists.
fn real_path(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match (path.parent(), path.file_name()) {
            // A dangling symlink cannot become a directory.
            _ if path.is_symlink() => Err(error),
            (Some(parent), Some(name)) => Ok(real_path(parent)?.join(name)),
            _ => Err(error),
        },
        result => result,
    }
}
