//! Cuts one direction of an IMAP stream into pieces: lines, literals, and what streams through. Pure and incremental.
//!
//! It must not look into a line further than framing needs, must not hold a literal, and must give the same pieces
//! however the octets arrive. RFC 3501 section 4.3, RFC 7888 (`{n+}`), RFC 3516 (`~{n}`).

use super::{
    super::{IMAP_LINE_FIRST, LITERAL_DIGITS_MAX},
    token::Cursor,
};
use crate::{failure::Misbehaviour, model::number};
use memchr::memchr;

/// A piece of one direction. Adjacent `Octets`, and a `Line` or `More` that continues with the `More` behind it, may be
/// joined: only their seams depend on how the octets arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A line up to its CR LF, or its first [`IMAP_LINE_FIRST`] octets; the announcement of a literal is part of it.
    Line { text: &'a [u8], end: End },
    /// What follows those first octets.
    More { text: &'a [u8], end: End },
    /// Octets of the literal that the line before announced.
    Octets(&'a [u8]),
}

/// How a line's piece ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the end of the command or response.
    Line,
    /// With a literal, whose octets and another line follow.
    Literal(Literal),
    /// The line goes on.
    Continues,
}

/// The announcement of a literal: `{n}`, `{n+}`, `~{n}` or `~{n+}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Literal {
    /// How many octets follow the line.
    pub octets: u64,
    /// Whether the sender waits for `+` before them.
    pub synchronising: bool,
    /// The length of the announcement, from `{` or `~{` to `}`.
    pub announced_in: usize,
}

/// Who sends what is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    /// Lines are gathered whole, up to a cap; status text is not a thing that clients send.
    Client { cap: usize },
    /// Lines of any length: a SEARCH answer of a large mailbox is one line of hundreds of kB.
    Provider,
}

impl Piece<'_> {
    /// Whether it is the end of a line that announces nothing.
    #[must_use]
    pub fn ends_line(&self) -> bool {
        matches!(self, Self::Line { end: End::Line, .. } | Self::More { end: End::Line, .. })
    }
}

/// One direction's framer.
#[derive(Debug)]
pub struct Framer {
    sender: Sender,
    /// What is gathered of a line that came in parts; at most the client's cap or [`IMAP_LINE_FIRST`].
    line: Vec<u8>,
    /// `line` was given out and is cleared at the next call.
    given: bool,
    state: State,
    /// Lines that have ended, those before a literal too.
    lines: u64,
}

#[derive(Debug)]
enum State {
    /// At or in a line. `first` is whether a command or response begins here, not the line behind a literal.
    Line { first: bool },
    /// Behind the first octets of a provider's line.
    Rest(Rest),
    /// In a literal; never 0.
    Octets(u64),
}

/// What must be remembered of a line that streams.
#[derive(Debug)]
struct Rest {
    /// Whether a literal at its end counts: never in a status line, whose text is for people.
    announces: bool,
    /// The last octets, enough to hold an announcement.
    tail: Vec<u8>,
    /// A CR that may be the first half of the line end.
    held_cr: bool,
}

impl Framer {
    /// Frames what a client says; a line longer than `cap` octets is refused.
    #[must_use]
    pub fn client(cap: usize) -> Self {
        Self::new(Sender::Client { cap })
    }

    /// Frames what a provider says.
    #[must_use]
    pub fn provider() -> Self {
        Self::new(Sender::Provider)
    }

    fn new(sender: Sender) -> Self {
        Self { sender, line: Vec::new(), given: false, state: State::Line { first: true }, lines: 0 }
    }

    /// Changes the client's cap: lines may be longer once it is signed in.
    pub fn set_cap(&mut self, cap: usize) {
        if matches!(self.sender, Sender::Client { .. }) {
            self.sender = Sender::Client { cap };
        }
    }

    /// Whether the stream stands between two commands or responses.
    #[must_use]
    pub fn at_boundary(&self) -> bool {
        matches!(self.state, State::Line { first: true }) && (self.line.is_empty() || self.given)
    }

    /// Lines so far that have ended, those before a literal too.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// The client was refused a literal that it waits to send: what comes next is a new command.
    pub fn forget_literal(&mut self) {
        self.state = State::Line { first: true };
    }

    /// Takes the next piece off `input`; None when it needs more octets (`input` is then empty).
    ///
    /// # Errors
    /// A bare CR or LF, a line above the client's cap, or a literal whose size is no number of 63 bits. The stream
    /// cannot be framed any further.
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Piece<'a>>, Misbehaviour> {
        if self.given {
            self.line.clear();
            self.given = false;
        }
        match &mut self.state {
            _ if input.is_empty() => Ok(None),
            State::Octets(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                let (octets, rest) = input.split_at(taken);
                *input = rest;
                *left -= number(taken);
                if *left == 0 {
                    self.state = State::Line { first: false };
                }
                Ok(Some(Piece::Octets(octets)))
            }
            State::Rest(_) => self.rest(input),
            State::Line { first } => {
                let first = *first;
                match self.sender {
                    Sender::Client { cap } => self.client_line(cap, input),
                    Sender::Provider => self.provider_line(first, input),
                }
            }
        }
    }

    fn client_line<'a, 'i: 'a>(
        &'a mut self,
        cap: usize,
        input: &mut &'i [u8],
    ) -> Result<Option<Piece<'a>>, Misbehaviour> {
        let found = memchr(b'\n', input);
        let taken = found.map_or(input.len(), |lf| lf + 1);
        // CR LF do not count.
        if self.line.len() + taken > cap + 2 {
            return Err(Misbehaviour::LineTooLong);
        }
        let (octets, rest) = input.split_at(taken);
        *input = rest;
        let line = match (found, self.line.is_empty()) {
            (Some(_), true) => octets,
            _ => {
                self.line.extend_from_slice(octets);
                self.given = found.is_some();
                &self.line
            }
        };
        if found.is_none() {
            // A CR that another octet follows is refused before the line is whole: nothing may hide behind it.
            let settled = line.split_last().map_or(line, |(_, settled)| settled);
            return if memchr(b'\r', settled).is_some() { Err(Misbehaviour::BareLineEnd) } else { Ok(None) };
        }
        let text = line.strip_suffix(b"\r\n").ok_or(Misbehaviour::BareLineEnd)?;
        if memchr(b'\r', text).is_some() {
            return Err(Misbehaviour::BareLineEnd);
        }
        let end = end_of(announcement(text)?);
        self.state = State::after(end);
        self.lines += 1;
        Ok(Some(Piece::Line { text, end }))
    }

    fn provider_line<'a, 'i: 'a>(
        &'a mut self,
        first: bool,
        input: &mut &'i [u8],
    ) -> Result<Option<Piece<'a>>, Misbehaviour> {
        let room = IMAP_LINE_FIRST - self.line.len();
        let found = memchr(b'\n', input.get(..=room).unwrap_or(input));
        let Some(lf) = found else {
            let taken = input.len().min(room);
            // The octet behind the first ones decides: a line end, or a line that goes on.
            if input.len() <= room {
                self.line.extend_from_slice(input);
                *input = &[];
                return Ok(None);
            }
            let (octets, rest) = input.split_at(taken);
            *input = rest;
            self.line.extend_from_slice(octets);
            self.given = true;
            let announces = !(first && is_status_line(&self.line));
            self.state = State::Rest(Rest::behind(&self.line, announces));
            let text = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
            return Ok(Some(Piece::Line { text, end: End::Continues }));
        };
        let (octets, rest) = input.split_at(lf + 1);
        *input = rest;
        let line = if self.line.is_empty() {
            octets
        } else {
            self.line.extend_from_slice(octets);
            self.given = true;
            &self.line
        };
        let text = line.strip_suffix(b"\r\n").ok_or(Misbehaviour::BareLineEnd)?;
        let end = if first && is_status_line(text) { End::Line } else { end_of(announced_by_provider(text)?) };
        self.state = State::after(end);
        self.lines += 1;
        Ok(Some(Piece::Line { text, end }))
    }

    fn rest<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Piece<'a>>, Misbehaviour> {
        let State::Rest(rest) = &mut self.state else { return Ok(None) };
        if rest.held_cr && input.first() != Some(&b'\n') {
            rest.held_cr = false;
            rest.remember(b"\r");
            return Ok(Some(Piece::More { text: b"\r", end: End::Continues }));
        }
        let found = memchr(b'\n', input);
        let (octets, behind) = input.split_at(found.map_or(input.len(), |lf| lf + 1));
        *input = behind;
        if found.is_none() {
            let text = octets.strip_suffix(b"\r").unwrap_or(octets);
            rest.held_cr = text.len() < octets.len();
            rest.remember(text);
            return Ok(Some(Piece::More { text, end: End::Continues }));
        }
        let line = octets.strip_suffix(b"\n").unwrap_or(octets);
        let text = match line.strip_suffix(b"\r") {
            Some(text) => text,
            None if rest.held_cr && line.is_empty() => line,
            None => return Err(Misbehaviour::BareLineEnd),
        };
        rest.remember(text);
        let end = if rest.announces { end_of(announced_by_provider(&rest.tail)?) } else { End::Line };
        self.state = State::after(end);
        self.lines += 1;
        Ok(Some(Piece::More { text, end }))
    }
}

impl State {
    fn after(end: End) -> Self {
        match end {
            End::Literal(Literal { octets: 0, .. }) => Self::Line { first: false },
            End::Literal(literal) => Self::Octets(literal.octets),
            End::Line | End::Continues => Self::Line { first: true },
        }
    }
}

impl Rest {
    fn behind(line: &[u8], announces: bool) -> Self {
        let held_cr = line.last() == Some(&b'\r');
        let mut rest = Self { announces, tail: Vec::with_capacity(2 * TAIL), held_cr };
        rest.remember(line.strip_suffix(b"\r").unwrap_or(line));
        rest
    }

    fn remember(&mut self, text: &[u8]) {
        self.tail.extend_from_slice(tail_of(text));
        let excess = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..excess);
    }
}

/// `~{`, digits, `+}`.
const TAIL: usize = LITERAL_DIGITS_MAX + 4;

fn tail_of(text: &[u8]) -> &[u8] {
    text.split_at(text.len().saturating_sub(TAIL)).1
}

fn end_of(literal: Option<Literal>) -> End {
    literal.map_or(End::Line, End::Literal)
}

/// The literal that a line's end announces, if it does. What one reader takes for an announcement and another for text
/// is refused: the octets behind it would be lines of answers to one of them.
fn announcement(line: &[u8]) -> Result<Option<Literal>, Misbehaviour> {
    let Some(inner) = line.strip_suffix(b"}") else { return Ok(None) };
    let mut parts = tail_of(inner).rsplitn(2, |octet| *octet == b'{');
    let size = parts.next().unwrap_or_default();
    let Some(before) = parts.next() else {
        let digits = size.strip_suffix(b"+").unwrap_or(size);
        let endless = size.len() == TAIL && digits.iter().all(u8::is_ascii_digit);
        return if endless { Err(Misbehaviour::LiteralSize) } else { Ok(None) };
    };
    if !size.iter().all(|octet| octet.is_ascii_digit() || matches!(octet, b'+' | b'-')) {
        return Ok(None);
    }
    let digits = size.strip_suffix(b"+").unwrap_or(size);
    let octets = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit()))
        .and_then(|digits| digits.parse::<u64>().ok())
        .filter(|octets| *octets <= i64::MAX.cast_unsigned())
        .ok_or(Misbehaviour::LiteralSize)?;
    let binary = before.ends_with(b"~");
    let announced_in = size.len() + 2 + usize::from(binary);
    Ok(Some(Literal { octets, synchronising: digits.len() == size.len(), announced_in }))
}

/// The literal that a provider's line announces. Only clients send without waiting (RFC 7888): to a client that knows no
/// `{n+}` from servers the octets would be lines.
fn announced_by_provider(line: &[u8]) -> Result<Option<Literal>, Misbehaviour> {
    match announcement(line)? {
        Some(Literal { synchronising: false, .. }) => Err(Misbehaviour::LiteralSize),
        literal => Ok(literal),
    }
}

/// Whether a line's text is for people: `* OK …`, a tagged status, `+ …`. What looks like a literal at the end of such a
/// text is none; codecs that think so lose the frame.
fn is_status_line(line: &[u8]) -> bool {
    if line.first() == Some(&b'+') {
        return true;
    }
    // Read as `response::read` does: the two must not see different responses in one line.
    let mut cursor = Cursor::new(line);
    cursor.word();
    let condition = cursor.space().map(|()| cursor.word()).unwrap_or_default();
    [&b"OK"[..], b"NO", b"BAD", b"BYE", b"PREAUTH"].iter().any(|word| condition.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The pieces as text, seams joined: `L` line, `o` octets, `|` literal, `.` end.
    fn pieces(mut framer: Framer, chunks: &[&[u8]]) -> (Vec<u8>, Option<Misbehaviour>) {
        let mut seen = Vec::new();
        let mut in_octets = false;
        for chunk in chunks {
            let mut input = *chunk;
            loop {
                let piece = match framer.next(&mut input) {
                    Ok(Some(piece)) => piece,
                    Ok(None) => break,
                    Err(misbehaviour) => return (seen, Some(misbehaviour)),
                };
                match piece {
                    Piece::Line { text, end } | Piece::More { text, end } => {
                        if matches!(piece, Piece::Line { .. }) {
                            seen.push(b'L');
                        }
                        in_octets = false;
                        seen.extend_from_slice(text);
                        match end {
                            End::Line => seen.push(b'.'),
                            End::Literal(literal) => seen.extend(format!("|{}", literal.octets).bytes()),
                            End::Continues => {}
                        }
                    }
                    Piece::Octets(octets) => {
                        if !in_octets {
                            seen.push(b'o');
                        }
                        in_octets = true;
                        seen.extend_from_slice(octets);
                    }
                }
            }
        }
        (seen, None)
    }

    fn of_provider(octets: &[u8]) -> (Vec<u8>, Option<Misbehaviour>) {
        pieces(Framer::provider(), &[octets])
    }

    #[test]
    fn a_literal_is_followed_by_a_line_of_the_same_response() {
        let (seen, fault) = of_provider(b"* 1 FETCH (BODY[] {3}\r\na\r\n FLAGS ())\r\n* 2 EXISTS\r\n");
        assert_eq!(seen, b"L* 1 FETCH (BODY[] {3}|3oa\r\nL FLAGS ()).L* 2 EXISTS.");
        assert_eq!(fault, None);
    }

    #[test]
    fn text_for_people_announces_nothing() {
        // imap-codec's fragmentizer swallows the five octets behind such a line.
        for line in [
            &b"* OK see {5}\r\n"[..],
            b"a1 NO no {5}\r\n",
            b"+ go {5}\r\n",
            b"* BYE {5}\r\n",
            b"*  OK {5}\r\n",
            b"a NO(x) {5}\r\n",
        ] {
            let (seen, fault) = of_provider(&[line, b"* 1 EXISTS\r\n"].concat());
            assert!(seen.ends_with(b".L* 1 EXISTS."), "{}", String::from_utf8_lossy(&seen));
            assert_eq!(fault, None);
        }
    }

    #[test]
    fn empty_literals_have_no_octets() {
        let (seen, _) = of_provider(b"* 1 FETCH (BODY[] {0}\r\n)\r\n");
        assert_eq!(seen, b"L* 1 FETCH (BODY[] {0}|0L).");
    }

    #[test]
    fn sizes_that_are_no_numbers_end_the_stream() {
        for size in ["", "-1", "+", "9223372036854775808", "99999999999999999999"] {
            let line = format!("* 1 FETCH (BODY[] {{{size}}}\r\n");
            assert_eq!(of_provider(line.as_bytes()).1, Some(Misbehaviour::LiteralSize), "{size}");
        }
        assert_eq!(of_provider(b"* LIST () NIL a{b}\r\n").1, None);
    }

    #[test]
    fn what_a_client_may_read_in_another_way_is_refused() {
        for size in ["36+", "0000000000000000000000000000005", "0000000000000000000000000000005+"] {
            let line = format!("* 1 FETCH (X {{{size}}}\r\n");
            assert_eq!(of_provider(line.as_bytes()).1, Some(Misbehaviour::LiteralSize), "{size}");
            // A client's octets would be commands.
            let line = format!("a SEARCH TEXT {{{size}}}\r\n");
            let fault = (size.len() > 3).then_some(Misbehaviour::LiteralSize);
            assert_eq!(pieces(Framer::client(100), &[line.as_bytes()]).1, fault, "{size}");
        }
    }

    #[test]
    fn all_four_announcements_are_literals() {
        for (text, synchronising) in [("{1}", true), ("{1+}", false), ("~{1}", true), ("~{1+}", false)] {
            let literal = announcement(format!("a APPEND x {text}").as_bytes());
            let expected = Literal { octets: 1, synchronising, announced_in: text.len() };
            assert_eq!(literal, Ok(Some(expected)));
        }
    }

    #[test]
    fn a_client_that_hides_a_line_end_is_refused() {
        for octets in [&b"a NOOP\n"[..], b"a NO\rOP\r\n", b"a NOOP\r\r\n", b"a NOOP\rb"] {
            assert_eq!(pieces(Framer::client(100), &[octets]).1, Some(Misbehaviour::BareLineEnd));
        }
    }

    #[test]
    fn a_client_line_has_a_cap() {
        let line = |n: usize| [vec![b'a'; n], b"\r\n".to_vec()].concat();
        assert_eq!(pieces(Framer::client(10), &[&line(10)]).1, None);
        assert_eq!(pieces(Framer::client(10), &[&line(11)]).1, Some(Misbehaviour::LineTooLong));
        assert_eq!(pieces(Framer::client(10), &[&[b'a'; 13]]).1, Some(Misbehaviour::LineTooLong));
    }

    #[test]
    fn a_long_line_streams_and_its_literal_is_found() {
        for length in [IMAP_LINE_FIRST - 6, IMAP_LINE_FIRST - 3, IMAP_LINE_FIRST, 3 * IMAP_LINE_FIRST] {
            let mut octets = b"* 1 FETCH (".to_vec();
            octets.resize(length, b'x');
            octets.extend_from_slice(b" {4}\r\nabcd)\r\n");
            let (seen, fault) = of_provider(&octets);
            assert_eq!(fault, None);
            assert!(seen.ends_with(b"x {4}|4oabcdL)."), "{length}");
        }
    }

    #[test]
    fn memory_stays_small_whatever_the_line() {
        let mut framer = Framer::provider();
        let chunk = vec![b'7'; 16 * 1024];
        for _ in 0..64 {
            let mut input = &chunk[..];
            while framer.next(&mut input).expect("framed").is_some() {}
        }
        assert!(framer.line.capacity() <= 2 * IMAP_LINE_FIRST);
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            "[ -~]{0,40}".prop_map(String::into_bytes),
            (1_usize..20, any::<bool>()).prop_map(|(n, plus)| {
                let plus = if plus { "+" } else { "" };
                let mut octets = format!("* 1 FETCH ({{{n}{plus}}}\r\n").into_bytes();
                octets.extend(std::iter::repeat_n(b'\n', n));
                octets
            }),
            (IMAP_LINE_FIRST - 4..IMAP_LINE_FIRST + 4).prop_map(|n| vec![b'x'; n]),
            Just(b"\r".to_vec()),
            Just(b"* OK {7}".to_vec()),
        ];
        proptest::collection::vec(line, 1..8).prop_map(|lines| lines.join(&b"\r\n"[..]))
    }

    proptest! {
        #[test]
        fn pieces_do_not_depend_on_cuts(octets in stream(), cuts in proptest::collection::vec(1_usize..9000, 0..12)) {
            let mut chunks = Vec::new();
            let mut rest = &octets[..];
            for cut in cuts {
                let (chunk, behind) = rest.split_at(cut.min(rest.len()));
                chunks.push(chunk);
                rest = behind;
            }
            chunks.push(rest);
            prop_assert_eq!(of_provider(&octets), pieces(Framer::provider(), &chunks));
            let (whole, cut) = (pieces(Framer::client(9000), &[&octets]), pieces(Framer::client(9000), &chunks));
            prop_assert_eq!(whole, cut);
        }
    }
}
