//! What whoever supervises this program wants to know of it: when it is ready, reads its
//! configuration again, and ends. The protocol is that of sd_notify(3), which systemd and others
//! speak; where nobody asked, nothing is said.

use crate::limits::SUPERVISOR_WAIT;
use rustix::time::{ClockId, clock_gettime};
use std::env;
use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::time::Duration;

/// Who started this program and listens to it, if anybody does.
#[derive(Debug, Default)]
pub struct Supervisor(Option<UnixDatagram>);

impl Supervisor {
    /// The one whose address is in `$NOTIFY_SOCKET`. The socket is connected now, because a
    /// confined process can no longer reach an abstract one.
    pub fn of_environment() -> io::Result<Self> {
        match env::var_os("NOTIFY_SOCKET") {
            Some(address) => Self::at(&address).map(|socket| Self(Some(socket))),
            None => Ok(Self::default()),
        }
    }

    fn at(address: &OsStr) -> io::Result<UnixDatagram> {
        let address = match address.as_bytes() {
            [b'@', name @ ..] => UnixAddr::from_abstract_name(name)?,
            [b'/', ..] => UnixAddr::from_pathname(address)?,
            _ => return Err(io::Error::new(io::ErrorKind::Unsupported, "neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address)?;
        socket.set_write_timeout(Some(SUPERVISOR_WAIT))?;
        Ok(socket)
    }

    /// The server listens.
    pub fn ready(&self, addresses: impl Iterator<Item = SocketAddr>) {
        let addresses: Vec<_> = addresses.map(|address| address.to_string()).collect();
        self.tell(&format!("READY=1\nSTATUS=listening on {}", addresses.join(", ")));
    }

    /// The configuration is being read again; [`Supervisor::reloaded`] is to follow.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}{:06}", now.tv_sec, now.tv_nsec / 1000));
    }

    /// The configuration has been read again, or stays as it was.
    pub fn reloaded(&self) {
        self.tell("READY=1");
    }

    /// The end is near, after `within` at the latest; it is the last that is said.
    pub fn stopping(&mut self, within: Duration) {
        let patience = within.saturating_add(MARGIN).as_micros();
        self.tell(&format!("STOPPING=1\nSTATUS=waiting for running transfers\nEXTEND_TIMEOUT_USEC={patience}"));
        self.0 = None;
    }

    fn tell(&self, what: &str) {
        let Some(socket) = &self.0 else { return };
        if let Err(error) = socket.send(what.as_bytes()) {
            let what = what.lines().next().unwrap_or_default();
            log::warn!("the supervisor at $NOTIFY_SOCKET could not be told {what}: {error}");
        }
    }
}

/// What ending takes besides waiting for transfers.
const MARGIN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_cannot_be_reached_are_errors() {
        for address in ["", "relative", "vsock:2:1", "/nowhere/notify", "@berth-nobody-listens-here"] {
            assert!(Supervisor::at(OsStr::new(address)).is_err(), "{address}");
        }
    }

    #[test]
    fn where_nobody_asked_nothing_is_said() {
        let mut supervisor = Supervisor::default();
        supervisor.ready(std::iter::empty());
        supervisor.stopping(Duration::MAX);
        supervisor.reloading();
    }
}
