//! The header of a message that streams by: each octet passes at once but those of the fields that are asked for, which
//! are held back until they are whole. RFC 5322 sections 2.2 and 3.6.
//!
//! What is found does not depend on how the octets were cut. Lines end with CR LF, as the dot filter sees to; its stuffing
//! stays, and a line that begins with a needless dot, which the provider takes away, is no header. Nothing of the body is
//! looked at.

use std::ops::Range;

/// A held field, folds included. A list of a hundred addresses with names has 10 KiB.
pub const HEADER_FIELD_MAX: usize = 16 * 1024;

/// What streams by.
#[derive(Debug)]
pub struct HeaderFilter {
    /// In lower case.
    wanted: &'static [&'static str],
    state: State,
    /// The line before is a wanted name, and no colon: one that goes on is that field to some.
    name_alone: bool,
    /// What cannot be read alike by all passes.
    lenient: bool,
    held: Vec<u8>,
    /// Of what is held in [`State::Name`]: without the blanks around it, which may be thousands.
    name: Range<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the start of a line.
    LineStart,
    /// Behind a dot at the start of a line.
    Dot,
    /// What is held could be the start of a wanted name.
    Name,
    /// In a line that passes.
    Passing,
    /// In a wanted field, which is held.
    Holding(usize),
    /// Behind a line end of it: what follows tells whether it goes on.
    HoldingAtLineEnd(usize),
    /// Behind a CR at the start of a line.
    Blank,
    Body,
}

/// Something that the caller must see to before it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A wanted field, by its place among the names: whole, with its CR LF. It has not passed.
    Field(usize, Vec<u8>),
    /// The header is over. The empty line behind it has not passed, and `empty_line` says whether there is one.
    End { empty_line: bool },
}

/// A field that is asked for has more than [`HEADER_FIELD_MAX`] octets, or a line is one that two programs read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no header that all read alike")]
pub struct NoHeader;

impl HeaderFilter {
    /// Holds back the fields of these names, which are in lower case.
    #[must_use]
    pub fn new(wanted: &'static [&'static str]) -> Self {
        Self { wanted, state: State::LineStart, name_alone: false, lenient: false, held: Vec::new(), name: 0..0 }
    }

    /// The same for who only wants to know what is there: what is too long to be held, or is no header to some, passes.
    #[must_use]
    pub fn lenient(wanted: &'static [&'static str]) -> Self {
        Self { lenient: true, ..Self::new(wanted) }
    }

    /// Whether all that comes passes.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state == State::Body
    }

    /// Takes octets off the front of `input` until something is found; None: all is taken. What passes goes to `out`.
    ///
    /// # Errors
    /// [`NoHeader`]: some of it has passed, and the message can only be given up.
    pub fn pass(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Option<Found>, NoHeader> {
        while let Some((&octet, rest)) = input.split_first() {
            match (self.state, octet) {
                (State::Body, _) => {
                    out.extend_from_slice(input);
                    *input = &[];
                    return Ok(None);
                }
                (State::Passing, _) => {
                    let line = memchr::memchr(b'\n', input).map_or(input.len(), |end| end + 1);
                    let (passes, behind) = input.split_at(line);
                    if passes.ends_with(b"\n") {
                        self.state = State::LineStart;
                    }
                    out.extend_from_slice(passes);
                    *input = behind;
                    continue;
                }
                (State::HoldingAtLineEnd(name), b' ' | b'\t') => self.state = State::Holding(name),
                (State::HoldingAtLineEnd(name), _) => {
                    self.state = State::LineStart;
                    return Ok(Some(Found::Field(name, std::mem::take(&mut self.held))));
                }
                (State::LineStart, b'\r') => self.state = State::Blank,
                // Goes on a field that passed.
                (State::LineStart, b' ' | b'\t') => {
                    if self.name_alone && !self.lenient {
                        return Err(NoHeader);
                    }
                    self.state = State::Passing;
                    continue;
                }
                (State::LineStart, b'.') if !self.wanted.is_empty() && !self.lenient => self.state = State::Dot,
                (State::Dot, b'.') => {
                    self.let_pass(out);
                    continue;
                }
                (State::Dot, _) => return Err(NoHeader),
                (State::Blank, b'\n') => {
                    *input = rest;
                    self.state = State::Body;
                    self.held = Vec::new();
                    return Ok(Some(Found::End { empty_line: true }));
                }
                // A CR without LF does not come here.
                (State::Blank, _) => {
                    self.let_pass(out);
                    continue;
                }
                (State::LineStart | State::Name, _) => {
                    if self.state == State::LineStart {
                        self.name = 0..0;
                        self.state = State::Name;
                    }
                    self.name_alone = octet == b'\r' && self.is_name();
                    if !self.names(octet) {
                        self.let_pass(out);
                        continue;
                    }
                    self.note_name(octet);
                }
                (State::Holding(name), b'\n') => self.state = State::HoldingAtLineEnd(name),
                (State::Holding(_), _) => {}
            }
            self.held.push(octet);
            *input = rest;
            if self.held.len() > HEADER_FIELD_MAX {
                if !self.lenient {
                    return Err(NoHeader);
                }
                self.let_pass(out);
            }
        }
        Ok(None)
    }

    /// The message is over; gives what is found yet, until it is [`Found::End`] or nothing.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Option<Found> {
        match self.state {
            State::Body => None,
            State::Holding(name) | State::HoldingAtLineEnd(name) => {
                self.state = State::LineStart;
                Some(Found::Field(name, std::mem::take(&mut self.held)))
            }
            State::LineStart | State::Dot | State::Name | State::Passing | State::Blank => {
                self.let_pass(out);
                self.state = State::Body;
                Some(Found::End { empty_line: false })
            }
        }
    }

    fn let_pass(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
        self.state = State::Passing;
    }

    fn is_name(&self) -> bool {
        let name = self.name();
        self.wanted.iter().any(|wanted| wanted.as_bytes().eq_ignore_ascii_case(name))
    }

    /// What is held, without blanks around it.
    fn name(&self) -> &[u8] {
        self.held.get(self.name.clone()).unwrap_or_default()
    }

    /// The octet is held next.
    fn note_name(&mut self, octet: u8) {
        if is_blank(octet) {
            return;
        }
        let at = self.held.len();
        let start = if self.name.is_empty() { at } else { self.name.start };
        self.name = start..at + 1;
    }

    /// Whether what is held and this octet can be, or are, a wanted name. Blanks before the colon are obsolete, and read
    /// (RFC 5322 section 4.5).
    ///
    /// Octets that are no letters of a name are taken for blanks, as some programs trim them: what begins with a byte order
    /// mark is the field to those.
    fn names(&mut self, octet: u8) -> bool {
        let name = self.name();
        let is = |wanted: &str| wanted.as_bytes().eq_ignore_ascii_case(name);
        match octet {
            b':' => {
                let found = self.wanted.iter().position(|wanted| is(wanted));
                if let Some(found) = found {
                    self.state = State::Holding(found);
                }
                found.is_some()
            }
            octet if is_blank(octet) && octet != b'\r' => {
                !self.wanted.is_empty() && (name.is_empty() || self.wanted.iter().any(|wanted| is(wanted)))
            }
            _ => {
                let begins = |wanted: &str| match wanted.as_bytes().get(..=name.len()).and_then(<[u8]>::split_last) {
                    Some((last, before)) => last.eq_ignore_ascii_case(&octet) && before.eq_ignore_ascii_case(name),
                    None => false,
                };
                let goes_on = name.is_empty() || self.name.end == self.held.len();
                goes_on && self.wanted.iter().any(|wanted| begins(wanted))
            }
        }
    }
}

fn is_blank(octet: u8) -> bool {
    octet <= b' ' || octet >= 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::pieces;
    use proptest::prelude::*;

    const WANTED: &[&str] = &["from", "message-id"];

    /// What passed, each found thing as text where it stood.
    fn filter(message: &[u8], cuts: &[usize]) -> Result<String, NoHeader> {
        let (mut filter, mut out) = (HeaderFilter::new(WANTED), Vec::new());
        let tell = |found: Found, out: &mut Vec<u8>| match found {
            Found::Field(name, field) => {
                out.extend_from_slice(format!("[{} ", WANTED[name]).as_bytes());
                out.extend_from_slice(&field);
                out.push(b']');
            }
            Found::End { empty_line } => out.extend_from_slice(if empty_line { b"[end]\r\n" } else { b"[end]" }),
        };
        for mut piece in pieces(message, cuts) {
            while let Some(found) = filter.pass(&mut piece, &mut out)? {
                tell(found, &mut out);
            }
        }
        while let Some(found) = filter.finish(&mut out) {
            tell(found, &mut out);
        }
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn fields_are_found_where_they_stand() {
        for (message, seen) in [
            ("From: a\r\n\r\nFrom: b\r\n", "[from From: a\r\n][end]\r\nFrom: b\r\n"),
            (
                "To: x\r\nfRoM : a,\r\n\tb\r\nDate: y\r\n\r\n",
                "To: x\r\n[from fRoM : a,\r\n\tb\r\n]Date: y\r\n[end]\r\n",
            ),
            (
                "Fro: a\r\nFrom-x: a\r\nFrom x: a\r\nX:\r\n From: a\r\n",
                "Fro: a\r\nFrom-x: a\r\nFrom x: a\r\nX:\r\n From: a\r\n[end]",
            ),
            ("Message-ID:\r\n <x@y>\r\nFrom: a\r\n", "[message-id Message-ID:\r\n <x@y>\r\n][from From: a\r\n][end]"),
            ("From: a\r\nFROM: b\r\n\r\n", "[from From: a\r\n][from FROM: b\r\n][end]\r\n"),
            ("\r\nFrom: a\r\n", "[end]\r\nFrom: a\r\n"),
            ("", "[end]"),
            ("Fr", "Fr[end]"),
            ("From: a", "[from From: a][end]"),
            ("no header\r\nFrom: a\r\n", "no header\r\n[from From: a\r\n][end]"),
            ("..From: a\r\nFrom\r\n: b\r\n", "..From: a\r\nFrom\r\n: b\r\n[end]"),
            ("\u{feff}From: a\r\n", "[from \u{feff}From: a\r\n][end]"),
            ("\x0bFrom\x01: a\r\nTo: b\r\n", "[from \x0bFrom\x01: a\r\n]To: b\r\n[end]"),
            ("\x0b \x7fFrom \x0b : a\r\nFr\x0bom: b\r\n", "[from \x0b \x7fFrom \x0b : a\r\n]Fr\x0bom: b\r\n[end]"),
            ("\x0b\r\nFrom: a\r\n\x0bFrom\r\n: b\r\n", "\x0b\r\n[from From: a\r\n]\x0bFrom\r\n: b\r\n[end]"),
        ] {
            assert_eq!(filter(message.as_bytes(), &[]).as_deref(), Ok(seen), "{message:?}");
        }
    }

    #[test]
    fn r25_what_a_provider_or_a_program_reads_otherwise_is_no_header() {
        for message in [
            ".From: a\r\n\r\n",
            "To: x\r\n.From: a\r\n\r\n",
            "From: a,\r\n. b\r\n\r\n",
            "From\r\n : a\r\n\r\n",
            "from \r\n\t: a\r\n",
        ] {
            assert_eq!(filter(message.as_bytes(), &[]), Err(NoHeader), "{message:?}");
        }
    }

    #[test]
    fn a_held_field_has_a_cap_and_others_have_none() {
        let long = "x".repeat(HEADER_FIELD_MAX);
        assert_eq!(filter(format!("From: {long}").as_bytes(), &[]), Err(NoHeader));
        assert!(filter(format!("To: {long}{long}\r\n\r\n").as_bytes(), &[]).is_ok());
    }

    /// Each octet is looked at once: 16 KiB of blanks cost what 16 KiB of a field cost, and not their square.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "compares two times of one run")]
    fn r20_blanks_before_a_name_cost_no_more_than_a_field() {
        let took = |line: &str| {
            let message = format!("{line}\r\n").repeat(16);
            let began = std::time::Instant::now();
            filter(message.as_bytes(), &[]).expect("a header");
            began.elapsed()
        };
        let field = took(&format!("From: {}", "x".repeat(HEADER_FIELD_MAX - 10)));
        let blanks = took(&"\x0b".repeat(HEADER_FIELD_MAX - 10));
        assert!(blanks < 50 * field, "{blanks:?} for blanks, {field:?} for a field");
    }

    fn message() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            Just("From"),
            Just("from "),
            Just("Message-Id"),
            Just(":"),
            Just(" "),
            Just("\t"),
            Just("\r\n"),
            Just("\r\n\r\n"),
            Just("x"),
            Just("."),
            Just("\x0b"),
            Just("Fr"),
            Just("om")
        ];
        proptest::collection::vec(word, 0..20).prop_map(|words| words.concat().into_bytes())
    }

    #[test]
    fn who_only_wants_to_know_refuses_nothing() {
        let long = "x".repeat(HEADER_FIELD_MAX);
        for message in [".From: a\r\n\r\n", "From\r\n : a\r\n\r\n", &format!("From: {long}\r\nTo: b\r\n")] {
            let (mut filter, mut out) = (HeaderFilter::lenient(WANTED), Vec::new());
            let mut input = message.as_bytes();
            while let Some(found) = filter.pass(&mut input, &mut out).expect("lenient") {
                assert!(matches!(found, Found::End { empty_line: true }), "{found:?}");
                out.extend_from_slice(b"\r\n");
            }
            filter.finish(&mut out);
            assert_eq!(String::from_utf8_lossy(&out), message);
        }
    }

    proptest! {
        #[test]
        fn nothing_depends_on_the_cuts_and_no_octet_is_lost(message in message(), cuts in proptest::collection::vec(0_usize..100, 0..6)) {
            let whole = filter(&message, &[]);
            prop_assert_eq!(&filter(&message, &cuts), &whole);
            let octets: Vec<usize> = (1..message.len().max(1)).collect();
            prop_assert_eq!(&filter(&message, &octets), &whole);
            let Ok(whole) = whole else { return Ok(()) };
            let plain = whole.replace("[from ", "").replace("[message-id ", "").replace("[end]", "").replace(']', "");
            prop_assert_eq!(plain.into_bytes(), message);
        }
    }
}
