//! Pauses of the broker that are in force, for people. Nothing is asked here, and nothing of a token is told.

use super::{AccountId, Broker, Desk, Generation, Instant};
use std::{sync::Arc, time::Duration};

/// For whom a pause waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// The token endpoint, which has trouble of its own or cannot be had.
    Endpoint,
    /// Whoever registered the client, which the endpoint refuses.
    Operator,
    /// The bridge itself, which could not keep or read what it must.
    Ourselves,
}

/// A pause in which no token is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paused {
    pub id: AccountId,
    /// Of the account, whose credentials were asked with.
    pub generation: Generation,
    pub waits: Waits,
    pub left: Duration,
    /// After what, in words of ours.
    pub after: String,
}

impl Broker {
    /// The pauses that are in force.
    #[must_use]
    pub fn pauses(&self) -> Vec<Paused> {
        let desks: Vec<_> = self.desks.iter().map(|entry| (*entry.key(), entry.value().clone())).collect();
        desks.into_iter().filter_map(|(id, desk)| paused(id, &desk)).collect()
    }
}

fn paused(id: AccountId, desk: &Arc<Desk>) -> Option<Paused> {
    let held = desk.held();
    let pause = held.pause.as_ref()?;
    let left = Some(pause.until.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())?;
    Some(Paused { id, generation: held.generation, waits: pause.waits, left, after: pause.after.clone() })
}
