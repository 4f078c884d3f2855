//! What a package installs beside the programs: man pages and completions tell of everything
//! there is, and the configuration, the unit and the rotation of logs fit each other. That the
//! package itself works is tried by `conf/package/try`.

mod common;
#[path = "../conf/package/generate.rs"]
#[allow(dead_code)] // Its `main`.
mod generate;

use crate::common::needs::{BASH, tests};
use berth::admin::CommandLine;
use berth::client::cli::args::{Args, HostArgs};
use berth::client::shell::command::COMMANDS;
use berth::config::Config;
use clap::CommandFactory;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

tests! {
    []
        the_pages_tell_of_every_command_and_option,
        the_page_of_the_configuration_has_every_key,
        no_line_of_a_page_is_taken_for_a_macro_that_is_none,
        completions_know_every_option_and_the_commands,
        the_unit_lets_the_server_write_where_its_configuration_says_and_nowhere_else;
    [BASH]
        bash_completes_named_hosts_then_commands,
        bash_completes_the_arguments_of_a_command,
        bash_completes_names_of_accounts;
}

fn main() -> std::process::ExitCode {
    common::needs::run(&[TESTS])
}

fn package(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/package").join(name)
}

/// A generated file; of a page, as it is read.
fn generated(name: &str) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    generate::generate(folder.path()).expect("writable");
    let text = fs::read_to_string(folder.path().join(name)).expect("it is written");
    text.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "").replace("\\fI", "")
}

/// The commands that have none below them, by all the words they are called with.
fn leaves(command: &clap::Command, path: &str) -> Vec<(String, clap::Command)> {
    let below = command.get_subcommands().map(|below| leaves(below, &format!("{path} {}", below.get_name())));
    let all: Vec<_> = below.flatten().collect();
    if all.is_empty() { vec![(path.to_string(), command.clone())] } else { all }
}

fn long_options(command: &clap::Command) -> Vec<String> {
    command.get_arguments().filter_map(|arg| arg.get_long()).map(|long| format!("--{long}")).collect()
}

fn the_pages_tell_of_every_command_and_option() {
    let client = generated("berth.1");
    let server = generated("berthd.8");
    for command in COMMANDS {
        assert!(
            client.contains(&format!("\n{} {}", command.name, command.usage).trim_end().to_string()),
            "{}",
            command.name
        );
        assert!(
            command.options.iter().all(|(option, _)| client.contains(&format!("\n{option}: "))),
            "{}",
            command.name
        );
    }
    for option in long_options(&Args::command()) {
        assert!(client.contains(&option), "{option}");
    }
    let leaves =
        [(&client, leaves(&HostArgs::command(), "berth host")), (&server, leaves(&CommandLine::command(), "berthd"))];
    for (page, leaves) in leaves {
        assert!(leaves.len() > 2);
        for (path, command) in leaves {
            assert!(page.contains(&format!("\n{path}")), "{path}");
            assert!(long_options(&command).iter().all(|option| page.contains(option)), "{path}");
        }
    }
    assert!(client.contains("130\ninterrupted") && client.contains("BERTH_PASSWORD"));
}

fn the_page_of_the_configuration_has_every_key() {
    let page = generated("berthd.json.5");
    let text = fs::read_to_string(package("../berthd.json")).expect("there");
    let keys: Value = serde_json::from_str(&text).expect("JSON");
    for (key, value) in keys.as_object().expect("an object") {
        match value.as_object() {
            None => assert!(page.contains(key), "{key}"),
            Some(below) => below.keys().for_each(|below| {
                assert!(
                    page.contains(&format!("{key}.{below}")) || page.contains(&format!(".{below}")),
                    "{key}.{below}"
                );
            }),
        }
    }
}

fn no_line_of_a_page_is_taken_for_a_macro_that_is_none() {
    for name in ["berth.1", "berthd.8", "berthd.json.5"] {
        for line in generated(name).lines().filter(|line| line.starts_with(['.', '\''])) {
            let word = line.split_whitespace().next().unwrap_or_default();
            let known = [".TH", ".SH", ".PP", ".TP", ".IP", ".nf", ".fi", ".br", ".ie", ".el", ".RS", ".RE"];
            assert!(known.contains(&word), "{name}: {line}");
        }
    }
}

fn completions_know_every_option_and_the_commands() {
    for (file, program) in [
        ("berth.bash", Args::command()),
        ("_berth", Args::command()),
        ("berthd.bash", CommandLine::command()),
        ("_berthd", CommandLine::command()),
    ] {
        let text = generated(file);
        assert!(long_options(&program).iter().all(|option| text.contains(option)), "{file}");
    }
    for file in ["berth.bash", "_berth", "berth.fish"] {
        let text = generated(file);
        let mut words = COMMANDS.iter().map(|command| command.name).filter(|name| *name != "!").chain(["host"]);
        assert!(words.all(|word| text.contains(word)), "{file}");
    }
}

/// What bash offers at the end of `line`.
fn completed(place: &common::Place, line: &str) -> Vec<String> {
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
    let place = common::Place::new();
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
    let place = common::Place::new();
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
}

fn bash_completes_names_of_accounts() {
    let place = common::Place::new();
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

fn the_unit_lets_the_server_write_where_its_configuration_says_and_nowhere_else() {
    let config = Config::load(&package("berthd.json")).expect("valid");
    let unit = fs::read_to_string(package("berthd.service")).expect("there");
    let values = |key: &str| -> Vec<String> {
        let lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines.flat_map(str::split_whitespace).map(str::to_string).collect()
    };
    let logs = config.logs.access.parent().expect("a folder");
    assert_eq!(config.logs.transactions.parent(), Some(logs));
    let mut folders: Vec<_> = config.home_roots.iter().map(|root| root.display().to_string()).collect();
    folders.extend(["/etc/berth/tls".into(), logs.display().to_string()]);
    // With a dash, so that one that is missing is named by the server and not by a mount that failed.
    assert_eq!(values("ReadWritePaths"), folders.iter().map(|folder| format!("-{folder}")).collect::<Vec<_>>());
    assert_eq!(
        values("RuntimeDirectory"),
        [config.control_folder.strip_prefix("/run").expect("in /run").display().to_string()]
    );
    assert_eq!(values("LogsDirectory"), [""; 0], "it gives old logs back to the server's user");
    assert_eq!(config.user.map(|user| vec![user]), Some(values("User")));
    let rotation = fs::read_to_string(package("berth.logrotate")).expect("there");
    assert!(rotation.starts_with(&format!("{}/*.log {{", logs.display())));
    assert_eq!(values("RestrictSUIDSGID"), [""; 0], "it takes openat2 from the server");
    assert!(values("SystemCallFilter").ends_with(&["@chown".into()]), "uploads keep the group of what they replace");
    assert_eq!(values("ProcSubset"), ["pid"]);
    assert_eq!(values("Environment"), ["BERTH_BOOT_ID=%b"], "/proc/sys does not tell it");
}
