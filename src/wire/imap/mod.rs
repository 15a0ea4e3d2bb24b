//! IMAP's octets (RFC 3501, RFC 9051): framing, tokens, responses, names.

pub mod framer;
pub mod pattern;
pub mod token;
pub mod utf7;

/// Words of a CAPABILITY list, upper case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub std::collections::BTreeSet<Box<str>>);
