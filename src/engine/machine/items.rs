//! What FETCH asks for, and how it is told. RFC 3501 sections 6.4.5 and 7.4.2.

use super::{dates, numbers::Selected};
use crate::{
    engine::{
        letter::{Read, Section, SectionPart},
        source::Entry,
    },
    failure::Misbehaviour,
    model::index,
    wire::imap::token::Cursor,
};

/// Items of one FETCH; clients ask for some ten.
const ITEMS_MAX: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Envelope,
    Flags,
    InternalDate,
    Section { section: Section, peek: bool, partial: Option<(u32, u32)>, name: Name },
    Size,
    Structure { extension: bool },
    Uid,
}

/// How a section was asked for, and is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Body,
    /// RFC822, RFC822.HEADER, RFC822.TEXT
    Old(&'static str),
}

type Result<T> = std::result::Result<T, Misbehaviour>;

impl Item {
    /// One item, a macro, or a list of items.
    pub(super) fn read_all(cursor: &mut Cursor<'_>, octets: &[u8]) -> Result<Vec<Self>> {
        if !cursor.take(b'(') {
            let start = cursor.clone();
            let word = cursor.word().to_ascii_uppercase();
            let (all, structure) = ([Self::Flags, Self::InternalDate, Self::Size, Self::Envelope], [Self::BODY]);
            return match &word[..] {
                b"FAST" => Ok(all[..3].to_vec()),
                b"ALL" => Ok(all.to_vec()),
                b"FULL" => Ok([&all[..], &structure].concat()),
                _ => {
                    *cursor = start;
                    Ok(vec![Self::read(cursor, octets)?])
                }
            };
        }
        let mut items = Vec::new();
        loop {
            let item = Self::read(cursor, octets)?;
            if items.len() == ITEMS_MAX {
                return Err(Misbehaviour::Syntax);
            }
            if !items.contains(&item) {
                items.push(item);
            }
            if cursor.take(b')') {
                return Ok(items);
            }
            cursor.space()?;
        }
    }

    const BODY: Self = Self::Structure { extension: false };

    fn read(cursor: &mut Cursor<'_>, octets: &[u8]) -> Result<Self> {
        let mut word = Vec::new();
        while let Some(octet) = cursor.peek().filter(|octet| octet.is_ascii_alphanumeric() || *octet == b'.') {
            word.push(octet.to_ascii_uppercase());
            cursor.take(octet);
        }
        let old = |part, peek, name| Self::Section {
            section: Section::of_message(part),
            peek,
            partial: None,
            name: Name::Old(name),
        };
        let peek = match &word[..] {
            b"ENVELOPE" => return Ok(Self::Envelope),
            b"FLAGS" => return Ok(Self::Flags),
            b"INTERNALDATE" => return Ok(Self::InternalDate),
            b"RFC822.SIZE" => return Ok(Self::Size),
            b"UID" => return Ok(Self::Uid),
            b"BODYSTRUCTURE" => return Ok(Self::Structure { extension: true }),
            b"RFC822" => return Ok(old(SectionPart::All, false, "RFC822")),
            b"RFC822.HEADER" => return Ok(old(SectionPart::Header, true, "RFC822.HEADER")),
            b"RFC822.TEXT" => return Ok(old(SectionPart::Text, false, "RFC822.TEXT")),
            b"BODY" if cursor.peek() != Some(b'[') => return Ok(Self::BODY),
            b"BODY" => false,
            b"BODY.PEEK" => true,
            _ => return Err(Misbehaviour::Syntax),
        };
        cursor.take(b'[').then_some(()).ok_or(Misbehaviour::Syntax)?;
        let section = Section::read(cursor, octets)?;
        let partial = if cursor.take(b'<') { Some(partial(cursor)?) } else { None };
        Ok(Self::Section { section, peek, partial, name: Name::Body })
    }

    /// Whether the message's octets are needed.
    pub(super) fn reads(&self) -> bool {
        matches!(self, Self::Envelope | Self::Section { .. } | Self::Structure { .. })
    }

    /// Whether telling it marks the message as seen.
    pub(super) fn marks_seen(&self) -> bool {
        matches!(self, Self::Section { peek: false, .. })
    }

    /// Tells it. `letter` is there where [`Self::reads`].
    pub(super) fn write(&self, entry: &Entry, selected: &Selected, letter: Option<&Read<'_>>, out: &mut Vec<u8>) {
        match (self, letter) {
            (Self::Flags, _) => {
                out.extend_from_slice(b"FLAGS ");
                selected.write_flags(entry, out);
            }
            (Self::Uid, _) => out.extend_from_slice(format!("UID {}", entry.uid).as_bytes()),
            (Self::Size, _) => out.extend_from_slice(format!("RFC822.SIZE {}", entry.octets).as_bytes()),
            (Self::InternalDate, _) => {
                let date = dates::write_date_time(entry.received);
                out.extend_from_slice(format!("INTERNALDATE \"{date}\"").as_bytes());
            }
            (Self::Envelope, Some(letter)) => {
                out.extend_from_slice(b"ENVELOPE ");
                letter.write_envelope(out);
            }
            (Self::Structure { extension }, Some(letter)) => {
                out.extend_from_slice(if *extension { b"BODYSTRUCTURE " } else { b"BODY " });
                letter.write_structure(*extension, out);
            }
            (Self::Section { section, partial, name, .. }, Some(letter)) => {
                write_section(section, *partial, *name, letter, out);
            }
            (_, None) => {}
        }
    }
}

fn partial(cursor: &mut Cursor<'_>) -> Result<(u32, u32)> {
    let start = cursor.number()?;
    cursor.take(b'.').then_some(()).ok_or(Misbehaviour::Syntax)?;
    let length = cursor.number()?;
    let fits = length > 0 && cursor.take(b'>');
    fits.then_some((start, length)).ok_or(Misbehaviour::Syntax)
}

fn write_section(section: &Section, partial: Option<(u32, u32)>, name: Name, letter: &Read<'_>, out: &mut Vec<u8>) {
    match name {
        Name::Old(name) => out.extend_from_slice(name.as_bytes()),
        Name::Body => {
            out.extend_from_slice(b"BODY[");
            section.write(out);
            out.push(b']');
        }
    }
    if let Some((start, _)) = partial {
        out.extend_from_slice(format!("<{start}>").as_bytes());
    }
    let Some(octets) = letter.section(section) else {
        out.extend_from_slice(b" NIL");
        return;
    };
    let octets = match partial {
        Some((start, length)) => {
            let start = index(start).min(octets.len());
            octets.get(start..start.saturating_add(index(length)).min(octets.len())).unwrap_or_default()
        }
        None => &octets,
    };
    out.extend_from_slice(format!(" {{{}}}\r\n", octets.len()).as_bytes());
    out.extend_from_slice(octets);
}
