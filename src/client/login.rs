//! From an open connection to a login: hello, then SCRAM, in which the password itself is never
//! sent and the server proves that it knows the account too. It knows no terminal.

use crate::client::incoming::Event;
use crate::client::link::Link;
use crate::client::outcome::Failure;
use crate::client::session::unexpected;
use crate::scram::{Binding, ClientExchange, ClientKeys, ScramError, Secret};
use crate::text::Escaped;
use crate::wire::message::VERSION;
use crate::wire::{Reply, Request};

/// Agrees on a version and takes the server's bounds. A server that offers no login with
/// `binding` is not logged in to: over TLS, one without could be relayed.
pub fn greet(link: &mut Link, binding: Binding) -> Result<(), Failure> {
    let reply = call(link, &hello())?;
    take_hello(link, binding, reply)
}

fn hello() -> Request {
    Request::Hello { versions: vec![VERSION], client: format!("berth {}", env!("CARGO_PKG_VERSION")) }
}

fn take_hello(link: &mut Link, binding: Binding, reply: Reply) -> Result<(), Failure> {
    let Reply::Hello { version, mechanisms, limits, .. } = reply else { return Err(unexpected()) };
    if version != VERSION {
        let text = format!(
            "the server speaks version {version} of the protocol, this program {VERSION}; update the older one"
        );
        return Err(Failure::Connection(text));
    }
    let needed = binding.mechanism();
    if !mechanisms.iter().any(|mechanism| mechanism == needed) {
        return Err(Failure::Login(format!("the server offers no {needed} login; do not trust it")));
    }
    link.set_limits(limits);
    Ok(())
}

/// Logs in, by a proof that is worth nothing on another connection than that of `binding`. The keys
/// that come back log in again without the password.
pub fn log_in<'a>(
    link: &mut Link,
    user: &str,
    secret: impl Into<Secret<'a>>,
    binding: Binding,
) -> Result<ClientKeys, Failure> {
    let (exchange, auth) = begin(user, secret.into(), binding)?;
    let reply = call(link, &auth)?;
    prove(link, exchange, reply)
}

/// Greets and logs in to a server that was logged in to before: that it offers what it offered then
/// is not waited for, which saves a round trip.
pub fn log_in_again(link: &mut Link, user: &str, keys: &ClientKeys, binding: Binding) -> Result<(), Failure> {
    let (exchange, auth) = begin(user, Secret::Keys(keys), binding)?;
    link.request(&hello())?;
    link.request(&auth)?;
    let reply = receive(link)?;
    take_hello(link, binding, reply)?;
    let reply = receive(link)?;
    prove(link, exchange, reply).map(drop)
}

fn begin<'a>(user: &str, secret: Secret<'a>, binding: Binding) -> Result<(ClientExchange<'a>, Request), Failure> {
    let (exchange, message) = ClientExchange::new(user, secret, binding)
        .map_err(|error| Failure::Login(format!("cannot log in: {error}")))?;
    Ok((exchange, Request::Auth { mechanism: binding.mechanism().into(), message }))
}

fn prove(link: &mut Link, exchange: ClientExchange<'_>, reply: Reply) -> Result<ClientKeys, Failure> {
    let Reply::Challenge { message: challenge } = reply else { return Err(unexpected()) };
    let (proved, message) = exchange.answer(&challenge).map_err(|error| match error {
        ScramError::KeysOutdated => Failure::Login(error.to_string()),
        error => distrust(&error.to_string()),
    })?;
    let reply = call(link, &Request::AuthNext { message })?;
    let Reply::Welcome { message: proof } = reply else { return Err(unexpected()) };
    proved.verify(&proof).map_err(|error| distrust(&error.to_string()))?;
    Ok(proved.into_keys())
}

fn call(link: &mut Link, request: &Request) -> Result<Reply, Failure> {
    link.request(request)?;
    receive(link)
}

fn receive(link: &mut Link) -> Result<Reply, Failure> {
    match link.receive()?.event {
        Event::Reply(Reply::Error(error)) => Err(Failure::Refused(error)),
        Event::Reply(reply) => Ok(reply),
        _ => Err(unexpected()),
    }
}

/// The server answered the login in a way that no honest server does.
fn distrust(why: &str) -> Failure {
    Failure::Login(format!("the server's side of the login is wrong: {}; do not trust it", Escaped(why.as_bytes())))
}
