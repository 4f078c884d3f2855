//! The completions in bash, as a package installs them.

#[path = "../../conf/package/generate.rs"]
#[allow(dead_code)] // Its `main`.
mod generate;

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::Place;
use crate::support::needs::{BASH, tests};

tests! {
    [BASH]
        bash_completes_named_hosts_then_commands,
        bash_completes_the_arguments_of_a_command,
        bash_completes_names_of_accounts;
}

fn generated(name: &str) -> String {
    let directory = tempfile::tempdir().expect("a temporary folder");
    generate::generate(directory.path()).expect("writable");
    fs::read_to_string(directory.path().join(name)).expect("it is written")
}

/// What bash offers at the end of `line`.
fn completed(place: &Place, line: &str) -> Vec<String> {
    let words: Vec<_> = line.split(' ').collect();
    let program = words[0];
    let script = place.path("completion.bash");
    fs::write(&script, generated(&format!("{program}.bash"))).expect("writable");
    let text = format!(
        "source {}; COMP_WORDS=({line}); [ -n \"${{COMP_WORDS[{last}]-}}\" ] || COMP_WORDS+=(''); COMP_CWORD={last}; \
         function=$(complete -p {program} | sed 's/.*-F \\([^ ]*\\).*/\\1/'); \
         $function {program} \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{last}-1]}}\"; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script.display(),
        last = words.len() - 1
    );
    // The programs that were built, by their names.
    let programs = Path::new(env!("CARGO_BIN_EXE_berth")).parent().expect("a folder");
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut bash = Command::new("bash");
    bash.args(["-c", &text]).current_dir(place.here(""));
    for (key, value) in place.berth_over_tls(&[]).get_envs().filter_map(|(key, value)| Some((key, value?))) {
        bash.env(key, value);
    }
    bash.env("PATH", path);
    let ended = place.run(bash).expect_code(0);
    assert_eq!(ended.stderr, "", "{line}");
    ended.stdout.lines().filter(|line| !line.is_empty()).map(str::to_string).collect()
}

fn bash_completes_named_hosts_then_commands() {
    let place = Place::new();
    place.run(place.berth_over_tls(&["host", "add", "nas", "ann@192.168.1.2"])).expect_code(0);
    let complete = |line: &str| completed(&place, line);
    assert_eq!(complete("berth n"), ["nas"]);
    assert_eq!(complete("berth nas sha"), ["sha256"]);
    assert!(complete("berth nas ").contains(&"put".to_string()));
    assert!(complete("berth --keep").contains(&"--keep-going".to_string()));
    assert!(complete("berth host ").contains(&"add".to_string()));
    assert_eq!(complete("berth host remove "), ["nas"]);
    assert_eq!(complete("berth --json --retries 3 nas mk"), ["mkdir"]);
}

fn bash_completes_the_arguments_of_a_command() {
    let place = Place::new();
    place.add("ann", &[]);
    let server = place.serve();
    let target = server.target("ann");
    let host = ["host", "add", "nas", &target, "--plaintext"];
    place.run(place.berth_over_tls(&host)).expect_code(0);
    fs::create_dir_all(place.home("ann", "photos/2026")).expect("writable");
    fs::write(place.home("ann", "plan b.txt"), "").expect("writable");
    fs::write(place.here("paper.txt"), "").expect("writable");
    let complete = |line: &str| completed(&place, line);
    assert_eq!(complete("berth nas get p"), ["photos/", "plan b.txt"]);
    assert_eq!(complete("berth nas get photos/"), ["photos/2026/"]);
    assert_eq!(complete("berth nas get -r photos p"), ["paper.txt"], "the local side comes second");
    assert_eq!(complete("berth nas put p"), ["paper.txt"]);
    assert_eq!(complete("berth nas put paper.txt ph"), ["photos/"]);
    assert_eq!(complete("berth nas mirror --d"), ["--delete", "--dry-run"]);
    assert_eq!(complete("berth nas mirror --from ph"), ["photos/"]);
    assert_eq!(complete("berth nas get --"), ["--no-perms", "--help"]);
    assert!(complete("berth nas get -").contains(&"-r".to_string()));
    assert_eq!(complete("berth nas help mkd"), ["mkdir"]);
    assert_eq!(complete("berth nas pwd "), [""; 0]);
    fs::create_dir(place.here("letters")).expect("writable");
    assert_eq!(complete("berth nas lcd l"), ["letters"]);
    assert_eq!(complete("berth nas mirror --exclude x pa"), ["paper.txt"]);
}

fn bash_completes_names_of_accounts() {
    let place = Place::new();
    for name in ["ann", "anton", "ben"] {
        place.add(name, &[]);
    }
    let config = place.path("conf/berthd.json").display().to_string();
    let complete = |line: &str| completed(&place, line);
    for command in ["user lock", "user show", "user remove", "usage", "kick"] {
        assert_eq!(complete(&format!("berthd --config {config} {command} an")), ["ann", "anton"], "{command}");
    }
    assert_eq!(complete(&format!("berthd user set --config {config} ")), ["ann", "anton", "ben"]);
    assert!(complete("berthd user ").contains(&"lock".to_string()));
    assert!(complete("berthd user lock --").contains(&"--config".to_string()));
}
