//! `ls` and `dir`.

use std::time::SystemTime;

use serde_json::json;

use crate::client::command::options;
use crate::client::listing::{column_lines, entry_json, long_lines, shown_name};
use crate::client::outcome::Failure;
use crate::client::output::Output;
use crate::client::session::Session;
use crate::client::tally::Tally;
use crate::client::words::Word;
use crate::text::unix_ns;
use crate::vpath::VPath;
use crate::wire::message::{Entry, EntryKind, Name};

/// `ls [-l] [-a] [PATH...]`
pub fn ls(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let (given, operands) = options("ls", "la1", words)?;
    list(session, "ls", &operands, given.contains('l'), given.contains('a'))
}

/// `dir [-a] [PATH...]`
pub fn dir(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let (given, operands) = options("dir", "la", words)?;
    list(session, "dir", &operands, true, given.contains('a'))
}

fn list(
    session: &mut Session,
    command: &'static str,
    operands: &[&Word],
    is_long: bool,
    with_hidden: bool,
) -> Result<(), Failure> {
    if operands.is_empty() {
        let folder = session.folder.clone();
        let entries = session.list(&folder)?;
        return show(&mut session.output, command, &folder, visible(entries, with_hidden), is_long);
    }
    let mut paths = Vec::new();
    for word in operands {
        paths.extend(session.expand(word)?);
    }
    let mut tally = Tally::new(command, paths.len() == 1);
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for path in &paths {
        let found = session.stat(path);
        let result = found.map(|entry| match entry.kind {
            EntryKind::Dir => folders.push(path),
            _ => files.push(Entry { name: Name::from(path), ..entry }),
        });
        tally.count(session, result)?;
    }
    if !files.is_empty() {
        let folder = session.folder.clone();
        show(&mut session.output, command, &folder, named_from(&folder, files), is_long)?;
    }
    for path in folders {
        if paths.len() > 1 {
            session.output.line(format_args!("{path}:"))?;
        }
        let result = session.list(path);
        let entries = match result {
            Ok(entries) => visible(entries, with_hidden),
            Err(failure) => {
                tally.count(session, Err(failure))?;
                continue;
            }
        };
        show(&mut session.output, command, path, entries, is_long)?;
    }
    tally.finish()
}

fn visible(mut entries: Vec<Entry>, with_hidden: bool) -> Vec<Entry> {
    entries.retain(|entry| with_hidden || !entry.name.0.starts_with(b"."));
    entries
}

/// Files are shown by the path that leads to them from the current folder, where it is below.
fn named_from(folder: &VPath, mut files: Vec<Entry>) -> Vec<Entry> {
    let base = if folder.is_root() { b"/".to_vec() } else { [folder.as_bytes(), b"/"].concat() };
    for file in &mut files {
        if let Some(rest) = file.name.0.strip_prefix(&base[..]) {
            file.name = Name(rest.to_vec());
        }
    }
    files
}

/// Shows entries of this machine or of the server.
pub fn show(
    output: &mut Output,
    command: &str,
    folder: &VPath,
    entries: Vec<Entry>,
    is_long: bool,
) -> Result<(), Failure> {
    if output.is_json {
        let entries: Vec<_> = entries.iter().map(entry_json).collect();
        return output.json(&json!({
            "command": command, "ok": true, "path": Name::from(folder), "entries": entries,
        }));
    }
    let lines = match (is_long, output.columns) {
        (true, _) => long_lines(&entries, unix_ns(SystemTime::now())),
        (false, Some(columns)) => column_lines(&entries, columns),
        (false, None) => entries.iter().map(shown_name).collect(),
    };
    lines.iter().try_for_each(|line| output.line(line))
}
