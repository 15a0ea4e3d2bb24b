//! Refusals: what the bridge says of its own to a command that it does not carry out. RFC 3501 7.1.2, RFC 5530.
//!
//! A refusal waits for its turn as the command would have, so that it never stands inside an answer. Nothing here decides
//! what is refused.

use super::{
    Session, answers,
    dispatch::{Command, Ready},
};
use crate::{
    failure::Failure,
    relay::Outbox,
    wire::imap::{command::Verb, framer::Literal},
};

/// What the bridge says of its own to a command that it refuses: in its turn, and never inside an answer.
pub(super) struct Refusal {
    pub(super) line: Vec<u8>,
    /// The literal that the command announced.
    pub(super) literal: Option<Literal>,
}

impl Session {
    /// Answers the command that waits with a failure that is not its own.
    pub(super) fn refuse_ready(&mut self, failure: &Failure, out: &mut Outbox) -> Result<(), Failure> {
        match self.ready.take() {
            Some(Ready::Command(command)) => self.refuse(&command, failure, out),
            ready => {
                self.ready = ready;
                Ok(())
            }
        }
    }

    /// Says that a name is no mailbox.
    pub(super) fn refuse_name(&mut self, command: &Command, out: &mut Outbox) -> Result<(), Failure> {
        let (code, words): (_, &[u8]) = match command.head.verb {
            Verb::Append | Verb::Copy | Verb::Move => ("TRYCREATE", b"There is no folder of this name"),
            Verb::Create => ("CANNOT", b"No folder can have this name here"),
            _ => ("NONEXISTENT", b"There is no folder of this name"),
        };
        // RFC 3501 6.3.1: a SELECT that fails leaves no mailbox selected. The provider still has the old one selected,
        // but no command of the client can reach it.
        if matches!(command.head.verb, Verb::Select | Verb::Examine) {
            self.selected = None;
        }
        self.refuse_with(command, code, words, out)
    }

    pub(super) fn refuse_with(
        &mut self,
        command: &Command,
        code: &'static str,
        words: &[u8],
        out: &mut Outbox,
    ) -> Result<(), Failure> {
        let mut line = Vec::new();
        answers::say(command.tag(), "NO", Some(code), words, &mut line);
        self.dispatch(Ready::Refusal(Refusal { line, literal: command.message }), out)
    }

    pub(super) fn refuse(&mut self, command: &Command, failure: &Failure, out: &mut Outbox) -> Result<(), Failure> {
        let refusal = Refusal { line: answers::failure_line(command.tag(), failure), literal: command.message };
        self.dispatch(Ready::Refusal(refusal), out)
    }

    /// Refuses now. A client that waits to send a literal hears so at once and sends nothing; what comes without waiting
    /// is read and thrown away first, since it cannot be told from commands.
    pub(super) fn refused(&mut self, refusal: Refusal, out: &mut Outbox) -> Result<(), Failure> {
        match refusal.literal {
            Some(literal) if !literal.synchronising => self.discard(literal, refusal.line),
            literal => {
                out.client().extend_from_slice(&refusal.line);
                self.literal_refused = literal.is_some();
                Ok(())
            }
        }
    }
}
