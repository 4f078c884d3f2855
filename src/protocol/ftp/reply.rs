//! Replies in the form of RFC 959 section 4.2: a code and text on one line or several, whatever bytes a
//! name holds. Session errors are mapped to FTP codes only here.

use crate::base::text::shortened;
use crate::base::virtual_path::VirtualPath;
use crate::session::SessionError;

/// "Service not available, closing control connection" (RFC 959, section 5.4).
pub(super) const REPLY_CLOSING: u16 = 421;
/// "Directory status".
pub(super) const REPLY_DIRECTORY_STATUS: u16 = 212;
/// How much of a path a reply repeats: some clients fail at a line of 2 KiB.
const FTP_SUBJECT_BYTES_MAX: usize = 1024;

/// Appends a reply on one line.
pub fn put(out: &mut Vec<u8>, code: u16, text: impl AsRef<[u8]>) {
    put_line(out, &format!("{code} "), text.as_ref());
}

/// Returns the reply to a client for which there is no session.
pub fn too_many_sessions(bound: &str) -> Vec<u8> {
    let mut reply = Vec::new();
    let text =
        format!("The server is full ({bound}); connection closed before login. Close a session, or try again later.");
    put(&mut reply, REPLY_CLOSING, text);
    reply
}

/// Appends a reply of several lines. Those between the first and the last are indented, so that none
/// begins with a code.
pub fn put_lines<L: AsRef<[u8]>>(
    out: &mut Vec<u8>,
    code: u16,
    first: impl AsRef<[u8]>,
    lines: impl IntoIterator<Item = L>,
    last: impl AsRef<[u8]>,
) {
    put_first(out, code, first);
    for line in lines {
        put_between(out, line);
    }
    put(out, code, last);
}

/// Appends the first line of a reply whose other lines come later and end with [`put`].
pub fn put_first(out: &mut Vec<u8>, code: u16, text: impl AsRef<[u8]>) {
    put_line(out, &format!("{code}-"), text.as_ref());
}

/// Appends a line between the first and the last, such as an entry of a listing.
pub fn put_between(out: &mut Vec<u8>, line: impl AsRef<[u8]>) {
    put_line(out, " ", line.as_ref());
}

/// Quotes a path by RFC 959 appendix II: in quotes, with its own doubled.
pub fn quoted(path: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    for &byte in path {
        quoted.push(byte);
        if byte == b'"' {
            quoted.push(byte);
        }
    }
    quoted.push(b'"');
    quoted
}

/// Encodes by Telnet (RFC 854) and RFC 2640 section 3.1: a NUL follows a carriage return in a name, and
/// the Telnet escape byte is doubled. A line feed cannot be encoded and becomes a question mark.
fn put_line(out: &mut Vec<u8>, start: &str, text: &[u8]) {
    out.extend_from_slice(start.as_bytes());
    for &byte in text {
        match byte {
            b'\r' => out.extend_from_slice(b"\r\0"),
            0xff => out.extend_from_slice(&[0xff, 0xff]),
            b'\n' | 0 => out.push(b'?'),
            byte => out.push(byte),
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Returns the reply to a refused command about `path`. After 421 the connection is closed.
pub fn refusal(refusal: SessionError, path: Option<&VirtualPath>) -> (u16, String) {
    let code = match refusal {
        SessionError::LoginRequired | SessionError::LoginFailed | SessionError::TlsRequired => 530,
        SessionError::WrongState => 503,
        SessionError::LoginMalformed => 501,
        SessionError::TooManyTries
        | SessionError::TooManySessions
        | SessionError::Displaced
        | SessionError::AccountClosed
        | SessionError::Kicked
        | SessionError::Timeout
        | SessionError::Defect
        | SessionError::ShuttingDown => 421,
        SessionError::NotFound
        | SessionError::Exists
        | SessionError::NotAFile
        | SessionError::NotADirectory
        | SessionError::NotEmpty
        | SessionError::UploadHeld(_)
        | SessionError::OutsideHome
        | SessionError::LinkLoop
        | SessionError::OtherFileSystem
        | SessionError::Denied
        | SessionError::InUse
        | SessionError::ReadOnly
        | SessionError::TooLarge => 550,
        SessionError::BadName | SessionError::IntoItself => 553,
        SessionError::QuotaBytes(_) | SessionError::QuotaFiles(_) => 552,
        SessionError::DiskFull => 452,
        SessionError::Superseded | SessionError::Busy => 450,
        SessionError::Changed
        | SessionError::Mismatch
        | SessionError::SizeMismatch
        | SessionError::Io
        | SessionError::Unwritten
        | SessionError::NotYet
        | SessionError::NoAnswer => 451,
        SessionError::Cancelled | SessionError::Cut => 426,
        SessionError::BadOffset => 554,
    };
    let text = match refusal {
        // These texts of the session are for clients of the native protocol.
        SessionError::LoginRequired => "log in with USER and PASS first".into(),
        SessionError::TlsRequired => "TLS is required; send AUTH TLS before the login, or use implicit FTPS".into(),
        refusal => refusal.with_advice(),
    };
    (code, path.map_or_else(|| sentence(&text), |path| format!("{}: {text}.", subject(path))))
}

/// Returns a path for a reply, shortened to what clients accept.
pub fn subject(path: &VirtualPath) -> String {
    shortened(path.to_string(), FTP_SUBJECT_BYTES_MAX)
}

fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(characters).chain(['.']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ledger::Shortage;

    const SHORTAGE: Shortage = Shortage { needed: 50 << 20, free: 4 << 20, limit: 5 << 20 };

    fn reply(code: u16, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, code, text);
        out
    }

    #[test]
    fn a_reply_is_one_line_whatever_is_in_it() {
        assert_eq!(reply(226, b"Done."), b"226 Done.\r\n");
        assert_eq!(reply(250, b"a\r\nb\0c\rd\xffe\x1b"), b"250 a\r\0?b?c\r\0d\xff\xffe\x1b\r\n");
    }

    #[test]
    fn lines_between_never_look_like_the_last() {
        let mut out = Vec::new();
        put_lines(&mut out, 211, "Now:", ["211 x", "", "\n211 y"], "End.");
        put_between(&mut out, b"a\xffb");
        assert!(out.ends_with(b"211 End.\r\n a\xff\xffb\r\n"));
        out.truncate(out.len() - b" a\xff\xffb\r\n".len());
        assert_eq!(out, b"211-Now:\r\n 211 x\r\n \r\n ?211 y\r\n211 End.\r\n");
    }

    #[test]
    fn paths_are_quoted_as_in_appendix_ii() {
        assert_eq!(quoted(b"/"), b"\"/\"");
        assert_eq!(quoted(b"/a \"b\""), b"\"/a \"\"b\"\"\"");
        assert_eq!(quoted(b""), b"\"\"");
    }

    #[test]
    fn refusals_say_what_happened_to_what() {
        let path = VirtualPath::parse("/gr\u{fc}\u{df}e\r\n.txt".as_bytes()).expect("valid");
        let (code, text) = refusal(SessionError::NotFound, Some(&path));
        assert_eq!((code, &text[..]), (550, "/gr\u{fc}\u{df}e\\r\\n.txt: no such file or directory."));
        let longest = VirtualPath::parse(&b"/\xff".repeat(2000)).expect("valid");
        assert!(refusal(SessionError::NotFound, Some(&longest)).1.len() < 1200, "clients read lines of 2 KiB or so");
        let (code, text) = refusal(SessionError::QuotaBytes(SHORTAGE), None);
        assert!(code == 552 && text.starts_with("Disk quota exceeded: needs 50M, 4M of 5M are free"), "{text}");
        assert!(text.ends_with('.'), "{text}");
    }

    #[test]
    fn what_may_succeed_later_has_a_code_that_says_so() {
        for later in [
            SessionError::DiskFull,
            SessionError::Changed,
            SessionError::Io,
            SessionError::Busy,
            SessionError::ShuttingDown,
            SessionError::TooManySessions,
        ] {
            assert_eq!(refusal(later, None).0 / 100, 4, "{later:?}");
        }
        for never in [
            SessionError::ReadOnly,
            SessionError::Denied,
            SessionError::BadName,
            SessionError::QuotaFiles(SHORTAGE),
            SessionError::LoginFailed,
        ] {
            assert_eq!(refusal(never, None).0 / 100, 5, "{never:?}");
        }
    }
}
