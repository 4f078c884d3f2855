//! The order of flushing content, naming a file and replying.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;

use super::trace::{self, Call, watched};
use crate::support::ftp_client::{configuration, listening};
use crate::support::needs::{CURL, STRACE, TRACING, tests};
use crate::support::peer::{Peer, put};
use crate::support::{PASSWORD, Place, pattern, wait_until};
use berth::store::SLOW_CLOSE_BYTES;
use berth::wire::frame::{self, FrameType};
use berth::wire::message::PutMode;
use berth::wire::{Reply, Request};

tests! {
    [STRACE, TRACING]
        with_sync_none_no_file_of_a_user_is_ever_flushed,
        with_sync_data_the_content_is_on_disk_before_its_name_appears,
        with_sync_full_the_name_is_on_disk_too_before_the_upload_is_acknowledged,
        a_record_never_claims_more_synced_bytes_than_fdatasync_covered,
        a_large_upload_that_is_given_up_is_freed_beside_the_loop,
        accounts_are_replaced_by_a_flushed_file_before_anybody_is_told,
        a_new_account_is_told_of_only_when_its_home_would_survive_too,
        the_key_and_the_configuration_are_flushed_before_the_server_says_where_it_listens;
    [CURL, STRACE, TRACING]
        spliced_uploads_are_synced_before_they_are_renamed;
}

/// Everything that writes, names, flushes or tells.
const CALLS: &str = "openat,splice,write,pwrite64,pwritev,writev,sendto,sendmsg,fsync,fdatasync,sync,syncfs,\
                     sync_file_range,msync,rename,renameat,renameat2,linkat,unlink,unlinkat,ftruncate,close";
const WRITES: [&str; 5] = ["write", "pwrite64", "pwritev", "writev", "ftruncate"];
const SENDS: [&str; 3] = ["sendto", "sendmsg", "write"];
const NAMES: [&str; 4] = ["rename", "renameat", "renameat2", "linkat"];
const RENAMES: [&str; 3] = ["rename", "renameat", "renameat2"];
const SYNCS: [&str; 6] = ["fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync"];

/// The calls that succeeded.
struct Trace(Vec<Call>);

impl Trace {
    fn of(place: &Place) -> Self {
        let mut calls: Vec<Call> = trace::read(place).into_iter().filter(|call| call.result >= 0).collect();
        for at in 0..calls.len() {
            if calls[at].is(&["linkat"]) {
                name_from_its_beginning(&mut calls, at);
            }
        }
        Self(calls)
    }

    fn all<'a>(&'a self, names: &'a [&'a str]) -> impl Iterator<Item = &'a Call> + Clone {
        self.0.iter().filter(move |call| call.is(names))
    }

    /// The sync of `path` that began after `after` had returned, and returned before `before`
    /// began.
    #[track_caller]
    fn expect_sync(&self, name: &str, path: &str, after: &Call, before: &Call) {
        let is_between = |call: &Call| call.began > after.ended && call.ended < before.began;
        let mut syncs = self.all(&SYNCS).filter(|call| call.name == name && call.path() == path);
        assert!(syncs.any(is_between), "no {name} of {path} between {after:?} and {before:?}");
    }

    fn last_write(&self, path: &str, before: &Call) -> &Call {
        let mut writes = self.all(&WRITES).filter(|call| call.path() == path);
        let last = writes.clone().last().expect("it was written");
        assert!(writes.all(|call| call.ended < before.began), "{path} is written to after {before:?}");
        last
    }
}

/// Gives a file that was made without a name and is linked at `at` that name in all calls before, so
/// that the link is from it to itself.
fn name_from_its_beginning(calls: &mut [Call], at: usize) {
    let by_path = || calls[at].named()[0].strip_prefix("/proc/self/fd/").map(str::to_string);
    let descriptor = match calls[at].arguments.split_once('<') {
        Some((number, _)) if number.parse::<u32>().is_ok() => number.to_string(),
        _ => by_path().expect("by its descriptor"),
    };
    let name = calls[at].linked();
    let is_it = |call: &Call| call.arguments.contains("O_TMPFILE") && call.result.to_string() == descriptor;
    let opened = calls[..at].iter().rposition(is_it).expect("it was made without a name");
    let own = format!("{descriptor}<");
    // It may be written to before or after.
    let path =
        calls[opened + 1..].iter().find(|call| call.arguments.starts_with(&own)).map(|call| call.path().to_string());
    calls[at].arguments = format!("\"{name}\", \"{name}\"");
    let Some(path) = path else { return };
    // The kernel calls it deleted until it is closed.
    let closed = format!("{own}{path}>");
    let is_end = |call: &Call| call.name == "close" && call.arguments.starts_with(&closed);
    let end = calls[at..].iter().position(is_end).map_or(calls.len(), |end| at + end + 1);
    for call in &mut calls[opened + 1..end] {
        call.arguments = call.arguments.replace(&path, &name);
    }
}

/// A server that was asked to store small and large files, new ones and in place of others, at
/// the top of the home and in a directory; then stopped.
fn store_files(sync: &str) -> (Place, Trace) {
    let place = Place::with(json!({"sync": sync}));
    place.add("ann", &[]);
    fs::create_dir(place.home("ann", "folder")).expect("writable");
    fs::write(place.here("large"), pattern(1, 20 << 20)).expect("writable");
    let mut server = place.serve_as(watched(&place.berthd(&["serve"]), &trace::file(&place), CALLS, &[]));
    let mut peer = Peer::login(server.address, "ann");
    for (path, mode) in [("/new", PutMode::Create), ("/folder/new", PutMode::Create), ("/new", PutMode::Replace)] {
        let reply = peer.put(path, b"content", mode);
        assert!(matches!(reply, Reply::Stored { .. }), "{reply:?}");
    }
    drop(peer);
    place.run(place.berth(&["--quiet", &server.target("ann"), "put", "large"])).expect_code(0);
    server.program.signal(Signal::TERM);
    server.program.wait().expect_code(0);
    let trace = Trace::of(&place);
    (place, trace)
}

/// The links and renames that made uploads appear, each with the answer that told of it.
fn stored<'a>(place: &Place, trace: &'a Trace) -> Vec<(&'a Call, &'a Call)> {
    let appears = |call: &&Call| {
        let named = call.named();
        let is_link = call.is(&["linkat"]) && !named[1].contains("/.berth");
        is_link || (!call.is(&["linkat"]) && named[0].ends_with(".part"))
    };
    let renames: Vec<&Call> = trace.all(&NAMES).filter(appears).collect();
    let told: Vec<&Call> = trace.all(&SENDS).filter(|call| call.text().contains("{\"re\":\"stored\"")).collect();
    let names: Vec<String> = renames.iter().map(|call| call.named()[1].clone()).collect();
    let expected = ["new", "folder/new", "new", "large"].map(|name| place.home("ann", name).display().to_string());
    assert_eq!((names, told.len()), (expected.to_vec(), 4));
    renames.into_iter().zip(told).collect()
}

fn directory_of(path: &str) -> &str {
    path.rsplit_once('/').expect("absolute").0
}

/// What every policy promises: a name is only ever given to what is whole.
fn check_names(place: &Place, trace: &Trace) {
    let home = place.home("ann", "").display().to_string();
    for call in trace.all(&["openat"]).filter(|call| call.named()[0].starts_with(&home)) {
        let opens_to_write = ["O_WRONLY", "O_RDWR", "O_TRUNC"].iter().any(|flag| call.arguments.contains(flag));
        let is_nameless = call.arguments.contains("O_TMPFILE");
        assert!(!opens_to_write || is_nameless || call.named()[0].contains("/.berth/"), "{call:?}");
        assert!(!call.arguments.contains("SYNC"), "{call:?}");
    }
    for (rename, told) in stored(place, trace) {
        trace.last_write(&rename.named()[0], rename);
        assert!(rename.ended < told.began, "told before it is so: {rename:?}, {told:?}");
    }
}

fn syncs_below<'a>(trace: &'a Trace, directory: &str) -> Vec<&'a Call> {
    trace.all(&SYNCS).filter(|call| call.path().is_empty() || call.path().starts_with(directory)).collect()
}

fn with_sync_none_no_file_of_a_user_is_ever_flushed() {
    let (place, trace) = store_files("none");
    check_names(&place, &trace);
    let syncs = syncs_below(&trace, &place.path("homes").display().to_string());
    assert!(syncs.is_empty(), "{syncs:?}");
}

fn with_sync_data_the_content_is_on_disk_before_its_name_appears() {
    let (place, trace) = store_files("data");
    check_names(&place, &trace);
    for (rename, _) in stored(&place, &trace) {
        let part = &rename.named()[0];
        trace.expect_sync("fdatasync", part, trace.last_write(part, rename), rename);
    }
    let syncs = syncs_below(&trace, &place.path("homes").display().to_string());
    assert!(syncs.iter().all(|call| call.name == "fdatasync"), "folders cost nothing here: {syncs:?}");
}

fn with_sync_full_the_name_is_on_disk_too_before_the_upload_is_acknowledged() {
    let (place, trace) = store_files("full");
    check_names(&place, &trace);
    for (rename, told) in stored(&place, &trace) {
        let named = rename.named();
        trace.expect_sync("fdatasync", &named[0], trace.last_write(&named[0], rename), rename);
        // The directories on the way to it may be as new as the file.
        let home = place.home("ann", "").display().to_string();
        let mut directory = directory_of(&named[1]);
        while format!("{directory}/").starts_with(&home) {
            trace.expect_sync("fsync", directory, rename, told);
            directory = directory_of(directory);
        }
    }
}

fn spliced_uploads_are_synced_before_they_are_renamed() {
    let place = Place::with(configuration(json!({}), json!({"sync": "data"})));
    place.add("ann", &[]);
    fs::write(place.here("large"), pattern(1, 20 << 20)).expect("writable");
    let mut server = place.serve_as(watched(&place.berthd(&["serve"]), &trace::file(&place), CALLS, &[]));
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--user", &format!("ann:{PASSWORD}"), "--upload-file"]);
    curl.arg(place.here("large")).arg(format!("ftp://{}/large", listening(&server, "ftp")));
    place.run(curl).expect_code(0);
    server.program.signal(Signal::TERM);
    server.program.wait().expect_code(0);
    assert_eq!(fs::read(place.home("ann", "large")).expect("stored"), pattern(1, 20 << 20));
    let trace = Trace::of(&place);
    let rename = trace.all(&RENAMES).find(|call| call.named()[0].ends_with(".part")).expect("it appeared");
    let part = &rename.named()[0];
    let spliced: Vec<&Call> = trace.all(&["splice"]).filter(|call| call.arguments.contains(part)).collect();
    let bytes: i64 = spliced.iter().map(|call| call.result).sum();
    assert!(bytes > 1 << 20, "{bytes} bytes were not copied here");
    for last in [spliced.last().expect("counted"), trace.last_write(part, rename)] {
        trace.expect_sync("fdatasync", part, last, rename);
    }
}

fn a_record_never_claims_more_synced_bytes_than_fdatasync_covered() {
    let (_place, trace) = store_files("data");
    let mut promised = Vec::new();
    for record in trace.all(&["write"]).filter(|call| call.path().ends_with(".new")) {
        let text = record.text();
        let synced = text.split_once("\"synced\":").expect("a record").1;
        let synced: i64 = synced.split(',').next().expect("more fields").parse().expect("a number");
        let part = record.path().replace(".new", ".part");
        // Appended in order, so a sum is a length.
        let written_before = |at: usize| -> i64 {
            let writes = trace.all(&["pwrite64"]).filter(|call| call.path() == part && call.ended < at);
            writes.map(|call| call.result).sum()
        };
        let flushes = trace.all(&["fdatasync"]).filter(|call| call.path() == part && call.ended < record.began);
        let flushed = flushes.map(|call| written_before(call.began)).max().unwrap_or(0);
        assert!(synced <= flushed, "{synced} bytes are promised, {flushed} were flushed");
        promised.push(synced);
        let is_its = |call: &&Call| call.named()[0] == record.path() && call.began > record.ended;
        assert!(trace.all(&RENAMES).any(|call| is_its(&call)), "a record is replaced as a whole");
    }
    assert!(promised.len() > 1 && promised.iter().any(|&synced| synced > 0), "{promised:?}");
}

fn a_large_upload_that_is_given_up_is_freed_beside_the_loop() {
    let place = Place::new();
    place.add("ann", &[]);
    let mut server = place.serve_as(watched(&place.berthd(&["serve"]), &trace::file(&place), CALLS, &[]));
    let mut peer = Peer::login(server.address, "ann");
    let id = peer.request(&put("/large", 1 << 30, PutMode::Create));
    let piece = pattern(1, 1 << 20);
    for _ in 0..SLOW_CLOSE_BYTES >> 20 {
        let mut data = Vec::new();
        frame::put_bytes(&mut data, FrameType::Data, id, &piece);
        peer.send(&data);
    }
    let used = || match Peer::login(server.address, "ann").ask(&Request::Quota {}) {
        Reply::Quota(report) => report.used_bytes,
        other => panic!("a report, not {other:?}"),
    };
    wait_until("all has come", || used() >= SLOW_CLOSE_BYTES);
    drop(peer);
    // Read whole, the trace knows the name it got in the staging directory.
    let is_part = |path: &str| path.contains("/homes/ann/#") || path.ends_with(".part");
    let is_its = |call: &Call| call.name == "close" && is_part(call.path());
    wait_until("the file is closed", || trace::so_far(&place).iter().any(is_its));
    assert_eq!(used(), 0);
    server.program.signal(Signal::TERM);
    server.program.wait().expect_code(0);
    let trace = Trace::of(&place);
    let made = trace.all(&["openat"]).find(|call| call.arguments.contains("O_TMPFILE")).expect("it was made");
    let closes: Vec<&Call> = trace.all(&["close"]).filter(|call| is_its(call)).collect();
    let last = closes.last().expect("it was closed");
    assert!(last.thread != made.thread, "{closes:?}");
}

// ---- Files of the server itself -----------------------------------------------------------

/// Everything that was renamed into a `directory` was flushed before, and its directory after; nothing
/// there is written to under its own name. How many there were.
#[track_caller]
fn check_replacements(directory: &Path, trace: &Trace) -> usize {
    let directory = directory.display().to_string();
    let replaced: Vec<&Call> = trace.all(&RENAMES).filter(|call| call.named()[1].starts_with(&directory)).collect();
    let told = trace.0.last().expect("the program did something");
    for rename in &replaced {
        let named = rename.named();
        trace.expect_sync("fsync", &named[0], trace.last_write(&named[0], rename), rename);
        trace.expect_sync("fsync", directory_of(&named[1]), rename, first_told(trace, rename).unwrap_or(told));
    }
    for call in trace.all(&WRITES).filter(|call| call.path().starts_with(&directory)) {
        assert!(call.path().ends_with(".tmp"), "{call:?}");
    }
    replaced.len()
}

/// The first word to somebody after `call`.
fn first_told<'a>(trace: &'a Trace, call: &Call) -> Option<&'a Call> {
    let is_to_somebody = |told: &&Call| told.path().contains("/io/") || told.is(&["sendto", "sendmsg"]);
    trace.all(&SENDS).filter(is_to_somebody).find(|told| told.began > call.ended)
}

fn run_user_command(place: &Place, arguments: &[&str]) -> Trace {
    let mut command = watched(&place.berthd(&[&["user"], arguments].concat()), &trace::file(place), CALLS, &[]);
    fs::write(place.path("io/password"), PASSWORD).expect("writable");
    command.stdin(fs::File::open(place.path("io/password")).expect("readable"));
    place.run(command).expect_code(0);
    Trace::of(place)
}

fn accounts_are_replaced_by_a_flushed_file_before_anybody_is_told() {
    let place = Place::new();
    // The first one makes the secret for names that are nobody's, too.
    for (arguments, files) in [
        (&["add", "ann", "--password-stdin"][..], 2),
        (&["passwd", "ann", "--password-stdin"], 1),
        (&["set", "ann", "--quota", "1G"], 1),
        (&["lock", "ann"], 1),
        (&["unlock", "ann"], 1),
    ] {
        let trace = run_user_command(&place, arguments);
        assert_eq!(check_replacements(&place.path("conf"), &trace), files, "{arguments:?}");
    }
    let trace = run_user_command(&place, &["remove", "ann"]);
    let file = place.path("conf/users/ann.json").display().to_string();
    let removed = trace.all(&["unlink", "unlinkat"]).find(|call| call.named()[0] == file).expect("removed");
    let told = first_told(&trace, removed).expect("told");
    trace.expect_sync("fsync", directory_of(&file), removed, told);
}

fn a_new_account_is_told_of_only_when_its_home_would_survive_too() {
    let place = Place::new();
    let trace = run_user_command(&place, &["add", "ann", "--password-stdin"]);
    let file = place.path("conf/users/ann.json").display().to_string();
    let rename = trace.all(&RENAMES).find(|call| call.named()[1] == file).expect("added");
    let homes = place.path("homes").display().to_string();
    let mut syncs = trace.all(&["fsync"]).filter(|call| call.ended < rename.began);
    assert!(syncs.any(|call| call.path() == homes), "the folder that holds the home is not flushed");
}

fn the_key_and_the_configuration_are_flushed_before_the_server_says_where_it_listens() {
    let place = Place::new();
    let directory = place.path("demo");
    let quickstart = ["quickstart", "--dir", directory.to_str().expect("UTF-8"), "--listen", "127.0.0.1:0"];
    let mut server = place.serve_as(watched(&place.berthd(&quickstart), &trace::file(&place), CALLS, &[]));
    server.program.signal(Signal::TERM);
    server.program.wait().expect_code(0);
    // Configuration, key, certificate, the account `demo`, the secret for nobody's names.
    assert_eq!(check_replacements(&directory, &Trace::of(&place)), 5);
}
