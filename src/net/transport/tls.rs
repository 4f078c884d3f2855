//! Receives and sends on an encrypted connection.

use std::io;

use super::Moved;
use super::moved;
use super::socket::Socket;
use crate::base::buffers::{NextChunk, ReceiveBuffer, SendBuffer};
use crate::tls::{ReceiveResult, TlsSession};

/// The most bytes that one turn encrypts and sends. This takes 0.06 ms at 4 GB/s.
const TLS_FLUSH_BUDGET: usize = 256 * 1024;

/// Receives once and decrypts, so that the input holds at most `capacity` bytes.
pub(super) fn fill_tls(
    tls: &mut TlsSession,
    socket: &mut Socket,
    input: &mut ReceiveBuffer,
    capacity: usize,
) -> io::Result<Moved> {
    let room = input.room(capacity);
    if room.is_empty() {
        return Ok(Moved::Bytes(0));
    }
    match tls.receive(socket, room) {
        Ok(ReceiveResult::Bytes(count)) => {
            input.commit(count);
            Ok(Moved::Bytes(count))
        }
        Ok(ReceiveResult::Progress(count)) => Ok(Moved::Bytes(count)),
        Ok(ReceiveResult::End) => Ok(Moved::End),
        Err(error) => moved(Err(error)),
    }
}

/// Encrypts and sends output, about `allowance` bytes at most.
pub(super) fn flush_tls(
    tls: &mut TlsSession,
    socket: &mut Socket,
    output: &mut SendBuffer,
    allowance: usize,
) -> io::Result<Moved> {
    let allowance = allowance.min(TLS_FLUSH_BUDGET);
    let mut sent = 0;
    while tls.flush(socket)? {
        let taken = match output.front() {
            // During the handshake TLS would only buffer it where it is not counted.
            Some(NextChunk::Bytes(bytes)) if sent < allowance && !tls.is_handshaking() => {
                tls.encrypt(&bytes[..bytes.len().min(allowance - sent)])?
            }
            // An encrypted connection accepts no ranges.
            Some(NextChunk::Range(_)) => return Err(io::ErrorKind::Unsupported.into()),
            _ => 0,
        };
        if taken == 0 {
            return Ok(Moved::Bytes(sent));
        }
        output.advance(taken);
        sent += taken;
    }
    Ok(if sent == 0 { Moved::Blocked } else { Moved::Bytes(sent) })
}
