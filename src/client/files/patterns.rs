//! Local paths as a user writes them: `~` and patterns.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::base::glob::Pattern;
use crate::client::files::directory::{NamedEntry, sorted_names};
use crate::client::syntax::lexer::Word;

/// Returns the local path that `word` names. An unquoted `~` at the beginning is the user's home directory,
/// unless an entry called `~` exists.
pub fn path(word: &Word) -> PathBuf {
    let text = Path::new(OsStr::from_bytes(&word.text));
    let is_tilde = matches!(word.bytes().next(), Some((b'~', false)));
    if is_tilde && fs::symlink_metadata("~").is_err() { at_home(text) } else { text.to_path_buf() }
}

/// Expands a `~` at the beginning of a path to the user's home directory, whatever the current directory holds.
pub fn at_home(path: &Path) -> PathBuf {
    match (std::env::var_os("HOME"), path.strip_prefix("~")) {
        (Some(home), Ok(rest)) if rest.as_os_str().is_empty() => PathBuf::from(home),
        (Some(home), Ok(rest)) => Path::new(&home).join(rest),
        _ => path.to_path_buf(),
    }
}

/// Returns the local paths that `word` names: the entry of exactly that name, else the entries that match the
/// pattern, else the path as written. `Session::expand` does the same for remote paths.
pub fn expand(word: &Word) -> Vec<PathBuf> {
    if !word.is_pattern() {
        return vec![path(word)];
    }
    let start = if word.text.starts_with(b"/") { PathBuf::from("/") } else { PathBuf::new() };
    let mut bases = vec![start];
    let components: Vec<Word> = word.pattern_components().into_iter().filter(|c| !c.text.is_empty()).collect();
    for (at, component) in components.iter().enumerate() {
        let is_last = at + 1 == components.len();
        bases = bases.iter().flat_map(|base| expand_component(base, component, is_last)).collect();
    }
    if bases.is_empty() { vec![path(word)] } else { bases }
}

fn expand_component(base: &Path, component: &Word, is_last: bool) -> Vec<PathBuf> {
    // A tilde is special only at the beginning of a path.
    let name = OsStr::from_bytes(&component.text);
    let exactly = if base.as_os_str().is_empty() { path(component) } else { base.join(name) };
    let is_there = match component.is_pattern() && !is_last {
        true => exactly.is_dir(),
        false => fs::symlink_metadata(&exactly).is_ok(),
    };
    if is_there {
        return vec![exactly];
    }
    if !component.is_pattern() {
        return Vec::new();
    }
    let directory = if base.as_os_str().is_empty() { Path::new(".") } else { base };
    let pattern = Pattern::new(component.bytes());
    let mut names = sorted_names(directory, usize::MAX).0;
    names.retain(|name| pattern.matches(name.as_bytes()));
    names.into_iter().map(|name| base.join(name)).collect()
}

/// Returns the names in the directory that `word` names, for completion. Returns nothing if there is no such
/// directory. An empty word is the current directory.
pub fn names_in(word: &Word) -> Vec<NamedEntry> {
    let directory = if word.text.is_empty() { PathBuf::from(".") } else { path(word) };
    let named = |name: OsString| NamedEntry {
        // For a symlink, the type of its target counts.
        is_directory: directory.join(&name).is_dir(),
        name: name.into_vec(),
    };
    sorted_names(&directory, COMPLETIONS_MAX).0.into_iter().map(named).collect()
}

/// The maximum number of names read for one completion. No user reads more.
const COMPLETIONS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::syntax::lexer::split;

    #[test]
    fn local_patterns_expand_sorted_and_stay_as_written_without_a_match() {
        let directory = tempfile::tempdir().expect("temporary folder");
        for name in ["b.txt", "a.txt", "c.md", ".d.txt"] {
            fs::write(directory.path().join(name), b"").expect("write");
        }
        let fitting = |pattern: &str| {
            let line = format!("{}/{pattern}", directory.path().display());
            let words = split(line.as_bytes()).expect("a good line").remove(0);
            let names = expand(&words[0]).into_iter().map(|path| path.file_name().map(|n| n.to_os_string()));
            names.map(|name| name.unwrap_or_default().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(fitting("*.txt"), ["a.txt", "b.txt"]);
        assert_eq!(fitting("*.zip"), ["*.zip"]);
        assert_eq!(fitting("'*.txt'"), ["*.txt"]);
    }
}
