//! Requests that wait for their replies. Replies arrive in the order of the requests. This module knows which
//! frames belong to a reply and which one ends it. It knows no connection.

use std::collections::VecDeque;

use crate::client::connection::incoming::{Event, Incoming};
use crate::client::error::LinkError;
use crate::wire::{Reply, Request};

/// The waiting requests, the oldest first.
#[derive(Default)]
pub(super) struct Requests(VecDeque<UnansweredRequest>);

struct UnansweredRequest {
    id: u32,
    shape: ReplyShape,
    is_abandoned: bool,
}

/// What ends the reply to a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReplyShape {
    /// One reply frame.
    Single,
    /// One reply frame, for which the server reads a whole file.
    Digest,
    /// Pages up to the last one.
    Pages,
    /// An error, or a file's data up to its end.
    Download,
    /// One reply frame, perhaps after `Ready`. `is_sent` means that the end or abort frame has been queued.
    Upload { is_sent: bool },
}

impl Requests {
    /// Adds `request`, which was sent as `id`.
    pub(super) fn push(&mut self, id: u32, request: &Request) {
        self.0.push_back(UnansweredRequest { id, shape: shape_of_reply(request), is_abandoned: false });
    }

    /// Notes that the upload `id` sends nothing more.
    pub(super) fn close_upload(&mut self, id: u32) {
        for waiting in self.0.iter_mut().filter(|waiting| waiting.id == id) {
            if let ReplyShape::Upload { is_sent } = &mut waiting.shape {
                *is_sent = true;
            }
        }
    }

    /// Discards the reply to `id` on arrival. Returns whether the server should be told to cancel, because the
    /// reply would take long.
    pub(super) fn abandon(&mut self, id: u32) -> bool {
        let Some(waiting) = self.0.iter_mut().find(|waiting| waiting.id == id) else { return false };
        let was_abandoned = std::mem::replace(&mut waiting.is_abandoned, true);
        let is_long = matches!(
            waiting.shape,
            ReplyShape::Digest | ReplyShape::Pages | ReplyShape::Download | ReplyShape::Upload { is_sent: false }
        );
        is_long && !was_abandoned
    }

    pub(super) fn ids(&self) -> Vec<u32> {
        self.0.iter().map(|waiting| waiting.id).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the id of the oldest request, and whether it was abandoned.
    pub(super) fn front(&self) -> Option<(u32, bool)> {
        self.0.front().map(|waiting| (waiting.id, waiting.is_abandoned))
    }

    /// Checks that the oldest request is the download `id`.
    pub(super) fn check_data(&self, id: u32) -> Result<(), LinkError> {
        self.check_order(id, |shape| shape == ReplyShape::Download).map(drop)
    }

    /// Checks that `incoming` answers the oldest request, and removes that request if this ends the reply.
    /// Returns whether the request was abandoned.
    pub(super) fn accept(&mut self, incoming: &Incoming) -> Result<bool, LinkError> {
        let is_transfer_end = matches!(incoming.event, Event::End(_) | Event::Aborted(_));
        let front = self.check_order(incoming.id, |shape| !is_transfer_end || shape == ReplyShape::Download)?;
        let is_abandoned = front.is_abandoned;
        let is_last = match (&incoming.event, front.shape) {
            (Event::Reply(Reply::Error(_)), _) => true,
            (Event::Reply(Reply::Page { last, .. } | Reply::Partials { last, .. }), ReplyShape::Pages) => *last,
            (Event::Reply(Reply::File { .. }), ReplyShape::Download) => false,
            (Event::Reply(Reply::Ready { .. }), ReplyShape::Upload { .. }) => false,
            (Event::Reply(_), ReplyShape::Pages | ReplyShape::Download) => {
                return Err(LinkError::Protocol("a reply of the wrong type".into()));
            }
            _ => true,
        };
        if is_last {
            self.0.pop_front();
        }
        Ok(is_abandoned)
    }

    fn check_order(&self, id: u32, fits: impl Fn(ReplyShape) -> bool) -> Result<&UnansweredRequest, LinkError> {
        match self.0.front() {
            Some(front) if front.id == id && fits(front.shape) => Ok(front),
            _ => Err(LinkError::Protocol(format!("a reply to request {id} in the wrong order"))),
        }
    }
}

fn shape_of_reply(request: &Request) -> ReplyShape {
    match request {
        Request::List { .. } | Request::Partials {} => ReplyShape::Pages,
        Request::Digest { .. } => ReplyShape::Digest,
        Request::Get { .. } => ReplyShape::Download,
        Request::Put { .. } => ReplyShape::Upload { is_sent: false },
        _ => ReplyShape::Single,
    }
}
