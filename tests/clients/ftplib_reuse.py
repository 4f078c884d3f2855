"""Uploads over one control connection whose session every data connection must resume, which is what
FileZilla insists on. Arguments: host; port; password; newest TLS; whether the newest ticket or the
first is used; how many uploads."""
import ftplib, io, ssl, sys


class Reusing(ftplib.FTP_TLS):
    newest = None

    def ntransfercmd(self, command, rest=None):
        connection, size = ftplib.FTP.ntransfercmd(self, command, rest)
        session = self.newest or self.sock.session
        connection = self.context.wrap_socket(connection, server_hostname=self.host, session=session)
        assert connection.session_reused, "not resumed"
        return connection, size


def main(host, port, password, version, ticket, count):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if version == "1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    ftp = Reusing(context=context)
    ftp.connect(host, int(port), timeout=60)
    ftp.login("ann", password)
    ftp.prot_p()
    ftp.voidcmd("TYPE I")
    for number in range(int(count)):
        connection = ftp.transfercmd("STOR file")
        connection.sendall(b"%d" % number)
        connection.unwrap()
        if ticket == "newest":
            ftp.newest = connection.session
        connection.close()
        assert ftp.voidresp().startswith("226")
    assert ftp.quit().startswith("221")
    print("done")


main(*sys.argv[1:])
