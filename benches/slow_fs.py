#!/usr/bin/env python3
"""A file system that is as slow as it is told to be. It passes each call to the directory SOURCE, and needs
/dev/fuse, libfuse and the Python package mfusepy. Commands come on standard input, one a line; each is answered
with `ok`, and the first line is `mounted`. The end of standard input unmounts, so that the file system ends with
the program that started it.

    benches/slow_fs.py SOURCE POINT
    delay 50        # each call takes 50 ms longer; calls wait beside each other
    sync 2000       # an fsync takes 2 s longer
    hang            # no call returns …
    go              # … until this"""
import errno, os, signal, sys, threading, time
from mfusepy import FUSE, FuseOSError, Operations


class Pace:
    """How long calls take. Each call has a thread of its own."""

    def __init__(self):
        self.delay_s = self.sync_s = 0
        self.goes = threading.Event()
        self.goes.set()

    def wait(self, seconds):
        if seconds:
            time.sleep(seconds)
        self.goes.wait()

    def obey(self, command, value=0):
        if command == "delay":
            self.delay_s = float(value) / 1e3
        elif command == "sync":
            self.sync_s = float(value) / 1e3
        elif command == "hang":
            self.goes.clear()
        elif command == "go":
            self.goes.set()
        else:
            raise ValueError(command)


class SlowFiles(Operations):
    use_ns = True

    def __init__(self, source, pace):
        self.source, self.pace = source, pace

    def real(self, path):
        return self.source + path

    def init(self, path):
        say("mounted")

    def access(self, path, amode):
        if not os.access(self.real(path), amode):
            raise FuseOSError(errno.EACCES)

    def getattr(self, path, fh=None):
        found = os.lstat(self.real(path)) if fh is None else os.fstat(fh)
        times = {f"st_{which}": getattr(found, f"st_{which}_ns") for which in ("atime", "mtime", "ctime")}
        names = ("st_mode", "st_ino", "st_nlink", "st_uid", "st_gid", "st_size", "st_blocks")
        return times | {name: getattr(found, name) for name in names}

    def readdir(self, path, fh):
        return [".", "..", *os.listdir(self.real(path))]

    def statfs(self, path):
        found = os.statvfs(self.real(path))
        names = ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail", "namemax")
        return {f"f_{name}": getattr(found, f"f_{name}") for name in names}

    def create(self, path, mode, fi=None):
        return os.open(self.real(path), os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

    def open(self, path, flags):
        return os.open(self.real(path), flags)

    def release(self, path, fh):
        os.close(fh)

    def read(self, path, size, offset, fh):
        return os.pread(fh, size, offset)

    def write(self, path, data, offset, fh):
        return os.pwrite(fh, data, offset)

    def truncate(self, path, length, fh=None):
        os.truncate(self.real(path) if fh is None else fh, length)

    def fsync(self, path, datasync, fh):
        self.pace.wait(self.pace.sync_s)

    def fsyncdir(self, path, datasync, fh):
        self.pace.wait(self.pace.sync_s)

    def mkdir(self, path, mode):
        os.mkdir(self.real(path), mode)

    def unlink(self, path):
        os.unlink(self.real(path))

    def rmdir(self, path):
        os.rmdir(self.real(path))

    def rename(self, old, new):
        os.rename(self.real(old), self.real(new))

    def link(self, target, source):
        os.link(self.real(source), self.real(target), follow_symlinks=False)

    def chmod(self, path, mode):
        os.chmod(self.real(path), mode)

    def chown(self, path, uid, gid):
        os.chown(self.real(path), uid, gid)

    def utimens(self, path, times=None):
        os.utime(self.real(path), ns=times)


# Nobody waits for `release`.
SLOW = [name for name in vars(SlowFiles) if name in vars(Operations) and name not in ("init", "release")]


def slow(operation):
    def wrapped(self, *arguments):
        self.pace.wait(self.pace.delay_s)
        return operation(self, *arguments)
    return wrapped


for name in SLOW:
    setattr(SlowFiles, name, slow(getattr(SlowFiles, name)))


def say(line):
    try:
        print(line, flush=True)
    except BrokenPipeError:
        pass


def obey_until_end(pace):
    for line in sys.stdin:
        try:
            pace.obey(*line.split())
            say("ok")
        except (TypeError, ValueError):
            say(f"not a command: {line.strip()}")
    pace.delay_s = pace.sync_s = 0
    pace.goes.set()
    os.kill(os.getpid(), signal.SIGTERM)         # libfuse unmounts then


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, point = map(os.path.realpath, sys.argv[1:])
    os.umask(0)                                  # the kernel has applied the caller's already
    pace = Pace()
    threading.Thread(target=obey_until_end, args=[pace], daemon=True).start()
    # The kernel remembers nothing, so that each call comes here.
    remember = dict(entry_timeout=0, attr_timeout=0, negative_timeout=0)
    FUSE(SlowFiles(source, pace), point, foreground=True, allow_other=os.geteuid() == 0, use_ino=True, hard_remove=True, **remember)


if __name__ == "__main__":
    main()
