//! The entries that a mirror ignores on both sides. This module knows paths below the root of a tree, but no disk.

use crate::base::glob::Pattern;
use crate::base::virtual_path::VirtualPath;
use crate::client::syntax::lexer::Word;

/// The patterns of `--exclude`.
#[derive(Default)]
pub struct Exclusions(Vec<Exclusion>);

struct Exclusion {
    /// The components, each as written and as a pattern.
    names: Vec<(Vec<u8>, Pattern)>,
    /// The pattern had a slash: it matches whole paths, not names anywhere.
    is_path: bool,
    /// The pattern ended with a slash, so it matches only directories.
    only_directories: bool,
}

impl Exclusions {
    /// Adds a pattern. `*.tmp` matches names anywhere; `/build/*.o` and `build/*.o` match paths from the root
    /// of the tree. A pattern with a slash at the end matches only directories.
    pub fn add(&mut self, pattern: &Word) {
        let components = pattern.pattern_components();
        let names = components.iter().filter(|name| !name.text.is_empty());
        let names = names.map(|name| (name.text.clone(), Pattern::new(name.bytes()))).collect();
        let only_directories = components.len() > 1 && components.last().is_some_and(|last| last.text.is_empty());
        let is_path = components.len() - usize::from(only_directories) > 1;
        self.0.push(Exclusion { names, is_path, only_directories });
    }

    /// Returns whether `path` itself is excluded. The caller skips the content of an excluded directory.
    pub fn has(&self, path: &VirtualPath, is_directory: bool) -> bool {
        self.0.iter().any(|exclusion| (is_directory || !exclusion.only_directories) && exclusion.fits(path))
    }
}

impl Exclusion {
    fn fits(&self, path: &VirtualPath) -> bool {
        // A name that is spelled exactly like the pattern matches too.
        let fits = |(text, pattern): &(Vec<u8>, Pattern), name: &[u8]| text == name || pattern.matches_hidden_too(name);
        match (&self.names[..], path.name()) {
            ([pattern], Some(name)) if !self.is_path => fits(pattern, name),
            (patterns, Some(_)) => {
                let mut names = path.components();
                patterns.iter().all(|pattern| names.next().is_some_and(|name| fits(pattern, name)))
                    && names.next().is_none()
            }
            (_, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusions_match_names_anywhere_or_paths_from_the_root() {
        for (pattern, path, is_directory, fits) in [
            ("*.tmp", "/a.tmp", false, true),
            ("*.tmp", "/x/y/.a.tmp", false, true),
            ("*.tmp", "/a.tmp/b", false, false),
            ("cache", "/x/cache", true, true),
            ("cache/", "/x/cache", true, true),
            ("cache/", "/x/cache", false, false),
            ("/cache", "/cache", false, true),
            ("/cache", "/x/cache", false, false),
            ("build/*.o", "/build/a.o", false, true),
            ("build/*.o", "/x/build/a.o", false, false),
            ("build/*.o", "/build/x/a.o", false, false),
            ("*", "/.hidden", false, true),
            ("*", "/", true, false),
            ("/", "/a", true, false),
            ("a[1].tmp", "/x/a[1].tmp", false, true),
            ("/x[1]/b*", "/x[1]/bc", false, true),
        ] {
            let mut exclusions = Exclusions::default();
            exclusions.add(&Word::plain(pattern.as_bytes()));
            let path = VirtualPath::parse(path.as_bytes()).expect("valid");
            assert_eq!(exclusions.has(&path, is_directory), fits, "{pattern} {path}");
        }
    }
}
