//! `conf/berthd.json`: every key optional, an unknown one an error, and every error names the
//! file and the key. What stands here is final: paths are absolute, sizes are bytes, times are
//! durations. Nothing here opens sockets or looks at users' files.

mod error;
mod ftp;
mod raw;
pub mod schema;

pub use error::ConfigError;
pub use ftp::{FTP_PORT_DEFAULT, Ftp};

use crate::base::atomic_file;
use crate::base::json::Object;
use crate::base::limits::STRANGER_BYTES;
use crate::base::token_bucket::{Directions, Rate};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Everything an administrator decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file this was read from.
    pub file: PathBuf,
    /// Where relative paths start: the parent of the folder that holds the file, unless told.
    pub root: PathBuf,
    /// The user that a server started by root becomes; its name is not looked up here.
    pub user: Option<String>,
    /// The group it gets instead of the user's own; only with a user.
    pub group: Option<String>,
    /// Where to listen; at least one address, none twice. Port 0 is any free one.
    pub listen: Vec<SocketAddr>,
    /// Whether connections without TLS are allowed.
    pub plaintext: bool,
    /// Where the certificate and its key are.
    pub tls: TlsFiles,
    /// How FTP is served, if it is.
    pub ftp: Option<Ftp>,
    /// Folders below which homes lie; at least one. New homes go to the first.
    pub home_roots: Vec<PathBuf>,
    /// Bytes that an account gets which is added without a quota of its own.
    pub default_quota: Option<u64>,
    /// How much at once.
    pub limits: Limits,
    /// How much each second.
    pub rates: Rates,
    /// How long to wait.
    pub timeouts: Timeouts,
    /// When an upload counts as stored.
    pub sync: SyncPolicy,
    /// How long an interrupted upload is kept.
    pub partial_expiry: Duration,
    /// PBKDF2 rounds of new passwords.
    pub scram_rounds: u32,
    /// Where the log files are.
    pub logs: Logs,
    /// The folder of the control socket.
    pub control_folder: PathBuf,
}

/// Where the certificate and its key are, both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those of its issuers.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The administrator named none: the server makes and renews its own.
    pub is_own: bool,
}

/// How much at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions in all.
    pub sessions: usize,
    /// Connections that nobody has logged in to, in all.
    pub strangers: usize,
    /// Sessions of one account.
    pub sessions_per_account: usize,
    /// Sessions from one address.
    pub sessions_per_address: usize,
    /// Bytes of memory that connections and requests may hold.
    pub memory: usize,
    /// Failed logins on one connection before it is closed.
    pub login_tries: u32,
}

impl Limits {
    /// What is left of the memory for those who have logged in.
    pub fn memory_of_members(&self) -> usize {
        self.memory.saturating_sub(self.strangers * STRANGER_BYTES)
    }
}

/// How much of what each second; `None`: as much as there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Requests of one session.
    pub requests: Option<Rate>,
    /// Bytes of one session, the protocol's own included, TLS's not.
    pub session: Directions<Option<Rate>>,
    /// The same of all sessions of one account together.
    pub account: Directions<Option<Rate>>,
}

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to a completed login.
    pub login: Duration,
    /// From the last command to the next.
    pub idle: Duration,
    /// From the last byte of a transfer to the next.
    pub stall: Duration,
    /// From SIGTERM to the end of transfers that still run.
    pub drain: Duration,
    /// From the last answer of a disk to the end of the patience with it.
    pub storage: Duration,
}

/// When an upload counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncPolicy {
    /// When its name is in place; the kernel writes it out at its leisure.
    None,
    /// When its data is on disk and its name in place: after a power loss the name holds the
    /// old bytes or the new, whole.
    Data,
    /// When its data and its name are on disk.
    Full,
}

/// Where the log files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// Connections, logins, commands, refusals.
    pub access: PathBuf,
    /// One line per transfer.
    pub transactions: PathBuf,
    /// How large each of the two may grow before it begins again; one old one of each is kept.
    pub bytes_max: u64,
}

impl Config {
    /// Reads and checks a configuration file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let content = atomic_file::read(path).map_err(|error| ConfigError::unreadable(path, &error))?;
        let mut reader = serde_json::Deserializer::from_slice(&content);
        let Object(raw): Object<raw::RawConfig> =
            serde_path_to_error::deserialize(&mut reader).map_err(|error| ConfigError::unparsable(path, &error))?;
        reader.end().map_err(|error| ConfigError::new(path, "", format!("after the closing brace: {error}")))?;
        raw.into_config(path)
    }

    /// What a file without any key at `path` means; the file need not exist.
    pub fn default_for(path: &Path) -> Result<Self, ConfigError> {
        raw::RawConfig::default().into_config(path)
    }

    /// Checks that the root is there, and what lies elsewhere by a path of its own: a server makes what is
    /// missing below its root, and nothing that may be a disk that is not mounted, or misspelt.
    pub fn check_folders(&self) -> Result<(), ConfigError> {
        let missing = |key: String, folder: &Path| {
            let problem = if folder.exists() { "is no directory" } else { "does not exist" };
            ConfigError::new(&self.file, key, format!("{} {problem}; {}", folder.display(), self.folder_remedy()))
        };
        let is_missing = |folder: &Path| {
            folder.metadata().map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |found| !found.is_dir())
        };
        if is_missing(&self.root) {
            return Err(missing("root".into(), &self.root));
        }
        let logs = [("logs.access", &self.logs.access), ("logs.transactions", &self.logs.transactions)];
        let logs = logs.into_iter().filter_map(|(key, file)| Some((key.to_string(), file.parent()?)));
        let homes = self.home_roots.iter().map(|folder| ("home_roots".to_string(), folder.as_path()));
        match logs.chain(homes).find(|(_, folder)| !folder.starts_with(&self.root) && is_missing(folder)) {
            Some((key, folder)) => Err(missing(key, folder)),
            None => Ok(()),
        }
    }

    /// Where the accounts are: `users/` beside the configuration file.
    pub fn accounts_dir(&self) -> PathBuf {
        self.folder().join("users")
    }

    /// The folder that holds the configuration file, its accounts and its keys.
    pub fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    /// What to do about a folder of the server's own that is missing or cannot be written to.
    pub fn folder_remedy(&self) -> String {
        match &self.user {
            Some(user) => format!("run `berthd user list` as root, which makes what is missing for the user '{user}'"),
            None => "make it, and give it to the user the server runs as".into(),
        }
    }

    /// `path` as an absolute one: relative paths start at [`Config::root`].
    pub fn resolve(&self, path: &Path) -> PathBuf {
        tidy(&self.root.join(path))
    }
}

/// Drops `.` and doubled slashes, and takes `..` by spelling.
pub(crate) fn tidy(path: &Path) -> PathBuf {
    let mut tidied = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                tidied.pop();
            }
            other => tidied.push(other),
        }
    }
    tidied
}

/// `[::]` is every address of both families; where the kernel has no IPv6, that is `0.0.0.0`.
fn every_address(address: SocketAddr) -> SocketAddr {
    let wants_every_v6 = address.is_ipv6() && address.ip().is_unspecified();
    if wants_every_v6 && UdpSocket::bind("[::]:0").is_err() {
        return SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    }
    address
}

/// The port of both programs when none is named.
pub const PORT_DEFAULT: u16 = 2121;

#[cfg(test)]
mod tests;
