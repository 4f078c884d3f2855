//! The connection to a server: address, TLS, trust, login, requests, replies and retries.

pub mod endpoint;
pub mod incoming;
pub mod link;
pub mod login;
pub mod lost_connection;
pub mod password;
pub mod repeated_request;
pub mod send_buffer;
pub mod session;
pub mod state;
pub mod stream;
pub mod tls_stream;
pub mod trust;
