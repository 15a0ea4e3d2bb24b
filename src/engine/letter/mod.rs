//! One message as IMAP sees it: a tree of parts, each a header and a body that are spans of the message's octets.
//!
//! What is told of a part stands in the octets as they came: IMAP's ENVELOPE and BODYSTRUCTURE carry encoded words and RFC
//! 2231 parameters undecoded, which is for the client. The tree is built here, not by `mail-parser`, whose time grows with
//! the square of what a hostile message repeats: here no octet is looked at more than some times a level. What exceeds a
//! cap below is one opaque part: it can be fetched, and nobody looks into it (rule R20). RFC 2045, RFC 2046 section 5.1.

mod envelope;
mod header;
mod section;
mod structure;
mod text;
mod tree;

pub use section::{Part as SectionPart, Section};

use std::ops::Range;

/// Parts of one message.
const PARTS_MAX: usize = 1_000;
/// Parts in each other.
const DEPTH_MAX: usize = 50;
/// As much of a part's header as is looked at.
const HEADER_MAX: usize = 1024 * 1024;

/// A message read.
pub struct Read<'a> {
    octets: &'a [u8],
    root: Part,
}

/// One part: a message is its root part.
#[derive(Debug)]
struct Part {
    /// With the empty line.
    header: Range<usize>,
    body: Range<usize>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Leaf,
    /// message/rfc822 and its kin.
    Message(Box<Part>),
    /// At least one.
    Multipart(Vec<Part>),
}

impl<'a> Read<'a> {
    /// Reads any octets: what is no message is one part without a header.
    #[must_use]
    pub fn new(octets: &'a [u8]) -> Self {
        Self { octets, root: tree::read(octets) }
    }

    fn slice(&self, range: &Range<usize>) -> &'a [u8] {
        self.octets.get(range.clone()).unwrap_or_default()
    }

    /// The header of a part, as far as anybody looks at it.
    fn block(&self, part: &Part) -> &'a [u8] {
        let block = self.slice(&part.header);
        block.get(..HEADER_MAX).unwrap_or(block)
    }
}

#[cfg(test)]
mod tests;
