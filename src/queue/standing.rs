//! What is known of a queued message, and what follows from it: each recipient's state, and from them all that of the message
//! and when it is looked at next.
//!
//! No I/O and no clock: the one who delivers says what happened.

use crate::{
    model::Uncertain,
    rules::patience::{advised, pause},
    store::{QueueState, Queued, Recipient, RecipientState, Told},
};

/// A message with what has come to be known of it.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) message: Queued,
    before: Vec<Recipient>,
    /// Why not all have it.
    words: String,
    /// Some have it now, so that the provider may take the others at once.
    progress: bool,
    /// It is not a try that counts.
    idle: bool,
    reported: bool,
    /// Its claim ends then, as the store has it.
    claim: i64,
    /// That its end mark is sent is in the store.
    is_marked: bool,
    /// And what came of that, nobody knows.
    is_unknown: bool,
}

impl Standing {
    pub(super) fn of(message: Queued) -> Self {
        let (before, claim) = (message.recipients.clone(), message.claimed_until);
        let [progress, idle, reported, is_marked, is_unknown] = [false; 5];
        Self { message, before, words: String::new(), progress, idle, reported, claim, is_marked, is_unknown }
    }

    /// Whether a recipient has come to this state.
    pub(super) fn became(&self, state: RecipientState) -> bool {
        let pairs = self.message.recipients.iter().zip(&self.before);
        pairs.into_iter().any(|(now, before)| now.state == state && before.state != state)
    }

    pub(super) fn any(&self, state: RecipientState) -> bool {
        self.message.recipients.iter().any(|recipient| recipient.state == state)
    }

    /// Whether it ends without anybody who has it, or may have it.
    pub(super) fn nobody_has_it(&self) -> bool {
        use RecipientState::{Failed, Reported};
        self.message.recipients.iter().all(|recipient| matches!(recipient.state, Failed | Reported))
    }

    /// Those of one state come to another, with these words where there are any.
    pub(super) fn turn(&mut self, from: RecipientState, to: RecipientState, words: &str) {
        for recipient in self.message.recipients.iter_mut().filter(|recipient| recipient.state == from) {
            recipient.state = to;
            if !words.is_empty() {
                words.clone_into(&mut recipient.words);
            }
        }
        if to != RecipientState::Accepted && !words.is_empty() {
            words.clone_into(&mut self.words);
        }
    }

    /// The provider has answered the RCPT of one of them.
    pub(super) fn answered(&mut self, position: i64, state: RecipientState, words: &str) {
        if let Some(recipient) = self.message.recipients.iter_mut().find(|one| one.position == position) {
            recipient.state = state;
            words.clone_into(&mut recipient.words);
        }
        if matches!(state, RecipientState::Waiting | RecipientState::Failed) {
            words.clone_into(&mut self.words);
        }
    }

    /// It was taken for all that were offered.
    pub(super) fn is_accepted(&mut self, words: &str) {
        self.turn(RecipientState::Offered, RecipientState::Accepted, words);
        self.progress = true;
    }

    /// Those that the provider put off are tried at once where it only wants fewer at a time; else as if nobody had it yet.
    pub(super) fn tries_others_at_once(&mut self, too_many: bool) {
        let unasked = |one: &Recipient| one.state == RecipientState::Waiting && one.words.is_empty();
        self.progress = too_many || self.message.recipients.iter().any(unasked);
    }

    /// It is to be marked, and claimed until then for the provider's answer.
    pub(super) fn marks(&mut self, until: i64) {
        self.message.claimed_until = self.message.claimed_until.max(until);
    }

    /// That is in the store: from here on what the provider answers is so, whoever has the message by then.
    pub(super) fn is_marked(&mut self) {
        self.is_marked = true;
    }

    /// Its end mark may have been taken.
    pub(super) fn is_unknown(&mut self, words: &str) {
        self.turn(RecipientState::Offered, RecipientState::Uncertain, words);
        self.is_unknown = true;
    }

    /// Whether nobody knows what became of what has just been sent.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.is_unknown
    }

    /// It is tried again later.
    pub(super) fn put_off(mut self, words: &str) -> Self {
        self.turn(RecipientState::Offered, RecipientState::Waiting, "");
        words.clone_into(&mut self.words);
        self
    }

    /// It is tried again as it was: nothing was said of it.
    pub(super) fn left(mut self) -> Self {
        self.message.recipients.clone_from(&self.before);
        self.idle = true;
        self
    }

    /// A report of those that failed stands in the INBOX.
    pub(super) fn is_reported(&mut self) {
        self.turn(RecipientState::Failed, RecipientState::Reported, "");
        self.message.reports = self.message.reports.saturating_add(1);
        self.reported = true;
    }

    /// What is to be kept of it.
    pub(super) fn told(&self, uncertain: Uncertain, now: i64) -> Told {
        use RecipientState::{Failed, Offered, Waiting};
        let message = &self.message;
        let again = uncertain == Uncertain::Resend && self.any(RecipientState::Uncertain);
        let (state, due) = match () {
            () if self.any(Offered) => (QueueState::Marked, message.due_at),
            () if self.any(Waiting) || again => (QueueState::Waiting, Some(self.next(now))),
            () if self.any(Failed) && message.state == QueueState::Reporting => {
                (QueueState::Reporting, Some(now + pause(message.tries, "")))
            }
            () if self.any(Failed) => (QueueState::Reporting, Some(now)),
            () if self.any(RecipientState::Uncertain) => (QueueState::Uncertain, None),
            () => (QueueState::Done, None),
        };
        let changed = message.recipients.iter().zip(&self.before).filter(|(now, before)| now != before);
        let fresh = self.progress || self.reported;
        Told {
            recipients: changed.map(|(now, _)| now.clone()).collect(),
            state,
            due,
            claimed_until: if state == QueueState::Marked { message.claimed_until } else { 0 },
            claim: (!self.is_marked).then_some(self.claim),
            tries: match () {
                () if fresh => 0,
                () if self.idle || state == QueueState::Marked => message.tries,
                () => message.tries.saturating_add(1),
            },
            reports: message.reports,
            words: if self.words.is_empty() { message.words.clone() } else { self.words.clone() },
            advised: state == QueueState::Waiting && advised(&self.words).is_some(),
            sent: None,
        }
    }

    fn next(&self, now: i64) -> i64 {
        if self.progress || self.idle {
            return now + 1;
        }
        let next = now.saturating_add(pause(self.message.tries, &self.words));
        // Whoever waits is told as soon as its time is over.
        next.min(self.message.expires_at.max(now + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AccountId;

    const NOW: i64 = 1_800_000_000;

    fn standing(states: &[RecipientState]) -> Standing {
        let recipients = (0..).zip(states).map(|(position, state)| Recipient {
            position,
            address: format!("r{position}@x.test"),
            state: *state,
            words: String::new(),
        });
        Standing::of(Queued {
            id: 1,
            account: AccountId(1),
            state: QueueState::Waiting,
            sender: "alice@x.test".to_owned(),
            body: None,
            message_id: None,
            sent: None,
            spooled: None,
            began_at: NOW,
            expires_at: NOW + 86_400,
            due_at: Some(NOW),
            claimed_until: NOW + 9,
            tries: 2,
            reports: 0,
            words: String::new(),
            recipients: recipients.collect(),
        })
    }

    #[test]
    fn a_message_stands_as_its_recipients_do() {
        use RecipientState::{Accepted, Failed, Offered, Reported, Uncertain as Unknown, Waiting};
        for (states, hold, resend) in [
            (&[Offered, Failed][..], QueueState::Marked, QueueState::Marked),
            (&[Accepted, Waiting, Failed], QueueState::Waiting, QueueState::Waiting),
            (&[Accepted, Failed, Unknown], QueueState::Reporting, QueueState::Waiting),
            (&[Accepted, Unknown], QueueState::Uncertain, QueueState::Waiting),
            (&[Accepted, Reported], QueueState::Done, QueueState::Done),
        ] {
            let standing = standing(states);
            let state = |uncertain| standing.told(uncertain, NOW).state;
            assert_eq!((state(Uncertain::Hold), state(Uncertain::Resend)), (hold, resend), "{states:?}");
        }
    }

    #[test]
    fn a_mark_needs_the_claim_and_an_answer_does_not() {
        let mut offered = standing(&[RecipientState::Offered]);
        offered.marks(NOW + 500);
        let told = offered.told(Uncertain::Hold, NOW);
        assert_eq!((told.state, told.claimed_until, told.claim), (QueueState::Marked, NOW + 500, Some(NOW + 9)));
        // It could not be kept.
        let told = offered.clone().put_off("no").told(Uncertain::Hold, NOW);
        assert_eq!((told.claimed_until, told.claim), (0, Some(NOW + 9)));
        offered.is_marked();
        offered.is_accepted("250 ok");
        let told = offered.told(Uncertain::Hold, NOW);
        assert_eq!((told.state, told.claimed_until, told.claim), (QueueState::Done, 0, None));
    }

    #[test]
    fn what_is_put_off_waits_longer_and_longer_and_no_longer_than_it_may() {
        use RecipientState::{Offered, Waiting};
        let put_off = |words: &str| standing(&[Waiting]).put_off(words).told(Uncertain::Hold, NOW);
        let told = put_off("451 4.3.0 later");
        assert_eq!((told.due, told.tries, told.advised, told.claimed_until), (Some(NOW + 120), 3, false, 0));
        assert_eq!(told.claim, Some(NOW + 9));
        let told = put_off("451 4.7.1 try again in 10 minutes");
        assert_eq!((told.due, told.advised), (Some(NOW + 600), true));
        let mut late = standing(&[Waiting]);
        late.message.expires_at = NOW + 30;
        assert_eq!(late.put_off("451 later").told(Uncertain::Hold, NOW).due, Some(NOW + 30));
        // Some were taken, others too many for one message: these follow at once.
        let mut some = standing(&[Offered, Waiting]);
        some.is_accepted("250 ok");
        let told = some.told(Uncertain::Hold, NOW);
        assert_eq!((told.state, told.due, told.tries), (QueueState::Waiting, Some(NOW + 1), 0));
        assert!(some.became(RecipientState::Accepted) && !some.nobody_has_it());
    }
}
