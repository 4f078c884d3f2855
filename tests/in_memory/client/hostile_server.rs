//! A hostile server: names that lead elsewhere, control characters, endless replies, numbers that overflow. The
//! server is a script in memory.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::scripted_server::{Answers, Seen, Stage, refusal};
use berth::base::digest::Digest;
use berth::base::text::is_unprintable;
use berth::base::upload_id::UploadId;
use berth::base::virtual_path::PATH_BYTES_MAX;
use berth::client::error::Failure;
use berth::client::shell::prompt::run_line;
use berth::client::ui::progress::ProgressStyle;
use berth::wire::frame::FrameType;
use berth::wire::message::{End, Entry, EntryKind, ErrorCode, ErrorReply, Name, Partial, QuotaReport};
use berth::wire::{Reply, Request, frame};

/// A directory with `state` for the client, `here` where files go, and `outside` where none may.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().expect("temporary folder"));
        for directory in ["here", "outside"] {
            fs::create_dir(place.path(directory)).expect("writable");
        }
        place
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn stage(&self, script: impl FnMut(Seen, &mut Answers) + 'static) -> Stage {
        Stage::new(self.0.path(), script)
    }

    /// Every path below, without those of the client's own state.
    fn files(&self) -> Vec<String> {
        let (mut found, mut directories) = (Vec::new(), vec![self.0.path().to_path_buf()]);
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).expect("readable") {
                let path = entry.expect("readable").path();
                let shown = path.strip_prefix(self.0.path()).expect("below").to_string_lossy().into_owned();
                if path.is_dir() && !path.is_symlink() && shown != "state" {
                    directories.push(path);
                }
                found.push(shown);
            }
        }
        found.retain(|path| path != "state");
        found.sort();
        found
    }
}

fn entry(name: impl Into<Name>, kind: EntryKind) -> Entry {
    Entry { name: name.into(), kind, size: 4, mtime_ns: 0, mode: 0o644, unexamined: false }
}

fn page(entries: Vec<Entry>, last: bool) -> Reply {
    Reply::Page { entries, last }
}

/// The end of a whole path, such as `c` of `/a/b/c`.
fn last_name(path: &Name) -> Vec<u8> {
    path.0.rsplit(|byte| *byte == b'/').next().expect("a name").to_vec()
}

fn send_file(id: u32, bytes: &[u8], answers: &mut Answers) {
    answers.reply(id, &Reply::File { size: bytes.len() as u64, mtime_ns: 0, etag: "e".into(), offset: 0, mode: None });
    answers.data(id, bytes);
    answers.end(id, &End { size: bytes.len() as u64, digest: Digest::of(bytes) });
}

/// A server whose directories hold `entries`, whichever directory is asked for, and whose files `evil`.
fn lists(entries: Vec<Entry>) -> impl FnMut(Seen, &mut Answers) {
    move |seen, answers| match seen {
        Seen::Request(id, Request::Stat { path }) => {
            let kind = if matches!(&last_name(&path)[..], b"d" | b"") { EntryKind::Dir } else { EntryKind::File };
            answers.reply(id, &Reply::Stat { entry: entry("x", kind), etag: None });
        }
        Seen::Request(id, Request::List { .. }) => answers.reply(id, &page(entries.clone(), true)),
        Seen::Request(id, Request::Get { .. }) => send_file(id, b"evil", answers),
        Seen::Request(id, Request::Digest { algorithm, .. }) => {
            answers.reply(id, &Reply::Digest { digest: Digest::by(algorithm, b"evil"), size: 4 });
        }
        Seen::Request(id, _) => answers.reply(id, &Reply::Done {}),
        _ => {}
    }
}

// ---- Where files go -----------------------------------------------------------------------

#[test]
fn no_listed_name_makes_get_write_outside_of_its_destination() {
    let long = "n".repeat(PATH_BYTES_MAX + 1);
    for name in ["..", ".", "", "a/b", "/etc/passwd", "../outside/x", "a\0b", "..\0", "/", &long] {
        for kind in [EntryKind::File, EntryKind::Dir] {
            for what in ["-r d", "*", "-r *", "d/*", "-r /"] {
                let place = Place::new();
                let good = entry("good", EntryKind::File);
                let mut stage = place.stage(lists(vec![good, entry(name, kind)]));
                let line = format!("get {what} {}", place.path("here").display());
                let failure = stage.run(&line).expect_err("refused");
                assert!(matches!(failure, Failure::Violation(_)), "{name:?} by {line}: {failure:?}");
                assert_eq!(place.files(), ["here", "outside"], "{name:?} by {line}");
            }
        }
    }
}

#[test]
fn a_name_that_is_too_long_is_reported_and_the_rest_is_downloaded() {
    for kind in [EntryKind::File, EntryKind::Dir] {
        for what in ["-r d", "*", "-r *", "d/*", "-r /"] {
            let place = Place::new();
            let long = "n".repeat(256);
            let good = entry("good", EntryKind::File);
            let mut stage = place.stage(lists(vec![good, entry(&long[..], kind)]));
            let failure = stage.run(&format!("get {what} {}", place.path("here").display())).expect_err("told");
            assert_eq!(failure.exit_code(), 1, "{what}: {failure}");
            let told = "longer than 255 bytes, so it is skipped";
            assert!(stage.remarks.text().contains(told), "{what}: {}", stage.remarks.text());
            assert!(place.files().iter().any(|path| path.ends_with("good")), "{what}: {:?}", place.files());
        }
    }
}

#[test]
fn files_named_like_partial_downloads_are_all_downloaded() {
    // What stands here already; what comes; what is told to have failed.
    type Names = &'static [&'static str];
    let cases: [(Names, &str, EntryKind, Names, usize); 4] = [
        (&[".x.berth-part"], ".x.1.berth-part", EntryKind::File, &[".x.1.berth-part", "x"], 0),
        (&[".x.berth-part", ".x.2.berth-part"], ".x.1.berth-part", EntryKind::File, &[".x.1.berth-part", "x"], 0),
        (&[".x.berth-part"], ".x.berth-part", EntryKind::File, &["x"], 1),
        (&[], ".x.berth-part", EntryKind::Dir, &["x"], 0),
    ];
    for (here, name, kind, coming, failed) in cases {
        let place = Place::new();
        fs::create_dir(place.path("here/d")).expect("writable");
        here.iter().for_each(|own| fs::write(place.path("here/d").join(own), "my own").expect("writable"));
        let mut stage = place.stage(move |seen, answers| match seen {
            Seen::Request(id, Request::List { path }) => {
                let files = vec![entry(name, kind), entry("x", EntryKind::File)];
                let is_listed = matches!(&last_name(&path)[..], b"d");
                answers.reply(id, &page(if is_listed { files } else { vec![] }, true));
            }
            other => lists(vec![])(other, answers),
        });
        let result = stage.run(&format!("get -r d {}", place.path("here").display()));
        assert_eq!(result.is_err(), failed > 0, "{here:?} {name}: {result:?} {}", stage.remarks.text());
        for own in here {
            assert_eq!(fs::read(place.path("here/d").join(own)).expect("there"), b"my own", "{own}");
        }
        for file in coming {
            assert_eq!(
                fs::read(place.path("here/d").join(file)).ok().as_deref(),
                Some(&b"evil"[..]),
                "{here:?} {file}"
            );
        }
    }
}

/// What `get` left of a tree `d` with the directory `sub` and the files `f` and `sub/f`.
fn get_tree(place: &Place, line: &str) -> (Result<(), Failure>, Vec<Request>) {
    let mut stage = place.stage(move |seen, answers| match seen {
        Seen::Request(id, Request::List { path }) => {
            let entries = match &last_name(&path)[..] {
                b"" => vec![entry("d", EntryKind::Dir)],
                b"d" => vec![entry("f", EntryKind::File), entry("sub", EntryKind::Dir)],
                b"sub" => vec![entry("deep", EntryKind::Dir), entry("f", EntryKind::File)],
                _ => vec![entry("f", EntryKind::File)],
            };
            answers.reply(id, &page(entries, true));
        }
        other => lists(vec![])(other, answers),
    });
    let result = stage.run(&format!("{line} {}", place.path("here").display()));
    (result, stage.requests())
}

#[test]
fn a_local_symlink_in_place_of_a_directory_of_a_tree_is_not_followed() {
    for line in ["get -r d", "get -r -f d", "get -r *", "get -r -f /d"] {
        let place = Place::new();
        fs::create_dir(place.path("here/d")).expect("writable");
        symlink(place.path("outside"), place.path("here/d/sub")).expect("writable");
        let (result, requests) = get_tree(&place, line);
        assert_eq!(result, Err(Failure::SomeFailed { failed: 1, total: 2 }), "{line}");
        assert_eq!(place.files(), ["here", "here/d", "here/d/f", "here/d/sub", "outside"], "{line}");
        let asked = requests.iter().filter(|request| matches!(request, Request::Get { .. })).count();
        assert_eq!(asked, 1, "what cannot be placed is not fetched");
    }
}

#[test]
fn a_local_symlink_in_place_of_a_tree_is_not_followed() {
    for line in ["get -r d", "get -r -f d", "get -r *", "get -r d d"] {
        let place = Place::new();
        symlink(place.path("outside"), place.path("here/d")).expect("writable");
        let (result, _) = get_tree(&place, line);
        result.expect_err("refused");
        assert_eq!(place.files(), ["here", "here/d", "outside"], "{line}");
    }
}

#[test]
fn a_symlink_that_the_user_names_as_the_destination_is_followed() {
    let place = Place::new();
    fs::remove_dir(place.path("here")).expect("empty");
    symlink(place.path("outside"), place.path("here")).expect("writable");
    get_tree(&place, "get -r d").0.expect("fetched");
    get_tree(&place, "get -r -f /").0.expect("fetched");
    assert!(place.path("outside/d/sub/deep/f").exists());
}

#[test]
fn a_local_symlink_in_place_of_a_file_or_its_part_is_neither_followed_nor_replaced() {
    for line in ["get f", "get -f f", "get -r f", "get -r -f f", "get -f *"] {
        for name in ["f", ".f.berth-part"] {
            for target in ["outside/victim", "outside/none"] {
                let place = Place::new();
                fs::write(place.path("outside/victim"), "mine").expect("writable");
                symlink(place.path(target), place.path("here").join(name)).expect("writable");
                let mut stage = place.stage(lists(vec![entry("f", EntryKind::File)]));
                let failure = stage.run(&format!("{line} {}", place.path("here").display())).expect_err("refused");
                assert_eq!(failure.exit_code(), 1, "{failure}");
                let link = format!("here/{name}");
                assert_eq!(place.files(), ["here", &link, "outside", "outside/victim"], "{line}");
                assert_eq!(fs::read(place.path("outside/victim")).expect("there"), b"mine");
                assert!(place.path(&link).is_symlink());
            }
        }
    }
}

#[test]
fn a_local_file_in_place_of_a_directory_stays_and_the_directory_is_skipped() {
    let place = Place::new();
    fs::create_dir(place.path("here/d")).expect("writable");
    fs::write(place.path("here/d/sub"), "mine").expect("writable");
    let (result, _) = get_tree(&place, "get -r -f d");
    assert_eq!(result, Err(Failure::SomeFailed { failed: 1, total: 2 }));
    assert_eq!(fs::read(place.path("here/d/sub")).expect("there"), b"mine");
    assert_eq!(place.files(), ["here", "here/d", "here/d/f", "here/d/sub", "outside"]);
}

// ---- What reaches the terminal ------------------------------------------------------------

/// Whatever makes a terminal do something, and what makes a person read something else.
const NASTY: &str =
    "x\u{1b}[2J\r\n\u{7}\u{8}\u{7f}\u{9b}31m\u{9d}0;title\u{9c}\u{202e}gpj\u{2066}\u{2028}\u{feff}\u{200f}";

fn nasty_error(code: ErrorCode) -> ErrorReply {
    ErrorReply { message: NASTY.into(), ..refusal(code) }
}

fn nasty_entries() -> Vec<Entry> {
    let kinds = [EntryKind::File, EntryKind::Dir, EntryKind::Link, EntryKind::Other];
    let endings: [&[u8]; 2] = [b"", b"\xff\x9b"];
    let name = |kind, ending: &[u8]| Name([NASTY.as_bytes(), ending, format!("{kind:?}").as_bytes()].concat());
    kinds.iter().flat_map(|kind| endings.map(|ending| entry(name(*kind, ending), *kind))).collect()
}

/// A server that sends control characters in every text, and refuses every request that it can refuse.
fn nasty_server(seen: Seen, answers: &mut Answers) {
    match seen {
        Seen::Request(id, Request::List { path }) => match &path.0[..] {
            b"/" => answers.reply(id, &page(nasty_entries(), true)),
            _ => answers.reply(id, &Reply::Error(nasty_error(ErrorCode::Denied))),
        },
        Seen::Request(id, Request::Stat { path }) => {
            let is_directory = path.0 == b"/" || path.0.ends_with(b"Dir");
            let found = entry(NASTY, if is_directory { EntryKind::Dir } else { EntryKind::File });
            answers.reply(id, &Reply::Stat { entry: found, etag: Some(NASTY.into()) });
        }
        Seen::Request(id, Request::Get { path, .. }) if path.0.ends_with(b"File") => {
            answers.reply(id, &Reply::File { size: 4, mtime_ns: 0, etag: NASTY.into(), offset: 0, mode: None });
            answers.data(id, b"ev");
            frame_json(answers, FrameType::Abort, id, &nasty_error(ErrorCode::Io));
        }
        Seen::Request(id, Request::Get { .. }) => send_file(id, b"evil", answers),
        Seen::Request(id, Request::Quota {}) => answers.reply(id, &Reply::Quota(QUOTA)),
        Seen::Request(id, Request::Partials {}) => {
            let partials = vec![Partial { path: NASTY.into(), ..partial() }];
            answers.reply(id, &Reply::Partials { partials, last: true });
        }
        Seen::Request(id, Request::DropPartial { .. }) => answers.reply(id, &Reply::Done {}),
        Seen::Request(id, _) => answers.reply(id, &Reply::Error(nasty_error(ErrorCode::Denied))),
        _ => {}
    }
}

fn frame_json(answers: &mut Answers, kind: FrameType, id: u32, message: &impl serde::Serialize) {
    let mut bytes = Vec::new();
    frame::put_json(&mut bytes, kind, id, message);
    answers.raw(&bytes);
}

const QUOTA: QuotaReport = QuotaReport {
    used_bytes: 1,
    reserved_bytes: 2,
    limit_bytes: Some(3),
    used_files: 4,
    limit_files: Some(5),
    disk_free_bytes: None,
};

fn partial() -> Partial {
    Partial { upload_id: UploadId([7; 16]), path: "/f".into(), offset: 1, size: Some(2), expires_s: 0 }
}

#[track_caller]
fn check_printable(what: &str, text: &str) {
    let found = text.lines().flat_map(str::chars).find(|c| is_unprintable(*c));
    assert_eq!(found, None, "{what} printed {}", text.escape_debug());
}

/// Carries out `line` as the shell does; everything that was printed.
fn printed(stage: &mut Stage, line: &str) -> String {
    if let Err(failure) = run_line(&mut stage.session, line) {
        stage.session.output.error(format_args!("berth: {failure}"));
    }
    stage.session.output.flush().expect("memory");
    stage.results.text() + &stage.remarks.text()
}

#[test]
fn no_command_prints_control_characters_from_a_server() {
    for is_json in [false, true] {
        for style in [ProgressStyle::Silent, ProgressStyle::Lines] {
            for line in [
                "ls",
                "ls -l",
                "ls -a *",
                "ls *Dir",
                "dir",
                "dir /",
                "stat *",
                "sha256 *",
                "cd *; pwd",
                "cd x*\\xffDir; pwd; ls",
                "get *File here",
                "get -f *Link here",
                "get -r * here",
                "get -r -f / here",
                "put file",
                "put -r -f tree",
                "put file *File",
                "mkdir a",
                "mkdir -p a",
                "rmdir *",
                "rm *",
                "rm -r *",
                "rm -r -f *Dir",
                "mv *File there",
                "mv -f *File *Dir /",
                "quota",
                "partials",
                "partials drop --all",
                "partials drop /nothing",
            ] {
                let place = Place::new();
                fs::write(place.path("file"), "content").expect("writable");
                fs::create_dir(place.path("tree")).expect("writable");
                fs::write(place.path("tree/file"), "content").expect("writable");
                let mut stage = place.stage(nasty_server);
                stage.session.output.is_json = is_json;
                stage.session.progress = style;
                let words = [("here", "here"), ("file", "file"), ("tree", "tree")];
                let at = |word: &str| match words.iter().find(|(name, _)| *name == word) {
                    Some((_, path)) => place.path(path).display().to_string(),
                    None => word.to_string(),
                };
                let line: Vec<String> = line.split(' ').map(at).collect();
                let text = printed(&mut stage, &line.join(" "));
                assert!(!text.is_empty(), "{line:?}");
                check_printable(&line.join(" "), &text);
                // Whoever reads the JSON gets the names as they are.
                if is_json && line[0] == "ls" && line.len() == 1 {
                    let value: serde_json::Value = serde_json::from_str(&text).expect("one object");
                    assert_eq!(value["entries"][0]["name"], format!("{NASTY}Dir"));
                }
            }
        }
    }
}

#[test]
fn the_last_error_of_a_server_is_printed_without_control_characters() {
    let fatal = ErrorReply { fatal: true, ..nasty_error(ErrorCode::ShuttingDown) };
    let unknown = format!(r#"{{"re":"{}"}}"#, NASTY.escape_default());
    let raw = |kind: u8, id: u32, body: &[u8]| {
        let mut bytes = frame::header(FrameType::Control, id, body.len()).to_vec();
        bytes[8] = kind;
        [&bytes[..], body].concat()
    };
    let mut said = Vec::new();
    frame::put_json(&mut said, FrameType::Control, 0, &Reply::Error(fatal));
    let garbage = [
        said,
        raw(1, 1, unknown.as_bytes()),
        raw(1, 1, NASTY.as_bytes()),
        raw(1, 1, format!(r#"{{"re":"page","entries":[{{"name":{}}}]}}"#, serde_json::json!(NASTY)).as_bytes()),
        raw(9, 1, b""),
        raw(1, 77, br#"{"re":"done"}"#),
        NASTY.as_bytes().to_vec(),
    ];
    for bytes in garbage {
        for is_json in [false, true] {
            let place = Place::new();
            let said = bytes.clone();
            let mut stage = place.stage(move |_, answers| {
                answers.raw(&said);
                answers.hang_up = true;
            });
            stage.session.output.is_json = is_json;
            let text = printed(&mut stage, "ls");
            assert!(!text.is_empty(), "{}", bytes.escape_ascii());
            check_printable("ls", &text);
        }
    }
}

// ---- What has no end ----------------------------------------------------------------------

/// A stage whose server says of `f` that it is a file, answers anything else by what `begin` says,
/// and then says `again` for ever.
fn endless(
    place: &Place,
    begin: impl Fn(u32, &mut Answers) + 'static,
    again: impl Fn(u32, &mut Answers) + 'static,
) -> Stage {
    place.stage(move |seen, answers| match seen {
        Seen::Request(id, Request::Stat { .. }) => {
            answers.reply(id, &Reply::Stat { entry: entry("f", EntryKind::File), etag: None });
        }
        Seen::Request(id, _) => {
            // Many at once, so that this needs no millions of calls.
            let mut repeated = Answers::default();
            (0..1000).for_each(|_| again(id, &mut repeated));
            repeated.repeat_for_ever();
            begin(id, answers);
            answers.endless = repeated.endless;
        }
        _ => {}
    })
}

#[test]
fn endless_useless_frames_end_the_connection() {
    let file = |id: u32, answers: &mut Answers| {
        answers.reply(id, &Reply::File { size: 4, mtime_ns: 0, etag: "e".into(), offset: 0, mode: None });
    };
    let pong = |_: u32, answers: &mut Answers| {
        let mut bytes = Vec::new();
        frame::put_bytes(&mut bytes, FrameType::Pong, 0, b"");
        answers.raw(&bytes);
    };
    let page = |id: u32, answers: &mut Answers| answers.reply(id, &page(vec![], false));
    let partials = |id: u32, answers: &mut Answers| {
        answers.reply(id, &Reply::Partials { partials: vec![], last: false });
    };
    let nothing = |_: u32, _: &mut Answers| {};
    let deaf = |_: u32, answers: &mut Answers| answers.is_deaf = true;
    let ping = |_: u32, answers: &mut Answers| answers.ping();
    type Begin = Box<dyn Fn(&Place) -> Stage>;
    let cases: [(&str, &str, Begin); 7] = [
        ("pongs", "mkdir a", Box::new(move |place| endless(place, nothing, pong))),
        ("pings", "mkdir a", Box::new(move |place| endless(place, nothing, ping))),
        ("pings of a deaf server", "mkdir a", Box::new(move |place| endless(place, deaf, ping))),
        ("empty pages", "ls", Box::new(move |place| endless(place, nothing, page))),
        ("partials", "partials", Box::new(move |place| endless(place, nothing, partials))),
        ("empty data", "get f HERE", Box::new(move |place| endless(place, file, |id, answers| answers.data(id, b"")))),
        (
            "the rest of what was given up",
            "get f HERE; mkdir a",
            Box::new(move |place| endless(place, file, |id, answers| answers.data(id, &[7; 20_000]))),
        ),
    ];
    for (what, lines, begin) in cases {
        let place = Place::new();
        let lines = lines.replace("HERE", &place.path("here").display().to_string());
        let mut stage = begin(&place);
        let failure = lines.split("; ").map(|line| stage.run(line).expect_err(what)).last().expect("a line");
        assert!(matches!(failure, Failure::Violation(_)), "{what}: {failure:?}");
        assert_eq!(place.files(), ["here", "outside"], "{what}");
    }
}

/// Directories in directories, whichever is asked for: `entries` in each.
fn tree_without_end(place: &Place, entries: Vec<Entry>) -> Stage {
    let mut listed = lists(entries);
    place.stage(move |seen, answers| match seen {
        Seen::Request(id, Request::Stat { .. }) => {
            answers.reply(id, &Reply::Stat { entry: entry("d", EntryKind::Dir), etag: None });
        }
        Seen::Request(id, Request::Rm { .. }) => answers.error(id, ErrorCode::NotAFile),
        other => listed(other, answers),
    })
}

#[test]
fn a_directory_that_contains_itself_is_listed_up_to_the_longest_path() {
    for name in ["d", &"d".repeat(255)] {
        let place = Place::new();
        let mut stage = tree_without_end(&place, vec![entry(name, EntryKind::Dir)]);
        let failure = stage.run(&format!("get -r d {}", place.path("here").display())).expect_err("not all of it");
        assert!(matches!(failure, Failure::SomeFailed { .. }), "{failure:?}");
        assert!(stage.remarks.text().contains("longer than 4095 bytes"), "{}", stage.remarks.text());
        assert!(stage.requests().len() < 3000, "as many folders as a path has");
        let failure = stage.run("rm -r d").expect_err("not all of it");
        assert!(matches!(failure, Failure::SomeFailed { .. }), "{failure:?}");
    }
}

#[test]
fn an_endless_tree_is_refused_and_the_session_continues() {
    let names: Vec<String> = (0..100).map(|i| format!("{i:0>250}")).collect();
    let entries: Vec<Entry> = names.iter().map(|name| entry(&name[..], EntryKind::Dir)).collect();
    for line in ["get -r d HERE", "rm -r d", "rm */*/*"] {
        let place = Place::new();
        let mut stage = tree_without_end(&place, entries.clone());
        let failure = stage.run(&line.replace("HERE", &place.path("here").display().to_string())).expect_err(line);
        assert!(failure.to_string().contains("run the command for each of its directories"), "{line}: {failure}");
        assert_eq!(place.files(), ["here", "outside"], "{line}");
        // Whether the root of the tree is a link is found out by removing it; nothing below it is touched.
        let is_root = |path: &Name| *path == Name::from("/d");
        let touches = |request: &Request| match request {
            Request::Rm { path } => !is_root(path),
            request => matches!(request, Request::Rmdir { .. }),
        };
        assert!(!stage.requests().iter().any(touches));
        stage.run("stat d").expect("the session goes on");
    }
}

#[test]
fn a_server_that_repeats_ready_for_an_upload_is_disconnected() {
    let place = Place::new();
    fs::write(place.path("file"), vec![7; 3 << 20]).expect("writable");
    let line = format!("put {}", place.path("file").display());
    let mut stage = place.stage(|seen, answers| answers.hang_up |= matches!(seen, Seen::Data(..)));
    stage.run(&line).expect_err("cut, so that the next try resumes");
    for offset in [0, 1 << 20, 3 << 20, u64::MAX] {
        let mut stage = place.stage(move |seen, answers| match seen {
            Seen::Request(id, _) | Seen::End(id, _) | Seen::Abort(id) | Seen::Data(id, _) => {
                answers.reply(id, &Reply::Ready { offset, prefix_digest: Digest::of(&vec![7; 1 << 20]) });
            }
            Seen::Pong => {}
        });
        let failure = stage.run(&line).expect_err("left");
        assert!(matches!(failure, Failure::Violation(_)), "{failure:?}");
        assert!(stage.requests().len() <= 3, "{:?}", stage.requests());
    }
}

#[test]
fn a_file_that_always_changes_is_tried_twice() {
    for line in ["get f HERE", "get -r f HERE", "get -f f HERE"] {
        let place = Place::new();
        let mut stage = place.stage(|seen, answers| match seen {
            Seen::Request(id, Request::Get { .. }) => {
                answers.reply(id, &Reply::File { size: 4, mtime_ns: 0, etag: "e".into(), offset: 0, mode: None });
                answers.abort(id, ErrorCode::Changed);
            }
            other => lists(vec![])(other, answers),
        });
        let line = line.replace("HERE", &place.path("here").display().to_string());
        stage.run(&line).expect_err("given up");
        let gets = stage.requests().iter().filter(|request| matches!(request, Request::Get { .. })).count();
        assert!((2..=3).contains(&gets), "{line}: {gets} tries");
        assert_eq!(place.files(), ["here", "outside"]);
    }
}

// ---- Numbers and lies ---------------------------------------------------------------------

#[test]
fn the_largest_numbers_from_a_server_cause_no_overflow() {
    let extreme = |name: &str, mtime_ns| Entry {
        name: name.into(),
        kind: EntryKind::File,
        size: u64::MAX,
        mtime_ns,
        mode: u32::MAX,
        unexamined: false,
    };
    for style in [ProgressStyle::Silent, ProgressStyle::Lines] {
        for line in
            ["ls -l", "stat f", "dir *", "quota", "partials", "sha256 f", "get -r * HERE", "get f HERE", "ls -l f"]
        {
            let place = Place::new();
            let mut stage = place.stage(move |seen, answers| match seen {
                Seen::Request(id, Request::List { .. }) => {
                    answers.reply(id, &page(vec![extreme("f", i64::MIN), extreme("g", i64::MAX)], true));
                }
                Seen::Request(id, Request::Stat { .. }) => {
                    answers.reply(id, &Reply::Stat { entry: extreme("f", i64::MIN), etag: None });
                }
                Seen::Request(id, Request::Digest { algorithm, .. }) => {
                    answers.reply(id, &Reply::Digest { digest: Digest::by(algorithm, b""), size: u64::MAX });
                }
                Seen::Request(id, Request::Quota {}) => {
                    let most = Some(u64::MAX);
                    let report = QuotaReport {
                        used_bytes: u64::MAX,
                        reserved_bytes: u64::MAX,
                        limit_bytes: most,
                        used_files: u64::MAX,
                        limit_files: most,
                        disk_free_bytes: most,
                    };
                    answers.reply(id, &Reply::Quota(report));
                }
                Seen::Request(id, Request::Partials {}) => {
                    let partials = [i64::MIN, i64::MAX].map(|expires_s| Partial {
                        offset: u64::MAX,
                        size: Some(u64::MAX),
                        expires_s,
                        ..partial()
                    });
                    answers.reply(id, &Reply::Partials { partials: partials.into(), last: true });
                }
                Seen::Request(id, Request::Get { .. }) => {
                    let file =
                        Reply::File { size: u64::MAX, mtime_ns: i64::MIN, etag: String::new(), offset: 0, mode: None };
                    answers.reply(id, &file);
                    answers.data(id, b"evil");
                    answers.end(id, &End { size: u64::MAX, digest: Digest::of(b"evil") });
                }
                _ => {}
            });
            stage.session.progress = style;
            let result = stage.run(&line.replace("HERE", &place.path("here").display().to_string()));
            assert_eq!(result.is_err(), line.starts_with("get"), "{line}: {result:?}");
            assert_eq!(place.files(), ["here", "outside"], "{line}");
        }
    }
}

#[test]
fn an_upload_that_the_server_stored_differently_exits_with_5() {
    let place = Place::new();
    fs::write(place.path("file"), "content").expect("writable");
    for (size, bytes) in [(7, &b"another"[..]), (6, b"content"), (u64::MAX, b"content")] {
        let mut stage = place.stage(move |seen, answers| {
            if let Seen::End(id, _) = seen {
                answers.reply(id, &Reply::Stored { size, digest: Digest::of(bytes) });
            }
        });
        let failure = stage.run(&format!("put {}", place.path("file").display())).expect_err("a lie");
        assert_eq!(failure.exit_code(), 5, "{failure}");
    }
}
