//! Logins of both programs: SCRAM, and the prompt for a password.

/// Asking for a password without showing it.
pub mod password_prompt;
/// SCRAM-SHA-256 for both programs: proofs, verifiers, channel binding; messages in and out.
pub mod scram;
