//! One case for each system call of an operation and each error it may have.

use super::super::trace::Call;
use super::expectations::{Verdict, failures, is_of_interest};
use super::operations::{Operation, Run};
use crate::support::Place;

/// One failure of one call in one operation.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) call: String,
    /// Which of the calls of that name of a thread, as strace is told.
    pub(super) when: String,
    pub(super) error: &'static str,
    /// What it is about, without what differs from run to run.
    pub(super) path: String,
    pub(super) verdict: Verdict,
}

/// A path without random names and without the directory of the run.
pub(super) fn shape(place: &Place, call: &Call) -> Option<String> {
    let directory = format!("{}/", place.path("").display().to_string().trim_end_matches('/'));
    let mut paths = call.named();
    paths.extend(call.descriptors().into_iter().map(str::to_string));
    let of_client = |path: &&String| !path.is_empty() && !path.starts_with('/') && call.descriptors().is_empty();
    let relative = paths.iter().find(of_client).map(|path| format!("here/{path}"));
    let path = paths.iter().find_map(|path| path.strip_prefix(&directory)).or(relative.as_deref());
    let words = path.filter(|path| !path.starts_with("io"))?.trim_end_matches('/').split_inclusive(['/', '.', '-']);
    // A file without a name is called by its number.
    let is_random = |word: &str| {
        word.starts_with('#') || word.len() > 16 && word.trim_end_matches('.').bytes().all(|b| b.is_ascii_hexdigit())
    };
    Some(words.map(|word| if is_random(word) { "*." } else { word }).collect())
}

/// Every case that the calls of a run make.
pub(super) fn cases(place: &Place, operation: &Operation, calls: &[Call]) -> Vec<Case> {
    let opens_home = |call: &Call| call.name.starts_with("open") && call.named()[0].ends_with("/homes/ann");
    // The login comes before, except where it is what is tried.
    let home = calls.iter().rposition(opens_home).map_or(0, |at| at + 1);
    let is_session = matches!(operation.run, Run::Session(_));
    let range = match operation.is_login {
        true if is_session => 0..calls.len(),
        true => 0..home,
        false => home..calls.len(),
    };
    let mut cases: Vec<Case> = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for at in range {
        let call = &calls[at];
        let path = shape(place, call);
        if !is_of_interest(call, path.as_deref()) {
            continue;
        }
        let path = path.unwrap_or_default();
        // The server looks at what became of accounts whenever it gets to it.
        if path.starts_with("conf/") && !operation.is_login && !matches!(operation.run, Run::Admin(_)) {
            continue;
        }
        seen.push(&call.name);
        let nth = seen.iter().filter(|name| **name == call.name).count();
        let is_its =
            |other: &&Call| other.thread == call.thread && other.name == call.name && other.began <= call.began;
        let number = calls.iter().filter(is_its).count();
        for failure in failures(operation.name, call, nth, &path) {
            cases.push(Case {
                name: format!("{}/{}/{nth}/{}", operation.name, call.name, failure.error),
                call: call.name.clone(),
                when: format!("{number}{}", if failure.is_lasting { "+" } else { "" }),
                error: failure.error,
                path: path.clone(),
                verdict: failure.verdict,
            });
        }
    }
    cases
}
