//! Defaults and ranges of the configuration, each with its reason.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The bytes of memory that one connection may hold before login: either an incomplete TLS handshake of
/// 16 KiB, or the first receive buffer, an incomplete record of 8 KiB and some replies. This much is reserved
/// for each of `limits.strangers`.
pub const UNAUTHENTICATED_BYTES: usize = 40 * 1024;
/// The default bound for all connections and requests: the reserve for [`UNAUTHENTICATED_DEFAULT`], and
/// `SESSION_MEMORY_DEFAULT`.
pub const MEMORY_DEFAULT: usize = 136 * 1024 * 1024;
/// The least memory for sessions: the large buffers of a few transfers and a listing of 10,000 long names.
pub const SESSION_MEMORY_MIN: usize = 8 * 1024 * 1024;
/// The default passive ports: the dynamic ports (RFC 6335, section 6) above those that Linux uses for
/// outgoing connections, so that the two do not compete. If the kernel chose the port, it would have to skip
/// every port of the last minute's connections. After ten thousand transfers that takes longer than a
/// transfer.
pub const DATA_PORTS: RangeInclusive<u16> = 61000..=65535;
/// How long the server waits for a data connection by default.
pub const DATA_CONNECTION_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// The largest such timeout: while the server waits, no other deadline ends the session.
pub const DATA_CONNECTION_TIMEOUT_MAX: Duration = Duration::from_secs(10 * 60);
/// The lowest port of passive data connections, and of the peer of active ones. Lower ports belong to
/// services, to which an attacker could direct a transfer.
pub const FTP_DATA_PORT_MIN: u16 = 1024;
/// The default number of failed logins on one connection before it is closed.
pub const LOGIN_TRIES_DEFAULT: u32 = 3;
/// The default number of sessions at once.
pub const SESSIONS_DEFAULT: usize = 10_000;
/// The default number of unauthenticated connections at once. A login takes a few round trips, so this admits hundreds a
/// second even over a slow line. Each holds at most [`UNAUTHENTICATED_BYTES`].
pub const UNAUTHENTICATED_DEFAULT: usize = 1_000;
/// One account or one address may by default have the number of sessions divided by this, so that it cannot
/// keep all others out.
pub const SESSIONS_SHARE: usize = 10;
/// One account or one address may by default have at least this many sessions, because a client opens
/// several. `limits.sessions` still bounds them.
pub const SESSIONS_SHARE_MIN: usize = 16;
/// The default time from accept to a completed login.
pub const LOGIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// The default time from the last command to the next.
pub const IDLE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15 * 60);
/// The default time from the last byte of a transfer to the next.
pub const STALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(120);
/// The default time that running transfers have to finish after SIGTERM.
pub const DRAIN_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// The default time from the last result of a file system until it counts as unresponsive.
pub const STORAGE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// The lowest rate of bytes: a login of about 1 KiB each way must finish within its deadline.
pub const RATE_BYTES_MIN: u64 = 1024;
/// The default time that a partial upload is kept.
pub const PARTIAL_EXPIRY_DEFAULT: Duration = Duration::from_secs(7 * 24 * 3600);
