//! `berthd fingerprint`: what a client shows at first contact, from the server's own files. Where
//! the server has not been started yet, its key is made now.

use super::{AdminError, become_user, print_json};
use crate::config::Config;
use crate::text::{Utc, unix_ns};
use crate::tls::Identity;
use serde_json::json;
use std::io::{self, Write};
use std::time::SystemTime;

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
