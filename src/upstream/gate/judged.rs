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
    upstream::{Lane, Opened, Passed, Refusal, passed::LaneKey, stored::judges_tokens},
    wire::smtp::Extensions,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::OwnedSemaphorePermit;

impl Gates {
    /// The provider's verdict on a client's own token, within `wait`. None: a lane that it opened is parked, now or still.
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
    ) -> Result<Option<(Lane, Extensions)>, Failure> {
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
        let has_lane = || purpose == LaneUse::Imap && known() && gate.pool.has(standing.generation, passed.key);
        let (wait, began) = (wait.min(admission.login_wait.unwrap_or(Duration::MAX)), Instant::now());
        let left = || wait.saturating_sub(began.elapsed());
        let held = loop {
            if has_lane() {
                return Ok(None);
            }
            let (lately, key) = (&gate.tokens.lately, passed.key);
            if lately.refuses(key, purpose, Instant::now()) {
                return Err(Failure::SignInRefused);
            }
            if !lately.knows(key, purpose, Instant::now()) {
                match gate.tokens.turn(key, account.generation, purpose, left()).await? {
                    Some(turn) => break Held::Turn(turn),
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
        let (lane, extensions) = self.opened_within(&gate, wanted, left()).await?;
        self.still_stands(&gate, standing)?;
        let Some(extensions) = extensions else {
            let _ = lane.park(LaneState::Clean);
            return Ok(None);
        };
        Ok(Some((lane, extensions)))
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
        match opened {
            Ok(_) => self.tokens.lately.let_in(passed.key, purpose, Instant::now()),
            Err(refusal) if refusal.failure == Failure::SignInRefused => {
                self.tokens.lately.refused(passed.key, purpose, Instant::now());
                // Taken back, most likely: what it has opened is nobody's to go on with.
                self.pool.close(passed.key);
            }
            Err(_) => {}
        }
    }

    /// Closes the parked lanes of a token that the provider has refused since one of them was signed in.
    pub(in crate::upstream) fn close_if_refused_since(&self, key: LaneKey, signed_in: tokio::time::Instant) {
        if self.tokens.lately.has_refused_since(key, signed_in.into_std()) {
            self.pool.close(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{AccountId, Generation},
        upstream::lane::{Hold, Home, LaneNumber},
        wire::imap::Capabilities,
    };
    use tokio::{io::duplex, sync::Semaphore, time::sleep};

    #[tokio::test]
    async fn a_lane_of_a_clients_token_is_parked_no_longer_for_being_used() {
        let (gates, _root) = Gates::of_a_test().await;
        let (gate, now) = (gates.gate(AccountId(1)), Generation::default());
        let permit = || Arc::new(Semaphore::new(1)).try_acquire_owned().expect("a place");
        for (key, is_bounded) in [(LaneKey::Stored, false), (LaneKey::Token([1; 32]), true)] {
            let (ours, _theirs) = duplex(64);
            let home = Home::new(gate.clone(), now, Capabilities::default(), LaneNumber(1), key);
            let mut lane = Lane { stream: Box::new(ours), unread: Vec::new(), hold: Hold::new(permit(), Some(home)) };
            let mut until = Vec::new();
            for _ in 0..3 {
                assert!(lane.park(LaneState::Clean).is_some());
                let parked = gate.pool.take(now, key, None).expect("it is there");
                until.push(parked.until);
                lane = gate.unparked(parked, now, key, permit()).0;
                sleep(Duration::from_millis(5)).await;
            }
            assert!(until.windows(2).all(|pair| (pair[0] == pair[1]) == is_bounded), "{key:?}: {until:?}");
        }
    }
}
