//! Runs the server: configuration, store and loop; signals, reload and drain.

mod certificate;
pub mod control_socket;
pub mod privileges;
mod reload;
pub mod service_manager;
mod start;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use signal_hook::consts::SIGHUP;
use signal_hook_mio::v1_0::Signals;

use crate::account::AccountError;
use crate::config::{Config, ConfigError};
use crate::logging;
use crate::net::event_loop::EventLoop;
use crate::protocol::kind::ProtocolKind;
use crate::tls::Fingerprint;
use certificate::Certificate;
use service_manager::ServiceManager;
use start::Started;

/// Why the server cannot start or continue.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The accounts cannot be read.
    #[error(transparent)]
    Accounts(#[from] AccountError),
    /// The configuration, the certificate or its key cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A log file cannot be opened.
    #[error(
        "cannot open the log files: {source}; let the user the server runs as write there, or change `logs` in {}",
        file.display()
    )]
    Logs {
        /// The file and the system's error.
        source: io::Error,
        /// The configuration.
        file: PathBuf,
    },
    /// An address is in use or not local.
    #[error("cannot listen on {address}: {source}; stop what uses it, or change where it listens in the configuration")]
    Listen {
        /// The configured address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// Another server is running: two would keep two ledgers of the same homes.
    #[error("a server with the configuration in {} is running already; stop it first", directory.display())]
    Running {
        /// The directory of the configuration.
        directory: PathBuf,
    },
    /// Any other error of the system.
    #[error("cannot {operation}: {source}")]
    System {
        /// The failed operation.
        operation: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

fn system(operation: &'static str) -> impl Fn(io::Error) -> ServerError {
    move |source| ServerError::System { operation, source }
}

/// Serves until a signal ends it. Calls `on_ready` with the addresses and the fingerprint once
/// connections are accepted.
pub fn run(
    config: Config,
    on_ready: impl FnOnce(&[(SocketAddr, ProtocolKind)], Fingerprint),
) -> Result<(), ServerError> {
    let directory = config.control_directory.clone();
    let Started { event_loop, certificate, signals, addresses, service_manager } = start::start(&config)?;
    on_ready(&addresses, certificate.fingerprint());
    service_manager.ready(addresses.iter().map(|(address, _)| *address));
    let result = serve(config, certificate, event_loop, signals, service_manager);
    control_socket::remove(&directory);
    result
}

fn serve(
    mut config: Config,
    mut certificate: Certificate,
    mut event_loop: EventLoop,
    mut signals: Signals,
    mut service_manager: ServiceManager,
) -> Result<(), ServerError> {
    let mut events = EventLoop::events();
    let mut is_draining = false;
    let mut reload_by: Option<Instant> = None;
    while !(is_draining && event_loop.is_empty()) {
        let watchdog_at = service_manager.alive(Instant::now());
        let reopen_check_at = reload_by.map(|_| Instant::now() + REOPEN_CHECK_INTERVAL);
        let wakes_at = [watchdog_at, logging::due(), reopen_check_at].into_iter().flatten().min();
        event_loop.wake_at(wakes_at.map_or(certificate.check_at(), |at| at.min(certificate.check_at())));
        let round = event_loop.run_once(&mut events).map_err(system("wait for events"))?;
        if Instant::now() >= certificate.check_at() {
            reload::certificate(&config, &mut certificate, &mut event_loop);
        }
        if reload_by.is_some_and(|by| logging::is_reopened() || Instant::now() >= by) {
            reload_by = None;
            reload::configuration(&mut config, &mut event_loop);
            reload::certificate(&config, &mut certificate, &mut event_loop);
            service_manager.reloaded();
        }
        if !round.has_signals {
            continue;
        }
        for signal in signals.pending() {
            match signal {
                SIGHUP => {
                    service_manager.reloading();
                    logging::reopen();
                    // The reload is logged once the logs are open again.
                    reload_by = Some(Instant::now() + REOPEN_PATIENCE);
                }
                _ if is_draining => {
                    log::info!("stopped at once after a second signal");
                    return Ok(());
                }
                _ => {
                    log::info!("stopping; waiting up to {} s for running transfers", config.timeouts.drain.as_secs());
                    service_manager.stopping(config.timeouts.drain);
                    let now = Instant::now();
                    event_loop.drain(now + config.timeouts.drain);
                    is_draining = true;
                }
            }
        }
    }
    log::info!("stopped");
    Ok(())
}

/// How long a reload waits until the logs are open again.
const REOPEN_PATIENCE: Duration = Duration::from_secs(1);
const REOPEN_CHECK_INTERVAL: Duration = Duration::from_millis(5);
