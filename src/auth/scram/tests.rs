//! Both sides against the RFC's vector, against each other and against broken messages.

use super::*;

const PASSWORD: &str = "pencil";

/// RFC 7677, section 3.
#[test]
fn both_sides_reproduce_the_vector_of_rfc_7677() {
    let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("from the RFC");
    let verifier = ClientKeys::derive(PASSWORD, &salt, 4096).to_verifier();

    let (client, first) =
        ClientExchange::with_nonce("user", PASSWORD.into(), Binding::None, "rOprNGfwEbeRWgbNEkqO".into())
            .expect("a valid user name");
    assert_eq!(first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");

    let first = ClientFirst::parse(&first).expect("as the RFC has it");
    assert_eq!(first.user(), "user");
    let (server, challenge) =
        ServerExchange::begin_with_nonce(first, &verifier, Binding::None, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    assert_eq!(challenge, "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");

    let (proved, proof) = client.answer(&challenge).expect("an acceptable challenge");
    assert_eq!(
        proof,
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );

    let last = server.finish(&proof).expect("the right proof");
    assert_eq!(last, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    // The same exchange is the example in the protocol's document, broken into lines there.
    let document = include_str!("../../../docs/protocol.md").replace("\n   ", "");
    for message in ["n,,n=user,r=rOprNGfwEbeRWgbNEkqO", &challenge, &proof, &last] {
        assert!(document.contains(&format!("\"message\":\"{message}\"}}")), "{message}");
    }
    assert_eq!(proved.verify(&last), Ok(()));
}

fn verifier() -> Verifier {
    ClientKeys::derive(PASSWORD, b"salt of 13 by", 4096).to_verifier()
}

/// A login up to the proof: the client, the waiting server and the client-final-message.
fn until_proof(client: Binding, server: Binding) -> (ClientProved, ServerExchange, String) {
    let (exchange, first) = ClientExchange::new("user", PASSWORD, client).expect("a valid user name");
    let first = ClientFirst::parse(&first).expect("made by our client");
    let (waiting, challenge) = ServerExchange::begin(first, &verifier(), server);
    let (proved, proof) = exchange.answer(&challenge).expect("made by our server");
    (proved, waiting, proof)
}

const MATERIAL: [u8; 32] = [7; 32];

#[test]
fn a_login_bound_to_its_tls_connection_succeeds() {
    let (proved, server, proof) = until_proof(Binding::Exporter(MATERIAL), Binding::Exporter(MATERIAL));
    let last = server.finish(&proof).expect("the same binding");
    assert_eq!(proved.verify(&last), Ok(()));
    assert_eq!(Binding::Exporter(MATERIAL).mechanism(), "SCRAM-SHA-256-PLUS");
}

#[test]
fn another_or_no_channel_binding_is_a_wrong_proof() {
    for (client, server) in [
        (Binding::Exporter([8; 32]), Binding::Exporter(MATERIAL)),
        (Binding::None, Binding::Exporter(MATERIAL)),
        (Binding::Exporter(MATERIAL), Binding::None),
    ] {
        let (_, server, proof) = until_proof(client, server);
        assert_eq!(server.finish(&proof), Err(ScramError::WrongProof));
    }
}

/// A client that could bind but saw no offer says `y`: fine without TLS, an attack with it.
#[test]
fn the_flag_y_is_refused_where_binding_was_offered() {
    let finish = |binding: Binding| {
        let first = ClientFirst::parse("y,,n=user,r=abc").expect("y is a flag");
        let (server, challenge) = ServerExchange::begin(first, &verifier(), binding);
        let nonce = challenge.split(',').next().expect("r=").to_string();
        let unproved = format!("c={},{nonce}", BASE64.encode("y,,"));
        let signed = format!("n=user,r=abc,{challenge},{unproved}");
        let keys = ClientKeys::derive(PASSWORD, &verifier().salt, 4096);
        let proof = xor(hmac_sha256(&verifier().stored_key, signed.as_bytes()), &keys.client_key);
        server.finish(&format!("{unproved},p={}", BASE64.encode(proof)))
    };
    assert!(finish(Binding::None).is_ok());
    assert_eq!(finish(Binding::Exporter(MATERIAL)), Err(ScramError::WrongProof));
}

#[test]
fn a_changed_header_under_c_is_a_wrong_proof() {
    let (_, server, proof) = until_proof(Binding::None, Binding::None);
    let proof = proof.replacen("c=biws", &format!("c={}", BASE64.encode("y,,")), 1);
    assert_eq!(server.finish(&proof), Err(ScramError::WrongProof));
}

#[test]
fn a_replayed_proof_fails_under_another_nonce() {
    let (_, server, proof) = until_proof(Binding::None, Binding::None);
    let (_, other, _) = until_proof(Binding::None, Binding::None);
    assert_eq!(other.finish(&proof), Err(ScramError::WrongProof));
    assert!(server.finish(&proof).is_ok());
}

#[test]
fn a_wrong_password_is_a_wrong_proof_and_an_empty_one_is_not_tried() {
    let (exchange, first) = ClientExchange::new("user", "pencils", Binding::None).expect("a valid user name");
    let (server, challenge) =
        ServerExchange::begin(ClientFirst::parse(&first).expect("valid"), &verifier(), Binding::None);
    let (_, proof) = exchange.answer(&challenge).expect("valid");
    assert_eq!(server.finish(&proof), Err(ScramError::WrongProof));

    for (password, error) in
        [("", PasswordError::Empty), ("a\nb", PasswordError::Control), (&"x".repeat(2000)[..], PasswordError::TooLong)]
    {
        assert_eq!(Verifier::from_password(password, 4096), Err(error));
        let refused = ClientExchange::new("user", password, Binding::None);
        assert_eq!(refused.err(), Some(ScramError::Password(error)));
    }
}

#[test]
fn every_flipped_bit_of_the_proof_message_is_refused() {
    let verifier = verifier();
    let keys = ClientKeys::derive(PASSWORD, &verifier.salt, 4096);
    let begin = || {
        let first = ClientFirst::parse("n,,n=user,r=abc").expect("valid");
        ServerExchange::begin_with_nonce(first, &verifier, Binding::None, "def")
    };
    let (client, _) =
        ClientExchange::with_nonce("user", Secret::Keys(&keys), Binding::None, "abc".into()).expect("valid");
    let (server, challenge) = begin();
    let (_, good) = client.answer(&challenge).expect("valid");
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(text) = String::from_utf8(bytes) else { continue };
        assert!(begin().0.finish(&text).is_err(), "{text}");
    }
    assert!(server.finish(&good).is_ok());
}

#[test]
fn malformed_first_messages_are_named_and_never_panic() {
    for (message, part) in [
        ("", "header"),
        ("n", "header"),
        ("n,", "header"),
        ("n,,", "user name"),
        ("x,,n=user,r=abc", "channel binding flag"),
        ("p,,n=user,r=abc", "channel binding flag"),
        ("n,a=root,n=user,r=abc", "logging in as somebody else"),
        ("n,,m=x,n=user,r=abc", "user name"),
        ("n,,n=,r=abc", "user name"),
        ("n,,n=us=er,r=abc", "user name"),
        ("n,,n=us=2,r=abc", "user name"),
        ("n,,n=us=é,r=abc", "user name"),
        ("n,,n=us\u{1b}er,r=abc", "user name"),
        ("n,,n=user", "nonce"),
        ("n,,n=user,r=", "nonce"),
        ("n,,n=user,r=a b", "nonce"),
        ("n,,n=user,r=é", "nonce"),
        ("n,,r=abc,n=user", "user name"),
        ("n,,n=user,r=abc,", "extensions"),
        ("n,,n=user,r=abc,?", "extensions"),
    ] {
        assert_eq!(ClientFirst::parse(message).err(), Some(ScramError::Malformed(part)), "{message}");
    }
    let long = format!("n,,n=user,r={}", "a".repeat(4000));
    assert_eq!(ClientFirst::parse(&long).err(), Some(ScramError::Malformed("nonce")));
    let first = ClientFirst::parse("n,,n=a=2Cb=3Dc,r=abc,x=ignored").expect("escapes and extensions are allowed");
    assert_eq!(first.user(), "a,b=c");
}

#[test]
fn malformed_final_messages_are_named_and_never_panic() {
    let nonce = "r=abcdef";
    let proof = format!("p={}", BASE64.encode([0; 32]));
    for (message, part) in [
        (String::new(), "proof"),
        (format!("c=biws,{nonce}"), "proof"),
        (format!("c=biws,{nonce},p="), "proof"),
        (format!("c=biws,{nonce},p=AAAA"), "proof"),
        (format!("c=biws,{nonce},p=!"), "proof"),
        (format!("c=,{nonce},{proof}"), "channel binding"),
        (format!("c=%,{nonce},{proof}"), "channel binding"),
        (format!("{nonce},{proof}"), "channel binding"),
        (format!("c=biws,{proof}"), "nonce"),
        (format!("c=biws,r=,{proof}"), "nonce"),
        (format!("c=biws,{nonce},,{proof}"), "extensions"),
    ] {
        let first = ClientFirst::parse("n,,n=user,r=abc").expect("valid");
        let (server, _) = ServerExchange::begin_with_nonce(first, &verifier(), Binding::None, "def");
        assert_eq!(server.finish(&message), Err(ScramError::Malformed(part)), "{message}");
    }
}

#[test]
fn a_hostile_challenge_is_refused_before_any_round_is_computed() {
    let answer = |challenge: &str| {
        let (client, _) =
            ClientExchange::with_nonce("user", PASSWORD.into(), Binding::None, "abc".into()).expect("valid");
        client.answer(challenge).err()
    };
    for (challenge, part) in [
        ("", "nonce"),
        ("e=other-error", "nonce"),
        ("r=abc,s=c2FsdHNhbHQ=,i=4096", "nonce"),
        ("r=abX,s=c2FsdHNhbHQ=,i=4096", "nonce"),
        ("r=abcdef", "salt"),
        ("r=abcdef,s=,i=4096", "salt"),
        ("r=abcdef,s=c2Fs,i=4096", "salt"),
        ("r=abcdef,s=*,i=4096", "salt"),
        ("r=abcdef,s=c2FsdHNhbHQ=", "rounds"),
        ("r=abcdef,s=c2FsdHNhbHQ=,i=+4096", "rounds"),
        ("r=abcdef,s=c2FsdHNhbHQ=,i=-1", "rounds"),
        ("r=abcdef,s=c2FsdHNhbHQ=,i=04096", "rounds"),
    ] {
        assert_eq!(answer(challenge), Some(ScramError::Malformed(part)), "{challenge}");
    }
    for (rounds, seen) in [("1", 1), ("4095", 4095), ("1000000000", 1_000_000_000), ("99999999999", u32::MAX)] {
        let challenge = format!("r=abcdef,s=c2FsdHNhbHQ=,i={rounds}");
        assert_eq!(answer(&challenge), Some(ScramError::Rounds(seen)));
    }
}

#[test]
fn a_server_that_cannot_prove_itself_is_refused() {
    let (proved, _, _) = until_proof(Binding::None, Binding::None);
    let forged = format!("v={}", BASE64.encode([0; 32]));
    for (message, error) in [
        (&forged[..], ScramError::WrongServer),
        ("e=invalid-proof", ScramError::Refused),
        ("", ScramError::Malformed("signature")),
        ("v=", ScramError::Malformed("signature")),
        ("v=AAAA", ScramError::Malformed("signature")),
    ] {
        assert_eq!(proved.verify(message), Err(error));
    }
}

#[test]
fn remembered_keys_log_in_again_until_the_password_changes() {
    let (proved, server, proof) = until_proof(Binding::None, Binding::None);
    assert!(server.finish(&proof).is_ok());
    let keys = proved.into_keys();

    let login = |verifier: &Verifier| {
        let (exchange, first) = ClientExchange::new("user", &keys, Binding::None)?;
        let (server, challenge) = ServerExchange::begin(ClientFirst::parse(&first)?, verifier, Binding::None);
        let (proved, proof) = exchange.answer(&challenge)?;
        proved.verify(&server.finish(&proof)?)
    };
    assert_eq!(login(&verifier()), Ok(()));
    let changed = Verifier::from_password("other", 4096).expect("a password");
    assert_eq!(login(&changed), Err(ScramError::KeysOutdated));
}

#[test]
fn a_verifier_knows_its_password_and_survives_json() {
    let verifier = Verifier::from_password("grüße, ok", 4096).expect("a password");
    assert!(verifier.matches("grüße, ok"));
    assert!(!verifier.matches("grüße"));
    assert!(!verifier.matches(""));
    let text = serde_json::to_string(&verifier).expect("serializable");
    assert_eq!(serde_json::from_str::<Verifier>(&text).ok(), Some(verifier));
}

#[test]
fn a_broken_verifier_is_not_read() {
    let good = serde_json::to_value(verifier()).expect("serializable");
    for (key, value) in [
        ("rounds", serde_json::json!(0)),
        ("rounds", serde_json::json!(-1)),
        ("rounds", serde_json::json!(4_000_000_000u32)),
        ("salt", serde_json::json!("")),
        ("salt", serde_json::json!("%")),
        ("stored_key", serde_json::json!("")),
        ("server_key", serde_json::json!("AAAA")),
        ("extra", serde_json::json!(1)),
    ] {
        let mut broken = good.clone();
        broken[key] = value;
        assert!(serde_json::from_value::<Verifier>(broken).is_err(), "{key}");
    }
}

#[test]
fn keys_derived_in_slices_of_any_size_are_those_derived_at_once() {
    // The password and salt of RFC 7677, section 3.
    let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
    let whole = ClientKeys::derive("pencil", &salt, 4096);
    for slice in [1, 2, 3, 7, 1000, 4095, 4096, 4097, u32::MAX] {
        let mut derivation = Derivation::new("pencil", &salt, 4096);
        let mut slices = 1;
        let keys = loop {
            assert_eq!(derivation.rounds_left(), 4096 - (slices - 1) * slice.min(4096));
            if let Some(keys) = derivation.advance(slice) {
                break keys;
            }
            slices += 1;
        };
        assert_eq!(slices, 4096_u32.div_ceil(slice));
        assert!(keys == whole, "slices of {slice}");
    }
}

#[test]
fn keys_derived_in_slices_prove_what_the_document_says() {
    let verifier = Verifier {
        rounds: 4096,
        salt: BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64"),
        stored_key: decode_key("WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=", "").expect("key"),
        server_key: decode_key("wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=", "").expect("key"),
    };
    let derive = |password| Derivation::new(password, &verifier.salt, verifier.rounds).advance(u32::MAX);
    assert!(derive("pencil").is_some_and(|keys| verifier.matches_keys(&keys)));
    assert!(derive("pencil ").is_some_and(|keys| !verifier.matches_keys(&keys)));
}
