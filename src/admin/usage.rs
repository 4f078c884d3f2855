//! `berthd usage`: asks the running server, or counts the disk if none runs.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::command_line::UsageArgs;
use super::server_connection::{self, ServerConnection};
use super::{AdminError, print_json};
use crate::account::Accounts;
use crate::base::budget::Budget;
use crate::base::disk_sync;
use crate::base::text::{Escaped, Size, shortened};
use crate::base::virtual_path::PATH_BYTES_MAX;
use crate::config::Config;
use crate::protocol::admin;
use crate::session::home_check::HomeCheckStep;
use crate::session::{Policy, Service};
use crate::store::count::{Count, Counted, UnreadableEntries};
use crate::store::home::open_root;
use crate::store::ledger::QuotaState;
use crate::store::syncer::Syncer;
use crate::store::{Store, StoreError};
use crate::wire::control::{AccountUsage, ControlReply, ControlRequest, UnexaminedEntry, UsageMode};

pub(super) fn run(args: &UsageArgs, config: &Config) -> Result<(), AdminError> {
    let mode = match (args.verify, args.repair) {
        (true, _) => UsageMode::Verify,
        (_, true) => UsageMode::Repair,
        _ => UsageMode::Show,
    };
    let user = args.name.as_ref().map(ToString::to_string);
    let mut table = UsageTable { json: args.json, repairs: args.repair, has_header: false, faults: 0 };
    match ServerConnection::connect(config)? {
        Some(mut connection) => connection.request(&ControlRequest::Usage { user, mode }, |reply| match reply {
            ControlReply::Usage(usage) => table.print(&usage),
            other => Err(server_connection::unexpected(&other)),
        })?,
        None => count(config, user, mode, |usage| table.print(&usage))?,
    }
    match table.faults {
        0 => Ok(()),
        faults => Err(AdminError::Failed(format!(
            "accounts that differ from the disk or cannot be checked: {faults}; `berthd usage --repair` counts again"
        ))),
    }
}

/// Without a server there is no ledger, so the disk is always counted.
fn count(
    config: &Config,
    user: Option<String>,
    mode: UsageMode,
    mut take: impl FnMut(AccountUsage) -> Result<(), AdminError>,
) -> Result<(), AdminError> {
    let store = Store::new(config.home_roots.clone(), config.partial_expiry, Syncer::held(disk_sync::sync))?;
    let mut service = Service::new(Accounts::open(config)?, store, Policy::from(config));
    // Without a ledger to compare with, showing and verifying are the same.
    let mode = if mode == UsageMode::Show { UsageMode::Verify } else { mode };
    let mut check = admin::begin_home_check(&service, user, mode).map_err(AdminError::Failed)?;
    loop {
        match check.next(&mut service, &mut Budget::new(u64::MAX)) {
            HomeCheckStep::Later | HomeCheckStep::Waits => {}
            HomeCheckStep::Account(name, state, found, unreadable) => {
                take(admin::usage(&name, &state, found, &unreadable))?
            }
            HomeCheckStep::Failed(name, error) => {
                let nothing = QuotaState::default();
                let nothing = admin::usage(&name, &nothing, None, &UnreadableEntries::default());
                take(AccountUsage { error: Some(error), ..nothing })?;
            }
            HomeCheckStep::End => return Ok(()),
        }
    }
}

/// Prints each account as its report arrives, and counts those with problems.
struct UsageTable {
    json: bool,
    repairs: bool,
    has_header: bool,
    faults: usize,
}

impl UsageTable {
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
        match &usage.error {
            Some(error) => Ok(writeln!(out, "{:<20} {error}", usage.user)?),
            None => Ok(self.write_row(&mut out, usage, differs)?),
        }
    }

    fn write_row(&self, out: &mut impl Write, usage: &AccountUsage, differs: bool) -> io::Result<()> {
        let limit = |limit: Option<String>| limit.unwrap_or_else(|| "none".into());
        let disk = match (usage.disk_bytes, usage.disk_files) {
            (Some(bytes), Some(files)) if differs && self.repairs => {
                format!("counted again: {bytes} bytes in {files} files")
            }
            (Some(bytes), Some(files)) if differs => format!("differs: {bytes} bytes in {files} files"),
            (Some(_), Some(_)) => "same".into(),
            _ => "-".into(),
        };
        writeln!(
            out,
            "{:<20} {:>8} {:>9} {:>8} {:>8} {:>9}  {disk}",
            usage.user,
            Size(usage.used_bytes),
            Size(usage.reserved_bytes),
            limit(usage.limit_bytes.map(|bytes| Size(bytes).to_string())),
            usage.used_files,
            limit(usage.limit_files.map(|files| files.to_string())),
        )?;
        for UnexaminedEntry { path, problem } in &usage.unexamined_entries {
            writeln!(out, "  {path} cannot be examined: {problem}; its content is not counted")?;
        }
        match usage.unexamined.saturating_sub(usage.unexamined_entries.len() as u64) {
            0 => Ok(()),
            more => writeln!(out, "  {more} more entries cannot be examined"),
        }
    }
}

/// Warns about unreadable entries of homes. The server serves all others, so this is no error.
pub(super) fn warn_of_unreadable(config: &Config, accounts: &Accounts) {
    let homes = accounts.names().unwrap_or_default().into_iter().filter_map(|name| accounts.load(&name).ok()?);
    for home in homes.map(|account| account.home) {
        // A home that cannot be opened was already reported.
        let Ok(unreadable) = count_home(config, &home).map(|counted| counted.unreadable) else { continue };
        for entry in &unreadable.named {
            let path = home.join(OsStr::from_bytes(&entry.path));
            let path = shortened(Escaped(path.as_os_str().as_bytes()).to_string(), PATH_BYTES_MAX);
            let problem = &entry.problem;
            let _ = writeln!(io::stderr(), "berthd: {path} cannot be examined: {problem}; its content is not counted");
        }
        let more = unreadable.count - unreadable.named.len() as u64;
        if more > 0 {
            let _ = writeln!(io::stderr(), "berthd: {more} more entries of {} cannot be examined", home.display());
        }
    }
}

fn count_home(config: &Config, home: &Path) -> Result<Counted, StoreError> {
    let root = open_root(&config.home_roots, home)?;
    let mut count = Count::new(root.into_std_file().into())?;
    loop {
        if let Some(counted) = count.advance(&mut Budget::new(u64::MAX))? {
            return Ok(counted);
        }
    }
}
