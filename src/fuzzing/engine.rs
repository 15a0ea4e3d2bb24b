//! The engine: any octets, in any cuts, from a client that has signed in or has not.
//!
//! It ends, never panics, what it holds back stays bounded, and cuts do not matter to what it says.

use super::cuts_and_rest;
use crate::{
    engine::{
        machine::Manner,
        memory::Memory,
        source::Flags,
        still::{NOW, Session, held_back_at_most},
    },
    model::{RemoteName, Role},
};

/// A message with parts in each other.
const LETTER: &[u8] = b"From: \"A\" <a@x.test>\r\nTo: b@x.test, g: c@x.test;\r\nSubject: =?UTF-8?Q?=C3=A9?=\r\n\
    Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\nx\r\n\
    --o\r\n\r\ny\r\n--o--\r\n";
const MESSAGE_MAX: u64 = 2_000;

/// # Panics
/// When the property does not hold.
pub fn engine(octets: &[u8]) {
    let (cuts, rest) = cuts_and_rest(octets);
    let Some((flags, rest)) = rest.split_first() else { return };
    let whole = run(*flags, &[rest]);
    let cut = run(*flags, &crate::wire::pieces(rest, &cuts));
    assert!(whole == cut, "cuts matter");
}

fn run(flags: u8, pieces: &[&[u8]]) -> Vec<u8> {
    let manner = if flags & 1 == 0 { Manner::gmail("fuzz") } else { Manner::ovh("fuzz") };
    let memory = Memory::new(manner.delimiter, 7);
    memory.add(&[&manner.prefix[..], b"Sent"].concat(), Some(Role::Sent), false);
    if let Ok(inbox) = RemoteName::parse(b"INBOX") {
        // A letter of the fuzzer's own, too.
        let own = pieces.concat();
        for letter in [LETTER, if flags & 8 == 0 { LETTER } else { &own }] {
            let laid = memory.deliver(&inbox, letter, Flags::new(), NOW);
            assert!(laid.is_ok(), "there is room");
        }
    }
    let mut session = Session::new(Manner { message_max: MESSAGE_MAX, ..manner }, &memory);
    if flags & 2 == 0 {
        session.says(b"a LOGIN x y\r\n");
    }
    if flags & 4 == 0 {
        session.says(b"b SELECT INBOX\r\n");
    }
    for piece in pieces {
        session.says(piece);
    }
    session.looks();
    let largest = LETTER.len().max(MESSAGE_MAX as usize).max(pieces.iter().map(|piece| piece.len()).sum());
    assert!(session.most <= held_back_at_most(largest), "{} octets are held back", session.most);
    session.said
}
