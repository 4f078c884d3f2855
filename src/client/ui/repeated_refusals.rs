//! Refusals of many names in one directory. Its permissions usually refuse each name alike, so only the first refusal
//! is shown on standard error, and the others are counted. `--json` reports each.

use crate::base::text::Escaped;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::ui::summary::{report, report_object};
use crate::wire::message::ErrorCode;

/// The refusals of one command.
pub struct RepeatedRefusals {
    command: &'static str,
    /// The directory of the last failure, if access to a name in it was denied.
    directory: Option<VirtualPath>,
    /// The refusals in `directory` that were not shown.
    hidden: usize,
}

impl RepeatedRefusals {
    /// Creates the record for `command`.
    pub fn new(command: &'static str) -> Self {
        Self { command, directory: None, hidden: 0 }
    }

    /// Reports the failure of a request about `path`, or counts it if an earlier one in the same directory was shown.
    pub fn report(&mut self, session: &mut Session, path: &VirtualPath, failure: &Failure) -> Result<(), Failure> {
        let directory = path.parent().filter(|_| failure.is_refusal(ErrorCode::Denied));
        if directory.is_some() && directory == self.directory {
            self.hidden += 1;
            return report_object(session, self.command, failure);
        }
        self.finish(session);
        self.directory = directory;
        report(session, self.command, failure)
    }

    /// Shows the number of refusals that were only counted.
    pub fn finish(&mut self, session: &mut Session) {
        if let (Some(directory), hidden @ 1..) = (self.directory.take(), std::mem::take(&mut self.hidden)) {
            let command = Escaped(self.command.as_bytes());
            session.output.complain(format_args!("berth: {command}: {hidden} more in {directory} were refused too"));
        }
    }
}
