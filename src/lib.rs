//! The library behind `berthd`, the server, and `berth`, its client. A module uses only those
//! in layers below its own.
//!
//! | layer | modules |
//! |---|---|
//! | 0 | [`limits`] [`memory`] [`lane`] [`rate`] [`vpath`] [`text`] [`glob`] [`json`] [`digest`] [`upload_id`] [`histogram`]: values without I/O |
//! | 1 | [`wire`] [`account`] [`scram`] [`tls`] [`store`] [`config`] [`logging`] [`privilege`] [`refusals`] [`small_file`] [`disk_sync`] [`file_system_type`] [`control_socket`] [`supervisor`] [`hidden_input`]: one subject each |
//! | 2 | [`session`]: what somebody connected may do, without any protocol |
//! | 3 | [`front`]: protocols translated to the session's verbs |
//! | 4 | [`net`]: sockets, readiness, the loop |
//! | 5 | [`server`]: all of it put together |
//! | 6 | [`admin`]: the command line of `berthd` |
//! | beside | [`client`]: the whole of `berth`; uses layer 0, `wire`, `scram`, `tls`, `config`, `refusals`, `small_file`, `disk_sync` and `hidden_input` |

/// Who may log in, into which home, with which quota: one file each, read at every login.
pub mod account;
/// The command line of `berthd`: serving, checking, accounts; messages and exit codes.
pub mod admin;
pub mod client;
/// `conf/berthd.json` read, checked and made final; its errors name file and key.
pub mod config;
pub mod control_socket;
pub mod digest;
pub mod disk_sync;
pub mod file_system_type;
pub mod front;
pub mod glob;
/// Asking for a password without showing it.
pub mod hidden_input;
pub mod histogram;
pub mod json;
pub mod lane;
pub mod limits;
/// One logger: `access` and `transactions` to buffered files, the rest to stderr.
pub mod logging;
pub mod memory;
pub mod net;
pub mod privilege;
pub mod rate;
pub mod refusals;
/// SCRAM-SHA-256 for both programs: proofs, verifiers, channel binding; messages in and out.
pub mod scram;
pub mod server;
pub mod session;
/// Configuration and account files: bounded reads, replacement as a whole or not at all.
pub mod small_file;
pub mod store;
pub mod supervisor;
pub mod text;
pub mod tls;
pub mod upload_id;
pub mod vpath;
pub mod wire;
