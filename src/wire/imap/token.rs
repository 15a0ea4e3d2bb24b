//! Finds the parts of a command or response without changing an octet: spans in, so that a name can be spliced and all
//! else stays as the peer wrote it.
//!
//! Strict about what would let two readers disagree (control octets, open quotes, literals), lenient about the rest. It
//! works on gathered octets, in which a literal stands as on the wire: `{3}` CR LF and three octets. RFC 3501 section 9.

use crate::failure::Misbehaviour;
use std::{borrow::Cow, ops::Range};

/// How a string was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Atom,
    Quoted,
    Literal,
}

/// A string found by a [`Cursor`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub form: Form,
    /// All of it: quotes, or the announcement of the literal, included.
    pub span: Range<usize>,
    /// What it holds, escapes not undone.
    content: Range<usize>,
}

impl Token {
    /// What the string says. `octets` are those that the cursor ran over.
    #[must_use]
    pub fn value<'a>(&self, octets: &'a [u8]) -> Cow<'a, [u8]> {
        let content = octets.get(self.content.clone()).unwrap_or_default();
        if self.form != Form::Quoted || !content.contains(&b'\\') {
            return Cow::Borrowed(content);
        }
        let mut value = Vec::with_capacity(content.len());
        let mut escaped = false;
        for &octet in content {
            if octet == b'\\' && !escaped {
                escaped = true;
            } else {
                value.push(octet);
                escaped = false;
            }
        }
        Cow::Owned(value)
    }
}

/// A position in gathered octets.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    octets: &'a [u8],
    /// `at <= octets.len()`
    at: usize,
}

type Result<T> = std::result::Result<T, Misbehaviour>;

impl<'a> Cursor<'a> {
    #[must_use]
    pub fn new(octets: &'a [u8]) -> Self {
        Self::starting(octets, 0)
    }

    /// Starts at an offset that an earlier cursor over the same octets gave.
    #[must_use]
    pub fn starting(octets: &'a [u8], at: usize) -> Self {
        Self { octets, at: at.min(octets.len()) }
    }

    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }

    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.at == self.octets.len()
    }

    /// What is left.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.octets.get(self.at..).unwrap_or_default()
    }

    /// Takes this octet if it is next.
    pub fn take(&mut self, octet: u8) -> bool {
        let taken = self.peek() == Some(octet);
        self.at += usize::from(taken);
        taken
    }

    /// One blank, or several: some clients write two, and no argument begins with one.
    ///
    /// # Errors
    /// [`Misbehaviour::Syntax`] where there is none.
    pub fn space(&mut self) -> Result<()> {
        if !self.take(b' ') {
            return Err(Misbehaviour::Syntax);
        }
        while self.take(b' ') {}
        Ok(())
    }

    /// Blanks that some clients leave at the end of a line, then the end.
    ///
    /// # Errors
    /// [`Misbehaviour::Syntax`] if anything else follows.
    pub fn end(&mut self) -> Result<()> {
        while self.take(b' ') {}
        if self.is_at_end() { Ok(()) } else { Err(Misbehaviour::Syntax) }
    }

    /// The octets up to a blank, parenthesis or the end; may be none.
    pub fn word(&mut self) -> &'a [u8] {
        self.run(|octet| !matches!(octet, b' ' | b'(' | b')'))
    }

    fn run(&mut self, accept: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let (run, _) = rest.split_at(rest.iter().position(|octet| !accept(*octet)).unwrap_or(rest.len()));
        self.at += run.len();
        run
    }

    /// An atom, quoted string or literal (`astring`).
    ///
    /// # Errors
    /// [`Misbehaviour::Syntax`].
    pub fn astring(&mut self) -> Result<Token> {
        self.string(is_astring_char)
    }

    /// As [`Self::astring`], with wildcards in atoms (`list-mailbox`).
    ///
    /// # Errors
    /// [`Misbehaviour::Syntax`].
    pub fn list_mailbox(&mut self) -> Result<Token> {
        self.string(|octet| is_astring_char(octet) || matches!(octet, b'%' | b'*'))
    }

    fn string(&mut self, atom: impl Fn(u8) -> bool) -> Result<Token> {
        match self.peek() {
            Some(b'"') => self.quoted(),
            Some(b'{') => self.literal(),
            Some(b'~') if self.rest().get(1) == Some(&b'{') => self.literal(),
            _ => {
                let start = self.at;
                if self.run(atom).is_empty() {
                    return Err(Misbehaviour::Syntax);
                }
                Ok(Token { form: Form::Atom, span: start..self.at, content: start..self.at })
            }
        }
    }

    fn quoted(&mut self) -> Result<Token> {
        let start = self.at;
        let mut escaped = false;
        for (offset, octet) in self.rest().iter().enumerate().skip(1) {
            match octet {
                b'\r' | b'\n' | 0 => break,
                b'"' | b'\\' if escaped => escaped = false,
                // A backslash before anything else is read in two ways by two readers.
                _ if escaped => break,
                b'\\' => escaped = true,
                b'"' => {
                    self.at = start + offset + 1;
                    return Ok(Token { form: Form::Quoted, span: start..self.at, content: start + 1..start + offset });
                }
                _ => {}
            }
        }
        Err(Misbehaviour::Syntax)
    }

    fn literal(&mut self) -> Result<Token> {
        let start = self.at;
        self.take(b'~');
        self.at += 1;
        let digits = self.run(|octet| octet.is_ascii_digit());
        let octets: usize =
            std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Misbehaviour::LiteralSize)?;
        self.take(b'+');
        if !self.rest().starts_with(b"}\r\n") {
            return Err(Misbehaviour::Syntax);
        }
        self.at += 3;
        let content = self.at..self.at.checked_add(octets).ok_or(Misbehaviour::LiteralSize)?;
        if content.end > self.octets.len() {
            return Err(Misbehaviour::Syntax);
        }
        self.at = content.end;
        Ok(Token { form: Form::Literal, span: start..self.at, content })
    }

    /// A number of 32 bits.
    ///
    /// # Errors
    /// [`Misbehaviour::Syntax`] where there is none, or a larger one.
    pub fn number(&mut self) -> Result<u32> {
        let digits = self.run(|octet| octet.is_ascii_digit());
        std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Misbehaviour::Syntax)
    }

    /// A sequence set: numbers, `*`, `:` and `,` (and `$`, which only SEARCHRES gives a meaning, is none).
    ///
    /// # Errors
    /// [`Misbehaviour::Syntax`].
    pub fn sequence_set(&mut self) -> Result<Range<usize>> {
        let start = self.at;
        loop {
            self.sequence_number()?;
            if self.take(b':') {
                self.sequence_number()?;
            }
            if !self.take(b',') {
                return Ok(start..self.at);
            }
        }
    }

    fn sequence_number(&mut self) -> Result<()> {
        if self.take(b'*') {
            return Ok(());
        }
        if self.number()? == 0 { Err(Misbehaviour::Syntax) } else { Ok(()) }
    }

    /// One balanced group in parentheses, whatever is in it.
    ///
    /// # Errors
    /// [`Misbehaviour::Syntax`] if none begins here, or it does not end, or nests deeper than `nesting`.
    pub fn group(&mut self, nesting: usize) -> Result<Range<usize>> {
        let start = self.at;
        if self.peek() != Some(b'(') {
            return Err(Misbehaviour::Syntax);
        }
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Some(b'(') => {
                    depth += 1;
                    if depth > nesting {
                        return Err(Misbehaviour::Syntax);
                    }
                    self.at += 1;
                }
                Some(b')') => {
                    depth -= 1;
                    self.at += 1;
                    if depth == 0 {
                        return Ok(start..self.at);
                    }
                }
                None => return Err(Misbehaviour::Syntax),
                Some(_) => self.part()?,
            }
        }
    }

    /// One string, blank or octet of something else.
    fn part(&mut self) -> Result<()> {
        match self.peek() {
            Some(b'"') => self.quoted().map(drop),
            Some(b'{') => self.literal().map(drop),
            Some(octet) if octet >= b' ' && octet != 0x7f => {
                self.at += 1;
                Ok(())
            }
            _ => Err(Misbehaviour::Syntax),
        }
    }
}

/// RFC 3501 `ASTRING-CHAR`, and octets above ASCII: clients send folder names as people typed them, and the name is
/// then refused with words, not the line with none.
fn is_astring_char(octet: u8) -> bool {
    !matches!(octet, 0..=b' ' | 0x7f | b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\')
}

/// Writes a string as an atom where it can be one, else quoted, else (8-bit) as a literal announced with `plus`.
/// The value must not hold CR, LF or NUL: the name types promise it.
pub fn write_astring(value: &[u8], plus: bool, out: &mut Vec<u8>) {
    let atom = !value.is_empty()
        && value.iter().all(|octet| is_astring_char(*octet) && octet.is_ascii())
        && !value.eq_ignore_ascii_case(b"NIL");
    if atom {
        out.extend_from_slice(value);
    } else {
        write_string(value, plus, out);
    }
}

/// Writes a string quoted, or as a literal where it has octets above ASCII.
pub fn write_string(value: &[u8], plus: bool, out: &mut Vec<u8>) {
    if !value.iter().all(|octet| matches!(octet, b' '..=b'~')) {
        out.extend_from_slice(format!("{{{}{}}}\r\n", value.len(), if plus { "+" } else { "" }).as_bytes());
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    for &octet in value {
        if matches!(octet, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(octet);
    }
    out.push(b'"');
}

/// Runs over arguments that pass as they are: strings must close, parentheses balance, nothing may be a control octet.
/// Every word outside strings and sections is given to `word`, upper case left as it is.
///
/// # Errors
/// [`Misbehaviour::Syntax`], or what `word` refuses.
pub fn check_arguments(octets: &[u8], nesting: usize, mut word: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut cursor = Cursor::new(octets);
    let mut depth = 0_usize;
    // The words of a section, `BODY[HEADER.FIELDS (X-Priority)]`, name fields of a message.
    let (mut item, mut in_section) = (false, false);
    while let Some(octet) = cursor.peek() {
        let behind_item = std::mem::take(&mut item);
        match octet {
            b'[' => {
                in_section |= behind_item;
                cursor.at += 1;
            }
            b']' => {
                in_section = false;
                cursor.at += 1;
            }
            b'(' => {
                depth += 1;
                cursor.at += 1;
            }
            b')' => {
                depth = depth.checked_sub(1).ok_or(Misbehaviour::Syntax)?;
                cursor.at += 1;
            }
            b' ' | b'<' | b'>' => cursor.at += 1,
            b'"' | b'{' => {
                // A string that hangs on a word is read in two ways by two readers; one may take its octets for commands.
                let before = cursor.at.checked_sub(1).and_then(|at| octets.get(at));
                cursor.part()?;
                if !matches!(before, None | Some(b' ' | b'(')) || !matches!(cursor.peek(), None | Some(b' ' | b')')) {
                    return Err(Misbehaviour::Syntax);
                }
            }
            0..=0x1f | 0x7f => return Err(Misbehaviour::Syntax),
            _ => {
                let found = cursor.run(|octet| {
                    !matches!(octet, 0..=b' ' | 0x7f | b'(' | b')' | b'[' | b']' | b'<' | b'>' | b'"' | b'{')
                });
                item = SECTIONED.iter().any(|known| found.eq_ignore_ascii_case(known));
                if !in_section {
                    word(found)?;
                }
            }
        }
        if depth > nesting {
            return Err(Misbehaviour::Syntax);
        }
    }
    // A section without an end would hide words from us that a lenient provider reads.
    if depth == 0 && !in_section { Ok(()) } else { Err(Misbehaviour::Syntax) }
}

/// Items of FETCH that a section may follow (RFC 3501 section 6.4.5, RFC 3516).
const SECTIONED: [&[u8]; 5] = [b"BODY", b"BODY.PEEK", b"BINARY", b"BINARY.PEEK", b"BINARY.SIZE"];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn astring(octets: &[u8]) -> Option<(Form, Vec<u8>, usize)> {
        let mut cursor = Cursor::new(octets);
        let token = cursor.astring().ok()?;
        Some((token.form, token.value(octets).into_owned(), cursor.at()))
    }

    #[test]
    fn strings_come_in_three_forms() {
        assert_eq!(astring(b"INBOX.Sent (x)"), Some((Form::Atom, b"INBOX.Sent".to_vec(), 10)));
        assert_eq!(astring(b"[Gmail]/x"), Some((Form::Atom, b"[Gmail]/x".to_vec(), 9)));
        assert_eq!(astring(br#""a \"b\\" c"#), Some((Form::Quoted, br#"a "b\"#.to_vec(), 9)));
        assert_eq!(astring(b"{3}\r\na\r\n rest"), Some((Form::Literal, b"a\r\n".to_vec(), 8)));
        assert_eq!(astring(b"~{1+}\r\na"), Some((Form::Literal, b"a".to_vec(), 8)));
        assert_eq!(astring(b"{0}\r\n"), Some((Form::Literal, Vec::new(), 5)));
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_no_string() {
        for octets in [
            &b"\"a"[..],
            b"\"a\\",
            b"\"a\\b\"",
            b"\"a\r\nb\"",
            b"{4}\r\nabc",
            b"{x}\r\n",
            b"{3}abc",
            b"",
            b"(",
            b"a\0".split_at(1).1,
        ] {
            assert_eq!(astring(octets), None, "{octets:?}");
        }
    }

    #[test]
    fn sequence_sets() {
        for set in ["1", "*", "1:*", "4:1", "1,2:3,*:7", "4294967295"] {
            assert_eq!(Cursor::new(set.as_bytes()).sequence_set(), Ok(0..set.len()), "{set}");
        }
        for set in ["", "0", "1,", ":1", "4294967296", "$", "1:"] {
            assert!(Cursor::new(set.as_bytes()).sequence_set().is_err(), "{set}");
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |depth: usize| [vec![b'('; depth], vec![b')'; depth]].concat();
        assert!(Cursor::new(&nested(16)).group(16).is_ok());
        assert!(Cursor::new(&nested(17)).group(16).is_err());
        assert!(check_arguments(&nested(16), 16, |_| Ok(())).is_ok());
        assert!(check_arguments(&nested(17), 16, |_| Ok(())).is_err());
        assert!(check_arguments(b"(\")\"", 16, |_| Ok(())).is_err());
    }

    #[test]
    fn strings_stand_alone() {
        for line in ["TEXT foo{3}\r\nbar", "TEXT {3}\r\nbarfoo", "\"a\"\"b\"", "X\"a\"", "~{1}\r\na"] {
            assert!(check_arguments(line.as_bytes(), 16, |_| Ok(())).is_err(), "{line}");
        }
        for line in ["{1}\r\na {0}\r\n ALL", "(\"a\" \"b\")", "({1}\r\na)"] {
            assert!(check_arguments(line.as_bytes(), 16, |_| Ok(())).is_ok(), "{line}");
        }
    }

    #[test]
    fn words_are_found_outside_strings_and_sections_only() {
        let mut words = Vec::new();
        let line = b"1:* (FLAGS BODY.PEEK[HEADER.FIELDS (\"X-GM-A\" {5}\r\nX-GM-)]<0.9>) X-GM-RAW";
        check_arguments(line, 16, |word| {
            words.push(String::from_utf8_lossy(word).into_owned());
            Ok(())
        })
        .expect("well formed");
        assert_eq!(words, ["1:*", "FLAGS", "BODY.PEEK", "0.9", "X-GM-RAW"]);
    }

    proptest! {
        #[test]
        fn reading_what_was_written_gives_it_back(value in proptest::collection::vec(any::<u8>().prop_filter("no line end", |octet| !matches!(octet, b'\r' | b'\n' | 0)), 0..30), plus: bool) {
            let mut written = Vec::new();
            write_astring(&value, plus, &mut written);
            prop_assert_eq!(astring(&written).map(|(_, value, at)| (value, at)), Some((value, written.len())));
        }
    }
}
