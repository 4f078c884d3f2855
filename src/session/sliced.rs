//! Long work in slices. A slice runs on the loop, or on a worker if the file system may make it wait.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use super::error::SessionError;
use crate::base::budget::Budget;
use crate::base::memory::{AccountMemory, Charge};
use crate::store::home::Home;
use crate::store::monotonic;
use crate::store::workers::CALL_SLICE;
use crate::store::workers::operations::Operation;

/// The maximum size of a piece that a worker reads or writes while the account has no memory for a larger one.
const UNCHARGED_PIECE_BYTES: usize = 16 * 1024;

/// Where work runs: the home, and the session that is woken when a worker has finished.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) home: &'a Rc<Home>,
    pub(super) caller: u64,
    /// The account's share of memory.
    pub(super) memory: &'a Arc<AccountMemory>,
}

impl Site<'_> {
    /// Begins a call that may wait for the file system. The result is an error if the call has no result.
    pub(super) fn begin<T: Send + 'static>(
        self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Operation<Result<T, SessionError>> {
        let file_system = self.home.file_system().clone();
        let work = async move { file_system.run(call).await.map_err(|error| SessionError::from(&error.into())) };
        self.home.file_system().operations().begin(self.caller, work)
    }

    /// Returns the size of a piece of up to `bytes` for a worker, and its charge.
    pub(super) fn charge_piece(self, bytes: usize) -> (usize, Option<Charge>) {
        let charge = Charge::of(bytes, self.memory);
        (if charge.is_some() { bytes } else { bytes.min(UNCHARGED_PIECE_BYTES) }, charge)
    }

    /// Returns whether the loop may call the file system itself.
    pub(super) fn is_prompt(self) -> bool {
        self.home.file_system().is_prompt()
    }
}

/// Work, and the operation that continues it on a worker.
pub(super) enum Sliced<W, S> {
    Here(W),
    OnWorker(Operation<Result<(W, S), SessionError>>),
    /// The call that continued it has no result.
    Lost,
}

impl<W: Send + 'static, S: Send + 'static> Sliced<W, S> {
    /// Returns whether a worker has the work.
    pub(super) fn awaits_storage(&self) -> bool {
        matches!(self, Self::OnWorker(_))
    }

    /// Takes the work for good, unless a worker has it.
    pub(super) fn take(&mut self) -> Option<W> {
        match std::mem::replace(self, Self::Lost) {
            Self::Here(work) => Some(work),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Continues. Returns the result of a slice, or `None` if a worker has the work. `slice` continues within a
    /// budget. `is_unfinished` returns whether a worker may run another slice after such a result.
    pub(super) fn advance(
        &mut self,
        site: Site<'_>,
        budget: &mut Budget,
        slice: fn(&mut W, &mut Budget) -> S,
        is_unfinished: fn(&S) -> bool,
    ) -> Result<Option<S>, SessionError> {
        let mut running = match std::mem::replace(self, Self::Lost) {
            Self::Here(mut work) if site.is_prompt() => {
                let step = site.home.file_system().run_now(|| slice(&mut work, budget));
                *self = Self::Here(work);
                return Ok(Some(step));
            }
            Self::Here(mut work) => site.begin(move || {
                let began = monotonic::now();
                loop {
                    let step = slice(&mut work, &mut Budget::new(1));
                    if !is_unfinished(&step) || began.elapsed() >= CALL_SLICE {
                        return (work, step);
                    }
                }
            }),
            Self::OnWorker(running) => running,
            Self::Lost => return Err(SessionError::Defect),
        };
        match running.take() {
            Poll::Pending => {
                *self = Self::OnWorker(running);
                Ok(None)
            }
            Poll::Ready(done) => {
                let (work, step) = done.unwrap_or(Err(SessionError::Defect))?;
                *self = Self::Here(work);
                Ok(Some(step))
            }
        }
    }
}
