//! Formats entries for `LIST`, `NLST` and `MLSx`: one line each, whatever bytes a name holds.

use super::parse_error::ParseError;
use super::time;
use crate::base::calendar::{ls_date, utc};
use crate::base::glob::{Pattern, is_wild};
use crate::store::listing::{Listed, Order, SortBy};
use crate::store::meta::{Kind, Seen};

/// The options of `ls` that `LIST`, `NLST` and `STAT` accept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// `a`, `A`: also names with a leading dot, which a pattern otherwise leaves out.
    pub all: bool,
    /// `d`: the directory itself, not its content.
    pub itself: bool,
    /// `l`: the long form, also for `NLST`.
    pub long: bool,
    /// `R`: its subdirectories, too.
    pub recursive: bool,
    /// `F`: a mark after each name for its kind.
    pub marks: bool,
    /// `S`, `t`, `r`: the order.
    pub order: Order,
}

/// The letters of [`Options`]. `1` and `C` concern columns and are ignored, because a listing always
/// has one name a line.
pub const OPTIONS: &str = "1AaCdFlRrSt";

impl Options {
    /// Returns whether `pattern` matches a name.
    pub fn fits(self, pattern: &Pattern, name: &[u8]) -> bool {
        if self.all { pattern.fits(name) } else { pattern.matches(name) }
    }

    /// Returns its letters, without those that change nothing; for tests.
    #[cfg(test)]
    pub(super) fn letters(self) -> String {
        let by = |by| self.order.by == by;
        let letters = [
            ('a', self.all),
            ('d', self.itself),
            ('F', self.marks),
            ('l', self.long),
            ('R', self.recursive),
            ('S', by(SortBy::Size)),
            ('r', self.order.is_reversed),
            ('t', by(SortBy::Time)),
        ];
        letters.iter().filter(|(_, is_there)| *is_there).map(|(letter, _)| letter).collect()
    }

    pub(super) fn add(&mut self, letter: u8) -> Result<(), ParseError> {
        match letter {
            b'a' | b'A' => self.all = true,
            b'd' => self.itself = true,
            b'l' => self.long = true,
            b'R' => self.recursive = true,
            b'S' => self.order.by = SortBy::Size,
            b't' => self.order.by = SortBy::Time,
            b'r' => self.order.is_reversed = true,
            b'F' => self.marks = true,
            b'1' | b'C' => {}
            letter => return Err(ParseError::Option(letter, OPTIONS)),
        }
        Ok(())
    }
}

/// Splits `path` into directory and pattern, if its last component is a pattern: clients send these for
/// `mget`. An entry with exactly that name takes precedence; the caller checks that.
pub fn split_pattern(path: &[u8]) -> Option<(&[u8], Pattern)> {
    let name_at = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let (directory, name) = path.split_at(name_at);
    let directory = if directory.is_empty() { b"." } else { directory };
    name.iter().any(|&byte| is_wild(byte)).then(|| (directory, Pattern::plain(name)))
}

/// Appends a line in the form of `ls -l`, without its end. Times are in UTC. A symlink is shown with
/// its target, because many clients do not recognise it otherwise; a target outside of the home is
/// hidden. An entry that could not be read has no permissions, 0 bytes and the year 1970, because
/// clients accept no other form.
pub fn put_long(out: &mut Vec<u8>, listed: &Listed, now_ns: i64) {
    let (meta, kind) = (listed.seen.meta(), listed.seen.kind());
    let is_link = kind == Some(Kind::Link) && !hides_arrow(&listed.name);
    let mtime_ns = meta.map_or(0, |meta| meta.mtime_ns);
    let start = format!(
        "{}{} {:>3} berth    berth    {:>12} {} ",
        if is_link { 'l' } else { kind.map_or('-', letter) },
        permissions(meta.map_or(0, |meta| meta.mode)),
        meta.map_or(1, |meta| meta.links),
        meta.map_or(0, |meta| meta.size),
        ls_date(mtime_ns, now_ns, utc(mtime_ns))
    );
    out.extend_from_slice(start.as_bytes());
    if is_link {
        out.extend([&listed.name[..], b" -> ", listed.target.as_deref().unwrap_or(b"?")].concat());
    } else {
        out.extend_from_slice(&listed.name);
    }
}

/// Returns whether clients would not find the arrow between this name and the target. Such a symlink is
/// listed as a file.
fn hides_arrow(name: &[u8]) -> bool {
    name.ends_with(b" ") || name.windows(2).any(|pair| pair == b" -")
}

/// Ends the line that begins at `start`. Line ends within it become question marks.
pub fn end_line(out: &mut Vec<u8>, start: usize) {
    for byte in &mut out[start..] {
        if matches!(byte, b'\r' | b'\n' | 0) {
            *byte = b'?';
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a line of facts (RFC 3659 section 7), without its end. `may_write` is the account's
/// permission.
pub fn put_facts(out: &mut Vec<u8>, listed: &Listed, facts: Facts, may_write: bool) {
    out.extend_from_slice(facts.of(&listed.seen, may_write).as_bytes());
    out.push(b' ');
    out.extend_from_slice(&listed.name);
}

/// Returns the mark of `ls -F` after a name. A symlink in the long form has none, because its arrow
/// follows.
pub fn mark(seen: &Seen, is_long: bool) -> &'static [u8] {
    match seen.kind() {
        Some(Kind::Directory) => b"/",
        Some(Kind::Link) if is_long => b"",
        Some(Kind::Link) => b"@",
        Some(Kind::File) if seen.meta().is_some_and(|meta| meta.mode & 0o111 != 0) => b"*",
        Some(Kind::File) | None => b"",
        // As for a FIFO.
        Some(Kind::Other) => b"|",
    }
}

fn letter(kind: Kind) -> char {
    match kind {
        Kind::File | Kind::Link => '-',
        Kind::Directory => 'd',
        // A FIFO, a socket or a device; clients accept this letter for all of them.
        Kind::Other => 'p',
    }
}

fn permissions(mode: u32) -> String {
    let bit = |at: u32, letter: char| if mode >> at & 1 == 1 { letter } else { '-' };
    (0..9).rev().zip("rwxrwxrwx".chars()).map(|(at, letter)| bit(at, letter)).collect()
}

/// The facts that `MLST` and `MLSD` list, as selected by `OPTS MLST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts([bool; FACTS.len()]);

/// Returns a fact's value if the entry has it and it is known. The flag is the permission to write.
type FactValue = fn(&Seen, bool) -> Option<String>;

/// All facts, in the order of the listing.
const FACTS: [(&str, FactValue); 6] = [
    ("type", |seen, _| seen.kind().map(|is| kind(is).into())),
    ("size", |seen, _| seen.meta().filter(|meta| meta.kind == Kind::File).map(|meta| meta.size.to_string())),
    ("modify", |seen, _| seen.meta().map(|meta| time::written(meta.mtime_ns))),
    ("perm", |seen, may_write| seen.meta().map(|meta| allowed(meta.kind, may_write).into())),
    ("unique", |seen, _| seen.meta().map(|meta| format!("{:x}g{:x}", meta.identity.dev, meta.identity.ino))),
    ("UNIX.mode", |seen, _| seen.meta().map(|meta| format!("{:04o}", meta.mode & 0o7777))),
];

impl Default for Facts {
    fn default() -> Self {
        Self([true; FACTS.len()])
    }
}

impl Facts {
    /// No fact; only the name.
    pub const NONE: Self = Self([false; FACTS.len()]);

    /// Parses `type;size;…`, in any case. Unknown facts are ignored (RFC 3659 7.9).
    pub fn read(list: &str) -> Self {
        Self(FACTS.map(|(name, _)| list.split(';').any(|wanted| wanted.eq_ignore_ascii_case(name))))
    }

    /// Returns the selected ones, `type;size;`, for the reply to `OPTS MLST`.
    pub fn chosen(self) -> String {
        let named = FACTS.iter().zip(self.0).filter(|(_, is_chosen)| *is_chosen);
        named.map(|((name, _), _)| format!("{name};")).collect()
    }

    /// Returns all, with an asterisk after the selected ones, for `FEAT`.
    pub fn offered(self) -> String {
        let mark = |is_chosen| if is_chosen { "*" } else { "" };
        FACTS.iter().zip(self.0).map(|((name, _), is_chosen)| format!("{name}{};", mark(is_chosen))).collect()
    }

    fn of(self, seen: &Seen, may_write: bool) -> String {
        let chosen = FACTS.iter().zip(self.0).filter(|(_, is_chosen)| *is_chosen);
        chosen.filter_map(|((name, value), _)| Some(format!("{name}={};", value(seen, may_write)?))).collect()
    }
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Directory => "dir",
        Kind::Link => "OS.unix=slink",
        Kind::Other => "OS.unix=other",
    }
}

/// RFC 3659 section 7.5.5. The file's own permission bits are in `UNIX.mode`.
fn allowed(kind: Kind, may_write: bool) -> &'static str {
    match (kind, may_write) {
        (Kind::File, true) => "adfrw",
        (Kind::File, false) => "r",
        (Kind::Directory, true) => "cdeflmp",
        (Kind::Directory, false) => "el",
        (Kind::Link | Kind::Other, true) => "df",
        (Kind::Link | Kind::Other, false) => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::meta::{Identity, Meta};

    /// 2026-11-27 12:34:56 UTC.
    const NOW: i64 = 1_795_782_896_000_000_000;
    const DAY: i64 = 86_400_000_000_000;

    fn listed(name: &[u8], kind: Kind, mtime_ns: i64) -> Listed {
        let size = if kind == Kind::File { 1234 } else { 0 };
        let identity = Identity { dev: 0xfe01, ino: 0x2a, size, mtime_ns, ctime_ns: 0 };
        let meta = Meta { kind, size, mtime_ns, mode: 0o644, links: 1, identity };
        Listed { name: name.to_vec(), seen: Seen::Examined(meta), target: None }
    }

    fn long(listed: &Listed) -> String {
        let mut out = Vec::new();
        put_long(&mut out, listed, NOW);
        end_line(&mut out, 0);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn the_long_form_is_that_of_ls() {
        let line = long(&listed(b"a b", Kind::File, NOW));
        assert_eq!(line, "-rw-r--r--   1 berth    berth            1234 Nov 27 12:34 a b\r\n");
        let line = long(&listed(b"docs", Kind::Directory, NOW - 365 * DAY));
        assert_eq!(line, "drw-r--r--   1 berth    berth               0 Nov 27  2025 docs\r\n");
        let mut largest = listed(b"x", Kind::File, NOW);
        if let Seen::Examined(meta) = &mut largest.seen {
            meta.size = u64::MAX;
        }
        assert_eq!(long(&largest).split_whitespace().nth(4), Some("18446744073709551615"));
    }

    #[test]
    fn an_entry_that_cannot_be_examined_is_a_line_like_the_others() {
        for (kind, line_start, fact) in [
            (Some(Kind::Directory), "d---------", "type=dir; x\r\n"),
            (Some(Kind::File), "----------", "type=file; x\r\n"),
            (None, "----------", " x\r\n"),
        ] {
            let entry = Listed { name: b"x".to_vec(), seen: Seen::Unexamined(kind), target: None };
            let line = format!("{line_start}   1 berth    berth               0 Jan  1  1970 x\r\n");
            assert_eq!(long(&entry), line);
            let mut facts = Vec::new();
            put_facts(&mut facts, &entry, Facts::default(), true);
            end_line(&mut facts, 0);
            assert_eq!(String::from_utf8(facts).expect("UTF-8"), fact);
        }
    }

    #[test]
    fn permissions_are_nine_letters() {
        for (mode, letters) in [(0o755, "rwxr-xr-x"), (0, "---------"), (0o7777, "rwxrwxrwx"), (0o421, "r---w---x")] {
            assert_eq!(permissions(mode), letters);
        }
    }

    #[test]
    fn an_entry_is_one_line_whatever_its_name() {
        let name = b"a\r\nb\nc\r\xff\x1b";
        let entry = listed(name, Kind::File, NOW);
        let (mut names, mut facts, mut long) = (name.to_vec(), Vec::new(), Vec::new());
        put_facts(&mut facts, &entry, Facts::NONE, true);
        put_long(&mut long, &entry, NOW);
        for line in [&mut names, &mut facts, &mut long] {
            end_line(line, 0);
        }
        assert_eq!(names, b"a??b?c?\xff\x1b\r\n");
        assert_eq!(facts, b" a??b?c?\xff\x1b\r\n");
        assert!(long.ends_with(&names));
    }

    #[test]
    fn a_symlink_is_listed_with_its_target_unless_its_name_hides_the_arrow() {
        let link = |name: &[u8], target: Option<&[u8]>| {
            let target = target.map(<[u8]>::to_vec);
            long(&Listed { target, ..listed(name, Kind::Link, NOW) })
        };
        assert!(link(b"a", Some(b"b/c")).starts_with('l') && link(b"a", Some(b"b/c")).ends_with(" a -> b/c\r\n"));
        assert!(link(b"a", Some(b"b\nc")).ends_with(" a -> b?c\r\n"));
        assert!(link(b"a", None).ends_with(" a -> ?\r\n"));
        for name in ["a ", "a -> b", "a -", "a ->"] {
            let line = link(name.as_bytes(), Some(b"c"));
            assert!(line.starts_with('-') && line.ends_with(&format!(" {name}\r\n")), "{line}");
        }
    }

    #[test]
    fn a_pattern_is_split_from_its_directory() {
        for (path, directory) in [("*.txt", "."), ("/*", "/"), ("a/b/[x]?", "a/b/"), ("../*", "../")] {
            assert_eq!(split_pattern(path.as_bytes()).expect(path).0, directory.as_bytes());
        }
        for path in ["", "a", "*/a", "/a/*/", "a/b"] {
            assert_eq!(split_pattern(path.as_bytes()), None, "{path}");
        }
        let (_, pattern) = split_pattern(b"*.txt").expect("a pattern");
        let (some, all) = (Options::default(), Options { all: true, ..Options::default() });
        assert!(some.fits(&pattern, b"a.txt") && !some.fits(&pattern, b".a.txt") && all.fits(&pattern, b".a.txt"));
    }

    #[test]
    fn facts_are_those_of_rfc_3659() {
        let line = |kind, facts, may_write| {
            let mut out = Vec::new();
            put_facts(&mut out, &listed(b" x", kind, NOW), facts, may_write);
            end_line(&mut out, 0);
            String::from_utf8(out).expect("UTF-8")
        };
        assert_eq!(
            line(Kind::File, Facts::default(), true),
            "type=file;size=1234;modify=20261127123456;perm=adfrw;unique=fe01g2a;UNIX.mode=0644;  x\r\n"
        );
        assert_eq!(
            line(Kind::Directory, Facts::default(), false),
            "type=dir;modify=20261127123456;perm=el;unique=fe01g2a;UNIX.mode=0644;  x\r\n"
        );
        assert_eq!(line(Kind::Link, Facts::read("TYPE;SIZE;nonsense"), true), "type=OS.unix=slink;  x\r\n");
    }

    #[test]
    fn the_reply_lists_the_selected_facts() {
        let facts = Facts::read("unix.MODE;Type;type;colour");
        assert_eq!(facts.chosen(), "type;UNIX.mode;");
        assert_eq!(facts.offered(), "type*;size;modify;perm;unique;UNIX.mode*;");
        assert_eq!(Facts::read(&facts.chosen()), facts);
        assert_eq!(Facts::read(&Facts::default().chosen()), Facts::default());
        assert_eq!((Facts::NONE.chosen(), Facts::read("")), (String::new(), Facts::NONE));
    }
}
