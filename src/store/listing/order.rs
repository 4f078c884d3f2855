//! The order of a listing, and the metadata it needs.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::AtFlags;

use super::{Listing, Run, StoreError};
use crate::base::budget::{Budget, ENTRY_COST};
use crate::store::meta::Meta;

/// Entries read and sorted together. The sorted runs are merged as pages are produced.
pub(super) const LISTING_RUN_ENTRIES: usize = 1024;

/// The order of the entries of a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Order {
    /// The criterion. Entries that are equal by it are ordered by name.
    pub by: SortBy,
    /// Whether the order is reversed.
    pub is_reversed: bool,
}

/// The criterion; equal entries are ordered by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SortBy {
    /// By name, byte by byte.
    #[default]
    Name,
    /// Newest modification time first.
    Time,
    /// Largest size first.
    Size,
}

impl SortBy {
    /// Returns a number that is smaller for earlier entries.
    fn rank(self, meta: &Meta) -> u64 {
        match self {
            Self::Name => 0,
            // With the sign bit inverted, negative times are the smaller numbers.
            Self::Time => !(meta.mtime_ns.cast_unsigned() ^ 1 << 63),
            Self::Size => !meta.size,
        }
    }
}

/// The first remaining name of a run. The greatest comes next.
#[derive(PartialEq, Eq)]
pub(super) struct RunHead {
    pub(super) name: Box<[u8]>,
    pub(super) index: usize,
    pub(super) run: usize,
    rank: u64,
    is_reversed: bool,
}

impl Ord for RunHead {
    fn cmp(&self, other: &Self) -> Ordering {
        let order = (self.rank, &self.name).cmp(&(other.rank, &other.name));
        if self.is_reversed { order } else { order.reverse() }
    }
}

impl PartialOrd for RunHead {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Run {
    /// Returns the rank of the name at `index`.
    fn rank(&self, index: usize) -> u64 {
        self.ranks.get(index).copied().unwrap_or(0)
    }
}

impl Listing {
    /// Sets the order of the listing.
    pub fn ordered(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Makes the listing return targets of symlinks. `depth` directories lie between the home and the listed
    /// one.
    pub fn with_targets(mut self, depth: usize) -> Self {
        self.depth = Some(depth);
        self
    }

    /// Continues to read ranks and to sort. Returns true once all are sorted.
    pub(super) fn rank_names(&mut self, budget: &mut Budget) -> Result<bool, StoreError> {
        if self.order.by == SortBy::Name {
            return Ok(true);
        }
        while let Some(run) = self.runs.get_mut(self.ranked_runs) {
            if budget.is_spent() {
                return Ok(false);
            }
            budget.spend(ENTRY_COST);
            let name = OsStr::from_bytes(run.get(run.ranks.len()));
            // An entry that cannot be read, or is gone, is handled when it is listed.
            let found = rustix::fs::statat(self.dir.fd()?, name, AtFlags::SYMLINK_NOFOLLOW);
            run.ranks.push(found.map_or(u64::MAX, |stat| self.order.by.rank(&stat.into())));
            if run.ranks.len() == run.spans.len() {
                self.sort_run(self.ranked_runs);
                self.ranked_runs += 1;
            }
        }
        Ok(true)
    }

    /// Sorts the names of a run.
    pub(super) fn sort_run(&mut self, number: usize) {
        let (is_reversed, run) = (self.order.is_reversed, &mut self.runs[number]);
        let mut sorted: Vec<_> = (0..run.spans.len()).map(|index| (run.rank(index), index)).collect();
        sorted.sort_unstable_by(|a, b| {
            let order = (a.0, run.get(a.1)).cmp(&(b.0, run.get(b.1)));
            if is_reversed { order.reverse() } else { order }
        });
        run.spans = sorted.iter().map(|&(_, index)| run.spans[index]).collect();
        if !run.ranks.is_empty() {
            run.ranks = sorted.iter().map(|&(rank, _)| rank).collect();
        }
        self.push_head(0, number);
    }

    pub(super) fn push_head(&mut self, index: usize, number: usize) {
        let (is_reversed, run) = (self.order.is_reversed, &self.runs[number]);
        self.heads.push(RunHead {
            name: run.get(index).into(),
            index,
            run: number,
            rank: run.rank(index),
            is_reversed,
        });
    }

    /// Returns the target of the symlink `name`, if requested and inside the home.
    pub(super) fn target(&self, name: &[u8]) -> Option<Vec<u8>> {
        let depth = self.depth?;
        let target = rustix::fs::readlinkat(self.dir.fd().ok()?, OsStr::from_bytes(name), Vec::new()).ok()?;
        stays_inside(depth, target.as_bytes()).then(|| target.into_bytes())
    }
}

/// Returns whether `target`, seen from a directory with `depth` parents in the home, never leaves the
/// home.
fn stays_inside(depth: usize, target: &[u8]) -> bool {
    let below = target.split(|&byte| byte == b'/').try_fold(depth, |depth, name| match name {
        b"" | b"." => Some(depth),
        b".." => depth.checked_sub(1),
        _ => Some(depth + 1),
    });
    below.is_some() && !target.starts_with(b"/")
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::base::memory::Charge;
    use crate::store::listing::ListingStep;

    fn listed(listing: Listing, slice: u64) -> (Vec<String>, u32) {
        let (mut listing, mut names, mut slices) = (listing, Vec::new(), 0);
        loop {
            let mut budget = Budget::new(ENTRY_COST * slice);
            slices += 1;
            loop {
                match listing.next(&mut budget).expect("next") {
                    ListingStep::Entry(entry) => names.push(String::from_utf8(entry.name).expect("UTF-8")),
                    ListingStep::Later => break,
                    ListingStep::NoRoom => panic!("nobody counts"),
                    ListingStep::End => return (names, slices),
                }
            }
        }
    }

    #[test]
    fn a_large_directory_comes_in_each_order_and_in_slices() {
        let directory = tempfile::tempdir().expect("temporary folder");
        let count = LISTING_RUN_ENTRIES + 77;
        let mut entries = Vec::new();
        for i in 0..count {
            let (name, size, time) = (format!("f{i:05}"), (i * 31) % 97, (i * 7919) % 499);
            let file = File::create(directory.path().join(&name)).expect("create");
            file.set_len(size as u64).expect("set_len");
            // Half of the times lie before 1970.
            let (time, middle) = (Duration::from_secs(time as u64), Duration::from_secs(250));
            file.set_modified(UNIX_EPOCH - middle + time).expect("set_modified");
            entries.push((name, size, time));
        }
        let open = || {
            Listing::new(File::open(directory.path()).expect("open").into(), true, Charge::default()).expect("listing")
        };
        for by in [SortBy::Name, SortBy::Time, SortBy::Size] {
            match by {
                SortBy::Name => entries.sort_by(|a, b| a.0.cmp(&b.0)),
                SortBy::Time => entries.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| a.0.cmp(&b.0))),
                SortBy::Size => entries.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0))),
            }
            let mut expected: Vec<_> = entries.iter().map(|(name, ..)| name.clone()).collect();
            for is_reversed in [false, true] {
                let (names, slices) = listed(open().ordered(Order { by, is_reversed }), 100);
                assert!(names == expected, "{by:?}, {is_reversed}");
                assert!(slices > if by == SortBy::Name { 10 } else { 20 }, "{slices}");
                expected.reverse();
            }
        }
    }

    #[test]
    fn what_a_link_says_is_told_only_if_it_stays_in_the_home() {
        for (depth, target, is_inside) in [
            (0, "a/b", true),
            (0, "../a", false),
            (1, "../a", true),
            (1, "../../a", false),
            (1, "a/../../b", true),
            (1, "a/../../../b", false),
            (5, "/etc", false),
            (0, ".", true),
        ] {
            assert_eq!(stays_inside(depth, target.as_bytes()), is_inside, "{depth} {target}");
        }
    }
}
