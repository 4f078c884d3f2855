//! The replies that the server still owes: which request must be answered next, and whether an answer is
//! its last.

use std::collections::VecDeque;

use berth::base::digest::Digest;
use berth::wire::{Reply, Request};

/// Requests without their last answer, in order.
#[derive(Default)]
pub(super) struct Conversation {
    asked: VecDeque<(u32, Kind)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Pages,
    Download,
    Upload,
}

impl Conversation {
    /// Somebody asked, in these bytes.
    pub(super) fn ask(&mut self, id: u32, body: &[u8]) {
        let kind = match Request::decode(body) {
            Ok(Request::List { .. } | Request::Partials {}) => Kind::Pages,
            Ok(Request::Get { .. }) => Kind::Download,
            Ok(Request::Put { .. }) => Kind::Upload,
            _ => Kind::Single,
        };
        self.asked.push_back((id, kind));
    }

    /// The request to be answered next.
    pub(super) fn next(&self) -> Option<u32> {
        self.asked.front().map(|(id, _)| *id)
    }

    /// Notes a reply to the next request.
    pub(super) fn reply(&mut self, reply: &Reply) {
        let Some((_, kind)) = self.asked.front() else { return };
        let goes_on = match reply {
            Reply::Page { last, .. } | Reply::Partials { last, .. } => *kind == Kind::Pages && !last,
            Reply::File { .. } => *kind == Kind::Download,
            Reply::Ready { .. } => *kind == Kind::Upload,
            _ => false,
        };
        if !goes_on {
            self.asked.pop_front();
        }
    }

    /// Notes an end or abort frame in answer to the next request.
    pub(super) fn end(&mut self) {
        self.asked.pop_front();
    }
}

/// The data frames of one transfer, put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sum {
    /// Whose.
    pub(super) id: u32,
    /// Their bytes.
    pub(super) bytes: Vec<u8>,
}

impl Sum {
    /// Of nothing.
    pub(super) fn new(id: u32) -> Self {
        Self { id, bytes: Vec::new() }
    }

    /// Of all of it.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }
}
