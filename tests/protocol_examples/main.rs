//! `src/wire/PROTOCOL.md` held against the code: its rules, its examples, its tables.

mod rules;
mod server;
