//! The configuration file as serde reads it, and its conversion into a [`Config`]: `into_checked` sets defaults
//! and refuses values that are out of range or contradict each other.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::{
    Config, ConfigError, Limits, Logs, PORT_DEFAULT, Rates, SyncPolicy, Timeouts, TlsFiles, normalize_path,
    usable_wildcard,
};
use crate::auth::scram::{SCRAM_ROUNDS_DEFAULT, SCRAM_ROUNDS_MAX, SCRAM_ROUNDS_MIN};
use crate::base::json::Object;
use crate::base::memory::SESSION_MEMORY_DEFAULT;
use crate::base::text::Size;
use crate::base::token_bucket::{Directions, Rate};
use crate::config::defaults::{
    DRAIN_TIMEOUT_DEFAULT, IDLE_TIMEOUT_DEFAULT, LOGIN_TIMEOUT_DEFAULT, LOGIN_TRIES_DEFAULT, MEMORY_DEFAULT,
    PARTIAL_EXPIRY_DEFAULT, RATE_BYTES_MIN, SESSION_MEMORY_MIN, SESSIONS_DEFAULT, SESSIONS_SHARE, SESSIONS_SHARE_MIN,
    STALL_TIMEOUT_DEFAULT, STORAGE_TIMEOUT_DEFAULT, UNAUTHENTICATED_BYTES, UNAUTHENTICATED_DEFAULT,
};

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
struct RawLimits {
    sessions: Option<usize>,
    strangers: Option<usize>,
    sessions_per_account: Option<usize>,
    sessions_per_address: Option<usize>,
    memory: Option<RawSize>,
    login_tries: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawRates {
    requests: Option<u64>,
    requests_burst: Option<u64>,
    session_up: Option<RawSize>,
    session_down: Option<RawSize>,
    account_up: Option<RawSize>,
    account_down: Option<RawSize>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawTimeouts {
    login: Option<Period>,
    idle: Option<Period>,
    stall: Option<Period>,
    drain: Option<Period>,
    storage: Option<Period>,
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

/// Parses addresses with a port, by default `usual_port`; at least one, none twice.
pub(super) fn listen_addresses(OneOrMore(texts): OneOrMore, usual_port: u16) -> Result<Vec<SocketAddr>, String> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for text in texts {
        let address = text.parse().map_err(|_| {
            format!("'{text}' is not an address with a port, such as 0.0.0.0:{usual_port} or [::]:{usual_port}")
        })?;
        let address = usable_wildcard(address);
        if address.port() != 0 && addresses.contains(&address) {
            return Err(format!("{address} stands here twice"));
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

/// A configuration key, and what is wrong with its value.
pub(super) type Problem = (&'static str, String);

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

impl RawLimits {
    fn into_checked(self) -> Result<Limits, Problem> {
        let sessions = self.sessions.unwrap_or(SESSIONS_DEFAULT);
        let share = |key, own: Option<usize>, default: usize| match own {
            Some(0) => Err((key, "0 would let nobody in".to_string())),
            Some(own) if own > sessions => Err((key, format!("{own} is more than limits.sessions, {sessions}"))),
            own => Ok(own.unwrap_or(default.min(sessions))),
        };
        let default_share = (sessions / SESSIONS_SHARE).max(SESSIONS_SHARE_MIN);
        let login_tries = self.login_tries.unwrap_or(LOGIN_TRIES_DEFAULT);
        if sessions == 0 {
            return Err(("limits.sessions", "0 would let nobody in".into()));
        }
        if login_tries == 0 {
            return Err(("limits.login_tries", "0 would let nobody in".into()));
        }
        let unauthenticated = share("limits.strangers", self.strangers, UNAUTHENTICATED_DEFAULT)?;
        Ok(Limits {
            sessions,
            unauthenticated,
            sessions_per_account: share("limits.sessions_per_account", self.sessions_per_account, default_share)?,
            sessions_per_address: share("limits.sessions_per_address", self.sessions_per_address, default_share)?,
            memory: memory_bytes(self.memory, unauthenticated).map_err(|problem| ("limits.memory", problem))?,
            login_tries,
        })
    }
}

/// Returns the bytes of memory for connections and requests. Unauthenticated connections have their own part,
/// so that they cannot use up the memory of sessions.
fn memory_bytes(memory: Option<RawSize>, unauthenticated: usize) -> Result<usize, String> {
    let reserved = unauthenticated.saturating_mul(UNAUTHENTICATED_BYTES);
    let least = reserved.saturating_add(SESSION_MEMORY_MIN);
    match memory.map(|RawSize(bytes)| usize::try_from(bytes).unwrap_or(usize::MAX)) {
        None => Ok(reserved.saturating_add(SESSION_MEMORY_DEFAULT).max(MEMORY_DEFAULT)),
        Some(bytes) if bytes < least => Err(format!(
            "{bytes} bytes are too few; limits.strangers {unauthenticated} reserves {UNAUTHENTICATED_BYTES} bytes for each \
             connection; give at least {least}, or lower limits.strangers"
        )),
        Some(bytes) => Ok(bytes),
    }
}

impl RawRates {
    fn into_checked(self) -> Result<Rates, Problem> {
        let bytes = |key, rate: Option<RawSize>| match rate.and_then(|RawSize(bytes)| NonZeroU64::new(bytes)) {
            Some(bytes) if bytes.get() < RATE_BYTES_MIN => {
                Err((key, format!("{bytes} bytes a second are too few for a login; give at least {RATE_BYTES_MIN}")))
            }
            bytes => Ok(bytes.map(Rate::per_second)),
        };
        let requests = self.requests.and_then(NonZeroU64::new);
        let burst = match self.requests_burst {
            Some(0) => return Err(("rates.requests_burst", "0 would let nobody in".into())),
            Some(_) if requests.is_none() => {
                return Err(("rates.requests_burst", "means nothing without rates.requests".into()));
            }
            burst => burst.and_then(NonZeroU64::new),
        };
        Ok(Rates {
            requests: requests.map(|requests| Rate { per_second: requests, burst: burst.unwrap_or(requests) }),
            session: Directions {
                up: bytes("rates.session_up", self.session_up)?,
                down: bytes("rates.session_down", self.session_down)?,
            },
            account: Directions {
                up: bytes("rates.account_up", self.account_up)?,
                down: bytes("rates.account_down", self.account_down)?,
            },
        })
    }
}

impl RawTimeouts {
    fn into_checked(self) -> Result<Timeouts, Problem> {
        let named = |key, period, default| positive(period, default).map_err(|problem| (key, problem));
        Ok(Timeouts {
            login: named("timeouts.login", self.login, LOGIN_TIMEOUT_DEFAULT)?,
            idle: named("timeouts.idle", self.idle, IDLE_TIMEOUT_DEFAULT)?,
            stall: named("timeouts.stall", self.stall, STALL_TIMEOUT_DEFAULT)?,
            storage: named("timeouts.storage", self.storage, STORAGE_TIMEOUT_DEFAULT)?,
            // Zero is allowed here: stop at once.
            drain: self.drain.map_or(DRAIN_TIMEOUT_DEFAULT, |period| period.0),
        })
    }
}

pub(super) fn positive(period: Option<Period>, default: Duration) -> Result<Duration, String> {
    match period {
        Some(Period(Duration::ZERO)) => Err("must be longer than 0 seconds".into()),
        period => Ok(period.map_or(default, |period| period.0)),
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

/// Both log files and their old ones then take 64 MiB, which fits a small device.
const LOG_BYTES_MAX_DEFAULT: u64 = 16 << 20;
/// As much as the log writer collects before it writes.
const LOG_BYTES_MAX_MIN: u64 = 64 << 10;

/// A list of strings, or one string for a list of one.
pub(super) struct OneOrMore(Vec<String>);

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMoreVisitor;
        impl<'de> de::Visitor<'de> for OneOrMoreVisitor {
            type Value = OneOrMore;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address or a list of addresses")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMore, E> {
                Ok(OneOrMore(vec![text.into()]))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<OneOrMore, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(OneOrMore(texts))
            }
        }
        deserializer.deserialize_any(OneOrMoreVisitor)
    }
}

/// A number of bytes, or text such as `10G`.
struct RawSize(u64);

impl<'de> Deserialize<'de> for RawSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read = |text: &str| text.parse::<Size>().map(|size| size.0).map_err(|error| error.to_string());
        number_or_text(deserializer, "a number of bytes or a size such as \"10G\"", read).map(Self)
    }
}

/// A number of seconds, or text such as `7d`.
#[derive(Clone, Copy)]
pub(super) struct Period(Duration);

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds =
            number_or_text(deserializer, "a number of seconds or a period such as \"15m\" or \"7d\"", read_period)?;
        // Deadlines are computed by adding to the clock, which must not overflow.
        if seconds > PERIOD_SECONDS_MAX {
            return Err(de::Error::custom("longer than ten years"));
        }
        Ok(Self(Duration::from_secs(seconds)))
    }
}

const PERIOD_SECONDS_MAX: u64 = 10 * 366 * 86_400;

fn read_period(text: &str) -> Result<u64, String> {
    let error = || format!("'{text}' is not a period; write seconds, or a number with s, m, h or d, such as 7d");
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let (number, unit) = units
        .iter()
        .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|number| (number, *unit)))
        .unwrap_or((text, 1));
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(error());
    }
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(error)
}

fn number_or_text<'de, D: Deserializer<'de>>(
    deserializer: D,
    expected: &'static str,
    read: fn(&str) -> Result<u64, String>,
) -> Result<u64, D::Error> {
    struct Visitor(&'static str, fn(&str) -> Result<u64, String>);
    impl de::Visitor<'_> for Visitor {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            (self.1)(text).map_err(E::custom)
        }
    }
    deserializer.deserialize_any(Visitor(expected, read))
}
