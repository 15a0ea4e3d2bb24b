//! Accounts whose mail is queued: the bridge itself answers, and the provider is not asked while the client waits.
//!
//! What would be refused for good by the house is refused here, as it is for the others; `250` means that the message is
//! on disk. Whether the client has heard that is known by its next command: one that sends the same message again without
//! having heard it gets the number of the first.

use super::{Content, Flow, Outbox, Phase, Request, SmtpRelay, Transaction};
use crate::{
    failure::Failure,
    model::Submission,
    relay::{Admission, Commitment, Envelope, Outcome, draft::Draft},
    wire::smtp::{Path, write_reply},
};

/// Recipients of one queued message: RFC 5321 section 4.5.3.1.8 wants 100 at least, and no provider takes more at once.
pub(crate) const QUEUED_RECIPIENTS_MAX: usize = 1000;

impl SmtpRelay {
    pub(super) fn is_queued(&self) -> bool {
        self.admission.as_ref().is_some_and(|admission| admission.submission == Submission::Queued)
    }

    /// The verdict is all that a queued account's login waits for.
    pub(super) fn admit_queued(&mut self, admission: Admission, out: &mut Outbox) -> Flow {
        self.phase = Phase::AwaitingCommand;
        self.admission = Some(admission);
        self.bad_commands = 0;
        write_reply(out.client(), 235, "2.7.0", "Signed in");
        Flow::More
    }

    /// `line` is MAIL as far as its path, as the policy of senders has it.
    pub(super) fn mail_queued(&mut self, path: Path<'_>, line: &[u8], out: &mut Outbox) {
        let sender = Path { octets: line, ..path };
        self.transaction = Transaction::Open;
        self.recipients = Some(Vec::new());
        self.envelope = Envelope { sender: text(sender.address()), body: path.body, recipients: Vec::new() };
        write_reply(out.client(), 250, "2.1.0", "Ok");
    }

    pub(super) fn rcpt_queued(&mut self, path: Path<'_>, out: &mut Outbox) {
        if self.transaction != Transaction::Open {
            return write_reply(out.client(), 503, "5.5.1", "MAIL first");
        }
        if self.envelope.recipients.len() >= QUEUED_RECIPIENTS_MAX {
            return write_reply(
                out.client(),
                452,
                "4.5.3",
                "Too many recipients, send the message to the others again",
            );
        }
        let recipient = text(path.address());
        if !self.envelope.recipients.contains(&recipient) {
            self.envelope.recipients.push(recipient);
        }
        write_reply(out.client(), 250, "2.1.5", "Ok");
    }

    pub(super) fn data_queued(&mut self, out: &mut Outbox) {
        if self.transaction != Transaction::Open {
            return write_reply(out.client(), 503, "5.5.1", "MAIL first");
        }
        if self.envelope.recipients.is_empty() {
            return write_reply(out.client(), 554, "5.5.1", "There is no recipient, RCPT first");
        }
        write_reply(out.client(), 354, "", "Go on, end with a dot on a line of its own");
        self.phase = Phase::AwaitingEndMark(self.new_content());
    }

    /// What may pass of the message goes to disk alone.
    pub(super) fn content_queued(
        &mut self,
        mut content: Content,
        input: &mut &[u8],
        out: &mut Outbox,
    ) -> Result<Flow, Failure> {
        let mut passed = Vec::new();
        let (ended, refusal) = self.judged_content(&mut content, input, &mut passed, out)?;
        if let Some(reply) = refusal {
            let filter = content.give_up(out);
            return Ok(self.discarded(filter, reply, ended, out));
        }
        content.keep(&passed, out);
        if !ended {
            self.phase = Phase::AwaitingEndMark(content);
            return Ok(Flow::More);
        }
        let draft = content.take_draft().ok_or(Failure::Internal("a queued message that nobody keeps"))?;
        self.commit(draft, out)?;
        Ok(Flow::More)
    }

    pub(super) fn commitment(&self) -> Commitment {
        match self.is_queued() {
            true => Commitment::Queued(self.envelope.clone()),
            false => Commitment::Sending { recipients: self.recipients() },
        }
    }

    /// It is on disk under this number.
    pub(super) fn is_in_queue(&mut self, draft: &Draft, number: i64, out: &mut Outbox) {
        self.transaction = Transaction::None;
        self.phase = Phase::AwaitingCommand;
        self.untold = Some(draft.id());
        write_reply(out.client(), 250, "2.0.0", &format!("Queued as {number}"));
    }

    /// The client goes on: it has heard what was said of its last message, queued or not.
    pub(super) fn has_heard(&mut self, out: &mut Outbox) {
        if let Some(draft) = self.untold.take() {
            out.ask(Request::Outcome(draft, Outcome::Accepted));
        }
    }
}

/// Of a path, which is ASCII without control octets.
fn text(address: &[u8]) -> String {
    String::from_utf8_lossy(address).into_owned()
}
