//! The whole client and the whole server, joined in memory. A wait of the client is a turn of the server, so the
//! tests count round trips.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::support::in_memory::output::Shared;
use crate::support::in_memory::{MIB, PASSWORD, Peer, Server, USER, content};
use berth::auth::scram::Binding;
use berth::base::virtual_path::VirtualPath;
use berth::client::connection::link::Link;
use berth::client::connection::login;
use berth::client::connection::session::Session;
use berth::client::connection::state::StateDirectory;
use berth::client::connection::stream::Stream;
use berth::client::error::Failure;
use berth::client::interrupt::Interrupt;
use berth::client::shell::dispatch;
use berth::client::syntax::lexer;
use berth::client::ui::output::Output;
use berth::client::ui::progress::ProgressStyle;

/// Bytes on their way in either direction, at most.
const WINDOW_BYTES: usize = 256 * 1024;

/// What a test may do to a connection, and what it may see of it.
#[derive(Clone, Default)]
struct Wire {
    /// Round trips.
    waits: Rc<Cell<usize>>,
    sent: Rc<Cell<usize>>,
    received: Rc<Cell<usize>>,
    /// No call moves more; 0: no bound.
    bytes_per_call: usize,
    /// The connection is cut once so many bytes have passed, both directions together.
    cut_at: Option<usize>,
    /// Ctrl-C is pressed at that moment.
    interrupt_at: Rc<Cell<Option<usize>>>,
}

impl Wire {
    fn passed(&self) -> usize {
        self.sent.get() + self.received.get()
    }
}

/// The client's end of a connection, and the server behind it.
struct JoinedPipe {
    server: Rc<RefCell<Server>>,
    peer: Option<Peer>,
    wire: Wire,
    interrupt: Interrupt,
    arrived: Vec<u8>,
    taken: usize,
}

impl JoinedPipe {
    /// How many of `bytes` pass now; `None` if the connection is cut.
    fn pass(&mut self, bytes: usize) -> Option<usize> {
        let passed = self.wire.passed();
        if self.wire.interrupt_at.get().is_some_and(|at| passed >= at) {
            self.wire.interrupt_at.set(None);
            self.interrupt.set();
        }
        if self.wire.cut_at.is_some_and(|at| passed >= at) {
            if let Some(peer) = self.peer.take() {
                peer.reset(&self.server.borrow());
            }
            return None;
        }
        let most = if self.wire.bytes_per_call == 0 { usize::MAX } else { self.wire.bytes_per_call };
        Some(bytes.min(most).min(self.wire.cut_at.map_or(usize::MAX, |at| at - passed)))
    }
}

impl Stream for JoinedPipe {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.pass(bytes.len()).ok_or(io::ErrorKind::BrokenPipe)?;
        let peer = self.peer.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        let count = count.min(WINDOW_BYTES.saturating_sub(peer.unsent()));
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        peer.send(&bytes[..count]);
        self.wire.sent.set(self.wire.sent.get() + count);
        Ok(count)
    }

    fn recv(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let waiting = self.arrived.len() - self.taken;
        if waiting == 0 && self.peer.as_ref().is_some_and(Peer::is_closing) {
            return Ok(0);
        }
        let Some(count) = self.pass(waiting.min(room.len())) else { return Ok(0) };
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        room[..count].copy_from_slice(&self.arrived[self.taken..self.taken + count]);
        self.taken += count;
        if self.taken == self.arrived.len() {
            (self.arrived, self.taken) = (Vec::new(), 0);
        }
        self.wire.received.set(self.wire.received.get() + count);
        Ok(count)
    }

    /// The server's turns, until it waits for the client.
    fn wait(&mut self, for_write: bool, _: Duration) -> io::Result<()> {
        self.wire.waits.set(self.wire.waits.get() + 1);
        let Some(peer) = &mut self.peer else { return Ok(()) };
        let server = &mut *self.server.borrow_mut();
        let before = peer.unsent();
        loop {
            let delivered = peer.deliver(usize::MAX);
            let stepped = peer.step(server);
            let held = self.arrived.len() - self.taken;
            let drained = peer.drain(WINDOW_BYTES.saturating_sub(held)) > 0;
            self.arrived.extend(peer.take_bytes());
            if !(delivered || stepped || drained || peer.sync(server)) {
                break;
            }
        }
        let is_stuck = self.arrived.is_empty() && !(for_write && peer.unsent() < before);
        if is_stuck && !peer.is_closing() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "both sides wait"));
        }
        Ok(())
    }
}

/// A server, and a directory where its users are.
struct World {
    server: Rc<RefCell<Server>>,
    here: tempfile::TempDir,
}

/// A logged-in user.
struct User {
    session: Session,
    wire: Wire,
    results: Shared,
    remarks: Shared,
}

impl World {
    fn new() -> Self {
        Self { server: Rc::new(RefCell::new(Server::new())), here: tempfile::tempdir().expect("temporary folder") }
    }

    fn here(&self, name: &str) -> PathBuf {
        self.here.path().join(name)
    }

    fn there(&self, name: &str) -> PathBuf {
        self.server.borrow().at(name)
    }

    fn log_in(&self) -> User {
        self.log_in_over(Wire::default()).expect("logged in")
    }

    fn log_in_over(&self, wire: Wire) -> Result<User, Failure> {
        let interrupt = Interrupt::default();
        let peer = Some(self.server.borrow_mut().connect());
        let (server, arrived) = (Rc::clone(&self.server), Vec::new());
        let pipe = JoinedPipe { server, peer, wire: wire.clone(), interrupt: interrupt.clone(), arrived, taken: 0 };
        let mut link = Link::new(Box::new(pipe), interrupt);
        login::greet(&mut link, Binding::None)?;
        login::log_in(&mut link, USER, PASSWORD, Binding::None)?;
        let (results, remarks) = (Shared::default(), Shared::default());
        let session = Session {
            link,
            directory: VirtualPath::root(),
            output: Output::to(Box::new(results.clone()), Box::new(remarks.clone()), false, false),
            state: StateDirectory::at(Some(self.here("state"))),
            progress: ProgressStyle::Silent,
            peer: "alice@joined:1".into(),
            may_ask: false,
            stdin_is_script: false,
            endpoint: None,
            was_lost: false,
            previous_directory: None,
        };
        Ok(User { session, wire, results, remarks })
    }
}

impl User {
    /// Carries out one command line as the shell does.
    fn run(&mut self, line: &str) -> Result<(), Failure> {
        for words in lexer::split(line.as_bytes()).expect("a good line") {
            if let Err(failure) = dispatch::run(&mut self.session, &words) {
                self.session.recover();
                let _ = self.session.output.flush();
                return Err(failure);
            }
        }
        self.session.output.flush()
    }

    /// Presses Ctrl-C after so many bytes more.
    fn interrupt_after(&self, bytes: usize) {
        self.wire.interrupt_at.set(Some(self.wire.passed() + bytes));
    }

    /// Round trips that `act` costs.
    fn waits(&mut self, act: impl FnOnce(&mut Self)) -> usize {
        let before = self.wire.waits.get();
        act(self);
        self.wire.waits.get() - before
    }
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("readable").flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn tree(root: &Path, files: usize) {
    for i in 0..files {
        let directory = root.join(format!("d{}", i % 10));
        fs::create_dir_all(&directory).expect("writable");
        fs::write(directory.join(format!("f{i}")), format!("content {i}")).expect("writable");
    }
}

#[test]
fn transfers_are_whole_however_their_bytes_are_split() {
    let sizes = [0, 1, 70_000];
    for bytes_per_call in [1, 7, 64, 0] {
        let world = World::new();
        let mut user = world.log_in_over(Wire { bytes_per_call, ..Wire::default() }).expect("logged in");
        for size in sizes {
            let (source, copy) = (world.here(&format!("{size}")), world.here(&format!("{size}.copy")));
            fs::write(&source, content(size as u64, size)).expect("writable");
            user.run(&format!("put {}", source.display())).expect("sent");
            assert!(fs::read(world.there(&format!("{size}"))).expect("there") == content(size as u64, size));
            user.run(&format!("get {size} {}", copy.display())).expect("fetched");
            assert!(fs::read(copy).expect("here") == content(size as u64, size));
        }
        user.run("mkdir -p a/b; mv 1 a/b; cd a; rm -r b; cd; rmdir a; quota; ls -l; sha256 0").expect("done");
        assert_eq!(user.remarks.text(), "");
        assert!(world.server.borrow().is_staging_empty());
    }
}

#[test]
fn a_thousand_files_cost_few_round_trips_and_no_transfer_if_they_are_identical() {
    let world = World::new();
    tree(&world.here("t"), 1000);
    let mut user = world.log_in();
    let put = format!("put -r {}", world.here("t").display());
    let get = format!("get -r t {}", world.here("back").display());
    fs::create_dir(world.here("back")).expect("writable");
    for (line, summary) in [
        (&put, "put: 1000 files, 11K"),
        (&put, "put: 1000 files, all already there"),
        (&get, "get: 1000 files, 11K"),
        (&get, "get: 1000 files, all already there"),
    ] {
        let already = user.results.text().len();
        let waits = user.waits(|user| user.run(line).expect("done"));
        assert!(user.results.text()[already..].contains(summary), "{}", user.results.text());
        assert!(waits < 100, "{waits} round trips for {line}");
    }
    for i in 0..1000 {
        let path = world.here(&format!("back/t/d{}/f{i}", i % 10));
        assert_eq!(fs::read_to_string(path).expect("here"), format!("content {i}"));
    }
}

#[test]
fn differing_files_of_a_tree_are_replaced_only_with_f_and_few_round_trips() {
    let world = World::new();
    tree(&world.here("t"), 200);
    let mut user = world.log_in();
    let put = |options: &str| format!("put {options} {}", world.here("t").display());
    user.run(&put("-r")).expect("sent");
    for i in 0..200 {
        fs::write(world.here(&format!("t/d{}/f{i}", i % 10)), format!("changed {i}")).expect("writable");
    }
    assert_eq!(user.run(&put("-r")), Err(Failure::SomeFailed { failed: 200, total: 200 }));
    let waits = user.waits(|user| user.run(&put("-r -f")).expect("replaced"));
    assert!(waits < 50, "{waits} round trips");
    assert_eq!(fs::read_to_string(world.there("t/d7/f7")).expect("there"), "changed 7");
    let get = format!("get -r -f t {}", world.here("").display());
    fs::write(world.there("t/d7/f7"), "other again").expect("writable");
    user.run(&get).expect("fetched");
    assert_eq!(fs::read_to_string(world.here("t/d7/f7")).expect("here"), "other again");
    assert!(user.results.text().contains("get: 200 files, 11 bytes, 199 already there"), "{}", user.results.text());
}

#[test]
fn one_failed_file_of_a_tree_is_reported_and_the_rest_continues() {
    let world = World::new();
    tree(&world.here("t"), 50);
    fs::create_dir_all(world.there("t/d7/f7")).expect("writable");
    let mut user = world.log_in();
    let failure = user.run(&format!("put -r {}", world.here("t").display())).expect_err("one is a folder there");
    assert_eq!((failure.exit_code(), failure), (1, Failure::SomeFailed { failed: 1, total: 50 }));
    assert!(user.remarks.text().contains("/t/d7/f7"), "{}", user.remarks.text());
    assert!(user.results.text().contains("put: 49 files, ") && user.results.text().contains(", 1 failed"));
    assert_eq!(names_in(&world.there("t/d9")).len(), 5);
}

#[test]
fn a_cancelled_download_keeps_its_part_and_the_next_get_resumes() {
    let world = World::new();
    let bytes = content(1, 5 * MIB);
    fs::write(world.there("f"), &bytes).expect("writable");
    let mut user = world.log_in();
    let get = format!("get f {}", world.here("f").display());
    user.interrupt_after(2 * MIB);
    assert_eq!(user.run(&get), Err(Failure::Interrupted));
    let kept = fs::metadata(world.here(".f.berth-part")).expect("kept").len();
    assert!(kept > MIB as u64 && kept < 3 * MIB as u64, "{kept}");
    user.run("pwd; stat f").expect("the session goes on");
    let before = user.wire.received.get();
    user.run(&get).expect("resumed");
    assert!(user.remarks.text().contains("/f: resuming at "), "{}", user.remarks.text());
    assert!(user.wire.received.get() - before < 4 * MIB);
    assert!(fs::read(world.here("f")).expect("here") == bytes && !world.here(".f.berth-part").exists());
}

#[test]
fn a_cancelled_upload_is_listed_and_can_be_resumed_or_dropped() {
    let world = World::new();
    let bytes = content(2, 5 * MIB);
    fs::write(world.here("f"), &bytes).expect("writable");
    let mut user = world.log_in();
    let put = format!("put {}", world.here("f").display());
    user.interrupt_after(3 * MIB);
    assert_eq!(user.run(&put), Err(Failure::Interrupted));
    user.run("partials").expect("listed");
    assert!(user.results.text().contains("/f  ") && user.results.text().contains(" of 5M  expires in 7 days"));
    let before = user.wire.sent.get();
    user.run(&put).expect("resumed");
    assert!(user.remarks.text().contains("/f: resuming at "), "{}", user.remarks.text());
    assert!(user.wire.sent.get() - before < 3 * MIB);
    assert!(fs::read(world.there("f")).expect("there") == bytes);
    assert_eq!(names_in(&world.here("state")), Vec::<String>::new());

    fs::write(world.here("f"), content(3, 5 * MIB)).expect("writable");
    user.interrupt_after(4 * MIB);
    assert_eq!(user.run(&put.replace("put", "put -f")), Err(Failure::Interrupted));
    assert!(user.run("partials drop /other").is_err());
    assert!(user.run("partials drop --all f").is_err(), "all, or only this one?");
    user.run("partials drop f; partials drop --all").expect("dropped");
    assert!(user.results.text().contains("dropped /f  "), "{}", user.results.text());
    assert!(world.server.borrow().is_staging_empty());
    user.run(&put.replace("put", "put -f")).expect("sent anew");
    assert!(fs::read(world.there("f")).expect("there") == content(3, 5 * MIB));
}

#[test]
fn a_connection_that_is_lost_anywhere_loses_nothing() {
    let bytes = content(4, 3 * MIB + 5);
    for is_upload in [true, false] {
        for step in 0..14 {
            let cut_at = step * 250_000 + 3000;
            let world = World::new();
            let (source, copy) = match is_upload {
                true => (world.here("f"), world.there("f")),
                false => (world.there("f"), world.here("f")),
            };
            fs::write(&source, &bytes).expect("writable");
            let line = format!("{} {}", if is_upload { "put" } else { "get f" }, world.here("f").display());
            let mut user = world.log_in_over(Wire { cut_at: Some(cut_at), ..Wire::default() }).expect("logged in");
            let first = user.run(&line);
            drop(user);
            if let Err(failure) = first {
                assert_eq!(failure.exit_code(), 3, "{failure}");
                assert!(!copy.exists(), "nothing appears before it is whole");
                world.server.borrow_mut().restart();
                let mut user = world.log_in();
                user.run(&line).unwrap_or_else(|failure| panic!("cut at {cut_at}: {failure}"));
                let passed = user.wire.passed();
                let kept = cut_at.saturating_sub(MIB);
                assert!(passed + kept < bytes.len() + MIB, "cut at {cut_at}: {passed} bytes again");
            }
            assert!(fs::read(&copy).expect("there") == bytes, "cut at {cut_at}");
            assert!(world.server.borrow().is_staging_empty());
            assert!(!world.here(".f.berth-part").exists() && names_in(&world.here("state")).is_empty());
        }
    }
}

#[test]
fn a_changed_or_tampered_part_starts_over_with_a_message() {
    let world = World::new();
    let mut user = world.log_in();
    let (put, get) = (format!("put {}", world.here("f").display()), format!("get g {}", world.here("g").display()));

    fs::write(world.here("f"), content(5, 4 * MIB)).expect("writable");
    user.interrupt_after(3 * MIB);
    assert_eq!(user.run(&put), Err(Failure::Interrupted));
    fs::write(world.here("f"), content(6, 4 * MIB + 1)).expect("writable");
    user.run(&put).expect("sent anew");
    assert!(user.remarks.text().contains("changed since the last try: starting over"), "{}", user.remarks.text());
    assert!(fs::read(world.there("f")).expect("there") == content(6, 4 * MIB + 1));
    assert!(world.server.borrow().is_staging_empty(), "nothing useless stays");

    fs::write(world.there("g"), content(7, 4 * MIB)).expect("writable");
    for (path, seed) in [(world.here(".g.berth-part"), 7), (world.there("g"), 8)] {
        user.interrupt_after(2 * MIB);
        assert_eq!(user.run(&get), Err(Failure::Interrupted));
        if seed == 7 {
            fs::write(path, content(9, MIB)).expect("writable");
        } else {
            fs::write(path, content(seed, 4 * MIB)).expect("writable");
        }
        user.run(&get).expect("fetched anew");
        assert!(user.remarks.text().contains("/g: starting over"), "{}", user.remarks.text());
        assert!(fs::read(world.here("g")).expect("here") == content(seed, 4 * MIB));
        fs::remove_file(world.here("g")).expect("ours");
    }
}

#[test]
fn a_partial_upload_that_was_changed_on_the_server_starts_over() {
    let world = World::new();
    let bytes = content(10, 4 * MIB);
    fs::write(world.here("f"), &bytes).expect("writable");
    let mut user = world.log_in();
    let put = format!("put {}", world.here("f").display());
    user.interrupt_after(3 * MIB);
    assert_eq!(user.run(&put), Err(Failure::Interrupted));
    user.run("pwd; partials").expect("the session goes on");
    let staged = world.server.borrow().staged_names();
    let part = staged.iter().find(|name| name.ends_with(".part")).expect("kept");
    let part = world.there(".berth").join(part);
    let length = usize::try_from(fs::metadata(&part).expect("there").len()).expect("small");
    fs::write(&part, content(11, length)).expect("writable");
    user.run(&put).expect("sent anew");
    assert!(user.remarks.text().contains("starting over"), "{}", user.remarks.text());
    assert!(fs::read(world.there("f")).expect("there") == bytes);
    assert!(world.server.borrow().is_staging_empty());
}

#[test]
fn a_tree_over_the_quota_says_so_and_keeps_what_fits() {
    let server = Rc::new(RefCell::new(Server::with_quota(100_000)));
    let world = World { server, here: tempfile::tempdir().expect("temporary folder") };
    fs::create_dir(world.here("t")).expect("writable");
    for i in 0..20 {
        fs::write(world.here(&format!("t/{i}")), content(i, 10_000)).expect("writable");
    }
    let mut user = world.log_in();
    let failure = user.run(&format!("put -r {}", world.here("t").display())).expect_err("too much");
    assert!(failure.is_full() && failure.exit_code() == 6, "{failure:?}");
    assert!(user.results.text().contains("put: 10 files, 98K, "), "{}", user.results.text());
    assert!(user.results.text().contains("; left: 10 files, 98K\n"), "{}", user.results.text());
    assert_eq!(names_in(&world.there("t")).len(), 10);
    user.run("quota").expect("the session goes on");
}
