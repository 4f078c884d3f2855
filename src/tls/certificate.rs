//! Makes the server's key and a self-signed certificate of it, and reads when a certificate ends. Clients
//! of berth pin the key and read nothing else of the certificate; for others it is an ordinary one.

use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::pki_types::PrivateKeyDer;
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

use crate::base::calendar;

/// Makes a new key for ECDSA on P-256, as PKCS #8 in PEM.
pub(super) fn new_key() -> Result<Zeroizing<String>, rcgen::Error> {
    KeyPair::generate().map(|key| Zeroizing::new(key.serialize_pem()))
}

/// Returns a certificate of `key` in PEM, signed by it and valid between two times in seconds since 1970,
/// both rounded down to midnight. The key must be PKCS #8.
pub(super) fn self_signed(key: &PrivateKeyDer<'_>, from_s: i64, until_s: i64) -> Result<String, String> {
    if !matches!(key, PrivateKeyDer::Pkcs8(_)) {
        return Err("its key is not in the form PKCS #8; convert it with: openssl pkcs8 -topk8 -nocrypt".into());
    }
    let key = KeyPair::try_from(key).map_err(|error| error.to_string())?;
    certificate_of(&key, from_s, until_s).map_err(|error| error.to_string())
}

fn certificate_of(key: &KeyPair, from_s: i64, until_s: i64) -> Result<String, rcgen::Error> {
    let mut certificate = CertificateParams::new([NAME.to_string()])?;
    certificate.distinguished_name.push(DnType::CommonName, NAME);
    let midnight = |at_s: i64| {
        let day = calendar::utc_of_seconds(at_s);
        date_time_ymd(day.year().into(), day.month().unsigned_abs(), day.day().unsigned_abs())
    };
    // Readers of certificates refuse times before 1970, where the clock of a machine may begin.
    certificate.not_before = midnight(from_s.max(0));
    certificate.not_after = midnight(until_s);
    Ok(certificate.self_signed(key)?.pem())
}

/// Returns when the certificate ends, in seconds since 1970; `None` if it is malformed.
pub(super) fn not_after(certificate: &[u8]) -> Option<i64> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// The name in the certificate. Clients identify the server by its key.
const NAME: &str = "berth";

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::server::ParsedCertificate;

    use super::*;

    /// 2060-01-01.
    const END_S: i64 = 2_840_140_800;

    fn signed(key_pem: &str, from_s: i64) -> CertificateDer<'static> {
        let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).expect("a key");
        let text = self_signed(&key, from_s, END_S + 3600).expect("a certificate");
        CertificateDer::from_pem_slice(text.as_bytes()).expect("PEM")
    }

    /// Checks with another library that the certificate is signed by its own key.
    fn assert_signs_itself(certificate: &CertificateDer<'_>) {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.clone().into_owned()).expect("it can be a trust anchor");
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
        let certificate = signed(&new_key().expect("random numbers"), 0);
        assert_eq!(not_after(&certificate), Some(END_S));
        assert_signs_itself(&certificate);
        assert_ne!(certificate, signed(&new_key().expect("random numbers"), 0));
    }

    #[test]
    fn a_machine_whose_clock_begins_in_1970_gets_a_certificate() {
        let certificate = signed(&new_key().expect("random numbers"), -86_400);
        assert_eq!(not_after(&certificate), Some(END_S));
        assert_signs_itself(&certificate);
    }

    #[test]
    fn keys_of_every_kind_that_serves_can_sign_their_certificate() {
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
            let key = KeyPair::generate_for(algorithm).expect("random numbers");
            assert_signs_itself(&signed(&key.serialize_pem(), 0));
        }
    }

    #[test]
    fn the_end_of_a_certificate_is_found_and_a_cut_one_is_refused() {
        let key = KeyPair::generate().expect("random numbers");
        for (year, end) in [(2049, 2_493_072_000), (2060, END_S)] {
            let mut params = CertificateParams::default();
            params.not_after = date_time_ymd(year, 1, 1);
            let certificate = params.self_signed(&key).expect("a certificate");
            assert_eq!(not_after(certificate.der()), Some(end));
            for cut in 0..certificate.der().len() {
                assert_eq!(not_after(&certificate.der()[..cut]), None);
            }
        }
        assert_eq!(not_after(&[0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0]), None);
    }

    #[test]
    fn a_key_in_another_form_is_refused_with_a_way_to_convert_it() {
        let key = PrivateKeyDer::Sec1(vec![0x30, 0].into());
        assert!(self_signed(&key, 0, END_S).is_err_and(|error| error.contains("openssl pkcs8")));
    }
}
