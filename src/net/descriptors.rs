//! Reserves descriptors for the homes and files of logged-in users. The kernel assigns the lowest free
//! number, so a new socket whose number is above a mark is refused: the numbers above it stay free for
//! files.

use std::io;
use std::os::fd::AsRawFd;

use mio::net::TcpStream;
use rustix::process::{Resource, getrlimit};

/// The share of all descriptors that may become sockets. The rest is reserved for homes and files of
/// logged-in users.
const DESCRIPTORS_FOR_SOCKETS_PERCENT: u64 = 60;

/// Returns whether a new socket has a number that is reserved for files.
pub(super) fn is_reserved(newcomer: &TcpStream) -> bool {
    let most = u128::from(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX));
    u128::try_from(newcomer.as_raw_fd()).is_ok_and(|number| is_kept_for_files(number, most))
}

fn is_kept_for_files(number: u128, most: u128) -> bool {
    number * 100 >= most * u128::from(DESCRIPTORS_FOR_SOCKETS_PERCENT)
}

/// Returns the socket under the lowest free number, after an eviction.
pub(super) fn renumber(newcomer: TcpStream) -> io::Result<TcpStream> {
    let lowest = rustix::io::fcntl_dupfd_cloexec(&newcomer, 0)?;
    Ok(TcpStream::from_std(lowest.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_fifths_are_kept_for_files() {
        let sockets = |most| (0..most).take_while(|&number| !is_kept_for_files(number, most)).count();
        assert_eq!([sockets(40), sockets(1024), sockets(20_000)], [24, 615, 12_000]);
        assert!(!is_kept_for_files(1 << 20, u64::MAX.into()));
    }
}
