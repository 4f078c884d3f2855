//! What a running server reads again: the configuration after SIGHUP, and the certificate after SIGHUP or a change.

use std::net::SocketAddr;
use std::time::Instant;

use super::certificate::Certificate;
use crate::account::Accounts;
use crate::config::{Config, FtpConfig};
use crate::net::event_loop::EventLoop;
use crate::protocol::kind::ProtocolSettings;
use crate::session::Policy;

/// Reloads the certificate for new connections. If it cannot be used, nothing changes.
pub(super) fn certificate(config: &Config, present: &mut Certificate, event_loop: &mut EventLoop) {
    let now = Instant::now();
    match Certificate::try_load(config, now) {
        Ok(None) => {
            if present.wait_for_lock(now) {
                let key = config.tls.key.display();
                log::warn!("the certificate stays as it was until another program unlocks the directory of {key}");
            }
        }
        Ok(Some(new)) => {
            if new.fingerprint() != present.fingerprint() {
                log::warn!("the server has a new key, {}; clients refuse it until they trust it", new.fingerprint());
            }
            event_loop.set_tls_policy(new.tls_policy());
            *present = new;
        }
        Err(error) => {
            log::error!("the certificate stays as it was: {error}");
            present.postpone_check(now);
        }
    }
}

/// Reads the configuration again after SIGHUP, once the logs are open again. If it cannot be read, nothing
/// changes.
pub(super) fn configuration(config: &mut Config, event_loop: &mut EventLoop) {
    let new = match Config::load(&config.file) {
        Ok(new) => new,
        Err(error) => return log::error!("the configuration stays as it was: {error}"),
    };
    for (key, differs) in [
        ("listen", new.listen != config.listen),
        ("ftp.listen", ftp_listen(&new) != ftp_listen(config)),
        ("user", (&new.user, &new.group) != (&config.user, &config.group)),
        ("home_roots", new.home_roots != config.home_roots),
        ("root", new.root != config.root),
        ("logs", new.logs != config.logs),
        ("control_folder", new.control_directory != config.control_directory),
        ("partial_expiry", new.partial_expiry != config.partial_expiry),
    ] {
        if differs {
            log::warn!("a new value of `{key}` takes effect after a restart");
        }
    }
    if new.tls.key.parent() != config.tls.key.parent()
        || new.tls.certificate.parent() != config.tls.certificate.parent()
    {
        log::warn!("`tls` names files in another directory; a confined server can read them only after a restart");
    }
    let new = with_restart_keys_of(config, new);
    let accounts = match Accounts::open_at_once(&new) {
        Ok(accounts) => accounts,
        Err(error) => return log::error!("the configuration stays as it was: {error}"),
    };
    let known = config.warnings();
    *config = new;
    let service = event_loop.service();
    service.accounts = accounts;
    service.set_policy(Policy::from(&*config));
    event_loop.set_limits(config.limits, config.timeouts);
    event_loop.set_protocol_settings(ProtocolSettings::from(&*config));
    for warning in config.warnings().into_iter().filter(|warning| !known.contains(warning)) {
        log::warn!("{warning}");
    }
    log::info!("configuration read again from {}", config.file.display());
}

/// Returns `new` with the present values of the keys that take effect after a restart.
fn with_restart_keys_of(present: &Config, new: Config) -> Config {
    let ftp = match (&present.ftp, new.ftp) {
        (Some(present), Some(new)) => {
            Some(FtpConfig { listen: present.listen.clone(), listen_tls: present.listen_tls.clone(), ..new })
        }
        (present, _) => present.clone(),
    };
    // Relative paths of the new file were resolved from its root.
    let tls = if new.root == present.root { new.tls } else { present.tls.clone() };
    Config {
        listen: present.listen.clone(),
        ftp,
        tls,
        user: present.user.clone(),
        group: present.group.clone(),
        home_roots: present.home_roots.clone(),
        root: present.root.clone(),
        logs: present.logs.clone(),
        control_directory: present.control_directory.clone(),
        partial_expiry: present.partial_expiry,
        ..new
    }
}

fn ftp_listen(config: &Config) -> Option<[&Vec<SocketAddr>; 2]> {
    config.ftp.as_ref().map(|ftp| [&ftp.listen, &ftp.listen_tls])
}
