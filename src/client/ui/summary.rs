//! Counts the results of a command on many files. Each failure is reported when it happens and the rest
//! continues, unless everything else would fail in the same way.

use serde_json::{Value, json};

use crate::base::virtual_path::VirtualPath;
use crate::client::error::Failure;
use crate::client::ui::amounts::{Bytes, Elapsed, TransferRate};
use crate::client::ui::failures::{RepeatedRefusals, report};
use crate::client::ui::output::Output;
use crate::client::ui::stopwatch::Stopwatch;

/// The counters of one command.
pub struct Summary {
    command: &'static str,
    /// There is only one item, so its failure is the failure of the command.
    is_single: bool,
    total: usize,
    failed: usize,
    bytes: u64,
    identical: usize,
    /// Existing files that differ and that the user did not want to replace.
    kept: usize,
    /// The number of removals; `None` for a command that removes nothing.
    removed: Option<usize>,
    /// Entries whose permission bits were changed.
    modes: usize,
    /// The number and total size of the files to transfer, once it is known.
    planned: Option<(usize, u64)>,
    /// The number and total size of the planned files that are transferred or were kept by choice.
    done: (usize, u64),
    /// Why the command stopped early.
    stop: Option<Failure>,
    refusals: RepeatedRefusals,
    started: Stopwatch,
}

impl Summary {
    /// Creates the counters for `command`. With `is_single`, the failure of the only item is returned
    /// unchanged.
    pub fn new(command: &'static str, is_single: bool) -> Self {
        Self {
            command,
            is_single,
            total: 0,
            failed: 0,
            bytes: 0,
            identical: 0,
            kept: 0,
            removed: None,
            modes: 0,
            planned: None,
            done: (0, 0),
            stop: None,
            refusals: RepeatedRefusals::new(command),
            started: Stopwatch::start(),
        }
    }

    /// Returns the counters for a command that also removes files.
    pub fn with_removals(self) -> Self {
        Self { removed: Some(0), ..self }
    }

    /// Sets the number and total size of the files to transfer.
    pub fn set_plan(&mut self, files: usize, bytes: u64) {
        self.planned = Some((files, bytes));
    }

    /// Counts one item and reports its failure. Returns the failure if all further items would fail in the same way, or
    /// if there is only one item.
    pub fn count(&mut self, output: &mut Output, result: Result<(), Failure>) -> Result<(), Failure> {
        let failure = match result {
            Err(failure) if self.is_single => return Err(failure),
            // Pending items fail for the same reason, which is reported once.
            Err(failure) if self.stop.is_some() => return Err(self.stop(failure)),
            Err(failure) if is_final(&failure) => return Err(self.stop(failure)),
            result => {
                self.total += 1;
                result.err()
            }
        };
        self.failed += usize::from(failure.is_some());
        failure.map_or(Ok(()), |failure| report(output, self.command, &failure))
    }

    /// Like [`Summary::count`], for a request about `path`. Shows refusals of names in one directory once. The command
    /// ends with [`Summary::finish_refusals`].
    pub fn count_at(
        &mut self,
        output: &mut Output,
        path: &VirtualPath,
        result: Result<(), Failure>,
    ) -> Result<(), Failure> {
        match result {
            Err(failure) if !(self.is_single || self.is_stopped() || is_final(&failure)) => {
                self.total += 1;
                self.failed += 1;
                self.refusals.report(output, path, &failure)
            }
            Err(failure) => {
                self.refusals.finish(output);
                self.count(output, Err(failure))
            }
            done => self.count(output, done),
        }
    }

    /// Shows the refusals that were only counted, and returns the result of the command.
    pub fn finish_refusals(mut self, output: &mut Output) -> Result<(), Failure> {
        self.refusals.finish(output);
        self.finish()
    }

    /// Stops the command because of `failure`. Returns the first failure that stopped it.
    pub fn stop(&mut self, failure: Failure) -> Failure {
        self.stop.get_or_insert(failure).clone()
    }

    /// Returns whether the command has stopped.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// Counts a transferred file of `size` bytes, `bytes` of them by this run.
    pub fn count_transferred(&mut self, bytes: u64, size: u64) {
        self.bytes += bytes;
        self.done = (self.done.0 + 1, self.done.1 + size);
    }

    /// Counts a file of `size` bytes that needed no transfer. The caller also counts it as an item.
    pub fn count_identical(&mut self, size: u64) {
        self.identical += 1;
        self.done = (self.done.0 + 1, self.done.1 + size);
    }

    /// Counts an existing file that the user did not replace with one of `size` bytes.
    pub fn count_kept(&mut self, size: u64) {
        self.kept += 1;
        self.done = (self.done.0 + 1, self.done.1 + size);
    }

    /// Counts files that needed no transfer and are not reported one by one, as items too.
    pub fn count_unlisted_identical(&mut self, files: usize) {
        self.total += files;
        self.identical += files;
    }

    /// Notes a removal.
    pub fn count_removed(&mut self) {
        self.removed = self.removed.map(|removed| removed + 1);
    }

    /// Notes an entry whose permission bits were changed.
    pub fn count_mode_change(&mut self) {
        self.modes += 1;
    }

    /// Returns the number of failures so far.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// Shows `12 files, 1.5G, 2 already there, 1 failed, 3.0s, 512M/s`. Zeros are left out.
    pub fn summarize(&self, output: &mut Output) -> Result<(), Failure> {
        let elapsed = self.started.elapsed();
        let mut counts = self.counts("", "removed", "changed");
        counts += &format!(", {}", Elapsed(elapsed));
        if self.bytes > 0 {
            counts += &format!(", {}", TransferRate(self.bytes, elapsed));
        }
        if let Some(left) = self.shown_left() {
            counts += &format!("; left: {left}");
        }
        output.line(format_args!("{}: {counts}", self.command))?;
        output.json(&self.summary(elapsed.as_secs_f64()))
    }

    /// Returns the number and total size of the files that remain because the command stopped.
    fn left(&self) -> (usize, u64) {
        match self.planned.filter(|_| self.stop.is_some()) {
            Some((files, bytes)) => (files.saturating_sub(self.done.0), bytes.saturating_sub(self.done.1)),
            None => (0, 0),
        }
    }

    fn shown_left(&self) -> Option<String> {
        match self.left() {
            (0, _) => None,
            (files, 0) => Some(shown_files(files)),
            (files, bytes) => Some(format!("{}, {}", shown_files(files), Bytes(bytes))),
        }
    }

    /// Shows the counters of a dry run.
    pub fn summarize_plan(&self, output: &mut Output) -> Result<(), Failure> {
        let counts = self.counts(" to move", "to remove", "to change");
        output.line(format_args!("{} --dry-run: {counts}", self.command))?;
        output.json(&self.summary(self.started.elapsed().as_secs_f64()))
    }

    /// `to_move` follows the bytes, `removed` the number of removals, and `changed` the modes.
    fn counts(&self, to_move: &str, removed: &str, changed: &str) -> String {
        let done = self.total - self.failed;
        let mut counts = shown_files(done);
        if self.bytes > 0 {
            counts += &format!(", {}{to_move}", Bytes(self.bytes));
        }
        match self.identical {
            0 => {}
            identical if identical < done => counts += &format!(", {identical} already there"),
            1 => counts += ", already there",
            _ => counts += ", all already there",
        }
        let modes = format!("{} {changed}", if self.modes == 1 { "mode" } else { "modes" });
        for (count, what) in
            [(self.kept, "kept"), (self.removed.unwrap_or(0), removed), (self.modes, &modes), (self.failed, "failed")]
        {
            if count > 0 {
                counts += &format!(", {count} {what}");
            }
        }
        counts
    }

    fn summary(&self, seconds: f64) -> Value {
        let mut summary = json!({
            "command": self.command, "ok": self.failed + self.kept == 0 && self.stop.is_none(),
            "files": self.total - self.failed, "bytes": self.bytes, "already_there": self.identical,
            "failed": self.failed + self.kept, "left_files": self.left().0, "left_bytes": self.left().1, "seconds": seconds,
        });
        if let Some(removed) = self.removed {
            summary["removed"] = json!(removed);
            summary["modes"] = json!(self.modes);
        }
        summary
    }

    /// Shows the summary and returns the result of the command. If `result` is an error, it stopped the command.
    pub fn conclude(mut self, output: &mut Output, result: Result<(), Failure>) -> Result<(), Failure> {
        let Err(failure) = result else {
            self.summarize(output)?;
            return self.finish();
        };
        // After Ctrl-C or a closed pipe, the user knows why the rest is missing.
        if self.planned.is_none() || matches!(failure, Failure::Interrupted | Failure::OutputClosed) {
            return Err(failure);
        }
        let failure = self.stop(failure);
        self.summarize(output)?;
        if matches!(failure, Failure::Refused(_)) && failure.is_full() {
            output.note("when there is room again, run the same command to continue");
        }
        Err(failure)
    }

    /// Returns the result of the command.
    pub fn finish(self) -> Result<(), Failure> {
        match self.failed {
            0 if self.kept == 0 => Ok(()),
            0 if self.kept == 1 => Err(Failure::Local("1 file exists and differs, and was not replaced".into())),
            0 => Err(Failure::Local(format!("{} files exist and differ, and were not replaced", self.kept).into())),
            failed => Err(Failure::SomeFailed { failed, total: self.total + self.kept }),
        }
    }
}

fn shown_files(files: usize) -> String {
    match files {
        0 => "no files".to_string(),
        1 => "1 file".to_string(),
        files => format!("{files} files"),
    }
}

/// Returns whether all further items would fail in the same way.
fn is_final(failure: &Failure) -> bool {
    failure.ends_session() || failure.is_full() || failure.is_read_only() || *failure == Failure::Interrupted
}
