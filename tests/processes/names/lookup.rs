//! Which files the names in commands refer to.

use std::ffi::OsStr;
use std::fs;

use super::{Visit, files, name};
use crate::support::PASSWORD;

/// A name that is a pattern too, and what it fits.
const PAIRS: [(&str, &str); 5] =
    [("report[1].txt", "report1.txt"), ("st*r", "star"), ("wh?", "who"), ("[!a]", "b"), ("x[a-c]\\y*", "xb\\yz")];

#[test]
fn each_command_prefers_an_existing_name_to_a_pattern() {
    for (exactly, other) in PAIRS {
        let visit = Visit::new(&[]);
        visit.plant_there(&[exactly, other]);
        assert_eq!(visit.ok(&["cat", exactly]), exactly);
        assert_eq!(visit.ok(&["ls", exactly]).lines().count(), 1);
        assert_eq!(visit.ok(&["du", exactly]).lines().count(), 1);
        assert_eq!(visit.ok(&["stat", exactly]).lines().count(), 5);
        assert_eq!(visit.ok(&["sha256", exactly]).lines().count(), 1);
        visit.ok(&["get", exactly]);
        assert_eq!(files(&visit.place.here("")), [exactly]);
        visit.ok(&["mv", exactly, "moved"]);
        assert_eq!(fs::read(visit.there("moved")).expect("moved"), exactly.as_bytes());
        visit.ok(&["mv", "moved", exactly]);
        visit.ok(&["rm", exactly]);
        assert_eq!(files(&visit.there("")), [other]);
        visit.ok(&["rm", exactly]);
        assert_eq!(files(&visit.there("")), [""; 0], "{exactly} is a pattern where it is no name");
    }
}

#[test]
fn existing_names_are_preferred_in_the_middle_of_a_path() {
    let visit = Visit::new(&[]);
    visit.plant_there(&["dir[1]/x", "dir[1]/y*", "dir[1]/yz", "dir1/x", "dir1/q", "file[1]", "file1/x"]);
    assert_eq!(visit.ok(&["cat", "dir[1]/y*"]), "dir[1]/y*");
    assert_eq!(visit.ok(&["cat", "dir[1]/?"]), "dir[1]/x");
    assert_eq!(visit.ok(&["cat", "file[1]/x"]), "file1/x", "a file holds nothing");
    assert_eq!(visit.ok(&["ls", "dir[1]/"]), "x\ny*\nyz\n");
    assert_eq!(visit.ok(&["-c", "cd dir[1]; pwd"]), "/dir[1]\n");
    assert!(visit.run(&["cat", "dir[1]/q"]).expect_code(1).stderr.contains("dir[1]/q"));
    visit.ok(&["get", "-r", "dir[1]"]);
    assert_eq!(files(&visit.place.here("")), ["dir[1]/x", "dir[1]/y*", "dir[1]/yz"]);
    visit.ok(&["mkdir", "e[1]", "e1"]);
    visit.ok(&["rmdir", "e[1]"]);
    assert!(visit.there("e1").is_dir() && !visit.there("e[1]").exists());
    visit.ok(&["rm", "-r", "dir[1]"]);
    assert_eq!(files(&visit.there("")), ["dir1/q", "dir1/x", "file1/x", "file[1]"]);
}

#[test]
fn each_word_is_expanded_by_itself_and_quoted_ones_are_no_patterns() {
    let visit = Visit::new(&[]);
    visit.plant_there(&["a[1]", "a1", "b1", "b2", "c?", "cc"]);
    assert_eq!(visit.ok(&["cat", "a[1]", "b*", "c?"]), "a[1]b1b2c?");
    for (word, shown) in
        [("b*", "b1b2"), ("c\\?", "c?"), ("'c?'", "c?"), ("\"c?\"", "c?"), ("a[1]", "a[1]"), ("'a'[1]", "a[1]")]
    {
        assert_eq!(visit.ok(&["-c", &format!("cat {word}")]), shown, "{word}");
    }
    for word in ["'b*'", "\"b*\"", "b\\*"] {
        visit.run(&["-c", &format!("rm {word}")]).expect_code(1);
    }
    assert_eq!(files(&visit.there("")).len(), 6);
}

#[test]
fn existing_local_names_are_preferred_and_words_that_a_shell_expanded_stay() {
    let visit = Visit::new(&[]);
    visit.plant_here(&["a[1].dat", "a1.dat", "d[1]/x", "d1/x", "t*/in", "~/in", "st*r", "star"]);
    visit.ok(&["put", "a[1].dat"]);
    visit.ok(&["put", "-r", "d[1]", "st*r", "/"]);
    assert_eq!(files(&visit.there("")), ["a[1].dat", "d[1]/x", "st*r"]);
    visit.ok(&["put", "a1.dat", "a[1].dat", "st*r", "star", "/"]);
    assert_eq!(files(&visit.there("")), ["a1.dat", "a[1].dat", "d[1]/x", "st*r", "star"]);
    assert_eq!(visit.ok(&["lls", "-1", "d[1]", "st*r"]), "st*r\n\nd[1]:\nx\n");
    assert_eq!(visit.ok(&["-c", "lcd t*; lls"]), "in\n");
    assert_eq!(visit.ok(&["-c", "lcd '~'; lls; lcd ..; lcd ~; lls"]), "in\nin\n");
    visit.ok(&["get", "star", "t*"]);
    visit.ok(&["get", "star", "~/got"]);
    assert!(visit.place.here("t*/star").exists() && visit.place.here("~/got").exists());
    visit.ok(&["mirror", "d[1]", "m[1]"]);
    visit.ok(&["mirror", "--from", "m[1]", "back*"]);
    assert!(visit.there("m[1]/x").exists() && visit.place.here("back*/x").exists());
    visit.ok(&["put", "star", "up*"]);
    assert!(visit.there("up*").exists());
}

#[test]
fn a_tilde_is_the_home_unless_an_entry_has_that_name() {
    let visit = Visit::new(&[]);
    fs::write(visit.place.path("user/mine"), "mine").expect("writable");
    visit.ok(&["put", "~/mine"]);
    assert_eq!(visit.ok(&["-c", "lcd ~; lls mine; cat mine"]), "mine\nmine");
}

#[test]
fn arguments_of_one_command_can_name_any_bytes() {
    for bytes in [
        &b"  "[..],
        b" lead",
        b"trail ",
        b"\xff\xfe",
        b"!x",
        b"#x",
        b"it's",
        b"\"q\"",
        b"{a,b}",
        b"a\\",
        b"-",
        b"a;b",
        b"a\nb",
    ] {
        let visit = Visit::new(&[]);
        let word = name(bytes);
        fs::write(visit.place.here(&word), "x").expect("writable");
        let run = |arguments: &[&OsStr]| visit.place.run(visit.command_with(arguments)).expect_code(0);
        let dotted = name(&[b"./", bytes].concat());
        run(&[OsStr::new("put"), &dotted]);
        assert_eq!(fs::read(visit.place.home("ann", &word)).expect("sent"), b"x", "{word:?}");
        assert_eq!(run(&[OsStr::new("cat"), &word]).stdout, "x");
        fs::remove_file(visit.place.here(&word)).expect("ours");
        run(&[OsStr::new("get"), &word]);
        assert!(visit.place.here(&word).exists(), "{word:?}");
        run(&[OsStr::new("rm"), &word]);
        assert!(!visit.place.home("ann", &word).exists(), "{word:?}");
    }
}

#[test]
fn quoted_words_in_scripts_can_be_any_name() {
    let visit = Visit::new(&[]);
    visit.plant_there(&["!x", "#x", "-r", "  ", " a ", "it's", "--"]);
    let script = "cat '!x'; cat '#x' # no name\ncat \\#x\ncat '-r' \\-r ./-r -- -r --\ncat '  '\ncat \" a \" it\\'s";
    assert_eq!(visit.ok(&["-c", script]), "!x#x#x-r-r-r-r--   a it's");
}

#[test]
fn a_word_with_a_dash_is_an_option_or_an_error() {
    let visit = Visit::new(&[]);
    visit.plant_there(&["-old", "old", "-r", "-f", "d/x"]);
    visit.plant_here(&["-new"]);
    for arguments in
        [["rm", "-old"], ["cat", "-old"], ["get", "-old"], ["mv", "-old"], ["put", "-new"], ["mirror", "-new"]]
    {
        let stderr = visit.run(&arguments).expect_code(2).stderr;
        assert!(stderr.contains(&format!("write ./{}", arguments[1])), "{stderr}");
    }
    assert_eq!(files(&visit.there("")).len(), 5);
    assert_eq!(visit.ok(&["cat", "./-old"]), "-old");
    visit.ok(&["put", "--", "-new"]);
    visit.ok(&["rm", "-r", "d"]);
    visit.ok(&["rm", "--", "-old", "-r"]);
    assert_eq!(files(&visit.there("")), ["-f", "-new", "old"]);
    for command in ["ls", "pwd", "quota", "df", "lpwd", "lls", "cd", "lcd"] {
        visit.ok(&[command, "--"]);
    }
}

#[test]
fn exclude_matches_a_literal_name_with_brackets() {
    let visit = Visit::new(&[]);
    visit.plant_here(&["t/a[1].tmp", "t/b"]);
    visit.ok(&["mirror", "--exclude", "a[1].tmp", "t", "t"]);
    assert_eq!(files(&visit.there("t")), ["b"]);
}

#[test]
fn local_commands_do_not_inherit_berth_password() {
    let visit = Visit::new(&[]);
    let shown = visit.ok(&["-c", "!env"]);
    assert!(shown.contains("HOME=") && !shown.contains(PASSWORD) && !shown.contains("BERTH_PASSWORD"), "{shown}");
}
