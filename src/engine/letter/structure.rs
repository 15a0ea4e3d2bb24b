//! BODY and BODYSTRUCTURE (RFC 3501 section 7.4.2).

use super::{Kind, Part, Read, envelope, header, header::Typed};
use crate::wire::imap::token::write_string;

impl Read<'_> {
    /// The envelope of the message.
    pub fn write_envelope(&self, out: &mut Vec<u8>) {
        envelope::write(self.block(&self.root), out);
    }

    /// BODYSTRUCTURE, or BODY, which lacks what is an `extension`.
    pub fn write_structure(&self, extension: bool, out: &mut Vec<u8>) {
        self.structure(&self.root, extension, out);
    }

    fn structure(&self, part: &Part, extension: bool, out: &mut Vec<u8>) {
        let block = self.block(part);
        let typed = header::value(block, "Content-Type").and_then(|value| Typed::read(&value));
        out.push(b'(');
        match &part.kind {
            Kind::Multipart(parts) => {
                let typed = typed.unwrap_or_default();
                for inner in parts {
                    self.structure(inner, extension, out);
                }
                out.push(b' ');
                string(if typed.subtype.is_empty() { b"mixed" } else { &typed.subtype }, out);
                if extension {
                    out.push(b' ');
                    parameters(&typed.parameters, out);
                    disposition_and_more(block, out);
                }
            }
            Kind::Leaf | Kind::Message(_) => self.single(part, block, typed, extension, out),
        }
        out.push(b')');
    }

    fn single(&self, part: &Part, block: &[u8], typed: Option<Typed>, extension: bool, out: &mut Vec<u8>) {
        let typed = effective(part, typed);
        let value = |name| header::value(block, name);
        string(&typed.kind, out);
        out.push(b' ');
        string(&typed.subtype, out);
        out.push(b' ');
        parameters(&typed.parameters, out);
        out.push(b' ');
        nstring(value("Content-ID").as_deref(), out);
        out.push(b' ');
        nstring(value("Content-Description").as_deref(), out);
        out.push(b' ');
        let encoding = value("Content-Transfer-Encoding").filter(|encoding| !encoding.is_empty());
        string(encoding.as_deref().unwrap_or(b"7bit"), out);
        out.extend_from_slice(format!(" {}", part.body.len()).as_bytes());
        let lines = memchr::memchr_iter(b'\n', self.slice(&part.body)).count();
        if let Kind::Message(inner) = &part.kind {
            out.push(b' ');
            envelope::write(self.block(inner), out);
            out.push(b' ');
            self.structure(inner, extension, out);
            out.extend_from_slice(format!(" {lines}").as_bytes());
        } else if typed.kind.eq_ignore_ascii_case(b"text") {
            out.extend_from_slice(format!(" {lines}").as_bytes());
        }
        if extension {
            out.push(b' ');
            nstring(value("Content-MD5").as_deref(), out);
            disposition_and_more(block, out);
        }
    }
}

/// The type that is told: its grammar must fit the tree, whatever the header claims.
fn effective(part: &Part, typed: Option<Typed>) -> Typed {
    let made =
        |kind: &[u8], subtype: &[u8], parameters| Typed { kind: kind.to_vec(), subtype: subtype.to_vec(), parameters };
    let plain = || made(b"text", b"plain", vec![(b"charset".to_vec(), b"us-ascii".to_vec())]);
    match (&part.kind, typed) {
        (Kind::Message(_), Some(typed)) if typed.kind.eq_ignore_ascii_case(b"message") => typed,
        (Kind::Message(_), _) => made(b"message", b"rfc822", Vec::new()),
        (_, None) => plain(),
        (_, Some(typed))
            if [&b"multipart"[..], b"message"].iter().any(|kind| typed.kind.eq_ignore_ascii_case(kind)) =>
        {
            if [&b"rfc822"[..], b"global"].iter().any(|sub| typed.subtype.eq_ignore_ascii_case(sub))
                || typed.kind.eq_ignore_ascii_case(b"multipart")
            {
                made(b"application", b"octet-stream", Vec::new())
            } else {
                typed
            }
        }
        (_, Some(typed)) if typed.subtype.is_empty() => plain(),
        (_, Some(mut typed)) => {
            let has_charset = typed.parameters.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"charset"));
            if typed.kind.eq_ignore_ascii_case(b"text") && !has_charset {
                typed.parameters.push((b"charset".to_vec(), b"us-ascii".to_vec()));
            }
            typed
        }
    }
}

/// Disposition, language, location.
fn disposition_and_more(block: &[u8], out: &mut Vec<u8>) {
    out.push(b' ');
    match header::value(block, "Content-Disposition").and_then(|value| Typed::read(&value)) {
        Some(disposition) => {
            out.push(b'(');
            string(&disposition.kind, out);
            out.push(b' ');
            parameters(&disposition.parameters, out);
            out.push(b')');
        }
        None => out.extend_from_slice(b"NIL"),
    }
    for name in ["Content-Language", "Content-Location"] {
        out.push(b' ');
        nstring(header::value(block, name).as_deref(), out);
    }
}

fn parameters(parameters: &[(Vec<u8>, Vec<u8>)], out: &mut Vec<u8>) {
    if parameters.is_empty() {
        out.extend_from_slice(b"NIL");
        return;
    }
    for (index, (name, value)) in parameters.iter().enumerate() {
        out.push(if index == 0 { b'(' } else { b' ' });
        string(name, out);
        out.push(b' ');
        string(value, out);
    }
    out.push(b')');
}

/// A server's literals are never non-synchronising.
fn string(value: &[u8], out: &mut Vec<u8>) {
    write_string(value, false, out);
}

pub(super) fn nstring(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        Some(value) => string(value, out),
        None => out.extend_from_slice(b"NIL"),
    }
}
