//! IMAP framing: pieces do not depend on cuts, a literal has the octets that were announced, and nothing is lost.

use super::cuts_and_rest;
use crate::{
    failure::Misbehaviour,
    wire::{
        imap::framer::{End, Framer, Literal, Piece},
        pieces,
    },
};

/// # Panics
/// When the property does not hold.
pub fn imap_framer(octets: &[u8]) {
    let (cuts, octets) = cuts_and_rest(octets);
    // Far enough to reach the seams of lines that stream.
    let cuts: Vec<usize> = cuts.iter().map(|cut| cut * (1 + octets.len() / 256)).collect();
    for framer in [|| Framer::client(9000), Framer::provider] {
        let (whole, failed) = frame(framer(), octets, &[]);
        let (cut, failed_cut) = frame(framer(), octets, &cuts);
        // A line may be refused for two reasons, of which the one that is seen first is told.
        assert!(failed.is_some() == failed_cut.is_some(), "cuts matter");
        // Of a line that streams more or less was given out before its end turned out to be none.
        let settled =
            whole.len().min(cut.len()) - usize::from(failed.is_some() && !whole.is_empty() && !cut.is_empty());
        assert!(whole[..settled] == cut[..settled] && (failed.is_some() || whole.len() == cut.len()), "cuts matter");
        check(&whole, octets);
    }
}

/// A piece with its seams closed.
#[derive(Debug, PartialEq, Eq)]
enum Whole {
    Line(Vec<u8>, End),
    Octets(Vec<u8>),
}

fn frame(mut framer: Framer, octets: &[u8], cuts: &[usize]) -> (Vec<Whole>, Option<Misbehaviour>) {
    let mut seen = Vec::new();
    for mut input in pieces(octets, cuts) {
        while !input.is_empty() {
            match framer.next(&mut input) {
                Ok(Some(piece)) => join(&mut seen, piece),
                Ok(None) => {}
                Err(misbehaviour) => return (seen, Some(misbehaviour)),
            }
        }
    }
    (seen, None)
}

fn join(seen: &mut Vec<Whole>, piece: Piece<'_>) {
    match (seen.last_mut(), piece) {
        (Some(Whole::Octets(before)), Piece::Octets(octets)) => before.extend_from_slice(octets),
        (_, Piece::Octets(octets)) => seen.push(Whole::Octets(octets.to_vec())),
        (Some(Whole::Line(before, ending)), Piece::More { text, end }) => {
            assert_eq!(*ending, End::Continues, "more of a line that ended");
            before.extend_from_slice(text);
            *ending = end;
        }
        (_, Piece::Line { text, end }) => seen.push(Whole::Line(text.to_vec(), end)),
        (_, Piece::More { .. }) => panic!("more of no line"),
    }
}

fn check(seen: &[Whole], octets: &[u8]) {
    let mut again = Vec::new();
    for (at, piece) in seen.iter().enumerate() {
        match piece {
            Whole::Line(text, end) => {
                again.extend_from_slice(text);
                if *end != End::Continues {
                    again.extend_from_slice(b"\r\n");
                }
                let announced = if let End::Literal(Literal { octets, .. }) = end { *octets } else { 0 };
                let told = if let Some(Whole::Octets(octets)) = seen.get(at + 1) { octets.len() as u64 } else { 0 };
                let is_last = at + 2 >= seen.len();
                assert!(told == announced || (is_last && told < announced), "a literal of another size");
            }
            Whole::Octets(literal) => again.extend_from_slice(literal),
        }
    }
    assert!(octets.starts_with(&again), "octets were lost or altered");
}
