//! What a session writes into the two logs: every command and refusal into one, every transfer
//! into the other. One form for all front-ends; every foreign byte is escaped.

use super::Session;
use super::overview::Transfer;
use super::refusal::Refusal;
use super::state::State;
use super::task::Task;
use crate::account::AccountName;
use crate::digest::Digest;
use crate::logging::{ACCESS, TRANSACTIONS};
use crate::text::Quoted;
use crate::vpath::VPath;
use std::fmt::Display;
use std::time::Instant;

impl Session {
    pub(super) fn log_path<T>(&self, verb: &str, path: &VPath, result: &Result<T, Refusal>) {
        self.log_access(verb, &[("path", path.as_bytes())], result);
    }

    /// The name that was given, which is nobody's until the login has succeeded.
    pub(super) fn log_login(&self, claimed: &str, result: &Result<(), Refusal>) {
        let fields: &[(&str, &[u8])] = if result.is_ok() { &[] } else { &[("claimed", claimed.as_bytes())] };
        self.log_access("login", fields, result);
    }

    pub(super) fn log_access<T>(&self, verb: &str, fields: &[(&str, &[u8])], result: &Result<T, Refusal>) {
        log::info!(
            target: ACCESS,
            "peer={} user={} verb={verb}{} result={}",
            self.peer,
            self.user(),
            Fields(fields),
            outcome(result.as_ref().err())
        );
    }

    pub(super) fn log_unfinished(&self, why: Refusal, now: Instant) {
        if let Some(record) = self.transfer() {
            self.log_transfer(&record, now, Err(why));
        }
        if let State::Command(_, Some(Task::Folders(folders))) = &self.state {
            self.log_path::<()>("mkdir", folders.path(), &Err(why));
        }
    }

    pub(super) fn log_transfer(&self, transfer: &Transfer, now: Instant, result: Result<Option<Digest>, Refusal>) {
        if let Some(member) = self.state.member() {
            member.seat.total.note(transfer, result.is_ok());
        }
        let digest = result.ok().flatten().map_or_else(|| "-".to_string(), |digest| digest.to_string());
        log::info!(
            target: TRANSACTIONS,
            "verb={} user={} peer={} path={} bytes={} offset={} seconds={:.3} digest={digest} result={}",
            transfer.verb,
            self.user(),
            self.peer,
            Quoted(transfer.path.as_bytes()),
            transfer.bytes,
            transfer.offset,
            now.saturating_duration_since(transfer.started).as_secs_f64(),
            outcome(result.as_ref().err())
        );
    }

    fn user(&self) -> &str {
        self.account().map_or("-", AccountName::as_str)
    }
}

struct Fields<'a>(&'a [(&'a str, &'a [u8])]);

impl Display for Fields<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|(key, value)| write!(f, " {key}={}", Quoted(value)))
    }
}

/// One word for the logs, so that they can be searched.
fn outcome(refusal: Option<&Refusal>) -> String {
    refusal.map_or_else(|| "ok".to_string(), |refusal| format!("{refusal:?}"))
}
