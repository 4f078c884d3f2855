//! berth's own protocol, over the library's codec.

use std::cell::OnceCell;

use crate::dialect::{Dialect, Event, Outcome, Taken, closed};
use berth::auth::scram::{Binding, ClientExchange, ClientKeys, ClientProved, Secret};
use berth::tls::TlsSession;
use berth::wire::frame::{self, CONTROL_BYTES_MAX, FrameType};
use berth::wire::message::VERSION;
use berth::wire::{Frame, Reply, Request};

/// Who logs in. The keys of the password are derived once, so that the client's rounds of PBKDF2
/// do not limit the server.
pub(crate) struct Account {
    user: String,
    password: String,
    /// Known after the first login.
    keys: OnceCell<ClientKeys>,
}

impl Account {
    /// An account whose keys are not known yet.
    pub(crate) fn new(user: String, password: String) -> Self {
        Self { user, password, keys: OnceCell::new() }
    }
}

/// One session.
pub(crate) struct Native {
    account: &'static Account,
    is_encrypted: bool,
    binding: Binding,
    step: Step,
    id: u32,
    /// Bytes of the current data frame that have not come.
    content_left: usize,
}

enum Step {
    Hello,
    Challenge(ClientExchange<'static>),
    Proof(ClientProved),
    Ready,
}

impl Native {
    /// A session that is not logged in.
    pub(crate) fn new(account: &'static Account, is_encrypted: bool) -> Self {
        Self { account, is_encrypted, binding: Binding::None, step: Step::Hello, id: 0, content_left: 0 }
    }

    fn greet(&mut self, out: &mut Vec<u8>) {
        self.request(&Request::Hello { versions: vec![VERSION], client: "load".into() }, out);
    }

    fn request(&mut self, request: &Request, out: &mut Vec<u8>) {
        self.id += 1;
        frame::put_json(out, FrameType::Control, self.id, request);
    }

    fn answer(&mut self, reply: Reply, out: &mut Vec<u8>) -> Outcome<Option<Event>> {
        match (std::mem::replace(&mut self.step, Step::Ready), reply) {
            (_, Reply::Error(error)) => return Err(error.message.into()),
            (Step::Hello, Reply::Hello { .. }) => {
                let Account { user, password, keys } = self.account;
                let secret = keys.get().map_or(Secret::Password(password), Secret::Keys);
                let (exchange, message) = ClientExchange::new(user, secret, self.binding)?;
                let mechanism = self.binding.mechanism().into();
                self.request(&Request::Auth { mechanism, message }, out);
                self.step = Step::Challenge(exchange);
            }
            (Step::Challenge(exchange), Reply::Challenge { message }) => {
                let (proved, message) = exchange.answer(&message)?;
                self.request(&Request::AuthNext { message }, out);
                self.step = Step::Proof(proved);
            }
            (Step::Proof(proved), Reply::Welcome { message }) => {
                proved.verify(&message)?;
                let _ = self.account.keys.set(proved.into_keys());
                return Ok(Some(Event::LoggedIn));
            }
            (Step::Ready, Reply::File { .. }) => {}
            (Step::Ready, _) => return Ok(Some(Event::Done)),
            _ => return Err("an answer of the wrong kind".into()),
        }
        Ok(None)
    }
}

impl Dialect for Native {
    fn begin_login(&mut self, out: &mut Vec<u8>) -> Outcome<Option<Event>> {
        if self.is_encrypted {
            return Ok(Some(Event::StartTls));
        }
        self.greet(out);
        Ok(None)
    }

    fn begin_encrypted(&mut self, tls: &TlsSession, out: &mut Vec<u8>) -> Outcome<Option<Event>> {
        self.binding = tls.binding()?;
        self.greet(out);
        Ok(None)
    }

    fn begin_get(&mut self, path: &str, out: &mut Vec<u8>) {
        self.request(&Request::Get { path: path.into(), offset: 0, etag: None, prefix_digest: None }, out);
    }

    fn begin_put(&mut self, _path: &str, _size: u64, _out: &mut Vec<u8>) -> Outcome<Option<Event>> {
        Err("use the client to upload; it proves what it sends".into())
    }

    fn begin_question(&mut self, path: &str, out: &mut Vec<u8>) {
        self.request(&Request::Stat { path: path.into() }, out);
    }

    fn begin_leave(&mut self, _out: &mut Vec<u8>) -> bool {
        false
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Outcome<Taken> {
        if self.content_left > 0 {
            let count = self.content_left.min(bytes.len());
            self.content_left -= count;
            return Ok(Taken { bytes: count, is_content: true, event: None });
        }
        let Some((frame, used)) = frame::decode(bytes, CONTROL_BYTES_MAX)? else { return Ok(Taken::default()) };
        let event = match frame {
            Frame::Control { body, .. } => self.answer(serde_json::from_slice(body)?, out)?,
            Frame::Data { length, .. } => {
                self.content_left = length as usize;
                None
            }
            Frame::End { .. } => Some(Event::Done),
            Frame::Abort { body, .. } => return Err(String::from_utf8_lossy(body).into()),
            Frame::Ping { .. } | Frame::Pong { .. } => None,
        };
        Ok(Taken { bytes: used, is_content: false, event })
    }

    fn ended(&mut self) -> Outcome<Option<Event>> {
        closed()
    }
}
