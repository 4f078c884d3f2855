//! Names that a file system may treat as the same: `a` and `A`, a precomposed and a decomposed accented letter,
//! a dot at the end. The listing of a directory then shows only one of them. This module touches neither disk
//! nor server.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

/// The names in a directory.
pub type Names = HashSet<Vec<u8>>;

/// Groups of paths of one command that may be the same file or directory at the destination.
#[derive(Default)]
pub struct Spellings(HashMap<Vec<u8>, Vec<Vec<u8>>>);

impl Spellings {
    /// Finds the groups among `paths`, which have no `/` at their end. Compares hashes first, so that paths without a
    /// group need no memory for keys.
    pub fn among<'a>(paths: impl Iterator<Item = &'a [u8]> + Clone) -> Self {
        let hasher = RandomState::new();
        let mut is_repeated: HashMap<u64, bool> = HashMap::new();
        for path in paths.clone() {
            is_repeated.entry(hasher.hash_one(folded(path))).and_modify(|is_several| *is_several = true).or_default();
        }
        is_repeated.retain(|_, is_several| *is_several);
        let mut groups: HashMap<Vec<u8>, Vec<Vec<u8>>> = HashMap::new();
        for path in paths.filter(|_| !is_repeated.is_empty()) {
            let folded = folded(path);
            if is_repeated.contains_key(&hasher.hash_one(&folded)) {
                groups.entry(folded).or_default().push(path.to_vec());
            }
        }
        Self(groups)
    }

    /// Returns whether there are no such groups.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns those existing `paths` that their directory lists under another name of the group, each with
    /// that other path. `list` returns the names in a directory, or nothing if it cannot be listed.
    pub fn listed_under_other_name<'a, E>(
        &self,
        paths: impl IntoIterator<Item = &'a [u8]>,
        mut list: impl FnMut(&[u8]) -> Result<Option<Names>, E>,
    ) -> Result<HashMap<Vec<u8>, Vec<u8>>, E> {
        let mut listed: HashMap<Vec<u8>, Option<Names>> = HashMap::new();
        let mut found = HashMap::new();
        if self.0.is_empty() {
            return Ok(found);
        }
        for path in paths {
            let Some(group) = self.0.get(&folded(path)).filter(|group| group.len() > 1) else { continue };
            let (directory, name) = split(path);
            if !listed.contains_key(directory) {
                listed.insert(directory.to_vec(), list(directory)?);
            }
            let Some(names) = listed.get(directory).and_then(Option::as_ref).filter(|names| !names.contains(name))
            else {
                continue;
            };
            // The names of the directories above it may also differ in spelling.
            let is_there = |other: &&Vec<u8>| other[..] != *path && names.contains(split(other).1);
            if let Some(other) = group.iter().find(is_there) {
                found.insert(path.to_vec(), other.clone());
            }
        }
        Ok(found)
    }
}

/// Splits a path into its directory and its name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let at = path.iter().rposition(|&byte| byte == b'/');
    at.map_or((&[], path), |at| (&path[..at], &path[at + 1..]))
}

/// Returns a key that is equal for all spellings that a file system may treat as the same, and sometimes for
/// other names. The key omits letters beyond ASCII, and the letter before a combining mark.
fn folded(path: &[u8]) -> Vec<u8> {
    let mut folded = Vec::with_capacity(path.len());
    for name in path.split(|&byte| byte == b'/') {
        let start = folded.len();
        for c in String::from_utf8_lossy(name).chars() {
            match c {
                c if c.is_ascii() => folded.push(c.to_ascii_lowercase() as u8),
                c if c.to_lowercase().any(|c| c.is_ascii()) => fold_into(&mut folded, start, c.to_lowercase()),
                // A letter may be several in upper case.
                c => fold_into(&mut folded, start, c.to_uppercase()),
            }
        }
        while folded.len() > start && folded.last().is_some_and(|last| b". ".contains(last)) {
            folded.pop();
        }
        folded.push(b'/');
    }
    folded
}

fn fold_into(folded: &mut Vec<u8>, start: usize, letters: impl Iterator<Item = char>) {
    for c in letters {
        match c {
            c if c.is_ascii() => folded.push(c.to_ascii_lowercase() as u8),
            c if is_combining(c) && folded.len() > start => drop(folded.pop()),
            _ => {}
        }
    }
}

fn is_combining(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the existing `paths` that a directory with these names lists under another name.
    fn otherwise(paths: &[&str], names: &[&str]) -> Vec<String> {
        let spellings = Spellings::among(paths.iter().map(|path| path.as_bytes()));
        let names: Names = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let found = spellings
            .listed_under_other_name(paths.iter().map(|path| path.as_bytes()), |_| Ok::<_, ()>(Some(names.clone())));
        let shown = |(path, other): (Vec<u8>, Vec<u8>)| {
            format!("{} is {}", String::from_utf8_lossy(&path), String::from_utf8_lossy(&other))
        };
        let mut found: Vec<String> = found.expect("listed").into_iter().map(shown).collect();
        found.sort();
        found
    }

    #[test]
    fn a_name_that_a_directory_lists_under_another_name_is_found() {
        assert_eq!(otherwise(&["/d/a", "/d/A", "/d/b"], &["A", "b"]), ["/d/a is /d/A"]);
        assert_eq!(otherwise(&["/d/a", "/d/A", "/d/b"], &["A", "a", "b"]), [""; 0]);
        assert_eq!(otherwise(&["/\u{e9}t\u{e9}", "/E\u{301}te\u{301}"], &["\u{e9}t\u{e9}"]).len(), 1);
        assert_eq!(otherwise(&["a.", "a"], &["a"]), ["a. is a"]);
        assert_eq!(otherwise(&["\u{212a}elvin", "kelvin", "stra\u{df}e", "STRASSE"], &["kelvin", "STRASSE"]).len(), 2);
        assert_eq!(otherwise(&["\u{1f0}", "j\u{30c}"], &["j\u{30c}"]).len(), 1);
        assert_eq!(otherwise(&["\u{130}x", "i\u{307}x"], &["i\u{307}x"]).len(), 1);
    }

    #[test]
    fn directories_are_not_listed_for_names_that_always_differ() {
        let paths = ["/d/a", "/d/b", "/e/a", "/d/ab", "/d/a/b"];
        let spellings = Spellings::among(paths.iter().map(|path| path.as_bytes()));
        let found =
            spellings.listed_under_other_name(paths.iter().map(|path| path.as_bytes()), |_| Err("it is listed"));
        assert_eq!(found, Ok(HashMap::new()));
    }
}
