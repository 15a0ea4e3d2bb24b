//! Mailboxes in a field of a header: who they are, and how one with a name is written (RFC 5322 sections 3.4 and 4.4).
//!
//! Strict where programs differ: what two readers could take for different addresses is not read at all, so that whoever
//! holds an address against a rule and whoever shows it mean the same one. Names are not decoded here.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::ops::Range;

/// Nesting of comments; people write none.
pub(crate) const COMMENTS_MAX: usize = 8;
/// Mailboxes of one field.
pub(crate) const MAILBOXES_MAX: usize = 100;

/// One mailbox of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// Local part and domain, without comments and blanks.
    pub address: Vec<u8>,
    /// Whether a name stands with it: a phrase before it, or a comment behind it, as was the habit once.
    pub named: bool,
}

/// What is no list of mailboxes, or not surely this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no list of addresses")]
pub struct Unreadable;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// An atom, or a quoted string with its quotes.
    Word(Range<usize>),
    Comment,
    Special(u8),
}

/// Reads the mailboxes of a From, Sender or To field: its value, folded or not. Groups are read through.
///
/// # Errors
/// [`Unreadable`].
pub fn mailboxes(value: &[u8]) -> Result<Vec<Mailbox>, Unreadable> {
    let tokens = tokens(value)?;
    let (mut found, mut entry, mut in_group) = (Vec::new(), Vec::new(), false);
    for token in tokens {
        match token {
            Token::Special(b':') if !in_group && !entry.contains(&Token::Special(b'<')) => {
                // The name of a group, which must have one.
                let named = entry.iter().any(|token| matches!(token, Token::Word(_)));
                if !named || !entry.iter().all(is_of_a_phrase) {
                    return Err(Unreadable);
                }
                (in_group, entry) = (true, Vec::new());
            }
            Token::Special(b';') if in_group => {
                found.extend(mailbox(value, &std::mem::take(&mut entry))?);
                in_group = false;
            }
            Token::Special(b',') => found.extend(mailbox(value, &std::mem::take(&mut entry))?),
            token => entry.push(token),
        }
        if found.len() > MAILBOXES_MAX {
            return Err(Unreadable);
        }
    }
    if in_group {
        return Err(Unreadable);
    }
    found.extend(mailbox(value, &entry)?);
    Ok(found)
}

fn is_of_a_phrase(token: &Token) -> bool {
    matches!(token, Token::Word(_) | Token::Comment | Token::Special(b'.'))
}

/// One entry; none where it is empty, which lists may hold (RFC 5322 section 4.4).
fn mailbox(value: &[u8], entry: &[Token]) -> Result<Option<Mailbox>, Unreadable> {
    let commented = entry.contains(&Token::Comment);
    let bare: Vec<_> = entry.iter().filter(|token| **token != Token::Comment).cloned().collect();
    if bare.is_empty() {
        return if commented { Err(Unreadable) } else { Ok(None) };
    }
    let Some(open) = bare.iter().position(|token| *token == Token::Special(b'<')) else {
        return Ok(Some(Mailbox { address: address(value, &bare)?, named: commented }));
    };
    let (phrase, angle) = bare.split_at_checked(open).ok_or(Unreadable)?;
    // Nothing may stand behind it: some programs would take that for the address.
    let [Token::Special(b'<'), inside @ .., Token::Special(b'>')] = angle else { return Err(Unreadable) };
    if !phrase.iter().all(is_of_a_phrase) {
        return Err(Unreadable);
    }
    let named =
        phrase.iter().any(|token| matches!(token, Token::Word(word) if value.get(word.clone()) != Some(b"\"\"")));
    Ok(Some(Mailbox { address: address(value, inside)?, named: named || commented }))
}

/// Words and dots, one `@`, words and dots; a literal in brackets is read as a comment by some. No route: RFC 5322 section 4.4 forbids to make one.
fn address(value: &[u8], tokens: &[Token]) -> Result<Vec<u8>, Unreadable> {
    let at = tokens.iter().position(|token| *token == Token::Special(b'@')).ok_or(Unreadable)?;
    let (local, domain) = (tokens.get(..at).ok_or(Unreadable)?, tokens.get(at + 1..).ok_or(Unreadable)?);
    let mut address = dotted(value, local)?;
    address.push(b'@');
    address.extend_from_slice(&dotted(value, domain)?);
    Ok(address)
}

/// `word *("." word)`.
fn dotted(value: &[u8], tokens: &[Token]) -> Result<Vec<u8>, Unreadable> {
    let mut text = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::Word(word) if index % 2 == 0 => text.extend_from_slice(value.get(word.clone()).ok_or(Unreadable)?),
            Token::Special(b'.') if index % 2 == 1 => text.push(b'.'),
            _ => return Err(Unreadable),
        }
    }
    if tokens.len() % 2 == 1 { Ok(text) } else { Err(Unreadable) }
}

fn tokens(value: &[u8]) -> Result<Vec<Token>, Unreadable> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&octet) = value.get(at) {
        let from = at;
        match octet {
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            b'(' => {
                at = comment_end(value, at)?;
                tokens.push(Token::Comment);
            }
            b'"' => {
                at = quoted_end(value, at + 1)?;
                tokens.push(Token::Word(from..at));
            }
            b'<' | b'>' | b'@' | b',' | b';' | b':' | b'.' => {
                at += 1;
                tokens.push(Token::Special(octet));
            }
            octet if is_atom(octet) => {
                while value.get(at).copied().is_some_and(is_atom) {
                    at += 1;
                }
                tokens.push(Token::Word(from..at));
            }
            _ => return Err(Unreadable),
        }
    }
    Ok(tokens)
}

/// Octets above 127 are text of RFC 6532, or of a program that encodes nothing.
fn is_atom(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet >= 0x80 || b"!#$%&'*+-/=?^_`{|}~".contains(&octet)
}

/// Behind the closing quote.
fn quoted_end(value: &[u8], mut at: usize) -> Result<usize, Unreadable> {
    loop {
        match *value.get(at).ok_or(Unreadable)? {
            b'\\' => at += 2,
            b'"' => return Ok(at + 1),
            _ => at += 1,
        }
    }
}

fn comment_end(value: &[u8], mut at: usize) -> Result<usize, Unreadable> {
    let mut depth = 0_usize;
    loop {
        match *value.get(at).ok_or(Unreadable)? {
            b'\\' => at += 1,
            b'(' => depth += 1,
            b')' => depth -= 1,
            _ => {}
        }
        at += 1;
        match depth {
            0 => return Ok(at),
            1..=COMMENTS_MAX => {}
            _ => return Err(Unreadable),
        }
    }
}

/// Octets of an encoded word's text: 4 in base64 for 3, and `=?UTF-8?B?` `?=` around, in at most 75 (RFC 2047 section 2).
const ENCODED_MAX: usize = 45;

/// A mailbox as a field has it, folded where the name is long. The name is any text; blanks at its ends and what is no
/// text in it are left out.
#[must_use]
pub fn written(name: &str, address: &str) -> Vec<u8> {
    let name: String = name.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    let name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.is_empty() {
        return address.as_bytes().to_vec();
    }
    let phrase = phrase(&name);
    let separator = if phrase.contains("\r\n") || phrase.len() + address.len() > 66 { "\r\n " } else { " " };
    format!("{phrase}{separator}<{address}>").into_bytes()
}

fn phrase(name: &str) -> String {
    // What looks like an encoded word would be read as one, within quotes too.
    let plain = name.is_ascii() && !name.contains("=?") && name.len() <= 200;
    if plain && name.bytes().all(|octet| octet == b' ' || is_atom(octet)) {
        return name.to_owned();
    }
    if plain {
        return format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
    }
    let mut words = vec![String::new()];
    for letter in name.chars() {
        let full = words.last().is_some_and(|word| word.len() + letter.len_utf8() > ENCODED_MAX);
        if full {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(letter);
        }
    }
    let words = words.iter().map(|word| format!("=?UTF-8?B?{}?=", STANDARD.encode(word)));
    words.collect::<Vec<_>>().join("\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::{HeaderValue, parsers::MessageStream};
    use proptest::prelude::*;

    fn read(value: &str) -> Result<Vec<(String, bool)>, Unreadable> {
        let found = mailboxes(value.as_bytes())?;
        Ok(found.into_iter().map(|m| (String::from_utf8_lossy(&m.address).into_owned(), m.named)).collect())
    }

    fn one(address: &str, named: bool) -> Result<Vec<(String, bool)>, Unreadable> {
        Ok(vec![(address.to_owned(), named)])
    }

    #[test]
    fn every_form_of_one_mailbox() {
        for (value, address, named) in [
            (" alice@firm.test", "alice@firm.test", false),
            ("<alice@firm.test>\r\n", "alice@firm.test", false),
            ("Alice <alice@firm.test>", "alice@firm.test", true),
            ("Alice B. Carol <alice@firm.test>", "alice@firm.test", true),
            ("\"Carol, Alice\" <alice@firm.test>", "alice@firm.test", true),
            ("\"\" <alice@firm.test>", "alice@firm.test", false),
            ("=?UTF-8?Q?Andr=C3=A9?=\r\n <alice@firm.test>", "alice@firm.test", true),
            ("Andr\u{e9} <alice@firm.test>", "alice@firm.test", true),
            ("alice@firm.test (Alice \\) (of the firm))", "alice@firm.test", true),
            ("\"alice@x\" <alice@firm.test>", "alice@firm.test", true),
            ("alice (x) @ firm (y) . test", "alice@firm.test", true),
            ("<\"al ice\"@x.test>", "\"al ice\"@x.test", false),
        ] {
            assert_eq!(read(value), one(address, named), "{value}");
        }
    }

    #[test]
    fn lists_and_groups() {
        let two = Ok(vec![("a@x.test".to_owned(), false), ("b@x.test".to_owned(), true)]);
        for value in ["a@x.test, B <b@x.test>", "a@x.test,,\r\n B <b@x.test>,", "The firm: a@x.test, B <b@x.test>;"] {
            assert_eq!(read(value), two, "{value}");
        }
        assert_eq!(read("undisclosed-recipients:;"), Ok(Vec::new()));
        assert_eq!(read(""), Ok(Vec::new()));
        assert!(read(&"a@x.test,".repeat(101)).is_err());
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_not_read() {
        for value in [
            "alice",
            "[<b@x.test>,] <a@x.test>",
            "[b@x.test] <a@x.test>",
            "a@[192.0.2.1]",
            "a@x.test <b@x.test>",
            "<a@x.test> <b@x.test>",
            "<a@x.test> b@x.test",
            "A <a@x.test> B",
            "<a@x.test",
            "a@x.test>",
            "a@b@x.test",
            "<@relay.test:a@x.test>",
            "\"a <a@x.test>",
            "(a a@x.test",
            "a@x.test)",
            "a..b@x.test",
            "a@x.test.",
            "a@x.test\0",
            "a\\@x.test",
            "group: a@x.test",
            ": a@x.test;",
            "g: h: a@x.test;;",
            &format!("{}a{}@x.test", "(".repeat(9), ")".repeat(9)),
        ] {
            assert_eq!(read(value), Err(Unreadable), "{value}");
        }
    }

    #[test]
    fn names_are_written_in_the_simplest_form() {
        let text = |name: &str| String::from_utf8(written(name, "a@x.test")).expect("text");
        assert_eq!(text(""), "a@x.test");
        assert_eq!(text(" Alice  Martin "), "Alice Martin <a@x.test>");
        assert_eq!(text("Martin, Alice"), "\"Martin, Alice\" <a@x.test>");
        assert_eq!(text("a \"b\" \\"), "\"a \\\"b\\\" \\\\\" <a@x.test>");
        assert_eq!(text("Andr\u{e9}"), "=?UTF-8?B?QW5kcsOp?= <a@x.test>");
        assert_eq!(text("=?x?="), "=?UTF-8?B?PT94Pz0=?= <a@x.test>");
        assert_eq!(text("a\r\nBcc: b@x.test"), "\"a Bcc: b@x.test\" <a@x.test>");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_by_others_too(name in "\\PC{0,120}") {
            let field = written(&name, "alice@firm.test");
            let expected = name.split_whitespace().collect::<Vec<_>>().join(" ");
            prop_assert_eq!(read(&String::from_utf8_lossy(&field)), one("alice@firm.test", !expected.is_empty()));
            for line in field.split(|octet| *octet == b'\n') {
                prop_assert!(line.len() <= 260 && line.is_ascii());
            }
            let value = [&field[..], b"\r\n"].concat();
            let HeaderValue::Address(parsed) = MessageStream::new(&value).parse_address() else {
                return Err(TestCaseError::fail("no address"));
            };
            let first = parsed.first().expect("one");
            prop_assert_eq!(first.address(), Some("alice@firm.test"));
            prop_assert_eq!(first.name().unwrap_or_default(), expected);
        }
    }
}
