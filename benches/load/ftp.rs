//! FTP as its clients speak it today: binary, with EPSV; encrypted, both connections are.

use crate::dialect::{Dialect, Event, Outcome, Taken, closed};
use berth::tls::TlsSession;

/// One control connection.
pub(crate) struct Ftp {
    user: String,
    password: String,
    is_encrypted: bool,
    step: Step,
}

/// What the next reply answers.
enum Step {
    Greeting,
    StartTls,
    User,
    Password,
    /// One of the commands that every session begins with; these follow.
    Prepare(&'static [&'static str]),
    /// EPSV, and the command that follows it.
    Passive(String),
    Transfer(Transfer),
    Question,
    Leave,
}

/// A transfer is over when both connections said so.
#[derive(Default)]
struct Transfer {
    is_confirmed: bool,
    is_ended: bool,
}

impl Ftp {
    /// A session that is not logged in.
    pub(crate) fn new(user: &str, password: &str, is_encrypted: bool) -> Self {
        Self { user: user.into(), password: password.into(), is_encrypted, step: Step::Greeting }
    }

    fn say_user(&mut self, out: &mut Vec<u8>) -> Step {
        out.extend(format!("USER {}\r\n", self.user).bytes());
        Step::User
    }

    fn begin_transfer(&mut self, command: String, out: &mut Vec<u8>) {
        out.extend(b"EPSV\r\n");
        self.step = Step::Passive(command);
    }

    /// Takes a whole reply whose last line is `line`.
    fn answer(&mut self, line: &str, out: &mut Vec<u8>) -> Outcome<Option<Event>> {
        let is_fine = line.starts_with(['1', '2', '3']);
        if !is_fine {
            return Err(line.into());
        }
        let (next, event) = match std::mem::replace(&mut self.step, Step::Question) {
            Step::Greeting if self.is_encrypted => {
                out.extend(b"AUTH TLS\r\n");
                (Step::StartTls, None)
            }
            Step::Greeting => (self.say_user(out), None),
            Step::StartTls => (Step::StartTls, Some(Event::StartTls)),
            Step::User if line.starts_with('3') => {
                out.extend(format!("PASS {}\r\n", self.password).bytes());
                (Step::Password, None)
            }
            Step::User | Step::Password => {
                let commands = if self.is_encrypted { PREPARE_TLS } else { PREPARE };
                prepare(commands, out)
            }
            Step::Prepare(commands) => prepare(commands, out),
            Step::Passive(command) => {
                out.extend(command.bytes());
                let port = line.split('|').nth(3).ok_or("EPSV without a port")?;
                (Step::Transfer(Transfer::default()), Some(Event::Connect(port.parse()?)))
            }
            Step::Transfer(transfer) if line.starts_with('1') => (Step::Transfer(transfer), None),
            Step::Transfer(transfer) => {
                let event = transfer.is_ended.then_some(Event::Done);
                (Step::Transfer(Transfer { is_confirmed: true, ..transfer }), event)
            }
            Step::Question => (Step::Question, Some(Event::Done)),
            Step::Leave => (Step::Leave, Some(Event::Done)),
        };
        self.step = next;
        Ok(event)
    }
}

fn prepare(commands: &'static [&'static str], out: &mut Vec<u8>) -> (Step, Option<Event>) {
    let Some((next, rest)) = commands.split_first() else { return (Step::Question, Some(Event::LoggedIn)) };
    out.extend(next.bytes());
    (Step::Prepare(rest), None)
}

impl Dialect for Ftp {
    fn begin_login(&mut self, _out: &mut Vec<u8>) -> Outcome<Option<Event>> {
        Ok(None)
    }

    fn begin_encrypted(&mut self, _tls: &TlsSession, out: &mut Vec<u8>) -> Outcome<Option<Event>> {
        self.step = self.say_user(out);
        Ok(None)
    }

    fn begin_get(&mut self, path: &str, out: &mut Vec<u8>) {
        self.begin_transfer(format!("RETR {path}\r\n"), out);
    }

    fn begin_put(&mut self, path: &str, _size: u64, out: &mut Vec<u8>) -> Outcome<Option<Event>> {
        self.begin_transfer(format!("STOR {path}\r\n"), out);
        Ok(None)
    }

    fn begin_question(&mut self, path: &str, out: &mut Vec<u8>) {
        out.extend(format!("SIZE {path}\r\n").bytes());
        self.step = Step::Question;
    }

    fn begin_leave(&mut self, out: &mut Vec<u8>) -> bool {
        out.extend(b"QUIT\r\n");
        self.step = Step::Leave;
        true
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Outcome<Taken> {
        let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else { return Ok(Taken::default()) };
        let line = String::from_utf8_lossy(&bytes[..end]).trim_end().to_owned();
        // Of a reply of several lines only the last has a space behind its number.
        let is_last =
            line.len() >= 3 && line.as_bytes()[..3].iter().all(u8::is_ascii_digit) && !line[3..].starts_with('-');
        let event = if is_last { self.answer(&line, out)? } else { None };
        Ok(Taken { bytes: end + 1, is_content: false, event })
    }

    fn ended(&mut self) -> Outcome<Option<Event>> {
        match &mut self.step {
            Step::Transfer(transfer) if !transfer.is_ended => {
                transfer.is_ended = true;
                Ok(transfer.is_confirmed.then_some(Event::Done))
            }
            Step::Leave => Ok(None),
            _ => closed(),
        }
    }
}

const PREPARE: &[&str] = &["TYPE I\r\n"];
const PREPARE_TLS: &[&str] = &["PBSZ 0\r\n", "PROT P\r\n", "TYPE I\r\n"];
