"""What compare.py measures: one function for each table. All rows of a table are measured in
turn in each round, so that a ratio compares what the same minute allowed."""
import functools, hashlib, os, shutil, statistics, subprocess, time
from measure import Failed, Running, background, client, fresh, kill
from table import Table
from peers import (BareReceive, BareReceiveHashed, BareSend, BareSendHashed, Berth, BerthData, BerthFtp, IS_ROOT, OWNER, PASSWORD, PEERS, Nginx,
                   Rsync)

GB = 1e9
# In a round, where several servers do the same with the same system calls and so differ by little.
TURNS = 6
SECONDS_MIN = 2
ZEROS = bytes(1 << 20)
TOUCHED = "Before each run, as much memory is written and freed, so that no run pays for pages that the virtual machine must get back from its host."


class Bench:
    """The data, the tools, and how much is done. `builds` has the tools of two builds of berth, by name, if
    they are compared with each other. `scale` is how many times less than usual is done."""

    def __init__(self, tools, directory, disk, runs, big, mid, files, steps, builds=None, scale=1):
        self.tools, self.directory, self.disk, self.runs, self.steps = tools, directory, disk, runs, steps
        self.builds, self.scale = builds, scale
        self.big, self.mid, self.files, self.number = big, mid, files, 0
        # Large files lie on a disk's page cache, as they do in life: sendfile costs twice
        # as much from the small pages of a tmpfs. Small ones would measure the disk there.
        self.small, self.large = make_home(directory), make_home(disk)
        self.sink = f"{directory}/sink"
        for name, size in (("big.bin", big), ("mid.bin", mid)):
            write_random(f"{self.large}/{name}", size)
        for name in tools.names:
            write_random(f"{self.small}/tree/{name}", 4096)
        self.tree = f"{self.small}/tree"
        self.digest = sha256(f"{self.large}/big.bin")

    def client(self, running, argv, **options):
        if argv is None:
            raise Failed("its usual client is not installed")
        return client(running, argv, PASSWORD, f"{self.directory}/state", **options)

    def _start(self, kind, home, scratch):
        if kind is None:
            return NoServer
        server = kind(self.tools, home, scratch)
        if server.missing():
            raise Failed(server.missing())
        return Running(server)

    def shorter(self, seconds):
        """What is measured for `seconds` unless it is to be quick."""
        return max(seconds // self.scale, SECONDS_MIN)

    def next_number(self):
        self.number += 1
        return self.number

    def rounds(self, table, entries, home, turns=1):
        """Measures all of `entries` beside each other, or, of two builds, each row of berth by itself: then the
        builds take turns, and each round is a pair of measurements that begins with the other build."""
        if not self.builds:
            return self._rounds(table, entries, home, turns)
        for label, kind, measure, restarts in entries:
            if kind is not None and issubclass(kind, Berth):
                of_build = [(f"{label}, {name}", functools.partial(with_tools, kind, tools), measure, restarts)
                            for name, tools in self.builds.items()]
                self._rounds(table, of_build, home, 1)
        return table

    def _rounds(self, table, entries, home, turns):
        """Measures each of `entries` in so many turns a round: (label, server class or None, measure,
        restarts). The first round is one turn that warms up and verifies; `measure` is told so. Each turn
        begins with another server: thousands of connections that have just ended slow down the next server."""
        live, scratch, left = {}, {}, list(entries)
        table.expect(label for label, *_ in entries)
        if turns > 1:
            table.note(f"A round runs every server {turns} times, in alternating order, and takes the mean.")

        def run(label, kind, measure, restarts, is_first):
            if restarts and label in live:
                live.pop(label).stop()
            if label not in scratch:
                scratch[label] = fresh(f"{self.directory}/scratch-{len(scratch)}")
            if label not in live:
                live[label] = self._start(kind, home, scratch[label])
            return measure(live[label], is_first)

        def turn(number, is_first):
            first = number % max(len(left), 1)
            for entry in left[first:] + left[:first]:
                try:
                    yield entry[0], run(*entry, is_first)
                except Failed as failure:
                    table.note(f"{entry[0]} was not measured: {failure}")
                    left.remove(entry)

        try:
            dict(turn(0, True))
            for number in range(1, self.runs + 1):
                measured = [dict(turn(number + at, False)) for at in range(turns)]
                for label, *_ in left:
                    table.add(label, **mean([values[label] for values in measured]))
        finally:
            for running in live.values():
                running.stop()
        return table


def mean(each):
    """Of the values of several turns. A rate is that of all work over all time."""
    return {name: (statistics.harmonic_mean if name == "rate" else statistics.mean)([values[name] for values in each]) for name in each[0]}


def with_tools(kind, tools, _tools, home, scratch):
    """A server of `kind` from another build."""
    return kind(tools, home, scratch)


class NoServer:
    """Stands where a loop needs none."""
    cpu = staticmethod(lambda: 0)
    stop = staticmethod(lambda: None)


def make_home(directory):
    """The account's home; vsftpd refuses one that its user may write to."""
    home = f"{directory}/homes/bench"
    fresh(f"{home}/up", OWNER)
    return home


def write_random(path, size):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        for at in range(0, size, 1 << 20):
            f.write(os.urandom(min(1 << 20, size - at)))


def touch_memory(directory, size):
    """Writes a file of `size` bytes and removes it, so that the next writer gets its pages. A virtual
    machine gives free memory back to its host, and pages that it has to ask for again cost several times
    what is measured here."""
    path = f"{directory}/touched"
    with open(path, "wb", buffering=0) as f:
        for _ in range(0, size, len(ZEROS)):
            f.write(ZEROS)
    os.unlink(path)


def sha256(path):
    with open(path, "rb") as f:
        digest = hashlib.sha256()
        while piece := f.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def rows(measure, kinds):
    return [(kind.title, kind, measure, False) for kind in kinds]


def afresh(entries):
    """The same with a server of its own each round."""
    return [(label, kind, measure, True) for label, kind, measure, _ in entries]


def peers(measure, *without):
    return rows(measure, [kind for kind in PEERS if kind not in without])


# ---- Large files ------------------------------------------------------------------------------

RATES = [("GB/s", "rate", 2), ("server CPU s/GB", "cpu", 3)]


def measure_download(bench):
    def measure(running, first):
        m = bench.client(running, running.server.load("get", "--path", "big.bin", *(["--sha256"] if first else [])))
        if m["bytes"] != bench.big or first and m["sha256"] != bench.digest:
            raise Failed("what came is not the file")
        return dict(rate=bench.big / GB / m["xfer_s"], cpu=m["cpu_s"] / bench.big * GB)
    return measure


def download(bench):
    measure = measure_download(bench)
    table = Table(f"Download of {bench.big >> 20:,} MiB, the receiver discards", RATES)
    return bench.rounds(table, [
        (BareSend.title, BareSend, measure, False), *peers(measure, Rsync), ("berth", Berth, measure, False),
        (BareSendHashed.title, BareSendHashed, measure, False), ("berth, digest not known yet", Berth, measure, True)], bench.large, TURNS)


def measure_to_file(bench):
    def measure(running, first):
        local = f"{fresh(bench.sink)}/big.bin"
        touch_memory(bench.sink, bench.big)
        m = bench.client(running, running.server.get("big.bin", local))
        if os.path.getsize(local) != bench.big or first and sha256(local) != bench.digest:
            raise Failed("what came is not the file")
        return dict(rate=bench.big / GB / m["wall_s"], cpu=m["cpu_s"] / bench.big * GB)
    return measure


def download_to_file(bench):
    measure = measure_to_file(bench)
    table = Table(f"Download of {bench.big >> 20:,} MiB, file to file and verified, login included", RATES)
    table.note(TOUCHED)
    bench.rounds(table, [("rsync", Rsync, measure, False), ("berth", Berth, measure, False), ("berth, digest not known yet", Berth, measure, True)], bench.large)
    fresh(bench.sink)
    return table


def measure_upload(bench):
    def measure(running, first):
        touch_memory(fresh(f"{bench.large}/up", OWNER), bench.big)
        m = bench.client(running, running.server.put(f"{bench.large}/big.bin", "up/big.bin"))
        for _ in range(100):                     # a bare loop is not done when its peer is
            if os.path.getsize(f"{bench.large}/up/big.bin") == bench.big:
                break
            time.sleep(.01)
        if os.path.getsize(f"{bench.large}/up/big.bin") != bench.big or first and sha256(f"{bench.large}/up/big.bin") != bench.digest:
            raise Failed("what arrived is not the file")
        return dict(rate=bench.big / GB / m.get("xfer_s", m["wall_s"]), cpu=m["cpu_s"] / bench.big * GB)
    return measure


def upload(bench):
    measure = measure_upload(bench)
    table = Table(f"Upload of {bench.big >> 20:,} MiB; rsync and berth verify it, login included", RATES)
    table.note(TOUCHED)
    bench.rounds(table, [(BareReceive.title, BareReceive, measure, False), *peers(measure),
                         (BareReceiveHashed.title, BareReceiveHashed, measure, False), ("berth", Berth, measure, False)], bench.large, TURNS)
    fresh(f"{bench.large}/up", OWNER)
    return table


# ---- Small files ------------------------------------------------------------------------------

FILES = [("files/s", "rate", 0), ("server CPU ms/file", "cpu", 3)]


def same_tree(one, other, names):
    for name in names:
        with open(f"{one}/{name}", "rb") as a, open(f"{other}/{name}", "rb") as b:
            if a.read() != b.read():
                return False
    return True


def tree_rates(bench, m):
    return dict(rate=bench.files / m["wall_s"], cpu=m["cpu_s"] / bench.files * 1e3)


def small_down(bench):
    def measure(running, first):
        m = bench.client(running, running.server.get_tree("tree", fresh(bench.sink)))
        if first and not same_tree(bench.tree, f"{bench.sink}/tree", bench.tools.names):
            raise Failed("the tree that came differs")
        return tree_rates(bench, m)
    table = Table(f"{bench.files:,} files of 4 KiB down, tmpfs; nginx and FTP: 8 at once by curl and lftp", FILES)
    return bench.rounds(table, [*peers(measure), ("berth", Berth, measure, False)], bench.small, TURNS)


def _small_up(bench, title, home, kinds, bare=(), turns=1):
    """Each measurement has a directory of its own. On a disk all are removed at the end: ext4 looks long
    for an inode after thousands were freed."""
    def measure(running, first):
        directory = f"up/{bench.next_number()}"
        fresh(f"{home}/{directory}", OWNER)
        os.sync()
        m = bench.client(running, running.server.put_tree(bench.tree, directory))
        if first and not same_tree(bench.tree, f"{home}/{directory}/tree", bench.tools.names):
            raise Failed("the tree that arrived differs")
        if home == bench.small:
            shutil.rmtree(f"{home}/{directory}")
        return tree_rates(bench, m)

    def loop(words):
        def measure(running, _first):
            directory = fresh(f"{home}/up/{bench.next_number()}")
            os.sync()
            m = bench.client(running, [bench.tools.load, "bare-files", directory, "-n", str(bench.files), *words])
            return dict(rate=bench.files / m["elapsed_s"])
        return measure
    entries = [(label, kind, measure, False) for label, kind in kinds] + [(label, None, loop(words), False) for label, words in bare]
    table = bench.rounds(Table(title, FILES), entries, home, turns)
    fresh(f"{home}/up", OWNER)
    return table


def small_up(bench):
    kinds = [(kind.title, kind) for kind in PEERS] + [("berth", Berth)]
    title = f"{bench.files:,} files of 4 KiB up, tmpfs, sync `none`; nginx and FTP: 8 at once by curl and lftp"
    return _small_up(bench, title, bench.small, kinds, turns=TURNS)


def small_replace(bench):
    def measure(running, first):
        m = bench.client(running, running.server.client("put", "-r", "-f", bench.tree, "up/"))
        if first and not same_tree(bench.tree, f"{bench.small}/up/tree", bench.tools.names):
            raise Failed("the tree that arrived differs")
        return tree_rates(bench, m)
    table = Table(f"{bench.files:,} files of 4 KiB that replace others, tmpfs, sync `none`", FILES)
    bench.rounds(table, [("berth", Berth, measure, False)], bench.small)
    fresh(f"{bench.small}/up", OWNER)
    return table


def small_up_disk(bench):
    kinds = [("rsync", Rsync), ("nginx", Nginx), ("berth (FTP)", BerthFtp), ("berth", Berth), ("berth, sync `data`", BerthData)]
    bare = [("bare loop: create, write, rename", []), ("bare loop with fdatasync", ["--fdatasync"])]
    title = f"{bench.files:,} files of 4 KiB up, disk; only berth with `data` syncs"
    return _small_up(bench, title, bench.large, kinds, bare)


# ---- Many sessions ----------------------------------------------------------------------------

MEMORY = [("KiB per session", "each", 1), ("MiB at start", "start", 1), ("held", "held", 0)]
RUSHES = [("per s", "rate", 0), ("p99 ms", "p99", 1), ("server CPU ms each", "cpu", 3)]
NO_LOGIN = "nginx has no login: its session is one request."


def is_light(server):
    """Whether a session costs it no process."""
    return server.title in ("berth", "berth (FTP)", "berth (FTPS)", "nginx", "pyftpdlib")


def measure_idle(bench, most=None):
    def measure(running, first):
        if first:
            return {}
        steps = [step for step in bench.steps if not most or step <= most] if is_light(running.server) else bench.steps[:1]
        start, held, each = running.pss(), 0, 0
        process = background(running.server.load("idle", "--steps", ",".join(map(str, steps))), PASSWORD,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            while (line := process.stdout.readline().decode().split(" ", 3))[0] == "AT" and len(line) == 3:
                time.sleep(.5)
                held = int(line[1])
                each = (running.pss() - start) / held
                process.stdin.write(b"\n")
                process.stdin.flush()
        finally:
            kill(process)
        if not held:
            raise Failed(line[-1].strip())
        return dict(each=each / 1024, start=start / (1 << 20), held=held)
    return measure


def idle(bench):
    entries = [*peers(measure_idle(bench), Rsync), ("berth", Berth, measure_idle(bench), True)]
    return bench.rounds(Table("Idle sessions, logged in: memory (PSS)", MEMORY), afresh(entries), bench.large)


def measure_logins(bench):
    def measure(running, first):
        count = 300 if first or not is_light(running.server) else 3000
        m = bench.client(running, running.server.load("login", "-n", count, "-c", 50))
        return dict(rate=m["rate"], p99=m["p99_ms"], cpu=m["cpu_s"] / count * 1e3)
    return measure


def logins(bench):
    measure, table = measure_logins(bench), Table("Logins, 50 at once", RUSHES)
    table.note(NO_LOGIN)
    return bench.rounds(table, [*peers(measure, Rsync), ("berth", Berth, measure, False)], bench.large)


def _latency(bench, running, load):
    try:
        time.sleep(1)
        m = bench.client(running, running.server.load("latency", "-n", 500), first=True)
        if load.poll() is not None:
            raise Failed("the load beside it ended")
    finally:
        kill(load)
    return dict(p99=m["p99_ms"], p50=m["p50_ms"], max=m["max_ms"])


LATENCY = [("p99 ms", "p99", 2), ("p50 ms", "p50", 2), ("max ms", "max", 1)]


def latency(bench):
    def measure(running, _first):
        return _latency(bench, running, background(running.server.load("loop", "-n", 8, "--path", "big.bin"), PASSWORD))
    table = Table("A small request beside 8 greedy downloads", LATENCY)
    return bench.rounds(table, [*peers(measure, Rsync), ("berth", Berth, measure, False), ("berth, digests not known yet", Berth, measure, True)], bench.large)


def many(bench):
    def measure(running, _first):
        m = bench.client(running, running.server.load("get", "-n", 100))
        if m["bytes"] != 100 * bench.mid:
            raise Failed("not all arrived")
        return dict(rate=100 * bench.mid / GB / m["xfer_s"], unfair=m["slowest_s"] / m["fastest_s"], cpu=m["cpu_s"] / m["bytes"] * GB)
    table = Table(f"100 downloads of {bench.mid >> 20} MiB at once, the receiver discards",
                  [("GB/s", "rate", 2), ("slowest/fastest", "unfair", 2), ("server CPU s/GB", "cpu", 3)])
    return bench.rounds(table, [*peers(measure, Rsync), ("berth", Berth, measure, False)], bench.large)


def strangers(bench):
    def alone(running, _first):
        m = [bench.client(running, running.server.load("get", "--path", "big.bin")) for _ in range(8)]
        moved = sum(run["bytes"] for run in m)
        return dict(rate=moved / GB / sum(run["xfer_s"] for run in m), cpu=sum(run["cpu_s"] for run in m) / moved * GB)

    def beside(running, first):
        crowd = background(running.server.load("strangers", "-n", 2000, "--logins", 100), PASSWORD, stdout=subprocess.PIPE)
        try:
            if crowd.stdout.readline() != b"READY\n":
                raise Failed("the strangers did not come")
            values = alone(running, first)
            if crowd.poll() is not None:
                raise Failed("the strangers went away")
            return values
        finally:
            kill(crowd)
    table = Table(f"Downloads of {bench.big >> 20:,} MiB, beside 2,000 idle connections without a login and 100 failing logins a second over TLS", RATES)
    return bench.rounds(table, [("berth", Berth, alone, False), ("berth, beside these", Berth, beside, False)], bench.large)


# ---- A slow disk ------------------------------------------------------------------------------

THROTTLE = "/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device"
SLOW_BYTES_PER_S = 5_000_000


def slow_disk(bench):
    table = Table("A small request beside an upload to a disk of 5 MB/s, sync `data`", LATENCY)
    needed = [bench.tools.find(program) for program in ("losetup", "mkfs.ext4", "mount", "umount")]
    if not (IS_ROOT and all(needed) and os.path.exists(THROTTLE)):
        table.note("Not measured: this needs root, losetup, mkfs.ext4 and the blkio control group, version 1.")
        return table
    image, point, device = f"{bench.directory}/slow.img", f"{bench.directory}/slow", None
    try:
        with open(image, "wb") as f:
            f.truncate(512 << 20)
        subprocess.run(["mkfs.ext4", "-q", image], check=True)
        device = subprocess.run(["losetup", "-f", "--show", image], check=True, capture_output=True, text=True).stdout.strip()
        os.makedirs(point, exist_ok=True)
        subprocess.run(["mount", device, point], check=True)
        number = os.stat(device).st_rdev
        with open(THROTTLE, "w") as f:
            f.write(f"{os.major(number)}:{os.minor(number)} {SLOW_BYTES_PER_S}\n")
        home = fresh(f"{point}/homes/bench", OWNER)
        shutil.copyfile(f"{bench.large}/mid.bin", f"{home}/mid.bin")
        local = f"{bench.directory}/upload.bin"
        write_random(local, 128 << 20)

        def measure(running, _first):
            return _latency(bench, running, background(running.server.put(local, "slow.bin"), PASSWORD))
        return bench.rounds(table, [("berth", BerthData, measure, False)], home)
    except (OSError, subprocess.CalledProcessError) as error:
        table.note(f"Not measured: {error}")
        return table
    finally:
        if device:
            with open(THROTTLE, "w") as f:
                f.write(f"{os.major(os.stat(device).st_rdev)}:{os.minor(os.stat(device).st_rdev)} 0\n")
            subprocess.run(["umount", point], stderr=subprocess.DEVNULL)
            subprocess.run(["losetup", "-d", device])


WORKLOADS = dict(download=download, file=download_to_file, upload=upload, small_down=small_down, small_up=small_up, small_replace=small_replace,
                 small_up_disk=small_up_disk, idle=idle, login=logins, latency=latency, many=many, strangers=strangers, slow_disk=slow_disk)
