//! The directory of account files: reads them, changes them one at a time, and provides decoys that hide
//! which names exist.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::{Account, AccountError, AccountName, AccountRecord, home};
use crate::auth::scram::{SCRAM_RANDOM_BYTES, SCRAM_ROUNDS_DEFAULT, Verifier, fill_random, hmac_sha256};
use crate::base::atomic_file;
use crate::base::calendar;
use crate::base::json::{Object, explain};
use crate::base::refusals::WARN_INTERVAL;
use crate::config::Config;

/// All accounts of a server.
#[derive(Debug)]
pub struct Accounts {
    directory: PathBuf,
    pub(super) config: Config,
    decoy_path: PathBuf,
    /// Used until a decoy is stored on disk. Its salt is also the secret for computations for existing names,
    /// whose results are not used.
    in_memory_decoy: Verifier,
    /// The PBKDF2 rounds of existing accounts. A decoy has one of these numbers, because another one would
    /// reveal that the name has no account.
    rounds_in_use: BTreeSet<u32>,
    /// The value of [`Accounts::stamp`] when the rounds were read.
    rounds_seen: Option<Stamp>,
    /// When a damaged account was last logged.
    damage_logged: Option<Instant>,
}

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

/// Changes whenever an account changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    changed_ns: i128,
    /// False while another change could still get the same time. The stamp differs again once this becomes
    /// true, so the accounts are then read a second time.
    is_final: bool,
}

impl Accounts {
    /// Opens the accounts of a configuration. Missing directories are made if permitted; to read accounts, as a
    /// server does, no write permission is needed.
    pub fn open(config: &Config) -> Result<Self, AccountError> {
        Self::open_by(config, atomic_file::lock)
    }

    /// Like [`Accounts::open`], but fails instead of waiting for another process that is changing accounts.
    pub fn open_at_once(config: &Config) -> Result<Self, AccountError> {
        Self::open_by(config, atomic_file::try_lock)
    }

    fn open_by(config: &Config, lock: Lock) -> Result<Self, AccountError> {
        let directory = config.accounts_dir();
        atomic_file::make_directory(&directory, atomic_file::SECRET_DIRECTORY).map_err(|source| {
            AccountError::NoDirectory { path: directory.clone(), source, remedy: config.directory_remedy() }
        })?;
        let decoy_path = directory.join(".decoy");
        let accounts = Self {
            directory,
            config: config.clone(),
            decoy_path,
            in_memory_decoy: new_decoy(),
            rounds_in_use: BTreeSet::new(),
            rounds_seen: None,
            damage_logged: None,
        };
        match accounts.read_record(&accounts.decoy_path) {
            Err(AccountError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => accounts
                .lock_by(lock)
                .and_then(|_changing| accounts.make_decoy())
                .or_else(|error| accounts.warn_about_missing_decoy(&error)),
            result => result.map(drop),
        }?;
        Ok(accounts)
    }

    /// Warns that the decoy cannot be stored. Unknown names get the one in memory until an administrator's
    /// command stores one. Without accounts there is no name to reveal, and no warning.
    fn warn_about_missing_decoy(&self, error: &AccountError) -> Result<(), AccountError> {
        if !self.names()?.is_empty() {
            let remedy = self.config.directory_remedy();
            log::warn!(
                "names of accounts can be found out by comparing answers before and after a restart: {error}; {remedy}"
            );
        }
        Ok(())
    }

    // ---- Reading --------------------------------------------------------------------------

    /// Returns the account `name`, or `None` if there is none.
    pub fn load(&self, name: &AccountName) -> Result<Option<Account>, AccountError> {
        match self.read_record(&self.path(name)) {
            Ok(record) => Ok(Some(record.into_account(name.clone(), &self.config.root))),
            Err(AccountError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the names of all accounts, sorted. Their files may still be corrupt.
    pub fn names(&self) -> Result<Vec<AccountName>, AccountError> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(at(&self.directory))? {
            let entry = entry.map_err(at(&self.directory))?;
            let name = entry.file_name();
            if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".json")) {
                names.extend(name.parse());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Returns all accounts, sorted by name. Fails at the first that cannot be read.
    pub fn list(&self) -> Result<Vec<Account>, AccountError> {
        // An account that was removed since the names were read is no error.
        self.names()?.iter().filter_map(|name| self.load(name).transpose()).collect()
    }

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
    pub fn still(&self, challenged: Account) -> Result<Option<Account>, AccountError> {
        let now =
            self.load(&challenged.name).or_else(|error| if error.is_exhaustion() { Err(error) } else { Ok(None) })?;
        Ok(now.filter(|now| !now.locked && now.verifier == challenged.verifier))
    }

    /// Checks that the account's home lies below a home root, with symlinks resolved. Called after each
    /// login, because files and symlinks may be changed without this program. Overlaps of homes are checked
    /// when accounts are changed, and by [`Accounts::check`].
    pub fn check_home(&self, account: &Account) -> Result<(), AccountError> {
        home::check(self, account, &[])
    }

    /// Returns a value that differs whenever an account was added, changed or removed. It is the change time of
    /// the directory, because each of these renames or removes an entry of it.
    pub fn stamp(&self) -> io::Result<Stamp> {
        let directory = fs::metadata(&self.directory)?;
        let now_ns = i128::from(calendar::unix_ns(SystemTime::now()));
        let changed_ns = i128::from(directory.ctime()) * 1_000_000_000 + i128::from(directory.ctime_nsec());
        let is_final = (now_ns - changed_ns).abs() > FINAL_AFTER_NS;
        Ok(Stamp { device: directory.dev(), inode: directory.ino(), changed_ns, is_final })
    }

    // ---- Changing -------------------------------------------------------------------------

    /// Adds an account and makes its home. An existing home is used as it is.
    pub fn add(&self, account: &Account) -> Result<(), AccountError> {
        let _changing = self.lock()?;
        if self.path(&account.name).exists() {
            return Err(AccountError::Exists(account.name.clone()));
        }
        home::check(self, account, &self.list()?)?;
        let made = home::make(account)?;
        self.write(account).inspect_err(|_| {
            if made {
                let _ = fs::remove_dir(&account.home);
            }
        })
    }

    /// Applies `change` to an account and returns the new one. A new home is made if it does not exist;
    /// files are not moved.
    pub fn update(&self, name: &AccountName, change: impl FnOnce(&mut Account)) -> Result<Account, AccountError> {
        let _changing = self.lock()?;
        let old = self.load(name)?.ok_or_else(|| AccountError::Unknown(name.clone()))?;
        let mut new = old.clone();
        change(&mut new);
        new.name = old.name;
        if new.home != old.home {
            home::check(self, &new, &self.list()?)?;
            home::make(&new)?;
        }
        self.write(&new)?;
        Ok(new)
    }

    /// Removes an account, even one whose file is corrupt. Its home stays. Returns the account if it could
    /// be read.
    pub fn remove(&self, name: &AccountName) -> Result<Option<Account>, AccountError> {
        let _changing = self.lock()?;
        let account = self.load(name);
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(AccountError::Unknown(name.clone())),
            result => result.map_err(at(&path))?,
        }
        atomic_file::sync_directory(&self.directory).map_err(at(&self.directory))?;
        Ok(account.ok().flatten())
    }

    /// Checks every account and every home. Returns all problems.
    pub fn check(&self) -> Result<Vec<AccountError>, AccountError> {
        let mut accounts = Vec::new();
        let mut errors = Vec::new();
        for name in self.names()? {
            match self.load(&name) {
                Ok(account) => accounts.extend(account),
                Err(error) => errors.push(error),
            }
        }
        for account in &accounts {
            errors.extend(home::check(self, account, &accounts).and_then(|()| home::check_usable(account)).err());
        }
        Ok(errors)
    }

    /// Returns the default home of an account.
    pub fn default_home(&self, name: &AccountName) -> PathBuf {
        self.config.home_roots[0].join(name.as_str())
    }

    /// Returns the file of an account, whether it exists or not.
    pub fn path(&self, name: &AccountName) -> PathBuf {
        self.directory.join(format!("{name}.json"))
    }

    pub(super) fn home_roots(&self) -> &[PathBuf] {
        &self.config.home_roots
    }

    pub(super) fn config_file(&self) -> &Path {
        &self.config.file
    }

    /// Returns the directory of configuration, accounts and keys.
    pub(super) fn configuration(&self) -> &Path {
        self.config.directory()
    }

    fn write(&self, account: &Account) -> Result<(), AccountError> {
        self.write_record(&self.path(&account.name), &AccountRecord::of(account, &self.config.root))
    }

    fn write_record(&self, path: &Path, record: &AccountRecord) -> Result<(), AccountError> {
        let corrupt =
            |e: serde_json::Error| AccountError::Corrupt { path: path.into(), problem: explain(&e).to_string() };
        let mut content = serde_json::to_vec_pretty(record).map_err(corrupt)?;
        content.push(b'\n');
        atomic_file::replace(path, &content, atomic_file::SECRET_FILE).map_err(at(path))
    }

    fn read_record(&self, path: &Path) -> Result<AccountRecord, AccountError> {
        let corrupt = |problem: String| AccountError::Corrupt { path: path.to_path_buf(), problem };
        let content = Zeroizing::new(atomic_file::read(path).map_err(at(path))?);
        let mut reader = serde_json::Deserializer::from_slice(&content);
        let Object(record): Object<AccountRecord> =
            serde_path_to_error::deserialize(&mut reader).map_err(|e| corrupt(e.to_string()))?;
        reader.end().map_err(|e| corrupt(e.to_string()))?;
        if record.format != super::FORMAT {
            return Err(corrupt(format!("format {} is not {}, the one known here", record.format, super::FORMAT)));
        }
        Ok(record)
    }

    /// Locks the accounts, so that two administrators cannot assign one home twice or overwrite each
    /// other's changes.
    fn lock(&self) -> Result<File, AccountError> {
        self.lock_by(atomic_file::lock)
    }

    fn lock_by(&self, lock: Lock) -> Result<File, AccountError> {
        let path = self.directory.join(".lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(atomic_file::SECRET_FILE)
            // A FIFO of that name fails instead of waiting for a reader.
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(&path)
            .map_err(at(&path))?;
        lock(&file, &self.directory).map_err(at(&path))?;
        Ok(file)
    }

    // ---- Decoys ---------------------------------------------------------------------------

    /// Returns a verifier for an unknown name: the same salt each time, and keys without a known password.
    ///
    /// The rounds are those in use that rank highest for this name (rendezvous hashing). So a change of the
    /// accounts changes the rounds of few names. These get another salt too, as after a change of the password.
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

    fn make_decoy(&self) -> Result<(), AccountError> {
        // Another process may have been first.
        if self.decoy_path.exists() {
            return Ok(());
        }
        self.write_record(&self.decoy_path, &AccountRecord::of_decoy(self.in_memory_decoy.clone()))
    }
}

/// A function that locks the directory.
type Lock = fn(&File, &Path) -> io::Result<()>;

/// A verifier of random bytes. Decoys are derived from its salt.
fn new_decoy() -> Verifier {
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
/// After this time a change gets a later file time: the resolution of file times, with a margin.
const FINAL_AFTER_NS: i128 = 100_000_000;

fn at(path: &Path) -> impl Fn(io::Error) -> AccountError + '_ {
    |source| AccountError::Io { path: path.to_path_buf(), source }
}
