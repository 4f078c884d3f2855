//! `du` and `df`: disk usage and free space.

use std::collections::HashMap;

use serde_json::json;

use super::inspect::{quota_object, quota_report};
use crate::base::text::Size;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::remote::listing::not_examined;
use crate::client::syntax::arguments::Arguments;
use crate::client::syntax::lexer::Word;
use crate::client::ui::failures::report;
use crate::client::ui::summary::Summary;
use crate::wire::message::{EntryKind, Name, QuotaReport};

/// `du [-a] [-s] [PATH...]`
pub fn du(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let arguments = Arguments::parse("du", words)?;
    let mut paths = Vec::new();
    for word in &arguments.operands {
        paths.extend(session.expand(word)?);
    }
    if arguments.operands.is_empty() {
        paths.push(session.directory.clone());
    }
    let reported = match (arguments.has("-s"), arguments.has("-a")) {
        (true, _) => ReportedEntries::Total,
        (false, true) => ReportedEntries::Files,
        (false, false) => ReportedEntries::Directories,
    };
    let mut summary = Summary::new("du", paths.len() == 1);
    for path in &paths {
        let result = measure(session, path, reported);
        summary.count(&mut session.output, result)?;
    }
    summary.finish()
}

/// Which entries of a tree `du` reports.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReportedEntries {
    Total,
    Directories,
    Files,
}

/// The size of a file, or of all files below a directory.
#[derive(Clone, Copy, Default)]
struct DiskUsage {
    bytes: u64,
    files: u64,
}

impl DiskUsage {
    fn add(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.files += 1;
    }
}

fn measure(session: &mut Session, root: &VirtualPath, reported: ReportedEntries) -> Result<(), Failure> {
    let entry = session.stat(root)?;
    if entry.kind != EntryKind::Dir {
        return show(session, root, DiskUsage { bytes: entry.size, files: 1 });
    }
    let mut unlisted = 0;
    let tree = session.walk(root, |session, failure| {
        unlisted += 1;
        let _ = report(&mut session.output, "du", &failure);
    })?;
    let (mut directories, mut files) = (HashMap::from([(root.clone(), DiskUsage::default())]), Vec::new());
    for found in tree {
        if found.entry.kind == EntryKind::Dir {
            directories.entry(found.path).or_default();
            continue;
        }
        if found.entry.unexamined {
            unlisted += 1;
            let _ = report(&mut session.output, "du", &not_examined(&found.path));
            continue;
        }
        let above = std::iter::successors(found.path.parent(), VirtualPath::parent);
        for directory in above.take_while(|directory| root.contains(directory)) {
            directories.entry(directory).or_default().add(found.entry.size);
        }
        files.push((found.path, DiskUsage { bytes: found.entry.size, files: 1 }));
    }
    let mut rows: Vec<(VirtualPath, DiskUsage)> =
        directories.into_iter().filter(|(path, _)| reported != ReportedEntries::Total || path == root).collect();
    if reported == ReportedEntries::Files {
        rows.extend(files);
    }
    rows.sort_by_cached_key(|(path, _)| innermost_first(path));
    rows.iter().try_for_each(|(path, usage)| show(session, path, *usage))?;
    match unlisted {
        0 => Ok(()),
        failed => Err(Failure::SomeFailed { failed, total: rows.len() }),
    }
}

/// Returns a sort key that puts the content of a directory before the directory: a slash sorts below any other
/// byte, and the end of a path above them.
fn innermost_first(path: &VirtualPath) -> Vec<u16> {
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { u16::from(*byte) };
    let names = if path.is_root() { &[] } else { path.as_bytes() };
    names.iter().map(rank).chain([0, u16::MAX]).collect()
}

fn show(session: &mut Session, path: &VirtualPath, DiskUsage { bytes, files }: DiskUsage) -> Result<(), Failure> {
    session.output.line(format_args!("{:>5}  {path}", Size(bytes)))?;
    session.output.json(&json!({
        "command": "du", "ok": true, "path": Name::from(path), "bytes": bytes, "files": files,
    }))
}

/// `df`
pub fn df(session: &mut Session, _: &[Word]) -> Result<(), Failure> {
    let report = quota_report(session)?;
    for line in df_lines(&report) {
        session.output.line(line)?;
    }
    session.output.json(&quota_object("df", &report))
}

/// Formats the report as the local `df` does. Reserved bytes count as used.
fn df_lines(report: &QuotaReport) -> [String; 2] {
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let sized = |bytes: Option<u64>| or_none(bytes.map(|bytes| Size(bytes).to_string()));
    let used = report.used_bytes.saturating_add(report.reserved_bytes);
    let share = report.limit_bytes.map(|limit| match limit {
        0 => "100%".into(),
        limit => format!("{:.0}%", (used as f64 / limit as f64 * 100.0).ceil()),
    });
    let files = match report.limit_files {
        Some(limit) => format!("{} of {limit}", report.used_files),
        None => report.used_files.to_string(),
    };
    let row = |size: &str, used: &str, free: &str, share: &str, files: &str| {
        format!("{size:>5} {used:>5} {free:>5} {share:>5}  {files}")
    };
    [
        row("Size", "Used", "Avail", "Use%", "Files"),
        row(&sized(report.limit_bytes), &sized(Some(used)), &sized(report.available_bytes()), &or_none(share), &files),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_follow_their_content() {
        let mut paths: Vec<VirtualPath> = ["/", "/a", "/a/b", "/a-b", "/a/b/c", "/a.txt", "/a/z"]
            .iter()
            .map(|text| VirtualPath::parse(text.as_bytes()).expect("valid"))
            .collect();
        paths.sort_by_cached_key(innermost_first);
        let shown: Vec<String> = paths.iter().map(VirtualPath::to_string).collect();
        assert_eq!(shown, ["/a/b/c", "/a/b", "/a/z", "/a", "/a-b", "/a.txt", "/"]);
    }

    #[test]
    fn df_is_a_line_that_fits_a_narrow_terminal() {
        let report = |limit_bytes, limit_files, disk_free_bytes| QuotaReport {
            used_bytes: 51 << 20,
            reserved_bytes: 0,
            limit_bytes,
            used_files: 6,
            limit_files,
            disk_free_bytes,
        };
        assert_eq!(
            df_lines(&report(Some(1 << 30), Some(10_000), None)),
            [" Size  Used Avail  Use%  Files", "   1G   51M  973M    5%  6 of 10000"]
        );
        assert_eq!(df_lines(&report(None, None, None))[1], "    -   51M     -     -  6");
        assert_eq!(df_lines(&report(Some(1 << 30), None, Some(5 << 20)))[1], "   1G   51M    5M    5%  6");
        assert_eq!(df_lines(&report(None, None, Some(0)))[1], "    -   51M     0     -  6");
    }
}
