#![doc = include_str!("../../docs/protocol.md")]
//!
//! # This module
//!
//! The codec both programs share: `frame` cuts bytes into frames, `message` gives the bodies of
//! control frames their types. Pure functions over byte slices; no I/O, no state.

pub mod control;
pub mod frame;
pub mod message;
mod name;

pub use frame::{Frame, WireError};
pub use message::{ErrorCode, Reply, Request};
