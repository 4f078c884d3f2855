//! What `berthd` tells the kernel, in which order: the promises of the sync policies and of every
//! file that is replaced, read from its system calls; kill -9 between any two of them; each of them
//! failing; and what `berthd` and `berth` do without where the kernel refuses it.
//!
//! `strace` watches. The kills take a sample of the calls; `BERTH_CRASHES=1000 cargo test --test system_calls` takes so many.

mod account_refusals;
mod client_refusals;
#[path = "../common/mod.rs"]
mod common;
mod disk_failures;
mod disks;
mod failures;
mod kills;
mod refusals;
mod syncs;
mod trace;

fn main() -> std::process::ExitCode {
    common::needs::run(&[
        account_refusals::TESTS,
        client_refusals::TESTS,
        disk_failures::TESTS,
        disks::TESTS,
        failures::TESTS,
        kills::TESTS,
        refusals::TESTS,
        syncs::TESTS,
        trace::TESTS,
    ])
}
