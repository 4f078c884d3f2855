//! `stat`, `sha256` and `quota`.

use serde_json::{Value, json};

use super::{paths, refusal};
use crate::base::digest::DigestAlgorithm;
use crate::base::text::Size;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::{Failure, unexpected};
use crate::client::syntax::arguments::Arguments;
use crate::client::syntax::lexer::Word;
use crate::client::ui::hashing::Hashing;
use crate::client::ui::listing::{entry_json, mode_text};
use crate::client::ui::local_time;
use crate::client::ui::summary::Summary;
use crate::wire::message::{EntryKind, Name, QuotaReport};
use crate::wire::{Reply, Request};

/// `stat PATH...`
pub fn stat(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    each(session, "stat", words, |session, path| {
        let entry = session.stat(path)?;
        let kind = match entry.kind {
            EntryKind::File => "file",
            EntryKind::Dir => "directory",
            EntryKind::Link => "link",
            EntryKind::Other => "other",
        };
        session.output.line(format_args!("{path}"))?;
        session.output.line(format_args!("  kind      {kind}"))?;
        session.output.line(format_args!("  size      {} ({} bytes)", Size(entry.size), entry.size))?;
        session.output.line(format_args!("  mode      {}", mode_text(entry.kind, entry.mode)))?;
        session.output.line(format_args!("  modified  {}", local_time::long(entry.mtime_ns)))?;
        let mut object = entry_json(&entry);
        object["command"] = json!("stat");
        object["ok"] = json!(true);
        object["path"] = json!(Name::from(path));
        session.output.json(&object)
    })
}

/// `sha256 PATH...`
pub fn sha256(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    each(session, "sha256", words, |session, path| {
        let hashing = Hashing::for_remote(session.progress, path);
        session.link.set_on_wait(hashing.ticker());
        let reply = session.call(&Request::Digest { path: path.into(), algorithm: DigestAlgorithm::Sha256 });
        let reply = reply.map_err(|failure| refusal::explain_file(session, path, failure, "sha256 takes files"))?;
        let Reply::Digest { digest, size } = reply else { return Err(unexpected()) };
        if digest.algorithm() != DigestAlgorithm::Sha256 {
            return Err(unexpected());
        }
        let sha256 = digest.hex();
        session.output.line(format_args!("{sha256}  {path}"))?;
        session.output.json(&json!({
            "command": "sha256", "ok": true, "path": Name::from(path), "sha256": sha256, "size": size,
        }))
    })
}

/// `quota`
pub fn quota(session: &mut Session, _: &[Word]) -> Result<(), Failure> {
    let report = quota_report(session)?;
    for line in quota_lines(&report) {
        session.output.line(line)?;
    }
    session.output.json(&quota_object("quota", &report))
}

/// Returns the account's usage and limits.
pub fn quota_report(session: &mut Session) -> Result<QuotaReport, Failure> {
    match session.call(&Request::Quota {})? {
        Reply::Quota(report) => Ok(report),
        _ => Err(unexpected()),
    }
}

/// Formats the report for `--json`. A missing limit is null.
pub fn quota_object(command: &str, report: &QuotaReport) -> Value {
    json!({
        "command": command, "ok": true, "used_bytes": report.used_bytes, "reserved_bytes": report.reserved_bytes,
        "limit_bytes": report.limit_bytes, "free_bytes": report.free_bytes(), "used_files": report.used_files,
        "limit_files": report.limit_files, "disk_free_bytes": report.disk_free_bytes,
    })
}

fn quota_lines(report: &QuotaReport) -> Vec<String> {
    let sized =
        |bytes: Option<u64>| bytes.map_or("no limit".into(), |bytes| format!("{} ({bytes} bytes)", Size(bytes)));
    let mut lines = vec![
        format!("used      {}", sized(Some(report.used_bytes))),
        format!("reserved  {}", sized(Some(report.reserved_bytes))),
        format!("limit     {}", sized(report.limit_bytes)),
    ];
    if report.limit_bytes.is_some() {
        lines.push(format!("free      {}", sized(report.free_bytes())));
    }
    lines.push(match report.limit_files {
        Some(limit) => format!("files     {} of {limit}", report.used_files),
        None => format!("files     {}", report.used_files),
    });
    lines
}

fn each(
    session: &mut Session,
    command: &'static str,
    words: &[Word],
    act: impl Fn(&mut Session, &VirtualPath) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let operands = Arguments::parse(command, words)?.operands;
    let paths = paths(session, command, &operands)?;
    let mut summary = Summary::new(command, paths.len() == 1);
    for path in &paths {
        let result = act(session, path);
        summary.count(&mut session.output, result)?;
    }
    summary.finish()
}
