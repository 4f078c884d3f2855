//! A load generator: many sessions with one server, from one thread. `compare.py` drives it; the
//! last line it prints is JSON. Run without arguments it tells its usage and does nothing, so
//! that `cargo bench` and `cargo test --benches` pass over it.
//!
//! - `dialect` is what a session's bytes mean; `native`, `ftp`, `http` are the dialects.
//! - `swarm` moves the bytes of many sessions, `stream` those of one connection, perhaps encrypted.
//! - `strangers` are a crowd without a password.
//! - `bare` are loops without a protocol, to compare with.

mod bare;
mod dialect;
mod ftp;
mod http;
mod native;
mod strangers;
mod stream;
mod swarm;

use std::fs::File;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::version::TLS13;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use berth::tls::Pinning;
use dialect::{Dialect, Event, Outcome};
use swarm::Swarm;

#[derive(Parser)]
#[command(name = "load", about = "Loads a file server with many sessions")]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// Downloads, all at once, discarded
    Get {
        #[command(flatten)]
        target: Target,
        #[arg(short, default_value_t = 1)]
        n: usize,
        /// Hash what comes
        #[arg(long)]
        sha256: bool,
    },
    /// One upload
    Put {
        #[command(flatten)]
        target: Target,
        /// What to send
        #[arg(long)]
        local: PathBuf,
    },
    /// Sessions that download again and again, until killed
    Loop {
        #[command(flatten)]
        target: Target,
        #[arg(short, default_value_t = 1)]
        n: usize,
    },
    /// Small requests in one session: prints `READY` before the first one
    Latency {
        #[command(flatten)]
        target: Target,
        #[arg(short, default_value_t = 500)]
        n: usize,
        /// Milliseconds from one request to the next; 0: each follows the answer to the one before
        #[arg(long, default_value_t = 0)]
        every: u64,
    },
    /// Sessions from connect to leave
    Login {
        #[command(flatten)]
        target: Target,
        #[arg(short, default_value_t = 1000)]
        n: usize,
        /// So many at a time
        #[arg(short, default_value_t = 50)]
        c: usize,
    },
    /// Idle sessions: after each step prints `AT n seconds` and waits for a line
    Idle {
        #[command(flatten)]
        target: Target,
        #[arg(long, value_delimiter = ',', default_value = "1000,5000,10000")]
        steps: Vec<usize>,
    },
    /// Silent connections, and logins that fail, until killed
    Strangers {
        #[command(flatten)]
        target: Target,
        #[arg(short, default_value_t = 2000)]
        n: usize,
        /// Failing logins a second
        #[arg(long, default_value_t = 100)]
        logins: u32,
    },
    /// Serves one file without any protocol
    BareSend {
        file: PathBuf,
        #[arg(long)]
        sha256: bool,
    },
    /// Stores what comes in one file, without any protocol
    BareReceive {
        file: PathBuf,
        #[arg(long)]
        sha256: bool,
    },
    /// Creates, writes, renames files of 4 KiB
    BareFiles {
        directory: PathBuf,
        #[arg(short, default_value_t = 10_000)]
        n: usize,
        #[arg(long)]
        fdatasync: bool,
    },
}

#[derive(Args)]
struct Target {
    /// ADDRESS:PORT
    #[arg(long)]
    target: SocketAddr,
    #[arg(long, value_enum, default_value_t = Protocol::Native)]
    protocol: Protocol,
    /// Encrypted; any certificate will do
    #[arg(long)]
    tls: bool,
    #[arg(long, default_value = "bench")]
    user: String,
    /// The remote file
    #[arg(long, default_value = "mid.bin")]
    path: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Native,
    Ftp,
    Http,
    Raw,
}

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().collect();
    // What `cargo bench` adds is not for us.
    if words[1..].iter().all(|word| word == "--bench") {
        let _ = Arguments::command().print_help();
        return ExitCode::SUCCESS;
    }
    match run(Arguments::parse_from(words).mode) {
        Ok(result) => {
            println!("{result}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}", json!({ "err": error.to_string() }));
            ExitCode::FAILURE
        }
    }
}

fn run(mode: Mode) -> Outcome<Value> {
    match mode {
        Mode::Get { target, n, sha256 } => get(&target, n, sha256),
        Mode::Put { target, local } => put(&target, File::open(local)?),
        Mode::Loop { target, n } => repeat(&target, n),
        Mode::Latency { target, n, every } => latency(&target, n, Duration::from_millis(every)),
        Mode::Login { target, n, c } => login(&target, n, c),
        Mode::Idle { target, steps } => idle(&target, &steps),
        Mode::Strangers { target, n, logins } => {
            strangers::molest(target.target, &target.user, n, logins).map(|()| Value::Null)
        }
        Mode::BareSend { file, sha256 } => bare::send(&file, sha256).map(|()| Value::Null),
        Mode::BareReceive { file, sha256 } => bare::receive(&file, sha256).map(|()| Value::Null),
        Mode::BareFiles { directory, n, fdatasync } => {
            Ok(json!({ "n": n, "elapsed_s": bare::files(&directory, n, fdatasync)? }))
        }
    }
}

impl Target {
    fn swarm(&self) -> Outcome<Swarm> {
        let (user, password) = (self.user.clone(), std::env::var("BERTH_PASSWORD").unwrap_or_default());
        let is_encrypted = self.tls;
        let dialect: Box<dyn Fn() -> Box<dyn Dialect>> = match self.protocol {
            Protocol::Native => {
                let account: &'static _ = Box::leak(Box::new(native::Account::new(user, password)));
                Box::new(move || Box::new(native::Native::new(account, is_encrypted)))
            }
            Protocol::Ftp => Box::new(move || Box::new(ftp::Ftp::new(&user, &password, is_encrypted))),
            Protocol::Http => Box::new(move || Box::new(http::Http::new(is_encrypted))),
            Protocol::Raw => Box::new(|| Box::new(http::Raw)),
        };
        Swarm::new(self.target, dialect, self.tls_config()?)
    }

    /// With the one cipher that every server has and that is fast everywhere.
    fn tls_config(&self) -> Outcome<Arc<ClientConfig>> {
        let cipher_suites = vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
        let provider = Arc::new(CryptoProvider { cipher_suites, ..ring::default_provider() });
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])?;
        let verifier = Pinning::new(None);
        let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.enable_sni = false;
        if self.protocol == Protocol::Native {
            config.alpn_protocols = vec![b"berth/1".to_vec()];
        }
        Ok(Arc::new(config))
    }
}

fn get(target: &Target, count: usize, hashes: bool) -> Outcome<Value> {
    let mut swarm = target.swarm()?;
    let keys = swarm.open_all(count)?;
    let started = Instant::now();
    for &key in &keys {
        swarm.session(key).digest = hashes.then(Sha256::new);
        swarm.get(key, &target.path)?;
    }
    let mut ends = Vec::with_capacity(count);
    while ends.len() < count {
        swarm.next()?;
        ends.push(started.elapsed().as_secs_f64());
    }
    let bytes: u64 = keys.iter().map(|&key| swarm.session(key).content_bytes).sum();
    let digest = swarm.session(keys[0]).digest.take().map(|digest| hex(&digest.finalize()));
    let (fastest, slowest) = (ends[0], ends[count - 1]);
    Ok(json!({ "ok": count, "bytes": bytes, "xfer_s": slowest, "fastest_s": fastest, "slowest_s": slowest,
               "sha256": digest }))
}

fn put(target: &Target, file: File) -> Outcome<Value> {
    let mut swarm = target.swarm()?;
    let key = swarm.open_all(1)?[0];
    let (started, bytes) = (Instant::now(), file.metadata()?.len());
    swarm.put(key, &target.path, file)?;
    swarm.next()?;
    Ok(json!({ "bytes": bytes, "xfer_s": started.elapsed().as_secs_f64() }))
}

fn repeat(target: &Target, count: usize) -> Outcome<Value> {
    let mut swarm = target.swarm()?;
    for key in swarm.open_all(count)? {
        swarm.get(key, &target.path)?;
    }
    loop {
        let (key, _) = swarm.next()?;
        swarm.get(key, &target.path)?;
    }
}

/// Each request that becomes due while another one waits for its answer is not sent, and counts as answered with that
/// one: a server that stops for a second is late for each request of that second.
fn latency(target: &Target, count: usize, every: Duration) -> Outcome<Value> {
    let mut swarm = target.swarm()?;
    let key = swarm.open_all(1)?[0];
    println!("READY");
    std::io::stdout().flush()?;
    let mut seconds = Vec::with_capacity(count);
    let mut due = Instant::now();
    while seconds.len() < count {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let started = Instant::now();
        swarm.ask(key, &target.path)?;
        swarm.next()?;
        let answered = Instant::now();
        seconds.push((answered - started).as_secs_f64());
        due += every;
        while !every.is_zero() && due < answered && seconds.len() < count {
            seconds.push((answered - due).as_secs_f64());
            due += every;
        }
    }
    let [p50, p99, max] = percentiles(seconds);
    Ok(json!({ "n": count, "p50_ms": p50, "p99_ms": p99, "max_ms": max, "failed": 0 }))
}

fn login(target: &Target, count: usize, at_once: usize) -> Outcome<Value> {
    let mut swarm = target.swarm()?;
    // The first derives the keys for all.
    let first = swarm.open_all(1)?[0];
    swarm.close(first);
    let started = Instant::now();
    let mut opened = vec![started; at_once + 1];
    let mut seconds = Vec::with_capacity(count);
    let mut begun = 0;
    while seconds.len() < count {
        while begun < count && begun < seconds.len() + at_once {
            let now = Instant::now();
            opened[swarm.open()?] = now;
            begun += 1;
        }
        let (key, event) = swarm.next()?;
        if event == Event::LoggedIn && swarm.leave(key)? {
            continue;
        }
        swarm.close(key);
        seconds.push(opened[key].elapsed().as_secs_f64());
    }
    let elapsed = started.elapsed().as_secs_f64();
    let [p50, p99, max] = percentiles(seconds);
    Ok(json!({ "n": count, "rate": count as f64 / elapsed, "elapsed_s": elapsed,
               "p50_ms": p50, "p99_ms": p99, "max_ms": max, "failed": 0 }))
}

fn idle(target: &Target, steps: &[usize]) -> Outcome<Value> {
    let mut swarm = target.swarm()?;
    let (started, mut held) = (Instant::now(), 0);
    for &step in steps {
        let opened = swarm.open_all(step.saturating_sub(held));
        held = held.max(step);
        match opened {
            Ok(_) => println!("AT {held} {:.3}", started.elapsed().as_secs_f64()),
            Err(error) => println!("AT {held} {:.3} {error}", started.elapsed().as_secs_f64()),
        }
        std::io::stdout().flush()?;
        if std::io::stdin().lock().lines().next().is_none() {
            break;
        }
    }
    Ok(json!({ "held": held, "failed": 0 }))
}

/// The median, the 99th percentile and the maximum, in milliseconds.
fn percentiles(mut seconds: Vec<f64>) -> [f64; 3] {
    seconds.sort_by(f64::total_cmp);
    let at = |part: f64| seconds[((seconds.len() as f64 * part) as usize).min(seconds.len() - 1)] * 1e3;
    [at(0.5), at(0.99), at(1.0)]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
