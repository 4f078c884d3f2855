//! Digests of files that have not changed since they were computed, so that they need not be read
//! again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::meta::Identity;
use crate::base::digest::Digest;

/// The number of files whose digest is remembered (about 130 bytes each).
const DIGESTS_REMEMBERED: usize = 65_536;
/// A file changed less than this long ago may change again within the same clock tick, so its digest is
/// not remembered.
pub const DIGEST_SETTLE: Duration = Duration::from_secs(2);

/// Digests by identity, bounded. The oldest entry is dropped first.
#[derive(Default)]
pub struct DigestCache {
    digests: HashMap<Identity, Digest>,
    order: VecDeque<Identity>,
}

impl DigestCache {
    /// Returns the digest of the file with this identity.
    pub fn get(&self, identity: &Identity) -> Option<Digest> {
        self.digests.get(identity).copied()
    }

    /// Remembers a digest, unless the file changed so recently that another change could have the same
    /// change time. Users can set the modification time, so it proves nothing.
    pub fn insert(&mut self, identity: Identity, digest: Digest, now_ns: i64) {
        let settled = now_ns.saturating_sub(i64::try_from(DIGEST_SETTLE.as_nanos()).unwrap_or(i64::MAX));
        if identity.ctime_ns > settled {
            return;
        }
        if self.digests.insert(identity, digest).is_none() {
            self.order.push_back(identity);
        }
        if self.order.len() > DIGESTS_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.digests.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(ino: u64, ctime_ns: i64) -> Identity {
        Identity { dev: 1, ino, size: 3, mtime_ns: 0, ctime_ns }
    }

    #[test]
    fn a_file_changed_a_moment_ago_is_not_remembered() {
        let (mut cache, now_ns) = (DigestCache::default(), 10_000_000_000);
        cache.insert(identity(1, 9_000_000_000), Digest::of(b"a"), now_ns);
        cache.insert(identity(2, 8_000_000_000), Digest::of(b"b"), now_ns);
        assert_eq!(cache.get(&identity(1, 9_000_000_000)), None);
        assert_eq!(cache.get(&identity(2, 8_000_000_000)), Some(Digest::of(b"b")));
        assert_eq!(cache.get(&identity(2, 8_000_000_001)), None);
    }

    #[test]
    fn the_oldest_digest_goes_first_when_the_cache_is_full() {
        let mut cache = DigestCache::default();
        for ino in 0..=DIGESTS_REMEMBERED as u64 {
            cache.insert(identity(ino, 0), Digest::of(b""), i64::MAX);
        }
        assert_eq!(cache.get(&identity(0, 0)), None);
        assert!(cache.get(&identity(1, 0)).is_some());
        assert_eq!(cache.digests.len(), DIGESTS_REMEMBERED);
    }
}
