//! `berthd status`: the state of the running server, once or repeatedly.

mod report;
mod turns;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGWINCH};

use super::command_line::StatusArgs;
use super::server_connection::{self, ServerConnection};
use super::{AdminError, print_json};
use crate::config::Config;
use crate::wire::control::{ControlReply, ControlRequest};
use report::{StatusReport, TerminalSize};

/// The refresh interval of `berthd status --watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn run(args: &StatusArgs, config: &Config) -> Result<(), AdminError> {
    let mut connection = ServerConnection::connect_required(config)?;
    match (args.watch, args.json) {
        (false, true) => print_objects(&mut connection, args),
        (false, false) => print_lines(&request_report(&mut connection, args)?.lines(None, args.turns)),
        (true, _) => watch(&mut connection, args),
    }
}

/// Requests a report.
fn request_report(connection: &mut ServerConnection, args: &StatusArgs) -> Result<StatusReport, AdminError> {
    let mut report = StatusReport::default();
    connection.request(&ControlRequest::Status { all: args.all }, |reply| {
        match reply {
            ControlReply::Session(session) => report.sessions.push(session),
            ControlReply::User(user) => report.users.push(user),
            ControlReply::Server(server) => report.server = Some(server),
            other => return Err(server_connection::unexpected(&other)),
        }
        Ok(())
    })?;
    report.sort();
    Ok(report)
}

/// Requests a report and prints its objects as they come.
fn print_objects(connection: &mut ServerConnection, args: &StatusArgs) -> Result<(), AdminError> {
    connection.request(&ControlRequest::Status { all: args.all }, |reply| {
        let (report, object) = match &reply {
            ControlReply::Session(session) => ("session", serde_json::to_value(session)),
            ControlReply::User(user) => ("user", serde_json::to_value(user)),
            ControlReply::Server(server) => ("server", serde_json::to_value(server)),
            other => return Err(server_connection::unexpected(other)),
        };
        let mut object: Value = object.map_err(io::Error::other)?;
        object["report"] = json!(report);
        print_json(&object)
    })
}

fn print_lines(lines: &[String]) -> Result<(), AdminError> {
    let mut out = io::stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    Ok(out.flush()?)
}

/// Prints reports until Ctrl-C; on a terminal each replaces the one before.
fn watch(connection: &mut ServerConnection, args: &StatusArgs) -> Result<(), AdminError> {
    let is_over = listen().map_err(|error| AdminError::Failed(format!("cannot handle signals: {error}")))?;
    let is_drawn = io::stdout().is_terminal() && !args.json;
    let mut last: Option<(StatusReport, Instant)> = None;
    loop {
        let began = Instant::now();
        if args.json {
            print_objects(connection, args)?;
        } else {
            let mut report = request_report(connection, args)?;
            if let Some((last, at)) = &last {
                report.rate_since(last, began.saturating_duration_since(*at));
            }
            match room() {
                Some(room) if is_drawn => draw(&report.lines(Some(room), true), last.is_none())?,
                _ => print_lines(&[report.lines(None, args.turns), vec![String::new()]].concat())?,
            }
            last = Some((report, began));
        }
        wait_until(began + WATCH_INTERVAL, connection);
        if is_over.load(Ordering::Relaxed) {
            // The shell continues below the report, and below its `^C`.
            return if is_drawn { Ok(writeln!(io::stdout())?) } else { Ok(()) };
        }
    }
}

/// Handles Ctrl-C, where a second one ends the program at once, and resizes of the terminal.
fn listen() -> io::Result<Arc<AtomicBool>> {
    let is_over = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register_conditional_shutdown(SIGINT, 0, Arc::clone(&is_over))?;
    signal_hook::flag::register(SIGINT, Arc::clone(&is_over))?;
    signal_hook::flag::register(SIGWINCH, Arc::default())?;
    Ok(is_over)
}

/// Waits for the time, a signal, or the end of the server, which the next request reports.
fn wait_until(at: Instant, connection: &ServerConnection) {
    let left = at.saturating_duration_since(Instant::now());
    let timeout = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
    let timeout = if left.as_secs() > 0 { Timespec { tv_sec: 1, tv_nsec: 0 } } else { timeout };
    let _ = poll(&mut [PollFd::from_borrowed_fd(connection.socket(), PollFlags::IN)], Some(&timeout));
}

/// Returns the size of the terminal, without the last column and line, where writing makes some
/// terminals scroll; `None` if it is unknown.
fn room() -> Option<TerminalSize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    let less = |cells: u16| usize::from(cells).checked_sub(1).filter(|cells| *cells > 0);
    Some(TerminalSize { columns: less(size.ws_col)?, rows: less(size.ws_row)? })
}

/// Replaces the terminal's content in one write, without flicker.
fn draw(lines: &[String], is_first: bool) -> Result<(), AdminError> {
    let mut screen = String::from(if is_first { CLEAR } else { TOP });
    for line in lines {
        screen.push_str(line);
        screen.push_str(REST_OF_LINE);
        screen.push('\n');
    }
    screen.push_str(REST_OF_SCREEN);
    let mut out = io::stdout().lock();
    out.write_all(screen.as_bytes())?;
    Ok(out.flush()?)
}

const TOP: &str = "\x1b[H";
const CLEAR: &str = "\x1b[2J\x1b[H";
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_SCREEN: &str = "\x1b[J";
