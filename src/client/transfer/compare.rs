//! Compares local files with remote ones by their digests.

use std::fs;
use std::path::Path;

use crate::base::digest::{Digest, DigestAlgorithm};
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::incoming::Event;
use crate::client::connection::session::Session;
use crate::client::error::{Failure, unexpected};
use crate::client::files::local::digest_of;
use crate::client::ui::hashing::Hashing;
use crate::wire::{Reply, Request};

/// Returns the digest of a local and a remote file if both have the same content. Both sides compute at once.
pub fn same_content(session: &mut Session, local: &Path, remote: &VirtualPath) -> Result<Option<Digest>, Failure> {
    let mut same = Err(unexpected());
    same_contents(session, &[(local, remote)], |result| same = result)?;
    same
}

/// Compares many pairs of files. The requests are pipelined, so a pair costs no round trip of its own.
/// `on_result` gets the results in order.
pub fn same_contents(
    session: &mut Session,
    pairs: &[(&Path, &VirtualPath)],
    mut on_result: impl FnMut(Result<Option<Digest>, Failure>),
) -> Result<(), Failure> {
    if pairs.is_empty() {
        return Ok(());
    }
    session.check_link()?;
    let hashing = Hashing::for_files(session.progress, pairs.len());
    session.link.set_on_wait(hashing.ticker());
    let mut ahead = DigestsAhead::default();
    for (at, (_, remote)) in pairs.iter().enumerate() {
        hashing.next_remote(remote);
        let same = session.retry(
            &mut ahead,
            |session, ahead| ahead.compare_first(session, &pairs[at..], &hashing),
            |_, ahead| {
                ahead.requested = 0;
                Ok(())
            },
        )?;
        on_result(same);
        ahead = DigestsAhead { requested: ahead.requested - 1, local_digest: None };
    }
    Ok(())
}

/// The progress of comparing a pair of files.
#[derive(Default)]
struct DigestsAhead {
    /// The number of remote digests that are requested: of this pair and of the next ones.
    requested: usize,
    /// The local digest. It survives a lost connection.
    local_digest: Option<Result<Digest, Failure>>,
}

impl DigestsAhead {
    /// Compares the first of `pairs` and sends the requests for the next ones.
    fn compare_first(
        &mut self,
        session: &mut Session,
        pairs: &[(&Path, &VirtualPath)],
        hashing: &Hashing,
    ) -> Result<Result<Option<Digest>, Failure>, Failure> {
        while self.requested < pairs.len() && session.link.has_room() {
            session.link.request(&Request::Digest {
                path: pairs[self.requested].1.into(),
                algorithm: DigestAlgorithm::OF_TRANSFERS,
            })?;
            self.requested += 1;
        }
        session.link.send_all()?;
        let local = self.local_digest.get_or_insert_with(|| local_digest(session, pairs[0].0, hashing)).clone();
        let remote = match session.link.receive()?.event {
            Event::Reply(Reply::Digest { digest, .. }) => Ok(digest),
            Event::Reply(Reply::Error(error)) => Err(Failure::Refused(error)),
            _ => return Err(unexpected()),
        };
        Ok(remote.and_then(|remote| Ok(Some(local?).filter(|local| *local == remote))))
    }
}

/// Computes the digest of a local file and shows the progress.
fn local_digest(session: &mut Session, local: &Path, hashing: &Hashing) -> Result<Digest, Failure> {
    let bytes = fs::metadata(local).map_or(0, |metadata| metadata.len());
    hashing.begin_local(local, bytes);
    let digest = digest_of(local, &mut |bytes| {
        hashing.set_done(bytes);
        session.link.keep_alive()
    });
    hashing.finish_local();
    digest
}
