//! The exit codes of `berth`, which scripts rely on.

/// Everything succeeded.
pub const EXIT_DONE: u8 = 0;
/// A command failed.
pub const EXIT_FAILED: u8 = 1;
/// The command line is invalid.
pub const EXIT_USAGE: u8 = 2;
/// The connection failed or was lost.
pub const EXIT_CONNECTION: u8 = 3;
/// The login or the server's fingerprint was refused.
pub const EXIT_LOGIN: u8 = 4;
/// The received content differs from the sent content.
pub const EXIT_VERIFICATION: u8 = 5;
/// The quota is used up or a disk is full.
pub const EXIT_FULL: u8 = 6;
/// The user pressed Ctrl-C.
pub const EXIT_INTERRUPTED: u8 = 130;
