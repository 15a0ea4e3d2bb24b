//! The seats of an account: how many sessions are signed in to it at once (rule R19).
//!
//! Without a cap one CRM that forgets to close its connections takes the places of all others. A seat is taken at the
//! verdict and given back when the session ends, however it ends.

use super::{Gate, Gates};
use crate::{
    failure::{Cap, Failure},
    model::{AccountId, number},
    relay::LaneUse,
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

/// What an account has in use.
#[derive(Clone, Copy, Debug)]
pub struct GateUse {
    pub id: AccountId,
    /// Sessions that are signed in.
    pub sessions: u64,
    /// Lanes in use or being opened.
    pub imap_lanes: u64,
    pub smtp_lanes: u64,
    /// Lanes of IMAP that wait for a session.
    pub parked: u64,
    /// Lanes to send that wait for a message.
    pub smtp_parked: u64,
    /// Messages that wait for a lane or for their turn.
    pub smtp_waiting: u64,
    /// Messages that began in the last minute.
    pub messages: u64,
}

impl GateUse {
    fn is_any(&self) -> bool {
        self.sessions
            + self.imap_lanes
            + self.smtp_lanes
            + self.parked
            + self.smtp_parked
            + self.smtp_waiting
            + self.messages
            > 0
    }
}

impl Gates {
    /// What each account has in use that has any.
    pub fn in_use(&self) -> impl Iterator<Item = GateUse> {
        let gates: Vec<_> = self.gates.iter().map(|entry| (*entry.key(), entry.value().clone())).collect();
        let of = |(id, gate): (AccountId, Arc<Gate>)| GateUse {
            id,
            sessions: gate.seated.load(Ordering::Relaxed).into(),
            imap_lanes: gate.places.taken(LaneUse::Imap),
            smtp_lanes: gate.places.taken(LaneUse::Submission),
            parked: number(gate.pool.parked()),
            smtp_parked: number(gate.sending.pool.parked()),
            smtp_waiting: gate.sending.waiting(),
            messages: gate.sending.lately(),
        };
        gates.into_iter().map(of).filter(GateUse::is_any)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.gate.seated.fetch_sub(1, Ordering::Relaxed);
    }
}
