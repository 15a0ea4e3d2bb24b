//! DATA: the message from the client to the lane, its end mark, and the ways in which it comes to nothing.
//!
//! Whatever goes wrong before the end mark, the lane is closed without one, so that nothing is sent; and the client's
//! message is read to its end, so that none of its lines is taken for a command.

use super::{Flow, Outbox, Phase, SmtpRelay, Transaction, write};
use crate::{
    failure::{Failure, Misbehaviour, Rule, SmtpMoment},
    model::FromPolicy,
    rules::from::{Identity, Judged, Why},
    wire::{
        dot::{DotFilter, END_MARK},
        header::{Found, HeaderFilter},
        smtp::write_reply,
    },
};

/// The fields of a message that are looked at.
const FIELDS: &[&str] = &["from"];
/// The longest address of RFC 5321 section 4.5.3.1.3.
const ADDRESS_MAX: usize = 254;

/// A message on its way.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) dot: DotFilter,
    header: HeaderFilter,
    /// From fields so far.
    froms: u32,
}

impl Default for Content {
    fn default() -> Self {
        Self { dot: DotFilter::default(), header: HeaderFilter::new(FIELDS), froms: 0 }
    }
}

impl Content {
    /// Takes octets of the message up to its end mark, and says whether that came. What may go to the provider goes to
    /// `out`.
    fn pass(
        &mut self,
        identity: Option<&Identity<'_>>,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(bool, Result<(), Why>), Misbehaviour> {
        let nobody_looks = identity.is_none_or(|identity| identity.policy == FromPolicy::Keep);
        if self.header.is_over() || nobody_looks {
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
        loop {
            let found = match self.header.pass(&mut octets, out).map_err(|_| Why::Unreadable)? {
                None if ended => self.header.finish(out),
                found => found,
            };
            match found {
                None => return Ok(()),
                Some(Found::Field(_, field)) => {
                    match identity.map_or(Judged::Passes, |identity| identity.judge(&field, self.froms)) {
                        Judged::Passes => out.extend_from_slice(&field),
                        Judged::Becomes(other) => out.extend_from_slice(&other),
                        Judged::Refused(why) => return Err(why),
                    }
                    self.froms = self.froms.saturating_add(1);
                }
                Some(Found::End { empty_line }) => {
                    let missing = identity.filter(|_| self.froms == 0).and_then(Identity::missing);
                    out.extend_from_slice(&missing.unwrap_or_default());
                    if empty_line {
                        out.extend_from_slice(b"\r\n");
                    }
                }
            }
        }
    }
}

impl SmtpRelay {
    pub(super) fn content(
        &mut self,
        mut content: Content,
        input: &mut &[u8],
        out: &mut Outbox,
    ) -> Result<Flow, Failure> {
        let Some(lane) = &self.lane else {
            return Err(Failure::Internal("SMTP content without a lane"));
        };
        let identity = self.admission.as_ref().map(|admission| Identity {
            policy: admission.from,
            senders: &admission.senders,
            display_name: &admission.display_name,
        });
        let (ended, allowed) = match content.pass(identity.as_ref(), input, out.lane(lane.id)) {
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
        if let Some(reply) = refusal {
            self.drop_lane(out);
            return Ok(self.discarded(content.dot, reply, ended, out));
        }
        if ended {
            self.phase = Phase::AwaitingCommit;
            self.commit(out);
        } else {
            self.phase = Phase::AwaitingEndMark(content);
        }
        Ok(Flow::More)
    }

    /// Writes the end mark. A step of its own, because from here on the provider may send the message: what must be on
    /// disk by then (filing) is committed before.
    fn commit(&mut self, out: &mut Outbox) {
        if let (Phase::AwaitingCommit, Some(lane)) = (&self.phase, &self.lane) {
            out.lane(lane.id).extend_from_slice(END_MARK);
            self.phase = Phase::AwaitingDelivery;
        }
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

    fn discarded(&mut self, filter: DotFilter, reply: Vec<u8>, ended: bool, out: &mut Outbox) -> Flow {
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
