"""A container that systemd runs, to try the package under the real unit. It has the programs and the
configuration of this machine, and no network. Its changes are kept in memory and discarded at the end."""

import os, shutil, subprocess, tempfile, uuid
from pathlib import Path

LAYERS = ["usr", "etc", "var"]
LINKS = ["bin", "sbin", "lib", "lib64"]
FOLDERS = ["proc", "sys", "dev", "run", "tmp", "srv", "root", "home", "try"]
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


class Impossible(Exception):
    """Says why this machine cannot run the container."""


def check():
    """Raises Impossible if something is missing that the container needs."""
    if os.geteuid() != 0:
        raise Impossible("only root can")
    if not Path("/lib/systemd/systemd").exists():
        raise Impossible("systemd is missing; apt-get install systemd")
    if shutil.which("systemd-nspawn") is None:
        raise Impossible("systemd-nspawn is missing; apt-get install systemd-container")
    for path in ["/etc/berth", "/usr/bin/berthd", "/var/log/berth"]:
        if Path(path).exists():
            raise Impossible(f"{path} is there already")


def run(script, files):
    """Boots, runs a script with files beside it as root, and returns its exit code and what it printed."""
    scratch = Path(tempfile.mkdtemp(prefix="berth-machine-"))
    try:
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", scratch)
        return boot(build(scratch, script, files), scratch)
    finally:
        for folder in [scratch / "root" / layer for layer in LAYERS] + [scratch]:
            subprocess.run(["umount", "--lazy", folder], capture_output=True)
        scratch.rmdir()


def mount(*arguments):
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise Impossible(done.stderr.strip())


def build(scratch, script, files):
    root = scratch / "root"
    for layer in LAYERS:
        upper, work = scratch / "upper" / layer, scratch / "work" / layer
        for folder in [upper, work, root / layer]:
            folder.mkdir(parents=True)
        mount("-t", "overlay", "-o", f"lowerdir=/{layer},upperdir={upper},workdir={work}", "overlay", root / layer)
    for link in LINKS:
        if Path("/", link).exists():
            (root / link).symlink_to(f"usr/{link}")
    for folder in FOLDERS:
        (root / folder).mkdir()
    (root / "tmp").chmod(0o1777)
    (root / "etc/machine-id").unlink(missing_ok=True)
    (root / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
    # Where containers are made, this keeps packages from starting anything.
    (root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
    # Minutes of work for pages that nobody reads there.
    (root / "var/lib/man-db/auto-update").unlink(missing_ok=True)
    units = root / "etc/systemd/system"
    # It asks questions that nobody answers.
    (units / "systemd-firstboot.service").symlink_to("/dev/null")
    (units / "berth-try.service").write_text(UNIT.format(script=script))
    for file in files:
        shutil.copy(file, root / "try")
    return root


def boot(root, scratch):
    """Nothing but what every service needs, and the script."""
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
        raise Impossible(f"the container does not boot: {(done.stdout + done.stderr).strip()[-500:]}")
    return done.returncode, out.read_text()
