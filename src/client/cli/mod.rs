//! The command line of `berth` and the named hosts.

pub mod args;
pub mod command_line;
pub mod destination;
pub mod host_commands;
pub mod hosts;
