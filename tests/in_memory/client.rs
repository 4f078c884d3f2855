//! The client against a scripted server in memory: no sockets, no threads, no waiting.

mod conversation;
mod hostile_server;
mod login;
mod scripted_server;
mod transfer;
