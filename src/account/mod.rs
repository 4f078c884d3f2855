//! Accounts: who may log in, with which verifier, into which home, with which quota. One JSON
//! file each, `users/NAME.json` beside the configuration file, read at every login, so that
//! administration needs no restart. Nothing here knows sessions, sockets or what is in a home.

mod error;
mod folder;
mod home;
mod name;

pub use error::{AccountError, HomeError};
pub use folder::{Accounts, Candidate, Stamp};
pub use name::{AccountName, AccountNameError};

use crate::auth::scram::Verifier;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One user of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// What the user logs in as; it is the name of the file too.
    pub name: AccountName,
    /// Checks the password.
    pub verifier: Verifier,
    /// Bytes that the home may hold; `None` is as many as the disk has.
    pub quota_bytes: Option<u64>,
    /// Files and folders that the home may hold; `None` is as many as the disk has.
    pub quota_files: Option<u64>,
    /// The folder that is `/` to the user; absolute.
    pub home: PathBuf,
    /// Whether whatever would change the home is refused.
    pub read_only: bool,
    /// Whether logins are refused.
    pub locked: bool,
}

/// The content of an account's file. Its name is the file's, so that the two cannot disagree.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u32,
    verifier: Verifier,
    #[serde(default)]
    quota_bytes: Option<u64>,
    #[serde(default)]
    quota_files: Option<u64>,
    /// Relative to the root where it lies below it, so that a whole server can be moved.
    home: PathBuf,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    locked: bool,
}

/// The only format so far.
const FORMAT: u32 = 1;

impl Record {
    fn of(account: &Account, root: &Path) -> Self {
        Self {
            format: FORMAT,
            verifier: account.verifier.clone(),
            quota_bytes: account.quota_bytes,
            quota_files: account.quota_files,
            home: account.home.strip_prefix(root).unwrap_or(&account.home).to_path_buf(),
            read_only: account.read_only,
            locked: account.locked,
        }
    }

    /// Shaped as an account, so that reading it takes as long.
    fn of_decoy(verifier: Verifier) -> Self {
        Self {
            format: FORMAT,
            verifier,
            quota_bytes: None,
            quota_files: None,
            home: "homes/nobody".into(),
            read_only: true,
            locked: true,
        }
    }

    fn into_account(self, name: AccountName, root: &Path) -> Account {
        Account {
            name,
            verifier: self.verifier,
            quota_bytes: self.quota_bytes,
            quota_files: self.quota_files,
            home: root.join(self.home),
            read_only: self.read_only,
            locked: self.locked,
        }
    }
}

#[cfg(test)]
mod tests;
