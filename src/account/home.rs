//! Where homes may lie: below a configured root, apart from each other and from the server's own
//! files. Checked on real paths, so that a link above a home cannot lead it elsewhere.

use super::{Account, AccountError, Accounts, HomeError};
use crate::small_file;
use std::io;
use std::path::{Path, PathBuf};

/// Checks `account`'s home against the rules and all `others`, among whom it may be itself.
pub(super) fn check(accounts: &Accounts, account: &Account, others: &[Account]) -> Result<(), AccountError> {
    check_rules(accounts, account, others).map_err(|problem| refuse(account, problem))
}

/// Checks that the home of an account that was added before is still there.
pub(super) fn check_exists(account: &Account) -> Result<(), AccountError> {
    if account.home.is_dir() { Ok(()) } else { Err(refuse(account, HomeError::Missing(account.name.clone()))) }
}

fn refuse(account: &Account, problem: HomeError) -> AccountError {
    AccountError::Home { name: account.name.clone(), home: account.home.clone(), problem }
}

fn check_rules(accounts: &Accounts, account: &Account, others: &[Account]) -> Result<(), HomeError> {
    let home = real_path(&account.home)?;
    check_place(accounts, &home)?;
    let configuration = real_path(accounts.configuration())?;
    if overlap(&home, &configuration) {
        return Err(HomeError::HoldsConfiguration(configuration));
    }
    for other in others.iter().filter(|other| other.name != account.name) {
        if overlap(&home, &real_path(&other.home)?) {
            return Err(HomeError::Overlaps(other.name.clone()));
        }
    }
    if home.exists() && !home.is_dir() { Err(HomeError::NotAFolder) } else { Ok(()) }
}

/// Below a root, and not a root itself: in that, other homes lie.
fn check_place(accounts: &Accounts, home: &Path) -> Result<(), HomeError> {
    for root in accounts.home_roots() {
        let root = real_path(root)?;
        if home != root && home.starts_with(&root) {
            return Ok(());
        }
    }
    let roots: Vec<_> = accounts.home_roots().iter().map(|root| root.display().to_string()).collect();
    Err(HomeError::OutsideRoots { roots: roots.join(" or "), config: accounts.config_file().to_path_buf() })
}

/// Makes the home if it is not there. True if it was made.
pub(super) fn make(account: &Account) -> Result<bool, AccountError> {
    small_file::make_folder(&account.home, 0o750)
        .map_err(|source| AccountError::Io { path: account.home.clone(), source })
}

fn overlap(a: &Path, b: &Path) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

/// The path with its links followed as far as it exists.
fn real_path(path: &Path) -> io::Result<PathBuf> {
    match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => match (path.parent(), path.file_name()) {
            // A link that leads nowhere is not a place for a folder to be made.
            _ if path.is_symlink() => Err(error),
            (Some(parent), Some(name)) => Ok(real_path(parent)?.join(name)),
            _ => Err(error),
        },
        result => result,
    }
}
