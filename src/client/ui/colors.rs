//! Colours for names, as the local `ls` uses them: from `LS_COLORS`, else the defaults of `ls`. The caller checks that
//! the output is a terminal.

use std::collections::HashMap;

use crate::client::ui::terminal::has_colors;
use crate::wire::message::{Entry, EntryKind};

/// The colours of entry kinds and of name suffixes.
pub struct Colors {
    /// Maps the two letters that `dircolors` uses for a kind to its colour.
    kinds: HashMap<String, String>,
    /// Name suffixes and their colours. The last one that matches counts.
    endings: Vec<(String, String)>,
}

impl Colors {
    /// Returns the colours of the environment, or `None` if the terminal has no colours or `NO_COLOR` is set.
    pub fn from_environment() -> Option<Self> {
        has_colors().then(|| Self::read(&std::env::var("LS_COLORS").unwrap_or_default()))
    }

    /// Reads `di=01;34:*.zip=31`. A value that is not clearly a colour is left out.
    pub fn read(ls_colors: &str) -> Self {
        let own = |(kind, color): &(&str, &str)| (kind.to_string(), color.to_string());
        let mut colors = Self { kinds: KINDS.iter().map(own).collect(), endings: Vec::new() };
        for (of, color) in ls_colors.split(':').filter_map(|item| item.split_once('=')) {
            let color = if color.bytes().all(|byte| byte == b';' || byte.is_ascii_digit()) { color } else { "" };
            match of.strip_prefix('*') {
                Some(ending) => colors.endings.push((ending.into(), color.into())),
                None => drop(colors.kinds.insert(of.into(), color.into())),
            }
        }
        colors
    }

    /// Returns `name` in the colour of `entry`.
    pub fn paint(&self, entry: &Entry, name: &str) -> String {
        match self.color(entry) {
            Some(color) => format!("\x1b[{color}m{name}\x1b[0m"),
            None => name.to_string(),
        }
    }

    fn color(&self, entry: &Entry) -> Option<&str> {
        let has = |bits: u32| entry.mode & bits == bits;
        match entry.kind {
            EntryKind::Dir => {
                let special = [("tw", has(0o1002)), ("ow", has(0o0002)), ("st", has(0o1000)), ("di", true)];
                self.first(&special)
            }
            EntryKind::Link => self.kind("ln"),
            EntryKind::File => self
                .first(&[("su", has(0o4000)), ("sg", has(0o2000)), ("ex", entry.mode & 0o111 != 0)])
                .or_else(|| self.ending(&entry.name.0))
                .or_else(|| self.kind("fi")),
            EntryKind::Other => None,
        }
    }

    fn first(&self, kinds: &[(&str, bool)]) -> Option<&str> {
        kinds.iter().filter(|(_, is_it)| *is_it).find_map(|(kind, _)| self.kind(kind))
    }

    fn kind(&self, kind: &str) -> Option<&str> {
        self.kinds.get(kind).map(String::as_str).filter(is_color)
    }

    fn ending(&self, name: &[u8]) -> Option<&str> {
        let fits = |ending: &str| {
            let tail = name.len().checked_sub(ending.len()).map(|start| &name[start..]);
            tail.is_some_and(|tail| tail.eq_ignore_ascii_case(ending.as_bytes()))
        };
        let found = self.endings.iter().rev().find(|(ending, _)| fits(ending));
        found.map(|(_, color)| color.as_str()).filter(is_color)
    }
}

/// Returns whether the value is a colour at all: in `LS_COLORS`, `0` means none.
fn is_color(color: &&str) -> bool {
    !matches!(*color, "" | "0" | "00")
}

/// The defaults of `ls` without `LS_COLORS`.
const KINDS: [(&str, &str); 8] = [
    ("di", "01;34"),
    ("ln", "01;36"),
    ("ex", "01;32"),
    ("su", "37;41"),
    ("sg", "30;43"),
    ("tw", "30;42"),
    ("ow", "34;42"),
    ("st", "37;44"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn painted(ls_colors: &str, name: &str, kind: EntryKind, mode: u32) -> String {
        let entry = Entry { name: name.into(), kind, size: 0, mtime_ns: 0, mode, unexamined: false };
        Colors::read(ls_colors).paint(&entry, "x").replace('\x1b', "")
    }

    #[test]
    fn kinds_and_suffixes_have_the_colours_of_ls() {
        use EntryKind::{Dir, File, Link, Other};
        for (ls_colors, name, kind, mode, shown) in [
            ("", "d", Dir, 0o755, "[01;34mx[0m"),
            ("", "d", Dir, 0o777, "[34;42mx[0m"),
            ("", "d", Dir, 0o1777, "[30;42mx[0m"),
            ("", "f", File, 0o644, "x"),
            ("", "f", File, 0o755, "[01;32mx[0m"),
            ("", "f", Link, 0o777, "[01;36mx[0m"),
            ("", "f", Other, 0o644, "x"),
            ("*.zip=31:di=35", "a.ZIP", File, 0o644, "[31mx[0m"),
            ("*.zip=31:*.zip=32", "a.zip", File, 0o644, "[32mx[0m"),
            ("*.zip=31", "a.zip", File, 0o755, "[01;32mx[0m"),
            ("*.zip=31:di=35", "d", Dir, 0o755, "[35mx[0m"),
            ("ow=0:di=35", "d", Dir, 0o777, "[35mx[0m"),
            ("ln=target:*.a=1m\x1b[2J", "a.a", File, 0o644, "x"),
            ("ln=target", "l", Link, 0o777, "x"),
        ] {
            assert_eq!(painted(ls_colors, name, kind, mode), shown, "{ls_colors} {name} {mode:o}");
        }
    }
}
