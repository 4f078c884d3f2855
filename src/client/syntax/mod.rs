//! The language of commands: how a line is split into words, and how a name is quoted in a command that a message
//! advises.

pub mod advice;
pub mod lexer;
