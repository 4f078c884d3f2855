"""Attributes of files under the unit: uploads keep those of the file that they replace, and new files get
what the kernel gives in their folder. The server is in the group `team` by SupplementaryGroups=."""

import ftplib, grp, io, os, pwd, shutil, stat, struct, subprocess, sys, time
from trying import PASSWORD, expect, run
from unit import HOMES, PATIENCE_S, WORK, address, berth, configure, ftp, journal, restart, uploaded, wait_until

FOLDER = HOMES / "ann/attributes"
SMALL, LARGE = os.urandom(10_000), os.urandom(6 << 20)
CUT = 2_000_000
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
STRANGER = 4243
NOBODY = 2**32 - 1
WAYS = ["small-ftp", "small-native", "cut-native"]


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def open_to_stranger():
    """A list: owner and group may read and write, the user STRANGER may read, others nothing."""
    return acl((1, 6, NOBODY), (2, 4, STRANGER), (4, 6, NOBODY), (16, 6, NOBODY), (32, 0, NOBODY))


def seen(path):
    """The path as the account sees it."""
    return f"/{path.relative_to(HOMES / 'ann')}"


def facts(path):
    """Owner, group, mode, access control list and extended attributes."""
    found = path.stat()
    extended = {name: os.getxattr(path, name) for name in os.listxattr(path) if not name.startswith("security.")}
    return pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name, oct(stat.S_IMODE(found.st_mode)), extended


def make(path, mode, group="team", extended=None):
    path.write_bytes(b"old")
    shutil.chown(path, "berth", group)
    for name, value in (extended or {}).items():
        os.setxattr(path, name, value)
    path.chmod(mode)


def make_folder(name, group="berth", mode=0o755):
    path = FOLDER / name
    path.mkdir()
    shutil.chown(path, "berth", group)
    path.chmod(mode)
    return path


def put_natively_in_two(path, content):
    """Kills the client during the upload, and resumes with another. Repeats this if the first was done before."""
    (WORK / "large").write_bytes(content)
    (WORK / "small").write_bytes(b"x")
    words = ["berth", "--accept-new", f"ann@127.0.0.1:{address('native')}", "put", "-f", "large", path]
    environment = {"PATH": os.environ["PATH"], "HOME": str(WORK), "BERTH_PASSWORD": PASSWORD}
    is_resumed = False
    for _ in range(30):
        client = subprocess.Popen(words, cwd=WORK, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while uploaded() <= CUT and client.poll() is None:
            pass
        client.kill()
        client.wait()
        wait_until("its client is gone", lambda: uploaded() == 0)
        is_resumed = "resuming at" in berth("ann", "put", "-f", "large", path).stderr
        if is_resumed:
            break
        berth("ann", "put", "-f", "small", path)
    expect("the next one resumes it", is_resumed)


def put(way, path, content):
    """Stores a file in this way. Returns its content."""
    name = seen(path)
    if way == "small-ftp":
        with ftp() as session:
            session.storbinary(f"STOR {name}", io.BytesIO(SMALL))
        return SMALL
    if way == "small-native":
        (WORK / "small").write_bytes(SMALL)
        berth("ann", "put", "-f", "small", name)
        return SMALL
    put_natively_in_two(name, content)
    return content


def replaced():
    for number, (what, mode, extended) in enumerate([
        ("mode and group", 0o640, {}), ("bits for all", 0o666, {}), ("list", 0o660, {ACCESS: open_to_stranger()}),
        ("attributes", 0o604, {"user.note": b"kept", "user.empty": b""}),
    ]):
        folder = make_folder(f"replaced{number}")
        for way in WAYS:
            path = folder / way
            make(path, mode, extended=extended)
            before = facts(path)
            content = put(way, path, LARGE)
            expect(f"a replaced file keeps {what}: {way}", (facts(path), path.read_bytes()) == (before, content))
            berth("ann", "rm", seen(path))
        path = folder / "appended"
        make(path, mode, extended=extended)
        before = facts(path)
        with ftp() as session:
            session.storbinary(f"APPE {seen(path)}", io.BytesIO(SMALL))
        expect(f"and so does one that is appended to: {what}", (facts(path), path.read_bytes()) == (before, b"old" + SMALL))


def new():
    default = acl((1, 7, NOBODY), (2, 7, STRANGER), (4, 5, NOBODY), (16, 7, NOBODY), (32, 0, NOBODY))
    shared, listed = make_folder("shared", "team", 0o2775), make_folder("listed")
    os.setxattr(listed, DEFAULT, default)
    for folder in [make_folder("plain"), shared, listed]:
        script = "umask 022; cd $0; : > file; mkdir folder"
        run("setpriv", "--reuid", "berth", "--regid", "berth", "--groups", "team", "sh", "-c", script, folder)
        for way in WAYS:
            path = folder / way
            content = put(way, path, LARGE)
            expect(f"new in {folder.name}, as the kernel makes it: {way}", facts(path) == facts(folder / "file"))
            expect("and whole", path.read_bytes() == content)
            berth("ann", "rm", seen(path))
        with ftp() as session:
            session.storbinary(f"APPE attributes/{folder.name}/appended", io.BytesIO(SMALL))
            session.mkd(f"attributes/{folder.name}/by-ftp")
        berth("ann", "mkdir", f"/attributes/{folder.name}/natively")
        expect("by APPE as well", facts(folder / "appended") == facts(folder / "file"))
        for name in ["by-ftp", "natively"]:
            expect(f"and a folder {name}", facts(folder / name) == facts(folder / "folder"))
    expect("the group is that of the folder", facts(shared / "file")[1] == "team")
    expect("the list is that of the folder", ACCESS in facts(listed / "file")[3])


def not_more_open():
    path = FOLDER / "foreign-group"
    for way in ["small-ftp", "small-native"]:
        make(path, 0o660, group="daemon")
        put(way, path, SMALL)
        found = facts(path)[1:3]
        expect(f"without its group it is open to nobody more: {way} {found}", found == ("berth", "0o600"))


def refused():
    """Uploads that must be refused, at a rate at which their data would take longer than the test waits."""
    configure(rates={"session_up": "64K"})
    run("systemctl", "reload", "berthd")
    closed = make_folder("closed")
    make(closed / "file", 0o644)
    shutil.chown(closed, "root", "root")
    make(FOLDER / "readonly", 0o444)
    make(FOLDER / "foreign", 0o644)
    shutil.chown(FOLDER / "foreign", "root", "root")
    (WORK / "large").write_bytes(LARGE)
    before = run("berthd", "usage", "--json").stdout
    for name in ["readonly", "foreign", "closed/file", "closed/new"]:
        for verb in ["STOR", "APPE"]:
            with ftp() as session:
                try:
                    session.transfercmd(f"{verb} attributes/{name}")
                    sys.exit(f"FAILED: {verb} {name} is begun")
                except ftplib.error_perm as error:
                    expect(f"{verb} {name} is refused before its data", str(error).startswith("550"))
        began = time.monotonic()
        done = berth("ann", "put", "-f", "large", f"/attributes/{name}", code=1)
        expect(f"put {name}: {done.stderr.strip()}", "permissions" in done.stderr and time.monotonic() - began < PATIENCE_S)
    expect("nothing has come", run("berthd", "usage", "--json").stdout == before)
    configure(rates={})


def touched():
    """Sets the times of a file while it is sent, as a backup program does. The server learns from inotify
    that nothing was written."""
    path = FOLDER / "touched"
    content = LARGE * 2
    path.write_bytes(content)
    shutil.chown(path, "berth", "berth")
    for what, change, is_whole in [
        ("touched", lambda: os.utime(path), True), ("written to", lambda: write_within(path), False),
    ]:
        with ftp() as session:
            session.voidcmd("TYPE I")
            data = session.transfercmd("RETR attributes/touched")
            data.settimeout(PATIENCE_S)
            received = data.recv(100_000)
            change()
            try:
                while piece := data.recv(1 << 20):
                    received += piece
            except ConnectionResetError:
                print("  the data connection is cut, so that no client takes it for whole")
            data.close()
            try:
                answer = session.voidresp()
            except ftplib.Error as error:
                answer = str(error)
        expect(f"sent while it is {what}: {answer}", answer.startswith("226" if is_whole else "451"))
        if is_whole:
            expect("it is as it was", received == content)


def write_within(path):
    with open(path, "r+b") as file:
        file.seek(11 << 20)
        file.write(b"another")


def attributes():
    print("What files have besides their bytes")
    configure(rates={"session_up": "4M", "session_down": "8M"})
    restart()
    FOLDER.mkdir()
    shutil.chown(FOLDER, "berth", "berth")
    for step in [replaced, new, not_more_open, touched, refused]:
        step()
    shutil.rmtree(FOLDER)
    restart()
    print("\n".join(line for line in journal().splitlines() if " WARN " in line)[-2000:])
