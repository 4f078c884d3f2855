//! Reconnects a session after a lost connection and repeats the requests without a reply. All work that survives a
//! lost connection runs in [`Session::retry`]. [`Endpoint`] decides how often it may reconnect.
//!
//! [`Endpoint`]: crate::client::connection::endpoint::Endpoint

use crate::client::connection::session::Session;
use crate::client::error::Failure;

impl Session {
    /// Runs `work`. After a lost connection it reconnects, calls `resume`, and runs `work` again: the replies to all
    /// earlier requests are lost, so `resume` queues these requests again in `state`.
    pub fn retry<S, T>(
        &mut self,
        state: &mut S,
        mut work: impl FnMut(&mut Self, &mut S) -> Result<T, Failure>,
        mut resume: impl FnMut(&mut Self, &mut S) -> Result<(), Failure>,
    ) -> Result<T, Failure> {
        loop {
            match work(self, state) {
                Ok(done) => {
                    self.note_progress();
                    return Ok(done);
                }
                Err(failure) => {
                    self.reconnect(failure)?;
                    resume(self, state)?;
                }
            }
        }
    }

    /// Runs `work`, which can be repeated as a whole, and repeats it after each lost connection. Checks the idle
    /// connection first.
    pub fn retry_whole<T>(&mut self, mut work: impl FnMut(&mut Self) -> Result<T, Failure>) -> Result<T, Failure> {
        self.check_link()?;
        self.retry(&mut (), |session, ()| work(session), |_, ()| Ok(()))
    }

    /// Reconnects if `failure` is a lost connection; otherwise returns `failure`. The replies to all earlier
    /// requests are lost.
    pub fn reconnect(&mut self, failure: Failure) -> Result<(), Failure> {
        let Some(endpoint) = self.endpoint.as_mut().filter(|_| failure.is_lost()) else { return Err(failure) };
        let interrupt = self.link.interrupt().clone();
        let mut link = endpoint.reconnect(failure, &interrupt, &mut self.output)?;
        link.inherit_on_wait(&mut self.link);
        self.link = link;
        self.was_lost = true;
        Ok(())
    }

    /// Detects a connection that ended while the session was idle, and reconnects. Called before requests whose
    /// repetition would have to be explained to the user.
    pub fn check_link(&mut self) -> Result<(), Failure> {
        match self.link.check_idle() {
            Ok(()) => Ok(()),
            Err(error) => self.reconnect(error.into()),
        }
    }

    /// Notes progress that no later connection repeats. After the next loss, the count of attempts starts at 0.
    pub fn note_progress(&mut self) {
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.note_progress();
        }
        self.note_connected();
    }

    /// Notes the transfer of `bytes` beyond the furthest position so far.
    pub fn note_new_bytes(&mut self, bytes: u64) {
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.note_new_bytes(bytes);
        }
        self.note_connected();
    }

    fn note_connected(&mut self) {
        if std::mem::take(&mut self.was_lost) {
            self.output.note("connected again");
        }
    }

    /// Tells the user that a transfer resumes at `percent` after a lost connection.
    pub fn note_resumed(&mut self, percent: u64) {
        if std::mem::take(&mut self.was_lost) {
            self.output.note(format_args!("resumed at {percent}%"));
        }
    }

    /// Runs requests that check what happened on a lost connection. Their replies are no progress: a server
    /// that answers only these would be retried for ever.
    pub fn check_after_loss<T>(&mut self, check: impl FnOnce(&mut Self) -> T) -> T {
        self.endpoint.iter_mut().for_each(|endpoint| endpoint.set_checking(true));
        let result = check(self);
        self.endpoint.iter_mut().for_each(|endpoint| endpoint.set_checking(false));
        result
    }
}
