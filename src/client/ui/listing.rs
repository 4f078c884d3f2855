//! The format of listings. Entries come from a server or from the local disk; this module reads neither.

use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use crate::base::text::{Escaped, Size};
use crate::client::ui::colors::Colors;
use crate::client::ui::local_time;
use crate::wire::message::{Entry, EntryKind};

/// Formats `drwxr-xr-x  1.5K Nov 22 18:54 name/`, one line for each entry, aligned. Times are in the user's
/// time zone. The year replaces the hour if an entry is older than half a year or from the future. Values that
/// the server could not determine are question marks.
pub fn long_lines(entries: &[Entry], now_ns: i64, colors: Option<&Colors>) -> Vec<String> {
    let width = entries.iter().map(|entry| Size(entry.size).to_string().len()).max().unwrap_or(0);
    let line = |entry: &Entry| {
        if entry.unexamined {
            let (kind, name) = (kind_letter(entry.kind), shown_name(entry, colors));
            return format!("{kind}????????? {:>width$} {:>12} {name}", "?", "?");
        }
        format!(
            "{} {:>width$} {} {}",
            mode_text(entry.kind, entry.mode),
            Size(entry.size),
            local_time::short(entry.mtime_ns, now_ns),
            shown_name(entry, colors)
        )
    };
    entries.iter().map(line).collect()
}

/// Formats the names, directories with a slash, top to bottom in as many columns as fit into `columns`. Each
/// column is as wide as its widest name.
pub fn column_lines(entries: &[Entry], columns: usize, colors: Option<&Colors>) -> Vec<String> {
    let widths: Vec<usize> = entries.iter().map(|entry| shown_name(entry, None).width()).collect();
    let rows = rows_that_fit(&widths, columns);
    let column_widths: Vec<usize> = widths.chunks(rows).map(widest).collect();
    let line = |row: usize| {
        let mut line = String::new();
        for (column, at) in (row..entries.len()).step_by(rows).enumerate() {
            line.push_str(&shown_name(&entries[at], colors));
            if at + rows < entries.len() {
                line.extend(std::iter::repeat_n(' ', column_widths[column] - widths[at] + COLUMN_GAP));
            }
        }
        line
    };
    (0..rows.min(entries.len())).map(line).collect()
}

/// Returns the smallest number of rows with which names of these widths fit side by side. The last column of
/// the terminal stays free, because some terminals wrap when it is filled.
fn rows_that_fit(widths: &[usize], columns: usize) -> usize {
    let fits = |rows: &usize| {
        let total: usize = widths.chunks(*rows).map(|column| widest(column) + COLUMN_GAP).sum();
        total < columns + COLUMN_GAP
    };
    let columns_max = (columns / (1 + COLUMN_GAP) + 1).min(widths.len());
    let rows_of = |count: usize| widths.len().div_ceil(count);
    (1..=columns_max).rev().map(rows_of).find(fits).unwrap_or(widths.len().max(1))
}

fn widest(widths: &[usize]) -> usize {
    widths.iter().copied().max().unwrap_or(0)
}

/// Returns the name with control characters escaped. A directory ends with a slash.
pub fn shown_name(entry: &Entry, colors: Option<&Colors>) -> String {
    let slash = if entry.kind == EntryKind::Dir { "/" } else { "" };
    let name = Escaped(&entry.name.0).to_string();
    let name = colors.map(|colors| colors.paint(entry, &name)).unwrap_or(name);
    format!("{name}{slash}")
}

/// Formats permission bits as `-rw-r--r--`.
pub fn mode_text(kind: EntryKind, mode: u32) -> String {
    let mut text = String::with_capacity(10);
    text.push(kind_letter(kind));
    for bit in (0..9).rev() {
        let letter = ['x', 'w', 'r'][bit % 3];
        text.push(if mode >> bit & 1 == 1 { letter } else { '-' });
    }
    text
}

fn kind_letter(kind: EntryKind) -> char {
    match kind {
        EntryKind::File => '-',
        EntryKind::Dir => 'd',
        EntryKind::Link => 'l',
        EntryKind::Other => '?',
    }
}

/// Returns an entry for `--json`. Values that the server could not determine are null.
pub fn entry_json(entry: &Entry) -> Value {
    let known = !entry.unexamined;
    json!({
        "name": entry.name,
        "kind": entry.kind,
        "size": known.then_some(entry.size),
        "mtime_ns": known.then_some(entry.mtime_ns),
        "mode": known.then(|| format!("{:04o}", entry.mode & 0o7777)),
    })
}

/// The gap between two columns, as in `ls`.
const COLUMN_GAP: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, kind: EntryKind, size: u64, mtime_ns: i64, mode: u32) -> Entry {
        Entry { name: name.into(), kind, size, mtime_ns, mode, unexamined: false }
    }

    const NOW: i64 = 1_763_838_000 * 1_000_000_000; // 2025-11-22 19:00 UTC

    #[test]
    fn long_lines_look_like_those_of_ls() {
        let entries = [
            entry("notes", EntryKind::Dir, 0, NOW - 360 * 1_000_000_000, 0o755),
            entry("a\x1b[2J", EntryKind::File, 1536, 0, 0o640),
        ];
        assert_eq!(
            long_lines(&entries, NOW, None),
            [
                format!("drwxr-xr-x    0 {} notes/", local_time::short(entries[0].mtime_ns, NOW)),
                format!("-rw-r----- 1.5K {} a\\x1b[2J", local_time::short(0, NOW)),
            ]
        );
    }

    fn in_columns(names: &[&str], columns: usize) -> Vec<String> {
        let entries: Vec<Entry> = names.iter().map(|name| entry(name, EntryKind::File, 0, 0, 0)).collect();
        column_lines(&entries, columns, None)
    }

    #[test]
    fn columns_fill_downwards_and_are_as_wide_as_their_widest_name() {
        let names = ["a", "bb", "ccc", "d", "e"];
        assert_eq!(in_columns(&names, 80), ["a  bb  ccc  d  e"]);
        assert_eq!(in_columns(&names, 16), ["a   ccc  e", "bb  d"], "the terminal's last column stays free");
        assert_eq!(in_columns(&names, 9), ["a    d", "bb   e", "ccc"]);
        assert_eq!(in_columns(&names, 1), names);
        assert_eq!(in_columns(&[], 80), [""; 0]);
        assert_eq!(in_columns(&[&"x".repeat(100), "y"], 80).len(), 2);
    }

    #[test]
    fn wide_characters_take_two_columns_and_accents_none() {
        assert_eq!(in_columns(&["日本", "e\u{301}", "abcd", "z"], 11), ["日本  abcd", "e\u{301}     z"]);
        for columns in 1..60 {
            let lines = in_columns(&["日本語.txt", "a", "naïve", "😀", "b.c", "long-name.tar.gz"], columns);
            assert!(columns < 18 || lines.iter().all(|line| line.width() < columns), "{columns}: {lines:?}");
        }
    }

    #[test]
    fn colours_do_not_move_the_columns() {
        let entries: Vec<Entry> = ["a", "bb", "ccc"].iter().map(|name| entry(name, EntryKind::Dir, 0, 0, 0)).collect();
        let colors = Colors::read("di=1");
        let lines = column_lines(&entries, 10, Some(&colors));
        assert!(lines[0].starts_with("\x1b[1ma\x1b[0m/ "), "{lines:?}");
        let without = |line: &String| line.replace("\x1b[1m", "").replace("\x1b[0m", "");
        assert_eq!(lines.iter().map(without).collect::<Vec<_>>(), column_lines(&entries, 10, None));
    }
}
