//! Finds what is wrong with the result of an operation.

use super::cases::Case;
use super::expectations::Verdict;
use super::scene::{NO_ANSWER, Tree};
use super::stage::Found;

/// What is never so when a system call fails. Such a reason sends people to the wrong place.
const FALSE_REASONS: &[&str] = &[
    "no such file or directory",
    "not a regular file",
    "not a directory",
    "not empty",
    "already exists",
    "leads outside your home",
    "quota exceeded",
    "an internal error of the server",
];

/// What is wrong with `found`, where `before` was there and `right` is what the operation makes.
pub(super) fn problems(case: &Case, before: &Tree, right: &Found, found: &Found) -> Vec<String> {
    let mut problems: Vec<String> = found.server.clone().err().into_iter().collect();
    let words = &found.outcome.words;
    if words.starts_with(NO_ANSWER) || words.contains("panicked") || words.contains("signal Some") {
        problems.push("no answer".into());
    }
    match (case.verdict, found.outcome.is_done) {
        (Verdict::Kept, false) => problems.push("refused, though only a property is lost".into()),
        (Verdict::Refused, true) => problems.push("called done, though it is not assured".into()),
        _ => {}
    }
    if found.outcome.is_done {
        if found.tree != right.tree {
            problems.push(format!("called done, but {}", difference(&found.tree, &right.tree)));
        }
        if !is_answer(&found.outcome.output, &right.outcome.output) {
            problems.push(format!("a wrong answer: {:?} instead of {:?}", found.outcome.output, right.outcome.output));
        }
        // A record that cannot be removed goes with the next count. A client whose notes are lost
        // begins anew, and what it sent before is kept for a while.
        let may_stay = |name: &String| match case.call.starts_with("unlink") {
            true => name.ends_with(".json"),
            false => case.path.starts_with("user") && is_resumable(&found.leftovers, name),
        };
        if !found.leftovers.iter().all(may_stay) {
            problems.push(format!("done, but left: {:?}", found.leftovers));
        }
        return problems;
    }
    let is_disk_full = (case.error != "ENOSPC").then_some("disk is full");
    // Nobody shall learn whose account file is damaged. That descriptors are short is no secret.
    let is_wrong_password = (case.error == "EMFILE").then_some("wrong user or password");
    let reasons = FALSE_REASONS.iter().copied().chain(is_disk_full).chain(is_wrong_password);
    // What is said afterwards may be what follows from it.
    let first = words.lines().next().unwrap_or_default();
    for reason in reasons.filter(|reason| first.contains(reason)) {
        problems.push(format!("a false reason: {reason}"));
    }
    for path in found.tree.keys().chain(before.keys()) {
        let now = found.tree.get(path);
        if now != before.get(path) && now != right.tree.get(path) {
            problems.push(format!("{path} is neither as before nor as after"));
        }
    }
    let lost = |content: &&Option<Vec<u8>>| {
        right.tree.values().any(|other| other == *content) && !found.tree.values().any(|other| other == *content)
    };
    if before.values().any(|content| lost(&content)) {
        problems.push("content is lost".into());
    }
    for name in found.leftovers.iter().filter(|name| !name.ends_with(".berth-part")) {
        if !is_resumable(&found.leftovers, name) {
            problems.push(format!("of no use is {name} in {:?}", found.leftovers));
        }
    }
    problems
}

/// Whether `name` is one half of an upload that can be resumed, and the other half is there.
fn is_resumable(leftovers: &[String], name: &str) -> bool {
    let has = |name: &str| leftovers.iter().any(|other| other == name);
    match name.rsplit_once('.') {
        Some((id, "part")) => has(&format!("{id}.json")),
        Some((id, "json")) => has(&format!("{id}.part")),
        _ => false,
    }
}

/// Whether `output` is what is `right`, or says in some lines that it does not know.
fn is_answer(output: &str, right: &str) -> bool {
    let words = |line: &str| line.split_whitespace().map(str::to_string).collect::<Vec<_>>();
    let agree = |(line, right): (&str, &str)| {
        let (line, right) = (words(line), words(right));
        line == right || (line.iter().any(|word| word == "?") && line.last() == right.last())
    };
    output.lines().count() == right.lines().count() && output.lines().zip(right.lines()).all(agree)
}

pub(super) fn difference(tree: &Tree, other: &Tree) -> String {
    let paths = tree.keys().chain(other.keys());
    let differs = |path: &&String| tree.get(*path) != other.get(*path);
    let size = |tree: &Tree, path: &str| tree.get(path).map(|content| content.as_ref().map(Vec::len));
    let told = |path: &String| format!("{path} has {:?} instead of {:?} bytes", size(tree, path), size(other, path));
    paths.filter(differs).map(told).collect::<Vec<_>>().join(", ")
}
