//! `conf/berthd.json`: every key is optional, an unknown one is an error, and every error names the
//! file and the key. The values are final: paths are absolute, sizes are bytes, times are durations.
//! Opens no sockets, except to find out whether the kernel has IPv6, and reads no users' files.

pub mod defaults;
mod error;
mod ftp;
mod limits;
mod raw;
pub mod schema;
mod values;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::atomic_file;
use crate::base::json::Object;
use crate::base::token_bucket::{Directions, Rate};
use crate::config::defaults::UNAUTHENTICATED_BYTES;
pub use error::ConfigError;
pub use ftp::{FTP_PORT_DEFAULT, FtpConfig};

/// The configuration of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The file it was read from.
    pub file: PathBuf,
    /// The base of relative paths: by default the parent of the directory that holds the file.
    pub root: PathBuf,
    /// The user that a server started by root becomes. The name is not looked up here.
    pub user: Option<String>,
    /// The group instead of the user's own; only with a user.
    pub group: Option<String>,
    /// Addresses of the native protocol: at least one, none twice. Port 0 is any free one.
    pub listen: Vec<SocketAddr>,
    /// Whether connections without TLS are allowed.
    pub plaintext: bool,
    /// The files of the certificate and its key.
    pub tls: TlsFiles,
    /// The FTP configuration, if FTP is enabled.
    pub ftp: Option<FtpConfig>,
    /// Directories that contain homes; at least one. New homes go to the first.
    pub home_roots: Vec<PathBuf>,
    /// The quota of bytes for accounts that are added without one.
    pub default_quota: Option<u64>,
    /// Limits on concurrent use.
    pub limits: Limits,
    /// Rate limits.
    pub rates: Rates,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// When an upload is confirmed.
    pub sync: SyncPolicy,
    /// How long a partial upload is kept.
    pub partial_expiry: Duration,
    /// PBKDF2 rounds of new passwords.
    pub scram_rounds: u32,
    /// The log files.
    pub logs: Logs,
    /// The directory of the control socket.
    pub control_directory: PathBuf,
}

/// The files of the certificate and its key, both in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those of its issuers.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Whether the server makes and renews the files itself, because none are configured.
    pub is_own: bool,
}

/// Limits on concurrent use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sessions of all accounts together.
    pub sessions: usize,
    /// Unauthenticated connections.
    pub unauthenticated: usize,
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
    /// Returns the memory that is left for logged-in sessions.
    pub fn session_memory_bytes(&self) -> usize {
        self.memory.saturating_sub(self.unauthenticated * UNAUTHENTICATED_BYTES)
    }
}

/// Rate limits; `None`: unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rates {
    /// Requests of one session.
    pub requests: Option<Rate>,
    /// Bytes of one session, with protocol overhead but without TLS overhead.
    pub session: Directions<Option<Rate>>,
    /// Bytes of all sessions of one account together.
    pub account: Directions<Option<Rate>>,
}

/// Timeouts. Each is the time from one event to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// From accept to a completed login.
    pub login: Duration,
    /// From the last command to the next.
    pub idle: Duration,
    /// From the last byte of a transfer to the next.
    pub stall: Duration,
    /// From SIGTERM to the end of running transfers.
    pub drain: Duration,
    /// From the last result of a file system until it counts as unresponsive.
    pub storage: Duration,
}

/// When an upload is confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncPolicy {
    /// When it has its name; the kernel writes it to disk later.
    None,
    /// When its data is on disk and it has its name: after a power loss the name holds the complete old
    /// file or the complete new one.
    Data,
    /// When its data and its name are on disk.
    Full,
}

/// The log files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// Connections, logins, commands, refusals.
    pub access: PathBuf,
    /// One line per transfer.
    pub transactions: PathBuf,
    /// The size at which each of the two is rotated; one old file of each is kept.
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

    /// Returns the defaults for a file at `path`, which need not exist.
    pub fn default_for(path: &Path) -> Result<Self, ConfigError> {
        raw::RawConfig::default().into_config(path)
    }

    /// Returns a warning for each setting that is valid but unsafe.
    pub fn warnings(&self) -> Vec<String> {
        let exposed = |addresses: &[SocketAddr]| addresses.iter().copied().find(|address| !address.ip().is_loopback());
        let native = exposed(&self.listen).filter(|_| self.plaintext);
        let ftp = self.ftp.as_ref().filter(|ftp| ftp.plaintext).and_then(|ftp| exposed(&ftp.listen));
        let native = native.map(|address| {
            format!("`plaintext` is true and {address} is not a loopback address: files may travel without encryption")
        });
        let ftp = ftp.map(|address| {
            format!(
                "`ftp.plaintext` is true and {address} is not a loopback address: passwords and files may travel \
                 without encryption"
            )
        });
        native.into_iter().chain(ftp).collect()
    }

    /// Checks that the root exists, and directories that are configured outside of it: a server makes missing
    /// directories only below its root, because others may be misspelt or on a disk that is not mounted.
    pub fn check_directories(&self) -> Result<(), ConfigError> {
        let missing = |key: String, directory: &Path| {
            let problem = if directory.exists() { "is no directory" } else { "does not exist" };
            ConfigError::new(&self.file, key, format!("{} {problem}; {}", directory.display(), self.directory_remedy()))
        };
        let is_missing = |directory: &Path| {
            directory.metadata().map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |found| !found.is_dir())
        };
        if is_missing(&self.root) {
            return Err(missing("root".into(), &self.root));
        }
        let logs = [("logs.access", &self.logs.access), ("logs.transactions", &self.logs.transactions)];
        let logs = logs.into_iter().filter_map(|(key, file)| Some((key.to_string(), file.parent()?)));
        let homes = self.home_roots.iter().map(|directory| ("home_roots".to_string(), directory.as_path()));
        match logs.chain(homes).find(|(_, directory)| !directory.starts_with(&self.root) && is_missing(directory)) {
            Some((key, directory)) => Err(missing(key, directory)),
            None => Ok(()),
        }
    }

    /// Returns the directory of the accounts: `users/` beside the configuration file.
    pub fn accounts_dir(&self) -> PathBuf {
        self.directory().join("users")
    }

    /// Returns the directory of the configuration file, its accounts and its keys.
    pub fn directory(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    /// Returns advice about a missing or unwritable directory of the server.
    pub fn directory_remedy(&self) -> String {
        match &self.user {
            Some(user) => format!("run `berthd user list` as root, which makes what is missing for the user '{user}'"),
            None => "make it, and give it to the user the server runs as".into(),
        }
    }

    /// Returns `path` as an absolute one: relative paths start at [`Config::root`].
    pub fn resolve(&self, path: &Path) -> PathBuf {
        normalize_path(&self.root.join(path))
    }
}

/// Removes `.` and doubled slashes, and resolves `..` lexically.
fn normalize_path(path: &Path) -> PathBuf {
    let mut normalized = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normalized.pop();
            }
            other => normalized.push(other),
        }
    }
    normalized
}

/// Replaces `[::]`, which means every address of both families, by `0.0.0.0` if the kernel has no IPv6.
fn usable_wildcard(address: SocketAddr) -> SocketAddr {
    let is_v6_wildcard = address.is_ipv6() && address.ip().is_unspecified();
    if is_v6_wildcard && UdpSocket::bind("[::]:0").is_err() {
        return SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()));
    }
    address
}

/// The default port of both programs.
pub const PORT_DEFAULT: u16 = 2121;

#[cfg(test)]
mod tests;
