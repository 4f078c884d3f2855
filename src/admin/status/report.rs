//! Formats a report on the server for people.

use std::collections::HashMap;
use std::time::Duration;

use super::turns::{turn_lines, turn_summary};
use crate::admin::table::{Column, Table, start_of};
use crate::base::text::{Escaped, Size};
use crate::wire::control::{ServerReport, SessionReport, UserReport};

/// The server's replies.
#[derive(Default)]
pub(super) struct StatusReport {
    pub(super) sessions: Vec<SessionReport>,
    pub(super) users: Vec<UserReport>,
    pub(super) server: Option<ServerReport>,
}

/// The size of a terminal.
#[derive(Clone, Copy)]
pub(super) struct TerminalSize {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

impl StatusReport {
    /// Sorts sessions; those with transfers come first.
    pub(super) fn sort(&mut self) {
        let rank = |session: &SessionReport| match session.state.as_str() {
            _ if session.path.is_some() => 0,
            "task" => 1,
            "login" => 3,
            _ => 2,
        };
        self.sessions.sort_by_key(|session| (rank(session), session.session));
    }

    /// Replaces average rates by the rates since an `earlier` report.
    pub(super) fn rate_since(&mut self, earlier: &Self, time: Duration) {
        let before: HashMap<_, _> = earlier.sessions.iter().map(|session| (session.session, session)).collect();
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        for session in &mut self.sessions {
            let Some(before) = before.get(&session.session).filter(|before| before.path == session.path) else {
                continue;
            };
            // A lower position means that the file is being transferred again.
            if let (Some(now), Some(before)) = (session.position, before.position)
                && let Some(moved) = now.checked_sub(before)
            {
                session.rate = moved.saturating_mul(1000).checked_div(ms);
            }
        }
    }

    /// Returns all lines, or those that fit. The times of turns come last, and only if requested: they are
    /// the longest part, and the sessions would scroll away.
    pub(super) fn lines(&self, room: Option<TerminalSize>, with_turns: bool) -> Vec<String> {
        let columns = room.map(|room| room.columns);
        let mut lines: Vec<String> = self.server.iter().flat_map(head).collect();
        if let Some(columns) = columns {
            lines.iter_mut().for_each(|line| *line = start_of(line, columns));
        }
        let (sessions, users) = (self.session_lines(columns), self.user_lines(columns));
        let server = self.server.iter().filter(|_| with_turns);
        let turns: Vec<String> = server.flat_map(|server| turn_lines(&server.turns, columns)).collect();
        let Some(TerminalSize { rows, columns }) = room else {
            [sessions, users, turns].into_iter().for_each(|section| add(&mut lines, section));
            return lines;
        };
        let left = rows.saturating_sub(lines.len());
        let users = fitting(users, columns, (left / 3).max(left.saturating_sub(sessions.len() + 2)));
        let taken = if users.is_empty() { 1 } else { users.len() + 2 };
        let sessions = fitting(sessions, columns, left.saturating_sub(taken));
        add(&mut lines, sessions);
        add(&mut lines, users);
        // A part of it would mislead.
        if lines.len() + 1 + turns.len() <= rows {
            add(&mut lines, turns);
        }
        lines.truncate(rows);
        lines
    }

    fn session_lines(&self, columns: Option<usize>) -> Vec<String> {
        let mut table = Table::new(SESSION_COLUMNS);
        for session in &self.sessions {
            let path = session.path.as_ref().map(|path| Escaped(&path.0).to_string());
            table.push(vec![
                session.session.to_string(),
                session.user.clone().unwrap_or_else(|| "-".into()),
                Escaped(session.address.as_bytes()).to_string(),
                Escaped(session.state.as_bytes()).to_string(),
                session.rate.map(|rate| format!("{}/s", Size(rate))).unwrap_or_default(),
                session.position.map(|position| done(position, session.size)).unwrap_or_default(),
                path.unwrap_or_default(),
            ]);
        }
        if self.sessions.is_empty() { Vec::new() } else { table.lines(columns) }
    }

    fn user_lines(&self, columns: Option<usize>) -> Vec<String> {
        let mut table = Table::new(USER_COLUMNS);
        let size = |bytes: Option<u64>, none: &str| bytes.map_or_else(|| none.into(), |bytes| Size(bytes).to_string());
        let number = |count: Option<u64>, none: &str| count.map_or_else(|| none.into(), |count| count.to_string());
        for user in &self.users {
            table.push(vec![
                user.user.clone(),
                user.sessions.to_string(),
                size(user.used_bytes, "?"),
                size(Some(user.reserved_bytes), ""),
                size(user.limit_bytes, "none"),
                number(user.used_files, "?"),
                number(user.limit_files, "none"),
                user.error.as_deref().map(|error| Escaped(error.as_bytes()).to_string()).unwrap_or_default(),
            ]);
        }
        if self.users.is_empty() { Vec::new() } else { table.lines(columns) }
    }
}

/// Appends a section after an empty line.
fn add(lines: &mut Vec<String>, section: Vec<String>) {
    if !section.is_empty() {
        lines.push(String::new());
        lines.extend(section);
    }
}

/// Returns the lines that fit. The last one gives the number of the others.
fn fitting(mut lines: Vec<String>, columns: usize, rows: usize) -> Vec<String> {
    if lines.len() > rows {
        let left_out = lines.len() + 1 - rows;
        lines.truncate(rows.saturating_sub(1));
        if rows > 1 {
            lines.push(start_of(&format!("… {left_out} more"), columns));
        }
    }
    lines
}

fn head(server: &ServerReport) -> Vec<String> {
    let (uptime, up, down) = (time(server.seconds), Size(server.bytes_up), Size(server.bytes_down));
    let mut lines = vec![
        format!("sessions {}  unauthenticated {}  running {uptime}", server.sessions, server.unauthenticated),
        format!("up   {up:>6}  transfers {}  running {}", server.uploads, server.uploading),
        format!("down {down:>6}  transfers {}  running {}", server.downloads, server.downloading),
        turn_summary(&server.turns),
    ];
    let unresponsive = server.unresponsive_directories.iter();
    lines.extend(unresponsive.map(|path| format!("{}: the file system does not answer", Escaped(&path.0))));
    lines
}

/// Formats a duration in its two largest units.
fn time(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

/// Formats the percentage of a transfer, rounded down: an incomplete one is never 100 %.
fn done(position: u64, size: Option<u64>) -> String {
    match size {
        Some(0) => "100%".into(),
        Some(size) => format!("{}%", u128::from(position) * 100 / u128::from(size)),
        None => Size(position).to_string(),
    }
}

const SESSION_COLUMNS: &[Column] = &[
    Column::right("SESSION", 0),
    Column::left("USER", 0),
    Column::left("ADDRESS", 3),
    Column::left("STATE", 1),
    Column::right("RATE", 2),
    Column::right("DONE", 0),
    Column::left("PATH", 0),
];

const USER_COLUMNS: &[Column] = &[
    Column::left("USER", 0),
    Column::right("SESSIONS", 2),
    Column::right("USED", 0),
    Column::right("RESERVED", 3),
    Column::right("LIMIT", 0),
    Column::right("FILES", 1),
    Column::right("MAX", 4),
    Column::left("", 0),
];

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::wire::control::TurnTimes;
    use crate::wire::message::Name;

    fn session(session: u64, path: Option<&[u8]>, position: u64) -> SessionReport {
        SessionReport {
            session,
            user: Some("ann".into()),
            address: "[2001:db8:1234:5678:9abc:def0:1234:5678]:65535".into(),
            state: if path.is_some() { "upload" } else { "idle" }.into(),
            path: path.map(|path| Name(path.to_vec())),
            size: path.map(|_| 1000),
            position: path.map(|_| position),
            rate: path.map(|_| 7),
        }
    }

    fn report() -> StatusReport {
        let turns = (0..20).map(|step| TurnTimes { below_us: Some(1 << step), count: 40 >> step }).collect();
        let user = UserReport {
            user: "ann".into(),
            sessions: 41,
            used_bytes: Some(1 << 30),
            used_files: None,
            reserved_bytes: 0,
            limit_bytes: None,
            limit_files: Some(1 << 40),
            error: None,
        };
        let server = ServerReport {
            seconds: 93_784,
            sessions: 41,
            unauthenticated: 0,
            uploading: 1,
            downloading: 0,
            uploads: u64::MAX,
            downloads: 0,
            bytes_up: 0,
            bytes_down: 0,
            turns,
            unresponsive_directories: vec![Name(b"/a \x1b[2J/homes".to_vec())],
        };
        let mut sessions: Vec<_> = (1..=40).map(|number| session(number, None, 0)).collect();
        sessions.push(session(41, Some(b"/\x1b[2J\xff\xe2\x80\xae/file"), 999));
        let mut report = StatusReport { sessions, users: vec![user; 30], server: Some(server) };
        report.sort();
        report
    }

    #[test]
    fn a_report_fits_any_terminal_and_shows_no_foreign_control_characters() {
        for (columns, rows) in (1..100).flat_map(|columns| [1, 2, 5, 10, 23, 60, 200].map(|rows| (columns, rows))) {
            let lines = report().lines(Some(TerminalSize { columns, rows }), true);
            assert!(lines.len() <= rows, "{columns}, {rows}: {lines:?}");
            for line in &lines {
                assert!(
                    line.width() <= columns && !line.contains(crate::base::text::is_unprintable),
                    "{columns}: {line:?}"
                );
            }
        }
    }

    #[test]
    fn what_moves_stands_first_and_what_does_not_fit_is_counted() {
        let lines = report().lines(Some(TerminalSize { columns: 79, rows: 23 }), true);
        assert_eq!(lines[0], "sessions 41  unauthenticated 0  running 1d 2h");
        let sessions = lines.iter().position(|line| line.contains("SESSION ")).expect("a title");
        assert!(lines[sessions + 1].contains(" 41 ann") && lines[sessions + 1].contains("99%"), "{lines:#?}");
        assert!(lines[sessions + 1].ends_with("/file"), "{lines:#?}");
        let shown = lines.iter().filter(|line| line.contains(" idle")).count() + 1;
        assert!(lines.contains(&format!("… {} more", 41 - shown)), "{lines:#?}");
    }

    #[test]
    fn the_rate_between_two_reports_is_that_of_the_same_transfer() {
        let at = |path: &[u8], position| StatusReport {
            sessions: vec![session(1, Some(path), position)],
            ..StatusReport::default()
        };
        for (earlier, now, rate) in [
            (at(b"/a", 100), at(b"/a", 400), Some(150)),
            (at(b"/a", 400), at(b"/a", 400), Some(0)),
            (at(b"/a", 400), at(b"/a", 100), Some(7)),
            (at(b"/b", 100), at(b"/a", 400), Some(7)),
        ] {
            let mut now = now;
            now.rate_since(&earlier, Duration::from_secs(2));
            assert_eq!(now.sessions[0].rate, rate);
        }
    }

    #[test]
    fn durations_are_formatted_in_their_two_largest_units() {
        for (seconds, text) in [(59, "59s"), (61, "1m 1s"), (3_599, "59m 59s"), (7_260, "2h 1m"), (90_000, "1d 1h")] {
            assert_eq!(time(seconds), text);
        }
    }
}
