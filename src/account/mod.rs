//! Accounts: a name, a verifier, a home and limits. One JSON file each, `users/NAME.json` beside the
//! configuration file, read at every login, so that changes need no restart. Knows no sessions, no
//! sockets and no content of homes.

mod directory;
mod error;
mod home;
mod name;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::auth::scram::Verifier;
pub use directory::{Accounts, Candidate, Stamp};
pub use error::{AccountError, HomeError};
pub use home::HomeRules;
pub use name::{AccountName, AccountNameError};

/// The maximum length of an account name, which is used as file name, directory name and log field.
pub const ACCOUNT_NAME_BYTES_MAX: usize = 64;

/// One user of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The login name, and the name of the file.
    pub name: AccountName,
    /// Verifies the password.
    pub verifier: Verifier,
    /// The quota of bytes; `None` is no limit.
    pub quota_bytes: Option<u64>,
    /// The quota of files and directories; `None` is no limit.
    pub quota_files: Option<u64>,
    /// The directory that the user sees as `/`; absolute.
    pub home: PathBuf,
    /// Whether changes to the home are refused.
    pub read_only: bool,
    /// Whether logins are refused.
    pub locked: bool,
}

/// The content of an account's file. The name of the account is the name of the file and is not stored in it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountRecord {
    format: u32,
    verifier: Verifier,
    #[serde(default)]
    quota_bytes: Option<u64>,
    #[serde(default)]
    quota_files: Option<u64>,
    /// Relative to the root if it lies below the root, so that a server can be moved as a whole.
    home: PathBuf,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    locked: bool,
}

/// The only format so far.
const FORMAT: u32 = 1;

impl AccountRecord {
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

    /// Makes a decoy in the form of an account file, so that reading it takes as long. Its home is never used.
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
