//! The program's logger. Records with the target `access` or `transactions` go to the log file of that
//! name, all others to stderr. Each of the three has a thread for slow writes, so that the server never
//! waits. Lines that cannot be written are dropped and counted. The caller chooses the text; this
//! module makes sure that it is one line, and that repeated lines do not fill the disk.

mod file;
mod repeats;
mod stderr;
mod value;
mod writer;

use std::fmt::Display;
use std::hash::Hash;
use std::io;
use std::sync::{LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::config::Config;
use file::LogFile;
use repeats::Repeats;
use stderr::Stderr;
pub use value::Value;
use writer::Writer;

/// Target of records for `access.log`: connections, logins, commands, refusals.
pub const ACCESS: &str = "access";
/// Target of records for `transactions.log`: one per transfer.
pub const TRANSACTIONS: &str = "transactions";
/// Target of all other records.
pub const STDERR: &str = "berth";

/// Opens the log files and installs the logger, once. `RUST_LOG` filters what goes to stderr.
pub fn init(config: &Config) -> io::Result<()> {
    let file = |path: &std::path::Path| -> io::Result<Writer> {
        Ok(Writer::new(
            Box::new(LogFile::open(path.to_path_buf(), config.logs.bytes_max)?),
            FILE_WAITING_BYTES_MAX,
            BATCH_DELAY,
        ))
    };
    let logger = Logger {
        access: file(&config.logs.access)?,
        transactions: file(&config.logs.transactions)?,
        stderr: Writer::new(Box::new(Stderr::open()?), STDERR_WAITING_BYTES_MAX, Duration::ZERO),
        filter: env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).build(),
    };
    let level = logger.filter.filter().max(LevelFilter::Info);
    let already = || io::Error::new(io::ErrorKind::AlreadyExists, "logging is set up already");
    LOGGER.set(logger).map_err(|_| already())?;
    log::set_logger(LOGGER.get().ok_or_else(already)?).map_err(|_| already())?;
    log::set_max_level(level);
    std::panic::set_hook(Box::new(|panic| {
        if let Some(logger) = LOGGER.get() {
            logger.stderr.append(Timestamp::now(), format_args!("{:5} {panic}", Level::Error));
            logger.stderr.flush_and_wait();
        }
    }));
    Ok(())
}

/// Starts the writer threads. Before that, [`flush`] writes the lines. Call this after the process has
/// dropped its privileges, because a thread keeps those that it starts with. Waits briefly until earlier
/// lines are written.
pub fn start() -> io::Result<()> {
    let Some(logger) = LOGGER.get() else { return Ok(()) };
    logger.stderr.start("log-stderr")?;
    logger.access.start("log-access")?;
    logger.transactions.start("log-transfers")?;
    logger.stderr.finish(Instant::now() + START_PATIENCE);
    Ok(())
}

/// Starts to write waiting lines. Call this before the program sleeps.
pub fn flush() {
    let Some(logger) = LOGGER.get() else { return };
    if due().is_some_and(|due| due <= Instant::now()) {
        write_summaries(false);
    }
    logger.writers().for_each(Writer::flush);
}

/// Writes all lines before the program ends. Bounded by a timeout.
pub fn finish() {
    let Some(logger) = LOGGER.get() else { return };
    write_summaries(true);
    let deadline = Instant::now() + END_PATIENCE;
    logger.writers().for_each(|writer| writer.finish(deadline));
}

/// Opens the files again by name, after another program has renamed them. [`is_reopened`] returns true once
/// that is done.
pub fn reopen() {
    if let Some(logger) = LOGGER.get() {
        logger.access.reopen();
        logger.transactions.reopen();
    }
}

/// Returns whether all writes and reopens are done.
pub fn is_reopened() -> bool {
    LOGGER.get().is_none_or(|logger| logger.access.is_done() && logger.transactions.is_done())
}

/// Logs a line that a peer can cause any number of times. The first few lines of a kind are written. Later
/// ones are counted, and an occasional line that ends in ` repeated=N` stands for `N` of them. If too many
/// kinds of a group are new, further ones are counted together as one kind. Returns whether this line was
/// written.
pub fn log_rate_limited(
    target: &'static str,
    level: Level,
    (group, kind): (&impl Hash, &impl Hash),
    line: &dyn Display,
) -> bool {
    let is_written = repeats().count(target, level, (group, kind), format_args!("{line}"), Instant::now());
    if is_written {
        log::logger().log(&Record::builder().target(target).level(level).args(format_args!("{line}")).build());
    }
    is_written
}

/// Removes a line from the count of its kind, because it turned out to be of another kind. `was_written` is
/// the result of [`log_rate_limited`].
pub fn take_back(target: &'static str, (group, kind): (&impl Hash, &impl Hash), was_written: bool) {
    repeats().take_back(target, group, kind, was_written);
}

/// Returns when [`flush`] must be called at the latest.
pub fn due() -> Option<Instant> {
    repeats().due()
}

fn write_summaries(all: bool) {
    let summaries = repeats().take_summaries(Instant::now(), all);
    summaries.iter().for_each(repeats::RepeatSummary::log);
}

fn repeats() -> MutexGuard<'static, Repeats> {
    static REPEATS: LazyLock<Mutex<Repeats>> = LazyLock::new(Mutex::default);
    REPEATS.lock().unwrap_or_else(PoisonError::into_inner)
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger {
    access: Writer,
    transactions: Writer,
    stderr: Writer,
    /// Filters and formats records for stderr; it writes nothing itself.
    filter: env_logger::Logger,
}

impl Logger {
    fn file(&self, target: &str) -> Option<&Writer> {
        match target {
            ACCESS => Some(&self.access),
            TRANSACTIONS => Some(&self.transactions),
            _ => None,
        }
    }

    fn writers(&self) -> impl Iterator<Item = &Writer> {
        // Stderr is last, because failures of the files are reported there.
        [&self.access, &self.transactions, &self.stderr].into_iter()
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        match self.file(metadata.target()) {
            Some(_) => metadata.level() <= Level::Info,
            None => self.filter.enabled(metadata),
        }
    }

    fn log(&self, record: &Record<'_>) {
        match self.file(record.target()) {
            Some(file) if record.level() <= Level::Info => file.append(Timestamp::now(), *record.args()),
            Some(_) => {}
            None if self.filter.matches(record) => {
                self.stderr.append(Timestamp::now(), format_args!("{:5} {}", record.level(), record.args()));
                self.stderr.flush_and_wait();
            }
            None => {}
        }
    }

    fn flush(&self) {
        self.writers().for_each(Writer::flush);
    }
}

/// Bounds the lines that wait for a log file. A disk may be busy for a moment while users' requests are logged. Lines
/// on stderr are rare.
const FILE_WAITING_BYTES_MAX: usize = 1 << 20;
const STDERR_WAITING_BYTES_MAX: usize = 64 * 1024;
/// How long the thread of a log file waits between two writes, so that it writes many lines at a time.
const BATCH_DELAY: Duration = Duration::from_millis(1);
/// How long a start waits for stderr, so that its warnings come before later output.
const START_PATIENCE: Duration = Duration::from_millis(500);
/// How long the end waits for all lines.
const END_PATIENCE: Duration = Duration::from_secs(2);
