//! The meaning of the bytes of a session, for any protocol. A dialect sees no socket: bytes in,
//! bytes out, and what they amounted to.

use std::error::Error;

use berth::tls::TlsSession;

/// A failure ends the measurement; its text is for people.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// What some bytes amounted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The connection is to be encrypted from here on.
    StartTls,
    /// Requests may follow.
    LoggedIn,
    /// The file comes or goes on a second connection, to this port.
    Connect(u16),
    /// The file may be sent; its end is the end of what is sent.
    SendFile {
        /// Not so: more may follow it.
        keeps_open: bool,
    },
    /// What was begun last is done.
    Done,
}

/// How many bytes were understood. None and no event: more are needed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Taken {
    /// So many.
    pub bytes: usize,
    /// All of them are content of the file.
    pub is_content: bool,
    /// What else they amounted to.
    pub event: Option<Event>,
}

/// The client's side of one session.
pub(crate) trait Dialect {
    /// The connection is open.
    fn begin_login(&mut self, out: &mut Vec<u8>) -> Outcome<Option<Event>>;

    /// The connection is encrypted now, as [`Event::StartTls`] asked for.
    fn begin_encrypted(&mut self, tls: &TlsSession, out: &mut Vec<u8>) -> Outcome<Option<Event>>;

    /// Downloads `path`.
    fn begin_get(&mut self, path: &str, out: &mut Vec<u8>);

    /// Uploads `size` bytes to `path`.
    fn begin_put(&mut self, path: &str, size: u64, out: &mut Vec<u8>) -> Outcome<Option<Event>>;

    /// Asks the smallest thing that makes the server look at the disk.
    fn begin_question(&mut self, path: &str, out: &mut Vec<u8>);

    /// Takes leave; whether the server answers that, by [`Event::Done`].
    fn begin_leave(&mut self, out: &mut Vec<u8>) -> bool;

    /// Takes some of `bytes`, oldest first.
    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Outcome<Taken>;

    /// The server sends no more, on the second connection if there is one.
    fn ended(&mut self) -> Outcome<Option<Event>>;
}

/// The connection ended where it may not.
pub(crate) fn closed<T>() -> Outcome<T> {
    Err("the server closed the connection".into())
}
