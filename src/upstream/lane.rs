//! A lane in the use of one session, and what becomes of it when the session gives it back.

#![allow(clippy::disallowed_methods, reason = "when a lane was signed in is told by the clock")]

use super::{
    Stream,
    gate::Gate,
    leave,
    passed::LaneKey,
    places::{Allowance, Stay},
    pool::Parked,
    reset,
};
use crate::{
    model::Generation,
    relay::{LaneFacts, LaneState},
    wire::{imap::Capabilities, smtp::Extensions},
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
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
    home: Option<Box<Home>>,
}

/// What a parked lane is known by.
pub(super) struct Home {
    gate: Arc<Gate>,
    generation: Generation,
    memory: Memory,
    number: LaneNumber,
    key: LaneKey,
    signed_in: Instant,
}

/// What is remembered of a lane while no session has it.
#[derive(Clone)]
pub(super) enum Memory {
    Imap {
        capabilities: Capabilities,
        stay: Stay,
    },
    Submission {
        extensions: Extensions,
        /// Messages that it was leased for.
        messages: u32,
        allowance: Allowance,
    },
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
        Self { permit, home: home.map(Box::new) }
    }
}

impl Home {
    /// Counts as a lane in use until it is dropped.
    pub(super) fn new(
        gate: Arc<Gate>,
        generation: Generation,
        memory: Memory,
        number: LaneNumber,
        key: LaneKey,
    ) -> Self {
        let home = Self { gate, generation, memory, number, key, signed_in: Instant::now() };
        home.in_use().fetch_add(1, Ordering::Relaxed);
        home
    }

    /// Of a lane that was signed in earlier.
    pub(super) fn since(mut self, signed_in: Instant) -> Self {
        self.signed_in = signed_in;
        self
    }

    /// Lanes of the same use that sessions have.
    fn in_use(&self) -> &AtomicUsize {
        match self.memory {
            Memory::Imap { .. } => &self.gate.in_use,
            Memory::Submission { .. } => &self.gate.sending.in_use,
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.in_use().fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lane {
    /// The lane is leased for one more message. What its provider offers; None: a lane of IMAP.
    pub(super) fn begin_message(&mut self) -> Option<Extensions> {
        match &mut self.hold.home.as_mut()?.memory {
            Memory::Imap { .. } => None,
            Memory::Submission { extensions, messages, .. } => {
                *messages = messages.saturating_add(1);
                Some(extensions.clone())
            }
        }
    }

    /// What its provider offers on this connection. None: it is of submission.
    pub(super) fn capabilities(&self) -> Option<&Capabilities> {
        match &self.hold.home.as_ref()?.memory {
            Memory::Imap { capabilities, .. } => Some(capabilities),
            Memory::Submission { .. } => None,
        }
    }

    /// Gives the lane back, in this state: to be had again by its number, or to be closed.
    #[must_use = "the number is what a session asks for its own lane by"]
    pub fn park(self, state: LaneState) -> Option<LaneNumber> {
        match state {
            LaneState::Clean => self.keep(),
            LaneState::Selected => {
                self.leave(true);
                None
            }
            LaneState::PerhapsSelected => {
                self.leave(false);
                None
            }
            LaneState::Unknown => None,
        }
    }

    fn keep(self) -> Option<LaneNumber> {
        let Self { stream, unread, hold: Hold { permit, home } } = self;
        // What it said unasked is nobody's answer.
        let home = home.filter(|_| unread.is_empty())?;
        let (pool, stay) = match &home.memory {
            Memory::Submission { messages, allowance, .. } if *messages >= allowance.per_lane => {
                // Its place is taken until the provider has let it go.
                tokio::spawn(async move {
                    reset::part(stream).await;
                    drop((permit, home));
                });
                return None;
            }
            Memory::Submission { allowance, .. } => (&home.gate.sending.pool, allowance.stay),
            Memory::Imap { stay, .. } => (&home.gate.pool, *stay),
        };
        let mut stream = stream.bare();
        // It may wait for minutes, and nobody looks at it then.
        stream.rest();
        let parked = Parked::new(stream, home.number, home.memory.clone(), home.key, stay).since(home.signed_in);
        pool.keep(parked, home.generation);
        // Looked at when it is parked: a refusal that comes later finds it there.
        home.gate.close_if_refused_since(home.key, home.signed_in);
        // Now that the lane is there, whoever waits for a place finds it.
        drop(permit);
        Some(home.number)
    }

    /// In a while of its own: the client is gone. `selected`: there is surely a mailbox to leave; else UNSELECT is not tried,
    /// as a provider that has none selected refuses it, and would be taken for one that always does.
    fn leave(self, selected: bool) {
        let Some(home) = self.hold.home.as_ref() else { return };
        let Memory::Imap { mut capabilities, .. } = home.memory.clone() else { return };
        if !selected {
            capabilities = Capabilities::default();
        }
        let pool = home.gate.pool.clone();
        tokio::spawn(async move {
            if let Some(lane) = leave::left(self, &capabilities, &pool).await {
                lane.keep();
            }
        });
    }
}
