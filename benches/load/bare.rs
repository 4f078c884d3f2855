//! Loops without any protocol: what the kernel and SHA-256 alone allow.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::Instant;

use sha2::{Digest, Sha256};

use crate::dialect::Outcome;

/// Serves `file` to each connection: by sendfile, or read, hashed and written.
pub(crate) fn send(file: &Path, hashes: bool) -> Outcome<()> {
    let (listener, mut buffer) = (listen()?, vec![0; PIECE_BYTES]);
    loop {
        let (mut peer, _) = listener.accept()?;
        let mut file = File::open(file)?;
        let mut digest = Sha256::new();
        loop {
            let count = if hashes {
                let count = file.read(&mut buffer)?;
                digest.update(&buffer[..count]);
                peer.write_all(&buffer[..count])?;
                count
            } else {
                rustix::fs::sendfile(&peer, &file, None, 8 * PIECE_BYTES)?
            };
            if count == 0 {
                break;
            }
        }
    }
}

/// Stores what a client sends in `file`, hashed or not, and closes the connection when it is stored.
pub(crate) fn receive(file: &Path, hashes: bool) -> Outcome<()> {
    let (listener, mut buffer) = (listen()?, vec![0; PIECE_BYTES]);
    loop {
        let (mut peer, _) = listener.accept()?;
        let mut file = File::create(file)?;
        let mut digest = Sha256::new();
        loop {
            let count = peer.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            if hashes {
                digest.update(&buffer[..count]);
            }
            file.write_all(&buffer[..count])?;
        }
    }
}

/// Creates `count` files of 4 KiB in `directory`, a hundred in each directory below it: write, perhaps
/// fdatasync, rename. The seconds.
pub(crate) fn files(directory: &Path, count: usize, syncs: bool) -> Outcome<f64> {
    let content = [7; 4096];
    let started = Instant::now();
    for number in 0..count {
        let below = directory.join(format!("d{:03}", number / FILES_PER_DIRECTORY));
        if number % FILES_PER_DIRECTORY == 0 {
            std::fs::create_dir(&below)?;
        }
        let staged = directory.join(".staged");
        let mut file = OpenOptions::new().write(true).create_new(true).open(&staged)?;
        file.write_all(&content)?;
        if syncs {
            file.sync_data()?;
        }
        std::fs::rename(staged, below.join(format!("f{number:05}")))?;
    }
    Ok(started.elapsed().as_secs_f64())
}

fn listen() -> Outcome<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("listening on {}", listener.local_addr()?);
    Ok(listener)
}

const PIECE_BYTES: usize = 256 * 1024;
const FILES_PER_DIRECTORY: usize = 100;
