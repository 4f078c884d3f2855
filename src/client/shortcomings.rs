//! What the file systems of this machine refuse and a command can do without: each is told once a
//! run. It is global because it is found out far below what has an output, on two threads.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::client::local::shown;

#[derive(Default)]
struct Shortcomings {
    known: BTreeSet<&'static str>,
    untold: Vec<String>,
}

static SHORTCOMINGS: Mutex<Shortcomings> = Mutex::new(Shortcomings { known: BTreeSet::new(), untold: Vec::new() });

/// Notes that `what` is not possible at `path`.
pub fn note(what: &'static str, path: &Path, error: &io::Error) {
    let mut all = SHORTCOMINGS.lock().unwrap_or_else(PoisonError::into_inner);
    if all.known.insert(what) {
        let error = error.to_string();
        let error = error.split(" (os error").next().unwrap_or_default().to_lowercase();
        all.untold.push(format!("{}: {what} are left out, because the file system refuses them: {error}", shown(path)));
    }
}

/// What was noted and not told.
pub fn take() -> Vec<String> {
    std::mem::take(&mut SHORTCOMINGS.lock().unwrap_or_else(PoisonError::into_inner).untold)
}
