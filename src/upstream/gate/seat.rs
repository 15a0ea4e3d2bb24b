//! The seats of an account: how many sessions are signed in to it at once (rule R19).
//!
//! Without a cap one CRM that forgets to close its connections takes the places of all others. A seat is taken at the
//! verdict and given back when the session ends, however it ends.

use super::{Gate, Gates};
use crate::{
    failure::{Cap, Failure},
    model::AccountId,
};
use std::sync::{Arc, atomic::Ordering};

/// A session's place among those of its account. Dropping it gives the place to the next.
pub struct Seat {
    gate: Arc<Gate>,
}

impl Gates {
    /// A seat at this account.
    ///
    /// # Errors
    /// [`Cap::Sessions`] where all are taken: nobody waits for one, since sessions live for hours.
    pub fn seat(&self, id: AccountId) -> Result<Seat, Failure> {
        let (gate, seats) = (self.gate(id), self.bounds.sessions_per_account);
        let taken = gate.seated.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seated| {
            (seated < seats).then(|| seated.saturating_add(1))
        });
        if taken.is_err() {
            tracing::warn!(
                account = id.0,
                seats,
                "an account has all the sessions that limits.sessions-per-account allows"
            );
            return Err(Failure::Busy(Cap::Sessions));
        }
        Ok(Seat { gate })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.gate.seated.fetch_sub(1, Ordering::Relaxed);
    }
}
