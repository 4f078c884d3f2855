//! What an FTP session remembers between commands.

use super::transfer::{List, Transfer};
use crate::base::virtual_path::VirtualPath;

/// The state of the control connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ControlState {
    /// The greeting is not sent yet.
    New { is_encrypted: bool },
    /// Plaintext.
    Plain,
    /// The reply to AUTH is sent; the peer must begin TLS.
    StartingTls,
    /// TLS.
    Tls,
}

/// The settings of data connections.
#[derive(Default)]
pub(super) struct DataRules {
    /// `PBSZ` was sent.
    pub(super) has_buffer_size: bool,
    /// `PROT P`: they use TLS.
    pub(super) is_private: bool,
    /// `EPSV ALL`: no other command may set one up.
    pub(super) only_extended_passive: bool,
}

/// What the client has shown about resuming TLS sessions on its data connections.
#[derive(Default)]
pub(super) struct Reuse {
    /// It has resumed one, so it probably will again.
    pub(super) is_expected: bool,
    /// It can resume any number of times, so it must from now on. A TLS 1.3 client that uses each ticket
    /// once may have none left.
    pub(super) is_required: bool,
}

/// Arguments that one command sets for the next.
#[derive(Default)]
pub(super) struct PendingArguments {
    /// `REST`: the first byte of a transfer.
    pub(super) offset: u64,
    /// `ALLO`: the bytes of an upload.
    pub(super) length: Option<u64>,
    /// `RNFR`: the path to rename.
    pub(super) from: Option<VirtualPath>,
}

/// The running command.
pub(super) enum Activity {
    Nothing,
    /// A password is being checked.
    CheckingPassword,
    /// A digest is being computed for this command.
    Hashing(Hashed, VirtualPath),
    /// A directory is being listed on the control connection.
    ListingStatus(Box<List>),
    Transfer(Box<Transfer>),
}

/// The command that made the server listen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Passive {
    Pasv,
    Epsv,
}

/// The command that requested a digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hashed {
    Hash,
    Xsha256,
}
