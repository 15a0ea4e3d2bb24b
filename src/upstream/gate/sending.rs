//! Sending of one account: its parked lanes, each leased for one message, and the messages that wait for one.
//!
//! A lane never reaches a session but new, or after the provider has answered RSET on it. What waits here has sent nothing
//! yet, so that it may be refused for now without a doubt.

#![allow(clippy::disallowed_methods, reason = "how long it is waited is told by the clock")]

use super::{
    Gate, Gates, SendingBounds, UnderWay,
    lease::{Held, OUTDATED, Opening},
};
use crate::{
    failure::Failure,
    model::{AccountId, Generation},
    relay::{LaneFacts, LaneUse},
    store::{Account, Standing},
    upstream::{
        lane::{LaneNumber, Leased},
        passed::{LaneKey, Passed, key},
        places::{self, Allowance},
        pool::{Parked, Pool},
        reset::{self, RESET_WITHIN},
    },
};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// What all that send for one account share.
#[derive(Default)]
pub(in crate::upstream) struct Sending {
    pub(in crate::upstream) pool: Arc<Pool>,
    /// Lanes that sessions have.
    pub(in crate::upstream) in_use: AtomicUsize,
    /// At which the last sign-in worked.
    signed_in: Mutex<Generation>,
    /// Messages that wait.
    waiting: AtomicU64,
    pub(super) opening: UnderWay,
}

impl Default for SendingBounds {
    /// For what never sends.
    fn default() -> Self {
        Self { per_lane: u32::MAX, parked: Duration::ZERO, wait: Duration::ZERO }
    }
}

impl Gates {
    /// Whether a message could be sent, for whom a verdict let in, if that still stands. At once where a lane is there, in
    /// use or parked; else one is opened and parked, and if that takes longer than `login-wait`, the opening goes on for the
    /// next try.
    ///
    /// # Errors
    /// Why not.
    pub async fn ready_to_send(
        self: &Arc<Self>,
        id: AccountId,
        standing: Standing,
        passed: Option<&Passed>,
    ) -> Result<(), Failure> {
        let (gate, account) = self.standing(id, standing).await?;
        // A token was judged with the verdict.
        if passed.is_some() || gate.sending.is_there(standing.generation, key(passed)) {
            return Ok(());
        }
        self.opened_for_a_login(&gate, account, LaneUse::Submission).await?;
        self.still_stands(&gate, standing)
    }

    /// A lane for one message.
    pub(super) async fn lease_for_a_message(
        self: &Arc<Self>,
        id: AccountId,
        standing: Standing,
        last: Option<LaneNumber>,
        passed: Option<&Passed>,
    ) -> Result<Leased, Failure> {
        let (gate, account) = self.standing(id, standing).await?;
        // One wait for all: the client is told in time, whatever was short.
        let (wait, began) = (self.bounds.sending.wait, Instant::now());
        let waits = gate.sending.line();
        let permit = self.place(&gate, &account, LaneUse::Submission, wait).await?;
        drop(waits);
        let key = key(passed);
        let mut lane = match gate.sending.clean(standing.generation, key, last).await {
            Some(parked) => gate.unparked(parked, standing.generation, key, permit),
            None => {
                if passed
                    .is_some_and(|passed| gate.tokens.lately.refuses(passed.key, LaneUse::Submission, Instant::now()))
                {
                    return Err(Failure::SignInRefused);
                }
                let wanted = Opening {
                    account,
                    purpose: LaneUse::Submission,
                    passed: passed.cloned(),
                    held: Held::Place(permit),
                };
                self.opened_within(&gate, wanted, wait.saturating_sub(began.elapsed())).await?
            }
        };
        self.still_stands(&gate, standing)?;
        let extensions = lane.begin_message().ok_or(OUTDATED)?;
        Ok(Leased { lane, facts: LaneFacts::Smtp { extensions } })
    }

    /// Closes parked lanes that would make one too many with those in use and the one that is opened now.
    pub(super) fn make_room(&self, gate: &Gate, account: &Account, purpose: LaneUse) {
        if purpose == LaneUse::Imap {
            return;
        }
        let cap = places::cap(account, LaneUse::Submission, self.bounds.lanes_per_account, &self.providers);
        gate.sending.pool.shrink(gate.places.free(LaneUse::Submission, cap).available_permits());
    }

    pub(super) fn allowance(&self, account: &Account) -> Allowance {
        places::allowance(account, self.bounds.sending, &self.providers)
    }
}

impl Sending {
    /// Whether the provider is known to let this key in: a lane is there.
    fn is_there(&self, generation: Generation, key: LaneKey) -> bool {
        let in_use = || self.in_use.load(Ordering::Relaxed) > 0 && *self.signed_in() == generation;
        in_use() || self.pool.has(generation, key)
    }

    /// A sign-in of this generation worked.
    pub(super) fn opened(&self, generation: Generation) {
        *self.signed_in() = generation;
    }

    fn signed_in(&self) -> MutexGuard<'_, Generation> {
        self.signed_in.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A parked lane whose provider has just answered RSET. None: there is none, all were dropped, or none answers in time.
    async fn clean(&self, generation: Generation, key: LaneKey, last: Option<LaneNumber>) -> Option<Parked> {
        let first_good = async {
            while let Some(mut parked) = self.pool.take(generation, key, last) {
                if reset::reset(&mut parked.stream).await.is_some() {
                    return Some(parked);
                }
            }
            None
        };
        timeout(RESET_WITHIN, first_good).await.ok().flatten()
    }

    /// Counts one that waits until it is dropped.
    fn line(&self) -> Waits<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waits(&self.waiting)
    }

    /// Other credentials, or another place.
    pub(super) fn reach(&self, generation: Generation) {
        self.pool.reach(generation);
    }

    /// Messages that wait.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// One that waits, counted until it is dropped.
struct Waits<'a>(&'a AtomicU64);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
