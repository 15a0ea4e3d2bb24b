//! The IMAP opening: greeting, CAPABILITY, STARTTLS where wanted, AUTHENTICATE PLAIN or LOGIN, or with a token XOAUTH2 or
//! OAUTHBEARER, and the folder table where nobody has read it yet.
//!
//! Where TLS is wanted nothing but CAPABILITY and STARTTLS goes out before it, and what was said before it is forgotten
//! (rules R3, R5). RFC 3501 6.1 and 6.2, RFC 4959 (SASL-IR).

use super::{Milestone, NOBODY_AT_THE_DOOR, Opened, Opening, OpeningStep, SignIn};
use crate::{
    failure::{Failure, Misbehaviour, Unreachable},
    model::{Secret, Security},
    relay::folders::{FolderReading, Progress},
    wire::{
        IMAP_LINE_FIRST,
        imap::{
            Capabilities,
            framer::{End, Framer, Piece},
            response::{self, Condition, Kind, Response, Status},
            token::write_string,
        },
        sasl::{
            bearer::{Bearer, BearerMechanism, Challenge},
            write_plain,
        },
    },
};
use std::collections::VecDeque;

/// One opening. Implicit TLS is the driver's: here [`Security::Tls`] and [`Security::None`] are the same.
pub struct ImapOpening {
    sign_in: SignIn,
    /// STARTTLS is wanted and not done.
    must_upgrade: bool,
    /// Whether the folder table is wanted.
    reads_folders: bool,
    framer: Framer,
    /// A response that is not whole yet.
    held: Vec<u8>,
    capabilities: Capabilities,
    state: State,
    words: Option<String>,
    token_refused: bool,
}

enum State {
    AwaitingGreeting,
    AwaitingCapabilities,
    AwaitingStarttls,
    AwaitingHandshake,
    /// The rest of the credentials goes out at each `+`.
    AwaitingVerdict(VecDeque<Secret<Vec<u8>>>),
    /// The response goes out at the first `+` where it is unsent; another `+` is the error challenge.
    AwaitingVerdictOnToken {
        mechanism: BearerMechanism,
        unsent: Option<Secret<Vec<u8>>>,
    },
    /// The challenge is answered; what it said, if it could be read.
    AwaitingRefusal(Option<Challenge>),
    AwaitingCapabilitiesOfUser,
    AwaitingFolders(Box<FolderReading>),
    Opened,
    Closed,
}

/// One response of an opening, in octets: the longest LIST line with its name as a literal.
pub(crate) const RESPONSE_MAX: usize = 2 * IMAP_LINE_FIRST;

/// The tag of our commands but those that read folders. One is at the provider at a time.
const TAG: &str = "PSRL";

impl ImapOpening {
    /// Begins before the greeting.
    #[must_use]
    pub fn new(security: Security, sign_in: SignIn, reads_folders: bool) -> Self {
        Self {
            sign_in,
            must_upgrade: security == Security::Starttls,
            reads_folders,
            framer: Framer::provider(),
            held: Vec::new(),
            capabilities: Capabilities::default(),
            state: State::AwaitingGreeting,
            words: None,
            token_refused: false,
        }
    }

    /// Takes the next piece. True: a response is whole in `held`.
    fn gather(&mut self, input: &mut &[u8]) -> Result<bool, Misbehaviour> {
        let (octets, end) = match self.framer.next(input)? {
            None => return Ok(false),
            Some(Piece::Line { text, end } | Piece::More { text, end }) => (text, Some(end)),
            Some(Piece::Octets(octets)) => (octets, None),
        };
        if self.held.len() + octets.len() > RESPONSE_MAX {
            return Err(Misbehaviour::LineTooLong);
        }
        self.held.extend_from_slice(octets);
        if matches!(end, Some(End::Literal(_))) {
            self.held.extend_from_slice(b"\r\n");
        }
        Ok(end == Some(End::Line))
    }

    fn step(&mut self, octets: &[u8], out: &mut Vec<OpeningStep>) -> Result<State, Failure> {
        let misbehaved = Failure::ProviderMisbehaved;
        if let State::AwaitingFolders(reading) = &mut self.state {
            if let Ok(Response::Status { status, .. }) = response::read(octets)
                && is_disconnected(&status)
            {
                return Err(self.refused(&status, Failure::ProviderUnreachable(Unreachable::Unavailable)));
            }
            let done = reading.response(octets).map_err(misbehaved)? == Progress::Done;
            return match std::mem::replace(&mut self.state, State::Closed) {
                State::AwaitingFolders(reading) if done => Ok(self.opened(Some(*reading), out)),
                state => Ok(state),
            };
        }
        let state = std::mem::replace(&mut self.state, State::Closed);
        match response::read(octets).map_err(misbehaved)? {
            Response::Data { kind: Kind::Capability, rest, .. } => {
                self.capabilities = response::capabilities(octets.get(rest..).unwrap_or_default());
                Ok(state)
            }
            // Courier alerts before it answers a LOGIN; others count mailboxes.
            Response::Data { .. } => Ok(state),
            Response::Continuation(challenge) => self.go_ahead(state, challenge, out),
            Response::Status { tag: None, status } => self.untagged(state, &status, out),
            Response::Status { tag: Some(tag), status } if tag == TAG.as_bytes() => self.tagged(state, &status, out),
            Response::Status { .. } => Err(misbehaved(Misbehaviour::Unasked)),
        }
    }

    fn untagged(&mut self, state: State, status: &Status<'_>, out: &mut Vec<OpeningStep>) -> Result<State, Failure> {
        match (state, status.condition) {
            (_, Condition::Bye) => Err(self.refused(status, Failure::ProviderUnreachable(Unreachable::Unavailable))),
            (State::AwaitingGreeting, Condition::Ok) => {
                self.take_capabilities(status);
                out.push(OpeningStep::Progress(Milestone::Greeted));
                if self.capabilities.is_empty() {
                    return Ok(ask(State::AwaitingCapabilities, "CAPABILITY", out));
                }
                self.with_capabilities(out)
            }
            // Signed in as nobody knows whom, before TLS perhaps (CVE-2020-14093).
            (State::AwaitingGreeting, Condition::Preauth) if self.must_upgrade => {
                Err(Failure::ProviderUnreachable(Unreachable::NoStarttls))
            }
            (State::AwaitingGreeting, Condition::No | Condition::Bad) => {
                Err(self.refused(status, Failure::ProviderUnreachable(Unreachable::Unavailable)))
            }
            // No tag will come for what is not understood (RFC 3501, 7.1.3). Passerelle itself answers so: who gives the
            // bridge's own address for the provider's must not wait.
            (
                State::AwaitingCapabilities | State::AwaitingVerdict(_) | State::AwaitingVerdictOnToken { .. },
                Condition::Bad,
            ) => Err(self.refused(status, Failure::ProviderMisbehaved(Misbehaviour::Syntax))),
            (_, Condition::Preauth) => Err(Failure::ProviderMisbehaved(Misbehaviour::Unasked)),
            (state, _) => {
                self.take_capabilities(status);
                Ok(state)
            }
        }
    }

    fn tagged(&mut self, state: State, status: &Status<'_>, out: &mut Vec<OpeningStep>) -> Result<State, Failure> {
        let ok = status.condition == Condition::Ok;
        match state {
            State::AwaitingCapabilities if ok => {
                self.take_capabilities(status);
                self.with_capabilities(out)
            }
            State::AwaitingStarttls if ok => {
                out.push(OpeningStep::StartTls);
                Ok(State::AwaitingHandshake)
            }
            State::AwaitingStarttls => Err(self.refused(status, Failure::ProviderUnreachable(Unreachable::NoStarttls))),
            State::AwaitingVerdict(rest) if ok && rest.is_empty() => Ok(self.let_in(status, out)),
            State::AwaitingVerdictOnToken { unsent: None, .. } if ok => Ok(self.let_in(status, out)),
            State::AwaitingVerdict(_) if !ok => Err(self.sign_in_refused(status)),
            State::AwaitingVerdictOnToken { .. } if !ok => Err(self.bearer_refused(status, None)),
            State::AwaitingRefusal(challenge) if !ok => Err(self.bearer_refused(status, challenge.as_ref())),
            State::AwaitingCapabilitiesOfUser if ok => Ok(self.signed_in(out)),
            State::AwaitingCapabilitiesOfUser if is_disconnected(status) => {
                Err(self.refused(status, Failure::ProviderUnreachable(Unreachable::Unavailable)))
            }
            State::AwaitingCapabilities | State::AwaitingCapabilitiesOfUser => {
                Err(self.refused(status, Failure::ProviderMisbehaved(Misbehaviour::Syntax)))
            }
            _ => Err(Failure::ProviderMisbehaved(Misbehaviour::Unasked)),
        }
    }

    fn go_ahead(&mut self, state: State, challenge: &[u8], out: &mut Vec<OpeningStep>) -> Result<State, Failure> {
        match state {
            State::AwaitingVerdictOnToken { mechanism, unsent: Some(response) } => {
                out.push(OpeningStep::Write(response));
                Ok(State::AwaitingVerdictOnToken { mechanism, unsent: None })
            }
            State::AwaitingVerdictOnToken { mechanism, unsent: None } => {
                let answer = [mechanism.after_challenge(), "\r\n"].concat().into_bytes();
                out.push(OpeningStep::Write(Secret::new(answer)));
                Ok(State::AwaitingRefusal(Challenge::read(challenge)))
            }
            State::AwaitingVerdict(mut rest) => match rest.pop_front() {
                Some(octets) => {
                    out.push(OpeningStep::Write(octets));
                    Ok(State::AwaitingVerdict(rest))
                }
                // More is wanted than the mechanism has.
                None => Err(Failure::ProviderMisbehaved(Misbehaviour::Unasked)),
            },
            _ => Err(Failure::ProviderMisbehaved(Misbehaviour::Unasked)),
        }
    }

    fn with_capabilities(&mut self, out: &mut Vec<OpeningStep>) -> Result<State, Failure> {
        if !self.must_upgrade {
            return self.authenticate(out);
        }
        if !self.capabilities.has("STARTTLS") {
            return Err(Failure::ProviderUnreachable(Unreachable::NoStarttls));
        }
        Ok(ask(State::AwaitingStarttls, "STARTTLS", out))
    }

    /// AUTHENTICATE PLAIN first: no quoting, and passwords beyond ASCII.
    fn authenticate(&mut self, out: &mut Vec<OpeningStep>) -> Result<State, Failure> {
        let (user, password) = match &self.sign_in {
            SignIn::Bearer { user, token } => {
                let bearer = Bearer { user: user.to_string(), token: token.clone() };
                return self.authenticate_with(&bearer, out);
            }
            SignIn::Nobody => return Err(NOBODY_AT_THE_DOOR),
            SignIn::Password { user, password } => (user.as_bytes(), password.expose().as_bytes()),
        };
        let mut parts = if self.capabilities.has("AUTH=PLAIN") {
            let response = write_plain(user, password).map_err(|_| UNSENDABLE)?;
            let response = response.expose().as_bytes();
            if self.capabilities.has("SASL-IR") {
                VecDeque::from([line(&[b"AUTHENTICATE PLAIN ", response])])
            } else {
                VecDeque::from([line(&[b"AUTHENTICATE PLAIN"]), Secret::new([response, b"\r\n"].concat())])
            }
        } else if self.capabilities.has("LOGINDISABLED") {
            // Not the provider's words, but what its owner needs to know.
            self.words = Some("it offers no sign-in by password (AUTH=PLAIN or LOGIN)".to_owned());
            return Err(Failure::SignInRefused);
        } else {
            login(user, password)?
        };
        // What was offered before sign-in is not what the user has.
        self.capabilities = Capabilities::default();
        out.extend(parts.pop_front().map(OpeningStep::Write));
        Ok(State::AwaitingVerdict(parts))
    }

    fn authenticate_with(&mut self, bearer: &Bearer, out: &mut Vec<OpeningStep>) -> Result<State, Failure> {
        let offers = |name: &str| self.capabilities.has(&format!("AUTH={name}"));
        let Some(mechanism) = SignIn::bearer_mechanism(offers) else {
            self.words = Some("it offers no sign-in by token (AUTH=XOAUTH2 or AUTH=OAUTHBEARER)".to_owned());
            return Err(Failure::SignInRefused);
        };
        let response = mechanism.write(bearer).map_err(|_| UNSENDABLE)?;
        let response = response.expose().as_bytes();
        let command = [b"AUTHENTICATE ", mechanism.name().as_bytes()].concat();
        let at_once = self.capabilities.has("SASL-IR");
        self.capabilities = Capabilities::default();
        let (first, unsent) = if at_once {
            (line(&[&command, b" ", response]), None)
        } else {
            (line(&[&command]), Some(Secret::new([response, b"\r\n"].concat())))
        };
        out.push(OpeningStep::Write(first));
        Ok(State::AwaitingVerdictOnToken { mechanism, unsent })
    }

    fn let_in(&mut self, status: &Status<'_>, out: &mut Vec<OpeningStep>) -> State {
        self.take_capabilities(status);
        out.push(OpeningStep::Progress(Milestone::SignedIn));
        if self.capabilities.is_empty() {
            return ask(State::AwaitingCapabilitiesOfUser, "CAPABILITY", out);
        }
        self.signed_in(out)
    }

    fn signed_in(&mut self, out: &mut Vec<OpeningStep>) -> State {
        if !self.reads_folders {
            return self.opened(None, out);
        }
        let (reading, lines) = FolderReading::begin(&self.capabilities);
        out.push(OpeningStep::Write(Secret::new(lines)));
        State::AwaitingFolders(Box::new(reading))
    }

    fn opened(&mut self, reading: Option<FolderReading>, out: &mut Vec<OpeningStep>) -> State {
        let folders = reading.map(FolderReading::finish);
        if folders.is_some() {
            out.push(OpeningStep::Progress(Milestone::FoldersRead));
        }
        out.push(OpeningStep::Opened(Opened::Imap { capabilities: std::mem::take(&mut self.capabilities), folders }));
        State::Opened
    }

    fn take_capabilities(&mut self, status: &Status<'_>) {
        if let Some(code) = status.code
            && code.name.eq_ignore_ascii_case(b"CAPABILITY")
        {
            self.capabilities = response::capabilities(code.arguments);
        }
    }

    fn sign_in_refused(&mut self, status: &Status<'_>) -> Failure {
        if is_passing(status) || is_disconnected(status) {
            return self.refused(status, Failure::ProviderUnreachable(Unreachable::Unavailable));
        }
        self.refused(status, Failure::SignInRefused)
    }

    /// Tells the refused token from the refused mailbox. Microsoft has no challenge, and no code behind its NO.
    fn bearer_refused(&mut self, status: &Status<'_>, challenge: Option<&Challenge>) -> Failure {
        let failure = self.sign_in_refused(status);
        let code_blames = status.code.is_none_or(|code| {
            ["AUTHENTICATIONFAILED", "EXPIRED"].iter().any(|name| code.name.eq_ignore_ascii_case(name.as_bytes()))
        });
        self.token_refused = failure == Failure::SignInRefused
            && status.condition == Condition::No
            && challenge.map_or(code_blames, Challenge::blames_the_token);
        if let (Some(words), Some(challenge)) = (&mut self.words, challenge) {
            *words = format!("{words} ({})", self.sign_in.hide(&challenge.to_string()));
        }
        failure
    }

    fn refused(&mut self, status: &Status<'_>, failure: Failure) -> Failure {
        let words = self.sign_in.hide(&String::from_utf8_lossy(status.words));
        self.words = Some(super::words_for_people(&words));
        failure
    }
}

/// A stored credential that no line can carry: only another one helps, as with a refused one.
const UNSENDABLE: Failure = Failure::SignInRefused;

/// Refusals that are not about the password or token (RFC 5530; Dovecot says UNAVAILABLE when its token check is down,
/// LIMIT at its cap of connections; Google counts connections and octets, Microsoft throttles, in words).
fn is_passing(status: &Status<'_>) -> bool {
    const CODES: [&str; 5] = ["UNAVAILABLE", "LIMIT", "INUSE", "OVERQUOTA", "SERVERBUG"];
    const WORDS: [&[u8]; 3] = [b"Too many simultaneous connections", b"Request is throttled", b"Server Unavailable"];
    status.code.is_some_and(|code| CODES.iter().any(|name| code.name.eq_ignore_ascii_case(name.as_bytes())))
        || WORDS.iter().any(|words| status.words.starts_with(words))
}

/// Microsoft, to the first command behind a sign-in that it said worked: too many connections, or a mailbox that this
/// user may not open over IMAP. The token is as good as any.
fn is_disconnected(status: &Status<'_>) -> bool {
    status.condition == Condition::Bad && status.words.starts_with(b"User is authenticated but not connected")
}

fn ask(state: State, command: &str, out: &mut Vec<OpeningStep>) -> State {
    out.push(OpeningStep::Write(line(&[command.as_bytes()])));
    state
}

fn line(parts: &[&[u8]]) -> Secret<Vec<u8>> {
    let mut octets = Vec::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>() + TAG.len() + 3);
    octets.extend_from_slice(TAG.as_bytes());
    octets.push(b' ');
    for part in parts {
        octets.extend_from_slice(part);
    }
    octets.extend_from_slice(b"\r\n");
    Secret::new(octets)
}

/// LOGIN, in as many parts as literals make: what is beyond ASCII goes as one, and waits for its `+`.
fn login(user: &[u8], password: &[u8]) -> Result<VecDeque<Secret<Vec<u8>>>, Failure> {
    let unsendable = |octet: &u8| matches!(octet, b'\r' | b'\n' | 0);
    if user.iter().chain(password).any(unsendable) {
        return Err(UNSENDABLE);
    }
    let mut parts = VecDeque::new();
    let mut octets = format!("{TAG} LOGIN ").into_bytes();
    for (text, end) in [(user, &b" "[..]), (password, b"\r\n")] {
        if text.iter().all(|octet| matches!(octet, b' '..=b'~')) {
            write_string(text, false, &mut octets);
        } else {
            octets.extend_from_slice(format!("{{{}}}\r\n", text.len()).as_bytes());
            parts.push_back(Secret::new(std::mem::take(&mut octets)));
            octets.extend_from_slice(text);
        }
        octets.extend_from_slice(end);
    }
    parts.push_back(Secret::new(octets));
    Ok(parts)
}

impl Opening for ImapOpening {
    fn input(&mut self, input: &mut &[u8], out: &mut Vec<OpeningStep>) -> Result<(), Failure> {
        while !input.is_empty() && !matches!(self.state, State::Opened) {
            // Whoever is on the wire could have put these octets there, to be taken for words said inside TLS.
            if matches!(self.state, State::AwaitingHandshake) {
                self.state = State::Closed;
                return Err(Failure::ProviderMisbehaved(Misbehaviour::StarttlsInjection));
            }
            match self.gather(input) {
                Ok(true) => {
                    let octets = std::mem::take(&mut self.held);
                    self.state = self.step(&octets, out)?;
                }
                Ok(false) => {}
                Err(misbehaviour) => {
                    self.state = State::Closed;
                    return Err(Failure::ProviderMisbehaved(misbehaviour));
                }
            }
        }
        Ok(())
    }

    fn tls_established(&mut self, out: &mut Vec<OpeningStep>) -> Result<(), Failure> {
        if !matches!(self.state, State::AwaitingHandshake) {
            return Err(Failure::Internal("a handshake that the IMAP opening did not ask for"));
        }
        self.must_upgrade = false;
        self.framer = Framer::provider();
        self.capabilities = Capabilities::default();
        out.push(OpeningStep::Progress(Milestone::TlsUpgraded));
        self.state = ask(State::AwaitingCapabilities, "CAPABILITY", out);
        Ok(())
    }

    fn provider_words(&self) -> Option<&str> {
        self.words.as_deref()
    }

    fn token_refused(&self) -> bool {
        self.token_refused
    }
}

#[cfg(test)]
mod tests;
