//! What of a provider's answers reaches a client, and how one line is changed on the way. Closed lists: what stands in
//! none is dropped or cut.

use super::namespace::Route;
use crate::wire::imap::{
    response::{Code, Kind},
    token::{Cursor, Form, Token, write_astring, write_string},
    utf7,
};
use memchr::memmem;
use std::ops::Range;

/// What becomes of an untagged response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataFate {
    Drop,
    /// As it is; `trim` where a trailing blank is cut, which some providers send and laminas hangs on.
    Pass {
        trim: bool,
    },
    /// Its name and its UIDVALIDITY are rewritten.
    Status,
}

/// What becomes of an untagged response of this kind.
#[must_use]
pub fn data_fate(kind: Kind) -> DataFate {
    match kind {
        Kind::Exists | Kind::Expunge | Kind::Fetch | Kind::Recent | Kind::Esearch | Kind::Thread => {
            DataFate::Pass { trim: false }
        }
        Kind::Flags | Kind::Search | Kind::Sort => DataFate::Pass { trim: true },
        Kind::Status => DataFate::Status,
        // The tree and the capabilities are the bridge's own to tell.
        Kind::Capability | Kind::List | Kind::Lsub | Kind::Namespace | Kind::Unknown => DataFate::Drop,
    }
}

/// What becomes of a response code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeFate {
    AppendUid,
    CopyUid,
    /// The code goes, the status line stays.
    Cut,
    Pass,
    UidValidity,
}

/// What becomes of the response code of this name.
#[must_use]
pub fn code_fate(name: &[u8]) -> CodeFate {
    // The second half is RFC 5530.
    const PASSED: [&str; 27] = [
        "ALERT",
        "READ-ONLY",
        "READ-WRITE",
        "PERMANENTFLAGS",
        "UIDNEXT",
        "UNSEEN",
        "UIDNOTSTICKY",
        "TRYCREATE",
        "PARSE",
        "BADCHARSET",
        "UNKNOWN-CTE",
        "UNAVAILABLE",
        "AUTHENTICATIONFAILED",
        "AUTHORIZATIONFAILED",
        "EXPIRED",
        "PRIVACYREQUIRED",
        "CONTACTADMIN",
        "NOPERM",
        "INUSE",
        "EXPUNGEISSUED",
        "CORRUPTION",
        "SERVERBUG",
        "CLIENTBUG",
        "CANNOT",
        "LIMIT",
        "OVERQUOTA",
        "ALREADYEXISTS",
    ];
    let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
    match () {
        () if is("UIDVALIDITY") => CodeFate::UidValidity,
        () if is("APPENDUID") => CodeFate::AppendUid,
        () if is("COPYUID") => CodeFate::CopyUid,
        () if is("NONEXISTENT") || PASSED.into_iter().any(is) => CodeFate::Pass,
        () => CodeFate::Cut,
    }
}

/// A response code as the client may get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToldCode {
    Cut,
    Pass(String),
    /// With a UIDVALIDITY, to be told by the house. `behind` is what follows the number.
    Validity {
        name: String,
        upstream: u32,
        behind: String,
    },
}

/// Reads a code by its own grammar: what is more than that, or less, is cut, for it could hold anything.
#[must_use]
pub fn told_code(code: Code<'_>) -> ToldCode {
    let name = String::from_utf8_lossy(code.name).into_owned();
    match code_fate(code.name) {
        CodeFate::Cut => ToldCode::Cut,
        CodeFate::Pass => match passed_arguments(code) {
            Some(arguments) if arguments.is_empty() => ToldCode::Pass(name),
            Some(arguments) => ToldCode::Pass(format!("{name} {}", String::from_utf8_lossy(&arguments))),
            None => ToldCode::Cut,
        },
        fate => match validity(fate, code.arguments) {
            Some((upstream, behind)) => ToldCode::Validity { name, upstream, behind },
            None => ToldCode::Cut,
        },
    }
}

/// The arguments of a code that passes; none of those for which no RFC has any.
fn passed_arguments(code: Code<'_>) -> Option<Vec<u8>> {
    let is = |word: &str| code.name.eq_ignore_ascii_case(word.as_bytes());
    let mut cursor = Cursor::new(code.arguments);
    match () {
        () if is("UIDNEXT") || is("UNSEEN") => cursor.number().map(drop).ok()?,
        () if is("PERMANENTFLAGS") => cursor.group(1).map(drop).ok()?,
        () if is("BADCHARSET") && cursor.peek() == Some(b'(') => cursor.group(1).map(drop).ok()?,
        () => return Some(Vec::new()),
    }
    cursor.end().ok()?;
    Some(respell(code.arguments))
}

fn validity(fate: CodeFate, arguments: &[u8]) -> Option<(u32, String)> {
    let sets = match fate {
        CodeFate::AppendUid => 1,
        CodeFate::CopyUid => 2,
        _ => 0,
    };
    let mut cursor = Cursor::new(arguments);
    let upstream = cursor.number().ok()?;
    let behind = cursor.rest();
    for _ in 0..sets {
        cursor.space().and_then(|()| cursor.sequence_set()).ok()?;
    }
    cursor.end().ok()?;
    let behind = respell(behind);
    let blank = if behind.is_empty() { "" } else { " " };
    Some((upstream, format!("{blank}{}", String::from_utf8_lossy(&behind))))
}

/// Puts `name` in the place of a string, in the string's own form where it can; all other octets stay. A name that the
/// string already says leaves the line as it was. `plus`: whether a literal may go without waiting.
#[must_use]
pub fn splice(octets: &[u8], token: &Token, name: &[u8], plus: bool) -> Vec<u8> {
    let mut line = Vec::with_capacity(octets.len() + name.len());
    line.extend_from_slice(octets.get(..token.span.start).unwrap_or_default());
    if *token.value(octets) == *name {
        line.extend_from_slice(octets.get(token.span.clone()).unwrap_or_default());
    } else if token.form == Form::Atom {
        write_astring(name, plus, &mut line);
    } else {
        write_string(name, plus, &mut line);
    }
    line.extend_from_slice(octets.get(token.span.end..).unwrap_or_default());
    line
}

/// The items of a STATUS answer, in parentheses with single blanks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusItems {
    text: Vec<u8>,
    /// UIDVALIDITY, and where in `text` its number stands.
    uid_validity: Option<(u32, Range<usize>)>,
}

impl StatusItems {
    /// Reads words and their numbers in parentheses. None for anything else, for it could hold anything.
    #[must_use]
    pub fn read(items: &[u8]) -> Option<Self> {
        let inner = items.trim_ascii().strip_prefix(b"(")?.strip_suffix(b")")?;
        let mut words = inner.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
        let mut read = Self { text: b"(".to_vec(), uid_validity: None };
        while let Some(name) = words.next() {
            let number = words.next()?;
            if !name.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-')
                || !number.iter().all(u8::is_ascii_digit)
            {
                return None;
            }
            if read.text.len() > 1 {
                read.text.push(b' ');
            }
            read.text.extend_from_slice(&[name, b" ", number].concat());
            if name.eq_ignore_ascii_case(b"UIDVALIDITY") {
                let upstream = std::str::from_utf8(number).ok()?.parse().ok()?;
                let span = read.text.len() - number.len()..read.text.len();
                if read.uid_validity.replace((upstream, span)).is_some() {
                    return None;
                }
            }
        }
        read.text.push(b')');
        Some(read)
    }

    /// The provider's UIDVALIDITY, if it is among the items.
    #[must_use]
    pub fn upstream(&self) -> Option<u32> {
        self.uid_validity.as_ref().map(|(upstream, _)| *upstream)
    }

    /// The items with this number of unread messages in the place of the provider's, if it is among them.
    #[must_use]
    pub fn with_unseen(self, count: u32) -> Self {
        let inner = self.text.strip_prefix(b"(").and_then(|text| text.strip_suffix(b")")).unwrap_or_default();
        let mut words: Vec<Vec<u8>> = inner.split(|octet| *octet == b' ').map(<[u8]>::to_vec).collect();
        for pair in words.chunks_exact_mut(2) {
            if let [name, number] = pair
                && name.eq_ignore_ascii_case(b"UNSEEN")
            {
                *number = count.to_string().into_bytes();
            }
        }
        let items = [&b"("[..], &words.join(&b' '), b")"].concat();
        Self::read(&items).unwrap_or(self)
    }

    /// The items with this UIDVALIDITY in the place of the provider's.
    #[must_use]
    pub fn telling(self, told: u32) -> Vec<u8> {
        let mut text = self.text;
        if let Some((_, span)) = self.uid_validity {
            text.splice(span, told.to_string().into_bytes());
        }
        text
    }
}

/// Whether words for people hold the provider's name of a mailbox that the client knows under another: as on the wire,
/// as it is read by people, or once the words are spelt anew.
#[must_use]
pub fn tells_name(words: &[u8], route: &Route) -> bool {
    let remote = route.remote.as_bytes();
    if remote == route.local.as_bytes() || route.remote.is_inbox() || is_longer(remote, words.len()) {
        return false;
    }
    let text = utf7::decode(remote).unwrap_or_default().into_bytes();
    let names = [remote, &text[..]].into_iter().filter(|name| !name.is_empty());
    let respelled = respell(words);
    names.flat_map(|name| [(words, name), (&respelled, name)]).any(|(words, name)| memmem::find(words, name).is_some())
}

/// Whether a name has more octets than these words, however it is spelt: then nothing needs to be read for it, of each of
/// hundreds of commands at each line. Modified UTF-7 has at most five octets for one (`&AAE-`).
fn is_longer(remote: &[u8], words: usize) -> bool {
    remote.len() > words.saturating_mul(5) || (remote.len() > words && !remote.contains(&b'&'))
}

/// Words for people with one blank between them and none at the ends (laminas hangs on two), control octets as `?`.
#[must_use]
pub fn respell(words: &[u8]) -> Vec<u8> {
    let words = words.split(|octet| *octet == b' ').filter(|word| !word.is_empty());
    let mut text = words.collect::<Vec<_>>().join(&b' ');
    for octet in &mut text {
        if octet.is_ascii_control() {
            *octet = b'?';
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::imap::token::Cursor;

    #[test]
    fn a_name_is_found_in_words_as_short_as_it_is() {
        let route = |remote: &[u8]| Route {
            account: crate::model::AccountId(1),
            local: crate::model::LocalName::parse(b"Other").expect("a name"),
            remote: crate::model::RemoteName::parse(remote).expect("a name"),
        };
        for (remote, words, tells) in [
            (&b"&AOk-"[..], "\u{e9}", true),
            (b"Caf&AOk-", "Caf\u{e9}", true),
            (b"Caf&AOk-", "no Caf&AOk- here", true),
            (b"Caf&AOk-", "Caf", false),
            (b"Sent", "Sent", true),
            (b"Sent", "Sen", false),
        ] {
            assert_eq!(tells_name(words.as_bytes(), &route(remote)), tells, "{words}");
        }
    }

    #[test]
    fn the_number_of_unread_messages_can_be_told_otherwise() {
        let told = |items: &[u8]| StatusItems::read(items).map(|items| items.with_unseen(0).telling(8));
        assert_eq!(
            told(b"(UNSEEN 12 UIDVALIDITY 7 MESSAGES 12)"),
            Some(b"(UNSEEN 0 UIDVALIDITY 8 MESSAGES 12)".to_vec())
        );
        assert_eq!(told(b"(MESSAGES 3)"), Some(b"(MESSAGES 3)".to_vec()));
        assert_eq!(told(b"()"), Some(b"()".to_vec()));
    }

    fn spliced(line: &[u8], at: usize, name: &[u8]) -> Vec<u8> {
        let token = Cursor::starting(line, at).astring().expect("a string");
        splice(line, &token, name, true)
    }

    #[test]
    fn names_are_spliced_in_the_form_that_stood_there() {
        assert_eq!(spliced(b"a SELECT Sent", 9, b"INBOX.Sent"), b"a SELECT INBOX.Sent");
        assert_eq!(spliced(b"a SELECT \"Sent\" x", 9, b"INBOX.Sent"), b"a SELECT \"INBOX.Sent\" x");
        assert_eq!(spliced(b"a SELECT Sent", 9, b"Sent Items"), b"a SELECT \"Sent Items\"");
        assert_eq!(spliced(b"a SELECT {4}\r\nSent", 9, b"a\"b"), b"a SELECT \"a\\\"b\"");
        assert_eq!(spliced(b"a SELECT Sent", 9, b"\xe9"), b"a SELECT {1+}\r\n\xe9");
    }

    #[test]
    fn a_name_that_is_already_said_leaves_the_line_alone() {
        for line in [&b"a SELECT \"Sent\""[..], b"a SELECT {4+}\r\nSent", b"a SELECT Sent"] {
            assert_eq!(spliced(line, 9, b"Sent"), line);
        }
    }

    #[test]
    fn uid_validity_is_replaced_among_status_items() {
        let told = |items: &str| {
            let items = StatusItems::read(items.as_bytes())?;
            Some((items.upstream(), String::from_utf8(items.telling(9)).expect("text")))
        };
        let read = |upstream, text: &str| Some((upstream, text.to_owned()));
        assert_eq!(
            told("  (MESSAGES 1  UIDVALIDITY 77 UNSEEN 0 ) "),
            read(Some(77), "(MESSAGES 1 UIDVALIDITY 9 UNSEEN 0)")
        );
        assert_eq!(told("(uidvalidity 1)"), read(Some(1), "(uidvalidity 9)"));
        assert_eq!(told("(SIZE 18446744073709551615)"), read(None, "(SIZE 18446744073709551615)"));
        assert_eq!(told("()"), read(None, "()"));
        for items in ["(UIDVALIDITY x)", "(UIDVALIDITY 4294967296)", "(UIDVALIDITY 1 UIDVALIDITY 2)", "(MESSAGES)"] {
            assert_eq!(told(items), None, "{items}");
        }
        for items in ["(MESSAGES 1) INBOX.Sent", "(MAILBOXID (x))", "MESSAGES 1", "(a/b 1)"] {
            assert_eq!(told(items), None, "{items}");
        }
    }

    #[test]
    fn words_have_single_blanks() {
        assert_eq!(respell(b" two  words\t "), b"two words?");
        assert_eq!(respell(b""), b"");
    }

    #[test]
    fn a_code_is_its_own_grammar_and_no_more() {
        let told = |name: &'static str, arguments: &'static str| {
            told_code(Code { name: name.as_bytes(), arguments: arguments.as_bytes() })
        };
        let pass = |text: &str| ToldCode::Pass(text.to_owned());
        let validity = |name: &str, upstream, behind: &str| ToldCode::Validity {
            name: name.to_owned(),
            upstream,
            behind: behind.to_owned(),
        };
        assert_eq!(told("PERMANENTFLAGS", "(\\Seen  \\*) "), pass("PERMANENTFLAGS (\\Seen \\*)"));
        assert_eq!(told("ALERT", "INBOX.Sent"), pass("ALERT"));
        assert_eq!(told("BADCHARSET", ""), pass("BADCHARSET"));
        assert_eq!(told("BADCHARSET", "(US-ASCII)"), pass("BADCHARSET (US-ASCII)"));
        assert_eq!(told("UIDNEXT", "INBOX.Sent"), ToldCode::Cut);
        assert_eq!(told("UIDVALIDITY", "5"), validity("UIDVALIDITY", 5, ""));
        assert_eq!(told("UIDVALIDITY", "5 INBOX.Sent"), ToldCode::Cut);
        assert_eq!(told("UIDVALIDITY", "4294967296"), ToldCode::Cut);
        assert_eq!(told("AppendUid", "5  7:8"), validity("AppendUid", 5, " 7:8"));
        assert_eq!(told("APPENDUID", "5"), ToldCode::Cut);
        assert_eq!(told("COPYUID", "5 1:2 3:4"), validity("COPYUID", 5, " 1:2 3:4"));
        assert_eq!(told("COPYUID", "5 1:2 x"), ToldCode::Cut);
    }

    #[test]
    fn codes_that_would_mislead_are_cut() {
        assert_eq!(code_fate(b"HIGHESTMODSEQ"), CodeFate::Cut);
        assert_eq!(code_fate(b"referral"), CodeFate::Cut);
        assert_eq!(code_fate(b"nonexistent"), CodeFate::Pass);
        assert_eq!(code_fate(b"UidValidity"), CodeFate::UidValidity);
    }
}
