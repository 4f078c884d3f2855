//! Makes a self-signed certificate of the server's key: just enough of X.509 (RFC 5280, section 4.1).
//! The client reads only the key and the end of it; for others it is well-formed.

use super::validity::{GENERALIZED_TIME, UTC_TIME, VERSION};
use crate::base::text::Utc;
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{AlgorithmIdentifier, PrivateKeyDer, alg_id};
use zeroize::Zeroizing;

/// Makes a new key for ECDSA on P-256, as PKCS #8 in PEM.
pub(super) fn new_key() -> Result<Zeroizing<String>, String> {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
    key.map(|key| Zeroizing::new(pem("PRIVATE KEY", key.as_ref()))).map_err(|_| "there are no random numbers".into())
}

/// Returns a certificate of `key` in PEM, signed by it and valid between two times in seconds since
/// 1970.
pub(super) fn self_signed(key: &PrivateKeyDer<'_>, from_s: i64, until_s: i64) -> Result<String, String> {
    let key = any_supported_type(key).map_err(|error| error.to_string())?;
    let public = key.public_key().ok_or("its public key is not known")?;
    let schemes: Vec<_> = ALGORITHMS.iter().map(|(scheme, _)| *scheme).collect();
    let signer = key.choose_scheme(&schemes).ok_or("it is of a kind that signs nothing here")?;
    let (_, algorithm) =
        ALGORITHMS.iter().find(|(scheme, _)| *scheme == signer.scheme()).ok_or("it signs in another way")?;
    let algorithm = der(SEQUENCE, &[algorithm.as_ref()]);
    let validity = der(SEQUENCE, &[&time(from_s), &time(until_s)]);
    let names = der(SEQUENCE, &[&der(DNS_NAME, &[NAME])]);
    let extension = der(SEQUENCE, &[ALTERNATIVE_NAMES, &der(OCTET_STRING, &[&names])]);
    let to_be_signed = der(
        SEQUENCE,
        &[
            &der(VERSION, &[&der(INTEGER, &[&[2]])]),
            &der(INTEGER, &[&serial()?]),
            &algorithm,
            &name(),
            &validity,
            &name(),
            public.as_ref(),
            &der(EXTENSIONS, &[&der(SEQUENCE, &[&extension])]),
        ],
    );
    let signature = signer.sign(&to_be_signed).map_err(|error| error.to_string())?;
    let certificate = der(SEQUENCE, &[&to_be_signed, &algorithm, &der(BIT_STRING, &[&[0], &signature])]);
    Ok(pem("CERTIFICATE", &certificate))
}

/// Returns a unique serial number: positive, in its shortest encoding.
fn serial() -> Result<[u8; 16], String> {
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(|error| error.to_string())?;
    serial[0] = serial[0] & 0x3f | 0x40;
    Ok(serial)
}

fn name() -> Vec<u8> {
    der(SEQUENCE, &[&der(SET, &[&der(SEQUENCE, &[COMMON_NAME, &der(UTF8_STRING, &[NAME])])])])
}

/// Encodes midnight before `at_s`, with two digits of the year as long as they suffice.
fn time(at_s: i64) -> Vec<u8> {
    let day = Utc::from_unix_ns(at_s.saturating_mul(1_000_000_000));
    let text = format!("{:04}{:02}{:02}000000Z", day.year, day.month, day.day);
    match day.year {
        1950..2050 => der(UTC_TIME, &[&text.as_bytes()[2..]]),
        _ => der(GENERALIZED_TIME, &[text.as_bytes()]),
    }
}

/// Encodes one element of DER around others.
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let digits = &length[length.iter().take_while(|&&digit| digit == 0).count()..];
    let mut element = vec![tag];
    match content.len() {
        0..0x80 => element.push(length[length.len() - 1]),
        _ => {
            // There are at most eight digits.
            element.push(0x80 | digits.len() as u8);
            element.extend(digits);
        }
    }
    element.extend(content);
    element
}

fn pem(label: &str, content: &[u8]) -> String {
    let text = Zeroizing::new(STANDARD.encode(content));
    let mut pem = String::with_capacity(text.len() * 2 + 100);
    pem.push_str(&format!("-----BEGIN {label}-----\n"));
    for start in (0..text.len()).step_by(LINE) {
        pem.push_str(&text[start..text.len().min(start + LINE)]);
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

/// The signature algorithm of each kind of key.
const ALGORITHMS: [(SignatureScheme, AlgorithmIdentifier); 4] = [
    (SignatureScheme::ECDSA_NISTP256_SHA256, alg_id::ECDSA_SHA256),
    (SignatureScheme::ECDSA_NISTP384_SHA384, alg_id::ECDSA_SHA384),
    (SignatureScheme::ED25519, alg_id::ED25519),
    (SignatureScheme::RSA_PKCS1_SHA256, alg_id::RSA_PKCS1_SHA256),
];
const NAME: &[u8] = b"berth";
/// 2.5.4.3, with its tag and length.
const COMMON_NAME: &[u8] = &[6, 3, 85, 4, 3];
/// 2.5.29.17, with its tag and length.
const ALTERNATIVE_NAMES: &[u8] = &[6, 3, 85, 29, 17];
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const UTF8_STRING: u8 = 0x0c;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const DNS_NAME: u8 = 0x82;
const EXTENSIONS: u8 = 0xa3;
/// Letters on a line of PEM.
const LINE: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::validity::not_after;
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::server::ParsedCertificate;

    const END_S: i64 = 2_840_140_800;

    fn certificate_of(key_pem: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).expect("a key");
        let text = self_signed(&key, 0, END_S + 3600).expect("a certificate");
        assert!(text.lines().all(|line| line.len() <= LINE));
        (CertificateDer::from_pem_slice(text.as_bytes()).expect("PEM"), key)
    }

    /// Checks with another program's code that the certificate is signed by its own key.
    fn assert_signs_itself(certificate: &CertificateDer<'_>) {
        let of = |certificate: &CertificateDer<'_>| ParsedCertificate::try_from(certificate).map(|_| ());
        of(certificate).expect("well-formed");
        let roots = {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(certificate.clone().into_owned()).expect("it can be an anchor of trust");
            roots
        };
        let parsed = ParsedCertificate::try_from(certificate).expect("well-formed");
        let at = rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
        let all = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
        let name = "berth".try_into().expect("a name");
        rustls::client::verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], at, all)
            .expect("signed by the key in it");
        rustls::client::verify_server_name(&parsed, &name).expect("it names itself");
    }

    #[test]
    fn a_new_key_and_its_certificate_belong_together() {
        let (certificate, _) = certificate_of(&new_key().expect("random numbers"));
        assert_eq!(not_after(&certificate), Some(END_S));
        assert_signs_itself(&certificate);
        let (again, _) = certificate_of(&new_key().expect("random numbers"));
        assert_ne!(certificate, again);
    }

    #[test]
    fn keys_of_every_kind_that_serves_can_sign_their_certificate() {
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            let key = rcgen::KeyPair::generate_for(algorithm).expect("random numbers");
            let (certificate, _) = certificate_of(&key.serialize_pem());
            assert_signs_itself(&certificate);
        }
    }

    #[test]
    fn lengths_of_every_size_are_written_as_der_wants_them() {
        assert_eq!(der(4, &[&[]]), [4, 0]);
        assert_eq!(der(4, &[&[7; 0x7f]])[..3], [4, 0x7f, 7]);
        assert_eq!(der(4, &[&[7; 0x80]])[..4], [4, 0x81, 0x80, 7]);
        assert_eq!(der(4, &[&[7; 0x100], &[7; 0x23]])[..5], [4, 0x82, 1, 0x23, 7]);
        assert_eq!(time(2_493_072_000), [b"\x17\x0d", &b"490101000000Z"[..]].concat());
        assert_eq!(time(END_S), [b"\x18\x0f", &b"20600101000000Z"[..]].concat());
    }
}
