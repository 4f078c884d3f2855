#!/usr/bin/env python3
"""FTP sessions that work in one directory until they are killed. Each one uploads a file of its own; `all` also
lists the directory and downloads that file. An error of one session ends all.

    benches/ftp_sessions.py PORT USER DIRECTORY FILE SESSIONS upload|all    # the password is $BERTH_PASSWORD"""
import ftplib, os, sys, threading, traceback


def work(port, user, directory, content, name, kind):
    try:
        ftp = ftplib.FTP()
        ftp.connect("127.0.0.1", port)
        ftp.login(user, os.environ["BERTH_PASSWORD"])
        while True:
            with open(content, "rb") as f:
                ftp.storbinary(f"STOR {directory}/{name}", f)
            if kind == "all":
                ftp.retrlines(f"LIST {directory}", callback=len)
                ftp.retrbinary(f"RETR {directory}/{name}", callback=len)
    except (OSError, EOFError, ftplib.Error):
        traceback.print_exc()
    finally:
        os._exit(1)


def main():
    port, user, directory, content, sessions, kind = sys.argv[1:]
    threads = [threading.Thread(target=work, args=[int(port), user, directory, content, f"w{number}", kind])
               for number in range(int(sessions))]
    for thread in threads:
        thread.start()


if __name__ == "__main__":
    main()
