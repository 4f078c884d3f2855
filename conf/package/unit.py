"""Helpers of the test under systemd: query and change the installed package."""

import ftplib, io, json, os, sys, time
from pathlib import Path
from trying import PACKAGES, PASSWORD, expect, run

HERE = Path(__file__).resolve().parent
CONFIG = Path("/etc/berth/berthd.json")
DROP_IN = Path("/etc/systemd/system/berthd.service.d/try.conf")
UNIT = Path("/usr/lib/systemd/system/berthd.service")
HOMES = Path("/srv/berth")
WORK = Path("/root")
PATIENCE_S = 60


# ---- Queries ------------------------------------------------------------------------------------

def wait_until(what, holds):
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            sys.exit(f"FAILED, not within {PATIENCE_S} s: {what}")
        time.sleep(0.02)
    print(f"  {what}", flush=True)


def shown(key):
    return run("systemctl", "show", "--value", "--property", key, "berthd").stdout.strip()


def journal():
    run("journalctl", "--sync")
    return run("journalctl", "--unit", "berthd", "--output", "cat").stdout


def expect_running(what, restarts="0"):
    expect(what, (shown("ActiveState"), shown("NRestarts")) == ("active", restarts))


def port_of(protocol):
    """Returns the port that the running server reports."""
    native, *ftp = shown("StatusText").removeprefix("listening on ").split(", ")
    found = native if protocol == "native" else ftp[0]
    return found.rsplit(":", 1)[1]


def berth(user, *arguments, code=0):
    environment = {"PATH": os.environ["PATH"], "HOME": str(WORK), "BERTH_PASSWORD": PASSWORD}
    command = ["berth", "--accept-new", "--json", f"{user}@127.0.0.1:{port_of('native')}", *arguments]
    done = run(*command, check=False, env=environment, cwd=WORK)
    if done.returncode != code:
        sys.exit(f"FAILED: berth {arguments} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def berth_results(user, *arguments):
    return [json.loads(line) for line in berth(user, *arguments).stdout.splitlines()]


def ftp(kind=ftplib.FTP, user="ann"):
    session = kind()
    session.connect("127.0.0.1", int(port_of("ftp")), timeout=PATIENCE_S)
    session.login(user, PASSWORD)
    if kind is ftplib.FTP_TLS:
        session.prot_p()
    return session


def transfer_by_berth(what, user="ann"):
    content = os.urandom(300_000)
    (WORK / "file").write_bytes(content)
    berth(user, "put", "-f", "file")
    berth(user, "get", "-f", "file", "again")
    expect(what, (WORK / "again").read_bytes() == content)


def transfer_by_ftp(what, kind=ftplib.FTP):
    content, back = os.urandom(300_000), io.BytesIO()
    with ftp(kind) as session:
        session.storbinary("STOR by-ftp", io.BytesIO(content))
        session.retrbinary("RETR by-ftp", back.write)
    expect(what, back.getvalue() == content)


def uploaded():
    """Returns the number of bytes that the server has received of the running upload."""
    reports = run("berthd", "status", "--json").stdout.splitlines()
    positions = [json.loads(report).get("position") for report in reports]
    return max([position for position in positions if position] or [0])


def cut_by_ftp(name, content):
    """Sends the beginning of a file, and disconnects when the server has received it."""
    session = ftp()
    data = session.transfercmd(f"STOR {name}")
    data.sendall(content)
    wait_until(f"the server has received {len(content):,} bytes of {name} by FTP", lambda: uploaded() == len(content))
    session.close()
    data.close()
    wait_until("the server has ended the session of that client", lambda: uploaded() == 0)


# ---- Changes ------------------------------------------------------------------------------------

def install(prefix, *options):
    debs = [HERE / f"{prefix}{name}.deb" for name in PACKAGES]
    run("dpkg", "-i", *options, *debs, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})


def configure(**keys):
    CONFIG.write_text(json.dumps({**json.loads(CONFIG.read_text()), **keys}))


def edit_unit(text):
    """Replaces the drop-in of the unit, as `systemctl edit berthd` does."""
    DROP_IN.parent.mkdir(parents=True, exist_ok=True)
    DROP_IN.write_text(f"[Service]\n{text}\n")
    run("systemctl", "daemon-reload")


def add(user, *options):
    run("berthd", "user", "add", user, *options, "--password-stdin", input=PASSWORD)


def restart():
    run("systemctl", "reset-failed", "berthd")
    run("systemctl", "restart", "berthd")


def refused_start():
    """Tries to start the server. Returns what it has logged since."""
    before = len(journal())
    run("systemctl", "reset-failed", "berthd")
    run("systemctl", "restart", "berthd", check=False)
    run("systemctl", "stop", "berthd")
    return journal()[before:]
