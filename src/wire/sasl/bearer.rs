//! The mechanisms that carry an OAuth access token: XOAUTH2 (Google's xoauth2-protocol) and OAUTHBEARER (RFC 7628).
//!
//! Initial responses, written and read, and the error challenge, read. Nothing here judges a token or knows whose it is:
//! what could shift the parts of a response is refused, in both directions, and no octet of it is kept.

use super::Unsendable;
use crate::model::Secret;
use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// The two ways to say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BearerMechanism {
    OauthBearer,
    Xoauth2,
}

/// Who signs in, and with which token.
pub struct Bearer {
    pub user: String,
    pub token: Secret<String>,
}

/// What a provider says of a token that it refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// `400`, `401`, `invalid_token` … Printable ASCII; empty if it said none.
    pub status: String,
    /// The scope that it would have wanted. Printable ASCII; empty if it said none.
    pub scope: String,
}

/// Microsoft's tokens have 2 to 3 KB; nobody's need more than fits an SMTP line in base64 (RFC 4954 section 4: 12,288).
pub const TOKEN_MAX: usize = 8 * 1024;
/// A user name is an address, or what an on-premises host takes for one.
pub(crate) const USER_MAX: usize = 512;
/// A challenge in base64: known ones have less than 200 octets.
pub(crate) const CHALLENGE_MAX: usize = 4 * 1024;
/// A field of a challenge: the longest scope of Google or Microsoft has less than 100.
const FIELD_MAX: usize = 200;
/// Between the parts of a response.
const SEPARATOR: char = '\x01';

impl BearerMechanism {
    /// Its registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OauthBearer => "OAUTHBEARER",
            Self::Xoauth2 => "XOAUTH2",
        }
    }

    /// The initial response in base64.
    ///
    /// # Errors
    /// [`Unsendable`]: user or token is empty, too long, or could be read as something else.
    pub fn write(self, bearer: &Bearer) -> Result<Secret<String>, Unsendable> {
        let Bearer { user, token } = bearer;
        if !is_user(user) || !is_token(token.expose()) {
            return Err(Unsendable);
        }
        let token = token.expose();
        let message = Zeroizing::new(match self {
            Self::OauthBearer => format!("n,a={},\x01auth=Bearer {token}\x01\x01", Saslname(user)),
            Self::Xoauth2 => format!("user={user}\x01auth=Bearer {token}\x01\x01"),
        });
        Ok(Secret::new(STANDARD.encode(message.as_bytes())))
    }

    /// Reads an initial response in base64. None: not one of this mechanism.
    #[must_use]
    pub fn read(self, response: &[u8]) -> Option<Bearer> {
        if response.len() > 2 * (TOKEN_MAX + USER_MAX) {
            return None;
        }
        let octets = Zeroizing::new(STANDARD.decode(response).ok()?);
        let text = std::str::from_utf8(&octets).ok()?.strip_suffix("\x01\x01")?;
        let (head, pairs) = text.split_once(SEPARATOR)?;
        let user = match self {
            Self::OauthBearer => unescape(head.strip_prefix("n,a=")?.strip_suffix(',')?)?,
            Self::Xoauth2 => head.strip_prefix("user=")?.to_owned(),
        };
        let mut token = None;
        for pair in pairs.split(SEPARATOR) {
            match pair.split_once('=')? {
                ("auth", value) if token.is_none() => token = Some(bearer_token(value)?),
                ("host" | "port", _) if self == Self::OauthBearer => {}
                _ => return None,
            }
        }
        let token = token?;
        (is_user(&user) && is_token(token)).then(|| Bearer { token: Secret::new(token.to_owned()), user })
    }

    /// The line that answers an error challenge, after which the provider says its no. Google and Dovecot want an empty
    /// line for XOAUTH2; RFC 7628 3.2.3 wants one octet 0x01 in base64.
    #[must_use]
    pub const fn after_challenge(self) -> &'static str {
        match self {
            Self::OauthBearer => "AQ==",
            Self::Xoauth2 => "",
        }
    }
}

/// The scheme in any case (RFC 7235 2.1).
fn bearer_token(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some(token)
}

/// Whether this can be an access token (RFC 6750 2.1; rule R31).
#[must_use]
pub fn is_token(token: &str) -> bool {
    let allowed = |octet: u8| octet.is_ascii_alphanumeric() || b"._~+/=-".contains(&octet);
    !token.is_empty() && token.len() <= TOKEN_MAX && token.bytes().all(allowed)
}

/// No control octet: 0x01 would begin the next part, CR and LF the next line.
fn is_user(user: &str) -> bool {
    !user.is_empty() && user.len() <= USER_MAX && !user.contains(char::is_control)
}

/// RFC 5801 section 4: `,` and `=` would end the name.
struct Saslname<'a>(&'a str);

impl std::fmt::Display for Saslname<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use std::fmt::Write;
        for letter in self.0.chars() {
            match letter {
                ',' => f.write_str("=2C")?,
                '=' => f.write_str("=3D")?,
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

fn unescape(name: &str) -> Option<String> {
    if name.contains(',') {
        return None;
    }
    let mut parts = name.split('=');
    let mut plain = parts.next()?.to_owned();
    for part in parts {
        let (letter, rest) = match part.split_at_checked(2)? {
            ("2C", rest) => (',', rest),
            ("3D", rest) => ('=', rest),
            _ => return None,
        };
        plain.push(letter);
        plain.push_str(rest);
    }
    Some(plain)
}

impl Challenge {
    /// Reads a challenge in base64. None: it is not an error of a token, or too long to be one.
    #[must_use]
    pub fn read(challenge: &[u8]) -> Option<Self> {
        if challenge.len() > CHALLENGE_MAX {
            return None;
        }
        let octets = STANDARD.decode(challenge).ok()?;
        let json: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&octets).ok()?;
        let field = |name| match json.get(name) {
            Some(serde_json::Value::String(text)) => printable(text),
            Some(serde_json::Value::Number(number)) => number.to_string(),
            _ => String::new(),
        };
        Some(Self { status: field("status"), scope: field("scope") })
    }

    /// Whether another token could do better. Google says 400 for bad, expired and badly scoped tokens alike.
    #[must_use]
    pub fn blames_the_token(&self) -> bool {
        matches!(self.status.as_str(), "" | "400" | "401" | "invalid_token" | "invalid_request")
    }
}

/// In words for the account's owner.
impl std::fmt::Display for Challenge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let status = if self.status.is_empty() { "none" } else { &self.status };
        write!(f, "status {status}")?;
        if self.scope.is_empty() { Ok(()) } else { write!(f, ", scope wanted {}", self.scope) }
    }
}

fn printable(text: &str) -> String {
    text.chars().filter(|letter| matches!(letter, ' '..='~')).take(FIELD_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOTH: [BearerMechanism; 2] = [BearerMechanism::Xoauth2, BearerMechanism::OauthBearer];

    fn bearer(user: &str, token: &str) -> Bearer {
        Bearer { user: user.to_owned(), token: Secret::new(token.to_owned()) }
    }

    fn decoded(mechanism: BearerMechanism, user: &str, token: &str) -> Option<String> {
        let written = mechanism.write(&bearer(user, token)).ok()?;
        String::from_utf8(STANDARD.decode(written.expose()).ok()?).ok()
    }

    #[test]
    fn responses_are_written_as_the_protocols_show_them() {
        // Both examples of Google's page, and RFC 7628 section 4.1 without host and port.
        let [google, rfc] = BOTH.map(|mechanism| {
            mechanism
                .write(&bearer("someuser@example.com", "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"))
                .map(|written| written.expose().clone())
        });
        assert_eq!(
            google.as_deref(),
            Ok(
                "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ=="
            )
        );
        assert_eq!(
            rfc.map(|written| String::from_utf8_lossy(&STANDARD.decode(written).unwrap_or_default()).into_owned()),
            Ok("n,a=someuser@example.com,\x01auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg\x01\x01"
                .to_owned())
        );
        let odd = decoded(BearerMechanism::OauthBearer, "a=b,c@x", "t");
        assert_eq!(odd.as_deref(), Some("n,a=a=3Db=2Cc@x,\x01auth=Bearer t\x01\x01"));
    }

    #[test]
    fn what_could_shift_the_parts_is_not_written() {
        for mechanism in BOTH {
            for user in ["", "a\rb", "a\nb", "a\0b", "a\x01b", "a\x7fb", &"a".repeat(USER_MAX + 1)] {
                assert_eq!(decoded(mechanism, user, "token"), None, "{user:?}");
            }
            for token in ["", "a b", "a\rb", "a\nb", "a\0b", "a\x01b", "a\"b", "é", &"a".repeat(TOKEN_MAX + 1)] {
                assert_eq!(decoded(mechanism, "alice", token), None, "{token:?}");
            }
        }
    }

    #[test]
    fn other_forms_are_not_read() {
        let (xoauth2, oauthbearer) = (BearerMechanism::Xoauth2, BearerMechanism::OauthBearer);
        for (mechanism, message) in [
            (xoauth2, "user=alice\x01auth=Bearer t\x01"),
            (xoauth2, "user=alice\x01auth=Bearer t\x01x=y\x01\x01"),
            (xoauth2, "user=alice\x01auth=Basic t\x01\x01"),
            (xoauth2, "user=alice\x01auth=Bearer t\x01auth=Bearer u\x01\x01"),
            (xoauth2, "user=\x01auth=Bearer t\x01\x01"),
            (xoauth2, "user=alice\x01\x01"),
            (oauthbearer, "y,a=alice,\x01auth=Bearer t\x01\x01"),
            (oauthbearer, "n,a=al,ice,\x01auth=Bearer t\x01\x01"),
            (oauthbearer, "n,a=al=ice,\x01auth=Bearer t\x01\x01"),
            (oauthbearer, "n,a=alice=2,\x01auth=Bearer t\x01\x01"),
            (oauthbearer, "n,,\x01auth=Bearer t\x01\x01"),
        ] {
            assert!(mechanism.read(STANDARD.encode(message).as_bytes()).is_none(), "{message:?}");
        }
        let rfc = "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=bearer vF9dft4qmTc2\x01\x01";
        let read =
            oauthbearer.read(STANDARD.encode(rfc).as_bytes()).map(|read| (read.user, read.token.expose().clone()));
        assert_eq!(read, Some(("user@example.com".to_owned(), "vF9dft4qmTc2".to_owned())));
    }

    #[test]
    fn challenges_of_the_providers_are_read() {
        let said = |base64: &str| Challenge::read(base64.as_bytes());
        let dovecot = "eyJzdGF0dXMiOiI0MDEiLCJzY2hlbWVzIjoiYmVhcmVyIiwic2NvcGUiOiJtYWlsIn0=";
        assert_eq!(said(dovecot), Some(Challenge { status: "401".to_owned(), scope: "mail".to_owned() }));
        let blamed = |json: &str| said(&STANDARD.encode(json)).map(|challenge| challenge.blames_the_token());
        let google = r#"{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}"#;
        for json in [google, r#"{"status":"invalid_token"}"#, r#"{"status":401}"#, "{}"] {
            assert_eq!(blamed(json), Some(true), "{json}");
        }
        for json in [r#"{"status":"insufficient_scope"}"#, r#"{"status":"500"}"#] {
            assert_eq!(blamed(json), Some(false), "{json}");
        }
        for none in ["", "%%%%", "YWJj", "W10=", &STANDARD.encode(format!("{{\"a\":\"{}\"}}", "x".repeat(4096)))] {
            assert_eq!(said(none), None, "{none}");
        }
        let nested = STANDARD.encode("[".repeat(3000));
        assert_eq!(said(&nested), None);
        let long = STANDARD.encode(format!(r#"{{"status":"{}"}}"#, "é\\n4".repeat(300)));
        assert_eq!(said(&long).map(|challenge| challenge.status), Some("4".repeat(FIELD_MAX)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(user in "[^\\p{Cc}]{1,120}", token in "[A-Za-z0-9._~+/=-]{1,300}") {
            for mechanism in BOTH {
                let Ok(written) = mechanism.write(&bearer(&user, &token)) else { panic!("sendable") };
                let read = mechanism.read(written.expose().as_bytes());
                let read = read.map(|read| (read.user, read.token.expose().clone()));
                prop_assert_eq!(read, Some((user.clone(), token.clone())));
            }
        }
    }
}
