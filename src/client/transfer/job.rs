//! What a transfer gets and returns, the same in both directions.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::base::digest::Digest;
use crate::base::text::Escaped;
use crate::base::virtual_path::VirtualPath;
use crate::client::error::Failure;
use crate::client::files::modes::ModePolicy;
use crate::wire::message::{End, ErrorCode};

/// The direction of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the server to this machine.
    Download,
    /// From this machine to the server.
    Upload,
}

impl Direction {
    /// Returns the name of the command that transfers in this direction.
    pub fn command(self) -> &'static str {
        match self {
            Self::Download => "get",
            Self::Upload => "put",
        }
    }

    /// Returns whether the side of the destination denied access. A failure to read the source concerns only one
    /// file.
    pub fn is_denied_at_destination(self, failure: &Failure) -> bool {
        match self {
            Self::Download => matches!(failure, Failure::LocalDenied(_)),
            Self::Upload => failure.is_refusal(ErrorCode::Denied),
        }
    }
}

/// A file to transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferJob {
    /// The local file.
    pub local: PathBuf,
    /// The remote path.
    pub remote: VirtualPath,
    /// The size in bytes at the time of planning.
    pub size: u64,
    /// Whether the transfer may replace an existing file.
    pub replace: bool,
    /// Whether the destination gets the permission bits of the source.
    pub modes: ModePolicy,
    /// The permission bits of the source, if they are known before the transfer. Older servers do not send them
    /// with the content.
    pub source_mode: Option<u32>,
}

impl TransferJob {
    /// Returns the path that the transfer writes to.
    pub fn destination(&self, direction: Direction) -> &Path {
        match direction {
            Direction::Download => &self.local,
            Direction::Upload => Path::new(OsStr::from_bytes(self.remote.as_bytes())),
        }
    }

    /// Returns the name of the file in the progress display.
    pub fn label(&self) -> String {
        label(&self.remote)
    }
}

/// Returns the name of a remote file in the progress display.
pub fn label(remote: &VirtualPath) -> String {
    Escaped(remote.name().unwrap_or(b"/")).to_string()
}

/// A complete and verified transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transferred {
    /// The size in bytes.
    pub size: u64,
    /// The digest, computed on both sides.
    pub digest: Digest,
    /// The number of bytes that the destination had from an earlier run.
    pub resumed_from: u64,
}

impl Transferred {
    /// Returns the number of bytes that this run transferred.
    pub fn moved_bytes(&self) -> u64 {
        self.size - self.resumed_from.min(self.size)
    }
}

impl From<End> for Transferred {
    /// Converts the end of a transfer that began at the first byte.
    fn from(end: End) -> Self {
        Self { size: end.size, digest: end.digest, resumed_from: 0 }
    }
}

/// A job and its result.
pub type TransferResult = (TransferJob, Result<Transferred, Failure>);
