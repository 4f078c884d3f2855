//! Fairness counted in turns: real connections over socket pairs, driven round robin as the loop
//! drives them, without a clock.

mod support;

use berth::limits::FLUSH_BUDGET;
use berth::net::connection::Turn;
use berth::wire::frame::{self, FrameType};
use berth::wire::{Reply, Request};
use support::pair::Pair;
use support::*;

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
            assert_eq!(pair.turn(&mut server), Turn::Again, "a download always has more to send");
            let moved = pair.receive();
            assert!(moved <= FLUSH_BUDGET, "a turn moved {moved} bytes");
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
fn a_stranger_who_floods_with_pings_gets_one_turn_a_round_like_anybody() {
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
