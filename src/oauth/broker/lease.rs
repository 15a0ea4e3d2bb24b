//! The lease of a grant while it is renewed: waited for where another bridge or command has it.

#![allow(clippy::disallowed_methods, reason = "a holder that is gone is told by the monotonic clock")]

use crate::{
    model::AccountId,
    store::{Error as StoreError, LeaseOf, Leased, Store},
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A holder whose lease has not moved for so long is gone: four questions of 15 s are more than any renewal asks.
pub(crate) const LEASE: Duration = Duration::from_secs(60);
/// How often it is asked for.
pub(crate) const ASKED_EACH: Duration = Duration::from_millis(250);

/// A lease that is held.
pub(crate) struct Lease<'a> {
    store: &'a Store,
    id: AccountId,
    holder: &'a str,
    serial: i64,
}

impl<'a> Lease<'a> {
    /// Ends when nobody else renews the grant, or who did is gone: whose lease is `old`, unmoved. None: there is no grant.
    ///
    /// # Errors
    /// If the store fails.
    pub(crate) async fn take(
        store: &'a Store,
        id: AccountId,
        of: LeaseOf,
        holder: &'a str,
        old: Duration,
    ) -> Result<Option<Self>, StoreError> {
        let mut seen: Option<(i64, Instant)> = None;
        loop {
            let stale = seen.filter(|(_, since)| since.elapsed() >= old).map(|(serial, _)| serial);
            match store.lease_grant(id, of, holder, stale).await? {
                Leased::Ours(serial) => return Ok(Some(Self { store, id, holder, serial })),
                Leased::Gone => return Ok(None),
                Leased::Theirs(serial) if seen.is_none_or(|(known, _)| known != serial) => {
                    seen = Some((serial, Instant::now()));
                }
                Leased::Theirs(_) => {}
            }
            sleep(ASKED_EACH).await;
        }
    }

    /// For the next. Where the store fails, it ends by its age.
    pub(crate) async fn give_back(self) {
        if let Err(error) = self.store.give_back_grant(self.id, self.holder, self.serial).await {
            tracing::warn!(error = &error as &dyn std::error::Error, account = self.id.0, "a lease is not given back");
        }
    }
}
