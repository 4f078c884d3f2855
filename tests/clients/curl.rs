//! curl: in plain text, with explicit and with implicit TLS.

use std::fs;
use std::process::Command;

use serde_json::json;

use super::Scene;
use crate::support::needs::{CURL, IPV6, tests};
use crate::support::process::{Ended, Program};
use crate::support::{PASSWORD, pattern};

tests! {
    [CURL]
        curl_uploads_one_file_after_the_other_where_the_session_must_be_reused,
        curl_uploads_downloads_and_lists,
        curl_goes_on_with_a_download,
        curl_goes_on_with_an_upload_that_was_killed,
        curl_cannot_go_on_with_an_upload_over_a_file_and_spoils_nothing,
        curl_appends,
        curl_makes_renames_and_removes,
        curl_fetches_many_files_over_one_connection_and_at_once,
        curl_lets_the_server_connect,
        curl_is_told_what_is_wrong,
        curl_is_told_of_the_quota_in_the_middle_of_an_upload;
    [CURL, IPV6]
        curl_speaks_ipv6;
}

/// How curl is told to speak to the server.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Plain,
    Explicit,
    Implicit,
    /// Explicit, and no newer than 1.2.
    Tls12,
}

const KINDS: [Kind; 4] = [Kind::Plain, Kind::Explicit, Kind::Implicit, Kind::Tls12];

impl Scene {
    fn curl(&self, kind: Kind, path: &str, options: &[&str]) -> Command {
        let mut command = self.client("curl");
        let words: &[&str] = match kind {
            Kind::Plain => &[],
            Kind::Explicit => &["-k", "--ssl-reqd"],
            Kind::Implicit => &["-k"],
            Kind::Tls12 => &["-k", "--ssl-reqd", "--tls-max", "1.2"],
        };
        command.args(["-sSg", "-u", &format!("ann:{PASSWORD}")]).args(words).args(options);
        command.arg(self.url(kind, path));
        command
    }

    fn url(&self, kind: Kind, path: &str) -> String {
        let (scheme, address) = if kind == Kind::Implicit { ("ftps", self.ftps) } else { ("ftp", self.ftp) };
        format!("{scheme}://{address}/{path}")
    }

    #[track_caller]
    fn run_curl(&self, kind: Kind, path: &str, options: &[&str]) -> Ended {
        self.place.run(self.curl(kind, path, options)).expect_code(0)
    }

    fn start_curl(&self, kind: Kind, path: &str, options: &[&str]) -> Program {
        self.place.start(self.curl(kind, path, options))
    }
}

/// With TLS 1.3 curl before 8.10 uses each ticket once and does not wait for new ones.
fn curl_uploads_one_file_after_the_other_where_the_session_must_be_reused() {
    let scene = Scene::with(json!({"session_reuse": "required"}));
    let content = pattern(1, 100_000);
    fs::write(scene.place.here("up"), &content).expect("writable");
    let mut options = Vec::new();
    for number in 1..20 {
        options.extend(["-T".to_string(), "up".to_string(), scene.url(Kind::Tls12, &format!("file{number}"))]);
    }
    options.extend(["-T".to_string(), "up".to_string()]);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    assert_eq!(scene.run_curl(Kind::Tls12, "file0", &options).stderr, "");
    for number in 0..20 {
        scene.holds(&format!("file{number}"), &content);
    }
}

fn curl_uploads_downloads_and_lists() {
    let scene = Scene::new();
    let content = pattern(1, 5_000_000);
    fs::write(scene.place.here("up"), &content).expect("writable");
    for kind in KINDS {
        scene.run_curl(kind, "a/b/file", &["-T", "up", "--ftp-create-dirs"]);
        scene.holds("a/b/file", &content);
        scene.run_curl(kind, "a/b/file", &["-o", "down"]);
        assert!(fs::read(scene.place.here("down")).expect("fetched") == content, "{kind:?}");
        assert!(scene.run_curl(kind, "a/", &[]).stdout.ends_with(" b\n"));
        assert_eq!(scene.run_curl(kind, "a/b/", &["-l"]).stdout, "file\n");
        let head = scene.run_curl(kind, "a/b/file", &["-I"]).stdout;
        assert!(head.contains("Content-Length: 5000000") && head.contains("Last-Modified: "), "{head}");
        fs::remove_dir_all(scene.home("a")).expect("ours");
    }
}

fn curl_goes_on_with_a_download() {
    let scene = Scene::new();
    let content = pattern(1, 5_000_000);
    fs::write(scene.home("file"), &content).expect("writable");
    for kind in KINDS {
        fs::write(scene.place.here("down"), &content[..2_000_000]).expect("writable");
        scene.run_curl(kind, "file", &["-C", "-", "-o", "down"]);
        assert!(fs::read(scene.place.here("down")).expect("fetched") == content, "{kind:?}");
        assert_eq!(scene.run_curl(kind, "file", &["-r", "10-19", "-o", "part"]).code, Some(0));
        assert_eq!(fs::read(scene.place.here("part")).expect("fetched"), &content[10..20]);
    }
}

fn curl_goes_on_with_an_upload_that_was_killed() {
    let scene = Scene::new();
    let content = pattern(1, 12_000_000);
    fs::write(scene.place.here("up"), &content).expect("writable");
    for kind in KINDS {
        let mut client = scene.start_curl(kind, "file", &["-T", "up", "--limit-rate", "4M"]);
        scene.kill_amid_upload(&mut client, 2_000_000);
        assert!(!scene.home("file").exists());
        scene.run_curl(kind, "file", &["-C", "-", "-T", "up"]);
        scene.holds("file", &content);
        scene.run_curl(kind, "", &["-Q", "DELE file"]);
    }
    scene.check();
}

/// It asks for the size of the file, and sends what it has beyond that to be appended.
fn curl_cannot_go_on_with_an_upload_over_a_file_and_spoils_nothing() {
    let scene = Scene::new();
    let (content, old) = (pattern(1, 12_000_000), pattern(2, 3_000_000));
    fs::write(scene.place.here("up"), &content).expect("writable");
    for kind in KINDS {
        fs::write(scene.place.here("old"), &old).expect("writable");
        scene.run_curl(kind, "file", &["-T", "old"]);
        let mut client = scene.start_curl(kind, "file", &["-T", "up", "--limit-rate", "4M"]);
        scene.kill_amid_upload(&mut client, 2_000_000);
        // What can be had is the file, to its last byte.
        scene.run_curl(kind, "file", &["-o", "down"]);
        assert!(fs::read(scene.place.here("down")).expect("fetched") == old, "{kind:?}");
        scene.run_curl(kind, "file", &["-r", "-10", "-o", "tail"]);
        assert_eq!(fs::read(scene.place.here("tail")).expect("fetched"), &old[old.len() - 10..]);
        let refused = scene.place.run(scene.curl(kind, "file", &["-C", "-", "-T", "up"]));
        assert_eq!(refused.code, Some(25), "{refused:?}");
        scene.holds("file", &old);
        scene.run_curl(kind, "file", &["-T", "up"]);
        scene.holds("file", &content);
    }
    scene.check();
}

fn curl_appends() {
    let scene = Scene::new();
    fs::write(scene.place.here("up"), b"piece ").expect("writable");
    for kind in KINDS {
        for _ in 0..3 {
            scene.run_curl(kind, "file", &["-a", "-T", "up"]);
        }
        scene.holds("file", b"piece piece piece ");
        fs::remove_file(scene.home("file")).expect("ours");
    }
}

fn curl_makes_renames_and_removes() {
    let scene = Scene::new();
    for kind in KINDS {
        fs::write(scene.home("one"), b"content").expect("writable");
        scene.run_curl(kind, "", &["-Q", "MKD folder", "-Q", "RNFR one", "-Q", "RNTO folder/two"]);
        scene.holds("folder/two", b"content");
        scene.run_curl(kind, "", &["-Q", "DELE folder/two", "-Q", "RMD folder"]);
        assert!(!scene.home("folder").exists());
        let refused = scene.place.run(scene.curl(kind, "", &["-Q", "DELE none"]));
        assert_eq!(refused.code, Some(21), "{refused:?}");
    }
}

fn curl_fetches_many_files_over_one_connection_and_at_once() {
    let scene = Scene::new();
    for number in 0..50 {
        fs::write(scene.home(&format!("file{number}")), pattern(number, 1000)).expect("writable");
    }
    for kind in KINDS {
        for options in [&["-o", "#1"][..], &["-Z", "--parallel-max", "8", "-o", "#1"]] {
            let mut command = scene.curl(kind, "file[0-49]", options);
            // Globbing is what -g switches off.
            let words: Vec<_> = command
                .get_args()
                .map(|word| if word == "-sSg" { "-sS".into() } else { word.to_os_string() })
                .collect();
            let mut again = scene.client("curl");
            again.args(words);
            std::mem::swap(&mut command, &mut again);
            scene.place.run(command).expect_code(0);
            for number in 0..50 {
                let file = scene.place.here(number.to_string());
                assert_eq!(fs::read(&file).expect("fetched"), pattern(number, 1000), "{kind:?}");
                fs::remove_file(file).expect("ours");
            }
        }
    }
    scene.check();
}

fn curl_lets_the_server_connect() {
    let scene = Scene::new();
    let content = pattern(1, 500_000);
    fs::write(scene.place.here("up"), &content).expect("writable");
    // Over TLS, curl 7.88 fails in active mode with every server.
    for kind in [Kind::Plain] {
        for options in [&["-P", "-"][..], &["-P", "-", "--disable-eprt"]] {
            scene.run_curl(kind, "file", &[options, &["-T", "up"]].concat());
            scene.holds("file", &content);
            scene.run_curl(kind, "file", &[options, &["-o", "down"]].concat());
            assert!(fs::read(scene.place.here("down")).expect("fetched") == content);
        }
        scene.run_curl(kind, "file", &["--disable-epsv", "-o", "down"]);
    }
}

fn curl_speaks_ipv6() {
    let scene = Scene::on("[::1]:0");
    let content = pattern(1, 500_000);
    fs::write(scene.place.here("up"), &content).expect("writable");
    for kind in KINDS {
        let all: [&[&str]; 2] = [&[], &["-P", "-"]];
        for options in &all[..if kind == Kind::Plain { 2 } else { 1 }] {
            scene.run_curl(kind, "file", &[&options[..], &["-T", "up"]].concat());
            scene.holds("file", &content);
            scene.run_curl(kind, "file", &[&options[..], &["-o", "down"]].concat());
            assert!(fs::read(scene.place.here("down")).expect("fetched") == content);
        }
    }
}

fn curl_is_told_what_is_wrong() {
    let scene = Scene::new();
    for kind in KINDS {
        let ended = scene.place.run(scene.curl(kind, "none", &[]));
        assert_eq!(ended.code, Some(78), "a file that is not there: {ended:?}");
        let ended = scene.place.run(scene.curl(kind, "", &["-u", "ann:wrong"]));
        assert_eq!(ended.code, Some(67), "a login that is refused: {ended:?}");
    }
}

fn curl_is_told_of_the_quota_in_the_middle_of_an_upload() {
    let scene = Scene::new();
    scene.place.admin(&["user", "set", "ann", "--quota", "1M"]);
    fs::write(scene.place.here("up"), pattern(1, 20 << 20)).expect("writable");
    for kind in KINDS {
        let ended = scene.place.run(scene.curl(kind, "up", &["-T", "up"]));
        // By the version of curl.
        assert!(matches!(ended.code, Some(25 | 70)), "{kind:?}: {ended:?}");
        let told = ["552", "Exceeded storage allocation"];
        assert!(told.iter().any(|told| ended.stderr.contains(told)), "{kind:?}: {ended:?}");
    }
    scene.check();
}
