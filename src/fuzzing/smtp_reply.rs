//! Replies of a provider: capped, independent of cuts, and read again as they were passed on.

use super::cuts_and_rest;
use crate::{
    failure::Misbehaviour,
    wire::{
        REPLY_LINES_MAX, REPLY_TEXT_MAX, pieces,
        smtp::{Extensions, Reply, ReplyReader},
    },
};

/// # Panics
/// When the property does not hold.
pub fn smtp_reply(octets: &[u8]) {
    let (cuts, octets) = cuts_and_rest(octets);
    let whole = read(octets, &[]);
    assert_eq!(whole, read(octets, &cuts), "cuts matter");
    for reply in whole.0 {
        assert!((1..=REPLY_LINES_MAX).contains(&reply.lines.len()));
        assert!(reply.lines.iter().map(|line| line.len()).sum::<usize>() <= REPLY_TEXT_MAX);
        let _ = Extensions::read(&reply);
        assert!(!reply.words().contains(char::is_control));

        let mut once = Vec::new();
        reply.pass(reply.code, &mut once);
        let (again, failed) = read(&once, &[]);
        // What was said again is a little longer, and so may be above a cap where the first was just below.
        if failed.is_none() {
            assert_eq!((again.len(), again[0].code, again[0].lines.len()), (1, reply.code, reply.lines.len()));
            let mut twice = Vec::new();
            again[0].pass(reply.code, &mut twice);
            assert_eq!(once, twice, "saying it again changes it");
        }
    }
}

fn read(octets: &[u8], cuts: &[usize]) -> (Vec<Reply>, Option<Misbehaviour>) {
    let (mut reader, mut replies) = (ReplyReader::default(), Vec::new());
    for mut piece in pieces(octets, cuts) {
        while !piece.is_empty() {
            match reader.read(&mut piece) {
                Ok(reply) => replies.extend(reply),
                Err(misbehaviour) => return (replies, Some(misbehaviour)),
            }
        }
    }
    (replies, None)
}
