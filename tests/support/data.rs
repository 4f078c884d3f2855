//! What a server in memory and a server in a process have in common: passwords, content, and disk usage.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The password of every account.
pub const PASSWORD: &str = "correct horse";

/// Returns pseudo-random bytes, different ones for each seed.
pub fn pattern(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// Returns the usage of a home as berth counts it: the total size of its regular files, each inode once, and the number
/// of its entries. In the staging directory, only parts count.
pub fn disk_usage(home: &Path) -> (u64, u64) {
    let (mut bytes, mut files) = (0, 0);
    let mut inodes = std::collections::HashSet::new();
    let mut directories = vec![home.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let is_staging = directory == home.join(".berth");
        for entry in fs::read_dir(&directory).expect("readable") {
            let path = entry.expect("readable").path();
            let metadata = fs::symlink_metadata(&path).expect("there");
            if is_staging && path.extension() != Some("part".as_ref()) {
                continue;
            }
            files += u64::from(path != home.join(".berth"));
            if metadata.is_dir() {
                directories.push(path);
            } else if metadata.is_file() && inodes.insert((metadata.dev(), metadata.ino())) {
                bytes += metadata.len();
            }
        }
    }
    (bytes, files)
}
