//! A server that speaks FTP: what its configuration says, and where it listens.

use super::{Server, wait_until};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// A configuration with FTP on loopback, in plain text too, and other keys in `ftp` and beside it.
pub(crate) fn configuration(ftp: Value, mut changes: Value) -> Value {
    let mut keys = json!({"listen": "127.0.0.1:0", "plaintext": true});
    for (key, value) in ftp.as_object().expect("an object") {
        keys[key] = value.clone();
    }
    changes["ftp"] = keys;
    changes
}

/// The address in the first line `listening on ADDRESS (KIND)`.
pub(crate) fn listening(server: &Server, kind: &str) -> SocketAddr {
    addresses(server, kind)[0]
}

/// All of that kind.
pub(crate) fn addresses(server: &Server, kind: &str) -> Vec<SocketAddr> {
    let end = format!(" ({kind})");
    let find = || -> Vec<SocketAddr> {
        let stdout = server.program.stdout();
        let whole = stdout.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole.lines().filter_map(|line| line.strip_prefix("listening on ")?.strip_suffix(&end));
        lines.map(|address| address.parse().expect("an address")).collect()
    };
    wait_until("the server listens for FTP", || !find().is_empty());
    find()
}
