//! Decoded requests that wait for their turn. Looking ahead lets a cancel overtake them; the bounds
//! limit the memory of a peer's queue.

use std::collections::VecDeque;

use crate::base::buffers::INPUT_BYTES_FIRST;
use crate::protocol::QUEUED_REQUEST_BYTES_MAX;
use crate::wire::Request;
use crate::wire::message::{IN_FLIGHT_MAX, MessageError};

/// The number of requests in flight before login. A login sends one at a time.
pub const IN_FLIGHT_BEFORE_LOGIN: usize = 2;
/// The bytes of requests that a session without memory for a large input decodes ahead.
const PIPELINE_BYTES_FIRST: usize = INPUT_BYTES_FIRST;

/// A request in the queue.
pub(super) struct PendingRequest {
    pub(super) id: u32,
    pub(super) request: DecodedRequest,
    bytes: usize,
}

/// A decoded request.
pub(super) enum DecodedRequest {
    Request(Request),
    /// A malformed request; holds the error.
    Invalid(MessageError),
    /// A malformed request for an upload, whose data still follows.
    InvalidUpload(MessageError),
    /// Cancelled by the client before its turn.
    Cancelled,
}

impl DecodedRequest {
    /// Reads the body of a control frame.
    pub(super) fn decode(body: &[u8]) -> Self {
        match Request::decode(body) {
            Ok(request) => Self::Request(request),
            Err(error) if Request::is_put(body) => Self::InvalidUpload(error),
            Err(error) => Self::Invalid(error),
        }
    }

    /// Returns whether data follows.
    pub(super) fn is_upload(&self) -> bool {
        matches!(self, Self::Request(Request::Put { .. }) | Self::InvalidUpload(_))
    }
}

/// The bounds of the queue, in requests and bytes.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    requests: usize,
    bytes: usize,
}

impl Bounds {
    pub(super) const BEFORE_LOGIN: Self = Self { requests: IN_FLIGHT_BEFORE_LOGIN, bytes: PIPELINE_BYTES_FIRST };
    /// For a session without memory for a large input.
    pub(super) const FIRST: Self = Self { requests: IN_FLIGHT_MAX, bytes: PIPELINE_BYTES_FIRST };
    pub(super) const MAX: Self = Self { requests: IN_FLIGHT_MAX, bytes: QUEUED_REQUEST_BYTES_MAX };
}

/// The queue, in order of arrival.
#[derive(Default)]
pub(super) struct Pipeline {
    queue: VecDeque<PendingRequest>,
    bytes: usize,
}

impl Pipeline {
    /// Appends a request whose frame had `bytes` bytes.
    pub(super) fn push(&mut self, id: u32, request: DecodedRequest, bytes: usize) {
        self.bytes += bytes;
        self.queue.push_back(PendingRequest { id, request, bytes });
    }

    pub(super) fn pop(&mut self) -> Option<PendingRequest> {
        let pending = self.queue.pop_front()?;
        self.bytes -= pending.bytes;
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        Some(pending)
    }

    /// Puts a request that could not begin yet back to the front.
    pub(super) fn put_back(&mut self, pending: PendingRequest) {
        self.bytes += pending.bytes;
        self.queue.push_front(pending);
    }

    /// Returns whether no more fits. A single request always fits.
    pub(super) fn is_full(&self, bounds: Bounds) -> bool {
        self.queue.len() >= bounds.requests || self.bytes >= bounds.bytes
    }

    /// Returns the size of the queued requests.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.queue.iter().any(|pending| pending.id == id)
    }

    /// Returns whether `id` is an upload, so that its data follows.
    pub(super) fn is_upload(&self, id: u32) -> bool {
        self.queue.iter().any(|pending| pending.id == id && pending.request.is_upload())
    }

    /// Cancels `id`. Its reply still comes in order.
    pub(super) fn cancel(&mut self, id: u32) {
        if let Some(pending) = self.queue.iter_mut().find(|pending| pending.id == id) {
            pending.request = DecodedRequest::Cancelled;
        }
    }
}
