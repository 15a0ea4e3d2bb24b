//! By what copies of one message are known for that: its Message-ID, or else From, To, Subject and about the same Date.
//!
//! A CRM that files what it sends writes the message twice, and some write another Message-ID, Date or boundary into the
//! copy, or a Bcc. Pure; what is too odd to be read is like nothing.

use mail_parser::{Address, HeaderName, HeaderValue, Message, MessageParser};

/// The front of a message that is read for its likeness. Real headers have 2 to 10 KiB.
pub const LIKENESS_MAX: usize = 64 * 1024;
/// A Message-ID that can be searched for. A line has at most 998 octets (RFC 5322 section 2.1.1).
pub(crate) const MESSAGE_ID_MAX: usize = 990;
/// Two Dates of copies of one message are this near to each other, in seconds.
pub const ABOUT: i64 = 600;

/// What is known of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Likeness {
    /// Without its brackets.
    pub message_id: Option<String>,
    /// Its Date, in Unix seconds.
    pub dated: Option<i64>,
    /// From, To and Subject in one form, whoever wrote them; None where one of the first two is missing.
    pub alike: Option<String>,
}

impl Likeness {
    /// Reads a header, or the first [`LIKENESS_MAX`] octets of a message.
    #[must_use]
    pub fn of(header: &[u8]) -> Self {
        let header = header.get(..LIKENESS_MAX.min(header.len())).unwrap_or_default();
        let Some(message) = MessageParser::default().parse_headers(header) else { return Self::default() };
        let dated = message.date().filter(|date| date.is_valid()).map(mail_parser::DateTime::to_timestamp);
        Self { message_id: message_id(&message), dated, alike: alike(&message) }
    }

    /// Whether a copy that says this is of the same message, as far as Message-IDs tell.
    #[must_use]
    pub fn has_id_of(&self, other: &Self) -> bool {
        self.message_id.is_some() && self.message_id == other.message_id
    }
}

fn message_id(message: &Message<'_>) -> Option<String> {
    let value = match message.header(HeaderName::MessageId)? {
        HeaderValue::Text(text) => text.as_ref(),
        HeaderValue::TextList(list) => list.first()?.as_ref(),
        _ => return None,
    };
    let sound = (1..=MESSAGE_ID_MAX).contains(&value.len()) && value.bytes().all(|octet| octet.is_ascii_graphic());
    sound.then(|| value.to_owned())
}

fn alike(message: &Message<'_>) -> Option<String> {
    let (from, to) = (addresses(message.from()?)?, addresses(message.to()?)?);
    let subject = message.subject().unwrap_or_default();
    // Folds and blanks differ between two writings of one subject.
    let subject = subject.split_whitespace().collect::<Vec<_>>().join(" ");
    Some(format!("{from}\n{to}\n{subject}"))
}

/// Sorted, in lower case, without names.
fn addresses(list: &Address<'_>) -> Option<String> {
    let mut found: Vec<_> = list.iter().filter_map(|one| one.address()).map(str::to_ascii_lowercase).collect();
    found.sort_unstable();
    found.dedup();
    (!found.is_empty()).then(|| found.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SENT: &str = "Date: Fri, 27 Nov 2026 10:00:00 +0100\r\nFrom: Alice <alice@firm.test>\r\n\
        To: Bob <bob@client.test>, carol@client.test\r\nSubject: =?utf-8?q?Devis_n=C2=B0_7?=\r\n\
        Message-ID: <one@firm.test>\r\n\r\nText\r\n";

    #[test]
    fn what_a_crm_writes_anew_is_alike() {
        let sent = Likeness::of(SENT.as_bytes());
        assert_eq!(sent.message_id.as_deref(), Some("one@firm.test"));
        assert_eq!(sent.dated, Some(1_795_770_000));
        let copy = "Bcc: boss@firm.test\r\nDate: Fri, 27 Nov 2026 09:00:02 GMT\r\nFrom: \"A. Martin\" <Alice@firm.test>\r\n\
            To: carol@client.test,\r\n Bob <bob@client.test>\r\nSubject: =?ISO-8859-1?B?RGV2aXMgbrAg?=\r\n 7\r\n\
            Message-ID: <two@crm>\r\n\r\n";
        let copy = Likeness::of(copy.as_bytes());
        assert_eq!(copy.alike, sent.alike);
        assert!(!copy.has_id_of(&sent) && sent.has_id_of(&sent.clone()));
        assert!((copy.dated.expect("a date") - sent.dated.expect("a date")).abs() <= ABOUT);
    }

    #[test]
    fn what_cannot_be_read_is_like_nothing() {
        for header in ["", "\r\n", "Text\r\n", "From: a@b.test\r\n\r\n", "To: a@b.test\r\nMessage-ID: \r\n\r\n"] {
            let likeness = Likeness::of(header.as_bytes());
            assert_eq!((likeness.alike.clone(), likeness.message_id.clone()), (None, None), "{header:?}");
            assert!(!likeness.has_id_of(&likeness));
        }
        let odd = format!("Message-ID: <{}@x>\r\n\r\n", "a".repeat(2000));
        assert_eq!(Likeness::of(odd.as_bytes()).message_id, None);
    }

    proptest! {
        /// What is searched for at a provider stands in a quoted string.
        #[test]
        fn no_message_id_could_end_a_line(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let header = [b"Message-ID: ", &octets[..], b"\r\n\r\n"].concat();
            if let Some(id) = Likeness::of(&header).message_id {
                prop_assert!(id.bytes().all(|octet| octet.is_ascii_graphic()));
            }
        }
    }
}
