//! The messages on the local control socket, between the commands of `berthd` and the running server. They are
//! sent in control frames, like the messages on the network. Both ends are the same program, so a new version
//! may change them.

use serde::{Deserialize, Serialize};

use super::message::Name;

/// A request of an administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlRequest {
    /// The usage of accounts. Answered by a [`ControlReply::Usage`] for each account, then [`ControlReply::End`].
    Usage {
        /// The account; absent: all accounts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// What the request does with the ledger.
        mode: UsageMode,
    },
    /// The state of the server. Answered by a [`ControlReply::Session`] for each session, a
    /// [`ControlReply::User`] for each account, one [`ControlReply::Server`], then [`ControlReply::End`].
    Status {
        /// Also accounts that are not logged in.
        #[serde(default)]
        all: bool,
    },
    /// Ends sessions. Answered by one [`ControlReply::Kicked`], then [`ControlReply::End`].
    Kick {
        /// The sessions to end.
        #[serde(rename = "whom")]
        target: KickTarget,
    },
}

/// The sessions that [`ControlRequest::Kick`] ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KickTarget {
    /// The session with this number.
    Session(u64),
    /// All sessions of this account.
    User(String),
}

/// What a usage request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageMode {
    /// Report the ledger.
    Show,
    /// Compare it with the disk; change nothing.
    Verify,
    /// Replace it by a count of the disk.
    Repair,
}

/// A reply of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlReply {
    /// The result for one account.
    Usage(AccountUsage),
    /// One session.
    Session(SessionReport),
    /// One account with its sessions.
    User(UserReport),
    /// The server as a whole.
    Server(ServerReport),
    /// The reply to [`ControlRequest::Kick`].
    Kicked {
        /// The number of sessions that were ended.
        sessions: u64,
    },
    /// The last reply.
    End {},
    /// The request failed.
    Error {
        /// Text for people.
        message: String,
    },
}

/// The usage of one account, by the ledger and, if it was counted, on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountUsage {
    /// The account.
    pub user: String,
    /// Bytes by the ledger, including partial uploads.
    pub used_bytes: u64,
    /// Files and directories by the ledger.
    pub used_files: u64,
    /// Bytes reserved for running uploads.
    pub reserved_bytes: u64,
    /// The limit in bytes; null: no limit.
    pub limit_bytes: Option<u64>,
    /// The limit in files and directories; null: no limit.
    pub limit_files: Option<u64>,
    /// Bytes found on disk, if it was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// Files and directories found on disk, if it was counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_files: Option<u64>,
    /// The number of entries that the last count could not read. Their content is not counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unexamined: u64,
    /// The first of these entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unexamined_entries: Vec<UnexaminedEntry>,
    /// Why this account could not be checked; null: it could.
    pub error: Option<String>,
}

/// An entry of a home that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnexaminedEntry {
    /// Its path in the home, for people: unprintable bytes are escaped, a long one is cut.
    pub path: String,
    /// The system's error text.
    pub problem: String,
}

// serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// One session, logged in or not. Fields that do not apply are absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    /// Its number, unique to this server.
    pub session: u64,
    /// The account that is logged in.
    pub user: Option<String>,
    /// Address and port of the peer.
    pub address: String,
    /// Its state: `login`, `idle`, `task`, `upload`, `commit`, `download`.
    pub state: String,
    /// The file of its transfer.
    pub path: Option<Name>,
    /// The size of the file; absent if an upload did not announce it.
    pub size: Option<u64>,
    /// Transferred bytes of the file, including those of earlier sessions.
    pub position: Option<u64>,
    /// Bytes a second since the transfer began.
    pub rate: Option<u64>,
}

/// One account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserReport {
    /// The account.
    pub user: String,
    /// The number of its sessions.
    pub sessions: u64,
    /// Bytes by the ledger; absent: not counted yet.
    pub used_bytes: Option<u64>,
    /// Files and directories by the ledger; absent: not counted yet.
    pub used_files: Option<u64>,
    /// Bytes reserved for running uploads.
    pub reserved_bytes: u64,
    /// The limit in bytes; absent: no limit.
    pub limit_bytes: Option<u64>,
    /// The limit in files and directories; absent: no limit.
    pub limit_files: Option<u64>,
    /// Why this account could not be checked.
    pub error: Option<String>,
}

/// The server as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerReport {
    /// Uptime in seconds.
    pub seconds: u64,
    /// Logged-in sessions.
    pub sessions: u64,
    /// Unauthenticated connections.
    #[serde(rename = "strangers")]
    pub unauthenticated: u64,
    /// The number of running uploads.
    pub uploading: u64,
    /// The number of running downloads.
    pub downloading: u64,
    /// The number of uploads completed since the start.
    pub uploads: u64,
    /// The number of downloads completed since the start.
    pub downloads: u64,
    /// Uploaded bytes, including running and failed transfers.
    pub bytes_up: u64,
    /// Downloaded bytes, likewise.
    pub bytes_down: u64,
    /// A histogram of turn durations.
    pub turns: Vec<TurnTimes>,
    /// Directories on file systems that do not respond.
    #[serde(rename = "silent_disks")]
    pub unresponsive_directories: Vec<Name>,
}

/// One bucket of the histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnTimes {
    /// The upper bound in microseconds; the lower bound is that of the entry before. Absent: unbounded.
    pub below_us: Option<u64>,
    /// The number of turns.
    pub count: u64,
}
