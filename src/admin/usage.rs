//! `berthd usage`: asks the running server, or counts the disk where none runs.

use super::dialogue::{self, Dialogue};
use super::{AdminError, UsageArgs, print_json};
use crate::account::Accounts;
use crate::config::Config;
use crate::front::control;
use crate::lane::Budget;
use crate::session::audit::AuditStep;
use crate::session::{Policy, Service};
use crate::store::Store;
use crate::store::quota::QuotaState;
use crate::store::syncer::Syncer;
use crate::text::Size;
use crate::wire::control::{AccountUsage, AuditMode, ControlReply, ControlRequest};
use std::io::{self, Write};

pub(super) fn run(args: &UsageArgs, config: &Config) -> Result<(), AdminError> {
    let mode = match (args.verify, args.repair) {
        (true, _) => AuditMode::Verify,
        (_, true) => AuditMode::Repair,
        _ => AuditMode::Show,
    };
    let user = args.name.as_ref().map(ToString::to_string);
    let mut table = Table { json: args.json, repairs: args.repair, has_header: false, faults: 0 };
    match Dialogue::begin(config)? {
        Some(mut dialogue) => dialogue.ask(&ControlRequest::Usage { user, mode }, |reply| match reply {
            ControlReply::Usage(usage) => table.print(&usage),
            other => Err(dialogue::unexpected(&other)),
        })?,
        None => count(config, user, mode, |usage| table.print(&usage))?,
    }
    match table.faults {
        0 => Ok(()),
        faults => Err(AdminError::Failed(format!(
            "accounts that differ from the disk or could not be looked at: {faults}; `berthd usage --repair` counts anew"
        ))),
    }
}

/// Without a server the disk is all there is, so it is always counted.
fn count(
    config: &Config,
    user: Option<String>,
    mode: AuditMode,
    mut take: impl FnMut(AccountUsage) -> Result<(), AdminError>,
) -> Result<(), AdminError> {
    let store = Store::new(config.home_roots.clone(), config.partial_expiry, Syncer::inline())?;
    let mut service = Service::new(Accounts::open(config)?, store, Policy::from(config));
    // Without a ledger to compare with, showing and verifying are the same.
    let mode = if mode == AuditMode::Show { AuditMode::Verify } else { mode };
    let mut audit = control::begin(&service, user, mode).map_err(AdminError::Failed)?;
    loop {
        match audit.next(&mut service, &mut Budget::new(u64::MAX)) {
            AuditStep::Later => {}
            AuditStep::Account(name, state, found) => take(control::usage(&name, &state, found))?,
            AuditStep::Failed(name, error) => {
                let nothing = QuotaState::default();
                take(AccountUsage { error: Some(error), ..control::usage(&name, &nothing, None) })?;
            }
            AuditStep::End => return Ok(()),
        }
    }
}

/// Prints accounts as they come, and counts those that are not as they should be.
struct Table {
    json: bool,
    repairs: bool,
    has_header: bool,
    faults: usize,
}

impl Table {
    fn print(&mut self, usage: &AccountUsage) -> Result<(), AdminError> {
        let differs = usage.disk_bytes.is_some_and(|bytes| bytes != usage.used_bytes)
            || usage.disk_files.is_some_and(|files| files != usage.used_files);
        self.faults += usize::from((differs && !self.repairs) || usage.error.is_some());
        if self.json {
            return print_json(&serde_json::to_value(usage).map_err(io::Error::other)?);
        }
        let mut out = io::stdout().lock();
        if !std::mem::replace(&mut self.has_header, true) {
            writeln!(
                out,
                "{:<20} {:>8} {:>9} {:>8} {:>8} {:>9}  DISK",
                "NAME", "USED", "RESERVED", "LIMIT", "FILES", "MAX"
            )?;
        }
        if let Some(error) = &usage.error {
            return Ok(writeln!(out, "{:<20} {error}", usage.user)?);
        }
        let limit = |limit: Option<String>| limit.unwrap_or_else(|| "none".into());
        let disk = match (usage.disk_bytes, usage.disk_files) {
            (Some(bytes), Some(files)) if differs && self.repairs => {
                format!("counted anew: {bytes} bytes in {files} files")
            }
            (Some(bytes), Some(files)) if differs => format!("differs: {bytes} bytes in {files} files"),
            (Some(_), Some(_)) => "same".into(),
            _ => "-".into(),
        };
        Ok(writeln!(
            out,
            "{:<20} {:>8} {:>9} {:>8} {:>8} {:>9}  {disk}",
            usage.user,
            Size(usage.used_bytes),
            Size(usage.reserved_bytes),
            limit(usage.limit_bytes.map(|bytes| Size(bytes).to_string())),
            usage.used_files,
            limit(usage.limit_files.map(|files| files.to_string())),
        )?)
    }
}
