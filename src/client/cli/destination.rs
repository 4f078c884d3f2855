//! The server of a run and its settings, from the command line and the named hosts.

use std::path::PathBuf;

use crate::base::explanation::Explanation;
use crate::base::text::Escaped;
use crate::client::cli::args::{Args, LoginTarget};
use crate::client::cli::hosts::{Host, find_host, is_named};
use crate::client::error::Failure;
use crate::tls::Fingerprint;

/// The server of a session and its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The address and the account.
    pub target: LoginTarget,
    /// The fingerprint that the server's key must have.
    pub fingerprint: Option<Fingerprint>,
    /// The connection is not encrypted.
    pub plaintext: bool,
    /// The remote directory to start in.
    pub directory: Option<String>,
    /// The local directory that a shell starts in.
    pub local_directory: Option<PathBuf>,
    /// The command that prints the password.
    pub password_command: Option<String>,
}

impl Destination {
    /// Determines the destination. The command line takes precedence over the settings of a named host.
    pub fn from_args(args: &Args) -> Result<Self, Failure> {
        let target = LoginTarget::parse(&args.target).map_err(Failure::Usage)?;
        let mut destination = match find_host(&args.target)? {
            Some(host) => Self::from_host(host, target.user).map_err(Failure::Usage)?,
            None => Self::from_target(target),
        };
        if args.plaintext && destination.fingerprint.is_some() {
            let problem = "the key of this host cannot be checked without encryption";
            return Err(Failure::Usage(Explanation::new(problem, "leave out --plaintext")));
        }
        if destination.plaintext && (args.fingerprint.is_some() || args.accept_new) {
            let problem = "this host is stored with `plaintext`, so its key cannot be checked";
            return Err(Failure::Usage(Explanation::new(problem, "leave out --fingerprint and --accept-new")));
        }
        destination.plaintext |= args.plaintext;
        destination.fingerprint = args.fingerprint.or(destination.fingerprint);
        destination.password_command = args.password_command.clone().or(destination.password_command);
        Ok(destination)
    }

    fn from_target(target: LoginTarget) -> Self {
        Self {
            target,
            fingerprint: None,
            plaintext: false,
            directory: None,
            local_directory: None,
            password_command: None,
        }
    }

    /// Applies a named host. If the user gives another account, the host's directories and password do not
    /// apply.
    fn from_host(host: Host, user: Option<String>) -> Result<Self, Explanation> {
        let target = host.target()?;
        let server = Self { fingerprint: host.fingerprint, plaintext: host.plaintext, ..Self::from_target(target) };
        if user.is_some() && user != host.user {
            return Ok(Self { target: LoginTarget { user, ..server.target }, ..server });
        }
        let Host { directory, local_directory, password_command, .. } = host;
        Ok(Self { directory, local_directory, password_command, ..server })
    }
}

/// Returns the user's name for the server: the name of a host, or the address without user and port.
pub fn name_of(args: &Args, destination: &Destination) -> String {
    let name = args.target.rsplit_once('@').map_or(&args.target[..], |(_, name)| name);
    let name = if is_named(name) { name } else { &destination.target.host };
    Escaped(name.as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Host {
        Host {
            address: "192.168.1.2:99".into(),
            user: Some("ann".into()),
            directory: Some("backup".into()),
            password_command: Some("pass show nas".into()),
            local_directory: Some("~/backup".into()),
            ..Host::default()
        }
    }

    #[test]
    fn another_account_of_a_named_host_has_its_own_password_and_directories() {
        let fingerprint = format!("SHA256:{}A", "a".repeat(42)).parse().expect("a fingerprint");
        let host = Host { fingerprint: Some(fingerprint), ..kept() };
        let own = Destination::from_host(host.clone(), None).expect("valid");
        assert_eq!(own, Destination::from_host(host.clone(), Some("ann".into())).expect("valid"));
        assert_eq!((own.target.port, own.password_command.as_deref()), (99, Some("pass show nas")));
        let other = Destination::from_host(host, Some("ben".into())).expect("valid");
        assert_eq!((other.target.user.as_deref(), &other.target.host[..]), (Some("ben"), "192.168.1.2"));
        assert_eq!((other.fingerprint, other.password_command, other.directory), (own.fingerprint, None, None));
    }
}
