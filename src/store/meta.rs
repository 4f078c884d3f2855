//! Metadata of an entry, and the identity of a file's content.

use std::os::fd::AsFd;

use rustix::fs::{FileType, Stat};

use super::StoreError;

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// Anything else.
    Other,
}

/// Identifies one content of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time, nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Change time, nanoseconds since the epoch.
    pub ctime_ns: i64,
}

impl Identity {
    /// Returns device and inode.
    pub fn inode(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }

    /// Returns whether the file still has the content that it had at `earlier`. Its names and its mode may
    /// have changed. Both identities must be of the same file.
    pub fn has_content_of(&self, earlier: &Self) -> bool {
        (self.size, self.mtime_ns) == (earlier.size, earlier.mtime_ns)
    }

    /// Returns all fields as numbers, in a fixed order.
    pub fn parts(&self) -> [u64; 5] {
        [self.dev, self.ino, self.size, self.mtime_ns.cast_unsigned(), self.ctime_ns.cast_unsigned()]
    }
}

/// Metadata of an entry.
#[derive(Debug, Clone, Copy)]
pub struct Meta {
    /// The kind of the entry.
    pub kind: Kind,
    /// Size of a file; 0 for others.
    pub size: u64,
    /// Modification time, nanoseconds since the epoch.
    pub mtime_ns: i64,
    /// Permission bits.
    pub mode: u32,
    /// The number of its names (hard links).
    pub links: u64,
    /// Identifies the content.
    pub identity: Identity,
}

impl From<Stat> for Meta {
    // The types of the fields differ between platforms.
    #[allow(clippy::unnecessary_cast)]
    fn from(stat: Stat) -> Self {
        let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        let kind = Kind::from(FileType::from_raw_mode(stat.st_mode));
        let size = if kind == Kind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
        let mtime_ns = ns(stat.st_mtime as i64, stat.st_mtime_nsec as i64);
        let ctime_ns = ns(stat.st_ctime as i64, stat.st_ctime_nsec as i64);
        let identity = Identity { dev: stat.st_dev, ino: stat.st_ino, size, mtime_ns, ctime_ns };
        Self { kind, size, mtime_ns, mode: stat.st_mode & 0o7777, links: u64::from(stat.st_nlink as u32), identity }
    }
}

impl From<FileType> for Kind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Link,
            _ => Self::Other,
        }
    }
}

/// The metadata of a listed entry, as far as it can be read.
#[derive(Debug, Clone, Copy)]
pub enum EntryMeta {
    /// The metadata was read.
    Examined(Meta),
    /// The metadata could not be read. Holds the kind, if the directory entry has it.
    Unexamined(Option<Kind>),
}

impl EntryMeta {
    /// Returns the metadata, if the entry could be read.
    pub fn meta(&self) -> Option<&Meta> {
        match self {
            Self::Examined(meta) => Some(meta),
            Self::Unexamined(_) => None,
        }
    }

    /// Returns the kind, if known.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::Examined(meta) => Some(meta.kind),
            Self::Unexamined(kind) => *kind,
        }
    }
}

/// Returns the metadata of an open file.
pub fn meta_of(file: impl AsFd) -> Result<Meta, StoreError> {
    Ok(rustix::fs::fstat(file)?.into())
}
