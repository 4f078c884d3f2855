//! `kick`: ends sessions, page by page.

use super::RequestResult;
use crate::protocol::admin::query::{Query, QueryJob, QueryResult, Selector};
use crate::wire::control::{ControlReply, KickTarget};

/// A request to end sessions.
pub(super) struct Kick {
    selector: Selector,
    kicked: u64,
    stage: KickStage,
}

enum KickStage {
    /// The page that begins here is to be requested.
    RequestPage(usize),
    /// It was requested.
    AwaitPage,
    /// All pages were received; the reply is to be sent.
    SendReply,
    /// The reply was sent.
    Done,
}

impl Kick {
    pub(super) fn begin(target: KickTarget) -> Result<Self, String> {
        let selector = match target {
            KickTarget::Session(number) => Selector::Session(number),
            KickTarget::User(name) => Selector::User(name.parse().map_err(|error| format!("{error}"))?),
        };
        Ok(Self { selector, kicked: 0, stage: KickStage::RequestPage(0) })
    }

    pub(super) fn next(&mut self) -> RequestResult {
        match self.stage {
            KickStage::RequestPage(from) => {
                self.stage = KickStage::AwaitPage;
                RequestResult::Query(Query { job: QueryJob::Kick(self.selector.clone()), from })
            }
            KickStage::AwaitPage => RequestResult::Waiting,
            KickStage::SendReply => {
                self.stage = KickStage::Done;
                RequestResult::Reply(ControlReply::Kicked { sessions: self.kicked })
            }
            KickStage::Done => RequestResult::End,
        }
    }

    pub(super) fn answer(&mut self, answer: &QueryResult) {
        self.kicked += answer.kicked;
        self.stage = answer.next.map_or(KickStage::SendReply, KickStage::RequestPage);
    }
}
