//! Lanes of submission for the bridge itself, which delivers what it has queued.
//!
//! They count among the account's places like those of sessions, and a provider that refuses or sends away is left in
//! peace as long as for them.

#![allow(clippy::disallowed_methods, reason = "how long it is waited is told by the clock")]

use super::{
    Gates,
    lease::{Held, OUTDATED, Opening},
    said,
};
use crate::{
    failure::Failure,
    model::AccountId,
    relay::LaneUse,
    upstream::{lane::Lane, passed::key},
    wire::smtp::Extensions,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A lane of submission, and what it offers.
pub struct OwnSubmission {
    pub lane: Lane,
    pub extensions: Extensions,
}

impl Gates {
    /// A lane of submission for one message of the bridge itself, parked or new, within `wait`. None: there is no such account any more, or nothing by
    /// which the bridge could sign in.
    ///
    /// # Errors
    /// Why there is none now.
    pub async fn own_submission(
        self: &Arc<Self>,
        id: AccountId,
        wait: Duration,
    ) -> Result<Option<OwnSubmission>, Failure> {
        let began = Instant::now();
        // The gate before the account: whatever changes after the account was read is noticed at the gate.
        let gate = self.gate(id);
        let account = self.store.account(id).await.map_err(|error| said(&error, "an account cannot be read"))?;
        let Some(account) = account.filter(|account| !account.by_client_token) else { return Ok(None) };
        gate.reach(account.generation);
        let per_minute = self.allowance(&account).per_minute;
        let permit = self.place(&gate, &account, LaneUse::Submission, wait).await?;
        gate.sending.turn(per_minute, began + wait).await?;
        let generation = account.generation;
        let mut lane = match gate.sending.clean(generation, key(None), None).await {
            Some(parked) => gate.unparked(parked, generation, key(None), permit),
            None => {
                let wanted = Opening { account, purpose: LaneUse::Submission, passed: None, held: Held::Place(permit) };
                self.opened_within(&gate, wanted, wait.saturating_sub(began.elapsed())).await?
            }
        };
        let extensions = lane.begin_message().ok_or(OUTDATED)?;
        Ok(Some(OwnSubmission { lane, extensions }))
    }
}
