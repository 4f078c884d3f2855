//! File systems that refuse some calls of the client: it warns once, and content and name are complete.

use std::fs;

use super::trace;
use crate::support::needs::{STRACE, TRACING, tests};
use crate::support::process::Ended;
use crate::support::{Place, Server, pattern};

tests! {
    [STRACE, TRACING]
        downloads_keep_their_content_and_name_where_the_rest_is_refused,
        a_file_that_is_there_stays_where_renames_cannot_keep_it,
        uploads_and_named_hosts_need_no_locks_syncs_or_modes,
        what_is_known_of_servers_is_on_disk_before_it_has_its_name;
}

/// A server with a tree, and the client whose `calls` fail with `error`.
struct Scene {
    place: Place,
    server: Server,
}

impl Scene {
    fn new() -> Self {
        let place = Place::new();
        place.add("ann", &[]);
        let server = place.serve();
        for directory in [place.home("ann", "t"), place.here("up")] {
            fs::create_dir(&directory).expect("writable");
            for (name, seed, size) in [("a", 1, 100), ("b", 2, 100_000)] {
                fs::write(directory.join(name), pattern(seed, size)).expect("writable");
            }
        }
        Self { place, server }
    }

    fn run(&self, calls: &str, error: &str, arguments: &[&str]) -> Ended {
        let target = self.server.target("ann");
        let command = match arguments {
            ["host", ..] => self.place.berth_over_tls(arguments),
            _ => self.place.berth_over_tls(&[&["--accept-new", &target[..]], arguments].concat()),
        };
        let inject = format!("inject={calls}:error={error}");
        self.place.run(trace::watched(&command, &trace::file(&self.place), calls, &["-e", &inject]))
    }
}

/// The lines that tell of something left out.
fn remarks(ended: &Ended) -> Vec<&str> {
    ended.stderr.lines().filter(|line| line.contains("left out")).collect()
}

fn downloads_keep_their_content_and_name_where_the_rest_is_refused() {
    for (calls, error, told) in [
        ("utimensat", "EPERM", &["(utimensat)"][..]),
        ("utimensat", "EOPNOTSUPP", &["(utimensat)"]),
        ("flock", "ENOLCK", &["(flock)"]),
        ("flock", "EOPNOTSUPP", &["(flock)"]),
        ("renameat2", "EINVAL", &[]),
        ("renameat2", "EPERM", &[]),
        ("renameat2,linkat", "EPERM", &["(renameat2, linkat)"]),
        ("fsetxattr,fgetxattr,lgetxattr,fremovexattr", "EOPNOTSUPP", &[]),
        // syncfs does it.
        ("fsync", "EINVAL", &[]),
        ("fsync,syncfs", "EINVAL", &["files (fsync)", "directories (fsync)"]),
        ("fchmod", "EPERM", &["(fchmod)"]),
    ] {
        let scene = Scene::new();
        for (line, copy) in
            [(&["get", "-r", "t"][..], "t"), (&["mirror", "--from", "t", "m"], "m"), (&["get", "t/b"], "")]
        {
            let ended = scene.run(calls, error, line).expect_code(0);
            // What is known of the server is written once.
            if copy == "t" || calls == "utimensat" {
                let remarks = remarks(&ended);
                assert_eq!(remarks.len(), told.len(), "{calls} {error}: {ended:?}");
                assert!(remarks.iter().zip(told).all(|(remark, told)| remark.contains(told)), "{remarks:?}");
            }
            let copied = fs::read(scene.place.here(copy).join("b")).expect("it has its name");
            assert!(copied == pattern(2, 100_000), "{calls} {error}");
        }
        assert!(scene.place.path("user/state/berth/known_hosts.json").is_file());
        let names = fs::read_dir(scene.place.here("t")).expect("there").count();
        assert_eq!(names, 2, "{calls} {error}: nothing else is left");
    }
}

fn a_file_that_is_there_stays_where_renames_cannot_keep_it() {
    for calls in ["renameat2", "renameat2,linkat"] {
        let scene = Scene::new();
        fs::write(scene.place.here("b"), "mine").expect("writable");
        scene.run(calls, "EINVAL", &["get", "t/b"]).expect_code(1);
        assert_eq!(fs::read(scene.place.here("b")).expect("there"), b"mine");
        scene.run(calls, "EINVAL", &["get", "-f", "t/b"]).expect_code(0);
        assert!(fs::read(scene.place.here("b")).expect("there") == pattern(2, 100_000));
    }
}

fn uploads_and_named_hosts_need_no_locks_syncs_or_modes() {
    for (calls, error) in [("flock", "ENOLCK"), ("fsync", "EINVAL"), ("fchmod", "EPERM"), ("fsync", "EOPNOTSUPP")] {
        let scene = Scene::new();
        scene.run(calls, error, &["put", "-r", "up"]).expect_code(0);
        scene.run(calls, error, &["mirror", "up", "image"]).expect_code(0);
        for copy in ["up", "image"] {
            assert!(fs::read(scene.place.home("ann", copy).join("b")).expect("sent") == pattern(2, 100_000));
        }
        scene.run(calls, error, &["host", "add", "nas", "ann@127.0.0.1"]).expect_code(0);
        assert!(scene.run(calls, error, &["host", "list"]).stdout.contains("nas"), "{calls}");
    }
}

fn what_is_known_of_servers_is_on_disk_before_it_has_its_name() {
    let scene = Scene::new();
    let command = scene.place.berth_over_tls(&["--accept-new", &scene.server.target("ann"), "pwd"]);
    let file = trace::file(&scene.place);
    scene.place.run(trace::watched(&command, &file, "fsync,rename", &[])).expect_code(0);
    let calls: Vec<String> =
        trace::read(&scene.place).into_iter().map(|call| format!("{} {}", call.name, call.arguments)).collect();
    let at =
        |what: &str| calls.iter().position(|call| call.contains(what)).unwrap_or_else(|| panic!("{what}: {calls:?}"));
    let (synced, renamed) = (at(".known_hosts.json.tmp>"), at("rename \""));
    assert!(calls[synced].starts_with("fsync") && synced < renamed, "{calls:?}");
    assert!(calls[renamed + 1].starts_with("fsync") && calls[renamed + 1].contains("state/berth>"), "{calls:?}");
}
