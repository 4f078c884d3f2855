"""Servers and clients as measured processes: where they run, what CPU and memory they take."""
import json, os, resource, select, shutil, signal, socket, subprocess, tempfile, time

CPUS = sorted(os.sched_getaffinity(0))
SERVER_CPU, CLIENT_CPU = (CPUS[0], CPUS[1]) if len(CPUS) > 1 else (CPUS[0], CPUS[0])


AHEAD = -15                  # as nice counts


class Failed(Exception):
    """A cell that cannot be measured; its text goes under the table."""


class TookTooLong(Failed):
    """The client was not done in time."""


def go_ahead():
    """What is measured goes before other work on the machine, where this may be asked for. A
    session is one group to the scheduler, and only within it a matter of its processes."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, AHEAD)
        with open("/proc/self/autogroup", "w") as f:
            f.write(str(AHEAD))
    except OSError:
        pass


def prepare(cpu, first=False):
    """What a child does before it becomes its program. `first`: before everything else on its core."""
    def before():
        os.setsid()
        os.sched_setaffinity(0, {cpu})
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        go_ahead()
        if first:
            try:
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
            except OSError:
                pass
    return before


def kill(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)     # a session of its own: only what we started
    process.wait()


def children(root):
    """The processes below and including `root`."""
    below = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as f:
                below.setdefault(int(f.read().rsplit(")", 1)[1].split()[1]), []).append(int(pid))
        except OSError:
            pass
    found, todo = [], [root]
    while todo:
        found.append(todo.pop())
        todo += below.get(found[-1], [])
    return found


class Running:
    """A started server."""

    def __init__(self, server):
        self.server, self.group = server, self._make_group()
        self.log = tempfile.TemporaryFile()
        def before():
            prepare(SERVER_CPU)()
            if self.group:
                with open(f"{self.group}/cgroup.procs", "w") as f:
                    f.write("0")
        announced = getattr(server, "announced", None)
        self.process = subprocess.Popen(server.command(), stdin=subprocess.DEVNULL, stderr=self.log, cwd="/", preexec_fn=before,
                                        stdout=subprocess.PIPE if announced else self.log)
        if announced:
            announced(self.process.stdout.readline().decode())
        else:
            self._await_port()

    @staticmethod
    def _make_group():
        """A control group counts the time of children that have ended, too; root only."""
        for base in ("/sys/fs/cgroup/cpuacct", "/sys/fs/cgroup"):
            group = f"{base}/berth-bench-{os.getpid()}-{time.monotonic_ns()}"
            if os.path.exists(f"{base}/cgroup.procs"):
                try:
                    os.mkdir(group)
                    return group
                except OSError:
                    pass
        return None

    def _await_port(self):
        until = time.monotonic() + 15
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.server.port), .5).close()
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    self.log.seek(0)
                    said = self.log.read().decode(errors="replace").strip()
                    self.stop()
                    raise Failed(f"did not start: {said[-300:]}")
                time.sleep(.05)

    def pids(self):
        if self.group:
            with open(f"{self.group}/cgroup.procs") as f:
                return [int(pid) for pid in f]
        return children(self.process.pid)

    def cpu(self):
        """Seconds so far, of all its processes."""
        if self.group and os.path.exists(f"{self.group}/cpuacct.usage"):
            with open(f"{self.group}/cpuacct.usage") as f:
                return int(f.read()) / 1e9
        if self.group:
            with open(f"{self.group}/cpu.stat") as f:
                return int(f.readline().split()[1]) / 1e6
        total = 0
        for pid in self.pids():
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/schedstat") as f:
                        total += int(f.read().split()[0]) / 1e9
                with open(f"/proc/{pid}/stat") as f:     # children that have ended
                    total += sum(map(int, f.read().rsplit(")", 1)[1].split()[13:15])) / os.sysconf("SC_CLK_TCK")
            except OSError:
                pass
        return total

    def pss(self):
        """Bytes of memory, shared pages counted in part."""
        total = 0
        for pid in self.pids():
            try:
                with open(f"/proc/{pid}/smaps_rollup") as f:
                    total += sum(int(line.split()[1]) * 1024 for line in f if line.startswith("Pss:"))
            except OSError:
                pass
        return total

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            pass
        for pid in (self.pids() if self.group or self.process.poll() is None else []):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        self.process.wait()
        for _ in range(100 if self.group else 0):
            try:
                os.rmdir(self.group)
                break
            except OSError:
                time.sleep(.02)


class Tools:
    """Programs: ours as built, others from the path and the directories of --peers."""

    def __init__(self, programs, directories, names, scratch):
        self.scratch = scratch
        self.berthd, self.berth, self.load = programs
        self.directories = [f for directory in directories for f in (directory, f"{directory}/bin", f"{directory}/sbin", f"{directory}/usr/bin", f"{directory}/usr/sbin")]
        self.names = names              # of the files of a tree

    def find_all(self, program):
        path = os.pathsep.join(self.directories + [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
        return [f"{directory}/{program}" for directory in path.split(os.pathsep) if os.access(f"{directory}/{program}", os.X_OK)]

    def find(self, program):
        return next(iter(self.find_all(program)), None)

    def certificate(self):
        """The files of one certificate for all servers, as berthd makes it."""
        directory = f"{self.scratch}/tls"
        paths = dict(certificate=f"{directory}/cert.pem", key=f"{directory}/key.pem", both=f"{directory}/both.pem")
        if not os.path.exists(paths["both"]):
            config = f"{self.scratch}/berthd.json"
            with open(config, "w") as f:
                f.write("{}")
            subprocess.run([self.berthd, "fingerprint", "--config", config], check=True, stdout=subprocess.DEVNULL)
            with open(paths["both"], "w") as both:
                os.chmod(paths["both"], 0o600)
                both.writelines(open(paths[part]).read() for part in ("certificate", "key"))
        return paths


def client(running, argv, password, state, timeout=300, first=False):
    """Runs a client to its end: seconds, the server's CPU seconds, and the JSON it printed last."""
    env = dict(os.environ, BERTH_PASSWORD=password, XDG_STATE_HOME=state)
    with tempfile.TemporaryFile() as output:
        cpu, began = running.cpu(), time.monotonic()
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, preexec_fn=prepare(CLIENT_CPU, first))
        try:
            wall = end_of(process, timeout) - began
            code = process.wait()
        finally:
            kill(process)
        output.seek(0)
        text = output.read().decode(errors="replace")
    said = {}
    for line in text.splitlines():
        if line.startswith("{"):
            said = json.loads(line)
    if code != 0:
        raise Failed(said.get("err") or text.strip()[-300:] or f"exit {code}")
    return dict(wall_s=wall, cpu_s=running.cpu() - cpu, **said)


def end_of(process, timeout):
    """When it ended. `Popen.wait` with a timeout looks only every 50 ms."""
    ended = os.pidfd_open(process.pid)
    try:
        if not select.select([ended], [], [], timeout)[0]:
            raise TookTooLong(f"not done after {timeout} s")
        return time.monotonic()
    finally:
        os.close(ended)


def background(argv, password, first=False, **pipes):
    """A client that is left running."""
    return subprocess.Popen(argv, env=dict(os.environ, BERTH_PASSWORD=password), preexec_fn=prepare(CLIENT_CPU, first),
                            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **pipes})


def fresh(directory, owner=None):
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    if owner and os.geteuid() == 0:
        shutil.chown(directory, owner)
    return directory
