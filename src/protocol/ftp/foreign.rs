//! Detects peers that speak another protocol. A browser that is directed here sends an HTTP request
//! whose body may hold FTP commands. The server would execute them for the browser's user, and the
//! browser would show the replies as a web page (ALPACA, CVE-2021-3618). So the first line of another
//! protocol ends the connection.

/// Returns whether a line, or the beginning of one that is too long, belongs to another protocol. No
/// word here is an FTP command: `DELETE` is not `DELE`, nor `OPTIONS` `OPTS`.
pub(super) fn is_foreign(line: &[u8]) -> bool {
    let mut words = line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default();
    let is_version = |word: &[u8]| VERSIONS.iter().any(|version| word.starts_with(version));
    HTTP.iter().chain(&SMTP).any(|name| name.as_bytes().eq_ignore_ascii_case(first))
        || first.starts_with(b"SSH-")
        || is_request_word(first) && words.nth(1).is_some_and(is_version)
}

/// Returns whether it could be a newer HTTP method that FTP does not have.
fn is_request_word(word: &[u8]) -> bool {
    super::table::find(word).is_none()
}

/// The methods of RFC 9110 and RFC 5789, and the preface of HTTP/2.
const HTTP: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI"];
/// The commands of RFC 5321 and RFC 3207. `HELP`, `NOOP` and `QUIT` belong to FTP, too.
const SMTP: [&str; 9] = ["HELO", "EHLO", "MAIL", "RCPT", "DATA", "RSET", "VRFY", "EXPN", "STARTTLS"];
/// The prefixes of the third word of a request in HTTP and its descendants.
const VERSIONS: [&[u8]; 3] = [b"HTTP/", b"RTSP/", b"SIP/"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ftp::table;

    #[test]
    fn requests_of_other_protocols_are_known_by_their_first_line() {
        for line in [
            "GET / HTTP/1.1",
            "get /",
            "POST /x",
            "DELETE /x HTTP/1.1",
            "OPTIONS * HTTP/1.1",
            "PRI * HTTP/2.0",
            "PROPFIND / HTTP/1.1",
            "EHLO example.org",
            "SSH-2.0-OpenSSH_9.9",
            "INVITE sip:a@b SIP/2.0",
        ] {
            assert!(is_foreign(line.as_bytes()), "{line}");
        }
        for line in ["DELE x", "OPTS UTF8 ON", "HELP", "SITE GET", "STOR GET / HTTP/1.1", "FOO", "", "RETR a HTTP/1.1"]
        {
            assert!(!is_foreign(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn no_command_of_ours_is_taken_for_one_of_another_protocol() {
        for name in table::COMMANDS.iter().flat_map(|row| row.names) {
            assert!(!is_foreign(name.as_bytes()) && !is_foreign(format!("{name} a HTTP/1.1").as_bytes()), "{name}");
        }
    }
}
