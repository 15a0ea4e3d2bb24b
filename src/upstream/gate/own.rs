//! Lanes of the bridge itself, which has no login: to look into a mailbox for a Sent copy, and to file one.
//!
//! They count among the account's places like those of sessions.

#![allow(clippy::disallowed_methods, reason = "how long it is waited is told by the clock")]

use super::{
    Gate, Gates,
    lease::{Held, OUTDATED, Opening},
    said,
};
use crate::{
    failure::Failure,
    model::AccountId,
    provider::Filed,
    relay::{Admission, Care, First, LaneFacts, LaneUse},
    rules::namespace::{Namespace, Naming},
    store::Account,
    upstream::{NotLetIn, lane::Lane, passed::key},
    wire::imap::Capabilities,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A lane of IMAP, and what is known of it.
pub struct Own {
    pub lane: Lane,
    pub account: Account,
    pub capabilities: Capabilities,
    /// Under the house's names.
    pub namespace: Arc<Namespace>,
}

impl Gates {
    /// A lane of IMAP for the bridge itself, parked or new, within `wait`. None: there is no such account any more, or
    /// nothing by which the bridge could sign in.
    ///
    /// # Errors
    /// Why there is none now.
    pub async fn own_lane(self: &Arc<Self>, id: AccountId, wait: Duration) -> Result<Option<Own>, Failure> {
        let began = Instant::now();
        let Some((gate, account)) = self.own_account(id).await? else { return Ok(None) };
        let permit = self.place(&gate, &account, LaneUse::Imap, wait).await?;
        gate.attempts.throttled(LaneUse::Imap)?;
        gate.empty_if_forsaken(&account, LaneUse::Imap);
        let left = wait.saturating_sub(began.elapsed());
        let lane = match gate.parked(account.generation, key(None), First::Once, None, left).await {
            Some(parked) => gate.unparked(parked, account.generation, key(None), permit),
            None => {
                let wanted = Opening {
                    account: account.clone(),
                    purpose: LaneUse::Imap,
                    passed: None,
                    held: Held::Place(permit),
                };
                self.opened_within(&gate, wanted, wait.saturating_sub(began.elapsed())).await?
            }
        };
        match gate.known_of(&lane, id, &Naming::default(), key(None)) {
            Some(LaneFacts::Imap { capabilities, namespace }) => {
                Ok(Some(Own { lane, account, capabilities, namespace }))
            }
            _ => Err(OUTDATED),
        }
    }

    /// An account that the bridge itself can sign in to. None: there is no such account any more, or nothing by which it
    /// could.
    pub(super) async fn own_account(&self, id: AccountId) -> Result<Option<(Arc<Gate>, Account)>, Failure> {
        // The gate before the account: whatever changes after the account was read is noticed at the gate.
        let gate = self.gate(id);
        let account = self.store.account(id).await.map_err(|error| said(&error, "an account cannot be read"))?;
        let Some(account) = account.filter(|account| !account.by_client_token) else { return Ok(None) };
        gate.reach(account.generation);
        Ok(Some((gate, account)))
    }

    /// Whether the bridge sees to the Sent copies of whom a verdict let in.
    pub(super) async fn filing(&self, admission: &Admission) -> Result<Care, NotLetIn> {
        // Without a credential of its own, or where nobody may read, the bridge does not look into the mailbox.
        if admission.filing == Care::Nothing || admission.by_client_token || !admission.receives {
            return Ok(Care::Nothing);
        }
        let account = self.store.account(admission.account).await;
        let account = account.map_err(|error| NotLetIn::Now(said(&error, "an account cannot be read")))?;
        Ok(account.map_or(Care::Nothing, |account| self.filing_of(&account)))
    }

    /// What the bridge does for the Sent copies of an account.
    #[must_use]
    pub fn filing_of(&self, account: &Account) -> Care {
        use crate::model::SentCopy::{Always, Auto, Never};
        // What was only seen is looked at each time: it may have been somebody else's copy, or be over.
        match (account.settings.sent_copy, self.table_says_of_sent(account)) {
            (Never, _) => Care::Nothing,
            (Auto, Filed::Yes) => Care::Noted,
            (Auto | Always, _) => Care::Kept,
        }
    }

    /// Whether the account's provider files what is sent by itself; None: that is not known yet.
    #[must_use]
    pub fn files(&self, account: &Account) -> Option<bool> {
        match self.table_says_of_sent(account) {
            Filed::Yes => Some(true),
            Filed::No => Some(false),
            Filed::Unknown => account.settings.files_sent,
        }
    }

    /// What the provider table says of that.
    #[must_use]
    pub fn table_says_of_sent(&self, account: &Account) -> Filed {
        let provider = self.providers.named(&account.settings.provider);
        provider.map_or(Filed::Unknown, |provider| provider.sent.filed)
    }

    /// How a message is looked for at the account's provider.
    #[must_use]
    pub fn search(&self, account: &Account) -> crate::provider::Search {
        self.providers.named(&account.settings.provider).map(|provider| provider.sent.search).unwrap_or_default()
    }
}
