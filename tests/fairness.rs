//! Fairness counted in turns: real connections over socket pairs, driven round robin as the loop
//! drives them, without a clock.

mod support;

use berth::limits::FLUSH_BUDGET_MIN;
use berth::net::connection::Turn;
use berth::net::turns::Turns;
use berth::wire::frame::{self, FrameType};
use berth::wire::{Reply, Request};
use std::time::Duration;
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
fn a_turn_sends_no_more_than_its_part() {
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
    turns: Turns,
    pairs: Vec<Pair>,
    queued: Vec<bool>,
}

impl Scene {
    /// One round of the loop.
    fn round(&mut self, server: &mut Server) {
        for (slot, pair) in self.pairs.iter_mut().enumerate() {
            pair.receive();
            if !std::mem::replace(&mut self.queued[slot], true) {
                self.turns.push(slot, pair.connection.claim(true));
            }
        }
        let mut round = self.turns.begin_round();
        while let Some((slot, claim)) = self.turns.next(&mut round) {
            let pair = &mut self.pairs[slot];
            self.queued[slot] = pair.turn(server) == Turn::Again;
            if self.queued[slot] {
                self.turns.push(slot, pair.connection.claim(false));
            }
            self.turns.spent(claim, Duration::from_micros(1));
        }
    }
}

/// A stranger who does what `number` says, again and again.
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
fn strangers_of_every_kind_leave_a_transfer_half_of_the_turns() {
    const STRANGERS: usize = 100;
    let mut server = Server::new();
    write(&server.at("large"), &content(3, 16 * MIB));
    let mut pairs: Vec<Pair> = (0..STRANGERS).map(|_| Pair::stranger(&mut server)).collect();
    let mut transfer = Pair::logged_in(&mut server);
    transfer.request(&get("/large"));
    transfer.turns = 0;
    pairs.push(transfer);
    let mut scene = Scene { turns: Turns::default(), queued: vec![false; pairs.len()], pairs };
    let mut rounds = 0;
    while !scene.pairs[STRANGERS].has_digest() {
        for (number, pair) in scene.pairs[..STRANGERS].iter_mut().enumerate() {
            molest(pair, number);
        }
        scene.round(&mut server);
        rounds += 1;
        assert!(rounds < 1000, "the transfer never ends");
    }
    let of_strangers: usize = scene.pairs[..STRANGERS].iter().map(|pair| pair.turns).sum();
    let of_transfer = scene.pairs[STRANGERS].turns;
    assert!(of_transfer >= of_strangers, "{of_transfer} turns, and {of_strangers} of strangers");
    assert!(of_strangers * 4 >= of_transfer, "strangers are served too: {of_strangers} beside {of_transfer}");
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
