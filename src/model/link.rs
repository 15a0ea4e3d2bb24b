//! The link by which the owner of a mailbox signs in again.

use std::{fmt, sync::Arc};

/// A reply of SMTP with its words stays within 512 octets (RFC 5321 section 4.5.3.1.5).
const LINK_MAX: usize = 300;
/// The letters of a ticket: 128 bits.
const TICKET: usize = 22;

/// An address of the console that is good once. Whoever has it may sign in at the provider for this mailbox, so it is told
/// to the CRM's user alone, and neither shown nor logged elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct SignInLink(Arc<str>);

impl SignInLink {
    /// None for what could not stand in a reply: it must be visible ASCII, and of at most 300 octets.
    #[must_use]
    pub fn new(address: &str) -> Option<Self> {
        let fits = address.len() <= LINK_MAX && address.bytes().all(|octet| octet.is_ascii_graphic());
        fits.then(|| Self(address.into()))
    }

    /// The page of this ticket, where browsers reach the console at `base`.
    #[must_use]
    pub fn of(base: &str, ticket: &str) -> Option<Self> {
        Self::new(&format!("{base}/sign-in/{ticket}"))
    }

    /// Whether a link that begins like this could stand in a reply.
    #[must_use]
    pub fn fits(base: &str) -> bool {
        Self::of(base, &"x".repeat(TICKET)).is_some()
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SignInLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignInLink(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_one_word_and_is_not_shown() {
        let link = SignInLink::new("https://mail.firm.test/sign-in/ticket").expect("a link");
        assert_eq!(
            (link.as_str(), format!("{link:?}").contains("ticket")),
            ("https://mail.firm.test/sign-in/ticket", false)
        );
        for bad in ["https://x/a b", "https://x/\r\nb", "https://é/", &"x".repeat(301)] {
            assert_eq!(SignInLink::new(bad), None, "{bad}");
        }
        // With the path and the ticket behind it.
        let base = |octets: usize| format!("https://{}", "x".repeat(octets - 8));
        assert!(SignInLink::fits(&base(269)) && !SignInLink::fits(&base(270)));
    }
}
