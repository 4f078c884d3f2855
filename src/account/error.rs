//! Errors of accounts. Each message names the account, file or directory.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::AccountName;
use crate::base::text::Escaped;

/// An account that cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The file or directory cannot be read or written.
    #[error("{}: {source}", shown(path))]
    Io {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The directory of the accounts does not exist and cannot be made.
    #[error("{} cannot be made: {source}; {remedy}", shown(path))]
    NoDirectory {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
        /// Advice for the administrator.
        remedy: String,
    },
    /// The file is not a valid account. Its logins are refused.
    #[error(
        "{}: not a valid account file: {}; restore it, or remove the account and add it again",
        shown(path),
        Escaped(problem.as_bytes())
    )]
    Corrupt {
        /// The path.
        path: PathBuf,
        /// The position and the problem.
        problem: String,
    },
    /// The account exists already.
    #[error("account {0} exists already; change it with `berthd user set {0}` or `berthd user passwd {0}`")]
    Exists(AccountName),
    /// The account does not exist.
    #[error("there is no account {0}; `berthd user list` shows all")]
    Unknown(AccountName),
    /// The directory cannot be this account's home.
    #[error("{} cannot be the home of {name}: {problem}", shown(home))]
    Home {
        /// The account.
        name: AccountName,
        /// The home.
        home: PathBuf,
        /// The reason.
        problem: HomeError,
    },
}

impl AccountError {
    /// Returns whether the server is out of file descriptors or memory. Then the error does not mean that the
    /// account is damaged.
    pub fn is_exhaustion(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        let errno = source.raw_os_error().map(Errno::from_raw_os_error);
        matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS))
    }
}

/// Why a directory cannot be a home.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// It lies outside of the home roots.
    #[error("homes lie below {roots} (home_roots in {})", shown(config))]
    OutsideRoots {
        /// All home roots.
        roots: String,
        /// The configuration file that sets them.
        config: PathBuf,
    },
    /// It overlaps another home: two users would see the same files, and each quota would count them.
    #[error("it is the home of {0}, contains it or lies in it; quotas are exact only for separate homes")]
    Overlaps(AccountName),
    /// It contains the configuration: the user could read or replace verifiers and keys.
    #[error("it contains or lies in {}, where configuration and accounts are kept", shown(.0))]
    HoldsConfiguration(PathBuf),
    /// A file has this name.
    #[error("something that is not a directory is there")]
    NotADirectory,
    /// It does not exist, though the account was added before.
    #[error("there is no such directory; create it, or name another with `berthd user set {0} --home`")]
    Missing(AccountName),
    /// It cannot be made, usually because its parent belongs to another user.
    #[error("it cannot be made: {0}; make it yourself, give it to the user the server runs as, and try again")]
    NotMade(io::Error),
    /// It exists, but the server's user cannot use it.
    #[error("this user may not use it: {0}; give it to the user the server runs as")]
    NotUsable(io::Error),
    /// It cannot be examined.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Escapes a path: it may come from an account's file, which may hold any bytes.
fn shown(path: &Path) -> Escaped<'_> {
    Escaped(path.as_os_str().as_bytes())
}
