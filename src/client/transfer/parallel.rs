//! Two connections for the large files of a tree. When one of them is cut, the other goes on and
//! takes the whole of the link, so that the round trips and the slow beginning of a new connection
//! cost next to nothing. Small files need no second one: they follow each other without a pause.
//!
//! ```text
//!  jobs ─┬─ small ───────────> first connection ──────────> outcomes ──> the command
//!        └─ large ──┬──(takes one when it is free)──^           ^
//!                   └────────> second, on a thread ───(told)────┘
//! ```
//!
//! It knows neither direction: what moves files on one connection is handed to it.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::base::limits::SECOND_CONNECTION_BYTES;
use crate::base::virtual_path::VPath;
use crate::client::connection::endpoint::Endpoint;
use crate::client::connection::link::Link;
use crate::client::connection::session::Session;
use crate::client::connection::state::StateFolder;
use crate::client::error::{EXIT_LOGIN, Failure};
use crate::client::shell::interrupt::Interrupt;
use crate::client::ui::output::Output;
use crate::client::ui::progress::{Progress, Share, Style};

/// Files that wait to be moved on one connection: its own, and those that whichever is free takes.
pub struct Jobs<J> {
    own: VecDeque<J>,
    shared: Arc<Mutex<VecDeque<J>>>,
}

impl<J> Jobs<J> {
    /// The next file that no other connection takes.
    pub fn take_own(&mut self) -> Option<J> {
        self.own.pop_front()
    }

    /// The next that another one would take else.
    pub fn take_shared(&mut self) -> Option<J> {
        self.shared().pop_front()
    }

    /// Leaves what was taken to the other connection, because this one is at its end.
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

/// Gets what became of each file.
pub type Tell<'a, O> = &'a mut dyn FnMut(&mut Session, O) -> Result<(), Failure>;

/// Moves files on one connection until none is left, and gives back what it took when it fails.
pub type Move<J, O> = fn(&mut Session, &mut Jobs<J>, &mut Progress, Tell<'_, O>) -> Result<(), Failure>;

/// Moves files on one connection, or on two if several of them are large. `bytes` are those of a job.
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
    let route = session.route.clone().filter(|_| is_worth_it);
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
    // What the other one moved until it was stopped is moved, whatever the end.
    for outcome in told.try_iter() {
        let _ = tell(session, outcome);
    }
    // The other one's last file was done behind this one's last look.
    progress.tick();
    result
}

/// The first connection's share, and what is told of the second's.
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
        // The other one may be at its last file still.
        loop {
            match told.recv_timeout(A_MOMENT) {
                Ok(outcome) => tell(session, outcome)?,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if session.link.works_apart() => return Err(Failure::Interrupted),
                Err(RecvTimeoutError::Timeout) => {}
            }
            progress.tick();
        }
        // It may have failed and given something back.
        if jobs.is_empty() {
            return Ok(());
        }
    }
}

/// What the second connection is made of.
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
            // Where there is no second connection to be had, one is enough.
            Err(_) => return,
        };
        let mut session = Session {
            link,
            folder: VPath::root(),
            output,
            state,
            progress: Style::Silent,
            peer: route.peer(),
            route: Some(route),
            may_ask: false,
            stdin_is_script: false,
            was_lost: false,
            previous_folder: None,
        };
        let mut progress = Progress::beside(share);
        let moved = move_jobs(&mut session, &mut jobs, &mut progress, &mut |_, outcome| {
            // Nobody listens any more only when the first connection failed.
            outcomes.send(outcome).map_err(|_| Failure::Interrupted)
        });
        // If it concerns the first connection too, that one will meet it.
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

/// Often enough for a picture that moves.
const A_MOMENT: Duration = Duration::from_millis(100);
