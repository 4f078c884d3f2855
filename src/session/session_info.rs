//! A snapshot of a session for an administrator: its account, its state, and the progress of its
//! transfer. Taking it changes and logs nothing.

use std::net::SocketAddr;
use std::time::Instant;

use super::Session;
use super::download::Download;
use super::state::{State, StateName};
use super::upload::{Commit, Upload};
use crate::account::AccountName;
use crate::base::virtual_path::VirtualPath;
use crate::store::ledger::QuotaState;

/// A session at one moment.
#[derive(Debug, Clone)]
pub struct SessionInfo {
    /// The account that is logged in, and its usage.
    pub user: Option<(AccountName, QuotaState)>,
    /// The peer's address.
    pub peer: SocketAddr,
    /// The state of the session.
    pub state: StateName,
    /// Its running transfer.
    pub transfer: Option<TransferInfo>,
}

/// A transfer at one moment, for status and, at its end, for the log.
#[derive(Debug, Clone)]
pub struct TransferInfo {
    /// The verb in the log.
    pub verb: &'static str,
    /// Whether it is an upload.
    pub is_upload: bool,
    /// The path of the file.
    pub path: VirtualPath,
    /// Bytes moved in this session.
    pub bytes: u64,
    /// The first byte that this session moved.
    pub offset: u64,
    /// The size of the whole file, if known.
    pub size: Option<u64>,
    /// When it started.
    pub started: Instant,
}

impl Session {
    /// Returns a snapshot of this session.
    pub fn info(&self) -> SessionInfo {
        let user = self.state.user();
        SessionInfo {
            user: user.map(|user| (user.account.clone(), user.home.ledger().state())),
            peer: self.peer,
            state: self.state.name(),
            transfer: self.transfer(),
        }
    }

    /// Returns the progress of the running transfer.
    pub fn transfer(&self) -> Option<TransferInfo> {
        match &self.state {
            State::Upload(_, upload) => Some(TransferInfo::of_upload(upload)),
            State::Commit(_, commit) => Some(TransferInfo::of_commit(commit)),
            State::Download(_, download) => Some(TransferInfo::of_download(download)),
            State::Login(_) | State::Command(..) | State::Closing => None,
        }
    }
}

impl TransferInfo {
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
