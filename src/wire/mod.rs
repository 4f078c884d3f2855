#![doc = include_str!("../../docs/protocol.md")]
//!
//! # This module
//!
//! The codec that both programs share. `frame` divides bytes into frames. `message` has the bodies of control
//! frames as types, and `name` their names and paths. `control` has the messages of the local control
//! socket. Pure functions over byte slices; no I/O, no state.

pub mod control;
pub mod frame;
pub mod message;
mod name;

pub use frame::{Frame, WireError};
pub use message::{ErrorCode, Reply, Request};
