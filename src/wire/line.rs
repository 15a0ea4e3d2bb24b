//! The line framer of SMTP and POP3: octets in, whole lines out, whatever the cuts.
//!
//! It must not guess: a line ends with CR LF and nothing else, because two peers that disagree about line ends can be
//! made to disagree about where a message ends. It knows no command. RFC 5321 2.3.8, RFC 1939 section 3.

use crate::failure::Misbehaviour;
use memchr::memchr2;
use zeroize::Zeroizing;

/// Whether a line is the first of an HTTP request: of a browser, or of a script that makes one send mail (ALPACA, rule
/// R13). Methods are case-sensitive (RFC 9110 section 9.1) and end at a blank.
#[must_use]
pub fn is_http(line: &[u8]) -> bool {
    const METHODS: [&[u8]; 9] = [b"CONNECT", b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"PATCH", b"POST", b"PRI", b"PUT"];
    let word = line.split(|octet| *octet == b' ').next().unwrap_or_default();
    word.len() < line.len() && METHODS.contains(&word)
}

/// Gathers one line at a time. Wiped when a line is forgotten and when dropped, because lines carry passwords.
#[derive(Default)]
pub struct LineFramer {
    /// The line so far, without its end.
    held: Zeroizing<Vec<u8>>,
    state: State,
    /// Whole lines so far.
    lines: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    InLine,
    /// A CR was taken; only LF may follow.
    AfterCr,
    /// `held` is a whole line, forgotten by the next [`LineFramer::take`].
    Whole,
}

impl LineFramer {
    /// Takes octets off the front of `input` up to the end of a line, and says whether there is one. What stands behind
    /// the line stays in `input`.
    ///
    /// # Errors
    /// [`Misbehaviour::LineTooLong`] when the line without its end exceeds `cap`; [`Misbehaviour::BareLineEnd`] for a CR
    /// without LF or an LF without CR. The framer is of no use after either.
    pub fn take(&mut self, input: &mut &[u8], cap: usize) -> Result<bool, Misbehaviour> {
        if self.state == State::Whole {
            self.forget();
        }
        while let Some((&first, rest)) = input.split_first() {
            if self.state == State::AfterCr {
                if first != b'\n' {
                    return Err(Misbehaviour::BareLineEnd);
                }
                *input = rest;
                self.state = State::Whole;
                self.lines += 1;
                return Ok(true);
            }
            let (text, behind) = input.split_at(memchr2(b'\r', b'\n', input).unwrap_or(input.len()));
            if text.len() > cap.saturating_sub(self.held.len()) {
                return Err(Misbehaviour::LineTooLong);
            }
            self.held.extend_from_slice(text);
            *input = match behind.split_first() {
                Some((b'\r', rest)) => {
                    self.state = State::AfterCr;
                    rest
                }
                Some(_) => return Err(Misbehaviour::BareLineEnd),
                None => behind,
            };
        }
        Ok(false)
    }

    /// The line that [`LineFramer::take`] announced, without its end.
    #[must_use]
    pub fn line(&self) -> &[u8] {
        &self.held
    }

    /// Whole lines so far.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Whether a line has begun and not ended.
    #[must_use]
    pub fn is_within(&self) -> bool {
        match self.state {
            State::InLine => !self.held.is_empty(),
            State::AfterCr => true,
            State::Whole => false,
        }
    }

    /// Wipes the line now instead of at the next one.
    pub fn forget(&mut self) {
        // A fresh vector: clearing alone would leave the octets in the spare room of the old one.
        self.held = Zeroizing::default();
        self.state = State::InLine;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_http_is_told_by_its_method() {
        for request in ["GET / HTTP/1.1", "PRI * HTTP/2.0", "POST x", "CONNECT localhost:25 HTTP/1.1", "DELETE /"] {
            assert!(is_http(request.as_bytes()), "{request}");
        }
        for line in ["", "GET", "get / HTTP/1.1", "GETX / HTTP/1.1", "a1 DELETE x", " GET /", "EHLO GET"] {
            assert!(!is_http(line.as_bytes()), "{line}");
        }
    }
    use proptest::prelude::*;

    /// All lines of `octets`, given in these cuts, and how it ended.
    fn lines(octets: &[u8], cuts: &[usize], cap: usize) -> (Vec<Vec<u8>>, Option<Misbehaviour>) {
        let mut framer = LineFramer::default();
        let mut lines = Vec::new();
        for mut piece in crate::wire::pieces(octets, cuts) {
            while !piece.is_empty() {
                match framer.take(&mut piece, cap) {
                    Ok(true) => lines.push(framer.line().to_vec()),
                    Ok(false) => {}
                    Err(misbehaviour) => return (lines, Some(misbehaviour)),
                }
            }
        }
        (lines, None)
    }

    #[test]
    fn lines_end_with_cr_lf_and_nothing_else() {
        let two = (vec![b"NOOP".to_vec(), Vec::new()], None);
        assert_eq!(lines(b"NOOP\r\n\r\nQU", &[], 8), two);
        for bare in [&b"NOOP\n"[..], b"NO\rOP\r\n", b"NOOP\r\r\n", b"\n"] {
            assert_eq!(lines(bare, &[], 8), (Vec::new(), Some(Misbehaviour::BareLineEnd)), "{bare:?}");
        }
    }

    #[test]
    fn the_cap_counts_the_line_without_its_end() {
        assert_eq!(lines(b"12345678\r\n", &[], 8).1, None);
        assert_eq!(lines(b"123456789", &[], 8).1, Some(Misbehaviour::LineTooLong));
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            words in prop::collection::vec(prop::sample::select(vec!["\r\n", "\r\n", "a", "bcdef", "\r", "\n"]), 0..12),
            cuts in prop::collection::vec(0_usize..40, 0..8),
        ) {
            let octets = words.concat().into_bytes();
            prop_assert_eq!(lines(&octets, &cuts, 12), lines(&octets, &[], 12));
        }
    }
}
