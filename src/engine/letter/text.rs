//! What SEARCH looks through: fields and bodies, decoded, in lower case.

use super::{DEPTH_MAX, Read, header};
use crate::model::index;
use mail_parser::{HeaderValue, Message, PartType, parsers::MessageStream};

impl Read<'_> {
    /// Whether a field of this name holds `text`, which is in lower case; an empty text asks for the field alone.
    #[must_use]
    pub fn field_holds(&self, name: &[u8], text: &str) -> bool {
        let block = self.slice(&self.root.header);
        header::fields(block)
            .filter(|field| field.name.eq_ignore_ascii_case(name))
            .any(|field| text.is_empty() || decoded(field.value).contains(text))
    }

    /// When the message says that it was written, as its day since 1970 where its writer was.
    #[must_use]
    pub fn day_sent(&self) -> Option<i64> {
        let value = header::value(self.slice(&self.root.header), "Date")?;
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
        match &self.parsed {
            Some(message) => holds(message, text, 0),
            None => String::from_utf8_lossy(self.slice(&self.root.body)).to_lowercase().contains(text),
        }
    }

    /// Whether the header or a body holds `text`, which is in lower case.
    #[must_use]
    pub fn holds(&self, text: &str) -> bool {
        let block = self.slice(&self.root.header);
        let in_field = |field: header::Field<'_>| {
            let line = format!("{}: {}", String::from_utf8_lossy(field.name), decoded(field.value));
            line.to_lowercase().contains(text)
        };
        header::fields(block).any(in_field) || self.body_holds(text)
    }
}

fn holds(message: &Message<'_>, text: &str, depth: usize) -> bool {
    message.parts.iter().any(|part| match &part.body {
        PartType::Text(body) | PartType::Html(body) => body.to_lowercase().contains(text),
        PartType::Message(inner) if depth < DEPTH_MAX => {
            let block = inner
                .parts
                .first()
                .and_then(|root| inner.raw_message.get(index(root.offset_header)..index(root.offset_body)));
            let fields =
                block.is_some_and(|block| header::fields(block).any(|field| decoded(field.value).contains(text)));
            fields || holds(inner, text, depth + 1)
        }
        _ => false,
    })
}

/// Encoded words read, in lower case.
fn decoded(value: &[u8]) -> String {
    let line = [value, b"\r\n"].concat();
    match MessageStream::new(&line).parse_unstructured() {
        HeaderValue::Text(text) => text.to_lowercase(),
        _ => String::new(),
    }
}
