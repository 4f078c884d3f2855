//! The errors of `berthd`'s commands, and their exit codes.

use std::error::Error;
use std::path::PathBuf;
use std::{fmt, io};

use super::{EXIT_FAILED, EXIT_USAGE};
use crate::account::AccountError;
use crate::auth::scram::PasswordError;
use crate::config::ConfigError;
use crate::server::ServerError;

/// Why a command failed.
#[derive(Debug)]
pub(super) enum AdminError {
    /// The arguments contradict each other.
    Usage(String),
    /// The configuration cannot be used.
    Config(ConfigError),
    /// This many problems, which were already printed.
    Invalid(usize),
    /// An account cannot be read or changed.
    Account(AccountError),
    /// The text cannot be a password.
    Password(PasswordError),
    /// The server could not start or continue.
    Server {
        /// The reason.
        source: ServerError,
        /// Its configuration file, if it still exists.
        file: Option<PathBuf>,
    },
    /// The output cannot be written.
    Output(io::Error),
    /// Any other error.
    Failed(String),
}

impl AdminError {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(_) | Self::Invalid(_) => EXIT_USAGE,
            _ => EXIT_FAILED,
        }
    }

    /// Drops the file of a server error, because the configuration was removed again.
    pub(super) fn without_file(self) -> Self {
        match self {
            Self::Server { source, .. } => Self::Server { source, file: None },
            other => other,
        }
    }

    /// Returns whether the reader of the output has closed it.
    pub(super) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(problem) | Self::Failed(problem) => f.write_str(problem),
            Self::Config(error) => error.fmt(f),
            Self::Invalid(1) => f.write_str("1 problem"),
            Self::Invalid(count) => write!(f, "{count} problems"),
            Self::Account(error @ AccountError::Io { source, .. }) if is_denied(source) => {
                write!(f, "{error}; run this as root or as the server's user")
            }
            Self::Account(error) => error.fmt(f),
            Self::Password(error) => write!(f, "{error}; nothing was changed"),
            Self::Server { source, file } if is_address_in_use(source) => {
                write!(f, "{source}\nAnother process listens there. Stop it, or choose another port: ")?;
                if let Some(file) = file {
                    write!(f, "`listen` in {}, or ", file.display())?;
                }
                f.write_str("`berthd quickstart --listen 127.0.0.1:0`")
            }
            Self::Server { source, .. } => source.fmt(f),
            Self::Output(error) => write!(f, "cannot write to stdout: {error}"),
        }
    }
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Returns whether the cause is an address in use.
fn is_address_in_use(error: &ServerError) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse) {
            return true;
        }
        cause = error.source();
    }
    false
}

impl From<ConfigError> for AdminError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<AccountError> for AdminError {
    fn from(error: AccountError) -> Self {
        Self::Account(error)
    }
}

impl From<PasswordError> for AdminError {
    fn from(error: PasswordError) -> Self {
        Self::Password(error)
    }
}

/// A bare I/O error comes only from printing. All other errors name what they are about.
impl From<io::Error> for AdminError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
