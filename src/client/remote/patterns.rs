//! Expands the patterns of a command line to remote paths.

use crate::base::glob::Pattern;
use crate::base::virtual_path::VirtualPath;
use crate::client::connection::session::Session;
use crate::client::error::Failure;
use crate::client::remote::listing::{ListingBudget, TreeEntry, with_paths};
use crate::client::syntax::lexer::Word;
use crate::client::ui::failures::report;
use crate::wire::message::{Entry, EntryKind};

impl Session {
    /// Returns the paths that `word` names: the entry of exactly that name, else the entries that match the
    /// pattern, else the path as written.
    pub fn expand(&mut self, word: &Word) -> Result<Vec<VirtualPath>, Failure> {
        if !word.is_pattern() {
            return Ok(vec![self.path(word)?]);
        }
        let start = if word.text.starts_with(b"/") { VirtualPath::root() } else { self.directory.clone() };
        let components = word.pattern_components();
        let mut bases = vec![start];
        for (at, component) in components.iter().enumerate() {
            let is_last = components[at + 1..].iter().all(|rest| rest.text.is_empty());
            bases = self.expand_component(&bases, component, is_last)?;
        }
        // If nothing matches, the command itself refuses the path as the user typed it.
        if bases.is_empty() { Ok(vec![self.path(word)?]) } else { Ok(bases) }
    }

    fn expand_component(
        &mut self,
        bases: &[VirtualPath],
        component: &Word,
        is_last: bool,
    ) -> Result<Vec<VirtualPath>, Failure> {
        if component.text.is_empty() {
            return Ok(bases.to_vec());
        }
        let mut matches_found = Vec::new();
        if !component.is_pattern() {
            for base in bases {
                let Ok(path) = base.join(&component.text) else { continue };
                if !is_last || bases.len() == 1 || self.find(&path)?.is_some() {
                    matches_found.push(path);
                }
            }
            return Ok(matches_found);
        }
        let pattern = Pattern::new(component.bytes());
        let mut budget = ListingBudget::new(&component.text);
        for base in bases {
            match self.list(base) {
                Ok(mut entries) => {
                    entries.retain(|entry| is_last || entry.kind != EntryKind::File);
                    self.add_matches(
                        base,
                        exact_or_matching(entries, component, &pattern),
                        &mut budget,
                        &mut matches_found,
                    )?;
                }
                // A directory that cannot be listed may still contain an entry of exactly that name.
                Err(failure) if failure.refuses_request() => {
                    if let Ok(path) = base.child(&component.text)
                        && self.is_there(&path)?
                    {
                        matches_found.push(path);
                    }
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(matches_found)
    }

    fn is_there(&mut self, path: &VirtualPath) -> Result<bool, Failure> {
        match self.stat(path) {
            Ok(_) => Ok(true),
            Err(failure) if failure.refuses_request() => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    fn add_matches(
        &mut self,
        base: &VirtualPath,
        entries: Vec<Entry>,
        budget: &mut ListingBudget<'_>,
        matches_found: &mut Vec<VirtualPath>,
    ) -> Result<(), Failure> {
        let (entries, too_long) = with_paths(base, entries);
        for TreeEntry { path, .. } in entries {
            budget.spend(&path)?;
            matches_found.push(path);
        }
        if let Some(failure) = too_long {
            report(&mut self.output, "glob", &failure)?;
        }
        Ok(())
    }
}

/// Returns the entry that is called exactly `component`, else the entries that match the pattern.
fn exact_or_matching(mut entries: Vec<Entry>, component: &Word, pattern: &Pattern) -> Vec<Entry> {
    let is_exactly = |entry: &Entry| entry.name.0 == component.text;
    let has_exactly = entries.iter().any(is_exactly);
    entries.retain(|entry| if has_exactly { is_exactly(entry) } else { pattern.matches(&entry.name.0) });
    entries
}
