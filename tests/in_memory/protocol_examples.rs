//! Checks `docs/protocol.md`: its tables and examples against the codec, its examples against a server in memory,
//! and rules that the server once broke.

mod codec;
mod replay;
mod rules;
