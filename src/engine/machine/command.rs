//! A client's command, whole and typed. RFC 3501 section 6 and the extensions that the engine offers.
//!
//! The relay's own reading (`wire::imap::command`) finds where a name stands and passes the rest; here every argument is
//! wanted. Both stand on the same tokens.

use super::{items::Item, numbers::Set, search::Query};
use crate::{
    engine::source::{Change, Flags},
    failure::Misbehaviour,
    model::{RemoteName, Secret},
    wire::imap::token::Cursor,
};

/// Flags of one command; real clients set one or two.
const FLAGS_MAX: usize = 64;
/// Octets of a keyword.
const KEYWORD_MAX: usize = 255;
/// The system flags as they are told (RFC 3501 section 2.3.2). `\Recent` is nobody's to set.
pub(super) const SYSTEM_FLAGS: [&str; 5] = ["\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft"];

pub(super) enum Command {
    Authenticate {
        mechanism: Vec<u8>,
        initial: Option<Vec<u8>>,
    },
    Capability,
    Check,
    Close,
    Copy {
        set: Set,
        to: RemoteName,
        moves: bool,
    },
    Create(RemoteName),
    Delete(RemoteName),
    /// UID EXPUNGE has a set.
    Expunge(Option<Set>),
    Fetch {
        set: Set,
        items: Vec<Item>,
    },
    Id,
    Idle,
    List {
        reference: Vec<u8>,
        pattern: Vec<u8>,
        subscribed: bool,
    },
    Login {
        user: Vec<u8>,
        password: Secret<Vec<u8>>,
    },
    Logout,
    Namespace,
    Noop,
    Rename {
        from: RemoteName,
        to: RemoteName,
    },
    Search(Query),
    Select {
        mailbox: RemoteName,
        read_only: bool,
    },
    Status {
        mailbox: RemoteName,
        items: Vec<StatusItem>,
    },
    Store {
        set: Set,
        change: Change,
        silent: bool,
    },
    Subscribe {
        mailbox: RemoteName,
        on: bool,
    },
    Unselect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusItem {
    Messages,
    Recent,
    UidNext,
    UidValidity,
    Unseen,
}

impl StatusItem {
    const ALL: [(&'static str, Self); 5] = [
        ("MESSAGES", Self::Messages),
        ("RECENT", Self::Recent),
        ("UIDNEXT", Self::UidNext),
        ("UIDVALIDITY", Self::UidValidity),
        ("UNSEEN", Self::Unseen),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, item)| *item == self).map_or("", |(name, _)| name)
    }
}

/// The front of a command: its tag, its verb in capitals, and where its arguments begin.
pub(super) struct Front {
    pub(super) tag: Vec<u8>,
    pub(super) verb: Vec<u8>,
    pub(super) uid: bool,
    pub(super) rest: usize,
}

type Result<T> = std::result::Result<T, Misbehaviour>;

/// Reads tag and verb; None where there is no tag to answer under.
pub(super) fn front(octets: &[u8]) -> Option<Front> {
    let mut cursor = Cursor::new(octets);
    let tag = cursor.word();
    let legal = |octet: &u8| octet.is_ascii_graphic() && !b"(){%*\"\\+".contains(octet);
    if tag.is_empty() || tag.len() > crate::wire::IMAP_TAG_MAX || !tag.iter().all(legal) {
        return None;
    }
    let mut verb = cursor.space().map(|()| cursor.word().to_ascii_uppercase()).unwrap_or_default();
    let uid = verb == b"UID";
    if uid {
        verb = cursor.space().map(|()| cursor.word().to_ascii_uppercase()).unwrap_or_default();
        if ![&b"COPY"[..], b"EXPUNGE", b"FETCH", b"MOVE", b"SEARCH", b"STORE"].contains(&&verb[..]) {
            verb = Vec::new();
        }
    }
    Some(Front { tag: tag.to_vec(), verb, uid, rest: cursor.at() })
}

/// Reads a whole command, its literals included; APPEND has its own reading.
///
/// # Errors
/// What is no command of ours, or not its grammar.
pub(super) fn read(front: &Front, octets: &[u8]) -> Result<Command> {
    let mut cursor = Cursor::starting(octets, front.rest);
    let command = match &front.verb[..] {
        b"AUTHENTICATE" => {
            cursor.space()?;
            let mechanism = cursor.word().to_ascii_uppercase();
            let initial = cursor.space().ok().map(|()| cursor.word().to_vec()).filter(|initial| !initial.is_empty());
            Command::Authenticate { mechanism, initial }
        }
        b"CAPABILITY" => Command::Capability,
        b"CHECK" => Command::Check,
        b"CLOSE" => Command::Close,
        b"CREATE" => Command::Create(mailbox(&mut cursor, octets)?),
        b"COPY" | b"MOVE" => {
            let set = set(&mut cursor, octets)?;
            Command::Copy { set, to: mailbox(&mut cursor, octets)?, moves: front.verb == b"MOVE" }
        }
        b"DELETE" => Command::Delete(mailbox(&mut cursor, octets)?),
        b"EXPUNGE" if front.uid => Command::Expunge(Some(set(&mut cursor, octets)?)),
        b"EXPUNGE" => Command::Expunge(None),
        b"FETCH" => {
            let set = set(&mut cursor, octets)?;
            cursor.space()?;
            Command::Fetch { set, items: Item::read_all(&mut cursor, octets)? }
        }
        b"ID" => {
            // Who the client says it is interests nobody here.
            cursor = Cursor::starting(octets, octets.len());
            Command::Id
        }
        b"IDLE" => Command::Idle,
        b"LIST" | b"LSUB" => list(front.verb == b"LSUB", &mut cursor, octets)?,
        b"LOGIN" => {
            let user = astring(&mut cursor, octets)?;
            Command::Login { user, password: Secret::new(astring(&mut cursor, octets)?) }
        }
        b"LOGOUT" => Command::Logout,
        b"NAMESPACE" => Command::Namespace,
        b"NOOP" => Command::Noop,
        b"RENAME" => {
            let from = mailbox(&mut cursor, octets)?;
            Command::Rename { from, to: mailbox(&mut cursor, octets)? }
        }
        b"SEARCH" => Command::Search(Query::read(&mut cursor, octets)?),
        b"SELECT" | b"EXAMINE" => {
            let read_only = front.verb == b"EXAMINE";
            Command::Select { mailbox: mailbox(&mut cursor, octets)?, read_only }
        }
        b"STATUS" => status(&mut cursor, octets)?,
        b"STORE" => store(&mut cursor, octets)?,
        b"SUBSCRIBE" => Command::Subscribe { mailbox: mailbox(&mut cursor, octets)?, on: true },
        b"UNSELECT" => Command::Unselect,
        b"UNSUBSCRIBE" => Command::Subscribe { mailbox: mailbox(&mut cursor, octets)?, on: false },
        _ => return Err(Misbehaviour::Syntax),
    };
    cursor.end()?;
    Ok(command)
}

fn astring(cursor: &mut Cursor<'_>, octets: &[u8]) -> Result<Vec<u8>> {
    cursor.space()?;
    Ok(cursor.astring()?.value(octets).into_owned())
}

fn mailbox(cursor: &mut Cursor<'_>, octets: &[u8]) -> Result<RemoteName> {
    RemoteName::parse(&astring(cursor, octets)?).map_err(|_| Misbehaviour::Syntax)
}

fn set(cursor: &mut Cursor<'_>, octets: &[u8]) -> Result<Set> {
    cursor.space()?;
    Set::read(cursor, octets)
}

fn list(subscribed: bool, cursor: &mut Cursor<'_>, octets: &[u8]) -> Result<Command> {
    cursor.space()?;
    let reference = cursor.list_mailbox()?.value(octets).into_owned();
    cursor.space()?;
    let pattern = cursor.list_mailbox()?.value(octets).into_owned();
    Ok(Command::List { reference, pattern, subscribed })
}

fn status(cursor: &mut Cursor<'_>, octets: &[u8]) -> Result<Command> {
    let mailbox = mailbox(cursor, octets)?;
    cursor.space()?;
    cursor.take(b'(').then_some(()).ok_or(Misbehaviour::Syntax)?;
    let mut items = Vec::new();
    loop {
        let word = cursor.word();
        let known = StatusItem::ALL.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()));
        let (_, item) = known.ok_or(Misbehaviour::Syntax)?;
        if !items.contains(item) {
            items.push(*item);
        }
        if cursor.take(b')') {
            return Ok(Command::Status { mailbox, items });
        }
        cursor.space()?;
    }
}

fn store(cursor: &mut Cursor<'_>, octets: &[u8]) -> Result<Command> {
    let set = set(cursor, octets)?;
    cursor.space()?;
    let word = cursor.word().to_ascii_uppercase();
    let (item, silent) = word.strip_suffix(b".SILENT").map_or((&word[..], false), |item| (item, true));
    cursor.space()?;
    let flags = flags(cursor)?;
    let change = match item {
        b"+FLAGS" => Change::Add(flags),
        b"-FLAGS" => Change::Remove(flags),
        b"FLAGS" => Change::Set(flags),
        _ => return Err(Misbehaviour::Syntax),
    };
    Ok(Command::Store { set, change, silent })
}

/// Flags in parentheses, or, as STORE may have them, without.
pub(super) fn flags(cursor: &mut Cursor<'_>) -> Result<Flags> {
    let grouped = cursor.take(b'(');
    let mut flags = Flags::new();
    loop {
        let word = cursor.word();
        match flag(word)? {
            Some(_) if flags.len() == FLAGS_MAX => return Err(Misbehaviour::Syntax),
            Some(flag) => {
                flags.insert(flag);
            }
            None if word.is_empty() && !grouped => return Err(Misbehaviour::Syntax),
            None => {}
        }
        if grouped && cursor.take(b')') {
            return Ok(flags);
        }
        if cursor.space().is_err() {
            return if grouped { Err(Misbehaviour::Syntax) } else { Ok(flags) };
        }
        if cursor.is_at_end() && !grouped {
            return Ok(flags);
        }
    }
}

fn flag(word: &[u8]) -> Result<Option<Box<str>>> {
    if word.is_empty() || word.eq_ignore_ascii_case(b"\\Recent") {
        return Ok(None);
    }
    let text = std::str::from_utf8(word).map_err(|_| Misbehaviour::Syntax)?;
    if text.starts_with('\\') {
        let known = SYSTEM_FLAGS.iter().find(|flag| flag.eq_ignore_ascii_case(text));
        return known.map(|flag| Some(Box::from(*flag))).ok_or(Misbehaviour::Syntax);
    }
    let legal = |octet: u8| octet.is_ascii_graphic() && !b"(){%*\"\\]".contains(&octet);
    if text.len() > KEYWORD_MAX || !text.bytes().all(legal) {
        return Err(Misbehaviour::Syntax);
    }
    Ok(Some(text.into()))
}

/// The front of an APPEND.
pub(super) struct Append {
    pub(super) mailbox: RemoteName,
    pub(super) flags: Flags,
    pub(super) received: Option<i64>,
}

/// Reads an APPEND up to the announcement of its message, `announced_in` octets at the end. None where that literal is the
/// mailbox's name.
///
/// # Errors
/// [`Misbehaviour::Syntax`].
pub(super) fn append(front: &Front, octets: &[u8], announced_in: usize) -> Result<Option<Append>> {
    let message = octets.len().saturating_sub(announced_in);
    let mut cursor = Cursor::starting(octets, front.rest);
    cursor.space()?;
    if cursor.at() == message {
        return Ok(None);
    }
    let name = cursor.astring()?.value(octets).into_owned();
    let mailbox = RemoteName::parse(&name).map_err(|_| Misbehaviour::Syntax)?;
    cursor.space()?;
    let mut append = Append { mailbox, flags: Flags::new(), received: None };
    if cursor.peek() == Some(b'(') {
        append.flags = flags(&mut cursor)?;
        cursor.space()?;
    }
    if cursor.peek() == Some(b'"') {
        let date = cursor.astring()?.value(octets).into_owned();
        append.received = Some(super::dates::read_date_time(&date).ok_or(Misbehaviour::Syntax)?);
        cursor.space()?;
    }
    if cursor.at() == message { Ok(Some(append)) } else { Err(Misbehaviour::Syntax) }
}
