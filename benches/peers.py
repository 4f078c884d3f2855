"""The servers that compare.py knows: how each is found, started, and spoken to. To add one,
subclass Server. Everything listens on loopback only and serves one directory."""
import grp, json, os, pwd, shutil, socket, subprocess, sys, random

PASSWORD = "only-for-the-bench"
# crypt(PASSWORD), sha256 with few rounds, so that a login measures the server and not the hash.
CRYPT = "$5$rounds=1000$benchsalt$29TiBk5E2V5cifXSoDwhIecQu9w54a5cDDgb.l6wfx5"
IS_ROOT = os.geteuid() == 0
# The user that owns the files, and that servers become; vsftpd wants a home that exists.
_humble = (user.pw_name for user in pwd.getpwall() if user.pw_name in ("nobody", "daemon", "bin") and os.path.isdir(user.pw_dir))
OWNER = next(_humble, "nobody") if IS_ROOT else pwd.getpwuid(os.geteuid()).pw_name


def free_port():
    """One that no client's connection gets meanwhile: below those that the system gives out by itself."""
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.randint(20000, 32000)))
                return probe.getsockname()[1]
            except OSError:
                pass


class Server:
    """One server over `home`; `scratch` is for what it needs besides."""
    title = ""
    protocol = "ftp"          # what the load generator speaks to it
    program = ""              # looked for in the path and in --peers
    user = "bench"
    tls = False
    TLS = ""                  # what its configuration needs for TLS

    def __init__(self, tools, home, scratch):
        self.tools, self.home, self.scratch = tools, home, scratch
        self.port = free_port()

    @property
    def path(self):
        return self.tools.find(self.program)

    def missing(self):
        return None if self.path else f"{self.program} is not installed"

    def command(self):
        raise NotImplementedError

    def tls_lines(self):
        return self.TLS.format(**self.tools.certificate()) if self.tls else ""

    def write(self, name, text, mode=0o600):
        path = os.path.join(self.scratch, name)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def load(self, mode, *rest):
        """The load generator against this server."""
        return [self.tools.load, mode, "--protocol", self.protocol, "--target", f"127.0.0.1:{self.port}", "--user", self.user,
                *(["--tls"] if self.tls else []), *map(str, rest)]

    # What follows are command lines, or None for what cannot be done. Trees go into a directory.

    def get(self, name, local):
        return None

    def put(self, local, name):
        return self.load("put", "--path", name, "--local", local)

    def get_tree(self, name, directory):
        return None

    def put_tree(self, local, directory):
        return None

    def curl(self, *words):
        curl = self.tools.find("curl")
        return curl and [curl, "-sSfk", *(["--tls13-ciphers", "TLS_AES_128_GCM_SHA256"] if self.tls else []), *words]


class Berth(Server):
    title, protocol = "berth", "native"
    sync = "none"

    path = property(lambda self: self.tools.berthd)

    def command(self):
        conf = os.path.join(self.scratch, f"conf-{self.port}")
        os.makedirs(conf, exist_ok=True)
        many, made = 20000, self.tools.certificate()
        config = self.write(f"conf-{self.port}/berthd.json", json.dumps({
            "root": conf, "plaintext": not self.tls, "listen": f"127.0.0.1:{self.port}",
            "tls": {"certificate": made["certificate"], "key": made["key"]},
            "home_roots": [os.path.dirname(self.home)], "sync": self.sync, **self.more(),
            "limits": {"sessions": many, "sessions_per_account": many, "sessions_per_address": many, "strangers": many},
            "timeouts": {"idle": 7200, "stall": 7200}}))
        for name, home in self.homes().items():
            if not os.path.exists(f"{conf}/users/{name}.json"):
                subprocess.run([self.path, "user", "add", name, "--home", home, "--password-stdin", "--config", config],
                               input=f"{PASSWORD}\n", text=True, check=True, stdout=subprocess.DEVNULL)
        return [self.path, "serve", "--config", config]

    def homes(self):
        """The homes of the accounts, by name."""
        return {self.user: self.home}

    def more(self):
        """Further keys of its configuration."""
        return {}

    def client(self, *words):
        return [self.tools.berth, "--accept-new" if self.tls else "--plaintext", "--quiet", f"bench@127.0.0.1:{self.port}", *words]

    def get(self, name, local):
        return self.client("get", "-f", name, local)

    def put(self, local, name):
        return self.client("put", "-f", local, name)

    def get_tree(self, name, directory):
        return self.client("get", "-r", name, directory + "/")

    def put_tree(self, local, directory):
        return self.client("put", "-r", local, directory + "/")


class BerthData(Berth):
    title, sync = "berth, sync data", "data"


class Rsync(Server):
    title, protocol, program = "rsync", "rsync", "rsync"

    def command(self):
        self.secret = self.write("rsync.password", PASSWORD + "\n")
        secrets = self.write("rsync.secrets", f"bench:{PASSWORD}\n")
        who = f"uid = {OWNER}\ngid = {grp.getgrgid(pwd.getpwnam(OWNER).pw_gid).gr_name}\n" if IS_ROOT else ""
        config = self.write("rsyncd.conf", f"address = 127.0.0.1\nport = {self.port}\nuse chroot = no\nmax connections = 0\n"
                            f"log file = /dev/null\ntransfer logging = no\n[home]\npath = {self.home}\n{who}read only = no\n"
                            f"auth users = bench\nsecrets file = {secrets}\n")
        return [self.path, "--daemon", "--no-detach", f"--config={config}"]

    def client(self, *words):
        return [self.path, f"--port={self.port}", f"--password-file={self.secret}", "--whole-file", "--inplace", *words]

    def get(self, name, local):
        return self.client(f"bench@127.0.0.1::home/{name}", local)

    def put(self, local, name):
        return self.client(local, f"bench@127.0.0.1::home/{name}")

    def get_tree(self, name, directory):
        return self.client("-r", f"bench@127.0.0.1::home/{name}", f"{directory}/")

    def put_tree(self, local, directory):
        return self.client("-r", local, f"bench@127.0.0.1::home/{directory}/")


class Nginx(Server):
    title, protocol, program = "nginx", "http", "nginx"
    TLS = "ssl_protocols TLSv1.3; ssl_certificate {certificate}; ssl_certificate_key {key}; output_buffers 2 512k;"

    @property
    def url(self):
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

    def command(self):
        temp = self.home + ".nginx"           # beside the home, so that an upload ends in a rename
        os.makedirs(temp, exist_ok=True)
        if IS_ROOT:
            shutil.chown(temp, OWNER)
        user = f"user {OWNER} {grp.getgrgid(pwd.getpwnam(OWNER).pw_gid).gr_name};" if IS_ROOT else ""
        unused = "".join(f"{kind}_temp_path {self.scratch}/ngx-{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
        config = self.write("nginx.conf", f"""daemon off; worker_processes 1; {user} pid {self.scratch}/nginx.pid;
error_log {self.scratch}/nginx.log error; worker_rlimit_nofile 20000; events {{ worker_connections 15000; }}
http {{ access_log off; sendfile on; tcp_nopush on; sendfile_max_chunk 2m; keepalive_timeout 7200; keepalive_requests 10000000;
  client_body_temp_path {temp}; client_body_buffer_size 1m; default_type application/octet-stream; {unused}
  open_file_cache max=20000 inactive=60s; client_body_timeout 7200; client_header_timeout 7200;
  server {{ listen 127.0.0.1:{self.port} {"ssl" if self.tls else ""} backlog=4096; {self.tls_lines()} root {self.home}; location / {{ }}
    location /up/ {{ dav_methods PUT; create_full_put_path on; client_max_body_size 0; }} }} }}
""")
        return [self.path, "-c", config, "-e", f"{self.scratch}/nginx.log"]

    def get(self, name, local):
        return self.curl(f"{self.url}/{name}", "-o", local)

    def _curl_all(self, lines, name):
        return self.curl("-Z", "--parallel-max", "8", "-K", self.write(name, "\n".join(lines), 0o644))

    def get_tree(self, name, directory):
        url = f"{self.url}/{name}"
        return self._curl_all([f'create-dirs\nurl="{url}/{n}"\noutput="{directory}/{name}/{n}"' for n in self.tools.names], "curl-get")

    def put_tree(self, local, directory):
        url = f"{self.url}/{directory}/{os.path.basename(local)}"
        return self._curl_all([f'url="{url}/{n}"\nupload-file="{local}/{n}"\noutput="/dev/null"' for n in self.tools.names], "curl-put")


class Ftp(Server):
    def get(self, name, local):
        return self.curl(*(["--ssl-reqd"] if self.tls else []), "-u", f"{self.user}:{PASSWORD}", f"ftp://127.0.0.1:{self.port}/{name}", "-o", local)

    def _lftp(self, script):
        if not self.tools.find("lftp"):
            return None
        security = "set ftp:ssl-force yes; set ftp:ssl-protect-data yes; set ssl:verify-certificate no" if self.tls else "set ftp:ssl-allow no"
        pre = (f"{security}; set cmd:fail-exit yes; set net:connection-limit 0; set xfer:clobber yes; set ftp:prefer-epsv yes; "
               "set ftp:use-feat no;")
        return [self.tools.find("lftp"), "-u", f"{self.user},{PASSWORD}", "-e", f"{pre} {script}; bye", f"ftp://127.0.0.1:{self.port}"]

    def get_tree(self, name, directory):
        return self._lftp(f"mirror --no-perms --parallel=8 {name} {directory}/{name}")

    def put_tree(self, local, directory):
        return self._lftp(f"mirror -R --no-perms --parallel=8 {local} {directory}/{os.path.basename(local)}")


class BerthFtp(Ftp, Berth):
    """berth as an FTP server: what its peers are measured by goes for it too."""
    title, protocol = "berth (FTP)", "ftp"

    def more(self):
        return {"listen": "127.0.0.1:0", "ftp": {"listen": f"127.0.0.1:{self.port}", "plaintext": not self.tls}}

    def put(self, local, name):
        return self.load("put", "--path", name, "--local", local)


class Vsftpd(Ftp):
    title, program, user = "vsftpd", "vsftpd", "anonymous"
    TLS = """ssl_enable=YES
allow_anon_ssl=YES
require_ssl_reuse=NO
ssl_ciphers=HIGH
rsa_cert_file={both}
rsa_private_key_file={both}
"""

    def command(self):
        empty = os.path.join(self.scratch, "empty")
        os.makedirs(empty, exist_ok=True)
        config = self.write("vsftpd.conf", f"""listen=YES
background=NO
listen_address=127.0.0.1
listen_port={self.port}
anonymous_enable=YES
no_anon_password=NO
ftp_username={OWNER}
anon_root={self.home}
allow_writeable_chroot=YES
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_world_readable_only=NO
anon_umask=022
{'secure_chroot_dir=' + empty if IS_ROOT else 'run_as_launching_user=YES'}
xferlog_enable=NO
use_sendfile=YES
max_clients=0
max_per_ip=0
idle_session_timeout=7200
data_connection_timeout=7200
isolate=NO
isolate_network=NO
seccomp_sandbox=NO
{self.tls_lines()}""")
        return [self.path, config]


class PureFtpd(Ftp):
    title, program = "Pure-FTPd", "pure-ftpd"
    TLS = "{both}"

    def missing(self):
        if not self.path or IS_ROOT and self.tools.find("pure-pw"):
            return super().missing()
        return "pure-ftpd needs root and pure-pw"

    def command(self):
        who = pwd.getpwnam(OWNER)
        passwords = self.write("pure.passwd", f"bench:{CRYPT}:{who.pw_uid}:{who.pw_gid}::{self.home}/./::::::::::::\n")
        subprocess.run([self.tools.find("pure-pw"), "mkdb", f"{self.scratch}/pure.pdb", "-f", passwords], check=True, stdout=subprocess.DEVNULL)
        return [self.path, "-S", f"127.0.0.1,{self.port}", "-l", f"puredb:{self.scratch}/pure.pdb", "-c", "20000", "-C", "20000", "-E",
                "-H", "-I", "120", "-u", "1", "-f", "none", "-g", f"{self.scratch}/pure.pid",
                *(["-Y", "1", "-2", self.tls_lines()] if self.tls else [])]


class Proftpd(Ftp):
    title, program = "ProFTPD", "proftpd"
    # Without a CA file it reads the system's at each login.
    TLS = """<IfModule mod_dso.c>
LoadModule mod_tls.c
</IfModule>
TLSEngine on
TLSProtocol TLSv1.3
TLSECCertificateFile {certificate}
TLSECCertificateKeyFile {key}
TLSCACertificateFile {certificate}
TLSOptions NoSessionReuseRequired
TLSVerifyClient off
"""

    def command(self):
        who = pwd.getpwnam(OWNER)
        users = self.write("proftpd.passwd", f"bench:{CRYPT}:{who.pw_uid}:{who.pw_gid}::{self.home}:/bin/sh\n")
        config = self.write("proftpd.conf", f"""ServerType standalone
ServerName bench
DefaultServer on
DefaultAddress 127.0.0.1
SocketBindTight on
Port {self.port}
UseIPv6 off
UseReverseDNS off
User {OWNER}
Group {grp.getgrgid(who.pw_gid).gr_name}
PidFile {self.scratch}/proftpd.pid
ScoreboardFile {self.scratch}/proftpd.score
SystemLog none
TransferLog none
WtmpLog off
MaxInstances 20000
TimeoutIdle 7200
TimeoutNoTransfer 7200
AuthOrder mod_auth_file.c
AuthUserFile {users}
RequireValidShell off
UseSendfile on
AllowOverwrite on
<IfModule mod_delay.c>
DelayEngine off
</IfModule>
ModulePath {os.path.dirname(os.path.dirname(self.path))}/lib/proftpd
{self.tls_lines()}""")
        return [self.path, "-n", "-c", config]


class Pyftpdlib(Ftp):
    title, program = "pyftpdlib", "python3"
    TLS = "{both}"
    SCRIPT = """import logging, sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
logging.basicConfig(level=logging.WARNING)
if sys.argv[4]:
    from pyftpdlib.handlers import TLS_FTPHandler as FTPHandler
    FTPHandler.certfile = sys.argv[4]
FTPHandler.authorizer = DummyAuthorizer()
FTPHandler.authorizer.add_user("bench", sys.argv[3], sys.argv[2], perm="elradfmwMT")
FTPHandler.timeout = 7200
server = FTPServer(("127.0.0.1", int(sys.argv[1])), FTPHandler, backlog=1024)
server.max_cons = server.max_cons_per_ip = 0
server.serve_forever()
"""

    @property
    def path(self):
        pythons = [sys.executable] + self.tools.find_all("python3")
        needed = "import pyftpdlib" + (", OpenSSL" if self.tls else "")
        return next((p for p in pythons if subprocess.run([p, "-c", needed], capture_output=True).returncode == 0), None)

    def missing(self):
        return None if self.path else "pyftpdlib is not installed" + (", or pyOpenSSL is not" if self.tls else "")

    def command(self):
        return [self.path, self.write("pyftpd.py", self.SCRIPT), str(self.port), self.home, PASSWORD, self.tls_lines()]


class Sshd(Server):
    """Runs as the user of this program, so that no other user must be able to log in."""
    title, protocol, program = "sshd (sftp)", "ssh", "sshd"
    user = pwd.getpwuid(os.geteuid()).pw_name
    CIPHER = "aes128-gcm@openssh.com"        # the fastest, and what the others use

    def missing(self):
        return next((f"{program} is not installed" for program in ("sshd", "sftp", "ssh-keygen") if not self.tools.find(program)), None)

    def command(self):
        for name in ("host", "id"):
            subprocess.run([self.tools.find("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", f"{self.scratch}/{name}"], check=True)
        if IS_ROOT:
            os.makedirs("/run/sshd", exist_ok=True)          # it asks for that one
        config = self.write("sshd.conf", f"""ListenAddress 127.0.0.1
Port {self.port}
HostKey {self.scratch}/host
PidFile none
AuthorizedKeysFile {self.scratch}/id.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
LogLevel ERROR
""")
        return [self.path, "-D", "-e", "-f", config]

    def _sftp(self, line):
        options = ["IdentitiesOnly=yes", "BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", f"Ciphers={self.CIPHER}"]
        return [self.tools.find("sftp"), "-q", "-F", "none", "-R", "64", "-B", "261120", "-P", str(self.port), "-i", f"{self.scratch}/id",
                *(f"-o{option}" for option in options), "-b", self.write("batch", line + "\n"), f"{self.user}@127.0.0.1"]

    def get(self, name, local):
        return self._sftp(f"get {self.home}/{name} {local}")

    def put(self, local, name):
        return self._sftp(f"put {local} {self.home}/{name}")


class BareSend(Server):
    title, protocol, extra = "bare loop: sendfile", "raw", ()
    mode, file = "bare-send", "big.bin"

    path = property(lambda self: self.tools.load)

    def command(self):
        return [self.path, self.mode, os.path.join(self.home, self.file), *self.extra]

    def announced(self, line):
        self.port = int(line.rsplit(":", 1)[1])


class BareSendHashed(BareSend):
    title, extra = "bare loop: read + SHA-256 + send", ("--sha256",)


class BareReceive(BareSend):
    title, mode, file = "bare loop: receive + write", "bare-receive", "up/big.bin"


class BareReceiveHashed(BareReceive):
    title, extra = "bare loop: receive + SHA-256 + write", ("--sha256",)


# berth's FTP stands among the peers, compared like them with its native protocol.
PEERS = [Rsync, Nginx, Vsftpd, PureFtpd, Proftpd, Pyftpdlib, BerthFtp]


def over_tls(kind):
    return type(f"{kind.__name__}Tls", (kind,), dict(tls=True))


BerthTls = over_tls(Berth)
BerthFtps = over_tls(BerthFtp)
BerthFtps.title = "berth (FTPS)"
TLS_PEERS = [*(over_tls(kind) for kind in (Nginx, Vsftpd, PureFtpd, Proftpd, Pyftpdlib)), BerthFtps]
