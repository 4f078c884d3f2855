//! The account that a login is checked against, or a decoy, so that neither answers nor times reveal which names
//! exist.

use std::io;
use std::time::Instant;

use super::Accounts;
use crate::account::{Account, AccountError, AccountName, AccountRecord};
use crate::auth::scram::{SCRAM_RANDOM_BYTES, SCRAM_ROUNDS_DEFAULT, Verifier, fill_random, hmac_sha256};
use crate::base::refusals::WARN_INTERVAL;

/// The account or decoy that a login is checked against.
#[derive(Debug)]
pub struct Candidate {
    /// The name, if there is an account file of this name, even for a locked or invalid account. Other names
    /// are not kept, because one may be a password that was typed in the wrong place.
    pub name: Option<AccountName>,
    /// The verifier of the account, or one that no password satisfies.
    pub verifier: Verifier,
    /// The account that a correct proof logs in. `None` for an unknown name and an invalid or locked account.
    pub account: Option<Account>,
}

impl Accounts {
    /// Returns the account or decoy that a login by this name is checked against. An unknown name takes the
    /// same work and gets the same kind of answer, so that neither text nor time reveals which names exist. An
    /// account that cannot be read is treated like an unknown name. An error means that no account can be read
    /// now.
    pub fn candidate(&mut self, user: &str, now: Instant) -> Result<Candidate, AccountError> {
        let name: Option<AccountName> = user.parse().ok();
        let missing = self.directory.join(".none");
        let path = name.as_ref().map_or_else(|| missing.clone(), |name| self.path(name));
        let has_file = path.exists();
        // Looks up one existing and one missing file for every name, so that the time does not reveal which
        // names exist.
        let _ = if has_file { &missing } else { &self.decoy_path }.exists();
        let (record, is_valid) = match self.read_record(if has_file { &path } else { &self.decoy_path }) {
            Err(damage) if has_file && !damage.is_exhaustion() => {
                self.log_damage(&damage, now);
                (self.read_decoy()?, false)
            }
            Err(error) if !has_file => (self.or_in_memory_decoy(error)?, false),
            read => (read?, has_file),
        };
        if is_valid {
            self.add_rounds(record.verifier.rounds);
        }
        // Both results are computed for every name, and then one is chosen.
        let secret = if is_valid { &self.in_memory_decoy } else { &record.verifier }.salt.clone();
        let mut decoy = self.decoy(user, &secret);
        let known_name = name.clone().filter(|_| has_file);
        let account = record.into_account(name.unwrap_or_else(AccountName::nobody), &self.config.root);
        let verifier = account.verifier.clone();
        if is_valid && !account.locked {
            return Ok(Candidate { name: Some(account.name.clone()), verifier, account: Some(account) });
        }
        if is_valid {
            // A client may have seen the salt of a locked account before, so it must be the same.
            decoy.rounds = verifier.rounds;
            decoy.salt.clone_from(&verifier.salt);
        }
        Ok(Candidate { name: known_name, verifier: decoy, account: None })
    }

    /// Reads the account of a login again when the client has sent its proof. Returns `None` if the account was
    /// locked, removed or given another password since the challenge.
    pub fn reload_if_unchanged(&self, challenged: Account) -> Result<Option<Account>, AccountError> {
        let now =
            self.load(&challenged.name).or_else(|error| if error.is_exhaustion() { Err(error) } else { Ok(None) })?;
        Ok(now.filter(|now| !now.locked && now.verifier == challenged.verifier))
    }

    /// Warns that the decoy cannot be stored. Unknown names get the one in memory until an administrator's
    /// command stores one. Without accounts there is no name to reveal, and no warning.
    pub(super) fn warn_about_missing_decoy(&self, error: &AccountError) -> Result<(), AccountError> {
        if !self.names()?.is_empty() {
            let remedy = self.config.directory_remedy();
            log::warn!(
                "attackers can find out names of accounts by comparing answers before and after a restart: {error}; {remedy}"
            );
        }
        Ok(())
    }

    /// Returns a verifier for an unknown name: the same salt each time, and keys without a known password.
    ///
    /// The rounds are those in use that rank highest for this name (rendezvous hashing). So a change of the
    /// accounts changes the rounds of only a few names. These get another salt too, as after a change of the password.
    fn decoy(&mut self, user: &str, secret: &[u8]) -> Verifier {
        self.refresh_rounds();
        let derive = |purpose: &str| hmac_sha256(secret, format!("{purpose}:{user}").as_bytes());
        let highest = self.rounds_in_use.iter().max_by_key(|rounds| derive(&format!("rounds {rounds}")));
        let rounds = highest.copied().unwrap_or(self.config.scram_rounds);
        Verifier {
            rounds,
            salt: derive(&format!("salt {rounds}"))[..SCRAM_RANDOM_BYTES].to_vec(),
            stored_key: derive("stored"),
            server_key: derive("server"),
        }
    }

    fn read_decoy(&self) -> Result<AccountRecord, AccountError> {
        self.read_record(&self.decoy_path).or_else(|error| self.or_in_memory_decoy(error))
    }

    /// Returns the decoy in memory if there is none on disk. If the directory itself is missing, that is an
    /// error, because then existing names would seem unknown.
    fn or_in_memory_decoy(&self, error: AccountError) -> Result<AccountRecord, AccountError> {
        match error {
            AccountError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound && self.directory.is_dir() => {
                Ok(AccountRecord::of_decoy(self.in_memory_decoy.clone()))
            }
            error => Err(error),
        }
    }

    /// Reads the rounds of the accounts again if an account has changed.
    fn refresh_rounds(&mut self) {
        let stamp = self.stamp().ok();
        if self.rounds_seen == stamp && stamp.is_some() {
            return;
        }
        self.rounds_seen = stamp;
        let sample = self.names().unwrap_or_default().into_iter().take(ROUNDS_SAMPLE);
        let accounts: Vec<Account> = sample.filter_map(|name| self.load(&name).ok()?).collect();
        if !accounts.is_empty() {
            self.rounds_in_use = accounts.into_iter().map(|account| account.verifier.rounds).collect();
        }
    }

    fn add_rounds(&mut self, rounds: u32) {
        if self.rounds_in_use.len() < ROUNDS_SAMPLE {
            self.rounds_in_use.insert(rounds);
        }
    }

    /// Logs a damaged account at most once in [`WARN_INTERVAL`], because unauthenticated peers can cause it.
    fn log_damage(&mut self, damage: &AccountError, now: Instant) {
        if self.damage_logged.is_none_or(|at| now.duration_since(at) >= WARN_INTERVAL) {
            self.damage_logged = Some(now);
            log::error!("{damage}");
        }
    }

    pub(super) fn make_decoy(&self) -> Result<(), AccountError> {
        // Another process may have been first.
        if self.decoy_path.exists() {
            return Ok(());
        }
        self.write_record(&self.decoy_path, &AccountRecord::of_decoy(self.in_memory_decoy.clone()))
    }
}

/// Makes a verifier of random bytes. Decoys are derived from its salt.
pub(super) fn new_decoy() -> Verifier {
    let mut secret = [0; SCRAM_RANDOM_BYTES + 64];
    fill_random(&mut secret);
    let (salt, keys) = secret.split_at(SCRAM_RANDOM_BYTES);
    let mut verifier =
        Verifier { rounds: SCRAM_ROUNDS_DEFAULT, salt: salt.to_vec(), stored_key: [0; 32], server_key: [0; 32] };
    verifier.stored_key.copy_from_slice(&keys[..32]);
    verifier.server_key.copy_from_slice(&keys[32..]);
    verifier
}

/// The number of accounts whose rounds are read for decoys, and the number of different rounds that are
/// kept.
const ROUNDS_SAMPLE: usize = 64;
