//! An address: `local@domain`. The SMTP RFC calls that a mailbox; we keep that word for IMAP folders.

use super::Invalid;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// The longest address in octets (RFC 5321 4.5.3.1.3 gives 256 with `<` and `>`).
const ADDRESS_MAX: usize = 254;
/// The longest local part in octets (RFC 5321 4.5.3.1.1).
const LOCAL_PART_MAX: usize = 64;

/// An address as a person types it: dot-string local part, domain name. Quoted local parts (`"a b"@x`) and address
/// literals (`a@[192.0.2.1]`) are legal on the wire but name no account here.
#[derive(Clone, Debug)]
pub struct Address {
    text: Box<str>,
    /// Offset of the `@`; `0 < at < text.len() - 1`.
    at: usize,
}

impl Address {
    /// # Errors
    /// [`Invalid::Address`] if the text is not `local@domain`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (local, domain) = text.rsplit_once('@').ok_or(Invalid::Address)?;
        let fits = text.len() <= ADDRESS_MAX && local.len() <= LOCAL_PART_MAX;
        if fits && is_dot_string(local) && is_domain(domain) {
            Ok(Self { text: text.into(), at: local.len() })
        } else {
            Err(Invalid::Address)
        }
    }

    /// The part before the `@`.
    #[must_use]
    pub fn local_part(&self) -> &str {
        self.text.split_at(self.at).0
    }

    /// The part behind the `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.text.split_at(self.at + 1).1
    }

    /// The whole, as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// RFC 5321 `Dot-string`: atoms of RFC 5322 joined by single dots.
fn is_dot_string(text: &str) -> bool {
    let atext = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&octet);
    text.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(atext))
}

pub(super) fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// The local part keeps its case (RFC 5321 2.4) in what we say, and is compared without it: no provider of the table
/// tells two mailboxes apart by case, and people type addresses in any case.
impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.text.eq_ignore_ascii_case(&other.text)
    }
}

impl Eq for Address {}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_split_at_the_last_at_sign() {
        let address = Address::parse("Zoé@x".replace('é', "e").as_str()).expect("an address");
        assert_eq!((address.local_part(), address.domain()), ("Zoe", "x"));
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in ["", "a", "@b", "a@", "a b@c", "a@b c", ".a@b", "a..b@c", "a@b..c", "a@-b", "a@b\r\nRCPT", "<a@b>"]
        {
            assert_eq!(Address::parse(text), Err(Invalid::Address), "{text:?}");
        }
    }
}
