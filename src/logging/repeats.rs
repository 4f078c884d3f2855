//! Repeated lines. The first few lines of a kind are written. Later ones are suppressed and counted, and an
//! occasional summary gives their count. The caller defines the kinds. Kinds that many peers can cause, such
//! as one for each address, form a group: if too many kinds of a group are new, further ones are counted
//! together as one kind. This bounds memory and lines for any number of kinds.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::{Duration, Instant};

use log::{Level, Record};

/// The state of all kinds of lines.
pub(super) struct Repeats {
    hasher: RandomState,
    kinds: HashMap<u64, LineKind>,
    /// For each group the beginning of the present period, and the number of kinds that were new in it.
    groups: HashMap<u64, (Instant, u32)>,
    /// When the next summary is due.
    due: Option<Instant>,
    last_swept: Option<Instant>,
}

struct LineKind {
    target: &'static str,
    level: Level,
    /// The number of lines that were written.
    written: u32,
    /// The number of lines that were not written since the last summary.
    suppressed: u64,
    /// The last of them.
    last_line: String,
    last_seen: Instant,
    due: Instant,
    interval: Duration,
}

/// A line that stands for suppressed ones.
pub(super) struct RepeatSummary {
    pub(super) target: &'static str,
    pub(super) level: Level,
    pub(super) line: String,
}

impl RepeatSummary {
    /// Writes it through the program's logger.
    pub(super) fn log(&self) {
        let mut record = Record::builder();
        record.target(self.target).level(self.level);
        log::logger().log(&record.args(format_args!("{}", self.line)).build());
    }
}

impl Default for Repeats {
    fn default() -> Self {
        Self { hasher: RandomState::new(), kinds: HashMap::new(), groups: HashMap::new(), due: None, last_swept: None }
    }
}

impl Repeats {
    /// Counts one more line of a kind in its group. Returns true if it must be written.
    pub(super) fn count(
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
        kind.last_seen = now;
        if kind.written < WRITTEN_MAX {
            kind.written += 1;
            return true;
        }
        if kind.suppressed == 0 {
            kind.due = kind.due.max(now);
            self.due = Some(self.due.map_or(kind.due, |due| due.min(kind.due)));
        }
        kind.suppressed += 1;
        kind.last_line.clear();
        // Writing to a string does not fail; a `Display` that does leaves what it wrote so far.
        let _ = kind.last_line.write_fmt(line);
        false
    }

    /// Removes a line from the count of its kind, because it turned out to be of another kind.
    pub(super) fn take_back(&mut self, target: &'static str, group: &impl Hash, kind: &impl Hash, was_written: bool) {
        let (group, key) = self.keys(target, group, kind);
        let key = if self.kinds.contains_key(&key) { key } else { group };
        if let Some(kind) = self.kinds.get_mut(&key) {
            if was_written {
                kind.written = kind.written.saturating_sub(1);
            } else {
                kind.suppressed = kind.suppressed.saturating_sub(1);
            }
        }
    }

    /// Returns when [`Repeats::take_summaries`] has work.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Returns the summaries that are due, or with `all` every one.
    pub(super) fn take_summaries(&mut self, now: Instant, all: bool) -> Vec<RepeatSummary> {
        let mut summaries = Vec::new();
        self.due = None;
        for kind in self.kinds.values_mut().filter(|kind| kind.suppressed > 0) {
            if all || kind.due <= now {
                summaries.push(kind.take_summary(now));
            } else {
                self.due = Some(self.due.map_or(kind.due, |due| due.min(kind.due)));
            }
        }
        // Summaries that are due within an interval are written together, so that one scan finds them.
        self.due = self.due.map(|due| due.max(now + SWEEP_INTERVAL));
        summaries
    }

    /// Returns the keys of a group and of a kind in it.
    fn keys(&self, target: &'static str, group: &impl Hash, kind: &impl Hash) -> (u64, u64) {
        (self.hasher.hash_one((target, group)), self.hasher.hash_one((target, group, kind)))
    }

    /// Returns whether a new kind of a group gets its own count. Counts it as new if it does.
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
        if self.last_swept.is_none_or(|last_swept| now.saturating_duration_since(last_swept) >= SWEEP_INTERVAL) {
            self.last_swept = Some(now);
            self.kinds.retain(|_, kind| kind.suppressed > 0 || now.saturating_duration_since(kind.last_seen) < QUIET);
            self.groups.retain(|_, (since, _)| now.saturating_duration_since(*since) < GROUP_PERIOD);
        }
    }
}

impl LineKind {
    fn new(target: &'static str, level: Level, now: Instant) -> Self {
        let interval = INTERVAL_MIN;
        Self {
            target,
            level,
            written: 0,
            suppressed: 0,
            last_line: String::new(),
            last_seen: now,
            due: now + interval,
            interval,
        }
    }

    fn take_summary(&mut self, now: Instant) -> RepeatSummary {
        self.interval = (self.interval * 2).min(INTERVAL_MAX);
        self.due = now + self.interval;
        let count = std::mem::take(&mut self.suppressed);
        let line = format!("{} repeated={count}", self.last_line);
        self.last_line.clear();
        RepeatSummary { target: self.target, level: self.level, line }
    }
}

/// The number of lines of a kind that are written before others are suppressed.
const WRITTEN_MAX: u32 = 5;
/// The time between two summaries of the same kind. It doubles each time.
const INTERVAL_MIN: Duration = Duration::from_secs(10);
const INTERVAL_MAX: Duration = Duration::from_secs(640);
/// A kind is forgotten after this long without a line.
const QUIET: Duration = Duration::from_secs(1800);
/// The number of kinds of a group that may be new in a period.
const NEW_KINDS_MAX: u32 = 64;
const GROUP_PERIOD: Duration = Duration::from_secs(10);
/// The number of kinds with their own count. With the last line of each this is about half a MiB.
const KINDS_MAX: usize = 1024;
/// The least time between two scans of all kinds.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn note(repeats: &mut Repeats, kind: &str, number: usize, now: Instant) -> bool {
        repeats.count("access", Level::Info, (&"group", &kind), format_args!("kind={kind} number={number}"), now)
    }

    fn lines(summaries: &[RepeatSummary]) -> Vec<&str> {
        summaries.iter().map(|summary| summary.line.as_str()).collect()
    }

    #[test]
    fn the_first_few_are_written_and_the_others_are_counted_in_a_summary() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        let written = (0..100).filter(|&number| note(&mut repeats, "a", number, now)).count();
        assert_eq!(written, WRITTEN_MAX as usize);
        assert!(repeats.take_summaries(now, false).is_empty());
        let later = repeats.due().expect("a count waits").max(now + INTERVAL_MIN);
        assert_eq!(lines(&repeats.take_summaries(later, false)), ["kind=a number=99 repeated=95"]);
        assert_eq!(repeats.due(), None);
        assert!(!note(&mut repeats, "a", 100, later) && note(&mut repeats, "b", 0, later));
        assert!(repeats.take_summaries(later + INTERVAL_MIN, false).is_empty(), "they come less often with time");
        assert_eq!(lines(&repeats.take_summaries(later, true)), ["kind=a number=100 repeated=1"]);
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
        assert!(repeats.take_summaries(now, true).is_empty());
    }

    #[test]
    fn many_kinds_are_counted_together_and_quiet_ones_are_forgotten() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        let written = (0..100_000).filter(|number| note(&mut repeats, &number.to_string(), 0, now)).count();
        let new = NEW_KINDS_MAX as usize;
        assert_eq!((written, repeats.kinds.len()), (new + WRITTEN_MAX as usize, new + 1));
        let summaries = repeats.take_summaries(now, true);
        assert_eq!(summaries.len(), 1);
        assert!(summaries[0].line.ends_with(&format!(" repeated={}", 100_000 - written)), "{:?}", lines(&summaries));
        for period in 1..100 {
            let later = now + GROUP_PERIOD * period;
            (0..100).for_each(|number| {
                note(&mut repeats, &format!("{period}-{number}"), 0, later);
            });
        }
        assert!(repeats.kinds.len() <= KINDS_MAX + 1);
        repeats.take_summaries(now, true);
        assert!(note(&mut repeats, "new", 0, now + 2 * QUIET));
        assert!(repeats.kinds.len() < 3);
    }
}
