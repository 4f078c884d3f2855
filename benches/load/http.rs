//! Two protocols without a login: HTTP with connections kept alive, and no protocol at all.

use crate::dialect::{Dialect, Event, Outcome, Taken, closed};
use berth::tls::TlsSession;

/// One connection to a web server.
#[derive(Default)]
pub(crate) struct Http {
    is_encrypted: bool,
    has_body: bool,
    content_left: usize,
}

impl Http {
    /// A connection that is not open yet.
    pub(crate) fn new(is_encrypted: bool) -> Self {
        Self { is_encrypted, ..Self::default() }
    }

    fn request(&mut self, method: &str, path: &str, more: &str, out: &mut Vec<u8>) {
        let path = path.trim_start_matches('/');
        out.extend(format!("{method} /{path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n").bytes());
        self.has_body = method == "GET";
    }

    fn head(&mut self, head: &str) -> Outcome<Option<Event>> {
        let status = head.split(' ').nth(1).unwrap_or_default();
        if !status.starts_with('2') {
            return Err(head.lines().next().unwrap_or_default().into());
        }
        let fields = head.lines().filter_map(|line| line.split_once(':'));
        let mut length = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).map(|(_, value)| value);
        self.content_left = match length.next_back() {
            Some(value) if self.has_body => value.trim().parse()?,
            _ => 0,
        };
        Ok((self.content_left == 0).then_some(Event::Done))
    }
}

impl Dialect for Http {
    fn begin_login(&mut self, _out: &mut Vec<u8>) -> Outcome<Option<Event>> {
        Ok(Some(if self.is_encrypted { Event::StartTls } else { Event::LoggedIn }))
    }

    fn begin_encrypted(&mut self, _tls: &TlsSession, _out: &mut Vec<u8>) -> Outcome<Option<Event>> {
        Ok(Some(Event::LoggedIn))
    }

    fn begin_get(&mut self, path: &str, out: &mut Vec<u8>) {
        self.request("GET", path, "", out);
    }

    fn begin_put(&mut self, path: &str, size: u64, out: &mut Vec<u8>) -> Outcome<Option<Event>> {
        self.request("PUT", path, &format!("Content-Length: {size}\r\n"), out);
        Ok(Some(Event::SendFile { keeps_open: true }))
    }

    fn begin_question(&mut self, path: &str, out: &mut Vec<u8>) {
        self.request("HEAD", path, "", out);
    }

    fn begin_leave(&mut self, out: &mut Vec<u8>) -> bool {
        // There is no login either: one question stands for the session.
        self.request("HEAD", "mid.bin", "", out);
        true
    }

    fn take(&mut self, bytes: &[u8], _out: &mut Vec<u8>) -> Outcome<Taken> {
        if self.content_left == 0 {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(Taken::default()) };
            let event = self.head(&String::from_utf8_lossy(&bytes[..end]))?;
            return Ok(Taken { bytes: end + 4, is_content: false, event });
        }
        let count = self.content_left.min(bytes.len());
        self.content_left -= count;
        Ok(Taken { bytes: count, is_content: true, event: (self.content_left == 0).then_some(Event::Done) })
    }

    fn ended(&mut self) -> Outcome<Option<Event>> {
        closed()
    }
}

/// Bytes up to the end of the connection.
pub(crate) struct Raw;

impl Dialect for Raw {
    fn begin_login(&mut self, _out: &mut Vec<u8>) -> Outcome<Option<Event>> {
        Ok(Some(Event::LoggedIn))
    }

    fn begin_encrypted(&mut self, _tls: &TlsSession, _out: &mut Vec<u8>) -> Outcome<Option<Event>> {
        Err("there is no TLS without a protocol".into())
    }

    fn begin_get(&mut self, _path: &str, _out: &mut Vec<u8>) {}

    fn begin_put(&mut self, _path: &str, _size: u64, _out: &mut Vec<u8>) -> Outcome<Option<Event>> {
        Ok(Some(Event::SendFile { keeps_open: false }))
    }

    fn begin_question(&mut self, _path: &str, _out: &mut Vec<u8>) {}

    fn begin_leave(&mut self, _out: &mut Vec<u8>) -> bool {
        false
    }

    fn take(&mut self, bytes: &[u8], _out: &mut Vec<u8>) -> Outcome<Taken> {
        Ok(Taken { bytes: bytes.len(), is_content: true, event: None })
    }

    fn ended(&mut self) -> Outcome<Option<Event>> {
        Ok(Some(Event::Done))
    }
}
