//! One message as IMAP sees it: a tree of parts, each a header and a body that are spans of the message's octets.
//!
//! The tree is `mail-parser`'s. What is told of a part stands in the octets as they came: IMAP's ENVELOPE and BODYSTRUCTURE
//! carry encoded words and RFC 2231 parameters undecoded, which is for the client. A message that exceeds a cap below is
//! one opaque part: it can be fetched, and nobody looks into it (rule R20).

mod envelope;
mod header;
mod section;
mod structure;
mod text;

pub use section::{Part as SectionPart, Section};

use crate::model::index;
use mail_parser::{Encoding, Message, MessageParser, PartType};
use std::ops::Range;

/// Parts of one message.
const PARTS_MAX: usize = 1_000;
/// Parts in each other.
const DEPTH_MAX: usize = 50;
/// A message's header.
const HEADER_MAX: usize = 1024 * 1024;
/// Messages in each other are dropped by recursion; each level needs one of these words to begin.
const NESTING_WORDS: [&[u8]; 3] = [b"rfc822", b"digest", b"global"];
const NESTING_WORDS_MAX: usize = 200;

/// A message read.
pub struct Read<'a> {
    octets: &'a [u8],
    root: Part,
    /// None where a cap was reached.
    parsed: Option<Message<'a>>,
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
        let parsed = if is_tame(octets) { MessageParser::new().with_mime_headers().parse(octets) } else { None };
        if let Some(message) = parsed.filter(|message| message.parts.len() <= PARTS_MAX) {
            let mut builder = Builder { left: PARTS_MAX, end: octets.len() };
            if let Some(root) = builder.part(&message, 0, 0) {
                let root = Part { header: 0..root.header.end, body: root.header.end..octets.len(), ..root };
                return Self { octets, root, parsed: Some(message) };
            }
        }
        let body = header::length(octets);
        Self { octets, root: Part { header: 0..body, body: body..octets.len(), kind: Kind::Leaf }, parsed: None }
    }

    fn slice(&self, range: &Range<usize>) -> &'a [u8] {
        self.octets.get(range.clone()).unwrap_or_default()
    }
}

/// Whether the parser may have it.
fn is_tame(octets: &[u8]) -> bool {
    let nests: usize = NESTING_WORDS.iter().map(|word| count(octets, word)).sum();
    header::length(octets) <= HEADER_MAX && nests <= NESTING_WORDS_MAX && u32::try_from(octets.len()).is_ok()
}

/// How often a lower-case word stands in octets, in any case.
fn count(octets: &[u8], word: &[u8]) -> usize {
    let Some(&first) = word.first() else { return 0 };
    let starts = memchr::memchr2_iter(first, first.to_ascii_uppercase(), octets);
    starts.filter(|at| octets.get(*at..at + word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word))).count()
}

struct Builder {
    /// Parts that the tree may still have.
    left: usize,
    end: usize,
}

impl Builder {
    fn part(&mut self, message: &Message<'_>, id: usize, depth: usize) -> Option<Part> {
        let part = message.parts.get(id)?;
        self.left = self.left.checked_sub(1)?;
        let at = |offset: u32| index(offset).min(self.end);
        let (header, body) = (at(part.offset_header), at(part.offset_body));
        let end = at(part.offset_end).max(body);
        let kind = match &part.body {
            _ if depth >= DEPTH_MAX => Kind::Leaf,
            PartType::Message(inner) if part.encoding == Encoding::None => self.message(inner, end, depth),
            PartType::Multipart(ids) => {
                let parts: Vec<_> = ids.iter().filter_map(|id| self.part(message, index(*id), depth + 1)).collect();
                if parts.is_empty() { Kind::Leaf } else { Kind::Multipart(parts) }
            }
            _ => Kind::Leaf,
        };
        Some(Part { header: header.min(body)..body, body: body..end, kind })
    }

    fn message(&mut self, inner: &Message<'_>, end: usize, depth: usize) -> Kind {
        match self.part(inner, 0, depth + 1) {
            // An inner message ends where the part that carries it does.
            Some(root) => {
                let body = root.body.start.min(end)..end;
                Kind::Message(Box::new(Part { body, ..root }))
            }
            None => Kind::Leaf,
        }
    }
}

#[cfg(test)]
mod tests;
