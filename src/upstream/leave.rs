//! Gives a lane another session can have: the mailbox that was selected on it is left, or being left.
//!
//! Nothing is expunged, and what the provider says of that mailbox reaches nobody ([`crate::relay::leaving`]). A lane that
//! cannot be left in time is closed: its mailbox must never be the next session's.

#![allow(clippy::disallowed_methods, reason = "how long an answer is waited for is told by the clock")]

use super::{departing::Departing, lane::Lane, pool::Pool};
use crate::{
    relay::leaving::{Leaving, Step},
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

/// Leaves the mailbox that is selected on a lane, or asks for it where the next session can speak behind that. None: the
/// lane is of no use.
pub(super) async fn left(mut lane: Lane, capabilities: &Capabilities, pool: &Pool) -> Option<Lane> {
    let until = Instant::now() + LEAVING;
    let refused = pool.refuses_unselect();
    let (leaving, line) = Leaving::begin(capabilities);
    let left = async {
        match leaving.is_one_step() && lane.unread.is_empty() && !refused.load(Ordering::Relaxed) {
            true => depart(lane, leaving, line, until, refused).await,
            false => leave(&mut lane, leaving, line).await.map(|()| lane),
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

async fn leave(lane: &mut Lane, mut leaving: Leaving, mut line: &[u8]) -> Option<()> {
    let mut unread = std::mem::take(&mut lane.unread);
    loop {
        lane.stream.write_all(line).await.ok()?;
        lane.stream.flush().await.ok()?;
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
            if lane.stream.read_buf(&mut unread).await.ok()? == 0 {
                return None;
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

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
