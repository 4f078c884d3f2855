//! The operations in which system calls fail.

use std::fs;
use std::io;
use std::process::Command;

use super::ftp::{Ftp, Reply};
use super::scene::{Outcome, Scene};
use crate::support::ftp_client::listening;
use crate::support::{Server, pattern};
use Run::{Admin, Berth, Question, Session};
use berth::base::upload_id::RESUME_BYTES_MIN;

/// See the module.
pub(super) struct Operation {
    pub(super) name: &'static str,
    /// What is there before, beside what always is.
    pub(super) prepare: fn(&Scene, &mut Server),
    pub(super) run: Run,
    /// Whether the system calls that fail are those of the login.
    pub(super) is_login: bool,
}

/// How an operation is carried out.
pub(super) enum Run {
    /// By `berth` with these words.
    Berth(&'static [&'static str]),
    /// The same, where what is printed is what was asked for.
    Question(&'static [&'static str]),
    /// By `berthd` with these words, where an account file is what comes of it.
    Admin(&'static [&'static str]),
    /// By FTP, after a login.
    Session(fn(&mut Ftp, &Scene) -> io::Result<Outcome>),
}

const fn berth(name: &'static str, words: &'static [&'static str]) -> Operation {
    Operation { name, prepare: |_, _| {}, run: Berth(words), is_login: false }
}

const fn question(name: &'static str, words: &'static [&'static str]) -> Operation {
    Operation { name, prepare: |_, _| {}, run: Question(words), is_login: false }
}

const fn admin(name: &'static str, words: &'static [&'static str]) -> Operation {
    Operation { name, prepare: |_, _| {}, run: Admin(words), is_login: false }
}

const fn ftp(name: &'static str, run: fn(&mut Ftp, &Scene) -> io::Result<Outcome>) -> Operation {
    Operation { name, prepare: |_, _| {}, run: Session(run), is_login: false }
}

impl Operation {
    const fn after(mut self, prepare: fn(&Scene, &mut Server)) -> Self {
        self.prepare = prepare;
        self
    }

    const fn login(mut self) -> Self {
        self.is_login = true;
        self
    }
}

/// Those whose system calls at the server fail.
pub(super) const AT_THE_SERVER: &[Operation] = &[
    question("login", &["pwd"]).login(),
    berth("put-new", &["put", "new", "fresh"]),
    berth("put-over", &["put", "-f", "new", "old"]),
    berth("put-resume", &["put", "large", "fresh"]).after(interrupt_put),
    berth("get-new", &["get", "old"]),
    berth("get-resume", &["get", "large"]).after(interrupt_get),
    berth("mv", &["mv", "old", "folder/moved"]),
    berth("mv-over", &["mv", "-f", "old", "folder/other"]),
    berth("rm", &["rm", "old"]),
    berth("rm-tree", &["rm", "-r", "folder"]),
    berth("mkdir", &["mkdir", "-p", "fresh/deep"]),
    berth("rmdir", &["rmdir", "empty"]),
    question("ls", &["ls", "-l", "folder"]),
    question("sha256", &["sha256", "old"]),
    ftp("ftp-login", |_, _| Ok(Outcome { is_done: true, words: String::new(), output: String::new() })).login(),
    ftp("stor-new", |ftp, _| ftp.put("STOR fresh", &new()).map(told)),
    ftp("stor-over", |ftp, _| ftp.put("STOR old", &new()).map(told)),
    ftp("stor-resume", resume_stor).after(interrupt_stor),
    ftp("rest-stor", |ftp, _| {
        let reply = ftp.ask("REST 50000")?;
        if reply.is_success() { ftp.put("STOR old", &new()[..100_000]).map(told) } else { Ok(told(reply)) }
    }),
    ftp("appe", |ftp, _| ftp.put("APPE old", &new()).map(told)),
    ftp("appe-new", |ftp, _| ftp.put("APPE fresh", &new()).map(told)),
    ftp("retr", |ftp, scene| fetch(ftp, scene, "RETR old")),
    ftp("rest-retr", |ftp, scene| {
        let reply = ftp.ask("REST 50000")?;
        if reply.is_success() { fetch(ftp, scene, "RETR old") } else { Ok(told(reply)) }
    }),
    ftp("list", |ftp, _| list(ftp, "LIST folder")),
    ftp("nlst", |ftp, _| list(ftp, "NLST folder")),
    ftp("mlsd", |ftp, _| list(ftp, "MLSD folder")),
    ftp("size", |ftp, _| ftp.ask("SIZE old").map(answered)),
    ftp("mdtm", |ftp, _| ftp.ask("MDTM old").map(answered)),
    ftp("cwd", |ftp, _| ftp.ask("CWD folder/sub").map(told)),
    ftp("rnto", |ftp, _| {
        let reply = ftp.ask("RNFR old")?;
        if reply.is_success() { ftp.ask("RNTO folder/moved").map(told) } else { Ok(told(reply)) }
    }),
    ftp("dele", |ftp, _| ftp.ask("DELE old").map(told)),
    ftp("mkd", |ftp, _| ftp.ask("MKD fresh").map(told)),
    ftp("rmd", |ftp, _| ftp.ask("RMD empty").map(told)),
    ftp("site-chmod", |ftp, _| ftp.ask("SITE CHMOD 600 old").map(told)),
    ftp("site-utime", |ftp, _| ftp.ask("SITE UTIME 20200102030405 old").map(told)),
    ftp("mfmt", |ftp, _| ftp.ask("MFMT 20200102030405 old").map(told)),
    berth("mirror-up", &["mirror", "--delete", "tree", "folder"]),
    berth("mirror-down", &["mirror", "--from", "--delete", "folder", "tree"]),
];

/// Those whose system calls at the client fail, or at the administrator's command.
pub(super) const AT_THE_CLIENT: &[Operation] = &[
    berth("client-put-new", &["put", "new", "fresh"]),
    berth("client-put-over", &["put", "-f", "new", "old"]),
    berth("client-put-resume", &["put", "large", "fresh"]).after(interrupt_put),
    berth("client-get-new", &["get", "old"]),
    berth("client-get-over", &["get", "-f", "old"]).after(|scene, _| scene.write("here/old", &pattern(8, 60_000))),
    berth("client-get-resume", &["get", "large"]).after(interrupt_get),
    berth("client-mirror-up", &["mirror", "--delete", "tree", "folder"]),
    berth("client-mirror-down", &["mirror", "--from", "--delete", "folder", "tree"]),
    admin("user-set", &["user", "set", "ann", "--max-files", "500"]),
];

fn new() -> Vec<u8> {
    pattern(2, 300_000)
}

// ---- What is there before -----------------------------------------------------------------

/// What is sent on instead of again.
fn large() -> Vec<u8> {
    pattern(9, 4 * RESUME_BYTES_MIN as usize)
}

/// Three quarters of what a client was to put.
fn interrupt_put(scene: &Scene, server: &mut Server) {
    scene.write("here/large", &large());
    server.program.limit_files(Some(RESUME_BYTES_MIN * 3));
    let words = ["--quiet", "--retries", "0", &server.target("ann"), "put", "large", "fresh"];
    assert!(!scene.run(scene.place.berth(&words)).is_done);
    server.program.limit_files(None);
    assert!(scene.leftovers().iter().any(|name| name.ends_with(".json")), "it can be resumed");
}

/// The same by FTP.
fn interrupt_stor(scene: &Scene, server: &mut Server) {
    let mut ftp = Ftp::connect(listening(server, "ftp")).expect("the server listens");
    ftp.log_in().expect("a login");
    server.program.limit_files(Some(RESUME_BYTES_MIN * 3));
    assert!(!ftp.put("STOR fresh", &large()).expect("a reply").is_success());
    server.program.limit_files(None);
    assert!(scene.leftovers().iter().any(|name| name.ends_with(".json")), "it can be resumed");
}

/// Three quarters of what a client was to get.
fn interrupt_get(scene: &Scene, server: &mut Server) {
    scene.write("homes/ann/large", &large());
    let berth = scene.place.berth(&["--quiet", "--retries", "0", &server.target("ann"), "get", "large"]);
    let blocks = RESUME_BYTES_MIN * 3 / 512;
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
    limited.arg(berth.get_program()).args(berth.get_args()).env_clear();
    limited.envs(berth.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.current_dir(berth.get_current_dir().expect("set for all of them"));
    assert!(!scene.run(limited).is_done);
    assert_eq!(scene.leftovers(), [".large.berth-part"], "it can be resumed");
}

// ---- What is done -------------------------------------------------------------------------

/// What a reply comes to.
pub(super) fn told(reply: Reply) -> Outcome {
    Outcome { is_done: reply.is_success(), words: reply.text, output: String::new() }
}

/// The same of one that is the answer itself.
fn answered(reply: Reply) -> Outcome {
    Outcome { is_done: reply.is_success(), output: reply.text.clone(), words: reply.text }
}

/// A download is where the client would have it once it is whole.
fn fetch(ftp: &mut Ftp, scene: &Scene, command: &str) -> io::Result<Outcome> {
    let (reply, content) = ftp.get(command)?;
    if reply.is_success() {
        fs::write(scene.place.here("fetched"), content).expect("writable");
    }
    Ok(told(reply))
}

/// The names in a listing.
fn list(ftp: &mut Ftp, command: &str) -> io::Result<Outcome> {
    let (reply, content) = ftp.get(command)?;
    let text = String::from_utf8_lossy(&content).into_owned();
    let mut names: Vec<&str> = text.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    names.sort_unstable();
    Ok(Outcome { output: names.join("\n"), ..told(reply) })
}

/// As clients resume: from the size that the server tells.
fn resume_stor(ftp: &mut Ftp, _: &Scene) -> io::Result<Outcome> {
    let size = ftp.ask("SIZE fresh")?;
    let offset: usize = size.text.strip_prefix("213 ").and_then(|size| size.parse().ok()).unwrap_or(0);
    let reply = ftp.ask(&format!("REST {offset}"))?;
    if reply.is_success() { ftp.put("STOR fresh", &large()[offset..]).map(told) } else { Ok(told(reply)) }
}
