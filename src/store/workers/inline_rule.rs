//! When a call to a file system may run on the loop. Handing it to a worker costs more than a quick call, but
//! a slow one would delay all sessions.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A file system is prompt if its last call took no longer than this.
pub(super) const PROMPT_CALL_MAX: Duration = Duration::from_millis(5);
/// A file system counts as prompt for this long after its last call. Later, its disk may have gone to sleep.
pub(super) const PROMPT_FOR: Duration = Duration::from_secs(5);
/// The maximum number of known file systems. One more makes the server forget all others.
const FILE_SYSTEMS_MAX: usize = 256;

/// The known file systems by device number.
#[derive(Default)]
pub(super) struct InlineRule(HashMap<u64, KnownFileSystem>);

struct KnownFileSystem {
    /// Neither a network nor another program is needed to answer.
    is_local: bool,
    prompt_until: Option<Instant>,
}

impl InlineRule {
    /// Makes a file system known. Without this, all calls to it go to a worker.
    pub(super) fn add(&mut self, device: u64, is_local: bool) {
        if self.0.len() >= FILE_SYSTEMS_MAX && !self.0.contains_key(&device) {
            self.0.clear();
        }
        let known = self.0.entry(device).or_insert(KnownFileSystem { is_local, prompt_until: None });
        // The kernel may have given the number to another file system.
        known.is_local = is_local;
    }

    /// Returns whether the file system is known.
    pub(super) fn is_known(&self, device: u64) -> bool {
        self.0.contains_key(&device)
    }

    /// Returns whether the file system is known to be local.
    pub(super) fn is_local(&self, device: u64) -> bool {
        self.0.get(&device).is_some_and(|known| known.is_local)
    }

    /// Returns whether a call may run on the loop: the file system is local and was prompt a short time ago.
    pub(super) fn allows(&self, device: u64, now: Instant) -> bool {
        self.0.get(&device).is_some_and(|known| known.is_local && known.prompt_until.is_some_and(|until| now < until))
    }

    /// Records that a call took this long, and ended `now`.
    pub(super) fn record(&mut self, device: u64, took: Duration, now: Instant) {
        if let Some(known) = self.0.get_mut(&device) {
            known.prompt_until = (took <= PROMPT_CALL_MAX).then(|| now + PROMPT_FOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_micros(30);

    #[test]
    fn a_local_file_system_is_called_by_the_loop_while_it_is_prompt() {
        let (mut rule, began) = (InlineRule::default(), Instant::now());
        rule.add(1, true);
        assert!(!rule.allows(1, began), "it may be asleep");
        rule.record(1, QUICK, began);
        assert!(rule.allows(1, began + PROMPT_FOR - QUICK) && !rule.allows(1, began + PROMPT_FOR));
        rule.record(1, PROMPT_CALL_MAX, began + PROMPT_FOR);
        assert!(rule.allows(1, began + PROMPT_FOR * 2 - QUICK), "a later call extends the time");
        rule.record(1, PROMPT_CALL_MAX + QUICK, began + PROMPT_FOR);
        assert!(!rule.allows(1, began + PROMPT_FOR), "one slow call ends it");
    }

    #[test]
    fn a_remote_or_unknown_file_system_is_never_called_by_the_loop() {
        let (mut rule, now) = (InlineRule::default(), Instant::now());
        rule.add(1, false);
        for device in [1, 2] {
            rule.record(device, QUICK, now);
            assert!(!rule.allows(device, now));
        }
        rule.add(1, true);
        assert!(!rule.allows(2, now));
    }

    #[test]
    fn file_systems_that_come_and_go_take_bounded_memory() {
        let mut rule = InlineRule::default();
        (0..FILE_SYSTEMS_MAX as u64 * 3).for_each(|device| rule.add(device, true));
        assert!(rule.0.len() <= FILE_SYSTEMS_MAX);
    }
}
