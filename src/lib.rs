//! The library behind `berthd`, the server, and `berth`, its client.

pub mod digest;
pub mod lane;
pub mod limits;
/// SCRAM-SHA-256 for both programs: proofs, verifiers, channel binding; messages in and out.
pub mod scram;
pub mod text;
pub mod upload_id;
pub mod vpath;
pub mod wire;
