//! rclone, configured by its environment alone.

use std::fs;
use std::process::Command;

use super::{Scene, check_tree, grow};
use crate::support::PASSWORD;
use crate::support::needs::{RCLONE, tests};

tests! {
    [RCLONE]
        rclone_copies_syncs_and_checks;
}

/// Further keys of its configuration.
const KINDS: [&[(&str, &str)]; 3] = [&[], &[("EXPLICIT_TLS", "true")], &[("TLS", "true")]];

impl Scene {
    pub(crate) fn rclone(&self, kind: &[(&str, &str)], words: &[&str]) -> Command {
        let obscured = self.place.run({
            let mut command = self.client("rclone");
            command.args(["obscure", PASSWORD]);
            command
        });
        let mut command = self.client("rclone");
        let address = if kind.iter().any(|(key, _)| *key == "TLS") { self.ftps } else { self.ftp };
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let keys = [
            ("TYPE", "ftp"),
            ("HOST", &host),
            ("PORT", &port),
            ("USER", "ann"),
            ("PASS", obscured.stdout.trim()),
            ("NO_CHECK_CERTIFICATE", "true"),
        ];
        for (key, value) in keys.iter().chain(kind) {
            command.env(format!("RCLONE_CONFIG_BERTH_{key}"), value);
        }
        command.args(["--config", "none.conf", "--retries", "1", "--transfers", "8"]).args(words);
        command
    }

    #[track_caller]
    fn run_rclone(&self, kind: &[(&str, &str)], words: &[&str]) -> String {
        let ended = self.place.run(self.rclone(kind, words)).expect_code(0);
        ended.stdout + &ended.stderr
    }
}

fn rclone_copies_syncs_and_checks() {
    let scene = Scene::new();
    let mut files = grow(&scene.place.here("tree"));
    for kind in KINDS {
        scene.run_rclone(kind, &["copy", "tree", "berth:copy"]);
        check_tree(&scene.home("copy"), &files);
        scene.run_rclone(kind, &["check", "--download", "tree", "berth:copy"]);

        // What changed, came and went.
        let changed = b"changed and longer than it was".to_vec();
        fs::write(scene.place.here("tree/large"), &changed).expect("writable");
        fs::write(scene.place.here("tree/new"), b"new").expect("writable");
        fs::remove_file(scene.place.here("tree/with space/nothing")).expect("ours");
        files.insert("large".into(), changed);
        files.insert("new".into(), b"new".to_vec());
        files.remove("with space/nothing");
        scene.run_rclone(kind, &["sync", "tree", "berth:copy"]);
        check_tree(&scene.home("copy"), &files);
        scene.run_rclone(kind, &["check", "--download", "tree", "berth:copy"]);
        let done = scene.run_rclone(kind, &["-v", "sync", "tree", "berth:copy"]);
        assert!(!done.contains("Copied"), "times are told exactly: {done}");

        scene.run_rclone(kind, &["sync", "berth:copy", "back"]);
        check_tree(&scene.place.here("back"), &files);
        fs::write(scene.home("copy/new"), b"bad").expect("writable");
        let ended = scene.place.run(scene.rclone(kind, &["check", "--download", "tree", "berth:copy"]));
        assert_eq!(ended.code, Some(1), "{ended:?}");

        scene.run_rclone(kind, &["moveto", "berth:copy/new", "berth:copy/moved"]);
        scene.holds("copy/moved", b"bad");
        scene.run_rclone(kind, &["purge", "berth:copy"]);
        assert!(!scene.home("copy").exists());
        fs::remove_dir_all(scene.place.here("back")).expect("ours");
        fs::remove_dir_all(scene.place.here("tree")).expect("ours");
        files = grow(&scene.place.here("tree"));
    }
    scene.check();
}
