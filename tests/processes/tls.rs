//! Encryption: what the client trusts and refuses, a relay in the middle, lost connections, interrupted handshakes,
//! and the server's certificate.

mod certificate;
mod middle;
mod peer;
mod trust;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::process::Ended;
use crate::support::proxy::Proxy;
use crate::support::{Place, Server, target, wait_until};

/// A server that takes encrypted connections only, with the account `ann`.
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) server: Server,
    /// Keeps its address while servers come and go behind it.
    pub(crate) proxy: Proxy,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(json!({"plaintext": false}))
    }

    pub(crate) fn with(changes: Value) -> Self {
        let place = Place::with(changes);
        place.add("ann", &[]);
        Self::of(place)
    }

    /// With a server of this place.
    pub(crate) fn of(place: Place) -> Self {
        let server = place.serve();
        let proxy = Proxy::to(server.address);
        Self { place, server, proxy }
    }

    /// What a client is told.
    pub(crate) fn target(&self) -> String {
        target("ann", self.proxy.address)
    }

    pub(crate) fn berth(&self, options: &[&str], command: &[&str]) -> Ended {
        let target = self.target();
        self.place.run(self.place.berth_over_tls(&[options, &[&target], command].concat()))
    }

    /// What the server prints of itself.
    pub(crate) fn fingerprint(&self) -> String {
        let find = || {
            let stdout = self.server.program.stdout();
            Some(stdout.split_once("fingerprint ")?.1.split_once('\n')?.0.to_string())
        };
        wait_until("it prints a fingerprint", || find().is_some());
        find().expect("found above")
    }

    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.place.path("user/state/berth/known_hosts.json")
    }

    pub(crate) fn restart(&mut self) {
        self.server.program.kill();
        self.server = self.place.serve();
        self.proxy.redirect(self.server.address);
    }
}
