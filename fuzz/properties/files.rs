//! Files that somebody may have damaged: configuration, accounts, certificates and keys, records
//! of uploads at the server and here, the keys a client remembers.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use super::assert_is_one_plain_line;
use super::support::in_memory::{Server, disk_usage};
use berth::account::{AccountName, Accounts};
use berth::auth::scram::{SCRAM_ROUNDS_MAX, SCRAM_ROUNDS_MIN};
use berth::base::upload_id::UploadId;
use berth::client::cli::hosts::Hosts;
use berth::client::connection::state::StateDirectory;
use berth::client::connection::trust::Trust;
use berth::config::{Config, TlsFiles};
use berth::store::staging::Staged;
use berth::tls::{Fingerprint, ServerIdentity};

fn temporary_directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}

/// A configuration that is taken keeps every range; one that is not is refused in one line that
/// begins with the file's name.
pub(super) fn config(input: &[u8]) {
    let directory = temporary_directory();
    let path = directory.path().join("conf/berthd.json");
    fs::create_dir(directory.path().join("conf")).expect("a new folder");
    fs::write(&path, input).expect("writable");
    match Config::load(&path) {
        Ok(config) => assert_is_complete(&config),
        Err(error) => {
            let text = error.to_string();
            assert_is_one_plain_line(&text);
            assert!(text.starts_with(&format!("{}: ", path.display())) && text.len() > path.as_os_str().len() + 5);
        }
    }
}

fn assert_is_complete(config: &Config) {
    let Config { root, listen, tls, home_roots, limits, timeouts, logs, .. } = config;
    let paths = [root, &tls.certificate, &tls.key, &logs.access, &logs.transactions].into_iter().chain(home_roots);
    for path in paths {
        let is_tidy = |component| matches!(component, Component::RootDir | Component::Normal(_));
        assert!(path.is_absolute() && path.components().all(is_tidy), "{}", path.display());
    }
    let overlap = |a: &PathBuf, b: &PathBuf| a != b && (a.starts_with(b) || b.starts_with(a));
    assert!(!home_roots.iter().any(|a| home_roots.iter().any(|b| overlap(a, b))));
    assert!(!listen.is_empty() && !home_roots.is_empty() && logs.access != logs.transactions);
    assert!(limits.sessions > 0 && limits.login_tries > 0);
    assert!((1..=limits.sessions).contains(&limits.sessions_per_account));
    assert!((1..=limits.sessions_per_address.max(1)).contains(&limits.sessions_per_address));
    let ten_years = Duration::from_secs(10 * 366 * 86_400);
    for period in [timeouts.login, timeouts.idle, timeouts.stall, config.partial_expiry] {
        assert!(period > Duration::ZERO && period <= ten_years);
    }
    assert!(timeouts.drain <= ten_years && (SCRAM_ROUNDS_MIN..=SCRAM_ROUNDS_MAX).contains(&config.scram_rounds));
}

/// An account is read as it would be written; a damaged one lets nobody in and says why.
pub(super) fn account(input: &[u8]) {
    let directory = temporary_directory();
    let config = Config::default_for(&directory.path().join("conf/berthd.json")).expect("defaults are valid");
    let mut accounts = Accounts::open(&config).expect("a new folder");
    let name: AccountName = "ann".parse().expect("a good name");
    fs::write(accounts.path(&name), input).expect("writable");
    let candidate = accounts.candidate("ann", std::time::Instant::now());
    match accounts.load(&name) {
        Ok(account) => {
            let account = account.expect("the file is there");
            let candidate = candidate.expect("the same file");
            assert_eq!(candidate.account.is_none(), account.locked);
            assert!((SCRAM_ROUNDS_MIN..=SCRAM_ROUNDS_MAX).contains(&account.verifier.rounds));
            assert!(account.home.is_absolute());
            let written = accounts.update(&name, |_| {}).expect("nothing was changed");
            assert_eq!((accounts.load(&name).expect("just written"), written), (Some(account.clone()), account));
        }
        Err(error) => {
            let candidate = candidate.expect("it looks like an unknown one");
            assert!(candidate.account.is_none(), "an account that cannot be read is one to log in to");
            assert_is_one_plain_line(&error.to_string());
        }
    }
}

/// A server's own certificate and key, made once: it takes time.
fn identity() -> &'static (String, String) {
    static PAIR: OnceLock<(String, String)> = OnceLock::new();
    PAIR.get_or_init(|| {
        let directory = temporary_directory();
        let config = Config::default_for(&directory.path().join("conf/berthd.json")).expect("defaults are valid");
        ServerIdentity::establish(&config, 1_800_000_000).expect("a new one");
        let read = |path: &Path| fs::read_to_string(path).expect("just made");
        (read(&config.tls.certificate), read(&config.tls.key))
    })
}

/// The input as a certificate, as PEM and as the DER within, and as a key.
pub(super) fn certificate(input: &[u8]) {
    let (certificate, key) = identity();
    // What a client gets from a server that it meets for the first time.
    if let Ok(fingerprint) = Fingerprint::of(&rustls::pki_types::CertificateDer::from(input)) {
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    }
    let pem = ["-----BEGIN CERTIFICATE-----\n", &base64(input), "\n-----END CERTIFICATE-----\n"].concat();
    let directory = temporary_directory();
    for (certificate, key) in
        [(pem.as_bytes(), key.as_bytes()), (input, key.as_bytes()), (certificate.as_bytes(), input)]
    {
        let mut config = Config::default_for(&directory.path().join("conf/berthd.json")).expect("defaults are valid");
        let files = [directory.path().join("cert.pem"), directory.path().join("key.pem")];
        fs::write(&files[0], certificate).and_then(|()| fs::write(&files[1], key)).expect("writable");
        let [certificate, key] = files;
        config.tls = TlsFiles { certificate, key, is_own: false };
        match ServerIdentity::read(&config) {
            Ok(identity) => assert!(identity.is_some(), "the files are there"),
            Err(error) => assert_is_one_plain_line(&error.to_string()),
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, at| bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// Whatever a record in staging says, the ledger stays what the disk is, and an upload resumes
/// with what there is of it or not at all.
pub(super) fn staging_record(input: &[u8]) {
    const ID: UploadId = UploadId([0xab; 16]);
    let mut server = Server::with_quota(1 << 20);
    let staging = server.at(".berth");
    fs::create_dir_all(&staging).expect("a new folder");
    fs::write(staging.join(format!("{ID}.part")), [7; 5000]).expect("writable");
    fs::write(staging.join(format!("{ID}.json")), input).expect("writable");
    let home = server.capability();
    assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
    for kept in home.partial_uploads().expect("readable") {
        assert_eq!((kept.id, kept.length), (ID, 5000));
        if let Ok(Some(mut staged)) = Staged::resume(Rc::clone(&home), ID, &kept.record) {
            assert!(staged.length() <= kept.length && kept.record.size.is_none_or(|size| staged.length() <= size));
            while staged.has_surplus() {
                staged.cut().expect("what is missing was promised");
                assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
            }
            assert_eq!(staged.file().expect("ours").metadata().expect("open").len(), staged.length());
            // The quota holds whatever size the record announces.
            let _ = staged.write(&[1; 1000]);
        }
        assert_eq!(server.usage_in_ledger(), server.usage_on_disk());
    }
    let mut peer = server.log_in();
    peer.request(&berth::wire::Request::Partials {});
    peer.exchange(&mut server);
    peer.put(&mut server, "/new", b"content");
    assert_eq!(disk_usage(&server.home()), server.usage_in_ledger());
}

/// Remembered keys that cannot be read trust nobody, and say so in one line.
pub(super) fn known_hosts(input: &[u8]) {
    let directory = temporary_directory();
    let state = StateDirectory::at(Some(directory.path().join("berth")));
    fs::write(state.known_hosts().expect("a folder"), input).expect("writable");
    let is_json = serde_json::from_slice::<serde_json::Value>(input).is_ok();
    match Trust::of(&state, "host", 1, None) {
        Ok(trust) => assert!(is_json && trust.pinning().seen().is_none()),
        Err(failure) => {
            assert_is_one_plain_line(&failure.to_string());
            assert_eq!(failure.exit_code(), 1);
        }
    }
}

/// A record is read as it would be written, or there is none.
pub(super) fn upload_record(input: &[u8]) {
    let directory = temporary_directory();
    let state = StateDirectory::at(Some(directory.path().to_path_buf()));
    let record = berth::client::connection::state::UploadRecord {
        upload_id: UploadId([1; 16]),
        source: berth::client::files::local::FileStamp { device: 1, inode: 2, size: 3, mtime_ns: 4 },
    };
    assert!(state.keep_upload("key", &record) && state.find_upload("key") == Some(record));
    let path = fs::read_dir(directory.path()).expect("readable").next().expect("a record").expect("an entry").path();
    fs::write(path, input).expect("writable");
    let Some(record) = state.find_upload("key") else { return };
    assert!(state.keep_upload("key", &record));
    assert_eq!(state.find_upload("key"), Some(record));
}

/// Named hosts that are taken can be reached and stay what they are when they are written; those
/// that are not are refused in one line that begins with the file's name.
pub(super) fn hosts(input: &[u8]) {
    let directory = temporary_directory();
    let path = directory.path().join("berth.json");
    fs::write(&path, input).expect("writable");
    match Hosts::read(&path) {
        Ok(Hosts(hosts)) => {
            for (name, host) in &hosts {
                assert!(!name.is_empty() && name != "host" && !name.contains(['@', ':', '/', ' ']), "{name:?}");
                assert!(host.target().is_ok_and(|target| target.port > 0), "{host:?}");
            }
            Hosts::update(&path, |_| Ok(())).expect("writable");
            assert_eq!(Hosts::read(&path).expect("what was written").0, hosts);
        }
        Err(error) => {
            let text = error.to_string();
            assert_is_one_plain_line(&text);
            assert!(text.starts_with(&format!("{}: ", path.display())) && text.len() > path.as_os_str().len() + 5);
        }
    }
}
