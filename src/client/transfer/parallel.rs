//! A second connection for the large files of a tree. When one connection is lost, the other one continues and
//! uses the full bandwidth, so round trips and TCP slow start of a new connection cost next to nothing. Small
//! files need no second connection, because they follow each other without a pause.
//!
//! ```text
//!  jobs ─┬─ small ───────────> first connection ──────────> outcomes ──> the command
//!        └─ large ──┬──(takes one when it is free)──^           ^
//!                   └────────> second, on a thread ───(told)────┘
//! ```
//!
//! This module does not know the direction; the caller passes the function that moves files on one connection.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::base::limits::SECOND_CONNECTION_BYTES;
use crate::client::connection::endpoint::Endpoint;
use crate::client::connection::link::Link;
use crate::client::connection::session::Session;
use crate::client::connection::state::StateFolder;
use crate::client::error::{EXIT_LOGIN, Failure};
use crate::client::shell::interrupt::Interrupt;
use crate::client::ui::output::Output;
use crate::client::ui::progress::{Progress, Share, Style};

/// Files that wait on one connection: its own, and those that it shares with the other connection.
pub struct Jobs<J> {
    own: VecDeque<J>,
    shared: Arc<Mutex<VecDeque<J>>>,
}

impl<J> Jobs<J> {
    /// Takes the next file that only this connection may take.
    pub fn take_own(&mut self) -> Option<J> {
        self.own.pop_front()
    }

    /// Takes the next file that the other connection could also take.
    pub fn take_shared(&mut self) -> Option<J> {
        self.shared().pop_front()
    }

    /// Returns files to the shared queue for the other connection, because this connection has failed.
    pub fn give_back(&mut self, jobs: impl IntoIterator<Item = J>) {
        self.shared().extend(jobs);
    }

    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.shared().is_empty()
    }

    fn shared(&self) -> MutexGuard<'_, VecDeque<J>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A callback that gets the result of each file.
pub type Tell<'a, O> = &'a mut dyn FnMut(&mut Session, O) -> Result<(), Failure>;

/// A function that moves files on one connection until none is left. If it fails, it gives its files back.
pub type Move<J, O> = fn(&mut Session, &mut Jobs<J>, &mut Progress, Tell<'_, O>) -> Result<(), Failure>;

/// Moves files on one connection, or on two if several files are large. `bytes` returns the size of a job.
pub fn move_all<J: Send, O: Send>(
    session: &mut Session,
    jobs: Vec<J>,
    bytes: fn(&J) -> u64,
    progress: &mut Progress,
    move_jobs: Move<J, O>,
    tell: Tell<'_, O>,
) -> Result<(), Failure> {
    if jobs.is_empty() {
        return Ok(());
    }
    session.check_link()?;
    let is_large = |job: &J| bytes(job) >= SECOND_CONNECTION_BYTES;
    let is_worth_it = jobs.iter().filter(|job| is_large(job)).count() > 1;
    let route = session.endpoint.clone().filter(|_| is_worth_it);
    let Some(route) = route else {
        let mut jobs = Jobs { own: jobs.into(), shared: Arc::default() };
        return move_jobs(session, &mut jobs, progress, tell);
    };
    let (large, own): (VecDeque<J>, VecDeque<J>) = jobs.into_iter().partition(is_large);
    let mut jobs = Jobs { own, shared: Arc::new(Mutex::new(large)) };
    let (outcomes, told) = channel();
    let second = Second {
        route,
        interrupt: session.link.interrupt().beside(),
        state: session.state.clone(),
        is_quiet: session.output.is_quiet,
        share: progress.share(),
        jobs: Jobs { own: VecDeque::new(), shared: Arc::clone(&jobs.shared) },
        outcomes,
    };
    let interrupt = second.interrupt.clone();
    let result = thread::scope(|scope| {
        scope.spawn(move || second.run(move_jobs));
        let result = move_beside(session, &mut jobs, progress, move_jobs, tell, &told);
        interrupt.stop();
        result
    });
    // Reports what the second connection moved before it was stopped, even if the first one failed.
    for outcome in told.try_iter() {
        let _ = tell(session, outcome);
    }
    // The second connection may have finished its last file after the last tick.
    progress.tick();
    result
}

/// Moves the first connection's files and reports the results of the second connection.
fn move_beside<J, O>(
    session: &mut Session,
    jobs: &mut Jobs<J>,
    progress: &mut Progress,
    move_jobs: Move<J, O>,
    tell: Tell<'_, O>,
    told: &Receiver<O>,
) -> Result<(), Failure> {
    loop {
        move_jobs(session, jobs, progress, &mut |session, outcome| {
            tell(session, outcome)?;
            told.try_iter().try_for_each(|outcome| tell(session, outcome))
        })?;
        // The second connection may still be moving its last file.
        loop {
            match told.recv_timeout(A_MOMENT) {
                Ok(outcome) => tell(session, outcome)?,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if session.link.keep_alive() => return Err(Failure::Interrupted),
                Err(RecvTimeoutError::Timeout) => {}
            }
            progress.tick();
        }
        // The second connection may have failed and given files back.
        if jobs.is_empty() {
            return Ok(());
        }
    }
}

/// What the second connection needs.
struct Second<J, O> {
    route: Endpoint,
    interrupt: Interrupt,
    state: StateFolder,
    is_quiet: bool,
    share: Share,
    jobs: Jobs<J>,
    outcomes: Sender<O>,
}

impl<J, O> Second<J, O> {
    fn run(self, move_jobs: Move<J, O>) {
        let Self { mut route, interrupt, state, is_quiet, share, mut jobs, outcomes } = self;
        let mut output = Output::remarks_only(is_quiet);
        let link = match connect(&mut route, &interrupt) {
            Ok(link) => link,
            Err(failure) if failure.exit_code() == EXIT_LOGIN => return output.note(left_alone(&failure)),
            // If no second connection can be made, one is enough.
            Err(_) => return,
        };
        let mut session = Session::new(link, route, output, state, Style::Silent);
        let mut progress = Progress::beside(share);
        let moved = move_jobs(&mut session, &mut jobs, &mut progress, &mut |_, outcome| {
            // Sending fails only after the first connection has failed.
            outcomes.send(outcome).map_err(|_| Failure::Interrupted)
        });
        // If the failure also concerns the first connection, the first connection will meet it.
        if let Err(failure) = moved
            && failure != Failure::Interrupted
        {
            session.output.note(left_alone(&failure));
        }
    }
}

fn connect(route: &mut Endpoint, interrupt: &Interrupt) -> Result<Link, Failure> {
    let mut link = route.connect(interrupt)?;
    link.await_proof()?;
    Ok(link)
}

fn left_alone(failure: &Failure) -> String {
    format!("going on with one connection: {failure}")
}

/// Short enough for a smooth progress display.
const A_MOMENT: Duration = Duration::from_millis(100);
