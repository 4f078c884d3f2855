//! Programs as child processes. Their output goes to files, so that nothing blocks and a test
//! can look at any time. A process ends when its handle is dropped.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

use super::wait_until;

/// A process that was started.
pub(crate) struct Program {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    status: Option<ExitStatus>,
}

/// The output and the exit code of a process that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub(crate) code: Option<i32>,
    /// The signal that ended it.
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Program {
    /// Starts `command` with its output in files in `directory`. By default, the command inherits no input.
    pub(crate) fn start(command: Command, directory: &Path) -> Self {
        Self::spawn(command, directory, |stdout| File::create(stdout).expect("writable").into())
    }

    /// The same, but its output goes to a pipe whose reading end is closed.
    pub(crate) fn start_unread(command: Command, directory: &Path) -> Self {
        Self::spawn(command, directory, |_| io::pipe().expect("descriptors are left").1.into())
    }

    fn spawn(mut command: Command, directory: &Path, open: impl FnOnce(&Path) -> Stdio) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let (stdout, stderr) = (directory.join(format!("{number}.out")), directory.join(format!("{number}.err")));
        let remarks = File::create(&stderr).expect("writable");
        command.stdout(open(&stdout)).stderr(remarks);
        let mut child = None;
        // What another test starts holds the copies that were being made just then open for a moment.
        wait_until("the program can be started", || match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => false,
            result => {
                child = Some(result.expect("the program was built"));
                true
            }
        });
        Self { child: child.expect("it was started"), stdout, stderr, status: None }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed so far.
    pub(crate) fn stdout(&self) -> String {
        text(&self.stdout)
    }

    /// What it has printed on stderr so far.
    pub(crate) fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// Returns whether it has ended.
    pub(crate) fn is_over(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("our child");
        }
        self.status.is_some()
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.status_kib("VmRSS:")
    }

    /// The maximum of its resident memory so far, in KiB.
    pub(crate) fn peak_resident_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("on Linux");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Processor time used so far, in clock ticks of 10 ms.
    pub(crate) fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it runs");
        let fields: Vec<&str> = stat.rsplit_once(") ").expect("a name").1.split(' ').collect();
        fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime")
    }

    /// Limits its open descriptors to `most`.
    pub(crate) fn limit_descriptors(&self, most: u64) {
        let limit = Rlimit { current: Some(most), ..getrlimit(Resource::Nofile) };
        prlimit(Pid::from_raw(self.pid().cast_signed()), Resource::Nofile, limit).expect("our child");
    }

    /// Limits the size of the files that it writes to `bytes`.
    pub(crate) fn limit_files(&self, bytes: Option<u64>) {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Pid::from_raw(self.pid().cast_signed()), Resource::Fsize, limit).expect("ours, without a limit so far");
    }

    /// Returns the number of its open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs").count()
    }

    /// Returns the number of its open regular files below a directory, with a name or without one.
    pub(crate) fn open_files_below(&self, directory: &Path) -> usize {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs").flatten();
        let files = descriptors.map(|entry| entry.path()).filter(|path| path.is_file());
        let targets = files.filter_map(|path| fs::read_link(path).ok()).filter(|target| target.starts_with(directory));
        targets.collect::<BTreeSet<_>>().len()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&mut self) -> Ended {
        wait_until("the program ends", || self.is_over());
        let status = self.status.expect("it has ended");
        Ended { code: status.code(), signal: status.signal(), stdout: self.stdout(), stderr: self.stderr() }
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        self.wait();
    }
}

/// Makes `command` run without the rights of root, because root can read every file. Gives everything in `directory`
/// to the same unprivileged user. Does nothing if the tests do not run as root.
pub(crate) fn without_rights(command: &mut Command, directory: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).expect("ours");
    let mut paths = vec![directory.to_path_buf()];
    while let Some(path) = paths.pop() {
        lchown(&path, Some(NOBODY), Some(NOBODY)).expect("root may");
        if path.is_dir() && !path.is_symlink() {
            paths.extend(fs::read_dir(&path).expect("readable").map(|entry| entry.expect("readable").path()));
        }
    }
    // The program's own directory may be closed to nobody.
    let program = directory.join(Path::new(command.get_program()).file_name().expect("a program"));
    fs::copy(command.get_program(), &program).expect("disk space");
    let mut again = Command::new(program);
    again.args(command.get_args()).env_clear().uid(NOBODY).gid(NOBODY);
    again.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = command.get_current_dir() {
        again.current_dir(directory);
    }
    *command = again;
}

const NOBODY: u32 = 65534;

/// Sends a signal to a child process that has not been waited for.
pub(crate) fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a process id");
    // It may have ended by itself.
    let _ = kill_process(pid, signal);
}

impl Drop for Program {
    fn drop(&mut self) {
        if !self.is_over() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Ended {
    /// Checks the exit code, and shows what was printed if it is another.
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
