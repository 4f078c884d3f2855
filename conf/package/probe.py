"""Runs with the restrictions of the unit. Checks that the system calls that the server needs for users' files work,
and that others are refused. DIRECTORY belongs to the server's user and to a group of `SupplementaryGroups=`."""

import ctypes, fcntl, os, socket, struct, sys, time
from pathlib import Path

DIRECTORY = "/srv/berth/probe"
LIBC = ctypes.CDLL(None, use_errno=True)
OPENAT2, RESOLVE_BENEATH, RENAME_NOREPLACE = 437, 8, 1
FACCESSAT2, AT_EACCESS, IN_MODIFY = 439, 0x200, 2
NEWNS = 0x20000


def call(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def openat2(directory):
    how = struct.pack("QQQ", os.O_RDONLY, 0, RESOLVE_BENEATH)
    return call(LIBC.syscall(OPENAT2, directory, b"named", how, len(how)))


def watch_a_write(file):
    watcher = call(LIBC.inotify_init1(os.O_NONBLOCK))
    call(LIBC.inotify_add_watch(watcher, f"/proc/self/fd/{file}".encode(), IN_MODIFY))
    os.write(file, b"more")
    check(len(os.read(watcher, 100)) >= 16)


def send(file):
    ours, theirs = socket.socketpair()
    check(os.sendfile(ours.fileno(), file, 0, 7) == 7)


def group_acl(group):
    entries = [(1, 7, 2**32 - 1), (4, 5, 2**32 - 1), (8, 7, group), (16, 7, 2**32 - 1), (32, 0, 2**32 - 1)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def allowed(team):
    directory = os.open(DIRECTORY, os.O_RDONLY)
    file = os.open(DIRECTORY, os.O_TMPFILE | os.O_RDWR, 0o644)
    yield "a file without a name", lambda: os.write(file, b"content")
    yield "the group of its directory", lambda: check(os.fstat(file).st_gid == team)
    yield "linkat gives it a name", lambda: os.link(f"/proc/self/fd/{file}", "named", src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=True)
    yield "openat2", lambda: openat2(directory)
    yield "fchown to a group of its own", lambda: os.fchown(file, -1, os.getgid())
    yield "fchown to another group", lambda: os.fchown(file, -1, team)
    yield "chown by name", lambda: os.chown("named", -1, team, dir_fd=directory, follow_symlinks=False)
    yield "fchmod", lambda: os.fchmod(file, 0o664)
    yield "ACL", lambda: os.setxattr(file, "system.posix_acl_access", group_acl(team))
    yield "default ACL of a directory", lambda: os.setxattr(DIRECTORY, "system.posix_acl_default", group_acl(team))
    yield "extended attribute", lambda: os.setxattr(file, "user.try", b"x")
    yield "listing extended attributes", lambda: check("user.try" in os.listxattr(f"/proc/self/fd/{directory}/named"))
    yield "removing an extended attribute", lambda: os.removexattr(file, "user.try")
    yield "faccessat2", lambda: call(LIBC.syscall(FACCESSAT2, directory, b"named", os.W_OK, AT_EACCESS))
    yield "inotify", lambda: watch_a_write(file)
    yield "sendfile", lambda: send(file)
    yield "CLOCK_BOOTTIME", lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    yield "times", lambda: os.utime(file, (1, 1))
    yield "fallocate", lambda: os.posix_fallocate(file, 0, 100_000)
    yield "fdatasync", lambda: os.fdatasync(file)
    yield "fsync", lambda: os.fsync(directory)
    yield "syncfs", lambda: call(LIBC.syncfs(directory))
    yield "lock", lambda: fcntl.flock(file, fcntl.LOCK_EX)
    yield "copy_file_range", lambda: os.copy_file_range(file, os.open(DIRECTORY, os.O_TMPFILE | os.O_RDWR), 7, 0, 0)
    yield "rename without replacing", lambda: call(LIBC.renameat2(directory, b"named", directory, b"moved", RENAME_NOREPLACE))
    yield "port below 1024", lambda: socket.create_server(("127.0.0.1", 990)).close()


def check(holds):
    if not holds:
        raise OSError("the result is wrong")


def refused():
    for path in ["/etc/berth/users/new", "/etc/berth/new", "/etc/new", "/usr/new", "/var/lib/new", "/home/new", "/root/new"]:
        yield f"write {path}", lambda path=path: Path(path).write_text("")
    yield "switch to another user", lambda: os.setuid(1)
    yield "give a file away", lambda: os.chown(f"{DIRECTORY}/moved", 1, -1)
    yield "read another process", lambda: Path("/proc/1/status").read_text()
    yield "change the kernel", lambda: Path("/proc/sys/kernel/hostname").write_text("x")
    yield "mount", lambda: call(LIBC.mount(b"none", DIRECTORY.encode(), b"tmpfs", 0, None))
    yield "create a namespace", lambda: call(LIBC.unshare(NEWNS))
    yield "open a packet socket", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    yield "create a device", lambda: os.mknod(f"{DIRECTORY}/device", 0o060600, os.makedev(8, 0))
    yield "trace another program", lambda: call(LIBC.ptrace(16, 1, None, None))


def main():
    wrong = 0
    for what, act in allowed(os.stat(DIRECTORY).st_gid):
        try:
            act()
            print(f"  allowed: {what}")
        except OSError as error:
            wrong += 1
            print(f"  FAILED: {what}: {error}")
    for what, act in refused():
        try:
            act()
            wrong += 1
            print(f"  FAILED: it may {what}")
        except OSError as error:
            print(f"  refused: {what}: {error.strerror}")
    sys.exit(wrong != 0)


if __name__ == "__main__":
    main()
