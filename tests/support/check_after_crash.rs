//! Checks of a home after a server that was killed runs again.

use std::fs;

use serde_json::Value;

use super::peer::{Incoming, Peer};
use super::random_changes::{History, Tree};
use super::{Place, Server, disk_usage};
use berth::wire::message::Partial;
use berth::wire::{Reply, Request};

/// Checks that the ledger of the home of `ann` matches the disk, that every interrupted upload can be resumed, and that
/// nothing remains of other uploads. Updates `trees` to the content. Returns the number of resumed uploads.
pub(crate) fn recover(place: &Place, server: &Server, histories: &[History], trees: &mut [Tree]) -> u64 {
    let home = place.home("ann", "");
    let mut peer = Peer::login(server.address, "ann");
    let check_quota = |peer: &mut Peer| {
        let Reply::Quota(report) = peer.ask(&Request::Quota {}) else { panic!("a report") };
        let used = (report.used_bytes, report.used_files);
        assert_eq!((used, report.reserved_bytes), (disk_usage(&home), 0));
    };
    check_quota(&mut peer);
    let mut resumed = 0;
    for partial in partials(&mut peer) {
        let mut owners = histories.iter().zip(&mut *trees);
        let is_known = owners.any(|(history, tree)| history.resume(&mut peer, &partial, tree));
        assert!(is_known, "{partial:?} is nobody's");
        resumed += 1;
    }
    let left = fs::read_dir(home.join(".berth")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "of no use to anybody");
    check_quota(&mut peer);
    verify(place);
    resumed
}

/// Checks that the changes of the ledger since the count match the disk.
fn verify(place: &Place) {
    let ended = place.run(place.berthd(&["usage", "--verify", "--json"])).expect_code(0);
    let report: Value = serde_json::from_str(&ended.stdout).expect("one account, one line");
    assert_eq!(report["used_bytes"], report["disk_bytes"], "{report}");
    assert_eq!(report["used_files"], report["disk_files"], "{report}");
}

fn partials(peer: &mut Peer) -> Vec<Partial> {
    peer.request(&Request::Partials {});
    let mut all = Vec::new();
    loop {
        match peer.receive() {
            Ok(Incoming::Reply(_, Reply::Partials { partials, last })) => {
                all.extend(partials);
                if last {
                    return all;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}
