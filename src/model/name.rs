//! The two kinds of mailbox name, which never mix: as the CRM says it, and as the provider says it.
//!
//! Both are kept in wire form (modified UTF-7, RFC 3501 5.1.3), because both sides of the bridge speak it: a name that
//! needs no mapping crosses untouched. People are shown the decoded form (`wire::imap::utf7`).

use super::{Invalid, Role};
use std::fmt;

/// The longest mailbox name in octets. It is also what a held literal may have: no provider of the table allows more
/// than 1,024.
pub const MAILBOX_NAME_MAX: usize = 4096;

/// A mailbox's name as the CRM says it: printable ASCII, levels by the delimiter of its naming, top level `INBOX` in
/// capitals.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalName(Box<str>);

impl LocalName {
    /// What separates levels unless a CRM wants another delimiter, and in all names that are kept.
    pub const DELIMITER: u8 = b'/';

    /// `INBOX`, which is compared without case (RFC 3501 5.1); all other names with it.
    #[must_use]
    pub fn inbox() -> Self {
        Self("INBOX".into())
    }

    /// What a special mailbox is called unless a CRM has another name for it, and in all names that are kept.
    #[must_use]
    pub fn of_role(role: Role) -> Self {
        Self(
            match role {
                Role::Sent => "Sent",
                Role::Drafts => "Drafts",
                Role::Trash => "Trash",
                Role::Junk => "Junk",
            }
            .into(),
        )
    }

    /// # Errors
    /// [`Invalid::MailboxName`] unless 1 to [`MAILBOX_NAME_MAX`] octets of printable ASCII.
    pub fn parse(octets: &[u8]) -> Result<Self, Invalid> {
        if !(1..=MAILBOX_NAME_MAX).contains(&octets.len()) {
            return Err(Invalid::MailboxName);
        }
        if octets.eq_ignore_ascii_case(b"INBOX") {
            return Ok(Self::inbox());
        }
        match std::str::from_utf8(octets) {
            Ok(text) if octets.iter().all(|octet| (0x20..0x7f).contains(octet)) => Ok(Self(text.into())),
            _ => Err(Invalid::MailboxName),
        }
    }

    /// The wire form.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The wire form as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `INBOX`.
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        &*self.0 == "INBOX"
    }
}

impl fmt::Debug for LocalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalName({:?})", self.0)
    }
}

/// A mailbox's name as the provider says it: any octets but CR, LF and NUL. It never reaches a client.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteName(Box<[u8]>);

impl RemoteName {
    /// `INBOX`, which every provider has, in whatever case it spells it.
    #[must_use]
    pub fn inbox() -> Self {
        Self((*b"INBOX").into())
    }

    /// # Errors
    /// [`Invalid::MailboxName`] if empty, longer than [`MAILBOX_NAME_MAX`], or with CR, LF or NUL (which no quoted
    /// string can carry, and which would let a name end a line).
    pub fn parse(octets: &[u8]) -> Result<Self, Invalid> {
        let fits = (1..=MAILBOX_NAME_MAX).contains(&octets.len());
        if fits && !octets.iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
            Ok(Self(octets.into()))
        } else {
            Err(Invalid::MailboxName)
        }
    }

    /// The wire form.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is INBOX in any case (Microsoft lists it as `Inbox`).
    #[must_use]
    pub fn is_inbox(&self) -> bool {
        self.0.eq_ignore_ascii_case(b"INBOX")
    }
}

impl fmt::Debug for RemoteName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteName({:?})", String::from_utf8_lossy(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inbox_has_one_spelling_here() {
        assert_eq!(LocalName::parse(b"iNbOx"), Ok(LocalName::inbox()));
        assert_ne!(LocalName::parse(b"sent"), LocalName::parse(b"Sent"));
    }

    #[test]
    fn names_that_could_end_a_line_do_not_exist() {
        for octets in [&b""[..], b"a\r\nb", b"a\0", b"\n"] {
            assert_eq!(LocalName::parse(octets), Err(Invalid::MailboxName));
            assert_eq!(RemoteName::parse(octets), Err(Invalid::MailboxName));
        }
        assert_eq!(LocalName::parse("é".as_bytes()), Err(Invalid::MailboxName));
        assert!(RemoteName::parse("é".as_bytes()).is_ok());
    }
}
