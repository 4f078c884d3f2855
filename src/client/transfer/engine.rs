//! The engine of all transfers of files: it drives the pipeline of one direction over one connection or two, resumes
//! after a lost connection, and stops at Ctrl-C or at the first failure that ends the command.
//!
//! Two connections are used if several files are large. When one connection is lost, the other one continues and uses
//! the full bandwidth, so round trips and TCP slow start of a new connection cost next to nothing. Small files need no
//! second connection, because they follow each other without a pause.
//!
//! ```text
//!  jobs ─┬─ small ───────────> first connection ──────────> results ──> the command
//!        └─ large ──┬──(takes one when it is free)──^           ^
//!                   └────────> second, on a thread ─────────────┘
//! ```
//!
//! The engine asks no questions and does not decide about existing files; `batch` does.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::client::connection::endpoint::Endpoint;
use crate::client::connection::link::Link;
use crate::client::connection::session::Session;
use crate::client::connection::state::StateDirectory;
use crate::client::error::{EXIT_LOGIN, Failure};
use crate::client::interrupt::Interrupt;
use crate::client::transfer::download::Downloader;
use crate::client::transfer::job::{Direction, TransferJob, TransferResult};
use crate::client::transfer::pipeline::{TransferPipeline, TransferQueue};
use crate::client::transfer::upload::Uploader;
use crate::client::ui::output::Output;
use crate::client::ui::progress::{Progress, ProgressStyle, SharedProgress};

/// With two files of at least this size a second connection transfers in parallel. They take longer
/// than the round trips of a login, on any link where those matter.
const SECOND_CONNECTION_BYTES: u64 = 4 * 1024 * 1024;

/// A callback that gets the result of each file. An error from it ends the transfers.
type OnResult<'a> = &'a mut dyn FnMut(&mut Session, TransferResult) -> Result<(), Failure>;

/// Transfers files, and resumes them after a lost connection. `on_result` gets the result of each job.
pub fn transfer_all(
    session: &mut Session,
    direction: Direction,
    jobs: Vec<TransferJob>,
    progress: &mut Progress,
    mut on_result: impl FnMut(&mut Session, TransferResult) -> Result<(), Failure>,
) -> Result<(), Failure> {
    match direction {
        Direction::Download => run::<Downloader>(session, jobs, progress, &mut on_result),
        Direction::Upload => run::<Uploader>(session, jobs, progress, &mut on_result),
    }
}

fn run<P: TransferPipeline>(
    session: &mut Session,
    jobs: Vec<TransferJob>,
    progress: &mut Progress,
    on_result: OnResult<'_>,
) -> Result<(), Failure> {
    if jobs.is_empty() {
        return Ok(());
    }
    session.check_link()?;
    let is_large = |item: &P::Item| P::size(item) >= SECOND_CONNECTION_BYTES;
    let items = P::items(jobs);
    let needs_second_connection = items.iter().filter(|item| is_large(item)).count() > 1;
    match session.endpoint.clone().filter(|_| needs_second_connection) {
        Some(endpoint) => {
            let (large, small) = items.into_iter().partition(is_large);
            run_on_two::<P>(session, endpoint, TransferQueue::for_two_connections(small, large), progress, on_result)
        }
        None => TransferWorker::<P>::new(&mut TransferQueue::unshared(items), progress, on_result).run(session),
    }
}

/// The transfers of one connection.
struct TransferWorker<'a, P: TransferPipeline> {
    pipeline: P,
    queue: &'a mut TransferQueue<P::Item>,
    progress: &'a mut Progress,
    on_result: OnResult<'a>,
}

impl<'a, P: TransferPipeline> TransferWorker<'a, P> {
    fn new(queue: &'a mut TransferQueue<P::Item>, progress: &'a mut Progress, on_result: OnResult<'a>) -> Self {
        Self { pipeline: P::default(), queue, progress, on_result }
    }

    /// Transfers until no file is left. If it fails, it gives its files back.
    fn run(&mut self, session: &mut Session) -> Result<(), Failure> {
        let result = session.retry(
            self,
            |session, worker| worker.run_on_link(session),
            |session, worker| worker.pipeline.resume(session, worker.progress),
        );
        if let Err(failure) = &result {
            self.queue.requeue(self.pipeline.give_up(session, failure));
            // Report all known results, even after a failure.
            while self.report(session).is_err() {}
        }
        result
    }

    fn run_on_link(&mut self, session: &mut Session) -> Result<(), Failure> {
        session.link.set_on_wait(self.progress.ticker());
        self.report(session)?;
        while self.pipeline.step(session, self.queue, self.progress)? {
            self.report(session)?;
        }
        self.report(session)
    }

    /// Reports the results that have arrived.
    fn report(&mut self, session: &mut Session) -> Result<(), Failure> {
        self.pipeline.results().show(self.progress);
        while let Some(result) = self.pipeline.results().pop() {
            (self.on_result)(session, result)?;
        }
        Ok(())
    }
}

/// Transfers on the session's connection and on a second one.
fn run_on_two<P: TransferPipeline>(
    session: &mut Session,
    endpoint: Endpoint,
    (mut queue, second_queue): (TransferQueue<P::Item>, TransferQueue<P::Item>),
    progress: &mut Progress,
    on_result: OnResult<'_>,
) -> Result<(), Failure> {
    let (sender, results) = channel();
    let second = SecondConnection::<P> {
        endpoint,
        interrupt: session.link.interrupt().for_thread(),
        state: session.state.clone(),
        is_quiet: session.output.is_quiet,
        share: progress.share(),
        queue: second_queue,
        results: sender,
    };
    let interrupt = second.interrupt.clone();
    let result = thread::scope(|scope| {
        scope.spawn(move || second.run());
        let result = run_first::<P>(session, &mut queue, progress, on_result, &results);
        interrupt.stop();
        result
    });
    // Reports what the second connection transferred before it was stopped, even if the first one failed.
    for transferred in results.try_iter() {
        let _ = on_result(session, transferred);
    }
    // The second connection may have finished its last file after the last tick.
    progress.tick();
    result
}

/// Transfers on the session's connection and reports the `results` of the second connection.
fn run_first<P: TransferPipeline>(
    session: &mut Session,
    queue: &mut TransferQueue<P::Item>,
    progress: &mut Progress,
    on_result: OnResult<'_>,
    results: &Receiver<TransferResult>,
) -> Result<(), Failure> {
    loop {
        let mut report_both = |session: &mut Session, result| {
            on_result(session, result)?;
            results.try_iter().try_for_each(|result| on_result(session, result))
        };
        TransferWorker::<P>::new(queue, progress, &mut report_both).run(session)?;
        // The second connection may still be transferring its last file.
        loop {
            match results.recv_timeout(TICK_INTERVAL) {
                Ok(result) => on_result(session, result)?,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) if session.link.keep_alive() => return Err(Failure::Interrupted),
                Err(RecvTimeoutError::Timeout) => {}
            }
            progress.tick();
        }
        // The second connection may have failed and given files back.
        if queue.is_empty() {
            return Ok(());
        }
    }
}

/// What the second connection needs.
struct SecondConnection<P: TransferPipeline> {
    endpoint: Endpoint,
    interrupt: Interrupt,
    state: StateDirectory,
    is_quiet: bool,
    share: SharedProgress,
    queue: TransferQueue<P::Item>,
    results: Sender<TransferResult>,
}

impl<P: TransferPipeline> SecondConnection<P> {
    fn run(self) {
        let Self { mut endpoint, interrupt, state, is_quiet, share, mut queue, results } = self;
        let mut output = Output::messages_only(is_quiet);
        let link = match connect(&mut endpoint, &interrupt) {
            Ok(link) => link,
            Err(failure) if failure.exit_code() == EXIT_LOGIN => return output.note(one_connection(&failure)),
            // One connection is enough. The usual reason is a limit on the sessions of an account.
            Err(_) => return,
        };
        let mut session = Session::new(link, endpoint, output, state, ProgressStyle::Silent);
        let mut progress = Progress::for_thread(share);
        // Sending fails only after the first connection has failed.
        let mut on_result = |_: &mut Session, result| results.send(result).map_err(|_| Failure::Interrupted);
        let result = TransferWorker::<P>::new(&mut queue, &mut progress, &mut on_result).run(&mut session);
        // If the failure also concerns the first connection, the first connection will meet it.
        if let Err(failure) = result
            && failure != Failure::Interrupted
        {
            session.output.note(one_connection(&failure));
        }
    }
}

fn connect(endpoint: &mut Endpoint, interrupt: &Interrupt) -> Result<Link, Failure> {
    let mut link = endpoint.connect(interrupt)?;
    link.await_proof()?;
    Ok(link)
}

fn one_connection(failure: &Failure) -> String {
    format!("continuing with one connection: {failure}")
}

/// How often the progress is refreshed while only the second connection transfers.
const TICK_INTERVAL: Duration = Duration::from_millis(100);
