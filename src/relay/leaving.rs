//! Leaves the mailbox of a lane that its session gave back, so that another session can have the lane.
//!
//! By UNSELECT, or where the provider lacks it by EXAMINE INBOX and CLOSE, which expunges nothing. It must never close a
//! mailbox that may be open read-write: where EXAMINE is refused the lane is given up. RFC 3691, RFC 3501 6.4.2.

use crate::{
    failure::Misbehaviour,
    wire::imap::{
        Capabilities,
        framer::{Framer, Piece},
        response::{self, Condition, Response},
    },
};

/// A leaving under way.
#[derive(Debug)]
pub struct Leaving {
    framer: Framer,
    awaited: &'static [u8],
    /// The next piece begins a response.
    begins: bool,
    refused: bool,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// More is to be read.
    Reading,
    /// This is to be sent.
    Say(&'static [u8]),
    /// No mailbox is selected any more. What input is left was said behind the answer.
    Left,
}

const UNSELECT: &[u8] = b"PSRLu";
const EXAMINE: &[u8] = b"PSRLe";
const CLOSE: &[u8] = b"PSRLc";
const NOOP: &[u8] = b"PSRLn";

impl Leaving {
    /// Begins, and says what to send.
    #[must_use]
    pub fn begin(capabilities: &Capabilities) -> (Self, &'static [u8]) {
        let (awaited, line): (_, &[u8]) = match capabilities.has("UNSELECT") {
            true => (UNSELECT, b"PSRLu UNSELECT\r\n"),
            false => (EXAMINE, b"PSRLe EXAMINE INBOX\r\n"),
        };
        (Self { framer: Framer::provider(), awaited, begins: true, refused: false }, line)
    }

    /// Where nothing is selected: asks whether the lane still answers.
    #[must_use]
    pub fn probe() -> (Self, &'static [u8]) {
        (Self { framer: Framer::provider(), awaited: NOOP, begins: true, refused: false }, b"PSRLn NOOP\r\n")
    }

    /// Takes what the provider says, up to the answer that is awaited.
    ///
    /// # Errors
    /// A refusal, a BYE, or words that nobody asked for: the lane is of no use.
    pub fn input(&mut self, input: &mut &[u8]) -> Result<Step, Misbehaviour> {
        while let Some(piece) = self.framer.next(input)? {
            let begins = std::mem::replace(&mut self.begins, piece.ends_line());
            let (Piece::Line { text, .. }, true) = (piece, begins) else { continue };
            match response::read(text)? {
                Response::Status { tag: Some(tag), status } => {
                    if tag != self.awaited || status.condition != Condition::Ok {
                        self.refused = tag == self.awaited;
                        return Err(Misbehaviour::Unasked);
                    }
                    return Ok(self.answered());
                }
                Response::Status { tag: None, status } if status.condition == Condition::Bye => {
                    return Err(Misbehaviour::Unasked);
                }
                Response::Continuation(_) => return Err(Misbehaviour::Unasked),
                Response::Status { .. } | Response::Data { .. } => {}
            }
        }
        Ok(Step::Reading)
    }

    /// Whether there is one answer to await, so that others may speak behind it.
    #[must_use]
    pub fn is_one_step(&self) -> bool {
        self.awaited == UNSELECT
    }

    /// Whether the provider said no to what it was asked. It may do so each time, whatever it offers.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    fn answered(&mut self) -> Step {
        match self.awaited {
            EXAMINE => {
                self.awaited = CLOSE;
                Step::Say(b"PSRLc CLOSE\r\n")
            }
            _ => Step::Left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::imap::response::capabilities;

    /// What is said, and how it ends, when the provider says these one after the other.
    fn leave(offered: &[u8], says: &[&[u8]]) -> (Vec<&'static [u8]>, Result<Step, Misbehaviour>) {
        let (mut leaving, first) = Leaving::begin(&capabilities(offered));
        let mut said = vec![first];
        let mut last = Ok(Step::Reading);
        for octets in says {
            let mut input = *octets;
            while !input.is_empty() && last.is_ok() {
                last = leaving.input(&mut input);
                if let Ok(Step::Say(line)) = last {
                    said.push(line);
                }
            }
        }
        (said, last)
    }

    #[test]
    fn a_mailbox_is_left_without_expunging() {
        let says: [&[u8]; 2] = [b"* 3 EXISTS\r\n* 1 FETCH (X {9}\r\nPSRLu OK\n)\r\n", b"PSRLu OK left\r\n"];
        assert_eq!(leave(b"UNSELECT", &says), (vec![&b"PSRLu UNSELECT\r\n"[..]], Ok(Step::Left)));
        let says: [&[u8]; 3] = [b"* 3 EXISTS\r\nPSR", b"Le OK [READ-ONLY]\r\n", b"PSRLc OK\r\n"];
        let said = vec![&b"PSRLe EXAMINE INBOX\r\n"[..], b"PSRLc CLOSE\r\n"];
        assert_eq!(leave(b"", &says), (said, Ok(Step::Left)));
    }

    #[test]
    fn a_refusal_gives_the_lane_up_and_closes_nothing() {
        let (said, end) = leave(b"", &[b"PSRLe NO not now\r\n", b"PSRLc OK\r\n"]);
        assert_eq!(said, [b"PSRLe EXAMINE INBOX\r\n"]);
        assert!(end.is_err());
        for says in [&b"PSRLu BAD\r\n"[..], b"* BYE\r\n", b"PSRLx OK\r\n", b"+ go\r\n"] {
            assert!(leave(b"UNSELECT", &[says]).1.is_err(), "{:?}", String::from_utf8_lossy(says));
        }
    }

    #[test]
    fn what_is_said_behind_the_answer_is_left_to_whom_it_is_for() {
        let (mut leaving, _) = Leaving::begin(&capabilities(b"UNSELECT"));
        let mut input = &b"* 3 EXISTS\r\nPSRLu OK\r\n* 5 EXISTS\r\n"[..];
        assert_eq!((leaving.input(&mut input), input), (Ok(Step::Left), &b"* 5 EXISTS\r\n"[..]));
    }

    #[test]
    fn a_refusal_is_told_from_other_trouble() {
        let refused = |says: &[u8]| {
            let (mut leaving, _) = Leaving::begin(&capabilities(b"UNSELECT"));
            leaving.input(&mut &says[..]).is_err() && leaving.is_refused()
        };
        assert!(refused(b"PSRLu NO not now\r\n") && refused(b"PSRLu BAD what?\r\n"));
        assert!(!refused(b"* BYE\r\n") && !refused(b"PSRLx NO\r\n") && !refused(b"PSRLu OK\r\n"));
    }
}
