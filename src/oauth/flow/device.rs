//! Signing in on another device (RFC 8628): what is asked for a code, what it answers, and what each poll means.
//!
//! Pure: who polls waits as [`Pace`] says, and brings the answers here.

use super::{BODY_MAX, Client, Nonsense, Reason, Tokens, Trouble, read};
use crate::{model::Secret, oauth::TokenEndpoint};
use oauth2::{
    HttpRequest,
    url::{Url, form_urlencoded},
};
use serde_json::{Map, Value};
use std::{borrow::Cow, time::Duration};

/// A code that a person types on another device.
pub struct Code {
    /// What is polled with.
    pub device: Secret<String>,
    /// What the person types.
    pub user: String,
    /// Where.
    pub address: String,
    /// The same with the code in it, where the server gives one.
    pub whole_address: Option<String>,
    pub pace: Pace,
}

/// When the next poll may come, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    pub interval: Duration,
    pub left: Duration,
}

/// What came of one poll.
pub enum Polled {
    Tokens(Tokens),
    /// The person has not answered yet.
    Pending,
    /// The same, and polls come too fast; or nobody answered, which wants fewer polls, too (section 3.5).
    Slower,
    Ended(Ended),
}

/// Why there will be no tokens by this code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    #[error("the person declined")]
    Declined,
    #[error("the code has expired")]
    Expired,
    #[error(transparent)]
    Trouble(#[from] Trouble),
}

/// Where none is said (section 3.2).
const INTERVAL_USUAL: u64 = 5;
/// No server wants to be asked more often, and none lets a person wait longer.
const INTERVAL: (u64, u64) = (1, 60);
/// What `slow_down` adds (section 3.5).
const SLOWER: Duration = Duration::from_secs(5);
/// A person who comes later than this starts again. Google and Microsoft say 15 to 30 minutes.
pub(crate) const EXPIRES_MAX: Duration = Duration::from_secs(30 * 60);
/// What a person can type and a QR code can hold.
pub(crate) const USER_CODE_MAX: usize = 64;
pub(crate) const ADDRESS_MAX: usize = 512;

/// The question for a code.
///
/// # Errors
/// [`Trouble::Client`] if no request can be made of it.
pub fn message(
    client: &Client,
    endpoint: &TokenEndpoint,
    assertion: Option<&Secret<String>>,
) -> Result<HttpRequest, Trouble> {
    let extra: Vec<(&str, Cow<'_, str>)> = super::question::of_client(assertion);
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.append_pair("client_id", &client.id);
    if !client.scope.is_empty() {
        body.append_pair("scope", &client.scope);
    }
    body.extend_pairs(extra);
    if let super::Proof::Secret(secret) = &client.proof {
        body.append_pair("client_secret", secret.expose());
    }
    let request = oauth2::http::Request::post(endpoint.as_str())
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "application/json");
    let unusable = |_| Trouble::Client(Reason { code: "invalid_request", number: None, text: None });
    request.body(body.finish().into_bytes()).map_err(unusable)
}

/// The code that was given.
///
/// # Errors
/// As for [`read`].
pub fn code(status: u16, body: &[u8]) -> Result<Code, Trouble> {
    let nonsense = || Trouble::Nonsense { status, what: Nonsense::NoCode };
    if !(200..300).contains(&status) {
        return Err(read(status, body).err().unwrap_or_else(nonsense));
    }
    given(body).ok_or_else(nonsense)
}

fn given(body: &[u8]) -> Option<Code> {
    let answer: Map<String, Value> = serde_json::from_slice(body).ok().filter(|_| body.len() <= BODY_MAX)?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    let seconds = |name: &str| answer.get(name).and_then(Value::as_u64);
    let user = text("user_code").filter(|code| is_shown(code, USER_CODE_MAX))?;
    // Older servers of Google say url.
    let address = text("verification_uri").or(text("verification_url")).filter(|address| is_page(address))?;
    Some(Code {
        device: Secret::new(text("device_code").filter(|code| super::is_refresh_token(code))?.to_owned()),
        user: user.to_owned(),
        address: address.to_owned(),
        whole_address: text("verification_uri_complete").filter(|address| is_page(address)).map(str::to_owned),
        pace: Pace {
            interval: Duration::from_secs(seconds("interval").unwrap_or(INTERVAL_USUAL).clamp(INTERVAL.0, INTERVAL.1)),
            left: seconds("expires_in").map_or(EXPIRES_MAX, Duration::from_secs).min(EXPIRES_MAX),
        },
    })
}

/// What stands in a terminal moves no cursor there.
fn is_shown(text: &str, max: usize) -> bool {
    !text.is_empty() && text.len() <= max && text.bytes().all(|octet| matches!(octet, b' '..=b'~'))
}

/// A person is sent to no page without encryption, but on this machine, where tests are.
fn is_page(address: &str) -> bool {
    is_shown(address, ADDRESS_MAX)
        && Url::parse(address).is_ok_and(|url| url.scheme() == "https" || TokenEndpoint::parse(address).is_ok())
}

/// What an answer to a poll means.
#[must_use]
pub fn polled(status: u16, body: &[u8]) -> Polled {
    let said = serde_json::from_slice::<Map<String, Value>>(body).ok().filter(|_| body.len() <= BODY_MAX);
    let error = said.as_ref().and_then(|said| said.get("error")).and_then(Value::as_str);
    match (error, read(status, body)) {
        (_, Ok(tokens)) => Polled::Tokens(tokens),
        (_, Err(Trouble::Unavailable { status: 500.. } | Trouble::Unreachable(_))) => Polled::Slower,
        (Some("authorization_pending"), _) => Polled::Pending,
        // The second is Microsoft's.
        (Some("access_denied" | "authorization_declined"), _) => Polled::Ended(Ended::Declined),
        (Some("expired_token" | "code_expired"), _) => Polled::Ended(Ended::Expired),
        (_, Err(Trouble::Unavailable { .. })) => Polled::Slower,
        (_, Err(trouble)) => Polled::Ended(Ended::Trouble(trouble)),
    }
}

impl Pace {
    /// The wait before the next poll, taken from what is left; none if the code expires before.
    pub fn wait(&mut self) -> Option<Duration> {
        self.left = self.left.checked_sub(self.interval)?;
        Some(self.interval)
    }

    pub fn slow_down(&mut self) {
        self.interval += SLOWER;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MICROSOFT: &str = r#"{"user_code":"FJC3ZNR8B","device_code":"FAQABAAEAAA","verification_uri":"https://microsoft.com/devicelogin","expires_in":900,"interval":5,"message":"To sign in, use a web browser"}"#;

    #[test]
    fn the_code_is_read() {
        let code = code(200, MICROSOFT.as_bytes()).unwrap_or_else(|trouble| panic!("{trouble}"));
        assert_eq!((code.user.as_str(), code.address.as_str()), ("FJC3ZNR8B", "https://microsoft.com/devicelogin"));
        assert_eq!((code.device.expose().as_str(), code.whole_address), ("FAQABAAEAAA", None));
        assert_eq!(code.pace, Pace { interval: Duration::from_secs(5), left: Duration::from_secs(900) });
    }

    #[test]
    fn what_no_person_should_see_is_no_code() {
        for (from, to) in [
            ("FJC3ZNR8B", "A\\u001b[2J"),
            ("FJC3ZNR8B", ""),
            ("https://microsoft.com", "http://microsoft.com"),
            ("https://microsoft.com", "javascript:alert"),
            ("https://microsoft.com", "https://microsoft.com\\u0007"),
            ("FAQABAAEAAA", "a b"),
            ("device_code", "other"),
        ] {
            let body = MICROSOFT.replacen(from, to, 1);
            assert!(matches!(code(200, body.as_bytes()), Err(Trouble::Nonsense { status: 200, .. })), "{body}");
        }
        let refused = code(400, br#"{"error":"invalid_client"}"#).err();
        assert_eq!(refused, Some(Trouble::Client(Reason { code: "invalid_client", number: None, text: None })));
        assert!(matches!(code(200, &vec![b' '; BODY_MAX + 1]), Err(Trouble::Nonsense { .. })));
    }

    #[test]
    fn times_are_bounded_whatever_is_said() {
        for (interval, expires, awaited) in
            [("0", "1", (1, 1)), ("100000", "99999999", (60, 1800)), ("\"x\"", "-1", (5, 1800))]
        {
            let body = MICROSOFT.replace("\"interval\":5", &format!("\"interval\":{interval}"));
            let body = body.replace("\"expires_in\":900", &format!("\"expires_in\":{expires}"));
            let code = code(200, body.as_bytes()).unwrap_or_else(|trouble| panic!("{trouble}: {body}"));
            assert_eq!((code.pace.interval.as_secs(), code.pace.left.as_secs()), awaited);
        }
    }

    #[test]
    fn each_answer_to_a_poll_has_its_meaning() {
        let name = |status, body: &str| match polled(status, body.as_bytes()) {
            Polled::Tokens(_) => "tokens".to_owned(),
            Polled::Pending => "pending".to_owned(),
            Polled::Slower => "slower".to_owned(),
            Polled::Ended(ended) => ended.to_string(),
        };
        for (status, body, awaited) in [
            (400, r#"{"error":"authorization_pending","error_codes":[70016]}"#, "pending"),
            (400, r#"{"error":"slow_down"}"#, "slower"),
            (429, "", "slower"),
            (503, r#"{"error":"access_denied"}"#, "slower"),
            (400, r#"{"error":"authorization_declined"}"#, "the person declined"),
            (400, r#"{"error":"access_denied"}"#, "the person declined"),
            (400, r#"{"error":"expired_token"}"#, "the code has expired"),
            (400, r#"{"error":"invalid_client"}"#, "the token endpoint refuses the client: invalid_client"),
            (200, "<html>", "no token endpoint answers so: what came is no JSON object; status: 200"),
            (200, r#"{"access_token":"a","token_type":"Bearer"}"#, "tokens"),
        ] {
            assert_eq!(name(status, body), awaited, "{status} {body}");
        }
    }

    #[test]
    fn polls_end_with_the_code() {
        let mut pace = Pace { interval: Duration::from_secs(5), left: Duration::from_secs(26) };
        let mut waits = Vec::new();
        while let Some(wait) = pace.wait() {
            waits.push(wait.as_secs());
            if waits.len() == 2 {
                pace.slow_down();
            }
        }
        assert_eq!(waits, [5, 5, 10]);
    }

    proptest! {
        #[test]
        fn whatever_is_said_can_be_shown_and_ends(
            user in any::<String>(), rest in any::<String>(), interval in any::<i64>(), expires in any::<i64>(),
        ) {
            let said = serde_json::json!({
                "user_code": user, "device_code": "d", "verification_uri": format!("https://example.test/{rest}"),
                "verification_uri_complete": rest, "interval": interval, "expires_in": expires,
            });
            if let Ok(mut code) = code(200, said.to_string().as_bytes()) {
                for shown in [Some(&code.user), Some(&code.address), code.whole_address.as_ref()].into_iter().flatten() {
                    prop_assert!(is_shown(shown, ADDRESS_MAX));
                }
                let polls = std::iter::from_fn(|| code.pace.wait()).count();
                prop_assert!(polls <= 1800, "{polls}");
            }
            prop_assert!(!matches!(polled(400, said.to_string().as_bytes()), Polled::Tokens(_)));
        }
    }
}
