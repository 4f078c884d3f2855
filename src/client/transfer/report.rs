//! What the user is told about completed and interrupted transfers.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::local::{name_of, shown};
use crate::client::transfer::job::{Direction, TransferJob, Transferred};
use crate::client::ui::amounts::{Bytes, Elapsed, TransferRate};
use crate::client::ui::progress::take_has_kept_bytes;
use crate::client::ui::summary::Summary;
use crate::wire::message::Name;

/// A completed transfer, to be reported.
pub struct Report<'a> {
    /// The direction.
    pub direction: Direction,
    /// The local file.
    pub local: &'a Path,
    /// The remote file.
    pub remote: &'a VirtualPath,
    /// What was transferred.
    pub transferred: Transferred,
    /// Nothing was transferred, because both sides had the same content.
    pub is_identical: bool,
    /// The duration; `None` for one of many files and where nothing was transferred.
    pub elapsed: Option<Duration>,
}

impl<'a> Report<'a> {
    /// Creates the report of a job.
    pub fn for_job(
        direction: Direction,
        job: &'a TransferJob,
        transferred: Transferred,
        elapsed: Option<Duration>,
    ) -> Self {
        Self { direction, local: &job.local, remote: &job.remote, transferred, is_identical: false, elapsed }
    }

    /// Counts the transfer and shows it.
    pub fn count(&self, session: &mut Session, summary: &mut Summary) -> Result<(), Failure> {
        summary.count_transferred(self.transferred.moved_bytes(), self.transferred.size);
        self.show(session, self.elapsed.is_none())
    }

    /// Shows the transfer. One of many (`is_brief`) is shown only in JSON output and to users who want
    /// digests.
    pub fn show(&self, session: &mut Session, is_brief: bool) -> Result<(), Failure> {
        if !is_brief || session.output.shows_digests {
            session.output.line(self.line(session.output.shows_digests))?;
        }
        let Transferred { size, digest, resumed_from } = self.transferred;
        session.output.json(&json!({
            "command": self.direction.command(), "ok": true, "remote": Name::from(self.remote),
            "local": name_of(self.local), "size": size, "digest": digest, "resumed_from": resumed_from,
            "status": if self.is_identical { "identical" } else { "done" },
        }))
    }

    /// Formats `put a -> /a  8M  0.5s  16M/s  verified`. The most important part comes first, because a narrow
    /// terminal wraps the rest.
    fn line(&self, with_digest: bool) -> String {
        let (local, remote) = (shown(self.local), self.remote);
        let mut line = match self.direction {
            Direction::Download => format!("get {remote} -> {local}"),
            Direction::Upload => format!("put {local} -> {remote}"),
        };
        line += &format!("  {}", Bytes(self.transferred.size));
        if let Some(elapsed) = self.elapsed {
            line += &format!("  {}", Elapsed(elapsed));
            let moved_bytes = self.transferred.moved_bytes();
            if moved_bytes > 0 {
                line += &format!("  {}", TransferRate(moved_bytes, elapsed));
            }
        }
        line += if self.is_identical { "  already there, identical" } else { "  verified" };
        if with_digest {
            line += &format!("  {}", self.transferred.digest);
        }
        line
    }
}

/// Tells the user that an interrupted transfer can be resumed.
pub fn note_interruption(session: &mut Session, result: Result<(), Failure>) -> Result<(), Failure> {
    let has_kept_bytes = take_has_kept_bytes();
    if result == Err(Failure::Interrupted) {
        session.output.end_line();
        session.output.note(match has_kept_bytes {
            true => "the transferred data is kept; run the same command again to continue",
            false => "nothing was transferred; run the same command again to start over",
        });
    }
    result
}
