//! What comes from a server: frames, parsed and owned. It knows no conversation, so not whether
//! anybody waits for what came.

use crate::base::json::read_object;
use crate::wire::message::{End, ErrorReply};
use crate::wire::{Frame, Reply};

/// What came from the server, for the request `id`.
#[derive(Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The request it belongs to.
    pub id: u32,
    /// What it is.
    pub event: Event,
}

/// One thing that came.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A control frame.
    Reply(Reply),
    /// Bytes of a file: [`crate::client::connection::link::Link::chunk`], until the next call.
    Data,
    /// The end of a file's bytes.
    End(End),
    /// The end of a download that failed.
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
    pub(super) fn of(frame: Frame<'_>) -> Result<Self, serde_json::Error> {
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
