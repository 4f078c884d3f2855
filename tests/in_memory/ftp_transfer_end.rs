//! The end of FTP transfers, with a clock that the tests move. When a client is killed, its kernel may close the
//! data connection before the control connection. So an upload counts as complete only if the control connection is
//! still open after a grace period.

use std::time::Duration;

use crate::support::in_memory::ftp_peer::{DataStage, FtpPeer};
use crate::support::in_memory::*;
use berth::base::upload_id::RESUME_BYTES_MIN;
use berth::config::SyncPolicy;
use berth::protocol::Protocol;
use berth::protocol::ftp::{
    FTP_END_GRACE_LARGE, FTP_END_GRACE_MAX, FTP_END_GRACE_SHARE, FTP_REPLY_GAP, FTP_REPLY_GAP_MIN,
};

const LARGE: usize = RESUME_BYTES_MIN as usize;

/// Sends `count` bytes of an upload, which take so long, and ends the data.
fn end_after(server: &mut Server, count: usize, took: Duration) -> FtpPeer {
    let mut peer = FtpPeer::log_in(server);
    assert!(peer.begin(server, "STOR file").starts_with("150 "));
    assert_eq!(peer.connect(server), "");
    peer.send(server, &content(1, count));
    server.advance(took);
    peer
}

#[test]
fn a_large_upload_is_discarded_if_the_control_connection_ends_within_20_ms() {
    let of_grace = |milliseconds: u64| (Duration::from_millis(milliseconds) * FTP_END_GRACE_SHARE).as_millis() as u64;
    for (count, took_ms, gone_after_ms) in [
        (LARGE, 0, 0),
        (LARGE, 0, 19),
        (4 * LARGE, 16, 19),
        (4 * LARGE, of_grace(30), 29),
        (1000, of_grace(30), 29),
        (LARGE, 99_999, 49),
    ] {
        let mut server = Server::new();
        write(&server.at("file"), b"old");
        let mut peer = end_after(&mut server, count, Duration::from_millis(took_ms));
        assert_eq!(peer.end_data(&mut server), "", "{count} bytes in {took_ms} ms");
        server.advance(Duration::from_millis(gone_after_ms));
        let said = peer.hang_up(&mut server);
        assert!(said.starts_with("426 "), "{count} bytes in {took_ms} ms: {said}");
        assert_eq!(std::fs::read(server.at("file")).expect("there"), b"old");
        // What is worth going on with is kept.
        assert_eq!(server.is_staging_empty(), count < LARGE);
        assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
    }
}

#[test]
fn a_large_upload_is_stored_20_ms_after_its_end_if_the_client_stays() {
    for (count, took_ms, grace) in [
        (LARGE, 0, FTP_END_GRACE_LARGE),
        (LARGE, 30 * u64::from(FTP_END_GRACE_SHARE), Duration::from_millis(30)),
        (LARGE, 99_999, FTP_END_GRACE_MAX),
        (1000, 99_999, FTP_END_GRACE_MAX),
    ] {
        let mut server = Server::new();
        let mut peer = end_after(&mut server, count, Duration::from_millis(took_ms));
        assert_eq!(peer.end_data(&mut server), "");
        assert_eq!(peer.protocol.status().wakes_at, Some(server.now + grace), "{count} bytes in {took_ms} ms");
        server.advance(grace);
        assert!(peer.replies(&mut server).starts_with("226 "));
        assert_eq!(std::fs::read(server.at("file")).expect("there"), content(1, count));
    }
}

#[test]
fn the_20_ms_start_when_the_end_arrives() {
    for (read_after_ms, is_believed) in [(0, false), (19, false), (20, true), (99, true)] {
        let mut server = Server::new();
        let mut peer = end_after(&mut server, LARGE, Duration::ZERO);
        let came = server.now;
        peer.data.ended_at = Some(came);
        server.advance(Duration::from_millis(read_after_ms));
        let said = peer.end_data(&mut server);
        assert_eq!(said.starts_with("226 "), is_believed, "{said}");
        if !is_believed {
            assert_eq!(peer.protocol.status().wakes_at, Some(came + FTP_END_GRACE_LARGE));
            assert!(peer.hang_up(&mut server).starts_with("426 "));
        }
    }
}

#[test]
fn a_small_upload_waits_for_nothing() {
    let mut server = Server::new();
    for count in [0, 1, LARGE - 1] {
        let mut peer = end_after(&mut server, count, Duration::from_millis(1));
        assert!(peer.end_data(&mut server).starts_with("226 "), "{count}");
    }
}

// ---- QUIT and ABOR behind an upload --------------------------------------------------------

#[test]
fn quit_behind_an_upload_is_a_sign_that_all_of_it_came() {
    for (count, quits_first) in [(LARGE, false), (LARGE, true), (1000, false), (0, true)] {
        let mut server = Server::new();
        let mut peer = end_after(&mut server, count, Duration::from_secs(99));
        let mut said = String::new();
        if quits_first {
            said += &peer.ask(&mut server, "QUIT");
            said += &peer.hang_up(&mut server);
            assert_eq!(said, "", "its data has not ended");
            said += &peer.end_data(&mut server);
        } else {
            said += &peer.end_data(&mut server);
            said += &peer.ask(&mut server, "NOOP\r\nQUIT");
            said += &peer.hang_up(&mut server);
        }
        let codes: Vec<&str> = said.lines().map(|line| &line[..3]).collect();
        assert_eq!(codes, if quits_first { &["226", "221"][..] } else { &["226", "200", "221"] });
        assert!(std::fs::read(server.at("file")).expect("there") == content(1, count));
        assert!(peer.protocol.status().is_closing);
    }
}

/// Its data has ended, it was believed, and is on its way to the disk: it has no name yet.
#[test]
fn an_upload_that_is_aborted_before_it_has_its_name_is_not_stored() {
    for queue in ["ABOR", "NOOP\r\nABOR", "QUIT\r\nABOR"] {
        let mut server = Server::new();
        server.set_sync(SyncPolicy::Data);
        write(&server.at("file"), b"old");
        let mut peer = end_after(&mut server, LARGE, Duration::ZERO);
        assert_eq!(peer.end_data(&mut server), "");
        server.advance(FTP_END_GRACE_MAX);
        assert_eq!(peer.replies(&mut server), "", "it waits for the disk");
        let said = peer.ask(&mut server, queue);
        assert!(said.starts_with("426 "), "{queue}: {said}");
        server.run_syncs();
        let _ = peer.replies(&mut server);
        assert_eq!(std::fs::read(server.at("file")).expect("there"), b"old", "{queue}");
        assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
    }
}

// ---- The two replies to a download ---------------------------------------------------------

#[test]
fn reply_226_follows_the_clients_close_or_a_short_delay() {
    for size in [0, 1, 100_000] {
        for leaves in [false, true] {
            let mut server = Server::new();
            write(&server.at("file"), &content(1, size));
            let mut peer = FtpPeer::log_in(&mut server);
            peer.stays = true;
            assert!(peer.begin(&mut server, "RETR file").starts_with("150 "));
            assert_eq!(peer.connect(&mut server), "", "{size} bytes");
            assert_eq!(peer.received, content(1, size));
            assert_eq!(peer.protocol.status().wakes_at, Some(server.now + FTP_REPLY_GAP));
            if leaves {
                peer.data.stage = DataStage::PeerClosed;
            } else {
                server.advance(FTP_REPLY_GAP);
            }
            assert!(peer.replies(&mut server).starts_with("226 "), "{size} bytes, {leaves}");
        }
    }
}

#[test]
fn a_client_that_keeps_its_data_connections_open_waits_less_for_each_further_file() {
    let mut server = Server::new();
    write(&server.at("file"), b"small");
    let mut peer = FtpPeer::log_in(&mut server);
    let mut waits = Vec::new();
    for is_kept_open in [true; 9].into_iter().chain([false, true, true, true]) {
        peer.stays = true;
        assert!(peer.begin(&mut server, "RETR file").starts_with("150 "));
        assert_eq!(peer.connect(&mut server), "");
        let wait = peer.protocol.status().wakes_at.expect("it waits for its client") - server.now;
        if is_kept_open {
            server.advance(wait);
        } else {
            peer.data.stage = DataStage::PeerClosed;
        }
        assert!(peer.replies(&mut server).starts_with("226 "));
        waits.push(wait);
    }
    let full = FTP_REPLY_GAP;
    let least = FTP_REPLY_GAP_MIN;
    let expected = [full, full, full / 2, full / 4, full / 8, full / 16, least, least, least];
    assert_eq!(waits[..9], expected);
    assert_eq!(waits[9..], [least, full, full, full / 2], "one that was slow for once is waited for again");
}

// ---- What moves a transfer -----------------------------------------------------------------

#[test]
fn commands_do_not_reset_the_stall_timeout_of_an_upload() {
    let mut server = Server::new();
    let mut peer = FtpPeer::log_in(&mut server);
    assert!(peer.begin(&mut server, "STOR file").starts_with("150 "));
    assert_eq!(peer.connect(&mut server), "");
    peer.send(&mut server, b"some");
    for said in ["NOOP", "STAT", "PWD\r\nNOOP", "x"] {
        let before = peer.protocol.status().progress;
        peer.ask(&mut server, said);
        assert_eq!(peer.protocol.status().progress, before, "{said}");
    }
    for _ in 0..5 {
        let before = peer.protocol.status().progress;
        peer.send(&mut server, b"1");
        assert_ne!(peer.protocol.status().progress, before, "a slow upload moves");
    }
}
