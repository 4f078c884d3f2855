"""Tests the installed packages under systemd, as root in the container of machine.py. The packages and probe.py are
beside this file."""

import sys
sys.dont_write_bytecode = True

import ftplib, grp, io, os, pwd, shutil, stat, threading, time
from pathlib import Path
from attribute_steps import attributes
from trying import NEWER, PACKAGES, expect, has, run
from unit import (
    CONFIG, DROP_IN, HERE, HOMES, PATIENCE_S, UNIT, WORK, add, berth, berth_results, configure, cut_by_ftp, edit_unit,
    expect_running, ftp, install, journal, port_of, refused_start, restart, shown, transfer_by_berth, transfer_by_ftp,
    uploaded, wait_until,
)


def first_start():
    print("First start")
    install("")
    expect_running("installation starts the server")
    expect("the server starts at each boot", run("systemctl", "is-enabled", "berthd").stdout.strip() == "enabled")
    expect("Landlock confines the server in full", "confinement by Landlock: full" in journal())
    add("ann", "--quota", "64M")
    transfer_by_berth("an account that is added while the server runs can transfer a file")
    big = WORK / "big"
    big.write_bytes(bytes(65 << 20))
    berth("ann", "put", "big", code=6)
    print("  an upload over the quota exits with 6")
    expect("usage shows the count of the running server", '"used_bytes":300000' in run("berthd", "usage", "--json").stdout)
    expect("the log has no warnings and no errors", " WARN " not in journal() and " ERROR " not in journal())


def by_ftp():
    print("FTP")
    configure(ftp={"listen": "0.0.0.0:21", "plaintext": True})
    restart()
    expect("FTP is served at port 21", port_of("ftp") == "21")
    transfer_by_ftp("FTP transfers a file")
    transfer_by_ftp("FTP transfers a file over TLS", ftplib.FTP_TLS)
    with ftp() as session:
        run("berthd", "kick", "ann")
        try:
            session.voidcmd("NOOP")
            sys.exit("FAILED: a session continues after `berthd kick`")
        except (ftplib.Error, EOFError, OSError):
            print("  `berthd kick` ends a session")
    status = Path("/proc", shown("MainPID"), "status").read_text()
    expect("the server keeps no capability", "CapEff:\t0000000000000000" in status)


def reload():
    print("Reload")
    pid = shown("MainPID")
    for sync in ["none", "full", "data"]:
        configure(sync=sync)
        run("systemctl", "reload", "berthd")
        transfer_by_berth(f"a file is transferred with sync {sync}")
    certificate = Path("/etc/berth/tls/cert.pem")
    certificate.unlink()
    run("systemctl", "reload", "berthd")
    wait_until("the server creates a missing certificate again", certificate.exists)
    transfer_by_berth("the new certificate has the same key")
    expect_running("the server reports the end of a reload")
    expect("a reload keeps the process", shown("MainPID") == pid)


def resume():
    print("Resume")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    environment = Path("/proc", shown("MainPID"), "environ").read_bytes().split(b"\0")
    expect("the server knows the boot ID", f"BERTH_BOOT_ID={boot}".encode() in environment)
    cut_by_ftp("cut", bytes(3_000_000))
    restart()
    with ftp() as session:
        session.voidcmd("TYPE I")
        expect("the partial upload survives a restart", session.size("cut") == 3_000_000)
        session.storbinary("STOR cut", io.BytesIO(b"the rest"), rest=3_000_000)
        expect("FTP resumes the partial upload", session.size("cut") == 3_000_008)
        session.delete("cut")
    configure(rates={"session_up": "8M"})
    run("systemctl", "reload", "berthd")
    (WORK / "big").write_bytes(os.urandom(32 << 20))
    results = []
    client = threading.Thread(target=lambda: results.append(berth("ann", "put", "big")))
    client.start()
    wait_until("an upload is running", lambda: uploaded() > 9 << 20)
    run("systemctl", "kill", "--signal", "KILL", "berthd")
    client.join(PATIENCE_S)
    expect("systemd restarts the server after kill -9", shown("NRestarts") == "1")
    said = results[0].stderr.strip().splitlines() if results else []
    expect(f"the client resumes by itself: {said}", any("resumed at" in line for line in said))
    expect("the resumed file is the same", (HOMES / "ann/big").read_bytes() == (WORK / "big").read_bytes())
    berth("ann", "rm", "big")
    configure(rates={})
    restart()


def homes_elsewhere():
    print("Other home roots")
    directory = Path("/data/homes")
    directory.mkdir(parents=True)
    shutil.chown(directory, "berth", "berth")
    configure(home_roots=["/srv/berth", str(directory)])
    restart()
    expect("the log names the setting that a home root needs", f"ReadWritePaths={directory}" in journal())
    run("groupadd", "team")
    edit_unit(f"ReadWritePaths={directory}\nSupplementaryGroups=team")
    restart()
    add("bob", "--home", directory / "bob")
    transfer_by_berth("a home in another root works", "bob")
    lines = Path("/proc", shown("MainPID"), "status").read_text().splitlines()
    groups = next(line.split()[1:] for line in lines if line.startswith("Groups:"))
    expect("the server is in the group of SupplementaryGroups=", str(grp.getgrnam("team").gr_gid) in groups)


def probe():
    """Runs probe.py with the restrictions of the unit and its drop-ins."""
    print("Restrictions of the unit")
    unit = Path("/etc/systemd/system/berth-probe.service")
    drop_ins = Path(f"{unit}.d")
    left_out = ("Type=", "ExecStart=", "ExecReload=", "Restart", "RuntimeDirectory=")
    lines = [line for line in UNIT.read_text().splitlines() if not line.startswith(left_out)]
    service = f"\n[Service]\nType=oneshot\nExecStart=/usr/bin/python3 {HERE}/probe.py\nStandardOutput=file:{HOMES}/probed\n"
    unit.write_text("\n".join(lines).replace("\n[Service]\n", service))
    drop_ins.mkdir()
    shutil.copy(DROP_IN, drop_ins)
    directory = HOMES / "probe"
    directory.mkdir()
    shutil.chown(directory, "berth", "team")
    directory.chmod(0o2775)
    run("systemctl", "daemon-reload")
    done = run("systemctl", "start", "berth-probe", check=False)
    said = (HOMES / "probed").read_text()
    print(said, end="")
    expect("the unit allows and refuses what it must", done.returncode == 0 and said)
    shutil.rmtree(directory)
    unit.unlink()
    shutil.rmtree(drop_ins)


def rotation():
    print("Logs")
    if not has("logrotate"):
        return
    log, rotated = Path("/var/log/berth/access.log"), Path("/var/log/berth/access.log.1")
    expect("the log belongs to the server", owner(log) == ("berth", 0o640))
    before = log.read_bytes()
    run("logrotate", "--force", "/etc/logrotate.d/berth")
    wait_until("the server starts a new log", log.exists)
    expect("logrotate keeps the whole old log", rotated.read_bytes().startswith(before))
    expect("the old log belongs to root", owner(rotated) == ("root", 0o640))
    transfer_by_berth("transfers work after the rotation")
    wait_until("the server writes to the new log", lambda: "user=ann" in log.read_text())
    as_server = ["setpriv", "--reuid", "berth", "--regid", "berth", "--init-groups", "sh", "-c"]
    for what, command in [("written to", f": >> {rotated}"), ("removed", f"rm -f {rotated}"), ("replaced", f"mv {log} {rotated}")]:
        expect(f"old logs cannot be {what} by the server's user", run(*as_server, command, check=False).returncode != 0)
    run("logrotate", "--force", "/etc/logrotate.d/berth")
    expect("the second rotation compresses the first", Path("/var/log/berth/access.log.2.gz").exists())


def owner(path):
    found = path.stat()
    return pwd.getpwuid(found.st_uid).pw_name, stat.S_IMODE(found.st_mode)


def watched():
    print("Watchdog")
    kept = DROP_IN.read_text().partition("\n")[2]
    edit_unit(f"{kept}WatchdogSec=2\nTimeoutAbortSec=1")
    restart()
    pid = shown("MainPID")
    time.sleep(3)
    expect("systemd does not restart a server that responds", shown("MainPID") == pid)
    run("systemctl", "kill", "--kill-whom", "main", "--signal", "STOP", "berthd")
    wait_until("systemd restarts a server that does not respond", lambda: shown("MainPID") not in (pid, "0") and shown("ActiveState") == "active")
    edit_unit(kept)
    restart()


def upgrade():
    print("Upgrade")
    config, pid = CONFIG.read_text(), shown("MainPID")
    install("newer-", "--force-confdef", "--force-confold")
    expect(f"version {NEWER} is installed", NEWER in run("dpkg", "-s", "berthd").stdout)
    wait_until("the new version runs", lambda: shown("MainPID") != pid and shown("ActiveState") == "active")
    expect("the configuration is kept", CONFIG.read_text() == config)
    # The client refuses a server with another key.
    transfer_by_berth("the upgrade keeps accounts and key")
    install("newer-", "--force-confdef", "--force-confold")
    transfer_by_berth("installing the same version again keeps them, too")


def missing_things():
    print("Missing files are named")
    kept = CONFIG.read_text()
    CONFIG.unlink()
    said = refused_start()
    expect("the log names a missing configuration", f"{CONFIG}: there is no such file" in said and "confmiss" in said and "Scheduled restart" not in said)
    install("newer-", "--force-confmiss", "--force-confnew")
    expect_running("the package installs the configuration again")
    CONFIG.write_text(kept)
    remedy = "run `berthd user list` as root"
    for directory in ["/etc/berth/tls", "/etc/berth/users"]:
        restart()
        aside = Path(f"{directory}.aside")
        Path(directory).rename(aside)
        said = refused_start().splitlines()
        expect(f"the log names the missing {directory} and the remedy", any(directory in line and remedy in line for line in said))
        run("berthd", "user", "list")
        restart()
        expect_running("the remedy creates it again")
        run("systemctl", "stop", "berthd")
        shutil.rmtree(directory)
        aside.rename(directory)
    decoy = Path("/etc/berth/users/.decoy")
    decoy.unlink()
    restart()
    expect("the log names the missing decoy file", any(str(decoy.parent) in line and remedy in line for line in journal().splitlines()))
    run("berthd", "user", "list")
    expect("the remedy creates the decoy file again", decoy.exists())
    transfer_by_berth("transfers work after that")
    HOMES.rename("/srv/aside")
    said = refused_start().splitlines()
    expect(f"the log names the missing {HOMES}", any(str(HOMES) in line and remedy in line for line in said))
    run("berthd", "user", "list")
    expect("the remedy creates the homes again", HOMES.is_dir())
    HOMES.rmdir()
    Path("/srv/aside").rename(HOMES)
    logs = Path("/var/log/berth")
    logs.chmod(0o500)
    (logs / "access.log").rename("/var/log/access.aside")
    said = refused_start()
    expect(f"the log says that {logs} cannot be written", "cannot open the log files" in said and "let the user the server runs as write there" in said)
    logs.chmod(0o1770)
    restart()
    transfer_by_berth("transfers work when everything is restored")


def end():
    print("Stop and removal")
    run("systemctl", "stop", "berthd")
    expect("systemd stops the server without an error", (shown("ActiveState"), shown("Result")) == ("inactive", "success"))
    expect("the server leaves no socket", not Path("/run/berth").exists())
    for how in ["-r", "-P"]:
        run("systemctl", "start", "berthd", check=False)
        run("dpkg", how, *PACKAGES)
        expect(f"dpkg {how} stops the server", run("systemctl", "is-active", "berthd", check=False).returncode != 0)
    shutil.rmtree(DROP_IN.parent)
    left = [path for path in ("/etc/berth", "/var/log/berth", "/etc/logrotate.d/berth", UNIT) if Path(path).exists()]
    expect(f"purging leaves nothing else: {left}", not left)
    expect("purging keeps the homes", (HOMES / "ann/file").exists())
    # The server has another key now, so the client must forget the old one.
    shutil.rmtree(WORK / ".local")
    install("")
    expect_running("a new installation runs")
    add("ann")
    expect("a new account with the old name gets the old home", berth_results("ann", "ls")[0]["entries"])


def main():
    try:
        for step in [first_start, by_ftp, reload, resume, homes_elsewhere, attributes, probe, rotation, watched, upgrade, missing_things, end]:
            step()
    except BaseException:
        print("--- log of the server\n" + "\n".join(journal().splitlines()[-40:]), flush=True)
        raise
    print("all checks under systemd passed")


if __name__ == "__main__":
    main()
