//! The server's protocols, whole and in memory, fed with bytes as they are.

use std::fs;

use super::conversation::Sum;
use super::script::content;
use super::support::in_memory::{Got, Peer, Rights, Server, write};
use berth::base::budget::{Budget, TURN_BUDGET};
use berth::base::buffers::{INPUT_BYTES, IoBuffers, NextChunk};
use berth::config::SyncPolicy;
use berth::protocol::admin::Admin;
use berth::protocol::admin::query::QueryResult;
use berth::protocol::{Protocol, ProtocolEvent, ProtocolIo};
use berth::wire::Reply;
use berth::wire::control::{ControlReply, ControlRequest};
use berth::wire::frame::{self, CONTROL_BYTES_MAX, CONTROL_BYTES_MAX_BEFORE_LOGIN, Frame, FrameType};

/// What the account may hold.
pub(super) const QUOTA_BYTES: u64 = 3 << 20;
/// The same in files and directories.
pub(super) const QUOTA_FILES: u64 = 8;

/// A home with a file and two directories in it; uploads are synced.
pub(super) fn new_server() -> Server {
    let mut server = Server::with(Rights { bytes: Some(QUOTA_BYTES), files: Some(QUOTA_FILES), read_only: false });
    fs::create_dir_all(server.at("a/b")).expect("a new home");
    write(&server.at("f"), &content(0, 1000));
    server.set_sync(SyncPolicy::Data);
    server
}

/// Whoever has not logged in changes nothing, whatever they send and however it is cut.
pub(super) fn stranger(input: &[u8]) {
    compare(
        input,
        |server| server.connect(),
        |server, peer| {
            assert!(
                peer.protocol.session().and_then(|session| session.account()).is_none(),
                "somebody without a password is in"
            );
            assert!(
                peer.buffers.input.filled().len() <= CONTROL_BYTES_MAX_BEFORE_LOGIN + frame::HEADER_BYTES
                    || peer.is_closing()
            );
            assert_eq!(server.usage_on_disk(), (1000, 3));
        },
    );
}

/// The answers to somebody who has logged in depend on the bytes, not on how they are cut.
pub(super) fn stream(input: &[u8]) {
    compare(input, Server::log_in, |_, _| {});
}

fn compare(input: &[u8], connect: fn(&mut Server) -> Peer, check: fn(&Server, &Peer)) {
    let run = |delivery| {
        let mut server = new_server();
        let mut peer = connect(&mut server);
        peer.delivery = delivery;
        peer.send(input);
        peer.pump(&mut server);
        check(&server, &peer);
        let said = said(&peer.take_received());
        peer.reset(&server);
        let usage = server.usage_in_ledger();
        assert_eq!(usage, server.usage_on_disk());
        (said, usage)
    };
    let (whole, bytewise) = (run(usize::MAX), run(1));
    // A cancel, and an end of the conversation, may overtake what was asked before.
    let overtakes = |(said, _): &(Vec<String>, _)| said.iter().any(|word| word == "fatal");
    if !overtakes(&whole) && !overtakes(&bytewise) && !has_abort(input) {
        assert_eq!(whole, bytewise);
    }
}

fn has_abort(mut input: &[u8]) -> bool {
    while let Ok(Some((frame, used))) = frame::decode(input, CONTROL_BYTES_MAX) {
        let payload = match frame {
            Frame::Abort { .. } => return true,
            Frame::Data { length, .. } => length as usize,
            _ => 0,
        };
        input = input.get(used + payload..).unwrap_or_default();
    }
    false
}

/// What was said, without what differs from one server to the next. Pongs come when they like.
fn said(got: &[Got]) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    let mut data: Option<Sum> = None;
    for got in got {
        if let Got::Data(id, bytes) = got {
            data.get_or_insert_with(|| Sum::new(*id)).bytes.extend(bytes);
            continue;
        }
        said.extend(data.take().map(|sum| format!("{} data {}", sum.id, sum.digest())));
        match got {
            Got::Reply(_, Reply::Error(error)) if error.fatal => said.push("fatal".into()),
            Got::Reply(id, Reply::Error(error)) => said.push(format!("{id} refused {:?}", error.code)),
            Got::Reply(id, reply) => {
                let name = serde_json::to_value(reply).expect("serializes")["re"].clone();
                said.push(format!("{id} {name}"));
            }
            Got::End(id, end) => said.push(format!("{id} {end:?}")),
            Got::Abort(id, error) => said.push(format!("{id} aborted {:?}", error.code)),
            Got::Data(..) | Got::Pong(_) => {}
        }
    }
    said
}

/// The administrator's socket. Lines that begin with a brace are sent as control frames, others as they are.
pub(super) fn control(input: &[u8]) {
    let mut server = new_server();
    let (mut admin, mut buffers) = (Admin::default(), IoBuffers::large_uncharged());
    let (mut asked, mut is_known) = (0, true);
    for line in input.split(|&byte| byte == b'\n').take(200) {
        let mut bytes = Vec::new();
        if line.starts_with(b"{") {
            frame::put_bytes(&mut bytes, FrameType::Control, asked, line);
            asked += 1;
            if let Ok(request) = serde_json::from_slice::<ControlRequest>(line) {
                let body = serde_json::to_vec(&request).expect("serializes");
                assert_eq!(serde_json::from_slice::<ControlRequest>(&body).expect("reads back"), request);
            }
        } else {
            is_known &= line.is_empty();
            bytes.extend_from_slice(line);
        }
        let room = buffers.input.room(INPUT_BYTES);
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        buffers.input.commit(count);
        loop {
            while admin.step(
                ProtocolIo::single(&mut buffers),
                &mut server.service,
                &mut Budget::new(TURN_BUDGET),
                server.now,
            ) {}
            let Some(question) = admin.take_query() else { break };
            let next = (question.from < 2).then_some(question.from + 1);
            let (turns, uptime) = Default::default();
            let answer = QueryResult { rows: Vec::new(), kicked: 1, next, turns, uptime };
            admin.handle(ProtocolEvent::QueryAnswered(answer), ProtocolIo::single(&mut buffers), server.now);
        }
    }
    check_control_replies(&mut buffers, is_known);
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
}

fn check_control_replies(buffers: &mut IoBuffers, is_known: bool) {
    let mut said = Vec::new();
    while let Some(NextChunk::Bytes(bytes)) = buffers.output.front() {
        let count = bytes.len();
        said.extend_from_slice(bytes);
        buffers.output.advance(count);
    }
    let (mut rest, mut next) = (&said[..], 0);
    while let Some((frame, used)) = frame::decode(rest, CONTROL_BYTES_MAX).expect("frames of our own") {
        let Frame::Control { id, body } = frame else { panic!("{frame:?} is no answer") };
        let reply: ControlReply = serde_json::from_slice(body).expect("a reply of our own");
        let again = serde_json::to_vec(&reply).expect("serializes");
        assert_eq!(serde_json::from_slice::<ControlReply>(&again).expect("reads back"), reply);
        assert!(!is_known || id == next, "answers come in order");
        next = if matches!(reply, ControlReply::End {} | ControlReply::Error { .. }) { id + 1 } else { id };
        rest = &rest[used..];
    }
    assert!(rest.is_empty());
}
