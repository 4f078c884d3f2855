//! What `berthd` tells the kernel, in which order: the promises of the sync policies and of every
//! file that is replaced, read from its system calls; kill -9 between any two of them; each of them
//! failing; and what `berthd` and `berth` do without where the kernel refuses it.
//!
//! `strace` watches. The kills take a sample of the calls;
//! `BERTH_CRASHES=1000 cargo test --test privileged system_calls` takes a sample of 1,000.

pub(crate) mod account_refusals;
pub(crate) mod client_refusals;
pub(crate) mod disk_failures;
pub(crate) mod disks;
pub(crate) mod failures;
pub(crate) mod kills;
pub(crate) mod refusals;
pub(crate) mod syncs;
pub(crate) mod trace;
