//! One logger for everything: records with the target `access` or `transactions` go to the log
//! file of that name, all others to stderr. The files are buffered, and a disk that fails costs
//! lines, never the program. What a line says is up to the caller; this module sees to it that it
//! is one line.

mod file;

use crate::config::Config;
use crate::text::Utc;
use file::LogFile;
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Target of records for `access.log`: connections, logins, commands, refusals.
pub const ACCESS: &str = "access";
/// Target of records for `transactions.log`: one per transfer.
pub const TRANSACTIONS: &str = "transactions";

/// Opens the log files and makes this the program's logger, once. `RUST_LOG` filters what goes
/// to stderr.
pub fn init(config: &Config) -> io::Result<()> {
    let logger = Logger {
        access: Mutex::new(LogFile::open(config.logs.access.clone())?),
        transactions: Mutex::new(LogFile::open(config.logs.transactions.clone())?),
        stderr: stderr_logger(),
    };
    let level = logger.stderr.filter().max(LevelFilter::Info);
    let already = || io::Error::new(io::ErrorKind::AlreadyExists, "logging is set up already");
    LOGGER.set(logger).map_err(|_| already())?;
    log::set_logger(LOGGER.get().ok_or_else(already)?).map_err(|_| already())?;
    log::set_max_level(level);
    Ok(())
}

/// Writes out what is buffered; to be called before the program sleeps or ends.
pub fn flush() {
    if let Some(logger) = LOGGER.get() {
        logger.flush();
    }
}

/// Opens the files again by name, after they were renamed by whoever rotates them.
pub fn reopen() {
    if let Some(logger) = LOGGER.get() {
        logger.each_file(LogFile::reopen);
    }
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger {
    access: Mutex<LogFile>,
    transactions: Mutex<LogFile>,
    stderr: env_logger::Logger,
}

impl Logger {
    fn file(&self, target: &str) -> Option<&Mutex<LogFile>> {
        match target {
            ACCESS => Some(&self.access),
            TRANSACTIONS => Some(&self.transactions),
            _ => None,
        }
    }

    /// Does something to both files. What goes wrong is told on stderr afterwards, not from
    /// within: a lock is held.
    fn each_file(&self, mut act: impl FnMut(&mut LogFile) -> Option<String>) {
        for file in [&self.access, &self.transactions] {
            let trouble = act(&mut lock(file));
            self.warn(trouble);
        }
    }

    fn warn(&self, trouble: Option<String>) {
        if let Some(trouble) = trouble {
            let mut record = Record::builder();
            self.stderr.log(&record.level(Level::Warn).args(format_args!("{trouble}")).build());
        }
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        match self.file(metadata.target()) {
            Some(_) => metadata.level() <= Level::Info,
            None => self.stderr.enabled(metadata),
        }
    }

    fn log(&self, record: &Record<'_>) {
        match self.file(record.target()) {
            Some(file) if record.level() <= Level::Info => {
                let trouble = lock(file).append(Utc::now(), record.args());
                self.warn(trouble);
            }
            Some(_) => {}
            None => self.stderr.log(record),
        }
    }

    fn flush(&self) {
        self.each_file(LogFile::flush);
        self.stderr.flush();
    }
}

fn stderr_logger() -> env_logger::Logger {
    let filter = env_logger::Env::default().default_filter_or("info");
    env_logger::Builder::from_env(filter)
        .format(|out, record| writeln!(out, "{} {:5} {}", Utc::now(), record.level(), record.args()))
        .build()
}

/// A panic while a line was formatted leaves at worst half a line behind.
fn lock(file: &Mutex<LogFile>) -> MutexGuard<'_, LogFile> {
    file.lock().unwrap_or_else(PoisonError::into_inner)
}
