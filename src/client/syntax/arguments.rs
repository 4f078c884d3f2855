//! Reads the words after a command as its row of the table says: which are options, values of options, and operands.
//! Running, completing and checking a command use the same reading.

use std::borrow::Cow;

use crate::client::error::Failure;
use crate::client::syntax::command::options::{CommandOption, OptionRole, OptionValue};
use crate::client::syntax::command::{CommandSpec, Operands, find, no_option, usage_failure};
use crate::client::syntax::lexer::Word;

/// The options and operands of one command.
pub struct Arguments<'a> {
    command: &'static CommandSpec,
    /// The words as they were typed.
    pub words: &'a [Word],
    /// The options in the order of the words, each with its value.
    given: Vec<(&'static CommandOption, Option<Cow<'a, Word>>)>,
    /// All other words.
    pub operands: Vec<&'a Word>,
    /// Whether `--` has ended the options.
    pub is_after_options: bool,
    /// Words that look like options of another command.
    unknown: Vec<&'a Word>,
    /// The option at the end whose value is missing.
    without_value: Option<(&'static CommandOption, OptionValue)>,
}

impl<'a> Arguments<'a> {
    /// Reads `words` for the command called `name`. An unknown option or a missing value is a failure.
    pub fn parse(name: &str, words: &'a [Word]) -> Result<Self, Failure> {
        let arguments = Self::read(find(name)?, words);
        if let Some(word) = arguments.unknown.first() {
            return Err(no_option(name, word));
        }
        match arguments.without_value {
            Some((option, value)) => Err(usage_failure(name, &format!("{} needs {}", option.name, value.described()))),
            None => Ok(arguments),
        }
    }

    /// Reads words that may be incomplete. Short options may be joined. `--` ends the options, and a quoted dash begins
    /// none.
    pub fn read(command: &'static CommandSpec, words: &'a [Word]) -> Self {
        let (given, operands, unknown) = (Vec::new(), Vec::new(), Vec::new());
        let mut read = Self { command, words, given, operands, is_after_options: false, unknown, without_value: None };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if read.is_after_options || !word.is_option() {
                read.operands.push(word);
            } else if word.is_bare(b"--") {
                read.is_after_options = true;
            } else if let Some(option) = command.option(word.as_str()) {
                let value = option.value.and_then(|_| words.next());
                read.without_value = option.value.filter(|_| value.is_none()).map(|value| (option, value));
                read.given.push((option, value.map(Cow::Borrowed)));
            } else if let Some((option, value)) = with_value(command, word) {
                read.given.push((option, Some(Cow::Owned(value))));
            } else if let Some(letters) = joined(command, word) {
                read.given.extend(letters.into_iter().map(|letter| (letter, None)));
            } else {
                read.unknown.push(word);
            }
        }
        read
    }

    /// Returns whether the option is given. It is one of the command's.
    pub fn has(&self, option: &str) -> bool {
        debug_assert!(self.command.option(option).is_some(), "{} has no option {option}", self.command.name);
        self.given.iter().any(|(given, _)| given.name == option)
    }

    /// Returns which of these options is given last.
    pub fn last_of(&self, options: &[&str]) -> Option<&'static str> {
        self.given.iter().rev().map(|(given, _)| given.name).find(|name| options.contains(name))
    }

    /// Returns the values of an option that may be repeated.
    pub fn values<'b>(&'b self, option: &'b str) -> impl Iterator<Item = &'b Word> {
        let is_this = move |given: &CommandOption| given.name == option;
        self.given.iter().filter(move |(given, _)| is_this(given)).filter_map(|(_, value)| value.as_deref())
    }

    /// Returns the kind of operands, which an option may swap.
    pub fn operand_kind(&self) -> Operands {
        let is_swapped = self.given.iter().any(|(given, _)| given.role == OptionRole::SwapOperands);
        match self.command.operands {
            Operands::LocalThenRemote if is_swapped => Operands::RemoteThenLocal,
            operands => operands,
        }
    }

    /// Returns whether the command means the same in every remote directory.
    pub fn names_only_absolute_paths(&self) -> bool {
        let are_absolute = |words: &[&Word]| !words.is_empty() && words.iter().all(|word| word.text.starts_with(b"/"));
        let operands = &self.operands[..];
        let last = operands.len().saturating_sub(1);
        match self.operand_kind() {
            Operands::None => self.command.name != "pwd",
            Operands::Local | Operands::LocalDirectories | Operands::Commands => true,
            Operands::Remote | Operands::RemoteDirectories => are_absolute(operands),
            Operands::LocalThenRemote => last > 0 && are_absolute(&operands[last..]),
            Operands::RemoteThenLocal => are_absolute(&operands[..last.max(1).min(operands.len())]),
        }
    }
}

/// Reads `--exclude=GLOB`.
fn with_value(command: &CommandSpec, word: &Word) -> Option<(&'static CommandOption, Word)> {
    let (name, _) = word.as_str().split_once('=')?;
    let option = command.option(name).filter(|option| option.value.is_some())?;
    Some((option, word.without_prefix(name.len() + 1)))
}

/// Reads `-la`.
fn joined(command: &CommandSpec, word: &Word) -> Option<Vec<&'static CommandOption>> {
    let letters = word.as_str().strip_prefix('-').filter(|letters| !letters.is_empty())?;
    letters.chars().map(|letter| command.option(&format!("-{letter}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::syntax::lexer::split;

    fn words(line: &str) -> Vec<Word> {
        split(line.as_bytes()).expect("a good line").remove(0)
    }

    fn texts<'a>(words: impl IntoIterator<Item = &'a Word>) -> Vec<&'a str> {
        words.into_iter().map(Word::as_str).collect()
    }

    #[test]
    fn options_may_be_joined_and_end_at_two_dashes() {
        let line = words("-la x '-r' -r -- -y -");
        let arguments = Arguments::parse("ls", &line).expect("valid");
        assert!(["-l", "-a", "-r"].iter().all(|option| arguments.has(option)) && !arguments.has("-t"));
        assert_eq!(texts(arguments.operands), ["x", "-r", "-y", "-"]);
        let failure = Arguments::parse("mkdir", &line).err().expect("unknown");
        assert!(failure.exit_code() == 2 && failure.to_string().contains("write ./-la"), "{failure}");
        let line = [Word::plain(b"-\xff")];
        assert!(Arguments::parse("rm", &line).is_err(), "no other meaning for what is no text");
        for line in ["--recursive", "-rx", "-f-", "-"] {
            let line = words(line);
            assert_eq!(Arguments::parse("rm", &line).is_ok(), line[0].as_str() == "-", "{line:?}");
        }
    }

    #[test]
    fn a_value_is_the_next_word_or_follows_an_equals_sign() {
        let line = words("--exclude '*.tmp' --exclude=build/ --exclude -- here -- --from");
        let arguments = Arguments::parse("mirror", &line).expect("valid");
        assert_eq!(texts(arguments.values("--exclude")), ["*.tmp", "build/", "--"]);
        assert_eq!(texts(arguments.operands.iter().copied()), ["here", "--from"]);
        assert_eq!(arguments.operand_kind(), Operands::LocalThenRemote);
        let line = words("a b --exclude");
        let failure = Arguments::parse("mirror", &line).err().expect("no value");
        assert!(failure.to_string().starts_with("--exclude needs a pattern; usage: mirror "), "{failure}");
        assert!(Arguments::parse("mirror", &words("--from=x a b")).is_err());
    }

    #[test]
    fn commands_that_name_only_absolute_paths_are_recognized() {
        for (line, expected) in [
            ("ls /a /b", true),
            ("ls -l", false),
            ("ls /a b", false),
            ("pwd", false),
            ("quota", true),
            ("lls x", true),
            ("put a /b", true),
            ("put /a", false),
            ("get /a b", true),
            ("get /a", true),
            ("get a /b", false),
            ("mirror --exclude x a /b", true),
            ("mirror --from --exclude x /a b", true),
            ("mirror --from a /b", false),
            ("mirror -- --from /b", true),
        ] {
            let line = words(line);
            let command = find(line[0].as_str()).expect("known");
            assert_eq!(Arguments::read(command, &line[1..]).names_only_absolute_paths(), expected, "{line:?}");
        }
    }
}
