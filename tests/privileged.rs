//! What depends on rights that a machine may refuse: other users, mounts, namespaces, attributes of files,
//! and system calls that `strace` watches or makes fail. What only root can try is ignored where somebody
//! else runs the tests; each such test has a neighbour that tries what an ordinary user can.

mod support;

mod privileged {
    pub(crate) mod attributes;
    pub(crate) mod boot_id;
    pub(crate) mod confinement;
    pub(crate) mod full_disk;
    pub(crate) mod ipv6_guesses;
    pub(crate) mod modes;
    pub(crate) mod ordinary_user;
    pub(crate) mod permissions_of_copies;
    mod rights;
    pub(crate) mod service_manager;
    pub(crate) mod service_user;
    pub(crate) mod slow_storage;
    pub(crate) mod system_calls;
    pub(crate) mod unreadable_entries;

    pub(crate) use rights::{assert_without_rights, open_to_all, owner_and_mode, statuses};
}

use privileged::*;

fn main() -> std::process::ExitCode {
    support::needs::run(&[
        attributes::TESTS,
        confinement::TESTS,
        full_disk::TESTS,
        ipv6_guesses::TESTS,
        boot_id::TESTS,
        modes::TESTS,
        ordinary_user::TESTS,
        permissions_of_copies::TESTS,
        service_manager::TESTS,
        service_user::TESTS,
        slow_storage::TESTS,
        system_calls::account_refusals::TESTS,
        system_calls::client_refusals::TESTS,
        system_calls::disk_failures::TESTS,
        system_calls::disks::TESTS,
        system_calls::failures::TESTS,
        system_calls::kills::TESTS,
        system_calls::refusals::TESTS,
        system_calls::syncs::TESTS,
        system_calls::trace::TESTS,
        unreadable_entries::TESTS,
    ])
}
