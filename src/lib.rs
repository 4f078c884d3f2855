//! The library behind `berthd`, the server, and `berth`, its client. A module uses only modules of
//! lower layers or of its own layer, and no two modules use each other.
//!
//! | layer | modules |
//! |---|---|
//! | 0 | [`base`]: paths, text, numbers, buffers, files that are replaced as a whole; no network |
//! | 1 | [`wire`] [`auth`] [`tls`] [`account`] [`config`] [`logging`] [`store`]: one subject each |
//! | 2 | [`session`]: what a user may do, without any protocol |
//! | 3 | [`protocol`]: protocols translated to session calls |
//! | 4 | [`net`]: sockets, readiness, the loop |
//! | 5 | [`server`]: all of it put together |
//! | 6 | [`admin`]: the command line of `berthd` |
//! | beside | [`client`]: the whole of `berth`; uses `base`, `wire`, `auth`, `tls` and `config` |

/// Accounts, each with a name, a verifier, a home and a quota. One file each, read at every login.
pub mod account;
/// The command line of `berthd`: serving, checking, accounts; messages and exit codes.
pub mod admin;
pub mod auth;
pub mod base;
pub mod client;
/// `conf/berthd.json` read, checked and made final; its errors name file and key.
pub mod config;
/// One logger: `access` and `transactions` to buffered files, the rest to stderr.
pub mod logging;
pub mod net;
pub mod protocol;
pub mod server;
pub mod session;
pub mod store;
pub mod tls;
pub mod wire;
