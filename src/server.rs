//! The server put together: not built in yet.

use crate::config::Config;
use std::net::SocketAddr;

/// Why the server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// There is no server in this build.
    #[error("the server is not built in yet")]
    NotBuiltIn,
}

/// Serves until told to stop. `on_ready` gets the addresses that are really listened on.
pub fn run(config: Config, on_ready: impl FnOnce(&[SocketAddr])) -> Result<(), ServerError> {
    let _ = (config, on_ready);
    Err(ServerError::NotBuiltIn)
}
