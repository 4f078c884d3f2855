"""All that Python's ftplib can do, once. Arguments: plain, tls or tls1.2; host; port; user; password."""
import ftplib, io, ssl, sys


def connect(kind, host, port, user, password):
    if kind == "plain":
        ftp = ftplib.FTP()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if kind == "tls1.2":
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        ftp = ftplib.FTP_TLS(context=context)
    ftp.encoding = "utf-8"
    ftp.connect(host, port, timeout=60)
    ftp.login(user, password)
    if kind != "plain":
        ftp.prot_p()
    return ftp


def fetch(ftp, name, rest=None):
    content = io.BytesIO()
    ftp.retrbinary(f"RETR {name}", content.write, rest=rest)
    return content.getvalue()


def refused(what, code):
    try:
        what()
    except ftplib.error_perm as error:
        assert str(error).startswith(code), error
    else:
        raise AssertionError(f"not refused with {code}")


def cut(ftp, name, content):
    """Begins an upload, and gives it up when nearly all of this has come."""
    connection = ftp.transfercmd(f"STOR {name}")
    connection.sendall(content)
    while True:
        told = [line.split() for line in ftp.sendcmd("STAT").splitlines() if "Receiving" in line]
        if told and int(told[0][-2]) >= len(content) - 40_000:
            break
    reply = ftp.abort()
    connection.close()
    assert reply.startswith("426"), reply
    assert ftp.getresp().startswith(("225", "226"))


def go_on(ftp, content):
    # Where no file is, an interrupted upload goes on by its size.
    cut(ftp, "new", content[:2_000_000])
    held = ftp.size("new")
    assert held > 1 << 20, held
    refused(lambda: fetch(ftp, "new"), "550")
    assert ftp.storbinary("STOR new", io.BytesIO(content[held:]), rest=held).startswith("226")
    assert fetch(ftp, "new") == content
    # Beside a file it does not: the size is that of the file.
    cut(ftp, "new", content[1:2_000_000])
    assert ftp.size("new") == len(content)
    assert fetch(ftp, "new") == content
    refused(lambda: ftp.storbinary("APPE new", io.BytesIO(b"more")), "550")
    refused(lambda: ftp.storbinary("STOR new", io.BytesIO(b"more"), rest=len(content)), "550")
    assert fetch(ftp, "new") == content
    assert ftp.storbinary("STOR new", io.BytesIO(b"whole")).startswith("226")
    assert fetch(ftp, "new") == b"whole"
    ftp.delete("new")


def main(kind, host, port, user, password):
    ftp = connect(kind, host, int(port), user, password)
    content = bytes(range(256)) * 20_000
    assert ftp.getwelcome().startswith("220")
    assert ftp.pwd() == "/"
    assert ftp.mkd("folder \u00e4") == "/folder \u00e4"
    assert ftp.mkd('say "hi"') == '/say "hi"'
    ftp.cwd("folder \u00e4")
    assert ftp.pwd() == "/folder \u00e4"
    assert ftp.storbinary("STOR file", io.BytesIO(content)).startswith("226")
    assert ftp.size("file") == len(content)
    assert fetch(ftp, "file") == content
    assert fetch(ftp, "file", rest=1_000_000) == content[1_000_000:]
    assert ftp.storbinary("STOR file", io.BytesIO(content[3_000_000:]), rest=3_000_000).startswith("226")
    assert fetch(ftp, "file") == content
    assert ftp.storlines("STOR lines", io.BytesIO(b"one\ntwo\n")).startswith("226")
    lines = []
    ftp.retrlines("RETR lines", lines.append)
    assert lines == ["one", "two"], lines
    assert ftp.storbinary("APPE lines", io.BytesIO(b"three\r\n")).startswith("226")
    ftp.voidcmd("TYPE I")
    assert ftp.size("lines") == 17
    assert ftp.nlst() == ["file", "lines"], ftp.nlst()
    listed = []
    ftp.dir(listed.append)
    assert [line.split()[-1] for line in listed] == ["file", "lines"], listed
    facts = {name: fact for name, fact in ftp.mlsd() if name not in (".", "..")}
    assert sorted(facts) == ["file", "lines"], facts
    assert facts["file"]["type"] == "file" and int(facts["file"]["size"]) == len(content), facts
    assert ftp.sendcmd("MDTM file") == f"213 {facts['file']['modify']}"
    chosen = dict(ftp.mlsd(facts=["size"]))
    assert "size" in chosen["file"] and "modify" not in chosen["file"], chosen
    assert ftp.rename("lines", "renamed").startswith("250")
    assert ftp.delete("renamed").startswith("250")
    refused(lambda: ftp.delete("renamed"), "550")
    refused(lambda: fetch(ftp, "renamed"), "550")
    # An interrupted download, and then an ordinary one.
    connection = ftp.transfercmd("RETR file")
    assert connection.recv(1000)
    try:
        reply = ftp.abort()
        assert reply.startswith(("426", "226", "225")), reply
    finally:
        connection.close()
    if reply.startswith("426"):
        assert ftp.getresp().startswith(("225", "226"))
    assert fetch(ftp, "file") == content
    go_on(ftp, content)
    ftp.cwd("..")
    ftp.delete("folder \u00e4/file")
    assert ftp.rmd("folder \u00e4").startswith("250")
    assert ftp.rmd('say "hi"').startswith("250")
    assert ftp.nlst() == [], ftp.nlst()
    # The server connects.
    ftp.set_pasv(False)
    assert ftp.storbinary("STOR active", io.BytesIO(content)).startswith("226")
    assert fetch(ftp, "active") == content
    ftp.delete("active")
    assert ftp.quit().startswith("221")
    print("done")


main(*sys.argv[1:])
