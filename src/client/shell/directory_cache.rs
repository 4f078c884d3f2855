//! Recent listings of remote directories, so that completion sends no request for each key. This module sends
//! no requests itself.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::base::virtual_path::VirtualPath;
use crate::client::files::directory::NamedEntry;

/// A bounded cache of recent remote directory listings.
#[derive(Default)]
pub struct DirectoryCache {
    /// The cached directories, oldest first.
    directories: VecDeque<CachedDirectory>,
}

struct CachedDirectory {
    path: VirtualPath,
    names: Vec<NamedEntry>,
    since: Instant,
}

impl DirectoryCache {
    /// Stores the names in `path`, unless there are too many.
    pub fn keep(&mut self, path: VirtualPath, names: Vec<NamedEntry>, now: Instant) {
        self.directories.retain(|directory| directory.path != path);
        if names.len() > NAMES_MAX {
            return;
        }
        if self.directories.len() >= DIRECTORIES_MAX {
            self.directories.pop_front();
        }
        self.directories.push_back(CachedDirectory { path, names, since: now });
    }

    /// Drops all listings, because a command may have changed a directory.
    pub fn clear(&mut self) {
        self.directories.clear();
    }

    /// Returns the names in `path`, if they are cached and not too old.
    pub fn find(&self, path: &VirtualPath, now: Instant) -> Option<&[NamedEntry]> {
        let is_fresh = |directory: &&CachedDirectory| now.saturating_duration_since(directory.since) < AGE_MAX;
        self.directories
            .iter()
            .find(|directory| directory.path == *path)
            .filter(is_fresh)
            .map(|directory| &directory.names[..])
    }
}

/// The maximum number of cached directories. The oldest is dropped first.
const DIRECTORIES_MAX: usize = 8;
/// A directory with more names is not cached, because it is not worth the memory.
const NAMES_MAX: usize = 10_000;
/// The maximum age, because other clients may change a directory too.
const AGE_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_few_directories_are_cached_for_some_seconds() {
        let path = |text: &str| VirtualPath::parse(text.as_bytes()).expect("valid");
        let names = vec![NamedEntry { name: b"a".to_vec(), is_directory: false }];
        let (mut cache, now) = (DirectoryCache::default(), Instant::now());
        for i in 0..=DIRECTORIES_MAX {
            cache.keep(path(&format!("/{i}")), names.clone(), now);
        }
        assert_eq!(cache.find(&path("/0"), now), None);
        assert_eq!(cache.find(&path("/1"), now), Some(&names[..]));
        assert_eq!(cache.find(&path("/1"), now + AGE_MAX), None);
        cache.keep(path("/1"), vec![names[0].clone(); NAMES_MAX + 1], now);
        assert_eq!(cache.find(&path("/1"), now), None);
        cache.clear();
        assert_eq!(cache.find(&path("/2"), now), None);
    }
}
