//! Pieces of the lines that the bridge's own IMAP says: names of mailboxes, and dates. RFC 3501 section 9.

use crate::{model::RemoteName, wire::imap::token::write_astring};

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A command on a mailbox, cut behind the announcement of its name where that has to be a literal.
pub(super) fn parts(verb: &str, name: &RemoteName, behind: &str) -> Vec<Vec<u8>> {
    let mut line = verb.as_bytes().to_vec();
    write_astring(name.as_bytes(), false, &mut line);
    line.extend_from_slice(behind.as_bytes());
    match memchr::memmem::find(&line, b"}\r\n") {
        Some(at) => {
            let (front, rest) = line.split_at(at + 1);
            vec![front.to_vec(), rest.get(2..).unwrap_or_default().to_vec()]
        }
        None => vec![line],
    }
}

/// The day, as SEARCH has it.
pub(super) fn day(at: i64) -> String {
    let date = mail_parser::DateTime::from_timestamp(at.max(0));
    let month = MONTHS.get(usize::from(date.month).saturating_sub(1)).unwrap_or(&"Jan");
    format!("{}-{month}-{:04}", date.day, date.year)
}

/// The day of a date-time that a CRM wrote, at its beginning, in Unix seconds; None: it is none.
pub(super) fn day_of(date_time: &str) -> Option<i64> {
    let (date, _) = date_time.trim_start().split_once(' ')?;
    let mut parts = date.split('-');
    let (day, month, year) = (parts.next()?.parse().ok()?, parts.next()?, parts.next()?.parse().ok()?);
    let month = MONTHS.iter().position(|name| name.eq_ignore_ascii_case(month))?;
    let month = u8::try_from(month + 1).ok()?;
    let date = mail_parser::DateTime { year, month, day, ..mail_parser::DateTime::from_timestamp(0) };
    date.is_valid().then(|| date.to_timestamp())
}

/// A moment, as APPEND has it.
pub(crate) fn date_time(at: i64) -> String {
    let date = mail_parser::DateTime::from_timestamp(at.max(0));
    let day = day(at);
    format!("{day:>11} {:02}:{:02}:{:02} +0000", date.hour, date.minute, date.second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_imap_has_them() {
        assert_eq!(day(1_795_770_000), "27-Nov-2026");
        assert_eq!(day_of(" 4-mar-2024 23:59:00 -0800").map(day).as_deref(), Some("4-Mar-2024"));
        assert_eq!(day_of("27-Nov-2026 09:00:00 +0000").map(day).as_deref(), Some("27-Nov-2026"));
        assert_eq!((day_of("x"), day_of("40-Feb-2024 00:00:00 +0000")), (None, None));
        assert_eq!(date_time(1_795_770_000), "27-Nov-2026 09:00:00 +0000");
        assert_eq!(date_time(1_793_523_661), " 1-Nov-2026 09:01:01 +0000");
    }

    #[test]
    fn a_name_that_needs_a_literal_waits_for_the_provider() {
        let name = RemoteName::parse(b"Envoy\xe9s").expect("a name");
        assert_eq!(parts("EXAMINE ", &name, ""), [b"EXAMINE {7}".to_vec(), b"Envoy\xe9s".to_vec()]);
        let name = RemoteName::parse(b"Sent Items").expect("a name");
        assert_eq!(parts("APPEND ", &name, " (\\Seen) {3}"), [b"APPEND \"Sent Items\" (\\Seen) {3}".to_vec()]);
    }
}
