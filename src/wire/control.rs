//! The messages on the local control socket, between `berthd`'s commands and the running
//! server: control frames as on the network, but with requests of their own. Both ends are the
//! same program, so they may change with it.

use serde::{Deserialize, Serialize};

/// What an administrator asks of the running server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum ControlRequest {
    /// What accounts use; answered by one [`ControlReply::Usage`] each, then [`ControlReply::End`].
    Usage {
        /// Only this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        /// What to do about it.
        mode: AuditMode,
    },
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
#[serde(tag = "re", rename_all = "snake_case")]
pub enum ControlReply {
    /// One account.
    Usage(AccountUsage),
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
    /// Why this account could not be looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
