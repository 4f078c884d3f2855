//! Many sessions from one thread: each readable socket is read once per round, into one buffer
//! that all share, so a session costs its socket and little else.

use std::collections::VecDeque;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustls::ClientConfig;
use sha2::{Digest, Sha256};

use crate::dialect::{Dialect, Event, Outcome};
use crate::stream::{Arrival, Stream};

/// See the module.
pub(crate) struct Swarm {
    target: SocketAddr,
    dialect: Box<dyn Fn() -> Box<dyn Dialect>>,
    /// How connections are encrypted, where the dialect wants them to be.
    tls: Arc<ClientConfig>,
    epoll: OwnedFd,
    sessions: slab::Slab<Session>,
    buffer: Vec<u8>,
    happened: VecDeque<(usize, Event)>,
}

/// One session and its connections.
pub(crate) struct Session {
    control: Stream,
    second: Option<Stream>,
    dialect: Box<dyn Dialect>,
    /// Received and not yet understood.
    held: Vec<u8>,
    upload: Option<File>,
    /// Bytes of content that came since the session was opened.
    pub(crate) content_bytes: u64,
    /// Of that content, where it is wanted.
    pub(crate) digest: Option<Sha256>,
}

impl Swarm {
    /// No sessions yet with the server at `target`.
    pub(crate) fn new(
        target: SocketAddr,
        dialect: Box<dyn Fn() -> Box<dyn Dialect>>,
        tls: Arc<ClientConfig>,
    ) -> Outcome<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (sessions, happened) = (slab::Slab::new(), VecDeque::new());
        Ok(Self { target, dialect, tls, epoll, sessions, buffer: vec![0; BUFFER_BYTES], happened })
    }

    /// Connects and begins to log in.
    pub(crate) fn open(&mut self) -> Outcome<usize> {
        let control = Stream::connect(self.target)?;
        let dialect = (self.dialect)();
        let key = self.sessions.insert(Session {
            control,
            second: None,
            dialect,
            held: Vec::new(),
            upload: None,
            content_bytes: 0,
            digest: None,
        });
        let session = &self.sessions[key];
        epoll::add(&self.epoll, &session.control, EventData::new_u64(2 * key as u64), EventFlags::IN)?;
        self.begin(key, |dialect, out| dialect.begin_login(out))?;
        Ok(key)
    }

    /// Opens `count` sessions, a few at a time, and waits until all are logged in.
    pub(crate) fn open_all(&mut self, count: usize) -> Outcome<Vec<usize>> {
        let mut keys = Vec::with_capacity(count);
        let mut ready = 0;
        while ready < count {
            while keys.len() < count && keys.len() < ready + LOGINS_AT_ONCE {
                keys.push(self.open()?);
            }
            self.next()?;
            ready += 1;
        }
        Ok(keys)
    }

    /// The session `key`.
    pub(crate) fn session(&mut self, key: usize) -> &mut Session {
        &mut self.sessions[key]
    }

    /// Begins a download.
    pub(crate) fn get(&mut self, key: usize, path: &str) -> Outcome<()> {
        self.begin(key, |dialect, out| {
            dialect.begin_get(path, out);
            Ok(None)
        })
    }

    /// Begins an upload.
    pub(crate) fn put(&mut self, key: usize, path: &str, file: File) -> Outcome<()> {
        let size = file.metadata()?.len();
        self.sessions[key].upload = Some(file);
        self.begin(key, |dialect, out| dialect.begin_put(path, size, out))
    }

    /// Asks something small.
    pub(crate) fn ask(&mut self, key: usize, path: &str) -> Outcome<()> {
        self.begin(key, |dialect, out| {
            dialect.begin_question(path, out);
            Ok(None)
        })
    }

    /// Takes leave; whether [`Swarm::next`] will tell when the server has answered.
    pub(crate) fn leave(&mut self, key: usize) -> Outcome<bool> {
        let mut answers = false;
        self.begin(key, |dialect, out| {
            answers = dialect.begin_leave(out);
            Ok(None)
        })?;
        Ok(answers)
    }

    /// Closes the connections.
    pub(crate) fn close(&mut self, key: usize) {
        self.sessions.remove(key);
    }

    /// Waits until a session is logged in or done with what it began last.
    pub(crate) fn next(&mut self) -> Outcome<(usize, Event)> {
        let mut events = Vec::with_capacity(EVENTS_PER_WAIT);
        while self.happened.is_empty() {
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), None) {
                Err(rustix::io::Errno::INTR) => {}
                result => drop(result?),
            }
            for event in events.drain(..) {
                let (key, is_second) = (event.data.u64() as usize / 2, event.data.u64() % 2 == 1);
                while self.receive(key, is_second)? {}
            }
        }
        Ok(self.happened.pop_front().expect("the loop ends when something happened"))
    }

    fn begin(
        &mut self,
        key: usize,
        begin: impl FnOnce(&mut dyn Dialect, &mut Vec<u8>) -> Outcome<Option<Event>>,
    ) -> Outcome<()> {
        let session = &mut self.sessions[key];
        let mut out = Vec::new();
        let event = begin(&mut *session.dialect, &mut out)?;
        session.control.send(&out)?;
        self.settle(key, event)
    }

    /// Receives once; whether there is more that no event announces.
    fn receive(&mut self, key: usize, is_second: bool) -> Outcome<bool> {
        if is_second {
            self.receive_second(key)?
        } else {
            self.receive_control(key)?
        }
        let session = &self.sessions[key];
        let stream = if is_second { session.second.as_ref() } else { Some(&session.control) };
        Ok(stream.is_some_and(Stream::holds_input))
    }

    fn receive_control(&mut self, key: usize) -> Outcome<()> {
        let session = &mut self.sessions[key];
        let held = session.held.len();
        self.buffer[..held].copy_from_slice(&session.held);
        match session.control.receive(&mut self.buffer[held..])? {
            Arrival::Bytes(count) => {
                session.held.clear();
                self.take(key, held + count)
            }
            Arrival::Keys => self.begin_encrypted(key),
            Arrival::Nothing => Ok(()),
            Arrival::End => self.ended(key),
        }
    }

    /// Lets the dialect take the first `end` bytes of the buffer; it gets the rest of them again.
    fn take(&mut self, key: usize, end: usize) -> Outcome<()> {
        let (mut start, mut out) = (0, Vec::new());
        while start < end {
            let session = &mut self.sessions[key];
            let taken = session.dialect.take(&self.buffer[start..end], &mut out)?;
            if taken.bytes == 0 {
                break;
            }
            if taken.is_content {
                session.count_content(&self.buffer[start..start + taken.bytes]);
            }
            start += taken.bytes;
            session.control.send(&out)?;
            out.clear();
            self.settle(key, taken.event)?;
        }
        self.sessions[key].held.extend_from_slice(&self.buffer[start..end]);
        Ok(())
    }

    fn begin_encrypted(&mut self, key: usize) -> Outcome<()> {
        let session = &mut self.sessions[key];
        let mut out = Vec::new();
        let tls = session.control.tls().ok_or("keys without encryption")?;
        let event = session.dialect.begin_encrypted(tls, &mut out)?;
        session.control.send(&out)?;
        self.settle(key, event)
    }

    fn receive_second(&mut self, key: usize) -> Outcome<()> {
        let session = &mut self.sessions[key];
        let Some(second) = &mut session.second else { return Ok(()) };
        match second.receive(&mut self.buffer)? {
            Arrival::Bytes(count) => session.count_content(&self.buffer[..count]),
            Arrival::Keys => session.send_file(false)?,
            Arrival::Nothing => {}
            Arrival::End => return self.ended(key),
        }
        Ok(())
    }

    fn ended(&mut self, key: usize) -> Outcome<()> {
        let session = &mut self.sessions[key];
        session.second = None;
        let event = session.dialect.ended()?;
        self.settle(key, event)
    }

    fn settle(&mut self, key: usize, event: Option<Event>) -> Outcome<()> {
        match event {
            None => {}
            Some(Event::StartTls) => self.sessions[key].control.start_tls(&self.tls)?,
            Some(Event::Connect(port)) => self.connect_second(key, port)?,
            Some(Event::SendFile { keeps_open }) => self.sessions[key].send_file(keeps_open)?,
            Some(event @ (Event::LoggedIn | Event::Done)) => self.happened.push_back((key, event)),
        }
        Ok(())
    }

    /// The second connection is encrypted if the first one is.
    fn connect_second(&mut self, key: usize, port: u16) -> Outcome<()> {
        let mut second = Stream::connect(SocketAddr::new(self.target.ip(), port))?;
        epoll::add(&self.epoll, &second, EventData::new_u64(2 * key as u64 + 1), EventFlags::IN)?;
        let session = &mut self.sessions[key];
        if session.control.tls().is_some() {
            second.start_tls(&self.tls)?;
            session.second = Some(second);
            return Ok(());
        }
        session.second = Some(second);
        session.send_file(false)
    }
}

impl Session {
    fn count_content(&mut self, content: &[u8]) {
        self.content_bytes += content.len() as u64;
        if let Some(digest) = &mut self.digest {
            digest.update(content);
        }
    }

    /// Sends the file to be uploaded, if there is one, in one go.
    fn send_file(&mut self, keeps_open: bool) -> Outcome<()> {
        let Some(file) = self.upload.take() else { return Ok(()) };
        let stream = self.second.as_mut().unwrap_or(&mut self.control);
        stream.send_file(file)?;
        if keeps_open { Ok(()) } else { stream.finish() }
    }
}

/// What one read may take.
const BUFFER_BYTES: usize = 1024 * 1024;
/// Short queues of waiting connections lose what is beyond them.
const LOGINS_AT_ONCE: usize = 8;
const EVENTS_PER_WAIT: usize = 256;
