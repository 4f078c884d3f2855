//! Properties that hold for all bytes: one function for each decoder that a peer or a file can
//! reach. `fuzz/src/main.rs` lets libFuzzer look for bytes that break one; `tests/fuzz_seeds.rs`
//! holds every committed seed against them, so that no target rots.

mod client;
mod conversation;
mod files;
mod ftp;
mod login;
mod member;
mod script;
mod server;
mod text;
mod tls;
mod wire;
mod words;

/// The server in memory that the tests use, too.
#[path = "../../tests/support"]
#[allow(dead_code, unreachable_pub, unused_imports)] // A part of it is enough here.
mod support {
    mod data;
    pub(crate) mod in_memory;
    mod random;
    mod requests;
    mod unlinked_files;
}

/// One decoder, or one side of a conversation.
pub(crate) struct Target {
    /// What `fuzz/run` and the directory of its seeds call it.
    pub(crate) name: &'static str,
    /// Panics if the input breaks a promise.
    pub(crate) check: fn(&[u8]),
}

/// Every target there is.
pub(crate) const TARGETS: &[Target] = &[
    // The codec both programs share.
    Target { name: "frames", check: wire::frames },
    Target { name: "request", check: wire::request },
    Target { name: "reply", check: wire::reply },
    Target { name: "name", check: wire::name },
    // FTP.
    Target { name: "ftp", check: ftp::ftp },
    // Logins.
    Target { name: "scram_server", check: login::server },
    Target { name: "scram_client", check: login::client },
    Target { name: "tls", check: tls::server },
    Target { name: "tls_damage", check: tls::damage },
    // Text.
    Target { name: "vpath", check: text::vpath },
    Target { name: "escaped", check: text::escaped },
    Target { name: "values", check: text::values },
    Target { name: "glob", check: words::glob },
    Target { name: "words", check: words::words },
    Target { name: "completion", check: words::completion },
    // Files.
    Target { name: "config", check: files::config },
    Target { name: "account", check: files::account },
    Target { name: "certificate", check: files::certificate },
    Target { name: "staging_record", check: files::staging_record },
    Target { name: "known_hosts", check: files::known_hosts },
    Target { name: "hosts", check: files::hosts },
    Target { name: "upload_record", check: files::upload_record },
    // Whole conversations.
    Target { name: "stranger", check: server::stranger },
    Target { name: "stream", check: server::stream },
    Target { name: "member", check: member::two_sessions },
    Target { name: "control", check: server::control },
    Target { name: "client", check: client::hostile_server },
];

/// Text for a terminal or a log: one line, nothing that moves the cursor or turns text around.
fn assert_is_one_plain_line(text: &str) {
    // Separators of lines, and what Unicode calls `Bidi_Control`.
    let turns =
        |c| matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_plain = |c: char| !c.is_control() && !turns(c);
    assert!(text.chars().all(is_plain), "{text:?} reaches a terminal");
}

/// The input in two: up to the first line feed, and behind it.
fn halves(input: &[u8]) -> (&[u8], &[u8]) {
    let at = input.iter().position(|&byte| byte == b'\n').unwrap_or(input.len());
    (&input[..at], input.get(at + 1..).unwrap_or_default())
}

/// The number that `text` begins with, and what follows behind one space.
fn number(text: &[u8]) -> (u32, &[u8]) {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = text[..digits].iter().fold(0u32, |n, digit| n.wrapping_mul(10).wrapping_add(u32::from(digit - b'0')));
    let rest = &text[digits..];
    (value, rest.strip_prefix(b" ").unwrap_or(rest))
}
