//! The objects `limits`, `rates` and `timeouts` of the file, and their rules: which values are in range and agree
//! with each other.

use std::num::NonZeroU64;

use serde::Deserialize;

use super::error::Problem;
use super::values::{Period, RawSize, positive};
use super::{Limits, Rates, Timeouts};
use crate::base::memory::SESSION_MEMORY_DEFAULT;
use crate::base::token_bucket::{Directions, Rate};
use crate::config::defaults::{
    DRAIN_TIMEOUT_DEFAULT, IDLE_TIMEOUT_DEFAULT, LOGIN_TIMEOUT_DEFAULT, LOGIN_TRIES_DEFAULT, MEMORY_DEFAULT,
    RATE_BYTES_MIN, SESSION_MEMORY_MIN, SESSIONS_DEFAULT, SESSIONS_SHARE, SESSIONS_SHARE_MIN, STALL_TIMEOUT_DEFAULT,
    STORAGE_TIMEOUT_DEFAULT, UNAUTHENTICATED_BYTES, UNAUTHENTICATED_DEFAULT,
};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLimits {
    sessions: Option<usize>,
    strangers: Option<usize>,
    sessions_per_account: Option<usize>,
    sessions_per_address: Option<usize>,
    memory: Option<RawSize>,
    login_tries: Option<u32>,
}

impl RawLimits {
    pub(super) fn into_checked(self) -> Result<Limits, Problem> {
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

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawRates {
    requests: Option<u64>,
    requests_burst: Option<u64>,
    session_up: Option<RawSize>,
    session_down: Option<RawSize>,
    account_up: Option<RawSize>,
    account_down: Option<RawSize>,
}

impl RawRates {
    pub(super) fn into_checked(self) -> Result<Rates, Problem> {
        let bytes = |key, rate: Option<RawSize>| match rate.and_then(|RawSize(bytes)| NonZeroU64::new(bytes)) {
            Some(bytes) if bytes.get() < RATE_BYTES_MIN => {
                Err((key, format!("{bytes} bytes a second are too few for a login; give at least {RATE_BYTES_MIN}")))
            }
            bytes => Ok(bytes.map(Rate::per_second)),
        };
        let requests = self.requests.and_then(NonZeroU64::new);
        let burst = match self.requests_burst {
            Some(0) => return Err(("rates.requests_burst", "0 would allow no request".into())),
            Some(_) if requests.is_none() => {
                return Err(("rates.requests_burst", "has no effect without rates.requests".into()));
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

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawTimeouts {
    login: Option<Period>,
    idle: Option<Period>,
    stall: Option<Period>,
    drain: Option<Period>,
    storage: Option<Period>,
}

impl RawTimeouts {
    pub(super) fn into_checked(self) -> Result<Timeouts, Problem> {
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
