//! A server's certificate and key: read from configured files, or made here and stored beside the
//! configuration. A self-signed certificate is renewed with the same key before it ends, so that pins
//! stay valid.

use std::fs::File;
use std::io;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::certificate::{new_key, not_after, self_signed};
use super::{Fingerprint, server_config};
use crate::base::atomic_file;
use crate::config::{Config, ConfigError, TlsFiles};

/// A self-signed certificate ends after ten years. Its key, which clients pin, does not.
const CERTIFICATE_LIFE_S: i64 = 3650 * 24 * 3600;
/// A self-signed certificate is renewed when it ends within this.
const CERTIFICATE_RENEW_S: i64 = 60 * 24 * 3600;

/// A server's certificate and key.
pub struct ServerIdentity {
    /// The server's certificate, then those of its issuers.
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    /// Identifies the key.
    pub fingerprint: Fingerprint,
    /// When the certificate ends, in seconds since 1970.
    pub ends_s: i64,
}

/// The file that is wrong, and what is wrong with it.
type IdentityProblem = (TlsFile, String);

#[derive(Clone, Copy)]
enum TlsFile {
    Certificate,
    Key,
}

impl ServerIdentity {
    /// Reads the files, without making or renewing anything. Returns `None` if the server makes its own files
    /// and has not made them yet.
    pub fn read(config: &Config) -> Result<Option<Self>, ConfigError> {
        let files = &config.tls;
        if files.is_own && !files.key.exists() && !files.certificate.exists() {
            return Ok(None);
        }
        Self::from_files(files).map(Some).map_err(|problem| to_config_error(config, problem))
    }

    /// Reads the files. A self-signed certificate is made if it is missing, and renewed if it is about to
    /// end at `now_s`, in seconds since 1970.
    pub fn establish(config: &Config, now_s: i64) -> Result<Self, ConfigError> {
        let locked = if config.tls.is_own { lock(&config.tls, atomic_file::lock) } else { Ok(None) };
        Self::establish_locked(config, now_s, locked)
    }

    /// Like [`ServerIdentity::establish`], but returns `None` while another program holds the lock of the
    /// server's own files.
    pub fn try_establish(config: &Config, now_s: i64) -> Result<Option<Self>, ConfigError> {
        match if config.tls.is_own { lock(&config.tls, atomic_file::try_lock) } else { Ok(None) } {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            locked => Self::establish_locked(config, now_s, locked).map(Some),
        }
    }

    fn establish_locked(config: &Config, now_s: i64, locked: io::Result<Option<File>>) -> Result<Self, ConfigError> {
        let files = &config.tls;
        let locked = locked.map_err(|error| unusable(config, &error));
        let made = locked.and_then(|_lock| if files.is_own { make_or_renew(files, now_s) } else { Ok(()) });
        made.and_then(|()| Self::from_files(files)).map_err(|problem| to_config_error(config, problem))
    }

    fn from_files(files: &TlsFiles) -> Result<Self, IdentityProblem> {
        let certificate = |problem: String| (TlsFile::Certificate, problem);
        let key = |problem: String| (TlsFile::Key, problem);
        let text = read(&files.certificate).map_err(certificate)?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let certificates = certificates.map_err(|error| certificate(format!("is no PEM file: {error}")))?;
        let first = certificates.first().ok_or_else(|| certificate("holds no certificate in PEM".into()))?;
        let broken = || certificate("holds no certificate that can be used".into());
        let fingerprint = Fingerprint::of(first).map_err(|_| broken())?;
        let ends_s = not_after(first).ok_or_else(broken)?;
        let text = read(&files.key).map_err(key)?;
        let private = PrivateKeyDer::from_pem_slice(&text)
            .map_err(|error| key(format!("holds no private key in PEM: {error}")))?;
        let identity = Self { certificates, key: private, fingerprint, ends_s };
        server_config(&identity).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => key("is not the key of the certificate".into()),
            error => key(format!("cannot be used: {error}")),
        })?;
        Ok(identity)
    }
}

fn make_or_renew(files: &TlsFiles, now_s: i64) -> Result<(), IdentityProblem> {
    match (files.key.exists(), files.certificate.exists()) {
        (true, true) => {
            let is_ending = ServerIdentity::from_files(files)?.ends_s - now_s < CERTIFICATE_RENEW_S;
            if is_ending && let Err((_, problem)) = own_key(files).and_then(|key| write_certificate(files, &key, now_s))
            {
                // The old one may still be valid for a while.
                log::warn!("the certificate is about to end, and a new one {problem}");
            }
            Ok(())
        }
        (true, false) => write_certificate(files, &own_key(files)?, now_s),
        (false, false) => write_certificate(files, &make_key(files)?, now_s),
        // No new key is made, because clients would not recognise it.
        (false, true) => {
            let problem = "is missing, but its certificate is there; restore it, or remove the certificate, too, \
                           for a new key, which clients will ask their users about";
            Err((TlsFile::Key, problem.into()))
        }
    }
}

fn unusable(config: &Config, error: &io::Error) -> IdentityProblem {
    (TlsFile::Key, format!("the directory cannot be used: {error}; {}", config.directory_remedy()))
}

/// Locks the files, because two servers must not make two keys.
fn lock(files: &TlsFiles, lock: fn(&File, &Path) -> io::Result<()>) -> io::Result<Option<File>> {
    let Some(directory) = files.key.parent() else { return Ok(None) };
    atomic_file::make_directory(directory, atomic_file::SECRET_DIRECTORY)?;
    let handle = File::open(directory)?;
    lock(&handle, directory)?;
    Ok(Some(handle))
}

fn make_key(files: &TlsFiles) -> Result<PrivateKeyDer<'static>, IdentityProblem> {
    let problem = |error: &dyn std::fmt::Display| (TlsFile::Key, format!("cannot be made: {error}"));
    let text = new_key().map_err(|error| problem(&error))?;
    atomic_file::replace(&files.key, text.as_bytes(), atomic_file::SECRET_FILE).map_err(|error| problem(&error))?;
    own_key(files)
}

fn own_key(files: &TlsFiles) -> Result<PrivateKeyDer<'static>, IdentityProblem> {
    let bytes = read(&files.key).map_err(|problem| (TlsFile::Key, problem))?;
    PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|error| (TlsFile::Key, format!("holds no key that can be used: {error}")))
}

/// Writes a certificate of `key`, signed with the key itself.
fn write_certificate(files: &TlsFiles, key: &PrivateKeyDer<'_>, now_s: i64) -> Result<(), IdentityProblem> {
    let problem = |error: &dyn std::fmt::Display| (TlsFile::Certificate, format!("cannot be made: {error}"));
    let text = self_signed(key, now_s - DAY_S, now_s + CERTIFICATE_LIFE_S).map_err(|error| problem(&error))?;
    atomic_file::replace(&files.certificate, text.as_bytes(), 0o644).map_err(|error| problem(&error))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    atomic_file::read(path).map(Zeroizing::new).map_err(|error| format!("cannot be read: {error}"))
}

/// Names the file and configuration key in the error.
fn to_config_error(config: &Config, (which, problem): IdentityProblem) -> ConfigError {
    let (path, key) = match which {
        TlsFile::Certificate => (&config.tls.certificate, "tls.certificate"),
        TlsFile::Key => (&config.tls.key, "tls.key"),
    };
    if config.tls.is_own {
        return ConfigError::new(path, "", problem);
    }
    ConfigError::new(&config.file, key, format!("{} {problem}", path.display()))
}

const DAY_S: i64 = 86_400;
