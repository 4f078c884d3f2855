//! The history of the shell: one file with a line for each entry. The first line says that backslashes and line
//! ends are escaped. Invalid UTF-8 affects only its own line.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::client::connection::state::{lock_directory, replace};

/// Returns the lines of `file`, oldest first. Returns none if the file does not exist.
pub fn read(file: &Path) -> io::Result<Vec<String>> {
    let mut bytes = Vec::new();
    // `NONBLOCK`, so that opening a FIFO of that name does not block.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(flags).open(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?.take(BYTES_MAX).read_to_end(&mut bytes)?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let escaped = text.strip_prefix(FIRST_LINE);
    let lines = escaped.unwrap_or(&text).lines().filter(|line| !line.is_empty());
    Ok(lines.map(|line| if escaped.is_some() { unescaped(line) } else { line.to_string() }).collect())
}

/// Appends `lines` to the current file, which other shells may have extended, and keeps the last `count_max`
/// lines.
pub fn append(file: &Path, lines: &[String], count_max: usize) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let _lock = lock_directory(file.parent().unwrap_or(Path::new(".")))?;
    let mut all = read(file)?;
    all.extend_from_slice(lines);
    let mut text = String::from(FIRST_LINE);
    for line in &all[all.len().saturating_sub(count_max)..] {
        text.push_str(&line.replace('\\', "\\\\").replace('\n', "\\n"));
        text.push('\n');
    }
    replace(file, text.as_bytes())
}

fn unescaped(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => text.push(match letters.next() {
                Some('n') => '\n',
                Some(other) => other,
                None => '\\',
            }),
            letter => text.push(letter),
        }
    }
    text
}

const FIRST_LINE: &str = "#V2\n";
/// The maximum number of bytes that are read. No typed history is longer.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_history_keeps_lines_unchanged_and_drops_the_oldest() {
        let directory = tempfile::tempdir().expect("temporary folder");
        let file = directory.path().join("history");
        assert_eq!(read(&file).expect("none is no error"), [""; 0]);
        let lines = ["ls", "get a\\ b", "two\nlines", "ü"].map(String::from);
        append(&file, &lines[..2], 10).expect("writable");
        append(&file, &lines[2..], 10).expect("writable");
        assert_eq!(read(&file).expect("readable"), lines);
        append(&file, &["last".into()], 2).expect("writable");
        assert_eq!(read(&file).expect("readable"), ["ü", "last"]);
        fs::write(&file, b"old\\form\n\nbad \xff\n").expect("writable");
        append(&file, &["new".into()], 10).expect("writable");
        assert_eq!(read(&file).expect("readable"), ["old\\form", "bad \u{fffd}", "new"]);
        fs::write(&file, b"").expect("writable");
        assert_eq!(read(&file).expect("readable"), [""; 0]);
        assert_eq!(fs::read_dir(directory.path()).expect("readable").count(), 1);
    }
}
