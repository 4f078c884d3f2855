//! Formats entries for `LIST` and `NLST`, as `ls` does: one line each, whatever bytes a name holds.

use crate::base::calendar::{ls_date, utc};
use crate::store::listing::Listed;
use crate::store::meta::{EntryMeta, Kind};

/// Appends a line in the form of `ls -l`, without its end. Times are in UTC. A symlink is shown with
/// its target, because many clients do not recognise it otherwise; a target outside of the home is
/// hidden. An entry that could not be read has no permissions, 0 bytes and the year 1970, because
/// clients accept no other form.
pub fn put_long(out: &mut Vec<u8>, listed: &Listed, now_ns: i64) {
    let (meta, kind) = (listed.metadata.meta(), listed.metadata.kind());
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

/// Returns the mark of `ls -F` after a name. A symlink in the long form has none, because its arrow
/// follows.
pub fn mark(metadata: &EntryMeta, is_long: bool) -> &'static [u8] {
    match metadata.kind() {
        Some(Kind::Directory) => b"/",
        Some(Kind::Link) if is_long => b"",
        Some(Kind::Link) => b"@",
        Some(Kind::File) if metadata.meta().is_some_and(|meta| meta.mode & 0o111 != 0) => b"*",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ftp::facts::{Facts, put_facts};
    use crate::store::meta::{Identity, Meta};

    /// 2026-11-27 12:34:56 UTC.
    const NOW: i64 = 1_795_782_896_000_000_000;
    const DAY: i64 = 86_400_000_000_000;

    fn listed(name: &[u8], kind: Kind, mtime_ns: i64) -> Listed {
        let size = if kind == Kind::File { 1234 } else { 0 };
        let identity = Identity { dev: 0xfe01, ino: 0x2a, size, mtime_ns, ctime_ns: 0 };
        let meta = Meta { kind, size, mtime_ns, mode: 0o644, links: 1, identity };
        Listed { name: name.to_vec(), metadata: EntryMeta::Examined(meta), target: None }
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
        if let EntryMeta::Examined(meta) = &mut largest.metadata {
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
            let entry = Listed { name: b"x".to_vec(), metadata: EntryMeta::Unexamined(kind), target: None };
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
}
