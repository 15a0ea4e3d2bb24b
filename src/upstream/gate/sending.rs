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
    failure::{Cap, Failure},
    model::{AccountId, Generation},
    relay::{LaneFacts, LaneUse},
    rules::rate::Rate,
    store::{Account, Standing},
    upstream::{
        lane::{Lane, LaneNumber, Leased},
        passed::{LaneKey, Passed, key},
        places::{self, Allowance, Stay},
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
use tokio::time::{sleep, timeout};

/// What all that send for one account share.
pub(in crate::upstream) struct Sending {
    pub(in crate::upstream) pool: Arc<Pool>,
    /// Lanes that sessions have.
    pub(in crate::upstream) in_use: AtomicUsize,
    /// At which the last sign-in worked.
    signed_in: Mutex<Generation>,
    /// Messages that wait for a place or for their turn.
    waiting: AtomicU64,
    /// Who has it is the next to go: those behind wait in the order in which they came.
    turn: tokio::sync::Mutex<()>,
    /// Of all generations: the provider counts the mailbox's messages, not its passwords'.
    rate: Mutex<Rate>,
    /// Since when its time is told.
    start: Instant,
    pub(super) opening: UnderWay,
}

impl Default for Sending {
    fn default() -> Self {
        Self {
            pool: Arc::default(),
            in_use: AtomicUsize::new(0),
            signed_in: Mutex::default(),
            waiting: AtomicU64::new(0),
            turn: tokio::sync::Mutex::default(),
            rate: Mutex::default(),
            start: Instant::now(),
            opening: UnderWay::default(),
        }
    }
}

impl Default for SendingBounds {
    /// For what never sends.
    fn default() -> Self {
        Self { per_lane: u32::MAX, per_minute: None, stay: Stay::default(), wait: Duration::ZERO }
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
        gate.attempts.throttled(LaneUse::Submission)?;
        // A token was judged with the verdict.
        if passed.is_some()
            || !gate.empty_if_forsaken(&account, LaneUse::Submission)
                && gate.sending.is_there(standing.generation, key(passed))
        {
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
        let mut lane = self.lane_for_a_message(&gate, account, last, passed, self.bounds.sending.wait).await?;
        self.still_stands(&gate, standing)?;
        let extensions = lane.begin_message().ok_or(OUTDATED)?;
        Ok(Leased { lane, facts: LaneFacts::Smtp { extensions } })
    }

    /// One that nothing was said on, whoever the message is from; one `wait` for all: whoever waits is told in time,
    /// whatever was short.
    pub(super) async fn lane_for_a_message(
        self: &Arc<Self>,
        gate: &Arc<Gate>,
        account: Account,
        last: Option<LaneNumber>,
        passed: Option<&Passed>,
        wait: Duration,
    ) -> Result<Lane, Failure> {
        let began = Instant::now();
        let per_minute = self.allowance(&account).per_minute;
        let waits = gate.sending.line(per_minute, wait)?;
        let permit = self.place(gate, &account, LaneUse::Submission, wait).await?;
        // After the place: whoever waited for that with a turn would go with those of a later minute.
        gate.sending.turn(per_minute, began + wait).await?;
        drop(waits);
        gate.attempts.throttled(LaneUse::Submission)?;
        gate.empty_if_forsaken(&account, LaneUse::Submission);
        let (generation, key) = (account.generation, key(passed));
        if let Some(parked) = gate.sending.clean(generation, key, last).await {
            return Ok(gate.unparked(parked, generation, key, permit));
        }
        let lately = &gate.tokens.lately;
        if passed.is_some_and(|passed| lately.refuses(passed.key, LaneUse::Submission, Instant::now())) {
            return Err(Failure::SignInRefused);
        }
        let held = Held::Place(permit);
        let wanted = Opening { account, purpose: LaneUse::Submission, passed: passed.cloned(), held };
        self.opened_within(gate, wanted, wait.saturating_sub(began.elapsed())).await
    }

    /// Closes parked lanes that would make one too many with those in use and the one that is opened now.
    pub(super) fn make_room(&self, gate: &Gate, account: &Account, purpose: LaneUse) {
        let cap = places::cap(account, purpose, self.bounds.lanes_per_account, &self.providers);
        gate.pool(purpose).shrink(gate.places.free(purpose, cap).available_permits());
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
    pub(super) async fn clean(&self, generation: Generation, key: LaneKey, last: Option<LaneNumber>) -> Option<Parked> {
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

    /// A place in line, unless so many wait that this one's turn would come too late: the line is no longer than what goes
    /// in that time.
    fn line(&self, per_minute: Option<u32>, wait: Duration) -> Result<Waits<'_>, Failure> {
        let (waits, ahead) = Waits::among(&self.waiting);
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        let turn = per_minute.map(|per_minute| self.rate().wait(per_minute, ahead, self.start.elapsed()));
        if turn.is_some_and(|turn| turn > wait) { Err(Failure::Busy(Cap::Rate)) } else { Ok(waits) }
    }

    /// Waits until one more message may begin.
    pub(super) async fn turn(&self, per_minute: Option<u32>, until: Instant) -> Result<(), Failure> {
        let Some(per_minute) = per_minute else {
            self.rate().note(None, self.start.elapsed());
            return Ok(());
        };
        let turn = async {
            let _turn = self.turn.lock().await;
            loop {
                let wait = {
                    let (mut rate, now) = (self.rate(), self.start.elapsed());
                    let wait = rate.wait(per_minute, 0, now);
                    if wait.is_zero() {
                        rate.note(Some(per_minute), now);
                        return Some(());
                    }
                    wait
                };
                // It may have waited long for its place: told at once, it leaves the turn to the next.
                if Instant::now() + wait > until {
                    return None;
                }
                sleep(wait).await;
            }
        };
        let turn = timeout(until.saturating_duration_since(Instant::now()), turn).await;
        turn.ok().flatten().ok_or(Failure::Busy(Cap::Rate))
    }

    fn rate(&self) -> MutexGuard<'_, Rate> {
        self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Messages that began in the last minute.
    pub(super) fn lately(&self) -> u64 {
        self.rate().lately(self.start.elapsed())
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

impl<'a> Waits<'a> {
    /// Counts it; how many waited before.
    fn among(all: &'a AtomicU64) -> (Self, u64) {
        let before = all.fetch_add(1, Ordering::Relaxed);
        (Self(all), before)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 60 a minute: ten at once, then one each 1.2 s.
    const MINUTE: Option<u32> = Some(60);
    const WAIT: Duration = Duration::from_secs(3);

    #[tokio::test]
    async fn whoever_would_wait_in_vain_is_told_at_once_and_leaves_no_gap() {
        let sending = Sending::default();
        let until = Instant::now() + WAIT;
        for _ in 0..10 {
            let line = sending.line(MINUTE, WAIT);
            assert!(line.is_ok());
            assert_eq!(sending.turn(MINUTE, until).await, Ok(()));
        }
        let (first, second) = (sending.line(MINUTE, WAIT), sending.line(MINUTE, WAIT));
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(sending.line(MINUTE, WAIT).err(), Some(Failure::Busy(Cap::Rate)), "3.6 s are too long");
        // Another one leaves, and those behind it move up.
        drop(first);
        let third = sending.line(MINUTE, WAIT);
        assert!(third.is_ok());
        let turns = tokio::join!(sending.turn(MINUTE, until), sending.turn(MINUTE, until), sending.turn(MINUTE, until));
        assert_eq!(turns, (Ok(()), Ok(()), Err(Failure::Busy(Cap::Rate))));
        drop((second, third));
        assert_eq!((sending.lately(), sending.waiting()), (12, 0));
    }

    #[tokio::test]
    async fn what_nobody_bounds_waits_for_no_turn_and_is_counted_all_the_same() {
        let sending = Sending::default();
        for _ in 0..100 {
            assert!(sending.line(None, Duration::ZERO).is_ok());
            assert_eq!(sending.turn(None, Instant::now()).await, Ok(()));
        }
        assert_eq!(sending.lately(), 100);
    }
}
