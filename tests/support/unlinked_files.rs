//! Open files without a name, found in /proc.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Lengths of the files below `directory` that a process has open and that have no name; none of one that has ended.
pub(crate) fn files(process: impl std::fmt::Display, directory: &Path) -> Vec<u64> {
    let directory = fs::canonicalize(directory).expect("there");
    let open = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().filter_map(|entry| {
        let path = entry.ok()?.path();
        let target = fs::read_link(&path).ok()?;
        // One that got a name later is still called deleted.
        let is_here = target.starts_with(&directory) && target.to_string_lossy().ends_with(" (deleted)");
        let meta = fs::metadata(path).ok().filter(|meta| is_here && meta.is_file() && meta.nlink() == 0)?;
        Some(((meta.dev(), meta.ino()), meta.len()))
    });
    open.collect::<HashMap<_, _>>().into_values().collect()
}

/// Lengths of the uploads to a home that are under way: those without a name, and those in the staging directory.
pub(crate) fn uploads(process: impl std::fmt::Display, home: &Path) -> Vec<u64> {
    let staged = fs::read_dir(home.join(".berth")).into_iter().flatten().filter_map(|entry| {
        let entry = entry.ok()?;
        let is_part = entry.path().extension().is_some_and(|extension| extension == "part");
        Some(entry.metadata().ok().filter(|_| is_part)?.len())
    });
    files(process, home).into_iter().chain(staged).collect()
}
