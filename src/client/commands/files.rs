//! `rm` and `mv`.

use serde_json::json;

use super::{paths, refusal};
use crate::base::explanation::Explanation;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::remote::listing::TreeEntry;
use crate::client::syntax::arguments::Arguments;
use crate::client::syntax::command::usage_failure;
use crate::client::syntax::lexer::Word;
use crate::client::ui::failures::{RepeatedRefusals, report};
use crate::client::ui::summary::Summary;
use crate::wire::Request;
use crate::wire::message::{EntryKind, ErrorCode, Name};

/// `rm [-f] [-r] PATH...`
pub fn rm(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let arguments = Arguments::parse("rm", words)?;
    let paths = paths(session, "rm", &arguments.operands)?;
    let mut summary = Summary::new("rm", paths.len() == 1);
    for path in &paths {
        let result = remove(session, path, arguments.has("-r"));
        let result = match result {
            Err(failure) if arguments.has("-f") && failure.is_refusal(ErrorCode::NotFound) => Ok(()),
            result => result,
        };
        if result.is_ok() {
            session.output.json(&json!({"command": "rm", "ok": true, "path": Name::from(path)}))?;
        }
        summary.count_at(&mut session.output, path, result)?;
    }
    summary.finish_refusals(&mut session.output)
}

fn remove(session: &mut Session, path: &VirtualPath, with_content: bool) -> Result<(), Failure> {
    if path.is_root() {
        return Err(Failure::Usage(refusal::home_is_kept(session.output.is_one_shot)));
    }
    // `rm` is sent without `stat` before it: `stat` follows symlinks and would describe the target.
    match session.call(&Request::Rm { path: path.into() }) {
        Err(failure) if with_content && failure.is_refusal(ErrorCode::NotAFile) => remove_tree(session, path),
        Err(failure) if failure.is_refusal(ErrorCode::NotAFile) => {
            Err(refusal::explain_file(session, path, failure, "rm -r removes it"))
        }
        Err(failure) => Err(refusal::explain_path(session, path, failure)),
        Ok(_) => Ok(()),
    }
}

/// Removes the content of a directory, then the directories from the innermost outwards.
fn remove_tree(session: &mut Session, root: &VirtualPath) -> Result<(), Failure> {
    let mut unlisted = 0;
    let tree = session.walk(root, |session, failure| {
        unlisted += 1;
        let _ = report(&mut session.output, "rm", &failure);
    })?;
    let of_kind = |is_dir: bool| tree.iter().filter(move |found| (found.entry.kind == EntryKind::Dir) == is_dir);
    let removal = |found: &TreeEntry| match found.entry.kind {
        EntryKind::Dir => (found.path.clone(), Request::Rmdir { path: (&found.path).into() }),
        _ => (found.path.clone(), Request::Rm { path: (&found.path).into() }),
    };
    let removals = of_kind(false).chain(of_kind(true).rev()).map(removal);
    let (paths, requests): (Vec<VirtualPath>, Vec<Request>) =
        removals.chain([(root.clone(), Request::Rmdir { path: root.into() })]).unzip();
    let (mut failed, mut refusals) = (unlisted, RepeatedRefusals::new("rm"));
    session.call_each(&requests, |session, at, result| {
        // An entry that could not be removed was reported, so its directory is not reported as not empty.
        if let Err(failure) = result
            && !(failed > 0 && failure.is_refusal(ErrorCode::NotEmpty))
        {
            failed += 1;
            let _ = refusals.report(&mut session.output, &paths[at], &failure);
        }
    })?;
    refusals.finish(&mut session.output);
    match failed {
        0 => Ok(()),
        failed => Err(Failure::SomeFailed { failed, total: requests.len() }),
    }
}

/// `mv [-f] FROM... TO`
pub fn mv(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let arguments = Arguments::parse("mv", words)?;
    let Some((to, from)) = arguments.operands.split_last().filter(|(_, from)| !from.is_empty()) else {
        return Err(usage_failure("mv", "a source and a destination are needed"));
    };
    let target = session.path(to)?;
    let sources = paths(session, "mv", from)?;
    let into_directory = target.is_root() || session.find(&target)?.is_some_and(|entry| entry.kind == EntryKind::Dir);
    if !into_directory && (sources.len() > 1 || to.text.ends_with(b"/")) {
        return Err(refusal::target_not_a_directory(session, &target));
    }
    let mut summary = Summary::new("mv", sources.len() == 1);
    for source in sources {
        let result = move_one(session, &source, &target, into_directory, arguments.has("-f"));
        summary.count_at(&mut session.output, &source, result)?;
    }
    summary.finish_refusals(&mut session.output)
}

fn move_one(
    session: &mut Session,
    from: &VirtualPath,
    target: &VirtualPath,
    into_directory: bool,
    replace: bool,
) -> Result<(), Failure> {
    let to = match from.name().filter(|_| into_directory) {
        Some(name) => target.child(name).map_err(|error| Failure::Usage(format!("{from}: {error}").into()))?,
        None => target.clone(),
    };
    let moved = session.call(&Request::Mv { from: from.into(), to: (&to).into(), replace });
    moved.map_err(|failure| match failure.is_refusal(ErrorCode::Exists) {
        true if !replace => failure.reworded(Explanation::new(format!("{to} exists"), "mv -f replaces it")),
        _ => refusal::explain_missing_parent(session, &to, failure),
    })?;
    session.output.json(&json!({"command": "mv", "ok": true, "from": Name::from(from), "to": Name::from(&to)}))
}
