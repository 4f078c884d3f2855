//! The FTP protocol's own text: command lines, replies, listings, times and addresses.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV4};

use super::assert_is_one_plain_line;
use berth::base::buffers::ReceiveBuffer;
use berth::protocol::ftp::address::{self, Numbers};
use berth::protocol::ftp::command::Command;
use berth::protocol::ftp::facts::{Facts, put_facts};
use berth::protocol::ftp::help;
use berth::protocol::ftp::line::{FTP_LINE_BYTES_MAX, LineResult, Lines};
use berth::protocol::ftp::listing::{end_line, put_long};
use berth::protocol::ftp::table::parse;
use berth::protocol::ftp::{reply, time};
use berth::store::listing::Listed;
use berth::store::meta::{EntryMeta, Identity, Kind, Meta};

/// Lines are the same however they come and never longer than they may be; whatever is in one, what
/// is written of it is one line; what is written is read back.
pub(super) fn ftp(sent: &[u8]) {
    let stream = stretched(sent);
    let lines = taken(&stream, stream.len().max(1));
    assert_eq!(lines, taken(&stream, 1), "byte by byte");
    assert_eq!(lines, taken(&stream, 7), "in pieces");
    for line in &lines {
        if let LineResult::Line(line) = line {
            assert!(!line.is_empty() && line.len() < FTP_LINE_BYTES_MAX && !line.contains(&b'\n'));
            check_command(line);
        }
    }
    check_command(sent);
    check_reply(sent);
    check_entry(sent);
    check_numbers(sent);
    check_facts(sent);
}

/// A bell stands for as many letters as make half a line, so that short inputs have long ones.
fn stretched(sent: &[u8]) -> Vec<u8> {
    let (mut stream, mut bells) = (Vec::new(), 0);
    for &byte in sent {
        if byte == 7 && bells < BELLS_MAX {
            bells += 1;
            stream.resize(stream.len() + FTP_LINE_BYTES_MAX / 2, b'a');
        } else {
            stream.push(byte);
        }
    }
    stream
}

const BELLS_MAX: usize = 4;
/// More than any sent, stretched, has.
const STREAM_BYTES_MAX: usize = 1 << 16;

/// All that is taken of `sent` when it comes in pieces of `step`.
fn taken(sent: &[u8], step: usize) -> Vec<LineResult> {
    let (mut input, mut lines, mut all) = (ReceiveBuffer::default(), Lines::default(), Vec::new());
    for piece in sent.chunks(step) {
        input.room(STREAM_BYTES_MAX)[..piece.len()].copy_from_slice(piece);
        input.commit(piece.len());
        loop {
            let seen = (step > 1).then(|| lines.peek(&input));
            let next = lines.take(&mut input);
            let line = if let LineResult::Line(line) = &next { Some(line.clone()) } else { None };
            assert!(seen.is_none_or(|seen| seen == line), "what is seen is taken");
            match next {
                LineResult::Nothing => break,
                next => all.push(next),
            }
        }
        assert!(input.filled().len() < FTP_LINE_BYTES_MAX, "what is no line yet is bounded");
    }
    all
}

fn check_command(line: &[u8]) {
    match parse(line) {
        Ok((row, command)) => {
            let has_name =
                |name: &&str| line.get(..name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name.as_bytes()));
            assert!(row.names.iter().any(has_name));
            check_bounds(&command);
        }
        Err(wrong) => {
            let (code, text) = wrong.reply();
            assert!([500, 501, 502, 504, 522, 536].contains(&code));
            assert_is_one_plain_line(&text);
        }
    }
}

fn check_bounds(command: &Command) {
    match command {
        Command::Rest(offset) => assert!(i64::try_from(*offset).is_ok()),
        Command::SiteChmod { permissions, .. } => {
            assert!([0, 0o644, 0o7777].iter().all(|&mode| permissions.apply(mode, true) <= 0o777));
        }
        Command::Opts(_) | Command::Quit => {}
        Command::Retr(path) | Command::Stor(path) | Command::Mfmt { path, .. } => {
            assert!(!path.is_empty() && !path.contains(&0));
        }
        _ => {}
    }
}

/// One line with its code whatever is in it, and a path in it can be told.
fn check_reply(text: &[u8]) {
    let quoted = reply::quoted(text);
    let mut out = Vec::new();
    reply::put(&mut out, 257, &quoted);
    assert_is_line(&out);
    let inside = out.strip_prefix(b"257 \"").and_then(|rest| rest.strip_suffix(b"\"\r\n")).expect("quotes");
    let readable: Vec<u8> = text.iter().map(|&byte| if matches!(byte, b'\n' | 0) { b'?' } else { byte }).collect();
    assert_eq!(unquoted(inside), readable);

    let mut out = Vec::new();
    reply::put_lines(&mut out, 250, text, text.split(|&byte| byte == b' '), text);
    let lines: Vec<&[u8]> = out.split_inclusive(|&byte| byte == b'\n').collect();
    let ends = lines.iter().filter(|line| line.starts_with(b"250 ")).count();
    assert!(ends == 1 && lines[0].starts_with(b"250-") && lines[lines.len() - 1].starts_with(b"250 "));
    lines.iter().for_each(|line| assert_is_line(line));
}

/// As a client does: Telnet and RFC 2640 undone, doubled quotes made one.
fn unquoted(mut text: &[u8]) -> Vec<u8> {
    let mut path = Vec::new();
    while let Some((&byte, rest)) = text.split_first() {
        let second = match byte {
            b'"' | 0xff => Some(byte),
            b'\r' => Some(0),
            _ => None,
        };
        path.push(byte);
        text = second.map_or(rest, |second| rest.strip_prefix(&[second]).expect("no byte of these stands alone"));
    }
    path
}

/// It ends with its only line feed, and no carriage return stands alone.
fn assert_is_line(line: &[u8]) {
    assert!(line.ends_with(b"\r\n") && line.iter().filter(|&&byte| byte == b'\n').count() == 1);
    let body = &line[..line.len() - 2];
    assert!(body.iter().enumerate().all(|(at, &byte)| byte != b'\r' || body.get(at + 1) == Some(&0)));
}

/// An entry is one line in each form, the name at its end.
fn check_entry(sent: &[u8]) {
    let number = |at: usize| sent.iter().skip(at).take(8).fold(0u64, |n, &byte| n << 8 | u64::from(byte));
    let (mtime_ns, now_ns) = (number(0).cast_signed(), number(8).cast_signed());
    let kind = [Kind::File, Kind::Directory, Kind::Link, Kind::Other][number(0) as usize % 4];
    let identity = Identity { dev: number(3), ino: number(4), size: number(5), mtime_ns, ctime_ns: 0 };
    let meta = Meta { kind, size: number(5), mtime_ns, mode: number(6) as u32, links: number(7), identity };
    let seen = if number(2) % 8 == 0 {
        EntryMeta::Unexamined((number(6) % 2 == 0).then_some(kind))
    } else {
        EntryMeta::Examined(meta)
    };
    let listed = Listed { name: sent.to_vec(), metadata: seen, target: None };
    let mut name = sent.to_vec();
    let (mut long, mut facts) = (Vec::new(), Vec::new());
    put_long(&mut long, &listed, now_ns);
    put_facts(&mut facts, &listed, Facts::default(), number(0) % 8 < 4);
    for line in [&mut name, &mut long, &mut facts] {
        end_line(line, 0);
    }
    let long_end = if long.starts_with(b"l") { [&name[..sent.len()], b" -> ?\r\n"].concat() } else { name.clone() };
    for (line, end) in [(&name, &name), (&long, &long_end), (&facts, &name)] {
        assert!(line.ends_with(end) && line.ends_with(b"\r\n"));
        assert_eq!(line.iter().filter(|byte| b"\r\n\0".contains(byte)).count(), 2);
    }
    assert_eq!(name.len(), sent.len() + 2);
}

/// Times and addresses are read as they are written.
fn check_numbers(sent: &[u8]) {
    let mut bytes = [0; 24];
    bytes.iter_mut().zip(sent).for_each(|(to, &from)| *to = from);
    let ns = i64::from_be_bytes(bytes[..8].try_into().expect("eight bytes"));
    let read = time::parse(time::format(ns).as_bytes());
    let is_read = (-9_214_560_000_000_000_000..9_214_646_400_000_000_000).contains(&ns);
    assert!(!is_read || read == Some(ns.div_euclid(1_000_000_000) * 1_000_000_000), "{ns}");
    if let Some(ns) = time::parse(sent) {
        // Only a leap second is written in another way.
        let is_leap = sent.get(12..14) == Some(b"60");
        assert!(is_leap || time::format(ns).as_bytes() == &sent[..14]);
    }
    let port = u16::from_be_bytes([bytes[22], bytes[23]]);
    let ip: [u8; 16] = bytes[..16].try_into().expect("sixteen bytes");
    let v4 = SocketAddrV4::new([ip[0], ip[1], ip[2], ip[3]].into(), port);
    assert_eq!(address::parse_numbers(Numbers(v4).to_string().as_bytes()), Some(v4));
    for (protocol, ip) in [(1, IpAddr::V4(*v4.ip())), (2, IpAddr::V6(Ipv6Addr::from(ip)))] {
        let text = format!("|{protocol}|{ip}|{port}|");
        assert_eq!(address::parse_extended(text.as_bytes()), Ok(SocketAddr::new(ip, port)), "{text}");
    }
    if let Some(address) = address::parse_numbers(sent) {
        assert_eq!(address::parse_numbers(Numbers(address).to_string().as_bytes()), Some(address));
    }
}

/// What was chosen is told back, and chosen again by it.
fn check_facts(sent: &[u8]) {
    let facts = Facts::parse(&String::from_utf8_lossy(sent));
    assert_eq!(Facts::parse(&facts.chosen()), facts);
    assert_eq!(facts.offered().matches('*').count(), facts.chosen().matches(';').count());
    help::features(facts).iter().for_each(|line| assert_is_one_plain_line(line));
}
