//! The SMTP opening: greeting, EHLO, STARTTLS where wanted, AUTH PLAIN or LOGIN.
//!
//! Where TLS is wanted nothing but EHLO and STARTTLS goes out before it, and what was said before it is forgotten.
//! RFC 5321 3.1 and 3.2, RFC 3207, RFC 4954.

use super::{Milestone, Opened, Opening, OpeningStep, SignIn};
use crate::{
    failure::{Failure, Misbehaviour, Unreachable},
    model::{Secret, Security},
    wire::{
        sasl::{write_login, write_plain},
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
                let SignIn::Password { user, .. } = &self.sign_in;
                let response = write_login(user.as_bytes()).map_err(|_| UNSENDABLE)?;
                out.push(line(&[response.expose()]));
                Ok(State::AwaitingPasswordPrompt(extensions))
            }
            State::AwaitingPasswordPrompt(extensions) if reply.code == 334 => {
                let SignIn::Password { password, .. } = &self.sign_in;
                let response = write_login(password.expose().as_bytes()).map_err(|_| UNSENDABLE)?;
                out.push(line(&[response.expose()]));
                Ok(State::AwaitingVerdict(extensions))
            }
            State::AwaitingVerdict(extensions) if reply.code == 235 => {
                out.push(OpeningStep::Progress(Milestone::SignedIn));
                out.push(OpeningStep::Opened(Opened::Smtp { extensions }));
                Ok(State::Opened)
            }
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
        let SignIn::Password { user, password } = &self.sign_in;
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
}

fn line(parts: &[&str]) -> OpeningStep {
    let mut octets = Vec::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>() + 2);
    for part in parts.iter().chain(&["\r\n"]) {
        octets.extend_from_slice(part.as_bytes());
    }
    OpeningStep::Write(Secret::new(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "250-mx\r\n250-SIZE 1000\r\n250 AUTH PLAIN LOGIN\r\n";
    const STARTTLS_HELLO: &str = "250-mx\r\n250 STARTTLS\r\n";
    const AUTH: &str = "AUTH PLAIN AGFsaWNlAHNlY3JldA==";

    fn opening(security: Security) -> SmtpOpening {
        let sign_in = SignIn::Password { user: "alice".into(), password: Secret::new("secret".to_owned()) };
        SmtpOpening::new(security, "bridge.test", sign_in)
    }

    /// What the opening says to these words of the provider, a line each, and the failure that ends it.
    fn run(opening: &mut SmtpOpening, says: &[&str]) -> (Vec<String>, Option<Failure>) {
        let (mut out, mut failure) = (Vec::new(), None);
        for says in says {
            let result = match *says {
                "(handshake)" => opening.tls_established(&mut out),
                // Octet by octet, which is the hardest cut.
                says if !says.contains("injected") => {
                    says.as_bytes().chunks(1).try_for_each(|mut octet| opening.input(&mut octet, &mut out))
                }
                says => opening.input(&mut says.as_bytes(), &mut out),
            };
            if let Err(error) = result {
                failure = Some(error);
                break;
            }
        }
        let step = |step| match step {
            OpeningStep::Write(octets) => String::from_utf8_lossy(octets.expose()).trim_end().to_owned(),
            OpeningStep::StartTls => "(handshake)".to_owned(),
            OpeningStep::Progress(milestone) => format!("{milestone:?}"),
            OpeningStep::Opened(Opened::Smtp { extensions }) => format!("Opened size={:?}", extensions.size),
            OpeningStep::Opened(Opened::Imap { .. }) => "Opened as IMAP".to_owned(),
        };
        (out.into_iter().map(step).collect(), failure)
    }

    #[test]
    fn plain_takes_one_round_trip() {
        let (steps, failure) = run(&mut opening(Security::Tls), &["220 mx\r\n", HELLO, "235 2.7.0 Ok\r\n"]);
        assert_eq!(steps, ["Greeted", "EHLO bridge.test", AUTH, "SignedIn", "Opened size=Some(1000)"]);
        assert_eq!(failure, None);
    }

    #[test]
    fn login_is_used_where_nothing_else_is_offered() {
        let hello = "250-mx\r\n250 AUTH=LOGIN\r\n";
        let prompts = ["334 VXNlcm5hbWU6\r\n", "334 \r\n", "235 Ok\r\n"];
        let says = ["220 mx\r\n", hello].into_iter().chain(prompts).collect::<Vec<_>>();
        let (steps, failure) = run(&mut opening(Security::Tls), &says);
        assert_eq!(steps[2..5], ["AUTH LOGIN", "YWxpY2U=", "c2VjcmV0"]);
        assert_eq!((steps.last().map(String::as_str), failure), (Some("Opened size=None"), None));
    }

    #[test]
    fn starttls_comes_before_any_credential_and_forgets_what_was_said() {
        let says = ["220 mx\r\n", STARTTLS_HELLO, "220 go\r\n", "(handshake)", HELLO, "235 Ok\r\n"];
        let (steps, failure) = run(&mut opening(Security::Starttls), &says);
        let awaited =
            ["Greeted", "EHLO bridge.test", "STARTTLS", "(handshake)", "TlsUpgraded", "EHLO bridge.test", AUTH];
        assert_eq!((&steps[..7], failure), (&awaited.map(str::to_owned)[..], None));
    }

    #[test]
    fn without_starttls_no_credential_leaves() {
        let none = Some(Failure::ProviderUnreachable(Unreachable::NoStarttls));
        for says in [&["220 mx\r\n", HELLO][..], &["220 mx\r\n", STARTTLS_HELLO, "454 4.7.0 not now\r\n"]] {
            let (steps, failure) = run(&mut opening(Security::Starttls), says);
            assert_eq!(failure, none);
            assert!(!steps.iter().any(|step| step.starts_with("AUTH")), "{steps:?}");
        }
    }

    #[test]
    fn octets_in_clear_behind_the_starttls_answer_end_it() {
        let injection = Some(Failure::ProviderMisbehaved(Misbehaviour::StarttlsInjection));
        for last in ["220 go\r\n250 injected\r\n", "220 go\r\n2injected"] {
            assert_eq!(run(&mut opening(Security::Starttls), &["220 mx\r\n", STARTTLS_HELLO, last]).1, injection);
        }
        // In a segment of their own too.
        let says = ["220 mx\r\n", STARTTLS_HELLO, "220 go\r\n", "250 injected\r\n"];
        assert_eq!(run(&mut opening(Security::Starttls), &says).1, injection);
    }

    #[test]
    fn refusals_are_told_apart_and_their_words_kept() {
        let unavailable = || Failure::ProviderUnreachable(Unreachable::Unavailable);
        let cases: [(&[&str], Failure); 6] = [
            (&["554 5.7.1 no\x1b\r\n"], unavailable()),
            (&["421 later\r\n"], unavailable()),
            (&["220 mx\r\n", "421 later\r\n"], unavailable()),
            (&["220 mx\r\n", HELLO, "454 4.7.0 later\r\n"], unavailable()),
            (&["220 mx\r\n", HELLO, "535 5.7.8 wrong\r\n"], Failure::SignInRefused),
            (&["220 mx\r\n", HELLO, "250 what\r\n"], Failure::ProviderMisbehaved(Misbehaviour::Syntax)),
        ];
        for (says, failure) in cases {
            let mut opening = opening(Security::Tls);
            assert_eq!(run(&mut opening, says).1, Some(failure), "{says:?}");
            assert!(opening.provider_words().is_some_and(|words| !words.contains(char::is_control)));
        }
    }

    #[test]
    fn a_password_that_is_echoed_is_not_kept() {
        let mut opening = opening(Security::Tls);
        let echo = format!("535-5.7.8 {AUTH}\r\n535 5.7.8 c2VjcmV0\r\n");
        assert_eq!(run(&mut opening, &["220 mx\r\n", HELLO, &echo]).1, Some(Failure::SignInRefused));
        assert_eq!(opening.provider_words(), Some("535 5.7.8 AUTH PLAIN [hidden] 5.7.8 [hidden]"));
    }

    #[test]
    fn a_host_without_passwords_is_named() {
        let mut opening = opening(Security::Tls);
        let hello = "250-mx\r\n250 AUTH XOAUTH2\r\n";
        assert_eq!(run(&mut opening, &["220 mx\r\n", hello]).1, Some(Failure::SignInRefused));
        assert!(opening.provider_words().is_some());
    }
}
