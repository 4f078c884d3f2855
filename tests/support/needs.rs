//! The needs of some tests besides Rust and a C compiler: other programs, rights, and features of the kernel. A test
//! without them is reported as ignored, with what is missing. Each run checks the needs again, and so uses programs
//! that were installed since the last one.
//!
//! A binary with such tests has `harness = false` in `Cargo.toml`. Its modules list their tests
//! with `tests!`: a function that is not listed is never used, and the compiler warns of it.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use landlock::{ABI, Access as _, AccessFs, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _};
use libtest_mimic::{Arguments, Trial};

/// One thing that a test needs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need {
    /// A program in the search path, and the Debian package that has it.
    Program(&'static str, &'static str),
    /// A permission or a feature of the kernel, and a function that checks for it. The function may use
    /// the programs that the same test needs.
    Right(&'static str, fn(&Path) -> bool),
}

pub(crate) const ARIA2: Need = Need::Program("aria2c", "aria2");
pub(crate) const BASH: Need = Need::Program("bash", "bash");
pub(crate) const BINDFS: Need = Need::Program("bindfs", "bindfs");
pub(crate) const CHATTR: Need = Need::Program("chattr", "e2fsprogs");
pub(crate) const CURL: Need = Need::Program("curl", "curl");
pub(crate) const FUSEFAT: Need = Need::Program("fusefat", "fusefat");
pub(crate) const GETFATTR: Need = Need::Program("getfattr", "attr");
pub(crate) const IP: Need = Need::Program("ip", "iproute2");
pub(crate) const LFTP: Need = Need::Program("lftp", "lftp");
pub(crate) const MKFS_VFAT: Need = Need::Program("mkfs.vfat", "dosfstools");
pub(crate) const MOUNT: Need = Need::Program("mount", "mount");
pub(crate) const NCFTP: Need = Need::Program("ncftpget", "ncftp");
pub(crate) const PYTHON: Need = Need::Program("python3", "python3");
pub(crate) const RCLONE: Need = Need::Program("rclone", "rclone");
pub(crate) const SETFACL: Need = Need::Program("setfacl", "acl");
pub(crate) const SETFATTR: Need = Need::Program("setfattr", "attr");
pub(crate) const STRACE: Need = Need::Program("strace", "strace");
pub(crate) const UNSHARE: Need = Need::Program("unshare", "util-linux");

pub(crate) const ACCESS_LISTS: Need = Need::Right("access control lists in the temporary folder", has_access_lists);
pub(crate) const APPEND_ONLY: Need = Need::Right("append-only files in the temporary folder", has_append_only);
pub(crate) const ATTRIBUTES: Need = Need::Right("extended attributes in the temporary folder", has_attributes);
pub(crate) const FUSE: Need = Need::Right("/dev/fuse", has_fuse);
pub(crate) const IPV6: Need = Need::Right("an IPv6 loopback address", has_ipv6);
pub(crate) const LANDLOCK: Need = Need::Right("Landlock", has_landlock);
pub(crate) const MOUNTS: Need = Need::Right("the right to mount", may_mount);
pub(crate) const OWN_MOUNTS: Need = Need::Right("a mount namespace", has_own_mounts);
pub(crate) const OWN_NETWORK: Need = Need::Right("a network namespace", has_own_network);
pub(crate) const ROOT: Need = Need::Right("root", is_root);
pub(crate) const TIME_ZONES: Need = Need::Right("time zones (apt-get install tzdata)", has_time_zones);
pub(crate) const TRACING: Need = Need::Right("the right to trace other programs", may_trace);

/// A test and what it needs.
pub(crate) struct Test {
    /// With the path of its module.
    pub(crate) name: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) run: fn(),
}

/// Makes `TESTS` of lines such as `[CURL, IPV6] first, second;`.
#[allow(unused_macros)]
macro_rules! tests {
    ($($needs:tt $($name:ident),+;)+) => {
        pub(crate) const TESTS: &[$crate::support::needs::Test] = &[$($($crate::support::needs::Test {
            name: concat!(module_path!(), "::", stringify!($name)),
            needs: &$needs,
            run: $name,
        }),+),+];
    };
}
#[allow(unused_imports)]
pub(crate) use tests;

/// Runs the tests of all modules. The arguments are those of Rust's own harness.
pub(crate) fn run(modules: &[&[Test]]) -> ExitCode {
    run_at_most(usize::MAX, modules)
}

/// As [`run`], but no more than `tests_max` tests at a time, unless the arguments say so.
pub(crate) fn run_at_most(tests_max: usize, modules: &[&[Test]]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    let wanted = std::env::var("RUST_TEST_THREADS").ok().and_then(|text| text.parse().ok());
    let usual = || std::thread::available_parallelism().map_or(1, usize::from);
    arguments.test_threads.get_or_insert_with(|| wanted.unwrap_or_else(usual).min(tests_max));
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let mut known = BTreeMap::new();
    let trials = modules.iter().copied().flatten().map(|test| {
        // Without the name of the binary, as in Rust's own harness.
        let name = test.name.split_once("::").map_or(test.name, |(_, name)| name);
        let lacks = lacks(test.needs, scratch.path(), &mut known);
        let kind = if lacks.is_empty() { String::new() } else { format!("needs {}", lacks.join(", ")) };
        let run = test.run;
        let trial = Trial::test(name, move || {
            run();
            Ok(())
        });
        trial.with_kind(kind).with_ignored_flag(!lacks.is_empty())
    });
    let trials = trials.collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Returns the needs that are missing: programs first, because the checks of rights use them.
fn lacks(needs: &[Need], scratch: &Path, known: &mut BTreeMap<&'static str, bool>) -> Vec<String> {
    let mut lacks = Vec::new();
    for need in needs {
        if let Need::Program(program, package) = need
            && !*known.entry(program).or_insert_with(|| has_program(program))
        {
            lacks.push(format!("{program} (apt-get install {package})"));
        }
    }
    if !lacks.is_empty() {
        return lacks;
    }
    for need in needs {
        if let Need::Right(right, try_it) = need
            && !*known.entry(right).or_insert_with(|| try_it(scratch))
        {
            lacks.push((*right).to_string());
        }
    }
    lacks
}

fn has_program(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&path).filter_map(|directory| fs::metadata(directory.join(program)).ok());
    files.any(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

// ---- Rights -------------------------------------------------------------------------------

/// Returns whether a program exits with 0. Its output is ignored.
fn succeeds(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Creates a file in a temporary directory.
fn file(scratch: &Path, name: &str) -> std::path::PathBuf {
    let path = scratch.join(name);
    File::create(&path).expect("a temporary file");
    path
}

fn has_access_lists(scratch: &Path) -> bool {
    succeeds(Command::new("setfacl").args(["-m", "u:4243:r"]).arg(file(scratch, "listed")))
}

fn has_append_only(scratch: &Path) -> bool {
    let path = file(scratch, "grows");
    let may = succeeds(Command::new("chattr").arg("+a").arg(&path));
    may && succeeds(Command::new("chattr").arg("-a").arg(&path))
}

fn has_attributes(scratch: &Path) -> bool {
    let path = file(scratch, "noted");
    rustix::fs::setxattr(&path, "user.note", b"x", rustix::fs::XattrFlags::empty()).is_ok()
}

fn has_fuse(_: &Path) -> bool {
    OpenOptions::new().read(true).write(true).open("/dev/fuse").is_ok()
}

fn has_ipv6(_: &Path) -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

fn has_landlock(_: &Path) -> bool {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    ruleset.handle_access(AccessFs::from_all(ABI::V1)).is_ok_and(|ruleset| ruleset.create().is_ok())
}

fn may_mount(scratch: &Path) -> bool {
    let at = scratch.join("mounted");
    fs::create_dir_all(&at).expect("a temporary folder");
    let may = succeeds(Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&at));
    may && succeeds(Command::new("umount").arg("-l").arg(&at))
}

fn has_own_mounts(scratch: &Path) -> bool {
    let mount = "mount -t tmpfs -o size=64k tmpfs .";
    succeeds(own_mounts().args(["sh", "-c", mount]).current_dir(scratch))
}

/// Returns `unshare` with the options that give its program a mount namespace.
pub(crate) fn own_mounts() -> Command {
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
}

fn has_own_network(_: &Path) -> bool {
    succeeds(Command::new("unshare").args(["--net", "ip", "link", "set", "lo", "up"]))
}

fn has_time_zones(_: &Path) -> bool {
    ["Asia/Shanghai", "America/St_Johns"].iter().all(|zone| Path::new("/usr/share/zoneinfo").join(zone).exists())
}

fn is_root(_: &Path) -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns whether strace can attach to a program that it did not start.
fn may_trace(_: &Path) -> bool {
    let Ok(mut other) = Command::new("sleep").arg("60").spawn() else { return false };
    // It ends by itself, because what it watches is killed.
    let mut strace = Command::new("strace");
    strace.args(["-o", "/dev/null", "-p", &other.id().to_string()]).stderr(Stdio::piped());
    let may = strace.spawn().is_ok_and(|mut strace| {
        let mut line = String::new();
        let read = BufReader::new(strace.stderr.take().expect("piped")).read_line(&mut line);
        let _ = other.kill();
        let _ = strace.wait();
        read.is_ok() && line.contains(" attached")
    });
    let _ = other.kill();
    let _ = other.wait();
    may
}
