//! `lcd`, `lpwd` and `lls`.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::list::{ListOptions, show, title};
use crate::base::calendar::unix_ns;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::files::directory::{kind_of, sorted_names};
use crate::client::files::local::{name_of, shown};
use crate::client::files::patterns::{expand, path};
use crate::client::syntax::arguments::Arguments;
use crate::client::syntax::command::usage_failure;
use crate::client::syntax::lexer::Word;
use crate::client::ui::summary::Summary;
use crate::wire::message::{Entry, EntryKind, Name};

/// `lcd [PATH]`
pub fn lcd(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let directory = match Arguments::parse("lcd", words)?.operands[..] {
        [] => path(&Word::plain(b"~")),
        [word] => path(word),
        _ => return Err(usage_failure("lcd", "give one directory")),
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
    let arguments = Arguments::parse("lls", words)?;
    let options = ListOptions::new(&arguments);
    let mut paths: Vec<PathBuf> = arguments.operands.iter().flat_map(|word| expand(word)).collect();
    if paths.is_empty() {
        paths.push(PathBuf::from("."));
    }
    let mut summary = Summary::new("lls", paths.len() == 1);
    // Files come first in one listing, as in `ls`. Then the content of each directory follows.
    let (directories, others): (Vec<_>, Vec<_>) = paths.iter().partition(|path| path.is_dir());
    let mut files = Vec::new();
    for path in others {
        let found = fs::metadata(path).map_err(|error| Failure::missing_local_file(path, &error));
        let result = found.map(|metadata| files.push(entry(metadata, path.as_os_str().to_os_string())));
        summary.count(&mut session.output, result)?;
    }
    let mut has_shown = !files.is_empty();
    if has_shown {
        show(&mut session.output, "lls", json!("."), &options.sorted(files), options)?;
    }
    for path in directories {
        let result = list(path).and_then(|entries| {
            if paths.len() > 1 {
                title(&mut session.output, &shown(path), has_shown)?;
            }
            has_shown = true;
            show(&mut session.output, "lls", json!(name_of(path)), &options.visible(entries), options)
        });
        summary.count(&mut session.output, result)?;
    }
    summary.finish()
}

fn list(directory: &Path) -> Result<Vec<Entry>, Failure> {
    let (names, problem) = sorted_names(directory, usize::MAX);
    if let Some(error) = problem {
        return Err(Failure::local(directory, &error));
    }
    // An entry that vanishes meanwhile is not listed.
    let found = |name: OsString| Some(entry(fs::symlink_metadata(directory.join(&name)).ok()?, name));
    Ok(names.into_iter().filter_map(found).collect())
}

fn entry(metadata: Metadata, name: OsString) -> Entry {
    let kind = kind_of(&metadata);
    Entry {
        name: Name(name.into_vec()),
        kind,
        size: if kind == EntryKind::File { metadata.len() } else { 0 },
        mtime_ns: metadata.modified().map_or(0, unix_ns),
        mode: metadata.mode() & 0o7777,
        unexamined: false,
    }
}
