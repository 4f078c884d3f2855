//! Two sessions of one account in one server: the ledger is the disk at any moment, memory stays
//! within its bounds, and everybody is answered in order.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use super::conversation::{Conversation, Sum};
use super::script::{Line, content};
use super::server::{QUOTA_BYTES, QUOTA_FILES, new_server};
use super::support::in_memory::{Got, Peer, Server};
use berth::base::buffers::{INPUT_BYTES, OUTPUT_BYTES_HIGH, PIECE_BYTES};
use berth::base::digest::Digest;
use berth::store::ledger::Ledger;
use berth::store::staging::PARTIALS_PER_HOME_MAX;
use berth::wire::frame::{self, CONTROL_BYTES_MAX, FrameType};
use berth::wire::message::{End, ErrorCode};
use berth::wire::{Reply, Request};

/// They do what the script says (see `script`). Its other letters: `.` everything that can happen
/// without the client, `d N` so many bytes arrive, `s` a step, `r N` so many are read, `y` a sync
/// is done, `f` it has failed, `t N` so many seconds later, `h` no more will be sent, `x` cut off
/// and logged in again, `o` the other session, `v` and `c` the home is verified or counted anew.
pub(super) fn two_sessions(input: &[u8]) {
    let mut meeting = Meeting::new();
    for line in Line::all(input).take(LINES_MAX) {
        meeting.act(line);
        meeting.check();
    }
    meeting.finish();
}

/// So that one run stays short.
const LINES_MAX: usize = 200;

struct Meeting {
    server: Server,
    ledger: Rc<Ledger>,
    sessions: [FuzzSession; 2],
    current: usize,
    /// The disk was made to fail.
    disk_failed: bool,
}

struct FuzzSession {
    peer: Peer,
    conversation: Conversation,
    /// Whether what is owed is known: nothing was sent that is no frame.
    is_known: bool,
    uploads: HashMap<u32, Upload>,
    download: Option<Sum>,
}

/// What was sent of an upload.
#[derive(Default)]
struct Upload {
    bytes: Vec<u8>,
    is_resumed: bool,
}

impl Meeting {
    fn new() -> Self {
        let mut server = new_server();
        let ledger = Rc::clone(server.capability().ledger());
        let sessions = [FuzzSession::new(&mut server), FuzzSession::new(&mut server)];
        Self { server, ledger, sessions, current: 0, disk_failed: false }
    }

    fn act(&mut self, line: Line<'_>) {
        let Self { server, sessions, current, .. } = self;
        let session = &mut sessions[*current];
        match line {
            Line::Act(b'.', _) => session.peer.pump(server),
            Line::Act(b'd', most) => drop(session.peer.deliver(most as usize)),
            Line::Act(b's', _) => drop(session.peer.step(server)),
            Line::Act(b'r', most) => drop(session.peer.drain(most as usize)),
            Line::Act(b'y', _) => drop(session.peer.sync(server)),
            Line::Act(b'f', _) => self.disk_failed |= session.peer.fail_sync(server),
            Line::Act(b't', seconds) => server.advance(Duration::from_secs(u64::from(seconds % 1_000_000))),
            Line::Act(b'h', _) => session.peer.half_close(),
            Line::Act(b'o', _) => *current = 1 - *current,
            Line::Act(b'v', _) => self.ledger.begin_check(),
            Line::Act(b'c', _) => self.ledger.begin_recount(),
            Line::Act(b'x', _) => {
                let fresh = FuzzSession::new(server);
                std::mem::replace(session, fresh).peer.reset(server);
            }
            line => session.send(line),
        }
        self.sessions[self.current].read(self.disk_failed);
    }

    /// What must hold at any moment.
    fn check(&self) {
        let state = self.ledger.state();
        if state.is_counted {
            assert_eq!((state.used.bytes, state.used.files), self.server.usage_on_disk(), "the ledger is not the disk");
            assert!(state.used.bytes + state.reserved.bytes <= QUOTA_BYTES, "over the quota: {state:?}");
            assert!(state.used.files + state.reserved.files <= QUOTA_FILES, "over the quota: {state:?}");
        }
        for FuzzSession { peer, .. } in &self.sessions {
            assert!(peer.buffers.input.filled().len() <= INPUT_BYTES);
            assert!(peer.buffers.output.held_bytes() <= OUTPUT_BYTES_HIGH + PIECE_BYTES + CONTROL_BYTES_MAX);
        }
        assert!(self.server.staged_names().len() <= 3 * (PARTIALS_PER_HOME_MAX + self.sessions.len()));
    }

    /// Everybody reads all there is and leaves.
    fn finish(mut self) {
        for session in &mut self.sessions {
            session.peer.pump(&mut self.server);
            session.read(self.disk_failed);
        }
        self.check();
        for session in self.sessions {
            session.peer.reset(&self.server);
        }
        assert_eq!(self.server.usage_in_ledger(), self.server.usage_on_disk());
        let reserved = self.ledger.state().reserved;
        assert_eq!((reserved.bytes, reserved.files), (0, 0), "promises nobody holds");
    }
}

impl FuzzSession {
    fn new(server: &mut Server) -> Self {
        let peer = server.log_in();
        Self { peer, conversation: Conversation::default(), is_known: true, uploads: HashMap::new(), download: None }
    }

    fn send(&mut self, line: Line<'_>) {
        let mut bytes = Vec::new();
        match line {
            Line::Control(id, body) => {
                frame::put_bytes(&mut bytes, FrameType::Control, id, body);
                self.conversation.ask(id, body);
                if let Ok(Request::Put { resume, .. }) = Request::decode(body) {
                    self.uploads.insert(id, Upload { bytes: Vec::new(), is_resumed: resume });
                }
            }
            Line::Data(id, count) => {
                let upload = self.uploads.entry(id).or_default();
                let data = content(upload.bytes.len(), count);
                frame::put_bytes(&mut bytes, FrameType::Data, id, &data);
                upload.bytes.extend(data);
            }
            Line::End(id, b"") => {
                let sent = &self.uploads.entry(id).or_default().bytes;
                let end = End { size: sent.len() as u64, digest: Digest::of(sent) };
                frame::put_json(&mut bytes, FrameType::End, id, &end);
            }
            Line::End(id, body) => frame::put_bytes(&mut bytes, FrameType::End, id, body),
            Line::Abort(id, body) => frame::put_bytes(&mut bytes, FrameType::Abort, id, body),
            Line::Ping(body) => frame::put_bytes(&mut bytes, FrameType::Ping, 0, body),
            Line::Header(kind, id, length) => {
                bytes.extend(length.to_be_bytes().iter().chain(&id.to_be_bytes()).chain(&[kind, 0, 0, 0]));
                self.is_known = false;
            }
            Line::Raw(raw) => {
                bytes.extend_from_slice(raw);
                self.is_known &= raw.is_empty();
            }
            Line::Answer(_) | Line::Act(..) => {}
        }
        self.peer.send(&bytes);
    }

    fn read(&mut self, disk_failed: bool) {
        for got in self.peer.take_received() {
            let code = got.code();
            assert!(code != Some(ErrorCode::Internal) && (disk_failed || code != Some(ErrorCode::Io)), "{got:?}");
            if matches!(&got, Got::Reply(_, Reply::Error(error)) if error.fatal) {
                // Nothing follows that could be out of order.
                self.is_known = false;
            }
            if self.is_known {
                self.check_turn(&got);
            }
        }
    }

    fn check_turn(&mut self, got: &Got) {
        let (Got::Reply(id, _) | Got::Data(id, _) | Got::End(id, _) | Got::Abort(id, _)) = got else { return };
        assert_eq!(Some(*id), self.conversation.next(), "out of turn: {got:?}");
        match got {
            Got::Reply(_, reply) => {
                self.take_reply(*id, reply);
                self.conversation.reply(reply);
            }
            Got::Data(_, bytes) => self.download.iter_mut().for_each(|sum| sum.bytes.extend(bytes)),
            Got::End(_, end) => {
                let sum = self.download.take();
                assert!(sum.is_none_or(|sum| end.digest == sum.digest() && end.size == sum.bytes.len() as u64));
                self.conversation.end();
            }
            Got::Abort(..) => self.conversation.end(),
            Got::Pong(_) => {}
        }
    }

    fn take_reply(&mut self, id: u32, reply: &Reply) {
        match reply {
            Reply::File { offset, .. } => self.download = (*offset == 0).then(|| Sum::new(id)),
            Reply::Ready { offset, .. } => {
                let upload = self.uploads.entry(id).or_default();
                if upload.bytes.is_empty() {
                    upload.bytes = content(0, *offset as usize);
                }
            }
            Reply::Stored { size, digest } => {
                let upload = self.uploads.entry(id).or_default();
                // Whoever resumed may have sent something else before.
                let is_what_was_sent = Sum { id, bytes: std::mem::take(&mut upload.bytes) };
                assert!(upload.is_resumed || *digest == is_what_was_sent.digest());
                assert!(upload.is_resumed || *size == is_what_was_sent.bytes.len() as u64);
            }
            _ => {}
        }
    }
}
