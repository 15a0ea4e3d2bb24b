//! The report of what could not be delivered (RFC 3464, in the frame of RFC 6522), as a message for the sender's own INBOX.
//!
//! In English and French, as nobody knows which its reader speaks. It holds the header of the message, bounded, and none of
//! its text. Pure: names and time come as arguments.

use mail_parser::DateTime;
use std::fmt::Write as _;

/// Octets of the original's header.
pub const HEADER_MAX: usize = 64 * 1024;
/// Recipients that are told by name; of others their number.
const TOLD_MAX: usize = 1000;
/// A line of a header or of text (RFC 5322 section 2.1.1).
const LINE: usize = 76;

/// What a report is made of.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// Without its brackets; also what keeps the parts apart, so nobody else may know it before.
    pub id: &'a str,
    /// The name of the bridge.
    pub host: &'a str,
    /// The account's address.
    pub to: &'a str,
    /// In Unix seconds.
    pub at: i64,
    /// When the message was taken.
    pub taken_at: i64,
    /// What the bridge called it.
    pub number: i64,
    pub failed: &'a [Failed<'a>],
    /// The front of the message.
    pub original: &'a [u8],
}

/// A recipient that does not have the message.
#[derive(Clone, Debug)]
pub struct Failed<'a> {
    pub address: &'a str,
    /// The provider's reply, or why there is none.
    pub words: &'a str,
    /// Nobody refused it: its time was over.
    pub expired: bool,
}

impl Failed<'_> {
    /// `C.S.D` (RFC 3463): the provider's own, or as general as can be.
    fn status(&self) -> String {
        if self.expired {
            return "4.4.7".to_owned();
        }
        let enhanced = self.words.split(' ').nth(1).filter(|word| {
            let parts: Vec<_> = word.split('.').collect();
            let numbers =
                parts.iter().all(|part| (1..=3).contains(&part.len()) && part.bytes().all(|c| c.is_ascii_digit()));
            parts.len() == 3 && numbers && parts.first() == Some(&"5")
        });
        enhanced.unwrap_or("5.0.0").to_owned()
    }

    /// Whether the words begin with a code of SMTP.
    fn is_reply(&self) -> bool {
        let code = self.words.get(..3).unwrap_or_default();
        code.len() == 3 && code.bytes().all(|octet| octet.is_ascii_digit())
    }
}

/// Writes it.
#[must_use]
pub fn write(report: &Report<'_>) -> Vec<u8> {
    let Report { id, host, to, at, .. } = report;
    let boundary = boundary(id);
    let date = DateTime::from_timestamp((*at).max(0)).to_rfc822();
    let mut text = format!(
        "From: Passerelle <MAILER-DAEMON@{host}>\r\nTo: <{to}>\r\nSubject: Not delivered / Non remis\r\nDate: {date}\r\n\
         Message-ID: <{id}>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    );
    people(report, &mut text);
    let _ = write!(text, "\r\n--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\n");
    machines(report, &mut text);
    let _ = write!(
        text,
        "\r\n--{boundary}\r\nContent-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    );
    let mut octets = text.into_bytes();
    octets.extend_from_slice(header(report.original));
    octets.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    octets
}

fn boundary(id: &str) -> String {
    id.chars().filter(char::is_ascii_alphanumeric).take(60).collect()
}

fn people(report: &Report<'_>, text: &mut String) {
    let number = report.number;
    text.push_str(
        "Your message could not be delivered to the recipients below.\r\n\
         The mail bridge had taken it, and does not try again. If it is still wanted,\r\n\
         correct what the provider says and send it anew.\r\n\r\n\
         Votre message n'a pas pu être remis aux destinataires ci-dessous.\r\n\
         La passerelle l'avait accepté et n'essaiera plus. Si l'envoi est toujours\r\n\
         souhaité, corrigez ce qu'indique le fournisseur, puis renvoyez-le.\r\n\r\n",
    );
    for failed in told(report) {
        let _ = write!(text, "<{}>\r\n", failed.address);
        if failed.expired {
            text.push_str("  not delivered in time / non remis dans le délai\r\n");
        }
        fold(&format!("  {}", failed.words), "  ", text);
        text.push_str("\r\n");
    }
    if let Some(more) = report.failed.len().checked_sub(TOLD_MAX).filter(|more| *more > 0) {
        let _ = write!(text, "and to so many others / et à tant d'autres : {more}\r\n\r\n");
    }
    fold(&format!("Number in the queue / numéro dans la file : {number}"), "", text);
}

fn machines(report: &Report<'_>, text: &mut String) {
    let arrived = DateTime::from_timestamp(report.taken_at.max(0)).to_rfc822();
    let _ = write!(text, "Reporting-MTA: dns; {}\r\nArrival-Date: {arrived}\r\n", report.host);
    for failed in told(report) {
        let (address, status) = (failed.address, failed.status());
        let _ = write!(text, "\r\nFinal-Recipient: rfc822; {address}\r\nAction: failed\r\nStatus: {status}\r\n");
        if failed.is_reply() {
            let ascii: String =
                failed.words.chars().map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect();
            fold(&format!("Diagnostic-Code: smtp; {ascii}"), " ", text);
        }
    }
}

fn told<'a>(report: &Report<'a>) -> impl Iterator<Item = &'a Failed<'a>> {
    report.failed.iter().take(TOLD_MAX)
}

/// Words in lines, those behind the first begun so. A word that is longer than a line is cut.
fn fold(words: &str, begun: &str, text: &mut String) {
    let mut line = String::new();
    let lead: String = words.chars().take_while(|c| *c == ' ').collect();
    line.push_str(&lead);
    let mut fresh = true;
    for word in words.split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        while !rest.is_empty() {
            let piece: String = rest.drain(..rest.len().min(LINE - 8)).collect();
            if !fresh && line.chars().count() + 1 + piece.chars().count() > LINE {
                let _ = write!(text, "{line}\r\n");
                line = begun.to_owned();
                fresh = true;
            }
            if !fresh {
                line.push(' ');
            }
            line.push_str(&piece);
            fresh = false;
        }
    }
    let _ = write!(text, "{line}\r\n");
}

/// Whole lines of the header at the front of a message.
fn header(original: &[u8]) -> &[u8] {
    let front = original.get(..HEADER_MAX.min(original.len())).unwrap_or_default();
    let end = match memchr::memmem::find(front, b"\r\n\r\n") {
        _ if front.starts_with(b"\r\n") => 0,
        Some(end) => end + 2,
        None => memchr::memrchr(b'\n', front).map_or(0, |end| end + 1),
    };
    front.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::{MessageParser, MimeHeaders as _};
    use proptest::prelude::*;

    const ID: &str = "0123456789abcdef0123456789abcdef.1@example.test";

    fn written(failed: &[Failed<'_>], original: &[u8]) -> Vec<u8> {
        let (at, taken_at) = (1_795_770_000, 1_795_760_000);
        write(&Report {
            id: ID,
            host: "bridge.test",
            to: "alice@example.test",
            at,
            taken_at,
            number: 7,
            failed,
            original,
        })
    }

    #[test]
    fn a_report_says_who_why_and_of_what() {
        let failed = [
            Failed { address: "bob@x.test", words: "550 5.1.1 No such user", expired: false },
            Failed { address: "eve@x.test", words: "the provider cannot be reached: no answer in time", expired: true },
        ];
        let octets = written(&failed, b"Subject: Devis\r\nX: 1\r\n\r\nsecret text\r\n");
        let text = String::from_utf8(octets).expect("UTF-8");
        for part in [
            "multipart/report; report-type=delivery-status",
            "could not be delivered",
            "n'a pas pu être remis",
            "<bob@x.test>\r\n  550 5.1.1 No such user",
            "Final-Recipient: rfc822; bob@x.test\r\nAction: failed\r\nStatus: 5.1.1\r\n",
            "Diagnostic-Code: smtp; 550 5.1.1 No such user\r\n",
            "Final-Recipient: rfc822; eve@x.test\r\nAction: failed\r\nStatus: 4.4.7\r\n\r\n--",
            "Subject: Devis\r\nX: 1\r\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("secret text"), "{text}");
    }

    proptest! {
        #[test]
        fn a_reader_finds_every_part_whatever_was_said(
            words in proptest::collection::vec("[ -~éà\u{4e00}]{0,700}", 1..5),
            original in proptest::collection::vec(any::<u8>(), 0..3000),
        ) {
            let failed: Vec<_> = words.iter()
                .map(|words| Failed { address: "bob@x.test", words, expired: words.len() % 2 == 0 })
                .collect();
            let octets = written(&failed, &original);
            let parsed = MessageParser::default().parse(&octets).expect("a message");
            prop_assert_eq!(parsed.message_id(), Some(ID));
            let root = parsed.content_type().expect("a type");
            prop_assert_eq!((root.ctype(), root.subtype()), ("multipart", Some("report")));
            let kinds: Vec<_> = parsed.parts.iter().skip(1).take(3)
                .filter_map(|part| part.content_type().map(|kind| (kind.ctype().to_owned(), kind.subtype().unwrap_or_default().to_owned())))
                .collect();
            let wanted = [("text", "plain"), ("message", "delivery-status"), ("text", "rfc822-headers")];
            prop_assert_eq!(kinds, wanted.map(|(kind, sub)| (kind.to_owned(), sub.to_owned())).to_vec());
            let told = String::from_utf8_lossy(&octets).matches("\r\nFinal-Recipient: rfc822; bob@x.test\r\n").count();
            prop_assert!(told >= failed.len());
            let own = String::from_utf8(written(&failed, b"")).expect("UTF-8");
            prop_assert!(own.lines().all(|line| line.chars().count() < 100), "{own}");
        }

        #[test]
        fn what_is_held_of_a_header_is_bounded_and_whole(original in proptest::collection::vec(any::<u8>(), 0..200), times in 0_usize..2000) {
            let long = original.repeat(times);
            let held = header(&long);
            prop_assert!(held.len() <= HEADER_MAX && long.starts_with(held));
            prop_assert!(held.is_empty() || held.ends_with(b"\n"));
        }
    }
}
