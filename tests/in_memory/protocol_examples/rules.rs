//! Rules of the document that the server once broke.

use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::support::in_memory::{Peer, Server};
use crate::support::requests::Put;
use berth::base::budget::FLUSH_BUDGET_MIN;
use berth::base::digest::Digest;
use berth::base::upload_id::{RESUME_BYTES_MIN, UploadId};
use berth::base::virtual_path::{NAME_BYTES_MAX, PATH_BYTES_MAX};
use berth::config::Timeouts;
use berth::net::connection::Connection;
use berth::net::transport::Transport;
use berth::protocol::Protocol;
use berth::session::Phase;
use berth::wire::frame::{self, CONTROL_BYTES_MAX, Frame};
use berth::wire::message::{ERROR_MESSAGE_BYTES_MAX, ErrorCode, Name};
use berth::wire::{Reply, Request};

const QUOTA: u64 = 1 << 30;

fn put(path: &str) -> Request {
    Put { path: path.into(), ..Put::default() }.request()
}

fn codes(peer: &mut Peer) -> Vec<(u32, Option<ErrorCode>)> {
    let replies = peer.take_replies().into_iter();
    let code = |reply| if let Reply::Error(error) = reply { Some(error.code) } else { None };
    replies.map(|(id, reply)| (id, code(reply))).collect()
}

/// Two requests as large as may be fill what the server reads ahead. The data of the upload that
/// runs does not wait for room there, or both sides would wait for ever.
#[test]
fn requests_behind_an_upload_do_not_hold_its_data_back() {
    let mut server = Server::with_quota(QUOTA);
    let mut peer = server.log_in();
    peer.request_as(10, &put("/a"));
    for id in [11, 12] {
        let mut body = br#"{"op":"quota"}"#.to_vec();
        body.resize(CONTROL_BYTES_MAX, b' ');
        peer.control(id, &body);
    }
    peer.data(10, b"hello");
    peer.end(10, b"hello");
    peer.pump(&mut server);
    assert_eq!(codes(&mut peer), [(10, None), (11, None), (12, None)]);
    assert_eq!(std::fs::read(server.at("a")).ok().as_deref(), Some(&b"hello"[..]));
}

/// A newer client may ask for an upload in words that this server does not know. It learns so,
/// and the data it has sent meanwhile costs it nothing else.
#[test]
fn data_behind_a_malformed_put_is_discarded_and_the_session_goes_on() {
    let mut server = Server::with_quota(QUOTA);
    let mut peer = server.log_in();
    for is_cancelled in [false, true] {
        peer.control(10, br#"{"op":"put","path":"/a","mode":"append"}"#);
        peer.data(10, b"hello");
        if is_cancelled {
            peer.cancel(10)
        } else {
            peer.end(10, b"hello")
        }
        peer.request_as(11, &Request::Quota {});
        peer.pump(&mut server);
        assert_eq!(codes(&mut peer), [(10, Some(ErrorCode::BadRequest)), (11, None)]);
    }
}

/// What an error repeats of a request is cut, so that the reply is a frame a client takes.
#[test]
fn an_error_about_a_long_text_fits_a_frame() {
    let mut server = Server::with_quota(QUOTA);
    let mut peer = server.log_in();
    let long = "\u{1}".repeat(10_000);
    peer.request_as(10, &Request::Stat { path: Name(vec![0xff; 48_000]) });
    peer.control(11, serde_json::json!({"op": long}).to_string().as_bytes());
    peer.control(12, serde_json::json!({"op": "mkdir", "path": "/a", "parents": long}).to_string().as_bytes());
    peer.pump(&mut server);
    let mut replies = Vec::new();
    while let Some(bytes) = peer.take_frame() {
        let (frame, _) = frame::decode(&bytes, CONTROL_BYTES_MAX).expect("a frame that a client takes").expect("whole");
        let Frame::Control { id, body } = frame else { panic!("a reply, not {frame:?}") };
        replies.push((id, serde_json::from_slice(body).expect("a reply")));
    }
    assert_eq!(replies.len(), 3);
    for (id, reply) in replies {
        let Reply::Error(error) = reply else { panic!("{id}: {reply:?}") };
        assert!(error.message.len() <= ERROR_MESSAGE_BYTES_MAX, "{id}");
    }
}

/// Sixty-four interrupted uploads with long paths are more than one frame holds.
#[test]
fn partials_with_long_paths_come_in_pages_that_fit_a_frame() {
    let mut server = Server::with_quota(QUOTA);
    let directory = format!("/{}", "\u{1}".repeat(NAME_BYTES_MAX)).repeat(PATH_BYTES_MAX / (NAME_BYTES_MAX + 1));
    let mut peer = server.log_in();
    peer.request_as(10, &Request::Mkdir { path: directory.as_str().into(), parents: true, permissions: None });
    peer.pump(&mut server);
    assert_eq!(codes(&mut peer), [(10, None)]);
    for id in 0..5 {
        let mut request = put(&format!("{directory}/{id}"));
        if let Request::Put { upload_id, .. } = &mut request {
            *upload_id = Some(UploadId([id; 16]));
        }
        peer.request_as(20, &request);
        peer.data(20, &vec![0; RESUME_BYTES_MIN as usize]);
        peer.cancel(20);
        peer.pump(&mut server);
        assert_eq!(codes(&mut peer), [(20, Some(ErrorCode::Cancelled))]);
    }
    peer.request_as(30, &Request::Partials {});
    peer.pump(&mut server);
    let mut listed = Vec::new();
    let replies = peer.take_replies();
    let pages = replies.len();
    for (index, (_, reply)) in replies.into_iter().enumerate() {
        assert!(serde_json::to_vec(&reply).expect("JSON").len() <= CONTROL_BYTES_MAX);
        let Reply::Partials { partials, last } = reply else { panic!("{reply:?}") };
        assert_eq!(last, index + 1 == pages);
        listed.extend(partials.into_iter().map(|partial| partial.upload_id));
    }
    listed.sort();
    assert_eq!(listed, [0, 1, 2, 3, 4].map(|id| UploadId([id; 16])));
    assert!(pages > 1);
}

/// Until its end a refused upload is a transfer: its deadline is that of a stall, which every
/// byte puts off, and not that of a session that does nothing. Before a login it stays that of
/// the login, or an unauthenticated client could put it off for ever.
#[test]
fn a_refused_upload_is_a_transfer_until_its_end_but_not_before_login() {
    let mut server = Server::with_quota(QUOTA);
    let mut peer = server.log_in();
    peer.request_as(10, &put("/no/such/folder"));
    peer.pump(&mut server);
    assert_eq!(
        (codes(&mut peer), peer.protocol.status().phase),
        (vec![(10, Some(ErrorCode::NotFound))], Phase::Transfer)
    );
    peer.cancel(10);
    peer.pump(&mut server);
    assert_eq!(peer.protocol.status().phase, Phase::Idle);

    let mut client = server.connect();
    client.request_as(10, &put("/a"));
    client.pump(&mut server);
    assert_eq!(
        (codes(&mut client), client.protocol.status().phase),
        (vec![(10, Some(ErrorCode::LoginRequired))], Phase::Login)
    );
}

/// While the server hashes a prefix nothing moves on the wire, for minutes if the disk is slow.
#[test]
fn checking_a_long_prefix_is_not_a_stall() {
    let mut server = Server::with_quota(QUOTA);
    let content = vec![7; 8 << 20];
    std::fs::write(server.at("large"), &content).expect("writable");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
    let (accepted, _) = listener.accept().expect("accepted");
    accepted.set_nonblocking(true).expect("a socket");

    let mut peer = server.log_in();
    let mut now = Instant::now();
    let (prefix, offset) = (Digest::of(&content[..content.len() - 1]), content.len() as u64 - 1);
    peer.request_as(10, &Request::Get { path: "/large".into(), offset, etag: None, prefix_digest: Some(prefix) });
    std::io::Write::write_all(&mut &client, &peer.take_unsent()).expect("the socket takes so little at once");
    let transport = Transport::plain(mio::net::TcpStream::from_std(accepted));
    let mut connection = Connection::new(transport, Box::new(peer.protocol), [127, 0, 0, 1].into(), now);

    let second = Duration::from_secs(1);
    let timeouts = Timeouts { login: second, idle: 100 * second, stall: 3 * second, drain: second, storage: second };
    client.set_nonblocking(true).expect("a socket");
    let mut working = 0;
    while std::io::Read::read(&mut &client, &mut [0; 12]).is_err() {
        connection.mark(true, true);
        connection.turn(&mut server.service, FLUSH_BUDGET_MIN, now);
        working += u32::from(connection.status().phase == Phase::Transfer);
        now += second;
        assert!(working == 0 || !connection.is_overdue(&timeouts, now), "after {working} turns");
    }
    assert!(working > 20, "{working} turns");
}
