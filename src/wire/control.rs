//! The messages on the local control socket, between `berthd`'s commands and the running
//! server: control frames as on the network, but with requests of their own. Both ends are the
//! same program, so they may change with it.

use super::message::Name;
use serde::{Deserialize, Serialize};

/// What an administrator asks of the running server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlRequest {
    /// What accounts use; answered by one [`ControlReply::Usage`] each, then [`ControlReply::End`].
    Usage {
        /// Only this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// What to do about it.
        mode: AuditMode,
    },
    /// What the server does; answered by a [`ControlReply::Session`] for each, a
    /// [`ControlReply::User`] for each, one [`ControlReply::Server`], then [`ControlReply::End`].
    Status {
        /// Users that are not logged in, too.
        #[serde(default)]
        all: bool,
    },
    /// End sessions; answered by one [`ControlReply::Kicked`], then [`ControlReply::End`].
    Kick {
        /// Whose.
        whom: Whom,
    },
}

/// Which sessions are meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whom {
    /// The one with this number.
    Session(u64),
    /// All of this account.
    User(String),
}

/// What to do about an account's usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditMode {
    /// Tell what the ledger says.
    Show,
    /// Compare it with the disk; change nothing.
    Verify,
    /// Make it what the disk says.
    Repair,
}

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ControlReply {
    /// One account.
    Usage(AccountUsage),
    /// One session.
    Session(SessionReport),
    /// One user.
    User(UserReport),
    /// The server as a whole.
    Server(ServerReport),
    /// So many sessions were ended.
    Kicked {
        /// Of those that were meant, all there were.
        sessions: u64,
    },
    /// That was all.
    End {},
    /// Why it cannot be done.
    Error {
        /// For people.
        message: String,
    },
}

/// What one account uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountUsage {
    /// The account.
    pub user: String,
    /// Bytes by the ledger, interrupted uploads included.
    pub used_bytes: u64,
    /// Files and folders by the ledger.
    pub used_files: u64,
    /// Bytes promised to running uploads.
    pub reserved_bytes: u64,
    /// Bytes allowed; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
    /// Files and folders allowed; absent: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_files: Option<u64>,
    /// Bytes found on disk, when asked to look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// Files and folders found on disk, when asked to look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_files: Option<u64>,
    /// Entries that the last count could not examine; what is in them is not counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unexamined: u64,
    /// The first of them, each with its path in the home and the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unexamined_entries: Vec<UnexaminedEntry>,
    /// Why this account could not be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An entry of a home that could not be examined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnexaminedEntry {
    /// Its path in the home, for people: unprintable bytes are escaped, a long one is cut.
    pub path: String,
    /// What the system said.
    pub problem: String,
}

// serde calls it with a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// One session, or a connection that nobody has logged in to. What does not apply is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    /// Its number, which no other session of this server ever has.
    pub session: u64,
    /// Whose account is logged in.
    pub user: Option<String>,
    /// Address and port of the peer.
    pub address: String,
    /// What it does: `login`, `idle`, `task`, `upload`, `commit`, `download`.
    pub state: String,
    /// The file it transfers.
    pub path: Option<Name>,
    /// The whole file's bytes; absent too where an upload did not announce them.
    pub size: Option<u64>,
    /// Bytes of the file that are there, those of an earlier session included.
    pub position: Option<u64>,
    /// Bytes a second since the transfer began.
    pub rate: Option<u64>,
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserReport {
    /// The account.
    pub user: String,
    /// How many are logged in.
    pub sessions: u64,
    /// Bytes by the ledger; absent: not counted yet.
    pub used_bytes: Option<u64>,
    /// Files and folders by the ledger; absent: not counted yet.
    pub used_files: Option<u64>,
    /// Bytes promised to running uploads.
    pub reserved_bytes: u64,
    /// Bytes allowed; absent: no limit.
    pub limit_bytes: Option<u64>,
    /// Files and folders allowed; absent: no limit.
    pub limit_files: Option<u64>,
    /// Why this account could not be looked at.
    pub error: Option<String>,
}

/// The server as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerReport {
    /// Seconds since it began.
    pub seconds: u64,
    /// Sessions that are logged in.
    pub sessions: u64,
    /// Connections that nobody has logged in to.
    pub strangers: u64,
    /// Running uploads.
    pub uploading: u64,
    /// Running downloads.
    pub downloading: u64,
    /// Uploads that were finished.
    pub uploads: u64,
    /// Downloads that were finished.
    pub downloads: u64,
    /// Bytes of files that came, by running and failed transfers too.
    pub bytes_up: u64,
    /// Bytes of files that went, likewise.
    pub bytes_down: u64,
    /// How long turns of connections took.
    pub turns: Vec<TurnTimes>,
    /// Folders whose file systems do not answer.
    pub silent_disks: Vec<Name>,
}

/// How many turns took so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnTimes {
    /// Less than so many microseconds, and not less than the entry before says; absent: all the rest.
    pub below_us: Option<u64>,
    /// So many.
    pub count: u64,
}
