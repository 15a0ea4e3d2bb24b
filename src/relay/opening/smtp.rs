//! The SMTP opening: greeting, EHLO, STARTTLS where wanted, AUTH PLAIN or LOGIN, with a token XOAUTH2 or OAUTHBEARER,
//! or nothing where the service knows this machine.
//!
//! Where TLS is wanted nothing but EHLO and STARTTLS goes out before it, and what was said before it is forgotten.
//! RFC 5321 3.1 and 3.2, RFC 3207, RFC 4954.

use super::{Milestone, Opened, Opening, OpeningStep, SignIn};
use crate::{
    failure::{Failure, Misbehaviour, Unreachable},
    model::{Secret, Security},
    wire::{
        sasl::{
            bearer::{Bearer, BearerMechanism, Challenge},
            write_login, write_plain,
        },
        smtp::{Extensions, Reply, ReplyReader},
    },
};

/// One opening. Implicit TLS is the driver's: here [`Security::Tls`] and [`Security::None`] are the same.
pub struct SmtpOpening {
    /// What EHLO says: a domain name.
    hostname: Box<str>,
    sign_in: SignIn,
    /// STARTTLS is wanted and not done.
    must_upgrade: bool,
    reader: ReplyReader,
    state: State,
    words: Option<String>,
    token_refused: bool,
}

enum State {
    AwaitingGreeting,
    AwaitingHello,
    AwaitingStarttls,
    AwaitingHandshake,
    /// The prompt for the user name, answered by the password's.
    AwaitingUserPrompt(Extensions),
    AwaitingPasswordPrompt(Extensions),
    AwaitingVerdict(Extensions),
    /// A 334 is the error challenge: the response went out with the command.
    AwaitingVerdictOnToken(BearerMechanism, Extensions),
    /// The challenge is answered; what it said, if it could be read.
    AwaitingRefusal(Option<Challenge>),
    Opened,
    Closed,
}

impl SmtpOpening {
    /// Begins before the greeting.
    #[must_use]
    pub fn new(security: Security, hostname: &str, sign_in: SignIn) -> Self {
        Self {
            hostname: hostname.into(),
            sign_in,
            must_upgrade: security == Security::Starttls,
            reader: ReplyReader::default(),
            state: State::AwaitingGreeting,
            words: None,
            token_refused: false,
        }
    }

    fn step(&mut self, reply: Reply, out: &mut Vec<OpeningStep>) -> Result<State, Failure> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::AwaitingGreeting => self.greeted(&reply, out),
            State::AwaitingHello => self.offered(&reply, out),
            State::AwaitingStarttls if reply.code == 220 => {
                out.push(OpeningStep::StartTls);
                Ok(State::AwaitingHandshake)
            }
            // 454: TLS is not available now; to go on in clear is what an attacker would want.
            State::AwaitingStarttls => Err(self.refused(&reply, Failure::ProviderUnreachable(Unreachable::NoStarttls))),
            State::AwaitingUserPrompt(extensions) if reply.code == 334 => {
                let SignIn::Password { user, .. } = &self.sign_in else { return Err(OUT_OF_PLACE) };
                let response = write_login(user.as_bytes()).map_err(|_| UNSENDABLE)?;
                out.push(line(&[response.expose()]));
                Ok(State::AwaitingPasswordPrompt(extensions))
            }
            State::AwaitingPasswordPrompt(extensions) if reply.code == 334 => {
                let SignIn::Password { password, .. } = &self.sign_in else { return Err(OUT_OF_PLACE) };
                let response = write_login(password.expose().as_bytes()).map_err(|_| UNSENDABLE)?;
                out.push(line(&[response.expose()]));
                Ok(State::AwaitingVerdict(extensions))
            }
            State::AwaitingVerdictOnToken(mechanism, _) if reply.code == 334 => {
                out.push(line(&[mechanism.after_challenge()]));
                let challenge = reply.lines.first().map(|text| text.trim_ascii());
                Ok(State::AwaitingRefusal(challenge.and_then(Challenge::read)))
            }
            State::AwaitingVerdictOnToken(_, extensions) | State::AwaitingVerdict(extensions) if reply.code == 235 => {
                out.push(OpeningStep::Progress(Milestone::SignedIn));
                out.push(OpeningStep::Opened(Opened::Smtp { extensions }));
                Ok(State::Opened)
            }
            State::AwaitingVerdictOnToken(..) => Err(self.bearer_refused(&reply, None)),
            State::AwaitingRefusal(challenge) => Err(self.bearer_refused(&reply, challenge.as_ref())),
            State::AwaitingUserPrompt(_) | State::AwaitingPasswordPrompt(_) | State::AwaitingVerdict(_) => {
                Err(self.refused(&reply, Failure::SignInRefused))
            }
            State::AwaitingHandshake | State::Opened | State::Closed => {
                Err(Failure::ProviderMisbehaved(Misbehaviour::Unasked))
            }
        }
    }

    fn greeted(&mut self, reply: &Reply, out: &mut Vec<OpeningStep>) -> Result<State, Failure> {
        if reply.code != 220 {
            return Err(self.refused(reply, Failure::ProviderUnreachable(Unreachable::Unavailable)));
        }
        out.push(OpeningStep::Progress(Milestone::Greeted));
        out.push(line(&["EHLO ", &self.hostname]));
        Ok(State::AwaitingHello)
    }

    fn offered(&mut self, reply: &Reply, out: &mut Vec<OpeningStep>) -> Result<State, Failure> {
        if reply.code != 250 {
            return Err(self.refused(reply, Failure::ProviderUnreachable(Unreachable::Unavailable)));
        }
        let extensions = Extensions::read(reply);
        if !self.must_upgrade {
            return self.authenticate(extensions, out);
        }
        if !extensions.starttls {
            return Err(Failure::ProviderUnreachable(Unreachable::NoStarttls));
        }
        out.push(line(&["STARTTLS"]));
        Ok(State::AwaitingStarttls)
    }

    /// PLAIN first: it takes one round trip where LOGIN takes three.
    fn authenticate(&mut self, extensions: Extensions, out: &mut Vec<OpeningStep>) -> Result<State, Failure> {
        let (user, password) = match &self.sign_in {
            SignIn::Bearer { user, token } => {
                let bearer = Bearer { user: user.to_string(), token: token.clone() };
                return self.authenticate_with(&bearer, extensions, out);
            }
            SignIn::Nobody => {
                out.push(OpeningStep::Opened(Opened::Smtp { extensions }));
                return Ok(State::Opened);
            }
            SignIn::Password { user, password } => (user, password),
        };
        if extensions.offers_auth("PLAIN") {
            let response = write_plain(user.as_bytes(), password.expose().as_bytes()).map_err(|_| UNSENDABLE)?;
            out.push(line(&["AUTH PLAIN ", response.expose()]));
            Ok(State::AwaitingVerdict(extensions))
        } else if extensions.offers_auth("LOGIN") {
            out.push(line(&["AUTH LOGIN"]));
            Ok(State::AwaitingUserPrompt(extensions))
        } else {
            // Not the provider's words, but what its owner needs to know.
            self.words = Some("it offers no sign-in by password (AUTH PLAIN or LOGIN)".to_owned());
            Err(Failure::SignInRefused)
        }
    }

    /// At once: a challenge before the response has nothing to say, and every provider takes it so.
    fn authenticate_with(
        &mut self,
        bearer: &Bearer,
        extensions: Extensions,
        out: &mut Vec<OpeningStep>,
    ) -> Result<State, Failure> {
        let Some(mechanism) = SignIn::bearer_mechanism(|name| extensions.offers_auth(name)) else {
            self.words = Some("it offers no sign-in by token (AUTH XOAUTH2 or OAUTHBEARER)".to_owned());
            return Err(Failure::SignInRefused);
        };
        let response = mechanism.write(bearer).map_err(|_| UNSENDABLE)?;
        out.push(line(&["AUTH ", mechanism.name(), " ", response.expose()]));
        Ok(State::AwaitingVerdictOnToken(mechanism, extensions))
    }

    /// Tells the refused token from the refused mailbox: 5.7.139 is a switch of the tenant or the mailbox (Microsoft).
    fn bearer_refused(&mut self, reply: &Reply, challenge: Option<&Challenge>) -> Failure {
        let failure = self.refused(reply, Failure::SignInRefused);
        self.token_refused = failure == Failure::SignInRefused
            && reply.code == 535
            && reply.enhanced() != Some("5.7.139")
            && challenge.is_none_or(Challenge::blames_the_token);
        if let (Some(words), Some(challenge)) = (&mut self.words, challenge) {
            *words = format!("{words} ({})", self.sign_in.hide(&challenge.to_string()));
        }
        failure
    }

    /// Keeps the words, and says what the refusal means: a refused sign-in only where it is permanent (RFC 4954 6).
    fn refused(&mut self, reply: &Reply, failure: Failure) -> Failure {
        self.words = Some(self.sign_in.hide(&reply.words()));
        match (reply.class(), failure) {
            (4, Failure::SignInRefused) => Failure::ProviderUnreachable(Unreachable::Unavailable),
            (4 | 5, failure) => failure,
            _ => Failure::ProviderMisbehaved(Misbehaviour::Syntax),
        }
    }
}

/// Prompts come to AUTH LOGIN alone, which is for passwords.
const OUT_OF_PLACE: Failure = Failure::Internal("a prompt of AUTH LOGIN for a token");
/// A stored credential that no line can carry: only another one helps, as with a refused one.
const UNSENDABLE: Failure = Failure::SignInRefused;

impl Opening for SmtpOpening {
    fn input(&mut self, input: &mut &[u8], out: &mut Vec<OpeningStep>) -> Result<(), Failure> {
        while !input.is_empty() && !matches!(self.state, State::Opened) {
            // Whoever is on the wire could have put these octets there, to be taken for words said inside TLS.
            if matches!(self.state, State::AwaitingHandshake) {
                self.state = State::Closed;
                return Err(Failure::ProviderMisbehaved(Misbehaviour::StarttlsInjection));
            }
            match self.reader.read(input) {
                Ok(Some(reply)) => self.state = self.step(reply, out)?,
                Ok(None) => {}
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
            return Err(Failure::Internal("a handshake that the SMTP opening did not ask for"));
        }
        self.must_upgrade = false;
        self.reader = ReplyReader::default();
        out.push(OpeningStep::Progress(Milestone::TlsUpgraded));
        out.push(line(&["EHLO ", &self.hostname]));
        self.state = State::AwaitingHello;
        Ok(())
    }

    fn provider_words(&self) -> Option<&str> {
        self.words.as_deref()
    }

    fn token_refused(&self) -> bool {
        self.token_refused
    }
}

fn line(parts: &[&str]) -> OpeningStep {
    let mut octets = Vec::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>() + 2);
    for part in parts.iter().chain(&["\r\n"]) {
        octets.extend_from_slice(part.as_bytes());
    }
    OpeningStep::Write(Secret::new(octets))
}

#[cfg(test)]
mod tests;
