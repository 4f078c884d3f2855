#!/usr/bin/env python3
"""Measures berth beside lftp with eight parallel connections on a bad network: two network
namespaces joined by a link of this script's own (two tun devices), which delays every packet, has
a bounded rate and queue, loses packets and resets connections at random. Needs root, lftp and
vsftpd. All content is compared at the end.

    benches/badnet.py                           # a clean link, one that cuts, one that loses
    benches/badnet.py --rtt 100 --rate 12.5 --files 1000 --rounds 3"""
import argparse, collections, fcntl, filecmp, json, os, pathlib, random, select, shutil, signal, statistics, struct
import subprocess, sys
import tempfile, threading, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
from peers import OWNER          # vsftpd wants a home that exists

PASSWORD, PORT, FTP_PORT = "only-for-the-bench", 2121, 2122
CLIENT, SERVER = "10.77.0.1", "10.77.0.2"
RST, ACK = 4, 16


def run(*words, **options):
    return subprocess.run(list(map(str, words)), check=True, **options)


class Link:
    """One thread carries packets both ways. `cut_bytes` is the mean between two resets: after so many
    bytes of either direction, the connection that the next packet belongs to is cut."""

    def __init__(self, seconds_one_way, bytes_per_second, loss, cut_bytes):
        self.delay, self.rate, self.loss, self.cut_bytes = seconds_one_way, bytes_per_second, loss, cut_bytes
        self.begin(0)
        self.queue_bytes = bytes_per_second * max(4 * seconds_one_way, 0.05)      # two round trips
        self.cuts = self.lost = 0
        names = [f"bb{os.getpid()}{end}" for end in "cs"]
        self.namespaces, self.ends = names, []
        for name, address, other in zip(names, (CLIENT, SERVER), (SERVER, CLIENT)):
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH", name.encode(), 0x1001))     # TUNSETIFF, a tun without header
            run("ip", "netns", "add", name)
            run("ip", "link", "set", name, "netns", name)
            run("ip", "-n", name, "addr", "add", address, "peer", other, "dev", name)
            run("ip", "-n", name, "link", "set", name, "up", "mtu", 1500, "txqueuelen", 5000)
            run("ip", "-n", name, "link", "set", "lo", "up")
            self.ends.append(fd)
        self.is_over = False
        self.thread = threading.Thread(target=self.carry, daemon=True)
        self.thread.start()

    def begin(self, seed):
        """From now on what is lost and cut follows from `seed`, so that every client meets the same."""
        self.random = random.Random(seed)
        self.bytes_to_cut = self.next_cut()

    def next_cut(self):
        return self.random.expovariate(1 / self.cut_bytes) if self.cut_bytes else float("inf")

    def inside(self, end, *words):
        return ["ip", "netns", "exec", self.namespaces[end], *map(str, words)]

    def carry(self):
        waiting = [collections.deque(), collections.deque()]      # packets on their way to the other end
        free_at = [0.0, 0.0]
        while not self.is_over:
            now = time.monotonic()
            first = min((w[0][0] for w in waiting if w), default=now + 0.05)
            ready, _, _ = select.select(self.ends, [], [], max(0.0, first - now))
            now = time.monotonic()
            for end in (0, 1):
                if self.ends[end] in ready:
                    self.take(end, waiting[end], free_at, now)
                while waiting[end] and waiting[end][0][0] <= now:
                    self.give(1 - end, waiting[end].popleft()[1])

    def take(self, end, waiting, free_at, now):
        for _ in range(64):
            try:
                packet = os.read(self.ends[end], 2048)
            except BlockingIOError:
                return
            if packet[0] >> 4 != 4:
                continue
            start = max(free_at[end], now)
            is_full = (start - now) * self.rate > self.queue_bytes
            if is_full or (self.loss and self.random.random() < self.loss):
                self.lost += 1
                continue
            free_at[end] = start + len(packet) / self.rate
            self.bytes_to_cut -= len(packet)
            if self.bytes_to_cut <= 0 and len(packet) > 100:
                self.bytes_to_cut += self.next_cut()
                self.cuts += 1
                self.give(end, reset(packet, True))
                packet = reset(packet, False)
            waiting.append((free_at[end] + self.delay, packet))

    def give(self, end, packet):
        try:
            os.write(self.ends[end], packet)
        except OSError:
            self.lost += 1

    def close(self):
        self.is_over = True
        self.thread.join()
        for name, fd in zip(self.namespaces, self.ends):
            os.close(fd)
            # vsftpd's sessions outlive it.
            for pid in run("ip", "netns", "pids", name, capture_output=True, text=True).stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "del", name)


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xffff)
    return ~(total + (total >> 16)) & 0xffff


def reset(packet, is_back):
    """A reset in place of a TCP packet, to where it goes or back to whence it came."""
    header = (packet[0] & 15) * 4
    source, target = packet[12:16], packet[16:20]
    ports, seq, ack = packet[header:header + 4], packet[header + 4:header + 8], packet[header + 8:header + 12]
    if is_back:
        source, target, ports, seq, ack = target, source, ports[2:] + ports[:2], ack, seq
    tcp = ports + seq + ack + struct.pack("!BBHHH", 5 << 4, RST | ACK, 0, 0, 0)
    tcp = tcp[:16] + struct.pack("!H", checksum(source + target + struct.pack("!BBH", 0, 6, 20) + tcp)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 40, 0, 0, 64, 6, 0) + source + target
    return ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:] + tcp


# ---- Servers and clients ------------------------------------------------------------------

class Bench:
    def __init__(self, scratch, berthd, berth):
        self.scratch, self.berthd, self.berth = scratch, berthd, berth
        self.home, self.here = f"{scratch}/homes/bench", f"{scratch}/here"
        self.pub = f"{scratch}/ftp/pub"          # vsftpd wants a root that nobody can write to
        for directory in (self.home, self.here, f"{scratch}/conf", f"{scratch}/empty", self.pub):
            os.makedirs(directory)

    def start_servers(self, link):
        config = f"{self.scratch}/conf/berthd.json"
        with open(config, "w") as f:
            json.dump({"listen": f"{SERVER}:{PORT}", "plaintext": True, "sync": "none"}, f)
        if not os.path.exists(f"{self.scratch}/conf/users/bench.json"):
            run(self.berthd, "user", "add", "bench", "--password-stdin", "--config", config, input=PASSWORD + "\n", text=True,
                stdout=subprocess.DEVNULL)
        with open(f"{self.scratch}/vsftpd.conf", "w") as f:
            f.write(f"""listen=YES
background=NO
listen_address={SERVER}
listen_port={FTP_PORT}
anonymous_enable=YES
ftp_username={OWNER}
anon_root={self.scratch}/ftp
allow_writeable_chroot=YES
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_world_readable_only=NO
anon_umask=022
secure_chroot_dir={self.scratch}/empty
xferlog_enable=NO
isolate=NO
isolate_network=NO
seccomp_sandbox=NO
""")
        quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        return [subprocess.Popen(link.inside(1, self.berthd, "serve", "--config", config), **quiet),
                subprocess.Popen(link.inside(1, "vsftpd", f"{self.scratch}/vsftpd.conf"), **quiet)]

    def with_berth(self, verb, source, target):
        words = {"put": ["put", "-r"], "get": ["get", "-r"], "up": ["mirror"], "down": ["mirror", "--from"]}[verb]
        return [self.berth, "--accept-new", "--quiet", "--retries", "50", f"bench@{SERVER}:{PORT}", *words, source, target]

    def with_lftp(self, verb, source, target):
        is_up = verb in ("put", "up")
        settings = "set net:reconnect-interval-base 1; set net:reconnect-interval-multiplier 1; set net:max-retries 100; set net:timeout 20; " \
                   "set mirror:parallel-directories yes; set ftp:sync-mode off; set ftp:ssl-allow no"
        mirror = f"mirror --parallel=8 {'-R' if is_up else ''} {source} {target}"
        return ["lftp", "-c", f"{settings}; open -u anonymous,x ftp://{SERVER}:{FTP_PORT}; cd pub; {mirror}"]


def plant(root, files, large, large_bytes):
    """`files` of 4 KiB on average in directories of 50, or `large` files of the same size each."""
    numbers = random.Random(7)
    for i in range(files):
        directory = f"{root}/d{i // 50 % 10}/e{i // 50}"
        os.makedirs(directory, exist_ok=True)
        with open(f"{directory}/f{i}", "wb") as f:
            f.write(numbers.randbytes(numbers.randrange(1, 8192)))
    for i in range(large):
        os.makedirs(root, exist_ok=True)
        with open(f"{root}/large{i}", "wb") as f:
            f.write(numbers.randbytes(large_bytes))


def same(a, b):
    found = filecmp.dircmp(a, b)
    if found.left_only or found.right_only or found.funny_files:
        return False
    _, differing, failed = filecmp.cmpfiles(a, b, found.common_files, shallow=False)
    return not differing and not failed and all(same(f"{a}/{d}", f"{b}/{d}") for d in found.common_dirs)


def measure(bench, link, command, root, kind, verb, seed, patience):
    """Seconds, or why not."""
    is_up = verb in ("put", "up")
    source = f"{bench.here}/{kind}" if is_up else kind
    target = "image" if is_up else f"{bench.here}/image"
    image = f"{root}/image" if is_up else target
    shutil.rmtree(image, ignore_errors=True)
    env = dict(os.environ, BERTH_PASSWORD=PASSWORD, HOME=bench.scratch, XDG_STATE_HOME=f"{bench.scratch}/state")
    link.begin(seed)
    began = time.monotonic()
    try:
        ended = subprocess.run(link.inside(0, *command(verb, source, target)), env=env, cwd=bench.here, timeout=patience, capture_output=True)
    except subprocess.TimeoutExpired:
        return f"not done in {patience} s"
    seconds = time.monotonic() - began
    if ended.returncode:
        return f"exit {ended.returncode}: {ended.stderr.decode(errors='replace').strip()[-120:]}"
    return seconds if same(f"{bench.here}/{kind}", image) else "not the same"


def shown(results):
    numbers = sorted(r for r in results if isinstance(r, float))
    failures = [r for r in results if isinstance(r, str)]
    text = f"{statistics.median(numbers):.1f} s ({numbers[0]:.1f}–{numbers[-1]:.1f})" if numbers else ""
    return "; ".join(([text] if text else []) + failures)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rtt", type=float, default=100, help="milliseconds, half of them each way")
    parser.add_argument("--rate", type=float, default=12.5, help="MB/s each way")
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--large", type=int, default=4)
    parser.add_argument("--large-mib", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1, help="of the first round; each has its own, the same for every client")
    parser.add_argument("--cut-mib", type=float, default=8, help="mean between two resets, where there are any")
    parser.add_argument("--loss", type=float, default=0.1, help="percent, where there is any")
    parser.add_argument("--patience", type=int, default=300, help="seconds after which a client is given up")
    parser.add_argument("--only", default="clean,cut,loss")
    parser.add_argument("--kinds", default="small,large")
    parser.add_argument("--verbs", default="put,get,up,down", help="up and down are mirror and mirror --from")
    parser.add_argument("--bin", default=str(ROOT / "target/release"))
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    scratch = tempfile.mkdtemp(prefix="berth-badnet-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    os.chmod(scratch, 0o755)
    programs = os.path.abspath(args.bin)
    bench = Bench(scratch, f"{programs}/berthd", f"{programs}/berth")
    try:
        kinds = args.kinds.split(",")
        for directory in (bench.here, bench.home, bench.pub):
            if "small" in kinds:
                plant(f"{directory}/small", args.files, 0, 0)
            if "large" in kinds:
                plant(f"{directory}/large", 0, args.large, args.large_mib << 20)
        run("chown", "-R", OWNER, bench.pub)
        print(f"{args.rtt:.0f} ms round trip, {args.rate} MB/s each way; {args.files} files of 4 KiB, {args.large} of {args.large_mib} MiB; load {os.getloadavg()[0]:.1f}")
        for name in args.only.split(","):
            link = Link(args.rtt / 2000, args.rate * 1e6, args.loss / 100 if name == "loss" else 0,
                        args.cut_mib * 2**20 if name == "cut" else 0)
            servers = bench.start_servers(link)
            time.sleep(1)
            try:
                table(args, bench, link, name, kinds)
            finally:
                for server in servers:
                    os.killpg(server.pid, signal.SIGKILL)
                    server.wait()
                link.close()
    finally:
        shutil.rmtree(scratch)


def table(args, bench, link, name, kinds):
    clients = [("berth over TLS", bench.with_berth, bench.home), ("lftp and vsftpd, 8 at once, no TLS", bench.with_lftp, bench.pub)]
    about = {"clean": "clean link", "cut": f"a connection reset every {args.cut_mib:g} MiB", "loss": f"{args.loss:g} % of packets lost"}
    for kind in kinds:
        for verb in args.verbs.split(","):
            results = {title: [] for title, *_ in clients}
            cuts = {title: [] for title, *_ in clients}
            for seed in range(args.seed, args.seed + args.rounds):
                for title, command, root in clients:
                    before = link.cuts
                    results[title].append(measure(bench, link, command, root, kind, verb, seed, args.patience))
                    cuts[title].append(link.cuts - before)
            for title in results:
                verb_shown = {"put": "put -r", "get": "get -r", "up": "mirror", "down": "mirror --from"}[verb]
                print(f"{about[name]} | {kind} | {verb_shown} | {title} | {shown(results[title])}"
                      + (f" | cuts {', '.join(map(str, cuts[title]))}" if link.cut_bytes else ""), flush=True)


if __name__ == "__main__":
    sys.exit(main())
