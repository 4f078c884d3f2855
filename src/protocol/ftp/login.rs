//! Login and TLS commands: `AUTH`, `USER`, `PASS`, `PBSZ`, `PROT`.

use zeroize::Zeroizing;

use super::command::Protection;
use super::{Activity, ControlState, Ftp, FtpContext, REPLY_CLOSING, reply};
use crate::protocol::Protocol;
use crate::session::SessionError;
use crate::session::login::LoginProgress;

impl Ftp {
    pub(super) fn auth(&mut self, turn: &mut FtpContext) {
        if self.is_encrypted() {
            return turn.reply(503, "TLS is already active.");
        }
        if self.session.account().is_some() {
            return turn.reply(503, "AUTH is not allowed after login; reconnect first.");
        }
        turn.reply(234, "Proceed with TLS negotiation.");
        self.control = ControlState::StartingTls;
    }

    pub(super) fn protection_buffer(&mut self, turn: &mut FtpContext) {
        if !self.is_encrypted() {
            return turn.reply(503, "Send AUTH TLS first.");
        }
        self.data.has_buffer_size = true;
        turn.reply(200, "PBSZ=0");
    }

    pub(super) fn protect(&mut self, level: Protection, turn: &mut FtpContext) {
        match level {
            _ if !self.is_encrypted() => turn.reply(503, "Send AUTH TLS first."),
            _ if !self.data.has_buffer_size => turn.reply(503, "Send PBSZ 0 first."),
            Protection::Private => {
                self.data.is_private = true;
                turn.reply(200, "Protection level set to P.");
            }
            Protection::Clear if self.settings.plaintext => {
                self.data.is_private = false;
                turn.reply(200, "Protection level set to C; data is not encrypted.");
            }
            Protection::Clear => turn.reply(534, "PROT C is disabled on this server; use PROT P."),
        }
    }

    pub(super) fn name_user(&mut self, name: &str, turn: &mut FtpContext) {
        if self.session.account().is_some() {
            return turn.reply(530, "Already logged in; reconnect to log in as another user.");
        }
        if !self.may_log_in(turn) {
            return;
        }
        self.user = Some(name.to_string());
        turn.reply(331, "Password required.");
    }

    pub(super) fn pass(&mut self, password: &Zeroizing<String>, turn: &mut FtpContext) {
        if self.session.account().is_some() {
            return turn.reply(503, "Already logged in.");
        }
        if !self.may_log_in(turn) {
            return;
        }
        let Some(user) = self.user.take() else { return turn.reply(503, "Send USER first.") };
        match self.session.begin_password_login(turn.service, &user, password, turn.now) {
            Ok(()) => self.activity = Activity::CheckingPassword,
            Err(refusal) => turn.refuse(refusal, None),
        }
    }

    fn may_log_in(&self, turn: &mut FtpContext) -> bool {
        let may = self.is_encrypted() || self.settings.plaintext;
        if !may {
            turn.reply(530, "TLS is required before login; send AUTH TLS first.");
        }
        may
    }

    pub(super) fn check_password(&mut self, turn: &mut FtpContext) -> bool {
        match self.session.advance_login(turn.service, turn.budget, turn.now) {
            Ok(LoginProgress::Later) => return true,
            Ok(LoginProgress::Waiting) => return false,
            Ok(LoginProgress::Welcome(_)) => turn.reply(230, "Login successful."),
            Err(refusal) => self.refuse_login(refusal, turn),
        }
        self.activity = Activity::Nothing;
        true
    }

    fn refuse_login(&mut self, refusal: SessionError, turn: &mut FtpContext) {
        turn.refuse(refusal, None);
        if reply::refusal(refusal, None).0 == REPLY_CLOSING {
            self.hang_up(turn.now);
        }
    }
}
