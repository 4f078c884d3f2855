//! `berthd fingerprint`: what a client shows at first contact, from the server's own files. Where
//! the server has not been started yet, its key is made now.

use super::{AdminError, QUICKSTART_DIR, become_user, print_json};
use crate::base::text::{Utc, unix_ns};
use crate::config::Config;
use crate::tls::Identity;
use serde_json::json;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The configuration to tell of: where no file is named and the usual one has never been used, the one
/// that `berthd quickstart` has made here.
pub(super) fn choose(named: Option<PathBuf>, file: &Path) -> Result<Config, AdminError> {
    let tried = Path::new(QUICKSTART_DIR).join("conf/berthd.json");
    if named.is_none() && !cfg!(feature = "system") && tried.exists() {
        let is_used = Config::load(file).is_ok_and(|config| !matches!(Identity::read(&config), Ok(None)));
        if !is_used {
            let _ =
                writeln!(io::stderr(), "berthd: this is the server of {}; name another with --config", tried.display());
            return Ok(Config::load(&tried)?);
        }
    }
    Ok(Config::load(file)?)
}

pub(super) fn run(config: &Config, json: bool) -> Result<(), AdminError> {
    // A named key may be one that only root can read.
    if config.tls.is_own {
        become_user(config)?;
    }
    let now_s = unix_ns(SystemTime::now()) / 1_000_000_000;
    let identity = match Identity::read(config)? {
        Some(identity) => identity,
        None => Identity::establish(config, now_s)?,
    };
    let Identity { fingerprint, ends_s, .. } = identity;
    if json {
        let ends = Utc::from_unix_ns(ends_s.saturating_mul(1_000_000_000)).to_string();
        return print_json(&json!({"fingerprint": fingerprint, "certificate_ends": ends}));
    }
    Ok(writeln!(io::stdout(), "{fingerprint}")?)
}
