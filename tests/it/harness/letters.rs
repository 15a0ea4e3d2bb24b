//! The letters of `tests/corpus`, laid out as a mailbox in use.

use super::{
    dovecot::Letter,
    layout::{Layout, OWN},
    wire::Wire,
};
use std::{fs, path::Path};

/// Where each lies: file, mailbox, flags, the date of its arrival. Their order is that of their UIDs.
const LAID: [(&str, &str, &str, &str); 9] = [
    ("plain", "INBOX", "", "04-Mar-2024 05:06:08 +0100"),
    ("alternative-utf8", "INBOX", "\\Seen \\Flagged", "05-Mar-2024 18:30:02 +0100"),
    ("attachments", "INBOX", "\\Answered \\Seen", " 6-Mar-2024 09:00:01 +0000"),
    ("latin1-8bit", "INBOX", "", " 8-Mar-2024 04:59:59 +0000"),
    ("strange", "INBOX", "important", "08-Mar-2024 10:00:00 +0000"),
    ("empty-body", "INBOX", "", "08-Mar-2024 12:00:01 +0000"),
    ("plain", "INBOX.Sent", "\\Seen", "01-Feb-2024 08:00:00 +0000"),
    ("attachments", "INBOX.&AMk-t&AOk- 2024.Devis &- co", "\\Flagged", "02-Feb-2024 08:00:00 +0000"),
    ("alternative-utf8", "INBOX.Clients", "", "03-Feb-2024 08:00:00 +0000"),
];

/// A letter of the corpus with the line ends of the wire.
pub(crate) fn letter(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name).with_extension("eml");
    let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.split_inclusive(|&octet| octet == b'\n')
        .flat_map(|line| match line.strip_suffix(b"\n") {
            Some(line) => [line, b"\r\n"].concat(),
            None => line.to_vec(),
        })
        .collect()
}

pub(crate) fn letters() -> Vec<Letter> {
    LAID.iter().map(|&(name, mailbox, flags, date)| Letter { mailbox, flags, date, octets: letter(name) }).collect()
}

/// Makes the mailboxes of users at a server that made the special ones by itself, subscribes to all, and lays messages
/// into them. Nothing is `\\Recent` afterwards.
pub(crate) fn lay_out(wire: &mut Wire, layout: Layout, letters: &[Letter]) {
    for mailbox in OWN {
        wire.imap_ok(&format!("CREATE \"{}\"", layout.remote(mailbox)));
    }
    for letter in letters {
        let options = format!("({}) \"{}\"", letter.flags, letter.date);
        let answer = wire.append(&layout.spell(letter.mailbox), &options, &letter.octets);
        assert!(answer.is_ok(), "{}: {}", letter.mailbox, answer.tagged);
    }
    for mailbox in layout.mailboxes() {
        wire.imap_ok(&format!("SUBSCRIBE \"{mailbox}\""));
        wire.imap_ok(&format!("SELECT \"{mailbox}\""));
    }
}
