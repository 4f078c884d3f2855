"""Mounts slow_fs.py, and ends it whatever happens."""
import os, subprocess, sys, threading
from measure import CLIENT_CPU, Failed, fresh, prepare
from peers import IS_ROOT

PROGRAM = f"{os.path.dirname(os.path.abspath(__file__))}/slow_fs.py"
MOUNTS = "/proc/self/mounts"
UNMOUNT_S = 5


def python_with_fuse(tools):
    pythons = [sys.executable] + tools.find_all("python3")
    return next((p for p in pythons if subprocess.run([p, "-c", "import mfusepy"], capture_output=True).returncode == 0), None)


def missing(tools):
    """What is missing for a slow file system."""
    if not IS_ROOT:
        return "root"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse"
    return None if python_with_fuse(tools) else "libfuse and the Python package mfusepy"


def is_mounted(point):
    with open(MOUNTS) as mounts:
        return any(line.split()[1] == point for line in mounts)


class SlowMount:
    """The directory `source`, seen through a slow file system at `point`; used with `with`. It runs on the core of
    the clients: the server shall not pay for it."""

    def __init__(self, tools, source, point):
        self.tools, self.source, self.point = tools, source, point
        self.asking = threading.Lock()

    def __enter__(self):
        fresh(self.point)
        argv = [python_with_fuse(self.tools), PROGRAM, self.source, self.point]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                        preexec_fn=prepare(CLIENT_CPU))
        try:
            self._expect("mounted")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.stdin.close()              # it unmounts then
        try:
            self.process.wait(UNMOUNT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if is_mounted(self.point):
            subprocess.run(["umount", "-l", self.point], check=False)

    def _expect(self, wanted):
        if (line := self.process.stdout.readline().strip()) != wanted:
            raise Failed(f"the slow file system says {line!r}")

    def _say(self, command):
        with self.asking:
            self.process.stdin.write(f"{command}\n")
            self.process.stdin.flush()
            self._expect("ok")

    def delay(self, ms):
        """Makes each call take so long."""
        self._say(f"delay {ms}")

    def delay_sync(self, ms):
        """Makes each fsync take so long."""
        self._say(f"sync {ms}")

    def hang(self):
        self._say("hang")

    def go(self):
        self._say("go")

    def be_quick(self):
        self.go()
        self.delay(0)
        self.delay_sync(0)
