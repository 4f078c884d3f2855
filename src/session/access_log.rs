//! What a session writes to the two logs: every command and refusal to the access log, every transfer
//! to the transfer log. All protocols share one format; foreign bytes are escaped.

use std::fmt::{self, Display, Formatter};
use std::hash::Hash;
use std::mem::discriminant;
use std::net::SocketAddr;
use std::time::Instant;

use log::Level;

use super::Session;
use super::error::SessionError;
use super::origin::Origin;
use super::session_info::TransferInfo;
use super::state::State;
use super::task::Task;
use crate::account::AccountName;
use crate::base::digest::Digest;
use crate::base::virtual_path::VirtualPath;
use crate::logging::{self, ACCESS, TRANSACTIONS, Value};

impl Session {
    /// Logs that the peer has connected.
    pub(super) fn log_connect(&mut self) {
        self.was_connect_logged =
            Line::of_unauthenticated(Some(self.number), self.peer, "connect", None).log_within_limit();
    }

    /// Logs the connection of a session that has logged in, if the rate limit suppressed that line. The line
    /// no longer counts against the limit of unauthenticated peers.
    fn ensure_connect_logged(&mut self) {
        let connect = Line::of_unauthenticated(Some(self.number), self.peer, "connect", None);
        let was_logged = std::mem::replace(&mut self.was_connect_logged, true);
        logging::take_back(ACCESS, (&connect.group(), &connect.kind()), was_logged);
        if !was_logged {
            log::info!(target: ACCESS, "{connect}");
        }
    }

    pub(super) fn log_path<T>(&self, verb: &'static str, path: &VirtualPath, result: &Result<T, SessionError>) {
        self.log_access(verb, &[("path", Value::path(path.as_bytes()))], result);
    }

    /// Logs a login. `claimed` is the name that was given, if an account has it. Any other name is left out: it may be
    /// a password, typed in the wrong place.
    pub(super) fn log_login(&mut self, claimed: Option<&AccountName>, result: &Result<(), SessionError>) {
        if result.is_ok() {
            self.ensure_connect_logged();
            self.log_access("login", &[], result);
        } else {
            self.log_access("login", &[("claimed", Value::name(user(claimed).as_bytes()))], result);
        }
    }

    /// Logs a call. Successes are always logged. Refusals, and the ends of unauthenticated connections, are limited,
    /// because a peer can cause any number of them.
    pub(super) fn log_access<T>(
        &self,
        verb: &'static str,
        fields: &[(&str, Value<'_>)],
        result: &Result<T, SessionError>,
    ) {
        self.warn_of_full_disk(result.as_ref().err());
        let line = Line {
            session: Some(self.number),
            peer: self.peer,
            account: self.account(),
            verb,
            fields,
            refusal: result.as_ref().err(),
        };
        match (line.account, line.refusal) {
            (Some(_), None) => log::info!(target: ACCESS, "{line}"),
            (Some(_), Some(_)) if verb == "close" => log::info!(target: ACCESS, "{line}"),
            _ => drop(line.log_within_limit()),
        }
    }

    /// Warns about a full disk. Called for every refusal of a request or a transfer.
    fn warn_of_full_disk(&self, refusal: Option<&SessionError>) {
        if let (Some(SessionError::DiskFull), Some(user)) = (refusal, self.state.user()) {
            user.home.warn_full();
        }
    }

    pub(super) fn log_unfinished(&self, why: SessionError, now: Instant) {
        if let Some(record) = self.transfer() {
            self.log_transfer(&record, now, Err(why));
        }
        if let State::Command(_, Some(Task::Directories(directories))) = &self.state {
            self.log_path::<()>("mkdir", &directories.path, &Err(why));
        }
    }

    pub(super) fn log_transfer(
        &self,
        transfer: &TransferInfo,
        now: Instant,
        result: Result<Option<Digest>, SessionError>,
    ) {
        if let Some(user) = self.state.user() {
            user.active_account.total.add(transfer.is_upload, transfer.bytes, result.is_ok());
        }
        self.warn_of_full_disk(result.as_ref().err());
        let digest = result.ok().flatten().map_or_else(|| "-".to_string(), |digest| digest.to_string());
        log::info!(
            target: TRANSACTIONS,
            "session={} peer={} user={} verb={} path={} bytes={} offset={} seconds={:.3} digest={digest} result={}",
            self.number,
            self.peer,
            user(self.account()),
            transfer.verb,
            Value::path(transfer.path.as_bytes()),
            transfer.bytes,
            transfer.offset,
            now.saturating_duration_since(transfer.started).as_secs_f64(),
            outcome(result.as_ref().err())
        );
    }
}

/// Logs a refused connection.
pub fn log_refused_connection(peer: SocketAddr, why: SessionError) {
    Line::of_unauthenticated(None, peer, "connect", Some(&why)).log_within_limit();
}

/// A line of the access log.
struct Line<'a> {
    /// Absent for a connection that was refused before it had a session.
    session: Option<u64>,
    peer: SocketAddr,
    account: Option<&'a AccountName>,
    verb: &'static str,
    fields: &'a [(&'a str, Value<'a>)],
    refusal: Option<&'a SessionError>,
}

impl<'a> Line<'a> {
    fn of_unauthenticated(
        session: Option<u64>,
        peer: SocketAddr,
        verb: &'static str,
        refusal: Option<&'a SessionError>,
    ) -> Self {
        Self { session, peer, account: None, verb, fields: &[], refusal }
    }

    /// Logs the line within the limit. Returns whether it was written.
    fn log_within_limit(&self) -> bool {
        logging::log_rate_limited(ACCESS, Level::Info, (&self.group(), &self.kind()), self)
    }

    /// Lines of unauthenticated peers are one group for each outcome; refusals of an account are another.
    fn group(&self) -> impl Hash + use<'a> {
        match self.account {
            Some(account) => (Some(account.as_str()), None),
            None => (None, Some((self.verb, self.refusal.map(discriminant)))),
        }
    }

    /// Returns the key under which lines are counted: the account or the origin. For IPv6 it is the widest
    /// network that one customer may have; otherwise one peer could use a new origin for each line.
    fn kind(&self) -> impl Hash + use<'a> {
        let origin = if self.account.is_none() { Origin::of(self.peer.ip()).networks().next_back() } else { None };
        (origin, self.verb, self.refusal.map(discriminant))
    }
}

impl Display for Line<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.session {
            Some(session) => write!(f, "session={session} ")?,
            None => f.write_str("session=- ")?,
        }
        write!(f, "peer={} user={} verb={}", self.peer, user(self.account), self.verb)?;
        self.fields.iter().try_for_each(|(key, value)| write!(f, " {key}={value}"))?;
        write!(f, " result={}", outcome(self.refusal))
    }
}

fn user(account: Option<&AccountName>) -> &str {
    account.map_or("-", AccountName::as_str)
}

/// Returns one word for the log, to search for.
fn outcome(refusal: Option<&SessionError>) -> &'static str {
    refusal.map_or("ok", |refusal| refusal.log_word())
}
