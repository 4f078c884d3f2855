//! Listing a folder in slices: names are read and sorted in runs, the runs are merged as pages
//! are produced, and each entry is looked at only when its page is. In an order that names do not tell,
//! all are looked at before the first. What cannot be examined is listed by its name.

mod order;

pub use order::{Order, SortBy};

use super::StoreError;
use super::home::STAGING;
use super::meta::{Kind, Seen};
use crate::lane::Budget;
use crate::limits::{ENTRY_COST, LISTING_BYTES_MAX, LISTING_ENTRIES_MAX, LISTING_RUN_ENTRIES};
use order::Head;
use rustix::fs::{AtFlags, Dir, FileType};
use std::collections::BinaryHeap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

/// A listing that has not ended yet.
pub struct Listing {
    dir: Dir,
    hides_staging: bool,
    /// The staging folder, which some file systems list under another spelling.
    staging: Option<(u64, u64)>,
    is_read: bool,
    names: Names,
    /// The end of each sorted run in `names`, in order.
    run_ends: Vec<usize>,
    /// The first name left of each run, the next on top.
    heads: BinaryHeap<Head>,
    order: Order,
    /// What names are ordered by, as far as entries were looked at; none if by name alone.
    ranks: Vec<u64>,
    /// How many folders lie between the home and what is listed, if targets of links are wanted.
    depth: Option<usize>,
}

/// One entry of a folder.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its name.
    pub name: Vec<u8>,
    /// What the system says of it; a link is not followed.
    pub seen: Seen,
    /// What a link says, if that was wanted and leads to nothing outside of the home.
    pub target: Option<Vec<u8>>,
}

/// Names packed one behind the other, so that a name costs little more than its bytes.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

/// Where a name lies. There are file systems with longer names than the 255 bytes of NAME_MAX.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    length: u16,
    /// What the folder says that the entry is.
    kind: Option<Kind>,
}

impl Span {
    fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..][..usize::from(self.length)]
    }
}

impl Names {
    /// Adds a name; false if there is no room for it.
    fn push(&mut self, name: &[u8], kind: Option<Kind>) -> bool {
        let (Ok(start), Ok(length)) = (u32::try_from(self.bytes.len()), u16::try_from(name.len())) else {
            return false;
        };
        if self.spans.len() >= LISTING_ENTRIES_MAX || self.bytes.len() + name.len() > LISTING_BYTES_MAX {
            return false;
        }
        self.bytes.extend_from_slice(name);
        self.spans.push(Span { start, length, kind });
        true
    }

    fn get(&self, index: usize) -> &[u8] {
        self.spans[index].of(&self.bytes)
    }
}

impl Listing {
    /// A listing of `folder`, open for reading, without the staging folder if it is a home's top.
    pub fn new(folder: OwnedFd, hides_staging: bool) -> Result<Self, StoreError> {
        let dir = Dir::new(folder)?;
        let staging = hides_staging.then(|| rustix::fs::statat(dir.fd()?, STAGING, AtFlags::SYMLINK_NOFOLLOW));
        Ok(Self {
            dir,
            hides_staging,
            staging: staging.and_then(Result::ok).map(|staging| (staging.st_dev, staging.st_ino)),
            is_read: false,
            names: Names::default(),
            run_ends: Vec::new(),
            heads: BinaryHeap::new(),
            order: Order::default(),
            ranks: Vec::new(),
            depth: None,
        })
    }

    /// The next entry in order of bytes, as far as `budget` goes.
    pub fn next(&mut self, budget: &mut Budget) -> Result<Step, StoreError> {
        if !self.read_names(budget)? || !self.rank_names(budget)? {
            return Ok(Step::Later);
        }
        while !budget.is_spent() {
            budget.spend(ENTRY_COST);
            let Some(Head { name, index, run, .. }) = self.heads.pop() else { return Ok(Step::End) };
            if index + 1 < self.run_ends[run] {
                self.push_head(index + 1, run);
            }
            let seen = match rustix::fs::statat(self.dir.fd()?, OsStr::from_bytes(&name), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if self.staging == Some((stat.st_dev, stat.st_ino)) => continue,
                Ok(stat) => Seen::Examined(stat.into()),
                // Removed since its name was read.
                Err(rustix::io::Errno::NOENT) => continue,
                Err(_) => Seen::Unexamined(self.names.spans[index].kind),
            };
            let target = if seen.kind() == Some(Kind::Link) { self.target(&name) } else { None };
            return Ok(Step::Entry(Listed { name: name.into(), seen, target }));
        }
        Ok(Step::Later)
    }

    /// Reads and sorts on; true once all names are there.
    fn read_names(&mut self, budget: &mut Budget) -> Result<bool, StoreError> {
        while !self.is_read {
            if budget.is_spent() {
                return Ok(false);
            }
            let run_start = self.run_ends.last().copied().unwrap_or(0);
            while self.names.spans.len() - run_start < LISTING_RUN_ENTRIES && !self.is_read {
                self.read_name()?;
            }
            budget.spend(ENTRY_COST * (self.names.spans.len() - run_start) as u64 / 4);
            self.end_run(run_start);
        }
        Ok(true)
    }

    fn read_name(&mut self) -> Result<(), StoreError> {
        let Some(entry) = self.dir.read() else {
            self.is_read = true;
            return Ok(());
        };
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") || (self.hides_staging && name == STAGING.as_bytes()) {
            return Ok(());
        }
        let kind = Some(entry.file_type()).filter(|kind| *kind != FileType::Unknown).map(Kind::from);
        if self.names.push(name, kind) { Ok(()) } else { Err(StoreError::TooLarge) }
    }

    fn end_run(&mut self, start: usize) {
        let end = self.names.spans.len();
        if start == end {
            return;
        }
        self.run_ends.push(end);
        if self.order.by == SortBy::Name {
            self.sort_run(start, self.run_ends.len() - 1);
        }
    }
}

/// What [`Listing::next`] came to.
pub enum Step {
    /// The next entry.
    Entry(Listed),
    /// The budget is spent.
    Later,
    /// There are no more.
    End,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_folder_comes_sorted_and_in_slices() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let count = LISTING_RUN_ENTRIES * 2 + 77;
        for i in 0..count {
            std::fs::write(folder.path().join(format!("f{}", (i * 7919) % count)), "").expect("write");
        }
        std::fs::create_dir(folder.path().join(STAGING)).expect("mkdir");
        let fd = std::fs::File::open(folder.path()).expect("open");
        let mut listing = Listing::new(fd.into(), true).expect("listing");
        let (mut names, mut slices) = (Vec::new(), 0);
        loop {
            let mut budget = Budget::new(ENTRY_COST * 100);
            loop {
                match listing.next(&mut budget).expect("next") {
                    Step::Entry(entry) => names.push(entry.name),
                    Step::Later => break,
                    Step::End => {
                        let mut sorted = names.clone();
                        sorted.sort();
                        sorted.dedup();
                        assert_eq!((names.len(), slices > 20), (count, true));
                        assert_eq!(names, sorted);
                        return;
                    }
                }
            }
            slices += 1;
        }
    }

    #[test]
    fn names_of_any_length_are_kept_and_those_without_room_refused() {
        let mut names = Names::default();
        let lengths = [1, 255, 256, 1024, usize::from(u16::MAX)];
        for length in lengths {
            assert!(names.push(&vec![b'n'; length], None));
        }
        assert!(!names.push(&vec![b'n'; usize::from(u16::MAX) + 1], None));
        let kept: Vec<usize> = (0..lengths.len()).map(|index| names.get(index).len()).collect();
        assert_eq!(kept, lengths);
    }
}
