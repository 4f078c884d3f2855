//! The certificate of a running server: reloaded on SIGHUP, and renewed or warned about before it ends.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant, SystemTime};

use crate::base::calendar::{timestamp_of_seconds, unix_s};
use crate::config::{Config, ConfigError};
use crate::net::transport::TlsPolicy;
use crate::tls::{Fingerprint, ServerIdentity, ftp_server_config, server_config};

/// A certificate that the server does not renew causes a warning when it ends within this time.
const CERTIFICATE_WARN_S: i64 = 30 * 24 * 3600;
/// How often the certificate's end is checked.
const CERTIFICATE_CHECK_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// The certificate and the time of its next check.
pub(super) struct Certificate {
    identity: ServerIdentity,
    tls_policy: TlsPolicy,
    check_at: Instant,
    /// At the last check another program had locked the files.
    is_locked: bool,
}

impl Certificate {
    /// Reads the certificate, or makes one.
    pub(super) fn load(config: &Config, now: Instant) -> Result<Self, ConfigError> {
        Self::from_identity(ServerIdentity::establish(config, now_s())?, config, now)
    }

    /// Like [`Certificate::load`], but does not wait: returns `None` while another program has locked the files.
    pub(super) fn try_load(config: &Config, now: Instant) -> Result<Option<Self>, ConfigError> {
        ServerIdentity::try_establish(config, now_s())?
            .map(|identity| Self::from_identity(identity, config, now))
            .transpose()
    }

    /// Makes the certificate of an identity that was already read.
    pub(super) fn from_identity(identity: ServerIdentity, config: &Config, now: Instant) -> Result<Self, ConfigError> {
        warn_of_end(&identity, now_s());
        warn_of_mode(config);
        let unusable = |error| ConfigError::new(&config.tls.certificate, "", format!("cannot be used: {error}"));
        let tls = server_config(&identity).map_err(unusable)?;
        let session_tls = ftp_server_config(&identity).map_err(unusable)?;
        let tls_policy = TlsPolicy { tls, session_tls, allows_plaintext: config.plaintext };
        Ok(Self { identity, tls_policy, check_at: now + CERTIFICATE_CHECK_INTERVAL, is_locked: false })
    }

    pub(super) fn tls_policy(&self) -> TlsPolicy {
        self.tls_policy.clone()
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        self.identity.fingerprint
    }

    /// Returns when to load the certificate again, to check whether it is about to end.
    pub(super) fn check_at(&self) -> Instant {
        self.check_at
    }

    /// Postpones the next check after a failure.
    pub(super) fn postpone_check(&mut self, now: Instant) {
        self.check_at = now + CERTIFICATE_CHECK_INTERVAL;
        self.is_locked = false;
    }

    /// Checks again soon, because another program holds the lock. Returns whether this is new.
    pub(super) fn wait_for_lock(&mut self, now: Instant) -> bool {
        self.check_at = now + LOCK_CHECK_INTERVAL;
        !std::mem::replace(&mut self.is_locked, true)
    }
}

/// The interval of the checks while another program holds the lock.
const LOCK_CHECK_INTERVAL: Duration = Duration::from_secs(1);

fn now_s() -> i64 {
    unix_s(SystemTime::now())
}

fn warn_of_end(identity: &ServerIdentity, now_s: i64) {
    let left_s = identity.ends_s - now_s;
    if left_s < CERTIFICATE_WARN_S {
        let end = timestamp_of_seconds(identity.ends_s);
        let verb = if left_s < 0 { "ended" } else { "ends" };
        log::warn!("the certificate {verb} on {end:.3}; renew it with the same key, and clients will not notice");
    }
}

fn warn_of_mode(config: &Config) {
    let key = &config.tls.key;
    if std::fs::metadata(key).is_ok_and(|metadata| metadata.mode() & 0o077 != 0) {
        log::warn!("others can read the key {}; run: chmod 600 {0}", key.display());
    }
}
