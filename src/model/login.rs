//! The name half of a login: what a CRM types as user name.

use super::Invalid;
use serde::{Serialize, Serializer};
use std::fmt;

/// The longest login name, in octets: the longest address that SMTP can carry (RFC 5321 4.5.3.1.3, less `<>`).
const LOGIN_MAX: usize = 254;

/// A login name: first the account's address, later ones `local+label@domain` or free. Kept as typed; compared without
/// case, as [`Login::key`] says.
#[derive(Clone, Debug)]
pub struct Login(Box<str>);

impl Login {
    /// # Errors
    /// [`Invalid::Login`] unless 1 to 254 printable ASCII octets without blank, quote and backslash: c-client, net-imap
    /// and imaplib each fail on some of the others.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let fits = (1..=LOGIN_MAX).contains(&text.len());
        let plain = text.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'"' && octet != b'\\');
        if fits && plain { Ok(Self(text.into())) } else { Err(Invalid::Login) }
    }

    /// The name as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form that is unique in the store: ASCII lower case.
    #[must_use]
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl PartialEq for Login {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for Login {}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Login {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_case() {
        assert_eq!(Login::parse("Alice@Example.test"), Login::parse("alice@example.TEST"));
        assert_eq!(Login::parse("Alice@Example.test").map(|l| l.key()), Ok("alice@example.test".to_owned()));
    }

    #[test]
    fn names_that_clients_cannot_send_are_refused() {
        for text in ["", "a b", "a\"b", "a\\b", "é@x", "a\r\nb", &"x".repeat(255)] {
            assert_eq!(Login::parse(text), Err(Invalid::Login), "{text:?}");
        }
    }
}
