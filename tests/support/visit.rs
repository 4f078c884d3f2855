//! The scene of most tests of the programs: a server with the account `ann`, and her client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::process::{Ended, Program};
use super::proxy::Proxy;
use super::{Place, Server, target};

/// A running server with the account `ann`. Modules of tests add methods of their own.
pub(crate) struct Visit {
    pub(crate) place: Place,
    pub(crate) server: Server,
}

impl Visit {
    /// Starts a server. `options` are those of `berthd user add`.
    pub(crate) fn new(options: &[&str]) -> Self {
        let place = Place::new();
        place.add("ann", options);
        let server = place.serve();
        Self { place, server }
    }

    /// The client of `ann`, without encryption, with these arguments.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_to(&self.server.target("ann"), arguments)
    }

    /// The client with another `USER@HOST`.
    pub(crate) fn command_to(&self, target: &str, arguments: &[&str]) -> Command {
        let mut command = self.place.berth(&[&[target], arguments].concat());
        command.env("SHELL", "/bin/sh");
        command
    }

    /// Runs the client to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.place.run(self.command(arguments))
    }

    /// Runs the client, which succeeds and prints nothing on stderr. Returns its stdout.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments).expect_code(0);
        assert_eq!(ended.stderr, "", "{arguments:?}");
        ended.stdout
    }

    /// A path in the directory where the client runs.
    pub(crate) fn here(&self, path: impl AsRef<Path>) -> PathBuf {
        self.place.here(path)
    }

    /// A path in the home of `ann`.
    pub(crate) fn there(&self, path: impl AsRef<Path>) -> PathBuf {
        self.place.home("ann", path)
    }

    /// Writes a file in the directory where the client runs. Returns its path.
    pub(crate) fn write_here(&self, path: impl AsRef<Path>, content: &[u8]) -> PathBuf {
        let path = self.here(path);
        fs::write(&path, content).expect("writable");
        path
    }
}

/// The same with a proxy between the client and the server. The address of the proxy stays when the server is replaced.
pub(crate) struct ProxiedVisit {
    pub(crate) place: Place,
    pub(crate) server: Server,
    pub(crate) proxy: Proxy,
}

impl ProxiedVisit {
    /// Starts a server with the default configuration.
    pub(crate) fn new() -> Self {
        Self::with(json!({}))
    }

    /// Starts a server with these keys in its configuration.
    pub(crate) fn with(changes: Value) -> Self {
        let place = Place::with(changes);
        place.add("ann", &[]);
        let server = place.serve();
        let proxy = Proxy::to(server.address);
        Self { place, server, proxy }
    }

    /// `ann@ADDRESS` of the proxy.
    pub(crate) fn target(&self) -> String {
        target("ann", self.proxy.address)
    }

    /// Starts the client without encryption.
    pub(crate) fn start(&self, arguments: &[&str]) -> Program {
        self.start_with(&[], arguments)
    }

    /// Starts the client without encryption, with options before its target.
    pub(crate) fn start_with(&self, options: &[&str], arguments: &[&str]) -> Program {
        self.place.start(self.place.berth(&[options, &[&self.target()], arguments].concat()))
    }

    /// Starts the client over TLS. It accepts an unknown key of the server.
    pub(crate) fn start_over_tls(&self, arguments: &[&str]) -> Program {
        self.place.start(self.place.berth_over_tls(&[&["--accept-new", &self.target()], arguments].concat()))
    }

    /// A path in the directory where the client runs.
    pub(crate) fn here(&self, path: &str) -> PathBuf {
        self.place.here(path)
    }

    /// A path in the home of `ann`.
    pub(crate) fn there(&self, path: &str) -> PathBuf {
        self.place.home("ann", path)
    }

    /// Starts another server in place of the one that ended.
    pub(crate) fn serve_again(&mut self) {
        self.server = self.place.serve();
        self.proxy.redirect(self.server.address);
    }
}
