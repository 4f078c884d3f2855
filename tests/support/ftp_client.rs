//! The configuration and the address of a server that speaks FTP, and a client that sends one command at a time.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use super::{PASSWORD, PATIENCE, Server, wait_until};

/// A configuration with FTP on loopback, in plain text too, and other keys in `ftp` and beside it.
pub(crate) fn configuration(ftp: Value, mut changes: Value) -> Value {
    let mut keys = json!({"listen": "127.0.0.1:0", "plaintext": true});
    for (key, value) in ftp.as_object().expect("an object") {
        keys[key] = value.clone();
    }
    changes["ftp"] = keys;
    changes
}

/// The address in the first line `listening on ADDRESS (KIND)`.
pub(crate) fn listening(server: &Server, kind: &str) -> SocketAddr {
    addresses(server, kind)[0]
}

/// All of that kind.
pub(crate) fn addresses(server: &Server, kind: &str) -> Vec<SocketAddr> {
    let end = format!(" ({kind})");
    let find = || -> Vec<SocketAddr> {
        let stdout = server.program.stdout();
        let whole = stdout.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole.lines().filter_map(|line| line.strip_prefix("listening on ")?.strip_suffix(&end));
        lines.map(|address| address.parse().expect("an address")).collect()
    };
    wait_until("the server listens for FTP", || !find().is_empty());
    find()
}

/// A client that says one thing and reads one reply.
pub(crate) struct FtpClient(BufReader<TcpStream>);

impl FtpClient {
    /// Connects and logs in as `ann`.
    pub(crate) fn login(server: &Server) -> Self {
        let stream = TcpStream::connect(listening(server, "ftp")).expect("the server listens");
        let mut client = Self::over(stream);
        client.ask("USER ann");
        assert!(client.ask(&format!("PASS {PASSWORD}")).starts_with("230 "));
        client
    }

    /// Takes the greeting.
    pub(crate) fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a positive time");
        let mut client = Self(BufReader::new(stream));
        client.reply();
        client
    }

    /// The control connection.
    pub(crate) fn stream(&self) -> &TcpStream {
        self.0.get_ref()
    }

    /// Sends a command.
    pub(crate) fn say(&mut self, command: &str) {
        self.0.get_mut().write_all(format!("{command}\r\n").as_bytes()).expect("the server reads");
    }

    /// Sends a command. Returns the last line of the reply.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        self.say(command);
        self.reply()
    }

    /// The last line of the next reply.
    pub(crate) fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).expect("a reply");
            if line.as_bytes().get(3) == Some(&b' ') {
                return line;
            }
        }
    }

    /// Begins a transfer, and returns its data connection.
    pub(crate) fn begin(&mut self, command: &str) -> TcpStream {
        let passive = self.ask("EPSV");
        let port = passive.split('|').nth(3).expect("a port").parse().expect("a number");
        let address = SocketAddr::new(self.0.get_ref().peer_addr().expect("connected").ip(), port);
        let data = TcpStream::connect(address).expect("the server listens");
        assert!(self.ask(command).starts_with("150 "), "{command}");
        data
    }
}
