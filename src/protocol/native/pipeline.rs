//! Requests that were decoded and wait for their turn. Looking ahead lets a cancel overtake
//! them; the bounds keep a peer from parking memory here.

use crate::base::limits::{IN_FLIGHT_BEFORE_LOGIN, IN_FLIGHT_MAX, PIPELINE_BYTES_FIRST, PIPELINE_BYTES_MAX};
use crate::wire::Request;
use crate::wire::message::MessageError;
use std::collections::VecDeque;

/// A request in the queue.
pub(super) struct Pending {
    pub(super) id: u32,
    pub(super) request: Asked,
    bytes: usize,
}

/// What was asked.
pub(super) enum Asked {
    Request(Request),
    /// Not a request; the answer says why.
    Invalid(MessageError),
    /// An upload whose request cannot be understood; its data comes all the same.
    InvalidUpload(MessageError),
    /// Given up by the client before its turn came.
    Cancelled,
}

impl Asked {
    /// Reads the body of a control frame.
    pub(super) fn decode(body: &[u8]) -> Self {
        match Request::decode(body) {
            Ok(request) => Self::Request(request),
            Err(error) if Request::is_put(body) => Self::InvalidUpload(error),
            Err(error) => Self::Invalid(error),
        }
    }

    /// Whether data follows.
    pub(super) fn is_upload(&self) -> bool {
        matches!(self, Self::Request(Request::Put { .. }) | Self::InvalidUpload(_))
    }
}

/// How many requests may wait, and how large they may be together.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    requests: usize,
    bytes: usize,
}

impl Bounds {
    pub(super) const BEFORE_LOGIN: Self = Self { requests: IN_FLIGHT_BEFORE_LOGIN, bytes: PIPELINE_BYTES_FIRST };
    /// For a session without memory for a large input.
    pub(super) const FIRST: Self = Self { requests: IN_FLIGHT_MAX, bytes: PIPELINE_BYTES_FIRST };
    pub(super) const MAX: Self = Self { requests: IN_FLIGHT_MAX, bytes: PIPELINE_BYTES_MAX };
}

/// The queue, in order of arrival.
#[derive(Default)]
pub(super) struct Pipeline {
    queue: VecDeque<Pending>,
    bytes: usize,
}

impl Pipeline {
    /// Appends a request whose frame had `bytes` bytes.
    pub(super) fn push(&mut self, id: u32, request: Asked, bytes: usize) {
        self.bytes += bytes;
        self.queue.push_back(Pending { id, request, bytes });
    }

    pub(super) fn pop(&mut self) -> Option<Pending> {
        let pending = self.queue.pop_front()?;
        self.bytes -= pending.bytes;
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        Some(pending)
    }

    pub(super) fn front(&self) -> Option<&Pending> {
        self.queue.front()
    }

    /// No more fits; a single request always does.
    pub(super) fn is_full(&self, bounds: Bounds) -> bool {
        self.queue.len() >= bounds.requests || self.bytes >= bounds.bytes
    }

    /// How large the requests were together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.queue.iter().any(|pending| pending.id == id)
    }

    /// Whether `id` is an upload, so that its data stands behind it.
    pub(super) fn is_upload(&self, id: u32) -> bool {
        self.queue.iter().any(|pending| pending.id == id && pending.request.is_upload())
    }

    /// Marks `id` as given up; its answer still comes in order.
    pub(super) fn cancel(&mut self, id: u32) {
        if let Some(pending) = self.queue.iter_mut().find(|pending| pending.id == id) {
            pending.request = Asked::Cancelled;
        }
    }
}
