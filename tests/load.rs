//! A server under load: thousands of connections, and memory and processor time that are measured. These
//! tests need much of the machine, and are a program of their own so that no other test runs beside them.

mod support;

mod load {
    mod memory;
    mod unauthenticated;
}
