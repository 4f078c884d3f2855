//! A server for the FTP clients of other people, and trees that they transfer.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::ftp_client::{configuration, listening};
use crate::support::process::Program;
use crate::support::{Place, Server, wait_until};

/// A server with the account `ann` that speaks FTP of every kind.
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) server: Server,
    /// Plain, and explicit TLS.
    pub(crate) ftp: SocketAddr,
    /// Implicit TLS.
    pub(crate) ftps: SocketAddr,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::on("127.0.0.1:0")
    }

    /// Listening on another address.
    pub(crate) fn on(address: &str) -> Self {
        Self::of(json!({"listen": address, "listen_tls": address, "active": true}))
    }

    /// With other keys in `ftp`.
    pub(crate) fn with(keys: Value) -> Self {
        let mut ftp = json!({"listen": "127.0.0.1:0", "listen_tls": "127.0.0.1:0", "active": true});
        for (key, value) in keys.as_object().expect("an object") {
            ftp[key] = value.clone();
        }
        Self::of(ftp)
    }

    fn of(ftp: Value) -> Self {
        let place = Place::with(configuration(ftp, json!({})));
        place.add("ann", &[]);
        let server = place.serve();
        let (ftp, ftps) = (listening(&server, "ftp"), listening(&server, "ftps"));
        Self { place, server, ftp, ftps }
    }

    pub(crate) fn home(&self, path: &str) -> PathBuf {
        self.place.home("ann", path)
    }

    /// The content of a file in the home and no other, however large.
    #[track_caller]
    pub(crate) fn holds(&self, path: &str, content: &[u8]) {
        let held = fs::read(self.home(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(held == content, "{path} has {} bytes, not these {}", held.len(), content.len());
    }

    /// A program of the system with nothing of the real user's surroundings.
    pub(crate) fn client(&self, program: &str) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command.env_clear().env("PATH", path).env("HOME", self.place.path("user")).env("LC_ALL", "C.UTF-8");
        command.current_dir(self.place.path("here"));
        command
    }

    /// Waits until that much of an upload is on disk, and kills the client.
    pub(crate) fn kill_amid_upload(&self, client: &mut Program, bytes: u64) {
        wait_until("the upload has come so far", || {
            assert!(!client.is_over(), "it ended before it could be killed: {}", client.stderr());
            let staging = fs::read_dir(self.home(".berth")).into_iter().flatten();
            staging.filter_map(|entry| entry.ok()?.metadata().ok()).any(|part| part.len() >= bytes)
        });
        client.kill();
    }

    /// Nothing went wrong inside, and what is counted is what is on disk.
    #[track_caller]
    pub(crate) fn check(&self) {
        let stderr = self.server.program.stderr();
        assert!(!stderr.contains("defect") && !stderr.contains("panicked"), "{stderr}");
        self.place.admin(&["usage", "ann", "--verify"]);
    }
}

/// Makes a tree with directories, an empty one, unusual names, and files of many sizes. Returns its files.
pub(crate) fn grow(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for directory in ["photos/2025", "photos/2026", "with space", "empty"] {
        fs::create_dir_all(root.join(directory)).expect("writable");
    }
    for number in 0..40_usize {
        let directory = ["photos/2025", "photos/2026", "with space", "."][number % 4];
        let name = format!("{directory}/file {number} \u{e4}.bin");
        files.insert(name.trim_start_matches("./").to_string(), crate::support::pattern(number as u64, number * 3001));
    }
    files.insert("large".into(), crate::support::pattern(99, 3 << 20));
    files.insert("with space/nothing".into(), Vec::new());
    for (name, content) in &files {
        fs::write(root.join(name), content).expect("writable");
    }
    files
}

/// The tree at `root` has these files and no others.
#[track_caller]
pub(crate) fn check_tree(root: &Path, files: &BTreeMap<String, Vec<u8>>) {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(root).expect("below").to_string_lossy().into_owned();
                found.insert(name, fs::read(&path).expect("readable"));
            }
        }
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), files.keys().collect::<Vec<_>>());
    let other: Vec<_> = files.keys().filter(|name| found[*name] != files[*name]).collect();
    assert!(other.is_empty(), "these differ: {other:?}");
}
