//! A server in memory for tests: real homes in a temporary folder, the real session core and
//! protocol, and neither sockets nor threads. Time stands still unless a test moves it; the clock
//! on the wall goes on, because the kernel stamps files by it, and jumps when a test says so.

// Every test program compiles its own copy and uses a part of it.
#![allow(dead_code, unreachable_pub)]

#[path = "../common/flip.rs"]
pub mod flip;
pub mod ftp;
#[path = "../common/full.rs"]
pub mod full;
#[path = "../common/nameless.rs"]
pub mod nameless;
pub mod pair;
#[path = "../common/random.rs"]
mod random;

use berth::account::{Account, AccountName, Accounts};
use berth::auth::scram::{Binding, ClientExchange, ClientKeys, Verifier};
use berth::base::buffers::{Budget, IoBuffers, Piece};
use berth::base::digest::Digest;
use berth::base::limits::{INPUT_BYTES, TURN_BUDGET};
use berth::base::token_bucket::Rate;
use berth::base::upload_id::UploadId;
use berth::base::virtual_path::VPath;
use berth::config::{Config, Rates, SyncPolicy};
use berth::protocol::native::Native;
use berth::protocol::{Protocol, Sockets};
use berth::session::{CountedSession, Policy, Service, Session};
use berth::store::Store;
use berth::store::clock::WallClock;
use berth::store::home::Home;
use berth::store::ledger::QuotaLimits;
use berth::store::syncer::{Synced, Syncer};
use berth::wire::frame::{self, Frame, FrameType, HEADER_BYTES};
use berth::wire::message::{End, ErrorReply, Name, PutMode, QuotaReport, VERSION};
use berth::wire::{ErrorCode, Reply, Request};
pub use random::Random;
use std::cell::Cell;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The account every server has.
pub const USER: &str = "alice";
/// The password of every account.
pub const PASSWORD: &str = "correct horse";

const KIB: usize = 1024;
/// A mebibyte.
pub const MIB: usize = 1024 * KIB;

// ---- The server ---------------------------------------------------------------------------

/// Everything sessions share, and the clock.
pub struct Server {
    folder: TempDir,
    pub config: Config,
    pub service: Service,
    pub now: Instant,
    clocks: Clocks,
    sessions: u64,
    /// Answers of the sync helper that nobody has taken yet.
    synced: Vec<Synced>,
}

/// The clock on the wall and the one that never jumps, both beside the system's.
#[derive(Clone, Default)]
struct Clocks {
    /// How far the clock on the wall was set forward.
    wall_ahead_ns: Rc<Cell<i64>>,
    /// How much time has passed that nobody waited for.
    passed: Rc<Cell<Duration>>,
}

impl Clocks {
    fn wall(&self) -> WallClock {
        let (started, system, this) = (Instant::now(), WallClock::default(), self.clone());
        let passed = self.passed.clone();
        let wall_ns = move || {
            let passed_ns = i64::try_from(this.passed.get().as_nanos()).expect("less than 292 years");
            system.now_ns() + this.wall_ahead_ns.get() + passed_ns
        };
        WallClock::beside(wall_ns, move || started.elapsed() + passed.get())
    }
}

/// What an account may do, if not everything.
#[derive(Clone, Copy, Default)]
pub struct Rights {
    pub bytes: Option<u64>,
    pub files: Option<u64>,
    pub read_only: bool,
}

impl Server {
    /// A server whose only account may do everything; uploads are not synced.
    pub fn new() -> Self {
        Self::with(Rights::default())
    }

    /// A server whose account has a quota.
    pub fn with_quota(bytes: u64) -> Self {
        Self::with(Rights { bytes: Some(bytes), ..Rights::default() })
    }

    /// A server whose account has these rights, on a filesystem in memory where there is one:
    /// syncing costs nothing there.
    pub fn with(rights: Rights) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self::in_folder(folder.expect("temporary folder"), rights)
    }

    /// A server on the disk, for large files.
    pub fn on_disk() -> Self {
        Self::in_folder(tempfile::tempdir().expect("temporary folder"), Rights::default())
    }

    /// A server that asks strangers for so many rounds.
    pub fn with_rounds(rounds: u32) -> Self {
        let mut server = Self::new();
        server.config.scram_rounds = rounds;
        server.restart();
        server
    }

    fn in_folder(folder: TempDir, rights: Rights) -> Self {
        let mut config = Config::default_for(&folder.path().join("conf/berthd.json")).expect("defaults are valid");
        config.sync = SyncPolicy::None;
        let clocks = Clocks::default();
        let service = service(&config, &clocks);
        let now = Instant::now();
        let mut server = Self { folder, config, service, now, clocks, sessions: 0, synced: Vec::new() };
        server.add_account(USER, rights);
        server
    }

    /// One more account; its home is new and empty.
    pub fn add_account(&mut self, name: &str, rights: Rights) {
        let name: AccountName = name.parse().expect("account name");
        let account = Account {
            home: self.service.accounts.default_home(&name),
            name,
            verifier: verifier().clone(),
            quota_bytes: rights.bytes,
            quota_files: rights.files,
            read_only: rights.read_only,
            locked: false,
        };
        self.service.accounts.add(&account).expect("account added");
    }

    /// Stops and starts: nothing but the disk remains.
    pub fn restart(&mut self) {
        self.service = service(&self.config, &self.clocks);
        self.synced.clear();
    }

    /// As [`Server::restart`], after a death in which nothing in memory was dropped in order.
    pub fn restarted_after_a_kill(mut self) -> Self {
        let fresh = service(&self.config, &self.clocks);
        std::mem::forget(std::mem::replace(&mut self.service, fresh));
        self.synced.clear();
        self
    }

    pub fn set_sync(&mut self, sync: SyncPolicy) {
        self.config.sync = sync;
        self.service.policy.sync = sync;
    }

    pub fn set_rates(&mut self, rates: Rates) {
        self.config.rates = rates;
        self.service.policy.rates = rates;
    }

    pub fn advance(&mut self, time: Duration) {
        self.now += time;
    }

    /// Sets the clock on the wall forward, or back: it jumps.
    pub fn set_clock(&self, by_seconds: i64) {
        let ahead_ns = &self.clocks.wall_ahead_ns;
        ahead_ns.set(ahead_ns.get() + by_seconds * 1_000_000_000);
    }

    /// Time passes by all clocks of the store.
    pub fn let_pass(&self, time: Duration) {
        self.clocks.passed.set(self.clocks.passed.get() + time);
    }

    /// Where the server keeps everything.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// The home of the account every server has.
    pub fn home(&self) -> PathBuf {
        self.home_of(USER)
    }

    pub fn home_of(&self, user: &str) -> PathBuf {
        self.folder.path().join("homes").join(user)
    }

    /// A path in the home.
    pub fn at(&self, path: &str) -> PathBuf {
        self.home().join(path)
    }

    /// The capability behind the home, under the limits its account has.
    pub fn capability(&mut self) -> Rc<Home> {
        let name: AccountName = USER.parse().expect("account name");
        let account = self.service.accounts.load(&name).expect("readable").expect("there");
        let limits = QuotaLimits { bytes: account.quota_bytes, files: account.quota_files };
        self.service.store.home(&account.home, limits).expect("home")
    }

    /// A session of nobody yet.
    pub fn new_session(&mut self) -> Session {
        self.sessions += 1;
        Session::new(self.sessions, SocketAddr::from(([127, 0, 0, 1], 4000)))
    }

    /// Somebody who has connected.
    pub fn connect(&mut self) -> Peer {
        self.connect_over(false)
    }

    /// Somebody whose transport can send from files, or cannot.
    pub fn connect_over(&mut self, sends_ranges: bool) -> Peer {
        let session = self.new_session();
        Peer {
            id: self.sessions,
            front: Native::new(session, sends_ranges),
            buffers: IoBuffers::roomy(),
            sending: Vec::new(),
            read: 0,
            received: Vec::new(),
            next_id: 1,
            delivery: usize::MAX,
            is_half_closed: false,
            takes_syncs: true,
        }
    }

    /// Somebody who has logged in.
    pub fn log_in(&mut self) -> Peer {
        self.log_in_as(USER)
    }

    pub fn log_in_as(&mut self, user: &str) -> Peer {
        let mut peer = self.connect();
        let reply = peer.log_in(self, user);
        assert!(matches!(reply, Reply::Welcome { .. }), "{reply:?}");
        peer
    }

    /// Lets the sync helper do all it was asked for.
    pub fn run_syncs(&mut self) {
        while let Some(synced) = self.service.store.syncer.take_synced() {
            self.synced.push(synced);
        }
    }

    fn take_synced(&mut self, owner: u64) -> Option<Synced> {
        self.run_syncs();
        let index = self.synced.iter().position(|synced| synced.owner == owner)?;
        Some(self.synced.remove(index))
    }

    /// What a count of the home finds: bytes, entries.
    pub fn usage_on_disk(&self) -> (u64, u64) {
        usage_below(&self.home())
    }

    /// What the ledger says, counted first if that is due: bytes, entries.
    pub fn usage_in_ledger(&mut self) -> (u64, u64) {
        let home = self.capability();
        while !home.settle(&mut Budget::new(u64::MAX)).expect("counted") {}
        let used = home.ledger().state().used;
        (used.bytes, used.files)
    }

    /// Names of what waits in staging.
    pub fn staged_names(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.at(".berth")) else { return Vec::new() };
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Bytes of the uploads that are not whole: in staging, or without a name.
    pub fn staged_bytes(&self) -> u64 {
        let parts = self.staged_names().into_iter().filter(|name| name.ends_with(".part"));
        let named: u64 = parts.map(|name| std::fs::metadata(self.at(".berth").join(name)).expect("there").len()).sum();
        named + self.nameless_bytes()
    }

    /// Bytes of open files below the home that have no name.
    pub fn nameless_bytes(&self) -> u64 {
        nameless::files("self", &self.home()).into_iter().sum()
    }

    /// Whether nothing waits in staging.
    pub fn is_staging_empty(&self) -> bool {
        self.staged_names().is_empty()
    }
}

fn service(config: &Config, clocks: &Clocks) -> Service {
    let mut store = Store::new(config.home_roots.clone(), config.partial_expiry, Syncer::inline()).expect("store");
    store.clock = clocks.wall();
    Service::new(Accounts::open(config).expect("accounts"), store, Policy::from(config))
}

/// Made once: the rounds take time.
fn verifier() -> &'static Verifier {
    static VERIFIER: OnceLock<Verifier> = OnceLock::new();
    VERIFIER.get_or_init(|| Verifier::from_password(PASSWORD, 4096).expect("password"))
}

/// The keys a client derives from the password.
pub fn keys() -> &'static ClientKeys {
    static KEYS: OnceLock<ClientKeys> = OnceLock::new();
    KEYS.get_or_init(|| ClientKeys::derive(PASSWORD, &verifier().salt, verifier().rounds))
}

/// Bytes and entries below `folder`, counted as the quota is defined: sizes of regular files,
/// each inode once, every entry; of staging only the partial uploads.
pub fn usage_below(folder: &Path) -> (u64, u64) {
    let (mut bytes, mut files, mut seen) = (0, 0, std::collections::HashSet::new());
    let mut folders = vec![folder.to_path_buf()];
    while let Some(at) = folders.pop() {
        let is_staging = at == folder.join(".berth");
        for entry in std::fs::read_dir(&at).expect("readable folder") {
            let path = entry.expect("entry").path();
            let meta = path.symlink_metadata().expect("metadata");
            if path == folder.join(".berth") {
                folders.push(path);
                continue;
            }
            if is_staging && path.extension().is_none_or(|extension| extension != "part") {
                continue;
            }
            files += 1;
            if meta.is_dir() {
                folders.push(path);
            } else if meta.is_file() && seen.insert((meta.dev(), meta.ino())) {
                bytes += meta.len();
            }
        }
    }
    (bytes, files)
}

// ---- A peer -------------------------------------------------------------------------------

/// One connection as the loop would drive it, and the client at its other end.
pub struct Peer {
    /// Of its session.
    pub id: u64,
    pub front: Native,
    pub buffers: IoBuffers,
    /// Bytes the client has sent; the server has read the first `read` of them.
    sending: Vec<u8>,
    read: usize,
    /// Bytes the client has read and not yet looked at.
    received: Vec<u8>,
    next_id: u32,
    /// At most so many bytes arrive between two steps.
    pub delivery: usize,
    is_half_closed: bool,
    /// Whether answers of the sync helper are handed over.
    pub takes_syncs: bool,
}

/// What a client reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Got {
    Reply(u32, Reply),
    Data(u32, Vec<u8>),
    End(u32, End),
    Abort(u32, ErrorReply),
    Pong(Vec<u8>),
}

impl Got {
    /// The refusal in it.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Reply(_, Reply::Error(error)) | Self::Abort(_, error) => Some(error.code),
            _ => None,
        }
    }
}

impl Peer {
    // ---- Sending --------------------------------------------------------------------------

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.sending.extend_from_slice(bytes);
    }

    /// Sends a request under the next id.
    pub fn request(&mut self, request: &Request) -> u32 {
        let id = self.next_id;
        self.next_id += 1;
        self.request_as(id, request);
        id
    }

    pub fn request_as(&mut self, id: u32, request: &Request) {
        frame::put_json(&mut self.sending, FrameType::Control, id, request);
    }

    /// Sends a data frame.
    pub fn data(&mut self, id: u32, bytes: &[u8]) {
        frame::put_bytes(&mut self.sending, FrameType::Data, id, bytes);
    }

    /// Sends `bytes` in data frames as large as they may be.
    pub fn all_data(&mut self, id: u32, bytes: &[u8]) {
        bytes.chunks(berth::base::limits::DATA_BYTES_MAX).for_each(|chunk| self.data(id, chunk));
    }

    /// Says that `content` is what was sent.
    pub fn end(&mut self, id: u32, content: &[u8]) {
        self.end_with(id, content.len() as u64, Digest::of(content));
    }

    pub fn end_with(&mut self, id: u32, size: u64, sha256: Digest) {
        frame::put_json(&mut self.sending, FrameType::End, id, &End { size, sha256 });
    }

    /// Gives a request up.
    pub fn cancel(&mut self, id: u32) {
        frame::put_bytes(&mut self.sending, FrameType::Abort, id, b"{}");
    }

    pub fn ping(&mut self, body: &[u8]) {
        frame::put_bytes(&mut self.sending, FrameType::Ping, 0, body);
    }

    /// Will send no more.
    pub fn half_close(&mut self) {
        self.is_half_closed = true;
    }

    /// Bytes that the server has not read.
    pub fn unsent(&self) -> usize {
        self.sending.len() - self.read
    }

    /// Whether there are bytes for the server that its input has room for, or the end of them.
    pub fn has_input(&mut self) -> bool {
        let has_room = self.buffers.input.filled().len() < INPUT_BYTES;
        (self.unsent() > 0 && has_room) || (self.unsent() == 0 && self.is_half_closed && !self.buffers.eof)
    }

    // ---- The loop -------------------------------------------------------------------------

    /// Moves at most `most` bytes into the input; whether anything arrived.
    pub fn deliver(&mut self, most: usize) -> bool {
        let room = self.buffers.input.room(INPUT_BYTES);
        let unread = &self.sending[self.read..];
        let count = room.len().min(most).min(unread.len());
        room[..count].copy_from_slice(&unread[..count]);
        self.buffers.input.commit(count);
        self.read += count;
        if self.unsent() == 0 {
            (self.sending, self.read) = (Vec::new(), 0);
        }
        let ended = self.is_half_closed && self.unsent() == 0 && !self.buffers.eof;
        self.buffers.eof |= ended;
        count > 0 || ended
    }

    /// One step with the budget of one turn.
    pub fn step(&mut self, server: &mut Server) -> bool {
        let mut budget = Budget::new(TURN_BUDGET);
        self.front.step(Sockets::single(&mut self.buffers), &mut server.service, &mut budget, server.now)
    }

    /// Reads at most `most` bytes of the output, also from files. Returns the number of bytes.
    pub fn drain(&mut self, most: usize) -> usize {
        let mut drained = 0;
        while drained < most {
            let count = match self.buffers.output.front() {
                None => break,
                Some(Piece::Bytes(bytes)) => {
                    let count = bytes.len().min(most - drained);
                    self.received.extend_from_slice(&bytes[..count]);
                    count
                }
                Some(Piece::Range(range)) => {
                    let mut piece = vec![0; (most - drained).min(range.length as usize).min(256 * KIB)];
                    let count = rustix::io::pread(&*range.file, &mut piece, range.offset).expect("readable");
                    if count == 0 {
                        self.buffers.output.pad_range(most - drained);
                        continue;
                    }
                    self.received.extend_from_slice(&piece[..count]);
                    count
                }
            };
            self.buffers.output.advance(count);
            drained += count;
        }
        drained
    }

    /// Hands over an answer of the sync helper; whether there was one.
    pub fn sync(&mut self, server: &mut Server) -> bool {
        let Some(synced) = server.take_synced(self.id) else { return false };
        self.front.synced(Sockets::single(&mut self.buffers), synced, server.now);
        true
    }

    /// As [`Peer::sync`], but the disk has failed.
    pub fn fail_sync(&mut self, server: &mut Server) -> bool {
        let Some(synced) = server.take_synced(self.id) else { return false };
        let result = Err(std::io::Error::from_raw_os_error(5).into());
        self.front.synced(Sockets::single(&mut self.buffers), Synced { result, ..synced }, server.now);
        true
    }

    /// Lets everything happen that can without the client.
    pub fn pump(&mut self, server: &mut Server) {
        loop {
            let delivered = self.deliver(self.delivery);
            let stepped = self.step(server);
            let drained = self.drain(usize::MAX) > 0;
            let synced = self.takes_syncs && self.sync(server);
            if !(delivered || stepped || drained || synced) {
                return;
            }
        }
    }

    /// The connection is cut: nobody is told.
    pub fn reset(mut self, server: &Server) {
        self.front.hang_up(server.now);
    }

    pub fn is_closing(&self) -> bool {
        self.front.is_closing()
    }

    // ---- Reading --------------------------------------------------------------------------

    /// What the client has read, whole frames only.
    pub fn take_received(&mut self) -> Vec<Got> {
        let (mut got, mut rest) = (Vec::new(), &self.received[..]);
        while let Some((frame, size)) = frame::decode(rest, usize::MAX).expect("well-formed output") {
            let (item, size) = match frame {
                Frame::Control { id, body } => (Got::Reply(id, parse(body)), size),
                Frame::End { id, body } => (Got::End(id, parse(body)), size),
                Frame::Abort { id, body } => (Got::Abort(id, parse(body)), size),
                Frame::Pong { body } => (Got::Pong(body.to_vec()), size),
                Frame::Data { id, length } => {
                    let whole = HEADER_BYTES + length as usize;
                    let Some(body) = rest.get(HEADER_BYTES..whole) else { break };
                    (Got::Data(id, body.to_vec()), whole)
                }
                Frame::Ping { .. } => panic!("a server sends no pings"),
            };
            got.push(item);
            rest = &rest[size..];
        }
        self.received = rest.to_vec();
        got
    }

    /// The raw bytes the client has read.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    // ---- Conversations --------------------------------------------------------------------

    /// Sends, pumps, and returns all that was read.
    pub fn exchange(&mut self, server: &mut Server) -> Vec<Got> {
        self.pump(server);
        self.take_received()
    }

    /// Asks and returns the only answer.
    pub fn ask(&mut self, server: &mut Server, request: &Request) -> Reply {
        let id = self.request(request);
        self.only_reply(server, id)
    }

    /// The one reply that comes, to `id`.
    pub fn only_reply(&mut self, server: &mut Server, id: u32) -> Reply {
        let got = self.exchange(server);
        match &got[..] {
            [Got::Reply(replied, reply)] if *replied == id => reply.clone(),
            _ => panic!("expected one reply to {id}, got {got:?}"),
        }
    }

    /// Asks for something that is refused.
    pub fn refused(&mut self, server: &mut Server, request: &Request) -> ErrorCode {
        match self.ask(server, request) {
            Reply::Error(error) => error.code,
            other => panic!("{request:?} was answered {other:?}"),
        }
    }

    pub fn log_in(&mut self, server: &mut Server, user: &str) -> Reply {
        self.ask(server, &Request::Hello { versions: vec![VERSION], client: "test".into() });
        let (exchange, message) = ClientExchange::new(user, keys(), Binding::None).expect("user name");
        let reply = self.ask(server, &Request::Auth { mechanism: "SCRAM-SHA-256".into(), message });
        let Reply::Challenge { message } = reply else { return reply };
        let (proved, message) = exchange.answer(&message).expect("challenge");
        let reply = self.ask(server, &Request::AuthNext { message });
        if let Reply::Welcome { message } = &reply {
            proved.verify(message).expect("the server proves itself");
        }
        reply
    }

    /// Uploads, replacing what is there.
    pub fn put(&mut self, server: &mut Server, path: &str, content: &[u8]) -> Reply {
        self.put_with(server, &put(path, Some(content.len() as u64)), content)
    }

    pub fn put_with(&mut self, server: &mut Server, request: &Request, content: &[u8]) -> Reply {
        let id = self.request(request);
        self.all_data(id, content);
        self.end(id, content);
        self.only_reply(server, id)
    }

    /// Downloads; the content, verified, or why not.
    pub fn get(&mut self, server: &mut Server, path: &str) -> Result<Vec<u8>, ErrorCode> {
        let id = self.request(&get(path));
        let got = self.exchange(server);
        downloaded(&got, id)
    }

    pub fn quota(&mut self, server: &mut Server) -> QuotaReport {
        match self.ask(server, &Request::Quota {}) {
            Reply::Quota(report) => report,
            other => panic!("{other:?}"),
        }
    }

    /// The names in a folder.
    pub fn list(&mut self, server: &mut Server, path: &str) -> Result<Vec<String>, ErrorCode> {
        let id = self.request(&Request::List { path: path.into() });
        let mut names = Vec::new();
        for got in self.exchange(server) {
            match got {
                Got::Reply(replied, Reply::Page { entries, .. }) if replied == id => {
                    names.extend(entries.iter().map(|entry| String::from_utf8_lossy(&entry.name.0).into_owned()));
                }
                other => return Err(other.code().unwrap_or_else(|| panic!("{other:?}"))),
            }
        }
        Ok(names)
    }
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> T {
    serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)))
}

/// The content that came for `id`, checked against its digest, or why it did not.
pub fn downloaded(got: &[Got], id: u32) -> Result<Vec<u8>, ErrorCode> {
    let mut content = Vec::new();
    for item in got {
        match item {
            Got::Reply(replied, Reply::File { offset: 0, .. }) if *replied == id => {}
            Got::Data(of, bytes) if *of == id => content.extend_from_slice(bytes),
            Got::End(of, end) if *of == id => {
                assert_eq!((end.size, end.sha256), (content.len() as u64, Digest::of(&content)));
                return Ok(content);
            }
            other => return Err(other.code().unwrap_or_else(|| panic!("{other:?}"))),
        }
    }
    panic!("the download did not end: {got:?}");
}

// ---- Requests -----------------------------------------------------------------------------

/// A download of the whole file.
pub fn get(path: &str) -> Request {
    Request::Get { path: path.into(), offset: 0, etag: None, prefix_sha256: None }
}

/// An upload that replaces what is there.
pub fn put(path: &str, size: Option<u64>) -> Request {
    put_mode(path, size, PutMode::Replace)
}

pub fn put_mode(path: &str, size: Option<u64>, mode: PutMode) -> Request {
    let path: Name = path.into();
    Request::Put {
        path,
        size,
        mtime_ns: None,
        mode,
        if_etag: None,
        upload_id: None,
        resume: false,
        permissions: None,
        set_permissions: false,
    }
}

/// An upload that can be resumed, or that is.
pub fn put_as(path: &str, size: u64, upload_id: UploadId, resume: bool) -> Request {
    Request::Put {
        path: path.into(),
        size: Some(size),
        mtime_ns: None,
        mode: PutMode::Replace,
        if_etag: None,
        upload_id: Some(upload_id),
        resume,
        permissions: None,
        set_permissions: false,
    }
}

pub fn stat(path: &str) -> Request {
    Request::Stat { path: path.into() }
}

pub fn rm(path: &str) -> Request {
    Request::Rm { path: path.into() }
}

pub fn rmdir(path: &str) -> Request {
    Request::Rmdir { path: path.into() }
}

pub fn mkdir(path: &str) -> Request {
    Request::Mkdir { path: path.into(), parents: false, permissions: None }
}

pub fn mv(from: &str, to: &str) -> Request {
    Request::Mv { from: from.into(), to: to.into(), replace: false }
}

pub fn vpath(path: &str) -> VPath {
    VPath::parse(path.as_bytes()).expect("path")
}

/// Content that no two positions or seeds share.
pub fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = vec![0; length];
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&random.next().to_le_bytes()[..chunk.len()]);
    }
    bytes
}

/// A file that reads as `content` does, made by somebody else than the server.
pub fn write(path: &Path, content: &[u8]) {
    std::fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

pub fn open(path: &Path) -> File {
    File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// So many a second, and so many at once.
pub fn rate(per_second: u64, burst: u64) -> Option<Rate> {
    Some(Rate { per_second: per_second.try_into().ok()?, burst: burst.try_into().ok()? })
}

/// The session once its home is counted, for the calls that need it.
#[allow(dead_code, reason = "not every test binary uses it")]
pub fn counted(session: &mut Session) -> CountedSession<'_> {
    let counted = session.counted(&mut Budget::new(u64::MAX)).expect("a home that can be read");
    counted.expect("the budget is enough")
}
