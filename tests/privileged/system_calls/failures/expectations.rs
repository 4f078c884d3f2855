//! The errors that each system call gets, and what must become of the operation.

use super::super::trace::Call;

/// What must become of an operation. Whatever the table says, content is never lost or mixed, what
/// is called done is done, and what failed can be done again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is done all the same: the call serves a property that a file system may lack.
    Kept,
    /// It is not called done: what the call was to assure is not so.
    Refused,
    /// It is done or refused.
    Honest,
}

use Verdict::{Honest, Kept, Refused};

/// An error, how long a call goes on failing with it, and what must come of it.
pub(super) struct Failure {
    pub(super) error: &'static str,
    /// A file system that cannot do something never can; a bad block is met once.
    pub(super) is_lasting: bool,
    pub(super) verdict: Verdict,
}

/// What a file system answers that does not know a thing.
const UNKNOWN: &[&str] = &["EPERM", "ENOSYS", "EOPNOTSUPP", "EINVAL"];
const TROUBLE: &[&str] = &["EIO", "ESTALE"];
const TROUBLE_OR_FULL: &[&str] = &["EIO", "ENOSPC", "ESTALE"];

/// What sets times and modes.
const ATTRIBUTES: &[&str] = &["utimensat", "fchmod", "fchmodat", "fchmodat2", "chmod"];

type Row = (&'static [&'static str], &'static [&'static str], bool, Verdict);

/// Names, errors, whether they last, what must come of them. A call may have several rows.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    // Properties: times, modes, owners, attributes, locks, advice.
    (&["utimensat", "utimes", "futimesat"], UNKNOWN, true, Kept),
    (&["fchmod", "fchmodat", "fchmodat2", "chmod"], &["EPERM", "ENOSYS", "EOPNOTSUPP"], true, Kept),
    (&["fchown", "fchownat", "chown", "lchown"], UNKNOWN, true, Kept),
    (&["fsetxattr", "setxattr", "lsetxattr", "fgetxattr", "getxattr", "lgetxattr", "flistxattr", "listxattr",
       "llistxattr", "fremovexattr", "lremovexattr"], &["EPERM", "ENOSYS", "EOPNOTSUPP"], true, Kept),
    (&["flock"], &["ENOLCK", "ENOSYS", "EOPNOTSUPP", "EINVAL"], true, Kept),
    (&["fadvise64", "posix_fadvise", "readahead", "sync_file_range"], UNKNOWN, true, Kept),
    (&["statfs", "fstatfs"], &["ENOSYS", "EPERM", "EIO"], true, Kept),
    (&["faccessat2"], &["ENOSYS", "EINVAL"], true, Kept),
    (&["statx"], &["ENOSYS", "EPERM"], true, Kept),
    (&["ioctl"], &["ENOTTY", "EOPNOTSUPP", "EINVAL"], true, Kept),
    (&["utimensat", "fchmod", "fchmodat", "fchown", "fsetxattr", "fgetxattr", "flistxattr", "flock", "lsetxattr", "lgetxattr",
       "llistxattr", "fremovexattr"], &["EIO"], false, Honest),
    // Content.
    (&["sendfile", "splice", "copy_file_range", "tee"], &["EINVAL", "ENOSYS", "EOPNOTSUPP"], true, Kept),
    (&["preadv2", "pwritev2"], &["EOPNOTSUPP", "ENOSYS"], true, Kept),
    (&["sendfile", "copy_file_range"], &["EIO"], false, Honest),
    (&["splice"], TROUBLE_OR_FULL, false, Honest),
    (&["fallocate"], &["EOPNOTSUPP", "ENOSYS"], true, Kept),
    (&["write", "pwrite64", "writev", "pwritev", "pwritev2", "fallocate"], TROUBLE_OR_FULL, false, Honest),
    (&["read", "pread64", "readv", "preadv", "preadv2", "getdents64", "lseek"], TROUBLE, false, Honest),
    (&["ftruncate"], TROUBLE, false, Honest),
    (&["fsync", "fdatasync", "syncfs"], &["ENOSYS", "EOPNOTSUPP", "EINVAL"], true, Kept),
    (&["fsync", "fdatasync", "syncfs"], &["EIO", "ENOSPC", "ESTALE"], false, Refused),
    // Names.
    (&["renameat2"], &["ENOSYS", "EINVAL"], true, Kept),
    (&["rename", "renameat", "renameat2", "mkdir", "mkdirat", "symlinkat"], &["EPERM", "EIO", "ENOSPC", "ESTALE"], false, Honest),
    (&["linkat"], &["EPERM", "ENOSYS", "EOPNOTSUPP"], true, Kept),
    (&["linkat"], TROUBLE_OR_FULL, false, Honest),
    (&["unlink", "unlinkat", "rmdir"], &["EPERM", "EIO", "ESTALE"], false, Honest),
    (&["stat", "lstat", "fstat", "newfstatat", "statx", "readlink", "readlinkat", "access", "faccessat", "faccessat2"], TROUBLE, false, Honest),
    // Descriptors.
    (&["openat2"], &["ENOSYS"], true, Kept),
    (&["open", "openat", "openat2"], &["EIO", "ESTALE", "EMFILE"], false, Honest),
    (&["inotify_init1"], &["ENOSYS", "EMFILE"], true, Kept),
    (&["inotify_add_watch"], &["ENOSPC", "ENOSYS"], true, Kept),
    (&["inotify_add_watch"], TROUBLE, false, Honest),
    (&["fcntl", "dup", "dup3", "pipe2", "socket", "accept4"], &["EMFILE"], false, Honest),
    (&["epoll_ctl"], &["ENOSPC"], false, Honest),
];

/// With what `call` is to fail in `operation`. `path` is relative to the directory of the scene.
pub(super) fn failures(operation: &str, call: &Call, nth: usize, path: &str) -> Vec<Failure> {
    let mut failures = Vec::new();
    for &(names, errors, is_lasting, verdict) in ROWS {
        if call.is(names) {
            // A secret need not be written where its mode cannot be set.
            let verdict = if path.starts_with("conf") && call.is(ATTRIBUTES) { Honest } else { of_path(path, verdict) };
            let failure = |&error| Failure { error, is_lasting, verdict };
            failures.extend(errors.iter().map(failure));
        }
    }
    let is_unnamed = call.arguments.contains("O_TMPFILE");
    if is_unnamed {
        // Once, since it is the flag that is refused, and not every other way of opening.
        failures.push(Failure { error: "EOPNOTSUPP", is_lasting: false, verdict: Kept });
    }
    // The first upload finds out whether files without a name can get one; later ones rely on it.
    if call.is(&["linkat"]) && (nth > 1 || operation.ends_with("-resume")) {
        failures.iter_mut().for_each(|failure| failure.verdict = Honest);
    }
    if is_unnamed || call.arguments.contains("O_CREAT") {
        failures.push(Failure { error: "ENOSPC", is_lasting: false, verdict: of_path(path, Honest) });
    }
    // Here the property is all that was asked for.
    if ["site-chmod", "site-utime", "mfmt"].contains(&operation) {
        for failure in failures.iter_mut().filter(|failure| failure.verdict == Kept && call.is(ATTRIBUTES)) {
            failure.verdict = Refused;
        }
    }
    // The standard library asks a kernel once whether it knows the call; a server has asked at its start.
    let is_asked_here = nth == 1 && (operation.starts_with("client-") || operation == "user-set");
    if call.is(&["statx"]) && !is_asked_here {
        failures.retain(|failure| !failure.is_lasting);
    }
    if call.is(&["renameat2"]) && !call.arguments.contains("RENAME_") {
        failures.retain(|failure| !failure.is_lasting);
    }
    failures
}

/// Nobody loses an upload because a log is full, or because the client cannot keep its notes.
fn of_path(path: &str, verdict: Verdict) -> Verdict {
    if ["logs", "user"].iter().any(|directory| path.starts_with(directory)) { Kept } else { verdict }
}

/// Whether a call is of those that can fail for what lies on a disk, or for want of descriptors.
/// strace prevents a call instead of spoiling its result, so `close` is left out: it would leak.
pub(super) fn is_of_interest(call: &Call, path: Option<&str>) -> bool {
    match call.name.as_str() {
        "fcntl" => path.is_some() && call.arguments.contains("F_DUPFD"),
        "accept4" | "socket" | "pipe2" => call.result >= 0,
        // By the number of a descriptor.
        "llistxattr" | "lgetxattr" | "lsetxattr" | "lremovexattr" => true,
        "inotify_init1" | "inotify_add_watch" => true,
        "epoll_ctl" => call.arguments.contains("EPOLL_CTL_ADD"),
        _ => path.is_some(),
    }
}
