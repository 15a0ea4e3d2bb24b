//! Lanes of submission for the bridge itself, which delivers what it has queued.
//!
//! They are had as a session has them, message by message, so that neither the provider nor the account's sessions can tell
//! who sends: a queue must never take more of the account's places and of its rate than its turn.

use super::{Gates, lease::OUTDATED};
use crate::{failure::Failure, model::AccountId, upstream::lane::Lane, wire::smtp::Extensions};
use std::{sync::Arc, time::Duration};

/// A lane of submission, and what it offers.
pub struct OwnSubmission {
    pub lane: Lane,
    pub extensions: Extensions,
}

impl Gates {
    /// A lane of submission for one message of the bridge itself, parked or new, within `wait`. None: there is no such
    /// account any more, or nothing by which the bridge could sign in.
    ///
    /// # Errors
    /// Why there is none now.
    pub async fn own_submission(
        self: &Arc<Self>,
        id: AccountId,
        wait: Duration,
    ) -> Result<Option<OwnSubmission>, Failure> {
        let Some((gate, account)) = self.own_account(id).await? else { return Ok(None) };
        let mut lane = self.lane_for_a_message(&gate, account, None, None, wait).await?;
        let extensions = lane.begin_message().ok_or(OUTDATED)?;
        Ok(Some(OwnSubmission { lane, extensions }))
    }
}
