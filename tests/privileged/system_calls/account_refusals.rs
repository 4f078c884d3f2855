//! File systems without modes, owners, locks or syncs, such as SMB and exFAT: the server warns and works without
//! them.

use std::fs;

use super::trace::{self, watched};
use crate::support::needs::{STRACE, TRACING, tests};
use crate::support::peer::Peer;
use crate::support::{PASSWORD, Place};
use berth::wire::Reply;
use berth::wire::message::PutMode;

tests! {
    [STRACE, TRACING]
        accounts_are_added_and_served_where_the_file_system_refuses_what_it_cannot_do;
}

/// What is refused, how, and what the warning calls it.
const REFUSALS: [(&str, &str, &str); 6] = [
    ("fchmod", "EPERM", "modes (fchmod)"),
    ("fchmod", "ENOSYS", "modes (fchmod)"),
    ("fsync,syncfs", "EINVAL", "syncs of directories (fsync)"),
    ("flock", "ENOLCK", "locks (flock)"),
    ("flock", "EOPNOTSUPP", "locks (flock)"),
    ("fchmod,fchown,fsync,syncfs,flock", "EOPNOTSUPP", "locks (flock)"),
];

fn accounts_are_added_and_served_where_the_file_system_refuses_what_it_cannot_do() {
    for (calls, error, what) in REFUSALS {
        let place = Place::new();
        let inject = format!("inject={calls}:error={error}");
        let refusing =
            |arguments: &[&str]| watched(&place.berthd(arguments), &trace::file(&place), calls, &["-e", &inject]);
        let password = place.path("io/password");
        fs::write(&password, PASSWORD).expect("writable");
        let mut add = refusing(&["user", "add", "ann", "--password-stdin"]);
        add.stdin(fs::File::open(&password).expect("readable"));
        let added = place.run(add).expect_code(0);
        let remarks: Vec<&str> = added.stderr.lines().filter(|line| line.contains(" are left out, ")).collect();
        let is_right = |remark: &&str| remark.starts_with("berthd: ") && remark.contains("/conf");
        assert!(remarks.iter().all(is_right), "{calls} {error}: {remarks:?}");
        let of_it = remarks.iter().filter(|remark| remark.contains(&format!(": {what} are left out, ")));
        assert_eq!(of_it.count(), 1, "{calls} {error}: {}", added.stderr);

        // The server makes its key, its logs and a decoy for those it does not know.
        fs::remove_dir_all(place.path("conf/tls")).ok();
        fs::remove_dir_all(place.path("logs")).ok();
        let server = place.serve_as(refusing(&["serve"]));
        let reply = Peer::login(server.address, "ann").put("/f", b"content", PutMode::Create);
        assert!(matches!(reply, Reply::Stored { .. }), "{calls} {error}: {reply:?}");
        let stderr = server.program.stderr();
        let lines: Vec<&str> = stderr.lines().filter(|line| line.contains("are left out")).collect();
        let mut once = lines.iter().map(|line| line.split_once(" WARN ").expect("a warning").1).collect::<Vec<_>>();
        once.sort_unstable();
        once.dedup();
        assert!(!lines.is_empty() && once.len() == lines.len(), "{calls} {error}: {stderr}");
    }
}
