//! The codec: a decoded frame is encoded to the same bytes, and the split of the input changes nothing.

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};

use super::assert_is_one_plain_line;
use berth::base::buffers::DATA_BYTES_MAX;
use berth::client::error::Failure;
use berth::client::ui::listing;
use berth::wire::control::ControlReply;
use berth::wire::frame::{self, CONTROL_BYTES_MAX, CONTROL_BYTES_MAX_BEFORE_LOGIN, Frame, FrameType, WireError};
use berth::wire::message::{End, ErrorReply, MessageError, Name};
use berth::wire::{Reply, Request};

/// Frames come out the same however the bytes are cut, and encode to those bytes again.
pub(super) fn frames(input: &[u8]) {
    for limit in [CONTROL_BYTES_MAX_BEFORE_LOGIN, CONTROL_BYTES_MAX] {
        let whole = cut(input, limit, input.len());
        for step in [1, 7] {
            assert_eq!(whole, cut(input, limit, step), "fed by {step}");
        }
        let mut encoded = Vec::new();
        for (start, frame) in &whole.0 {
            assert_eq!(encoded.len(), *start);
            encode(&mut encoded, frame, input);
        }
        assert!(input.starts_with(&encoded), "a frame is not what it was decoded from");
    }
}

/// The frames in `input` and where each began, up to the first error, when at most `step` bytes
/// arrive at a time.
fn cut(input: &[u8], limit: usize, step: usize) -> (Vec<(usize, Frame<'_>)>, Option<WireError>) {
    let (mut frames, mut at, mut arrived) = (Vec::new(), 0, 0);
    loop {
        match frame::decode(&input[at.min(arrived)..arrived], limit) {
            Ok(Some((frame, used))) => {
                let payload = if let Frame::Data { length, .. } = frame { length as usize } else { 0 };
                frames.push((at, frame));
                at += used + payload;
            }
            Ok(None) if arrived < input.len() => {}
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
        // Of a data frame's payload nothing is decoded.
        arrived = if at > arrived { at.min(input.len()) } else { (arrived + step.max(1)).min(input.len()) };
        if at > input.len() {
            return (frames, None);
        }
    }
}

fn encode(out: &mut Vec<u8>, frame: &Frame<'_>, input: &[u8]) {
    match *frame {
        Frame::Control { id, body } => frame::put_bytes(out, FrameType::Control, id, body),
        Frame::End { id, body } => frame::put_bytes(out, FrameType::End, id, body),
        Frame::Abort { id, body } => frame::put_bytes(out, FrameType::Abort, id, body),
        Frame::Ping { body } => put_ping(out, FrameType::Ping, body, input),
        Frame::Pong { body } => put_ping(out, FrameType::Pong, body, input),
        Frame::Data { id, length } => {
            assert!(length as usize <= DATA_BYTES_MAX);
            out.extend_from_slice(&frame::header(FrameType::Data, id, length as usize));
            let payload = out.len()..(out.len() + length as usize).min(input.len());
            out.extend_from_slice(&input[payload]);
        }
    }
}

/// A ping's id means nothing and is not kept.
fn put_ping(out: &mut Vec<u8>, kind: FrameType, body: &[u8], input: &[u8]) {
    let id = &input[out.len() + 4..out.len() + 8];
    let id = u32::from_be_bytes(id.try_into().expect("four bytes"));
    frame::put_bytes(out, kind, id, body);
}

/// A request is an object, and comes back from what it encodes to.
pub(super) fn request(input: &[u8]) {
    match Request::decode(input) {
        Ok(request) => {
            assert!(input.trim_ascii_start().starts_with(b"{"), "not an object");
            let body = serde_json::to_vec(&request).expect("serializes");
            assert_eq!(Request::is_put(input), matches!(request, Request::Put { .. }));
            assert_eq!(Request::decode(&body), Ok(request));
        }
        Err(MessageError::Unsupported(op)) => assert_is_one_plain_line(&op),
        Err(MessageError::Malformed(_)) => {}
    }
}

/// A reply, also one of the local socket, comes back from what it encodes to, and can be shown.
pub(super) fn reply(input: &[u8]) {
    there_and_back::<End>(input);
    there_and_back::<ControlReply>(input);
    if let Some(error) = there_and_back::<ErrorReply>(input) {
        assert_is_one_plain_line(&Failure::Refused(error).to_string());
    }
    match there_and_back::<Reply>(input) {
        Some(Reply::Page { entries, .. }) => {
            let long = listing::long_lines(&entries, 1_800_000_000_000_000_000, None);
            long.iter()
                .chain(&listing::column_lines(&entries, 80, None))
                .for_each(|line| assert_is_one_plain_line(line));
            assert_eq!(long.len(), entries.len());
        }
        Some(Reply::Quota(report)) => assert!(report.free_bytes() <= report.limit_bytes),
        _ => {}
    }
}

/// Any bytes are a name; what is read as one is written so that it is read the same.
pub(super) fn name(input: &[u8]) {
    let name = Name(input.to_vec());
    let body = serde_json::to_vec(&name).expect("serializes");
    assert_eq!(serde_json::from_slice::<Name>(&body).expect("reads back"), name);
    if let Ok(path) = name.to_vpath() {
        assert_eq!(Name::from(&path).to_vpath(), Ok(path));
    }
    if let Ok(name) = serde_json::from_slice::<Name>(input) {
        assert!(matches!(input.trim_ascii_start(), [b'"' | b'{', ..]), "neither a string nor an object");
        let body = serde_json::to_vec(&name).expect("serializes");
        assert_eq!(serde_json::from_slice::<Name>(&body).expect("reads back"), name);
    }
}

/// What `input` says, if it says a `T`.
fn there_and_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(input: &[u8]) -> Option<T> {
    let message: T = serde_json::from_slice(input).ok()?;
    let body = serde_json::to_vec(&message).expect("serializes");
    assert_eq!(serde_json::from_slice::<T>(&body).expect("reads back"), message);
    Some(message)
}
