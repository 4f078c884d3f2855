//! FTP and FTPS (RFC 959, 1123, 2228, 2389, 2428, 2640, 3659, 4217) translated to the session's verbs.
//! What only this protocol knows stays here: its lines, names, addresses and replies.

pub mod address;
pub mod argument;
pub mod command;
pub mod help;
pub mod line;
pub mod listing;
pub mod reply;
pub mod site;
pub mod table;
pub mod time;
