//! Frames from a server, parsed and owned. This module does not know requests, so it cannot tell whether a
//! caller waits for a frame.

use crate::base::json::read_object;
use crate::wire::message::{End, ErrorReply};
use crate::wire::{Frame, Reply};

/// A frame that the server sent for the request `id`.
#[derive(Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The request that the frame belongs to.
    pub id: u32,
    /// The content of the frame.
    pub event: Event,
}

/// The content of one frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A reply, from a control frame.
    Reply(Reply),
    /// Bytes of a file. [`crate::client::connection::link::Link::chunk`] holds them until the next call.
    Data,
    /// The end of a file's bytes.
    End(End),
    /// The end of a failed download.
    Aborted(ErrorReply),
}

/// A frame without borrowed bytes.
pub(super) enum Decoded {
    Event(Incoming),
    DataHeader { id: u32, length: usize },
    Ping(Vec<u8>),
    Pong,
}

impl Decoded {
    pub(super) fn from_frame(frame: Frame<'_>) -> Result<Self, serde_json::Error> {
        let (id, event) = match frame {
            Frame::Control { id, body } => (id, Event::Reply(read_object(body)?)),
            Frame::End { id, body } => (id, Event::End(read_object(body)?)),
            Frame::Abort { id, body } => (id, Event::Aborted(read_object(body)?)),
            Frame::Data { id, length } => return Ok(Self::DataHeader { id, length: length as usize }),
            Frame::Ping { body } => return Ok(Self::Ping(body.to_vec())),
            Frame::Pong { .. } => return Ok(Self::Pong),
        };
        Ok(Self::Event(Incoming { id, event }))
    }
}
