//! `ls` and `dir`.

use std::cmp::Ordering;
use std::fmt::Display;
use std::time::SystemTime;

use serde_json::{Value, json};

use crate::base::calendar::unix_ns;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::syntax::arguments::Arguments;
use crate::client::syntax::lexer::Word;
use crate::client::ui::listing::{column_lines, entry_json, long_lines, shown_name};
use crate::client::ui::output::Output;
use crate::client::ui::summary::Summary;
use crate::wire::message::{Entry, EntryKind, Name};

/// `ls [-l] [-a] [-1] [-S] [-t] [-r] [PATH...]`
pub fn ls(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let arguments = Arguments::parse("ls", words)?;
    list(session, "ls", &arguments.operands, ListOptions::new(&arguments))
}

/// `dir [-a] [-S] [-t] [-r] [PATH...]`
pub fn dir(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let arguments = Arguments::parse("dir", words)?;
    list(session, "dir", &arguments.operands, ListOptions { is_long: true, ..ListOptions::new(&arguments) })
}

/// The entries that a listing shows, their order and their format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListOptions {
    is_long: bool,
    is_single_column: bool,
    with_hidden: bool,
    order: SortOrder,
    is_reversed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SortOrder {
    Name,
    LargestFirst,
    NewestFirst,
}

impl ListOptions {
    /// Reads the options of `ls`, `dir` or `lls`. Of two sort orders, the last one counts.
    pub fn new(arguments: &Arguments) -> Self {
        let order = match arguments.last_of(&["-S", "-t"]) {
            Some("-S") => SortOrder::LargestFirst,
            Some(_) => SortOrder::NewestFirst,
            None => SortOrder::Name,
        };
        Self {
            is_long: arguments.has("-l"),
            is_single_column: arguments.has("-1"),
            with_hidden: arguments.has("-a"),
            order,
            is_reversed: arguments.has("-r"),
        }
    }

    /// Returns the entries that the listing shows.
    pub fn visible(&self, mut entries: Vec<Entry>) -> Vec<Entry> {
        entries.retain(|entry| self.with_hidden || !entry.name.0.starts_with(b"."));
        self.sorted(entries)
    }

    /// Returns the entries in the order that the options request.
    pub fn sorted(&self, mut entries: Vec<Entry>) -> Vec<Entry> {
        entries.sort_by(|a, b| {
            let by_order = match self.order {
                SortOrder::Name => Ordering::Equal,
                SortOrder::LargestFirst => b.size.cmp(&a.size),
                SortOrder::NewestFirst => b.mtime_ns.cmp(&a.mtime_ns),
            };
            by_order.then_with(|| a.name.cmp(&b.name))
        });
        if self.is_reversed {
            entries.reverse();
        }
        entries
    }
}

fn list(session: &mut Session, command: &'static str, operands: &[&Word], options: ListOptions) -> Result<(), Failure> {
    if operands.is_empty() {
        let directory = session.directory.clone();
        let entries = options.visible(session.list(&directory)?);
        return show(&mut session.output, command, json!(Name::from(&directory)), &entries, options);
    }
    let mut paths = Vec::new();
    for word in operands {
        paths.extend(session.expand(word)?);
    }
    let mut summary = Summary::new(command, paths.len() == 1);
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    for path in &paths {
        let found = session.stat(path);
        let result = found.map(|entry| match entry.kind {
            EntryKind::Dir => directories.push(path),
            _ => files.push(Entry { name: Name::from(path), ..entry }),
        });
        summary.count(&mut session.output, result)?;
    }
    let mut has_shown = !files.is_empty();
    if has_shown {
        let directory = session.directory.clone();
        let files = options.sorted(named_from(&directory, files));
        show(&mut session.output, command, json!(Name::from(&directory)), &files, options)?;
    }
    for path in directories {
        let listed = session.list(path);
        let result = listed.and_then(|entries| {
            if paths.len() > 1 {
                title(&mut session.output, &path, has_shown)?;
            }
            has_shown = true;
            show(&mut session.output, command, json!(Name::from(path)), &options.visible(entries), options)
        });
        if result.is_err() {
            summary.count(&mut session.output, result)?;
        }
    }
    summary.finish()
}

/// Writes the title line of a directory. A listing of several directories needs one for each.
pub fn title(output: &mut Output, directory: &impl Display, has_shown: bool) -> Result<(), Failure> {
    if has_shown {
        output.line("")?;
    }
    output.line(format_args!("{directory}:"))
}

/// Gives files below the directory `directory` their path relative to it.
fn named_from(directory: &VirtualPath, mut files: Vec<Entry>) -> Vec<Entry> {
    let base = if directory.is_root() { b"/".to_vec() } else { [directory.as_bytes(), b"/"].concat() };
    for file in &mut files {
        if let Some(rest) = file.name.0.strip_prefix(&base[..]) {
            file.name = Name(rest.to_vec());
        }
    }
    files
}

/// Shows local or remote entries of the directory `path`.
pub fn show(
    output: &mut Output,
    command: &str,
    path: Value,
    entries: &[Entry],
    options: ListOptions,
) -> Result<(), Failure> {
    if output.is_json {
        let entries: Vec<_> = entries.iter().map(entry_json).collect();
        return output.json(&json!({"command": command, "ok": true, "path": path, "entries": entries}));
    }
    let colors = output.colors.as_ref();
    let lines = match output.columns().filter(|_| !options.is_single_column) {
        _ if options.is_long => long_lines(entries, unix_ns(SystemTime::now()), colors),
        Some(columns) => column_lines(entries, columns, colors),
        None => entries.iter().map(|entry| shown_name(entry, colors)).collect(),
    };
    lines.iter().try_for_each(|line| output.line(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_sorted_as_the_options_say() {
        let entry = |name: &str, size, mtime_ns| Entry {
            name: name.into(),
            kind: EntryKind::File,
            size,
            mtime_ns,
            mode: 0,
            unexamined: false,
        };
        let entries = [entry("c", 1, 3), entry("a", 2, 1), entry("b", 1, 2), entry(".d", 9, 9)];
        for (letters, order) in [
            ("", "abc"),
            ("r", "cba"),
            ("a", ".dabc"),
            ("S", "abc"),
            ("Sr", "cba"),
            ("t", "cba"),
            ("tr", "abc"),
            ("ltS", "abc"),
            ("aSt", ".dcba"),
        ] {
            let words = [Word::plain(format!("-{letters}").as_bytes())];
            let arguments = Arguments::parse("ls", &words).expect("valid");
            let shown = ListOptions::new(&arguments).visible(entries.to_vec());
            let names: Vec<u8> = shown.into_iter().flat_map(|entry| entry.name.0).collect();
            assert_eq!(String::from_utf8_lossy(&names), order, "-{letters}");
        }
    }
}
