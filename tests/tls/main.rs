//! Encryption as people meet it: what the client trusts and what it refuses, a relay in the
//! middle, a connection that is cut, handshakes that break off, and the server's certificate over
//! the years.

mod certificate;
#[path = "../common/mod.rs"]
mod common;
mod middle;
mod peer;
mod trust;

use common::process::Ended;
use common::{Place, Server};
use serde_json::{Value, json};
use std::path::PathBuf;

/// A server that takes encrypted connections only, with the account `ann`.
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) server: Server,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(json!({"plaintext": false}))
    }

    pub(crate) fn with(changes: Value) -> Self {
        let place = Place::with(changes);
        place.add("ann", &[]);
        let server = place.serve();
        Self { place, server }
    }

    pub(crate) fn berth(&self, options: &[&str], command: &[&str]) -> Ended {
        let target = self.server.target("ann");
        self.place.run(self.place.berth_over_tls(&[options, &[&target], command].concat()))
    }

    /// What the server prints of itself.
    pub(crate) fn fingerprint(&self) -> String {
        let stdout = self.server.program.stdout();
        let line = stdout.lines().find_map(|line| line.strip_prefix("fingerprint "));
        line.expect("a fingerprint after the listeners").to_string()
    }

    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.place.path("user/state/berth/known_hosts.json")
    }

    pub(crate) fn restart(&mut self) {
        self.server.program.kill();
        let address = self.server.address.to_string();
        self.place.configure(json!({"listen": address, "plaintext": false}));
        self.server = self.place.serve();
    }
}
