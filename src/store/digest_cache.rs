//! Digests of files that have not changed since they were computed, so that they need not be read
//! again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::meta::Identity;
use crate::base::digest::{Digest, DigestAlgorithm};

/// The number of files whose digest by one algorithm is remembered (about 130 bytes each).
const DIGESTS_REMEMBERED: usize = 65_536;
/// A file changed less than this long ago may change again within the same clock tick, so its digest is
/// not remembered.
pub const DIGEST_SETTLE: Duration = Duration::from_secs(2);

/// Digests by algorithm and identity. Those of one algorithm neither answer for another one nor take its room.
#[derive(Default)]
pub struct DigestCache {
    blake3: KnownDigests,
    sha256: KnownDigests,
}

/// Digests of one algorithm, bounded. The oldest entry is dropped first.
#[derive(Default)]
struct KnownDigests {
    digests: HashMap<Identity, Digest>,
    order: VecDeque<Identity>,
}

impl DigestCache {
    /// Returns the digest by `algorithm` of the file with this identity.
    pub fn get(&self, identity: &Identity, algorithm: DigestAlgorithm) -> Option<Digest> {
        let known = match algorithm {
            DigestAlgorithm::Blake3 => &self.blake3,
            DigestAlgorithm::Sha256 => &self.sha256,
        };
        known.digests.get(identity).copied()
    }

    /// Remembers a digest, unless the file changed so recently that another change could have the same
    /// change time. Users can set the modification time, so it proves nothing.
    pub fn insert(&mut self, identity: Identity, digest: Digest, now_ns: i64) {
        let settled = now_ns.saturating_sub(i64::try_from(DIGEST_SETTLE.as_nanos()).unwrap_or(i64::MAX));
        if identity.ctime_ns > settled {
            return;
        }
        match digest.algorithm() {
            DigestAlgorithm::Blake3 => self.blake3.insert(identity, digest),
            DigestAlgorithm::Sha256 => self.sha256.insert(identity, digest),
        }
    }
}

impl KnownDigests {
    fn insert(&mut self, identity: Identity, digest: Digest) {
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
    use DigestAlgorithm::{Blake3, Sha256};

    fn identity(ino: u64, ctime_ns: i64) -> Identity {
        Identity { dev: 1, ino, size: 3, mtime_ns: 0, ctime_ns }
    }

    #[test]
    fn a_file_changed_a_moment_ago_is_not_remembered() {
        let (mut cache, now_ns) = (DigestCache::default(), 10_000_000_000);
        for algorithm in [Blake3, Sha256] {
            cache.insert(identity(1, 9_000_000_000), Digest::by(algorithm, b"a"), now_ns);
            cache.insert(identity(2, 8_000_000_000), Digest::by(algorithm, b"b"), now_ns);
            assert_eq!(cache.get(&identity(1, 9_000_000_000), algorithm), None);
            assert_eq!(cache.get(&identity(2, 8_000_000_000), algorithm), Some(Digest::by(algorithm, b"b")));
            assert_eq!(cache.get(&identity(2, 8_000_000_001), algorithm), None);
        }
    }

    #[test]
    fn digests_of_one_algorithm_neither_answer_for_the_other_nor_displace_them() {
        let mut cache = DigestCache::default();
        let file = identity(0, 0);
        cache.insert(file, Digest::by(Blake3, b"a"), i64::MAX);
        assert_eq!(cache.get(&file, Sha256), None);
        for ino in 0..=DIGESTS_REMEMBERED as u64 {
            cache.insert(identity(ino, 0), Digest::by(Sha256, b"a"), i64::MAX);
        }
        assert_eq!(cache.get(&file, Blake3), Some(Digest::by(Blake3, b"a")));
        assert_eq!(cache.get(&file, Sha256), None, "the oldest is dropped first");
        assert_eq!(cache.get(&identity(1, 0), Sha256), Some(Digest::by(Sha256, b"a")));
        assert_eq!(cache.sha256.digests.len(), DIGESTS_REMEMBERED);
    }
}
