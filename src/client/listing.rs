//! What a listing looks like. Entries come from a server or from this machine's disk; this
//! module asks neither.

use serde_json::{Value, json};

use crate::text::{Escaped, Size, Utc};
use crate::wire::message::{Entry, EntryKind};

/// `drwxr-xr-x  1.5K Nov 22 18:54 name/`, one per entry, aligned. Times are UTC; the year stands
/// in for the hour when an entry is older than half a year or from the future.
pub fn long_lines(entries: &[Entry], now_ns: i64) -> Vec<String> {
    let width = entries.iter().map(|entry| Size(entry.size).to_string().len()).max().unwrap_or(0);
    let line = |entry: &Entry| {
        format!(
            "{} {:>width$} {} {}",
            mode_text(entry.kind, entry.mode),
            Size(entry.size),
            date_text(entry.mtime_ns, now_ns),
            shown_name(entry)
        )
    };
    entries.iter().map(line).collect()
}

/// The names, folders with a slash, in as many columns as fit.
pub fn column_lines(entries: &[Entry], columns: usize) -> Vec<String> {
    let names: Vec<String> = entries.iter().map(shown_name).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0) + 2;
    let per_line = (columns / width).max(1);
    let rows = names.len().div_ceil(per_line);
    let row = |row: usize| {
        let cells = names.iter().skip(row).step_by(rows.max(1));
        let line: String = cells.map(|name| format!("{name:<width$}")).collect();
        line.trim_end().to_string()
    };
    (0..rows).map(row).collect()
}

/// The name as a terminal may see it; a folder ends with a slash.
pub fn shown_name(entry: &Entry) -> String {
    let slash = if entry.kind == EntryKind::Dir { "/" } else { "" };
    format!("{}{slash}", Escaped(&entry.name.0))
}

/// `-rw-r--r--`.
pub fn mode_text(kind: EntryKind, mode: u32) -> String {
    let mut text = String::with_capacity(10);
    text.push(match kind {
        EntryKind::File => '-',
        EntryKind::Dir => 'd',
        EntryKind::Link => 'l',
        EntryKind::Other => '?',
    });
    for bit in (0..9).rev() {
        let letter = ['x', 'w', 'r'][bit % 3];
        text.push(if mode >> bit & 1 == 1 { letter } else { '-' });
    }
    text
}

/// `Nov 22 18:54` or `Nov 22  2019`.
pub fn date_text(time_ns: i64, now_ns: i64) -> String {
    let time = Utc::from_unix_ns(time_ns);
    let month = MONTHS[usize::from(time.month.clamp(1, 12)) - 1];
    let age_ns = now_ns.saturating_sub(time_ns);
    if (-MINUTE_NS..HALF_YEAR_NS).contains(&age_ns) {
        format!("{month} {:>2} {:02}:{:02}", time.day, time.hour, time.minute)
    } else {
        format!("{month} {:>2} {:>5}", time.day, time.year)
    }
}

/// An entry for `--json`.
pub fn entry_json(entry: &Entry) -> Value {
    json!({
        "name": entry.name,
        "kind": entry.kind,
        "size": entry.size,
        "mtime_ns": entry.mtime_ns,
        "mode": format!("{:04o}", entry.mode & 0o7777),
    })
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const MINUTE_NS: i64 = 60 * 1_000_000_000;
const HALF_YEAR_NS: i64 = 182 * 24 * 3600 * 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, kind: EntryKind, size: u64, mtime_ns: i64, mode: u32) -> Entry {
        Entry { name: name.into(), kind, size, mtime_ns, mode }
    }

    const NOW: i64 = 1_763_838_000 * 1_000_000_000; // 2025-11-22 19:00 UTC

    #[test]
    fn long_lines_look_as_people_know_them() {
        let entries = [
            entry("notes", EntryKind::Dir, 0, NOW - 360 * 1_000_000_000, 0o755),
            entry("a\x1b[2J", EntryKind::File, 1536, 0, 0o640),
        ];
        assert_eq!(
            long_lines(&entries, NOW),
            ["drwxr-xr-x    0 Nov 22 18:54 notes/", "-rw-r----- 1.5K Jan  1  1970 a\\x1b[2J"]
        );
    }

    #[test]
    fn columns_fill_downwards_and_fit() {
        let entries: Vec<Entry> =
            ["a", "bb", "ccc", "d", "e"].iter().map(|name| entry(name, EntryKind::File, 0, 0, 0)).collect();
        assert_eq!(column_lines(&entries, 15), ["a    ccc  e", "bb   d"]);
        assert_eq!(column_lines(&entries, 1).len(), 5);
        assert!(column_lines(&[], 80).is_empty());
    }
}
