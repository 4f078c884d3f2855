//! Fairness counted in turns: real connections over socket pairs, driven round robin as the loop
//! drives them, without a clock.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::in_memory::ftp_peer::FtpPeer;
use crate::support::in_memory::pair::Pair;
use crate::support::in_memory::*;
use berth::base::budget::FLUSH_BUDGET_MIN;
use berth::base::memory::{AccountMemory, Charge, MEMORY_SMALL_BYTES, MEMORY_WAIT_STEP};
use berth::base::upload_id::UploadId;
use berth::net::connection::AfterTurn;
use berth::net::scheduler::{Owner, Scheduler};
use berth::session::origin::Origin;
use berth::wire::frame::{self, CONTROL_BYTES_MAX, Frame, FrameType};
use berth::wire::message::Name;
use berth::wire::{ErrorCode, Reply, Request};

#[test]
fn a_small_command_waits_one_round_behind_eight_greedy_downloads() {
    let mut server = Server::new();
    write(&server.at("large"), &content(1, 16 * MIB));
    let mut greedy: Vec<Pair> = (0..8).map(|_| Pair::logged_in(&mut server)).collect();
    for pair in &mut greedy {
        pair.request(&get("/large"));
    }
    let mut modest = Pair::logged_in(&mut server);
    for round in 0..20 {
        for pair in &mut greedy {
            assert_eq!(pair.turn(&mut server), AfterTurn::Again, "a download always has more to send");
            pair.receive();
        }
        assert!(matches!(modest.ask(&mut server, &Request::Quota {}), Reply::Quota(_)), "round {round}");
    }
}

#[test]
fn greedy_downloads_advance_alike() {
    let mut server = Server::new();
    write(&server.at("large"), &content(2, 8 * MIB));
    let mut pairs: Vec<Pair> = (0..10).map(|_| Pair::logged_in(&mut server)).collect();
    for pair in &mut pairs {
        pair.turns = 0;
        pair.request(&get("/large"));
    }
    let mut ended_after = Vec::new();
    let mut rounds = 0;
    while ended_after.len() < pairs.len() {
        rounds += 1;
        assert!(rounds < 10_000, "the downloads never end");
        for pair in &mut pairs {
            if pair.has_digest() {
                continue;
            }
            pair.turn(&mut server);
            pair.receive();
            if pair.has_digest() {
                ended_after.push(pair.turns);
            }
        }
    }
    let (fewest, most) = (ended_after.iter().min().copied(), ended_after.iter().max().copied());
    assert!(most <= fewest.map(|turns| turns + 1), "{ended_after:?}");
}

#[test]
fn a_turn_sends_at_most_its_flush_budget() {
    let mut server = Server::new();
    write(&server.at("large"), &content(3, 8 * MIB));
    let mut pair = Pair::logged_in(&mut server);
    pair.request(&get("/large"));
    pair.flush_budget = FLUSH_BUDGET_MIN;
    let mut most = 0;
    while !pair.has_digest() {
        pair.turn(&mut server);
        most = most.max(pair.receive());
    }
    assert_eq!(most, FLUSH_BUDGET_MIN, "and each as much as that while there is enough");
}

/// Connections that get their turns as in the loop; each of them always has a reason to wake up.
struct Scene {
    turns: Scheduler,
    pairs: Vec<Pair>,
    queued: Vec<bool>,
}

impl Scene {
    fn new(pairs: Vec<Pair>) -> Self {
        let (mut turns, nowhere) = (Scheduler::default(), "127.0.0.1".parse().expect("an address"));
        for (slot, pair) in pairs.iter().enumerate() {
            let number = pair.connection.session().and_then(|session| session.active_account_number());
            turns.assign(slot, number.map_or(Owner::Origin(Origin::of(nowhere)), Owner::Account));
        }
        Self { turns, queued: vec![false; pairs.len()], pairs }
    }

    /// One round of the loop.
    fn round(&mut self, server: &mut Server) {
        for (slot, pair) in self.pairs.iter_mut().enumerate() {
            pair.receive();
            if !std::mem::replace(&mut self.queued[slot], true) {
                self.turns.push(slot, pair.connection.priority(true));
            }
        }
        let mut round = self.turns.begin_round();
        while let Some((slot, claim)) = self.turns.next(&mut round) {
            let pair = &mut self.pairs[slot];
            self.queued[slot] = pair.turn(server) == AfterTurn::Again;
            if self.queued[slot] {
                self.turns.push(slot, pair.connection.priority(false));
            }
            self.turns.spent(claim, Duration::from_micros(1));
        }
    }

    /// The same where all wake up. Returns the number of turns up to that of one of them.
    fn turns_until(&mut self, number: usize, server: &mut Server) -> usize {
        for slot in 0..self.pairs.len() {
            if !std::mem::replace(&mut self.queued[slot], true) {
                self.turns.push(slot, self.pairs[slot].connection.priority(true));
            }
        }
        let (mut turns, mut found) = (0, usize::MAX);
        let mut round = self.turns.begin_round();
        while let Some((slot, claim)) = self.turns.next(&mut round) {
            turns += 1;
            found = if slot == number { turns } else { found };
            self.queued[slot] = self.pairs[slot].turn(server) == AfterTurn::Again;
            if self.queued[slot] {
                self.turns.push(slot, self.pairs[slot].connection.priority(false));
            }
            self.turns.spent(claim, Duration::from_micros(1));
        }
        found
    }

    /// The same with peers that take what they get at once, and then do what `respond` does.
    fn run_and_wake(&mut self, server: &mut Server, respond: impl Fn(usize, &mut Pair)) {
        let mut round = self.turns.begin_round();
        while let Some((slot, claim)) = self.turns.next(&mut round) {
            let pair = &mut self.pairs[slot];
            let has_slept = pair.turn(server) != AfterTurn::Again;
            pair.receive();
            respond(slot, pair);
            self.turns.push(slot, pair.connection.priority(has_slept));
            self.turns.spent(claim, Duration::from_micros(1));
        }
    }
}

/// An unauthenticated client that does what `number` says, again and again.
fn molest(pair: &mut Pair, number: usize) {
    let mut bytes = Vec::new();
    match number % 4 {
        0 => frame::put_bytes(&mut bytes, FrameType::Ping, 0, b"still there?"),
        1 => bytes.push(0),
        2 => return pair.request(&get("/large")),
        _ => {
            let message = format!("n,,n={USER},r=fyko+d2lbbFgONRv9qkxdawL");
            return pair.request(&Request::Auth { mechanism: "SCRAM-SHA-256".into(), message });
        }
    }
    pair.send(&bytes);
}

#[test]
fn unauthenticated_connections_of_every_kind_leave_a_transfer_half_of_the_turns() {
    const UNAUTHENTICATED: usize = 100;
    let mut server = Server::new();
    write(&server.at("large"), &content(3, 16 * MIB));
    let mut pairs: Vec<Pair> = (0..UNAUTHENTICATED).map(|_| Pair::unauthenticated(&mut server)).collect();
    let mut transfer = Pair::logged_in(&mut server);
    transfer.request(&get("/large"));
    transfer.turns = 0;
    pairs.push(transfer);
    let mut scene = Scene::new(pairs);
    let mut rounds = 0;
    while !scene.pairs[UNAUTHENTICATED].has_digest() {
        for (number, pair) in scene.pairs[..UNAUTHENTICATED].iter_mut().enumerate() {
            molest(pair, number);
        }
        scene.round(&mut server);
        rounds += 1;
        assert!(rounds < 1000, "the transfer never ends");
    }
    let of_unauthenticated: usize = scene.pairs[..UNAUTHENTICATED].iter().map(|pair| pair.turns).sum();
    let of_transfer = scene.pairs[UNAUTHENTICATED].turns;
    assert!(of_transfer >= of_unauthenticated, "{of_transfer} turns, and {of_unauthenticated} before login");
    assert!(
        of_unauthenticated * 4 >= of_transfer,
        "unauthenticated connections are served too: {of_unauthenticated} beside {of_transfer}"
    );
}

#[test]
fn pings_get_one_turn_per_round() {
    let mut server = Server::new();
    let mut modest = Pair::logged_in(&mut server);
    let mut flood = Pair::logged_in(&mut server);
    let mut pings = Vec::new();
    for _ in 0..2000 {
        frame::put_bytes(&mut pings, FrameType::Ping, 0, b"still there?");
    }
    flood.send(&pings);
    flood.turn(&mut server);
    assert!(flood.receive() < pings.len(), "one turn answered everything");
    assert!(matches!(modest.ask(&mut server, &Request::Quota {}), Reply::Quota(_)));
}

fn name(path: &str) -> Name {
    Name(path.as_bytes().to_vec())
}

/// What fifty connections of one user want all the time.
type Wanted = fn(usize) -> Request;

#[test]
fn fifty_connections_of_one_user_leave_the_download_of_another_half_of_the_turns() {
    const GREEDY: usize = 50;
    let kinds: [(&str, Wanted); 5] = [
        ("downloads", |_| get("/large")),
        ("digests", |_| Request::Digest {
            path: name("/large"),
            algorithm: berth::base::digest::DigestAlgorithm::OF_TRANSFERS,
        }),
        ("listings", |_| Request::List { path: name("/folder") }),
        ("small requests", |_| stat("/large")),
        ("all of them", |number| match number % 4 {
            0 => get("/large"),
            1 => {
                Request::Digest { path: name("/large"), algorithm: berth::base::digest::DigestAlgorithm::OF_TRANSFERS }
            }
            2 => Request::List { path: name("/folder") },
            _ => stat("/large"),
        }),
    ];
    for (what, wanted) in kinds {
        let mut server = Server::new();
        server.add_account("bob", Rights::default());
        for home in [server.home(), server.home_of("bob")] {
            write(&home.join("large"), &content(3, 8 * MIB));
        }
        std::fs::create_dir(server.at("folder")).expect("mkdir");
        (0..500).for_each(|number| write(&server.at("folder").join(number.to_string()), b""));
        let mut pairs: Vec<Pair> = (0..GREEDY).map(|_| Pair::logged_in(&mut server)).collect();
        let mut other = Pair::logged_in_as(&mut server, "bob");
        other.request(&get("/large"));
        pairs.push(other);
        pairs.iter_mut().for_each(|pair| pair.turns = 0);
        let mut scene = Scene::new(pairs);
        for (number, pair) in scene.pairs.iter_mut().enumerate() {
            if number < GREEDY {
                pair.request(&wanted(number));
            }
            scene.turns.push(number, pair.connection.priority(true));
        }
        while !scene.pairs[GREEDY].has_digest() {
            scene.run_and_wake(&mut server, |number, pair| {
                // Nothing is kept of what it gets, and there is always more that it has asked for.
                if number < GREEDY {
                    pair.received.clear();
                    if pair.connection.is_idle() {
                        pair.request(&wanted(number));
                    }
                }
            });
        }
        let greedy: usize = scene.pairs[..GREEDY].iter().map(|pair| pair.turns).sum();
        let other = scene.pairs[GREEDY].turns;
        assert!(other * 3 >= greedy * 2, "{what}: {other} turns beside {greedy}");
        assert!(greedy * 3 >= other, "{what}: {greedy} turns beside {other}");
    }
}

// ---- What grows with a request ----------------------------------------------------------------

/// A path of this many directories.
fn deep(first: &str, depth: usize) -> String {
    format!("/{first}{}", "/d".repeat(depth - 1))
}

/// As deep as a path may be.
const DEEPEST: usize = 2000;

/// How many directories there are below one another, the first of them `first`.
fn depth_of(server: &Server, first: &str) -> usize {
    let mut at: std::os::fd::OwnedFd = std::fs::File::open(server.home()).expect("there").into();
    let mut depth = 0;
    let mut name = first;
    let directory = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY;
    while let Ok(below) = rustix::fs::openat(&at, name, directory, rustix::fs::Mode::empty()) {
        (at, depth, name) = (below, depth + 1, "d");
    }
    depth
}

/// The standard library needs a descriptor for each level.
fn remove(server: &Server, first: &str) {
    let removed = std::process::Command::new("rm").arg("-rf").arg(server.at(first)).status();
    assert!(removed.expect("rm").success());
}

fn files_in_ledger(server: &mut Server) -> usize {
    server.capability().ledger().state().used.files as usize
}

fn mkdir_with_parents(path: &str) -> Request {
    Request::Mkdir { path: name(path), parents: true, permissions: None }
}

/// Gives a peer its turns until it has all `answers`. Returns how many it took; `between` runs after each.
fn turns_until(server: &mut Server, peer: &mut Peer, answers: usize, mut between: impl FnMut(&mut Server)) -> usize {
    let (mut turns, mut got) = (0, 0);
    while got < answers {
        peer.deliver(usize::MAX);
        assert!(peer.step(server) || got + 1 >= answers, "it sleeps after {got} answers");
        peer.drain(usize::MAX);
        got += peer.take_received().len();
        turns += 1;
        between(server);
    }
    turns
}

#[test]
fn many_directories_in_one_request_are_made_a_few_at_a_time_and_others_are_answered_in_between() {
    const REQUESTS: usize = 3;
    let mut server = Server::new();
    server.add_account("bob", Rights::default());
    let (mut greedy, mut other) = (server.log_in(), server.log_in_as("bob"));
    for first in ["a", "b", "c"] {
        greedy.request(&mkdir_with_parents(&deep(first, DEEPEST)));
    }
    let (mut before, mut most) = (0, 0);
    let turns = turns_until(&mut server, &mut greedy, REQUESTS, |server| {
        let made = files_in_ledger(server);
        (most, before) = (most.max(made - before), made);
        assert!(matches!(other.ask(server, &Request::Quota {}), Reply::Quota(_)));
    });
    assert!(most <= 8 && turns >= REQUESTS * DEEPEST / 8, "{most} folders in one of {turns} turns");
    assert_eq!(files_in_ledger(&mut server), REQUESTS * DEEPEST);
    for first in ["a", "b", "c"] {
        assert_eq!(depth_of(&server, first), DEEPEST);
    }
    assert_eq!(greedy.ask(&mut server, &mkdir_with_parents(&deep("a", DEEPEST))), Reply::Done {}, "it is there");
    ["a", "b", "c"].iter().for_each(|first| remove(&server, first));
}

#[test]
fn directories_whose_request_is_given_up_in_the_middle_are_there_and_counted() {
    for is_cut in [false, true] {
        let mut server = Server::new();
        let mut peer = server.log_in();
        let id = peer.request(&mkdir_with_parents(&deep("a", DEEPEST)));
        peer.deliver(usize::MAX);
        (0..50).for_each(|_| assert!(peer.step(&mut server)));
        let made = depth_of(&server, "a");
        assert!((10..DEEPEST).contains(&made), "{made}");
        if is_cut {
            peer.reset(&server);
        } else {
            peer.cancel(id);
            assert_eq!(peer.exchange(&mut server)[0].code(), Some(ErrorCode::Cancelled));
        }
        let there = depth_of(&server, "a");
        assert!((made..made + 10).contains(&there), "{there} instead of {made}");
        assert_eq!(files_in_ledger(&mut server), there);
        let mut peer = server.log_in();
        assert_eq!(peer.ask(&mut server, &mkdir_with_parents(&deep("a", DEEPEST))), Reply::Done {}, "it goes on");
        assert_eq!((depth_of(&server, "a"), files_in_ledger(&mut server)), (DEEPEST, DEEPEST));
        remove(&server, "a");
    }
}

#[test]
fn two_sessions_make_the_same_directories_at_once() {
    let mut server = Server::new();
    let (mut one, mut other) = (server.log_in(), server.log_in());
    for peer in [&mut one, &mut other] {
        peer.request(&mkdir_with_parents(&deep("a", DEEPEST)));
        peer.deliver(usize::MAX);
    }
    while one.step(&mut server) | other.step(&mut server) {}
    for peer in [&mut one, &mut other] {
        peer.drain(usize::MAX);
        assert_eq!(peer.take_received().len(), 1);
    }
    assert_eq!((depth_of(&server, "a"), files_in_ledger(&mut server)), (DEEPEST, DEEPEST));
    remove(&server, "a");
}

#[test]
fn directories_end_at_the_quota_and_at_what_is_no_directory() {
    let mut server = Server::with(Rights { files: Some(100), ..Rights::default() });
    let mut peer = server.log_in();
    assert_eq!(peer.refused(&mut server, &mkdir_with_parents(&deep("a", DEEPEST))), ErrorCode::QuotaFiles);
    assert_eq!((depth_of(&server, "a"), files_in_ledger(&mut server)), (100, 100));
    remove(&server, "a");
    let mut server = Server::new();
    write(&server.at("file"), b"content");
    let mut peer = server.log_in();
    assert_eq!(peer.refused(&mut server, &mkdir_with_parents("/file/d/e")), ErrorCode::Exists);
    assert_eq!(peer.refused(&mut server, &mkdir_with_parents("/.berth/d/e")), ErrorCode::BadName);
}

#[test]
fn a_request_about_a_very_long_path_takes_a_turn_of_its_own_whatever_it_asks() {
    const REQUESTS: usize = 31;
    let mut server = Server::new();
    let (there, missing) = (deep("a", DEEPEST), format!("{}/missing", deep("a", DEEPEST)));
    let mut peer = server.log_in();
    assert_eq!(peer.ask(&mut server, &mkdir_with_parents(&there)), Reply::Done {});
    let (moved, path) = (format!("{there}/moved"), name(&there));
    let kinds: [Request; 9] = [
        stat(&there),
        Request::List { path: path.clone() },
        get(&missing),
        rm(&missing),
        rmdir(&missing),
        mkdir(&there),
        mv(&missing, "/here"),
        mv("/missing", &moved),
        Request::Digest { path, algorithm: berth::base::digest::DigestAlgorithm::OF_TRANSFERS },
    ];
    for request in kinds {
        let mut peer = server.log_in();
        for _ in 0..REQUESTS {
            peer.request(&request);
        }
        let turns = turns_until(&mut server, &mut peer, REQUESTS, |_| {});
        assert!(turns >= REQUESTS, "{request:?}: {turns} turns");
    }
    remove(&server, "a");
}

#[test]
fn a_command_of_ftp_about_a_very_long_path_takes_a_turn_of_its_own_whatever_it_asks() {
    const COMMANDS: usize = 31;
    let mut server = Server::new();
    let there = deep("a", DEEPEST);
    assert_eq!(server.log_in().ask(&mut server, &mkdir_with_parents(&there)), Reply::Done {});
    let mut peer = FtpPeer::log_in(&mut server);
    assert!(peer.ask(&mut server, &format!("CWD {there}")).starts_with("250 "));
    let absolute = ["SIZE", "MDTM", "MLST", "CWD", "DELE", "RMD", "MKD", "RNFR", "SITE CHMOD 700", "XSHA256"];
    let commands = absolute.map(|command| format!("{command} {there}"));
    let relative = ["SIZE x", "MKD ../d", "RMD x", "STAT x", "RNFR x", "MLST"].map(String::from);
    for command in commands.into_iter().chain(relative) {
        let lines = vec![command; COMMANDS];
        let mut replies = 0;
        peer.turns = 0;
        // As many as fit what the server takes at once.
        for lines in lines.chunks(16) {
            replies +=
                peer.ask(&mut server, &lines.join("\r\n")).lines().filter(|line| line.get(3..4) == Some(" ")).count();
        }
        assert!(
            replies >= COMMANDS && peer.turns >= COMMANDS,
            "{}: {} turns",
            &lines[0][..10.min(lines[0].len())],
            peer.turns
        );
    }
    remove(&server, "a");
}

#[test]
fn a_listing_of_a_deep_tree_is_charged_for_its_depth() {
    const DEPTH: usize = 1000;
    let mut server = Server::new();
    assert_eq!(server.log_in().ask(&mut server, &mkdir_with_parents(&deep("a", DEPTH))), Reply::Done {});
    let mut peer = FtpPeer::log_in(&mut server);
    peer.turns = 0;
    let listing = peer.get(&mut server, "LIST -R");
    assert_eq!(listing.windows(3).filter(|bytes| bytes == b":\r\n").count(), DEPTH + 1);
    assert!(peer.turns >= DEPTH / 5, "{} turns", peer.turns);
    remove(&server, "a");
}

#[test]
fn a_pattern_that_takes_long_to_compare_is_charged_for_and_bounded() {
    let mut server = Server::new();
    for number in 0..200 {
        write(&server.at(&format!("{number:0240}")), b"");
    }
    let mut peer = FtpPeer::log_in(&mut server);
    peer.turns = 0;
    assert_eq!(peer.get(&mut server, &format!("NLST {}z", "*[!x]".repeat(50))), b"");
    assert!(peer.turns >= 8, "{} turns", peer.turns);
    assert!(peer.begin(&mut server, &format!("NLST *[{}]", "ab".repeat(200))).starts_with("501 "));
    assert!(peer.get(&mut server, "NLST 0*9").len() > 200);
}

/// The replies that have come.
fn take_replies(pair: &mut Pair) -> Vec<Reply> {
    let (mut piece, mut replies) = ([0; 8192], Vec::new());
    while let Ok(count @ 1..) = pair.peer.read(&mut piece) {
        pair.received.extend_from_slice(&piece[..count]);
    }
    while let Some((Frame::Control { body, .. }, size)) =
        frame::decode(&pair.received, CONTROL_BYTES_MAX).expect("frames")
    {
        replies.push(serde_json::from_slice(body).expect("a reply"));
        pair.received.drain(..size);
    }
    replies
}

/// All the memory that an account may hold, down to the smallest charges.
fn fill(share: &Arc<AccountMemory>) -> Vec<Charge> {
    let sizes = [share.charge_bytes_max(), MEMORY_SMALL_BYTES, 1024, 1];
    sizes.into_iter().flat_map(|size| std::iter::from_fn(move || Charge::of(size, share))).collect()
}

#[test]
fn a_thousand_sessions_that_ask_again_where_there_is_no_memory_delay_another_user_by_few_turns() {
    const POLLING: usize = 1000;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("up to the hard limit");
    let mut server = Server::new();
    server.add_account("bob", Rights::default());
    server.service.policy.sessions_per_account = POLLING;
    let mut uploading = server.log_in();
    let id = uploading.request(&put_as("/kept", 2 * MIB as u64, UploadId([1; 16]), false));
    uploading.all_data(id, &content(1, MIB + 1));
    uploading.exchange(&mut server);
    uploading.reset(&server);
    assert_eq!(server.staged_names().iter().filter(|name| name.ends_with(".json")).count(), 1);

    let wanted = |number: usize| match number % 2 {
        0 => Request::List { path: name("/") },
        _ => Request::Partials {},
    };
    let mut pairs: Vec<Pair> = (0..POLLING).map(|_| Pair::logged_in(&mut server)).collect();
    let filled = fill(pairs[0].connection.session().and_then(|session| session.memory()).expect("logged in"));
    for (number, pair) in pairs.iter_mut().enumerate() {
        pair.request(&wanted(number));
    }
    pairs.push(Pair::logged_in_as(&mut server, "bob"));
    let mut scene = Scene::new(pairs);
    let mut refusals = 0;
    while refusals < 2 * POLLING {
        scene.pairs[POLLING].request(&Request::Quota {});
        let turns = scene.turns_until(POLLING, &mut server);
        assert!(turns <= 4, "{turns} turns");
        assert!(matches!(take_replies(&mut scene.pairs[POLLING])[..], [Reply::Quota(_)]));
        for number in 0..POLLING {
            for reply in take_replies(&mut scene.pairs[number]) {
                let Reply::Error(error) = reply else { panic!("there is no memory: {reply:?}") };
                assert_eq!((error.code, error.retry, error.fatal), (ErrorCode::Busy, true, false));
                refusals += 1;
                scene.pairs[number].request(&wanted(number));
            }
        }
        server.advance(MEMORY_WAIT_STEP);
    }
    // What was refused holds nothing.
    drop(filled);
    let mut served = 0;
    for _ in 0..100 {
        server.advance(MEMORY_WAIT_STEP);
        scene.turns_until(usize::MAX, &mut server);
        for reply in scene.pairs[..POLLING].iter_mut().flat_map(take_replies) {
            assert!(matches!(reply, Reply::Page { .. } | Reply::Partials { .. }), "{reply:?}");
            served += 1;
        }
    }
    assert_eq!(served, POLLING);
}
