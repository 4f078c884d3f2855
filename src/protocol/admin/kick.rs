//! `kick`: ends sessions, page by page.

use super::RequestStep;
use crate::protocol::admin::query::{Query, QueryJob, QueryResult, Selector};
use crate::wire::control::{ControlReply, Whom};

/// A request to end sessions.
pub(super) struct Kick {
    which: Selector,
    kicked: u64,
    stage: KickStage,
}

enum KickStage {
    /// The page that begins here is to be requested.
    Ask(usize),
    /// It was requested.
    Asked,
    /// All pages were received; the reply is to be sent.
    Told,
    /// The reply was sent.
    Done,
}

impl Kick {
    pub(super) fn begin(whom: Whom) -> Result<Self, String> {
        let which = match whom {
            Whom::Session(number) => Selector::Session(number),
            Whom::User(name) => Selector::User(name.parse().map_err(|error| format!("{error}"))?),
        };
        Ok(Self { which, kicked: 0, stage: KickStage::Ask(0) })
    }

    pub(super) fn next(&mut self) -> RequestStep {
        match self.stage {
            KickStage::Ask(from) => {
                self.stage = KickStage::Asked;
                RequestStep::Asks(Query { job: QueryJob::Kick(self.which.clone()), from })
            }
            KickStage::Asked => RequestStep::Waits,
            KickStage::Told => {
                self.stage = KickStage::Done;
                RequestStep::Reply(ControlReply::Kicked { sessions: self.kicked })
            }
            KickStage::Done => RequestStep::End,
        }
    }

    pub(super) fn answer(&mut self, answer: &QueryResult) {
        self.kicked += answer.kicked;
        self.stage = answer.next.map_or(KickStage::Told, KickStage::Ask);
    }
}
