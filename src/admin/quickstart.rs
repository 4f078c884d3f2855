//! `berthd quickstart`: sets up a server and prints the command that connects to it.

use std::cell::Cell;
use std::env;
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use zeroize::Zeroizing;

use super::command_line::QuickstartArgs;
use super::{AdminError, password, print_addresses, serve};
use crate::account::{Account, AccountName, Accounts};
use crate::auth::scram::Verifier;
use crate::base::atomic_file;
use crate::config::{Config, PORT_DEFAULT};
use crate::protocol::kind::ProtocolKind;
use crate::tls::Fingerprint;

/// Sets the directory up if it is new, then serves it.
pub(super) fn run(args: &QuickstartArgs) -> Result<(), AdminError> {
    let file = args.dir.join("conf/berthd.json");
    let made = if file.exists() {
        print_how_to_reset(&args.dir, &file)?;
        None
    } else {
        let listen = args.listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, PORT_DEFAULT)));
        Some(set_up(&args.dir, &file, listen)?)
    };
    let mut config = Config::load(&file)?;
    if let Some(listen) = args.listen {
        config.listen = vec![listen];
        if let Some(ftp) = &mut config.ftp {
            ftp.listen = vec![ftp_beside(listen)];
            ftp.plaintext &= listen.ip().is_loopback();
        }
    }
    let is_ready = Cell::new(false);
    let served = serve(config, |addresses, fingerprint| {
        is_ready.set(true);
        // A closed stdout does not end the server.
        if let Some(SetUp { password, .. }) = &made {
            let _ = print_password(&args.dir, password);
        }
        print_addresses(addresses, fingerprint);
        let _ = print_how_to_connect(addresses, fingerprint);
    });
    match (served, made) {
        // The password was never printed: the next run makes another account.
        (Err(error), Some(made)) if !is_ready.get() => {
            made.undo(&args.dir);
            Err(error.without_file())
        }
        (served, _) => served,
    }
}

/// What a first start has made.
struct SetUp {
    password: Zeroizing<String>,
    made_directory: bool,
}

impl SetUp {
    /// Removes it, and what the server has added.
    fn undo(self, dir: &Path) {
        remove(dir, self.made_directory);
    }
}

/// Empties a directory that was empty before, and removes it if it was made.
fn remove(dir: &Path, made_directory: bool) {
    for name in ["conf", "homes", "logs"] {
        let _ = fs::remove_dir_all(dir.join(name));
    }
    if made_directory {
        let _ = fs::remove_dir(dir);
    }
}

/// Makes everything, the configuration last: if that exists, the rest is complete.
fn set_up(dir: &Path, file: &Path, listen: SocketAddr) -> Result<SetUp, AdminError> {
    let failed = |error: io::Error| AdminError::Failed(format!("cannot set up {}: {error}", dir.display()));
    let made_directory = atomic_file::make_directory(dir, 0o755).map_err(failed)?;
    if fs::read_dir(dir).map_err(failed)?.next().is_some() {
        let dir = dir.display();
        return Err(AdminError::Failed(format!(
            "{dir} is not empty and holds no conf/berthd.json, so it is no berth server; name a new directory with --dir"
        )));
    }
    match fill(dir, file, listen) {
        Ok(password) => Ok(SetUp { password, made_directory }),
        Err(error) => {
            remove(dir, made_directory);
            Err(error)
        }
    }
}

fn fill(dir: &Path, file: &Path, listen: SocketAddr) -> Result<Zeroizing<String>, AdminError> {
    let failed = |error: io::Error| AdminError::Failed(format!("cannot set up {}: {error}", dir.display()));
    atomic_file::make_directory(&dir.join("conf"), 0o755).map_err(failed)?;
    let config = Config::default_for(file)?;
    let accounts = Accounts::open(&config)?;
    let name: AccountName = ACCOUNT.parse().map_err(|error| AdminError::Failed(format!("{ACCOUNT}: {error}")))?;
    let password = password::random();
    accounts.add(&Account {
        verifier: Verifier::from_password(&password, config.scram_rounds)?,
        home: accounts.default_home(&name),
        name,
        quota_bytes: Some(1 << 30),
        quota_files: None,
        read_only: false,
        locked: false,
    })?;
    write_configuration(file, listen).map_err(failed)?;
    Ok(password)
}

/// Writes the shipped configuration with `listen` set and FTP enabled: without TLS only on a loopback
/// address.
fn write_configuration(file: &Path, listen: SocketAddr) -> io::Result<()> {
    let ftp = ftp_beside(listen);
    let mut text = include_str!("../../conf/berthd.json").to_string();
    for (shipped, written) in [
        ("[\"[::]:2121\"]", format!("[\"{listen}\"]")),
        ("\"listen\": null", format!("\"listen\": [\"{ftp}\"]")),
        ("\"plaintext\": null", format!("\"plaintext\": {}", ftp.ip().is_loopback())),
    ] {
        text = text.replacen(shipped, &written, 1);
    }
    atomic_file::replace(file, text.as_bytes(), 0o644)
}

/// Returns the FTP address of a quickstart that listens at `native`: the same address, the port below;
/// port 0 if the native port is 0.
fn ftp_beside(native: SocketAddr) -> SocketAddr {
    SocketAddr::new(native.ip(), native.port().saturating_sub(1))
}

fn print_password(dir: &Path, password: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{} is set up. Its account, with a quota of 1G; the password is not shown again:", dir.display())?;
    writeln!(out, "account: {ACCOUNT}")?;
    writeln!(out, "password: {password}")?;
    out.flush()
}

fn print_how_to_reset(dir: &Path, file: &Path) -> Result<(), AdminError> {
    let (dir, reset) = (dir.display(), format!("user passwd {ACCOUNT} --config {}", shell_word(file)));
    let command = match started_by_cargo() {
        Some(profile) => format!("cargo run {profile}--bin berthd -- {reset}"),
        None => format!("{} {reset}", env::args_os().next().map_or("berthd".into(), |arg| shell_word(Path::new(&arg)))),
    };
    Ok(writeln!(io::stdout(), "{dir} was set up before. If the password is lost, set another:\n  {command}")?)
}

fn print_how_to_connect(addresses: &[(SocketAddr, ProtocolKind)], fingerprint: Fingerprint) -> io::Result<()> {
    let Some(&(address, _)) = addresses.first() else { return Ok(()) };
    let mut out = io::stdout().lock();
    writeln!(out, "Connect from another terminal with:")?;
    writeln!(out, "  {} --fingerprint {fingerprint} {ACCOUNT}@{}", client_command(), reachable(address))?;
    out.flush()
}

/// Returns an address to connect to, for one that listens on all interfaces.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Returns the command for `berth` in the current directory.
fn client_command() -> String {
    if let Some(profile) = started_by_cargo() {
        return format!("cargo run {profile}--bin berth --");
    }
    let sibling = env::current_exe().ok().map(|program| program.with_file_name("berth"));
    match sibling.filter(|sibling| sibling.is_file()) {
        Some(sibling) if !is_in_path(&sibling) => shell_word(&sibling),
        _ => "berth".into(),
    }
}

/// Returns the profile's flag, if `cargo run` started this in the directory of its package.
fn started_by_cargo() -> Option<&'static str> {
    let package = env::var_os("CARGO_MANIFEST_DIR").filter(|_| env::var_os("CARGO").is_some())?;
    let here = env::current_dir().ok().filter(|here| here.starts_with(&package));
    let released = env::current_exe().ok()?.components().any(|part| part.as_os_str() == "release");
    here.map(|_| if released { "--release " } else { "" })
}

fn is_in_path(program: &Path) -> bool {
    let directory = program.parent();
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|entry| Some(entry.as_path()) == directory))
}

/// Quotes a word for the shell where necessary.
fn shell_word(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@".contains(c);
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

const ACCOUNT: &str = "demo";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_address_can_be_connected_to() {
        for (listen, connect) in
            [("0.0.0.0:2121", "127.0.0.1:2121"), ("[::]:2121", "[::1]:2121"), ("10.0.0.1:5", "10.0.0.1:5")]
        {
            assert_eq!(reachable(listen.parse().expect("an address")).to_string(), connect);
        }
    }

    #[test]
    fn paths_are_quoted_for_the_shell() {
        assert_eq!(shell_word(Path::new("demo/conf/berthd.json")), "demo/conf/berthd.json");
        assert_eq!(shell_word(Path::new("it's here")), r"'it'\''s here'");
    }

    #[test]
    fn a_written_configuration_is_the_shipped_one_but_for_the_addresses() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("conf/berthd.json");
        std::fs::create_dir(directory.path().join("conf")).expect("writable");
        for (listen, ftp, plaintext) in [
            ("127.0.0.1:4321", "127.0.0.1:4320", true),
            ("127.0.0.1:0", "127.0.0.1:0", true),
            ("127.0.0.1:2120", "127.0.0.1:2119", true),
            ("[::1]:2121", "[::1]:2120", true),
            ("192.0.2.1:2121", "192.0.2.1:2120", false),
        ] {
            let listen = listen.parse().expect("an address");
            write_configuration(&file, listen).expect("writable");
            let written = Config::load(&file).expect("valid");
            let served = written.ftp.clone().expect("FTP is served");
            assert_eq!(served.listen, [ftp.parse().expect("an address")]);
            assert_eq!((served.plaintext, served.listen_tls.len()), (plaintext, 0));
            let expected =
                Config { listen: vec![listen], ftp: Some(served), ..Config::default_for(&file).expect("valid") };
            assert_eq!(written, expected);
        }
    }
}
