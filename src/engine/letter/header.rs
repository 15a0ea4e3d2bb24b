//! The fields of a header block as they stand there: RFC 5322 section 2.2, read leniently and never decoded.

/// One field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) name: &'a [u8],
    /// Behind the colon, folded as it came, without the last line end.
    pub(super) value: &'a [u8],
    /// All of it, the line end included.
    pub(super) whole: &'a [u8],
}

/// The length of the header of a message, the empty line included.
pub(super) fn length(octets: &[u8]) -> usize {
    let mut at = 0;
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        at += line.len();
        if matches!(line, b"\r\n" | b"\n") {
            break;
        }
    }
    at
}

/// The fields of a block. Lines that are no field are passed over.
pub(super) fn fields(block: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut rest = block;
    std::iter::from_fn(move || {
        loop {
            let length = field_length(rest);
            let (whole, behind) = rest.split_at_checked(length).filter(|(whole, _)| !whole.is_empty())?;
            rest = behind;
            if let Some(field) = field(whole) {
                return Some(field);
            }
        }
    })
}

/// A line and the folded ones behind it.
fn field_length(octets: &[u8]) -> usize {
    let mut at = 0;
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        if at > 0 && !matches!(line.first(), Some(b' ' | b'\t')) {
            break;
        }
        at += line.len();
    }
    at
}

fn field(whole: &[u8]) -> Option<Field<'_>> {
    let colon = memchr::memchr(b':', whole)?;
    let name = whole.get(..colon)?.trim_ascii_end();
    let value = whole.get(colon + 1..)?;
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    let value = value.strip_suffix(b"\r").unwrap_or(value);
    let is_name = !name.is_empty() && name.iter().all(|octet| octet.is_ascii_graphic());
    is_name.then_some(Field { name, value, whole })
}

/// The first field of this name, without its folds; None where it is not there.
pub(super) fn value(block: &[u8], name: &str) -> Option<Vec<u8>> {
    fields(block).find(|field| field.name.eq_ignore_ascii_case(name.as_bytes())).map(|field| unfold(field.value))
}

/// On one line, blanks around it cut. A NUL, which no string of IMAP carries, is lost.
pub(super) fn unfold(value: &[u8]) -> Vec<u8> {
    let line: Vec<u8> = value.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n' | 0)).collect();
    line.trim_ascii().to_vec()
}

/// `type/subtype; name=value`, or a disposition, which has no slash.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Typed {
    pub(super) kind: Vec<u8>,
    pub(super) subtype: Vec<u8>,
    pub(super) parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Parameters of one field.
const PARAMETERS_MAX: usize = 100;

impl Typed {
    /// None where there is no type.
    pub(super) fn read(value: &[u8]) -> Option<Self> {
        let mut words = Words { rest: value };
        let kind = words.word(b"/;")?;
        let subtype = if words.take(b'/') { words.word(b";").unwrap_or_default() } else { Vec::new() };
        let mut parameters = Vec::new();
        while parameters.len() < PARAMETERS_MAX {
            while words.take(b';') {}
            let Some(name) = words.word(b"=;") else { break };
            if words.take(b'=') {
                parameters.push((name, words.word(b";").unwrap_or_default()));
            }
        }
        Some(Self { kind, subtype, parameters })
    }

    /// A message in a message.
    pub(super) fn is_message(&self) -> bool {
        let known = [&b"rfc822"[..], b"global"];
        self.kind.eq_ignore_ascii_case(b"message") && known.iter().any(|sub| self.subtype.eq_ignore_ascii_case(sub))
    }

    /// What separates the parts of a multipart.
    pub(super) fn boundary(&self) -> Option<&[u8]> {
        let (_, value) = self.parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(b"boundary"))?;
        let value = value.trim_ascii_end();
        (self.kind.eq_ignore_ascii_case(b"multipart") && (1..=BOUNDARY_MAX).contains(&value.len())).then_some(value)
    }
}

/// RFC 2046 allows 70 octets; some write more.
const BOUNDARY_MAX: usize = 1_000;

/// Words, quoted strings and comments of a structured field (RFC 2045 section 5.1).
struct Words<'a> {
    rest: &'a [u8],
}

impl Words<'_> {
    fn skip(&mut self) {
        loop {
            self.rest = self.rest.trim_ascii_start();
            if self.rest.first() != Some(&b'(') {
                return;
            }
            let mut depth = 0_usize;
            let mut escaped = false;
            let end = self.rest.iter().position(|octet| {
                match octet {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'(' => depth += 1,
                    b')' => depth -= 1,
                    _ => {}
                }
                depth == 0
            });
            self.rest = end.and_then(|end| self.rest.get(end + 1..)).unwrap_or_default();
        }
    }

    fn take(&mut self, octet: u8) -> bool {
        self.skip();
        let taken = self.rest.first() == Some(&octet);
        if taken {
            self.rest = self.rest.get(1..).unwrap_or_default();
        }
        taken
    }

    /// A quoted string, or what stands before blanks and these ends. None at the end or at one of the ends.
    fn word(&mut self, ends: &[u8]) -> Option<Vec<u8>> {
        self.skip();
        if self.rest.first() == Some(&b'"') {
            return Some(self.quoted());
        }
        let stops = |octet: &u8| octet.is_ascii_whitespace() || ends.contains(octet);
        let length = self.rest.iter().position(stops).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(length);
        // What stands behind a blank belongs to nothing.
        let junk = rest.trim_ascii_start();
        let junk =
            if junk.first() == Some(&b'(') { 0 } else { junk.iter().take_while(|o| !b"=;/".contains(o)).count() };
        self.rest = rest.trim_ascii_start().get(junk..).unwrap_or_default();
        (!word.is_empty()).then(|| word.to_vec())
    }

    fn quoted(&mut self) -> Vec<u8> {
        let mut value = Vec::new();
        let mut escaped = false;
        for (at, &octet) in self.rest.iter().enumerate().skip(1) {
            match octet {
                _ if escaped => {
                    value.push(octet);
                    escaped = false;
                }
                b'\\' => escaped = true,
                b'"' => {
                    self.rest = self.rest.get(at + 1..).unwrap_or_default();
                    return value;
                }
                _ => value.push(octet),
            }
        }
        self.rest = &[];
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_as_they_stand() {
        let block = b"A: one\r\n two\r\nno field\r\nB :x\r\n\r\n";
        let found: Vec<_> = fields(block).map(|field| (field.name, field.value)).collect();
        assert_eq!(found, [(&b"A"[..], &b" one\r\n two"[..]), (b"B", b"x")]);
        assert_eq!(value(block, "a").as_deref(), Some(&b"one two"[..]));
        assert_eq!((length(b"A: b\r\n\r\nrest"), length(b"A: b"), length(b"\r\nx")), (8, 4, 2));
    }

    #[test]
    fn types_and_parameters() {
        let read = |value: &str| {
            let typed = Typed::read(value.as_bytes()).expect("a type");
            let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
            let mut said = vec![format!("{}/{}", text(&typed.kind), text(&typed.subtype))];
            said.extend(typed.parameters.iter().map(|(name, value)| format!("{}={}", text(name), text(value))));
            said.join("|")
        };
        assert_eq!(read("text/plain"), "text/plain");
        assert_eq!(
            read(" text / plain ; charset = \"us-ascii\" (a (nested) comment);x=1"),
            "text/plain|charset=us-ascii|x=1"
        );
        assert_eq!(
            read("attachment; filename*0*=UTF-8''a%20;;filename*1*=b.pdf;"),
            "attachment/|filename*0*=UTF-8''a%20|filename*1*=b.pdf"
        );
        assert_eq!(read("text/html; charset=; name=\"a\\\"b;c"), "text/html|charset=|name=a\"b;c");
        assert_eq!(Typed::read(b" ;x=1"), None);
    }
}
