//! SEARCH (RFC 3501 section 6.4.4): its keys read, and a message held against them.

use super::{
    dates,
    numbers::{Selected, Set},
};
use crate::{
    engine::{letter::Read, source::Entry},
    failure::Misbehaviour,
    wire::{IMAP_NESTING, imap::token::Cursor},
};

/// Keys that look into messages; each costs a reading of all of them.
const CONTENT_KEYS_MAX: usize = 50;

/// What SEARCH asks.
pub(super) enum Query {
    Keys(Vec<Key>),
    /// A charset that we do not have; nothing behind it was read.
    UnknownCharset,
}

/// One key.
pub(super) enum Key {
    All(Vec<Key>),
    Before(i64),
    Body(String),
    Field(Vec<u8>, String),
    Flag(Box<str>),
    Larger(u64),
    Not(Box<Key>),
    Numbers { set: Set, by_uid: bool },
    On(i64),
    Or(Box<(Key, Key)>),
    Recent,
    SentBefore(i64),
    SentOn(i64),
    SentSince(i64),
    Since(i64),
    Smaller(u64),
    Text(String),
}

type Result<T> = std::result::Result<T, Misbehaviour>;

impl Query {
    pub(super) fn read<'a>(cursor: &mut Cursor<'a>, octets: &'a [u8]) -> Result<Self> {
        let mut reader = Reader { cursor, octets, content: 0 };
        reader.cursor.space()?;
        let start = reader.cursor.clone();
        if reader.cursor.word().eq_ignore_ascii_case(b"CHARSET") {
            reader.cursor.space()?;
            let charset = reader.cursor.astring()?.value(octets).into_owned();
            if ![&b"UTF-8"[..], b"US-ASCII"].iter().any(|known| charset.eq_ignore_ascii_case(known)) {
                *reader.cursor = Cursor::starting(octets, octets.len());
                return Ok(Self::UnknownCharset);
            }
            reader.cursor.space()?;
        } else {
            *reader.cursor = start;
        }
        let mut keys = vec![reader.key(0)?];
        while reader.cursor.space().is_ok() && !reader.cursor.is_at_end() {
            keys.push(reader.key(0)?);
        }
        Ok(Self::Keys(keys))
    }
}

struct Reader<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    octets: &'a [u8],
    /// Keys so far that look into messages.
    content: usize,
}

impl Reader<'_, '_> {
    fn key(&mut self, depth: usize) -> Result<Key> {
        if depth > IMAP_NESTING {
            return Err(Misbehaviour::Syntax);
        }
        match self.cursor.peek() {
            Some(b'(') => return self.group(depth),
            Some(b'0'..=b'9' | b'*') => {
                return Ok(Key::Numbers { set: Set::read(self.cursor, self.octets)?, by_uid: false });
            }
            _ => {}
        }
        let word = self.cursor.word().to_ascii_uppercase();
        if let Some(key) = of_flags(&word) {
            return Ok(key);
        }
        self.cursor.space()?;
        Ok(match &word[..] {
            b"BEFORE" => Key::Before(self.day()?),
            b"BODY" => Key::Body(self.sought()?),
            b"BCC" | b"CC" | b"FROM" | b"SUBJECT" | b"TO" => Key::Field(word, self.sought()?),
            b"HEADER" => {
                let name = self.string()?;
                self.cursor.space()?;
                Key::Field(name, self.sought()?)
            }
            b"KEYWORD" => Key::Flag(self.keyword()?),
            b"UNKEYWORD" => not(Key::Flag(self.keyword()?)),
            b"LARGER" => Key::Larger(u64::from(self.cursor.number()?)),
            b"SMALLER" => Key::Smaller(u64::from(self.cursor.number()?)),
            b"NOT" => not(self.key(depth + 1)?),
            b"OR" => {
                let first = self.key(depth + 1)?;
                self.cursor.space()?;
                Key::Or(Box::new((first, self.key(depth + 1)?)))
            }
            b"ON" => Key::On(self.day()?),
            b"SENTBEFORE" => Key::SentBefore(self.sent()?),
            b"SENTON" => Key::SentOn(self.sent()?),
            b"SENTSINCE" => Key::SentSince(self.sent()?),
            b"SINCE" => Key::Since(self.day()?),
            b"TEXT" => Key::Text(self.sought()?),
            b"UID" => Key::Numbers { set: Set::read(self.cursor, self.octets)?, by_uid: true },
            _ => return Err(Misbehaviour::Syntax),
        })
    }

    fn group(&mut self, depth: usize) -> Result<Key> {
        self.cursor.take(b'(');
        let mut keys = vec![self.key(depth + 1)?];
        while !self.cursor.take(b')') {
            self.cursor.space()?;
            keys.push(self.key(depth + 1)?);
        }
        Ok(Key::All(keys))
    }

    fn string(&mut self) -> Result<Vec<u8>> {
        Ok(self.cursor.astring()?.value(self.octets).into_owned())
    }

    /// A text to be found, in lower case.
    fn sought(&mut self) -> Result<String> {
        self.content()?;
        Ok(String::from_utf8_lossy(&self.string()?).to_lowercase())
    }

    fn content(&mut self) -> Result<()> {
        self.content += 1;
        if self.content > CONTENT_KEYS_MAX { Err(Misbehaviour::Syntax) } else { Ok(()) }
    }

    fn keyword(&mut self) -> Result<Box<str>> {
        let word = self.cursor.word();
        std::str::from_utf8(word).ok().filter(|word| !word.is_empty()).map(Box::from).ok_or(Misbehaviour::Syntax)
    }

    fn day(&mut self) -> Result<i64> {
        dates::read_day(&self.string()?).ok_or(Misbehaviour::Syntax)
    }

    fn sent(&mut self) -> Result<i64> {
        self.content()?;
        self.day()
    }
}

fn not(key: Key) -> Key {
    Key::Not(Box::new(key))
}

/// The keys without arguments.
fn of_flags(word: &[u8]) -> Option<Key> {
    let flag = |name: &str| Key::Flag(name.into());
    Some(match word {
        b"ALL" => Key::All(Vec::new()),
        b"ANSWERED" => flag("\\Answered"),
        b"DELETED" => flag("\\Deleted"),
        b"DRAFT" => flag("\\Draft"),
        b"FLAGGED" => flag("\\Flagged"),
        b"NEW" => Key::All(vec![Key::Recent, not(flag("\\Seen"))]),
        b"OLD" => not(Key::Recent),
        b"RECENT" => Key::Recent,
        b"SEEN" => flag("\\Seen"),
        b"UNANSWERED" => not(flag("\\Answered")),
        b"UNDELETED" => not(flag("\\Deleted")),
        b"UNDRAFT" => not(flag("\\Draft")),
        b"UNFLAGGED" => not(flag("\\Flagged")),
        b"UNSEEN" => not(flag("\\Seen")),
        _ => return None,
    })
}

impl Key {
    /// Whether a message's octets are needed.
    pub(super) fn reads(&self) -> bool {
        match self {
            Self::All(keys) => keys.iter().any(Self::reads),
            Self::Not(key) => key.reads(),
            Self::Or(keys) => keys.0.reads() || keys.1.reads(),
            Self::Body(_)
            | Self::Field(..)
            | Self::SentBefore(_)
            | Self::SentOn(_)
            | Self::SentSince(_)
            | Self::Text(_) => true,
            _ => false,
        }
    }

    /// Replaces the sets of numbers by the UIDs that they name now: to look each one up anew would cost their product.
    pub(super) fn resolve(&mut self, selected: &Selected) {
        match self {
            Self::All(keys) => keys.iter_mut().for_each(|key| key.resolve(selected)),
            Self::Not(key) => key.resolve(selected),
            Self::Or(keys) => {
                keys.0.resolve(selected);
                keys.1.resolve(selected);
            }
            Self::Numbers { set, by_uid } if !*by_uid => {
                *set = Set::of(&selected.uids(set, false));
                *by_uid = true;
            }
            Self::Numbers { set, .. } => *set = Set::of(&selected.uids(set, true)),
            _ => {}
        }
    }

    /// Whether a message fits. `letter` is there where [`Self::reads`]; sets are resolved.
    pub(super) fn fits(&self, entry: &Entry, selected: &Selected, letter: Option<&Read<'_>>) -> bool {
        let day = entry.received.div_euclid(86_400);
        let sent = |fits: &dyn Fn(i64) -> bool| letter.and_then(Read::day_sent).is_some_and(fits);
        match self {
            Self::All(keys) => keys.iter().all(|key| key.fits(entry, selected, letter)),
            Self::Before(other) => day < *other,
            Self::Body(text) => letter.is_some_and(|letter| letter.body_holds(text)),
            Self::Field(name, text) => letter.is_some_and(|letter| letter.field_holds(name, text)),
            Self::Flag(flag) => entry.flags.iter().any(|own| own.eq_ignore_ascii_case(flag)),
            Self::Larger(octets) => entry.octets > *octets,
            Self::Not(key) => !key.fits(entry, selected, letter),
            Self::Numbers { set, .. } => set.has(entry.uid),
            Self::On(other) => day == *other,
            Self::Or(keys) => keys.0.fits(entry, selected, letter) || keys.1.fits(entry, selected, letter),
            Self::Recent => selected.recent.contains(&entry.uid),
            Self::SentBefore(other) => sent(&|day| day < *other),
            Self::SentOn(other) => sent(&|day| day == *other),
            Self::SentSince(other) => sent(&|day| day >= *other),
            Self::Since(other) => day >= *other,
            Self::Smaller(octets) => entry.octets < *octets,
            Self::Text(text) => letter.is_some_and(|letter| letter.holds(text)),
        }
    }
}
