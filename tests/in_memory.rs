//! The protocols, the session, the store and the client in memory: homes are real directories, but there are no
//! sockets, no processes, and no clock but the one that a test moves.

mod support;

mod in_memory {
    mod client;
    mod client_and_server;
    mod clock;
    mod codec;
    mod fairness;
    mod ftp_transfer_end;
    mod jail;
    mod native;
    mod partial_uploads;
    mod passwords;
    mod protocol_examples;
    mod quota;
    mod rates;
    mod resume;
    mod session_states;
    mod simulation;
    mod sync;
    mod unauthenticated;
}
