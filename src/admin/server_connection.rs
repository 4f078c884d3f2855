//! Requests to the running server over its control socket.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use super::AdminError;
use crate::base::buffers::ReceiveBuffer;
use crate::config::Config;
use crate::server::control_socket;
use crate::wire::Frame;
use crate::wire::control::{ControlReply, ControlRequest};
use crate::wire::frame::{self, CONTROL_BYTES_MAX, FrameType, HEADER_BYTES};

/// A connection to the running server, for one request after the other.
pub(super) struct ServerConnection {
    socket: UnixStream,
    input: ReceiveBuffer,
}

impl ServerConnection {
    /// Connects to the server that uses `config`. Returns `None` if there is none.
    pub(super) fn connect(config: &Config) -> Result<Option<Self>, AdminError> {
        let socket = control_socket::connect(&config.control_directory).map_err(|error| {
            AdminError::Failed(format!("cannot ask the running server: {error}; are you its user or root?"))
        })?;
        Ok(socket.map(|socket| Self { socket, input: ReceiveBuffer::default() }))
    }

    /// Like [`ServerConnection::connect`], for commands that need a running server.
    pub(super) fn connect_required(config: &Config) -> Result<Self, AdminError> {
        Self::connect(config)?.ok_or_else(|| {
            let file = config.file.display();
            AdminError::Failed(format!("no server runs with {file}; start one with `berthd serve --config {file}`"))
        })
    }

    /// Sends one request and passes each reply on.
    pub(super) fn request(
        &mut self,
        request: &ControlRequest,
        mut take: impl FnMut(ControlReply) -> Result<(), AdminError>,
    ) -> Result<(), AdminError> {
        let mut bytes = Vec::new();
        frame::put_json(&mut bytes, FrameType::Control, 1, request);
        self.socket.write_all(&bytes).map_err(connection_error)?;
        loop {
            match self.receive()? {
                ControlReply::End {} => return Ok(()),
                ControlReply::Error { message } => return Err(AdminError::Failed(message)),
                reply => take(reply)?,
            }
        }
    }

    fn receive(&mut self) -> Result<ControlReply, AdminError> {
        loop {
            match frame::decode(self.input.filled(), CONTROL_BYTES_MAX) {
                Ok(Some((Frame::Control { body, .. }, size))) => {
                    let reply = serde_json::from_slice(body).map_err(|error| not_understood(&error.to_string()));
                    self.input.consume(size);
                    return reply;
                }
                Ok(Some(_)) | Err(_) => return Err(not_understood("a frame that is no answer")),
                Ok(None) => {}
            }
            match self.socket.read(self.input.room(HEADER_BYTES + CONTROL_BYTES_MAX)) {
                Ok(0) => return Err(connection_error(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => self.input.commit(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(connection_error(error)),
            }
        }
    }

    /// Returns the socket. Between two requests it becomes readable only when the server ends.
    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Returns the error for a reply that does not belong to the request.
pub(super) fn unexpected(reply: &ControlReply) -> AdminError {
    not_understood(&format!("{reply:?}"))
}

fn not_understood(what: &str) -> AdminError {
    AdminError::Failed(format!("the running server answered with {what}; is it of another version? restart it"))
}

fn connection_error(error: io::Error) -> AdminError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
            AdminError::Failed("the server ended before it had answered; ask again once it runs".into())
        }
        _ => AdminError::Failed(format!("cannot ask the running server: {error}")),
    }
}
