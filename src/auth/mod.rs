//! Logins of both programs: SCRAM, and the prompt for a password.

pub mod password_prompt;
pub mod scram;
