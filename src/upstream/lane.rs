//! A lane in the use of one session, and what becomes of it when the session gives it back.

#![allow(clippy::disallowed_methods, reason = "when a lane was signed in is told by the clock")]

use super::{
    Stream,
    gate::Gate,
    passed::LaneKey,
    pool::{self, Parked},
};
use crate::{
    model::Generation,
    relay::{LaneFacts, LaneState},
    wire::imap::Capabilities,
};
use std::sync::{Arc, atomic::Ordering};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

/// A signed-in upstream connection in the use of one session. Dropping it closes the connection.
pub struct Lane {
    pub stream: Stream,
    /// Octets of the provider that were read and not looked at.
    pub unread: Vec<u8>,
    pub hold: Hold,
}

/// A lane's place at its gate. Dropping it gives the place to the next.
pub struct Hold {
    permit: OwnedSemaphorePermit,
    /// Where it is parked. None: nowhere.
    home: Option<Home>,
}

/// What a parked lane is known by.
pub(super) struct Home {
    gate: Arc<Gate>,
    generation: Generation,
    pub(super) capabilities: Capabilities,
    number: LaneNumber,
    key: LaneKey,
    signed_in: Instant,
}

/// By which a session has its own last lane again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneNumber(pub(super) u64);

/// A lane with what is known of it.
pub struct Leased {
    pub lane: Lane,
    pub facts: LaneFacts,
}

impl Hold {
    pub(super) fn new(permit: OwnedSemaphorePermit, home: Option<Home>) -> Self {
        Self { permit, home }
    }
}

impl Home {
    /// Counts as a lane in use until it is dropped.
    pub(super) fn new(
        gate: Arc<Gate>,
        generation: Generation,
        capabilities: Capabilities,
        number: LaneNumber,
        key: LaneKey,
    ) -> Self {
        gate.in_use.fetch_add(1, Ordering::Relaxed);
        Self { gate, generation, capabilities, number, key, signed_in: Instant::now() }
    }

    /// Of a lane that was signed in earlier.
    pub(super) fn since(mut self, signed_in: Instant) -> Self {
        self.signed_in = signed_in;
        self
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.gate.in_use.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lane {
    /// Gives the lane back, in this state: to be had again by its number, or to be closed.
    #[must_use = "the number is what a session asks for its own lane by"]
    pub fn park(self, state: LaneState) -> Option<LaneNumber> {
        match state {
            LaneState::Clean => self.keep(),
            LaneState::Selected => {
                self.leave();
                None
            }
            LaneState::Unknown => None,
        }
    }

    fn keep(self) -> Option<LaneNumber> {
        let Self { stream, unread, hold: Hold { permit, home } } = self;
        // What it said unasked is nobody's answer.
        let home = home.filter(|_| unread.is_empty())?;
        let parked = Parked::new(stream, home.number, home.capabilities.clone(), home.key).since(home.signed_in);
        home.gate.pool.keep(parked, home.generation);
        // Looked at when it is parked: a refusal that comes later finds it there.
        home.gate.close_if_refused_since(home.key, home.signed_in);
        // Now that the lane is there, whoever waits for a place finds it.
        drop(permit);
        Some(home.number)
    }

    /// In a while of its own: the client is gone.
    fn leave(self) {
        let Some(capabilities) = self.hold.home.as_ref().map(|home| home.capabilities.clone()) else { return };
        tokio::spawn(async move {
            if let Some(lane) = pool::left(self, &capabilities).await {
                lane.keep();
            }
        });
    }
}
