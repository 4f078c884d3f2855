"""Another peer at the data port of a client that uses one ticket of TLS 1.3 for all its data connections.
Arguments: host; port; password."""
import ftplib, io, ssl, sys


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode, made.minimum_version = False, ssl.CERT_NONE, ssl.TLSVersion.TLSv1_3
    return made


class Client(ftplib.FTP_TLS):
    """With `intruder`, the TLS of another program meets the server on the data connection."""

    intruder = None
    own = None

    def ntransfercmd(self, command, rest=None):
        connection, size = ftplib.FTP.ntransfercmd(self, command, rest)
        other, session = self.intruder or (self.context, self.own or self.sock.session)
        return other.wrap_socket(connection, server_hostname=self.host, session=session), size


def logged_in(host, port, password, reuses=True):
    ftp = Client(context=context())
    ftp.connect(host, int(port), timeout=60)
    ftp.login("ann", password)
    ftp.prot_p()
    ftp.own = ftp.sock.session
    return ftp


def fetched(ftp):
    got = []
    ftp.retrbinary("RETR file", got.append)
    return b"".join(got)


def refused(ftp, intruder):
    """Of one that comes alone."""
    ftp.intruder, got = intruder, []
    try:
        ftp.retrbinary("RETR file", got.append)
        return False
    except (ftplib.Error, OSError) as error:
        # Where the connection broke first the reply is still to come.
        reply = str(error) if isinstance(error, ftplib.Error) else refusal(ftp)
        assert reply.startswith("522") and not got, (reply, got)
        return True
    finally:
        ftp.intruder = None


def refusal(ftp):
    try:
        return ftp.getresp()
    except ftplib.Error as error:
        return str(error)


def main(host, port, password):
    ftp = logged_in(host, port, password)
    own, other = context(), context()
    # Before anything is known of the client anybody is served, and gets tickets.
    ftp.intruder = (other, None)
    connection = ftp.transfercmd("RETR file")
    assert connection.recv(100) == b"secret"
    taken = connection.session
    connection.close()
    assert ftp.voidresp().startswith("226")
    ftp.intruder = None
    for _ in range(2):
        assert fetched(ftp) == b"secret"
    begun = Client(context=other)
    begun.connect(host, int(port), timeout=60)
    begun.auth()
    begun.sendcmd("USER ann")
    for intruder in [(own, None), (other, taken)]:
        assert refused(ftp, intruder), intruder
        assert fetched(ftp) == b"secret"
    # A session that has yet to log in proves something once it has.
    ftp.intruder = (other, begun.sock.session)
    connection = ftp.transfercmd("RETR file")
    begun.sendcmd("PASS " + password)
    assert connection.recv(100) == b"secret"
    connection.close()
    assert ftp.voidresp().startswith("226")
    assert ftp.quit().startswith("221")
    print("done")


main(*sys.argv[1:])
