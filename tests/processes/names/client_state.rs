//! Damaged state files of the client.

use std::fs;

use super::{Visit, files};

#[test]
fn an_empty_known_hosts_file_is_refused_with_advice() {
    let visit = Visit::new(&[]);
    let over_tls = |arguments: &[&str]| {
        let target = visit.server.target("ann");
        visit.place.run(visit.place.berth_over_tls(&[&[&target[..]], arguments].concat()))
    };
    over_tls(&["--accept-new", "pwd"]).expect_code(0);
    let file = visit.place.path("user/state/berth/known_hosts.json");
    fs::write(&file, "").expect("ours");
    for arguments in [&["pwd"][..], &["--accept-new", "pwd"]] {
        let stderr = over_tls(arguments).expect_code(1).stderr;
        assert!(stderr.contains("is empty") && stderr.contains("--fingerprint"), "{stderr}");
    }
    let fingerprint = visit.place.admin(&["fingerprint"]).stdout;
    let ended = over_tls(&["--fingerprint", fingerprint.trim(), "pwd"]).expect_code(0);
    let told = "is empty, as after a power loss; restore it from a backup, or remove it\n";
    assert!(
        ended.stderr.starts_with("the server's key is not remembered, because ") && ended.stderr.ends_with(told),
        "{ended:?}"
    );
    assert_eq!(fs::read(&file).expect("there"), b"", "what may be repaired stays");
    fs::remove_file(&file).expect("ours");
    over_tls(&["--accept-new", "pwd"]).expect_code(0);
    over_tls(&["pwd"]).expect_code(0);
    assert_eq!(files(&visit.place.path("user/state/berth")), ["known_hosts.json"]);
}

#[test]
fn a_relative_home_variable_is_ignored() {
    let visit = Visit::new(&[]);
    let directory = visit.place.path("elsewhere");
    fs::create_dir(&directory).expect("ours");
    for home in ["", "relative"] {
        let mut command = visit.place.berth_over_tls(&["--accept-new", &visit.server.target("ann"), "pwd"]);
        command.current_dir(&directory).env("HOME", home).env_remove("XDG_STATE_HOME").env_remove("XDG_CONFIG_HOME");
        let ended = visit.place.run(command).expect_code(0);
        assert!(ended.stderr.contains("set HOME or XDG_STATE_HOME"), "{home:?}: {ended:?}");
        assert!(files(&directory).is_empty(), "{home:?}: {:?}", files(&directory));
    }
}
