//! The directory of account files: reads them and changes them one at a time.

mod candidate;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::{Account, AccountError, AccountName, AccountRecord, HomeRules, home};
use crate::auth::scram::Verifier;
use crate::base::atomic_file;
use crate::base::calendar;
use crate::base::json::{Object, explain};
use crate::config::Config;
pub use candidate::Candidate;
use candidate::new_decoy;

/// All accounts of a server.
#[derive(Debug)]
pub struct Accounts {
    directory: PathBuf,
    pub(super) config: Config,
    decoy_path: PathBuf,
    home_rules: Arc<HomeRules>,
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
        let home_rules = HomeRules {
            roots: config.home_roots.clone(),
            configuration: config.directory().to_path_buf(),
            config_file: config.file.clone(),
        };
        let accounts = Self {
            directory,
            home_rules: Arc::new(home_rules),
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

    /// Returns where homes may lie.
    pub fn home_rules(&self) -> &Arc<HomeRules> {
        &self.home_rules
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
        home::check(&self.home_rules, account, &self.list()?)?;
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
            home::check(&self.home_rules, &new, &self.list()?)?;
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
            errors.extend(
                home::check(&self.home_rules, account, &accounts).and_then(|()| home::check_usable(account)).err(),
            );
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
}

/// A function that locks the directory.
type Lock = fn(&File, &Path) -> io::Result<()>;

/// After this time a change gets a later file time: the resolution of file times, with a margin.
const FINAL_AFTER_NS: i128 = 100_000_000;

fn at(path: &Path) -> impl Fn(io::Error) -> AccountError + '_ {
    |source| AccountError::Io { path: path.to_path_buf(), source }
}
