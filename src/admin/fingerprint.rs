//! `berthd fingerprint`: prints what a client shows at first contact, from the server's files. If the
//! server was never started, its key is made now.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::json;

use super::command_line::QUICKSTART_DIR;
use super::{AdminError, become_user, print_json};
use crate::base::calendar::{timestamp_of_seconds, unix_s};
use crate::config::Config;
use crate::tls::ServerIdentity;

/// Returns the configuration to use. If none is named and the default server was never started, it is that
/// of `berthd quickstart` in this directory.
pub(super) fn choose_config(named: Option<PathBuf>, file: &Path) -> Result<Config, AdminError> {
    let quickstart = Path::new(QUICKSTART_DIR).join("conf/berthd.json");
    if named.is_none() && !cfg!(feature = "system") && quickstart.exists() {
        let is_used = Config::load(file).is_ok_and(|config| !matches!(ServerIdentity::read(&config), Ok(None)));
        if !is_used {
            let _ = writeln!(
                io::stderr(),
                "berthd: this is the server of {}; name another with --config",
                quickstart.display()
            );
            return Ok(Config::load(&quickstart)?);
        }
    }
    Ok(Config::load(file)?)
}

pub(super) fn run(config: &Config, json: bool) -> Result<(), AdminError> {
    // A configured key may be readable by root only.
    if config.tls.is_own {
        become_user(config)?;
    }
    let now_s = unix_s(SystemTime::now());
    let identity = match ServerIdentity::read(config)? {
        Some(identity) => identity,
        None => ServerIdentity::establish(config, now_s)?,
    };
    let ServerIdentity { fingerprint, ends_s, .. } = identity;
    if json {
        let ends = format!("{:.3}", timestamp_of_seconds(ends_s));
        return print_json(&json!({"fingerprint": fingerprint, "certificate_ends": ends}));
    }
    Ok(writeln!(io::stdout(), "{fingerprint}")?)
}
