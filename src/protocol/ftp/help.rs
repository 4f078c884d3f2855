//! Help texts: command names in columns, one command in a sentence; and the features beyond RFC 959.

use super::command_row::{Row, find};
use super::listing::Facts;
use super::{site, table};

/// Returns all names in columns, for the reply 214 to `HELP`.
pub fn columns<R>(rows: &'static [Row<R>]) -> Vec<String> {
    let names: Vec<&str> = rows.iter().flat_map(|row| row.names).copied().collect();
    let line = |names: &[&str]| {
        let padded: String = names.iter().map(|name| format!("{name:<COLUMN_WIDTH$}")).collect();
        padded.trim_end().to_string()
    };
    names.chunks(COLUMNS).map(line).collect()
}

/// Returns a sentence about the command `topic`, such as `SITE CHMOD`.
pub fn explanation(topic: &str) -> Option<String> {
    match topic.strip_prefix("SITE ") {
        Some(name) => find(site::COMMANDS, name.as_bytes()).map(sentence),
        None => find(table::COMMANDS, topic.as_bytes()).map(sentence),
    }
}

fn sentence<R>(row: &Row<R>) -> String {
    format!("{}: {}.", row.usage, row.does)
}

/// Returns the lines of the reply 211 to `FEAT` (RFC 2389). An asterisk marks selected facts.
pub fn features(facts: Facts) -> Vec<String> {
    let mut lines: Vec<String> = FEATURES.iter().map(|&line| line.into()).collect();
    lines.push(format!("MLST {}", facts.offered()));
    lines
}

const FEATURES: [&str; 17] = [
    "AUTH TLS",
    "AVBL",
    "CLNT",
    "EPRT",
    "EPSV",
    "HASH SHA-256*",
    "MDTM",
    "MFMT",
    "PBSZ",
    "PROT",
    "REST STREAM",
    "SITE CHMOD",
    "SITE UTIME",
    "SIZE",
    "TVFS",
    "UTF8",
    "XSHA256",
];
/// Eight columns fit 80 cells after the code or an indent.
const COLUMNS: usize = 8;
const COLUMN_WIDTH: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_name_within_a_screen() {
        let lines = columns(table::COMMANDS);
        assert!(lines.iter().all(|line| line.len() < 79 && line.is_ascii()), "{lines:?}");
        let names: Vec<&str> = lines.iter().flat_map(|line| line.split_whitespace()).collect();
        assert!(table::COMMANDS.iter().flat_map(|row| row.names).all(|name| names.contains(name)));
        assert_eq!(columns(site::COMMANDS), ["CHMOD    HELP     QUOTA    UTIME"]);
    }

    #[test]
    fn rows_say_how_they_are_written_beginning_with_their_name() {
        let rows = table::COMMANDS.iter().map(|row| (row.names[0].to_string(), row.usage, sentence(row)));
        let sites = site::COMMANDS.iter().map(|row| (format!("SITE {}", row.names[0]), row.usage, sentence(row)));
        for (name, usage, sentence) in rows.chain(sites) {
            assert!(usage.starts_with(&name) && sentence.ends_with('.') && !sentence.ends_with(".."), "{usage}");
            assert!(sentence.is_ascii() && sentence.len() < 150, "{sentence}");
        }
    }

    #[test]
    fn names_are_found_in_any_case_and_only_whole() {
        let found = |word: &[u8]| find(table::COMMANDS, word).map(|row| row.names[0]);
        assert_eq!(
            (found(b"retr"), found(b"XpWd"), found(b"RET"), found(b"")),
            (Some("RETR"), Some("PWD"), None, None)
        );
    }

    #[test]
    fn a_command_is_explained_in_a_sentence() {
        let explained = |topic| explanation(topic).unwrap_or_default();
        assert_eq!(explained("RETR"), "RETR <path>: downloads a file.");
        assert_eq!(explained("SITE CHMOD"), "SITE CHMOD <mode> <path>: sets permission bits, such as 644 or u+x.");
        assert_eq!((explanation("CHMOD"), explanation("SITE "), explanation("")), (None, None, None));
    }

    #[test]
    fn features_stand_one_on_a_line() {
        let lines = features(Facts::default());
        assert!(lines.iter().all(|line| line.is_ascii() && !line.contains(['\r', '\n'])));
        assert_eq!(lines.last().map(String::as_str), Some("MLST type*;size*;modify*;perm*;unique*;UNIX.mode*;"));
    }
}
