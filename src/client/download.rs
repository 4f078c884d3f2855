//! Fetching files. Many may be asked for ahead; they come one after the other, each into a part
//! beside its destination that takes the name only when digest and size are proved. It asks no
//! questions and decides nothing about files that are there already; `commands::get` does.

use std::collections::VecDeque;
use std::path::PathBuf;

use crate::client::incoming::Event;
use crate::client::link::LinkError;
use crate::client::local::Part;
use crate::client::outcome::Failure;
use crate::client::progress::Progress;
use crate::client::session::Session;
use crate::digest::Digest;
use crate::text::Size;
use crate::vpath::VPath;
use crate::wire::message::ErrorCode;
use crate::wire::{Reply, Request};

/// A file to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadJob {
    /// Its path there.
    pub remote: VPath,
    /// Where it goes here.
    pub local: PathBuf,
    /// Whether it takes the place of a file that is there.
    pub replace: bool,
}

/// A file that is here now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// Its bytes.
    pub size: u64,
    /// Its digest, computed on both sides.
    pub sha256: Digest,
    /// Bytes that were here from an earlier try.
    pub resumed_from: u64,
}

/// What became of one download.
pub type Outcome = (DownloadJob, Result<Fetched, Failure>);

/// The downloads that were asked for.
#[derive(Default)]
pub struct Downloader {
    asked: VecDeque<Asked>,
}

struct Asked {
    id: u32,
    job: DownloadJob,
    /// What an earlier try left.
    part: Option<Part>,
}

/// Why a file did not come: the file's own failure, or the end of the conversation.
enum Stop {
    File(Failure),
    Link(LinkError),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::File(failure)
    }
}

impl From<LinkError> for Stop {
    fn from(error: LinkError) -> Self {
        Self::Link(error)
    }
}

/// Fetches files, of `bytes` in all, as many ahead as the server allows. `on_outcome` gets what
/// became of each.
pub fn fetch_all(
    session: &mut Session,
    jobs: Vec<DownloadJob>,
    bytes: u64,
    mut on_outcome: impl FnMut(&mut Session, Outcome) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut progress = Progress::new(session.progress, &format!("{} files", jobs.len()), bytes);
    let mut downloader = Downloader::default();
    let mut jobs = jobs.into_iter();
    loop {
        while downloader.has_room(session)
            && let Some(job) = jobs.next()
        {
            if let Err(failure) = downloader.ask(session, job.clone()) {
                on_outcome(session, (job, Err(failure)))?;
            }
        }
        let Some(outcome) = downloader.receive(session, &mut progress)? else { return Ok(()) };
        on_outcome(session, outcome)?;
    }
}

impl Downloader {
    /// Whether another file may be asked for before the next one is received.
    pub fn has_room(&self, session: &Session) -> bool {
        session.link.has_room()
    }

    /// Whether something that was asked for has not been received.
    pub fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Asks for a file. What is left of an earlier try is offered with its digest; the server
    /// goes on from there only if its file begins with the same bytes.
    pub fn ask(&mut self, session: &mut Session, job: DownloadJob) -> Result<(), Failure> {
        let part = Part::find(&job.local, &mut || session.link.works_apart())?;
        let request = Request::Get {
            path: (&job.remote).into(),
            offset: part.as_ref().map_or(0, Part::received_bytes),
            etag: None,
            prefix_sha256: part.as_ref().map(Part::digest),
        };
        let id = session.link.request(&request)?;
        self.asked.push_back(Asked { id, job, part });
        Ok(())
    }

    /// Receives the file that was asked for first; `None` if none was.
    pub fn receive(&mut self, session: &mut Session, progress: &mut Progress) -> Result<Option<Outcome>, LinkError> {
        let Some(Asked { id, job, part }) = self.asked.pop_front() else { return Ok(None) };
        match receive_file(session, progress, id, &job, part) {
            Ok(fetched) => Ok(Some((job, Ok(fetched)))),
            Err(Stop::File(failure)) => Ok(Some((job, Err(failure)))),
            Err(Stop::Link(error)) => Err(error),
        }
    }
}

fn receive_file(
    session: &mut Session,
    progress: &mut Progress,
    id: u32,
    job: &DownloadJob,
    part: Option<Part>,
) -> Result<Fetched, Stop> {
    let (size, mtime_ns, offset) = match session.link.receive()?.event {
        Event::Reply(Reply::File { size, mtime_ns, offset, .. }) => (size, mtime_ns, offset),
        Event::Reply(Reply::Error(error)) | Event::Aborted(error) => return Err(Failure::Refused(error).into()),
        _ => return Err(LinkError::Protocol("a download was answered with something else".into()).into()),
    };
    let mut part = match prepare(session, job, part, offset) {
        Ok(part) => part,
        Err(failure) => {
            session.link.abandon(id);
            return Err(failure.into());
        }
    };
    progress.skip(offset);
    loop {
        match session.link.receive()?.event {
            Event::Data => {
                if let Err(failure) = take_chunk(session, &mut part, size) {
                    session.link.abandon(id);
                    return Err(discard_if_wrong(part, failure).into());
                }
                progress.advance(session.link.chunk().len() as u64);
            }
            Event::End(end) => {
                progress.verify();
                let sha256 = part.digest();
                if (end.size, end.sha256) != (part.received_bytes(), sha256) || end.size != size {
                    return Err(discard_if_wrong(part, wrong_content(job)).into());
                }
                part.finish(mtime_ns, job.replace)?;
                return Ok(Fetched { size, sha256, resumed_from: offset });
            }
            Event::Aborted(error) => {
                if error.code == ErrorCode::Changed {
                    part.discard();
                }
                return Err(Failure::Refused(error).into());
            }
            Event::Reply(_) => return Err(LinkError::Protocol("a reply amid a download".into()).into()),
        }
    }
}

/// The part that the file's bytes from `offset` go to.
fn prepare(session: &mut Session, job: &DownloadJob, part: Option<Part>, offset: u64) -> Result<Part, Failure> {
    let Some(mut part) = part else {
        return match offset {
            0 => Part::create(&job.local),
            _ => Err(wrong_content(job)),
        };
    };
    if offset == part.received_bytes() {
        session.output.note(format_args!("{}: resuming at {}", job.remote, Size(offset)));
        return Ok(part);
    }
    if offset != 0 {
        return Err(wrong_content(job));
    }
    session.output.note(format_args!("{}: starting over, what is here is not the beginning of that file", job.remote));
    part.restart()?;
    Ok(part)
}

fn take_chunk(session: &Session, part: &mut Part, size: u64) -> Result<(), Failure> {
    let chunk = session.link.chunk();
    if chunk.len() as u64 > size.saturating_sub(part.received_bytes()) {
        return Err(Failure::Verification("the server sent more than it announced; what came was thrown away".into()));
    }
    part.write(chunk)
}

/// Bytes that are wrong must not be resumed.
fn discard_if_wrong(part: Part, failure: Failure) -> Failure {
    if matches!(failure, Failure::Verification(_)) {
        part.discard();
    }
    failure
}

fn wrong_content(job: &DownloadJob) -> Failure {
    Failure::Verification(format!("{}: what came is not what the server has; get it again", job.remote))
}
