#!/usr/bin/env python3
"""Measures berth, by its own protocol and by FTP, beside those of nginx, rsync, sshd, vsftpd, Pure-FTPd,
ProFTPD and pyftpdlib that are installed, and beside bare loops without any protocol. Everything runs on loopback,
the server with all its processes on one core and the client on another.

    benches/compare.py                          # all of it, five rounds; some peers need root
    benches/compare.py --quick --only download,login
    benches/compare.py --write           # and benches/figures.json, figures.svg
    benches/compare.py --old DIR --new DIR      # two builds of berth instead, nine pairs; fails if a row is worse

On Debian, apt-get install nginx rsync openssh-server curl lftp libfuse2 has what can be installed. The packages of FTP
servers exclude each other, so they are unpacked aside, and found by --peers peers --peers peers/venv:

    mkdir peers; cd peers
    for p in vsftpd pure-ftpd pure-ftpd-common proftpd-core proftpd-mod-crypto; do apt-get download $p; dpkg -x ${p}_*.deb .; done
    apt-get install libsodium23 libwrap0 libcap2 libpcre2-posix3 libhiredis0.14 libmemcached11 libmemcachedutil2
    python3 -m venv venv; venv/bin/pip install pyftpdlib pyOpenSSL mfusepy"""
import argparse, json, os, pathlib, shutil, signal, subprocess, sys, tempfile, time
import chart, pairs
from measure import Tools
from workloads import WORKLOADS as PLAIN_WORKLOADS, Bench
from workloads_storage import STORAGE_WORKLOADS
from workloads_tls import TLS_WORKLOADS

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIGURES = ROOT / "benches/figures.json"
WORKLOADS = PLAIN_WORKLOADS | STORAGE_WORKLOADS | TLS_WORKLOADS
# Some pace what they send, at several times the cost on loopback.
CONGESTION = pathlib.Path("/proc/sys/net/ipv4/tcp_congestion_control")
# Connections remembered after their end: clients and servers share the ports of one machine here, and after ten
# thousand connections of one server, a connection to the next server would look long for a free port.
TIME_WAITS = pathlib.Path("/proc/sys/net/ipv4/tcp_max_tw_buckets")
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def build(*what):
    """The paths of what cargo has built for release, by name: berthd, berth, and the load generator."""
    cargo = ["cargo", "build", "--release", *what, "--bench", "load", "--message-format=json-render-diagnostics"]
    lines = subprocess.run(cargo, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return {m["target"]["name"]: m["executable"] for m in map(json.loads, lines) if m.get("executable")}


def programs_in(directory, load):
    """The programs of a build that is compared with another one."""
    programs = [os.path.abspath(f"{directory}/{name}") for name in ("berthd", "berth")]
    if missing := [program for program in programs if not os.access(program, os.X_OK)]:
        sys.exit(f"{missing[0]} is not a program")
    return *programs, load


def scratch_directory(wanted, needed):
    """A directory in memory if there is room, so that no disk is measured by accident."""
    memory = "/dev/shm"
    fits = os.path.isdir(memory) and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > needed
    directory = tempfile.mkdtemp(prefix="berth-bench-", dir=wanted or (memory if fits else None))
    os.chmod(directory, 0o755)          # servers that give up root must get in
    return directory


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "unknown CPU")
    return f"{os.cpu_count()} × {model}, Linux {os.uname().release}, {time.strftime('%Y-%m-%d')}, load {os.getloadavg()[0]:.1f} before"


def swap(setting, value):
    """Changes a setting of the kernel, which root may, and returns what it was."""
    was = setting.read_text().strip()
    try:
        setting.write_text(value)
    except OSError:
        pass
    return was


def write_document(text):
    page = ROOT / "docs/benchmarks.md"
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="some of: " + ",".join(WORKLOADS))
    parser.add_argument("--runs", type=int, help="measured rounds (default: 5, and 9 of two builds); one more warms up")
    parser.add_argument("--quick", action="store_true", help="a sixteenth of everything, and at most two rounds unless --runs is given")
    parser.add_argument("--old", metavar="DIR", help="where berthd and berth of the build to compare with are; with --new")
    parser.add_argument("--new", metavar="DIR", help="where those of the other build are, such as target/release")
    parser.add_argument("--load", metavar="FILE", help="the load generator, if it is built already: target/release/deps/load-…")
    parser.add_argument("--peers", action="append", default=[], metavar="DIR", help="where else programs may be; DIR/bin, DIR/usr/sbin … are searched too")
    parser.add_argument("--tmp", help="where small files and downloads go (default: /dev/shm, about 2 GiB)")
    parser.add_argument("--disk", help="where large files lie and a disk is measured (default: the directory for temporary files)")
    parser.add_argument("--congestion", default="cubic", help="TCP congestion control while measuring (root; put back afterwards)")
    parser.add_argument("--json", metavar="FILE", help="write every value there")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md, the values into benches/figures.json and a chart of them beside it")
    options = parser.parse_args()
    chosen = options.only.split(",") if options.only else list(WORKLOADS)
    if unknown := [name for name in chosen if name not in WORKLOADS]:
        parser.error(f"unknown: {', '.join(unknown)}")
    is_paired = bool(options.old or options.new)
    if is_paired and (not (options.old and options.new) or options.write):
        parser.error("--old and --new belong together, and --write is for berth beside other servers")
    scale = 16 if options.quick else 1
    runs = options.runs or (2 if options.quick else pairs.PAIRS_MIN if is_paired else 5)
    files = 10_000 // scale
    if is_paired:
        load = os.path.abspath(options.load) if options.load else build()["load"]
        builds = {pairs.OLD: programs_in(options.old, load), pairs.NEW: programs_in(options.new, load)}
        programs = builds[pairs.NEW]
    else:
        built, builds = build("--bins"), {}
        programs = built["berthd"], built["berth"], options.load or built["load"]
    names = [f"d{i // 100:03d}/f{i % 100:03d}" for i in range(files)]
    where = machine()
    directory = scratch_directory(options.tmp, (3 << 30) // scale)
    disk = tempfile.mkdtemp(prefix="berth-bench-", dir=options.disk)
    os.chmod(disk, 0o755)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    tables, worse = [], []
    congestion, time_waits = swap(CONGESTION, options.congestion), swap(TIME_WAITS, "0")
    used = CONGESTION.read_text().strip()
    try:
        tools = Tools(programs, options.peers, names, directory)
        tools_of = {name: Tools(of_build, options.peers, names, directory) for name, of_build in builds.items()}
        steps = [step // scale for step in (1000, 5000, 10000)]
        bench = Bench(tools, directory, disk, runs, (1 << 30) // scale, (16 << 20) // scale, files, steps, tools_of, scale)
        for name in chosen:
            tables.append(WORKLOADS[name](bench))
            print(pairs.markdown(name, tables[-1]) if is_paired else tables[-1].markdown(), flush=True)
            worse += pairs.worse_rows(name, tables[-1]) if is_paired else []
    finally:
        swap(CONGESTION, congestion)
        swap(TIME_WAITS, time_waits)
        shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(disk, ignore_errors=True)
    how = f"Median (least–most) of {runs} rounds by `benches/compare.py`{' --quick' if options.quick else ''} on {where}, TCP {used}. *Of berth's*: the ratio of the first column to berth's in the same round."
    values = {table.title: dict(rows=table.measured(), notes=table.notes) for table in tables}
    for path in {pathlib.Path(path).resolve() for path in (options.json, options.write and FIGURES) if path}:
        path.write_text(json.dumps(dict(how=how, tables=values), indent=1))
    if options.write:
        chart.draw(FIGURES, FIGURES.with_suffix(".svg"))
        write_document("\n".join([how, "", *(table.markdown() for table in tables)]))
    if is_paired and runs < pairs.PAIRS_MIN:
        print(f"{runs} pairs are too few to judge: {pairs.PAIRS_MIN} are needed")
    if worse:
        sys.exit("worse than before:\n" + "\n".join(worse))


if __name__ == "__main__":
    main()
