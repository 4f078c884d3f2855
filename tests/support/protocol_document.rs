//! `docs/protocol.md`, split into headings, tables and examples.

use berth::wire::frame::HEADER_BYTES;

/// The document as it is published.
pub(crate) const TEXT: &str = include_str!("../../docs/protocol.md");

/// The text between a heading and the next one of the same or a higher level.
pub(crate) fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let level = heading.split(' ').next().expect("a heading starts with #").len();
    let start = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading '{heading}'"));
    let rest = &text[start + heading.len() + 2..];
    let end = (1..=level).filter_map(|level| rest.find(&format!("\n{} ", "#".repeat(level)))).min();
    &rest[..end.unwrap_or(rest.len())]
}

/// The headings of `level` in `text`, without backticks.
pub(crate) fn headings(text: &str, level: usize) -> Vec<String> {
    let mark = format!("{} ", "#".repeat(level));
    text.lines().filter_map(|line| line.strip_prefix(&mark)).map(|heading| heading.replace('`', "")).collect()
}

/// The rows of the tables in `text` whose first column is headed `first`, as cells.
pub(crate) fn table<'a>(text: &'a str, first: &str) -> Vec<Vec<&'a str>> {
    let cells = |line: &'a str| -> Vec<&'a str> { line.trim_matches('|').split('|').map(str::trim).collect() };
    let mut rows = Vec::new();
    let mut is_wanted = false;
    for line in text.lines() {
        match line.strip_prefix('|') {
            None => is_wanted = false,
            Some(_) if cells(line)[0] == first => is_wanted = true,
            Some(rest) if rest.starts_with("---") => {}
            Some(_) if is_wanted => rows.push(cells(line)),
            Some(_) => {}
        }
    }
    rows
}

/// Who sends a frame of an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sender {
    Client,
    /// What the client may not send.
    Broken,
    Server,
}

/// A frame of an example.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) sender: Sender,
    /// Header and body.
    pub(crate) bytes: Vec<u8>,
}

impl Shown {
    /// The frame without its header.
    pub(crate) fn body(&self) -> &[u8] {
        &self.bytes[HEADER_BYTES..]
    }
}

/// The examples by their headings, in order.
pub(crate) fn examples() -> Vec<(String, Vec<Shown>)> {
    let part = section(TEXT, "## Examples");
    let titles = headings(part, 3).into_iter();
    titles.map(|title| (title.clone(), frames(section(part, &format!("### {title}"))))).collect()
}

/// The frames of one example.
pub(crate) fn example(title: &str) -> Vec<Shown> {
    let found = examples().into_iter().find(|(other, _)| other == title);
    found.unwrap_or_else(|| panic!("no example '{title}'")).1
}

fn frames(text: &str) -> Vec<Shown> {
    let mut frames: Vec<(Sender, Vec<u8>, String)> = Vec::new();
    for line in text.lines() {
        let (start, rest) = line.split_at(line.len().min(3));
        let sender = match start {
            "C: " => Sender::Client,
            "C! " => Sender::Broken,
            "S: " => Sender::Server,
            "   " => {
                frames.last_mut().expect("a body follows its header").2.push_str(rest);
                continue;
            }
            _ => continue,
        };
        frames.push((sender, unhex(rest), String::new()));
    }
    let whole = |(sender, mut bytes, body): (Sender, Vec<u8>, String)| {
        assert_eq!(bytes.len(), HEADER_BYTES, "a header has twelve bytes: {body}");
        bytes.extend(body_bytes(&body));
        let length = u32::try_from(bytes.len() - HEADER_BYTES).expect("short");
        assert_eq!(bytes[..4], length.to_be_bytes(), "the length is {length:08x}: {body:.60}");
        Shown { sender, bytes }
    };
    frames.into_iter().map(whole).collect()
}

fn body_bytes(text: &str) -> Vec<u8> {
    if text.starts_with('{') {
        return text.as_bytes().to_vec();
    }
    match text.split_once(" * ") {
        Some((byte, count)) => unhex(byte).repeat(count.parse().expect("a number")),
        None => unhex(text),
    }
}

/// Reads hexadecimal digits; spaces between them mean nothing.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("two digits");
    digits.chunks(2).map(pair).collect()
}
