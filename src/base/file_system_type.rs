//! Properties of a file system, by the type number that statfs(2) returns.

use std::os::fd::AsFd;

use rustix::fs::fstatfs;

const EXT: u32 = 0xef53;
const XFS: u32 = 0x5846_5342;
const BTRFS: u32 = 0x9123_683e;
const F2FS: u32 = 0xf2f5_2010;
const ZFS: u32 = 0x2fc1_2fc1;
const BCACHEFS: u32 = 0xca45_1a4e;
const TMPFS: u32 = 0x0102_1994;
const RAMFS: u32 = 0x8584_58f6;
const OVERLAYFS: u32 = 0x794c_7630;

/// Returns whether the file system of `on` is local: it needs neither a network nor another program,
/// and only this machine writes to it. An unknown type is not local.
pub fn is_local(on: impl AsFd) -> bool {
    is_one_of(on, &[EXT, XFS, BTRFS, F2FS, ZFS, TMPFS, RAMFS, OVERLAYFS])
}

/// Returns whether the file system of `on` writes to its disk to free a file, which takes much longer
/// than removing a name.
pub fn frees_slowly(on: impl AsFd) -> bool {
    is_one_of(on, &[EXT, XFS, BTRFS, F2FS, ZFS, BCACHEFS])
}

fn is_one_of(on: impl AsFd, types: &[u32]) -> bool {
    // The number has 32 bits, in a signed word of the machine's width.
    fstatfs(on).is_ok_and(|stat| types.contains(&(stat.f_type as u32)))
}
