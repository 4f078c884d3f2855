//! What the tests of users and rights share: owners and modes of files, capabilities of threads.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::support::process::Program;
use crate::support::{Place, Server};

/// Lets every user who knows the path enter.
pub(crate) fn open_to_all(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).expect("ours");
}

/// What the kernel says of each thread of a program.
pub(crate) fn statuses(program: &Program) -> Vec<BTreeMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{}/task", program.pid())).expect("it runs");
    let status = |task: io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(task.expect("readable").path().join("status")).expect("it runs");
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        fields.map(|(name, value)| (name.into(), value.split_whitespace().collect::<Vec<_>>().join(" "))).collect()
    };
    tasks.map(status).collect()
}

/// Checks that no thread of a server has, or can ever get, more rights than any program of its
/// user.
pub(crate) fn assert_without_rights(server: &Server) {
    let threads = statuses(&server.program);
    assert!(threads.len() > 1, "the sync helper is one of them");
    for thread in threads {
        for sets in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(thread[sets], "0000000000000000", "{sets} of {}", thread["Name"]);
        }
        assert_eq!(thread["NoNewPrivs"], "1", "of {}", thread["Name"]);
    }
}

/// User, group and mode of what is at a path.
pub(crate) fn owner_and_mode(place: &Place, path: &str) -> (u32, u32, u32) {
    let metadata = fs::symlink_metadata(place.path(path)).expect(path);
    (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777)
}
