//! An FTP client that takes any reply, or none.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::scene::PATIENCE;
use crate::support::PASSWORD;

/// A session in plain text.
pub(super) struct Ftp {
    address: SocketAddr,
    control: TcpStream,
    input: Vec<u8>,
}

/// A final reply.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) code: u16,
    /// All its lines.
    pub(super) text: String,
}

impl Reply {
    pub(super) fn is_success(&self) -> bool {
        (200..400).contains(&self.code)
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Ftp {
    pub(super) fn connect(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { address, control: connect(address)?, input: Vec::new() })
    }

    /// Takes the greeting, logs in and asks for bytes as they are. The last reply.
    pub(super) fn log_in(&mut self) -> io::Result<Reply> {
        let greeting = self.reply()?;
        if !greeting.is_success() {
            return Ok(greeting);
        }
        for command in ["USER ann", &format!("PASS {PASSWORD}")] {
            let reply = self.ask(command)?;
            if !reply.is_success() {
                return Ok(reply);
            }
        }
        self.ask("TYPE I")
    }

    /// Sends a command and waits for the reply.
    pub(super) fn ask(&mut self, command: &str) -> io::Result<Reply> {
        self.control.write_all(format!("{command}\r\n").as_bytes())?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let mut text = self.line()?;
        let code: u16 = text.get(..3).and_then(|code| code.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        if text[3..].starts_with('-') {
            while !text.lines().last().is_some_and(|last| last.starts_with(&format!("{code} "))) {
                text = text + "\n" + &self.line()?;
            }
        }
        Ok(Reply { code, text })
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.input.drain(..end + 2).collect();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let mut room = [0; 4096];
            match self.control.read(&mut room)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.input.extend_from_slice(&room[..count]),
            }
        }
    }

    /// A data connection on which `command` was begun, or its refusal.
    fn open(&mut self, command: &str) -> io::Result<Result<TcpStream, Reply>> {
        let passive = self.ask("EPSV")?;
        let port = passive.text.split('|').nth(3).and_then(|port| port.parse().ok());
        let Some(port) = port else { return Ok(Err(passive)) };
        let data = connect(SocketAddr::new(self.address.ip(), port));
        let begun = self.ask(command)?;
        match data {
            _ if !(100..200).contains(&begun.code) => Ok(Err(begun)),
            Ok(data) => Ok(Ok(data)),
            // The server lets go of a connection that it cannot take, and says so.
            Err(_) => Ok(Err(self.reply()?)),
        }
    }

    /// Uploads. The last reply.
    pub(super) fn put(&mut self, command: &str, content: &[u8]) -> io::Result<Reply> {
        match self.open(command)? {
            Ok(mut data) => {
                // The server may refuse what comes before it has read all of it.
                let _ = data.write_all(content);
                let _ = data.shutdown(Shutdown::Write);
                self.reply()
            }
            Err(refusal) => Ok(refusal),
        }
    }

    /// Downloads, or lists. The last reply, and what came.
    pub(super) fn get(&mut self, command: &str) -> io::Result<(Reply, Vec<u8>)> {
        let mut content = Vec::new();
        match self.open(command)? {
            Ok(mut data) => {
                let came = data.read_to_end(&mut content);
                let reply = self.reply()?;
                // A truncated transfer is no success, even if the reply says so.
                if reply.is_success() { came.map(|_| (reply, content)) } else { Ok((reply, content)) }
            }
            Err(refusal) => Ok((refusal, content)),
        }
    }
}
