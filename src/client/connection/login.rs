//! The login on an open connection: hello, then SCRAM. The password itself is never sent, and the server also
//! proves that it knows the account. This module knows no terminal.

use crate::auth::scram::{Binding, ClientExchange, ClientKeys, ClientProved, ScramError, Secret};
use crate::base::explanation::Explanation;
use crate::base::text::Escaped;
use crate::client::connection::incoming::Event;
use crate::client::connection::link::{Link, LoginCheck};
use crate::client::error::{Failure, LinkError, Loss, unexpected};
use crate::wire::message::VERSION;
use crate::wire::{Reply, Request};

/// Agrees on a protocol version and takes the server's limits. Fails if the server offers no login with
/// `binding`, because over TLS a login without binding could be relayed.
pub fn greet(link: &mut Link, binding: Binding) -> Result<(), Failure> {
    let reply = call(link, &hello())?;
    take_hello(link, binding, reply)
}

fn hello() -> Request {
    Request::Hello { versions: vec![VERSION], client: format!("berth {}", env!("CARGO_PKG_VERSION")) }
}

fn take_hello(link: &mut Link, binding: Binding, reply: Reply) -> Result<(), Failure> {
    let Reply::Hello { version, mechanisms, features, limits, .. } = reply else { return Err(unexpected()) };
    if version != VERSION {
        let problem = format!("the server speaks version {version} of the protocol, this program {VERSION}");
        return Err(Failure::Connection(Explanation::new(problem, "update the older one")));
    }
    let needed = binding.mechanism();
    if !mechanisms.iter().any(|mechanism| mechanism == needed) {
        return Err(Failure::Login(Explanation::new(
            format!("the server offers no {needed} login"),
            "do not trust it",
        )));
    }
    link.set_limits(limits);
    link.set_features(&features);
    Ok(())
}

/// Logs in with a proof that is valid only on the connection of `binding`. The returned keys log in again
/// without the password.
pub fn log_in<'a>(
    link: &mut Link,
    user: &str,
    secret: impl Into<Secret<'a>>,
    binding: Binding,
) -> Result<ClientKeys, Failure> {
    let (exchange, auth) = begin(user, secret.into(), binding)?;
    let reply = call(link, &auth)?;
    let (proved, proof) = answer(exchange, reply)?;
    let Reply::Welcome { message } = call(link, &proof)? else { return Err(unexpected()) };
    verify(&proved, &message).map_err(Failure::Login)?;
    Ok(proved.into_keys())
}

/// Greets a known server and logs in again. The login request is sent before the hello reply arrives, which
/// saves a round trip. On an encrypted connection, whose key is known to be the server's, the reply to the
/// client's proof is not awaited either: `link` verifies it on arrival, and until then sends requests but no
/// content. The first request therefore costs no extra round trip.
pub fn log_in_again(link: &mut Link, user: &str, keys: &ClientKeys, binding: Binding) -> Result<(), Failure> {
    let (exchange, auth) = begin(user, Secret::Keys(keys), binding)?;
    link.request(&hello())?;
    link.request(&auth)?;
    let reply = receive(link)?;
    take_hello(link, binding, reply)?;
    let reply = receive(link)?;
    let (proved, proof) = answer(exchange, reply)?;
    let id = link.request(&proof)?;
    link.defer_login_check(id, login_check(proved));
    match binding {
        Binding::None => Ok(link.await_proof()?),
        Binding::Exporter(_) => Ok(()),
    }
}

fn begin<'a>(user: &str, secret: Secret<'a>, binding: Binding) -> Result<(ClientExchange<'a>, Request), Failure> {
    let (exchange, message) = ClientExchange::new(user, secret, binding)
        .map_err(|error| Failure::Login(format!("cannot log in: {error}").into()))?;
    Ok((exchange, Request::Auth { mechanism: binding.mechanism().into(), message }))
}

/// Computes the client's proof for the server's challenge.
fn answer(exchange: ClientExchange<'_>, reply: Reply) -> Result<(ClientProved, Request), Failure> {
    let Reply::Challenge { message: challenge } = reply else { return Err(unexpected()) };
    let (proved, message) = exchange.answer(&challenge).map_err(|error| match error {
        ScramError::KeysOutdated => Failure::Login(error.to_string().into()),
        error => Failure::Login(distrust(&error)),
    })?;
    Ok((proved, Request::AuthNext { message }))
}

fn verify(proved: &ClientProved, proof: &str) -> Result<(), Explanation> {
    proved.verify(proof).map_err(|error| distrust(&error))
}

/// Returns the function that verifies the server's reply to the client's proof.
fn login_check(proved: ClientProved) -> LoginCheck {
    Box::new(move |reply| match reply {
        Reply::Welcome { message } => verify(&proved, &message).map_err(LinkError::Distrusted),
        Reply::Error(error) if Failure::Refused(error.clone()).forbids_retry() => {
            Err(LinkError::ClosedWithReason(error))
        }
        Reply::Error(error) => Err(LinkError::Lost(Loss::Unproved(error))),
        _ => Err(LinkError::Protocol("a reply of the wrong type".into())),
    })
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

/// Explains a login reply with which the server does not prove that it knows the account.
fn distrust(error: &ScramError) -> Explanation {
    let problem = format!("the server's side of the login is wrong: {}", Escaped(error.to_string().as_bytes()));
    Explanation::new(problem, "do not trust it")
}
