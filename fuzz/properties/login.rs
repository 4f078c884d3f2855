//! SCRAM, each side against arbitrary messages. In the messages `%` stands for the nonce that
//! this side has chosen, which no input could guess, and `$` for the salt of the account.

use std::sync::OnceLock;

use super::halves;
use berth::auth::scram::{
    Binding, ClientExchange, ClientFirst, ClientKeys, SCRAM_ROUNDS_MAX, SCRAM_ROUNDS_MIN, ScramError, ServerExchange,
    Verifier,
};

const PASSWORD: &str = "correct horse";

fn verifier() -> &'static Verifier {
    static VERIFIER: OnceLock<Verifier> = OnceLock::new();
    VERIFIER.get_or_init(|| Verifier::from_password(PASSWORD, SCRAM_ROUNDS_MIN).expect("a password"))
}

fn keys() -> &'static ClientKeys {
    static KEYS: OnceLock<ClientKeys> = OnceLock::new();
    KEYS.get_or_init(|| ClientKeys::derive(PASSWORD, &verifier().salt, verifier().rounds))
}

fn bindings() -> [Binding; 2] {
    [Binding::None, Binding::Exporter([7; 32])]
}

/// No peer logs in without the password, and a login is that of the account that the message names.
pub(super) fn server(input: &[u8]) {
    let (first, last) = halves(input);
    let (Ok(first), Ok(last)) = (std::str::from_utf8(first), std::str::from_utf8(last)) else { return };
    let Ok(read) = ClientFirst::parse(first) else { return };
    let user = read.user().to_string();
    assert!(!user.is_empty() && !user.chars().any(char::is_control), "{user:?} is a user");
    for binding in bindings() {
        let read = ClientFirst::parse(first).expect("parsed before");
        let (exchange, challenge) = ServerExchange::begin(read, verifier(), binding);
        let nonce = nonce_of(&challenge);
        assert!(first.contains(&format!("r={}", &nonce[..nonce.len() - 24])), "{challenge} is no answer to {first}");
        let last = last.replace('%', nonce);
        assert!(exchange.finish(&last).is_err(), "a login without the password");
        assert_can_log_in(&user, binding);
    }
}

fn assert_can_log_in(user: &str, binding: Binding) {
    let (exchange, message) = ClientExchange::new(user, keys(), binding).expect("the server takes the name");
    let first = ClientFirst::parse(&message).expect("the client made it");
    assert_eq!(first.user(), user);
    let (server, challenge) = ServerExchange::begin(first, verifier(), binding);
    let (proved, proof) = exchange.answer(&challenge).expect("the server made it");
    let welcome = server.finish(&proof).expect("the right password");
    proved.verify(&welcome).expect("the right server");
}

/// No server is believed that does not know the account, and none makes the client compute more
/// than it is willing to.
pub(super) fn client(input: &[u8]) {
    let (challenge, welcome) = halves(input);
    let (Ok(challenge), Ok(welcome)) = (std::str::from_utf8(challenge), std::str::from_utf8(welcome)) else { return };
    for binding in bindings() {
        let (exchange, message) = ClientExchange::new("ann", keys(), binding).expect("a good name");
        let nonce = message.rsplit_once("r=").expect("a nonce").1;
        let challenge = challenge.replace('%', nonce).replace('$', salt());
        match exchange.answer(&challenge) {
            Ok((proved, proof)) => {
                let whole_nonce = nonce_of(&challenge);
                assert!(whole_nonce.len() > nonce.len() && whole_nonce.starts_with(nonce));
                assert!(proof.contains(&format!(",r={whole_nonce},p=")), "{proof} for {challenge}");
                assert!(proved.verify(welcome).is_err(), "a server that knows nothing is believed");
            }
            Err(ScramError::Rounds(rounds)) => {
                assert!(!(SCRAM_ROUNDS_MIN..=SCRAM_ROUNDS_MAX).contains(&rounds));
            }
            Err(_) => {}
        }
    }
}

/// As a challenge writes it.
fn salt() -> &'static str {
    static SALT: OnceLock<String> = OnceLock::new();
    SALT.get_or_init(|| {
        let first = ClientFirst::parse("n,,n=a,r=a").expect("a good message");
        let (_, challenge) = ServerExchange::begin(first, verifier(), Binding::None);
        let salt = challenge.split(",s=").nth(1).and_then(|rest| rest.split(',').next());
        salt.expect("a challenge has a salt").to_string()
    })
}

fn nonce_of(challenge: &str) -> &str {
    challenge.strip_prefix("r=").and_then(|rest| rest.split(',').next()).expect("it begins with the nonce")
}
