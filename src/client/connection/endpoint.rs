//! The address, the account and the credentials of a server. The first connection may ask the user questions;
//! the module keeps what later connections need, so that they ask nothing. It knows no command and no transfer.

use std::time::Duration;

use rustix::event::{Timespec, poll};
use zeroize::Zeroizing;

use crate::auth::scram::{Binding, ClientKeys};
use crate::base::explanation::Explanation;
use crate::base::text::{Escaped, plain};
use crate::client::connection::link::Link;
use crate::client::connection::login;
use crate::client::connection::stream::{ConnectError, PlainStream, Stream};
use crate::client::connection::tls_stream::TlsStream;
use crate::client::connection::trust::Trust;
use crate::client::error::{Failure, Loss, WRONG_SERVER_ADVICE};
use crate::client::interrupt::{Interrupt, POLL_MAX};
use crate::client::ui::confirm::terminal_can_answer;
use crate::client::ui::output::Output;
use crate::config::PORT_DEFAULT;
use crate::wire::message::ErrorCode;

/// The longest pause before the first retry after a connection that transferred something. The network
/// is up, and each round trip spent waiting is lost.
const RETRY_WAIT_FIRST: Duration = Duration::from_millis(20);
/// The longest pause before the second retry.
const RETRY_WAIT_SECOND: Duration = Duration::from_millis(400);
/// The factor for each further pause.
const RETRY_WAIT_GROWTH: u32 = 4;
/// The longest pause.
const RETRY_WAIT_MAX: Duration = Duration::from_secs(30);

/// A server, an account and the keys to log in again. A clone makes a second connection to the same server.
#[derive(Clone)]
pub struct Endpoint {
    host: String,
    port: u16,
    user: String,
    /// How the server is authenticated; `None` without encryption.
    trust: Option<Trust>,
    /// Keys derived at the first login. The password itself is not kept.
    keys: ClientKeys,
    retries: u32,
    /// Connection attempts since the last progress.
    attempts: u32,
    /// Bytes transferred since the last progress.
    moved_bytes: u64,
    /// The session only checks which requests the server has carried out, so replies are no progress.
    is_checking: bool,
}

/// A server for the first login.
pub struct FirstConnection {
    /// A host name or an address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The account name.
    pub user: String,
    /// How the server is authenticated; `None` without encryption.
    pub trust: Option<Trust>,
    /// The maximum number of password attempts.
    pub tries: u32,
    /// The maximum number of reconnect attempts without progress; 0 disables reconnecting.
    pub retries: u32,
}

impl FirstConnection {
    /// Connects and logs in. `password` is called only when the server's key is trusted. With `accept_new`, the
    /// key of a new server is trusted without a question.
    pub fn connect(
        self,
        interrupt: Interrupt,
        accept_new: bool,
        output: &mut Output,
        mut password: impl FnMut(&Interrupt) -> Result<Zeroizing<String>, Failure>,
    ) -> Result<(Link, Endpoint), Failure> {
        let Self { host, port, user, trust, tries, retries } = self;
        let (stream, binding) = open_stream(&host, port, trust.as_ref(), &interrupt)?;
        if let Some(trust) = &trust {
            trust.confirm_new_key(accept_new, terminal_can_answer(), output, &interrupt)?;
        }
        let mut link = Link::new(stream, interrupt);
        login::greet(&mut link, binding).map_err(|failure| explain_failed_greeting(failure, &host, port))?;
        let mut passwords = 1;
        let keys = loop {
            let password = password(link.interrupt())?;
            match login::log_in(&mut link, &user, &password[..], binding) {
                Err(failure)
                    if passwords < tries && failure.refuses_request() && failure.is_refusal(ErrorCode::LoginFailed) =>
                {
                    output.error(format_args!("{failure}; try again"));
                    passwords += 1;
                }
                result => break result?,
            }
        };
        if let Some(trust) = &trust {
            trust.remember(output);
        }
        Ok((link, Endpoint { host, port, user, trust, keys, retries, attempts: 0, moved_bytes: 0, is_checking: false }))
    }
}

impl Endpoint {
    /// Returns `user@host:port`, which separates the records of different servers.
    pub fn peer(&self) -> String {
        format!("{}@{}:{}", self.user, self.host, self.port)
    }

    /// Notes progress on this connection. After the next loss, the count of attempts starts at 0.
    pub fn note_progress(&mut self) {
        if !self.is_checking {
            (self.attempts, self.moved_bytes) = (0, 0);
        }
    }

    /// Notes bytes that were never transferred before. Only many of them count as progress: a server that sends
    /// one byte for each connection would otherwise be retried for ever.
    pub fn note_new_bytes(&mut self, bytes: u64) {
        self.moved_bytes = self.moved_bytes.saturating_add(bytes);
        if self.moved_bytes >= PROGRESS_BYTES_MIN {
            self.note_progress();
        }
    }

    /// While `is_checking` is true, replies do not count as progress.
    pub fn set_checking(&mut self, is_checking: bool) {
        self.is_checking = is_checking;
    }

    /// Connects and logs in again, with a pause before each attempt. When the attempts are used up, it returns
    /// `failure` or the failure of the last attempt. A failure that another attempt cannot change is returned
    /// at once.
    pub fn reconnect(&mut self, failure: Failure, interrupt: &Interrupt, output: &mut Output) -> Result<Link, Failure> {
        let mut why = failure;
        while self.attempts < self.retries {
            let wait = wait_before(self.attempts, random_share());
            self.attempts += 1;
            let (seconds, attempts, retries) = (shown_seconds(wait), self.attempts, self.retries);
            // The program itself follows the advice, so it shows only the problem.
            output.note(format_args!("{}; reconnecting in {seconds} ({attempts} of {retries})", why.problem()));
            wait_for_retry(wait, interrupt)?;
            match self.connect(interrupt) {
                Ok(link) => return Ok(link),
                Err(failure) if failure.forbids_retry() => return Err(failure),
                Err(failure) => why = failure,
            }
        }
        Err(match why {
            failure if self.retries == 0 => failure,
            Failure::Lost(loss) => Failure::Lost(Loss::GaveUp { cause: loss.to_string(), tries: self.retries }),
            failure => Failure::Lost(Loss::GaveUp { cause: failure.problem(), tries: self.retries }),
        })
    }

    /// Connects and logs in again, once. The server may not have proved itself yet: see [`Link::await_proof`].
    pub fn connect(&mut self, interrupt: &Interrupt) -> Result<Link, Failure> {
        if let Some(trust) = &mut self.trust {
            trust.prepare_reconnect();
        }
        let (stream, binding) = open_stream(&self.host, self.port, self.trust.as_ref(), interrupt)?;
        let mut link = Link::new(stream, interrupt.clone());
        login::log_in_again(&mut link, &self.user, &self.keys, binding)?;
        Ok(link)
    }
}

/// Opens a connection, encrypted if there is `trust`. Returns it with the binding that ties a login to it.
fn open_stream(
    host: &str,
    port: u16,
    trust: Option<&Trust>,
    interrupt: &Interrupt,
) -> Result<(Box<dyn Stream>, Binding), Failure> {
    let stream = PlainStream::connect(host, port, &mut || interrupt.is_set()).map_err(|error| {
        if interrupt.is_set() {
            return Failure::Interrupted;
        }
        Failure::Connection(explain_failed_connect(&error, &Escaped(host.as_bytes()).to_string(), port))
    })?;
    let Some(trust) = trust else { return Ok((Box::new(stream), Binding::None)) };
    let (stream, binding) = TlsStream::connect(stream, trust.pinning(), interrupt)
        .map_err(|error| explain_failed_greeting(trust.explain(error), host, port))?;
    Ok((Box::new(stream), binding))
}

fn explain_failed_connect(error: &ConnectError, host: &str, port: u16) -> Explanation {
    match error {
        ConnectError::UnknownHost(why) => Explanation::new(
            format!("host {host} not found ({})", why.to_lowercase()),
            "'berth host list' shows the named hosts",
        ),
        ConnectError::Failed(error) => Explanation::new(
            format!("cannot connect to {host} port {port}: {}", plain(error)),
            "check the host and the port, and that berthd is running there",
        ),
    }
}

/// Explains a failure between the TCP connection and the end of the greeting: the server may speak another protocol.
fn explain_failed_greeting(failure: Failure, host: &str, port: u16) -> Failure {
    let host = Escaped(host.as_bytes());
    Failure::Connection(match failure {
        Failure::Violation(_) => Explanation::new(
            format!("{host} does not speak berth's protocol at port {port}"),
            match port {
                FTP_PORT => format!("{FTP_PORT} is usually the FTP port of berthd"),
                _ => format!("berthd usually listens on port {PORT_DEFAULT}, and another service may use {port}"),
            },
        ),
        Failure::Lost(Loss::NoAnswer(seconds)) => Explanation::new(
            format!("{host} accepted the connection but did not answer within {seconds} s"),
            WRONG_SERVER_ADVICE,
        ),
        Failure::Lost(Loss::Closed | Loss::Cut(_)) => {
            Explanation::new(format!("{host} closed the connection to port {port} before login"), WRONG_SERVER_ADVICE)
        }
        failure => return failure,
    })
}

/// Returns the pause before the next attempt, after `tried` attempts have failed. The pause grows. `share` (0
/// to 255) spreads it over its upper half, so that the clients of a restarted server do not all connect at
/// once.
fn wait_before(tried: u32, share: u8) -> Duration {
    let longest = match tried.checked_sub(1) {
        None => RETRY_WAIT_FIRST,
        Some(more) => RETRY_WAIT_SECOND.saturating_mul(RETRY_WAIT_GROWTH.saturating_pow(more)).min(RETRY_WAIT_MAX),
    };
    longest / 2 + longest / 2 * u32::from(share) / 255
}

fn random_share() -> u8 {
    let mut bytes = [0];
    // Without random bytes the pause is only less random.
    let _ = getrandom::fill(&mut bytes);
    bytes[0]
}

fn shown_seconds(wait: Duration) -> String {
    match wait.as_secs_f64() {
        seconds if seconds < 0.05 => "a moment".into(),
        seconds if seconds < 1.0 => format!("{seconds:.1}s"),
        seconds => format!("{seconds:.0}s"),
    }
}

/// Waits, unless the user presses Ctrl-C.
fn wait_for_retry(wait: Duration, interrupt: &Interrupt) -> Result<(), Failure> {
    let end = std::time::Instant::now() + wait;
    while !interrupt.is_set() {
        let left = end.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let timeout = Timespec::try_from(left.min(POLL_MAX)).ok();
        // A signal ends the wait early, so that Ctrl-C takes effect at once.
        let _ = poll(&mut [], timeout.as_ref());
    }
    Err(Failure::Interrupted)
}

/// The default port of berthd's FTP listener.
const FTP_PORT: u16 = 2120;
/// The number of bytes that counts as progress. Several connections may add up to it.
const PROGRESS_BYTES_MIN: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_are_spread_over_their_upper_half() {
        for tried in 0..40 {
            let (shortest, longest) = (wait_before(tried, 0), wait_before(tried, 255));
            assert_eq!(longest, shortest * 2, "{tried}");
            assert!(longest <= RETRY_WAIT_MAX && longest >= RETRY_WAIT_FIRST, "{tried}: {longest:?}");
            assert!(wait_before(tried + 1, 0) >= shortest, "{tried}");
        }
        assert_eq!(wait_before(39, 255), RETRY_WAIT_MAX);
        assert_eq!(shown_seconds(wait_before(0, 255)), "a moment");
        assert_eq!(shown_seconds(wait_before(1, 255)), "0.4s");
        assert_eq!(shown_seconds(wait_before(3, 255)), "6s");
    }

    #[test]
    fn ctrl_c_ends_the_pause_before_a_retry() {
        let interrupt = Interrupt::default();
        interrupt.set();
        assert_eq!(wait_for_retry(Duration::from_secs(3600), &interrupt), Err(Failure::Interrupted));
    }
}
