//! What a command may use in a turn, and how it replies.

use std::time::Instant;

use super::reply;
use crate::base::budget::Budget;
use crate::base::buffers::IoBuffers;
use crate::base::virtual_path::VirtualPath;
use crate::protocol::data_connection::DataConnection;
use crate::session::{Service, SessionError};

/// What a command may use in a turn.
pub(super) struct FtpContext<'a> {
    pub(super) buffers: &'a mut IoBuffers,
    pub(super) data: &'a mut dyn DataConnection,
    pub(super) service: &'a mut Service,
    pub(super) budget: &'a mut Budget,
    pub(super) now: Instant,
}

impl FtpContext<'_> {
    pub(super) fn reply(&mut self, code: u16, text: impl AsRef<[u8]>) {
        self.buffers.output.append(|out| reply::put(out, code, text));
    }

    pub(super) fn refuse(&mut self, refusal: SessionError, path: Option<&VirtualPath>) {
        let (code, text) = reply::refusal(refusal, path);
        self.reply(code, text);
    }

    /// Returns whether budget and space for replies are left.
    pub(super) fn can_continue(&self) -> bool {
        !self.budget.is_spent() && self.buffers.output.has_room()
    }
}
