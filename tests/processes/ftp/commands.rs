//! Every command and its reply codes, as the RFCs define them.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, UNIX_EPOCH};

use super::Scene;
use super::client::Client;
use crate::support::{pattern, sha256};
use berth::protocol::ftp::list_options::OPTIONS;
use berth::protocol::ftp::table::{Allowed, COMMANDS, HomeEffect, Row};

/// 2020-03-04 05:06:07.
const MOMENT: (u64, &str) = (1_583_298_367, "20200304050607");

/// With a file, a directory, and a file in it.
fn scene() -> Scene {
    let scene = Scene::new();
    scene.write("file", b"0123456789");
    scene.write("folder/inner", b"abc");
    set_time(&scene, "file");
    scene
}

fn set_time(scene: &Scene, path: &str) {
    let file = File::options().write(true).open(scene.home(path)).expect("there");
    file.set_times(FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(MOMENT.0))).expect("ours");
}

/// Sends each command and compares the code of its answer.
#[track_caller]
fn check(client: &mut Client, commands: &[(&str, &[u16])]) {
    for (command, codes) in commands {
        let reply = client.ask(command);
        assert!(codes.contains(&reply.code), "{command}: {reply:?}, not {codes:?}");
    }
}

#[test]
fn directories_are_changed_made_and_removed() {
    let scene = scene();
    let mut client = scene.login();
    assert_eq!(client.ask("PWD").expect(&[257]).text().split('"').nth(1), Some("/"));
    check(
        &mut client,
        &[("CWD folder", &[250]), ("CDUP", &[200, 250]), ("CWD /folder", &[250]), ("XCUP", &[200, 250])],
    );
    check(
        &mut client,
        &[("CDUP", &[200, 250, 550]), ("CWD folder", &[250]), ("CWD ..", &[250]), ("XCWD /folder", &[250])],
    );
    assert_eq!(client.ask("XPWD").expect(&[257]).text().split('"').nth(1), Some("/folder"));
    assert_eq!(client.ask("MKD new").expect(&[257]).text().split('"').nth(1), Some("/folder/new"));
    assert!(scene.home("folder/new").is_dir());
    check(&mut client, &[("MKD new", &[550]), ("MKD none/new", &[550]), ("XMKD /other", &[257]), ("RMD new", &[250])]);
    assert!(!scene.exists("folder/new"));
    check(&mut client, &[("RMD new", &[550]), ("RMD /folder", &[550]), ("RMD /file", &[550]), ("XRMD /other", &[250])]);
    check(&mut client, &[("CWD none", &[550]), ("CWD /file", &[550]), ("RMD /", &[550, 553])]);
    assert_eq!(client.ask("PWD").expect(&[257]).text().split('"').nth(1), Some("/folder"));
}

#[test]
fn a_path_in_a_reply_is_quoted_with_its_quotes_doubled() {
    let scene = Scene::new();
    let mut client = scene.login();
    let reply = client.ask("MKD say \"hi\" & bye").expect(&[257]);
    assert!(reply.text().starts_with("\"/say \"\"hi\"\" & bye\""), "{reply:?}");
    client.ask("CWD say \"hi\" & bye").expect(&[250]);
    let reply = client.ask("PWD").expect(&[257]);
    assert!(reply.text().starts_with("\"/say \"\"hi\"\" & bye\""), "{reply:?}");
    assert!(scene.exists("say \"hi\" & bye"));
}

#[test]
fn names_may_begin_and_end_with_spaces_and_need_not_be_utf_8() {
    let scene = Scene::new();
    let mut client = scene.login();
    client.ask("MKD  two spaces ").expect(&[257]);
    assert!(scene.exists(" two spaces "));
    client.ask_bytes(b"MKD caf\xe9").expect(&[257]);
    client.ask_bytes("MKD caf\u{e9}".as_bytes()).expect(&[257]);
    let names: Vec<_> =
        fs::read_dir(scene.home("")).expect("there").map(|entry| entry.expect("one").file_name()).collect();
    use std::os::unix::ffi::OsStrExt;
    for name in [&b"caf\xe9"[..], "caf\u{e9}".as_bytes()] {
        assert!(names.iter().any(|it| it.as_bytes() == name), "{names:?}");
        client.ask_bytes(&[b"CWD /", name].concat()).expect(&[250]);
    }
    // An escaped 0xFF of telnet is one 0xFF.
    client.ask_bytes(b"MKD /y\xff\xffy").expect(&[257]);
    client.ask_bytes(b"CWD /y\xff\xffy").expect(&[250]);
    let names: Vec<_> =
        fs::read_dir(scene.home("")).expect("there").map(|entry| entry.expect("one").file_name()).collect();
    assert!(names.iter().any(|it| it.as_bytes() == b"y\xffy"), "{names:?}");
}

#[test]
fn files_are_renamed_and_removed() {
    let scene = scene();
    let mut client = scene.login();
    check(&mut client, &[("RNTO new", &[503]), ("RNFR none", &[550]), ("RNTO new", &[503])]);
    check(&mut client, &[("RNFR file", &[350]), ("RNTO folder/moved", &[250])]);
    scene.holds("folder/moved", b"0123456789");
    check(&mut client, &[("RNFR folder", &[350]), ("RNTO folder/inside", &[550, 553])]);
    check(&mut client, &[("RNFR folder", &[350]), ("RNTO renamed", &[250]), ("RNTO again", &[503])]);
    check(&mut client, &[("DELE renamed/moved", &[250]), ("DELE renamed/moved", &[550]), ("DELE renamed", &[550])]);
    assert!(!scene.exists("renamed/moved") && scene.exists("renamed/inner"));
    scene.check_ledger();
}

#[test]
fn a_rename_is_over_when_another_command_comes_between() {
    let scene = scene();
    let mut client = scene.login();
    check(&mut client, &[("RNFR file", &[350]), ("NOOP", &[200]), ("RNTO new", &[503])]);
    check(&mut client, &[("RNFR file", &[350]), ("DELE folder/inner", &[250]), ("RNTO new", &[503])]);
    for wrong in ["XYZZY", "LANG", "RNTO", "MODE X", &"x".repeat(10_000)] {
        check(&mut client, &[("RNFR file", &[350]), (wrong, &[500, 501, 502, 504]), ("RNTO new", &[503])]);
    }
    check(&mut client, &[("RNFR none", &[550]), ("RNFR file", &[350]), ("RNFR folder", &[350]), ("RNTO new", &[250])]);
    assert!(scene.exists("file") && scene.home("new").is_dir());
}

#[test]
fn types_modes_and_structures_are_those_of_the_minimum() {
    let scene = scene();
    let mut client = scene.login();
    check(
        &mut client,
        &[("TYPE A", &[200]), ("TYPE A N", &[200]), ("TYPE I", &[200]), ("TYPE L 8", &[200]), ("TYPE i", &[200])],
    );
    check(
        &mut client,
        &[("TYPE E", &[504]), ("TYPE L 7", &[504]), ("TYPE A C", &[504]), ("TYPE", &[501]), ("TYPE X", &[501, 504])],
    );
    check(&mut client, &[("MODE S", &[200]), ("MODE B", &[504]), ("MODE Z", &[504]), ("MODE X", &[501, 504])]);
    check(&mut client, &[("STRU F", &[200]), ("STRU R", &[504]), ("STRU P", &[504]), ("STRU", &[501])]);
}

#[test]
fn no_type_changes_bytes() {
    let scene = Scene::new();
    let mut client = scene.login();
    let content = b"one\r\ntwo\nthree\rfour\r\r\n\xff\0";
    for kind in ["A", "I", "L 8"] {
        client.ask(&format!("TYPE {kind}")).expect(&[200]);
        client.stores("text", content);
        scene.holds("text", content);
        assert_eq!(client.ask("SIZE text").expect(&[213]).text(), content.len().to_string());
        assert_eq!(client.get("RETR text"), content);
    }
}

#[test]
fn size_and_mdtm_report_size_and_time() {
    let scene = scene();
    let mut client = scene.login();
    assert_eq!(client.ask("SIZE file").expect(&[213]).text(), "10");
    assert_eq!(client.ask("MDTM file").expect(&[213]).text().get(..14), Some(MOMENT.1));
    check(
        &mut client,
        &[("SIZE none", &[550]), ("SIZE folder", &[550]), ("MDTM none", &[550]), ("SIZE", &[501]), ("MDTM", &[501])],
    );
}

#[test]
fn a_time_that_the_file_system_does_not_keep_is_told_as_it_is_kept() {
    let scene = scene();
    let mut client = scene.login();
    for command in ["MFMT 19000101000000 file", "MFMT 99991231235959 file", "MDTM 19000101000000 file"] {
        let reply = client.ask(command);
        let kept = client.ask("MDTM file").expect(&[213]);
        if reply.code == 213 {
            assert_eq!(reply.text(), format!("Modify={}; file", kept.text()), "{command}");
        }
    }
}

#[test]
fn times_are_set_by_mfmt_and_as_old_clients_do() {
    let scene = scene();
    let mut client = scene.login();
    let seconds =
        |path| scene.home(path).metadata().expect("there").modified().expect("one").duration_since(UNIX_EPOCH);
    let reply = client.ask("MFMT 20010203040506 folder/inner").expect(&[213]);
    assert_eq!(reply.text(), "Modify=20010203040506; folder/inner");
    assert_eq!(seconds("folder/inner").expect("after 1970").as_secs(), 981_173_106);
    client.ask("MDTM 20020203040506 file").expect(&[213, 253]);
    assert_eq!(client.ask("MDTM file").expect(&[213]).text().get(..14), Some("20020203040506"));
    check(
        &mut client,
        &[("MFMT 20010203040506 none", &[550]), ("MFMT x file", &[501]), ("MFMT 20011303040506 file", &[501])],
    );
    check(&mut client, &[("MFMT", &[501]), ("MFMT 20010203040506", &[501])]);
}

#[test]
fn a_digest_is_the_one_that_sha256sum_prints() {
    let scene = scene();
    let content = pattern(1, 3 << 20);
    scene.write("large", &content);
    let mut client = scene.login();
    let digest = sha256(&content);
    let hash = client.ask("HASH large").expect(&[213]);
    assert_eq!(hash.text(), format!("SHA-256 0-{} {digest} /large", content.len()));
    assert!(client.ask("XSHA256 large").expect(&[250]).text().to_lowercase().contains(&digest));
    check(
        &mut client,
        &[("HASH none", &[550]), ("XSHA256 none", &[550]), ("HASH folder", &[550, 553]), ("HASH", &[501])],
    );
    check(&mut client, &[("OPTS HASH SHA-256", &[200]), ("OPTS HASH MD4", &[501, 504])]);
}

#[test]
fn the_document_has_every_command_as_the_program_explains_it() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ftp.md")).expect("there");
    let (_, rest) = page.split_once("<!-- commands:begin -->\n").expect("a beginning");
    let (table, rest) = rest.split_once("<!-- commands:end -->").expect("an end");
    let row = |row: &Row| {
        let also: String = row.names[1..].iter().map(|name| format!(" (also `{name}`)")).collect();
        let [usage, description] = [row.usage, row.description].map(|text| text.replace('|', "\\|"));
        let allowed = match row.allowed {
            Allowed::Always => "yes",
            Allowed::AfterLogin => "",
        };
        let effect = match row.effect {
            HomeEffect::Nothing => "",
            HomeEffect::Reads => "reads",
            HomeEffect::Changes => "changes",
            HomeEffect::ReadsOrChanges => "reads or changes",
        };
        format!("| `{usage}`{also} | {description} | {allowed} | {effect} |\n")
    };
    let heading = "| Command | What it does | Before login | Home |\n|---|---|---|---|\n";
    let expected = COMMANDS.iter().map(row).fold(heading.to_string(), |table, row| table + &row);
    assert!(table == expected, "it should be:\n{expected}");
    // And the options of LIST, each with a meaning.
    let options = OPTIONS.chars().filter(|letter| !rest.contains(&format!("`-{letter}`")));
    assert_eq!(options.collect::<String>(), "");
}

/// An argument with which the command is no syntax error.
fn argument(row: &Row) -> &'static str {
    match row.names[0] {
        "PBSZ" | "ALLO" | "REST" => " 0",
        "AUTH" => " TLS",
        "PROT" => " P",
        "OPTS" => " UTF8 ON",
        "TYPE" => " I",
        "STRU" => " F",
        "MODE" => " S",
        "PORT" => " 127,0,0,1,4,0",
        "EPRT" => " |1|127.0.0.1|1024|",
        "MDTM" | "MFMT" | "SITE UTIME" => " 20200304050607 file",
        "RMD" => " folder",
        "MKD" => " new",
        "SITE CHMOD" => " 600 file",
        "CWD" | "USER" | "PASS" | "ACCT" | "CLNT" | "DELE" | "RNFR" | "RNTO" | "RETR" | "STOR" | "APPE" | "SIZE"
        | "HASH" | "XSHA256" => " file",
        _ => "",
    }
}

#[test]
fn the_table_tells_what_is_refused_before_login() {
    let scene = scene();
    let mut client = Client::connect(scene.ftp);
    for row in COMMANDS.iter().filter(|row| !["USER", "AUTH", "QUIT", "SITE"].contains(&row.names[0])) {
        for name in row.names {
            let reply = client.ask(&format!("{name}{}", argument(row)));
            assert_eq!(reply.code == 530, row.allowed == Allowed::AfterLogin, "{name}: {reply:?}");
        }
    }
}

#[test]
fn the_table_tells_what_is_refused_to_an_account_that_may_only_read() {
    let scene = Scene::with(serde_json::json!({}), serde_json::json!({}), &["--read-only"]);
    scene.write("file", b"0123456789");
    fs::create_dir(scene.home("folder")).expect("mkdir");
    for row in COMMANDS.iter().filter(|row| !["AUTH", "QUIT", "SITE"].contains(&row.names[0])) {
        let mut client = scene.login();
        if row.is_transfer {
            client.ask("EPSV").expect(&[229]);
        }
        if row.names[0] == "RNTO" {
            client.ask("RNFR file").expect(&[350]);
        }
        let reply = client.ask(&format!("{}{}", row.names[0], argument(row)));
        let is_refused = reply.code == 550 && reply.text().contains("read-only");
        let changes = matches!(row.effect, HomeEffect::Changes | HomeEffect::ReadsOrChanges);
        assert_eq!(is_refused, changes, "{}: {reply:?}", row.names[0]);
    }
}

#[test]
fn feat_names_the_supported_extensions() {
    let scene = scene();
    let mut client = scene.login();
    let feat = client.ask("FEAT").expect(&[211]);
    assert!(feat.inner().iter().all(|line| line.starts_with(' ')), "RFC 2389, 3.2: {feat:?}");
    let has = |name: &str| feat.inner().iter().any(|line| line.trim_start().starts_with(name));
    for name in [
        "UTF8",
        "SIZE",
        "MDTM",
        "MFMT",
        "REST STREAM",
        "MLST ",
        "TVFS",
        "EPSV",
        "EPRT",
        "AUTH TLS",
        "PBSZ",
        "PROT",
        "HASH ",
        "AVBL",
    ] {
        assert!(has(name) || ["EPRT", "TVFS"].contains(&name), "{name}: {feat:?}");
    }
    let facts = feat.inner().iter().find(|line| line.starts_with(" MLST")).expect("above").to_lowercase();
    for fact in ["type*;", "size*;", "modify*;", "perm*;", "unique*;", "unix.mode*;"] {
        assert!(facts.contains(fact), "{fact}: {facts}");
    }
}

#[test]
fn options_choose_facts_and_utf_8() {
    let scene = scene();
    let mut client = scene.login();
    check(&mut client, &[("OPTS UTF8 ON", &[200]), ("OPTS UTF-8 ON", &[200, 501]), ("opts utf8 on", &[200])]);
    client.ask("OPTS MLST size;type;").expect(&[200]);
    let facts = client.ask("MLST file").expect(&[250]).inner()[0].to_lowercase();
    assert!(facts.contains("size=10;") && facts.contains("type=file;") && !facts.contains("modify="), "{facts}");
    client.ask("OPTS MLST modify;").expect(&[200]);
    let facts = client.ask("MLST file").expect(&[250]).inner()[0].to_lowercase();
    assert!(facts.contains(&format!("modify={}", MOMENT.1)) && !facts.contains("size="), "{facts}");
    check(&mut client, &[("OPTS MLST", &[200]), ("OPTS", &[501]), ("OPTS NONE ON", &[451, 501, 504])]);
}

#[test]
fn one_entry_is_described_by_mlst_on_the_control_connection() {
    let scene = scene();
    fs::set_permissions(scene.home("file"), fs::Permissions::from_mode(0o640)).expect("ours");
    let mut client = scene.login();
    let reply = client.ask("MLST file").expect(&[250]);
    let [entry] = reply.inner() else { panic!("{reply:?}") };
    let (facts, path) = entry.strip_prefix(' ').expect("RFC 3659, 7.2").split_once("; ").expect("facts");
    assert!(["/file", "file"].contains(&path), "{entry}");
    let facts = facts.to_lowercase();
    for fact in ["type=file", "size=10", &format!("modify={}", MOMENT.1), "unix.mode=0640"] {
        assert!(facts.contains(fact), "{fact}: {facts}");
    }
    assert!(client.ask("MLST").expect(&[250]).inner()[0].to_lowercase().contains("type="), "the folder one is in");
    assert!(client.ask("MLST folder").expect(&[250]).inner()[0].to_lowercase().contains("type=dir"));
    client.ask("MLST none").expect(&[550]);
}

#[test]
fn status_is_told_with_and_without_a_path() {
    let scene = scene();
    let mut client = scene.login();
    let status = client.ask("STAT").expect(&[211]);
    assert!(status.lines.len() > 2 && status.lines.iter().any(|line| line.contains("ann")), "{status:?}");
    let directory = client.ask("STAT folder").expect(&[211, 212, 213]);
    assert!(directory.inner().iter().any(|line| line.ends_with(" inner")), "{directory:?}");
    let file = client.ask("STAT file").expect(&[211, 212, 213]);
    assert!(file.inner().iter().any(|line| line.contains(" 10 ") && line.ends_with("file")), "{file:?}");
    client.ask("STAT none").expect(&[450, 550]);
}

/// Whatever comes behind it, and however soon, a reply of several lines ends as it began.
#[test]
fn a_listing_by_stat_that_is_aborted_or_overtaken_is_still_one_reply() {
    let scene = scene();
    for number in 0..3000 {
        scene.write(&format!("many/{number}"), b"");
    }
    let mut client = scene.login();
    for directory in ["folder", "many"] {
        client.send(format!("STAT {directory}\r\nABOR\r\nNOOP\r\n").as_bytes());
        // A command that has not begun, because it waits for its file system, is aborted like a transfer.
        client.reply().expect(&[212, 426]);
        client.reply().expect(&[225, 226]);
        client.reply().expect(&[200]);
        client.send(format!("STAT {directory}\r\nSTAT\r\nNOOP\r\n").as_bytes());
        let listed = client.reply().expect(&[212]).inner().len();
        assert_eq!(listed, if directory == "many" { 3000 } else { 1 });
        client.reply().expect(&[211]);
        client.reply().expect(&[200]);
    }
    assert_eq!(client.ask("STAT many").expect(&[212]).inner().len(), 3000);
}

#[test]
fn avbl_reports_free_space() {
    let scene = Scene::with(serde_json::json!({}), serde_json::json!({}), &["--quota", "1M"]);
    scene.write("file", &[0; 1000]);
    let mut client = scene.login();
    assert_eq!(client.ask("AVBL").expect(&[213]).text(), ((1 << 20) - 1000).to_string());
    assert_eq!(client.ask("AVBL /").expect(&[213]).text(), ((1 << 20) - 1000).to_string());
    client.ask("AVBL none").expect(&[550]);
    let quota = client.ask("SITE QUOTA");
    let quota = format!("{:?}", quota.expect(&[200, 211, 213, 214, 250]).lines);
    assert!(quota.contains("1000") && quota.contains("1048576"), "{quota}");
}

#[test]
fn site_chmod_sets_modes_and_site_help_lists_commands() {
    let scene = scene();
    let mut client = scene.login();
    client.ask("SITE CHMOD 600 file").expect(&[200, 250]);
    assert_eq!(scene.home("file").metadata().expect("there").permissions().mode() & 0o7777, 0o600);
    client.ask("SITE CHMOD 0755 folder").expect(&[200, 250]);
    assert_eq!(scene.home("folder").metadata().expect("there").permissions().mode() & 0o7777, 0o755);
    check(&mut client, &[("SITE CHMOD 600 none", &[550]), ("SITE CHMOD 999 file", &[501]), ("SITE CHMOD", &[501])]);
    // Nothing but access for owner, group and others can be set.
    let reply = client.ask("SITE CHMOD 4755 file");
    assert!([200, 250, 501, 504].contains(&reply.code), "{reply:?}");
    assert_eq!(scene.home("file").metadata().expect("there").permissions().mode() & 0o7000, 0);
    let help = client.ask("SITE HELP").expect(&[214]);
    assert!(["CHMOD", "QUOTA", "HELP"].iter().all(|word| help.lines.concat().contains(word)), "{help:?}");
    check(&mut client, &[("SITE", &[501]), ("SITE EXEC ls", &[500, 501, 502, 504])]);
}

#[test]
fn modes_are_taken_in_each_form_of_chmod_and_set_the_lower_nine_bits() {
    let scene = scene();
    let mode = |path: &str| scene.home(path).metadata().expect("there").permissions().mode() & 0o7777;
    fs::set_permissions(scene.home("folder"), fs::Permissions::from_mode(0o3770)).expect("ours");
    let mut client = scene.login();
    for (text, on_file, on_directory) in [
        ("2775", 0o775, 0o3775),
        ("1777", 0o777, 0o3777),
        ("4755", 0o755, 0o3755),
        ("00644", 0o644, 0o3744),
        ("u+x", 0o744, 0o3744),
        ("g-w,o=r", 0o744, 0o3744),
        ("a+rX", 0o755, 0o3755),
        ("go=", 0o700, 0o3700),
        ("0755", 0o755, 0o3755),
        ("g+s,o+t", 0o755, 0o3755),
        ("000", 0o400, 0o3700),
    ] {
        for (path, expected) in [("file", on_file), ("folder", on_directory)] {
            let reply = client.ask(&format!("SITE CHMOD {text} {path}")).expect(&[200]);
            assert_eq!(mode(path), expected, "{text} {path}: {:o}", mode(path));
            let told = format!("Permissions set to {:03o}", expected & 0o777);
            assert!(reply.text().starts_with(&told), "{reply:?}");
        }
    }
    for wrong in ["u+q", "77777", "8", "u"] {
        client.ask(&format!("SITE CHMOD {wrong} file")).expect(&[501]);
    }
}

#[test]
fn a_blank_argument_means_the_current_directory() {
    let scene = scene();
    let mut client = scene.login();
    client.ask("CWD folder").expect(&[250]);
    for command in ["CWD ", "CWD   "] {
        let reply = client.ask(command).expect(&[250]);
        assert!(reply.text().starts_with("\"/folder\""), "{reply:?}");
    }
    for command in ["LIST ", "LIST  ", "NLST  ", "LIST -l ", "LIST -l  "] {
        assert!(client.list(command)[0].ends_with("inner"), "{command}");
    }
    client.ask("MLST  ").expect(&[250]);
    fs::create_dir(scene.home("folder/ ")).expect("ours");
    assert!(client.ask("CWD  ").expect(&[250]).text().starts_with("\"/folder/ \""));
}

#[test]
fn the_time_of_a_directory_is_told_and_its_size_is_not() {
    let scene = scene();
    File::open(scene.home("folder"))
        .expect("there")
        .set_times(FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_secs(MOMENT.0)))
        .expect("ours");
    let mut client = scene.login();
    for path in ["folder", "/folder/", "folder/."] {
        assert_eq!(client.ask(&format!("MDTM {path}")).expect(&[213]).text(), MOMENT.1);
        client.ask(&format!("SIZE {path}")).expect(&[550]);
    }
    client.ask("MDTM /").expect(&[213]);
}

#[test]
fn more_than_a_command_takes_is_ignored_where_it_takes_nothing() {
    let scene = scene();
    let mut client = scene.login();
    client.ask("CWD folder").expect(&[250]);
    check(
        &mut client,
        &[("PWD x", &[257]), ("CDUP x", &[250]), ("NOOP x", &[200]), ("SYST x", &[215]), ("FEAT x", &[211])],
    );
    assert!(client.ask("PWD").expect(&[257]).text().starts_with("\"/\""));
    client.ask("QUIT x").expect(&[221]);
}

#[test]
fn the_rest_of_the_commands_is_answered_as_the_rfcs_say() {
    let scene = scene();
    let mut client = scene.login();
    assert!(client.ask("SYST").expect(&[215]).text().starts_with("UNIX Type: L8"));
    check(
        &mut client,
        &[
            ("NOOP", &[200]),
            ("noop", &[200]),
            ("NoOp", &[200]),
            ("ALLO 1000", &[200, 202]),
            ("ALLO 1000 R 10", &[200, 202]),
        ],
    );
    check(&mut client, &[("ALLO", &[501]), ("ALLO x", &[501]), ("ACCT x", &[202, 230, 502, 503]), ("SMNT /", &[502])]);
    check(
        &mut client,
        &[("REIN", &[502]), ("ABOR", &[225, 226]), ("REST 5", &[350]), ("REST 0", &[350]), ("REST x", &[501])],
    );
    check(
        &mut client,
        &[
            ("CLNT test 1", &[200]),
            ("NONE", &[500]),
            ("X", &[500]),
            ("RETR", &[501]),
            ("CWD", &[501]),
            ("DELE", &[501]),
        ],
    );
    check(&mut client, &[("USER ben", &[530]), ("PASS x", &[202, 230, 503, 530])]);
    let help = client.ask("HELP").expect(&[211, 214]);
    for verb in ["RETR", "STOR", "MLSD", "HELP", "QUIT"] {
        assert!(help.lines.iter().any(|line| line.contains(verb)), "{verb}: {help:?}");
    }
    assert!(client.ask("HELP RETR").expect(&[211, 214]).lines.concat().contains("RETR"));
    check(&mut client, &[("HELP NONE", &[501, 502, 504]), ("PWD", &[257])]);
    client.ask("QUIT").expect(&[221]);
    client.expect_end();
}

#[test]
fn replies_have_the_words_that_other_servers_have() {
    let scene = scene();
    let mut client = scene.login();
    for (command, reply) in [
        ("TYPE I", "200 Type set to I."),
        ("TYPE A N", "200 Type set to A."),
        ("MODE S", "200 Mode set to S."),
        ("STRU F", "200 Structure set to F."),
        ("NOOP", "200 OK."),
        ("CWD", "501 Syntax error; usage: CWD <path>"),
        ("SITE CHMOD", "501 Syntax error; usage: SITE CHMOD <mode> <path>"),
        ("XYZZY", "500 XYZZY: unknown command; HELP lists the commands."),
        ("REIN", "502 Command not implemented; HELP lists the commands."),
        ("TYPE E", "504 Parameter not supported; use TYPE I, TYPE A or TYPE L 8."),
        ("RETR file", "425 No data connection; send EPSV or PASV first."),
        ("RNTO new", "503 Send RNFR directly before RNTO."),
        ("MKD new", "257 \"/new\" created."),
        ("CWD new", "250 \"/new\" is the current directory."),
        ("CDUP", "250 \"/\" is the current directory."),
        ("MKD new", "550 /new: already exists."),
        ("RMD new", "250 Directory removed."),
        ("SIZE none", "550 /none: no such file or directory."),
        ("REST 5", "350 Restart position accepted (5); send RETR or STOR."),
    ] {
        assert_eq!(client.ask(command).lines, [reply], "{command}");
    }
    client.ask("REST 0").expect(&[350]);
    client.stores("stored", b"content");
    assert_eq!(client.get("RETR stored"), b"content");
    let mut data = client.open("STOR cut");
    data.write(b"the beginning");
    client.send(b"ABOR\r\n");
    assert_eq!(client.reply().lines, ["426 Transfer aborted."]);
    assert_eq!(client.reply().lines, ["226 Abort successful."]);
}

#[test]
fn stou_finds_a_name_of_its_own_and_tells_it() {
    let scene = scene();
    let mut client = scene.login();
    let mut names = Vec::new();
    for content in [b"first ", b"second"] {
        let mut data = client.open("STOU");
        let begun = data.begun.clone();
        data.write(content);
        data.finish();
        let done = client.reply().expect(&[226, 250]);
        // RFC 1123, 4.1.2.9.
        let name =
            begun.text().strip_prefix("FILE: ").unwrap_or_else(|| panic!("{begun:?} {done:?}")).trim().to_string();
        assert_eq!(begun.code, 150);
        scene.holds(name.trim_matches('"').trim_start_matches('/'), content);
        names.push(name);
    }
    assert_ne!(names[0], names[1]);
}

#[test]
fn before_login_nothing_but_the_way_to_it_is_answered() {
    let scene = scene();
    let mut client = Client::connect(scene.ftp);
    for command in [
        "PWD",
        "CWD /",
        "CDUP",
        "PASV",
        "EPSV",
        "PORT 127,0,0,1,200,200",
        "EPRT |1|127.0.0.1|50000|",
        "RETR file",
        "STOR new",
        "APPE file",
        "STOU",
        "LIST",
        "NLST",
        "MLSD",
        "MLST",
        "STAT /",
        "SIZE file",
        "MDTM file",
        "DELE file",
        "RMD folder",
        "MKD new",
        "RNFR file",
        "RNTO new",
        "SITE CHMOD 777 file",
        "SITE QUOTA",
        "HASH file",
        "XSHA256 file",
        "MFMT 20200101000000 file",
        "AVBL",
        "REST 5",
        "ALLO 5",
    ] {
        let reply = client.ask(command);
        assert_eq!(reply.code, 530, "{command}: {reply:?}");
    }
    check(
        &mut client,
        &[("NOOP", &[200, 530]), ("FEAT", &[211]), ("HELP", &[211, 214]), ("SYST", &[215, 530]), ("PASS x", &[503])],
    );
    check(
        &mut client,
        &[("USER", &[501]), ("AUTH NONE", &[504]), ("PROT P", &[503]), ("PBSZ 0", &[503]), ("CCC", &[533, 503, 500])],
    );
    assert!(!scene.exists("new") && scene.exists("file"));
    client.enter("ann", crate::support::PASSWORD).expect(&[230]);
    client.ask("QUIT").expect(&[221]);
}

#[test]
fn a_session_that_may_only_read_changes_nothing() {
    let scene = Scene::with(serde_json::json!({}), serde_json::json!({}), &["--read-only"]);
    scene.write("file", b"0123456789");
    scene.write("folder/inner", b"abc");
    let mut client = scene.login();
    for command in ["STOR new", "APPE file", "STOU"] {
        let refusal = client.try_open(command).err().unwrap_or_else(|| client.reply());
        assert!([550, 553, 532].contains(&refusal.code), "{command}: {refusal:?}");
    }
    for command in ["DELE file", "MKD new", "RMD folder", "SITE CHMOD 777 file", "MFMT 20200101000000 file"] {
        let reply = client.ask(command);
        assert!([550, 553].contains(&reply.code), "{command}: {reply:?}");
    }
    let reply = client.ask("RNFR file");
    assert!([550, 553].contains(&reply.code) || [550, 553].contains(&client.ask("RNTO new").code), "{reply:?}");
    assert_eq!(client.get("RETR file"), b"0123456789");
    let facts = client.ask("MLST file").expect(&[250]).inner()[0].to_lowercase();
    let perm = facts.split_once("perm=").expect("the fact").1.split(';').next().expect("it ends");
    assert!(perm.contains('r') && !perm.contains(['w', 'd', 'f', 'a']), "{facts}");
    scene.holds("file", b"0123456789");
    assert!(scene.exists("folder/inner") && !scene.exists("new"));
}
