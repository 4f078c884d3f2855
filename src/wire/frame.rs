//! Frames: a 12-byte header, big-endian, and a body of the length in the header. The length is checked
//! as soon as the header is complete, before anything is allocated.

use crate::base::buffers::DATA_BYTES_MAX;

/// The maximum body of a control frame before login. A hello or a SCRAM message needs a few hundred bytes.
pub const CONTROL_BYTES_MAX_BEFORE_LOGIN: usize = 4 * 1024;
/// The maximum body of a control frame after login. Two escaped paths of `PATH_BYTES_MAX` fit.
pub const CONTROL_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a header: `u32 length | u32 id | u8 type | u8 flags (0) | u16 reserved (0)`.
pub const HEADER_BYTES: usize = 12;

/// The type byte of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameType {
    /// A request or a reply, in JSON.
    Control = 1,
    /// Bytes of a file.
    Data = 2,
    /// The end of a file's bytes, in JSON.
    End = 3,
    /// The sender cancels the transfer, in JSON.
    Abort = 4,
    /// Requests a pong with the same body. Extends the stall timeout, but not the idle timeout.
    Ping = 5,
    /// The answer to a ping.
    Pong = 6,
}

/// A frame in a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A request or a reply.
    Control {
        /// The request this belongs to.
        id: u32,
        /// JSON.
        body: &'a [u8],
    },
    /// The header of a data frame. Its `length` bytes follow and are taken as they arrive, so that a whole
    /// data frame need not be buffered.
    Data {
        /// The request this belongs to.
        id: u32,
        /// Bytes that follow, at most [`DATA_BYTES_MAX`].
        length: u32,
    },
    /// The end of a file's bytes.
    End {
        /// The request this belongs to.
        id: u32,
        /// JSON.
        body: &'a [u8],
    },
    /// The sender cancels the transfer.
    Abort {
        /// The request this belongs to.
        id: u32,
        /// JSON.
        body: &'a [u8],
    },
    /// Requests a pong.
    Ping {
        /// The body to send back.
        body: &'a [u8],
    },
    /// The answer to a ping.
    Pong {
        /// The body of the ping.
        body: &'a [u8],
    },
}

/// A violation of the framing. Later bytes cannot be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// An unknown type byte.
    #[error("unknown frame type {0}")]
    UnknownType(u8),
    /// Flags or reserved bytes that are not 0.
    #[error("reserved header bytes are not zero")]
    Reserved,
    /// A body over the bound for its type.
    #[error("a frame of {length} bytes is longer than the {limit} allowed here")]
    TooLong {
        /// The length in the header.
        length: u32,
        /// The bound.
        limit: usize,
    },
}

/// The maximum body of a ping or pong: enough for a time stamp.
pub const PING_BYTES_MAX: usize = 64;

/// Decodes the first frame of `bytes`. Returns it with its length (for a data frame that of the
/// header), or `None` while it is incomplete. `control_bytes_max` bounds the body of control, end and
/// abort frames.
pub fn decode(bytes: &[u8], control_bytes_max: usize) -> Result<Option<(Frame<'_>, usize)>, WireError> {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    let id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let kind = FrameType::try_from(header[8])?;
    if header[9..] != [0; 3] {
        return Err(WireError::Reserved);
    }
    let limit = match kind {
        FrameType::Data => DATA_BYTES_MAX,
        FrameType::Ping | FrameType::Pong => PING_BYTES_MAX,
        FrameType::Control | FrameType::End | FrameType::Abort => control_bytes_max,
    };
    if length as usize > limit {
        return Err(WireError::TooLong { length, limit });
    }
    if kind == FrameType::Data {
        return Ok(Some((Frame::Data { id, length }, HEADER_BYTES)));
    }
    let size = HEADER_BYTES + length as usize;
    let Some(body) = bytes.get(HEADER_BYTES..size) else { return Ok(None) };
    let frame = match kind {
        FrameType::Control => Frame::Control { id, body },
        FrameType::End => Frame::End { id, body },
        FrameType::Abort => Frame::Abort { id, body },
        FrameType::Ping => Frame::Ping { body },
        FrameType::Pong => Frame::Pong { body },
        FrameType::Data => unreachable!("returned above"),
    };
    Ok(Some((frame, size)))
}

/// Returns the header of a frame whose body has `length` bytes.
pub fn header(kind: FrameType, id: u32, length: usize) -> [u8; HEADER_BYTES] {
    let length = u32::try_from(length).expect("every body is bounded far below 4 GiB");
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&length.to_be_bytes());
    header[4..8].copy_from_slice(&id.to_be_bytes());
    header[8] = kind as u8;
    header
}

/// Appends a frame whose body is `message` in JSON.
pub fn put_json(out: &mut Vec<u8>, kind: FrameType, id: u32, message: &impl serde::Serialize) {
    let start = out.len();
    // The length of the body is known only after it is written.
    out.extend_from_slice(&[0; HEADER_BYTES]);
    serde_json::to_writer(&mut *out, message).expect("messages serialize to memory without failing");
    let length = out.len() - start - HEADER_BYTES;
    out[start..start + HEADER_BYTES].copy_from_slice(&header(kind, id, length));
}

/// Appends a frame whose body is `body`.
pub fn put_bytes(out: &mut Vec<u8>, kind: FrameType, id: u32, body: &[u8]) {
    out.extend_from_slice(&header(kind, id, body.len()));
    out.extend_from_slice(body);
}

impl TryFrom<u8> for FrameType {
    type Error = WireError;

    fn try_from(byte: u8) -> Result<Self, WireError> {
        Ok(match byte {
            1 => Self::Control,
            2 => Self::Data,
            3 => Self::End,
            4 => Self::Abort,
            5 => Self::Ping,
            6 => Self::Pong,
            other => return Err(WireError::UnknownType(other)),
        })
    }
}
