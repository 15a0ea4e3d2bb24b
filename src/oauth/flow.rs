//! What a token endpoint answers (RFC 6749 section 5), and what that means; `question` has what it is asked.
//!
//! Pure. Answers are read here and not by `oauth2`, as real endpoints say numbers as strings and tell more than the RFC
//! in fields of their own. A [`Trouble`] holds words of ours and numbers, never a text of the answer: a token could stand
//! in any of them.

pub mod consent;
pub mod device;
mod question;
pub mod scope;

pub use question::{Client, Means, Proof, Question, SigningKey, message};

use crate::{
    failure::Unreachable,
    model::Secret,
    wire::sasl::bearer::{TOKEN_MAX, is_token},
};
use serde_json::{Map, Value};
use std::time::Duration;

/// What a token endpoint gives.
pub struct Tokens {
    pub access: Secret<String>,
    /// The refresh token from now on, where another one was given.
    pub refresh: Option<Secret<String>>,
    /// How long the access token is said to work; between [`LIFETIME_MIN`] and [`LIFETIME_MAX`].
    pub lifetime: Duration,
    /// What the endpoint said, where that is less than [`LIFETIME_MIN`]: a refusal after it is the token's end.
    pub short: Option<Duration>,
    /// What was granted, where it is said; not said means: all that was asked for (RFC 6749 section 5.1).
    pub scope: Option<String>,
}

/// Why there is no access token. Each wants another answer (rule R30).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The client's id or secret is wrong, or it may not ask so: for the operator, no person can consent it away.
    #[error("the token endpoint refuses the client: {0}")]
    Client(Reason),
    /// The grant is gone: a person must consent again.
    #[error("the token endpoint wants its owner to consent again: {0}")]
    Consent(Reason),
    /// Not what a token endpoint answers. Of client and grant it says nothing.
    #[error("no token endpoint answers so: {what}; status: {status}")]
    Nonsense { status: u16, what: Nonsense },
    /// It has trouble of its own, or was asked too often.
    #[error("the token endpoint is not available: status {status}")]
    Unavailable { status: u16 },
    /// There was no answer. Whether the question arrived is not known, unless nobody listened.
    #[error("the token endpoint cannot be reached: {0}")]
    Unreachable(Unreachable),
}

/// What came where a token endpoint's answer should be (RFC 6749 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    /// A page, most often: of a web server, a portal, a proxy.
    #[error("what came is no JSON object")]
    NoJson,
    /// Of success, without a code for another device (RFC 8628 section 3.2).
    #[error("what came is no code for another device")]
    NoCode,
    /// JSON, of success, without a Bearer token that can be used.
    #[error("what came is JSON without a usable access token")]
    NoToken,
    /// A redirect, which is never followed: the secrets would go along.
    #[error("what came is a redirect to another address")]
    Redirect,
    #[error("what came is longer than any answer with a token")]
    TooLong,
    /// It refuses, and says so by no error that is known.
    #[error("what came is a refusal without a known error code")]
    UnknownError,
}

/// The error code of RFC 6749 and others that are known, and Microsoft's number or Google's text behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason {
    pub code: &'static str,
    /// `AADSTS…`
    pub number: Option<u64>,
    /// What Google says of an error that has many causes: one of the texts that are known, never what came.
    pub text: Option<&'static str>,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.number, self.text) {
            (Some(number), _) => write!(f, "{} (AADSTS{number})", self.code),
            (None, Some(text)) => write!(f, "{}: {text}", self.code),
            (None, None) => f.write_str(self.code),
        }
    }
}

/// The answer's octets: Microsoft's longest have 5 KB (rule R31).
pub const BODY_MAX: usize = 64 * 1024;
/// A shorter life would have every login refresh; what ends sooner is refused by the provider, and refreshed then.
pub const LIFETIME_MIN: Duration = Duration::from_secs(60);
/// A longer one is not believed: a day is more than any provider gives.
pub const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Where nothing is said: what Google, Microsoft and Yahoo give.
const LIFETIME_USUAL: Duration = Duration::from_secs(60 * 60);

/// Errors for which only a person's consent helps.
const CONSENT: [&str; 6] = [
    "authorization_declined",
    "consent_required",
    "expired_token",
    "interaction_required",
    "invalid_grant",
    "login_required",
];
/// Errors of whoever set up the client.
const CLIENT: [&str; 9] = [
    "access_denied",
    "admin_policy_enforced",
    "deleted_client",
    "disabled_client",
    "invalid_client",
    "invalid_request",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
];
/// Errors that pass, though with a status of 400.
const PASSING: [&str; 4] = ["authorization_pending", "server_error", "slow_down", "temporarily_unavailable"];
/// Microsoft's numbers for a wrong or expired secret and an unknown application, whatever error they come with.
const CLIENT_NUMBERS: [u64; 3] = [700_016, 7_000_215, 7_000_222];
/// Its numbers for: expired, password changed, consent missing, second factor wanted, barred by policy.
const CONSENT_NUMBERS: [u64; 7] = [50_076, 50_079, 50_173, 53_003, 65_001, 70_008, 700_082];

/// Google's texts, by which one error code is told from itself; in any case. `config/explanations.toml` says what each
/// means.
const TEXTS: [&str; 13] = [
    "Account has been deleted",
    "Account has been disabled",
    "account not found",
    "Bad Request",
    "Client is unauthorized to retrieve access tokens using this method",
    "Invalid email or User ID",
    "Invalid impersonation",
    "invalid_rapt",
    "Invalid JWT Signature",
    "Invalid JWT: Token must be a short-lived token",
    "rapt_required",
    "Robot is disabled",
    "Token has been expired or revoked",
];

/// What an answer means.
///
/// # Errors
/// Every kind of [`Trouble`] but [`Trouble::Unreachable`].
pub fn read(status: u16, body: &[u8]) -> Result<Tokens, Trouble> {
    // Whatever a broken endpoint says of the grant, it is not to be believed.
    if status >= 500 || status == 429 || status == 408 {
        return Err(Trouble::Unavailable { status });
    }
    let nonsense = |what| Trouble::Nonsense { status, what };
    if (300..400).contains(&status) {
        return Err(nonsense(Nonsense::Redirect));
    }
    if body.len() > BODY_MAX {
        return Err(nonsense(Nonsense::TooLong));
    }
    let answer: Map<String, Value> = serde_json::from_slice(body).map_err(|_| nonsense(Nonsense::NoJson))?;
    if answer.contains_key("error") || !(200..300).contains(&status) {
        return Err(refused(status, &answer));
    }
    tokens(&answer).ok_or_else(|| nonsense(Nonsense::NoToken))
}

fn tokens(answer: &Map<String, Value>) -> Option<Tokens> {
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    if text("token_type").is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return None;
    }
    let access = text("access_token").filter(|token| is_token(token))?;
    let refresh = match answer.get("refresh_token") {
        None | Some(Value::Null) => None,
        Some(token) => Some(token.as_str().filter(|token| is_refresh_token(token))?),
    };
    let (lifetime, short) = lifetime(answer.get("expires_in"));
    Some(Tokens {
        access: Secret::new(access.to_owned()),
        refresh: refresh.map(|token| Secret::new(token.to_owned())),
        lifetime,
        short,
        scope: scope(answer.get("scope")),
    })
}

/// RFC 6749 appendix A.17: visible ASCII; of a length that can be kept.
#[must_use]
pub fn is_refresh_token(token: &str) -> bool {
    !token.is_empty() && token.len() <= TOKEN_MAX && token.bytes().all(|octet| matches!(octet, b'!'..=b'~'))
}

/// As a text with blanks between, or as some endpoints say it: a list.
fn scope(said: Option<&Value>) -> Option<String> {
    match said? {
        Value::String(text) => Some(text.clone()),
        Value::Array(list) => Some(list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")),
        _ => None,
    }
}

/// In seconds, as a number or, from older endpoints, as a string: what is believed, and what was said where that is less.
fn lifetime(said: Option<&Value>) -> (Duration, Option<Duration>) {
    let seconds = match said {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(text)) => text.trim().parse().ok(),
        _ => None,
    };
    let Some(seconds) = seconds.filter(|seconds: &f64| seconds.is_finite()) else { return (LIFETIME_USUAL, None) };
    let said = Duration::from_secs_f64(seconds.clamp(0.0, LIFETIME_MAX.as_secs_f64()));
    (said.max(LIFETIME_MIN), Some(said).filter(|said| *said < LIFETIME_MIN))
}

fn refused(status: u16, answer: &Map<String, Value>) -> Trouble {
    let error = answer.get("error").and_then(Value::as_str).unwrap_or_default();
    let known = |list: &[&'static str]| list.iter().copied().find(|known| known.eq_ignore_ascii_case(error));
    let numbers = answer.get("error_codes").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_u64);
    let mut numbers: Vec<u64> = numbers.collect();
    if numbers.is_empty() {
        numbers.extend(answer.get("error_description").and_then(Value::as_str).and_then(number_in));
    }
    let number = |list: &[u64]| numbers.iter().copied().find(|number| list.contains(number));
    if let Some(number) = number(&CLIENT_NUMBERS) {
        let code = known(&CLIENT).or(known(&CONSENT)).unwrap_or("invalid_client");
        return Trouble::Client(Reason { code, number: Some(number), text: None });
    }
    if known(&PASSING).is_some() {
        return Trouble::Unavailable { status };
    }
    let consent = number(&CONSENT_NUMBERS);
    let text = if numbers.is_empty() { text_of(answer) } else { None };
    match (known(&CONSENT), known(&CLIENT)) {
        (Some(code), _) => Trouble::Consent(Reason { code, number: consent.or(numbers.first().copied()), text }),
        (None, Some(code)) => Trouble::Client(Reason { code, number: numbers.first().copied(), text }),
        (None, None) => Trouble::Nonsense { status, what: Nonsense::UnknownError },
    }
}

/// The text that is known, of those in the answer's words and in Google's finer name of the error.
fn text_of(answer: &Map<String, Value>) -> Option<&'static str> {
    let words = ["error_description", "error_subtype"].map(|name| answer.get(name).and_then(Value::as_str));
    let words = words.map(|words| words.unwrap_or_default().to_ascii_lowercase());
    TEXTS.into_iter().find(|text| words.iter().any(|words| words.contains(&text.to_ascii_lowercase())))
}

/// Microsoft's number, where it stands in the words alone. Nothing else of them is believed, or told.
fn number_in(words: &str) -> Option<u64> {
    let (_, rest) = words.split_once("AADSTS")?;
    let digits = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
    // Its longest have seven: what is longer is no number of its, and could be a piece of anything.
    Some(digits).filter(|digits| digits.len() <= 7)?.parse().ok()
}

#[cfg(test)]
mod tests;
