//! The tree of parts from the octets of a message, from the outside in: the delimiters of a multipart are looked for in its
//! body alone, and a line is one only where nothing but its boundary stands on it (RFC 2046 section 5.1.1).

use super::{
    DEPTH_MAX, HEADER_MAX, Kind, PARTS_MAX, Part,
    header::{self, Typed},
};
use memchr::memmem;
use std::ops::Range;

/// The tree; one part where it has too many.
pub(super) fn read(octets: &[u8]) -> Part {
    let mut builder = Builder { octets, left: PARTS_MAX };
    builder.part(0..octets.len(), false, 0).unwrap_or_else(|| {
        let body = header::length(octets);
        Part { header: 0..body, body: body..octets.len(), kind: Kind::Leaf }
    })
}

struct Builder<'a> {
    octets: &'a [u8],
    /// Parts that the tree may still have.
    left: usize,
}

impl<'a> Builder<'a> {
    /// The part that these octets are. None where the message has too many.
    fn part(&mut self, span: Range<usize>, in_digest: bool, depth: usize) -> Option<Part> {
        self.left = self.left.checked_sub(1)?;
        let body = span.start + header::length(self.slice(&span));
        let (header, body) = (span.start..body, body..span.end);
        let opaque = depth >= DEPTH_MAX || header.len() > HEADER_MAX;
        let kind = if opaque { Kind::Leaf } else { self.kind(self.slice(&header), &body, in_digest, depth)? };
        Some(Part { header, body, kind })
    }

    fn kind(&mut self, block: &[u8], body: &Range<usize>, in_digest: bool, depth: usize) -> Option<Kind> {
        let typed = header::value(block, "Content-Type").and_then(|value| Typed::read(&value));
        let (is_message, is_digest, boundary) = match &typed {
            Some(typed) => (typed.is_message(), typed.subtype.eq_ignore_ascii_case(b"digest"), typed.boundary()),
            None => (in_digest, false, None),
        };
        if is_message && !body.is_empty() && !is_encoded(block) {
            let inner = self.part(body.clone(), false, depth + 1)?;
            return Some(Kind::Message(Box::new(inner)));
        }
        let Some(boundary) = boundary else { return Some(Kind::Leaf) };
        let mut parts = Vec::new();
        for span in self.split(body, boundary) {
            parts.push(self.part(span, is_digest, depth + 1)?);
        }
        Some(if parts.is_empty() { Kind::Leaf } else { Kind::Multipart(parts) })
    }

    /// What stands between the delimiters of a body; behind the last one all, where none closes it. One more than may be
    /// is enough.
    fn split(&self, body: &Range<usize>, boundary: &[u8]) -> Vec<Range<usize>> {
        let octets = self.slice(body);
        let mut spans = Vec::new();
        let mut start = None;
        for at in memmem::find_iter(octets, &[b"--", boundary].concat()) {
            let (before, behind) = octets.split_at(at);
            if before.last().is_some_and(|octet| *octet != b'\n') {
                continue;
            }
            let Some((closes, length)) = delimiter_end(behind.get(2 + boundary.len()..).unwrap_or_default()) else {
                continue;
            };
            if let Some(start) = start.take() {
                // The line end before a delimiter is the delimiter's.
                let before = before.strip_suffix(b"\n").unwrap_or(before);
                let end = before.strip_suffix(b"\r").unwrap_or(before).len().max(start);
                spans.push(body.start + start..body.start + end);
            }
            if closes || spans.len() > self.left {
                return spans;
            }
            start = Some(at + 2 + boundary.len() + length);
        }
        spans.extend(start.map(|start| body.start + start..body.end));
        spans
    }

    fn slice(&self, span: &Range<usize>) -> &'a [u8] {
        self.octets.get(span.clone()).unwrap_or_default()
    }
}

/// Whether a delimiter closes its multipart, and how long what follows its boundary is; None where there is more on the
/// line than blanks: then it is another's, or none.
fn delimiter_end(behind: &[u8]) -> Option<(bool, usize)> {
    let (closes, rest) = behind.strip_prefix(b"--").map_or((false, behind), |rest| (true, rest));
    let line = rest.iter().position(|octet| !matches!(octet, b' ' | b'\t' | b'\r')).unwrap_or(rest.len());
    let is_line = rest.get(line).is_none_or(|octet| *octet == b'\n');
    let length = behind.len() - rest.len() + line + 1;
    is_line.then_some((closes, length.min(behind.len())))
}

/// A message in base64 is not looked into (RFC 2046 section 5.2.1 forbids it).
fn is_encoded(block: &[u8]) -> bool {
    header::value(block, "Content-Transfer-Encoding").is_some_and(|encoding| {
        [&b"base64"[..], b"quoted-printable"].iter().any(|known| encoding.eq_ignore_ascii_case(known))
    })
}
