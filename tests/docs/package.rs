//! What a package installs beside the programs: man pages and completions tell of everything
//! there is, and the configuration, the unit and the rotation of logs fit each other. That the
//! package itself works is tried by `conf/package/try`.

#[path = "../../conf/package/generate.rs"]
#[allow(dead_code)] // Its `main`.
mod generate;

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use serde_json::Value;

use berth::admin::CommandLine;
use berth::client::cli::args::{Args, HostArgs};
use berth::client::syntax::command::COMMANDS;
use berth::config::Config;

fn package(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/package").join(name)
}

/// A generated file; of a page, as it is read.
fn generated(name: &str) -> String {
    let directory = tempfile::tempdir().expect("a temporary folder");
    generate::generate(directory.path()).expect("writable");
    let text = fs::read_to_string(directory.path().join(name)).expect("it is written");
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

#[test]
fn the_pages_tell_of_every_command_and_option() {
    let client = generated("berth.1");
    let server = generated("berthd.8");
    for command in COMMANDS {
        assert!(
            client.contains(&format!("\n{} {}", command.name, command.usage()).trim_end().to_string()),
            "{}",
            command.name
        );
        assert!(
            command.explained_options().all(|option| client.contains(&format!("\n{}: ", option.shown()))),
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

#[test]
fn the_guide_of_the_client_has_every_command_and_option() {
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/client.md")).expect("there");
    let rows_of = |name: &str| -> String {
        let is_named = |row: &&str| row.contains(&format!("`{name}`")) || row.contains(&format!("`{name} "));
        let rows: Vec<&str> = guide.lines().filter(|row| row.starts_with("| `")).filter(is_named).collect();
        rows.concat()
    };
    let mirrors = guide.split("\n## ").find(|section| section.starts_with("Mirrors")).expect("a section");
    for command in COMMANDS.iter().filter(|command| command.name != "!") {
        let mut text = rows_of(command.name);
        assert!(!text.is_empty(), "{}", command.name);
        if command.name == "lls" {
            assert!(text.contains("has the options of `ls`"));
            text += &rows_of("ls");
        } else if command.name == "mirror" {
            text += mirrors;
        }
        for option in command.options.iter().filter(|option| option.is_offered()) {
            assert!(text.contains(&*option.shown()), "{} {}", command.name, option.shown());
        }
    }
}

#[test]
fn completions_read_options_as_the_commands_do() {
    for file in ["berth.bash", "_berth", "berth.fish"] {
        let text = generated(file);
        assert!(!text.contains("@SWAP@") && !text.contains("@WITH_VALUE@"), "{file}");
        assert!(
            ["--from", "--exclude"]
                .iter()
                .all(|option| text.contains(&format!("{option}) ")) || text.contains(&format!("case {option}\n"))),
            "{file}"
        );
        let kinds = text.lines().filter_map(|line| {
            let (_, kind) = line.split_once(" kind=").or_else(|| line.split_once("set kind "))?;
            kind.split([' ', ';']).next().filter(|kind| !kind.is_empty() && *kind != "none")
        });
        for kind in kinds {
            assert!(text.contains(&format!("{kind}:")), "{file} completes nothing for {kind}");
        }
    }
}

#[test]
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

#[test]
fn no_line_of_a_page_is_taken_for_a_macro_that_is_none() {
    for name in ["berth.1", "berthd.8", "berthd.json.5"] {
        for line in generated(name).lines().filter(|line| line.starts_with(['.', '\''])) {
            let word = line.split_whitespace().next().unwrap_or_default();
            let known = [".TH", ".SH", ".PP", ".TP", ".IP", ".nf", ".fi", ".br", ".ie", ".el", ".RS", ".RE"];
            assert!(known.contains(&word), "{name}: {line}");
        }
    }
}

#[test]
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

#[test]
fn the_unit_lets_the_server_write_where_its_configuration_says_and_nowhere_else() {
    let config = Config::load(&package("berthd.json")).expect("valid");
    let unit = fs::read_to_string(package("berthd.service")).expect("there");
    let values = |key: &str| -> Vec<String> {
        let lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines.flat_map(str::split_whitespace).map(str::to_string).collect()
    };
    let logs = config.logs.access.parent().expect("a folder");
    assert_eq!(config.logs.transactions.parent(), Some(logs));
    let mut directories: Vec<_> = config.home_roots.iter().map(|root| root.display().to_string()).collect();
    directories.extend(["/etc/berth/tls".into(), logs.display().to_string()]);
    // With a dash, so that one that is missing is named by the server and not by a mount that failed.
    assert_eq!(
        values("ReadWritePaths"),
        directories.iter().map(|directory| format!("-{directory}")).collect::<Vec<_>>()
    );
    assert_eq!(
        values("RuntimeDirectory"),
        [config.control_directory.strip_prefix("/run").expect("in /run").display().to_string()]
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
