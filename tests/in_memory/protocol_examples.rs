//! `docs/protocol.md` held against the code: its tables and examples against the codec, its
//! examples against a server in memory, and its rules where the server once broke them.

mod codec;
mod replay;
mod rules;
