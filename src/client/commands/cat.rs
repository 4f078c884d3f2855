//! `cat`: shows the content of files on the terminal or writes it to a pipe.

use serde_json::json;

use super::{paths, refusal};
use crate::base::explanation::Explanation;
use crate::base::text::{Escaped, Size, is_unprintable};
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::link::Link;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::syntax::advice;
use crate::client::syntax::arguments::Arguments;
use crate::client::syntax::lexer::Word;
use crate::client::transfer::pipes::download_to;
use crate::client::ui::output::Output;
use crate::client::ui::progress::{Progress, ProgressStyle};
use crate::client::ui::summary::Summary;
use crate::wire::message::Name;

/// The maximum size of a file for `cat --json`. Readers hold the whole JSON object in memory.
const JSON_CONTENT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// `cat PATH...`
pub fn cat(session: &mut Session, words: &[Word]) -> Result<(), Failure> {
    let operands = Arguments::parse("cat", words)?.operands;
    let paths = paths(session, "cat", &operands)?;
    let mut summary = Summary::new("cat", paths.len() == 1);
    for path in &paths {
        let result = if session.output.is_json { show_object(session, path) } else { show(session, path) };
        let result = result.map_err(|failure| refusal::explain_file(session, path, failure, "ls lists it"));
        summary.count(&mut session.output, result)?;
    }
    summary.finish()
}

fn show(session: &mut Session, path: &VirtualPath) -> Result<(), Failure> {
    let mut writer = ContentWriter::default();
    let mut progress = Progress::for_file(ProgressStyle::Silent, "", None);
    download_to(session, path, &mut progress, |output, link, bytes| writer.write(output, link, bytes))?;
    writer.finish(&mut session.output)
}

/// Writes content to a terminal or a pipe. On a terminal, control characters are escaped, because the author of the
/// file must not control the user's screen.
#[derive(Default)]
pub struct ContentWriter {
    /// The incomplete character or line end at the end of the bytes so far.
    incomplete: Vec<u8>,
}

impl ContentWriter {
    /// Writes the received bytes.
    pub fn write(&mut self, output: &mut Output, link: &mut Link, bytes: &[u8]) -> Result<(), Failure> {
        if !output.is_terminal {
            return output.results.content(bytes, &mut || link.keep_alive());
        }
        self.incomplete.extend_from_slice(bytes);
        let whole = self.incomplete.len() - incomplete_bytes(&self.incomplete);
        let text = visible(&self.incomplete[..whole]);
        self.incomplete.drain(..whole);
        output.results.content(text.as_bytes(), &mut || link.keep_alive())
    }

    /// Writes the bytes of an incomplete character at the end of the content.
    pub fn finish(self, output: &mut Output) -> Result<(), Failure> {
        if self.incomplete.is_empty() {
            Ok(())
        } else {
            output.results.content(visible(&self.incomplete).as_bytes(), &mut || false)
        }
    }
}

/// Returns the number of bytes at the end that may begin a character or a line end.
fn incomplete_bytes(bytes: &[u8]) -> usize {
    if bytes.ends_with(b"\r") {
        return 1;
    }
    let last = bytes.utf8_chunks().last().map_or(&[][..], |chunk| chunk.invalid());
    let may_continue = std::str::from_utf8(last).is_err_and(|error| error.error_len().is_none());
    if may_continue { last.len() } else { 0 }
}

/// Returns the text with everything escaped except printable characters, line ends and tabs.
fn visible(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let mut characters = chunk.valid().chars().peekable();
        while let Some(c) = characters.next() {
            match c {
                '\n' | '\t' => text.push(c),
                // Other systems end lines with CR LF.
                '\r' if characters.peek() == Some(&'\n') => {}
                c if !is_unprintable(c) => text.push(c),
                c => text.push_str(&Escaped(c.encode_utf8(&mut [0; 4]).as_bytes()).to_string()),
            }
        }
        text.push_str(&Escaped(chunk.invalid()).to_string());
    }
    text
}

/// Shows the content as one JSON object. Content that is too long for one object is refused.
fn show_object(session: &mut Session, path: &VirtualPath) -> Result<(), Failure> {
    let mut content = Vec::new();
    let mut progress = Progress::for_file(ProgressStyle::Silent, "", None);
    let streamed = download_to(session, path, &mut progress, |_, _, bytes| {
        content.extend_from_slice(bytes);
        if content.len() as u64 <= JSON_CONTENT_BYTES_MAX {
            return Ok(());
        }
        let most = Size(JSON_CONTENT_BYTES_MAX);
        Err(Failure::Local(Explanation::new(
            format!("{path} is larger than {most}, the limit of cat --json"),
            format!("use '{} -'", advice::remote("get", path)),
        )))
    })?;
    session.output.json(&json!({
        "command": "cat", "ok": true, "path": Name::from(path), "size": streamed.size, "digest": streamed.digest,
        "content": Name(content),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_shows_control_characters_and_does_not_obey_them() {
        assert_eq!(visible("a\tb\\n\nü \u{1b}[2J\r\u{202e}".as_bytes()), "a\tb\\n\nü \\x1b[2J\\r\\xe2\\x80\\xae");
        assert_eq!(visible(b"\xff\x00"), "\\xff\\x00");
        assert_eq!(visible(b"one\r\ntwo\r"), "one\ntwo\\r");
    }

    #[test]
    fn characters_are_not_split_between_pieces() {
        for (bytes, incomplete) in
            [(&b"abc"[..], 0), (b"ab\xc3", 1), (b"a\xe6\x97", 2), (b"a\xff", 0), (b"\xc3a", 0), (b"a\r", 1), (b"", 0)]
        {
            assert_eq!(incomplete_bytes(bytes), incomplete, "{bytes:?}");
        }
    }
}
