//! `lcd`, `lpwd` and `lls`, and the expansion of local paths.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::list::{LETTERS, View, show, title};
use crate::base::calendar::unix_ns;
use crate::base::glob::Pattern;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::local::{name_of, shown};
use crate::client::shell::command::{options, usage};
use crate::client::shell::completion::Named;
use crate::client::syntax::lexer::Word;
use crate::client::ui::summary::Summary;
use crate::wire::message::{Entry, EntryKind, Name};

/// `lcd [PATH]`
pub fn lcd(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let directory = match options("lcd", "", words)?.1[..] {
        [] => path(&Word::plain(b"~")),
        [word] => path(word),
        _ => return Err(usage("lcd", "give one directory")),
    };
    std::env::set_current_dir(&directory).map_err(|error| Failure::missing_local_directory(&directory, &error))?;
    session.output.json(&json!({"command": "lcd", "ok": true, "path": name_of(&directory)}))
}

/// `lpwd`
pub fn lpwd(session: &mut Session, _: &[Word]) -> Result<(), Failure> {
    let directory = std::env::current_dir().map_err(|error| Failure::local(Path::new("."), &error))?;
    session.output.line(shown(&directory))?;
    session.output.json(&json!({"command": "lpwd", "ok": true, "path": name_of(&directory)}))
}

/// `lls [-l] [-a] [-1] [-S] [-t] [-r] [PATH...]`
pub fn lls(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let (given, operands) = options("lls", LETTERS, words)?;
    let view = View::parse(&given);
    let mut paths: Vec<PathBuf> = operands.iter().flat_map(|word| expand(word)).collect();
    if paths.is_empty() {
        paths.push(PathBuf::from("."));
    }
    let mut summary = Summary::new("lls", paths.len() == 1);
    // Files come first in one listing, as in `ls`. Then the content of each directory follows.
    let (directories, others): (Vec<_>, Vec<_>) = paths.iter().partition(|path| path.is_dir());
    let mut files = Vec::new();
    for path in others {
        let found = fs::metadata(path).map_err(|error| Failure::missing_local_file(path, &error));
        let result = found.map(|metadata| files.push(entry(path.as_os_str().to_os_string(), &metadata)));
        summary.count(session, result)?;
    }
    let mut has_shown = !files.is_empty();
    if has_shown {
        show(&mut session.output, "lls", json!("."), &view.sorted(files), view)?;
    }
    for path in directories {
        let result = list(path).and_then(|entries| {
            if paths.len() > 1 {
                title(&mut session.output, &shown(path), has_shown)?;
            }
            has_shown = true;
            show(&mut session.output, "lls", json!(name_of(path)), &view.visible(entries), view)
        });
        summary.count(session, result)?;
    }
    summary.finish()
}

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
/// pattern, else the path as written. [`Session::expand`] does the same for remote paths.
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
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<OsString> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.retain(|name| pattern.matches(name.as_bytes()));
    names.sort();
    names.into_iter().map(|name| base.join(name)).collect()
}

/// Returns the names in the directory that `word` names, for completion. Returns nothing if there is no such
/// directory. An empty word is the current directory.
pub fn names_in(word: &Word) -> Vec<Named> {
    let directory = if word.text.is_empty() { PathBuf::from(".") } else { path(word) };
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let named = |entry: fs::DirEntry| Named {
        // For a symlink, the type of its target counts.
        is_directory: fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_dir()),
        name: entry.file_name().into_vec(),
    };
    let mut names: Vec<Named> = entries.flatten().take(COMPLETIONS_MAX).map(named).collect();
    names.sort_by(|a, b| a.name.cmp(&b.name));
    names
}

fn list(directory: &Path) -> Result<Vec<Entry>, Failure> {
    let failure = |error: std::io::Error| Failure::local(directory, &error);
    let mut entries = Vec::new();
    for found in fs::read_dir(directory).map_err(failure)? {
        let found = found.map_err(failure)?;
        // An entry that vanishes between the two calls is not listed.
        if let Ok(metadata) = found.metadata() {
            entries.push(entry(found.file_name(), &metadata));
        }
    }
    Ok(entries)
}

fn entry(name: OsString, metadata: &Metadata) -> Entry {
    let kind = match metadata.file_type() {
        kind if kind.is_file() => EntryKind::File,
        kind if kind.is_dir() => EntryKind::Dir,
        kind if kind.is_symlink() => EntryKind::Link,
        _ => EntryKind::Other,
    };
    Entry {
        name: Name(name.into_vec()),
        kind,
        size: if kind == EntryKind::File { metadata.len() } else { 0 },
        mtime_ns: metadata.modified().map_or(0, unix_ns),
        mode: metadata.mode() & 0o7777,
        unexamined: false,
    }
}

/// The maximum number of names read for one completion. No user reads more.
const COMPLETIONS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::syntax::lexer::split;

    #[test]
    fn local_patterns_expand_sorted_and_stay_as_spelled_when_nothing_fits() {
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
