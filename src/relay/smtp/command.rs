//! What each command does. Those that the provider judges are sent on in the client's own octets.

use super::{
    BAD_COMMANDS_AFTER_LOGIN, BAD_COMMANDS_BEFORE_LOGIN, COMMANDS_BEFORE_LOGIN_MAX, Flow, LaneState, Outbox, Pending,
    Phase, Request, SmtpRelay, Transaction, content, write,
};
use crate::{
    failure::{Failure, LostTransaction, Misbehaviour, SmtpMoment},
    model::{Address, SenderPolicy},
    relay::{First, LaneUse},
    wire::smtp::{BodyKind, Command, Path, PathFault, write_reply, write_reply_lines},
};

impl SmtpRelay {
    pub(super) fn command(&mut self, command: Command<'_>, out: &mut Outbox) -> Result<Flow, Failure> {
        if !self.is_admitted() {
            self.before_login = self.before_login.saturating_add(1);
            if self.before_login > COMMANDS_BEFORE_LOGIN_MAX {
                return Err(Failure::ClientMisbehaved(Misbehaviour::TooManyBadCommands));
            }
        }
        self.has_heard(out);
        match command {
            Command::Auth { mechanism, initial } => return self.auth(mechanism, initial, out),
            Command::Ehlo => self.hello(true, out),
            Command::Helo => self.hello(false, out),
            Command::Help => write_reply(out.client(), 214, "2.0.0", "This is a mail bridge, ask its administrator"),
            Command::Http => return Err(Failure::ClientMisbehaved(Misbehaviour::Http)),
            Command::Noop => write_reply(out.client(), 250, "2.0.0", "Ok"),
            Command::Rset => self.rset(out),
            Command::Quit => {
                write_reply(out.client(), 221, "2.0.0", "Bye");
                return Ok(self.end(out));
            }
            // What follows is content, not commands, and we offer no extension that says how much of it.
            Command::Chunk => return Err(Failure::ClientMisbehaved(Misbehaviour::Syntax)),
            Command::Starttls => return self.bad(502, "5.5.1", "STARTTLS is not offered here", out),
            Command::Syntax => return self.bad(501, "5.5.4", "The arguments are not understood", out),
            Command::Unimplemented => return self.bad(502, "5.5.1", "The command is not offered here", out),
            Command::Unknown => {
                let reply = Failure::ClientMisbehaved(Misbehaviour::Syntax).smtp(SmtpMoment::Command);
                return self.bad(reply.code, reply.enhanced, &reply.text, out);
            }
            Command::Mail(_) | Command::Rcpt(_) | Command::Data | Command::Vrfy if !self.is_admitted() => {
                write_reply(out.client(), 530, "5.7.0", "Sign in first, with login and password of the mail bridge");
            }
            Command::Mail(Ok(path)) => self.mail(path, out),
            Command::Rcpt(Ok(path)) if self.is_queued() => self.rcpt_queued(path, out),
            Command::Rcpt(Ok(path)) => {
                self.remember(path.address());
                self.forward(Pending::Rcpt, path.octets, out);
            }
            Command::Mail(Err(fault)) | Command::Rcpt(Err(fault)) => say_fault(fault, out),
            Command::Data if self.is_queued() => self.data_queued(out),
            Command::Data => self.forward(Pending::Data, b"DATA", out),
            Command::Vrfy => write_reply(out.client(), 252, "2.5.0", "Send mail to find out"),
        }
        Ok(Flow::More)
    }

    fn is_admitted(&self) -> bool {
        self.admission.is_some()
    }

    /// Says that the command is bad, or that it was one too many.
    pub(super) fn bad(&mut self, code: u16, enhanced: &str, text: &str, out: &mut Outbox) -> Result<Flow, Failure> {
        self.bad_commands += 1;
        let max = if self.is_admitted() { BAD_COMMANDS_AFTER_LOGIN } else { BAD_COMMANDS_BEFORE_LOGIN };
        if self.bad_commands >= max {
            return Err(Failure::ClientMisbehaved(Misbehaviour::TooManyBadCommands));
        }
        write_reply(out.client(), code, enhanced, text);
        Ok(Flow::More)
    }

    /// Ends a transaction too (RFC 5321 4.1.4); as the lane knows of it, the lane goes.
    fn hello(&mut self, extended: bool, out: &mut Outbox) {
        if self.transaction == Transaction::Open {
            self.drop_lane(out);
        }
        self.transaction = Transaction::None;
        if !extended {
            return write_reply(out.client(), 250, "", &self.facts.hostname);
        }
        let profile = &self.facts.profile;
        let size = profile.smtp.size.then(|| format!("SIZE {}", self.facts.message_max));
        let mechanisms = self.facts.smtp_mechanisms();
        let auth = mechanisms.iter().fold("AUTH".to_owned(), |auth, mechanism| auth + " " + mechanism.name());
        let mut lines = vec![&*self.facts.hostname, "PIPELINING"];
        // No STARTTLS: PHPMailer and others upgrade by themselves and then fail on our certificate (crm.md fact 4).
        lines.extend(size.as_deref().into_iter().chain(["8BITMIME", "ENHANCEDSTATUSCODES"]));
        if auth != "AUTH" {
            lines.push(&auth);
        }
        write_reply_lines(out.client(), 250, &lines);
    }

    /// A barrier: nothing is pending, so whether a transaction is open is known, and the provider is of the same mind.
    fn mail(&mut self, path: Path<'_>, out: &mut Outbox) {
        if self.transaction == Transaction::Open {
            return write_reply(out.client(), 503, "5.5.1", "MAIL was said already, RSET first");
        }
        if path.size.is_some_and(|size| size > self.facts.message_max) {
            return write_reply(out.client(), 552, "5.3.4", "The message is too large for the mail bridge");
        }
        let Some(mut line) = self.reverse_path(path) else {
            return content::not_allowed(path.address(), out.client());
        };
        if self.is_queued() {
            return self.mail_queued(path, &line, out);
        }
        self.give_lane_back(out);
        let Some(lane) = &mut self.lane else { return self.ask_for_lane(out) };
        lane.begun = true;
        if let (Some(size), Some(_)) = (path.size, lane.extensions.size) {
            line.extend_from_slice(format!(" SIZE={size}").as_bytes());
        }
        if let (Some(body), true) = (path.body, lane.extensions.eight_bit_mime) {
            line.extend_from_slice(match body {
                BodyKind::SevenBit => b" BODY=7BIT",
                BodyKind::EightBitMime => b" BODY=8BITMIME",
            });
        }
        self.transaction = Transaction::Open;
        self.recipients = Some(Vec::new());
        self.forward(Pending::Mail, &line, out);
    }

    /// MAIL as far as its path, as the policy of the account's senders has it; None: it is refused. The null reverse-path
    /// is nobody's address: a bounce or an automatic answer that got one could go round in circles (RFC 3834 section 3.3).
    fn reverse_path(&self, path: Path<'_>) -> Option<Vec<u8>> {
        let admission = self.admission.as_ref()?;
        let address = path.address();
        let own = |sender: &Address| sender.as_str().as_bytes().eq_ignore_ascii_case(address);
        let passes = address.is_empty() || admission.senders.iter().any(own);
        match admission.sender_policy {
            _ if passes => Some(path.octets.to_vec()),
            SenderPolicy::Any => Some(path.octets.to_vec()),
            SenderPolicy::Refuse => None,
            SenderPolicy::Rewrite => Some(format!("MAIL FROM:<{}>", admission.senders.first()?).into_bytes()),
        }
    }

    /// The command stays in `client`, and runs again when the lane is there.
    fn ask_for_lane(&mut self, out: &mut Outbox) {
        // The caller has seen to the login; without one nothing can be asked.
        if let Some(admission) = &self.admission {
            let request = out.ask(Request::Lane(admission.account, LaneUse::Submission, First::Once));
            self.phase = Phase::AwaitingLane(request);
        }
    }

    /// Sends a command to the lane of the open transaction.
    fn forward(&mut self, pending: Pending, line: &[u8], out: &mut Outbox) {
        match (self.transaction, &self.lane) {
            (Transaction::Open, Some(lane)) => {
                out.lane(lane.id).extend_from_slice(line);
                out.lane(lane.id).extend_from_slice(b"\r\n");
                self.pending.push_back(pending);
                if pending == Pending::Data {
                    self.phase = Phase::AwaitingGoAhead;
                }
            }
            (Transaction::None, _) => write_reply(out.client(), 503, "5.5.1", "MAIL first"),
            // Not the client's fault, so not for good.
            _ => write(&LostTransaction::NotSent.smtp(), out.client()),
        }
    }

    fn rset(&mut self, out: &mut Outbox) {
        if !self.is_queued() && self.transaction == Transaction::Open {
            return self.forward(Pending::Rset, b"RSET", out);
        }
        self.transaction = Transaction::None;
        write_reply(out.client(), 250, "2.0.0", "Ok");
    }

    /// Closes the lane: what it was told must come to nothing.
    pub(super) fn drop_lane(&mut self, out: &mut Outbox) {
        if let Some(lane) = self.lane.take() {
            out.close_lane(lane.id);
            out.ask(Request::Release(lane.id, LaneState::Unknown));
        }
    }
}

fn say_fault(fault: PathFault, out: &mut Outbox) {
    let (code, enhanced, text) = match fault {
        PathFault::NonAscii => (553, "5.6.7", "Addresses beyond ASCII are not offered here"),
        PathFault::Parameter => (555, "5.5.4", "A parameter is not offered here"),
        PathFault::Syntax => (501, "5.5.4", "The address or a parameter is not understood"),
    };
    write_reply(out.client(), code, enhanced, text);
}
