//! Commands: how they are typed, completed, parsed and interrupted.

pub mod command;
pub mod completion;
pub mod history;
pub mod interrupt;
pub mod lexer;
pub mod prompt;
pub mod script;
