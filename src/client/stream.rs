//! Content that is in no file here: fetched into whatever takes its bytes. It is proved as every
//! transfer is, but only at its end, when what came has been handed on.

use sha2::{Digest as _, Sha256};

use crate::client::incoming::Event;
use crate::client::link::{Link, LinkError};
use crate::client::outcome::Failure;
use crate::client::output::Output;
use crate::client::progress::Progress;
use crate::client::session::Session;
use crate::digest::Digest;
use crate::vpath::VPath;
use crate::wire::{Reply, Request};

/// Content that was moved, whole and proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streamed {
    /// Its bytes.
    pub size: u64,
    /// Its digest, computed on both sides.
    pub sha256: Digest,
}

/// Fetches the content of the file `remote`. `take` gets the bytes as they come; what it refuses
/// ends the transfer.
pub fn fetch(
    session: &mut Session,
    remote: &VPath,
    progress: &mut Progress,
    mut take: impl FnMut(&mut Output, &mut Link, &[u8]) -> Result<(), Failure>,
) -> Result<Streamed, Failure> {
    let request = Request::Get { path: remote.into(), offset: 0, etag: None, prefix_sha256: None };
    let id = session.link.request(&request)?;
    let size = match session.link.receive()?.event {
        Event::Reply(Reply::File { size, offset: 0, .. }) => size,
        Event::Reply(Reply::Error(error)) | Event::Aborted(error) => return Err(Failure::Refused(error)),
        _ => return Err(LinkError::Protocol("a download was answered with something else".into()).into()),
    };
    let (mut hash, mut received, mut chunk) = (Sha256::new(), 0, Vec::new());
    loop {
        match session.link.receive()?.event {
            Event::Data => {
                chunk.clear();
                chunk.extend_from_slice(session.link.chunk());
                hash.update(&chunk);
                received += chunk.len() as u64;
                let taken = if received > size {
                    Err(wrong(remote))
                } else {
                    take(&mut session.output, &mut session.link, &chunk)
                };
                if let Err(failure) = taken {
                    session.link.abandon(id);
                    return Err(failure);
                }
                progress.advance(chunk.len() as u64);
            }
            Event::End(end) => {
                let sha256 = Digest::finish(hash);
                let is_whole = (end.size, end.sha256) == (received, sha256) && end.size == size;
                return if is_whole { Ok(Streamed { size, sha256 }) } else { Err(wrong(remote)) };
            }
            Event::Aborted(error) => return Err(Failure::Refused(error)),
            Event::Reply(_) => return Err(LinkError::Protocol("a reply amid a download".into()).into()),
        }
    }
}

fn wrong(remote: &VPath) -> Failure {
    Failure::Verification(format!("{remote}: what came is not what the server has; do not use it, get it again"))
}
