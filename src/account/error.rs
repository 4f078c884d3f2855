//! What goes wrong with accounts. Each message says to which one, and names the file or folder.

use super::AccountName;
use crate::base::text::Escaped;
use rustix::io::Errno;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// An account that cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The file or folder cannot be read or written.
    #[error("{}: {source}", shown(path))]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder of the accounts is not there and cannot be made.
    #[error("{} cannot be made: {source}; {remedy}", shown(path))]
    NoFolder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
        /// What to do.
        remedy: String,
    },
    /// The file is there and is not an account. Whoever it belongs to is not let in.
    #[error(
        "{}: not a valid account file: {}; restore it, or remove the account and add it again",
        shown(path),
        Escaped(problem.as_bytes())
    )]
    Corrupt {
        /// Which.
        path: PathBuf,
        /// Where and why.
        problem: String,
    },
    /// There is one already.
    #[error("account {0} exists already; change it with `berthd user set {0}` or `berthd user passwd {0}`")]
    Exists(AccountName),
    /// There is none.
    #[error("there is no account {0}; `berthd user list` shows all")]
    Unknown(AccountName),
    /// The home cannot be this account's.
    #[error("{} cannot be the home of {name}: {problem}", shown(home))]
    Home {
        /// Whose.
        name: AccountName,
        /// Which.
        home: PathBuf,
        /// Why not.
        problem: HomeError,
    },
}

impl AccountError {
    /// Whether the whole server is out of descriptors or memory, so that this says nothing about
    /// the account.
    pub fn is_exhaustion(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        let errno = source.raw_os_error().map(Errno::from_raw_os_error);
        matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS))
    }
}

/// Why a folder cannot be a home.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// It lies elsewhere.
    #[error("homes lie below {roots} (home_roots in {})", shown(config))]
    OutsideRoots {
        /// All of them.
        roots: String,
        /// Where they are configured.
        config: PathBuf,
    },
    /// Two users would see the same files, and each quota would count them.
    #[error("it is the home of {0}, contains it or lies in it; quotas are exact only for separate homes")]
    Overlaps(AccountName),
    /// The user could read or replace verifiers and keys.
    #[error("it contains or lies in {}, where configuration and accounts are kept", shown(.0))]
    HoldsConfiguration(PathBuf),
    /// A file is in the way.
    #[error("something that is not a folder is there")]
    NotAFolder,
    /// Nothing is there, though the account has been added.
    #[error("there is no such folder; make it, or name another with `berthd user set {0} --home`")]
    Missing(AccountName),
    /// It cannot be made, mostly because the folder above it belongs to somebody else.
    #[error("it cannot be made: {0}; make it yourself, give it to the user the server runs as, and try again")]
    NotMade(io::Error),
    /// It is there, but of no use.
    #[error("this user may not use it: {0}; give it to the user the server runs as")]
    NotOurs(io::Error),
    /// It cannot be looked at.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A home comes from an account's file, which may hold anything.
fn shown(path: &Path) -> Escaped<'_> {
    Escaped(path.as_os_str().as_bytes())
}
