//! The facts about entries that `MLST` and `MLSD` list (RFC 3659, section 7).

use super::time;
use crate::store::listing::Listed;
use crate::store::meta::{EntryMeta, Kind};

/// Appends a line of facts (RFC 3659 section 7), without its end. `may_write` is the account's
/// permission.
pub fn put_facts(out: &mut Vec<u8>, listed: &Listed, facts: Facts, may_write: bool) {
    out.extend_from_slice(facts.of(&listed.metadata, may_write).as_bytes());
    out.push(b' ');
    out.extend_from_slice(&listed.name);
}

/// The facts that `MLST` and `MLSD` list, as selected by `OPTS MLST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts([bool; FACTS.len()]);

/// Returns a fact's value if the entry has it and it is known. The flag is the permission to write.
type FactValue = fn(&EntryMeta, bool) -> Option<String>;

/// All facts, in the order of the listing.
const FACTS: [(&str, FactValue); 6] = [
    ("type", |metadata, _| metadata.kind().map(|is| kind(is).into())),
    ("size", |metadata, _| metadata.meta().filter(|meta| meta.kind == Kind::File).map(|meta| meta.size.to_string())),
    ("modify", |metadata, _| metadata.meta().map(|meta| time::format(meta.mtime_ns))),
    ("perm", |metadata, may_write| metadata.meta().map(|meta| allowed(meta.kind, may_write).into())),
    ("unique", |metadata, _| metadata.meta().map(|meta| format!("{:x}g{:x}", meta.identity.dev, meta.identity.ino))),
    ("UNIX.mode", |metadata, _| metadata.meta().map(|meta| format!("{:04o}", meta.mode & 0o7777))),
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
    pub fn parse(list: &str) -> Self {
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

    fn of(self, metadata: &EntryMeta, may_write: bool) -> String {
        let chosen = FACTS.iter().zip(self.0).filter(|(_, is_chosen)| *is_chosen);
        chosen.filter_map(|((name, value), _)| Some(format!("{name}={};", value(metadata, may_write)?))).collect()
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
    use crate::protocol::ftp::listing::end_line;
    use crate::store::meta::{Identity, Meta};

    fn listed(name: &[u8], kind: Kind) -> Listed {
        let size = if kind == Kind::File { 1234 } else { 0 };
        // 2026-11-27 12:34:56 UTC.
        let mtime_ns = 1_795_782_896_000_000_000;
        let identity = Identity { dev: 0xfe01, ino: 0x2a, size, mtime_ns, ctime_ns: 0 };
        let meta = Meta { kind, size, mtime_ns, mode: 0o644, links: 1, identity };
        Listed { name: name.to_vec(), metadata: EntryMeta::Examined(meta), target: None }
    }

    #[test]
    fn facts_are_those_of_rfc_3659() {
        let line = |kind, facts, may_write| {
            let mut out = Vec::new();
            put_facts(&mut out, &listed(b" x", kind), facts, may_write);
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
        assert_eq!(line(Kind::Link, Facts::parse("TYPE;SIZE;nonsense"), true), "type=OS.unix=slink;  x\r\n");
    }

    #[test]
    fn the_reply_lists_the_selected_facts() {
        let facts = Facts::parse("unix.MODE;Type;type;colour");
        assert_eq!(facts.chosen(), "type;UNIX.mode;");
        assert_eq!(facts.offered(), "type*;size;modify;perm;unique;UNIX.mode*;");
        assert_eq!(Facts::parse(&facts.chosen()), facts);
        assert_eq!(Facts::parse(&Facts::default().chosen()), Facts::default());
        assert_eq!((Facts::NONE.chosen(), Facts::parse("")), (String::new(), Facts::NONE));
    }
}
