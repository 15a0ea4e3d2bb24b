//! The SMTP submission relay: a logged-in client's mail, streamed to the account's provider.
//!
//! It must not say `250` to a message before the provider has, must never hold a message, and must never send one twice
//! or alter it. The provider judges senders, recipients and content; what is answered here is the login, the order of
//! commands where there is no lane to ask, and our own limits. RFC 5321, RFC 6409, RFC 4954, RFC 2920 (pipelining).
//!
//! ```text
//! AwaitingCommand ── AUTH ──> AwaitingSasl ──> AwaitingVerdict ──> AwaitingReady ──> AwaitingCommand (signed in)
//! AwaitingCommand ── MAIL ──> AwaitingLane ──> AwaitingCommand (until the transaction ends, the lane is ours)
//! AwaitingCommand ── DATA ──> AwaitingGoAhead ──> AwaitingEndMark ──> AwaitingCommit ──> AwaitingDelivery ──> AwaitingOutcome
//! AwaitingOutcome ──> AwaitingCommand
//! queued account: AwaitingVerdict ──> AwaitingCommand ── DATA ──> AwaitingEndMark ──> AwaitingCommit ──> AwaitingCommand
//!                                                 AwaitingEndMark ── lane lost or refused ──> Discarding ──> AwaitingCommand
//! ```

mod command;
pub(crate) mod content;
mod lane;
pub(crate) mod queued;
mod sign_in;

use content::Content;

use super::{
    Admission, Answer, Awaited, Envelope, Event, Flow, HIGH_WATER, LaneId, LaneState, Outbox, Relay, Request,
    RequestId, Said,
};
use super::{DraftId, SessionFacts, Side, draft::Draft};
use crate::{
    failure::{Failure, LostTransaction, Misbehaviour, SmtpMoment, SmtpReply, Unreachable},
    wire::{
        COMMAND_LINE_MAX, SASL_LINE_MAX,
        dot::DotFilter,
        line::LineFramer,
        sasl::SaslExchange,
        smtp::{Command, Extensions, ReplyReader, write_reply},
    },
};
use std::collections::VecDeque;

/// Commands that wait for the provider at once. More gain nothing, and each may bring a long reply.
pub(crate) const PENDING_MAX: usize = 32;
/// Bad commands before login that close the connection: no mail client sends one (design, section 8).
pub(crate) const BAD_COMMANDS_BEFORE_LOGIN: u32 = 3;
/// Commands before login, good ones too: EHLO, and each refused login is one.
pub(crate) const COMMANDS_BEFORE_LOGIN_MAX: u32 = 30;
/// Bad commands after login: a message whose DATA was refused may follow line by line from a broken client.
pub(crate) const BAD_COMMANDS_AFTER_LOGIN: u32 = 20;
/// Refused logins on one connection: above the three tries of PHP's libraries, below rule R22's ten.
pub(crate) const REFUSED_LOGINS_MAX: u32 = 5;

/// One submission session.
pub struct SmtpRelay {
    facts: SessionFacts,
    client: LineFramer,
    phase: Phase,
    /// A whole line is in `client` and waits until `pending` is empty.
    line_waits: bool,
    /// None before login.
    admission: Option<Admission>,
    lane: Option<Lane>,
    transaction: Transaction,
    /// What was sent to the lane and is not answered, in order; at most [`PENDING_MAX`], empty without a lane.
    pending: VecDeque<Pending>,
    bad_commands: u32,
    /// Commands before login.
    before_login: u32,
    /// AUTH commands so far.
    attempts: u32,
    refused_logins: u32,
    draining: bool,
    uncertain: u32,
    /// Messages so far that were kept on disk.
    drafts: u32,
    /// Whom the transaction names, in lower case, a line each; None: too many to tell a retry by.
    recipients: Option<Vec<u8>>,
    /// The same for a message that is queued.
    envelope: Envelope,
    /// What was queued or sent, and nothing shows yet that the client has heard of it.
    untold: Option<DraftId>,
}

/// What the client's next octets are, or what they wait for.
enum Phase {
    AwaitingCommand,
    AwaitingSasl(SaslExchange),
    AwaitingVerdict(RequestId),
    /// The verdict was good; the login is told so once the provider is known to let its account in.
    AwaitingReady(RequestId, Admission),
    /// MAIL waits, in `client`.
    AwaitingLane(RequestId),
    /// DATA is among the pending commands.
    AwaitingGoAhead,
    AwaitingEndMark(Content),
    /// All of the message but its end mark is with the lane. The rest of the draft goes to disk, or it is committed.
    AwaitingCommit(Draft, Option<RequestId>),
    /// The end mark is sent: from here on the provider may have sent the message.
    AwaitingDelivery(Option<DraftId>),
    /// The provider has answered; what became of the draft is committed before the client hears this.
    AwaitingOutcome(RequestId, Vec<u8>),
    /// The message is lost to this lane; it is read to its end, then this reply is said.
    Discarding(DotFilter, Vec<u8>),
    Closed,
}

struct Lane {
    id: LaneId,
    extensions: Extensions,
    reader: ReplyReader,
    /// Its message has begun: MAIL was sent.
    begun: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transaction {
    None,
    /// MAIL was sent, and not refused so far.
    Open,
    /// There was one when the lane was lost: RCPT and DATA fail for now, not for good.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    Data,
    Mail,
    Rcpt,
    Rset,
}

impl SmtpRelay {
    /// Begins before the greeting.
    #[must_use]
    pub fn new(facts: SessionFacts) -> Self {
        Self {
            facts,
            client: LineFramer::default(),
            phase: Phase::AwaitingCommand,
            line_waits: false,
            admission: None,
            lane: None,
            transaction: Transaction::None,
            pending: VecDeque::new(),
            bad_commands: 0,
            before_login: 0,
            attempts: 0,
            refused_logins: 0,
            draining: false,
            uncertain: 0,
            drafts: 0,
            recipients: None,
            envelope: Envelope::default(),
            untold: None,
        }
    }

    fn client_octets(&mut self, input: &mut &[u8], out: &mut Outbox) -> Result<Flow, Failure> {
        let lane_full = self.lane.as_ref().is_some_and(|lane| out.waiting(Side::Lane(lane.id)) > HIGH_WATER);
        let disk_slow = matches!(&self.phase, Phase::AwaitingEndMark(content) if content.is_brimful());
        if self.line_waits || lane_full || disk_slow || out.waiting(Side::Client) > HIGH_WATER {
            return Ok(Flow::Pause(Side::Client));
        }
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::AwaitingCommand => {
                self.phase = Phase::AwaitingCommand;
                if self.client.take(input, SASL_LINE_MAX).map_err(Failure::ClientMisbehaved)? {
                    return self.line(out);
                }
                Ok(Flow::More)
            }
            Phase::AwaitingSasl(exchange) => {
                if self.client.take(input, SASL_LINE_MAX).map_err(Failure::ClientMisbehaved)? {
                    return self.sasl_line(exchange, out);
                }
                self.phase = Phase::AwaitingSasl(exchange);
                Ok(Flow::More)
            }
            Phase::AwaitingEndMark(content) => self.content(content, input, out),
            Phase::Discarding(filter, reply) => self.discard(filter, reply, input, out),
            Phase::Closed => Ok(Flow::Done),
            waiting => {
                self.phase = waiting;
                Ok(Flow::Pause(Side::Client))
            }
        }
    }

    /// Runs the line in `client`, or leaves it there until what is pending is answered.
    fn line(&mut self, out: &mut Outbox) -> Result<Flow, Failure> {
        let mut client = std::mem::take(&mut self.client);
        let command = Command::parse(client.line());
        let is_auth = matches!(command, Command::Auth { .. });
        // Asked only now that the line is whole, so that the answer does not depend on the cuts.
        if !is_auth && client.line().len() > COMMAND_LINE_MAX {
            return Err(Failure::ClientMisbehaved(Misbehaviour::LineTooLong));
        }
        self.line_waits = !self.may_run(&command);
        let flow = if self.line_waits { Ok(Flow::More) } else { self.command(command, out) };
        if is_auth {
            client.forget();
        }
        self.client = client;
        flow
    }

    /// Only RCPT and DATA follow a pending command to a provider that takes them so: that is the pipelining that clients
    /// do. All others are barriers, and so replies never change their order.
    fn may_run(&self, command: &Command<'_>) -> bool {
        let pipelining = self.lane.as_ref().is_some_and(|lane| lane.extensions.pipelining);
        let follows = matches!(command, Command::Rcpt(Ok(_)) | Command::Data);
        let has_room = self.pending.len() < PENDING_MAX && self.transaction == Transaction::Open;
        self.pending.is_empty() || pipelining && follows && has_room
    }

    /// Goes on with a line that waited, unless the session ends here instead.
    fn resume(&mut self, out: &mut Outbox) -> Result<Flow, Failure> {
        let ends = self.draining && self.transaction != Transaction::Open;
        if self.line_waits && self.pending.is_empty() && !ends { self.line(out) } else { Ok(Flow::More) }
    }

    /// The last step of every call: a draining relay ends where nothing is half done.
    fn settle(&mut self, flow: Flow, out: &mut Outbox) -> Flow {
        self.give_lane_back(out);
        let idle = matches!(self.phase, Phase::AwaitingCommand | Phase::AwaitingSasl(_));
        let boundary = idle && self.pending.is_empty() && self.transaction != Transaction::Open;
        if !self.draining || !boundary || flow == Flow::Done {
            return flow;
        }
        write_reply(out.client(), 421, "4.3.2", "The mail bridge is stopping, try again in a moment");
        self.end(out)
    }

    /// Ends the session in peace: the lane can serve another.
    fn end(&mut self, out: &mut Outbox) -> Flow {
        let state = match (self.transaction, self.pending.is_empty()) {
            (Transaction::None, true) => LaneState::Clean,
            _ => LaneState::Unknown,
        };
        if let Some(lane) = self.lane.take() {
            let state = if lane.reader.is_within() { LaneState::Unknown } else { state };
            out.ask(Request::Release(lane.id, state));
        }
        self.phase = Phase::Closed;
        Flow::Done
    }

    /// Says a failure. A 421 announces that the connection closes, so it does.
    fn refuse(&mut self, failure: &Failure, moment: SmtpMoment, out: &mut Outbox) -> Flow {
        let reply = failure.smtp(moment);
        write(&reply, out.client());
        if reply.code == 421 { self.end(out) } else { Flow::More }
    }
}

impl Relay for SmtpRelay {
    fn input(&mut self, from: Side, input: &mut &[u8], out: &mut Outbox) -> Result<Flow, Failure> {
        let flow = match from {
            Side::Client => self.client_octets(input, out)?,
            Side::Lane(lane) => self.lane_octets(lane, input, out)?,
        };
        Ok(self.settle(flow, out))
    }

    fn event(&mut self, event: Event, out: &mut Outbox) -> Result<Flow, Failure> {
        let flow = match event {
            Event::Connected => {
                write_reply(out.client(), 220, "", &format!("{} ESMTP Passerelle", self.facts.hostname));
                Flow::More
            }
            Event::Answer(request, Answer::Verdict(verdict)) => self.judged(request, verdict, out),
            Event::Answer(request, Answer::ReadyToSend(ready)) => self.ready(request, ready, out),
            Event::Answer(request, Answer::Lane(lease)) => self.leased(request, lease, out)?,
            Event::Closed(lane) => self.lane_closed(lane, Failure::ProviderUnreachable(Unreachable::Lost), out)?,
            Event::Drain => {
                self.draining = true;
                Flow::More
            }
            // Between two messages there is no lane to give back, and the lane of half a message is closed (rule R43).
            Event::Left => return Ok(Flow::Done),
            Event::Answer(request, Answer::Spooled(spooled)) => self.spooled(request, spooled, out)?,
            Event::Answer(request, Answer::Committed(committed)) => self.committed(request, committed, out)?,
            Event::Answer(request, Answer::Settled) => self.settled(request, out)?,
            // Nothing of ours asks for these.
            Event::Elapsed(_)
            | Event::Answer(_, Answer::Folders(_) | Answer::Kept(_) | Answer::Ready(_) | Answer::Validity(_)) => {
                Flow::More
            }
        };
        Ok(self.settle(flow, out))
    }

    fn farewell(&mut self, failure: &Failure, out: &mut Outbox) {
        // What is said of the connection would be taken for the message's, and that may have been sent.
        match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::AwaitingDelivery(_) => {
                self.uncertain += 1;
                write(&LostTransaction::Uncertain.smtp(), out.client());
            }
            // It is known, whether or not it could be kept in time: anything else, and a message is sent twice.
            Phase::AwaitingOutcome(_, words) => out.client().extend_from_slice(&words),
            _ => {}
        }
        // Replies are always written whole, so there is no half one to complete.
        let reply = failure.smtp(SmtpMoment::Closing);
        write(&reply, out.client());
    }

    fn said(&self, side: Side) -> Said {
        match (side, &self.lane) {
            (Side::Client, _) => {
                let message = matches!(self.phase, Phase::AwaitingEndMark(_) | Phase::Discarding(..));
                Said { lines: self.client.lines(), within: message || self.client.is_within() }
            }
            (Side::Lane(id), Some(lane)) if lane.id == id => {
                Said { lines: lane.reader.lines(), within: lane.reader.is_within_line() }
            }
            (Side::Lane(_), _) => Said::default(),
        }
    }

    fn awaits(&self) -> Awaited {
        match &self.phase {
            _ if self.admission.is_none() => Awaited::Login,
            // The client is owed its answer, whatever else happens.
            Phase::AwaitingDelivery(_) | Phase::AwaitingOutcome(..) => Awaited::EndOfData,
            Phase::AwaitingCommit(..) => Awaited::LongCommand,
            Phase::AwaitingGoAhead => Awaited::Provider,
            // A lane is the gate's to give, within a time of its own; so is a login's answer.
            _ if !self.pending.is_empty() => Awaited::Provider,
            _ => Awaited::Client,
        }
    }

    fn uncertain(&self) -> u32 {
        self.uncertain
    }
}
/// Puts the line of a failure's reply at the end of `out`.
fn write(reply: &SmtpReply, out: &mut Vec<u8>) {
    write_reply(out, reply.code, reply.enhanced, &reply.text);
}
