//! The filter of DATA: lets the octets of a message pass as they are, and holds back the mark that ends it.
//!
//! The octets stay dot-stuffed: what a client stuffed its provider unstuffs. The end mark is the one octet sequence
//! that makes a provider send mail, so it never passes here; the relay writes [`END_MARK`] when all that must happen
//! before is committed. A CR or LF alone never passes either: peers that take it for a line end see another end of the
//! message than we do (SMTP smuggling), so after the error both sides must be closed. Nor does a NUL, which some peers
//! drop before they look for the end; no body but BINARYMIME, which is not offered, may hold one (RFC 2045 2.7, 2.8).
//! RFC 5321 4.1.1.4, 4.5.2.

use crate::{failure::Misbehaviour, model::number};
use memchr::memchr3;

/// What ends a message. The CR LF before it is that of the last line, which has passed, or of the DATA command.
pub const END_MARK: &[u8] = b".\r\n";

/// Takes the stuffing away again: what passed a [`DotFilter`] becomes the message itself (RFC 5321 4.5.2).
#[derive(Debug)]
pub struct Unstuffer {
    at_line_start: bool,
}

impl Default for Unstuffer {
    fn default() -> Self {
        Self { at_line_start: true }
    }
}

impl Unstuffer {
    /// The next octets, to the end of `out`.
    pub fn pass(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for line in octets.split_inclusive(|octet| *octet == b'\n') {
            let stuffed = self.at_line_start && line.first() == Some(&b'.');
            out.extend_from_slice(line.get(usize::from(stuffed)..).unwrap_or_default());
            self.at_line_start = line.last() == Some(&b'\n');
        }
    }
}

/// Stuffs a message that is sent from disk: the reverse of [`Unstuffer`].
#[derive(Debug)]
pub struct Stuffer {
    at_line_start: bool,
}

impl Default for Stuffer {
    fn default() -> Self {
        Self { at_line_start: true }
    }
}

impl Stuffer {
    /// The next octets, to the end of `out`.
    pub fn pass(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        for line in octets.split_inclusive(|octet| *octet == b'\n') {
            if self.at_line_start && line.first() == Some(&b'.') {
                out.push(b'.');
            }
            out.extend_from_slice(line);
            self.at_line_start = line.last() == Some(&b'\n');
        }
    }
}

/// One message's worth of DATA.
#[derive(Debug, Default)]
pub struct DotFilter {
    state: State,
    octets: u64,
}

/// What the last octets were. CR and dot are held back until what follows shows what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// At the start, which is a line start too: `.` CR LF right behind the 354 is an empty message.
    #[default]
    LineStart,
    InLine,
    AfterCr,
    AfterDot,
    AfterDotCr,
    Ended,
}

impl DotFilter {
    /// Takes octets off the front of `input` until the end mark, and says whether it came. What may pass goes to `out`,
    /// or nowhere when a message is read only to find its end. What stands behind the mark stays in `input`.
    ///
    /// # Errors
    /// [`Misbehaviour::BareLineEnd`] at the first CR without LF or LF without CR, [`Misbehaviour::Nul`] at the first NUL;
    /// it did not pass.
    pub fn pass(&mut self, input: &mut &[u8], mut out: Option<&mut Vec<u8>>) -> Result<bool, Misbehaviour> {
        while self.state != State::Ended {
            let Some((&first, rest)) = input.split_first() else { return Ok(false) };
            let (state, passed): (_, &[u8]) = match (self.state, first) {
                (State::LineStart, b'.') => (State::AfterDot, b""),
                (State::LineStart | State::InLine, b'\r') => (State::AfterCr, b""),
                (State::AfterCr, b'\n') => (State::LineStart, b"\r\n"),
                (State::AfterDot, b'\r') => (State::AfterDotCr, b""),
                (State::AfterDotCr, b'\n') => (State::Ended, b""),
                (State::AfterCr | State::AfterDotCr, _) | (_, b'\n') => return Err(Misbehaviour::BareLineEnd),
                (_, 0) => return Err(Misbehaviour::Nul),
                (State::AfterDot, _) => {
                    // Stuffing: it passes, and is no octet of the message.
                    push(&mut out, b".");
                    self.pass_text(input, &mut out);
                    continue;
                }
                _ => {
                    self.pass_text(input, &mut out);
                    continue;
                }
            };
            push(&mut out, passed);
            self.octets = self.octets.saturating_add(number(passed.len()));
            self.state = state;
            *input = rest;
        }
        Ok(true)
    }

    /// Octets of the message so far, without stuffing.
    #[must_use]
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The fast path: all up to the next line end passes in one copy.
    fn pass_text(&mut self, input: &mut &[u8], out: &mut Option<&mut Vec<u8>>) {
        let (text, rest) = input.split_at(memchr3(b'\r', b'\n', 0, input).unwrap_or(input.len()));
        push(out, text);
        self.octets = self.octets.saturating_add(number(text.len()));
        self.state = State::InLine;
        *input = rest;
    }
}

fn push(out: &mut Option<&mut Vec<u8>>, octets: &[u8]) {
    if let Some(out) = out {
        out.extend_from_slice(octets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::pieces;
    use proptest::prelude::*;
    use smtp_proto::request::receiver::DataReceiver;

    /// What passed, what stayed behind the mark (None: no mark yet), and the count of octets.
    type Outcome = Result<(Vec<u8>, Option<Vec<u8>>, u64), Misbehaviour>;

    fn filter(octets: &[u8], cuts: &[usize]) -> Outcome {
        let mut filter = DotFilter::default();
        let (mut out, mut behind) = (Vec::new(), None::<Vec<u8>>);
        for mut piece in pieces(octets, cuts) {
            if filter.pass(&mut piece, Some(&mut out))? {
                behind.get_or_insert_default().extend_from_slice(piece);
            }
        }
        Ok((out, behind, filter.octets()))
    }

    fn whole(passed: &str, behind: &str, octets: u64) -> Outcome {
        Ok((passed.into(), Some(behind.into()), octets))
    }

    #[test]
    fn the_mark_is_held_back_and_what_follows_it_stays() {
        assert_eq!(filter(b"a\r\n.\r\nQUIT\r\n", &[]), whole("a\r\n", "QUIT\r\n", 3));
        assert_eq!(filter(b".\r\nQUIT\r\n", &[]), whole("", "QUIT\r\n", 0));
        assert_eq!(filter(b"..\r\n..a\r\n.b\r\n.\r\n", &[]), whole("..\r\n..a\r\n.b\r\n", "", 3 + 4 + 3));
        assert_eq!(filter(b"a\r\n.\r", &[]), Ok((b"a\r\n".to_vec(), None, 3)));
        assert_eq!(filter(b"a.\r\n..\r\n\r\n.\r\n", &[]), whole("a.\r\n..\r\n\r\n", "", 4 + 3 + 2));
    }

    #[test]
    fn every_smuggling_form_is_refused_and_does_not_pass() {
        let forms = [
            "\n.\n",
            "\n.\r\n",
            "\r.\r",
            "\r.\r\n",
            "\r\n.\n",
            "\r\n.\r",
            "\r\r\n.\r\n",
            "\r\n.\r\r\n",
            "\n\n.\r\n",
            "\r\n\n.\r\n",
            "\r\n\r.\r\n",
            "\n.\r\r\n",
        ];
        for form in forms {
            let octets = [b"a", form.as_bytes(), b"MAIL FROM:<x@y>\r\n"].concat();
            assert_eq!(filter(&octets, &[]), Err(Misbehaviour::BareLineEnd), "{form:?}");
        }
        for form in ["\r\n\0.\r\n", "\r\n.\0\r\n", "\0", "x\0"] {
            assert_eq!(filter(form.as_bytes(), &[]), Err(Misbehaviour::Nul), "{form:?}");
        }
        for first in ["\n", ".\n", ".\rX", "\rX"] {
            assert_eq!(filter(first.as_bytes(), &[]), Err(Misbehaviour::BareLineEnd), "{first:?}");
        }
    }

    fn octet() -> impl Strategy<Value = Vec<u8>> {
        let words = [&b"\r\n"[..], b"\r\n", b".", b"\r\n.\r\n", b"a", b"\xff", b"\0", b"\r", b"\n"];
        prop::sample::select(words.to_vec()).prop_map(<[u8]>::to_vec)
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            words in prop::collection::vec(octet(), 0..12), cuts in prop::collection::vec(0_usize..40, 0..8),
        ) {
            let octets = words.concat();
            prop_assert_eq!(filter(&octets, &cuts), filter(&octets, &[]));
        }

        #[test]
        fn no_mark_no_bare_line_end_and_no_nul_passes(words in prop::collection::vec(octet(), 0..12)) {
            if let Ok((out, ..)) = filter(&words.concat(), &[]) {
                let seen = [b"\r\n", &out[..]].concat();
                prop_assert!(!seen.windows(5).any(|five| five == b"\r\n.\r\n"));
                let text = String::from_utf8_lossy(&seen).replace("\r\n", "");
                prop_assert!(!text.contains(['\r', '\n', '\0']));
            }
        }

        #[test]
        fn stuffing_and_unstuffing_is_the_identity(
            words in prop::collection::vec(octet(), 0..12), cuts in prop::collection::vec(0_usize..40, 0..8),
        ) {
            let octets = words.concat();
            let (mut stuffer, mut unstuffer) = (Stuffer::default(), Unstuffer::default());
            let (mut stuffed, mut whole, mut back) = (Vec::new(), Vec::new(), Vec::new());
            for piece in pieces(&octets, &cuts) {
                stuffer.pass(piece, &mut stuffed);
            }
            Stuffer::default().pass(&octets, &mut whole);
            prop_assert_eq!(&stuffed, &whole);
            prop_assert!(![b"\r\n", &stuffed[..]].concat().windows(5).any(|five| five == b"\r\n.\r\n"));
            for piece in pieces(&stuffed, &cuts) {
                unstuffer.pass(piece, &mut back);
            }
            prop_assert_eq!(back, octets);
        }

        /// smtp-proto forgets that the first line is a line, so it is told of the line end before it.
        #[test]
        fn smtp_proto_sees_the_same_end(words in prop::collection::vec(octet(), 0..12)) {
            let octets = [words.concat(), b"\r\n.\r\nQUIT".to_vec()].concat();
            if let Ok((out, Some(behind), count)) = filter(&octets, &[]) {
                let (mut oracle, mut message) = (DataReceiver::new(), Vec::new());
                oracle.ingest(&mut b"\r\n".iter(), &mut message);
                message.clear();
                let mut rest = octets.iter();
                prop_assert!(oracle.ingest(&mut rest, &mut message));
                prop_assert_eq!(rest.as_slice(), &behind[..]);
                prop_assert_eq!(count, message.len() as u64);
                let unstuffed = format!("\r\n{}", String::from_utf8_lossy(&out)).replace("\r\n.", "\r\n");
                prop_assert_eq!(unstuffed, format!("\r\n{}", String::from_utf8_lossy(&message)));
            }
        }
    }
}
