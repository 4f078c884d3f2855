//! Repeated lines: the first few of a kind are written, the others are counted, and an occasional line
//! gives the count. The caller defines the kinds. Kinds that many peers can cause, such as one for each
//! address, form a group: when too many of a group are new, they count as one. So memory and lines are
//! bounded however many kinds there are.

use log::{Level, Record};
use std::collections::HashMap;
use std::fmt::{self, Write};
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::{Duration, Instant};

/// The state of all kinds of lines.
pub(super) struct Repeats {
    hasher: RandomState,
    kinds: HashMap<u64, LineKind>,
    /// The number of new kinds of a group, and since when they are counted.
    groups: HashMap<u64, (Instant, u32)>,
    /// When a count is due.
    due: Option<Instant>,
    swept: Option<Instant>,
}

struct LineKind {
    target: &'static str,
    level: Level,
    /// Lines that were written one by one.
    listed: u32,
    /// Lines that were not written since the last count.
    counted: u64,
    /// The last of those.
    last: String,
    seen: Instant,
    due: Instant,
    interval: Duration,
}

/// A count to be written.
pub(super) struct Told {
    pub(super) target: &'static str,
    pub(super) level: Level,
    pub(super) line: String,
}

impl Told {
    /// Writes it through the program's logger.
    pub(super) fn log(&self) {
        let mut record = Record::builder();
        record.target(self.target).level(self.level);
        log::logger().log(&record.args(format_args!("{}", self.line)).build());
    }
}

impl Default for Repeats {
    fn default() -> Self {
        Self { hasher: RandomState::new(), kinds: HashMap::new(), groups: HashMap::new(), due: None, swept: None }
    }
}

impl Repeats {
    /// Counts one more line of a kind in its group. Returns true if it must be written.
    pub(super) fn note(
        &mut self,
        target: &'static str,
        level: Level,
        (group, kind): (&impl Hash, &impl Hash),
        line: fmt::Arguments<'_>,
        now: Instant,
    ) -> bool {
        let (group, mut key) = self.keys(target, group, kind);
        if !self.kinds.contains_key(&key) && !self.has_room(group, now) {
            key = group;
        }
        let kind = self.kinds.entry(key).or_insert_with(|| LineKind::new(target, level, now));
        kind.seen = now;
        if kind.listed < LISTED_MAX {
            kind.listed += 1;
            return true;
        }
        if kind.counted == 0 {
            kind.due = kind.due.max(now);
            self.due = Some(self.due.map_or(kind.due, |due| due.min(kind.due)));
        }
        kind.counted += 1;
        kind.last.clear();
        // Writing to a string does not fail; a `Display` that does leaves what it wrote so far.
        let _ = kind.last.write_fmt(line);
        false
    }

    /// Takes back a line that turned out to be of another kind.
    pub(super) fn take_back(&mut self, target: &'static str, group: &impl Hash, kind: &impl Hash, was_listed: bool) {
        let (group, key) = self.keys(target, group, kind);
        let key = if self.kinds.contains_key(&key) { key } else { group };
        if let Some(kind) = self.kinds.get_mut(&key) {
            if was_listed {
                kind.listed = kind.listed.saturating_sub(1);
            } else {
                kind.counted = kind.counted.saturating_sub(1);
            }
        }
    }

    /// Returns when [`Repeats::tell`] has work.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Returns the counts that are due, or with `all` every count.
    pub(super) fn tell(&mut self, now: Instant, all: bool) -> Vec<Told> {
        let mut told = Vec::new();
        self.due = None;
        for kind in self.kinds.values_mut().filter(|kind| kind.counted > 0) {
            if all || kind.due <= now {
                told.push(kind.tell(now));
            } else {
                self.due = Some(self.due.map_or(kind.due, |due| due.min(kind.due)));
            }
        }
        // The kinds are not scanned for every single one.
        self.due = self.due.map(|due| due.max(now + SWEEP_INTERVAL));
        told
    }

    /// Returns the keys of a group and a kind of it.
    fn keys(&self, target: &'static str, group: &impl Hash, kind: &impl Hash) -> (u64, u64) {
        (self.hasher.hash_one((target, group)), self.hasher.hash_one((target, group, kind)))
    }

    /// Returns whether one more kind of a group can be told apart, and counts it.
    fn has_room(&mut self, group: u64, now: Instant) -> bool {
        if self.kinds.len() >= KINDS_MAX || self.groups.len() >= KINDS_MAX {
            self.forget_quiet(now);
        }
        let (since, new) = self.groups.entry(group).or_insert((now, 0));
        if now.saturating_duration_since(*since) >= GROUP_PERIOD {
            (*since, *new) = (now, 0);
        }
        let has_room = *new < NEW_KINDS_MAX && self.kinds.len() < KINDS_MAX;
        *new += u32::from(has_room);
        has_room
    }

    fn forget_quiet(&mut self, now: Instant) {
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_INTERVAL) {
            self.swept = Some(now);
            self.kinds.retain(|_, kind| kind.counted > 0 || now.saturating_duration_since(kind.seen) < QUIET);
            self.groups.retain(|_, (since, _)| now.saturating_duration_since(*since) < GROUP_PERIOD);
        }
    }
}

impl LineKind {
    fn new(target: &'static str, level: Level, now: Instant) -> Self {
        let interval = INTERVAL_MIN;
        Self { target, level, listed: 0, counted: 0, last: String::new(), seen: now, due: now + interval, interval }
    }

    fn tell(&mut self, now: Instant) -> Told {
        self.interval = (self.interval * 2).min(INTERVAL_MAX);
        self.due = now + self.interval;
        let count = std::mem::take(&mut self.counted);
        let line = format!("{} repeated={count}", self.last);
        self.last.clear();
        Told { target: self.target, level: self.level, line }
    }
}

/// Lines of a kind that are written one by one.
const LISTED_MAX: u32 = 5;
/// The time between two counts of the same kind. It doubles each time.
const INTERVAL_MIN: Duration = Duration::from_secs(10);
const INTERVAL_MAX: Duration = Duration::from_secs(640);
/// A kind is forgotten after this long without a line.
const QUIET: Duration = Duration::from_secs(1800);
/// Kinds of a group that may be new in a period.
const NEW_KINDS_MAX: u32 = 64;
const GROUP_PERIOD: Duration = Duration::from_secs(10);
/// Kinds that are told apart; further ones of a group count as one. With the last line of each this is
/// about half a MiB.
const KINDS_MAX: usize = 1024;
/// The least time between two scans of all kinds.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn note(repeats: &mut Repeats, kind: &str, number: usize, now: Instant) -> bool {
        repeats.note("access", Level::Info, (&"group", &kind), format_args!("kind={kind} number={number}"), now)
    }

    fn lines(told: &[Told]) -> Vec<&str> {
        told.iter().map(|told| told.line.as_str()).collect()
    }

    #[test]
    fn the_first_few_are_listed_and_the_others_are_told_as_a_count() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        let listed = (0..100).filter(|&number| note(&mut repeats, "a", number, now)).count();
        assert_eq!(listed, LISTED_MAX as usize);
        assert!(repeats.tell(now, false).is_empty());
        let later = repeats.due().expect("a count waits").max(now + INTERVAL_MIN);
        assert_eq!(lines(&repeats.tell(later, false)), ["kind=a number=99 repeated=95"]);
        assert_eq!(repeats.due(), None);
        assert!(!note(&mut repeats, "a", 100, later) && note(&mut repeats, "b", 0, later));
        assert!(repeats.tell(later + INTERVAL_MIN, false).is_empty(), "they come less often with time");
        assert_eq!(lines(&repeats.tell(later, true)), ["kind=a number=100 repeated=1"]);
    }

    #[test]
    fn what_was_taken_back_is_as_if_it_had_not_been() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        for number in 0..100 {
            assert!(note(&mut repeats, "a", number, now));
            repeats.take_back("access", &"group", &"a", true);
        }
        assert_eq!((0..7).filter(|&number| note(&mut repeats, "a", number, now)).count(), 5);
        (0..2).for_each(|_| repeats.take_back("access", &"group", &"a", false));
        assert!(repeats.tell(now, true).is_empty());
    }

    #[test]
    fn many_kinds_are_counted_together_and_quiet_ones_are_forgotten() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        let listed = (0..100_000).filter(|number| note(&mut repeats, &number.to_string(), 0, now)).count();
        let new = NEW_KINDS_MAX as usize;
        assert_eq!((listed, repeats.kinds.len()), (new + LISTED_MAX as usize, new + 1));
        let told = repeats.tell(now, true);
        assert_eq!(told.len(), 1);
        assert!(told[0].line.ends_with(&format!(" repeated={}", 100_000 - listed)), "{:?}", lines(&told));
        for period in 1..100 {
            let later = now + GROUP_PERIOD * period;
            (0..100).for_each(|number| {
                note(&mut repeats, &format!("{period}-{number}"), 0, later);
            });
        }
        assert!(repeats.kinds.len() <= KINDS_MAX + 1);
        repeats.tell(now, true);
        assert!(note(&mut repeats, "new", 0, now + 2 * QUIET));
        assert!(repeats.kinds.len() < 3);
    }
}
