//! Commands towards the provider, in order, each cut where the provider must say `+` before more may be sent.
//!
//! It never holds a message: of an APPEND it has the line that announces one, and says when the octets may follow.

use crate::{model::number, wire::imap::Capabilities};
use std::collections::VecDeque;

/// What waits to be written to a lane.
#[derive(Debug, Default)]
pub(super) struct Writer {
    segments: VecDeque<Segment>,
    /// What was written last waits for `+`.
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Segment {
    octets: Vec<u8>,
    /// What must happen behind it.
    then: Option<Waiting>,
    /// The tag of its command: a refusal drops what is left of it.
    tag: Vec<u8>,
}

/// What a `+` is awaited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// More segments of the command under this tag.
    Segment(Vec<u8>),
    /// The message of an APPEND: the client's octets.
    Message(Vec<u8>),
}

impl Writer {
    /// Takes a whole command without its last CR LF. Literals that the client sent without waiting wait where the
    /// provider wants it so.
    pub(super) fn command(&mut self, tag: &[u8], octets: &[u8], capabilities: &Capabilities) {
        let mut rest = octets;
        let mut segment = Vec::with_capacity(octets.len() + 2);
        while let Some(found) = next_literal(rest) {
            let waits = found.waits(capabilities);
            let (line, behind) = rest.split_at(found.line_end);
            announce(line.strip_suffix(b"\r\n").unwrap_or(line), waits, &mut segment);
            if waits {
                let then = Some(Waiting::Segment(tag.to_vec()));
                self.segments.push_back(Segment { octets: std::mem::take(&mut segment), then, tag: tag.to_vec() });
            }
            let (literal, behind) = behind.split_at(found.octets.min(behind.len()));
            segment.extend_from_slice(literal);
            rest = behind;
        }
        segment.extend_from_slice(rest);
        segment.extend_from_slice(b"\r\n");
        self.segments.push_back(Segment { octets: segment, then: None, tag: tag.to_vec() });
    }

    /// Takes the front of an APPEND up to the announcement of its message, without the last CR LF. `waits`: the provider
    /// must say `+` before the message.
    pub(super) fn append(&mut self, tag: &[u8], octets: &[u8], waits: bool, capabilities: &Capabilities) {
        let mut line = Vec::with_capacity(octets.len() + 2);
        announce(octets, waits, &mut line);
        self.command(tag, line.strip_suffix(b"\r\n").unwrap_or(&line), capabilities);
        if let Some(last) = self.segments.back_mut() {
            last.then = waits.then(|| Waiting::Message(tag.to_vec()));
        }
    }

    /// Writes what may be written now.
    pub(super) fn flush(&mut self, lane: &mut Vec<u8>) {
        while self.waiting.is_none()
            && let Some(segment) = self.segments.pop_front()
        {
            lane.extend_from_slice(&segment.octets);
            self.waiting = segment.then;
        }
    }

    /// The provider said `+`: what it was for. None: nobody asked for it.
    pub(super) fn go_ahead(&mut self) -> Option<Waiting> {
        self.waiting.take()
    }

    /// The provider ended this command: nothing more of it is written. Returns what it was waiting for.
    pub(super) fn ended(&mut self, tag: &[u8]) -> Option<Waiting> {
        if !self.waits_for(tag) {
            return None;
        }
        self.segments.retain(|segment| segment.tag != tag);
        self.waiting.take()
    }

    /// What waits behind a literal. No more commands are taken while it is much.
    pub(super) fn octets(&self) -> usize {
        self.segments.iter().map(|segment| segment.octets.len()).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty() && self.waiting.is_none()
    }

    /// Whether this command waits for `+`.
    pub(super) fn waits_for(&self, tag: &[u8]) -> bool {
        matches!(&self.waiting, Some(Waiting::Segment(waiting) | Waiting::Message(waiting)) if waiting == tag)
    }

    /// Whether all of this command was written.
    pub(super) fn has_written(&self, tag: &[u8]) -> bool {
        self.segments.iter().all(|segment| segment.tag != tag)
    }
}

/// A line that ends with a literal's announcement, made synchronising where the provider must be waited for.
fn announce(line: &[u8], waits: bool, segment: &mut Vec<u8>) {
    match line.strip_suffix(b"+}") {
        Some(line) if waits => {
            segment.extend_from_slice(line);
            segment.push(b'}');
        }
        _ => segment.extend_from_slice(line),
    }
    segment.extend_from_slice(b"\r\n");
}

/// A literal in a gathered command.
struct Found {
    /// Where its line ends, CR LF included.
    line_end: usize,
    octets: usize,
    synchronising: bool,
}

impl Found {
    /// Whether the provider must say `+` before it.
    fn waits(&self, capabilities: &Capabilities) -> bool {
        self.synchronising || !capabilities.takes_non_synchronising(number(self.octets))
    }
}

/// Whether these octets go out in parts, as a literal in them must wait for its `+`.
pub(super) fn goes_in_parts(octets: &[u8], capabilities: &Capabilities) -> bool {
    let mut rest = octets;
    while let Some(found) = next_literal(rest) {
        if found.waits(capabilities) {
            return true;
        }
        rest = rest.get(found.line_end.saturating_add(found.octets)..).unwrap_or_default();
    }
    false
}

/// The next literal of a gathered command: the only place where CR LF can stand in one.
fn next_literal(octets: &[u8]) -> Option<Found> {
    let line_end = memchr::memchr(b'\n', octets)? + 1;
    let line = octets.get(..line_end)?.strip_suffix(b"}\r\n")?;
    let open = line.iter().rposition(|octet| *octet == b'{')?;
    let size = line.get(open + 1..)?;
    let digits = size.strip_suffix(b"+").unwrap_or(size);
    let octets = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(Found { line_end, octets, synchronising: digits.len() == size.len() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::imap::response::capabilities;

    fn written(command: &[u8], offered: &[u8]) -> Vec<String> {
        let mut writer = Writer::default();
        writer.command(b"a", command, &capabilities(offered));
        let mut parts = Vec::new();
        loop {
            let mut lane = Vec::new();
            writer.flush(&mut lane);
            parts.push(String::from_utf8(lane).expect("text"));
            if writer.go_ahead().is_none() {
                return parts;
            }
        }
    }

    #[test]
    fn literals_wait_where_the_client_or_the_provider_wants_it() {
        let search = b"a SEARCH SUBJECT {2}\r\nxy TEXT {1+}\r\nz ALL";
        assert_eq!(written(search, b"LITERAL+"), ["a SEARCH SUBJECT {2}\r\n", "xy TEXT {1+}\r\nz ALL\r\n"]);
        assert_eq!(written(search, b""), ["a SEARCH SUBJECT {2}\r\n", "xy TEXT {1}\r\n", "z ALL\r\n"]);
        assert_eq!(written(b"a NOOP", b""), ["a NOOP\r\n"]);
    }

    #[test]
    fn literal_minus_is_for_small_ones() {
        let append = |octets: u64| {
            let offered = capabilities(b"LITERAL-");
            let mut writer = Writer::default();
            let line = format!("a APPEND x {{{octets}+}}");
            writer.append(b"a", line.as_bytes(), !offered.takes_non_synchronising(octets), &offered);
            let mut lane = Vec::new();
            writer.flush(&mut lane);
            String::from_utf8(lane).expect("text")
        };
        assert_eq!(append(4096), "a APPEND x {4096+}\r\n");
        assert_eq!(append(4097), "a APPEND x {4097}\r\n");
    }

    #[test]
    fn a_refused_literal_takes_the_rest_of_its_command_along() {
        let mut writer = Writer::default();
        writer.command(b"a", b"a SEARCH TEXT {1}\r\nz", &capabilities(b""));
        writer.command(b"b", b"b NOOP", &capabilities(b""));
        let mut lane = Vec::new();
        writer.flush(&mut lane);
        assert_eq!(lane, b"a SEARCH TEXT {1}\r\n");
        assert_eq!(writer.ended(b"a"), Some(Waiting::Segment(b"a".to_vec())));
        writer.flush(&mut lane);
        assert_eq!(lane, b"a SEARCH TEXT {1}\r\nb NOOP\r\n");
        assert!(writer.is_empty());
    }

    #[test]
    fn line_ends_inside_a_literal_are_its_own() {
        assert_eq!(
            written(b"a SEARCH TEXT {7+}\r\n{1}\r\nxy ALL", b"LITERAL+"),
            ["a SEARCH TEXT {7+}\r\n{1}\r\nxy ALL\r\n"]
        );
    }
}
