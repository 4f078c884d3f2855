//! The shell: reading, completing and running commands.

pub mod completion;
pub mod directory_cache;
pub mod dispatch;
pub mod history;
pub mod prompt;
pub mod script;

pub use crate::client::interrupt;
pub use crate::client::syntax::advice;
