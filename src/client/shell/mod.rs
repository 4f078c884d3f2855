//! The shell: reading, completing and running commands.

pub mod completion;
pub mod directory_cache;
pub mod dispatch;
pub mod history;
pub mod prompt;
pub mod script;
