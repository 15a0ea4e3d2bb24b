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
    upstream::{Lane, Opened, Passed, Refusal, stored::judges_tokens},
    wire::smtp::Extensions,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::OwnedSemaphorePermit;

impl Gates {
    /// The provider's verdict on a client's own token. None: a lane that it opened is parked, now or still.
    ///
    /// # Errors
    /// [`Failure::SignInRefused`], or why there is no verdict.
    pub(super) async fn judged(
        self: &Arc<Self>,
        admission: &Admission,
        standing: Standing,
        passed: &Passed,
        purpose: LaneUse,
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
        let (wait, began) = (self.bounds.login_wait.min(admission.login_wait.unwrap_or(Duration::MAX)), Instant::now());
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
            }
            Err(_) => {}
        }
    }
}
