//! What a listing contains, and the format of its lines.

use super::tree::Tree;
use crate::base::glob::Pattern;
use crate::base::virtual_path::VirtualPath;
use crate::protocol::ftp::facts::{Facts, put_facts};
use crate::protocol::ftp::list_options::Options;
use crate::protocol::ftp::listing;
use crate::store::listing::Listed;
use crate::store::meta::{EntryMeta, Meta};

/// A listing: its format, and the entries it contains.
pub(in crate::protocol::ftp) struct List {
    pub(super) form: ListFormat,
    pub(super) options: Options,
    /// The prefix of each name.
    pub(super) prefix: Vec<u8>,
    pub(super) pattern: Option<Pattern>,
    /// Present in a recursive listing.
    pub(super) tree: Option<Tree>,
    /// The heading of the next directory is sent, and the directory is being opened.
    pub(super) is_opening: bool,
}

/// The format of entries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::protocol::ftp) enum ListFormat {
    /// `LIST`: like `ls -l`.
    Long,
    /// `NLST`: only names.
    Names,
    /// `MLSD`: facts (RFC 3659).
    Facts,
}

impl List {
    pub(super) fn new(form: ListFormat, options: Options, prefix: Vec<u8>, pattern: Option<Pattern>) -> Self {
        Self { form, options, prefix, pattern, tree: None, is_opening: false }
    }

    /// Returns whether the listing contains `entry`.
    pub(in crate::protocol::ftp) fn has(&self, entry: &Listed) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| self.options.matches(pattern, &entry.name))
    }

    /// Returns the cost of comparing the names of entries.
    pub(in crate::protocol::ftp) fn cost(&self, entries: &[Listed]) -> u64 {
        let letters: usize = entries.iter().map(|entry| entry.name.len()).sum();
        self.pattern.as_ref().map_or(0, |pattern| (pattern.match_cost() * letters) as u64)
    }

    /// Returns the only entry of a listing of `path` itself: by its name, or by the requested text.
    pub(super) fn only_entry(&self, path: &VirtualPath, meta: Meta) -> Listed {
        let is_requested = |text: &&[u8]| self.form == ListFormat::Names && !text.is_empty();
        let requested = self.prefix.strip_suffix(b"/").filter(is_requested);
        let name = requested.or(path.name()).unwrap_or(b"/").to_vec();
        Listed { name, metadata: EntryMeta::Examined(meta), target: None }
    }

    /// Appends the line of an entry, without its end.
    pub(in crate::protocol::ftp) fn put(
        &self,
        out: &mut Vec<u8>,
        entry: &Listed,
        now_ns: i64,
        facts: Facts,
        may_write: bool,
    ) {
        match self.form {
            ListFormat::Long => listing::put_long(out, entry, now_ns),
            ListFormat::Names => {
                out.extend_from_slice(&self.prefix);
                out.extend_from_slice(&entry.name);
            }
            ListFormat::Facts => put_facts(out, entry, facts, may_write),
        }
        if self.options.marks {
            out.extend_from_slice(listing::mark(&entry.metadata, self.form == ListFormat::Long));
        }
    }

    /// Returns the text of the last reply.
    pub(super) fn ending(&self) -> String {
        match self.tree.as_ref().map_or(0, |tree| tree.skipped) {
            0 => "Transfer complete.".into(),
            1 => "Transfer complete, but 1 directory could not be listed.".into(),
            skipped => format!("Transfer complete, but {skipped} directories could not be listed."),
        }
    }
}

/// Returns the prefix of each name, so that the name can be used as it is (RFC 1123, section 4.1.2.7).
pub(super) fn prefix(directory: &[u8]) -> Vec<u8> {
    match directory {
        b"" | b"." => Vec::new(),
        directory if directory.ends_with(b"/") => directory.to_vec(),
        directory => [directory, b"/"].concat(),
    }
}

/// Appends the heading of a directory, like `ls -R`.
pub(super) fn put_heading(out: &mut Vec<u8>, directory: &[u8]) {
    let start = out.len();
    out.extend_from_slice(directory);
    out.push(b':');
    listing::end_line(out, start);
}
