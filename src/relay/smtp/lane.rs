//! The provider's side: its replies, each to the command that it answers, and its loss.

use super::{
    Flow, HIGH_WATER, LaneId, LaneState, Outbox, Pending, Phase, Request, Side, SmtpRelay, Transaction, write,
};
use crate::{
    failure::{Failure, LostTransaction, Misbehaviour, SmtpMoment},
    relay::{LaneUse, Outcome},
    rules::breaker::throttle,
    wire::smtp::Reply,
};

impl SmtpRelay {
    pub(super) fn lane_octets(&mut self, id: LaneId, input: &mut &[u8], out: &mut Outbox) -> Result<Flow, Failure> {
        let Some(lane) = self.lane.as_mut().filter(|lane| lane.id == id) else {
            // A lane that was given back and has more to say: it stays there, so that nobody takes the lane for clean.
            return Ok(Flow::Pause(Side::Lane(id)));
        };
        if out.waiting(Side::Client) > HIGH_WATER {
            return Ok(Flow::Pause(Side::Lane(id)));
        }
        match lane.reader.read(input) {
            Ok(None) => Ok(Flow::More),
            Ok(Some(reply)) => {
                self.reply(&reply, out);
                self.resume(out)
            }
            Err(misbehaviour) => {
                *input = &[];
                self.misbehaved(misbehaviour, out);
                self.resume(out)
            }
        }
    }

    pub(super) fn lane_closed(&mut self, id: LaneId, failure: Failure, out: &mut Outbox) -> Result<Flow, Failure> {
        if self.lane.as_ref().is_none_or(|lane| lane.id != id) {
            return Ok(Flow::More);
        }
        out.close_lane(id);
        self.lane = None;
        self.lost(&failure, out);
        self.resume(out)
    }

    /// Between two transactions the lane is for whoever comes first. A refused MAIL may leave something with the provider
    /// (Postfix holds its SIZE against the next one): RSET comes before that.
    pub(super) fn give_lane_back(&mut self, out: &mut Outbox) {
        let is_over = self.transaction == Transaction::None
            && self.pending.is_empty()
            && matches!(self.phase, Phase::AwaitingCommand | Phase::AwaitingOutcome(..));
        if let Some(lane) = self.lane.take_if(|lane| is_over && lane.begun) {
            let state = if lane.reader.is_within() { LaneState::Unknown } else { LaneState::Clean };
            out.ask(Request::Release(lane.id, state));
        }
    }

    /// A provider that wants a pause of this account: all that send for it are to keep it.
    fn note_throttle(&self, reply: &Reply, out: &mut Outbox) {
        if !matches!(reply.class(), 4 | 5) {
            return;
        }
        let words = reply.words();
        if let (Some(pause), Some(admission)) = (throttle(&words), &self.admission) {
            let account = admission.account;
            out.ask(Request::Throttled { account, purpose: LaneUse::Submission, pause, words: words.into() });
        }
    }

    fn reply(&mut self, reply: &Reply, out: &mut Outbox) {
        self.note_throttle(reply, out);
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::AwaitingEndMark(content) => {
                let filter = content.give_up(out);
                // In the middle of a message: nothing that we could still say would be understood as a command.
                self.drop_lane(out);
                let mut words = Vec::new();
                match reply.class() {
                    4 | 5 => reply.pass(code_for_client(reply), &mut words),
                    _ => words = lost_reply(&Failure::ProviderMisbehaved(Misbehaviour::Unasked)),
                }
                self.phase = Phase::Discarding(filter, words);
            }
            Phase::AwaitingDelivery(draft) if reply.class() != 3 => {
                self.transaction = Transaction::None;
                let mut words = Vec::new();
                reply.pass(code_for_client(reply), &mut words);
                let outcome = if reply.class() == 2 { Outcome::Accepted } else { Outcome::Refused };
                self.tell_outcome(draft, outcome, words, out);
                if reply.code == 421 {
                    self.drop_lane(out);
                }
            }
            phase @ Phase::AwaitingDelivery(_) => {
                self.phase = phase;
                self.misbehaved(Misbehaviour::Syntax, out);
            }
            phase => {
                self.phase = phase;
                match self.pending.pop_front() {
                    Some(pending) => self.answered(pending, reply, out),
                    // Most often `421`, before it closes an idle connection.
                    None => self.misbehaved(Misbehaviour::Unasked, out),
                }
            }
        }
    }

    fn answered(&mut self, pending: Pending, reply: &Reply, out: &mut Outbox) {
        if reply.code == 421 {
            reply.pass(code_for_client(reply), out.client());
            if pending == Pending::Data {
                self.phase = Phase::AwaitingCommand;
            }
            return self.misbehaved(Misbehaviour::Unasked, out);
        }
        match (pending, reply.class()) {
            (Pending::Data, 3) if reply.code == 354 => {
                self.phase = Phase::AwaitingEndMark(self.new_content());
            }
            (Pending::Data, 4 | 5) => self.phase = Phase::AwaitingCommand,
            (Pending::Mail, 4 | 5) | (Pending::Rset, 2) => self.transaction = Transaction::None,
            (Pending::Mail | Pending::Rcpt, 2) | (Pending::Rcpt | Pending::Rset, 4 | 5) => {}
            _ => {
                // It does not answer what it was asked, so no later reply can be believed either.
                self.pending.push_front(pending);
                return self.misbehaved(Misbehaviour::Syntax, out);
            }
        }
        reply.pass(reply.code, out.client());
    }

    /// The provider is there and cannot be used: its lane goes.
    fn misbehaved(&mut self, misbehaviour: Misbehaviour, out: &mut Outbox) {
        self.drop_lane(out);
        self.lost(&Failure::ProviderMisbehaved(misbehaviour), out);
    }

    /// There is no lane any more: everything that waited for it is answered, for now and not for good.
    fn lost(&mut self, failure: &Failure, out: &mut Outbox) {
        for _ in std::mem::take(&mut self.pending) {
            out.client().extend_from_slice(&lost_reply(failure));
        }
        self.transaction = match self.transaction {
            Transaction::Open | Transaction::Lost => Transaction::Lost,
            Transaction::None => Transaction::None,
        };
        self.phase = match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::AwaitingGoAhead => Phase::AwaitingCommand,
            Phase::AwaitingEndMark(content) => Phase::Discarding(content.give_up(out), lost_reply(failure)),
            Phase::AwaitingCommit(draft, _) => {
                draft.drop(out);
                self.transaction = Transaction::None;
                out.client().extend_from_slice(&lost_reply(failure));
                Phase::AwaitingCommand
            }
            Phase::AwaitingDelivery(draft) => {
                self.uncertain += 1;
                self.transaction = Transaction::None;
                let mut words = Vec::new();
                write(&LostTransaction::Uncertain.smtp(), &mut words);
                return self.tell_outcome(draft, Outcome::Unknown, words, out);
            }
            phase => phase,
        };
    }
}

/// A 421 speaks of the provider's connection, not of the client's: that one stays, and a new lane can be had.
fn code_for_client(reply: &Reply) -> u16 {
    if reply.code == 421 { 451 } else { reply.code }
}

fn lost_reply(failure: &Failure) -> Vec<u8> {
    let mut reply = Vec::new();
    write(&failure.smtp(SmtpMoment::Midway), &mut reply);
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{AccountId, Address},
        profile::{GENERIC, built_in},
        relay::{Admission, Answer, Event, LaneFacts, Lease, Relay, Request, RequestId, SessionFacts},
        wire::smtp::Extensions,
    };

    /// A session whose end mark is with the provider.
    fn awaiting_delivery() -> Result<(SmtpRelay, Outbox), Failure> {
        let facts = SessionFacts {
            hostname: "bridge.test".into(),
            secured: false,
            message_max: 1000,
            profile: built_in(GENERIC),
            passes_tokens: false,
            nonce: 1,
        };
        let (mut relay, mut out) = (SmtpRelay::new(facts), Outbox::default());
        let address = Address::parse("alice@example.test").map_err(|_| Failure::Internal("the address"))?;
        let facts = LaneFacts::Smtp { extensions: Extensions { pipelining: true, ..Extensions::default() } };
        relay.input(Side::Client, &mut &b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"[..], &mut out)?;
        let answers = [Answer::Verdict(Ok(Admission::new(AccountId(1), address))), Answer::ReadyToSend(Ok(()))];
        for (id, answer) in (1..).zip(answers) {
            relay.event(Event::Answer(RequestId(id), answer), &mut out)?;
        }
        let (client, lane) = (Side::Client, Side::Lane(LaneId(1)));
        relay.input(client, &mut &b"MAIL FROM:<alice@example.test>\r\n"[..], &mut out)?;
        let lease = Answer::Lane(Ok(Lease { lane: LaneId(1), facts }));
        relay.event(Event::Answer(RequestId(3), lease), &mut out)?;
        for (from, says) in [(lane, "250 ok\r\n"), (client, "DATA\r\n")] {
            relay.input(from, &mut says.as_bytes(), &mut out)?;
        }
        relay.input(lane, &mut &b"354 go\r\n"[..], &mut out)?;
        relay.input(client, &mut &b".\r\n"[..], &mut out)?;
        out.client().clear();
        while out.next_request().is_some() {}
        Ok((relay, out))
    }

    #[test]
    fn what_may_have_been_sent_is_counted() -> Result<(), Failure> {
        let (mut relay, mut out) = awaiting_delivery()?;
        relay.event(Event::Closed(LaneId(1)), &mut out)?;
        assert_eq!(relay.uncertain(), 1);

        let (mut relay, mut out) = awaiting_delivery()?;
        relay.farewell(&Failure::ProviderUnreachable(crate::failure::Unreachable::TimedOut), &mut out);
        assert_eq!(relay.uncertain(), 1);
        let said = String::from_utf8_lossy(out.client()).into_owned();
        assert!(said.starts_with("451 4.4.2 ") && said.contains("\r\n421 4.4.2 "), "{said}");

        let (mut relay, mut out) = awaiting_delivery()?;
        relay.input(Side::Lane(LaneId(1)), &mut &b"250 ok\r\n"[..], &mut out)?;
        assert_eq!(relay.uncertain(), 0);
        Ok(())
    }

    #[test]
    fn a_lane_that_nobody_asked_for_is_given_back() -> Result<(), Failure> {
        let (mut relay, mut out) = awaiting_delivery()?;
        let lease = Lease { lane: LaneId(2), facts: LaneFacts::Smtp { extensions: Extensions::default() } };
        relay.event(Event::Answer(RequestId(9), Answer::Lane(Ok(lease))), &mut out)?;
        assert!(matches!(out.next_request(), Some((_, Request::Release(LaneId(2), _)))));
        Ok(())
    }
}
