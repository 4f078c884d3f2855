//! Counting what became of many things: each failure is reported as it happens and the rest
//! goes on. It knows no command.

use std::time::Instant;

use serde_json::{Value, json};

use crate::base::text::Escaped;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::ui::amounts::{Bytes, Elapsed, Rate};

/// The count of one command.
pub struct Summary {
    command: &'static str,
    /// There is only one thing: its failure is the command's.
    is_single: bool,
    total: usize,
    failed: usize,
    bytes: u64,
    identical: usize,
    /// Of a command that removes things on the way.
    removed: Option<usize>,
    started: Instant,
}

impl Summary {
    /// For `command`; with `is_single` the one failure there can be is handed on as it is.
    pub fn new(command: &'static str, is_single: bool) -> Self {
        Self { command, is_single, total: 0, failed: 0, bytes: 0, identical: 0, removed: None, started: Instant::now() }
    }

    /// The same for a command that removes things on the way.
    pub fn with_removals(self) -> Self {
        Self { removed: Some(0), ..self }
    }

    /// Counts one thing. What ends the session, Ctrl-C, and a single thing's failure come back.
    pub fn count(&mut self, session: &mut Session, result: Result<(), Failure>) -> Result<(), Failure> {
        self.total += 1;
        match result {
            Ok(()) => Ok(()),
            Err(failure) if self.is_single || failure.ends_session() || failure == Failure::Interrupted => Err(failure),
            Err(failure) => {
                self.failed += 1;
                report(session, self.command, &failure)
            }
        }
    }

    /// Notes how much a transfer moved.
    pub fn moved(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    /// Notes a file that needed no transfer.
    pub fn was_there(&mut self) {
        self.identical += 1;
    }

    /// Counts files that needed no transfer and are not told one by one.
    pub fn were_there(&mut self, files: usize) {
        self.total += files;
        self.identical += files;
    }

    /// Notes something that was removed.
    pub fn removed(&mut self) {
        self.removed = self.removed.map(|removed| removed + 1);
    }

    /// How many things failed so far.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// `12 files, 1.5G, 2 already there, 1 failed, 3.0s, 512M/s`: what is zero is left out.
    pub fn summarize(&self, session: &mut Session) -> Result<(), Failure> {
        let elapsed = self.started.elapsed();
        let mut counts = self.counts("", "removed");
        counts += &format!(", {}", Elapsed(elapsed));
        if self.bytes > 0 {
            counts += &format!(", {}", Rate(self.bytes, elapsed));
        }
        session.output.line(format_args!("{}: {counts}", self.command))?;
        session.output.json(&self.summary(elapsed.as_secs_f64()))
    }

    /// The same of what would be done.
    pub fn summarize_plan(&self, session: &mut Session) -> Result<(), Failure> {
        session.output.line(format_args!("{} --dry-run: {}", self.command, self.counts(" to move", "to remove")))?;
        session.output.json(&self.summary(self.started.elapsed().as_secs_f64()))
    }

    /// `to_move` stands behind the bytes, `removed` behind the number of things removed.
    fn counts(&self, to_move: &str, removed: &str) -> String {
        let done = self.total - self.failed;
        let mut counts = match done {
            0 => "no files".to_string(),
            1 => "1 file".to_string(),
            done => format!("{done} files"),
        };
        if self.bytes > 0 {
            counts += &format!(", {}{to_move}", Bytes(self.bytes));
        }
        match self.identical {
            0 => {}
            identical if identical < done => counts += &format!(", {identical} already there"),
            1 => counts += ", already there",
            _ => counts += ", all already there",
        }
        for (count, what) in [(self.removed.unwrap_or(0), removed), (self.failed, "failed")] {
            if count > 0 {
                counts += &format!(", {count} {what}");
            }
        }
        counts
    }

    fn summary(&self, seconds: f64) -> Value {
        let mut summary = json!({
            "command": self.command, "ok": self.failed == 0, "files": self.total - self.failed, "bytes": self.bytes,
            "already_there": self.identical, "failed": self.failed, "seconds": seconds,
        });
        if let Some(removed) = self.removed {
            summary["removed"] = json!(removed);
        }
        summary
    }

    /// The command's own result.
    pub fn finish(self) -> Result<(), Failure> {
        match self.failed {
            0 => Ok(()),
            failed => Err(Failure::Some { failed, total: self.total }),
        }
    }
}

/// Tells people on standard error, and programs with `--json`, that a command or a part of it
/// failed. That nobody reads the results is no reason to leave the rest undone.
pub fn report(session: &mut Session, command: &str, failure: &Failure) -> Result<(), Failure> {
    if *failure == Failure::OutputClosed {
        return Ok(());
    }
    session.output.failures += 1;
    session.output.complain(format_args!("berth: {}: {failure}", Escaped(command.as_bytes())));
    match session.output.json(&failure_object(command, failure)) {
        Err(Failure::OutputClosed) => Ok(()),
        told => told,
    }
}

/// A failure for programs.
pub fn failure_object(command: &str, failure: &Failure) -> Value {
    json!({"command": command, "ok": false, "code": failure.word(), "message": failure.to_string()})
}
