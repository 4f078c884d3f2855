//! Calls to a home that may have to wait for its file system.
//!
//! The handler of a request is ordinary code that makes its calls one after the other. If a call must wait,
//! it returns [`SessionError::NotYet`]. The protocol then drops what the handler has replied, and begins the
//! request again once the call has a result: all its earlier calls return the same results as before, and
//! the handler reaches the next call. So a handler must not change anything before its last call.

use std::any::Any;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use super::Session;
use super::error::SessionError;
use crate::store::home::Home;
use crate::store::workers::operations::Operation;

/// The calls of the request that is being handled.
#[derive(Default)]
pub(super) struct Calls(RefCell<MadeCalls>);

/// The calls of one attempt to handle a request.
#[derive(Default)]
struct MadeCalls {
    /// The results of the calls that have completed, in order.
    results: Vec<CallResult>,
    /// The number of calls that this attempt has made.
    made: usize,
    /// The call that waits: an [`Operation`].
    waiting: Option<Box<dyn Any>>,
    /// A call of this attempt waits. The handler may not know that, so its further calls do nothing.
    is_blocked: bool,
}

enum CallResult {
    Value(Box<dyn Any>),
    Refusal(SessionError),
}

/// The work of a call.
type Work<T> = Box<dyn FnOnce(Rc<Home>) -> Pin<Box<dyn Future<Output = Result<T, SessionError>>>>>;

/// The answer to a call.
pub(super) struct Answer<T> {
    pub(super) result: Result<T, SessionError>,
    /// The call has completed in this attempt, and not in an earlier one. Only then it is logged.
    pub(super) is_new: bool,
}

impl Session {
    /// Begins to handle a request, for the first time or once more.
    pub fn begin_attempt(&self) {
        let mut attempt = self.calls.0.borrow_mut();
        (attempt.made, attempt.is_blocked) = (0, false);
    }

    /// Returns whether a call of this attempt waits, so that the request must be handled once more.
    pub fn is_attempt_blocked(&self) -> bool {
        self.calls.0.borrow().is_blocked
    }

    /// Returns whether a call waits.
    pub(super) fn waits_for_call(&self) -> bool {
        self.calls.0.borrow().waiting.is_some()
    }

    /// Ends the handling of a request. The call that waits runs to its end, and its result is dropped.
    pub fn end_request(&self) {
        let mut attempt = self.calls.0.borrow_mut();
        attempt.results.clear();
        (attempt.waiting, attempt.is_blocked) = (None, false);
        self.awaits_change.set(false);
        self.is_unanswered.set(false);
    }

    /// Makes a call whose value a later attempt gets again.
    pub(super) fn call<T: Clone + 'static, E, F>(
        &self,
        home: &Rc<Home>,
        work: impl FnOnce(Rc<Home>) -> F + 'static,
    ) -> Answer<T>
    where
        F: Future<Output = Result<T, E>> + 'static,
        SessionError: From<E>,
    {
        let repeat = |value: &dyn Any| value.downcast_ref::<T>().cloned();
        self.make_call(home, boxed(work), repeat, |value| Some(Box::new(value.clone())))
    }

    /// Makes the last call of a request that succeeds. A later attempt gets only its refusal again.
    pub(super) fn last_call<T: 'static, E, F>(
        &self,
        home: &Rc<Home>,
        work: impl FnOnce(Rc<Home>) -> F + 'static,
    ) -> Answer<T>
    where
        F: Future<Output = Result<T, E>> + 'static,
        SessionError: From<E>,
    {
        self.make_call(home, boxed(work), |_| None, |_| None)
    }

    /// Returns the answer that an earlier attempt got to the next call, or `NotYet` if a call of this attempt waits.
    fn repeated<T>(&self, repeat: fn(&dyn Any) -> Option<T>) -> Option<Answer<T>> {
        let mut attempt = self.calls.0.borrow_mut();
        if attempt.is_blocked {
            return Some(Answer { result: Err(SessionError::NotYet), is_new: false });
        }
        let result = match attempt.results.get(attempt.made)? {
            CallResult::Value(value) => repeat(&**value).ok_or(SessionError::Defect),
            CallResult::Refusal(refusal) => Err(*refusal),
        };
        attempt.made += 1;
        Some(Answer { result, is_new: false })
    }

    /// Keeps the result of a call that has completed, for later attempts.
    fn new_answer<T>(&self, result: Result<T, SessionError>, keep: fn(&T) -> Option<Box<dyn Any>>) -> Answer<T> {
        let mut attempt = self.calls.0.borrow_mut();
        attempt.made += 1;
        attempt.results.extend(match &result {
            Ok(value) => keep(value).map(CallResult::Value),
            Err(refusal) => Some(CallResult::Refusal(*refusal)),
        });
        Answer { result, is_new: true }
    }

    fn make_call<T: 'static>(
        &self,
        home: &Rc<Home>,
        work: Work<T>,
        repeat: fn(&dyn Any) -> Option<T>,
        keep: fn(&T) -> Option<Box<dyn Any>>,
    ) -> Answer<T> {
        if let Some(answer) = self.repeated(repeat) {
            return answer;
        }
        let waiting = self.calls.0.borrow_mut().waiting.take();
        let waiting = waiting.and_then(|waiting| waiting.downcast::<Operation<_>>().ok());
        let is_unanswered = self.is_unanswered.take();
        let mut operation = waiting.map_or_else(|| self.begin_operation(home, work), |waiting| *waiting);
        let result = match operation.take() {
            Poll::Pending if is_unanswered => Err(SessionError::NoAnswer),
            Poll::Pending => {
                let mut attempt = self.calls.0.borrow_mut();
                attempt.waiting = Some(Box::new(operation));
                attempt.is_blocked = true;
                return Answer { result: Err(SessionError::NotYet), is_new: false };
            }
            Poll::Ready(result) => result.unwrap_or(Err(SessionError::Defect)),
        };
        self.new_answer(result, keep)
    }

    /// Begins an operation of this session in `home`.
    fn begin_operation<T: 'static>(&self, home: &Rc<Home>, work: Work<T>) -> Operation<Result<T, SessionError>> {
        let work = work(Rc::clone(home));
        home.file_system().operations().begin(self.caller, work)
    }
}

fn boxed<T: 'static, E, F>(work: impl FnOnce(Rc<Home>) -> F + 'static) -> Work<T>
where
    F: Future<Output = Result<T, E>> + 'static,
    SessionError: From<E>,
{
    Box::new(|home| Box::pin(async move { work(home).await.map_err(SessionError::from) }))
}
