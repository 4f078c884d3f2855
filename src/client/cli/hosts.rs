//! Named hosts in `berth.json` in the XDG configuration directory. This module knows no network.
//!
//! A host may name a program to run (`password_command`), so a file that other users can write to is refused.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::atomic_file::{self, SECRET_DIRECTORY};
use crate::base::explanation::Explanation;
use crate::base::json::Object;
use crate::base::text::{Escaped, plain};
use crate::base::virtual_path::NAME_BYTES_MAX;
use crate::client::cli::args::{HOST, LoginTarget};
use crate::client::connection::state::{lock_directory, replace, xdg_directory};
use crate::client::error::Failure;
use crate::client::files::local::shown;
use crate::client::syntax::advice;
use crate::config::{ConfigError, PORT_DEFAULT};
use crate::tls::Fingerprint;

/// The settings of one named host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// `HOST[:PORT]`.
    pub address: String,
    /// The account name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The fingerprint of the server's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// The remote directory to start in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The local directory that the shell starts in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local_directory: Option<PathBuf>,
    /// The command that prints the password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_command: Option<String>,
    /// The connection is not encrypted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plaintext: bool,
}

impl Host {
    /// Returns the address and the account for the login.
    pub fn target(&self) -> Result<LoginTarget, Explanation> {
        match LoginTarget::parse(&self.address)? {
            LoginTarget { user: Some(_), .. } => {
                Err(Explanation::new(format!("'{}' contains a user", self.address), "put it into `user`"))
            }
            target => Ok(LoginTarget { user: self.user.clone(), ..target }),
        }
    }

    /// Returns the key with an invalid value, and the problem.
    fn problem(&self) -> Option<(&'static str, Explanation)> {
        let is_empty = |text: &Option<String>| text.as_ref().is_some_and(|text| text.trim().is_empty());
        if let Err(problem) = self.target() {
            return Some(("address", problem));
        }
        if is_empty(&self.user) {
            return Some(("user", Explanation::new("is empty", "leave it out, or name an account")));
        }
        if is_empty(&self.directory) {
            return Some(("directory", Explanation::new("is empty", "leave it out, or name a directory")));
        }
        if is_empty(&self.password_command) {
            return Some(("password_command", Explanation::new("is empty", "leave it out to be asked")));
        }
        if self.plaintext && self.fingerprint.is_some() {
            return Some((
                "fingerprint",
                Explanation::new("cannot be checked without encryption", "leave out this or `plaintext`"),
            ));
        }
        let is_relative = |directory: &Path| !directory.is_absolute() && !directory.starts_with("~");
        if self.local_directory.as_deref().is_some_and(is_relative) {
            return Some(("local_directory", "begins with neither / nor ~/".into()));
        }
        None
    }
}

/// All named hosts.
#[derive(Default)]
pub struct Hosts(pub BTreeMap<String, Host>);

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawHosts {
    hosts: BTreeMap<String, Object<Host>>,
}

impl Hosts {
    /// Reads the file. Returns no hosts if it does not exist.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let unreadable = |error: &io::Error| ConfigError::new(file, "", format!("cannot be read: {}", plain(error)));
        let metadata = match fs::metadata(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            result => result.map_err(|error| unreadable(&error))?,
        };
        let is_foreign = metadata.uid() != 0 && metadata.uid() != rustix::process::geteuid().as_raw();
        if is_foreign || metadata.mode() & 0o022 != 0 {
            let name = advice::local_operand(file).unwrap_or_else(|| "FILE".into());
            let why = match is_foreign {
                true => Explanation::new("is owned by another user", "change its owner, or remove it"),
                false => Explanation::new(
                    "other users can write to it and change the commands that it runs",
                    format!("run: chmod go-w {name}"),
                ),
            };
            return Err(ConfigError::new(file, "", why));
        }
        let text = atomic_file::read(file).map_err(|error| unreadable(&error))?;
        if text.trim_ascii().is_empty() {
            let advice = "restore it from a backup, or remove it and add the hosts again";
            return Err(ConfigError::new(file, "", Explanation::new("is empty, as after a power loss", advice)));
        }
        let mut reader = serde_json::Deserializer::from_slice(&text);
        let Object(raw): Object<RawHosts> =
            serde_path_to_error::deserialize(&mut reader).map_err(|error| ConfigError::unparsable(file, &error))?;
        reader.end().map_err(|error| ConfigError::new(file, "", format!("after the closing brace: {error}")))?;
        let mut hosts = BTreeMap::new();
        for (name, Object(host)) in raw.hosts {
            let key = format!("hosts.{name}");
            check_name(&name).map_err(|problem| ConfigError::new(file, key.clone(), problem))?;
            if let Some((of, problem)) = host.problem() {
                return Err(ConfigError::new(file, format!("{key}.{of}"), problem));
            }
            hosts.insert(name, host);
        }
        Ok(Self(hosts))
    }

    /// Changes the content of the file with `change`, under a lock against other processes.
    pub fn update(file: &Path, change: impl FnOnce(&mut Self) -> Result<(), Failure>) -> Result<(), Failure> {
        let failure = |error: io::Error| Failure::local(file, &error);
        // If the file is a symlink, its target is replaced, so that the symlink stays.
        let real = fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
        let directory = real.parent().unwrap_or(Path::new("/"));
        let made = fs::DirBuilder::new().recursive(true).mode(SECRET_DIRECTORY).create(directory);
        made.map_err(|error| {
            let problem = format!("the directory {} cannot be created: {}", shown(directory), plain(&error));
            Failure::Local(Explanation::new(problem, "set HOME or XDG_CONFIG_HOME to one that you can write to"))
        })?;
        let _lock = lock_directory(directory).map_err(failure)?;
        let mut hosts = Self::read(file)?;
        change(&mut hosts)?;
        let text = serde_json::to_string_pretty(&serde_json::json!({"hosts": hosts.0}));
        let text = text.map_err(|error| Failure::Local(format!("a host cannot be written: {error}").into()))?;
        replace(&real, (text + "\n").as_bytes()).map_err(failure)
    }

    /// Adds a host. Fails if the name exists, unless `replaces` is true.
    pub fn add(&mut self, name: &str, host: Host, replaces: bool) -> Result<(), Failure> {
        check_name(name).map_err(Failure::Usage)?;
        if let Some((key, problem)) = host.problem() {
            let problem = Explanation { problem: format!("{key}: {}", problem.problem), ..problem };
            return Err(Failure::Usage(problem));
        }
        if !replaces && self.0.contains_key(name) {
            return Err(Failure::Local(Explanation::new(
                format!("host '{name}' already exists"),
                "--replace replaces it",
            )));
        }
        self.0.insert(name.into(), host);
        Ok(())
    }
}

/// Returns the path of the hosts file; `None` if the user has no configuration directory.
pub fn file() -> Option<PathBuf> {
    xdg_directory("XDG_CONFIG_HOME", ".config").map(|path| path.join("berth/berth.json"))
}

/// Checks that a name cannot be mistaken for an option, a path, a user or a port.
fn check_name(name: &str) -> Result<(), Explanation> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if name == HOST {
        return Err(format!("'{HOST}' cannot be a name, because 'berth {HOST}' is a command").into());
    }
    if !begins_well || !name.chars().all(is_plain) || name.len() > NAME_BYTES_MAX {
        let name = Escaped(name.as_bytes());
        return Err(Explanation::new(format!("'{name}' cannot be a name"), "use letters, digits, '.', '-' and '_'"));
    }
    Ok(())
}

/// Formats the setting `key` of the host `name` with its file, for messages.
pub fn setting(name: &str, key: &str) -> String {
    let file = file().unwrap_or_default();
    format!("hosts.{name}.{key} in {}", shown(&file))
}

/// Returns whether `text` can be the name of a named host: it is a valid name and no IP address.
pub fn may_be_named(text: &str) -> bool {
    check_name(text).is_ok() && text.parse::<IpAddr>().is_err()
}

/// Returns whether a host called `name` exists.
pub fn is_named(name: &str) -> bool {
    matches!(find_host(name), Ok(Some(_)))
}

/// Returns the host that `text` names, with or without a user. Text with a port, or that cannot be a name, is
/// an address.
pub(super) fn find_host(text: &str) -> Result<Option<Host>, Failure> {
    let name = text.rsplit_once('@').map_or(text, |(_, name)| name);
    match file().filter(|_| check_name(name).is_ok()) {
        Some(file) => match Hosts::read(&file) {
            Ok(mut hosts) => Ok(hosts.0.remove(name)),
            Err(error) => {
                let Explanation { problem, advice } = error.into_explanation().or_advise("correct it");
                let advice = advice.into_iter().chain(["USER@HOST:PORT connects without this file".into()]);
                let advice = advice.collect::<Vec<String>>().join("; ");
                Err(Failure::Usage(Explanation::new(problem, advice)))
            }
        },
        None => Ok(None),
    }
}

/// Formats `HOST:PORT` for the hosts file, without a default port.
pub fn address_of(target: &LoginTarget) -> String {
    let host = if target.host.contains(':') { format!("[{}]", target.host) } else { target.host.clone() };
    if target.port == PORT_DEFAULT { host } else { format!("{host}:{}", target.port) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn host(address: &str) -> Host {
        Host { address: address.into(), user: Some("ann".into()), ..Host::default() }
    }

    fn kept() -> Host {
        Host {
            directory: Some("backup".into()),
            password_command: Some("pass show nas".into()),
            local_directory: Some("~/backup".into()),
            ..host("192.168.1.2:99")
        }
    }

    #[test]
    fn a_stored_host_is_found_again_and_others_stay() {
        let directory = tempfile::tempdir().expect("temporary folder");
        let file = directory.path().join("new/berth.json");
        assert!(Hosts::read(&file).expect("no file is no error").0.is_empty());
        for name in ["nas", "b"] {
            Hosts::update(&file, |hosts| hosts.add(name, kept(), false)).expect("writable");
        }
        assert_eq!(fs::metadata(&file).expect("written").mode() & 0o777, atomic_file::SECRET_FILE);
        assert!(Hosts::update(&file, |hosts| hosts.add("nas", host("x"), false)).is_err());
        Hosts::update(&file, |hosts| hosts.add("b", host("[::1]:5"), true)).expect("replaced");
        let hosts = Hosts::read(&file).expect("valid").0;
        assert_eq!(hosts.keys().collect::<Vec<_>>(), ["b", "nas"]);
        assert_eq!((&hosts["nas"], &hosts["b"]), (&kept(), &host("[::1]:5")));
    }

    #[test]
    fn a_symlink_to_the_hosts_file_stays_a_symlink() {
        let directory = tempfile::tempdir().expect("temporary folder");
        let (link, real) = (directory.path().join("berth.json"), directory.path().join("dotfiles/berth.json"));
        fs::create_dir(directory.path().join("dotfiles")).expect("writable");
        fs::write(&real, "{}").expect("writable");
        std::os::unix::fs::symlink(&real, &link).expect("writable");
        Hosts::update(&link, |hosts| hosts.add("nas", host("x"), false)).expect("writable");
        assert!(link.is_symlink() && Hosts::read(&real).expect("valid").0.contains_key("nas"));
    }

    #[test]
    fn errors_name_file_and_key() {
        let directory = tempfile::tempdir().expect("temporary folder");
        let file = directory.path().join("berth.json");
        for (text, key, problem) in [
            ("{", "", "EOF"),
            ("", "", "is empty, as after a power loss"),
            ("\n", "", "remove it and add the hosts again"),
            ("{} {}", "", "after the closing brace"),
            ("[]", "", "an object"),
            (r#"{"host": {}}"#, "host", "unknown field `host`"),
            (r#"{"hosts": {"a": {"adress": "x"}}}"#, "hosts.a.adress", "unknown field `adress`"),
            (r#"{"hosts": {"a": {"user": "x"}}}"#, "hosts.a", "missing field `address`"),
            (r#"{"hosts": {"a": ["x"]}}"#, "hosts.a", "an object"),
            (r#"{"hosts": {"a": {"address": "x:0"}}}"#, "hosts.a.address", "the port after ':'"),
            (r#"{"hosts": {"a": {"address": "u@x"}}}"#, "hosts.a.address", "`user`"),
            (r#"{"hosts": {"a": {"address": "x", "fingerprint": "x"}}}"#, "hosts.a.fingerprint", "SHA256:"),
            (r#"{"hosts": {"a": {"address": "x", "local_directory": "y"}}}"#, "hosts.a.local_directory", "begins"),
            (r#"{"hosts": {"a": {"address": "x", "directory": ""}}}"#, "hosts.a.directory", "empty"),
            (r#"{"hosts": {"a": {"address": "x", "password_command": " "}}}"#, "hosts.a.password_command", "empty"),
            (r#"{"hosts": {"-a": {"address": "x"}}}"#, "hosts.-a", "cannot be a name"),
            (r#"{"hosts": {"host": {"address": "x"}}}"#, "hosts.host", "cannot be a name"),
        ] {
            fs::write(&file, text).expect("writable");
            let error = Hosts::read(&file).err().expect(text);
            assert!(error.key == key, "{text}: {}", error.key);
            let text = error.to_string();
            assert!(text.starts_with(&file.display().to_string()) && text.contains(problem), "{text}");
        }
    }

    #[test]
    fn a_hosts_file_that_others_can_write_to_is_refused() {
        let directory = tempfile::tempdir().expect("temporary folder");
        let file = directory.path().join("berth.json");
        fs::write(&file, "{}").expect("writable");
        for (mode, is_good) in [(0o600, true), (0o644, true), (0o664, false), (0o646, false)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("ours");
            assert_eq!(Hosts::read(&file).is_ok(), is_good, "{mode:o}");
        }
    }
}
