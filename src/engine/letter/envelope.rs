//! ENVELOPE (RFC 3501 section 7.4.2): ten fields, told as they were written.

use super::{header, structure::nstring};
use mail_parser::{Addr, Address, HeaderValue, parsers::MessageStream};

/// Addresses of one field that are told; real letters to whole firms have some hundreds.
const ADDRESSES_MAX: usize = 5_000;

pub(super) fn write(block: &[u8], out: &mut Vec<u8>) {
    let value = |name| header::value(block, name);
    // Folds and runs of blanks are one blank, as Dovecot and Gmail tell them.
    let text = |name| value(name).map(|value| one_blank(&value));
    let addresses = |name| value(name).map(|value| list(&value)).filter(|list| !list.is_empty());
    let from = addresses("From");
    out.push(b'(');
    nstring(text("Date").as_deref(), out);
    out.push(b' ');
    nstring(text("Subject").as_deref(), out);
    for name in ["From", "Sender", "Reply-To", "To", "Cc", "Bcc"] {
        let own = if name == "From" { from.clone() } else { addresses(name) };
        let told = if matches!(name, "Sender" | "Reply-To") { own.or_else(|| from.clone()) } else { own };
        out.push(b' ');
        match told {
            Some(list) => {
                out.push(b'(');
                out.extend_from_slice(&list);
                out.push(b')');
            }
            None => out.extend_from_slice(b"NIL"),
        }
    }
    for name in ["In-Reply-To", "Message-ID"] {
        out.push(b' ');
        nstring(text(name).as_deref(), out);
    }
    out.push(b')');
}

fn one_blank(value: &[u8]) -> Vec<u8> {
    let words: Vec<_> = value.split(|octet| matches!(octet, b' ' | b'\t')).filter(|word| !word.is_empty()).collect();
    words.join(&b' ')
}

/// The addresses of a field, in parentheses each.
fn list(value: &[u8]) -> Vec<u8> {
    // The parser decodes encoded words and wants UTF-8; IMAP wants the octets. So every octet becomes one letter, and the
    // mark of an encoded word another one, until the parser is through.
    let masked: String = value.iter().map(|octet| char::from(*octet)).collect::<String>().replace("=?", "=\u{e000}");
    let masked = masked + "\r\n";
    let mut out = Vec::new();
    match MessageStream::new(masked.as_bytes()).parse_address() {
        HeaderValue::Address(Address::List(addresses)) => each(&addresses, &mut out),
        HeaderValue::Address(Address::Group(groups)) => {
            for group in groups.iter().take(ADDRESSES_MAX) {
                if let Some(name) = &group.name {
                    address([None, None, Some(&unmask(name)), None], &mut out);
                }
                each(&group.addresses, &mut out);
                if group.name.is_some() {
                    address([None; 4], &mut out);
                }
            }
        }
        _ => {}
    }
    out
}

fn each(addresses: &[Addr<'_>], out: &mut Vec<u8>) {
    for found in addresses.iter().take(ADDRESSES_MAX) {
        // A lone word is a local part.
        let (name, whole) = match (&found.name, &found.address) {
            (Some(word), None) => (None, unmask(word)),
            (name, whole) => (name.as_deref().map(unmask), whole.as_deref().map(unmask).unwrap_or_default()),
        };
        let at = memchr::memrchr(b'@', &whole);
        let (local, domain) = match at {
            Some(at) => (whole.get(..at), whole.get(at + 1..)),
            // NIL would begin a group; these words are those of Dovecot.
            None => (Some(&whole[..]).filter(|local| !local.is_empty()), None),
        };
        let local = local.unwrap_or(b"MISSING_MAILBOX");
        let domain = domain.filter(|domain| !domain.is_empty()).unwrap_or(b"MISSING_DOMAIN");
        address([name.as_deref(), None, Some(local), Some(domain)], out);
    }
}

fn address(parts: [Option<&[u8]>; 4], out: &mut Vec<u8>) {
    for (index, part) in parts.into_iter().enumerate() {
        out.push(if index == 0 { b'(' } else { b' ' });
        nstring(part, out);
    }
    out.push(b')');
}

fn unmask(text: &str) -> Vec<u8> {
    text.chars().map(|letter| u8::try_from(letter).unwrap_or(b'?')).collect()
}
