//! Whether a client resumes the TLS session of its control connection on data connections (RFC 4217, section
//! 10.2). One that did has to do so again, so that nobody else at its address takes a data connection; but
//! only where it is certain that it can.

use crate::tls::Handshake;

/// What is known of the client of one session.
#[derive(Default)]
pub struct Reuse {
    has_resumed: bool,
    /// It has had new tickets after an upload: some clients close without reading them.
    reads_after_uploads: bool,
    previous: Previous,
    /// What [`crate::session::seat::is_alone_since`] was when the client last resumed.
    logins: Option<u64>,
}

/// What the data connection before left to the client.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Previous {
    /// No ticket, as far as is known.
    #[default]
    Unknown,
    /// A ticket, or a session that may be resumed more than once.
    Ticket,
    /// Tickets at the end of an upload.
    TicketsUnread,
}

impl Reuse {
    /// Whether it has resumed once.
    pub fn has_resumed(&self) -> bool {
        self.has_resumed
    }

    /// Whether the next data connection has to resume. `logins` as in [`Reuse::note`].
    pub fn is_due(&self, logins: Option<u64>) -> bool {
        let has_ticket = match self.previous {
            Previous::Unknown => false,
            Previous::Ticket => true,
            Previous::TicketsUnread => self.reads_after_uploads,
        };
        // Clients with several sessions keep one ticket for all of them.
        has_ticket && logins.is_some() && self.logins == logins
    }

    /// Notes how a data connection began, and whether all of it has come or gone. `logins` changes with each
    /// login of the account, and is `None` while it has other sessions.
    pub fn note(&mut self, handshake: Handshake, is_upload: bool, is_whole: bool, logins: Option<u64>) {
        if !handshake.is_resumed {
            self.previous = Previous::Unknown;
            return;
        }
        self.reads_after_uploads |= self.previous == Previous::TicketsUnread;
        self.has_resumed = true;
        self.logins = logins;
        self.previous = match (handshake.uses_tickets_once, is_upload, is_whole) {
            (false, ..) | (true, false, true) => Previous::Ticket,
            (true, true, true) => Previous::TicketsUnread,
            (true, _, false) => Previous::Unknown,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TLS12: Handshake = Handshake { is_resumed: true, uses_tickets_once: false };
    const TLS13: Handshake = Handshake { is_resumed: true, uses_tickets_once: true };
    const WHOLE: Handshake = Handshake { is_resumed: false, uses_tickets_once: true };

    fn after(transfers: &[(Handshake, bool, bool)]) -> bool {
        let mut reuse = Reuse::default();
        for &(handshake, is_upload, is_whole) in transfers {
            reuse.note(handshake, is_upload, is_whole, Some(1));
        }
        reuse.is_due(Some(1))
    }

    #[test]
    fn a_client_that_has_resumed_has_to_do_so_again_if_it_can() {
        assert!(!after(&[]));
        assert!(after(&[(TLS12, true, true)]) && after(&[(TLS12, true, false)]) && after(&[(TLS13, false, true)]));
        assert!(!after(&[(TLS13, false, false)]), "the tickets may not have arrived");
    }

    #[test]
    fn a_client_that_reads_no_tickets_after_uploads_is_let_be() {
        assert!(!after(&[(TLS13, true, true)]));
        assert!(after(&[(TLS13, true, true), (TLS13, true, true)]), "it has read them");
        // curl 7.88: the second upload begins anew, and so the third is no sign of tickets of the first.
        assert!(!after(&[(TLS13, true, true), (WHOLE, true, true)]));
        assert!(!after(&[(TLS13, true, true), (WHOLE, false, true), (TLS13, true, true)]));
    }

    #[test]
    fn a_client_with_several_sessions_is_let_be() {
        let mut reuse = Reuse::default();
        reuse.note(TLS12, false, true, Some(7));
        assert_eq!([reuse.is_due(None), reuse.is_due(Some(8)), reuse.is_due(Some(7))], [false, false, true]);
        reuse.note(TLS12, false, true, None);
        assert!(!reuse.is_due(None));
    }
}
