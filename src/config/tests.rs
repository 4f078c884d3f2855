//! Good files, bad files, and the file that is shipped.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use super::*;

fn load(text: &str) -> Result<Config, String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("conf/berthd.json");
    std::fs::create_dir_all(directory.path().join("conf")).expect("writable");
    std::fs::write(&file, text).expect("writable");
    Config::load(&file).map_err(|error| {
        let text = error.to_string();
        let file = format!("{}: ", file.display());
        text.strip_prefix(&file).unwrap_or_else(|| panic!("{text} does not name {file}")).to_string()
    })
}

#[test]
fn the_shipped_file_spells_out_the_defaults() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/berthd.json");
    let shipped = Config::load(&file).expect("the shipped file is valid");
    let defaults = Config::default_for(&file).expect("the defaults are valid");
    assert_eq!(shipped, defaults);
    assert_eq!(defaults.home_roots, [Path::new(env!("CARGO_MANIFEST_DIR")).join("homes")]);
    assert_eq!(defaults.accounts_dir(), Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/users"));
}

#[test]
fn the_shipped_file_is_made_of_the_schema() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/berthd.json");
    assert_eq!(std::fs::read_to_string(file).expect("there"), schema::shipped_file());
}

#[test]
fn the_documented_table_is_made_of_the_schema() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = std::fs::read_to_string(file).expect("there");
    let (_, rest) = text.split_once("|---|---|---|---|\n").expect("a table");
    let (rows, _) = rest.split_once("\n\n").expect("an end");
    assert_eq!(format!("{rows}\n"), schema::markdown_rows());
}

/// Returns the names in an error about an unknown key: all keys that the object may have.
fn known_names(error: &str) -> BTreeSet<String> {
    let (_, names) = error.split_once("expected one of ").or(error.split_once("expected ")).expect("a list of names");
    names.split('`').skip(1).step_by(2).map(str::to_string).collect()
}

#[test]
fn the_schema_has_every_key_and_no_other() {
    let told = |text: &str| serde_json::from_str::<raw::RawConfig>(text).err().expect("a mistake").to_string();
    let mut known = BTreeSet::new();
    let objects: BTreeSet<&str> = schema::KEYS.iter().filter_map(|key| Some(key.name.split_once('.')?.0)).collect();
    for name in known_names(&told(r#"{"nope": 0}"#)) {
        match objects.contains(name.as_str()) {
            true => {
                let names = known_names(&told(&format!(r#"{{"{name}": {{"nope": 0}}}}"#)));
                known.extend(names.into_iter().map(|inner| format!("{name}.{inner}")));
            }
            false => _ = known.insert(name),
        }
    }
    assert_eq!(known, schema::KEYS.iter().map(|key| key.name.to_string()).collect());
    assert_eq!(known.len(), schema::KEYS.len(), "none stands twice");
}

#[test]
fn an_account_and_an_address_have_a_tenth_of_all_sessions_unless_they_are_given_more() {
    let limits = |text: &str| load(&format!(r#"{{"limits": {text}}}"#)).expect("valid").limits;
    for (text, expected) in [
        ("{}", 1000),
        (r#"{"sessions": 500}"#, 50),
        (r#"{"sessions": 20}"#, 16),
        (r#"{"sessions": 5}"#, 5),
        (r#"{"sessions_per_account": null, "sessions_per_address": null}"#, 1000),
        (r#"{"sessions": 500, "sessions_per_account": 500, "sessions_per_address": 500}"#, 500),
        (r#"{"sessions_per_account": 2, "sessions_per_address": 2}"#, 2),
    ] {
        let limits = limits(text);
        assert_eq!((limits.sessions_per_account, limits.sessions_per_address), (expected, expected), "{text}");
    }
}

#[test]
fn keys_are_read_in_every_form_they_have() {
    let config = load(
        r#"{"root": "/srv/./x/../berth", "user": "berth", "group": "files", "listen": "127.0.0.1:0", "home_roots": ["a", "/b"], "default_quota": "1.5K",
            "plaintext": true, "tls": {"certificate": "c.pem", "key": "/k.pem"},
            "timeouts": {"idle": "15m", "drain": 0}, "partial_expiry": "2d", "sync": "full",
            "limits": {"sessions": 10}, "rates": {"requests": 20, "requests_burst": 5, "session_down": "2K"}, "logs": {"access": "/var/log/a", "bytes_max": "1M"}, "control_folder": "run"}"#,
    )
    .expect("valid");
    assert_eq!(config.root, Path::new("/srv/berth"));
    assert_eq!(config.control_directory, Path::new("/srv/berth/run"));
    assert_eq!((config.user.as_deref(), config.group.as_deref()), (Some("berth"), Some("files")));
    assert_eq!(config.listen, ["127.0.0.1:0".parse().expect("an address")]);
    assert_eq!(config.home_roots, [Path::new("/srv/berth/a"), Path::new("/b")]);
    assert!(config.plaintext && !config.tls.is_own);
    assert_eq!(config.tls.certificate, Path::new("/srv/berth/c.pem"));
    assert_eq!(config.tls.key, Path::new("/k.pem"));
    assert_eq!(config.default_quota, Some(1536));
    assert_eq!(config.timeouts.idle, Duration::from_secs(900));
    assert_eq!(config.timeouts.drain, Duration::ZERO);
    assert_eq!(config.partial_expiry, Duration::from_secs(2 * 86_400));
    assert_eq!(config.sync, SyncPolicy::Full);
    assert_eq!(config.limits.sessions_per_account, 10, "a default follows the limit it must not exceed");
    assert_eq!(config.limits.unauthenticated, 10);
    let rate = |per_second, burst| {
        let positive = |number| NonZeroU64::new(number).expect("positive");
        Some(Rate { per_second: positive(per_second), burst: positive(burst) })
    };
    assert_eq!(config.rates.requests, rate(20, 5));
    assert_eq!((config.rates.session.up, config.rates.session.down), (None, rate(2048, 2048)));
    assert_eq!((config.logs.access.as_path(), config.logs.bytes_max), (Path::new("/var/log/a"), 1 << 20));
    assert_eq!(config.logs.transactions, Path::new("/srv/berth/logs/transactions.log"));
}

#[test]
fn ftp_is_off_until_it_is_told_where_to_listen() {
    let ftp = |text: &str| load(text).expect(text).ftp;
    for text in ["{}", r#"{"ftp": {}}"#, r#"{"ftp": {"passive_ports": "2000-3000", "active": true, "listen": null}}"#] {
        assert_eq!(ftp(text), None, "{text}");
    }
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let defaults = FtpConfig {
        listen: vec![address("127.0.0.1:2120")],
        listen_tls: Vec::new(),
        plaintext: false,
        passive_ports: 61000..=65535,
        public_address: None,
        is_active_allowed: false,
        data_timeout: Duration::from_secs(30),
        requires_session_reuse: false,
        requires_close_notify: true,
        hashes_uploads: false,
    };
    assert_eq!(ftp(r#"{"ftp": {"listen": "127.0.0.1:2120"}}"#), Some(defaults.clone()));
    let plain = ftp(r#"{"plaintext": true, "ftp": {"listen": ["127.0.0.1:2120"]}}"#);
    assert_eq!(
        plain,
        Some(FtpConfig { plaintext: true, ..defaults.clone() }),
        "it follows what the native protocol allows"
    );
    let own = ftp(r#"{"plaintext": true, "ftp": {"listen": "127.0.0.1:2120", "plaintext": false}}"#);
    assert_eq!(own, Some(defaults));
    let all = ftp(r#"{"listen": "127.0.0.1:0", "ftp": {"listen_tls": ["127.0.0.1:0", "[::1]:990"], "plaintext": true,
            "passive_ports": "1024-65535", "public_address": "192.0.2.1", "active": true, "data_timeout": "10m",
            "session_reuse": "required", "close_notify": "optional", "hash_uploads": true}}"#);
    let expected = FtpConfig {
        listen: Vec::new(),
        listen_tls: vec![address("127.0.0.1:0"), address("[::1]:990")],
        plaintext: true,
        passive_ports: 1024..=65535,
        public_address: Some(Ipv4Addr::new(192, 0, 2, 1)),
        is_active_allowed: true,
        data_timeout: Duration::from_secs(600),
        requires_session_reuse: true,
        requires_close_notify: false,
        hashes_uploads: true,
    };
    assert_eq!(all, Some(expected));
}

#[test]
fn a_list_is_no_configuration_nor_a_part_of_one() {
    for (text, key) in [
        ("[]", "invalid type"),
        (r#"["/srv"]"#, "invalid type"),
        (r#"{"limits": [1]}"#, "limits: "),
        (r#"{"timeouts": []}"#, "timeouts: "),
        (r#"{"logs": ["a", "b"]}"#, "logs: "),
        (r#"{"ftp": ["127.0.0.1:2120"]}"#, "ftp: "),
    ] {
        let error = load(text).expect_err(text);
        assert!(error.starts_with(key) && error.contains("in braces"), "{text}: {error}");
    }
}

#[test]
fn errors_name_the_key_and_what_is_wrong_with_it() {
    for (text, key, problem) in [
        (r#"{"colour": 1}"#, "colour", "unknown field"),
        (r#"{"limits": {"session": 1}}"#, "limits.session", "unknown field"),
        (r#"{"limits": {"sessions": -1}}"#, "limits.sessions", "must be a whole number"),
        (r#"{"limits": {"sessions": 1.5}}"#, "limits.sessions", "must be a whole number"),
        (r#"{"limits": {"sessions": 0}}"#, "limits.sessions", "nobody"),
        (r#"{"limits": {"login_tries": 0}}"#, "limits.login_tries", "nobody"),
        (r#"{"limits": {"sessions": 5, "sessions_per_account": 6}}"#, "limits.sessions_per_account", "limits.sessions"),
        (r#"{"limits": {"sessions": 5, "strangers": 6}}"#, "limits.strangers", "limits.sessions"),
        (r#"{"limits": {"strangers": 0}}"#, "limits.strangers", "nobody"),
        (r#"{"limits": 5}"#, "limits", "invalid type"),
        (r#"{"rates": {"session_up": 1023}}"#, "rates.session_up", "at least 1024"),
        (r#"{"rates": {"account_down": "fast"}}"#, "rates.account_down", "not a size"),
        (r#"{"rates": {"requests": -1}}"#, "rates.requests", "must be a whole number"),
        (r#"{"rates": {"requests": 1, "requests_burst": 0}}"#, "rates.requests_burst", "no request"),
        (r#"{"rates": {"requests_burst": 9}}"#, "rates.requests_burst", "no effect"),
        (r#"{"listen": []}"#, "listen", "at least one"),
        (r#"{"listen": "localhost:2121"}"#, "listen", "not an address"),
        (r#"{"listen": ["127.0.0.1:1", "127.0.0.1:1"]}"#, "listen", "twice"),
        (r#"{"listen": ["127.0.0.1:1", 5]}"#, "listen[1]", "invalid type"),
        (r#"{"tls": {"certificate": "a"}}"#, "tls.key", "needs both"),
        (r#"{"tls": {"key": "a"}}"#, "tls.certificate", "needs both"),
        (r#"{"tls": {"certificates": "a"}}"#, "tls.certificates", "unknown field"),
        (r#"{"ftp": {"port": 21}}"#, "ftp.port", "unknown field"),
        (r#"{"ftp": {"listen": "localhost"}}"#, "ftp.listen", "0.0.0.0:2120"),
        (r#"{"ftp": {"listen": []}}"#, "ftp.listen", "at least one"),
        (r#"{"listen": "127.0.0.1:1", "ftp": {"listen": "127.0.0.1:1"}}"#, "ftp.listen", "another protocol"),
        (r#"{"ftp": {"listen": ["127.0.0.1:1", "127.0.0.1:1"]}}"#, "ftp.listen", "twice"),
        (r#"{"ftp": {"listen_tls": "[::]:99999"}}"#, "ftp.listen_tls", "[::]:990"),
        (r#"{"ftp": {"listen": "127.0.0.1:1", "listen_tls": "127.0.0.1:1"}}"#, "ftp.listen_tls", "another protocol"),
        (r#"{"ftp": {"passive_ports": "1023-2000"}}"#, "ftp.passive_ports", "below 1024"),
        (r#"{"ftp": {"passive_ports": "2000-1999"}}"#, "ftp.passive_ports", "not a range"),
        (r#"{"ftp": {"passive_ports": "2000"}}"#, "ftp.passive_ports", "not a range"),
        (r#"{"ftp": {"passive_ports": "2000-+3000"}}"#, "ftp.passive_ports", "not a range"),
        (r#"{"ftp": {"passive_ports": "2000-65536"}}"#, "ftp.passive_ports", "not a range"),
        (r#"{"ftp": {"passive_ports": 2000}}"#, "ftp.passive_ports", "invalid type"),
        (r#"{"ftp": {"public_address": "::1"}}"#, "ftp.public_address", "IPv4"),
        (r#"{"ftp": {"public_address": "0.0.0.0"}}"#, "ftp.public_address", "one machine"),
        (r#"{"ftp": {"data_timeout": 0}}"#, "ftp.data_timeout", "longer than 0"),
        (r#"{"ftp": {"data_timeout": 601}}"#, "ftp.data_timeout", "longer than 600 seconds"),
        (r#"{"ftp": {"session_reuse": "maybe"}}"#, "ftp.session_reuse", "unknown variant"),
        (r#"{"ftp": {"close_notify": "never"}}"#, "ftp.close_notify", "unknown variant"),
        (r#"{"plaintext": "yes"}"#, "plaintext", "invalid type"),
        (r#"{"home_roots": []}"#, "home_roots", "at least one"),
        (r#"{"home_roots": ["a", "a/b"]}"#, "home_roots", "lies in the other"),
        (r#"{"default_quota": "many"}"#, "default_quota", "not a size"),
        (r#"{"default_quota": -1}"#, "default_quota", "invalid type"),
        (r#"{"sync": "often"}"#, "sync", "unknown variant"),
        (r#"{"partial_expiry": "0s"}"#, "partial_expiry", "longer than 0"),
        (r#"{"partial_expiry": "-7d"}"#, "partial_expiry", "not a period"),
        (r#"{"timeouts": {"idle": 99999999999}}"#, "timeouts.idle", "ten years"),
        (r#"{"timeouts": {"login": 0}}"#, "timeouts.login", "longer than 0"),
        (r#"{"scram_rounds": 1}"#, "scram_rounds", "not within"),
        (r#"{"logs": {"access": "x", "transactions": "./x"}}"#, "logs.transactions", "logs.access"),
        (r#"{"logs": {"bytes_max": "1K"}}"#, "logs.bytes_max", "less than 65536"),
        (r#"{"root": "a", "root": "b"}"#, "", "duplicate field"),
        (r#"{"root": "a"} x"#, "", "after the closing brace"),
        (r#"{"#, "", "EOF"),
        ("", "", "EOF"),
    ] {
        let error = load(text).expect_err(text);
        let rest = if key.is_empty() { Some(&error[..]) } else { error.strip_prefix(&format!("{key}: ")) };
        assert!(rest.is_some_and(|rest| rest.contains(problem)), "{text}: {error}");
    }
}

#[test]
fn a_missing_file_says_what_to_do() {
    let error = Config::load(Path::new("/nowhere/conf/berthd.json")).expect_err("there is none").to_string();
    assert!(error.starts_with("/nowhere/conf/berthd.json: there is no such file"), "{error}");
    assert!(error.contains("quickstart"), "{error}");
}
