//! The client against a scripted server in memory: no sockets, no threads, no waiting.

mod conversation;
mod hostile;
mod login;
mod scripted;
mod shared;
mod transfer;
