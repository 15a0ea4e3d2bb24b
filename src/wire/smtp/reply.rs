//! Replies: the provider's read, ours and theirs written.
//!
//! A reply of the provider is held whole, so it is capped three ways. Its words are kept as they came; when they are
//! said again control octets are not (a CR inside would end our line for a lax client). RFC 5321 4.2, RFC 2034.

use crate::{
    failure::Misbehaviour,
    wire::{REPLY_LINE_MAX, REPLY_LINES_MAX, REPLY_TEXT_MAX, line::LineFramer},
};

/// A whole reply of a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599, the same on each line.
    pub code: u16,
    /// What stood behind code and separator, verbatim; at least one, [`REPLY_LINES_MAX`] at most.
    pub lines: Vec<Box<[u8]>>,
}

/// Characters of a provider's words that people are shown: a few sentences and a link.
const WORDS_MAX: usize = 600;

impl Reply {
    /// 2, 3, 4 or 5.
    #[must_use]
    pub fn class(&self) -> u16 {
        self.code / 100
    }

    /// The enhanced code with which a line begins, in the first line that has one (RFC 2034: all lines have the same).
    #[must_use]
    pub fn enhanced(&self) -> Option<&str> {
        self.lines.iter().find_map(|line| enhanced_code(line, self.class()))
    }

    /// Says it with another code where `code` differs, and gives each line without enhanced code one: the reply's own, or
    /// `C.0.0` of the class. 354 and 334 have none by definition.
    pub fn pass(&self, code: u16, out: &mut Vec<u8>) {
        let default = format!("{}.0.0", code / 100);
        let enhanced = self.enhanced().filter(|enhanced| enhanced.as_bytes().first() == default.as_bytes().first());
        for (at, line) in self.lines.iter().enumerate() {
            let bare = code / 100 == 3 || enhanced_code(line, code / 100).is_some();
            start_line(out, code, at + 1 == self.lines.len());
            if !bare {
                out.extend_from_slice(enhanced.unwrap_or(&default).as_bytes());
                out.push(b' ');
            }
            // RFC 5321 4.2 allows the tab.
            let sayable = |octet: u8| if octet.is_ascii_control() && octet != b'\t' { b'?' } else { octet };
            out.extend(line.iter().map(|octet| sayable(*octet)));
            out.extend_from_slice(b"\r\n");
        }
    }

    /// The text in one line, control octets escaped, for people: never for a client. An enhanced code stands on every line
    /// of a reply (RFC 2034 4) and so would stand in the middle of a sentence: it is said once.
    #[must_use]
    pub fn words(&self) -> String {
        let mut before = None;
        let mut lines = Vec::new();
        for line in &self.lines {
            let code = enhanced_code(line, self.class());
            let again = code.filter(|_| code == before).and_then(|code| line.strip_prefix(code.as_bytes()));
            lines.push(String::from_utf8_lossy(again.unwrap_or(line).trim_ascii_start()));
            before = code.or(before);
        }
        let text = format!("{} {}", self.code, lines.join(" "));
        let escaped = text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] });
        escaped.take(WORDS_MAX).collect()
    }
}

/// `C.S.D` with this class, and a blank or nothing behind it.
fn enhanced_code(line: &[u8], class: u16) -> Option<&str> {
    let word = line.split(|octet| *octet == b' ').next().and_then(|word| std::str::from_utf8(word).ok())?;
    let mut parts = word.split('.');
    let fits = |part: &str| (1..=3).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_digit());
    let (first, second, third) = (parts.next()?, parts.next()?, parts.next()?);
    let is_code = first.len() == 1 && first.parse() == Ok(class) && fits(second) && fits(third);
    (is_code && parts.next().is_none()).then_some(word)
}

/// Gathers the replies of one connection.
#[derive(Default)]
pub struct ReplyReader {
    line: LineFramer,
    reply: Reply,
    /// Octets of text in `reply`; at most [`REPLY_TEXT_MAX`].
    text: usize,
}

impl ReplyReader {
    /// Takes octets off the front of `input`, up to the end of a reply.
    ///
    /// # Errors
    /// What the provider did wrong; the reader is of no use afterwards.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Reply>, Misbehaviour> {
        while self.line.take(input, REPLY_LINE_MAX)? {
            let (code, is_last, text) = split_line(self.line.line()).ok_or(Misbehaviour::Syntax)?;
            if !self.reply.lines.is_empty() && code != self.reply.code {
                return Err(Misbehaviour::Syntax);
            }
            self.text += text.len();
            if self.reply.lines.len() == REPLY_LINES_MAX || self.text > REPLY_TEXT_MAX {
                return Err(Misbehaviour::TooManyLines);
            }
            self.reply.code = code;
            self.reply.lines.push(text.into());
            if is_last {
                self.text = 0;
                return Ok(Some(std::mem::take(&mut self.reply)));
            }
        }
        Ok(None)
    }

    /// Whole lines so far, of all replies.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.line.lines()
    }

    /// Whether a line has begun and not ended.
    #[must_use]
    pub fn is_within_line(&self) -> bool {
        self.line.is_within()
    }

    /// Whether a reply has begun and not ended.
    #[must_use]
    pub fn is_within(&self) -> bool {
        !self.reply.lines.is_empty()
    }
}

/// Code, whether it is the last line, text. A code alone is a last line without text (RFC 5321 4.2: clients must take it).
fn split_line(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let (digits, rest) = line.split_at_checked(3)?;
    let is_code = matches!(digits.first(), Some(b'2'..=b'5')) && digits.iter().all(u8::is_ascii_digit);
    let code = std::str::from_utf8(digits).ok().filter(|_| is_code)?.parse().ok()?;
    match rest.split_first() {
        None => Some((code, true, b"")),
        Some((b' ', text)) => Some((code, true, text)),
        Some((b'-', text)) => Some((code, false, text)),
        Some(_) => None,
    }
}

/// Writes a reply of our own in one line. `enhanced` is left out where it is empty: in greeting, EHLO, 334 and 354.
pub fn write_reply(out: &mut Vec<u8>, code: u16, enhanced: &str, text: &str) {
    start_line(out, code, true);
    out.extend_from_slice(enhanced.as_bytes());
    if !enhanced.is_empty() {
        out.push(b' ');
    }
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes a reply of several lines of our own, without enhanced codes.
pub fn write_reply_lines(out: &mut Vec<u8>, code: u16, lines: &[&str]) {
    for (at, line) in lines.iter().enumerate() {
        start_line(out, code, at + 1 == lines.len());
        out.extend_from_slice(line.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

fn start_line(out: &mut Vec<u8>, code: u16, is_last: bool) {
    out.extend_from_slice(code.to_string().as_bytes());
    out.push(if is_last { b' ' } else { b'-' });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(octets: &[u8], cuts: &[usize]) -> (Vec<Reply>, Option<Misbehaviour>) {
        let (mut reader, mut replies) = (ReplyReader::default(), Vec::new());
        for mut piece in crate::wire::pieces(octets, cuts) {
            while !piece.is_empty() {
                match reader.read(&mut piece) {
                    Ok(reply) => replies.extend(reply),
                    Err(misbehaviour) => return (replies, Some(misbehaviour)),
                }
            }
        }
        (replies, None)
    }

    fn passed(octets: &str) -> String {
        let mut out = Vec::new();
        read(octets.as_bytes(), &[]).0.iter().for_each(|reply| reply.pass(reply.code, &mut out));
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn lines_without_an_enhanced_code_get_one() {
        assert_eq!(passed("250 Ok\r\n"), "250 2.0.0 Ok\r\n");
        assert_eq!(passed("250\r\n"), "250 2.0.0 \r\n");
        assert_eq!(passed("550 5.1.1 Nobody\r\n"), "550 5.1.1 Nobody\r\n");
        assert_eq!(passed("550-5.1.1 Nobody\r\n550 at home\r\n"), "550-5.1.1 Nobody\r\n550 5.1.1 at home\r\n");
        // Not of the code's class, or not a code at all.
        assert_eq!(passed("450 5.1.1 x\r\n"), "450 4.0.0 5.1.1 x\r\n");
        assert_eq!(passed("250 2.0 x\r\n"), "250 2.0.0 2.0 x\r\n");
        assert_eq!(passed("354 Go on\r\n"), "354 Go on\r\n");
    }

    #[test]
    fn words_say_an_enhanced_code_once() {
        let words = |octets: &[u8]| read(octets, &[]).0.iter().map(Reply::words).collect::<String>();
        assert_eq!(
            words(b"535-5.7.139 Off for the\r\n535-5.7.139 tenant.\r\n535 5.7.139 See x\r\n"),
            "535 5.7.139 Off for the tenant. See x"
        );
        assert_eq!(words(b"550-5.1.1 No\r\n550-one.\r\n550 5.1.1 Really\r\n"), "550 5.1.1 No one. Really");
        assert_eq!(words(b"550-5.1.1 No one.\r\n550 5.7.1 Not you\r\n"), "550 5.1.1 No one. 5.7.1 Not you");
        assert_eq!(words(b"250 \r\n"), "250 ");
    }

    #[test]
    fn a_changed_code_takes_its_own_class() {
        let mut out = Vec::new();
        read(b"421 4.4.2 Bye\r\n", &[]).0[0].pass(451, &mut out);
        assert_eq!(out, b"451 4.4.2 Bye\r\n");
    }

    #[test]
    fn control_octets_are_not_said_again() {
        assert_eq!(passed("550 5.0.0 a\0b\x1b[c\r\n"), "550 5.0.0 a?b?[c\r\n");
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for octets in ["25\r\n", "abc\r\n", "250_x\r\n", "150 x\r\n", "650 x\r\n", "250-a\r\n550 b\r\n"] {
            assert_eq!(read(octets.as_bytes(), &[]), (Vec::new(), Some(Misbehaviour::Syntax)), "{octets:?}");
        }
    }

    #[test]
    fn replies_have_caps() {
        let many = "250-x\r\n".repeat(REPLY_LINES_MAX + 1);
        assert_eq!(read(many.as_bytes(), &[]).1, Some(Misbehaviour::TooManyLines));
        let large = format!("250-{}\r\n", "x".repeat(REPLY_LINE_MAX - 4)).repeat(3);
        assert_eq!(read(large.as_bytes(), &[]).1, Some(Misbehaviour::TooManyLines));
        let long = format!("250-{}", "x".repeat(REPLY_LINE_MAX));
        assert_eq!(read(long.as_bytes(), &[]).1, Some(Misbehaviour::LineTooLong));
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            words in prop::collection::vec(prop::sample::select(vec!["250 ", "250-", "x", "\r\n", "550", "\r"]), 0..20),
            cuts in prop::collection::vec(0_usize..60, 0..8),
        ) {
            let octets = words.concat();
            prop_assert_eq!(read(octets.as_bytes(), &cuts), read(octets.as_bytes(), &[]));
        }
    }
}
