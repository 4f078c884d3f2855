//! FTP and FTPS: the real server on port 0, a minimal client, real files.

mod client;
mod commands;
mod data;
mod downloads;
mod endings;
mod foreign;
mod hostile;
mod jail;
mod listings;
mod logins;
mod names;
mod resources;
mod reuse;
mod server_life;
mod sessions;
mod tampered;
mod tls;
mod tls_sessions;
mod uploads;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};

pub(crate) use crate::support::ftp_client::{addresses, configuration, listening};
use crate::support::process::Ended;
use crate::support::{Place, Server, disk_usage, quota_usage, wait_until};
use client::Client;

/// A server that speaks FTP, with the account `ann`.
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) server: Server,
    /// Where it speaks FTP.
    pub(crate) ftp: SocketAddr,
}

impl Scene {
    /// Plaintext allowed.
    pub(crate) fn new() -> Self {
        Self::with(json!({}), json!({}), &[])
    }

    /// With other keys in `ftp`, in the configuration as a whole, and for the account.
    pub(crate) fn with(ftp: Value, changes: Value, account: &[&str]) -> Self {
        let place = Place::with(configuration(ftp, changes));
        place.add("ann", account);
        Self::of(place)
    }

    /// With a server of this place.
    pub(crate) fn of(place: Place) -> Self {
        let server = place.serve();
        let ftp = listening(&server, "ftp");
        Self { place, server, ftp }
    }

    /// Logged in without encryption.
    #[track_caller]
    pub(crate) fn login(&self) -> Client {
        Client::login(self.ftp, "ann")
    }

    pub(crate) fn home(&self, path: &str) -> PathBuf {
        self.place.home("ann", path)
    }

    pub(crate) fn write(&self, path: &str, content: &[u8]) {
        let path = self.home(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("writable");
        fs::write(path, content).expect("writable");
    }

    #[track_caller]
    pub(crate) fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.home(path)).expect("there")
    }

    /// The content of `path` and no other, however large.
    #[track_caller]
    pub(crate) fn holds(&self, path: &str, content: &[u8]) {
        let held = self.read(path);
        assert!(held == content, "{path} has {} bytes, not these {}", held.len(), content.len());
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.home(path).symlink_metadata().is_ok()
    }

    /// Sizes of the interrupted and running uploads in the home.
    pub(crate) fn parts(&self) -> Vec<u64> {
        let Ok(staging) = fs::read_dir(self.home(".berth")) else { return Vec::new() };
        let parts = staging.filter_map(|entry| Some(entry.ok()?.path()));
        parts
            .filter(|path| path.extension() == Some("part".as_ref()))
            .filter_map(|path| Some(path.metadata().ok()?.len()))
            .collect()
    }

    /// Waits until that much of an upload is on disk.
    pub(crate) fn wait_for_part(&self, bytes: u64) {
        wait_until("the upload has come so far", || self.parts().iter().any(|&part| part >= bytes));
    }

    /// Waits for the line that the transfer of `path` leaves.
    pub(crate) fn transaction(&self, mark: &str) -> String {
        let find = || Some(self.place.log("transactions.log").lines().find(|line| line.contains(mark))?.to_string());
        wait_until("the transfer is logged", || find().is_some());
        find().expect("found above")
    }

    /// What the server counts is what is on disk.
    #[track_caller]
    pub(crate) fn check_ledger(&self) {
        let report = self.place.admin(&["usage", "ann", "--verify", "--json"]);
        assert_eq!(quota_usage(&report.stdout), disk_usage(&self.home("")));
    }

    /// Everybody else is served, and nothing went wrong inside.
    #[track_caller]
    pub(crate) fn check_served(&mut self) {
        assert!(!self.server.program.is_over(), "{}", self.server.program.stderr());
        self.login().ask("PWD").expect(&[257]);
        let stderr = self.server.program.stderr();
        assert!(!stderr.contains("defect") && !stderr.contains("panicked"), "{stderr}");
    }

    pub(crate) fn admin(&self, arguments: &[&str]) -> Ended {
        self.place.admin(arguments)
    }
}
