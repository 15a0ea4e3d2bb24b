//! IMAP's octets (RFC 3501, RFC 9051): framing, tokens, commands, responses, names.

use std::collections::BTreeSet;

pub mod command;
pub mod fetched;
pub mod framer;
pub(crate) mod list;
pub mod pattern;
pub mod response;
pub mod token;
pub mod utf7;

/// Words that a CAPABILITY list may have; Gmail and Dovecot send some forty.
pub(crate) const CAPABILITIES_MAX: usize = 256;
/// Prefixes in the three parts of a NAMESPACE answer. Servers have one for each kind of mailbox, not one for each user.
pub(crate) const NAMESPACES_MAX: usize = 64;

/// Words of a CAPABILITY list, upper case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(BTreeSet<Box<str>>);

impl Capabilities {
    /// Whether a word, given in upper case, is in the list.
    #[must_use]
    pub fn has(&self, word: &str) -> bool {
        self.0.contains(word)
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The words, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|word| &**word)
    }

    /// Whether a literal of this size may be sent without waiting (RFC 7888: LITERAL- up to 4,096 octets).
    #[must_use]
    pub fn takes_non_synchronising(&self, octets: u64) -> bool {
        self.has("LITERAL+") || (self.has("LITERAL-") && octets <= 4096)
    }
}
