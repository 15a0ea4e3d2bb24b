//! What SEARCH looks through: fields and bodies, decoded, in lower case.

use super::{
    Kind, Part, Read,
    header::{self, Typed},
};
use mail_parser::{HeaderValue, MessageParser, PartType, parsers::MessageStream};

/// A part's header that `mail-parser` may have: its time grows with the square of the parameters.
const DECODED_HEADER_MAX: usize = 64 * 1024;
/// A field that it may have: its time grows with the square of encoded words without an end.
const DECODED_FIELD_MAX: usize = 16 * 1024;

impl Read<'_> {
    /// Whether a field of this name holds `text`, which is in lower case; an empty text asks for the field alone.
    #[must_use]
    pub fn field_holds(&self, name: &[u8], text: &str) -> bool {
        let block = self.block(&self.root);
        header::fields(block)
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .any(|field| text.is_empty() || decoded(field.value).contains(text))
    }

    /// When the message says that it was written, as its day since 1970 where its writer was.
    #[must_use]
    pub fn day_sent(&self) -> Option<i64> {
        let value = header::value(self.block(&self.root), "Date")?;
        match MessageStream::new(&[&value[..], b"\r\n"].concat()).parse_date() {
            HeaderValue::DateTime(date) if date.is_valid() => {
                let local = mail_parser::DateTime { tz_hour: 0, tz_minute: 0, tz_before_gmt: false, ..date };
                Some(local.to_timestamp().div_euclid(86_400))
            }
            _ => None,
        }
    }

    /// Whether a body holds `text`, which is in lower case.
    #[must_use]
    pub fn body_holds(&self, text: &str) -> bool {
        self.part_holds(&self.root, text)
    }

    fn part_holds(&self, part: &Part, text: &str) -> bool {
        match &part.kind {
            Kind::Leaf => self.leaf_holds(part, text),
            Kind::Multipart(parts) => parts.iter().any(|part| self.part_holds(part, text)),
            Kind::Message(inner) => {
                header::fields(self.block(inner)).any(|field| decoded(field.value).contains(text))
                    || self.part_holds(inner, text)
            }
        }
    }

    /// Text is decoded; what is opaque is looked through as it is, and pictures are not.
    fn leaf_holds(&self, part: &Part, text: &str) -> bool {
        let typed = header::value(self.block(part), "Content-Type").and_then(|value| Typed::read(&value));
        let kind = typed.map_or_else(|| b"text".to_vec(), |typed| typed.kind.to_ascii_lowercase());
        let raw = || String::from_utf8_lossy(self.slice(&part.body)).to_lowercase().contains(text);
        match &kind[..] {
            b"text" if part.header.len() <= DECODED_HEADER_MAX => {
                let octets = self.slice(&(part.header.start..part.body.end));
                let message = MessageParser::new().with_mime_headers().parse(octets);
                match message.as_ref().and_then(|message| message.parts.first()).map(|part| &part.body) {
                    Some(PartType::Text(body) | PartType::Html(body)) => body.to_lowercase().contains(text),
                    _ => raw(),
                }
            }
            b"text" | b"multipart" | b"message" => raw(),
            _ => false,
        }
    }

    /// Whether the header or a body holds `text`, which is in lower case.
    #[must_use]
    pub fn holds(&self, text: &str) -> bool {
        let block = self.block(&self.root);
        let in_field = |field: header::Field<'_>| {
            let line = format!("{}: {}", String::from_utf8_lossy(field.name), decoded(field.value));
            line.to_lowercase().contains(text)
        };
        header::fields(block).any(in_field) || self.body_holds(text)
    }
}

/// Encoded words read, in lower case.
fn decoded(value: &[u8]) -> String {
    if value.len() > DECODED_FIELD_MAX {
        return String::from_utf8_lossy(value).to_lowercase();
    }
    let line = [value, b"\r\n"].concat();
    match MessageStream::new(&line).parse_unstructured() {
        HeaderValue::Text(text) => text.to_lowercase(),
        _ => String::new(),
    }
}
