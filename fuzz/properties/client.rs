//! The whole client against a server that sends arbitrary bytes. The first line of the input
//! names the commands, a letter each; the others are the server's (see `script`).

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use super::conversation::Conversation;
use super::script::{Line, content};
use super::support::in_memory::output::Shared;
use super::{assert_is_one_plain_line, halves};
use berth::auth::scram::Binding;
use berth::base::digest::Digest;
use berth::base::virtual_path::VirtualPath;
use berth::client::connection::link::Link;
use berth::client::connection::login;
use berth::client::connection::session::Session;
use berth::client::connection::state::StateDirectory;
use berth::client::connection::stream::Stream;
use berth::client::interrupt::Interrupt;
use berth::client::shell::dispatch;
use berth::client::syntax::lexer::split;
use berth::client::ui::output::Output;
use berth::client::ui::progress::ProgressStyle;
use berth::wire::Reply;
use berth::wire::frame::{self, CONTROL_BYTES_MAX, Frame, FrameType};
use berth::wire::message::End;

/// The commands from `a` on. `@` is a directory for what is fetched, `%` one with files to send. With
/// `~` among the letters the two greet first, with `!` results are JSON.
const COMMANDS: &[&str] = &[
    "ls -l",
    "ls /*/x*",
    "get -r / @",
    "get -f /x @/x",
    "get /x/* @",
    "get -r /x @",
    "put %/file /x",
    "put -r % /x",
    "put -f %/file /x",
    "stat /x /y",
    "sha256 /x",
    "quota",
    "partials",
    "partials drop --all",
    "rm -r /x",
    "rm -f /x*",
    "mv -f /x /y",
    "mkdir -p /x/y",
    "cd x",
    "rmdir /x",
    "get /x /link @",
    "get -f /linked @",
];

/// Whatever a server answers, nothing happens outside of the destination, nothing but plain text
/// is printed, and a file has its name only if the server proved what is in it.
pub(super) fn hostile_server(input: &[u8]) {
    let place = Place::new();
    let (choice, script) = halves(input);
    let is_json = choice.contains(&b'!');
    let pipe = HostilePipe::new(script);
    let proved = Rc::clone(&pipe.proved);
    let (results, remarks) = (Shared::default(), Shared::default());
    let mut link = Link::new(Box::new(pipe), Interrupt::default());
    if choice.contains(&b'~') {
        // What it says of its bounds is kept from here on; a refusal keeps what was there.
        let _ = login::greet(&mut link, Binding::None);
    }
    let mut session = Session {
        link,
        directory: VirtualPath::root(),
        output: Output::to(Box::new(results.clone()), Box::new(remarks.clone()), is_json, false),
        state: StateDirectory::at(Some(place.directory.path().join("state"))),
        progress: ProgressStyle::Silent,
        peer: "user@hostile:1".into(),
        endpoint: None,
        may_ask: false,
        stdin_is_script: false,
        was_lost: false,
        previous_directory: None,
    };
    for letter in choice.iter().take(COMMANDS_MAX).filter(|letter| letter.is_ascii_lowercase()) {
        place.run(&mut session, COMMANDS[usize::from(letter - b'a') % COMMANDS.len()]);
    }
    assert!(session.output.flush().is_ok());
    drop(session);
    if is_json {
        for line in results.text().lines() {
            serde_json::from_str::<serde_json::Value>(line).expect("one value a line");
        }
    } else {
        results.text().split('\n').for_each(assert_is_one_plain_line);
    }
    remarks.text().split('\n').for_each(assert_is_one_plain_line);
    place.check(&proved.borrow());
}

const COMMANDS_MAX: usize = 4;

/// Directories that the client may use, and one that it must not touch.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder");
        let at = |path: &str| directory.path().join(path);
        for path in ["here", "source/folder", "outside"] {
            fs::create_dir_all(at(path)).expect("a new folder");
        }
        fs::write(at("source/file"), content(0, 3000)).expect("writable");
        fs::write(at("source/folder/empty"), "").expect("writable");
        fs::write(at("outside/secret"), "secret").expect("writable");
        fs::write(at("here/old"), content(0, 100)).expect("writable");
        symlink("../outside", at("here/link")).expect("a new name");
        symlink("../outside/secret", at("here/linked")).expect("a new name");
        Self { directory }
    }

    fn run(&self, session: &mut Session, line: &str) {
        let at = |path: &str| self.directory.path().join(path).display().to_string();
        let line = line.replace('@', &at("here")).replace('%', &at("source"));
        for words in split(line.as_bytes()).expect("a good line") {
            if let Err(failure) = dispatch::run(session, &words) {
                assert_is_one_plain_line(&failure.to_string());
                assert!([1, 2, 3, 4, 5, 6, 130].contains(&failure.exit_code()));
                session.recover();
                session.output.error(failure);
            }
        }
    }

    fn check(&self, proved: &HashSet<Digest>) {
        let at = |path: &str| self.directory.path().join(path);
        let names = |path: &Path| -> Vec<String> {
            let entries = fs::read_dir(path).expect("readable").map(|entry| entry.expect("an entry").file_name());
            let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
            names.sort();
            names
        };
        assert_eq!(names(self.directory.path()), ["here", "outside", "source", "state"]);
        assert_eq!(names(&at("outside")), ["secret"], "something was made outside");
        assert_eq!(fs::read(at("outside/secret")).expect("readable"), b"secret");
        assert_eq!(fs::read(at("source/file")).expect("readable"), content(0, 3000));
        assert!(at("here/link").is_symlink() && at("here/linked").is_symlink(), "a link was replaced");
        let mut directories = vec![at("here")];
        while let Some(directory) = directories.pop() {
            for name in fs::read_dir(directory).expect("readable") {
                let entry = name.expect("an entry");
                let kind = entry.file_type().expect("a kind");
                let is_part = entry.file_name().to_string_lossy().ends_with(".berth-part");
                if kind.is_dir() {
                    directories.push(entry.path());
                } else if kind.is_file() && !is_part {
                    let digest = Digest::of(&fs::read(entry.path()).expect("readable"));
                    let is_old = digest == Digest::of(&content(0, 100));
                    assert!(is_old || proved.contains(&digest), "{} was never proved", entry.path().display());
                }
            }
        }
    }
}

/// A server that follows its script and hangs up at its end.
struct HostilePipe {
    script: Vec<u8>,
    /// Where in the script it is.
    at: usize,
    received: Vec<u8>,
    conversation: Conversation,
    last_id: u32,
    waiting: Vec<u8>,
    /// What was sent of each file.
    files: HashMap<u32, Vec<u8>>,
    /// The digests it announced.
    proved: Rc<RefCell<HashSet<Digest>>>,
}

impl HostilePipe {
    fn new(script: &[u8]) -> Self {
        Self {
            script: script.to_vec(),
            at: 0,
            received: Vec::new(),
            conversation: Conversation::default(),
            last_id: 1,
            waiting: Vec::new(),
            files: HashMap::new(),
            proved: Rc::default(),
        }
    }

    /// Looks at what the client sent, which keeps to the framing.
    fn listen(&mut self) {
        let mut at = 0;
        while let Some((frame, used)) = frame::decode(&self.received[at..], CONTROL_BYTES_MAX).expect("frames") {
            let payload = match frame {
                Frame::Control { id, body } => {
                    self.last_id = id;
                    self.conversation.ask(id, body);
                    0
                }
                Frame::Data { length, .. } => length as usize,
                _ => 0,
            };
            if self.received.len() < at + used + payload {
                break;
            }
            at += used + payload;
        }
        self.received.drain(..at);
    }

    /// The next line's bytes; `None` at the end.
    fn speak(&mut self) -> Option<Vec<u8>> {
        let script = std::mem::take(&mut self.script);
        let (line, _) = halves(script.get(self.at..).filter(|rest| !rest.is_empty()).unwrap_or_default());
        let is_over = self.at >= script.len();
        self.at += line.len() + 1;
        let bytes = Line::all(line).next().map(|line| self.say(line)).unwrap_or_default();
        self.script = script;
        (!is_over).then_some(bytes)
    }

    fn say(&mut self, line: Line<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let next = self.conversation.next().unwrap_or(self.last_id);
        let own = |id: u32| if id == 0 { next } else { id };
        match line {
            Line::Answer(body) | Line::Control(_, body) => {
                let id = if let Line::Control(id, _) = line { id } else { next };
                frame::put_bytes(&mut bytes, FrameType::Control, id, body);
                if let Ok(reply) = serde_json::from_slice::<Reply>(body) {
                    self.conversation.reply(&reply);
                }
            }
            Line::Data(id, count) => {
                let file = self.files.entry(own(id)).or_default();
                let data = content(file.len(), count);
                frame::put_bytes(&mut bytes, FrameType::Data, own(id), &data);
                file.extend(data);
            }
            Line::End(id, body) => {
                let sent = self.files.remove(&own(id)).unwrap_or_default();
                let end = match body {
                    b"" => Ok(End { size: sent.len() as u64, digest: Digest::of(&sent) }),
                    body => serde_json::from_slice(body),
                };
                match end {
                    Ok(end) => {
                        self.proved.borrow_mut().insert(end.digest);
                        frame::put_json(&mut bytes, FrameType::End, own(id), &end);
                    }
                    Err(_) => frame::put_bytes(&mut bytes, FrameType::End, own(id), body),
                }
                self.conversation.end();
            }
            Line::Abort(id, body) => {
                frame::put_bytes(&mut bytes, FrameType::Abort, own(id), body);
                self.conversation.end();
            }
            Line::Ping(body) => frame::put_bytes(&mut bytes, FrameType::Ping, 0, body),
            Line::Header(kind, id, length) => {
                bytes.extend(length.to_be_bytes().iter().chain(&id.to_be_bytes()).chain(&[kind, 0, 0, 0]));
            }
            Line::Raw(raw) => bytes.extend_from_slice(raw),
            Line::Act(..) => {}
        }
        bytes
    }
}

impl Stream for HostilePipe {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.received.extend_from_slice(bytes);
        self.listen();
        Ok(bytes.len())
    }

    fn recv(&mut self, room: &mut [u8]) -> io::Result<usize> {
        while self.waiting.is_empty() {
            match self.speak() {
                Some(bytes) => self.waiting = bytes,
                None => return Ok(0),
            }
        }
        let count = self.waiting.len().min(room.len());
        room[..count].copy_from_slice(&self.waiting[..count]);
        self.waiting.drain(..count);
        Ok(count)
    }

    fn wait(&mut self, _: bool, _: Duration) -> io::Result<()> {
        Ok(())
    }
}
