//! Folders at the server as they were a moment ago, so that completion need not ask for each key.
//! It asks nobody itself.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::base::virtual_path::VPath;
use crate::client::shell::completion::Named;

/// See the module.
#[derive(Default)]
pub struct FolderCache {
    /// Oldest first.
    folders: VecDeque<CachedFolder>,
}

struct CachedFolder {
    path: VPath,
    names: Vec<Named>,
    since: Instant,
}

impl FolderCache {
    /// Keeps what is in `path`, unless it is too much.
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

    /// Forgets everything, because a command may have changed it.
    pub fn clear(&mut self) {
        self.folders.clear();
    }

    /// What is in `path`, if that is known and not old.
    pub fn find(&self, path: &VPath, now: Instant) -> Option<&[Named]> {
        let is_fresh = |folder: &&CachedFolder| now.saturating_duration_since(folder.since) < AGE_MAX;
        self.folders.iter().find(|folder| folder.path == *path).filter(is_fresh).map(|folder| &folder.names[..])
    }
}

/// More are forgotten, the oldest first.
const FOLDERS_MAX: usize = 8;
/// A folder of more names is asked for anew: it is not worth its memory.
const NAMES_MAX: usize = 10_000;
/// Others may change a folder too.
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
