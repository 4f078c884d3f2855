//! A minimal FTP client over blocking sockets: the control connection with checked replies, every kind of data
//! connection, and TLS on both.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;

use rustls::ClientConfig;
use socket2::{Domain, Socket, Type};

use super::tls::{Wire, config};
use crate::support::{PASSWORD, PATIENCE};

/// A reply of one line or several, without their line ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    /// Whole lines, the codes included.
    pub(crate) lines: Vec<String>,
}

impl Reply {
    /// The last line behind its code.
    pub(crate) fn text(&self) -> &str {
        &self.lines.last().expect("a line")[4..]
    }

    /// The lines between the first and the last.
    pub(crate) fn inner(&self) -> &[String] {
        &self.lines[1..self.lines.len() - 1]
    }

    /// The reply again if its code is one of these.
    #[track_caller]
    pub(crate) fn expect(self, codes: &[u16]) -> Self {
        assert!(codes.contains(&self.code), "expected {codes:?}: {self:?}");
        self
    }
}

/// One session.
pub(crate) struct Client {
    pub(crate) wire: Wire,
    input: Vec<u8>,
    address: SocketAddr,
    /// Whose sessions data connections resume, if they may.
    pub(crate) tls: Arc<ClientConfig>,
    /// Whether PROT P holds.
    pub(crate) is_private: bool,
}

impl Client {
    /// Connects and takes the greeting.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let mut client = Self::over(address, stream_to(address));
        client.reply().expect(&[220]);
        client
    }

    /// A session over a stream that was connected, before its greeting.
    pub(crate) fn over(address: SocketAddr, stream: TcpStream) -> Self {
        Self { wire: Wire::Plain(stream), input: Vec::new(), address, tls: config(&[13, 12], true), is_private: false }
    }

    /// Connects, logs in with the one password, and asks for bytes as they are.
    #[track_caller]
    pub(crate) fn login(address: SocketAddr, account: &str) -> Self {
        let mut client = Self::connect(address);
        client.enter(account, PASSWORD).expect(&[230]);
        client.ask("TYPE I").expect(&[200]);
        client
    }

    /// The same over TLS, data too.
    #[track_caller]
    pub(crate) fn login_over_tls(address: SocketAddr, account: &str, tls: Arc<ClientConfig>) -> Self {
        let mut client = Self::connect(address);
        client.secure(tls);
        client.enter(account, PASSWORD).expect(&[230]);
        client.protect();
        client.ask("TYPE I").expect(&[200]);
        client
    }

    /// Sends USER and PASS. Returns the reply to PASS.
    #[track_caller]
    pub(crate) fn enter(&mut self, account: &str, password: &str) -> Reply {
        self.ask(&format!("USER {account}")).expect(&[331]);
        self.ask(&format!("PASS {password}"))
    }

    /// AUTH TLS and the handshake.
    #[track_caller]
    pub(crate) fn secure(&mut self, tls: Arc<ClientConfig>) {
        self.ask("AUTH TLS").expect(&[234]);
        self.shake(tls);
    }

    /// The handshake on the control connection.
    #[track_caller]
    pub(crate) fn shake(&mut self, tls: Arc<ClientConfig>) {
        assert!(self.input.is_empty(), "plain text behind the answer to AUTH");
        self.wire = Wire::encrypted(self.wire.stream().try_clone().expect("descriptors"), &tls).expect("a handshake");
        self.tls = tls;
    }

    /// Data connections are encrypted from here on.
    #[track_caller]
    pub(crate) fn protect(&mut self) {
        self.ask("PBSZ 0").expect(&[200]);
        self.ask("PROT P").expect(&[200]);
        self.is_private = true;
    }

    // ---- Control connection ---------------------------------------------------------------

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.wire.write_all(bytes).expect("the server reads");
    }

    /// Sends a command.
    pub(crate) fn say(&mut self, command: &str) {
        self.send(format!("{command}\r\n").as_bytes());
    }

    /// Sends a command and waits for the reply.
    #[track_caller]
    pub(crate) fn ask(&mut self, command: &str) -> Reply {
        self.say(command);
        self.reply()
    }

    /// The same with a command that is no UTF-8.
    #[track_caller]
    pub(crate) fn ask_bytes(&mut self, command: &[u8]) -> Reply {
        self.send(&[command, b"\r\n"].concat());
        self.reply()
    }

    /// Waits for a reply.
    #[track_caller]
    pub(crate) fn reply(&mut self) -> Reply {
        self.next_reply().expect("a reply")
    }

    /// Waits for a reply; an error at the end of the connection. Whatever comes is checked against
    /// RFC 959, 4.2: lines end in CRLF, the last of several has the code of the first and a space,
    /// and none in between could be taken for it.
    #[track_caller]
    pub(crate) fn next_reply(&mut self) -> io::Result<Reply> {
        let first = self.line()?;
        let (code, rest) = (first.get(..3).and_then(|code| code.parse().ok()), first.get(3..4));
        let Some((code, mark)) = code.zip(rest) else { panic!("no reply: {first:?}") };
        let mut lines = vec![first.clone()];
        match mark {
            " " => {}
            "-" => loop {
                let line = self.line()?;
                let is_last = line.starts_with(&format!("{code} "));
                let is_like_one = line.len() > 3 && line.as_bytes()[..3].iter().all(u8::is_ascii_digit);
                let is_continued = line.starts_with(&format!("{code}-"));
                assert!(is_last || is_continued || !is_like_one, "{line:?} within the reply {lines:?}");
                lines.push(line);
                if is_last {
                    break;
                }
            },
            _ => panic!("no reply: {first:?}"),
        }
        Ok(Reply { code, lines })
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.input.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                assert!(line.ends_with(b"\r\n"), "a line ends without CR: {line:?}");
                let line = &line[..line.len() - 2];
                // CR NUL is how a CR within a name is written (RFC 2640, 3.1).
                let is_clean = !line.windows(2).any(|pair| pair[0] == b'\r' && pair[1] != 0) && !line.ends_with(b"\r");
                assert!(is_clean, "a bare CR: {line:?}");
                return Ok(String::from_utf8_lossy(line).into_owned());
            }
            let mut room = [0; 8192];
            match self.wire.read(&mut room) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.input.extend_from_slice(&room[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What the server says before it closes.
    pub(crate) fn last_words(&mut self) -> Vec<Reply> {
        std::iter::from_fn(|| self.next_reply().ok()).collect()
    }

    /// The server has closed, or does without another word.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        if let Ok(reply) = self.next_reply() {
            panic!("the end, not {reply:?}");
        }
    }

    // ---- Data connections -----------------------------------------------------------------

    /// Where the server waits for a data connection.
    #[track_caller]
    pub(crate) fn passive(&mut self) -> SocketAddr {
        let reply = self.ask("EPSV").expect(&[229]);
        let port = reply.text().split('|').nth(3).and_then(|port| port.parse().ok());
        let mut address = self.address;
        address.set_port(port.unwrap_or_else(|| panic!("{reply:?}")));
        address
    }

    /// The same by PASV: the address as it is announced.
    #[track_caller]
    pub(crate) fn passive_v4(&mut self) -> SocketAddrV4 {
        let reply = self.ask("PASV").expect(&[227]);
        let inside = reply.text().split_once('(').and_then(|(_, rest)| rest.split_once(')')).expect("parentheses").0;
        let numbers: Vec<u8> = inside.split(',').map(|number| number.parse().expect("a byte")).collect();
        let &[a, b, c, d, high, low] = &numbers[..] else { panic!("{reply:?}") };
        SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]))
    }

    /// Begins a transfer on a passive data connection; panics if it is refused.
    #[track_caller]
    pub(crate) fn open(&mut self, command: &str) -> Data {
        self.try_open(command).unwrap_or_else(|refusal| panic!("{command}: {refusal:?}"))
    }

    /// The same, or the refusal.
    #[track_caller]
    pub(crate) fn try_open(&mut self, command: &str) -> Result<Data, Reply> {
        let address = self.passive();
        let stream = stream_to(address);
        self.say(command);
        self.begin(stream)
    }

    /// Waits for the word to a transfer over `stream`, and makes that what PROT says.
    #[track_caller]
    pub(crate) fn begin(&mut self, stream: TcpStream) -> Result<Data, Reply> {
        let reply = self.reply();
        match reply.code {
            125 | 150 if self.is_private => {
                Ok(Data { wire: Wire::encrypted(stream, &self.tls).expect("a handshake"), begun: reply })
            }
            125 | 150 => Ok(Data { wire: Wire::Plain(stream), begun: reply }),
            _ => Err(reply),
        }
    }

    /// The same for one that is not refused.
    #[track_caller]
    pub(crate) fn begin_now(&mut self, stream: TcpStream) -> Data {
        self.begin(stream).unwrap_or_else(|refusal| panic!("refused: {refusal:?}"))
    }

    /// Begins a transfer for which the server connects to us.
    #[track_caller]
    pub(crate) fn open_active(&mut self, listener: &TcpListener, command: &str) -> Data {
        self.say(command);
        let (stream, _) = listener.accept().expect("the server connects");
        self.begin_now(patient(stream))
    }

    /// Downloads a file, or a listing.
    #[track_caller]
    pub(crate) fn get(&mut self, command: &str) -> Vec<u8> {
        let content = self.open(command).read_all();
        self.reply().expect(&[226]);
        content
    }

    /// The same by a command that is no UTF-8.
    #[track_caller]
    pub(crate) fn get_bytes(&mut self, command: &[u8]) -> Vec<u8> {
        let stream = stream_to(self.passive());
        self.send(&[command, b"\r\n"].concat());
        let content = self.begin_now(stream).read_all();
        self.reply().expect(&[226]);
        content
    }

    /// A listing as lines; each ends in CRLF.
    #[track_caller]
    pub(crate) fn list(&mut self, command: &str) -> Vec<String> {
        let text = String::from_utf8(self.get(command)).expect("UTF-8");
        assert!(text.is_empty() || text.ends_with("\r\n"), "{text:?}");
        let lines: Vec<_> = text.split("\r\n").map(str::to_string).collect();
        assert!(lines.iter().all(|line| !line.contains(['\r', '\n'])), "{text:?}");
        lines[..lines.len() - 1].to_vec()
    }

    /// Uploads. Returns the last reply, or the refusal to begin.
    #[track_caller]
    pub(crate) fn put(&mut self, command: &str, content: &[u8]) -> Reply {
        match self.try_open(command) {
            Ok(mut data) => {
                // The server may refuse what comes before it has read all of it.
                let _ = data.wire.write_all(content);
                data.finish();
                self.reply()
            }
            Err(refusal) => refusal,
        }
    }

    /// `name` has this content now.
    #[track_caller]
    pub(crate) fn stores(&mut self, name: &str, content: &[u8]) {
        self.put(&format!("STOR {name}"), content).expect(&[226]);
    }
}

/// A data connection on which a transfer has begun.
pub(crate) struct Data {
    pub(crate) wire: Wire,
    /// The reply it began with.
    pub(crate) begun: Reply,
}

impl Data {
    /// Everything until the server ends it.
    #[track_caller]
    pub(crate) fn read_all(mut self) -> Vec<u8> {
        let mut content = Vec::new();
        self.wire.read_to_end(&mut content).expect("a whole stream");
        self.wire.close();
        content
    }

    #[track_caller]
    pub(crate) fn write(&mut self, content: &[u8]) {
        self.wire.write_all(content).expect("the server reads");
    }

    /// Writes to a server that may have given up.
    pub(crate) fn wire_write(&mut self, content: &[u8]) -> io::Result<()> {
        self.wire.write_all(content)
    }

    #[track_caller]
    pub(crate) fn read_exact(&mut self, count: usize) -> Vec<u8> {
        let mut content = vec![0; count];
        self.wire.read_exact(&mut content).expect("so much");
        content
    }

    /// The end of data, over TLS with its last word; what the server still says there is read, since
    /// closing a socket with something unread is a reset.
    pub(crate) fn finish(mut self) {
        self.end();
        let _ = self.wire.read_to_end(&mut Vec::new());
    }

    /// The same, and the connection is closed at once.
    pub(crate) fn finish_unread(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.wire.close();
        let _ = self.wire.stream().shutdown(Shutdown::Write);
    }

    /// The end of the connection without TLS's last word.
    pub(crate) fn cut(self) {
        let _ = self.wire.stream().shutdown(Shutdown::Both);
    }

    /// A reset instead of an end.
    pub(crate) fn reset(self) {
        reset(self.wire.stream());
    }
}

/// Resets the connection at once, even if a program that another test is starting holds it, too.
pub(crate) fn reset(stream: &TcpStream) {
    rustix::net::connect_unspec(stream).expect("a socket");
}

#[track_caller]
pub(crate) fn stream_to(address: SocketAddr) -> TcpStream {
    patient(TcpStream::connect(address).expect("the server listens"))
}

/// A connection from another address of this machine.
pub(crate) fn stream_from(source: SocketAddr, address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.bind(&source.into())?;
    socket.connect(&address.into())?;
    Ok(patient(socket.into()))
}

fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
    stream.set_write_timeout(Some(PATIENCE)).expect("a positive time");
    stream.set_nodelay(true).expect("a socket");
    stream
}
