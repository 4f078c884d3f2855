//! What people type at the client, and the names a server sends into it: command lines,
//! patterns, completion.

use super::{assert_is_one_plain_line, halves};
use berth::base::glob::Pattern;
use berth::client::files::directory::NamedEntry;
use berth::client::shell::completion::complete;
use berth::client::syntax::arguments::Arguments;
use berth::client::syntax::command;
use berth::client::syntax::lexer::{UnfinishedLine, Word, escape, split};

/// A pattern without classes matches as the plain definition says; quoted text is no pattern; a
/// star more takes a letter more.
pub(super) fn glob(input: &[u8]) {
    let (pattern, name) = halves(input);
    let plain = Word::plain(pattern);
    let fits = Pattern::new(plain.bytes()).matches(name);
    if !pattern.contains(&b'[') {
        let is_hidden = name.starts_with(b".") && !pattern.starts_with(b".");
        assert_eq!(fits, !is_hidden && fits_plainly(pattern, name));
    }
    if !pattern.is_empty() && !pattern.contains(&b']') && !b"!^".contains(&pattern[0]) {
        check_class(pattern, name);
    }
    if fits {
        let longer = Word::plain(&[pattern, b"*"].concat());
        assert!(Pattern::new(longer.bytes()).matches(&[name, b"x"].concat()));
    }
    if let Ok(text) = std::str::from_utf8(name)
        && !text.is_empty()
    {
        let quoted = split(escape(text, None).as_bytes()).expect("a good line").remove(0).remove(0);
        assert!(!quoted.is_pattern() && Pattern::new(quoted.bytes()).matches(name));
        assert!(!Pattern::new(quoted.bytes()).matches(&[name, b"x"].concat()));
    }
}

/// A letter is in the class or in its opposite.
fn check_class(class: &[u8], name: &[u8]) {
    let is_in = Pattern::plain(&[b"[", class, b"]"].concat());
    let is_out = Pattern::plain(&[b"[!", class, b"]"].concat());
    for letter in letters(name).into_iter().filter(|&letter| letter != b".") {
        assert!(is_in.matches(letter) != is_out.matches(letter));
        assert!(is_in.matches(letter) || !letters(class).contains(&letter) || class.contains(&b'-'));
    }
}

/// `*` and `?` by definition: `row[j]` tells whether the pattern so far fits the first `j` letters.
fn fits_plainly(pattern: &[u8], name: &[u8]) -> bool {
    let (pattern, name) = (letters(pattern), letters(name));
    let mut row = vec![false; name.len() + 1];
    row[0] = true;
    for token in pattern {
        let mut next = vec![false; name.len() + 1];
        for j in 0..=name.len() {
            match token {
                b"*" => next[j] = row[..=j].contains(&true),
                token if j > 0 => next[j] = row[j - 1] && (token == b"?" || token == name[j - 1]),
                _ => {}
            }
        }
        row = next;
    }
    row[name.len()]
}

/// The characters of `bytes`, and those bytes that are part of none.
fn letters(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut letters = Vec::new();
    while !bytes.is_empty() {
        let is_letter = |count: &usize| std::str::from_utf8(&bytes[..*count]).is_ok();
        let (letter, rest) = bytes.split_at((1..=bytes.len().min(4)).find(is_letter).unwrap_or(1));
        letters.push(letter);
        bytes = rest;
    }
    letters
}

/// Words are what they were quoted from, and every failure can be shown.
pub(super) fn words(input: &[u8]) {
    if let Some(typed) = UnfinishedLine::read(input) {
        assert!(typed.name_start <= input.len());
        let text = std::str::from_utf8(input);
        assert!(text.is_ok_and(|text| text.is_char_boundary(typed.name_start)) || text.is_err());
    }
    let Ok(commands) = split(input) else { return };
    for words in &commands {
        assert!(!words.is_empty(), "a command without words");
        words.iter().for_each(check_word);
        if let Err(failure) = command::find(words[0].as_str()) {
            assert_is_one_plain_line(&failure.to_string());
        }
        if let Err(failure) = Arguments::parse("mirror", &words[1..]) {
            assert_is_one_plain_line(&failure.to_string());
        }
    }
    check_quoting(&commands);
}

fn check_word(word: &Word) {
    let components: Vec<Vec<u8>> = word.pattern_components().into_iter().map(|component| component.text).collect();
    assert_eq!(components.join(&b'/'), word.text);
    let (directory, name) = word.split_name();
    assert_eq!([&directory.text[..], name].concat(), word.text);
    assert!(!name.contains(&b'/') && directory.text.last().is_none_or(|&last| last == b'/'));
}

/// Written in any of the three ways they are read again.
fn check_quoting(commands: &[Vec<Word>]) {
    let texts = |commands: &[Vec<Word>]| -> Vec<Vec<Vec<u8>>> {
        commands.iter().map(|words| words.iter().map(|word| word.text.clone()).collect()).collect()
    };
    for quote in [None, Some('\''), Some('"')] {
        let write = |word: &Word| {
            let text = std::str::from_utf8(&word.text).ok()?;
            // Nothing at all is a word only between quotes.
            let mark = if text.is_empty() { quote.or(Some('\'')) } else { quote };
            let mark_text = mark.map(String::from).unwrap_or_default();
            Some(format!("{mark_text}{}{mark_text}", escape(text, mark.map(|mark| mark as u8))))
        };
        let lines: Option<Vec<String>> =
            commands.iter().map(|words| Some(words.iter().map(write).collect::<Option<Vec<_>>>()?.join(" "))).collect();
        let Some(lines) = lines else { return };
        let again = split(lines.join(";").as_bytes()).expect("what was quoted is closed");
        assert_eq!(texts(&again), texts(commands));
    }
}

/// What completion puts on the line reads as the name it was for.
pub(super) fn completion(input: &[u8]) {
    let (line, names) = halves(input);
    let (Ok(line), Some(typed)) = (std::str::from_utf8(line), UnfinishedLine::read(line)) else { return };
    let names: Vec<NamedEntry> = names
        .split(|&byte| byte == b'\n')
        .map(|name| match name.strip_suffix(b"/") {
            Some(name) => NamedEntry { name: name.to_vec(), is_directory: true },
            None => NamedEntry { name: name.to_vec(), is_directory: false },
        })
        .filter(|named| !named.name.is_empty() && !named.name.contains(&b'/'))
        .collect();
    let (start, pairs) = complete(line, |_, _| names.clone());
    let directory = typed.word.split_name().0.text;
    let of_name =
        |named: &NamedEntry| [&directory[..], &named.name, if named.is_directory { b"/" } else { b"" }].concat();
    let mut expected: Vec<Vec<u8>> = names.iter().map(of_name).collect();
    expected.extend(command::COMMANDS.iter().map(|command| command.name.as_bytes().to_vec()));
    let options = command::COMMANDS.iter().flat_map(|command| command.options);
    expected.extend(options.map(|option| option.name.as_bytes().to_vec()));
    expected.push([&directory[..], b"../"].concat());
    for pair in pairs {
        assert_is_one_plain_line(&pair.display);
        assert_is_one_plain_line(&pair.replacement);
        let completed = format!("{}{}", &line[..start], pair.replacement);
        let after = UnfinishedLine::read(completed.as_bytes()).expect("no comment");
        let is_whole = after.word.text.is_empty();
        let word = if is_whole { after.words.last().expect("a word") } else { &after.word };
        assert!(expected.contains(&word.text), "{completed:?} reads as {word:?}");
        assert_eq!(after.words.len(), typed.words.len() + usize::from(is_whole), "{completed:?} has other words");
    }
}
