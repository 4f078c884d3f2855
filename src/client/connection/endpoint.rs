//! How the server is reached and as whom: what a first connection needs, and what is kept of it so
//! that a later one asks nobody anything. It knows no command and no transfer.

use std::time::Duration;

use rustix::event::{Timespec, poll};

use crate::auth::scram::{Binding, ClientKeys};
use crate::base::limits::{RETRY_WAIT_FIRST, RETRY_WAIT_GROWTH, RETRY_WAIT_MAX, RETRY_WAIT_SECOND};
use crate::base::text::Escaped;
use crate::client::connection::link::Link;
use crate::client::connection::login;
use crate::client::connection::stream::{PlainStream, Stream};
use crate::client::connection::tls_stream::TlsStream;
use crate::client::connection::trust::Trust;
use crate::client::error::{Failure, IS_BERTH, plain};
use crate::client::shell::interrupt::Interrupt;
use crate::client::ui::confirm::terminal_can_answer;
use crate::client::ui::output::Output;
use crate::config::PORT_DEFAULT;
use crate::wire::message::ErrorCode;
use zeroize::Zeroizing;

/// See the module. A copy leads there beside it.
#[derive(Clone)]
pub struct Endpoint {
    host: String,
    port: u16,
    user: String,
    /// By what the server is recognized; `None` without encryption.
    trust: Option<Trust>,
    /// Derived at the first login. The password itself is not kept.
    keys: ClientKeys,
    retries: u32,
    /// Tries since something last came of a connection.
    tried: u32,
    /// Bytes that have moved since then.
    moved_bytes: u64,
    /// What is asked now is only what became of a connection that was lost.
    is_looking_back: bool,
}

/// A server to log in to for the first time.
pub struct FirstConnection {
    /// A name or an address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The account.
    pub user: String,
    /// By what the server is recognized; `None` without encryption.
    pub trust: Option<Trust>,
    /// How many passwords are asked for until one is right.
    pub tries: u32,
    /// How often a lost connection is tried again before something came of it; 0 is never.
    pub retries: u32,
}

impl FirstConnection {
    /// Connects and logs in with what `password` returns, which is asked for when the server is known
    /// to be the right one. `accept_new` trusts a server never seen before.
    pub fn connect(
        self,
        interrupt: Interrupt,
        accept_new: bool,
        output: &mut Output,
        mut password: impl FnMut(&Interrupt) -> Result<Zeroizing<String>, Failure>,
    ) -> Result<(Link, Endpoint), Failure> {
        let Self { host, port, user, trust, tries, retries } = self;
        let (pipe, binding) = open(&host, port, trust.as_ref(), &interrupt)?;
        if let Some(trust) = &trust {
            trust.meet(accept_new, terminal_can_answer(), output, &interrupt)?;
        }
        let mut link = Link::new(pipe, interrupt);
        login::greet(&mut link, binding).map_err(|failure| of_stranger(failure, &host, port))?;
        let mut tried = 1;
        let keys = loop {
            let password = password(link.interrupt())?;
            match login::log_in(&mut link, &user, &password[..], binding) {
                Err(Failure::Refused(reply))
                    if tried < tries && !reply.fatal && reply.code == ErrorCode::LoginFailed =>
                {
                    output.complain(format_args!("{}; try again", Escaped(reply.message.as_bytes())));
                    tried += 1;
                }
                result => break result?,
            }
        };
        if let Some(trust) = &trust {
            trust.remember(output);
        }
        Ok((
            link,
            Endpoint { host, port, user, trust, keys, retries, tried: 0, moved_bytes: 0, is_looking_back: false },
        ))
    }
}

impl Endpoint {
    /// `user@host:port`, which tells one server's records from another's.
    pub fn peer(&self) -> String {
        format!("{}@{}:{}", self.user, self.host, self.port)
    }

    /// Something came of the connection, so the next loss is the first again.
    pub fn gets_on(&mut self) {
        if !self.is_looking_back {
            (self.tried, self.moved_bytes) = (0, 0);
        }
    }

    /// Bytes have moved that never did before. Only many of them are worth a connection: else a server that
    /// sends one over each would be asked for ever.
    pub fn gets_on_by(&mut self, bytes: u64) {
        self.moved_bytes = self.moved_bytes.saturating_add(bytes);
        if self.moved_bytes >= WORTHWHILE_BYTES {
            self.gets_on();
        }
    }

    /// While `is_looking_back`, answers bring nothing nearer.
    pub fn look_back(&mut self, is_looking_back: bool) {
        self.is_looking_back = is_looking_back;
    }

    /// Connects and logs in again, after a pause, until it works or there were tries enough: then
    /// `failure`, or what came of the last try, comes back. What another try cannot change comes
    /// back at once.
    pub fn again(&mut self, failure: Failure, interrupt: &Interrupt, output: &mut Output) -> Result<Link, Failure> {
        let mut why = failure;
        while self.tried < self.retries {
            let wait = wait_before(self.tried, random_share());
            self.tried += 1;
            let (seconds, tried, retries) = (shown_seconds(wait), self.tried, self.retries);
            output.note(format_args!("{}; reconnecting in {seconds} ({tried} of {retries})", reason(&why)));
            pause(wait, interrupt)?;
            match self.connect(interrupt) {
                Ok(link) => return Ok(link),
                Err(failure) if failure.forbids_retry() => return Err(failure),
                Err(failure) => why = failure,
            }
        }
        Err(match why {
            failure if self.retries == 0 => failure,
            failure => Failure::Lost(format!("{}; gave up after {} tries", bare(&failure), self.retries)),
        })
    }

    /// Connects and logs in again, once. The server has yet to prove itself: [`Link::await_proof`].
    pub fn connect(&mut self, interrupt: &Interrupt) -> Result<Link, Failure> {
        if let Some(trust) = &mut self.trust {
            trust.renew();
        }
        let (pipe, binding) = open(&self.host, self.port, self.trust.as_ref(), interrupt)?;
        let mut link = Link::new(pipe, interrupt.clone());
        login::log_in_again(&mut link, &self.user, &self.keys, binding)?;
        Ok(link)
    }
}

/// An open connection, encrypted if there is `trust`, and what ties a login to it.
fn open(
    host: &str,
    port: u16,
    trust: Option<&Trust>,
    interrupt: &Interrupt,
) -> Result<(Box<dyn Stream>, Binding), Failure> {
    let pipe = PlainStream::connect(host, port, &mut || interrupt.is_set()).map_err(|error| {
        if interrupt.is_set() {
            return Failure::Interrupted;
        }
        let (host, error) = (Escaped(host.as_bytes()), plain(&error));
        if let Some(why) = error.strip_prefix("failed to lookup address information: ") {
            return Failure::Connection(format!(
                "host {host} not found ({}); 'berth host list' shows the named hosts",
                why.to_lowercase()
            ));
        }
        Failure::Connection(format!("cannot connect to {host} port {port}: {error}; does berthd listen there?"))
    })?;
    let Some(trust) = trust else { return Ok((Box::new(pipe), Binding::None)) };
    let (pipe, binding) = TlsStream::connect(pipe, trust.pinning(), interrupt)
        .map_err(|error| of_stranger(trust.explain(error), host, port))?;
    Ok((Box::new(pipe), binding))
}

/// The failure of a connection that was made, to a server that has not greeted us.
fn of_stranger(failure: Failure, host: &str, port: u16) -> Failure {
    let host = Escaped(host.as_bytes());
    match failure {
        Failure::Connection(why) if why.ends_with(IS_BERTH) => {
            let hint = match port {
                FTP_PORT => format!("{FTP_PORT} is usually its FTP port"),
                _ => format!("its port is usually {PORT_DEFAULT}, and another service may use {port}"),
            };
            Failure::Connection(format!("{host} does not speak berth's protocol at port {port}; {hint}"))
        }
        Failure::Lost(why) if why.starts_with("the server did not answer") => {
            let what = why.trim_start_matches("the server ");
            Failure::Connection(format!("{host} accepted the connection but {what}{IS_BERTH}"))
        }
        Failure::Lost(why) if CLOSED.iter().any(|closed| why.contains(closed)) => {
            Failure::Connection(format!("{host} closed the connection to port {port} before login{IS_BERTH}"))
        }
        failure => failure,
    }
}

/// What happened, without advice for after the end of the program.
fn bare(failure: &Failure) -> String {
    match failure {
        Failure::Lost(why) => why.clone(),
        // What to do next is done by the program itself.
        Failure::Refused(reply) => Escaped(reply.message.split(';').next().unwrap_or_default().as_bytes()).to_string(),
        failure => failure.to_string().trim_end_matches("; does berthd listen there?").to_string(),
    }
}

fn reason(failure: &Failure) -> String {
    match failure {
        Failure::Lost(why) => format!("connection lost: {why}"),
        failure => bare(failure),
    }
}

/// The pause before a try when `tried` failed: it grows, and `share`, of 0 to 255, spreads it over
/// its upper half, so that the clients of a server that comes back do not all come at once.
fn wait_before(tried: u32, share: u8) -> Duration {
    let longest = match tried.checked_sub(1) {
        None => RETRY_WAIT_FIRST,
        Some(more) => RETRY_WAIT_SECOND.saturating_mul(RETRY_WAIT_GROWTH.saturating_pow(more)).min(RETRY_WAIT_MAX),
    };
    longest / 2 + longest / 2 * u32::from(share) / 255
}

fn random_share() -> u8 {
    let mut bytes = [0];
    // Without it the pause is only less random.
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

/// Waits, unless Ctrl-C is pressed.
fn pause(wait: Duration, interrupt: &Interrupt) -> Result<(), Failure> {
    let end = std::time::Instant::now() + wait;
    while !interrupt.is_set() {
        let left = end.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let timeout = Timespec::try_from(left.min(WAIT_MAX)).ok();
        // A signal ends it early, which is what it is for.
        let _ = poll(&mut [], timeout.as_ref());
    }
    Err(Failure::Interrupted)
}

/// What is reported of a connection that the other side has ended.
const CLOSED: [&str; 3] = ["closed the connection", "connection was cut", "reset by peer"];
/// Where berthd speaks FTP unless it is told otherwise.
const FTP_PORT: u16 = 2120;
/// Ctrl-C is noticed after this, even where a signal does not end the wait.
const WAIT_MAX: Duration = Duration::from_millis(200);
/// What a few connections have to move together for the next loss to be the first again.
const WORTHWHILE_BYTES: u64 = 64 * 1024;

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
    fn a_pause_ends_with_ctrl_c() {
        let interrupt = Interrupt::default();
        interrupt.set();
        assert_eq!(pause(Duration::from_secs(3600), &interrupt), Err(Failure::Interrupted));
    }
}
