//! Names that look like patterns, options or partial downloads. An existing file with exactly that name takes
//! precedence, locally and remotely.

mod client_state;
mod lookup;
mod partial_downloads;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::Command;

pub(crate) use crate::support::visit::Visit;

impl Visit {
    /// The client with names that need not be UTF-8.
    fn command_with(&self, arguments: &[&OsStr]) -> Command {
        let mut command = self.place.berth(&[&self.server.target("ann")]);
        command.args(arguments);
        command
    }

    /// Files in the home that hold their own names.
    fn plant_there(&self, names: &[&str]) {
        plant(&self.there(""), names);
    }

    fn plant_here(&self, names: &[&str]) {
        plant(&self.place.here(""), names);
    }
}

fn plant(directory: &Path, names: &[&str]) {
    for name in names {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(path, name).expect("writable");
    }
}

/// All files below `directory`, but for what the server stages, sorted.
fn files(directory: &Path) -> Vec<String> {
    let (mut files, mut directories) = (Vec::new(), vec![directory.to_path_buf()]);
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(next).expect("readable") {
            let path = entry.expect("readable").path();
            let name = path.strip_prefix(directory).expect("below").as_os_str().as_bytes().to_vec();
            match path.is_dir() {
                true if name == b".berth" => {}
                true => directories.push(path),
                false => files.push(String::from_utf8_lossy(&name).into_owned()),
            }
        }
    }
    files.sort();
    files
}

fn name(bytes: &[u8]) -> std::ffi::OsString {
    std::ffi::OsString::from_vec(bytes.to_vec())
}
