"""A container with systemd, to test the package with the real unit. It has the programs and the configuration of
this machine, and no network. Its changes stay in memory and are discarded at the end."""

import os, shutil, subprocess, tempfile, uuid
from pathlib import Path

LAYERS = ["usr", "etc", "var"]
LINKS = ["bin", "sbin", "lib", "lib64"]
DIRECTORIES = ["proc", "sys", "dev", "run", "tmp", "srv", "root", "home", "try"]
TIMEOUT_S = 1200
# System calls that containers may not make by default.
LANDLOCK = "landlock_create_ruleset landlock_add_rule landlock_restrict_self"
UNIT = """[Unit]
SuccessAction=exit
FailureAction=exit
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /try/{script}
StandardOutput=file:/try/out
StandardError=inherit
"""


class Unavailable(Exception):
    """The reason why this machine cannot run the container."""


def check():
    """Raises Unavailable if the container needs something that is missing."""
    if os.geteuid() != 0:
        raise Unavailable("only root can")
    if not Path("/lib/systemd/systemd").exists():
        raise Unavailable("systemd is missing; apt-get install systemd")
    if shutil.which("systemd-nspawn") is None:
        raise Unavailable("systemd-nspawn is missing; apt-get install systemd-container")
    for path in ["/etc/berth", "/usr/bin/berthd", "/var/log/berth"]:
        if Path(path).exists():
            raise Unavailable(f"{path} exists")


def run(script, files):
    """Boots, runs a script as root, with `files` beside it. Returns its exit code and its output."""
    scratch = Path(tempfile.mkdtemp(prefix="berth-machine-"))
    try:
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", scratch)
        return boot(build(scratch, script, files), scratch)
    finally:
        for directory in [scratch / "root" / layer for layer in LAYERS] + [scratch]:
            subprocess.run(["umount", "--lazy", directory], capture_output=True)
        scratch.rmdir()


def mount(*arguments):
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise Unavailable(done.stderr.strip())


def build(scratch, script, files):
    root = scratch / "root"
    for layer in LAYERS:
        upper, work = scratch / "upper" / layer, scratch / "work" / layer
        for directory in [upper, work, root / layer]:
            directory.mkdir(parents=True)
        mount("-t", "overlay", "-o", f"lowerdir=/{layer},upperdir={upper},workdir={work}", "overlay", root / layer)
    for link in LINKS:
        if Path("/", link).exists():
            (root / link).symlink_to(f"usr/{link}")
    for directory in DIRECTORIES:
        (root / directory).mkdir()
    (root / "tmp").chmod(0o1777)
    (root / "etc/machine-id").unlink(missing_ok=True)
    (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
    # Images of containers have this file to prevent packages from starting services.
    (root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
    # Without the index of man-db, which takes minutes.
    (root / "var/lib/man-db/auto-update").unlink(missing_ok=True)
    units = root / "etc/systemd/system"
    # This unit would wait for answers on the console.
    (units / "systemd-firstboot.service").symlink_to("/dev/null")
    (units / "berth-try.service").write_text(UNIT.format(script=script))
    for file in files:
        shutil.copy(file, root / "try")
    return root


def boot(root, scratch):
    """Boots only the basic units and the script."""
    command = ["systemd-nspawn", "--quiet", f"--directory={root}", "--private-network", "--register=no",
               "--keep-unit", "--link-journal=no", f"--system-call-filter={LANDLOCK}", f"--machine=berth-{uuid.uuid4().hex[:8]}", "--boot", "--console=pipe",
               "systemd.unit=berth-try.service"]
    out = root / "try/out"
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        said = out.read_text() if out.exists() else ""
        return 1, f"{said}FAILED: not done within {TIMEOUT_S} s\n"
    if not out.exists():
        raise Unavailable(f"the container does not boot: {(done.stdout + done.stderr).strip()[-500:]}")
    return done.returncode, out.read_text()
