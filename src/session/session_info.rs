//! What is told of a session to somebody who watches: who it is, what it does, how far its
//! transfer has come. Asking changes and logs nothing.

use super::Session;
use super::download::Download;
use super::state::{State, StateName};
use super::upload::{Commit, Upload};
use crate::account::AccountName;
use crate::base::virtual_path::VPath;
use crate::store::ledger::QuotaState;
use std::net::SocketAddr;
use std::time::Instant;

/// A session at one moment.
#[derive(Debug, Clone)]
pub struct SessionInfo {
    /// Whose account is logged in, and what it uses.
    pub member: Option<(AccountName, QuotaState)>,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// What it does.
    pub state: StateName,
    /// Its transfer, if one is under way.
    pub transfer: Option<Transfer>,
}

/// A transfer at one moment, for those who watch and, at its end, for the log.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// As the log names it.
    pub verb: &'static str,
    /// To the server.
    pub is_upload: bool,
    /// Of what.
    pub path: VPath,
    /// Bytes moved in this session.
    pub bytes: u64,
    /// Bytes that were there before.
    pub offset: u64,
    /// The whole file's bytes, if they are known.
    pub size: Option<u64>,
    /// When it began.
    pub started: Instant,
}

impl Session {
    /// What is told of this session.
    pub fn overview(&self) -> SessionInfo {
        let member = self.state.member();
        SessionInfo {
            member: member.map(|member| (member.account.clone(), member.home.ledger().state())),
            peer: self.peer,
            state: self.state.name(),
            transfer: self.transfer(),
        }
    }

    /// How far the transfer has come, if one is under way.
    pub fn transfer(&self) -> Option<Transfer> {
        match &self.state {
            State::Upload(_, upload) => Some(Transfer::of_upload(upload)),
            State::Commit(_, commit) => Some(Transfer::of_commit(commit)),
            State::Download(_, download) => Some(Transfer::of_download(download)),
            State::Login(_) | State::Command(..) | State::Closing => None,
        }
    }
}

impl Transfer {
    pub(super) fn of_upload(upload: &Upload) -> Self {
        Self {
            verb: "put",
            is_upload: true,
            path: upload.plan.path.clone(),
            bytes: upload.stored_bytes(),
            offset: upload.offset(),
            size: upload.plan.length.exact(),
            started: upload.started,
        }
    }

    pub(super) fn of_commit(commit: &Commit) -> Self {
        Self {
            verb: "put",
            is_upload: true,
            path: commit.plan.path.clone(),
            bytes: commit.stored.size - commit.offset,
            offset: commit.offset,
            size: Some(commit.stored.size),
            started: commit.started,
        }
    }

    pub(super) fn of_download(download: &Download) -> Self {
        Self {
            verb: "get",
            is_upload: false,
            path: download.plan.path.clone(),
            bytes: download.fetched_bytes(),
            offset: download.offset(),
            size: Some(download.size()),
            started: download.started,
        }
    }
}
