//! A provider's response, read from the first octets of its line: what kind it is, and where a name or number stands.
//! RFC 3501 section 7.
//!
//! It must not judge what may pass, and never looks into FETCH.

use super::{
    Capabilities,
    token::{Cursor, Token},
};
use crate::{
    failure::Misbehaviour,
    model::{Attributes, Role},
};
use std::ops::Range;

/// A response, by the first octets of its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response<'a> {
    /// `+ …`
    Continuation(&'a [u8]),
    /// `* KIND …` or `* n KIND …`
    Data { kind: Kind, number: Option<u32>, rest: usize },
    /// `* OK …`, or under a tag.
    Status { tag: Option<&'a [u8]>, status: Status<'a> },
}

/// The kinds of untagged data that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Capability,
    Esearch,
    Exists,
    Expunge,
    Fetch,
    Flags,
    List,
    Lsub,
    Namespace,
    Recent,
    Search,
    Sort,
    Status,
    Thread,
    /// Anything else.
    Unknown,
}

/// A status response's condition (section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Ok,
    No,
    Bad,
    Bye,
    Preauth,
}

impl Condition {
    /// As on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::No => "NO",
            Self::Bad => "BAD",
            Self::Bye => "BYE",
            Self::Preauth => "PREAUTH",
        }
    }
}

/// Condition, code and words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status<'a> {
    pub condition: Condition,
    pub code: Option<Code<'a>>,
    /// The text for people.
    pub words: &'a [u8],
}

/// A response code: `[NAME arguments]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code<'a> {
    pub name: &'a [u8],
    pub arguments: &'a [u8],
}

/// Reads the front of a response.
///
/// # Errors
/// [`Misbehaviour::Syntax`] for a line that is no response at all.
pub fn read(line: &[u8]) -> Result<Response<'_>, Misbehaviour> {
    if let Some(rest) = line.strip_prefix(b"+") {
        return Ok(Response::Continuation(rest.strip_prefix(b" ").unwrap_or(rest)));
    }
    let mut cursor = Cursor::new(line);
    let tag = cursor.word();
    let untagged = tag == b"*";
    cursor.space()?;
    let word = cursor.word();
    if let Some(condition) = condition(word) {
        let text = cursor.rest();
        let status = read_status(condition, text.strip_prefix(b" ").unwrap_or(text));
        return Ok(Response::Status { tag: (!untagged).then_some(tag), status });
    }
    if !untagged || word.is_empty() {
        return Err(Misbehaviour::Syntax);
    }
    let number = std::str::from_utf8(word).ok().and_then(|digits| digits.parse().ok());
    if number.is_none() {
        return Ok(Response::Data { kind: kind(word, false), number, rest: cursor.at() });
    }
    cursor.space()?;
    let word = cursor.word();
    Ok(Response::Data { kind: kind(word, true), number, rest: cursor.at() })
}

fn condition(word: &[u8]) -> Option<Condition> {
    use Condition::{Bad, Bye, No, Ok, Preauth};
    [Ok, No, Bad, Bye, Preauth].into_iter().find(|condition| word.eq_ignore_ascii_case(condition.name().as_bytes()))
}

fn kind(word: &[u8], numbered: bool) -> Kind {
    const PLAIN: &[(&[u8], Kind)] = &[
        (b"CAPABILITY", Kind::Capability),
        (b"ESEARCH", Kind::Esearch),
        (b"FLAGS", Kind::Flags),
        (b"LIST", Kind::List),
        (b"LSUB", Kind::Lsub),
        (b"NAMESPACE", Kind::Namespace),
        (b"SEARCH", Kind::Search),
        (b"SORT", Kind::Sort),
        (b"STATUS", Kind::Status),
        (b"THREAD", Kind::Thread),
    ];
    const NUMBERED: &[(&[u8], Kind)] =
        &[(b"EXISTS", Kind::Exists), (b"EXPUNGE", Kind::Expunge), (b"FETCH", Kind::Fetch), (b"RECENT", Kind::Recent)];
    let table = if numbered { NUMBERED } else { PLAIN };
    table.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map_or(Kind::Unknown, |(_, kind)| *kind)
}

fn read_status(condition: Condition, text: &[u8]) -> Status<'_> {
    let code = text.strip_prefix(b"[").and_then(|inner| {
        // A bracket ends a code only with a blank behind it, or at the end: URLs and names have brackets too.
        let ends = |at: &usize| inner.get(*at) == Some(&b']') && matches!(inner.get(at + 1), None | Some(b' '));
        let end = (0..inner.len()).find(ends)?;
        let (inner, words) = inner.split_at(end);
        let mut cursor = Cursor::new(inner);
        let name = cursor.word();
        let arguments = cursor.rest();
        let code = Code { name, arguments: arguments.strip_prefix(b" ").unwrap_or(arguments) };
        is_code_name(name).then(|| (code, words.get(1..).unwrap_or_default()))
    });
    match code {
        Some((code, words)) => Status { condition, code: Some(code), words: words.trim_ascii() },
        // What begins like a code and is none could be read as one by the next reader.
        None if text.starts_with(b"[") => Status { condition, code: None, words: b"" },
        None => Status { condition, code: None, words: text.trim_ascii() },
    }
}

/// Exchange greets with `[base64 of its host]` at the end, and some hosts put words in brackets at the start.
fn is_code_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.'))
}

/// A LIST or LSUB line, read from its whole octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub attributes: Attributes,
    pub role: Option<Role>,
    /// `\NonExistent` of RFC 5258: a name that is only subscribed, or only a parent.
    pub nonexistent: bool,
    pub delimiter: Option<u8>,
    pub name: Token,
}

/// Reads `(attributes) delimiter name`, from the offset that [`read`] gave. What an extended LIST adds behind is left.
///
/// # Errors
/// [`Misbehaviour::Syntax`] and kin.
pub fn listed(octets: &[u8], rest: usize) -> Result<Listed, Misbehaviour> {
    let mut cursor = Cursor::starting(octets, rest);
    cursor.space()?;
    let flags = cursor.group(1)?;
    cursor.space()?;
    let delimiter = if cursor.peek() == Some(b'"') {
        cursor.astring()?.value(octets).first().copied()
    } else {
        let word = cursor.word();
        if !word.eq_ignore_ascii_case(b"NIL") {
            return Err(Misbehaviour::Syntax);
        }
        None
    };
    cursor.space()?;
    let name = cursor.list_mailbox()?;
    let flags = octets.get(flags).unwrap_or_default();
    let has = |flag: &str| {
        flags.split(|octet| matches!(octet, b' ' | b'(' | b')')).any(|word| word.eq_ignore_ascii_case(flag.as_bytes()))
    };
    let nonexistent = has("\\NonExistent");
    Ok(Listed {
        attributes: Attributes { no_select: nonexistent || has("\\Noselect"), no_inferiors: has("\\Noinferiors") },
        role: Role::ALL.into_iter().find(|role| has(role.attribute())),
        nonexistent,
        delimiter,
        name,
    })
}

/// What stands before the names of one namespace, and its delimiter.
pub type Prefix = (Vec<u8>, Option<u8>);

/// The three parts of a NAMESPACE response (RFC 2342): prefixes with their delimiters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    pub personal: Vec<Prefix>,
    /// Of other users, and shared: their prefixes.
    pub foreign: Vec<Vec<u8>>,
}

/// Reads a NAMESPACE response from the offset that [`read`] gave.
///
/// # Errors
/// [`Misbehaviour::Syntax`] and kin; [`Misbehaviour::TooManyMailboxes`] for prefixes that nobody could compare with
/// thousands of names.
pub fn namespaces(octets: &[u8], rest: usize) -> Result<Namespaces, Misbehaviour> {
    let mut cursor = Cursor::starting(octets, rest);
    let mut found = Namespaces::default();
    for part in 0..3 {
        cursor.space()?;
        if cursor.peek() != Some(b'(') {
            if !cursor.word().eq_ignore_ascii_case(b"NIL") {
                return Err(Misbehaviour::Syntax);
            }
            continue;
        }
        let span = cursor.group(4)?;
        for (prefix, delimiter) in prefixes(octets, span)? {
            if part == 0 {
                found.personal.push((prefix, delimiter));
            } else {
                found.foreign.push(prefix);
            }
            if found.personal.len() + found.foreign.len() > super::NAMESPACES_MAX {
                return Err(Misbehaviour::TooManyMailboxes);
            }
        }
    }
    Ok(found)
}

fn prefixes(octets: &[u8], span: Range<usize>) -> Result<Vec<Prefix>, Misbehaviour> {
    let inner = octets.get(span.start + 1..span.end - 1).unwrap_or_default();
    let mut cursor = Cursor::new(inner);
    let mut found = Vec::new();
    while !cursor.is_at_end() {
        while cursor.take(b' ') {}
        if cursor.is_at_end() {
            break;
        }
        let group = cursor.group(3)?;
        let mut item = Cursor::starting(inner, group.start + 1);
        let prefix = item.astring()?.value(inner).into_owned();
        item.space()?;
        let delimiter = if item.peek() == Some(b'"') { item.astring()?.value(inner).first().copied() } else { None };
        found.push((prefix, delimiter));
    }
    Ok(found)
}

/// The words of a CAPABILITY list.
#[must_use]
pub fn capabilities(words: &[u8]) -> Capabilities {
    let words = words.split(|octet| *octet == b' ').filter_map(|word| std::str::from_utf8(word).ok());
    let words = words.filter(|word| !word.is_empty() && word.len() <= 64).take(super::CAPABILITIES_MAX);
    Capabilities(words.map(|word| word.to_ascii_uppercase().into()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tag, condition, code and words, joined by `|`.
    fn status(line: &[u8]) -> Option<String> {
        let Ok(Response::Status { tag, status }) = read(line) else { return None };
        let text =
            |octets: Option<&[u8]>| octets.map_or("-".into(), |octets| String::from_utf8_lossy(octets).into_owned());
        let code = status.code.map(|code| code.name);
        Some([text(tag), status.condition.name().into(), text(code), text(Some(status.words))].join("|"))
    }

    #[test]
    fn status_responses_have_condition_code_and_words() {
        for (line, read) in [
            ("* OK [UIDVALIDITY 3] valid", "-|OK|UIDVALIDITY|valid"),
            ("a1 no  two  words ", "a1|NO|-|two  words"),
            ("* OK", "-|OK|-|"),
            ("* BYE [ALERT] x", "-|BYE|ALERT|x"),
            ("* OK ready. [UwBJADIA]", "-|OK|-|ready. [UwBJADIA]"),
            ("* NO [REFERRAL imap://[::1]/x] moved", "-|NO|REFERRAL|moved"),
            ("* NO [UIDNEXT 7", "-|NO|-|"),
            ("* NO [UIDVALIDITY 7]x", "-|NO|-|"),
            ("* NO [Gmail]/x is slow", "-|NO|-|"),
        ] {
            assert_eq!(status(line.as_bytes()).as_deref(), Some(read));
        }
    }

    #[test]
    fn data_is_told_apart_by_its_word() {
        let kind = |line: &[u8]| match read(line) {
            Ok(Response::Data { kind, number, .. }) => Some((kind, number)),
            _ => None,
        };
        assert_eq!(kind(b"* 12 FETCH (FLAGS ())"), Some((Kind::Fetch, Some(12))));
        assert_eq!(kind(b"* 0 exists"), Some((Kind::Exists, Some(0))));
        assert_eq!(kind(b"* SEARCH"), Some((Kind::Search, None)));
        assert_eq!(kind(b"* VANISHED 1:3"), Some((Kind::Unknown, None)));
        assert_eq!(kind(b"* FETCH x"), Some((Kind::Unknown, None)));
        assert!(read(b"garbage").is_err());
        assert!(read(b"a1 FETCH").is_err());
        assert!(read(b"").is_err());
    }

    #[test]
    fn list_lines_of_real_providers() {
        let read_list = |line: &[u8]| {
            let Ok(Response::Data { rest, .. }) = read(line) else { return None };
            let found = listed(line, rest).ok()?;
            Some((found.name.value(line).into_owned(), found.delimiter, found.role, found.attributes.no_select))
        };
        assert_eq!(
            read_list(b"* LIST (\\HasNoChildren \\Sent) \"/\" \"[Gmail]/Messages envoy&AOk-s\""),
            Some((b"[Gmail]/Messages envoy&AOk-s".to_vec(), Some(b'/'), Some(Role::Sent), false))
        );
        assert_eq!(read_list(b"* LIST () NIL INBOX"), Some((b"INBOX".to_vec(), None, None, false)));
        assert_eq!(
            read_list(b"* LSUB (\\NOSELECT) \".\" {7}\r\nINBOX.a"),
            Some((b"INBOX.a".to_vec(), Some(b'.'), None, true))
        );
        assert_eq!(
            read_list(b"* LIST (\\sent) \"\\\\\" a"),
            Some((b"a".to_vec(), Some(b'\\'), Some(Role::Sent), false))
        );
        assert_eq!(read_list(b"* LIST (\\Sent \"/\" a"), None);
    }

    #[test]
    fn namespaces_of_real_providers() {
        let read_namespaces = |line: &[u8]| match read(line) {
            Ok(Response::Data { kind: Kind::Namespace, rest, .. }) => namespaces(line, rest).ok(),
            _ => None,
        };
        let cyrus =
            read_namespaces(b"* NAMESPACE ((\"INBOX.\" \".\")) ((\"user.\" \".\")) ((\"\" \".\"))").expect("read");
        assert_eq!(cyrus.personal, [(b"INBOX.".to_vec(), Some(b'.'))]);
        assert_eq!(cyrus.foreign, [b"user.".to_vec(), b"".to_vec()]);
        let courier =
            read_namespaces(b"* NAMESPACE ((\"INBOX.\" \".\")) NIL ((\"#shared.\" \".\")(\"shared.\" \".\"))")
                .expect("read");
        assert_eq!(courier.foreign.len(), 2);
        assert_eq!(read_namespaces(b"* NAMESPACE ((\"\" \"/\")) NIL NIL").expect("read").foreign.len(), 0);
        assert_eq!(read_namespaces(b"* NAMESPACE ((\"\""), None);
        let many = "(\"a\" \".\")".repeat(crate::wire::imap::NAMESPACES_MAX + 1);
        assert_eq!(read_namespaces(format!("* NAMESPACE NIL ({many}) NIL").as_bytes()), None);
    }
}
