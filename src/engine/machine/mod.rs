//! The machine of one IMAP connection: octets in; octets, and requests to the source, out. RFC 3501.
//!
//! One thing at a time: while a request waits for its answer no input is taken, so nothing here is ever pipelined into a
//! wrong order. It does no I/O, reads no clock and judges no password. What it holds of a client is capped: one command
//! ([`IMAP_COMMAND_MAX`]), and for APPEND one message ([`Manner::message_max`]).

mod answers;
mod command;
mod dates;
mod dispatch;
mod items;
mod numbers;
mod reading;
mod search;
mod sign_in;
mod tree;

use self::{
    command::{Append, Front},
    numbers::Selected,
    sign_in::Exchange,
};
use super::source::{Answer, Request};
use crate::{
    failure::Misbehaviour,
    model::number,
    wire::{
        IMAP_COMMAND_MAX, IMAP_LINE_BEFORE_LOGIN,
        imap::framer::{End, Framer, Literal, Piece},
    },
};

/// Output above this is written before more is made.
pub const HIGH_WATER: usize = 64 * 1024;
/// Bad commands before login; a client that cannot sign in in ten does something else here.
const BAD_MAX: u32 = 10;
/// RFC 7888 section 5: the largest literal that LITERAL- lets come unasked.
const UNASKED_MAX: u64 = 4096;

/// How an engine looks: what providers differ in.
#[derive(Clone, Debug)]
pub struct Manner {
    /// Said in the greeting.
    pub name: String,
    pub delimiter: u8,
    /// What stands before every mailbox but INBOX: `INBOX.` or nothing.
    pub prefix: Vec<u8>,
    /// Whether roles are told (RFC 6154).
    pub special_use: bool,
    /// Whether passwords are taken.
    pub passwords: bool,
    /// Whether access tokens are taken (XOAUTH2).
    pub tokens: bool,
    /// Octets of a message.
    pub message_max: u64,
}

impl Manner {
    /// As Gmail: `/`, no prefix, roles told, tokens taken.
    #[must_use]
    pub fn gmail(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            delimiter: b'/',
            prefix: Vec::new(),
            special_use: true,
            passwords: true,
            tokens: true,
            message_max: 25 * 1024 * 1024,
        }
    }

    /// As OVH: everything below `INBOX.`, and no roles told.
    #[must_use]
    pub fn ovh(name: &str) -> Self {
        let (delimiter, prefix) = (b'.', b"INBOX.".to_vec());
        Self { delimiter, prefix, special_use: false, tokens: false, ..Self::gmail(name) }
    }

    fn capabilities(&self) -> String {
        let mut words = vec!["IMAP4rev1", "SASL-IR"];
        words.extend(self.tokens.then_some("AUTH=XOAUTH2"));
        words.extend(self.passwords.then_some("AUTH=PLAIN"));
        words.extend(["ID", "IDLE", "NAMESPACE", "UIDPLUS", "MOVE", "UNSELECT", "CHILDREN"]);
        words.extend(self.special_use.then_some("SPECIAL-USE"));
        words.push("LITERAL-");
        words.join(" ")
    }
}

/// What the driver does next, once the output is written.
pub enum Step {
    /// Ask this, and bring the answer.
    Ask(Request),
    /// The session is over.
    Done,
    /// Nothing but the output, and then [`Engine::resume`].
    Flush,
    /// Bring input, and call [`Engine::look`] from time to time.
    Idle,
    /// Bring input.
    More,
}

/// One connection.
pub struct Engine {
    manner: Manner,
    framer: Framer,
    /// The command so far.
    held: Vec<u8>,
    incoming: Incoming,
    state: State,
    doing: Doing,
    bad: u32,
}

/// Where the octets of a literal go.
enum Incoming {
    Held,
    /// Into APPEND's message.
    Message {
        tag: Vec<u8>,
        append: Append,
        octets: Vec<u8>,
    },
    /// Nowhere: it came unasked and is refused in these words at the end of its command.
    Refused(String),
}

enum State {
    NotSignedIn,
    SignedIn,
    Selected(Box<Selected>),
}

/// What is under way.
enum Doing {
    Nothing,
    /// A request; what its answer is for.
    Asked {
        tag: Vec<u8>,
        what: answers::What,
    },
    Exchanging {
        tag: Vec<u8>,
        exchange: Exchange,
    },
    Fetching(Box<reading::Fetching>),
    Idling {
        tag: Vec<u8>,
    },
    Searching(Box<reading::Searching>),
}

impl Engine {
    /// A connection, which begins with a greeting.
    #[must_use]
    pub fn new(manner: Manner, out: &mut Vec<u8>) -> Self {
        let greeting = format!("* OK [CAPABILITY {}] {} ready\r\n", manner.capabilities(), manner.name);
        out.extend_from_slice(greeting.as_bytes());
        Self {
            manner,
            framer: Framer::client(IMAP_LINE_BEFORE_LOGIN),
            held: Vec::new(),
            incoming: Incoming::Held,
            state: State::NotSignedIn,
            doing: Doing::Nothing,
            bad: 0,
        }
    }

    /// Takes octets of the client, up to the next thing that must be done first.
    pub fn input(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Step {
        loop {
            if out.len() > HIGH_WATER {
                return Step::Flush;
            }
            match self.doing {
                Doing::Asked { .. } | Doing::Fetching(_) | Doing::Searching(_) => return Step::Flush,
                Doing::Nothing | Doing::Exchanging { .. } | Doing::Idling { .. } => {}
            }
            let step = match self.piece(input, out) {
                Ok(Some(step)) => step,
                Ok(None) => return if matches!(self.doing, Doing::Idling { .. }) { Step::Idle } else { Step::More },
                Err(misbehaviour) => {
                    out.extend_from_slice(format!("* BYE {misbehaviour}\r\n").as_bytes());
                    return Step::Done;
                }
            };
            if !matches!(step, Step::More) {
                return step;
            }
        }
    }

    /// A look for news while the client idles.
    pub fn look(&mut self, _out: &mut Vec<u8>) -> Step {
        match (&self.doing, &self.state) {
            (Doing::Idling { tag }, State::Selected(selected)) => {
                let request = Request::View { mailbox: selected.mailbox.clone(), claims: !selected.read_only };
                let tag = tag.clone();
                self.doing = Doing::Asked { tag, what: answers::What::Look };
                Step::Ask(request)
            }
            (Doing::Idling { .. }, _) => Step::Idle,
            _ => Step::More,
        }
    }

    /// Goes on after [`Step::Flush`].
    pub fn resume(&mut self, out: &mut Vec<u8>) -> Step {
        match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Fetching(fetching) => self.fetch_on(*fetching, out),
            Doing::Searching(searching) => self.search_on(*searching, out),
            doing => {
                let idles = matches!(doing, Doing::Idling { .. });
                self.doing = doing;
                if idles { Step::Idle } else { Step::More }
            }
        }
    }

    /// Takes the answer to the request.
    pub fn answer(&mut self, answer: Answer, out: &mut Vec<u8>) -> Step {
        match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Asked { tag, what } => self.answered(tag, what, answer, out),
            Doing::Fetching(fetching) => self.letters_to_fetch(*fetching, answer, out),
            Doing::Searching(searching) => self.letters_to_search(*searching, answer, out),
            doing => {
                self.doing = doing;
                Step::More
            }
        }
    }

    /// Whether a sign-in worked.
    pub fn verdict(&mut self, good: bool, out: &mut Vec<u8>) -> Step {
        match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Asked { tag, what: answers::What::SignIn { bearer } } => self.judged(tag, bearer, good, out),
            doing => {
                self.doing = doing;
                Step::More
            }
        }
    }

    /// Whether the connection is signed in: before it the driver waits less.
    #[must_use]
    pub fn is_signed_in(&self) -> bool {
        !matches!(self.state, State::NotSignedIn)
    }

    /// The next piece of input; None where there is no whole one.
    fn piece(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Option<Step>, Misbehaviour> {
        match self.framer.next(input)? {
            None => Ok(None),
            Some(Piece::Octets(octets)) => {
                match &mut self.incoming {
                    Incoming::Held => self.held.extend_from_slice(octets),
                    Incoming::Message { octets: message, .. } => message.extend_from_slice(octets),
                    Incoming::Refused(_) => {}
                }
                Ok(Some(Step::More))
            }
            Some(Piece::Line { text, end } | Piece::More { text, end }) => {
                if self.held.len() + text.len() > IMAP_COMMAND_MAX {
                    return Err(Misbehaviour::LineTooLong);
                }
                let text = text.to_vec();
                match end {
                    End::Literal(literal) => self.literal(&text, literal, out).map(Some),
                    End::Line | End::Continues => Ok(Some(self.line(&text, out))),
                }
            }
        }
    }

    /// The end of a line that is not the announcement of a literal.
    fn line(&mut self, text: &[u8], out: &mut Vec<u8>) -> Step {
        match std::mem::replace(&mut self.incoming, Incoming::Held) {
            Incoming::Message { tag, append, octets } if text.is_empty() => {
                self.held.clear();
                self.append(tag, append, octets)
            }
            Incoming::Message { tag, .. } => {
                self.held.clear();
                self.say(&tag, "BAD one message at a time", out)
            }
            Incoming::Refused(words) => {
                let tag = command::front(&self.held).map(|front| front.tag).unwrap_or_default();
                self.held.clear();
                self.say(&tag, &words, out)
            }
            Incoming::Held => match std::mem::replace(&mut self.doing, Doing::Nothing) {
                Doing::Exchanging { tag, exchange } => self.exchange(tag, exchange, text, out),
                Doing::Idling { tag } if text.eq_ignore_ascii_case(b"DONE") => {
                    self.complete(tag, "OK IDLE terminated", out)
                }
                Doing::Idling { tag } => self.say(&tag, "BAD DONE was expected", out),
                _ => {
                    self.held.extend_from_slice(text);
                    let octets = std::mem::take(&mut self.held);
                    self.command(&octets, out)
                }
            },
        }
    }

    /// The announcement of a literal.
    fn literal(&mut self, text: &[u8], literal: Literal, out: &mut Vec<u8>) -> Result<Step, Misbehaviour> {
        // Neither a SASL response nor DONE has one; behind APPEND's message a second one would be another message.
        let expected = matches!(self.doing, Doing::Nothing) && matches!(self.incoming, Incoming::Held);
        self.held.extend_from_slice(text);
        let Some(front) = command::front(&self.held).filter(|_| expected) else { return Err(Misbehaviour::Syntax) };
        let refusal = match self.wanted(&front, literal) {
            Ok(None) => {
                self.held.extend_from_slice(b"\r\n");
                None
            }
            Ok(Some(append)) => {
                self.incoming = Incoming::Message { tag: front.tag.clone(), append, octets: Vec::new() };
                self.held.clear();
                None
            }
            Err(words) => Some(words),
        };
        let Some(words) = refusal else {
            if literal.synchronising {
                out.extend_from_slice(b"+ go ahead\r\n");
            }
            return Ok(Step::More);
        };
        if literal.synchronising {
            self.framer.forget_literal();
            self.held.clear();
            return Ok(self.say(&front.tag, &words, out));
        }
        let most = if self.is_signed_in() { self.manner.message_max } else { UNASKED_MAX };
        if literal.octets > most {
            return Err(Misbehaviour::LiteralTooLarge);
        }
        self.held.truncate(IMAP_LINE_BEFORE_LOGIN);
        self.incoming = Incoming::Refused(words.clone());
        Ok(Step::More)
    }

    /// Whether a literal may come: as a part of the command, or as APPEND's message.
    fn wanted(&self, front: &Front, literal: Literal) -> Result<Option<Append>, String> {
        let syntax = |_| "BAD that is no APPEND".to_owned();
        let append = if front.verb == b"APPEND" {
            command::append(front, &self.held, literal.announced_in).map_err(syntax)?
        } else {
            None
        };
        let unasked = !literal.synchronising && literal.octets > UNASKED_MAX;
        if let Some(append) = append {
            return match () {
                () if !self.is_signed_in() => Err("BAD sign in first".to_owned()),
                () if literal.octets > self.manner.message_max => {
                    Err("NO [TOOBIG] the message is too large".to_owned())
                }
                () if literal.octets == 0 => Err("NO [CANNOT] a message of no octets is none".to_owned()),
                () if unasked => Err(UNASKED.to_owned()),
                () => Ok(Some(append)),
            };
        }
        let most = if self.is_signed_in() { IMAP_COMMAND_MAX } else { IMAP_LINE_BEFORE_LOGIN };
        let room = number(most.saturating_sub(self.held.len() + 2));
        if literal.octets > room {
            return Err("BAD [TOOBIG] the command is too long".to_owned());
        }
        if unasked { Err(UNASKED.to_owned()) } else { Ok(None) }
    }

    /// A tagged answer.
    fn say(&mut self, tag: &[u8], words: &str, out: &mut Vec<u8>) -> Step {
        if tag.is_empty() {
            out.extend_from_slice(b"* ");
        } else {
            out.extend_from_slice(tag);
            out.push(b' ');
        }
        out.extend_from_slice(words.as_bytes());
        out.extend_from_slice(b"\r\n");
        if words.starts_with("BAD") {
            self.bad += 1;
            if self.bad >= BAD_MAX && !self.is_signed_in() {
                out.extend_from_slice(b"* BYE too many bad commands\r\n");
                return Step::Done;
            }
        }
        Step::More
    }

    /// A tagged OK, before which the news of the selected mailbox are told.
    fn complete(&mut self, tag: Vec<u8>, words: &str, out: &mut Vec<u8>) -> Step {
        match &self.state {
            State::Selected(selected) => {
                let request = Request::View { mailbox: selected.mailbox.clone(), claims: !selected.read_only };
                let what = answers::What::Refresh { words: words.to_owned() };
                self.doing = Doing::Asked { tag, what };
                Step::Ask(request)
            }
            _ => self.say(&tag, words, out),
        }
    }

    fn ask(&mut self, tag: Vec<u8>, what: answers::What, request: Request) -> Step {
        self.doing = Doing::Asked { tag, what };
        Step::Ask(request)
    }
}

/// To a literal that came without being asked for, though LITERAL- is what was offered.
const UNASKED: &str = "BAD [TOOBIG] only 4096 octets may come unasked";

#[cfg(test)]
mod tests;
