//! A server under load: thousands of connections, and memory and processor time that are measured. These
//! tests need much of the machine: they are a program of their own so that no other test runs beside them,
//! and only two of them run at a time.

mod support;

mod load {
    pub(crate) mod memory;
    pub(crate) mod unauthenticated;
}

use load::{memory, unauthenticated};

fn main() -> std::process::ExitCode {
    support::needs::run_at_most(2, &[memory::TESTS, unauthenticated::TESTS])
}
