//! Signing in: LOGIN, and AUTHENTICATE with PLAIN, LOGIN and XOAUTH2. Who is let in is another's to say.

use super::{Doing, Engine, State, Step, answers::What};
use crate::{
    engine::source::{Credentials, Request},
    model::Secret,
    wire::{
        IMAP_COMMAND_MAX,
        sasl::{Mechanism, SaslExchange, SaslStep, bearer::BearerMechanism},
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};

/// An exchange, by what it awaits.
pub(super) enum Exchange {
    Password(SaslExchange),
    /// The one response of XOAUTH2.
    Token,
    /// The answer, which says nothing, to the error that stood in a challenge.
    Acknowledgement,
}

/// What Gmail says in the challenge before its NO.
const TOKEN_ERROR: &str = r#"{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}"#;

impl Engine {
    pub(super) fn login(&mut self, tag: Vec<u8>, user: &[u8], password: Secret<Vec<u8>>, out: &mut Vec<u8>) -> Step {
        let user = String::from_utf8_lossy(user).into_owned();
        self.judge(tag, Credentials::Password { user, password }, out)
    }

    pub(super) fn authenticate(
        &mut self,
        tag: Vec<u8>,
        mechanism: &[u8],
        initial: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Step {
        if mechanism == b"XOAUTH2" && self.manner.tokens {
            return match initial {
                Some(response) => self.token(tag, response, out),
                None => self.challenge(tag, Exchange::Token, "", out),
            };
        }
        // CRAM-MD5 is not among what providers are like here.
        let sends_password =
            |mechanism: &Mechanism| self.manner.passwords && matches!(mechanism, Mechanism::Login | Mechanism::Plain);
        match Mechanism::parse(mechanism).filter(sends_password) {
            Some(mechanism) => self.sasl(tag, SaslExchange::start(mechanism, initial, ""), out),
            None => self.say(&tag, "NO [CANNOT] there is no such mechanism here", out),
        }
    }

    /// A line of an exchange.
    pub(super) fn exchange(&mut self, tag: Vec<u8>, exchange: Exchange, line: &[u8], out: &mut Vec<u8>) -> Step {
        match exchange {
            Exchange::Acknowledgement => self.say(&tag, REFUSED, out),
            Exchange::Password(exchange) => self.sasl(tag, exchange.answer(line), out),
            Exchange::Token if line == b"*" => self.say(&tag, "BAD cancelled", out),
            Exchange::Token => self.token(tag, line, out),
        }
    }

    fn sasl(&mut self, tag: Vec<u8>, step: SaslStep, out: &mut Vec<u8>) -> Step {
        match step {
            SaslStep::Cancelled => self.say(&tag, "BAD cancelled", out),
            SaslStep::Challenge(exchange, challenge) => {
                self.challenge(tag, Exchange::Password(exchange), &challenge, out)
            }
            SaslStep::Finished { login, password } => {
                self.judge(tag, Credentials::Password { user: login.as_str().to_owned(), password }, out)
            }
            SaslStep::Answered { .. } | SaslStep::Malformed | SaslStep::Token { .. } => {
                self.say(&tag, "BAD that is no response of this mechanism", out)
            }
            SaslStep::Refused => self.say(&tag, REFUSED, out),
        }
    }

    fn challenge(&mut self, tag: Vec<u8>, exchange: Exchange, challenge: &str, out: &mut Vec<u8>) -> Step {
        out.extend_from_slice(format!("+ {challenge}\r\n").as_bytes());
        self.doing = Doing::Exchanging { tag, exchange };
        Step::More
    }

    fn token(&mut self, tag: Vec<u8>, response: &[u8], out: &mut Vec<u8>) -> Step {
        match BearerMechanism::Xoauth2.read(response) {
            Some(bearer) => self.judge(tag, Credentials::Bearer(bearer), out),
            None => self.say(&tag, "BAD that is no response of this mechanism", out),
        }
    }

    fn judge(&mut self, tag: Vec<u8>, credentials: Credentials, out: &mut Vec<u8>) -> Step {
        if matches!(credentials, Credentials::Password { .. }) && !self.manner.passwords {
            return self.say(&tag, REFUSED, out);
        }
        let bearer = matches!(credentials, Credentials::Bearer(_));
        self.ask(tag, What::SignIn { bearer }, Request::SignIn(credentials))
    }

    pub(super) fn judged(&mut self, tag: Vec<u8>, bearer: bool, good: bool, out: &mut Vec<u8>) -> Step {
        if good {
            self.state = State::SignedIn;
            self.framer.set_cap(IMAP_COMMAND_MAX);
            let words = format!("OK [CAPABILITY {}] signed in", self.manner.capabilities());
            return self.say(&tag, &words, out);
        }
        // Wrong passwords end it as bad commands do.
        self.bad += 1;
        if bearer {
            let error = STANDARD.encode(TOKEN_ERROR);
            return self.challenge(tag, Exchange::Acknowledgement, &error, out);
        }
        if self.bad >= super::BAD_MAX {
            out.extend_from_slice(b"* BYE too many refused passwords\r\n");
            return Step::Done;
        }
        self.say(&tag, REFUSED, out)
    }
}

const REFUSED: &str = "NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)";
