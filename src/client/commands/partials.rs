//! `partials`: the interrupted uploads that the server keeps for a resume.

use std::time::SystemTime;

use serde_json::json;

use crate::base::calendar::unix_ns;
use crate::base::explanation::Explanation;
use crate::base::text::{Escaped, Size};
use crate::client::connection::incoming::Event;
use crate::client::connection::session::Session;
use crate::client::error::{Failure, LinkError, unexpected};
use crate::client::syntax::arguments::Arguments;
use crate::client::syntax::command::usage_failure;
use crate::client::syntax::lexer::Word;
use crate::client::ui::summary::Summary;
use crate::wire::message::Partial;
use crate::wire::{Reply, Request};

/// `partials [drop ID|PATH... | drop --all]`
pub fn partials(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    match words.split_first() {
        None => list(session),
        Some((word, [])) if word.as_str() == "drop" => {
            Err(usage_failure("partials", "an ID or path to drop is missing"))
        }
        Some((word, which)) if word.as_str() == "drop" => {
            let arguments = Arguments::parse("partials", which)?;
            let kept = match (arguments.has("--all"), &arguments.operands[..]) {
                (true, []) => fetch_partials(session)?,
                (true, _) => return Err(usage_failure("partials", "--all drops all; leave out the others")),
                (false, which) => select_partials(session, which)?,
            };
            drop_each(session, &kept)
        }
        Some((word, _)) => Err(usage_failure("partials", &format!("'{}' is unknown", Escaped(&word.text)))),
    }
}

fn list(session: &mut Session) -> Result<(), Failure> {
    let now_s = unix_ns(SystemTime::now()) / 1_000_000_000;
    for partial in fetch_partials(session)? {
        session.output.line(shown(&partial, now_s))?;
        session.output.json(&json!({
            "command": "partials", "ok": true, "upload_id": partial.upload_id, "path": partial.path,
            "offset": partial.offset, "size": partial.size, "expires_s": partial.expires_s,
        }))?;
    }
    Ok(())
}

/// Formats `/big.iso  40M of 1.2G  expires in 6 days  0123…`.
fn shown(partial: &Partial, now_s: i64) -> String {
    let of = partial.size.map(|size| format!(" of {}", Size(size))).unwrap_or_default();
    let (path, kept, left) =
        (Escaped(&partial.path.0), Size(partial.offset), expiry(partial.expires_s.saturating_sub(now_s)));
    format!("{path}  {kept}{of}  {left}  {}", partial.upload_id)
}

fn expiry(seconds: i64) -> String {
    match seconds {
        ..=0 => "expires now".into(),
        1..=7199 => format!("expires in {} minutes", (seconds + 59) / 60),
        7200..=172_799 => format!("expires in {} hours", seconds / 3600),
        _ => format!("expires in {} days", seconds / 86_400),
    }
}

fn fetch_partials(session: &mut Session) -> Result<Vec<Partial>, Failure> {
    session.retry_whole(fetch_partials_once)
}

fn fetch_partials_once(session: &mut Session) -> Result<Vec<Partial>, Failure> {
    session.link.request(&Request::Partials {})?;
    let mut kept = Vec::new();
    for _ in 0..PAGES_MAX {
        match session.link.receive()?.event {
            Event::Reply(Reply::Partials { partials, last }) => {
                kept.extend(partials);
                if last {
                    return Ok(kept);
                }
            }
            Event::Reply(Reply::Error(error)) => return Err(Failure::Refused(error)),
            _ => return Err(unexpected()),
        }
    }
    Err(LinkError::Protocol("a list of partial uploads without end".into()).into())
}

/// Returns the uploads that the words name by id or by path. A word that names none is a failure, before any
/// upload is dropped.
fn select_partials(session: &mut Session, words: &[&Word]) -> Result<Vec<Partial>, Failure> {
    let kept = fetch_partials(session)?;
    let mut chosen: Vec<Partial> = Vec::new();
    for word in words {
        let path = session.path(word)?;
        let is_meant =
            |partial: &&Partial| partial.path.0 == path.as_bytes() || partial.upload_id.to_string() == word.as_str();
        let before = chosen.len();
        chosen.extend(kept.iter().filter(is_meant).cloned());
        if chosen.len() == before {
            let why = Explanation::new(
                format!("no partial upload has the ID or path '{}'", Escaped(&word.text)),
                "'partials' lists them",
            );
            return Err(Failure::Local(why));
        }
    }
    chosen.sort_by_key(|partial| partial.upload_id);
    chosen.dedup_by_key(|partial| partial.upload_id);
    Ok(chosen)
}

fn drop_each(session: &mut Session, partials: &[Partial]) -> Result<(), Failure> {
    let mut summary = Summary::new("partials", partials.len() == 1);
    let requests: Vec<Request> =
        partials.iter().map(|partial| Request::DropPartial { upload_id: partial.upload_id }).collect();
    let mut results = Vec::with_capacity(partials.len());
    session.call_each(&requests, |_, at, result| results.push((at, result)))?;
    for (at, result) in results {
        let partial = &partials[at];
        if result.is_ok() {
            session.output.line(format_args!("dropped {}  {}", Escaped(&partial.path.0), Size(partial.offset)))?;
            session.output.json(&json!({
                "command": "partials", "ok": true, "dropped": partial.upload_id, "path": partial.path,
            }))?;
        }
        summary.count(&mut session.output, result.map(|_| ()))?;
    }
    summary.finish()
}

/// The maximum number of pages. No server keeps enough uploads to need more.
const PAGES_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::upload_id::UploadId;

    #[test]
    fn a_partial_upload_is_one_line() {
        let partial = Partial {
            upload_id: UploadId([1; 16]),
            path: "/a b".into(),
            offset: 40 << 20,
            size: Some(1 << 30),
            expires_s: 7 * 86_400,
        };
        let id = "01".repeat(16);
        assert_eq!(shown(&partial, 0), format!("/a b  40M of 1G  expires in 7 days  {id}"));
        let endings: Vec<String> = [-1, 61, 7200].into_iter().map(expiry).collect();
        assert_eq!(endings, ["expires now", "expires in 2 minutes", "expires in 2 hours"]);
    }
}
