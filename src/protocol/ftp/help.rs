//! Help texts: command names in columns, one command in a sentence; and the features beyond RFC 959.

use super::facts::Facts;
use super::table::{COMMANDS, FACTS_FEATURE, Row, find};

/// Returns the names of all commands in columns, for the reply 214 to `HELP`.
pub fn columns() -> Vec<String> {
    in_columns(names().filter(|name| !name.contains(' ')))
}

/// Returns the names of the `SITE` commands, for the reply 214 to `SITE HELP`.
pub fn site_columns() -> Vec<String> {
    in_columns(names().filter_map(|name| name.strip_prefix("SITE ")))
}

fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().flat_map(|row| row.names).copied()
}

fn in_columns(names: impl Iterator<Item = &'static str>) -> Vec<String> {
    let line = |names: &[&str]| {
        let padded: String = names.iter().map(|name| format!("{name:<COLUMN_WIDTH$}")).collect();
        padded.trim_end().to_string()
    };
    names.collect::<Vec<_>>().chunks(COLUMNS).map(line).collect()
}

/// Returns a sentence about the command `name`, such as `SITE CHMOD`.
pub fn explanation(name: &str) -> Option<String> {
    find(name.as_bytes()).map(sentence)
}

fn sentence(row: &Row) -> String {
    format!("{}: {}.", row.usage, row.description)
}

/// Returns the lines of the reply 211 to `FEAT` (RFC 2389), the facts last. An asterisk marks selected
/// facts.
pub fn features(facts: Facts) -> Vec<String> {
    let lines = COMMANDS.iter().flat_map(|row| row.features).filter(|line| **line != FACTS_FEATURE);
    let mut lines: Vec<String> = lines.map(|line| line.to_string()).collect();
    lines.sort_unstable();
    lines.push(format!("{FACTS_FEATURE} {}", facts.offered()));
    lines
}

/// Eight columns fit 80 cells after the code or an indent.
const COLUMNS: usize = 8;
const COLUMN_WIDTH: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_name_within_a_screen() {
        let lines = columns();
        assert!(lines.iter().all(|line| line.len() < 79 && line.is_ascii()), "{lines:?}");
        let listed: Vec<&str> = lines.iter().flat_map(|line| line.split_whitespace()).collect();
        assert!(names().filter(|name| !name.contains(' ')).all(|name| listed.contains(&name)));
        assert_eq!(site_columns(), ["CHMOD    HELP     QUOTA    UTIME"]);
    }

    #[test]
    fn rows_say_how_they_are_written_beginning_with_their_name() {
        for row in COMMANDS {
            let sentence = sentence(row);
            assert!(row.usage.starts_with(row.names[0]), "{}", row.usage);
            assert!(sentence.ends_with('.') && !sentence.ends_with(".."), "{sentence}");
            assert!(sentence.is_ascii() && sentence.len() < 150, "{sentence}");
        }
    }

    #[test]
    fn names_are_found_in_any_case_and_only_whole() {
        let found = |name: &[u8]| find(name).map(|row| row.names[0]);
        assert_eq!(
            (found(b"retr"), found(b"XpWd"), found(b"RET"), found(b"")),
            (Some("RETR"), Some("PWD"), None, None)
        );
    }

    #[test]
    fn a_command_is_explained_in_a_sentence() {
        let explained = |name| explanation(name).unwrap_or_default();
        assert_eq!(explained("RETR"), "RETR <path>: downloads a file.");
        assert_eq!(explained("SITE CHMOD"), "SITE CHMOD <mode> <path>: sets permission bits, such as 644 or u+x.");
        assert_eq!((explanation("CHMOD"), explanation("SITE "), explanation("")), (None, None, None));
    }

    #[test]
    fn features_are_sorted_and_the_facts_come_last() {
        let expected = [
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
            "MLST type*;size*;modify*;perm*;unique*;UNIX.mode*;",
        ];
        assert_eq!(features(Facts::default()), expected);
    }
}
