"""What the users of one file system notice of another one that is slow, does not answer, or syncs slowly. berth has an
account on each, and syncs as it does unless told otherwise (`data`). Its peers have one account over both, and do
not sync."""
import contextlib, functools, json, os, shutil, subprocess, sys, tempfile, threading, time
from measure import Failed, TookTooLong, background, end_of, fresh, kill
from peers import Berth, BerthFtp, OWNER, PASSWORD, Proftpd, PureFtpd, Pyftpdlib, Vsftpd
from slow_mount import SlowMount, missing
from table import Table
from workloads import LATENCY, rows, write_random

FTP_SESSIONS = f"{os.path.dirname(os.path.abspath(__file__))}/ftp_sessions.py"
SESSIONS, UPLOADERS = 8, 4
SMALL_BYTES = 4096
CALL_MS, SYNC_MS = 50, 2000
# One request each 5 ms: 2,000 of them beside the sessions, and 6,000 while the file system hangs.
EVERY_MS = 5
WORK_S, HANG_S, UPLOAD_S, WARM_UP_S = 10, 30, 5, 2
START_S, END_S = 120, 300
# More than one client does before it is killed.
REPEATS = 10_000
PACED = f"A request is due every {EVERY_MS} ms. One that becomes due while another one waits counts as answered with that one."


def over_two_homes(kind):
    """A server of `kind` for the homes `bench` and `slow` of one directory. `quick` and `slow` begin their paths."""
    class TwoHomes(kind):
        if issubclass(kind, Berth):
            sync, slow_user, quick, slow = "data", "slow", "", ""

            def homes(self):
                return {"bench": self.home, "slow": f"{os.path.dirname(self.home)}/slow"}
        else:
            slow_user, quick, slow = kind.user, "bench/", "slow/"

            def __init__(self, tools, home, scratch):
                super().__init__(tools, os.path.dirname(home), scratch)
    return TwoHomes


KINDS = [over_two_homes(kind) for kind in (Vsftpd, PureFtpd, Proftpd, Pyftpdlib, BerthFtp, Berth)]


@contextlib.contextmanager
def two_homes(bench, base):
    """The home `bench`, and the home `slow` on a slow file system, of `base`: the first one, and the file system."""
    quick, source = f"{base}/homes/bench", f"{base}/source"
    for home in (quick, source):
        fresh(f"{home}/up", OWNER)
        write_random(f"{home}/small.bin", SMALL_BYTES)
    with SlowMount(bench.tools, source, f"{base}/homes/slow") as mount:
        yield quick, mount
    shutil.rmtree(base)


def measured(bench, table, base, measure):
    """Fills `table` with what `measure(mount, running, first)` finds."""
    if lacks := missing(bench.tools):
        table.note(f"Not measured: this needs {lacks}.")
        return table
    with two_homes(bench, base) as (home, mount):
        return bench.rounds(table, rows(functools.partial(measure, mount), KINDS), home)


# ---- Sessions on the slow file system -----------------------------------------------------------

class Sessions:
    """Sessions that upload to the slow file system, and list and download there if `kind` is `all`. They begin before
    the file system is slow, and end after it is quick again."""

    def __init__(self, running, mount, count, kind):
        self.server, self.mount, self.count, self.kind = running.server, mount, count, kind
        self.content, self.uploads = f"{mount.source}/small.bin", f"{mount.source}/up"
        # Open for writing alone: berth takes a /dev/null that is open for both for an output that is closed.
        self.said, self.nothing = tempfile.TemporaryFile(), open(os.devnull, "w")

    def __enter__(self):
        fresh(self.uploads, OWNER)
        commands = self._native() if self.server.protocol == "native" else [self._ftp()]
        self.processes = [background(command, PASSWORD, stdout=self.nothing, stderr=self.said) for command in commands]
        return self

    def __exit__(self, *_):
        try:
            self.mount.be_quick()
        finally:
            for process in self.processes:
                kill(process)
            self.said.close()
            self.nothing.close()

    def _native(self):
        client = [self.server.tools.berth, "--plaintext", "--quiet", "-f"]
        account = f"{self.server.slow_user}@127.0.0.1:{self.server.port}"
        return [[*client, self._script(f"w{number}"), account] for number in range(self.count)]

    def _script(self, name):
        def lines(number):
            file = f"up/{name}-{number}"
            return [f"put {self.content} {file}", *(["ls -l up", f"cat {file}"] if self.kind == "all" else []), f"rm -f up/{name}-{number - 1}"]
        return self.server.write(f"{name}.berth", "\n".join(line for number in range(REPEATS) for line in lines(number)))

    def _ftp(self):
        server = self.server
        return [sys.executable, FTP_SESSIONS, str(server.port), server.slow_user, f"{server.slow}up", self.content, str(self.count), self.kind]

    def wait_until_at_work(self):
        """Waits until each session has stored its first file."""
        until = time.monotonic() + START_S
        while len({name.split("-")[0] for name in os.listdir(self.uploads)}) < self.count:
            self.expect_running()
            if time.monotonic() > until:
                raise Failed(f"the sessions on the slow file system did not store a file in {START_S} s")
            time.sleep(.05)

    def expect_running(self):
        if any(process.poll() is not None for process in self.processes):
            self.said.seek(0)
            said = self.said.read().decode(errors="replace").strip()
            raise Failed(f"a session on the slow file system ended: {said[-300:]}")


# ---- Small requests -----------------------------------------------------------------------------

def paced_latency(running, seconds, begun=lambda: None):
    """The latency of small requests in the quick home; `begun` is called when the session is logged in."""
    server = running.server
    argv = server.load("latency", "-n", seconds * 1000 // EVERY_MS, "--every", EVERY_MS, "--path", f"{server.quick}small.bin")
    process = background(argv, PASSWORD, first=True, stdout=subprocess.PIPE)
    try:
        if (line := process.stdout.readline()) != b"READY\n":
            raise Failed(line.decode().strip())
        begun()
        end_of(process, END_S)
        found = json.loads(process.stdout.read())
    finally:
        kill(process)
    if "err" in found:
        raise Failed(found["err"])
    return dict(p99=found["p99_ms"], p50=found["p50_ms"], max=found["max_ms"])


def slow_home(bench):
    def measure(mount, running, first):
        with Sessions(running, mount, SESSIONS, "all") as sessions:
            sessions.wait_until_at_work()
            seconds = WARM_UP_S if first else bench.shorter(WORK_S)
            values = paced_latency(running, seconds, lambda: mount.delay(CALL_MS))
            sessions.expect_running()
            return values
    table = Table(f"A small request beside {SESSIONS} sessions on a file system that takes {CALL_MS} ms a call", LATENCY)
    table.note(PACED)
    return measured(bench, table, f"{bench.directory}/slow_home", measure)


def hung_home(bench):
    hang_s = bench.shorter(HANG_S)

    def measure(mount, running, first):
        seconds = WARM_UP_S if first else hang_s
        going_on = threading.Timer(seconds, mount.go)

        def hang():
            mount.hang()
            going_on.start()
        with Sessions(running, mount, SESSIONS, "all") as sessions:
            sessions.wait_until_at_work()
            try:
                return paced_latency(running, seconds, hang)
            finally:
                going_on.cancel()
    table = Table(f"A small request while the file system of {SESSIONS} other sessions hangs for {hang_s} s", LATENCY)
    table.note(PACED)
    return measured(bench, table, f"{bench.directory}/hung_home", measure)


# ---- Uploads ------------------------------------------------------------------------------------

def upload_rate(bench, running, home):
    """Files a second: a tree is uploaded to the quick home, by the server's usual client, for a limited time."""
    directory = f"up/{bench.next_number()}"
    fresh(f"{home}/{directory}", OWNER)
    argv = running.server.put_tree(bench.tree, f"{running.server.quick}{directory}")
    if argv is None:
        raise Failed("its usual client is not installed")
    began, process = time.monotonic(), background(argv, PASSWORD)
    try:
        took = end_of(process, bench.shorter(UPLOAD_S)) - began
        if process.wait() != 0:
            raise Failed(f"the client ended with {process.returncode}")
    except TookTooLong:
        took = time.monotonic() - began         # what has arrived counts
    finally:
        kill(process)
    count = sum(len(files) for _, _, files in os.walk(f"{home}/{directory}"))
    shutil.rmtree(f"{home}/{directory}", ignore_errors=True)       # the server may still store what it has received
    return max(count, 1) / took


def two_disks(bench):
    base = f"{bench.disk}/two_disks"

    def alone(running):
        return upload_rate(bench, running, f"{base}/homes/bench")

    def beside(running, mount):
        with Sessions(running, mount, UPLOADERS, "upload") as sessions:
            sessions.wait_until_at_work()
            mount.delay_sync(SYNC_MS)
            rate = alone(running)
            sessions.expect_running()
            return rate

    def measure(mount, running, _first):
        before, rate, after = alone(running), beside(running, mount), alone(running)
        alone_rate = (before + after) / 2
        return dict(times=alone_rate / rate, rate=rate, alone_rate=alone_rate)
    title = f"Files of 4 KiB up, disk, beside {UPLOADERS} sessions that upload to another disk, whose fsync takes {SYNC_MS // 1000} s"
    table = Table(title, [("time, of that alone", "times", 2), ("files/s", "rate", 0), ("files/s alone", "alone_rate", 0)])
    table.note(f"An upload of {bench.files:,} files is stopped after {bench.shorter(UPLOAD_S)} s. berth syncs each file (`data`). Its peers do not sync, so that their other sessions are at work without a pause.")
    return measured(bench, table, base, measure)


STORAGE_WORKLOADS = dict(slow_home=slow_home, hung_home=hung_home, two_disks=two_disks)
