//! lftp: whole trees over eight connections, and files in pieces.

use std::fs;
use std::process::Command;

use super::{Scene, check_tree, grow};
use crate::support::needs::{LFTP, tests};
use crate::support::{PASSWORD, pattern};

tests! {
    [LFTP]
        lftp_mirrors_a_tree_there_and_back_over_eight_connections,
        lftp_mirrors_by_every_way_to_list,
        lftp_goes_on_with_a_download,
        lftp_goes_on_with_an_upload_that_was_killed,
        lftp_sends_an_upload_over_a_file_whole_when_it_was_cut,
        lftp_changes_names_and_modes;
}

/// What makes lftp encrypt everything, or nothing.
const PLAIN: &str = "set ftp:ssl-allow no";
const TLS: &str = "set ftp:ssl-force yes; set ftp:ssl-protect-data yes; set ftp:ssl-protect-list yes";
const IMPLICIT: &str = "implicit";

impl Scene {
    fn lftp(&self, kind: &str, script: &str) -> Command {
        let mut command = self.client("lftp");
        let settings =
            "set cmd:fail-exit yes; set ssl:verify-certificate no; set net:max-retries 1; set net:timeout 60";
        let (scheme, address) = if kind == IMPLICIT { ("ftps", self.ftps) } else { ("ftp", self.ftp) };
        let more = if kind == IMPLICIT { "set ftps:initial-prot P" } else { kind };
        command.args([
            "--norc",
            "-e",
            &format!("{settings}; {more}; {script}; exit"),
            "-u",
            &format!("ann,{PASSWORD}"),
        ]);
        command.arg(format!("{scheme}://{address}"));
        command
    }

    #[track_caller]
    fn run_lftp(&self, kind: &str, script: &str) -> String {
        self.place.run(self.lftp(kind, script)).expect_code(0).stdout
    }
}

fn lftp_mirrors_a_tree_there_and_back_over_eight_connections() {
    let scene = Scene::new();
    let files = grow(&scene.place.here("tree"));
    for kind in [PLAIN, TLS, IMPLICIT] {
        scene.run_lftp(kind, "mirror -R --parallel=8 tree copy");
        check_tree(&scene.home("copy"), &files);
        assert!(scene.home("copy/empty").is_dir());
        scene.run_lftp(kind, "mirror --parallel=8 copy back");
        check_tree(&scene.place.here("back"), &files);
        // Nothing is left to be done: times and sizes are told exactly.
        let todo = scene.run_lftp(kind, "mirror -R --dry-run tree copy; mirror --dry-run copy back");
        assert!(!todo.contains("put ") && !todo.contains("get "), "{todo}");
        scene.run_lftp(kind, "rm -r copy");
        assert!(!scene.home("copy").exists());
        fs::remove_dir_all(scene.place.here("back")).expect("ours");
    }
    scene.check();
}

fn lftp_mirrors_by_every_way_to_list() {
    let scene = Scene::new();
    let files = grow(&scene.place.here("tree"));
    for settings in [
        "set ftp:use-mlsd yes",
        "set ftp:use-mlsd no; set ftp:use-feat no",
        "set ftp:passive-mode no",
        "set ftp:prefer-epsv no",
    ] {
        scene.run_lftp(PLAIN, &format!("{settings}; mirror -R --parallel=8 tree copy; mirror --parallel=8 copy back"));
        check_tree(&scene.place.here("back"), &files);
        scene.run_lftp(PLAIN, &format!("{settings}; rm -r copy"));
        fs::remove_dir_all(scene.place.here("back")).expect("ours");
    }
}

fn lftp_goes_on_with_a_download() {
    let scene = Scene::new();
    let content = pattern(1, 5_000_000);
    fs::write(scene.home("file"), &content).expect("writable");
    for kind in [PLAIN, TLS, IMPLICIT] {
        fs::write(scene.place.here("file"), &content[..2_000_000]).expect("writable");
        scene.run_lftp(kind, "get -c file");
        assert!(fs::read(scene.place.here("file")).expect("fetched") == content);
        fs::remove_file(scene.place.here("file")).expect("ours");
        scene.run_lftp(kind, "pget -n 4 file");
        assert!(fs::read(scene.place.here("file")).expect("fetched") == content);
    }
}

fn lftp_goes_on_with_an_upload_that_was_killed() {
    let scene = Scene::new();
    let content = pattern(1, 12_000_000);
    fs::write(scene.place.here("file"), &content).expect("writable");
    for kind in [PLAIN, TLS, IMPLICIT] {
        let mut client = scene.place.start(scene.lftp(kind, "set net:limit-rate 4000000; put file"));
        scene.kill_amid_upload(&mut client, 2_000_000);
        assert!(!scene.home("file").exists());
        scene.run_lftp(kind, "put -c file");
        scene.holds("file", &content);
        scene.run_lftp(kind, "rm file");
    }
    scene.check();
}

fn lftp_sends_an_upload_over_a_file_whole_when_it_was_cut() {
    let scene = Scene::new();
    let (content, old) = (pattern(1, 12_000_000), pattern(2, 100_000));
    fs::write(scene.place.here("file"), &content).expect("writable");
    fs::write(scene.place.here("old"), &old).expect("writable");
    for kind in [PLAIN, TLS, IMPLICIT] {
        scene.run_lftp(kind, "put old -o file");
        let mut client = scene.place.start(scene.lftp(kind, "set net:limit-rate 4000000; put file"));
        scene.kill_amid_upload(&mut client, 2_000_000);
        scene.run_lftp(kind, "get file -o fetched");
        assert!(fs::read(scene.place.here("fetched")).expect("fetched") == old, "{kind}");
        fs::remove_file(scene.place.here("fetched")).expect("ours");
        // Its REST at the size of the file is refused, and it sends all of its own.
        scene.run_lftp(kind, "put -c file");
        scene.holds("file", &content);
    }
    scene.check();
}

fn lftp_changes_names_and_modes() {
    let scene = Scene::new();
    fs::write(scene.home("one"), b"content").expect("writable");
    for kind in [PLAIN, TLS, IMPLICIT] {
        scene.run_lftp(
            kind,
            "mkdir -p a/b; mv one a/b/two; chmod 600 a/b/two; cd a/b; cat two; mv two ../../one; cd /; rmdir a/b a",
        );
        scene.holds("one", b"content");
        assert!(!scene.home("a").exists());
        let listing = scene.run_lftp(kind, "cls -l");
        assert!(listing.contains("one"), "{listing}");
    }
}
