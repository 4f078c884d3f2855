//! Notifies the service manager (sd_notify(3)): READY, RELOADING, STOPPING, and WATCHDOG if it has one.
//! systemd and others speak this protocol. Without a service manager nothing is sent.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::time::{Duration, Instant};

use rustix::net::SendFlags;
use rustix::time::{ClockId, clock_gettime};

/// How long start and shutdown wait for a service manager whose queue is full.
const SERVICE_MANAGER_TIMEOUT: Duration = Duration::from_millis(100);

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    watchdog: Option<Watchdog>,
    is_stopping: bool,
}

/// The watchdog of the service manager.
#[derive(Debug, Clone, Copy)]
struct Watchdog {
    interval: Duration,
    /// The time of the next message; `None` before the first.
    next_at: Option<Instant>,
}

impl ServiceManager {
    /// Connects to the service manager of `$NOTIFY_SOCKET`. The socket is connected now, because a confined
    /// process can no longer reach an abstract one.
    pub fn of_environment() -> io::Result<Self> {
        let Some(address) = env::var_os("NOTIFY_SOCKET") else { return Ok(Self::default()) };
        let value = |name| env::var(name).ok();
        let interval = watchdog_interval(value("WATCHDOG_USEC"), value("WATCHDOG_PID"));
        let watchdog = interval.map(|interval| Watchdog { interval, next_at: None });
        Ok(Self { socket: Some(Self::at(&address)?), watchdog, is_stopping: false })
    }

    fn at(address: &OsStr) -> io::Result<UnixDatagram> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => UnixAddr::from_abstract_name(name)?,
            [b'/', ..] => UnixAddr::from_pathname(address)?,
            _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_write_timeout(Some(SERVICE_MANAGER_TIMEOUT))?;
        Ok(socket)
    }

    /// Reports that the server listens.
    pub fn ready(&self, addresses: impl Iterator<Item = SocketAddr>) {
        let addresses: Vec<_> = addresses.map(|address| address.to_string()).collect();
        self.send(&format!("READY=1\nSTATUS=listening on {}", addresses.join(", ")));
    }

    /// Sends the watchdog message if it is due. Returns when this must be called again; `None` without a
    /// watchdog.
    pub fn alive(&mut self, now: Instant) -> Option<Instant> {
        let watchdog = self.watchdog.as_mut()?;
        if watchdog.next_at.is_none_or(|at| now >= at) {
            watchdog.next_at = Some(now + watchdog.interval);
            self.send_at_once("WATCHDOG=1");
        }
        self.watchdog.and_then(|watchdog| watchdog.next_at)
    }

    /// Reports that the configuration is being read again; [`ServiceManager::reloaded`] must follow.
    pub fn reloading(&self) {
        if self.is_stopping {
            return;
        }
        let now = clock_gettime(ClockId::Monotonic);
        self.send_at_once(&format!("RELOADING=1\nMONOTONIC_USEC={}{:06}", now.tv_sec, now.tv_nsec / 1000));
    }

    /// Reports that the configuration has been read again, or is unchanged.
    pub fn reloaded(&self) {
        if !self.is_stopping {
            self.send_at_once("READY=1");
        }
    }

    /// Reports that the server ends within `within`. Afterwards only watchdog messages are sent.
    pub fn stopping(&mut self, within: Duration) {
        let patience = within.saturating_add(SHUTDOWN_MARGIN).as_micros();
        self.send(&format!("STOPPING=1\nSTATUS=waiting for running transfers\nEXTEND_TIMEOUT_USEC={patience}"));
        self.is_stopping = true;
    }

    fn send(&self, message: &str) {
        let Some(socket) = &self.socket else { return };
        socket.send(message.as_bytes()).map_or_else(|error| warn(message, &error), drop);
    }

    /// Sends a message, without waiting for a full queue.
    fn send_at_once(&self, message: &str) {
        let Some(socket) = &self.socket else { return };
        let sent = rustix::net::send(socket, message.as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        sent.map_or_else(|error| warn(message, &error.into()), drop);
    }
}

fn warn(message: &str, error: &io::Error) {
    let message = message.lines().next().unwrap_or_default();
    log::warn!("cannot send {message} to the service manager at $NOTIFY_SOCKET: {error}");
}

/// Returns the interval of watchdog messages: half of the timeout, so that one delay does not end the
/// program. `None` if no watchdog is set for this process.
fn watchdog_interval(patience_us: Option<String>, process: Option<String>) -> Option<Duration> {
    if process.is_some_and(|process| process.parse() != Ok(std::process::id())) {
        return None;
    }
    let patience = Duration::from_micros(patience_us?.parse().ok()?);
    Some(patience / 2).filter(|interval| !interval.is_zero())
}

/// The time that shutdown takes besides waiting for transfers.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_cannot_be_reached_are_errors() {
        for address in ["", "relative", "vsock:2:1", "/nowhere/notify", "@berth-nobody-listens-here"] {
            assert!(ServiceManager::at(OsStr::new(address)).is_err(), "{address}");
        }
    }

    #[test]
    fn without_a_service_manager_nothing_is_sent() {
        let mut service_manager = ServiceManager::default();
        service_manager.ready(std::iter::empty());
        service_manager.stopping(Duration::MAX);
        service_manager.reloading();
        assert_eq!(service_manager.alive(Instant::now()), None);
    }

    #[test]
    fn a_watchdog_is_served_twice_as_often_as_it_wants_and_only_if_it_waits_for_this_program() {
        let interval = |patience: &str, process: Option<String>| watchdog_interval(Some(patience.into()), process);
        let own = std::process::id().to_string();
        assert_eq!(interval("3000000", None), Some(Duration::from_millis(1500)));
        assert_eq!(interval("3000000", Some(own)), Some(Duration::from_millis(1500)));
        assert_eq!(interval("3000000", Some("1".into())), None);
        for patience in ["", "0", "1x", "-1", "99999999999999999999999"] {
            assert_eq!(interval(patience, None), None, "{patience}");
        }
        assert_eq!(watchdog_interval(None, None), None);
    }
}
