//! Commands that set up data connections: `PORT`, `EPRT`, `PASV`, `EPSV`, `ABOR`.

use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use super::command::Epsv;
use super::{Ftp, FtpContext, Passive, address};
use crate::config::defaults::FTP_DATA_PORT_MIN;

impl Ftp {
    pub(super) fn connect_actively(&mut self, address: SocketAddr, turn: &mut FtpContext) {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        if self.data.only_extended_passive {
            return turn.reply(503, "Only EPSV is allowed after EPSV ALL.");
        }
        if !self.settings.is_active_allowed {
            return turn.reply(502, "Active mode (PORT, EPRT) is disabled on this server; use EPSV or PASV.");
        }
        // Without this check, the server could be used to attack other hosts (RFC 2577, section 3).
        if address.ip() != self.session.peer().ip() || address.port() < FTP_DATA_PORT_MIN {
            return turn
                .reply(504, format!("Address refused; use your own address and a port from {FTP_DATA_PORT_MIN}."));
        }
        turn.data.set_address(address);
        turn.reply(200, "OK; the server connects there for the next transfer.");
    }

    pub(super) fn listen_extended(&mut self, network: Epsv, turn: &mut FtpContext) {
        match (network, self.local) {
            (Epsv::V4, IpAddr::V6(_)) => turn.reply(522, "Network protocol not supported, use (2)"),
            (Epsv::V6, IpAddr::V4(_)) => turn.reply(522, "Network protocol not supported, use (1)"),
            _ => self.listen(Passive::Epsv, turn),
        }
    }

    pub(super) fn listen(&mut self, passive: Passive, turn: &mut FtpContext) {
        if passive == Passive::Pasv && self.data.only_extended_passive {
            return turn.reply(503, "Only EPSV is allowed after EPSV ALL.");
        }
        if passive == Passive::Pasv && self.local.is_ipv6() {
            return turn.reply(425, "PASV supports IPv4 only; use EPSV.");
        }
        let expects_resumption = self.data.is_private && self.reuse.is_expected;
        let Ok(address) = turn.data.listen(self.settings.passive_ports.clone(), expects_resumption) else {
            return turn.reply(425, "Cannot open a data connection: no free port; try again later.");
        };
        match (passive, address.ip()) {
            (Passive::Pasv, IpAddr::V4(ip)) => {
                let public = self.settings.public_address;
                let ip = address::advertised(ip, self.session.peer().ip(), public);
                turn.reply(227, address::passive(SocketAddrV4::new(ip, address.port())));
            }
            _ => turn.reply(229, address::extended_passive(address.port())),
        }
    }

    /// `EPSV ALL`.
    pub(super) fn allow_only_epsv(&mut self, turn: &mut FtpContext) {
        self.data.only_extended_passive = true;
        turn.reply(200, "EPSV ALL accepted; PASV, PORT and EPRT are disabled.");
    }

    /// Replies to `ABOR` in its turn. The running command was aborted when `ABOR` arrived.
    pub(super) fn answer_abort(&mut self, turn: &mut FtpContext) {
        turn.data.close();
        let text = match std::mem::take(&mut self.was_aborted) {
            true => "Abort successful.",
            false => "No transfer to abort; data connection closed.",
        };
        turn.reply(226, text);
    }
}
