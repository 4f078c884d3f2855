//! A server in memory for tests: real homes in a temporary directory, the real session core and
//! protocol, and neither sockets nor threads. Time stands still unless a test moves it; the clock
//! on the wall goes on, because the kernel stamps files by it, and jumps when a test says so.

// Every test program compiles its own copy and uses a part of it.
#![allow(dead_code, unreachable_pub, unused_imports)]

pub mod ftp_peer;
pub mod output;
pub mod pair;

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub use super::data::{PASSWORD, disk_usage, pattern as content};
pub use super::random::Random;
use super::requests::Put;
use super::unlinked_files;
use berth::account::{Account, AccountName, Accounts};
use berth::auth::scram::{Binding, ClientExchange, ClientKeys, Verifier};
use berth::base::budget::{Budget, TURN_BUDGET};
use berth::base::buffers::{DATA_BYTES_MAX, INPUT_BYTES, IoBuffers, NextChunk};
use berth::base::digest::Digest;
use berth::base::disk_sync::{self, SyncKind};
use berth::base::token_bucket::Rate;
use berth::base::upload_id::UploadId;
use berth::base::virtual_path::VirtualPath;
use berth::config::{Config, Rates, SyncPolicy};
use berth::protocol::native::Native;
use berth::protocol::{Protocol, ProtocolEvent, ProtocolIo};
use berth::session::{CountedSession, Policy, Service, Session};
use berth::store::clock::WallClock;
use berth::store::home::Home;
use berth::store::ledger::QuotaLimits;
use berth::store::syncer::{Synced, Syncer};
use berth::store::{Store, StoreError};
use berth::wire::frame::{self, Frame, FrameType, HEADER_BYTES};
use berth::wire::message::{End, ErrorReply, Name, PutMode, QuotaReport, VERSION};
use berth::wire::{ErrorCode, Reply, Request};

/// The account every server has.
pub const USER: &str = "alice";
const KIB: usize = 1024;
/// A mebibyte.
pub const MIB: usize = 1024 * KIB;

/// Runs an operation of a home to its end. Nothing here waits, so it completes at once.
pub fn at_once<T>(operation: impl Future<Output = T>) -> T {
    match std::pin::pin!(operation).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits for a file system"),
    }
}

// ---- The server ---------------------------------------------------------------------------

/// Everything sessions share, and the clock.
pub struct Server {
    directory: TempDir,
    pub config: Config,
    pub service: Service,
    pub now: Instant,
    clocks: Clocks,
    sessions: u64,
    /// Results of syncs that nobody has taken yet.
    synced: Vec<Synced>,
    /// Whether the next sync of a file fails.
    sync_failure: SyncFailure,
}

/// The number of the system's error with which the next sync of a file fails; 0: it succeeds.
#[derive(Clone, Default)]
struct SyncFailure(Arc<AtomicI32>);

impl SyncFailure {
    fn set(&self, result: io::Result<()>) {
        let errno = result.err().map_or(0, |error| error.raw_os_error().expect("of the system"));
        self.0.store(errno, Ordering::Relaxed);
    }

    fn sync(&self, file: &File, kind: SyncKind) -> io::Result<()> {
        match self.0.swap(0, Ordering::Relaxed) {
            0 => disk_sync::sync(file, kind),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
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
        WallClock::with_uptime(wall_ns, move || started.elapsed() + passed.get())
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
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Self::in_directory(directory.expect("temporary folder"), rights)
    }

    /// A server on the disk, for large files.
    pub fn on_disk() -> Self {
        Self::in_directory(tempfile::tempdir().expect("temporary folder"), Rights::default())
    }

    /// A server whose challenges for unknown users have `rounds`.
    pub fn with_rounds(rounds: u32) -> Self {
        let mut server = Self::new();
        server.config.scram_rounds = rounds;
        server.restart();
        server
    }

    fn in_directory(directory: TempDir, rights: Rights) -> Self {
        let mut config = Config::default_for(&directory.path().join("conf/berthd.json")).expect("defaults are valid");
        config.sync = SyncPolicy::None;
        let clocks = Clocks::default();
        let sync_failure = SyncFailure::default();
        let service = service(&config, &clocks, &sync_failure);
        let now = Instant::now();
        let mut server =
            Self { directory, config, service, now, clocks, sessions: 0, synced: Vec::new(), sync_failure };
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
        self.service = service(&self.config, &self.clocks, &self.sync_failure);
        self.synced.clear();
    }

    /// As [`Server::restart`], but as after SIGKILL: nothing in memory is dropped.
    pub fn restarted_after_a_kill(mut self) -> Self {
        let fresh = service(&self.config, &self.clocks, &self.sync_failure);
        std::mem::forget(std::mem::replace(&mut self.service, fresh));
        self.synced.clear();
        self
    }

    /// Sets when uploads are synced, also for sessions that run.
    pub fn set_sync(&mut self, sync: SyncPolicy) {
        self.config.sync = sync;
        self.service.policy.sync = sync;
    }

    /// Sets the rate limits, also for sessions that run.
    pub fn set_rates(&mut self, rates: Rates) {
        self.config.rates = rates;
        self.service.policy.rates = rates;
    }

    /// Moves the server's clock.
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
        self.directory.path()
    }

    /// The home of the account every server has.
    pub fn home(&self) -> PathBuf {
        self.home_of(USER)
    }

    /// The home of an account.
    pub fn home_of(&self, user: &str) -> PathBuf {
        self.directory.path().join("homes").join(user)
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
        let mut opening = self.service.store.open_home_root(0, &account.home, || Ok::<_, StoreError>(()));
        let Poll::Ready(Some(Ok(root))) = opening.take() else { panic!("a home") };
        self.service.store.home_at(root, &account.home, limits)
    }

    /// A session before login.
    pub fn new_session(&mut self) -> Session {
        self.sessions += 1;
        Session::new(self.sessions, SocketAddr::from(([127, 0, 0, 1], 4000)))
    }

    /// An unauthenticated client.
    pub fn connect(&mut self) -> Peer {
        self.connect_over(false)
    }

    /// An unauthenticated client, whose transport can or cannot send from files.
    pub fn connect_over(&mut self, sends_ranges: bool) -> Peer {
        let session = self.new_session();
        Peer {
            id: self.sessions,
            protocol: Native::new(session, sends_ranges),
            buffers: IoBuffers::large_uncharged(),
            sending: Vec::new(),
            read: 0,
            received: Vec::new(),
            next_id: 1,
            delivery: usize::MAX,
            is_half_closed: false,
            takes_syncs: true,
        }
    }

    /// A client that has logged in.
    pub fn log_in(&mut self) -> Peer {
        self.log_in_as(USER)
    }

    /// A client that has logged in to this account.
    pub fn log_in_as(&mut self, user: &str) -> Peer {
        let mut peer = self.connect();
        let reply = peer.log_in(self, user);
        assert!(matches!(reply, Reply::Welcome { .. }), "{reply:?}");
        peer
    }

    /// Runs all calls and syncs that wait.
    pub fn run_syncs(&mut self) {
        while self.run_held(|_| true, Ok(())) {}
    }

    /// Runs the first call or sync that waits and whose session is chosen; a sync has this result. Returns whether
    /// there was one.
    pub fn run_held(&mut self, chooses: impl Fn(u64) -> bool, result: io::Result<()>) -> bool {
        self.sync_failure.set(result);
        let was_run = self.service.store.syncer.run_held(chooses);
        self.sync_failure.set(Ok(()));
        self.take_results();
        was_run
    }

    /// Takes the results of syncs.
    pub fn take_results(&mut self) {
        while let Some(synced) = self.service.store.syncer.take_synced() {
            self.synced.push(synced);
        }
    }

    fn take_synced(&mut self, caller: u64) -> Option<Synced> {
        let index = self.synced.iter().position(|synced| synced.caller == caller)?;
        Some(self.synced.remove(index))
    }

    /// What a count of the home finds: bytes, entries.
    pub fn usage_on_disk(&self) -> (u64, u64) {
        disk_usage(&self.home())
    }

    /// What the ledger says, counted first if that is due: bytes, entries.
    pub fn usage_in_ledger(&mut self) -> (u64, u64) {
        let home = self.capability();
        while !home.settle(0, &mut Budget::new(u64::MAX)).expect("counted") {}
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
        unlinked_files::files("self", &self.home()).into_iter().sum()
    }

    /// Whether nothing waits in staging.
    pub fn is_staging_empty(&self) -> bool {
        self.staged_names().is_empty()
    }
}

fn service(config: &Config, clocks: &Clocks, sync_failure: &SyncFailure) -> Service {
    let failure = sync_failure.clone();
    let syncer = Syncer::held(move |file, kind| failure.sync(file, kind));
    let mut store = Store::new(config.home_roots.clone(), config.partial_expiry, syncer).expect("store");
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

// ---- A peer -------------------------------------------------------------------------------

/// One connection as the loop would drive it, and the client at its other end.
pub struct Peer {
    /// The id of its session.
    pub id: u64,
    pub protocol: Native,
    pub buffers: IoBuffers,
    /// Bytes the client has sent; the server has read the first `read` of them.
    sending: Vec<u8>,
    read: usize,
    /// Bytes the client has read and not yet looked at.
    received: Vec<u8>,
    next_id: u32,
    /// The most bytes that arrive between two steps.
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

    /// Sends a request under this id.
    pub fn request_as(&mut self, id: u32, request: &Request) {
        frame::put_json(&mut self.sending, FrameType::Control, id, request);
    }

    /// Sends a request in these words.
    pub fn control(&mut self, id: u32, body: &[u8]) {
        frame::put_bytes(&mut self.sending, FrameType::Control, id, body);
    }

    /// Sends a data frame.
    pub fn data(&mut self, id: u32, bytes: &[u8]) {
        frame::put_bytes(&mut self.sending, FrameType::Data, id, bytes);
    }

    /// Sends `bytes` in data frames as large as they may be.
    pub fn all_data(&mut self, id: u32, bytes: &[u8]) {
        bytes.chunks(DATA_BYTES_MAX).for_each(|chunk| self.data(id, chunk));
    }

    /// Says that `content` is what was sent.
    pub fn end(&mut self, id: u32, content: &[u8]) {
        self.end_with(id, content.len() as u64, Digest::of(content));
    }

    /// Sends the end of an upload with this size and digest.
    pub fn end_with(&mut self, id: u32, size: u64, digest: Digest) {
        frame::put_json(&mut self.sending, FrameType::End, id, &End { size, digest });
    }

    /// Gives a request up.
    pub fn cancel(&mut self, id: u32) {
        frame::put_bytes(&mut self.sending, FrameType::Abort, id, b"{}");
    }

    /// Sends a ping.
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

    /// Moves at most `most` bytes into the input. Returns whether anything arrived.
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
        self.protocol.step(ProtocolIo::single(&mut self.buffers), &mut server.service, &mut budget, server.now)
    }

    /// Reads at most `most` bytes of the output, also from files. Returns the number of bytes.
    pub fn drain(&mut self, most: usize) -> usize {
        let mut drained = 0;
        while drained < most {
            let count = match self.buffers.output.front() {
                None => break,
                Some(NextChunk::Bytes(bytes)) => {
                    let count = bytes.len().min(most - drained);
                    self.received.extend_from_slice(&bytes[..count]);
                    count
                }
                Some(NextChunk::Range(range)) => {
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

    /// Runs the first call or sync that this peer waits for, and hands over its result. Returns whether there was
    /// one.
    pub fn sync(&mut self, server: &mut Server) -> bool {
        self.end_sync(server, Ok(()))
    }

    /// As [`Peer::sync`], but a sync fails.
    pub fn fail_sync(&mut self, server: &mut Server) -> bool {
        self.end_sync(server, Err(io::Error::from_raw_os_error(5)))
    }

    /// As [`Peer::sync`], where a sync has this result.
    pub fn end_sync(&mut self, server: &mut Server, result: io::Result<()>) -> bool {
        let id = self.id;
        let was_run = server.run_held(|caller| caller == id, result);
        let synced = server.take_synced(self.id);
        let has_result = was_run || synced.is_some();
        if let Some(synced) = synced {
            self.protocol.handle(ProtocolEvent::Synced(synced), ProtocolIo::single(&mut self.buffers), server.now);
        }
        has_result
    }

    /// Delivers, steps and drains once. Returns whether anything changed.
    pub fn turn(&mut self, server: &mut Server) -> bool {
        let delivered = self.deliver(self.delivery);
        let stepped = self.step(server);
        let drained = self.drain(usize::MAX) > 0;
        let synced = self.takes_syncs && self.sync(server);
        delivered || stepped || drained || synced
    }

    /// Lets everything happen that can without the client.
    pub fn pump(&mut self, server: &mut Server) {
        while self.turn(server) {}
    }

    /// Cuts the connection without a word to the server.
    pub fn reset(mut self, server: &Server) {
        self.protocol.hang_up(server.now);
    }

    /// Whether the server is closing the connection.
    pub fn is_closing(&self) -> bool {
        self.protocol.status().is_closing
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

    /// Takes the next frame that the client has read, if it is whole.
    pub fn take_frame(&mut self) -> Option<Vec<u8>> {
        let length = u32::from_be_bytes(*self.received.first_chunk()?) as usize;
        let is_whole = self.received.len() >= HEADER_BYTES + length;
        is_whole.then(|| self.received.drain(..HEADER_BYTES + length).collect())
    }

    /// Takes the replies that the client has read. Nothing else may have come.
    pub fn take_replies(&mut self) -> Vec<(u32, Reply)> {
        let reply = |got| match got {
            Got::Reply(id, reply) => (id, reply),
            other => panic!("a reply, not {other:?}"),
        };
        self.take_received().into_iter().map(reply).collect()
    }

    /// Takes what the client has sent and the server has not received.
    pub fn take_unsent(&mut self) -> Vec<u8> {
        self.sending.split_off(self.read)
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

    /// Logs in. Returns the last reply.
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

    /// Uploads with this request. Returns the reply.
    pub fn put_with(&mut self, server: &mut Server, request: &Request, content: &[u8]) -> Reply {
        let id = self.request(request);
        self.all_data(id, content);
        self.end(id, content);
        self.only_reply(server, id)
    }

    /// Downloads. Returns the verified content, or the error code.
    pub fn get(&mut self, server: &mut Server, path: &str) -> Result<Vec<u8>, ErrorCode> {
        let id = self.request(&get(path));
        let got = self.exchange(server);
        downloaded(&got, id)
    }

    /// Asks for the quota.
    pub fn quota(&mut self, server: &mut Server) -> QuotaReport {
        match self.ask(server, &Request::Quota {}) {
            Reply::Quota(report) => report,
            other => panic!("{other:?}"),
        }
    }

    /// The names in a directory.
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
                assert_eq!((end.size, end.digest), (content.len() as u64, Digest::of(&content)));
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
    Request::Get { path: path.into(), offset: 0, etag: None, prefix_digest: None }
}

/// An upload that replaces what is there.
pub fn put(path: &str, size: Option<u64>) -> Request {
    put_mode(path, size, PutMode::Replace)
}

/// An upload in this mode.
pub fn put_mode(path: &str, size: Option<u64>, mode: PutMode) -> Request {
    let path: Name = path.into();
    Put { path, size, mode, ..Put::default() }.request()
}

/// An upload that can be resumed, or that is.
pub fn put_as(path: &str, size: u64, upload_id: UploadId, resume: bool) -> Request {
    Put {
        path: path.into(),
        size: Some(size),
        mode: PutMode::Replace,
        upload_id: Some(upload_id),
        resume,
        ..Put::default()
    }
    .request()
}

/// A request for the attributes of a file.
pub fn stat(path: &str) -> Request {
    Request::Stat { path: path.into() }
}

/// A request to remove a file.
pub fn rm(path: &str) -> Request {
    Request::Rm { path: path.into() }
}

/// A request to remove a directory.
pub fn rmdir(path: &str) -> Request {
    Request::Rmdir { path: path.into() }
}

/// A request to make a directory in one that exists.
pub fn mkdir(path: &str) -> Request {
    Request::Mkdir { path: path.into(), parents: false, permissions: None }
}

/// A request to rename without replacing.
pub fn mv(from: &str, to: &str) -> Request {
    Request::Mv { from: from.into(), to: to.into(), replace: false }
}

/// A valid path.
pub fn vpath(path: &str) -> VirtualPath {
    VirtualPath::parse(path.as_bytes()).expect("path")
}

/// Writes a file without the server.
pub fn write(path: &Path, content: &[u8]) {
    std::fs::write(path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Opens a file that exists.
pub fn open(path: &Path) -> File {
    File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A rate of `per_second` with bursts of `burst`.
pub fn rate(per_second: u64, burst: u64) -> Option<Rate> {
    Some(Rate { per_second: per_second.try_into().ok()?, burst: burst.try_into().ok()? })
}

/// The session once its home is counted, for the calls that need it.
#[allow(dead_code, reason = "not every test binary uses it")]
pub fn counted(session: &mut Session) -> CountedSession<'_> {
    let counted = session.counted(&mut Budget::new(u64::MAX)).expect("a home that can be read");
    counted.expect("the budget is enough")
}
