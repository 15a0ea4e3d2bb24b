//! A provider that wants a pause says so in the answer to some command, or before it closes: all that use the account are
//! to keep it. The client hears the answer as it is.

use super::Session;
use crate::{
    relay::{LaneUse, Outbox, Request, opening::words_for_people},
    rules::breaker::throttle,
    wire::imap::response::{Condition, Status},
};

impl Session {
    pub(super) fn note_throttle(&self, status: &Status<'_>, out: &mut Outbox) {
        if !matches!(status.condition, Condition::No | Condition::Bad | Condition::Bye) {
            return;
        }
        let words = words_for_people(&String::from_utf8_lossy(status.words));
        if let (Some(pause), Some(signed)) = (throttle(&words), &self.signed) {
            let account = signed.namespace.account();
            out.ask(Request::Throttled { account, purpose: LaneUse::Imap, pause, words: words.into() });
        }
    }
}
