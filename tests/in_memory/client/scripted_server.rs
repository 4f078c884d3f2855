//! A scripted server in memory: frames in, frames out.

use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use crate::support::in_memory::output::Shared;
use berth::base::virtual_path::VirtualPath;
use berth::client::connection::link::Link;
use berth::client::connection::session::Session;
use berth::client::connection::state::StateDirectory;
use berth::client::connection::stream::Stream;
use berth::client::interrupt::Interrupt;
use berth::client::ui::output::Output;
use berth::client::ui::progress::ProgressStyle;
use berth::wire::frame::{self, FrameType};
use berth::wire::message::{End, ErrorCode, ErrorReply};
use berth::wire::{Frame, Reply, Request};

/// What the client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Request(u32, Request),
    Data(u32, Vec<u8>),
    End(u32, End),
    Abort(u32),
    Pong,
}

/// What the server sends back.
#[derive(Default)]
pub(crate) struct Answers {
    bytes: Vec<u8>,
    /// The connection ends after the bytes.
    pub(crate) hang_up: bool,
    /// Sent repeatedly after everything else.
    pub(crate) endless: Vec<u8>,
    /// The server reads nothing more.
    pub(crate) is_deaf: bool,
}

impl Answers {
    pub(crate) fn reply(&mut self, id: u32, reply: &Reply) {
        frame::put_json(&mut self.bytes, FrameType::Control, id, reply);
    }

    pub(crate) fn error(&mut self, id: u32, code: ErrorCode) {
        self.reply(id, &Reply::Error(refusal(code)));
    }

    pub(crate) fn data(&mut self, id: u32, bytes: &[u8]) {
        frame::put_bytes(&mut self.bytes, FrameType::Data, id, bytes);
    }

    pub(crate) fn end(&mut self, id: u32, end: &End) {
        frame::put_json(&mut self.bytes, FrameType::End, id, end);
    }

    pub(crate) fn abort(&mut self, id: u32, code: ErrorCode) {
        frame::put_json(&mut self.bytes, FrameType::Abort, id, &refusal(code));
    }

    pub(crate) fn ping(&mut self) {
        frame::put_bytes(&mut self.bytes, FrameType::Ping, 0, b"are you there");
    }

    /// Repeats everything queued so far for ever.
    pub(crate) fn repeat_for_ever(&mut self) {
        self.endless = std::mem::take(&mut self.bytes);
    }

    pub(crate) fn append(&mut self, other: &Answers) {
        self.bytes.extend_from_slice(&other.bytes);
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }
}

pub(crate) fn refusal(code: ErrorCode) -> ErrorReply {
    ErrorReply::new(code, "refused")
}

type Script = Box<dyn FnMut(Seen, &mut Answers)>;

/// The stream between the client and the scripted server.
pub(crate) struct ScriptedPipe {
    script: Script,
    received: Vec<u8>,
    answers: Answers,
    sent: usize,
    /// Bytes at most per call, in both directions.
    bytes_per_call: usize,
    seen: Rc<RefCell<Vec<Seen>>>,
}

impl ScriptedPipe {
    fn act(&mut self) {
        while let Some((seen, used)) = cut(&self.received) {
            self.received.drain(..used);
            self.seen.borrow_mut().push(seen.clone());
            (self.script)(seen, &mut self.answers);
        }
    }
}

fn cut(bytes: &[u8]) -> Option<(Seen, usize)> {
    let (frame, used) = frame::decode(bytes, 64 * 1024).expect("the client keeps to the framing")?;
    let seen = match frame {
        Frame::Control { id, body } => Seen::Request(id, Request::decode(body).expect("a request")),
        Frame::End { id, body } => Seen::End(id, serde_json::from_slice(body).expect("an end")),
        Frame::Abort { id, .. } => Seen::Abort(id),
        Frame::Pong { .. } | Frame::Ping { .. } => Seen::Pong,
        Frame::Data { id, length } => {
            let end = used + length as usize;
            return Some((Seen::Data(id, bytes.get(used..end)?.to_vec()), end));
        }
    };
    Some((seen, used))
}

impl Stream for ScriptedPipe {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.answers.is_deaf {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = bytes.len().min(self.bytes_per_call);
        self.received.extend_from_slice(&bytes[..count]);
        self.act();
        Ok(count)
    }

    fn recv(&mut self, room: &mut [u8]) -> io::Result<usize> {
        if self.answers.bytes.is_empty() {
            self.answers.bytes.extend_from_slice(&self.answers.endless);
        }
        let waiting = &self.answers.bytes[self.sent..];
        let count = waiting.len().min(room.len()).min(self.bytes_per_call);
        if count == 0 {
            return if self.answers.hang_up { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        room[..count].copy_from_slice(&waiting[..count]);
        self.sent += count;
        if self.sent == self.answers.bytes.len() {
            self.answers.bytes.clear();
            self.sent = 0;
        }
        Ok(count)
    }

    /// Fails, because a server that sends nothing more would be awaited for ever.
    fn wait(&mut self, _: bool, _: Duration) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::TimedOut, "the script is over"))
    }
}

/// A logged-in session with a scripted server, and the frames of both sides.
pub(crate) struct Stage {
    pub(crate) session: Session,
    pub(crate) seen: Rc<RefCell<Vec<Seen>>>,
    pub(crate) results: Shared,
    pub(crate) remarks: Shared,
    pub(crate) interrupt: Interrupt,
}

impl Stage {
    pub(crate) fn new(state: &Path, script: impl FnMut(Seen, &mut Answers) + 'static) -> Self {
        Self::with_calls_of(usize::MAX, state, script)
    }

    /// Creates a stage in which no call moves more than `bytes_per_call`.
    pub(crate) fn with_calls_of(
        bytes_per_call: usize,
        state: &Path,
        script: impl FnMut(Seen, &mut Answers) + 'static,
    ) -> Self {
        let (link, seen, interrupt) = link_to(bytes_per_call, script);
        let (results, remarks) = (Shared::default(), Shared::default());
        let session = Session {
            link,
            directory: VirtualPath::root(),
            output: Output::to(Box::new(results.clone()), Box::new(remarks.clone()), false, false),
            state: StateDirectory::at(Some(state.join("state"))),
            progress: ProgressStyle::Silent,
            peer: "user@scripted:1".into(),
            may_ask: false,
            stdin_is_script: false,
            endpoint: None,
            was_lost: false,
            previous_directory: None,
        };
        Self { session, seen, results, remarks, interrupt }
    }

    /// Runs one command line as the shell does.
    pub(crate) fn run(&mut self, line: &str) -> Result<(), berth::client::error::Failure> {
        for words in berth::client::syntax::lexer::split(line.as_bytes()).expect("a good line") {
            if let Err(failure) = berth::client::shell::dispatch::run(&mut self.session, &words) {
                self.session.recover();
                return Err(failure);
            }
        }
        self.session.output.flush()
    }

    /// Returns the requests of the client, without data.
    pub(crate) fn requests(&self) -> Vec<Request> {
        let seen = self.seen.borrow();
        seen.iter()
            .filter_map(|seen| if let Seen::Request(_, request) = seen { Some(request.clone()) } else { None })
            .collect()
    }
}

/// A link that is not logged in.
pub(crate) fn link_to(
    bytes_per_call: usize,
    script: impl FnMut(Seen, &mut Answers) + 'static,
) -> (Link, Rc<RefCell<Vec<Seen>>>, Interrupt) {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let pipe = ScriptedPipe {
        script: Box::new(script),
        received: Vec::new(),
        answers: Answers::default(),
        sent: 0,
        bytes_per_call,
        seen: Rc::clone(&seen),
    };
    let interrupt = Interrupt::default();
    (Link::new(Box::new(pipe), interrupt.clone()), seen, interrupt)
}
