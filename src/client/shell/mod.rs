//! The shell: reading, completing, parsing and interrupting commands.

pub mod advice;
pub mod command;
pub mod completion;
pub mod history;
pub mod interrupt;
pub mod lexer;
pub mod prompt;
pub mod script;
