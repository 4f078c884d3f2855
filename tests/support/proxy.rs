//! A proxy between clients and a server. It counts the bytes of each direction. A test can hold them back after a number
//! of bytes, act at a certain byte, or change one. The address of the proxy stays when the server is replaced.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::wait_until;

/// More bytes than all the sockets between a client and a server can hold. A peer that sends them is still sending
/// while they are held back, and has not sent their end.
pub(crate) const OVER_SOCKETS: u64 = 48 << 20;

/// A proxy to one server.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    /// From clients to the server.
    pub(crate) up: Arc<Valve>,
    /// From the server to clients.
    pub(crate) down: Arc<Valve>,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    target: Mutex<SocketAddr>,
    sockets: Mutex<Vec<TcpStream>>,
    connections: AtomicUsize,
    is_over: AtomicBool,
}

impl Proxy {
    /// A proxy to this server, on a port of its own.
    pub(crate) fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (up, down) = (Arc::new(Valve::default()), Arc::new(Valve::default()));
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            sockets: Mutex::default(),
            connections: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let (own, valves) = (Arc::clone(&shared), (Arc::clone(&up), Arc::clone(&down)));
        let acceptor = thread::spawn(move || own.accept(&listener, &valves.0, &valves.1));
        Self { address, up, down, shared, acceptor: Some(acceptor) }
    }

    /// Connects later clients to `target`.
    pub(crate) fn redirect(&self, target: SocketAddr) {
        *lock(&self.shared.target) = target;
    }

    /// Cuts all current connections.
    pub(crate) fn cut(&self) {
        self.shared.cut();
    }

    /// Cuts the newest connection.
    pub(crate) fn cut_newest(&self) {
        let mut sockets = lock(&self.shared.sockets);
        let ends = sockets.len().saturating_sub(2);
        for socket in sockets.drain(ends..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Cuts every connection whenever the next of `bytes` have passed in one direction.
    pub(crate) fn cut_after(&self, valve: &Arc<Valve>, bytes: impl IntoIterator<Item = u64>) {
        let bytes: Vec<u64> = bytes.into_iter().collect();
        cut_at(&self.shared, valve, bytes.into());
    }

    /// Cuts each connection where `valve` sees `mark`: before it, or so many bytes behind the frame that
    /// holds it, as `behind` says of the connection with this number. `on_cut` is called before.
    pub(crate) fn cut_each(
        &self,
        valve: &Valve,
        mark: &'static [u8],
        behind: impl Fn(usize) -> Option<usize> + Send + Sync + 'static,
        on_cut: impl Fn() + Send + Sync + 'static,
    ) {
        *lock(&valve.cutter) = Some(Cutter { mark, behind: Arc::new(behind), on_cut: Arc::new(on_cut) });
    }

    /// Returns the number of connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

fn cut_at(shared: &Arc<Shared>, valve: &Arc<Valve>, mut bytes: VecDeque<u64>) {
    let Some(next) = bytes.pop_front() else { return };
    let (own, again) = (Arc::clone(shared), Arc::clone(valve));
    valve.act_after(next, move || {
        own.cut();
        // The valve is busy with what it does now.
        thread::spawn(move || cut_at(&own, &again, bytes));
    });
}

impl Shared {
    fn cut(&self) {
        for socket in lock(&self.sockets).drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn accept(&self, listener: &TcpListener, up: &Arc<Valve>, down: &Arc<Valve>) {
        for client in listener.incoming() {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(*lock(&self.target))) else { continue };
            self.connections.fetch_add(1, Ordering::SeqCst);
            let copy = |socket: &TcpStream| socket.try_clone().expect("descriptors are left");
            lock(&self.sockets).extend([copy(&client), copy(&server)]);
            for (from, to, valve) in [(copy(&client), copy(&server), up), (server, client, down)] {
                let (valve, number) = (Arc::clone(valve), self.connections.load(Ordering::SeqCst));
                thread::spawn(move || carry(from, to, &valve, number));
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.up.open();
        self.down.open();
        self.cut();
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

/// Copies until either side ends, then ends the other in this direction.
fn carry(mut from: TcpStream, mut to: TcpStream, valve: &Valve, number: usize) {
    let mut buffer = vec![0; 64 * 1024];
    let mut seen = Vec::new();
    while let Ok(mut count @ 1..) = from.read(&mut buffer) {
        let cutter = lock(&valve.cutter).clone();
        let passed_before = seen.len();
        if cutter.is_some() {
            seen.extend_from_slice(&buffer[..count]);
        }
        let cut = cutter.and_then(|cutter| Some((cutter.end(&seen, number)?, cutter)));
        if let Some((end, cutter)) = cut.filter(|(end, _)| *end <= seen.len()) {
            count = end.saturating_sub(passed_before);
            let _ = to.write_all(&buffer[..count]);
            (cutter.on_cut)();
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
        let mut done = 0;
        while done < count {
            let passed = valve.pass(&mut buffer[done..count]);
            if to.write_all(&buffer[done..done + passed]).is_err() {
                let _ = from.shutdown(Shutdown::Read);
                return;
            }
            done += passed;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// Where each connection is cut.
#[derive(Clone)]
struct Cutter {
    mark: &'static [u8],
    behind: Arc<dyn Fn(usize) -> Option<usize> + Send + Sync>,
    on_cut: Arc<dyn Fn() + Send + Sync>,
}

impl Cutter {
    /// The byte that does not pass any more, if the mark is among those that were `seen`.
    fn end(&self, seen: &[u8], number: usize) -> Option<usize> {
        let at = seen.windows(self.mark.len()).position(|window| window == self.mark)?;
        match (self.behind)(number) {
            None => Some(at),
            Some(count) => Some(at + seen[at..].iter().position(|&byte| byte == b'}')? + 1 + count),
        }
    }
}

/// One direction of all connections together.
#[derive(Default)]
pub(crate) struct Valve {
    cutter: Mutex<Option<Cutter>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    passed: u64,
    waiting: u64,
    hold_at: Option<u64>,
    mark: Option<(&'static [u8], u64)>,
    /// The last bytes that passed while a mark is awaited.
    tail: Vec<u8>,
    flip_at: Option<u64>,
    act_at: Option<(u64, Box<dyn FnOnce() + Send>)>,
}

impl Valve {
    /// Passes `count` more bytes, and holds back the rest until [`Valve::open`].
    pub(crate) fn hold_after(&self, count: u64) {
        let mut state = lock(&self.state);
        state.hold_at = Some(state.passed + count);
    }

    /// Holds back everything after the first `count` bytes behind `mark`.
    pub(crate) fn hold_after_mark(&self, mark: &'static [u8], count: u64) {
        let mut state = lock(&self.state);
        state.mark = Some((mark, count));
        state.tail.clear();
    }

    /// Passes everything, beginning with the bytes that are held back.
    pub(crate) fn open(&self) {
        lock(&self.state).hold_at = None;
        self.changed.notify_all();
        wait_until("what was held back has passed", || lock(&self.state).waiting == 0);
    }

    /// Changes one byte after `count` more bytes.
    pub(crate) fn flip_after(&self, count: u64) {
        let mut state = lock(&self.state);
        state.flip_at = Some(state.passed + count);
    }

    /// Calls `act` when `count` more bytes have passed.
    pub(crate) fn act_after(&self, count: u64, act: impl FnOnce() + Send + 'static) {
        let mut state = lock(&self.state);
        state.act_at = Some((state.passed + count, Box::new(act)));
    }

    /// Cancels [`Valve::act_after`].
    pub(crate) fn act_no_more(&self) {
        lock(&self.state).act_at = None;
    }

    /// Returns the number of bytes that have passed.
    pub(crate) fn passed(&self) -> u64 {
        lock(&self.state).passed
    }

    /// Waits until bytes are being held back.
    pub(crate) fn wait_held(&self) {
        wait_until("bytes are held back", || lock(&self.state).waiting > 0);
    }

    /// Waits until at least one of `bytes` may pass. Returns the number of bytes that may.
    fn pass(&self, bytes: &mut [u8]) -> usize {
        let mut state = lock(&self.state);
        state.look_for_mark(bytes);
        state.waiting += 1;
        while state.hold_at.is_some_and(|at| state.passed >= at) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        let room = |at: u64| usize::try_from(at - state.passed).unwrap_or(usize::MAX);
        let count = bytes.len().min(state.hold_at.map_or(usize::MAX, room));
        let range = state.passed..state.passed + count as u64;
        if let Some(at) = state.flip_at.take_if(|at| range.contains(at)) {
            bytes[(at - range.start) as usize] ^= 1;
        }
        state.passed = range.end;
        if let Some((_, act)) = state.act_at.take_if(|(at, _)| *at <= range.end) {
            act();
        }
        count
    }
}

impl State {
    fn look_for_mark(&mut self, bytes: &[u8]) {
        let Some((mark, count)) = self.mark else { return };
        let before = self.tail.len() as u64;
        self.tail.extend_from_slice(bytes);
        if let Some(at) = self.tail.windows(mark.len()).position(|window| window == mark) {
            self.hold_at = Some(self.passed + (at + mark.len()) as u64 + count - before);
            self.mark = None;
        }
        self.tail.drain(..self.tail.len().saturating_sub(mark.len() - 1));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
