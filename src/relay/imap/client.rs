//! Octets of the client into whole commands; what may be said before login; the message of an APPEND, which streams.

use super::{
    Asked, Session,
    answers::{failure_line, say},
    copy::Copying,
    dispatch::{Command, Ready},
    refusal::Refusal,
};
use crate::{
    failure::{Failure, Misbehaviour},
    model::{Login, number},
    relay::{Credentials, LaneUse, Outbox, Request},
    wire::{
        IMAP_COMMAND_MAX, IMAP_LINE_BEFORE_LOGIN, IMAP_LITERAL_HELD, IMAP_NESTING, IMAP_NESTING_BEFORE_LOGIN,
        imap::{
            command::{self, Arguments, Refused, Verb},
            framer::{End, Literal, Piece},
        },
        line::is_http,
        sasl::{SaslExchange, SaslStep},
    },
};

/// What the client's next octets are.
pub(super) enum ClientReading {
    /// The message of the APPEND of this tag may come when the provider says `+`.
    AwaitingGoAhead { tag: Vec<u8>, message: Literal },
    /// A line of a command, or a literal in it.
    Command,
    /// The message of an APPEND that the bridge keeps, and the line end behind it.
    Copy(Box<Copying>),
    /// DONE of an IDLE.
    Idle,
    /// A refused literal, thrown away; then this is said.
    Discard { reply: Vec<u8> },
    /// The message of the APPEND of this tag, and the line end behind it.
    Message { tag: Vec<u8> },
    /// An answer to a SASL challenge.
    Sasl { tag: Vec<u8>, exchange: SaslExchange },
}

impl ClientReading {
    pub(super) fn rests(&self) -> bool {
        match self {
            Self::AwaitingGoAhead { .. } => true,
            Self::Copy(copying) => copying.rests(),
            _ => false,
        }
    }

    /// Whether a message of the client's is on its way to the lane.
    pub(super) fn is_message(&self) -> bool {
        matches!(self, Self::Message { .. } | Self::AwaitingGoAhead { .. })
    }

    /// Whether the client is saying a message.
    pub(super) fn is_within_message(&self) -> bool {
        matches!(self, Self::Copy(copying) if copying.is_coming()) || matches!(self, Self::Message { .. })
    }

    pub(super) fn is_between_commands(&self, gathered: &[u8]) -> bool {
        matches!(self, Self::Command) && gathered.is_empty()
    }
}

impl Session {
    /// Takes one piece.
    pub(super) fn client_piece(&mut self, piece: Piece<'_>, out: &mut Outbox) -> Result<(), Failure> {
        match (std::mem::replace(&mut self.reading, ClientReading::Command), piece) {
            (ClientReading::Command, Piece::Octets(octets)) => {
                self.gathered.extend_from_slice(octets);
                Ok(())
            }
            (ClientReading::Command, Piece::Line { text, end } | Piece::More { text, end }) => {
                self.command_line(text, end, out)
            }
            (ClientReading::Message { tag }, Piece::Octets(octets)) => {
                self.reading = ClientReading::Message { tag };
                self.to_lane(octets, out);
                Ok(())
            }
            // MULTIAPPEND and CATENATE would go on here. They are not offered; the message that already streamed is
            // given up with the lane: without its line end the provider does not store it.
            (ClientReading::Message { .. }, Piece::Line { text: b"", end: End::Line }) => {
                self.to_lane(b"\r\n", out);
                Ok(())
            }
            (ClientReading::Copy(copying), Piece::Octets(octets)) => {
                self.copy_octets(copying, octets, out);
                Ok(())
            }
            (ClientReading::Copy(copying), Piece::Line { text: b"", end: End::Line }) => {
                self.commit_copy(copying, out);
                Ok(())
            }
            (ClientReading::Discard { reply }, Piece::Octets(_)) => {
                self.reading = ClientReading::Discard { reply };
                Ok(())
            }
            (ClientReading::Discard { reply }, Piece::Line { end, .. }) => {
                // A refused command may have more than one literal.
                let literal = if let End::Literal(literal) = end { Some(literal) } else { None };
                self.dispatch(Ready::Refusal(Refusal { line: reply, literal }), out)
            }
            (ClientReading::Idle, Piece::Line { text, end: End::Line }) => {
                self.reading = ClientReading::Idle;
                self.idle_line(text, out)
            }
            (ClientReading::Sasl { tag, exchange }, Piece::Line { text, end: End::Line }) => {
                self.sasl_step(tag, exchange.answer(text), out)
            }
            _ => Err(Failure::ClientMisbehaved(Misbehaviour::Syntax)),
        }
    }

    fn command_line(&mut self, text: &[u8], end: End, out: &mut Outbox) -> Result<(), Failure> {
        if self.signed.is_none() && self.gathered.is_empty() && is_http(text) {
            return Err(Failure::ClientMisbehaved(Misbehaviour::Http));
        }
        let cap = if self.signed.is_some() { IMAP_COMMAND_MAX } else { IMAP_LINE_BEFORE_LOGIN };
        if self.gathered.len() + text.len() > cap {
            return Err(Failure::ClientMisbehaved(Misbehaviour::LineTooLong));
        }
        self.gathered.extend_from_slice(text);
        match end {
            End::Literal(literal) => self.literal_announced(literal, cap, out),
            End::Line | End::Continues => self.whole_command(out),
        }
    }

    fn literal_announced(&mut self, literal: Literal, cap: usize, out: &mut Outbox) -> Result<(), Failure> {
        let head = match command::head(&self.gathered) {
            Ok(head) => head,
            Err(refused) => {
                let tag = self.tag_of(refused);
                self.misbehaved()?;
                return self.refuse_literal(literal, &tag, Misbehaviour::Syntax, out);
            }
        };
        let tag = self.gathered.get(head.tag.clone()).unwrap_or_default().to_vec();
        let signed = self.signed.is_some();
        // `~{n}` (RFC 3516): a provider without BINARY answers BAD, and reads what follows as commands.
        let at = self.gathered.len().saturating_sub(literal.announced_in);
        let binary = self.gathered.get(at) == Some(&b'~');
        if binary && !self.signed.as_ref().is_some_and(|signed| signed.capabilities.has("BINARY")) {
            self.misbehaved()?;
            return self.refuse_literal(literal, &tag, Misbehaviour::Syntax, out);
        }
        if head.verb == Verb::Append && signed {
            match command::append(&head, &self.gathered, literal.announced_in) {
                Ok(None) => {}
                Ok(Some(append)) => {
                    let octets = std::mem::take(&mut self.gathered);
                    self.ready = Some(Ready::Command(Command::append(head, octets, append, literal)));
                    return Ok(());
                }
                Err(misbehaviour) => {
                    return self.refuse_literal(literal, &tag, misbehaviour, out);
                }
            }
        }
        let room = number(cap.saturating_sub(self.gathered.len() + 2));
        if binary || literal.octets > IMAP_LITERAL_HELD.min(room) || (!signed && head.verb != Verb::Login) {
            self.misbehaved()?;
            return self.refuse_literal(literal, &tag, Misbehaviour::LiteralTooLarge, out);
        }
        self.gathered.extend_from_slice(b"\r\n");
        self.owes_go_ahead = literal.synchronising;
        Ok(())
    }

    /// Refuses a command by the literal that it announces.
    fn refuse_literal(
        &mut self,
        literal: Literal,
        tag: &[u8],
        misbehaviour: Misbehaviour,
        out: &mut Outbox,
    ) -> Result<(), Failure> {
        self.gathered.clear();
        let line = failure_line(tag, &Failure::ClientMisbehaved(misbehaviour));
        self.dispatch(Ready::Refusal(Refusal { line, literal: Some(literal) }), out)
    }

    /// Throws the literal away that a client sends without waiting, then says the line.
    pub(super) fn discard(&mut self, literal: Literal, reply: Vec<u8>) -> Result<(), Failure> {
        if self.signed.is_none() || literal.octets > self.facts.message_max {
            return Err(Failure::ClientMisbehaved(Misbehaviour::LiteralTooLarge));
        }
        self.reading = ClientReading::Discard { reply };
        Ok(())
    }

    fn tag_of(&self, refused: Refused) -> Vec<u8> {
        match refused {
            Refused::Tag => b"*".to_vec(),
            Refused::Verb { tag } => self.gathered.get(..tag).unwrap_or_default().to_vec(),
        }
    }

    fn whole_command(&mut self, out: &mut Outbox) -> Result<(), Failure> {
        let head = command::head(&self.gathered);
        let nesting = if self.signed.is_some() { IMAP_NESTING } else { IMAP_NESTING_BEFORE_LOGIN };
        let command = match head {
            Ok(head) => match command::arguments(&head, &self.gathered, nesting) {
                Ok(arguments) => Ok(Command::new(head, std::mem::take(&mut self.gathered), arguments)),
                Err(_) => Err(self.gathered.get(head.tag).unwrap_or_default().to_vec()),
            },
            Err(refused) => Err(self.tag_of(refused)),
        };
        self.gathered.clear();
        match command {
            Ok(command) if self.signed.is_none() => self.before_login(command, out),
            Ok(command) => {
                self.ready = Some(Ready::Command(command));
                Ok(())
            }
            Err(tag) if self.signed.is_none() => {
                self.say_failure(&tag, &Failure::ClientMisbehaved(Misbehaviour::Syntax), out);
                self.misbehaved()
            }
            Err(tag) => {
                let line = failure_line(&tag, &Failure::ClientMisbehaved(Misbehaviour::Syntax));
                self.dispatch(Ready::Refusal(Refusal { line, literal: None }), out)
            }
        }
    }

    fn before_login(&mut self, command: Command, out: &mut Outbox) -> Result<(), Failure> {
        self.before_login = self.before_login.saturating_add(1);
        if self.before_login > COMMANDS_BEFORE_LOGIN_MAX {
            return Err(Failure::ClientMisbehaved(Misbehaviour::TooManyBadCommands));
        }
        let tag = command.tag().to_vec();
        match (command.head.verb, &command.arguments) {
            (Verb::Login, Arguments::Login { user, password }) => {
                let user = user.value(&command.octets);
                let password = password.value(&command.octets);
                self.try_login(tag, &user, password.into_owned(), out)
            }
            (Verb::Authenticate, Arguments::Authenticate { mechanism, initial }) => {
                let octets = |span: &std::ops::Range<usize>| command.octets.get(span.clone()).unwrap_or_default();
                let listed = self.facts.imap_mechanisms();
                let Some(mechanism) = self.facts.mechanism(octets(mechanism), &listed) else {
                    say(&tag, "NO", Some("CANNOT"), b"This mechanism is not offered, use PLAIN or LOGIN", out.client());
                    return self.misbehaved();
                };
                // Each command before login counts, so none asks what another asked.
                let challenge = self.facts.challenge(self.before_login.into());
                self.sasl_step(tag, SaslExchange::start(mechanism, initial.as_ref().map(octets), &challenge), out)
            }
            (Verb::Capability | Verb::Noop | Verb::Id, _) => {
                self.local(&command, out);
                Ok(())
            }
            (Verb::Logout, _) => {
                self.logout(&tag, out);
                Ok(())
            }
            _ => {
                self.say_failure(&tag, &Failure::ClientMisbehaved(Misbehaviour::WrongState), out);
                self.misbehaved()
            }
        }
    }

    fn sasl_step(&mut self, tag: Vec<u8>, step: SaslStep, out: &mut Outbox) -> Result<(), Failure> {
        match step {
            SaslStep::Challenge(exchange, challenge) => {
                out.client().extend_from_slice(format!("+ {challenge}\r\n").as_bytes());
                self.reading = ClientReading::Sasl { tag, exchange };
                Ok(())
            }
            SaslStep::Answered { login, challenge, digest } => {
                let credentials = Credentials::CramMd5 { login, challenge, digest };
                self.ask(Request::Verdict(credentials), Asked::Verdict { tag }, out);
                Ok(())
            }
            SaslStep::Finished { login, password } => {
                let credentials = self.facts.credentials(login, password, LaneUse::Imap);
                self.ask(Request::Verdict(credentials), Asked::Verdict { tag }, out);
                Ok(())
            }
            SaslStep::Token { login, token } => {
                let credentials = Credentials::Token { login, token, bare: false, purpose: LaneUse::Imap };
                self.ask(Request::Verdict(credentials), Asked::Verdict { tag }, out);
                Ok(())
            }
            SaslStep::Refused => {
                self.ask(Request::Verdict(Credentials::Nobody), Asked::Verdict { tag }, out);
                Ok(())
            }
            SaslStep::Cancelled | SaslStep::Malformed => {
                say(&tag, "BAD", None, b"Authentication was given up", out.client());
                self.misbehaved()
            }
        }
    }

    fn try_login(&mut self, tag: Vec<u8>, user: &[u8], password: Vec<u8>, out: &mut Outbox) -> Result<(), Failure> {
        let password = crate::model::Secret::new(password);
        // A name that cannot be a login is told like a wrong password: nobody learns which names could exist.
        let login = std::str::from_utf8(user).ok().and_then(|user| Login::parse(user).ok());
        let said = |login| self.facts.credentials(login, password, LaneUse::Imap);
        let credentials = login.map_or(Credentials::Nobody, said);
        self.ask(Request::Verdict(credentials), Asked::Verdict { tag }, out);
        Ok(())
    }
}

/// Commands before login: the most that a client of the field sends is five, and each refused login is one.
pub(crate) const COMMANDS_BEFORE_LOGIN_MAX: u8 = 30;
