//! What the bridge asks for of its own: numbers of a SEARCH, and one header field of a FETCH. RFC 3501 7.2.5, 7.4.2.
//!
//! It reads answers to the bridge's own commands only; what a client asked for is never looked into.

/// The numbers of a SEARCH answer, behind its word; what is none is passed over.
#[must_use]
pub fn numbers(rest: &[u8]) -> Vec<u32> {
    let words = rest.split(|octet| *octet == b' ');
    words.filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok()).collect()
}

/// The UID of a FETCH answer, and the one literal in it; None where it has no UID. `octets` is the whole response, its
/// literal behind the announcement as on the wire.
#[must_use]
pub fn literal(octets: &[u8]) -> Option<(u32, &[u8])> {
    let line_end = memchr::memmem::find(octets, b"\r\n").unwrap_or(octets.len());
    let (line, rest) = octets.split_at(line_end);
    let rest = rest.get(2..).unwrap_or_default();
    let announced = line.strip_suffix(b"}").and_then(|line| {
        let at = line.iter().rposition(|octet| *octet == b'{')?;
        std::str::from_utf8(line.get(at + 1..)?).ok()?.parse::<usize>().ok()
    });
    let (literal, behind) = rest.split_at_checked(announced.unwrap_or(0))?;
    Some((uid(line).or_else(|| uid(behind))?, literal))
}

fn uid(text: &[u8]) -> Option<u32> {
    let mut words = text.split(|octet| matches!(octet, b' ' | b'(' | b')'));
    words.find(|word| word.eq_ignore_ascii_case(b"UID"))?;
    std::str::from_utf8(words.next()?).ok()?.parse().ok()
}

/// The UIDVALIDITY and the UID of an APPENDUID code's arguments, of one message (RFC 4315 section 3).
#[must_use]
pub fn append_uid(arguments: &[u8]) -> Option<(u32, u32)> {
    let text = std::str::from_utf8(arguments).ok()?;
    let (validity, uid) = text.trim().split_once(' ')?;
    Some((validity.parse().ok()?, uid.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn answers_of_real_servers_are_read() {
        assert_eq!(numbers(b" 4 17 9000"), [4, 17, 9000]);
        assert_eq!(numbers(b""), Vec::<u32>::new());
        assert_eq!(numbers(b" 4 (MODSEQ 7)"), [4]);
        let dovecot = b"* 2 FETCH (UID 7 BODY[HEADER.FIELDS (MESSAGE-ID)] {21}\r\nMessage-ID: <a@b>\r\n\r\n)";
        assert_eq!(literal(dovecot), Some((7, &b"Message-ID: <a@b>\r\n\r\n"[..])));
        let exchange = b"* 2 FETCH (BODY[HEADER.FIELDS (MESSAGE-ID)] {2}\r\n\r\n UID 9 FLAGS (\\Seen))";
        assert_eq!(literal(exchange), Some((9, &b"\r\n"[..])));
        assert_eq!(literal(b"* 2 FETCH (UID 9 BODY[HEADER.FIELDS (MESSAGE-ID)] \"\")"), Some((9, &b""[..])));
        assert_eq!(literal(b"* 2 FETCH (FLAGS (\\Seen))"), None);
        assert_eq!(append_uid(b"38505 3955"), Some((38505, 3955)));
        assert_eq!(append_uid(b"38505 3955:3957"), None);
    }

    proptest! {
        #[test]
        fn nothing_panics_and_a_literal_lies_within(octets in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some((_, literal)) = literal(&octets) {
                prop_assert!(literal.len() <= octets.len());
            }
            let _ = (numbers(&octets), append_uid(&octets));
        }
    }
}
