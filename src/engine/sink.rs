//! The submission side beside an engine: EHLO, AUTH, MAIL, RCPT, DATA. What comes in is handed out whole; to file it is
//! another's. RFC 5321, RFC 6409, RFC 4954.
//!
//! Pure, as the machine of IMAP, and as small as a sink may be: it offers what the bridge's own relay offers its clients,
//! holds one message (capped), and forwards nothing to anybody.

use super::source::Credentials;
use crate::{
    failure::Misbehaviour,
    model::number,
    wire::{
        COMMAND_LINE_MAX, SASL_LINE_MAX,
        dot::DotFilter,
        line::LineFramer,
        sasl::{Mechanism, SaslExchange, SaslStep, bearer::BearerMechanism},
        smtp::{Command, PathFault},
    },
};

/// Recipients of one message (RFC 5321 4.5.3.1.8).
const RECIPIENTS_MAX: usize = 100;
/// Refused commands and passwords, after which it ends.
const REFUSED_MAX: u32 = 10;

/// What the driver does next, once the output is written.
pub enum SinkStep {
    Deliver(Envelope),
    Done,
    Judge(Credentials),
    More,
}

/// A message that was accepted for delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Without brackets; empty for `<>`.
    pub sender: String,
    pub recipients: Vec<String>,
    /// As sent, dot-stuffing undone.
    pub octets: Vec<u8>,
}

/// One connection.
pub struct Sink {
    /// How it calls itself.
    name: String,
    message_max: u64,
    mechanisms: Mechanisms,
    line: LineFramer,
    state: State,
    signed_in: bool,
    refused: u32,
}

/// What AUTH takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mechanisms {
    pub passwords: bool,
    pub tokens: bool,
}

/// Named by what is awaited.
enum State {
    Acknowledgement,
    Bearer,
    Command(Option<Transaction>),
    Delivery,
    Message { envelope: Transaction, filter: DotFilter, octets: Vec<u8> },
    Password(SaslExchange),
    Verdict { bearer: bool },
}

/// A MAIL and its RCPTs.
#[derive(Default)]
struct Transaction {
    sender: String,
    recipients: Vec<String>,
}

impl Sink {
    /// A connection, which begins with a greeting.
    #[must_use]
    pub fn new(name: &str, message_max: u64, mechanisms: Mechanisms, out: &mut Vec<u8>) -> Self {
        reply(out, &format!("220 {name} ESMTP"));
        Self {
            name: name.to_owned(),
            message_max,
            mechanisms,
            line: LineFramer::default(),
            state: State::Command(None),
            signed_in: false,
            refused: 0,
        }
    }

    /// Takes octets of the client, up to the next thing that must be done first.
    pub fn input(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> SinkStep {
        loop {
            if matches!(self.state, State::Verdict { .. } | State::Delivery) {
                return SinkStep::More;
            }
            let step = match self.step(input, out) {
                Ok(Some(step)) => step,
                Ok(None) => return SinkStep::More,
                Err(misbehaviour) => {
                    reply(out, &format!("500 5.5.2 {misbehaviour}"));
                    return SinkStep::Done;
                }
            };
            if !matches!(step, SinkStep::More) {
                return step;
            }
        }
    }

    /// Whether the credentials are good.
    pub fn verdict(&mut self, good: bool, out: &mut Vec<u8>) -> SinkStep {
        let bearer = matches!(self.state, State::Verdict { bearer: true });
        self.state = State::Command(None);
        if good {
            self.signed_in = true;
            reply(out, "235 2.7.0 accepted");
            return SinkStep::More;
        }
        if bearer {
            // `{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`: Gmail's error, before its 535.
            let error =
                "eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiQmVhcmVyIiwic2NvcGUiOiJodHRwczovL21haWwuZ29vZ2xlLmNvbS8ifQ==";
            self.state = State::Acknowledgement;
            reply(out, &format!("334 {error}"));
            return SinkStep::More;
        }
        self.refuse("535 5.7.8 Username and Password not accepted", out)
    }

    /// Whether the message is kept.
    pub fn delivered(&mut self, kept: Result<(), &str>, out: &mut Vec<u8>) -> SinkStep {
        self.state = State::Command(None);
        match kept {
            Ok(()) => reply(out, "250 2.0.0 OK, kept"),
            Err(words) => reply(out, words),
        }
        SinkStep::More
    }

    fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Option<SinkStep>, Misbehaviour> {
        if let State::Message { filter, octets, .. } = &mut self.state {
            let room = number(octets.len()) <= self.message_max;
            let ended = filter.pass(input, room.then_some(octets))?;
            return Ok(ended.then(|| self.message_ended(out)));
        }
        let cap = if matches!(self.state, State::Command(_)) { COMMAND_LINE_MAX } else { SASL_LINE_MAX };
        if !self.line.take(input, cap.max(SASL_LINE_MAX))? {
            return Ok(None);
        }
        let line = self.line.line().to_vec();
        self.line.forget();
        Ok(Some(match std::mem::replace(&mut self.state, State::Command(None)) {
            State::Acknowledgement => self.refuse("535 5.7.8 Username and Password not accepted", out),
            State::Bearer if line == b"*" => self.refuse("501 5.7.0 cancelled", out),
            State::Bearer => self.bearer(&line, out),
            State::Password(exchange) => self.sasl(exchange.answer(&line), out),
            State::Command(transaction) => self.command(&line, transaction, out),
            state => {
                self.state = state;
                SinkStep::More
            }
        }))
    }

    fn command(&mut self, line: &[u8], transaction: Option<Transaction>, out: &mut Vec<u8>) -> SinkStep {
        let command = Command::parse(line);
        // What is begun goes on, unless the command ends it.
        match (command, transaction) {
            (Command::Ehlo, _) => self.ehlo(out),
            (Command::Helo, _) => reply(out, &format!("250 {}", self.name)),
            (Command::Rset, _) => reply(out, "250 2.0.0 OK"),
            (Command::Quit, _) => {
                reply(out, "221 2.0.0 bye");
                return SinkStep::Done;
            }
            (Command::Auth { .. }, _) if self.signed_in => return self.refuse("503 5.5.1 already signed in", out),
            (Command::Auth { mechanism, initial }, None) => return self.auth(mechanism, initial, out),
            (Command::Http, _) => return SinkStep::Done,
            (Command::Mail(_) | Command::Rcpt(_) | Command::Data, _) if !self.signed_in => {
                return self.refuse("530 5.7.0 Authentication Required", out);
            }
            (Command::Mail(Ok(path)), None) if path.size.is_some_and(|size| size > self.message_max) => {
                reply(out, TOO_LARGE);
            }
            (Command::Mail(Ok(path)), None) => {
                self.state = State::Command(Some(Transaction { sender: address(path.octets), recipients: Vec::new() }));
                reply(out, "250 2.1.0 OK");
            }
            (Command::Rcpt(Ok(path)), Some(mut transaction)) => {
                if transaction.recipients.len() < RECIPIENTS_MAX {
                    transaction.recipients.push(address(path.octets));
                    reply(out, "250 2.1.5 OK");
                } else {
                    reply(out, "452 4.5.3 too many recipients");
                }
                self.state = State::Command(Some(transaction));
            }
            (Command::Data, Some(envelope)) if !envelope.recipients.is_empty() => {
                self.state = State::Message { envelope, filter: DotFilter::default(), octets: Vec::new() };
                reply(out, "354 go ahead");
            }
            (command, transaction) => {
                self.state = State::Command(transaction);
                return self.other(&command, out);
            }
        }
        SinkStep::More
    }

    /// Commands that change nothing.
    fn other(&mut self, command: &Command<'_>, out: &mut Vec<u8>) -> SinkStep {
        let words = match command {
            Command::Noop => {
                reply(out, "250 2.0.0 OK");
                return SinkStep::More;
            }
            Command::Help => "214 2.0.0 RFC 5321",
            Command::Vrfy => "252 2.5.0 send some mail, and see",
            Command::Mail(Err(PathFault::NonAscii)) | Command::Rcpt(Err(PathFault::NonAscii)) => "553 5.6.7 ASCII only",
            Command::Mail(Err(PathFault::Parameter)) | Command::Rcpt(Err(PathFault::Parameter)) => {
                "555 5.5.4 that parameter is not known here"
            }
            Command::Mail(Ok(_)) | Command::Rcpt(Ok(_)) | Command::Data | Command::Auth { .. } => {
                "503 5.5.1 not in this order"
            }
            Command::Syntax | Command::Mail(Err(_)) | Command::Rcpt(Err(_)) => "501 5.5.4 not its form",
            _ => "502 5.5.1 not known here",
        };
        self.refuse(words, out)
    }

    fn ehlo(&self, out: &mut Vec<u8>) {
        let mut lines = vec![self.name.clone(), format!("SIZE {}", self.message_max)];
        lines.extend(["8BITMIME", "PIPELINING", "ENHANCEDSTATUSCODES"].map(str::to_owned));
        let Mechanisms { passwords, tokens } = self.mechanisms;
        let words = [(tokens, "XOAUTH2"), (passwords, "PLAIN LOGIN")];
        let words: Vec<_> = words.into_iter().filter(|(on, _)| *on).map(|(_, word)| word).collect();
        lines.push(format!("AUTH {}", words.join(" ")));
        let last = lines.len() - 1;
        for (index, line) in lines.iter().enumerate() {
            reply(out, &format!("250{}{line}", if index == last { ' ' } else { '-' }));
        }
    }

    fn auth(&mut self, mechanism: &[u8], initial: Option<&[u8]>, out: &mut Vec<u8>) -> SinkStep {
        if self.mechanisms.tokens && mechanism.eq_ignore_ascii_case(b"XOAUTH2") {
            return match initial {
                Some(response) => self.bearer(response, out),
                None => {
                    self.state = State::Bearer;
                    reply(out, "334 ");
                    SinkStep::More
                }
            };
        }
        let sends_password = |mechanism: &Mechanism| {
            self.mechanisms.passwords && matches!(mechanism, Mechanism::Login | Mechanism::Plain)
        };
        match Mechanism::parse(mechanism).filter(sends_password) {
            Some(mechanism) => self.sasl(SaslExchange::start(mechanism, initial, ""), out),
            None => self.refuse("504 5.5.4 that mechanism is not known here", out),
        }
    }

    fn sasl(&mut self, step: SaslStep, out: &mut Vec<u8>) -> SinkStep {
        match step {
            SaslStep::Challenge(exchange, challenge) => {
                self.state = State::Password(exchange);
                reply(out, &format!("334 {challenge}"));
                SinkStep::More
            }
            SaslStep::Finished { login, password } => {
                self.state = State::Verdict { bearer: false };
                SinkStep::Judge(Credentials::Password { user: login.as_str().to_owned(), password })
            }
            SaslStep::Cancelled => self.refuse("501 5.7.0 cancelled", out),
            SaslStep::Answered { .. } | SaslStep::Malformed | SaslStep::Token { .. } => {
                self.refuse("501 5.5.2 that is no response of this mechanism", out)
            }
            SaslStep::Refused => self.refuse("535 5.7.8 Username and Password not accepted", out),
        }
    }

    fn bearer(&mut self, response: &[u8], out: &mut Vec<u8>) -> SinkStep {
        match BearerMechanism::Xoauth2.read(response) {
            Some(bearer) => {
                self.state = State::Verdict { bearer: true };
                SinkStep::Judge(Credentials::Bearer(bearer))
            }
            None => self.refuse("501 5.5.2 that is no response of this mechanism", out),
        }
    }

    fn message_ended(&mut self, out: &mut Vec<u8>) -> SinkStep {
        match std::mem::replace(&mut self.state, State::Command(None)) {
            State::Message { octets, .. } if number(octets.len()) > self.message_max => {
                reply(out, TOO_LARGE);
                SinkStep::More
            }
            State::Message { envelope, octets, .. } => {
                self.state = State::Delivery;
                let Transaction { sender, recipients } = envelope;
                SinkStep::Deliver(Envelope { sender, recipients, octets: unstuffed(&octets) })
            }
            state => {
                self.state = state;
                SinkStep::More
            }
        }
    }

    fn refuse(&mut self, words: &str, out: &mut Vec<u8>) -> SinkStep {
        reply(out, words);
        self.refused += 1;
        if self.refused < REFUSED_MAX {
            return SinkStep::More;
        }
        reply(out, "421 4.7.0 too many refused commands");
        SinkStep::Done
    }
}

const TOO_LARGE: &str = "552 5.3.4 the message is too large";

fn reply(out: &mut Vec<u8>, line: &str) {
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// What stands between the brackets of a MAIL or RCPT.
fn address(octets: &[u8]) -> String {
    let start = octets.iter().position(|octet| *octet == b'<').map_or(0, |at| at + 1);
    let inner = octets.get(start..octets.len().saturating_sub(1)).unwrap_or_default();
    String::from_utf8_lossy(inner).into_owned()
}

fn unstuffed(octets: &[u8]) -> Vec<u8> {
    let lines = octets.split_inclusive(|octet| *octet == b'\n');
    lines.flat_map(|line| line.strip_prefix(b".").unwrap_or(line)).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Mechanisms = Mechanisms { passwords: true, tokens: true };

    /// A client that is let in says these lines; what it hears, and what is delivered.
    fn talk(lines: &str, message_max: u64) -> (String, Vec<Envelope>) {
        let mut out = Vec::new();
        let mut sink = Sink::new("sink.test", message_max, BOTH, &mut out);
        let octets = lines.replace('\n', "\r\n").into_bytes();
        let mut delivered = Vec::new();
        let mut input = &octets[..];
        loop {
            let mut step = sink.input(&mut input, &mut out);
            loop {
                step = match step {
                    SinkStep::Judge(Credentials::Password { password, .. }) => {
                        sink.verdict(password.expose() == b"secret", &mut out)
                    }
                    SinkStep::Judge(Credentials::Bearer(bearer)) => {
                        sink.verdict(bearer.token.expose() == "good", &mut out)
                    }
                    SinkStep::Deliver(envelope) => {
                        delivered.push(envelope);
                        sink.delivered(Ok(()), &mut out)
                    }
                    step => break step_is(step, &mut input),
                };
            }
            if input.is_empty() {
                return (String::from_utf8_lossy(&out).replace("\r\n", "\n"), delivered);
            }
        }
    }

    /// Whatever is left behind the end is not read.
    fn step_is(step: SinkStep, input: &mut &[u8]) {
        if matches!(step, SinkStep::Done) {
            *input = b"";
        }
    }

    /// `\0a\0secret`
    const SIGNED_IN: &str = "EHLO x\nAUTH PLAIN AGEAc2VjcmV0\n";

    #[test]
    fn a_message_is_handed_out_whole() {
        let lines = format!(
            "{SIGNED_IN}MAIL FROM:<a@x.test> SIZE=9\nRCPT TO:<b@x.test>\nRCPT TO:<c@x.test>\nDATA\n..a\nb\n.\nQUIT\n"
        );
        let (said, delivered) = talk(&lines, 1000);
        assert!(said.ends_with("354 go ahead\n250 2.0.0 OK, kept\n221 2.0.0 bye\n"), "{said}");
        let recipients = vec!["b@x.test".to_owned(), "c@x.test".to_owned()];
        let octets = b".a\r\nb\r\n".to_vec();
        assert_eq!(delivered, [Envelope { sender: "a@x.test".to_owned(), recipients, octets }]);
    }

    #[test]
    fn nobody_sends_without_a_sign_in() {
        let (said, _) =
            talk("EHLO x\nMAIL FROM:<a@x.test>\nAUTH PLAIN AGEAd3Jvbmc=\nAUTH PLAIN\nAGEAc2VjcmV0\nDATA\n", 1000);
        let codes: Vec<_> = said.lines().map(|line| &line[..4]).filter(|code| *code != "250-").collect();
        assert_eq!(codes, ["220 ", "250 ", "530 ", "535 ", "334 ", "235 ", "503 "], "{said}");
    }

    #[test]
    fn a_bad_token_is_told_in_a_challenge() {
        // user=a ^A auth=Bearer bad ^A ^A, then the same with the good one.
        let lines = "EHLO x\nAUTH XOAUTH2 dXNlcj1hAWF1dGg9QmVhcmVyIGJhZAEB\n\nAUTH XOAUTH2\ndXNlcj1hAWF1dGg9QmVhcmVyIGdvb2QBAQ==\n";
        let (said, _) = talk(lines, 1000);
        let codes: Vec<_> = said.lines().map(|line| &line[..4]).filter(|code| *code != "250-").collect();
        assert_eq!(codes, ["220 ", "250 ", "334 ", "535 ", "334 ", "235 "], "{said}");
    }

    #[test]
    fn too_much_of_anything_comes_to_an_end() {
        let envelope = "MAIL FROM:<>\nRCPT TO:<b@x.test>\nDATA\n";
        let (said, delivered) = talk(&format!("{SIGNED_IN}{envelope}{}.\n", "0123456789\n".repeat(100)), 100);
        assert!(said.ends_with("552 5.3.4 the message is too large\n") && delivered.is_empty(), "{said}");
        assert!(talk(&"NONSENSE\n".repeat(30), 100).0.ends_with("421 4.7.0 too many refused commands\n"));
        assert!(talk(&"x".repeat(20_000), 100).0.contains("500 5.5.2"));
        assert!(talk(&format!("{SIGNED_IN}{envelope}a\n").replace("DATA\r\n", ""), 100).1.is_empty());
    }
}
