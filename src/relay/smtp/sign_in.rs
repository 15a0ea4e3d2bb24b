//! Signing in: the client's proof, the verdict, and whether the provider lets the account in.
//!
//! `235` is said only when a lane is there or was opened for it, so that a CRM's "test connection" tells the truth about
//! the provider; and only a wrong login or password looks like one. The lane itself is had with MAIL, for one message.

use super::{Flow, Lane, Outbox, Phase, REFUSED_LOGINS_MAX, Request, RequestId, SmtpRelay, Transaction};
use crate::{
    failure::{Failure, Rule, SmtpMoment},
    model::Submission,
    relay::{Admission, Credentials, LaneFacts, LaneState, LaneUse, Lease},
    wire::{
        sasl::{SaslExchange, SaslStep},
        smtp::{ReplyReader, write_reply},
    },
};

impl SmtpRelay {
    pub(super) fn auth(&mut self, mechanism: &[u8], initial: Option<&[u8]>, out: &mut Outbox) -> Result<Flow, Failure> {
        if self.admission.is_some() {
            return self.bad(503, "5.5.1", "Signed in already", out);
        }
        match self.facts.mechanism(mechanism, &self.facts.smtp_mechanisms()) {
            Some(mechanism) => {
                self.attempts += 1;
                let challenge = self.facts.challenge(self.attempts);
                self.sasl(SaslExchange::start(mechanism, initial, &challenge), out)
            }
            None => {
                write_reply(out.client(), 504, "5.5.4", "This mechanism is not offered, use PLAIN or LOGIN");
                Ok(Flow::More)
            }
        }
    }

    pub(super) fn sasl_line(&mut self, exchange: SaslExchange, out: &mut Outbox) -> Result<Flow, Failure> {
        let step = exchange.answer(self.client.line());
        self.client.forget();
        self.sasl(step, out)
    }

    fn sasl(&mut self, step: SaslStep, out: &mut Outbox) -> Result<Flow, Failure> {
        self.phase = Phase::AwaitingCommand;
        match step {
            SaslStep::Challenge(exchange, challenge) => {
                write_reply(out.client(), 334, "", &challenge);
                self.phase = Phase::AwaitingSasl(exchange);
            }
            SaslStep::Answered { login, challenge, digest } => {
                let request = out.ask(Request::Verdict(Credentials::CramMd5 { login, challenge, digest }));
                self.phase = Phase::AwaitingVerdict(request);
            }
            SaslStep::Finished { login, password } => {
                let credentials = self.facts.credentials(login, password, LaneUse::Submission);
                self.phase = Phase::AwaitingVerdict(out.ask(Request::Verdict(credentials)));
            }
            SaslStep::Token { login, token } => {
                let credentials = Credentials::Token { login, token, bare: false, purpose: LaneUse::Submission };
                self.phase = Phase::AwaitingVerdict(out.ask(Request::Verdict(credentials)));
            }
            SaslStep::Cancelled => return self.bad(501, "5.7.0", "Sign-in cancelled", out),
            SaslStep::Malformed => return self.bad(501, "5.5.2", "The response is not understood", out),
            SaslStep::Refused => {
                let request = out.ask(Request::Verdict(Credentials::Nobody));
                self.phase = Phase::AwaitingVerdict(request);
            }
        }
        Ok(Flow::More)
    }

    pub(super) fn judged(&mut self, request: RequestId, verdict: Result<Admission, Failure>, out: &mut Outbox) -> Flow {
        if !matches!(self.phase, Phase::AwaitingVerdict(awaited) if awaited == request) {
            return Flow::More;
        }
        // The password was right: whoever gave it may know what is switched off.
        let allowed = |admission: Admission| match admission.sends {
            true => Ok(admission),
            false => Err(Failure::Denied(Rule::Sending)),
        };
        match verdict.and_then(allowed) {
            Ok(admission) if admission.submission == Submission::Queued => self.admit_queued(admission, out),
            Ok(admission) => {
                let request = out.ask(Request::ReadyToSend(admission.account));
                self.phase = Phase::AwaitingReady(request, admission);
                Flow::More
            }
            Err(failure) => self.sign_in_failed(&failure, out),
        }
    }

    fn sign_in_failed(&mut self, failure: &Failure, out: &mut Outbox) -> Flow {
        self.phase = Phase::AwaitingCommand;
        let flow = self.refuse(failure, SmtpMoment::Auth, out);
        if *failure == Failure::LoginRefused {
            self.refused_logins += 1;
        }
        if self.refused_logins >= REFUSED_LOGINS_MAX { self.end(out) } else { flow }
    }

    pub(super) fn ready(&mut self, request: RequestId, ready: Result<(), Failure>, out: &mut Outbox) -> Flow {
        match (std::mem::replace(&mut self.phase, Phase::AwaitingCommand), ready) {
            (Phase::AwaitingReady(awaited, admission), Ok(())) if awaited == request => {
                self.admission = Some(admission);
                self.bad_commands = 0;
                write_reply(out.client(), 235, "2.7.0", "Signed in");
                Flow::More
            }
            (Phase::AwaitingReady(awaited, _), Err(failure)) if awaited == request => {
                self.sign_in_failed(&failure, out)
            }
            // Nobody waits for it.
            (phase, _) => {
                self.phase = phase;
                Flow::More
            }
        }
    }

    pub(super) fn leased(
        &mut self,
        request: RequestId,
        lease: Result<Lease, Failure>,
        out: &mut Outbox,
    ) -> Result<Flow, Failure> {
        let lease = lease.and_then(|lease| self.take_lane(request, lease, out));
        match std::mem::replace(&mut self.phase, Phase::AwaitingCommand) {
            Phase::AwaitingLane(awaited) if awaited == request => match lease {
                Ok(()) => self.line(out),
                Err(failure) => {
                    // RCPT and DATA that were pipelined behind it fail for now too.
                    self.transaction = Transaction::Lost;
                    Ok(self.refuse(&failure, SmtpMoment::Command, out))
                }
            },
            // Nobody waits for it.
            phase => {
                self.phase = phase;
                Ok(Flow::More)
            }
        }
    }

    /// Keeps the lane if it is one for SMTP and wanted; gives it back otherwise.
    fn take_lane(&mut self, request: RequestId, lease: Lease, out: &mut Outbox) -> Result<(), Failure> {
        let is_awaited = matches!(self.phase, Phase::AwaitingLane(awaited) if awaited == request);
        let wanted = self.lane.is_none() && is_awaited;
        match lease.facts {
            LaneFacts::Smtp { extensions } if wanted => {
                self.transaction = Transaction::None;
                self.lane = Some(Lane { id: lease.lane, extensions, reader: ReplyReader::default(), begun: false });
                Ok(())
            }
            _ => {
                out.ask(Request::Release(lease.lane, LaneState::Clean));
                Err(Failure::Internal("a lane that the SMTP relay did not ask for"))
            }
        }
    }
}
