//! What stands in the brackets of BODY[...] (RFC 3501 section 6.4.5), and the octets that it names.

use super::{Kind, Part as Node, Read, header};
use crate::{failure::Misbehaviour, model::index, wire::imap::token::Cursor};
use std::borrow::Cow;

/// Numbers of one section: deeper than any tree of parts.
const NUMBERS_MAX: usize = 64;
/// Names of one HEADER.FIELDS; clients ask for some twenty.
const NAMES_MAX: usize = 200;

/// A section: the numbers of a part, and what of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    numbers: Vec<u32>,
    part: Part,
}

/// What of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All, or the body of a numbered part.
    All,
    Header,
    Fields {
        names: Vec<Vec<u8>>,
        not: bool,
    },
    Mime,
    Text,
}

impl Section {
    /// All of the message, or what of it.
    #[must_use]
    pub fn of_message(part: Part) -> Self {
        Self { numbers: Vec::new(), part }
    }

    /// Reads what follows `[`, up to and with `]`.
    ///
    /// # Errors
    /// [`Misbehaviour::Syntax`].
    pub fn read(cursor: &mut Cursor<'_>, octets: &[u8]) -> Result<Self, Misbehaviour> {
        let mut numbers = Vec::new();
        while cursor.peek().is_some_and(|octet| octet.is_ascii_digit()) {
            numbers.push(cursor.number()?);
            if numbers.len() > NUMBERS_MAX {
                return Err(Misbehaviour::Syntax);
            }
            if !cursor.take(b'.') {
                cursor.take(b']').then_some(()).ok_or(Misbehaviour::Syntax)?;
                return Ok(Self { numbers, part: Part::All });
            }
        }
        if cursor.take(b']') {
            return if numbers.is_empty() { Ok(Self::of_message(Part::All)) } else { Err(Misbehaviour::Syntax) };
        }
        let word = word(cursor);
        let part = match word.as_slice() {
            b"HEADER" => Part::Header,
            b"TEXT" => Part::Text,
            b"MIME" if !numbers.is_empty() => Part::Mime,
            b"HEADER.FIELDS" => Part::Fields { names: names(cursor, octets)?, not: false },
            b"HEADER.FIELDS.NOT" => Part::Fields { names: names(cursor, octets)?, not: true },
            _ => return Err(Misbehaviour::Syntax),
        };
        cursor.take(b']').then_some(()).ok_or(Misbehaviour::Syntax)?;
        Ok(Self { numbers, part })
    }

    /// As it is echoed, in the brackets.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut words: Vec<String> = self.numbers.iter().map(u32::to_string).collect();
        match &self.part {
            Part::All => {}
            Part::Header => words.push("HEADER".into()),
            Part::Mime => words.push("MIME".into()),
            Part::Text => words.push("TEXT".into()),
            Part::Fields { not: false, .. } => words.push("HEADER.FIELDS".into()),
            Part::Fields { not: true, .. } => words.push("HEADER.FIELDS.NOT".into()),
        }
        out.extend_from_slice(words.join(".").as_bytes());
        if let Part::Fields { names, .. } = &self.part {
            out.extend_from_slice(b" (");
            for (index, name) in names.iter().enumerate() {
                if index > 0 {
                    out.push(b' ');
                }
                crate::wire::imap::token::write_astring(name, false, out);
            }
            out.push(b')');
        }
    }
}

/// A word up to a blank or `]`, in capitals.
fn word(cursor: &mut Cursor<'_>) -> Vec<u8> {
    let mut word = Vec::new();
    while let Some(octet) = cursor.peek().filter(|octet| octet.is_ascii_alphabetic() || *octet == b'.') {
        word.push(octet.to_ascii_uppercase());
        cursor.take(octet);
    }
    word
}

fn names(cursor: &mut Cursor<'_>, octets: &[u8]) -> Result<Vec<Vec<u8>>, Misbehaviour> {
    cursor.space()?;
    cursor.take(b'(').then_some(()).ok_or(Misbehaviour::Syntax)?;
    let mut names = Vec::new();
    loop {
        let name = cursor.astring()?.value(octets).into_owned();
        let is_name = !name.is_empty() && name.iter().all(|octet| octet.is_ascii_graphic() && *octet != b':');
        if !is_name || names.len() == NAMES_MAX {
            return Err(Misbehaviour::Syntax);
        }
        names.push(name.to_ascii_uppercase());
        if cursor.take(b')') {
            return Ok(names);
        }
        cursor.space()?;
    }
}

impl<'a> Read<'a> {
    /// The octets of a section; None where the message has no such part.
    #[must_use]
    pub fn section(&self, section: &Section) -> Option<Cow<'a, [u8]>> {
        let whole = section.numbers.is_empty();
        let node = self.node(&section.numbers)?;
        // HEADER and TEXT are those of a message, not of a part.
        let message = match &node.kind {
            _ if whole => Some(node),
            Kind::Message(inner) => Some(&**inner),
            _ => None,
        };
        match &section.part {
            Part::All if whole => Some(Cow::Borrowed(self.octets)),
            Part::All => Some(Cow::Borrowed(self.slice(&node.body))),
            Part::Mime => Some(Cow::Borrowed(self.slice(&node.header))),
            Part::Header => message.map(|message| Cow::Borrowed(self.slice(&message.header))),
            Part::Text => message.map(|message| Cow::Borrowed(self.slice(&message.body))),
            Part::Fields { names, not } => {
                message.map(|message| Cow::Owned(some_fields(self.slice(&message.header), names, *not)))
            }
        }
    }

    fn node(&self, numbers: &[u32]) -> Option<&Node> {
        let mut node = &self.root;
        let mut inside = Some(&self.root);
        for number in numbers {
            let index = index(*number).checked_sub(1)?;
            node = match inside? {
                Node { kind: Kind::Multipart(parts), .. } => parts.get(index)?,
                // The body of a message with one part is its part 1.
                single if index == 0 => single,
                _ => return None,
            };
            inside = match &node.kind {
                Kind::Leaf => None,
                Kind::Message(inner) => Some(inner),
                Kind::Multipart(_) => Some(node),
            };
        }
        Some(node)
    }
}

fn some_fields(block: &[u8], names: &[Vec<u8>], not: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for field in header::fields(block) {
        if names.iter().any(|name| field.name.eq_ignore_ascii_case(name)) != not {
            out.extend_from_slice(field.whole);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}
