//! Lists a directory in slices: names are read and sorted in runs, the runs are merged as pages are
//! produced, and an entry's metadata is read only for its page. If the order depends on metadata, it is
//! read for all entries first. An entry that cannot be read is listed by its name.

mod order;

use std::collections::BinaryHeap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Dir, FileType};

use super::StoreError;
use super::meta::{EntryMeta, Kind};
use super::names::STAGING;
use crate::base::budget::{Budget, ENTRY_COST};
use crate::base::memory::{Charge, LISTING_BYTES_MAX, LISTING_ENTRIES_MAX};
use crate::store::listing::order::LISTING_RUN_ENTRIES;
use order::RunHead;
pub use order::{Order, SortBy};

/// A page ends once its names exceed this, so that its frame stays under `CONTROL_BYTES_MAX` even
/// when each byte of a name is escaped.
pub const PAGE_BYTES_TARGET: usize = 6 * 1024;

/// A running listing.
pub struct Listing {
    dir: Dir,
    hides_staging: bool,
    /// The staging directory, which some file systems list under another spelling.
    staging: Option<(u64, u64)>,
    is_read: bool,
    /// Names that were read, in sorted runs.
    runs: Vec<Run>,
    /// The run that is being read.
    new: Run,
    names: usize,
    name_bytes: usize,
    /// The memory of the runs, in bytes.
    held_bytes: usize,
    charge: Charge,
    /// The bytes to charge before the first name is read again, after memory was short.
    wanted_bytes: usize,
    /// The first remaining name of each run, the next on top.
    heads: BinaryHeap<RunHead>,
    order: Order,
    /// The number of runs whose ranks were read.
    ranked_runs: usize,
    /// The number of directories between the home and the listed one, if targets of symlinks are requested.
    depth: Option<usize>,
}

/// One entry of a directory.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The name of the entry.
    pub name: Vec<u8>,
    /// Its metadata. A symlink is not followed.
    pub metadata: EntryMeta,
    /// The target of a symlink, if requested and inside the home.
    pub target: Option<Vec<u8>>,
}

/// Names packed one after the other, so that a name costs little more than its bytes.
#[derive(Default)]
struct Run {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    /// The ranks of the names, as far as they were read; empty if ordered by name alone.
    ranks: Vec<u64>,
}

/// The position of a name. Some file systems have names longer than the 255 bytes of NAME_MAX.
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    length: u16,
    /// The kind by the directory entry.
    kind: Option<Kind>,
}

impl Run {
    /// Adds a name. Returns false if it is too long.
    fn push(&mut self, name: &[u8], kind: Option<Kind>) -> bool {
        let (Ok(start), Ok(length)) = (u32::try_from(self.bytes.len()), u16::try_from(name.len())) else {
            return false;
        };
        self.bytes.extend_from_slice(name);
        self.spans.push(Span { start, length, kind });
        true
    }

    fn get(&self, index: usize) -> &[u8] {
        let Span { start, length, .. } = self.spans[index];
        &self.bytes[start as usize..][..usize::from(length)]
    }

    /// Returns the memory it takes, with its head and, if the order needs them, its ranks.
    fn cost(&self, order: SortBy) -> usize {
        let rank = if order == SortBy::Name { 0 } else { size_of::<u64>() };
        let longest = self.spans.iter().map(|span| usize::from(span.length)).max().unwrap_or(0);
        self.bytes.len() + self.spans.len() * (size_of::<Span>() + rank) + longest + size_of::<RunHead>()
    }
}

impl Listing {
    /// Lists `directory`, open for reading, without the staging directory if it is the top of a home. Its memory
    /// is charged to `charge`.
    pub fn new(directory: OwnedFd, hides_staging: bool, charge: Charge) -> Result<Self, StoreError> {
        let dir = Dir::new(directory)?;
        let staging = hides_staging.then(|| rustix::fs::statat(dir.fd()?, STAGING, AtFlags::SYMLINK_NOFOLLOW));
        Ok(Self {
            dir,
            hides_staging,
            staging: staging.and_then(Result::ok).map(|staging| (staging.st_dev, staging.st_ino)),
            is_read: false,
            runs: Vec::new(),
            new: Run::default(),
            names: 0,
            name_bytes: 0,
            held_bytes: 0,
            charge,
            wanted_bytes: 0,
            heads: BinaryHeap::new(),
            order: Order::default(),
            ranked_runs: 0,
            depth: None,
        })
    }

    /// Returns the next entry in order, within `budget`.
    pub fn next(&mut self, budget: &mut Budget) -> Result<ListingStep, StoreError> {
        match self.read_names(budget)? {
            NamesRead::Done if self.rank_names(budget)? => {}
            NamesRead::Done | NamesRead::Later => return Ok(ListingStep::Later),
            NamesRead::NoRoom => return Ok(ListingStep::NoRoom),
        }
        while !budget.is_spent() {
            budget.spend(ENTRY_COST);
            let Some(RunHead { name, index, run, .. }) = self.heads.pop() else { return Ok(ListingStep::End) };
            if index + 1 < self.runs[run].spans.len() {
                self.push_head(index + 1, run);
            }
            let metadata = match rustix::fs::statat(self.dir.fd()?, OsStr::from_bytes(&name), AtFlags::SYMLINK_NOFOLLOW)
            {
                Ok(stat) if self.staging == Some((stat.st_dev, stat.st_ino)) => continue,
                Ok(stat) => EntryMeta::Examined(stat.into()),
                // Removed since its name was read.
                Err(rustix::io::Errno::NOENT) => continue,
                Err(_) => EntryMeta::Unexamined(self.runs[run].spans[index].kind),
            };
            let target = if metadata.kind() == Some(Kind::Link) { self.target(&name) } else { None };
            return Ok(ListingStep::Entry(Listed { name: name.into(), metadata, target }));
        }
        Ok(ListingStep::Later)
    }

    /// Continues to read and sort until all names are read.
    fn read_names(&mut self, budget: &mut Budget) -> Result<NamesRead, StoreError> {
        if self.runs.is_empty() && !self.is_read && !self.charge.resize(self.wanted_bytes) {
            return Ok(NamesRead::NoRoom);
        }
        while !self.is_read {
            if budget.is_spent() {
                return Ok(NamesRead::Later);
            }
            while self.new.spans.len() < LISTING_RUN_ENTRIES && !self.is_read {
                self.read_name()?;
            }
            budget.spend(ENTRY_COST * self.new.spans.len() as u64 / 4);
            if !self.keep_run()? {
                return Ok(NamesRead::NoRoom);
            }
        }
        Ok(NamesRead::Done)
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
        (self.names, self.name_bytes) = (self.names + 1, self.name_bytes + name.len());
        let has_room = self.names <= LISTING_ENTRIES_MAX && self.name_bytes <= LISTING_BYTES_MAX;
        if has_room && self.new.push(name, kind) { Ok(()) } else { Err(StoreError::TooLarge) }
    }

    /// Sorts the run that was read and keeps it. If there is no memory, drops all runs and returns false: a
    /// waiting listing must not keep memory that others wait for. No entry was returned yet, so the listing
    /// can start again.
    fn keep_run(&mut self) -> Result<bool, StoreError> {
        let mut run = std::mem::take(&mut self.new);
        let held_bytes = self.held_bytes + run.cost(self.order.by);
        if held_bytes > self.charge.bytes_max() {
            return Err(StoreError::TooLarge);
        }
        let charged_bytes = if self.is_read { held_bytes } else { held_bytes.max(self.charge.bytes()) };
        if !self.charge.resize(charged_bytes) {
            self.begin_again((2 * held_bytes).min(self.charge.bytes_max()));
            return Ok(false);
        }
        self.held_bytes = held_bytes;
        if !run.spans.is_empty() {
            run.bytes.shrink_to_fit();
            self.runs.push(run);
            if self.order.by == SortBy::Name {
                self.sort_run(self.runs.len() - 1);
            }
        }
        Ok(true)
    }

    fn begin_again(&mut self, wanted_bytes: usize) {
        self.charge.resize(0);
        self.wanted_bytes = wanted_bytes;
        (self.runs, self.heads) = (Vec::new(), BinaryHeap::new());
        (self.names, self.name_bytes, self.held_bytes, self.is_read) = (0, 0, 0, false);
        self.dir.rewind();
    }
}

/// How far the names were read.
enum NamesRead {
    Done,
    Later,
    NoRoom,
}

/// The result of [`Listing::next`].
pub enum ListingStep {
    /// The next entry.
    Entry(Listed),
    /// The budget is spent.
    Later,
    /// No memory is available. The listing has released its memory, and the next call starts again.
    NoRoom,
    /// There are no more entries.
    End,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_directory_comes_sorted_and_in_slices() {
        let directory = tempfile::tempdir().expect("temporary folder");
        let count = LISTING_RUN_ENTRIES * 2 + 77;
        for i in 0..count {
            std::fs::write(directory.path().join(format!("f{}", (i * 7919) % count)), "").expect("write");
        }
        std::fs::create_dir(directory.path().join(STAGING)).expect("mkdir");
        let fd = std::fs::File::open(directory.path()).expect("open");
        let mut listing = Listing::new(fd.into(), true, Charge::default()).expect("listing");
        let (mut names, mut slices) = (Vec::new(), 0);
        loop {
            let mut budget = Budget::new(ENTRY_COST * 100);
            loop {
                match listing.next(&mut budget).expect("next") {
                    ListingStep::Entry(entry) => names.push(entry.name),
                    ListingStep::Later => break,
                    ListingStep::NoRoom => panic!("nobody counts"),
                    ListingStep::End => {
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
        let mut names = Run::default();
        let lengths = [1, 255, 256, 1024, usize::from(u16::MAX)];
        for length in lengths {
            assert!(names.push(&vec![b'n'; length], None));
        }
        assert!(!names.push(&vec![b'n'; usize::from(u16::MAX) + 1], None));
        let kept: Vec<usize> = (0..lengths.len()).map(|index| names.get(index).len()).collect();
        assert_eq!(kept, lengths);
    }
}
