//! The command line of `berth`, and the servers that have a name.

pub mod args;
pub mod command_line;
pub mod host_commands;
pub mod hosts;
