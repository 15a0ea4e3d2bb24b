//! Gives a lane another session can have: the mailbox that was selected on it is left, or being left.
//!
//! Nothing is expunged, and what the provider says of that mailbox reaches nobody ([`crate::relay::leaving`]). A lane that
//! cannot be left in time is closed: its mailbox must never be the next session's.

#![allow(clippy::disallowed_methods, reason = "how long an answer is waited for is told by the clock")]

use super::{
    Stream,
    departing::Departing,
    lane::Lane,
    pool::{Parked, Pool},
};
use crate::{
    relay::{
        First,
        leaving::{Leaving, Step},
    },
    wire::imap::Capabilities,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, timeout},
};

/// For leaving a mailbox: what takes longer is not worth it.
pub(crate) const LEAVING: Duration = Duration::from_secs(10);
/// A lane that was parked for longer is asked whether it still answers, before it is used.
pub(crate) const DOUBTED: Duration = Duration::from_secs(60);
/// For that answer.
pub(crate) const PROBE: Duration = Duration::from_secs(5);

/// Leaves the mailbox that is selected on a lane, or asks for it where the next session can speak behind that. None: the
/// lane is of no use.
pub(super) async fn left(mut lane: Lane, capabilities: &Capabilities, pool: &Pool) -> Option<Lane> {
    let until = Instant::now() + LEAVING;
    let refused = pool.refuses_unselect();
    let (leaving, line) = Leaving::begin(capabilities);
    let left = async {
        match leaving.is_one_step() && lane.unread.is_empty() && !refused.load(Ordering::Relaxed) {
            true => depart(lane, leaving, line, until, refused).await,
            false => {
                let unread = std::mem::take(&mut lane.unread);
                leave(&mut lane.stream, unread, leaving, line).await.map(|()| lane)
            }
        }
    };
    timeout(LEAVING, left).await.ok().flatten()
}

async fn depart(
    mut lane: Lane,
    leaving: Leaving,
    line: &[u8],
    until: Instant,
    refused: Arc<AtomicBool>,
) -> Option<Lane> {
    lane.stream.write_all(line).await.ok()?;
    lane.stream.flush().await.ok()?;
    // Without the layer of the last time: a lane is used for as long as its provider likes.
    Some(Lane { stream: Box::new(Departing::new(lane.stream.bare(), leaving, until, refused)), ..lane })
}

async fn leave(stream: &mut Stream, mut unread: Vec<u8>, mut leaving: Leaving, mut line: &[u8]) -> Option<()> {
    loop {
        stream.write_all(line).await.ok()?;
        stream.flush().await.ok()?;
        line = loop {
            let mut input = &unread[..];
            let step = leaving.input(&mut input).ok()?;
            unread = input.to_vec();
            match step {
                // What more was said is nobody's answer.
                Step::Left => return unread.is_empty().then_some(()),
                Step::Say(line) => break line,
                Step::Reading => {}
            }
            unread.clear();
            if stream.read_buf(&mut unread).await.ok()? == 0 {
                return None;
            }
        };
    }
}

/// Whether a lane that was parked is good for what is said first over it. Where that cannot be said again, or a router may
/// have forgotten the connection without a word, the provider is asked, which takes one round trip.
pub(super) async fn is_good_for(parked: &mut Parked, first: First) -> bool {
    let in_doubt = parked.rested() > DOUBTED || (first == First::Once && parked.stream.is_busy());
    let (probe, line) = Leaving::probe();
    !in_doubt || matches!(timeout(PROBE, leave(&mut parked.stream, Vec::new(), probe, line)).await, Ok(Some(())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{
        lane::{LaneNumber, Memory},
        passed::LaneKey,
        places::Stay,
    };
    use tokio::io::duplex;

    /// A lane that is parked, and its provider.
    fn parked() -> (Parked, tokio::io::DuplexStream) {
        let (ours, theirs) = duplex(64);
        let stay = Stay { time: Duration::from_secs(3600), lanes: 1 };
        let memory = Memory::Imap { capabilities: Capabilities::default(), stay };
        (Parked::new(Box::new(ours), LaneNumber(1), memory, LaneKey::Stored, stay), theirs)
    }

    #[tokio::test]
    async fn a_lane_that_was_parked_for_long_is_asked_whether_it_answers() {
        for (rested, answers, good) in [(0, false, true), (61, true, true), (61, false, false)] {
            let (mut parked, mut provider) = parked();
            parked.parked -= Duration::from_secs(rested);
            let answer = async move {
                let mut heard = [0; 12];
                if answers && provider.read_exact(&mut heard).await.is_ok() {
                    assert_eq!(&heard, b"PSRLn NOOP\r\n");
                    let _ = provider.write_all(b"* OK still here\r\nPSRLn OK\r\n").await;
                }
            };
            let (is_good, ()) = tokio::join!(is_good_for(&mut parked, First::Repeatable), answer);
            assert_eq!(is_good, good, "{rested} s, {answers}");
        }
    }

    #[tokio::test]
    async fn a_lane_that_is_used_for_days_is_no_deeper_than_a_new_one() {
        let (ours, mut theirs) = duplex(64);
        let (gates, _root) = crate::upstream::Gates::of_a_test().await;
        let mut lane = gates.lane_over(Box::new(ours), crate::model::AccountId(1));
        let capabilities = crate::wire::imap::response::capabilities(b"IMAP4rev1 UNSELECT");
        // As many layers would take more than a stack.
        for _ in 0..30_000 {
            lane = left(lane, &capabilities, &Pool::default()).await.expect("a lane");
            let mut heard = [0; 16];
            theirs.read_exact(&mut heard).await.expect("heard");
            theirs.write_all(b"PSRLu OK\r\n+").await.expect("room");
            assert_eq!(lane.stream.read(&mut [0]).await.ok(), Some(1));
        }
    }
}
