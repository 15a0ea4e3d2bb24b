//! DATA: the message from the client to the lane, its end mark, and the ways in which it comes to nothing.
//!
//! Whatever goes wrong before the end mark, the lane is closed without one, so that nothing is sent; and the client's
//! message is read to its end, so that none of its lines is taken for a command.

use super::{DraftId, Flow, Outbox, Phase, Request, RequestId, SmtpRelay, Transaction, write};
use crate::{
    failure::{Failure, Misbehaviour, Rule, SmtpMoment},
    model::{Address, FromPolicy},
    relay::{Care, Committed, Outcome, draft::Draft},
    rules::from::{Identity, Judged, Why},
    wire::{
        dot::{DotFilter, END_MARK, Unstuffer},
        header::{Found, HeaderFilter},
        smtp::write_reply,
    },
};

/// The fields of a message that are looked at, by their place.
const FIELDS: &[&str] = &["from", "message-id"];
const FROM: usize = 0;
/// Octets of the recipients of one message by which a retry is known: providers allow 100 to 1,000 of them.
pub(crate) const RECIPIENTS_MAX: usize = 32 * 1024;
/// The longest address of RFC 5321 section 4.5.3.1.3.
const ADDRESS_MAX: usize = 254;

/// A message on its way.
#[derive(Debug)]
pub(super) struct Content {
    dot: DotFilter,
    /// None: nobody looks. Once it is begun it sees all of the header, as it may hold some of it back.
    header: Option<HeaderFilter>,
    /// From fields so far.
    froms: u32,
    /// What a message without Message-ID gets; None: nothing, or it has one.
    message_id: Option<String>,
    /// What is kept of it on disk.
    draft: Option<(Draft, Unstuffer)>,
}

impl Content {
    /// Whether what comes next waits until the disk has what came.
    pub(super) fn is_brimful(&self) -> bool {
        self.draft.as_ref().is_some_and(|(draft, _)| draft.is_brimful())
    }

    /// Nothing of it is to be kept; its end is still to be found.
    pub(super) fn give_up(self, out: &mut Outbox) -> DotFilter {
        if let Some((draft, _)) = self.draft {
            draft.drop(out);
        }
        self.dot
    }

    /// What has passed goes to disk, as far as it is kept.
    pub(super) fn keep(&mut self, passed: &[u8], out: &mut Outbox) {
        if let Some((draft, unstuffer)) = &mut self.draft {
            let mut octets = Vec::new();
            unstuffer.pass(passed, &mut octets);
            draft.take(&octets, out);
        }
    }

    /// What is to be committed, where something is kept.
    pub(super) fn take_draft(&mut self) -> Option<Draft> {
        self.draft.take().map(|(draft, _)| draft)
    }

    /// Takes octets of the message up to its end mark, and says whether that came. What may go to the provider goes to
    /// `out`.
    fn pass(
        &mut self,
        identity: Option<&Identity<'_>>,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(bool, Result<(), Why>), Misbehaviour> {
        if self.header.as_ref().is_none_or(HeaderFilter::is_over) {
            return Ok((self.dot.pass(input, Some(out))?, Ok(())));
        }
        let mut passed = Vec::new();
        let ended = self.dot.pass(input, Some(&mut passed))?;
        Ok((ended, self.header(identity, &passed, ended, out)))
    }

    fn header(
        &mut self,
        identity: Option<&Identity<'_>>,
        mut octets: &[u8],
        ended: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Why> {
        let Some(header) = &mut self.header else { return Ok(()) };
        loop {
            let found = match header.pass(&mut octets, out).map_err(|_| Why::Unreadable)? {
                None if ended => header.finish(out),
                found => found,
            };
            match found {
                None => return Ok(()),
                Some(Found::Field(FROM, field)) => {
                    match identity.map_or(Judged::Passes, |identity| identity.judge(&field, self.froms)) {
                        Judged::Passes => out.extend_from_slice(&field),
                        Judged::Becomes(other) => out.extend_from_slice(&other),
                        Judged::Refused(why) => return Err(why),
                    }
                    self.froms = self.froms.saturating_add(1);
                }
                Some(Found::Field(_, field)) => {
                    // An empty one would be a second field of its name if it stayed beside ours.
                    let value = field.splitn(2, |octet| *octet == b':').nth(1).unwrap_or_default();
                    if self.message_id.is_none() || !value.trim_ascii().is_empty() {
                        self.message_id = None;
                        out.extend_from_slice(&field);
                    }
                }
                Some(Found::End { empty_line }) => {
                    let missing = identity.filter(|_| self.froms == 0).and_then(Identity::missing);
                    out.extend_from_slice(&missing.unwrap_or_default());
                    if let Some(id) = self.message_id.take() {
                        out.extend_from_slice(format!("Message-ID: <{id}>\r\n").as_bytes());
                    }
                    if empty_line {
                        out.extend_from_slice(b"\r\n");
                    }
                }
            }
        }
    }
}

impl SmtpRelay {
    pub(super) fn new_content(&mut self) -> Content {
        let admission = self.admission.as_ref();
        let filing = admission.map_or(Care::Nothing, |admission| admission.filing);
        let keeps_from = admission.is_none_or(|admission| admission.from == FromPolicy::Keep);
        let is_queued = self.is_queued();
        let is_kept = is_queued || filing != Care::Nothing;
        let header = match (keeps_from, is_kept) {
            (false, _) => Some(HeaderFilter::new(FIELDS)),
            (true, true) => Some(HeaderFilter::lenient(FIELDS)),
            (true, false) => None,
        };
        self.drafts = self.drafts.wrapping_add(u32::from(is_kept));
        let draft = is_kept
            .then(|| (Draft::new(DraftId(self.drafts), is_queued || filing == Care::Kept), Unstuffer::default()));
        let message_id = admission.filter(|_| is_kept).map(|admission| self.message_id(&admission.address));
        Content { dot: DotFilter::default(), header, froms: 0, message_id, draft }
    }

    /// Of the account's domain: what other programs would write.
    fn message_id(&self, address: &Address) -> String {
        let domain = address.as_str().rsplit('@').next().unwrap_or_default();
        format!("{:032x}.{}@{domain}", self.facts.nonce, self.drafts)
    }

    pub(super) fn content(
        &mut self,
        mut content: Content,
        input: &mut &[u8],
        out: &mut Outbox,
    ) -> Result<Flow, Failure> {
        if self.is_queued() {
            return self.content_queued(content, input, out);
        }
        let Some(lane) = self.lane.as_ref().map(|lane| lane.id) else {
            return Err(Failure::Internal("SMTP content without a lane"));
        };
        let before = out.lane(lane).len();
        let mut passed = std::mem::take(out.lane(lane));
        let judged = self.judged_content(&mut content, input, &mut passed, out);
        *out.lane(lane) = passed;
        let (ended, refusal) = judged?;
        if let Some(reply) = refusal {
            self.drop_lane(out);
            let filter = content.give_up(out);
            return Ok(self.discarded(filter, reply, ended, out));
        }
        if let Some((draft, unstuffer)) = &mut content.draft {
            let mut octets = Vec::new();
            unstuffer.pass(out.lane(lane).get(before..).unwrap_or_default(), &mut octets);
            draft.take(&octets, out);
        }
        match content.draft {
            _ if !ended => self.phase = Phase::AwaitingEndMark(content),
            Some((draft, _)) => self.commit(draft, out)?,
            None => self.end_mark(None, out),
        }
        Ok(Flow::More)
    }

    /// Takes octets of the message: whether it has ended, and what is said where it is not to be sent.
    pub(super) fn judged_content(
        &mut self,
        content: &mut Content,
        input: &mut &[u8],
        passed: &mut Vec<u8>,
        out: &mut Outbox,
    ) -> Result<(bool, Option<Vec<u8>>), Failure> {
        let identity = self.admission.as_ref().map(|admission| Identity {
            policy: admission.from,
            senders: &admission.senders,
            display_name: &admission.display_name,
        });
        let (ended, allowed) = match content.pass(identity.as_ref(), input, passed) {
            Ok(passed) => passed,
            Err(misbehaviour) => return Err(self.smuggled(misbehaviour, out)),
        };
        let refusal = match allowed {
            Err(why) => Some(refusal(&why)),
            Ok(()) if content.dot.octets() > self.facts.message_max => {
                let mut reply = Vec::new();
                write_reply(&mut reply, 552, "5.3.4", "The message is too large for the mail bridge");
                Some(reply)
            }
            Ok(()) => None,
        };
        Ok((ended, refusal))
    }

    /// Commits the draft once all of it is on disk. From the end mark on the provider may send the message: what must
    /// outlive a crash is committed before.
    pub(super) fn commit(&mut self, mut draft: Draft, out: &mut Outbox) -> Result<(), Failure> {
        let account = self.admission.as_ref().map(|admission| admission.account);
        let account = account.ok_or(Failure::Internal("SMTP content before login"))?;
        let request = draft.commit(account, self.commitment(), out);
        self.phase = Phase::AwaitingCommit(draft, request);
        Ok(())
    }

    /// A recipient, where it is for something to know them.
    pub(super) fn remember(&mut self, recipient: &[u8]) {
        if self.admission.as_ref().is_none_or(|admission| admission.filing == Care::Nothing) {
            return;
        }
        if let Some(recipients) = &mut self.recipients {
            recipients.extend_from_slice(&recipient.to_ascii_lowercase());
            recipients.push(b'\n');
        }
        self.recipients.take_if(|recipients| recipients.len() > RECIPIENTS_MAX);
    }

    /// In one form, whatever the order in which they were said.
    pub(super) fn recipients(&self) -> Option<String> {
        let recipients = String::from_utf8_lossy(self.recipients.as_deref()?);
        let mut recipients: Vec<_> = recipients.lines().collect();
        recipients.sort_unstable();
        Some(recipients.join("\n"))
    }

    fn end_mark(&mut self, draft: Option<DraftId>, out: &mut Outbox) {
        if let Some(lane) = &self.lane {
            out.lane(lane.id).extend_from_slice(END_MARK);
        }
        self.phase = Phase::AwaitingDelivery(draft);
    }

    pub(super) fn spooled(
        &mut self,
        request: RequestId,
        spooled: Result<(), Failure>,
        out: &mut Outbox,
    ) -> Result<Flow, Failure> {
        match (std::mem::replace(&mut self.phase, Phase::Closed), spooled) {
            (Phase::AwaitingEndMark(mut content), spooled) => {
                let awaited = content.draft.as_mut().is_some_and(|(draft, _)| draft.spooled(request, out));
                match spooled {
                    Err(failure) if awaited => {
                        self.drop_lane(out);
                        let filter = content.give_up(out);
                        return Ok(self.discarded(filter, not_kept(&failure), false, out));
                    }
                    _ => self.phase = Phase::AwaitingEndMark(content),
                }
            }
            (Phase::AwaitingCommit(mut draft, None), spooled) => match (draft.spooled(request, out), spooled) {
                (true, Err(failure)) => self.not_committed(draft, &failure, out),
                (true, Ok(())) => self.commit(draft, out)?,
                (false, _) => self.phase = Phase::AwaitingCommit(draft, None),
            },
            // Of a draft that was given up.
            (phase, _) => self.phase = phase,
        }
        self.resume(out)
    }

    pub(super) fn committed(
        &mut self,
        request: RequestId,
        committed: Result<Committed, Failure>,
        out: &mut Outbox,
    ) -> Result<Flow, Failure> {
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::AwaitingCommit(draft, Some(awaited)) if awaited == request => match committed {
                Ok(Committed::Kept) => self.end_mark(Some(draft.id()), out),
                Ok(Committed::UnderWay) => {
                    self.not_sent(draft, out);
                    let words = "This message is being sent already, look before you try again";
                    write_reply(out.client(), 451, "4.4.2", words);
                }
                Ok(Committed::Queued(number)) => self.is_in_queue(&draft, number, out),
                Ok(Committed::SentBefore | Committed::Filed(..)) => {
                    self.untold = Some(draft.id());
                    self.not_sent(draft, out);
                    write_reply(out.client(), 250, "2.0.0", "This message was sent before, it stands in Sent");
                }
                Err(failure) => self.not_committed(draft, &failure, out),
            },
            phase => self.phase = phase,
        }
        self.resume(out)
    }

    /// Neither the lane nor the draft is needed.
    fn not_sent(&mut self, draft: Draft, out: &mut Outbox) {
        self.drop_lane(out);
        draft.drop(out);
        self.transaction = Transaction::None;
        self.phase = Phase::AwaitingCommand;
    }

    fn not_committed(&mut self, draft: Draft, failure: &Failure, out: &mut Outbox) {
        self.not_sent(draft, out);
        out.client().extend_from_slice(&not_kept(failure));
    }

    /// What the client hears waits until what became of the draft is committed.
    pub(super) fn tell_outcome(&mut self, draft: Option<DraftId>, outcome: Outcome, words: Vec<u8>, out: &mut Outbox) {
        self.untold = draft.filter(|_| outcome == Outcome::Accepted);
        match draft {
            Some(draft) => self.phase = Phase::AwaitingOutcome(out.ask(Request::Outcome(draft, outcome)), words),
            None => {
                self.phase = Phase::AwaitingCommand;
                out.client().extend_from_slice(&words);
            }
        }
    }

    pub(super) fn settled(&mut self, request: RequestId, out: &mut Outbox) -> Result<Flow, Failure> {
        match std::mem::replace(&mut self.phase, Phase::AwaitingCommand) {
            Phase::AwaitingOutcome(awaited, words) if awaited == request => out.client().extend_from_slice(&words),
            phase => self.phase = phase,
        }
        self.resume(out)
    }

    pub(super) fn discard(
        &mut self,
        mut filter: DotFilter,
        reply: Vec<u8>,
        input: &mut &[u8],
        out: &mut Outbox,
    ) -> Result<Flow, Failure> {
        let ended = filter.pass(input, None).map_err(|misbehaviour| self.smuggled(misbehaviour, out))?;
        Ok(self.discarded(filter, reply, ended, out))
    }

    pub(super) fn discarded(&mut self, filter: DotFilter, reply: Vec<u8>, ended: bool, out: &mut Outbox) -> Flow {
        if ended {
            out.client().extend_from_slice(&reply);
            self.transaction = Transaction::None;
            self.phase = Phase::AwaitingCommand;
        } else {
            self.phase = Phase::Discarding(filter, reply);
        }
        Flow::More
    }

    /// A stray CR or LF: both sides are closed, because we can no longer know that they see the same end as we do.
    fn smuggled(&mut self, misbehaviour: Misbehaviour, out: &mut Outbox) -> Failure {
        self.drop_lane(out);
        Failure::ClientMisbehaved(misbehaviour)
    }
}

/// Nothing is sent that could not be kept: the client says it again.
fn not_kept(failure: &Failure) -> Vec<u8> {
    let mut reply = Vec::new();
    write(&failure.smtp(SmtpMoment::Command), &mut reply);
    reply
}

/// What is said of a message that may not be from whom it says.
fn refusal(why: &Why) -> Vec<u8> {
    let (rule, address) = match why {
        Why::Foreign(address) => (Rule::Sender, Some(address.as_bytes())),
        Why::Several => (Rule::FromSeveral, None),
        Why::Unreadable => (Rule::FromUnreadable, None),
    };
    let mut reply = Vec::new();
    match address {
        Some(address) => not_allowed(address, &mut reply),
        None => write(&Failure::Denied(rule).smtp(SmtpMoment::Command), &mut reply),
    }
    reply
}

/// Says which address the account may not send as, as far as a reply can hold it.
pub(super) fn not_allowed(address: &[u8], out: &mut Vec<u8>) {
    let mut reply = Failure::Denied(Rule::Sender).smtp(SmtpMoment::Command);
    let visible = address.iter().take(ADDRESS_MAX).map(|octet| if octet.is_ascii_graphic() { *octet } else { b'?' });
    reply.text = format!("{}: {}", reply.text, visible.map(char::from).collect::<String>()).into();
    write(&reply, out);
}
