//! Starts a server, in the order in which it drops its rights: first the steps that may need root, then the
//! others as the configured user, then the confinement. Threads start last, because they inherit the rights
//! of the thread that starts them.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Instant;

use mio::net::TcpListener;
use mio::{Interest, Poll, Waker};
use rustix::fs::Access as FileAccess;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;

use super::certificate::Certificate;
use super::{ServerError, system};
use crate::account::Accounts;
use crate::base::atomic_file::{self, GROUP_DIRECTORY, PUBLIC_DIRECTORY};
use crate::base::{disk_sync, refusals};
use crate::config::{Config, ConfigError};
use crate::logging;
use crate::net::event_loop::{EventLoop, SIGNALS, WAKER};
use crate::protocol::kind::{ProtocolKind, ProtocolSettings};
use crate::server::control_socket;
use crate::server::privileges::{self, AllowedDirectory, Confinement, DirectoryRights, ServiceUser};
use crate::server::service_manager::ServiceManager;
use crate::session::{Policy, Service};
use crate::store::Store;
use crate::store::syncer::Syncer;
use crate::tls::ServerIdentity;

/// A started server.
pub(super) struct Started {
    pub(super) event_loop: EventLoop,
    pub(super) certificate: Certificate,
    pub(super) signals: Signals,
    pub(super) addresses: Vec<(SocketAddr, ProtocolKind)>,
    pub(super) service_manager: ServiceManager,
}

/// Starts the server.
pub(super) fn start(config: &Config) -> Result<Started, ServerError> {
    let began_as_root = privileges::is_root();
    let privileged = PrivilegedResources::open(config)?;
    privileges::give_up_rights().map_err(system("give up rights"))?;
    logging::init(config).map_err(|source| ServerError::Logs { source, file: config.file.clone() })?;
    warn_of_rights(config, began_as_root);
    for warning in config.warnings() {
        log::warn!("{warning}");
    }
    raise_descriptor_limit();
    let now = Instant::now();
    let certificate = match privileged.identity {
        Some(identity) => Certificate::from_identity(identity, config, now)?,
        None => Certificate::load(config, now)?,
    };
    let poll = Poll::new().map_err(system("create a poll"))?;
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(system("handle signals"))?;
    poll.registry().register(&mut signals, SIGNALS, Interest::READABLE).map_err(system("handle signals"))?;
    let service = confined_service(config, &poll)?;
    let mut event_loop = EventLoop::new(poll, service, config.limits, config.timeouts, certificate.tls_policy(), now)
        .map_err(system("watch sockets"))?;
    event_loop.set_protocol_settings(ProtocolSettings::from(config));
    let mut addresses = Vec::new();
    for (socket, kind) in privileged.sockets {
        addresses.push((socket.local_addr().map_err(system("ask for an address"))?, kind));
        event_loop.listen(socket, kind).map_err(system("watch a socket"))?;
    }
    match privileged.control {
        Ok(socket) => event_loop.listen_locally(socket).map_err(system("listen on the control socket"))?,
        // Without the socket only the admin commands fail; `berthd usage` then counts the disk.
        Err(error) => log::warn!("no control socket in {}: {error}", config.control_directory.display()),
    }
    let service_manager = privileged.service_manager.unwrap_or_else(|error| {
        log::warn!("the service manager at $NOTIFY_SOCKET cannot be reached: {error}");
        ServiceManager::default()
    });
    for refusal in refusals::take() {
        log::warn!("{refusal}");
    }
    Ok(Started { event_loop, certificate, signals, addresses, service_manager })
}

/// The resources that may need root: ports below 1024, a key that only root can read, a socket in root's directory, and
/// the service manager's socket.
struct PrivilegedResources {
    sockets: Vec<(TcpListener, ProtocolKind)>,
    identity: Option<ServerIdentity>,
    control: io::Result<UnixListener>,
    service_manager: io::Result<ServiceManager>,
}

impl PrivilegedResources {
    /// Opens all of them, then switches to the configured user.
    fn open(config: &Config) -> Result<Self, ServerError> {
        let user = ServiceUser::find(config)?;
        if user.as_ref().is_some_and(|user| !privileges::is_root() && !user.is_current()) {
            let problem =
                "is not the user that starts this server; start it as root or as that user, or leave the key out";
            return Err(ConfigError::new(&config.file, "user", problem).into());
        }
        let bind = |(address, kind)| match TcpListener::bind(address) {
            Ok(socket) => Ok((socket, kind)),
            Err(source) => Err(ServerError::Listen { address, source }),
        };
        let sockets = listening(config).map(bind).collect::<Result<_, _>>()?;
        let identity = if config.tls.is_own { None } else { ServerIdentity::read(config)? };
        let directory = &config.control_directory;
        if directory != config.directory() {
            // A directory in /run, for example, is lost at a reboot. A failure is reported with the socket.
            let _ = atomic_file::make_directory(directory, PUBLIC_DIRECTORY);
        }
        let control =
            control_socket::listen(directory, |made| user.as_ref().map_or(Ok(()), |user| user.give_ownership(made)));
        if control.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse) {
            return Err(ServerError::Running { directory: config.directory().to_path_buf() });
        }
        let service_manager = ServiceManager::of_environment();
        if let Some(user) = user {
            user.make_directories(config)?;
            user.switch_process(config)?;
        }
        Ok(Self { sockets, identity, control, service_manager })
    }
}

/// Returns the addresses with their protocols.
fn listening(config: &Config) -> impl Iterator<Item = (SocketAddr, ProtocolKind)> {
    let ftp = config.ftp.as_ref();
    let all = [
        (Some(&config.listen), ProtocolKind::Native),
        (ftp.map(|ftp| &ftp.listen), ProtocolKind::Ftp),
        (ftp.map(|ftp| &ftp.listen_tls), ProtocolKind::ImplicitFtps),
    ];
    all.into_iter().flat_map(|(addresses, kind)| addresses.into_iter().flatten().map(move |&address| (address, kind)))
}

/// Opens all files by name, then confines the process. Threads start later, when needed.
fn confined_service(config: &Config, poll: &Poll) -> Result<Service, ServerError> {
    let store = Store::new(config.home_roots.clone(), config.partial_expiry, Syncer::held(disk_sync::sync))
        .map_err(system("get random numbers"))?;
    let mut service = Service::new(Accounts::open(config)?, store, Policy::from(config));
    for root in &config.home_roots {
        if let Err(error) = atomic_file::make_directory(root, GROUP_DIRECTORY) {
            let remedy = config.directory_remedy();
            log::warn!("homes cannot lie in {}: {error}; {remedy}, and restart", root.display());
        } else if rustix::fs::access(root, FileAccess::WRITE_OK) == Err(Errno::ROFS) {
            let root = root.display();
            log::warn!(
                "{root} is read-only for this server: allow it `ReadWritePaths={root}` by `systemctl edit`, or mount it to be written to"
            );
        }
    }
    match privileges::confine(&allowed_directories(config)) {
        Confinement::Off(reason) => log::warn!("confinement by Landlock: off: {reason}"),
        confinement => log::info!("confinement by Landlock: {confinement}"),
    }
    logging::start().map_err(system("start the threads that write logs"))?;
    let waker = Waker::new(poll.registry(), WAKER).map_err(system("create a waker"))?;
    // A waker fails only when the loop has ended, and then no wake-up is needed.
    service.store.syncer = Syncer::start(move || drop(waker.wake()));
    Ok(service)
}

/// Returns all directories in which a running server opens files by name. Directories and not files, because
/// files are replaced: logs by rotation, certificates by renewal.
fn allowed_directories(config: &Config) -> Vec<AllowedDirectory> {
    let mut allowed = Vec::new();
    let mut add = |directories: Vec<PathBuf>, rights| {
        allowed.extend(directories.into_iter().map(|directory| AllowedDirectory { directory, rights }));
    };
    add(config.home_roots.clone(), DirectoryRights::All);
    add(vec![config.directory().to_path_buf(), config.accounts_dir()], DirectoryRights::Read);
    add(directories_of(&config.file), DirectoryRights::Read);
    let tls = if config.tls.is_own { DirectoryRights::ReplaceFiles } else { DirectoryRights::Read };
    add(directories_of(&config.tls.certificate), tls);
    add(directories_of(&config.tls.key), tls);
    add(directories_of(&config.logs.access), DirectoryRights::Append);
    add(directories_of(&config.logs.transactions), DirectoryRights::Append);
    allowed
}

/// Returns the directory of a file, and of the file it may be a symlink to.
fn directories_of(file: &Path) -> Vec<PathBuf> {
    let real = file.canonicalize().ok();
    let mut directories: Vec<_> =
        [Some(file), real.as_deref()].into_iter().flatten().filter_map(Path::parent).collect();
    directories.dedup();
    directories.into_iter().map(Path::to_path_buf).collect()
}

/// Warns about rights of this server that an administrator should change.
fn warn_of_rights(config: &Config, began_as_root: bool) {
    let file = config.file.display();
    if privileges::is_root() {
        return log::warn!("running as root; name a user with fewer rights as `user` in {file}");
    }
    let can = |path: &Path, access| rustix::fs::access(path, access).is_ok();
    if began_as_root && (can(&config.file, FileAccess::WRITE_OK) || can(config.directory(), FileAccess::WRITE_OK)) {
        log::warn!(
            "the user of this server can change {file}, and with it the user of the next start; make root its owner"
        );
    }
    for path in [&config.tls.certificate, &config.tls.key] {
        if !config.tls.is_own && !can(path, FileAccess::READ_OK) {
            let path = path.display();
            log::warn!("the user of this server cannot read {path}; a renewed one is not noticed until a restart");
        }
    }
}

/// Raises the soft limit of descriptors, which is often 1,024: each session needs one.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        log::warn!("cannot raise the limit of open files: {error}");
    }
}
