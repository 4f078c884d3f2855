//! The library behind `berthd`, the server, and `berth`, its client.

/// Who may log in, into which home, with which quota: one file each, read at every login.
pub mod account;
/// The command line of `berthd`: serving, checking, accounts; messages and exit codes.
pub mod admin;
/// `conf/berthd.json` read, checked and made final; its errors name file and key.
pub mod config;
pub mod digest;
pub mod lane;
pub mod limits;
/// One logger: `access` and `transactions` to buffered files, the rest to stderr.
pub mod logging;
/// SCRAM-SHA-256 for both programs: proofs, verifiers, channel binding; messages in and out.
pub mod scram;
/// Configuration, storage and network put together; signals and draining.
pub mod server;
/// Configuration and account files: bounded reads, replacement as a whole or not at all.
pub mod small_file;
pub mod text;
pub mod upload_id;
pub mod vpath;
pub mod wire;
