//! The configuration file as serde reads it, and its conversion into a [`Config`]: `into_checked` sets defaults
//! and refuses values that are out of range or contradict each other.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::Problem;
use super::limits::{RawLimits, RawRates, RawTimeouts};
use super::values::{OneOrMore, Period, RawSize, positive};
use super::{Config, ConfigError, Logs, PORT_DEFAULT, SyncPolicy, TlsFiles, normalize_path, usable_wildcard};
use crate::auth::scram::{SCRAM_ROUNDS_DEFAULT, SCRAM_ROUNDS_MAX, SCRAM_ROUNDS_MIN};
use crate::base::json::Object;
use crate::config::defaults::PARTIAL_EXPIRY_DEFAULT;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawConfig {
    root: Option<PathBuf>,
    user: Option<String>,
    group: Option<String>,
    listen: Option<OneOrMore>,
    plaintext: Option<bool>,
    tls: Object<RawTls>,
    ftp: Object<RawFtp>,
    home_roots: Option<Vec<PathBuf>>,
    default_quota: Option<RawSize>,
    limits: Object<RawLimits>,
    rates: Object<RawRates>,
    timeouts: Object<RawTimeouts>,
    sync: Option<SyncPolicy>,
    partial_expiry: Option<Period>,
    scram_rounds: Option<u32>,
    logs: Object<RawLogs>,
    control_folder: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawTls {
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawFtp {
    pub(super) listen: Option<OneOrMore>,
    pub(super) listen_tls: Option<OneOrMore>,
    pub(super) plaintext: Option<bool>,
    pub(super) passive_ports: Option<String>,
    pub(super) public_address: Option<Ipv4Addr>,
    pub(super) active: Option<bool>,
    pub(super) data_timeout: Option<Period>,
    pub(super) session_reuse: Option<SessionReuse>,
    pub(super) close_notify: Option<CloseNotify>,
    pub(super) hash_uploads: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SessionReuse {
    Offered,
    Required,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CloseNotify {
    Required,
    Optional,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawLogs {
    access: Option<PathBuf>,
    transactions: Option<PathBuf>,
    bytes_max: Option<RawSize>,
}

impl RawConfig {
    pub(super) fn into_config(self, path: &Path) -> Result<Config, ConfigError> {
        let error = |key: &str, problem: String| ConfigError::new(path, key, problem);
        let file = std::path::absolute(path).map_err(|e| ConfigError::unreadable(path, &e))?;
        let file = normalize_path(&file);
        let above = file.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
        let root = normalize_path(&above.join(self.root.unwrap_or_default()));

        if self.group.is_some() && self.user.is_none() {
            return Err(error("group", "is given without `user`; a server needs both, or the user alone".into()));
        }
        let scram_rounds = self.scram_rounds.unwrap_or(SCRAM_ROUNDS_DEFAULT);
        if !(SCRAM_ROUNDS_MIN..=SCRAM_ROUNDS_MAX).contains(&scram_rounds) {
            let range = format!("{scram_rounds} is not within {SCRAM_ROUNDS_MIN} to {SCRAM_ROUNDS_MAX}");
            return Err(error("scram_rounds", range));
        }
        let listen = native_addresses(self.listen).map_err(|problem| error("listen", problem))?;
        let plaintext = self.plaintext.unwrap_or(false);
        Ok(Config {
            user: self.user,
            group: self.group,
            ftp: self.ftp.0.into_checked(&listen, plaintext).map_err(|(key, problem)| error(key, problem))?,
            listen,
            plaintext,
            tls: self.tls.0.into_checked(&file, &root).map_err(|(key, problem)| error(key, problem))?,
            home_roots: home_roots(self.home_roots, &root).map_err(|problem| error("home_roots", problem))?,
            default_quota: self.default_quota.map(|size| size.0),
            limits: self.limits.0.into_checked().map_err(|(key, problem)| error(key, problem))?,
            rates: self.rates.0.into_checked().map_err(|(key, problem)| error(key, problem))?,
            timeouts: self.timeouts.0.into_checked().map_err(|(key, problem)| error(key, problem))?,
            sync: self.sync.unwrap_or(SyncPolicy::Data),
            partial_expiry: positive(self.partial_expiry, PARTIAL_EXPIRY_DEFAULT)
                .map_err(|problem| error("partial_expiry", problem))?,
            scram_rounds,
            logs: self.logs.0.into_checked(&root).map_err(|(key, problem)| error(key, problem))?,
            control_directory: match self.control_folder {
                Some(directory) => normalize_path(&root.join(directory)),
                None => file.parent().unwrap_or(Path::new("/")).to_path_buf(),
            },
            root,
            file,
        })
    }
}

fn native_addresses(listen: Option<OneOrMore>) -> Result<Vec<SocketAddr>, String> {
    match listen {
        Some(listen) => listen_addresses(listen, PORT_DEFAULT),
        None => Ok(vec![usable_wildcard(SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT_DEFAULT)))]),
    }
}

/// Parses at least one address with a port, none twice. The error message suggests `usual_port`.
pub(super) fn listen_addresses(OneOrMore(texts): OneOrMore, usual_port: u16) -> Result<Vec<SocketAddr>, String> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for text in texts {
        let address = text.parse().map_err(|_| {
            format!("'{text}' is not an address with a port, such as 0.0.0.0:{usual_port} or [::]:{usual_port}")
        })?;
        let address = usable_wildcard(address);
        if address.port() != 0 && addresses.contains(&address) {
            return Err(format!("{address} is listed twice"));
        }
        addresses.push(address);
    }
    if addresses.is_empty() { Err("at least one address is needed".into()) } else { Ok(addresses) }
}

fn home_roots(roots: Option<Vec<PathBuf>>, root: &Path) -> Result<Vec<PathBuf>, String> {
    let roots = roots.unwrap_or_else(|| vec!["homes".into()]);
    if roots.is_empty() {
        return Err("at least one directory is needed".into());
    }
    let mut absolute: Vec<PathBuf> = Vec::new();
    for path in roots {
        if path.as_os_str().is_empty() {
            return Err("a path is empty".into());
        }
        let path = normalize_path(&root.join(path));
        if let Some(other) = absolute.iter().find(|other| other.starts_with(&path) || path.starts_with(other)) {
            return Err(format!("'{}' and '{}' are equal or one lies in the other", other.display(), path.display()));
        }
        absolute.push(path);
    }
    Ok(absolute)
}

impl RawTls {
    fn into_checked(self, file: &Path, root: &Path) -> Result<TlsFiles, Problem> {
        let missing = |key, other| Err((key, format!("is missing, though {other} is given; a server needs both")));
        match (self.certificate, self.key) {
            (Some(certificate), Some(key)) => Ok(TlsFiles {
                certificate: normalize_path(&root.join(certificate)),
                key: normalize_path(&root.join(key)),
                is_own: false,
            }),
            (None, None) => {
                let directory = file.parent().unwrap_or(Path::new("/")).join("tls");
                Ok(TlsFiles { certificate: directory.join("cert.pem"), key: directory.join("key.pem"), is_own: true })
            }
            (Some(_), None) => missing("tls.key", "tls.certificate"),
            (None, Some(_)) => missing("tls.certificate", "tls.key"),
        }
    }
}

impl RawLogs {
    fn into_checked(self, root: &Path) -> Result<Logs, Problem> {
        let resolve =
            |path: Option<PathBuf>, default: &str| normalize_path(&root.join(path.unwrap_or_else(|| default.into())));
        let access = resolve(self.access, "logs/access.log");
        let transactions = resolve(self.transactions, "logs/transactions.log");
        if access == transactions {
            return Err(("logs.transactions", "is the same file as logs.access".into()));
        }
        let bytes_max = self.bytes_max.map_or(LOG_BYTES_MAX_DEFAULT, |RawSize(bytes)| bytes);
        if bytes_max < LOG_BYTES_MAX_MIN {
            return Err(("logs.bytes_max", format!("is less than {LOG_BYTES_MAX_MIN}, which holds few lines")));
        }
        Ok(Logs { access, transactions, bytes_max })
    }
}

/// With this size, both log files and their old ones take 64 MiB, which fits a small device.
const LOG_BYTES_MAX_DEFAULT: u64 = 16 << 20;
/// The size that the log writer collects before it writes.
const LOG_BYTES_MAX_MIN: u64 = 64 << 10;
