"""Tries the installed package under systemd, as root of a machine that is there for that: see
machine.py. Beside this file are the packages and the probe."""

import sys
sys.dont_write_bytecode = True

import ftplib, grp, io, json, os, pwd, shutil, stat, threading, time
from pathlib import Path
from attribute_steps import attributes
from trying import NEWER, PACKAGES, expect, has, run
from unit import (
    CONFIG, DROP_IN, HERE, HOMES, PATIENCE_S, UNIT, WORK, add, address, berth, berth_results, configure, cut_by_ftp,
    edit_unit, expect_running, ftp, install, journal, refused_start, restart, shown, there_and_back,
    there_and_back_by_ftp, uploaded, wait_until,
)


def first_start():
    print("First start")
    install("")
    expect_running("it runs as soon as it is installed")
    expect("and after each boot", run("systemctl", "is-enabled", "berthd").stdout.strip() == "enabled")
    expect("it is confined in full", "confinement by Landlock: full" in journal())
    add("ann", "--quota", "64M")
    there_and_back("an account that is added while it runs: a file there and back")
    big = WORK / "big"
    big.write_bytes(bytes(65 << 20))
    berth("ann", "put", "big", code=6)
    print("  a quota that holds")
    expect("usage is asked of the running server", '"used_bytes":300000' in run("berthd", "usage", "--json").stdout)
    expect("nothing was wrong", " WARN " not in journal() and " ERROR " not in journal())


def by_ftp():
    print("FTP")
    configure(ftp={"listen": "0.0.0.0:21", "plaintext": True})
    restart()
    expect("port 21", address("ftp") == "21")
    there_and_back_by_ftp("a file there and back")
    there_and_back_by_ftp("over TLS", ftplib.FTP_TLS)
    with ftp() as session:
        run("berthd", "kick", "ann")
        try:
            session.voidcmd("NOOP")
            sys.exit("FAILED: a session that was ended goes on")
        except (ftplib.Error, EOFError, OSError):
            print("  a session is ended by `berthd kick`")
    status = Path("/proc", shown("MainPID"), "status").read_text()
    expect("it keeps no capability", "CapEff:\t0000000000000000" in status)


def reload():
    print("Reload")
    pid = shown("MainPID")
    for sync in ["none", "full", "data"]:
        configure(sync=sync)
        run("systemctl", "reload", "berthd")
        there_and_back(f"sync {sync}")
    certificate = Path("/etc/berth/tls/cert.pem")
    certificate.unlink()
    run("systemctl", "reload", "berthd")
    wait_until("a certificate that is gone is made again", certificate.exists)
    there_and_back("of the same key")
    expect_running("it says when a reload is done")
    expect("and is the same process", shown("MainPID") == pid)


def resume():
    print("Resume")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    environment = Path("/proc", shown("MainPID"), "environ").read_bytes().split(b"\0")
    expect("the server knows which boot this is", f"BERTH_BOOT_ID={boot}".encode() in environment)
    cut_by_ftp("cut", bytes(3_000_000))
    restart()
    with ftp() as session:
        session.voidcmd("TYPE I")
        expect("all of them are there after a restart", session.size("cut") == 3_000_000)
        session.storbinary("STOR cut", io.BytesIO(b"the rest"), rest=3_000_000)
        expect("and it goes on from there", session.size("cut") == 3_000_008)
        session.delete("cut")
    configure(rates={"session_up": "8M"})
    run("systemctl", "reload", "berthd")
    (WORK / "big").write_bytes(os.urandom(32 << 20))
    results = []
    client = threading.Thread(target=lambda: results.append(berth("ann", "put", "big")))
    client.start()
    wait_until("an upload runs", lambda: uploaded() > 9 << 20)
    run("systemctl", "kill", "--signal", "KILL", "berthd")
    client.join(PATIENCE_S)
    expect("after kill -9 it is started again", shown("NRestarts") == "1")
    said = results[0].stderr.strip().splitlines() if results else []
    expect(f"and the client goes on by itself: {said}", any("resumed at" in line for line in said))
    expect("to the same file", (HOMES / "ann/big").read_bytes() == (WORK / "big").read_bytes())
    berth("ann", "rm", "big")
    configure(rates={})
    restart()


def homes_elsewhere():
    print("Homes elsewhere")
    folder = Path("/data/homes")
    folder.mkdir(parents=True)
    shutil.chown(folder, "berth", "berth")
    configure(home_roots=["/srv/berth", str(folder)])
    restart()
    expect("the log says what a root needs", f"ReadWritePaths={folder}" in journal())
    run("groupadd", "team")
    edit_unit(f"ReadWritePaths={folder}\nSupplementaryGroups=team")
    restart()
    add("bob", "--home", folder / "bob")
    there_and_back("a home in another root", "bob")
    lines = Path("/proc", shown("MainPID"), "status").read_text().splitlines()
    groups = next(line.split()[1:] for line in lines if line.startswith("Groups:"))
    expect("SupplementaryGroups= holds", str(grp.getgrnam("team").gr_gid) in groups)


def probe():
    """Runs probe.py with the restrictions of the unit and its drop-ins."""
    print("What the restrictions leave")
    unit = Path("/etc/systemd/system/berth-probe.service")
    drop_ins = Path(f"{unit}.d")
    left_out = ("Type=", "ExecStart=", "ExecReload=", "Restart", "RuntimeDirectory=")
    lines = [line for line in UNIT.read_text().splitlines() if not line.startswith(left_out)]
    service = f"\n[Service]\nType=oneshot\nExecStart=/usr/bin/python3 {HERE}/probe.py\nStandardOutput=file:{HOMES}/probed\n"
    unit.write_text("\n".join(lines).replace("\n[Service]\n", service))
    drop_ins.mkdir()
    shutil.copy(DROP_IN, drop_ins)
    folder = HOMES / "probe"
    folder.mkdir()
    shutil.chown(folder, "berth", "team")
    folder.chmod(0o2775)
    run("systemctl", "daemon-reload")
    done = run("systemctl", "start", "berth-probe", check=False)
    said = (HOMES / "probed").read_text()
    print(said, end="")
    expect("all is as it must be", done.returncode == 0 and said)
    shutil.rmtree(folder)
    unit.unlink()
    shutil.rmtree(drop_ins)


def rotation():
    print("Logs")
    if not has("logrotate"):
        return
    log, rotated = Path("/var/log/berth/access.log"), Path("/var/log/berth/access.log.1")
    expect("the log is the server's", owner(log) == ("berth", 0o640))
    before = log.read_bytes()
    run("logrotate", "--force", "/etc/logrotate.d/berth")
    wait_until("a new one is begun", log.exists)
    expect("the old one is kept whole", rotated.read_bytes().startswith(before))
    expect("and is out of the server's hands", owner(rotated) == ("root", 0o640))
    there_and_back("it goes on")
    wait_until("and is logged anew", lambda: "user=ann" in log.read_text())
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
    expect("a server that is well is left alone", shown("MainPID") == pid)
    run("systemctl", "kill", "--kill-whom", "main", "--signal", "STOP", "berthd")
    wait_until("one that hangs is started again", lambda: shown("MainPID") not in (pid, "0") and shown("ActiveState") == "active")
    edit_unit(kept)
    restart()


def upgrade():
    print("Upgrade")
    config, pid = CONFIG.read_text(), shown("MainPID")
    install("newer-", "--force-confdef", "--force-confold")
    expect(f"{NEWER} is installed", NEWER in run("dpkg", "-s", "berthd").stdout)
    wait_until("the new one runs", lambda: shown("MainPID") != pid and shown("ActiveState") == "active")
    expect("the configuration is kept", CONFIG.read_text() == config)
    # The key is the one that is known, or this would be refused.
    there_and_back("accounts and key are kept")
    install("newer-", "--force-confdef", "--force-confold")
    there_and_back("the same version once more")


def missing_things():
    print("What is missing is named")
    kept = CONFIG.read_text()
    CONFIG.unlink()
    said = refused_start()
    expect("the configuration", f"{CONFIG}: there is no such file" in said and "confmiss" in said and "Scheduled restart" not in said)
    install("newer-", "--force-confmiss", "--force-confnew")
    expect_running("the package brings it again")
    CONFIG.write_text(kept)
    remedy = "run `berthd user list` as root"
    for folder in ["/etc/berth/tls", "/etc/berth/users"]:
        restart()
        aside = Path(f"{folder}.aside")
        Path(folder).rename(aside)
        said = refused_start().splitlines()
        expect(folder, any(folder in line and remedy in line for line in said))
        run("berthd", "user", "list")
        restart()
        expect_running("and made by what is told")
        run("systemctl", "stop", "berthd")
        shutil.rmtree(folder)
        aside.rename(folder)
    decoy = Path("/etc/berth/users/.decoy")
    decoy.unlink()
    restart()
    expect("names that can be told apart", any(str(decoy.parent) in line and remedy in line for line in journal().splitlines()))
    run("berthd", "user", "list")
    expect("and not any more", decoy.exists())
    there_and_back("the server takes it from there")
    HOMES.rename("/srv/aside")
    said = refused_start().splitlines()
    expect(f"{HOMES}", any(str(HOMES) in line and remedy in line for line in said))
    run("berthd", "user", "list")
    expect("and made by what is told", HOMES.is_dir())
    HOMES.rmdir()
    Path("/srv/aside").rename(HOMES)
    logs = Path("/var/log/berth")
    logs.chmod(0o500)
    (logs / "access.log").rename("/var/log/access.aside")
    said = refused_start()
    expect(f"{logs}", "cannot open the log files" in said and "let the user the server runs as write there" in said)
    logs.chmod(0o1770)
    restart()
    there_and_back("and all is well again")


def end():
    print("The end")
    run("systemctl", "stop", "berthd")
    expect("it stops well", (shown("ActiveState"), shown("Result")) == ("inactive", "success"))
    expect("and leaves no socket", not Path("/run/berth").exists())
    for how in ["-r", "-P"]:
        run("systemctl", "start", "berthd", check=False)
        run("dpkg", how, *PACKAGES)
        expect(f"dpkg {how} ends it", run("systemctl", "is-active", "berthd", check=False).returncode != 0)
    shutil.rmtree(DROP_IN.parent)
    left = [path for path in ("/etc/berth", "/var/log/berth", "/etc/logrotate.d/berth", UNIT) if Path(path).exists()]
    expect(f"nothing else is left: {left}", not left)
    expect("the homes are", (HOMES / "ann/file").exists())
    # The server has another key now.
    shutil.rmtree(WORK / ".local")
    install("")
    expect_running("installed again from nothing, it runs")
    add("ann")
    expect("the home is the account's again", berth_results("ann", "ls")[0]["entries"])


def main():
    try:
        for step in [first_start, by_ftp, reload, resume, homes_elsewhere, attributes, probe, rotation, watched, upgrade, missing_things, end]:
            step()
    except BaseException:
        print("--- what the server said\n" + "\n".join(journal().splitlines()[-40:]), flush=True)
        raise
    print("all is well under systemd")


if __name__ == "__main__":
    main()
