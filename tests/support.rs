//! What tests share: directories with a server and its users, the two programs as processes that end with the
//! test, peers that do what the programs would not, a server in memory, and waiting for a condition.
//!
//! Most tests of the programs begin with [`visit::Visit`]; those of a session with [`in_memory::Server`].

// Every test program compiles its own copy and uses a part of it.
#![allow(dead_code, unreachable_pub, unused_imports)]

pub(crate) mod check_after_crash;
pub(crate) mod data;
pub(crate) mod effort;
pub(crate) mod exchange_names;
pub(crate) mod ftp_client;
pub(crate) mod in_memory;
pub(crate) mod logs;
pub(crate) mod needs;
pub(crate) mod peer;
pub(crate) mod process;
pub(crate) mod protocol_document;
pub(crate) mod proxy;
pub(crate) mod random;
pub(crate) mod random_changes;
pub(crate) mod requests;
pub(crate) mod unlinked_files;
pub(crate) mod visit;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use berth::base::digest::{Digest, DigestAlgorithm};
pub(crate) use data::{PASSWORD, disk_usage, pattern};
pub(crate) use logs::events;
use process::{Ended, Program};

/// How long anything may take on a busy machine before it counts as hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Polls `condition` until it holds. Fails after [`PATIENCE`].
#[track_caller]
pub(crate) fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(PATIENCE, condition), "not within {PATIENCE:?}: {what}");
}

/// Polls `condition` for at most `time`; the only place where a test sleeps. Returns whether it came to hold.
pub(crate) fn holds_within(time: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + time;
    while !condition() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    true
}

/// A directory with everything of one server and of its users: `conf`, `homes`, `logs`,
/// and `here`, where clients run.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    /// A server that syncs nothing, since these tests do not cut the power.
    pub(crate) fn new() -> Self {
        Self::with(json!({}))
    }

    /// The same with other keys in its configuration.
    pub(crate) fn with(changes: Value) -> Self {
        let place = Self { directory: tempfile::tempdir().expect("a temporary folder") };
        for directory in ["conf", "here", "user", "io"] {
            fs::create_dir(place.path(directory)).expect("writable");
        }
        place.configure(changes);
        place
    }

    /// Writes the configuration again.
    pub(crate) fn configure(&self, changes: Value) {
        let mut configuration =
            json!({"listen": "127.0.0.1:0", "plaintext": true, "scram_rounds": 4096, "sync": "none"});
        for (key, value) in changes.as_object().expect("an object") {
            configuration[key] = value.clone();
        }
        fs::write(self.path("conf/berthd.json"), configuration.to_string()).expect("writable");
    }

    /// A path in the directory.
    pub(crate) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(path)
    }

    /// A path in the directory where clients run.
    pub(crate) fn here(&self, path: impl AsRef<Path>) -> PathBuf {
        self.path("here").join(path)
    }

    /// A path in an account's home.
    pub(crate) fn home(&self, account: &str, path: impl AsRef<Path>) -> PathBuf {
        self.path("homes").join(account).join(path)
    }

    /// The content of a log, empty if there is none.
    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path("logs").join(name)).unwrap_or_default()
    }

    // ---- Programs -------------------------------------------------------------------------

    /// `berthd` in an environment that has nothing of the real user.
    pub(crate) fn berthd(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berthd"));
        self.isolate_environment(&mut command);
        command.args(arguments).current_dir(self.directory.path());
        command
    }

    /// `berth` with the password in the environment, without encryption, so that a proxy can
    /// count and change bytes.
    pub(crate) fn berth(&self, arguments: &[&str]) -> Command {
        let plaintext = if arguments.contains(&"--plaintext") { &[][..] } else { &["--plaintext"] };
        self.berth_over_tls(&[plaintext, arguments].concat())
    }

    /// `berth` with the password in the environment.
    pub(crate) fn berth_over_tls(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_berth"));
        self.isolate_environment(&mut command);
        command.args(arguments).env("BERTH_PASSWORD", PASSWORD).current_dir(self.path("here"));
        command
    }

    fn isolate_environment(&self, command: &mut Command) {
        let user = self.path("user");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", &user);
        for (name, directory) in [("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state"), ("XDG_DATA_HOME", "data")]
        {
            command.env(name, user.join(directory));
        }
    }

    /// Starts a program.
    pub(crate) fn start(&self, command: Command) -> Program {
        Program::start(command, &self.path("io"))
    }

    /// Runs a program to its end.
    pub(crate) fn run(&self, command: Command) -> Ended {
        self.start(command).wait()
    }

    /// Runs a command of `berthd` that succeeds.
    pub(crate) fn admin(&self, arguments: &[&str]) -> Ended {
        let mut command = self.berthd(arguments);
        let stdin = self.path("io/password");
        fs::write(&stdin, PASSWORD).expect("writable");
        command.stdin(fs::File::open(&stdin).expect("readable"));
        self.run(command).expect_code(0)
    }

    /// Adds an account with the one password.
    pub(crate) fn add(&self, name: &str, options: &[&str]) {
        self.admin(&[&["user", "add", name, "--password-stdin"], options].concat());
    }

    /// Starts a server and waits until it listens.
    pub(crate) fn serve(&self) -> Server {
        self.serve_as(self.berthd(&["serve"]))
    }

    /// Starts a server by another command.
    pub(crate) fn serve_as(&self, command: Command) -> Server {
        let mut program = self.start(command);
        let mut address = None;
        wait_until("the server listens", || {
            assert!(!program.is_over(), "it ended: {}", program.stderr());
            address = listening(&program.stdout());
            address.is_some()
        });
        Server { program, address: address.expect("found above") }
    }
}

/// The address in a whole line `listening on ADDRESS`.
pub(crate) fn listening(stdout: &str) -> Option<SocketAddr> {
    let (line, _) = stdout.split_once("listening on ")?.1.split_once('\n')?;
    line.parse().ok()
}

/// A running server.
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// `ACCOUNT@ADDRESS`, as clients take it.
    pub(crate) fn target(&self, account: &str) -> String {
        target(account, self.address)
    }
}

/// `ACCOUNT@ADDRESS`.
pub(crate) fn target(account: &str, address: SocketAddr) -> String {
    format!("{account}@{address}")
}

/// The SHA-256 in hexadecimal, as `sha256sum` prints it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Digest::by(DigestAlgorithm::Sha256, bytes).hex()
}

/// The digest of a transfer: `blake3:HEX`.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Digest::of(bytes).to_string()
}

/// `used_bytes` and `used_files`, as `quota --json` prints them.
pub(crate) fn quota_usage(stdout: &str) -> (u64, u64) {
    let report: Value = serde_json::from_str(stdout).expect("JSON");
    let number = |key: &str| report[key].as_u64().expect("a number");
    (number("used_bytes"), number("used_files"))
}
