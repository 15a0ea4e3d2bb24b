//! SASL PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login) and CRAM-MD5 (RFC 2195) for every protocol that carries them.
//!
//! It judges no password and knows no protocol: the relay frames the lines and says what a step means there. A user
//! name that cannot be a login ends like a wrong password, so that nobody learns which names could exist. Base64 is
//! RFC 4648 section 4, strict: with padding, without blanks. The mechanisms of access tokens are in [`bearer`].

pub mod bearer;

use crate::model::{Login, Secret};
use base64::{Engine, engine::general_purpose::STANDARD};
use bearer::{Bearer, BearerMechanism};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use zeroize::Zeroizing;

/// The mechanisms that the bridge offers to clients. Towards providers with a password it uses those that send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mechanism {
    CramMd5,
    Login,
    /// Carries an access token; no file lists it: the listener decides.
    #[serde(skip)]
    OauthBearer,
    Plain,
    /// As [`Mechanism::OauthBearer`].
    #[serde(skip)]
    Xoauth2,
}

impl Mechanism {
    /// As it is listed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CramMd5 => "CRAM-MD5",
            Self::Login => "LOGIN",
            Self::OauthBearer => BearerMechanism::OauthBearer.name(),
            Self::Plain => "PLAIN",
            Self::Xoauth2 => BearerMechanism::Xoauth2.name(),
        }
    }

    /// Reads a mechanism's name, in any case.
    #[must_use]
    pub fn parse(name: &[u8]) -> Option<Self> {
        let all = [Self::CramMd5, Self::Login, Self::OauthBearer, Self::Plain, Self::Xoauth2];
        all.into_iter().find(|mechanism| name.eq_ignore_ascii_case(mechanism.name().as_bytes()))
    }
}

/// What the server side does next.
pub enum SaslStep {
    /// The client has answered this challenge with the keyed digest of it; whether rightly is another's to judge.
    Answered { login: Login, challenge: Box<str>, digest: [u8; 16] },
    /// The client said `*`.
    Cancelled,
    /// Send this challenge, which is base64 already, and give the next line to the exchange.
    Challenge(SaslExchange, Cow<'static, str>),
    /// The client has said who it is; whether that is true is another's to judge.
    Finished { login: Login, password: Secret<Vec<u8>> },
    /// Not base64, or not the mechanism's form.
    Malformed,
    /// Well formed, but no login can be like that: to be told like a wrong password.
    Refused,
    /// The client has said who it is, with an access token; whether it is good is the provider's to judge.
    Token { login: Login, token: Secret<Vec<u8>> },
}

/// The server side of one exchange, named by what it awaits.
pub struct SaslExchange(Awaiting);

enum Awaiting {
    Bearer(BearerMechanism),
    CramMd5 { challenge: Box<str> },
    Plain,
    LoginPassword { user: Zeroizing<Vec<u8>> },
    LoginUser,
}

impl SaslExchange {
    /// Begins with the initial response as it stood on the line. An empty one, and `=`, are as none at all (Dovecot reads
    /// them so too). `challenge` is a msg-id that was never asked before; only CRAM-MD5 asks it.
    #[must_use]
    pub fn start(mechanism: Mechanism, initial: Option<&[u8]>, challenge: &str) -> SaslStep {
        let exchange = match mechanism {
            Mechanism::CramMd5 => Self(Awaiting::CramMd5 { challenge: challenge.into() }),
            Mechanism::Login => Self(Awaiting::LoginUser),
            Mechanism::OauthBearer => Self(Awaiting::Bearer(BearerMechanism::OauthBearer)),
            Mechanism::Xoauth2 => Self(Awaiting::Bearer(BearerMechanism::Xoauth2)),
            Mechanism::Plain => Self(Awaiting::Plain),
        };
        match initial {
            None | Some(b"" | b"=") => {
                let challenge = exchange.challenge();
                SaslStep::Challenge(exchange, challenge)
            }
            // In CRAM-MD5 the server speaks first (RFC 4954 section 4, RFC 4959 section 3).
            Some(_) if mechanism == Mechanism::CramMd5 => SaslStep::Malformed,
            Some(response) => exchange.answer(response),
        }
    }

    /// Goes on with a line of the client, without its end.
    #[must_use]
    pub fn answer(self, line: &[u8]) -> SaslStep {
        if line == b"*" {
            return SaslStep::Cancelled;
        }
        if let Awaiting::Bearer(mechanism) = &self.0 {
            return mechanism.read(line).map_or(SaslStep::Malformed, token_of);
        }
        let Ok(octets) = STANDARD.decode(line).map(Zeroizing::new) else { return SaslStep::Malformed };
        match self.0 {
            // Answered above, undecoded.
            Awaiting::Bearer(_) => SaslStep::Malformed,
            Awaiting::CramMd5 { challenge } => read_cram_md5(challenge, &octets),
            Awaiting::Plain => read_plain(&octets),
            Awaiting::LoginUser => {
                let exchange = Self(Awaiting::LoginPassword { user: octets });
                let challenge = exchange.challenge();
                SaslStep::Challenge(exchange, challenge)
            }
            Awaiting::LoginPassword { user } => finish(&user, &octets),
        }
    }

    fn challenge(&self) -> Cow<'static, str> {
        match &self.0 {
            Awaiting::CramMd5 { challenge } => STANDARD.encode(challenge.as_bytes()).into(),
            Awaiting::Bearer(_) | Awaiting::Plain => "".into(),
            // `Username:` and `Password:`, which some clients compare.
            Awaiting::LoginUser => "VXNlcm5hbWU6".into(),
            Awaiting::LoginPassword { .. } => "UGFzc3dvcmQ6".into(),
        }
    }
}

/// The login, a blank, and 16 octets in hexadecimal (RFC 2195 section 2).
fn read_cram_md5(challenge: Box<str>, octets: &[u8]) -> SaslStep {
    let mut parts = octets.rsplitn(2, |octet| *octet == b' ');
    let (Some(hex), Some(user)) = (parts.next(), parts.next()) else { return SaslStep::Malformed };
    let Some(digest) = read_hex(hex) else { return SaslStep::Malformed };
    match login_of(user) {
        Some(login) => SaslStep::Answered { login, challenge, digest },
        None => SaslStep::Refused,
    }
}

fn read_hex(hex: &[u8]) -> Option<[u8; 16]> {
    let (pairs, rest) = hex.as_chunks::<2>();
    let mut digest = [0; 16];
    if pairs.len() != digest.len() || !rest.is_empty() {
        return None;
    }
    for (octet, pair) in digest.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *octet = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(digest)
}

/// `[authzid] NUL authcid NUL password`. Jakarta Mail, neomutt and Net::SMTP send the login as authzid too; to act as
/// someone else is a matter of shares, not of SASL.
fn read_plain(octets: &[u8]) -> SaslStep {
    let mut parts = octets.split(|octet| *octet == 0);
    let (Some(authzid), Some(user), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return SaslStep::Malformed;
    };
    if authzid.is_empty() || authzid.eq_ignore_ascii_case(user) { finish(user, password) } else { SaslStep::Refused }
}

fn token_of(Bearer { user, token }: Bearer) -> SaslStep {
    match Login::parse(&user) {
        Ok(login) => SaslStep::Token { login, token: Secret::new(token.expose().as_bytes().to_vec()) },
        Err(_) => SaslStep::Refused,
    }
}

fn login_of(user: &[u8]) -> Option<Login> {
    std::str::from_utf8(user).ok().and_then(|user| Login::parse(user).ok())
}

fn finish(user: &[u8], password: &[u8]) -> SaslStep {
    match login_of(user) {
        Some(login) if !password.is_empty() && is_sendable(password) => {
            SaslStep::Finished { login, password: Secret::new(password.to_vec()) }
        }
        _ => SaslStep::Refused,
    }
}

/// CR, LF and NUL are in no password of ours, and no protocol of ours can carry them everywhere (rule R9).
fn is_sendable(octets: &[u8]) -> bool {
    !octets.iter().any(|octet| matches!(octet, 0 | b'\r' | b'\n'))
}

/// A user name, password or token towards a provider that is empty, or holds what could end a line or shift the parts of a
/// mechanism: it is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a user name, password or token is empty, or holds octets that cannot be sent")]
pub struct Unsendable;

/// The one response of PLAIN, in base64, without authzid.
///
/// # Errors
/// [`Unsendable`].
pub fn write_plain(user: &[u8], password: &[u8]) -> Result<Secret<String>, Unsendable> {
    if user.is_empty() || password.is_empty() || !is_sendable(user) || !is_sendable(password) {
        return Err(Unsendable);
    }
    let mut message = Zeroizing::new(Vec::with_capacity(user.len() + password.len() + 2));
    for part in [&[0], user, &[0], password] {
        message.extend_from_slice(part);
    }
    Ok(Secret::new(STANDARD.encode(&*message)))
}

/// One response of LOGIN, in base64: the user name, then the password.
///
/// # Errors
/// [`Unsendable`].
pub fn write_login(part: &[u8]) -> Result<Secret<String>, Unsendable> {
    if part.is_empty() || !is_sendable(part) {
        return Err(Unsendable);
    }
    Ok(Secret::new(STANDARD.encode(part)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of RFC 2195.
    const CHALLENGE: &str = "<1896.697170952@postoffice.reston.mci.net>";

    /// The whole exchange in one string: challenges, then how it ended.
    fn run(mechanism: Mechanism, initial: Option<&str>, lines: &[&str]) -> String {
        let mut step = SaslExchange::start(mechanism, initial.map(str::as_bytes), CHALLENGE);
        let mut story = String::new();
        let mut lines = lines.iter();
        loop {
            match step {
                SaslStep::Cancelled => return story + "cancelled",
                SaslStep::Malformed => return story + "malformed",
                SaslStep::Refused => return story + "refused",
                SaslStep::Answered { login, challenge, digest } => {
                    let hex: String = digest.iter().map(|octet| format!("{octet:02x}")).collect();
                    return format!("{story}{login} says {hex} to {challenge}");
                }
                SaslStep::Finished { login, password } => {
                    return format!("{story}{login}/{}", String::from_utf8_lossy(password.expose()));
                }
                SaslStep::Token { login, token } => {
                    return format!("{story}{login} by {}", String::from_utf8_lossy(token.expose()));
                }
                SaslStep::Challenge(exchange, challenge) => {
                    story = format!("{story}[{challenge}] ");
                    let Some(line) = lines.next() else { return story };
                    step = exchange.answer(line.as_bytes());
                }
            }
        }
    }

    #[test]
    fn every_form_of_plain_is_understood() {
        let (plain, authzid) = ("AGFsaWNlAHNlY3JldA==", "YWxpY2UAYWxpY2UAc2VjcmV0");
        assert_eq!(run(Mechanism::Plain, Some(plain), &[]), "alice/secret");
        assert_eq!(run(Mechanism::Plain, Some(authzid), &[]), "alice/secret");
        for empty in [None, Some("="), Some("")] {
            assert_eq!(run(Mechanism::Plain, empty, &[plain]), "[] alice/secret");
        }
        assert_eq!(run(Mechanism::Plain, None, &["*"]), "[] cancelled");
    }

    #[test]
    fn every_form_of_login_is_understood() {
        let story = "[VXNlcm5hbWU6] [UGFzc3dvcmQ6] alice/secret";
        assert_eq!(run(Mechanism::Login, None, &["YWxpY2U=", "c2VjcmV0"]), story);
        assert_eq!(run(Mechanism::Login, Some("="), &["YWxpY2U=", "c2VjcmV0"]), story);
        assert_eq!(run(Mechanism::Login, Some("YWxpY2U="), &["c2VjcmV0"]), "[UGFzc3dvcmQ6] alice/secret");
        assert_eq!(run(Mechanism::Login, Some("YWxpY2U="), &["*"]), "[UGFzc3dvcmQ6] cancelled");
    }

    #[test]
    fn a_token_is_read_in_both_forms_and_no_other() {
        for (mechanism, bearer) in
            [(Mechanism::Xoauth2, BearerMechanism::Xoauth2), (Mechanism::OauthBearer, BearerMechanism::OauthBearer)]
        {
            let written = |user: &str| {
                let token = Secret::new("ya29.t-1".to_owned());
                bearer.write(&Bearer { user: user.to_owned(), token }).expect("sendable").expose().clone()
            };
            assert_eq!(run(mechanism, Some(&written("alice@a.test")), &[]), "alice@a.test by ya29.t-1");
            assert_eq!(run(mechanism, None, &[&written("alice@a.test")]), "[] alice@a.test by ya29.t-1");
            assert_eq!(run(mechanism, Some(&written("no login")), &[]), "refused");
            assert_eq!(run(mechanism, None, &["*"]), "[] cancelled");
            for other in ["AGFsaWNlAHNlY3JldA==", "!", "YWxpY2U="] {
                assert_eq!(run(mechanism, Some(other), &[]), "malformed");
            }
        }
    }

    #[test]
    fn the_answer_of_cram_md5_is_read() {
        let asked = "[PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+] ";
        let answer = "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw";
        let story = format!("{asked}tim says b913a602c7eda7a495b4e6e7334d3890 to {CHALLENGE}");
        for empty in [None, Some("="), Some("")] {
            assert_eq!(run(Mechanism::CramMd5, empty, &[answer]), story);
        }
        assert_eq!(run(Mechanism::CramMd5, Some(answer), &[]), "malformed");
        assert_eq!(run(Mechanism::CramMd5, None, &["*"]), asked.to_owned() + "cancelled");
        // No blank; a digit short; a digit that is none; an octet too many.
        let bad = ["tim", "tim b913a602c7eda7a495b4e6e7334d389", "tim g913a602c7eda7a495b4e6e7334d3890"];
        for text in bad.into_iter().chain(["tim b913a602c7eda7a495b4e6e7334d389000"]) {
            assert_eq!(run(Mechanism::CramMd5, None, &[&STANDARD.encode(text)]), asked.to_owned() + "malformed");
        }
        // A blank in the name: no login is like that.
        let spaced = STANDARD.encode("t im b913a602c7eda7a495b4e6e7334d3890");
        assert_eq!(run(Mechanism::CramMd5, None, &[&spaced]), asked.to_owned() + "refused");
    }

    #[test]
    fn what_cannot_be_a_login_ends_like_a_wrong_password() {
        // Another authzid, a blank in the name, no name, no password, a line end in the password.
        for response in ["Ym9iAGFsaWNlAHg=", "AGEgYgB4", "AAB4", "AGFsaWNlAA==", "AGFsaWNlAHgKeQ=="] {
            assert_eq!(run(Mechanism::Plain, Some(response), &[]), "refused", "{response}");
        }
        // It is not told at the name already.
        assert_eq!(run(Mechanism::Login, None, &["", "c2VjcmV0"]), "[VXNlcm5hbWU6] [UGFzc3dvcmQ6] refused");
    }

    #[test]
    fn other_forms_are_malformed() {
        for response in ["AGFsaWNlAHNlY3JldA", "AGFs aWNl", "%%%%", "YWxpY2U=", "AGEAYgBj"] {
            assert_eq!(run(Mechanism::Plain, Some(response), &[]), "malformed", "{response}");
        }
    }

    #[test]
    fn what_could_end_a_line_is_not_written() {
        for part in [&b""[..], b"a\0b", b"a\rb", b"a\nb"] {
            assert!(write_login(part).is_err() && write_plain(part, b"x").is_err() && write_plain(b"x", part).is_err());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(user in "[!#-\\[\\]-~]{1,254}", password in "[^\\x00\\r\\n]{1,100}") {
            let story = format!("{user}/{password}");
            let Ok(plain) = write_plain(user.as_bytes(), password.as_bytes()) else { panic!("sendable") };
            prop_assert_eq!(run(Mechanism::Plain, Some(plain.expose()), &[]), &story[..]);
            let (Ok(first), Ok(second)) = (write_login(user.as_bytes()), write_login(password.as_bytes())) else {
                panic!("sendable")
            };
            let ended = run(Mechanism::Login, Some(first.expose()), &[second.expose()]);
            prop_assert_eq!(ended, format!("[UGFzc3dvcmQ6] {story}"));
        }
    }
}
