#!/usr/bin/env python3
"""FTP sessions that work in one directory until they are killed. Each one uploads a file under another name again
and again, and removes the one before; `all` also lists the directory and downloads the file. An error of one session
ends all.

    benches/ftp_sessions.py PORT USER DIRECTORY FILE SESSIONS upload|all    # the password is $BERTH_PASSWORD"""
import ftplib, itertools, os, sys, threading, traceback


def work(port, user, directory, content, name, kind):
    try:
        ftp = ftplib.FTP()
        ftp.connect("127.0.0.1", port)
        ftp.login(user, os.environ["BERTH_PASSWORD"])
        for number in itertools.count():
            path = f"{directory}/{name}-{number}"
            with open(content, "rb") as f:
                ftp.storbinary(f"STOR {path}", f)
            if kind == "all":
                ftp.retrlines(f"LIST {directory}", callback=len)
                ftp.retrbinary(f"RETR {path}", callback=len)
            if number:
                ftp.delete(f"{directory}/{name}-{number - 1}")
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
