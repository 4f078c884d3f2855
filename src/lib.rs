//! The library behind `berthd`, the server, and `berth`, its client.

pub mod client;
pub mod digest;
pub mod lane;
pub mod limits;
pub mod scram;
pub mod text;
pub mod upload_id;
pub mod vpath;
pub mod wire;
