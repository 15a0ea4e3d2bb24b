//! A client's command, read from its gathered octets: which verb, and where its arguments stand. RFC 3501 section 6.
//!
//! It knows the grammar and the allow-list of verbs; it must not decide what is done with them.

pub use super::list::{ListQuery, Selection};
use super::{
    super::IMAP_TAG_MAX,
    list,
    token::{Cursor, Token, check_arguments},
};
use crate::failure::Misbehaviour;
use std::ops::Range;

/// Every verb that is understood; all others are refused and never leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Append,
    Authenticate,
    Capability,
    Check,
    Close,
    Copy,
    Create,
    Delete,
    Examine,
    Expunge,
    Fetch,
    Id,
    Idle,
    List,
    Login,
    Logout,
    Lsub,
    Move,
    Myrights,
    Namespace,
    Noop,
    Rename,
    Search,
    Select,
    Sort,
    Starttls,
    Status,
    Store,
    Subscribe,
    Thread,
    Unselect,
    Unsubscribe,
    Xlist,
}

/// Names as on the wire. `uid` says whether the verb has a form with UID before it.
const VERBS: &[(&str, Verb, bool)] = &[
    ("APPEND", Verb::Append, false),
    ("AUTHENTICATE", Verb::Authenticate, false),
    ("CAPABILITY", Verb::Capability, false),
    ("CHECK", Verb::Check, false),
    ("CLOSE", Verb::Close, false),
    ("COPY", Verb::Copy, true),
    ("CREATE", Verb::Create, false),
    ("DELETE", Verb::Delete, false),
    ("EXAMINE", Verb::Examine, false),
    ("EXPUNGE", Verb::Expunge, true),
    ("FETCH", Verb::Fetch, true),
    ("ID", Verb::Id, false),
    ("IDLE", Verb::Idle, false),
    ("LIST", Verb::List, false),
    ("LOGIN", Verb::Login, false),
    ("LOGOUT", Verb::Logout, false),
    ("LSUB", Verb::Lsub, false),
    ("MOVE", Verb::Move, true),
    ("MYRIGHTS", Verb::Myrights, false),
    ("NAMESPACE", Verb::Namespace, false),
    ("NOOP", Verb::Noop, false),
    ("RENAME", Verb::Rename, false),
    ("SEARCH", Verb::Search, true),
    ("SELECT", Verb::Select, false),
    ("SORT", Verb::Sort, true),
    ("STARTTLS", Verb::Starttls, false),
    ("STATUS", Verb::Status, false),
    ("STORE", Verb::Store, true),
    ("SUBSCRIBE", Verb::Subscribe, false),
    ("THREAD", Verb::Thread, true),
    ("UNSELECT", Verb::Unselect, false),
    ("UNSUBSCRIBE", Verb::Unsubscribe, false),
    ("XLIST", Verb::Xlist, false),
];

impl Verb {
    /// The name as on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        VERBS.iter().find(|(_, verb, _)| *verb == self).map_or("", |(name, _, _)| name)
    }
}

/// The front of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Where the tag stands; it starts the command.
    pub tag: Range<usize>,
    pub verb: Verb,
    /// Whether UID stands before the verb.
    pub uid: bool,
    /// Where what follows the verb begins: at a blank, or at the end.
    pub rest: usize,
}

/// Why the front of a command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No tag to answer under.
    Tag,
    /// The tag of this length is good; the verb is none of ours.
    Verb { tag: usize },
}

/// The octets that our own tags begin with; a client's must not.
pub const OWN_TAG: &[u8] = b"PSRL";

/// Reads tag and verb. `octets` may be the command's first line alone.
///
/// # Errors
/// [`Refused`].
pub fn head(octets: &[u8]) -> Result<Head, Refused> {
    let mut cursor = Cursor::new(octets);
    let tag = cursor.word();
    if !is_tag(tag) {
        return Err(Refused::Tag);
    }
    let refused = Refused::Verb { tag: tag.len() };
    cursor.space().map_err(|_| refused)?;
    let mut word = cursor.word();
    let uid = word.eq_ignore_ascii_case(b"UID");
    if uid {
        cursor.space().map_err(|_| refused)?;
        word = cursor.word();
    }
    let found = VERBS.iter().find(|(name, _, _)| word.eq_ignore_ascii_case(name.as_bytes()));
    match found {
        Some((_, verb, with_uid)) if *with_uid || !uid => {
            Ok(Head { tag: 0..tag.len(), verb: *verb, uid, rest: cursor.at() })
        }
        _ => Err(refused),
    }
}

fn is_tag(tag: &[u8]) -> bool {
    let legal = |octet: &u8| {
        octet.is_ascii_graphic() && !matches!(octet, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b'+')
    };
    let ours = tag.get(..OWN_TAG.len()).is_some_and(|start| start.eq_ignore_ascii_case(OWN_TAG));
    (1..=IMAP_TAG_MAX).contains(&tag.len()) && tag.iter().all(legal) && !ours
}

/// The arguments of a command, by what the bridge must know of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// AUTHENTICATE: mechanism, and the initial response of RFC 4959.
    Authenticate {
        mechanism: Range<usize>,
        initial: Option<Range<usize>>,
    },
    /// LIST, LSUB, XLIST.
    List(ListQuery),
    Login {
        user: Token,
        password: Token,
    },
    /// One mailbox name; all else passes.
    Mailbox(Token),
    None,
    /// Passes as it is.
    Passed,
    Rename {
        from: Token,
        to: Token,
    },
    Status {
        mailbox: Token,
        /// UNSEEN is asked for, and nothing else.
        unseen_alone: bool,
    },
}

/// Reads the arguments of a whole command, its literals included. Nothing passes unread: what is no grammar of the verb
/// is refused, so that a provider never sees octets that the bridge understood in another way.
///
/// # Errors
/// [`Misbehaviour::Syntax`] and kin.
pub fn arguments(head: &Head, octets: &[u8], nesting: usize) -> Result<Arguments, Misbehaviour> {
    use Verb::*;
    let mut cursor = Cursor::starting(octets, head.rest);
    match head.verb {
        Capability | Check | Close | Idle | Logout | Namespace | Noop | Starttls | Unselect => none(cursor),
        Expunge if !head.uid => none(cursor),
        Expunge => {
            cursor.space()?;
            cursor.sequence_set()?;
            cursor.end()?;
            Ok(Arguments::Passed)
        }
        Login => {
            cursor.space()?;
            let user = cursor.astring()?;
            cursor.space()?;
            let password = cursor.astring()?;
            cursor.end()?;
            Ok(Arguments::Login { user, password })
        }
        Authenticate => authenticate(cursor),
        List | Lsub | Xlist => list::read(head.verb, cursor).map(Arguments::List),
        Create | Delete | Examine | Myrights | Select | Subscribe | Unsubscribe => {
            cursor.space()?;
            let mailbox = cursor.astring()?;
            cursor.end()?;
            Ok(Arguments::Mailbox(mailbox))
        }
        Rename => {
            cursor.space()?;
            let from = cursor.astring()?;
            cursor.space()?;
            let to = cursor.astring()?;
            cursor.end()?;
            Ok(Arguments::Rename { from, to })
        }
        Status => status(cursor, octets, nesting),
        Copy | Move => {
            cursor.space()?;
            cursor.sequence_set()?;
            cursor.space()?;
            let mailbox = cursor.astring()?;
            cursor.end()?;
            Ok(Arguments::Mailbox(mailbox))
        }
        Append => Err(Misbehaviour::Syntax),
        Fetch | Store => {
            cursor.space()?;
            cursor.sequence_set()?;
            cursor.space()?;
            passed(cursor, nesting, item_may_pass)
        }
        Id | Search | Sort | Thread => {
            cursor.space()?;
            passed(cursor, nesting, word_may_pass)
        }
    }
}

fn none(mut cursor: Cursor<'_>) -> Result<Arguments, Misbehaviour> {
    cursor.end()?;
    Ok(Arguments::None)
}

fn passed(
    cursor: Cursor<'_>,
    nesting: usize,
    word: fn(&[u8]) -> Result<(), Misbehaviour>,
) -> Result<Arguments, Misbehaviour> {
    if cursor.is_at_end() {
        return Err(Misbehaviour::Syntax);
    }
    check_arguments(cursor.rest(), nesting, word)?;
    Ok(Arguments::Passed)
}

fn authenticate(mut cursor: Cursor<'_>) -> Result<Arguments, Misbehaviour> {
    cursor.space()?;
    let start = cursor.at();
    cursor.word();
    let mechanism = start..cursor.at();
    let initial = if cursor.is_at_end() {
        None
    } else {
        cursor.space()?;
        let start = cursor.at();
        cursor.word();
        Some(start..cursor.at())
    };
    cursor.end()?;
    Ok(Arguments::Authenticate { mechanism, initial })
}

fn status(mut cursor: Cursor<'_>, octets: &[u8], nesting: usize) -> Result<Arguments, Misbehaviour> {
    cursor.space()?;
    let mailbox = cursor.astring()?;
    cursor.space()?;
    let items = cursor.group(nesting)?;
    cursor.end()?;
    let items = octets.get(items).unwrap_or_default();
    check_arguments(items, nesting, word_may_pass)?;
    let inner = items.strip_prefix(b"(").and_then(|items| items.strip_suffix(b")")).unwrap_or(items);
    let mut words = inner.split(|octet| *octet == b' ').filter(|word| !word.is_empty()).peekable();
    let unseen_alone = words.peek().is_some() && words.all(|word| word.eq_ignore_ascii_case(b"UNSEEN"));
    Ok(Arguments::Status { mailbox, unseen_alone })
}

/// The words of extensions that are never offered, because their answers would be cut: a client that saw half of them
/// would believe a lie.
fn word_may_pass(word: &[u8]) -> Result<(), Misbehaviour> {
    const REFUSED: [&[u8]; 9] = [
        b"MODSEQ",
        b"HIGHESTMODSEQ",
        b"CHANGEDSINCE",
        b"UNCHANGEDSINCE",
        b"VANISHED",
        b"CONDSTORE",
        b"QRESYNC",
        b"SAVE",
        b"MAILBOXID",
    ];
    // STORE puts a sign before its item.
    let word = word.strip_prefix(b"+").or(word.strip_prefix(b"-")).unwrap_or(word);
    let gmail = begins(word, b"X-GM-");
    if gmail || word == b"$" || REFUSED.iter().any(|refused| word.eq_ignore_ascii_case(refused)) {
        return Err(Misbehaviour::Syntax);
    }
    Ok(())
}

/// As [`word_may_pass`] for FETCH and STORE, whose items are of a standard where they do not begin with X: Gmail's tell and
/// take labels, Dovecot's X-MAILBOX tells a name, both past the folder map.
fn item_may_pass(word: &[u8]) -> Result<(), Misbehaviour> {
    if begins(word, b"X-") { Err(Misbehaviour::Syntax) } else { word_may_pass(word) }
}

fn begins(word: &[u8], start: &[u8]) -> bool {
    word.get(..start.len()).is_some_and(|found| found.eq_ignore_ascii_case(start))
}

/// The front of an APPEND up to the announcement of its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    pub mailbox: Token,
    /// Where its flags stand, with their parentheses.
    pub flags: Option<Range<usize>>,
    /// The date-time that the message is to get.
    pub date: Option<Token>,
}

/// Reads an APPEND whose last line ends with the announcement of a literal, of `announced_in` octets. None if that
/// literal is not the message but the mailbox name: more is to be gathered.
///
/// # Errors
/// [`Misbehaviour::Syntax`] and kin.
pub fn append(head: &Head, octets: &[u8], announced_in: usize) -> Result<Option<Append>, Misbehaviour> {
    let message = octets.len().saturating_sub(announced_in);
    let mut cursor = Cursor::starting(octets, head.rest);
    cursor.space()?;
    if cursor.at() == message {
        return Ok(None);
    }
    let mailbox = cursor.astring()?;
    cursor.space()?;
    let mut append = Append { mailbox, flags: None, date: None };
    if cursor.peek() == Some(b'(') {
        let flags = cursor.group(1)?;
        check_arguments(octets.get(flags.clone()).unwrap_or_default(), 1, |_| Ok(()))?;
        append.flags = Some(flags);
        cursor.space()?;
    }
    if cursor.peek() == Some(b'"') {
        append.date = Some(cursor.astring()?);
        cursor.space()?;
    }
    // RFC 4469 CATENATE, RFC 6855 UTF8 and the like stand here: not offered, not passed.
    if cursor.at() == message { Ok(Some(append)) } else { Err(Misbehaviour::Syntax) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(octets: &[u8]) -> Result<(Verb, Arguments), ()> {
        let head = head(octets).map_err(drop)?;
        let arguments = arguments(&head, octets, 16).map_err(drop)?;
        Ok((head.verb, arguments))
    }

    fn mailbox(octets: &[u8]) -> Option<Vec<u8>> {
        match read(octets) {
            Ok((_, Arguments::Mailbox(token) | Arguments::Status { mailbox: token, .. })) => {
                Some(token.value(octets).into_owned())
            }
            _ => None,
        }
    }

    #[test]
    fn verbs_are_read_in_any_case_and_only_ours() {
        assert_eq!(read(b"a1 noop"), Ok((Verb::Noop, Arguments::None)));
        assert_eq!(read(b"a1 uid FETCH 1:* (FLAGS)"), Ok((Verb::Fetch, Arguments::Passed)));
        for line in [&b"a1 ENABLE QRESYNC"[..], b"a1 UID NOOP", b"a1", b"a1 COMPRESS DEFLATE", b"a1 GETMETADATA x /y"] {
            assert!(matches!(head(line), Err(Refused::Verb { tag: 2 })), "{line:?}");
        }
        for line in [&b""[..], b"* NOOP", b"+ NOOP", b"PSRL1 NOOP", b"psrl1 NOOP", b"a\"b NOOP", &[b'x'; 65]] {
            assert_eq!(head(line), Err(Refused::Tag), "{line:?}");
        }
    }

    #[test]
    fn mailbox_names_are_found_in_every_verb_that_has_one() {
        for line in [
            &b"a SELECT Sent"[..],
            b"a examine \"Sent\"",
            b"a STATUS Sent (MESSAGES UIDNEXT)",
            b"a COPY 1,2:3 Sent",
            b"a UID MOVE 1:* \"Sent\"",
            b"a Subscribe {4}\r\nSent",
            b"a CREATE {4+}\r\nSent",
            b"a SELECT Sent ",
        ] {
            assert_eq!(mailbox(line).as_deref(), Some(&b"Sent"[..]), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn a_mailbox_argument_that_is_not_found_is_an_error() {
        for line in [
            &b"a SELECT"[..],
            b"a SELECT ",
            b"a SELECT (x)",
            b"a SELECT Sent (CONDSTORE)",
            b"a STATUS Sent",
            b"a COPY Sent",
            b"a COPY 1 ",
            b"a CREATE x (USE (\\Sent))",
            b"a SELECT \"x",
            b"a LIST \"\"",
            b"a STATUS x (HIGHESTMODSEQ)",
        ] {
            assert!(read(line).is_err(), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn a_status_that_asks_for_unseen_alone_is_told_apart() {
        let alone = |line: &[u8]| matches!(read(line), Ok((_, Arguments::Status { unseen_alone: true, .. })));
        assert!(alone(b"a STATUS x (UNSEEN)") && alone(b"a STATUS x ( unseen )"));
        assert!(!alone(b"a STATUS x (UNSEEN MESSAGES)") && !alone(b"a STATUS x (RECENT)") && !alone(b"a STATUS x ()"));
    }

    #[test]
    fn words_whose_answers_would_be_cut_are_refused() {
        for line in [
            &b"a FETCH 1 (FLAGS MODSEQ)"[..],
            b"a UID FETCH 1 (X-GM-LABELS)",
            b"a FETCH 1:* (FLAGS) (CHANGEDSINCE 1)",
            b"a STORE 1 (UNCHANGEDSINCE 3) FLAGS (\\Seen)",
            b"a SEARCH x-gm-raw foo",
            b"a UID SEARCH RETURN (SAVE) ALL",
            b"a FETCH $ FLAGS",
            b"a STORE 1 +X-GM-LABELS (\"[Gmail]/x\")",
            b"a STORE 1 -x-gm-labels x",
            b"a FETCH 1 (X-MAILBOX)",
            b"a FETCH 1 (BODY.PEEK[] X-GM-LABELS)",
            b"a FETCH 1 (BODY.PEEK[TEXT X-GM-LABELS)",
            b"a FETCH 1 (FLAGS[X-GM-LABELS])",
            b"a FETCH 1 (BODY [X-GM-LABELS])",
        ] {
            assert!(read(line).is_err(), "{}", String::from_utf8_lossy(line));
        }
        assert!(read(b"a SEARCH SUBJECT \"X-GM-RAW MODSEQ\"").is_ok());
        assert!(read(b"a SEARCH TEXT {6}\r\nMODSEQ").is_ok());
    }

    #[test]
    fn what_real_clients_send_passes() {
        for line in [
            &b"A SEARCH (UNSEEN)"[..],
            b"A SEARCH CHARSET X-UNKNOWN TEXT x",
            b"A SORT (REVERSE DATE) UTF-8 SUBJECT x",
            b"A STORE 3 +Flags (\\Seen)",
            b"A FETCH 6 (RFC822)",
            b"A FETCH 4:1,* BODY.PEEK[1.2]<0.16384>",
            b"A UID FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (DATE X-Priority X-Mailer)])",
            b"A UID SEARCH RETURN (COUNT MIN MAX) ALL TEXT x",
            b"A THREAD REFERENCES UTF-8 ALL",
            b"A ID (\"name\" \"x\")",
            b"A ID NIL",
            b"A UID EXPUNGE 5",
            b"A SEARCH CHARSET UTF-8 SUBJECT {2}\r\n\xc3\xa9 FROM {0}\r\n",
            b"A SEARCH SUBJECT \"\xc3\xa9\"",
        ] {
            assert!(read(line).is_ok(), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn append_is_read_up_to_its_message() {
        let read = |line: &[u8], announced_in| {
            let head = head(line).expect("a head");
            append(&head, line, announced_in).map(|found| found.map(|append| append.mailbox.value(line).into_owned()))
        };
        let sent = Ok(Some(b"Sent".to_vec()));
        assert_eq!(read(b"a APPEND Sent {340}", 5), sent);
        assert_eq!(read(b"a APPEND \"Sent\" (\\Seen) \" 4-Mar-2024 05:06:07 +0100\" {340+}", 6), sent);
        assert_eq!(read(b"a APPEND {4}\r\nSent () {1}", 3), sent);
        assert_eq!(read(b"a APPEND {4}", 3), Ok(None));
        assert!(read(b"a APPEND Sent CATENATE (TEXT {3}", 3).is_err());
        assert!(read(b"a APPEND Sent UTF8 (~{3}", 4).is_err());
    }
}
