//! Recent listings of remote directories, so that completion sends no request for each key. This module sends
//! no requests itself.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::base::virtual_path::VPath;
use crate::client::shell::completion::Named;

/// A bounded cache of recent remote directory listings.
#[derive(Default)]
pub struct FolderCache {
    /// The cached directories, oldest first.
    folders: VecDeque<CachedFolder>,
}

struct CachedFolder {
    path: VPath,
    names: Vec<Named>,
    since: Instant,
}

impl FolderCache {
    /// Stores the names in `path`, unless there are too many.
    pub fn keep(&mut self, path: VPath, names: Vec<Named>, now: Instant) {
        self.folders.retain(|folder| folder.path != path);
        if names.len() > NAMES_MAX {
            return;
        }
        if self.folders.len() >= FOLDERS_MAX {
            self.folders.pop_front();
        }
        self.folders.push_back(CachedFolder { path, names, since: now });
    }

    /// Drops all listings, because a command may have changed a directory.
    pub fn clear(&mut self) {
        self.folders.clear();
    }

    /// Returns the names in `path`, if they are cached and not too old.
    pub fn find(&self, path: &VPath, now: Instant) -> Option<&[Named]> {
        let is_fresh = |folder: &&CachedFolder| now.saturating_duration_since(folder.since) < AGE_MAX;
        self.folders.iter().find(|folder| folder.path == *path).filter(is_fresh).map(|folder| &folder.names[..])
    }
}

/// The maximum number of cached directories. The oldest is dropped first.
const FOLDERS_MAX: usize = 8;
/// A directory with more names is not cached, because it is not worth the memory.
const NAMES_MAX: usize = 10_000;
/// The maximum age, because other clients may change a directory too.
const AGE_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_known_for_some_seconds_and_only_the_last_few() {
        let path = |text: &str| VPath::parse(text.as_bytes()).expect("valid");
        let names = vec![Named { name: b"a".to_vec(), is_folder: false }];
        let (mut cache, now) = (FolderCache::default(), Instant::now());
        for i in 0..=FOLDERS_MAX {
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
