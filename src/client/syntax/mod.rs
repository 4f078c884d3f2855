//! The language of commands: the table of commands, how a line is split into words, and how a name is quoted in a
//! command that a message advises. It knows neither a server nor a disk.

pub mod advice;
pub mod arguments;
pub mod command;
pub mod lexer;
