//! `kick`: sessions that are ended, page by page.

use super::Step;
use crate::protocol::admin::query::{Answer, Errand, Question, Which};
use crate::wire::control::{ControlReply, Whom};

/// A request to end sessions.
pub(super) struct Kick {
    which: Which,
    kicked: u64,
    stage: Stage,
}

enum Stage {
    /// The page that begins here is to be asked for.
    Ask(usize),
    /// It is.
    Asked,
    /// There are no more.
    Told,
    /// And that was said.
    Done,
}

impl Kick {
    pub(super) fn begin(whom: Whom) -> Result<Self, String> {
        let which = match whom {
            Whom::Session(number) => Which::Session(number),
            Whom::User(name) => Which::User(name.parse().map_err(|error| format!("{error}"))?),
        };
        Ok(Self { which, kicked: 0, stage: Stage::Ask(0) })
    }

    pub(super) fn next(&mut self) -> Step {
        match self.stage {
            Stage::Ask(from) => {
                self.stage = Stage::Asked;
                Step::Asks(Question { errand: Errand::Kick(self.which.clone()), from })
            }
            Stage::Asked => Step::Waits,
            Stage::Told => {
                self.stage = Stage::Done;
                Step::Reply(ControlReply::Kicked { sessions: self.kicked })
            }
            Stage::Done => Step::End,
        }
    }

    pub(super) fn answer(&mut self, answer: &Answer) {
        self.kicked += answer.kicked;
        self.stage = answer.next.map_or(Stage::Told, Stage::Ask);
    }
}
