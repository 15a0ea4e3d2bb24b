//! What a command needs that a capability line lacks. The judge of the filter ([`super::filter`]): pure, and strict where
//! Dovecot is kind, so that a bridge that ignores capabilities is caught.
//!
//! RFC 3501 is the base; everything else must be announced. A command that no RFC of [`NEEDS`] knows is refused too.

/// A piece of a command. Literals and quoted strings are both text: they are never keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// In capitals.
    Word(String),
    Text(Vec<u8>),
    Open,
    Close,
}

/// `{12}`, `{12+}`, `~{12}` at the end of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Literal {
    pub(super) size: u64,
    /// Sent without waiting (RFC 7888).
    pub(super) plus: bool,
    /// RFC 3516.
    pub(super) binary: bool,
}

/// A capability line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capabilities(pub(super) &'static str);

impl Capabilities {
    pub(super) fn has(self, word: &str) -> bool {
        self.0.split(' ').any(|own| own.eq_ignore_ascii_case(word))
    }

    fn needs(self, what: &str, word: &str) -> Result<(), String> {
        if self.has(word) { Ok(()) } else { Err(format!("{what} needs {word}")) }
    }
}

/// Most that LITERAL- takes without waiting (RFC 7888).
const LITERAL_MINUS: u64 = 4096;

/// Verbs beyond RFC 3501.
const NEEDS: [(&str, &str); 24] = [
    ("COMPRESS", "COMPRESS=DEFLATE"),
    ("DELETEACL", "ACL"),
    ("ENABLE", "ENABLE"),
    ("GENURLAUTH", "URLAUTH"),
    ("GETACL", "ACL"),
    ("GETMETADATA", "METADATA"),
    ("GETQUOTA", "QUOTA"),
    ("GETQUOTAROOT", "QUOTA"),
    ("ID", "ID"),
    ("IDLE", "IDLE"),
    ("LISTRIGHTS", "ACL"),
    ("MOVE", "MOVE"),
    ("MYRIGHTS", "ACL"),
    ("NAMESPACE", "NAMESPACE"),
    ("NOTIFY", "NOTIFY"),
    ("REPLACE", "REPLACE"),
    ("SETACL", "ACL"),
    ("SETMETADATA", "METADATA"),
    ("SETQUOTA", "QUOTA"),
    ("SORT", "SORT"),
    ("UNAUTHENTICATE", "UNAUTHENTICATE"),
    ("UNSELECT", "UNSELECT"),
    ("X-GM-RAW", "X-GM-EXT-1"),
    ("XLIST", "XLIST"),
];

/// Verbs of RFC 3501 whose arguments are judged nowhere else.
const BASE: [&str; 14] = [
    "APPEND",
    "CAPABILITY",
    "CHECK",
    "CLOSE",
    "COPY",
    "DELETE",
    "EXPUNGE",
    "LOGOUT",
    "LSUB",
    "NOOP",
    "RENAME",
    "STARTTLS",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
];

/// Words in the arguments of these verbs that only an extension knows.
const WORDS: [(&str, &str, &str); 27] = [
    ("FETCH", "BINARY", "BINARY"),
    ("FETCH", "CHANGEDSINCE", "CONDSTORE"),
    ("FETCH", "EMAILID", "OBJECTID"),
    ("FETCH", "MODSEQ", "CONDSTORE"),
    ("FETCH", "PREVIEW", "PREVIEW"),
    ("FETCH", "SAVEDATE", "SAVEDATE"),
    ("FETCH", "THREADID", "OBJECTID"),
    ("FETCH", "VANISHED", "QRESYNC"),
    ("FETCH", "X-GM-LABELS", "X-GM-EXT-1"),
    ("FETCH", "X-GM-MSGID", "X-GM-EXT-1"),
    ("FETCH", "X-GM-THRID", "X-GM-EXT-1"),
    ("LIST", "CHILDREN", "LIST-EXTENDED"),
    ("LIST", "MYRIGHTS", "LIST-MYRIGHTS"),
    ("LIST", "METADATA", "LIST-METADATA"),
    ("LIST", "SPECIAL-USE", "SPECIAL-USE"),
    ("LIST", "STATUS", "LIST-STATUS"),
    ("SELECT", "CONDSTORE", "CONDSTORE"),
    ("SELECT", "QRESYNC", "QRESYNC"),
    ("STATUS", "APPENDLIMIT", "APPENDLIMIT"),
    ("STATUS", "DELETED", "IMAP4rev2"),
    ("STATUS", "HIGHESTMODSEQ", "CONDSTORE"),
    ("STATUS", "MAILBOXID", "OBJECTID"),
    ("STATUS", "SIZE", "STATUS=SIZE"),
    ("STORE", "UNCHANGEDSINCE", "CONDSTORE"),
    ("STORE", "X-GM-LABELS", "X-GM-EXT-1"),
    ("STORE", "+X-GM-LABELS", "X-GM-EXT-1"),
    ("STORE", "-X-GM-LABELS", "X-GM-EXT-1"),
];

/// Judges a whole command, without its tag: why it is refused.
pub(super) fn judge(command: &[Token], capabilities: Capabilities) -> Result<(), String> {
    let [Token::Word(verb), rest @ ..] = command else { return Err("no verb".into()) };
    match verb.as_str() {
        "UID" => {
            let [Token::Word(verb), arguments @ ..] = rest else { return Err("UID of nothing".into()) };
            match verb.as_str() {
                "FETCH" | "STORE" | "COPY" | "SEARCH" | "SORT" | "THREAD" | "MOVE" => judge(rest, capabilities),
                "EXPUNGE" if arguments.len() == 1 => capabilities.needs("UID EXPUNGE", "UIDPLUS"),
                _ => Err(format!("UID {verb} is unknown")),
            }
        }
        "LOGIN" if capabilities.has("LOGINDISABLED") => Err("LOGIN is disabled".into()),
        "LOGIN" => Ok(()),
        "AUTHENTICATE" => authenticate(rest, capabilities),
        "LIST" => list(rest, capabilities),
        "CREATE" if rest.len() > 1 => capabilities.needs("CREATE with parameters", "CREATE-SPECIAL-USE"),
        "CREATE" => Ok(()),
        "SEARCH" => search(rest, capabilities),
        "SORT" => {
            capabilities.needs("SORT", "SORT")?;
            let keys = rest.iter().position(|token| *token == Token::Close).ok_or("SORT by nothing")?;
            charset_then_keys(&rest[keys + 1..], capabilities)
        }
        "THREAD" => {
            let [Token::Word(way), rest @ ..] = rest else { return Err("THREAD by nothing".into()) };
            capabilities.needs("THREAD", &format!("THREAD={way}"))?;
            charset_then_keys(rest, capabilities)
        }
        "FETCH" | "STORE" | "STATUS" => words(verb, rest, capabilities),
        "SELECT" | "EXAMINE" => words("SELECT", rest, capabilities),
        _ if BASE.contains(&verb.as_str()) => Ok(()),
        _ => match NEEDS.iter().find(|(known, _)| known == verb) {
            Some((_, word)) => capabilities.needs(verb, word),
            None => Err(format!("{verb} is unknown")),
        },
    }
}

/// Judges the way in which octets are announced.
pub(super) fn judge_literal(literal: Literal, capabilities: Capabilities) -> Result<(), String> {
    if literal.binary {
        capabilities.needs("~{n}", "BINARY")?;
    }
    if !literal.plus || capabilities.has("LITERAL+") {
        return Ok(());
    }
    capabilities.needs("{n+}", "LITERAL-")?;
    if literal.size > LITERAL_MINUS { Err(format!("{{{}+}} is above {LITERAL_MINUS}", literal.size)) } else { Ok(()) }
}

fn authenticate(rest: &[Token], capabilities: Capabilities) -> Result<(), String> {
    let [Token::Word(mechanism), rest @ ..] = rest else { return Err("AUTHENTICATE by nothing".into()) };
    capabilities.needs("AUTHENTICATE", &format!("AUTH={mechanism}"))?;
    if rest.is_empty() { Ok(()) } else { capabilities.needs("an initial response", "SASL-IR") }
}

/// Selection options, several patterns, and RETURN are of RFC 5258.
fn list(rest: &[Token], capabilities: Capabilities) -> Result<(), String> {
    if rest.contains(&Token::Open) {
        capabilities.needs("LIST with options", "LIST-EXTENDED")?;
        words("LIST", rest, capabilities)
    } else if rest.len() == 2 {
        Ok(())
    } else {
        Err("LIST takes a reference and a pattern".into())
    }
}

fn words(verb: &str, rest: &[Token], capabilities: Capabilities) -> Result<(), String> {
    // The first is the mailbox, the reference or the set: a user may call a mailbox as he likes.
    for token in rest.iter().skip(usize::from(rest.first() != Some(&Token::Open))) {
        let Token::Word(word) = token else { continue };
        // BINARY.PEEK[1], BODY[HEADER.FIELDS
        let word = word.split('[').next().unwrap_or_default();
        let item = word.split('.').next().unwrap_or_default();
        let known = WORDS.iter().find(|(of, known, _)| *of == verb && (*known == word || *known == item));
        if let Some((_, known, capability)) = known {
            capabilities.needs(&format!("{verb} {known}"), capability)?;
        }
    }
    Ok(())
}

fn search(mut rest: &[Token], capabilities: Capabilities) -> Result<(), String> {
    if let [Token::Word(word), Token::Open, after @ ..] = rest
        && word == "RETURN"
    {
        capabilities.needs("SEARCH RETURN", "ESEARCH")?;
        let end = after.iter().position(|token| *token == Token::Close).ok_or("RETURN without an end")?;
        for option in &after[..end] {
            match option {
                Token::Word(word) if ["MIN", "MAX", "ALL", "COUNT"].contains(&word.as_str()) => {}
                Token::Word(word) if word == "SAVE" => capabilities.needs("RETURN (SAVE)", "SEARCHRES")?,
                Token::Word(word) if word == "PARTIAL" => capabilities.needs("RETURN (PARTIAL)", "PARTIAL")?,
                _ => {}
            }
        }
        rest = &after[end + 1..];
    }
    match rest {
        [Token::Word(word), rest @ ..] if word == "CHARSET" => charset_then_keys(rest, capabilities),
        _ => keys(rest, capabilities),
    }
}

fn charset_then_keys(rest: &[Token], capabilities: Capabilities) -> Result<(), String> {
    let [_, rest @ ..] = rest else { return Err("no charset".into()) };
    keys(rest, capabilities)
}

/// The search keys of RFC 3501 and how many arguments each takes.
const KEYS: [(&str, usize); 38] = [
    ("ALL", 0),
    ("ANSWERED", 0),
    ("BCC", 1),
    ("BEFORE", 1),
    ("BODY", 1),
    ("CC", 1),
    ("DELETED", 0),
    ("DRAFT", 0),
    ("FLAGGED", 0),
    ("FROM", 1),
    ("HEADER", 2),
    ("KEYWORD", 1),
    ("LARGER", 1),
    ("NEW", 0),
    ("NOT", 0),
    ("OLD", 0),
    ("ON", 1),
    ("OR", 0),
    ("RECENT", 0),
    ("SEEN", 0),
    ("SENTBEFORE", 1),
    ("SENTON", 1),
    ("SENTSINCE", 1),
    ("SINCE", 1),
    ("SMALLER", 1),
    ("SUBJECT", 1),
    ("TEXT", 1),
    ("TO", 1),
    ("UID", 1),
    ("UNANSWERED", 0),
    ("UNDELETED", 0),
    ("UNDRAFT", 0),
    ("UNFLAGGED", 0),
    ("UNKEYWORD", 1),
    ("UNSEEN", 0),
    ("OLDER", 1),
    ("YOUNGER", 1),
    ("X-GM-RAW", 1),
];

fn keys(mut rest: &[Token], capabilities: Capabilities) -> Result<(), String> {
    if rest.is_empty() {
        return Err("SEARCH for nothing".into());
    }
    while let [token, after @ ..] = rest {
        rest = after;
        let word = match token {
            Token::Word(word) if !is_set(word) => word,
            Token::Text(_) => return Err("a string where a search key is due".into()),
            _ => continue,
        };
        let Some((_, arguments)) = KEYS.iter().find(|(key, _)| key == word) else {
            return Err(format!("the search key {word} is unknown"));
        };
        match word.as_str() {
            "OLDER" | "YOUNGER" => capabilities.needs(word, "WITHIN")?,
            "X-GM-RAW" => capabilities.needs(word, "X-GM-EXT-1")?,
            _ => {}
        }
        rest = rest.get(*arguments..).ok_or_else(|| format!("{word} lacks its argument"))?;
    }
    Ok(())
}

fn is_set(word: &str) -> bool {
    word.bytes().all(|octet| octet.is_ascii_digit() || b",:*".contains(&octet))
}

/// Adds the tokens of a line, which ends before any announced literal.
pub(super) fn tokens(mut line: &[u8], out: &mut Vec<Token>) {
    while let [first, rest @ ..] = line {
        line = match first {
            b' ' => rest,
            b'(' => {
                out.push(Token::Open);
                rest
            }
            b')' => {
                out.push(Token::Close);
                rest
            }
            b'"' => {
                let (text, rest) = quoted(rest);
                out.push(Token::Text(text));
                rest
            }
            _ => {
                let end = line.iter().position(|octet| b" ()\"".contains(octet)).unwrap_or(line.len());
                out.push(Token::Word(String::from_utf8_lossy(&line[..end]).to_ascii_uppercase()));
                &line[end..]
            }
        };
    }
}

fn quoted(line: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut text = Vec::new();
    let mut octets = line.iter().enumerate();
    while let Some((at, octet)) = octets.next() {
        match octet {
            b'"' => return (text, &line[at + 1..]),
            b'\\' => text.extend(octets.next().map(|(_, octet)| *octet)),
            _ => text.push(*octet),
        }
    }
    (text, &[])
}

/// What a line announces at its end, and where the announcement begins.
pub(super) fn announced(line: &[u8]) -> Option<(usize, Literal)> {
    let inner = line.strip_suffix(b"}")?;
    let start = inner.iter().rposition(|octet| *octet == b'{')?;
    let digits = std::str::from_utf8(&inner[start + 1..]).ok()?;
    let (digits, plus) = digits.strip_suffix('+').map_or((digits, false), |digits| (digits, true));
    let size = digits.parse().ok()?;
    let binary = start > 0 && inner[start - 1] == b'~';
    Some((start - usize::from(binary), Literal { size, plus, binary }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(command: &str, capabilities: &'static str) -> Result<(), String> {
        let mut all = Vec::new();
        tokens(command.as_bytes(), &mut all);
        judge(&all, Capabilities(capabilities))
    }

    #[test]
    fn what_is_not_announced_is_refused() {
        for (command, capability) in [
            ("UNSELECT", "UNSELECT"),
            ("UID MOVE 1:* Trash", "MOVE"),
            ("UID EXPUNGE 1", "UIDPLUS"),
            ("AUTHENTICATE PLAIN", "AUTH=PLAIN"),
            ("LIST \"\" * RETURN (CHILDREN)", "LIST-EXTENDED"),
            ("UID SEARCH RETURN (MIN) ALL", "ESEARCH"),
            ("SEARCH NOT (SEEN YOUNGER 60)", "WITHIN"),
            ("UID SORT (REVERSE DATE) UTF-8 ALL", "SORT"),
            ("THREAD REFERENCES UTF-8 ALL", "THREAD=REFERENCES"),
            ("FETCH 1 (UID BINARY.PEEK[1])", "BINARY"),
            ("STATUS INBOX (MESSAGES HIGHESTMODSEQ)", "CONDSTORE"),
            ("SELECT INBOX (QRESYNC (7 9))", "QRESYNC"),
            ("IDLE", "IDLE"),
        ] {
            let refused = verdict(command, "IMAP4rev1").expect_err(command);
            assert!(refused.ends_with(capability), "{command}: {refused}");
            assert_eq!(verdict(command, capability), Ok(()), "{command}");
        }
        for command in ["AUTHENTICATE PLAIN AGFhAGJi", "LIST \"\" * RETURN (SPECIAL-USE)", "SEARCH OLDEST 1", "XYZ"] {
            assert!(verdict(command, "AUTH=PLAIN LIST-EXTENDED").is_err(), "{command}");
        }
    }

    #[test]
    fn the_base_passes() {
        for command in [
            "SEARCH CHARSET UTF-8 OR SUBJECT older (HEADER X-Y \"younger\" 1:4,9:*)",
            "LIST \"\" \"%\"",
            "STATUS \"MODSEQ\" (MESSAGES UNSEEN)",
            "FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)] FLAGS)",
            "UID STORE 1 +FLAGS.SILENT (\\Seen)",
        ] {
            assert_eq!(verdict(command, "IMAP4rev1"), Ok(()), "{command}");
        }
    }

    #[test]
    fn literals_go_as_announced() {
        let literal = |text: &str| announced(text.as_bytes()).expect(text).1;
        let judged = |text, capabilities| judge_literal(literal(text), Capabilities(capabilities)).is_ok();
        assert_eq!(announced(b"APPEND x ~{5+}"), Some((9, Literal { size: 5, plus: true, binary: true })));
        assert!(judged("{5000}", "IMAP4rev1") && !judged("{5+}", "IMAP4rev1") && !judged("~{5}", "LITERAL+"));
        assert!(judged("{4096+}", "LITERAL-") && !judged("{4097+}", "LITERAL-") && judged("{4097+}", "LITERAL+"));
    }
}
