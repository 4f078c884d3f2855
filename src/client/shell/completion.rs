//! Completion of a partly typed line: command names, remote and local paths. This module knows no server and no
//! disk; the caller lists directories.

use rustyline::completion::Pair;

use crate::base::text::{Escaped, is_unprintable};
use crate::client::files::directory::NamedEntry;
use crate::client::syntax::arguments::Arguments;
use crate::client::syntax::command::{COMMANDS, CommandSpec, Operands, find};
use crate::client::syntax::lexer::{UnfinishedLine, Word, escape};

/// The machine that a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The server.
    Remote,
    /// The local machine.
    Local,
}

/// Returns the completions and the position in `line` where they belong. `line` ends at the cursor. `names_in`
/// lists the directory that a word names; an empty word is the current directory.
pub fn complete(line: &str, mut names_in: impl FnMut(Side, &Word) -> Vec<NamedEntry>) -> (usize, Vec<Pair>) {
    let Some(typed) = UnfinishedLine::read(line.as_bytes()) else { return (line.len(), Vec::new()) };
    let Some((command, words)) = typed.words.split_first() else {
        return (typed.name_start, commands(&typed));
    };
    let Ok(command) = find(command.as_str()) else { return (typed.name_start, Vec::new()) };
    let arguments = Arguments::read(command, words);
    if typed.word.text.starts_with(b"--") && typed.word.is_option() && !arguments.is_after_options {
        return (typed.name_start, long_options(command, &typed));
    }
    let sides: &[Side] = match (arguments.operand_kind(), arguments.operands.len()) {
        (Operands::Commands, _) => return (typed.name_start, commands(&typed)),
        (Operands::None, _) => &[],
        (Operands::Remote | Operands::RemoteDirectories, _) | (Operands::RemoteThenLocal, 0) => &[Side::Remote],
        (Operands::Local | Operands::LocalDirectories, _) | (Operands::LocalThenRemote, 0) => &[Side::Local],
        (Operands::RemoteThenLocal, _) => &[Side::Local, Side::Remote],
        (Operands::LocalThenRemote, _) => &[Side::Remote, Side::Local],
    };
    let only_directories = matches!(command.operands, Operands::RemoteDirectories | Operands::LocalDirectories);
    let mut found = sides.iter().map(|side| paths(&typed, only_directories, |directory| names_in(*side, directory)));
    (typed.name_start, found.find(|pairs| !pairs.is_empty()).unwrap_or_default())
}

fn commands(typed: &UnfinishedLine) -> Vec<Pair> {
    let fitting = COMMANDS.iter().filter(|command| command.name.as_bytes().starts_with(&typed.word.text));
    fitting.map(|command| Pair { display: command.name.into(), replacement: format!("{} ", command.name) }).collect()
}

/// Returns the matching long options. Option values are not completed.
fn long_options(command: &CommandSpec, typed: &UnfinishedLine) -> Vec<Pair> {
    let names = command.options.iter().filter(|option| option.is_offered()).map(|option| option.name);
    let fitting = names.filter(|name| name.as_bytes().starts_with(&typed.word.text));
    fitting.map(|name| Pair { display: name.into(), replacement: format!("{name} ") }).collect()
}

fn paths(typed: &UnfinishedLine, only_directories: bool, names_in: impl FnOnce(&Word) -> Vec<NamedEntry>) -> Vec<Pair> {
    let (directory, beginning) = typed.word.split_name();
    if beginning == b".." {
        return vec![Pair { display: "../".into(), replacement: "../".into() }];
    }
    let is_hidden = |name: &[u8]| name.starts_with(b".") && !beginning.starts_with(b".");
    let fits = |named: &NamedEntry| {
        named.name.starts_with(beginning) && !is_hidden(&named.name) && (named.is_directory || !only_directories)
    };
    names_in(&directory).iter().filter(|named| fits(named)).filter_map(|named| pair(typed, named)).collect()
}

/// Formats a name for insertion: followed by a slash for a directory, otherwise by a space.
fn pair(typed: &UnfinishedLine, named: &NamedEntry) -> Option<Pair> {
    let name = std::str::from_utf8(&named.name).ok().filter(|name| !name.contains(is_unprintable))?;
    let opened = typed.name_quote.map(char::from).map(String::from).unwrap_or_default();
    let quote = typed.quote.or(typed.name_quote);
    let closed = quote.map(char::from).map(String::from).unwrap_or_default();
    let name = escape(name, quote);
    let shown = Escaped(&named.name);
    Some(match named.is_directory {
        true => Pair { display: format!("{shown}/"), replacement: format!("{opened}{name}/") },
        false => Pair { display: shown.to_string(), replacement: format!("{opened}{name}{closed} ") },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replacements(line: &str) -> (usize, Vec<String>) {
        let names = |side: Side, directory: &Word| -> Vec<NamedEntry> {
            let names: &[&str] = match (side, directory.as_str()) {
                (Side::Remote, "") => &["my photos/", "my.txt", ".hidden", "it's", "new\nline", "n\u{202e}gpj.exe"],
                (Side::Remote, "my photos/") => &["a b.jpg", "c/"],
                (Side::Local, "") => &["here.txt", "my.txt"],
                _ => &[],
            };
            let named = |name: &&str| NamedEntry {
                name: name.trim_end_matches('/').as_bytes().to_vec(),
                is_directory: name.ends_with('/'),
            };
            names.iter().map(named).collect()
        };
        let (start, pairs) = complete(line, names);
        (start, pairs.into_iter().map(|pair| pair.replacement).collect())
    }

    #[test]
    fn names_of_commands_are_completed() {
        assert_eq!(replacements("mk"), (0, vec!["mkdir ".to_string()]));
        assert_eq!(replacements("cd a; qu"), (6, vec!["quota ".to_string(), "quit ".to_string()]));
        assert_eq!(replacements("help g"), (5, vec!["get ".to_string()]));
        assert_eq!(replacements("").1.len(), COMMANDS.len());
        assert_eq!(replacements("nonsense x").1.len(), 0);
        assert_eq!(replacements("mirror --d").1, ["--delete ", "--dry-run "]);
        assert_eq!(replacements("partials drop --").1, ["--all "]);
        assert_eq!(replacements("ls --").1.len(), 0);
    }

    #[test]
    fn completed_paths_are_quoted_for_the_lexer() {
        for (line, start, completions) in [
            ("ls my", 3, vec!["my\\ photos/", "my.txt "]),
            ("ls my\\ photos/a", 14, vec!["a\\ b.jpg "]),
            ("ls 'my photos/a", 14, vec!["a b.jpg' "]),
            ("ls my\\ photos/'", 14, vec!["'a b.jpg' ", "'c/"]),
            ("ls \"my photos\"/", 15, vec!["a\\ b.jpg ", "c/"]),
            ("stat it", 5, vec!["it\\'s "]),
            ("ls .h", 3, vec![".hidden "]),
            ("ls ..", 3, vec!["../"]),
            ("cd m", 3, vec!["my\\ photos/"]),
            ("pwd m", 4, vec![]),
            ("ls n", 3, vec![]),
        ] {
            assert_eq!(replacements(line), (start, completions.iter().map(|c| c.to_string()).collect()), "{line}");
        }
        assert_eq!(replacements("ls ").1.len(), 3, "hidden names only when asked for");
    }

    #[test]
    fn transfers_complete_the_source_then_the_destination() {
        assert_eq!(replacements("get my").1, ["my\\ photos/", "my.txt "]);
        assert_eq!(replacements("get -f my.txt my").1, ["my.txt "]);
        assert_eq!(replacements("get my.txt it").1, ["it\\'s "], "where nothing here fits, it is a further source");
        assert_eq!(replacements("put h").1, ["here.txt "]);
        assert_eq!(replacements("mirror h").1, ["here.txt "]);
        assert_eq!(replacements("mirror --from my").1, ["my\\ photos/", "my.txt "]);
        assert_eq!(replacements("mirror --from x h").1, ["here.txt "]);
        assert_eq!(replacements("mirror --exclude x h").1, ["here.txt "], "the value of an option is no operand");
        assert_eq!(replacements("mirror --exclude x here.txt my").1, ["my\\ photos/", "my.txt "]);
        assert_eq!(replacements("put here.txt my").1, ["my\\ photos/", "my.txt "]);
    }
}
