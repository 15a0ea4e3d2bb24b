//! The provider's verdict on a client's own token, and what may come of it.
//!
//! A token that was let in lately opens a lane in one of the account's places, as a password does. One that nobody has
//! seen yet is shown in a turn ([`super::turn`]), and has a place only once the provider has said yes.

#![allow(clippy::disallowed_methods, reason = "how long it is waited is told by the clock")]

use super::{
    Gate, Gates,
    attempt::{outcome_of_token, service},
    lease::{Held, Opening},
    turn::Turn,
};
use crate::{
    failure::Failure,
    relay::{Admission, LaneState, LaneUse},
    store::{Account, Standing},
    upstream::{Opened, Passed, Refusal, passed::LaneKey, stored::judges_tokens},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::OwnedSemaphorePermit;

impl Gates {
    /// The provider's verdict on a client's own token, within `wait`. If it is good, a lane that it opened is parked, now or
    /// still.
    ///
    /// # Errors
    /// [`Failure::SignInRefused`], or why there is no verdict.
    pub(super) async fn judged(
        self: &Arc<Self>,
        admission: &Admission,
        standing: Standing,
        passed: &Passed,
        purpose: LaneUse,
        wait: Duration,
    ) -> Result<(), Failure> {
        let (gate, account) = self.standing(admission.account, standing).await?;
        // Not in a turn: it is no refusal of the provider's, and makes no new token wait.
        if !judges_tokens(&account, purpose) {
            let (account, service) = (account.address.as_str(), service(purpose));
            tracing::warn!(
                account,
                service,
                "a client's token is not shown to this service, which does not sign in by it"
            );
            return Err(Failure::SignInRefused);
        }
        let known = || gate.health().capabilities.is_some() && gate.has_tree(passed.key);
        let has_lane = || match purpose {
            LaneUse::Imap => known() && gate.pool.has(standing.generation, passed.key),
            LaneUse::Submission => gate.sending.pool.has(standing.generation, passed.key),
        };
        let (wait, began) = (wait.min(admission.login_wait.unwrap_or(Duration::MAX)), Instant::now());
        let left = || wait.saturating_sub(began.elapsed());
        let login = gate.tokens_of(standing.login);
        let held = loop {
            if has_lane() {
                return Ok(());
            }
            let (lately, key) = (&gate.tokens.lately, passed.key);
            if passed.of_login.refuses(key, purpose, Instant::now()) {
                return Err(Failure::SignInRefused);
            }
            if !lately.knows(key, purpose, Instant::now()) {
                match login.turn(key, account.generation, purpose, left()).await? {
                    Some(turn) => {
                        let turn = turn.at(&gate.tokens, left()).await?;
                        // Another's may have ended between the look and the turn: twice is enough (rule R26).
                        if passed.of_login.refuses(key, purpose, Instant::now()) {
                            return Err(Failure::SignInRefused);
                        }
                        break Held::Turn(turn);
                    }
                    None => continue,
                }
            }
            let permit = self.place(&gate, &account, purpose, left()).await?;
            // It may have been refused while this one waited.
            if lately.knows(key, purpose, Instant::now()) {
                break Held::Place(permit);
            }
        };
        let wanted = Opening { account, purpose, passed: Some(passed.clone()), held };
        let lane = self.opened_within(&gate, wanted, left()).await?;
        self.still_stands(&gate, standing)?;
        let _ = lane.park(LaneState::Clean);
        Ok(())
    }

    /// Shows a token in its turn; the place that its lane has from then on.
    pub(super) async fn in_turn(
        &self,
        gate: &Gate,
        account: &Account,
        purpose: LaneUse,
        passed: &Passed,
        mut turn: Turn,
    ) -> Result<(Opened, OwnedSemaphorePermit), Failure> {
        gate.lets_through(purpose)?;
        let opened = self.sign_in_to(account, gate, purpose, Some(passed)).await;
        gate.told(account, purpose, passed, &opened);
        let outcome = outcome_of_token(&opened);
        let verdict = opened.as_ref().map(drop).map_err(|refusal| refusal.failure.clone());
        if let Some(pause) = turn.ended(outcome, verdict) {
            turn.because(opened.as_ref().err().and_then(|refusal| refusal.words.as_deref()).unwrap_or_default());
            let (account, service, seconds) = (account.address.as_str(), service(purpose), pause.as_secs());
            tracing::warn!(
                account,
                service,
                seconds,
                "tokens that nobody has seen yet are not shown to the provider for a while"
            );
        }
        let opened = opened.map_err(|refusal| refusal.failure)?;
        gate.signed_in(purpose, account.generation);
        // The turn lasts until then: who waits with a lane in hand must not be many.
        let permit = self.place(gate, account, purpose, self.bounds.login_wait).await?;
        drop(turn);
        Ok((opened, permit))
    }
}

impl Gate {
    /// What the provider said of a token; of the account as it was before, it is nothing.
    pub(super) fn told(&self, account: &Account, purpose: LaneUse, passed: &Passed, opened: &Result<Opened, Refusal>) {
        if self.is_beyond(account.generation) {
            return;
        }
        let both = [&self.tokens.lately, &passed.of_login];
        match opened {
            Ok(_) => both.iter().for_each(|lately| lately.let_in(passed.key, purpose, Instant::now())),
            Err(refusal) if refusal.failure == Failure::SignInRefused => {
                both.iter().for_each(|lately| lately.refused(passed.key, purpose, Instant::now()));
                // Taken back, most likely: what it has opened is nobody's to go on with.
                self.close(passed.key);
            }
            Err(_) => {}
        }
    }

    /// Closes the parked lanes of a token that the provider has refused since one of them was signed in.
    pub(in crate::upstream) fn close_if_refused_since(&self, key: LaneKey, signed_in: tokio::time::Instant) {
        if self.tokens.lately.has_refused_since(key, signed_in.into_std()) {
            self.close(key);
        }
    }

    /// Those of both services: a token is one person's.
    fn close(&self, key: LaneKey) {
        self.pool.close(key);
        self.sending.pool.close(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{AccountId, Generation},
        upstream::{
            Lane,
            lane::{Hold, Home, LaneNumber, Memory},
            places::{Allowance, Stay},
            pool::Pool,
        },
        wire::{imap::Capabilities, smtp::Extensions},
    };
    use tokio::{
        io::{DuplexStream, duplex},
        sync::Semaphore,
        time::sleep,
    };

    const NOW: Generation = Generation(0);
    const KEY: LaneKey = LaneKey::Token([1; 32]);
    const STAY: Stay = Stay { time: std::time::Duration::from_secs(240), lanes: 4 };

    /// A lane that was just signed in, of each use, with the provider's end of it and where it is parked.
    fn lanes(gate: &Arc<Gate>, key: LaneKey) -> [(Lane, DuplexStream, &Arc<Pool>); 2] {
        let allowance = Allowance { per_lane: 9, per_minute: None, stay: STAY };
        let imap = Memory::Imap { capabilities: Capabilities::default(), stay: STAY };
        let submission = Memory::Submission { extensions: Extensions::default(), messages: 0, allowance };
        [(imap, &gate.pool), (submission, &gate.sending.pool)].map(|(memory, pool)| {
            let (ours, theirs) = duplex(64);
            let home = Home::new(gate.clone(), NOW, memory, LaneNumber(1), key);
            let hold = Hold::new(permit(), Some(home));
            (Lane { stream: Box::new(ours), unread: Vec::new(), hold }, theirs, pool)
        })
    }

    fn permit() -> OwnedSemaphorePermit {
        Arc::new(Semaphore::new(1)).try_acquire_owned().expect("a place")
    }

    #[tokio::test]
    async fn a_lane_of_a_clients_token_is_parked_no_longer_for_being_used() {
        let (gates, _root) = Gates::of_a_test().await;
        let gate = gates.gate(AccountId(1));
        for (key, is_bounded) in [(LaneKey::Stored, false), (KEY, true)] {
            for (mut lane, _theirs, pool) in lanes(&gate, key) {
                let mut until = Vec::new();
                for _ in 0..3 {
                    assert!(lane.park(LaneState::Clean).is_some());
                    let parked = pool.take(NOW, key, None).expect("it is there");
                    until.push(parked.until);
                    lane = gate.unparked(parked, NOW, key, permit());
                    sleep(Duration::from_millis(5)).await;
                }
                assert!(until.windows(2).all(|pair| (pair[0] == pair[1]) == is_bounded), "{key:?}: {until:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_refused_token_has_no_lane_at_either_service() {
        let (gates, _root) = Gates::of_a_test().await;
        let gate = gates.gate(AccountId(1));
        for refused_at in [LaneUse::Imap, LaneUse::Submission] {
            let parked = || [&gate.pool, &gate.sending.pool].map(|pool| pool.has(NOW, KEY));
            let used = lanes(&gate, KEY);
            let _providers = lanes(&gate, KEY).map(|(lane, theirs, _)| {
                assert!(lane.park(LaneState::Clean).is_some());
                theirs
            });
            assert_eq!(parked(), [true, true]);
            gate.tokens.lately.refused(KEY, refused_at, Instant::now());
            // Those that were in use are given back: they go, and those that were parked.
            for (lane, _theirs, _) in used {
                let _ = lane.park(LaneState::Clean);
            }
            assert_eq!(parked(), [false, false], "{refused_at:?}");
            gate.tokens.forget();
        }
    }
}
