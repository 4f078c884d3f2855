//! The server keys that the client trusts. It knows keys from earlier logins by host and port, and handles a
//! key that is new or has changed. It stores a key only when its server has proved over this very connection
//! that it knows the account.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::explanation::Explanation;
use crate::base::text::{Escaped, plain};
use crate::base::{atomic_file, json};
use crate::client::connection::state::{StateDirectory, lock_directory, state_directory_path, write_whole};
use crate::client::error::{Failure, LinkError};
use crate::client::files::local::shown;
use crate::client::interrupt::Interrupt;
use crate::client::ui::confirm::confirm;
use crate::client::ui::output::Output;
use crate::tls::{Fingerprint, Pinning};

/// How one server is authenticated.
#[derive(Clone)]
pub struct Trust {
    /// `host:port`, as in `known_hosts.json`.
    host_and_port: String,
    file: Option<PathBuf>,
    known: Option<Fingerprint>,
    /// The fingerprint that the user gave. It takes precedence over `known`.
    given: Option<Fingerprint>,
    pinning: Arc<Pinning>,
}

/// The content of `known_hosts.json`.
#[derive(Default, Serialize, Deserialize)]
struct KnownHosts {
    hosts: BTreeMap<String, Fingerprint>,
}

impl Trust {
    /// Looks up the key of the server at `host` and `port`. `given` is the fingerprint that the user gave. If
    /// the known keys cannot be read, the server is not trusted.
    pub fn of(state: &StateDirectory, host: &str, port: u16, given: Option<Fingerprint>) -> Result<Self, Failure> {
        let host = host.to_lowercase();
        let host_and_port = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let file = state.known_hosts();
        let known = match file.as_deref().map(|file| (file, KnownHosts::read(file))) {
            Some((_, Ok(known))) => known.hosts.get(&host_and_port).copied(),
            // A user who gives the fingerprint needs no file.
            Some(_) if given.is_some() => None,
            Some((file, Err(problem))) => {
                return Err(Failure::Local(Explanation::new(
                    format!(
                        "{} {problem}, so no server can be recognized: restore it from a backup, or remove it and \
                         confirm the key of each server again",
                        shown(file)
                    ),
                    "--fingerprint SHA256:... works without it",
                )));
            }
            None => None,
        };
        Ok(Self { host_and_port, file, known, given, pinning: Pinning::new(given.or(known)) })
    }

    /// Prepares for another connection, which accepts only the key of this connection, even if the file changes
    /// meanwhile.
    pub fn prepare_reconnect(&mut self) {
        self.known = self.known.or(self.pinning.seen());
        self.pinning = Pinning::new(self.given.or(self.known));
    }

    /// Returns the key check for the TLS handshake.
    pub fn pinning(&self) -> &Arc<Pinning> {
        &self.pinning
    }

    /// Explains a failed connection. The server's key may be the reason.
    pub fn explain(&self, error: LinkError) -> Failure {
        let Some(seen) = self.pinning.seen() else { return error.into() };
        let host_and_port = Escaped(self.host_and_port.as_bytes());
        match (self.given, self.known) {
            (Some(given), _) if given != seen => Failure::Login(Explanation::new(
                format!("the key of {host_and_port} is {seen}, not {given} as given"),
                "ask the administrator what `berthd fingerprint` prints on the server",
            )),
            (None, Some(known)) if known != seen => Failure::Login(Explanation::new(
                format!("the key of {host_and_port} has changed: it was {known} and is {seen} now"),
                format!(
                    "this can be an attack, or the server has a new key: ask its administrator what `berthd \
                     fingerprint` prints on the server, and if that is the new key, connect once with --fingerprint \
                     {seen}"
                ),
            )),
            _ => error.into(),
        }
    }

    /// Asks the user whether to trust a new key, unless an option has decided that.
    pub fn confirm_new_key(
        &self,
        accept_new: bool,
        may_ask: bool,
        output: &mut Output,
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
        let Some(seen) = self.pinning.seen().filter(|_| self.given.is_none() && self.known.is_none()) else {
            return Ok(());
        };
        let host_and_port = Escaped(self.host_and_port.as_bytes());
        if accept_new {
            output.note(format_args!("{host_and_port} is new here; its key is {seen}"));
            return Ok(());
        }
        if !may_ask {
            return Err(Failure::Login(Explanation::new(
                format!("{host_and_port} is not known here; its key is {seen}"),
                format!(
                    "if `berthd fingerprint` prints the same on the server, connect with --fingerprint {seen}; \
                     --accept-new accepts it without a check"
                ),
            )));
        }
        let question = format!(
            "{host_and_port} is not known here. Its key is\n  {seen}\n\
             Compare it with `berthd fingerprint` on the server. Trust it?"
        );
        if confirm(output, interrupt, &question)? {
            return Ok(());
        }
        Err(Failure::Login(format!("{host_and_port} is not trusted; nothing was sent").into()))
    }

    /// Stores the key of a server that has proved itself. If that fails, the user is told, because the next
    /// connection asks again.
    pub fn remember(&self, output: &mut Output) {
        let Some(seen) = self.pinning.seen().filter(|seen| self.known != Some(*seen)) else { return };
        let Some(file) = &self.file else {
            let text = match state_directory_path() {
                Some(directory) => {
                    format!("{} cannot be used; make it a directory that you can write to", shown(&directory))
                }
                None => "there is no directory for it; set HOME or XDG_STATE_HOME".into(),
            };
            return output.note(format_args!("the server's key is not remembered: {text}"));
        };
        match KnownHosts::add(file, &self.host_and_port, seen) {
            Ok(()) => {}
            Err(AddError::Unusable(problem)) => output.note(format_args!(
                "the server's key is not remembered, because {} {problem}; restore it from a backup, or remove it",
                shown(file)
            )),
            Err(AddError::Unwritten(failure)) => {
                output.note(format_args!("the server's key is not remembered: {failure}"));
            }
        }
    }
}

/// Why a key is not stored.
#[derive(Debug)]
enum AddError {
    /// The file cannot be read, and why.
    Unusable(String),
    /// The file cannot be written.
    Unwritten(Failure),
}

impl KnownHosts {
    /// Reads the file. Fails with the problem, which follows the name of the file in a sentence.
    fn read(path: &Path) -> Result<Self, String> {
        let bytes = match atomic_file::read_at_most(path, BYTES_MAX) {
            Ok(bytes) => bytes,
            // A dangling symlink is not replaced: its target may be on a disk that is not mounted.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => return Ok(Self::default()),
            Err(error) => return Err(format!("cannot be read ({})", plain(&error))),
        };
        if bytes.trim_ascii().is_empty() {
            return Err("is empty, as after a power loss".into());
        }
        json::read_object(&bytes).map_err(|error| {
            let problem = json::explain(&error).to_string();
            format!("is damaged ({})", Escaped(problem.as_bytes()))
        })
    }

    /// Adds one key under a lock, because other clients may add keys at the same time.
    fn add(path: &Path, host_and_port: &str, fingerprint: Fingerprint) -> Result<(), AddError> {
        let failure = |error: io::Error| AddError::Unwritten(Failure::local(path, &error));
        let _lock = lock_directory(path.parent().unwrap_or(Path::new("."))).map_err(failure)?;
        let mut known = Self::read(path).map_err(AddError::Unusable)?;
        known.hosts.insert(host_and_port.to_string(), fingerprint);
        write_whole(path, &known).map_err(failure)
    }
}

/// Enough for about ten thousand servers.
const BYTES_MAX: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(letter: char) -> Fingerprint {
        format!("SHA256:{}", letter.to_string().repeat(42) + "A").parse().expect("a fingerprint")
    }

    #[test]
    fn keys_are_known_by_host_and_port_and_a_damaged_file_trusts_no_server() {
        let directory = tempfile::tempdir().expect("temporary folder");
        let state = StateDirectory::at(Some(directory.path().join("berth")));
        let file = state.known_hosts().expect("a folder");
        KnownHosts::add(&file, "host:1", fingerprint('a')).expect("writable");
        KnownHosts::add(&file, "[::1]:1", fingerprint('b')).expect("writable");
        let known = |host, port| Trust::of(&state, host, port, None).map(|trust| trust.known);
        assert_eq!(known("HOST", 1), Ok(Some(fingerprint('a'))));
        assert_eq!(known("::1", 1), Ok(Some(fingerprint('b'))));
        assert_eq!(known("host", 2), Ok(None));
        for damaged in ["", "{", r#"{"hosts":{"host:1":"SHA256:short"}}"#] {
            std::fs::write(&file, damaged).expect("writable");
            assert!(matches!(known("host", 1), Err(Failure::Local(_))), "{damaged}");
            let given = Trust::of(&state, "host", 1, Some(fingerprint('c'))).expect("it needs no file");
            assert_eq!((given.known, given.given), (None, Some(fingerprint('c'))));
            assert!(KnownHosts::add(&file, "host:1", fingerprint('c')).is_err(), "what is there may be repaired");
        }
        std::fs::remove_file(&file).expect("ours");
        rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("a fifo");
        assert!(matches!(known("host", 1), Err(Failure::Local(_))), "and nothing waits for a FIFO");
    }
}
