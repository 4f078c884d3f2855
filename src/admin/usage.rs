//! `berthd usage`: asks the running server, or counts the disk where none runs.

use super::{AdminError, UsageArgs, print_json};
use crate::account::Accounts;
use crate::config::Config;
use crate::control_socket;
use crate::front::control;
use crate::lane::{Budget, Buffer};
use crate::limits::CONTROL_BYTES_MAX;
use crate::session::audit::AuditStep;
use crate::session::{Policy, Service};
use crate::store::Store;
use crate::store::quota::QuotaState;
use crate::store::syncer::Syncer;
use crate::text::Size;
use crate::wire::Frame;
use crate::wire::control::{AccountUsage, AuditMode, ControlReply, ControlRequest};
use crate::wire::frame::{self, FrameType, HEADER_BYTES};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

pub(super) fn run(args: &UsageArgs, config: &Config) -> Result<(), AdminError> {
    let mode = match (args.verify, args.repair) {
        (true, _) => AuditMode::Verify,
        (_, true) => AuditMode::Repair,
        _ => AuditMode::Show,
    };
    let user = args.name.as_ref().map(ToString::to_string);
    let socket = control_socket::connect(&config.control_folder).map_err(|error| {
        AdminError::Failed(format!("cannot ask the running server: {error}; are you its user or root?"))
    })?;
    let mut table = Table { json: args.json, repairs: args.repair, has_header: false, faults: 0 };
    match socket {
        Some(socket) => ask(socket, &ControlRequest::Usage { user, mode }, |usage| table.print(&usage))?,
        None => count(config, user, mode, |usage| table.print(&usage))?,
    }
    match table.faults {
        0 => Ok(()),
        faults => Err(AdminError::Failed(format!(
            "accounts that differ from the disk or could not be looked at: {faults}; `berthd usage --repair` counts anew"
        ))),
    }
}

/// Sends one request to the server and hands on its answers.
fn ask(
    mut socket: UnixStream,
    request: &ControlRequest,
    mut take: impl FnMut(AccountUsage) -> Result<(), AdminError>,
) -> Result<(), AdminError> {
    let mut bytes = Vec::new();
    frame::put_json(&mut bytes, FrameType::Control, 1, request);
    socket.write_all(&bytes)?;
    let mut inbox = Buffer::default();
    loop {
        let reply = match frame::decode(inbox.filled(), CONTROL_BYTES_MAX) {
            Ok(Some((Frame::Control { body, .. }, size))) => serde_json::from_slice(body).map(|reply| (reply, size)),
            Ok(Some(_)) | Err(_) => return Err(not_understood("a frame that is no answer")),
            Ok(None) => {
                let count = socket.read(inbox.room(HEADER_BYTES + CONTROL_BYTES_MAX))?;
                if count == 0 {
                    return Err(AdminError::Failed("the server ended before it had answered; ask again".into()));
                }
                inbox.commit(count);
                continue;
            }
        };
        let (reply, size) = reply.map_err(|error| not_understood(&error.to_string()))?;
        inbox.consume(size);
        match reply {
            ControlReply::Usage(usage) => take(usage)?,
            ControlReply::End {} => return Ok(()),
            ControlReply::Error { message } => return Err(AdminError::Failed(message)),
        }
    }
}

fn not_understood(what: &str) -> AdminError {
    AdminError::Failed(format!("the running server answered with {what}; is it of another version? restart it"))
}

/// The same without a server: the disk is all there is, so it is always counted.
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
