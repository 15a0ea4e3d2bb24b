//! What is kept on disk of a message under way: its octets while they pass, and what its copies are known by.
//!
//! One request at a time is with the disk; what comes meanwhile waits here, and above the high-water mark its writer rests.
//! Nothing here changes an octet.

use super::{Commitment, DraftId, HIGH_WATER, Outbox, Outcome, Request, RequestId};
use crate::{
    model::AccountId,
    rules::likeness::{LIKENESS_MAX, Likeness},
};

/// A message on its way to the disk.
#[derive(Debug)]
pub struct Draft {
    id: DraftId,
    /// Whether its octets are kept, or only that it was there.
    spools: bool,
    header: Vec<u8>,
    header_over: bool,
    waiting: Vec<u8>,
    asked: Option<RequestId>,
}

impl Draft {
    /// Begins one.
    #[must_use]
    pub fn new(id: DraftId, spools: bool) -> Self {
        Self { id, spools, header: Vec::new(), header_over: false, waiting: Vec::new(), asked: None }
    }

    /// The next octets of the message.
    pub fn take(&mut self, octets: &[u8], out: &mut Outbox) {
        if !self.header_over {
            // The end may lie across the seam.
            let from = self.header.len().saturating_sub(3);
            let room = LIKENESS_MAX.saturating_sub(self.header.len()).min(octets.len());
            self.header.extend_from_slice(octets.get(..room).unwrap_or_default());
            let empty_line = |front: &[u8]| memchr::memmem::find(front, b"\r\n\r\n").is_some();
            self.header_over = self.header.len() == LIKENESS_MAX
                || self.header.starts_with(b"\r\n")
                || empty_line(self.header.get(from..).unwrap_or_default());
        }
        if self.spools {
            self.waiting.extend_from_slice(octets);
            self.ask_next(out);
        }
    }

    /// Whether its writer rests.
    #[must_use]
    pub fn is_brimful(&self) -> bool {
        self.waiting.len() > HIGH_WATER
    }

    fn ask_next(&mut self, out: &mut Outbox) {
        if self.asked.is_none() && !self.waiting.is_empty() {
            self.asked = Some(out.ask(Request::Spool(self.id, std::mem::take(&mut self.waiting))));
        }
    }

    /// Whether this answer was waited for: the octets are on disk. The next go there.
    pub fn spooled(&mut self, request: RequestId, out: &mut Outbox) -> bool {
        let awaited = self.asked == Some(request);
        if awaited {
            self.asked = None;
            self.ask_next(out);
        }
        awaited
    }

    /// Commits it, once nothing waits any more. None: later.
    pub fn commit(&mut self, account: AccountId, commitment: Commitment, out: &mut Outbox) -> Option<RequestId> {
        if self.asked.is_some() || !self.waiting.is_empty() {
            return None;
        }
        let likeness = Likeness::of(&self.header);
        self.header = Vec::new();
        Some(out.ask(Request::Commit(self.id, account, Box::new((likeness, commitment)))))
    }

    /// Gives it up.
    pub fn drop(self, out: &mut Outbox) {
        out.ask(Request::Outcome(self.id, Outcome::Refused));
    }

    /// By which the rest is known.
    #[must_use]
    pub fn id(&self) -> DraftId {
        self.id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn requests(out: &mut Outbox) -> Vec<(RequestId, Request)> {
        std::iter::from_fn(|| out.next_request()).collect()
    }

    proptest! {
        #[test]
        fn octets_reach_the_disk_in_order_one_request_at_a_time(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 1..20),
            answers in proptest::collection::vec(any::<bool>(), 20),
        ) {
            let (mut draft, mut out) = (Draft::new(DraftId(1), true), Outbox::default());
            let (mut written, mut open) = (Vec::new(), None);
            for (piece, answers) in pieces.iter().zip(&answers) {
                draft.take(piece, &mut out);
                for (id, request) in requests(&mut out) {
                    prop_assert!(open.replace(id).is_none());
                    let Request::Spool(_, octets) = request else { return Err(TestCaseError::fail("another")) };
                    written.extend_from_slice(&octets);
                }
                if let Some(id) = open.filter(|_| *answers) {
                    open = None;
                    prop_assert!(draft.spooled(id, &mut out) && !draft.spooled(id, &mut out));
                }
            }
            let commit = |draft: &mut Draft, out: &mut Outbox| draft.commit(AccountId(1), Commitment::Sending { recipients: None }, out);
            while commit(&mut draft, &mut out).is_none() {
                for (id, request) in requests(&mut out) {
                    prop_assert!(open.replace(id).is_none());
                    let Request::Spool(_, octets) = request else { return Err(TestCaseError::fail("another")) };
                    written.extend_from_slice(&octets);
                }
                draft.spooled(open.take().expect("something is with the disk"), &mut out);
            }
            prop_assert_eq!(written, pieces.concat());
        }
    }

    #[test]
    fn a_header_is_read_however_it_comes_and_no_further() {
        for cut in 1..40 {
            let message = b"Message-ID: <a@b>\r\n\r\nMessage-ID: <c@d>\r\nFrom: x@y\r\n\r\n";
            let (mut draft, mut out) = (Draft::new(DraftId(1), false), Outbox::default());
            let (front, rest) = message.split_at(cut);
            draft.take(front, &mut out);
            draft.take(rest, &mut out);
            assert!(draft.commit(AccountId(1), Commitment::Sending { recipients: None }, &mut out).is_some());
            let Some((_, Request::Commit(_, _, whole))) = out.next_request() else { panic!("nothing is committed") };
            assert_eq!(whole.0.message_id.as_deref(), Some("a@b"), "cut at {cut}");
        }
    }
}
