//! `berthd check`: the configuration, the accounts and their homes.

use std::io::{self, Write};

use super::{AdminError, usage};
use crate::account::Accounts;
use crate::config::Config;
use crate::server::privileges::ServiceUser;
use crate::tls::ServerIdentity;

/// Prints every problem, not just the first.
pub(super) fn run(config: &Config) -> Result<(), AdminError> {
    let file = config.file.display();
    // As at a start: the configured key is read as the user that starts the server, all other files as the
    // server's user.
    if !config.tls.is_own {
        ServerIdentity::read(config)?;
    }
    if let Some(user) = ServiceUser::find(config)? {
        user.switch_process(config)?;
    }
    if config.tls.is_own {
        ServerIdentity::read(config)?;
    }
    for warning in config.warnings() {
        let _ = writeln!(io::stderr(), "berthd: {file}: {warning}");
    }
    if !config.accounts_dir().is_dir() {
        return Ok(writeln!(io::stdout(), "{file}: valid; no accounts yet, add one with `berthd user add NAME`")?);
    }
    let accounts = Accounts::open(config)?;
    let problems = accounts.check()?;
    for problem in &problems {
        let _ = writeln!(io::stderr(), "berthd: {problem}");
    }
    usage::warn_of_unreadable(config, &accounts);
    match problems.len() {
        0 => {
            let count = accounts.names()?.len();
            Ok(writeln!(io::stdout(), "{file}: valid; {count} {}", if count == 1 { "account" } else { "accounts" })?)
        }
        count => Err(AdminError::Invalid(count)),
    }
}
