"""Tests attributes of files under the unit: an upload keeps those of the file that it replaces, and a new file gets
those that the kernel gives to a file in its directory. SupplementaryGroups= makes the server a member of `team`."""

import ftplib, grp, io, os, pwd, shutil, stat, struct, subprocess, sys, time
from trying import PASSWORD, expect, run
from unit import HOMES, PATIENCE_S, WORK, berth, configure, ftp, journal, port_of, restart, uploaded, wait_until

DIRECTORY = HOMES / "ann/attributes"
SMALL, LARGE = os.urandom(10_000), os.urandom(6 << 20)
CUT = 2_000_000
ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
OTHER_USER = 4243
NOBODY = 2**32 - 1
UPLOAD_METHODS = ["small-ftp", "small-native", "cut-native"]


def acl(*entries):
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def readable_by_other_user():
    """An access control list: owner and group may read and write, OTHER_USER may read, others nothing."""
    return acl((1, 6, NOBODY), (2, 4, OTHER_USER), (4, 6, NOBODY), (16, 6, NOBODY), (32, 0, NOBODY))


def virtual_path(path):
    """Returns the path as the account sees it."""
    return f"/{path.relative_to(HOMES / 'ann')}"


def attributes_of(path):
    """Returns owner, group, mode, access control list and extended attributes."""
    found = path.stat()
    extended = {name: os.getxattr(path, name) for name in os.listxattr(path) if not name.startswith("security.")}
    return pwd.getpwuid(found.st_uid).pw_name, grp.getgrgid(found.st_gid).gr_name, oct(stat.S_IMODE(found.st_mode)), extended


def make(path, mode, group="team", extended=None):
    path.write_bytes(b"old")
    shutil.chown(path, "berth", group)
    for name, value in (extended or {}).items():
        os.setxattr(path, name, value)
    path.chmod(mode)


def make_directory(name, group="berth", mode=0o755):
    path = DIRECTORY / name
    path.mkdir()
    shutil.chown(path, "berth", group)
    path.chmod(mode)
    return path


def source(name, content):
    path = WORK / name
    path.write_bytes(content)
    path.chmod(0o644)


def put_in_two_runs(path, content):
    """Kills the client during the upload, and resumes with another. Repeats this if the first one completed."""
    source("large", content)
    source("small", b"x")
    words = ["berth", "--accept-new", f"ann@127.0.0.1:{port_of('native')}", "put", "-f", "large", path]
    environment = {"PATH": os.environ["PATH"], "HOME": str(WORK), "BERTH_PASSWORD": PASSWORD}
    is_resumed = False
    for _ in range(30):
        client = subprocess.Popen(words, cwd=WORK, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while uploaded() <= CUT and client.poll() is None:
            pass
        client.kill()
        client.wait()
        wait_until("the server has ended the session of the killed client", lambda: uploaded() == 0)
        is_resumed = "resuming at" in berth("ann", "put", "-f", "large", path).stderr
        if is_resumed:
            break
        berth("ann", "put", "-f", "small", path)
    expect("the next client resumes the upload", is_resumed)


def put(way, path, content):
    """Uploads a file by this method. Returns its content."""
    name = virtual_path(path)
    if way == "small-ftp":
        with ftp() as session:
            session.storbinary(f"STOR {name}", io.BytesIO(SMALL))
        return SMALL
    if way == "small-native":
        source("small", SMALL)
        berth("ann", "put", "-f", "small", name)
        return SMALL
    put_in_two_runs(name, content)
    return content


def replaced():
    for number, (what, mode, extended) in enumerate([
        ("mode and group", 0o640, {}), ("permissions for all", 0o666, {}), ("access control list", 0o660, {ACCESS: readable_by_other_user()}),
        ("extended attributes", 0o604, {"user.note": b"kept", "user.empty": b""}),
    ]):
        directory = make_directory(f"replaced{number}")
        for way in UPLOAD_METHODS:
            path = directory / way
            make(path, mode, extended=extended)
            before = attributes_of(path)
            content = put(way, path, LARGE)
            expect(f"a replaced file keeps {what}: {way}", (attributes_of(path), path.read_bytes()) == (before, content))
            berth("ann", "rm", virtual_path(path))
        path = directory / "appended"
        make(path, mode, extended=extended)
        before = attributes_of(path)
        with ftp() as session:
            session.storbinary(f"APPE {virtual_path(path)}", io.BytesIO(SMALL))
        expect(f"a file that APPE extends keeps {what}", (attributes_of(path), path.read_bytes()) == (before, b"old" + SMALL))


def new():
    default = acl((1, 7, NOBODY), (2, 7, OTHER_USER), (4, 5, NOBODY), (16, 7, NOBODY), (32, 0, NOBODY))
    shared, listed = make_directory("shared", "team", 0o2775), make_directory("listed")
    os.setxattr(listed, DEFAULT, default)
    for directory in [make_directory("plain"), shared, listed]:
        create = "import os, sys; os.umask(0o022); os.chdir(sys.argv[1]); os.open('file', os.O_CREAT, 0o666); os.open('copy', os.O_CREAT, 0o644); os.mkdir('directory')"
        run("setpriv", "--reuid", "berth", "--regid", "berth", "--groups", "team", "python3", "-c", create, directory)
        for way in UPLOAD_METHODS:
            path = directory / way
            content = put(way, path, LARGE)
            # FTP transfers no permissions. The client requests those of its source, 0644.
            created, found = attributes_of(directory / ("file" if way.endswith("ftp") else "copy")), attributes_of(path)
            expect(f"a new file in {directory.name} has the attributes of one that the kernel creates: {way} {found}", found == created)
            expect("its content is complete", path.read_bytes() == content)
            berth("ann", "rm", virtual_path(path))
        with ftp() as session:
            session.storbinary(f"APPE attributes/{directory.name}/appended", io.BytesIO(SMALL))
            session.mkd(f"attributes/{directory.name}/by-ftp")
        berth("ann", "mkdir", f"/attributes/{directory.name}/natively")
        expect("a new file by APPE has them, too", attributes_of(directory / "appended") == attributes_of(directory / "file"))
        for name in ["by-ftp", "natively"]:
            expect(f"a new directory {name} has them, too", attributes_of(directory / name) == attributes_of(directory / "directory"))
    expect("the group is that of the directory", attributes_of(shared / "file")[1] == "team")
    expect("the access control list is that of the directory", ACCESS in attributes_of(listed / "file")[3])


def foreign_group_is_not_exposed():
    path = DIRECTORY / "foreign-group"
    for way in ["small-ftp", "small-native"]:
        make(path, 0o660, group="daemon")
        put(way, path, SMALL)
        found = attributes_of(path)[1:3]
        expect(f"a file whose group the server may not set is not readable by more users: {way} {found}", found == ("berth", "0o600"))


def refused():
    """Tests uploads that must be refused. The rate is so low that their data would take longer than the test waits."""
    configure(rates={"session_up": "64K"})
    run("systemctl", "reload", "berthd")
    closed = make_directory("closed")
    make(closed / "file", 0o644)
    shutil.chown(closed, "root", "root")
    make(DIRECTORY / "readonly", 0o444)
    make(DIRECTORY / "foreign", 0o644)
    shutil.chown(DIRECTORY / "foreign", "root", "root")
    (WORK / "large").write_bytes(LARGE)
    before = run("berthd", "usage", "--json").stdout
    for name in ["readonly", "foreign", "closed/file", "closed/new"]:
        for verb in ["STOR", "APPE"]:
            with ftp() as session:
                try:
                    session.transfercmd(f"{verb} attributes/{name}")
                    sys.exit(f"FAILED: {verb} {name} was accepted")
                except ftplib.error_perm as error:
                    expect(f"{verb} {name} is refused before its data", str(error).startswith("550"))
        began = time.monotonic()
        done = berth("ann", "put", "-f", "large", f"/attributes/{name}", code=1)
        expect(f"put {name} is refused before its data: {done.stderr.strip()}", "permission denied" in done.stderr and time.monotonic() - began < PATIENCE_S)
    expect("the usage is unchanged", run("berthd", "usage", "--json").stdout == before)
    configure(rates={})


def touched():
    """Sets the times of a file during its download, as a backup program does. The server learns from inotify that
    nothing was written."""
    path = DIRECTORY / "touched"
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
                print("  the server resets the data connection, so that no client treats the file as complete")
            data.close()
            try:
                answer = session.voidresp()
            except ftplib.Error as error:
                answer = str(error)
        expect(f"the reply to a download of a file that is {what} meanwhile: {answer}", answer.startswith("226" if is_whole else "451"))
        if is_whole:
            expect("the downloaded content is unchanged", received == content)


def write_within(path):
    with open(path, "r+b") as file:
        file.seek(11 << 20)
        file.write(b"another")


def attributes():
    print("Attributes of files")
    configure(rates={"session_up": "4M", "session_down": "8M"})
    restart()
    DIRECTORY.mkdir()
    shutil.chown(DIRECTORY, "berth", "berth")
    for step in [replaced, new, foreign_group_is_not_exposed, touched, refused]:
        step()
    shutil.rmtree(DIRECTORY)
    restart()
    print("\n".join(line for line in journal().splitlines() if " WARN " in line)[-2000:])
