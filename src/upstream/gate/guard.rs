//! The guard of all logins: keeps the answer to a refused one waiting (rule R22), for [`Guesses`] of time and names.
//!
//! It must never hold up what is not refused, and holds no lock while it waits.

#![allow(clippy::disallowed_methods, reason = "how long a refusal waits is told by the clock")]

use crate::{
    failure::{Cap, Failure},
    relay::Credentials,
    rules::guesses::Guesses,
};
use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep_until,
};

/// Why a login opens nothing, and when to say so.
pub enum NotLetIn {
    /// The login or its password is wrong: [`Failure::LoginRefused`] when the wait is over.
    After(Wait),
    Now(Failure),
}

/// The wait of one refusal, in a place of its own. Dropped before it is over, it gives the place back.
pub struct Wait {
    due: Instant,
    _place: OwnedSemaphorePermit,
}

pub(super) struct Guard {
    guesses: Mutex<Guesses>,
    /// Since when time is told.
    start: Instant,
    /// Keyed at random: who guesses cannot know which names share a count.
    hash: RandomState,
    /// Places for refusals that wait. Each keeps a connection among those not signed in: without a cap, who does nothing
    /// but guess would fill all of these, and leave none to sign in by.
    places: Arc<Semaphore>,
}

impl Guard {
    pub(super) fn new(places: usize) -> Self {
        Self {
            guesses: Mutex::default(),
            start: Instant::now(),
            hash: RandomState::new(),
            places: Arc::new(Semaphore::new(places)),
        }
    }

    /// Counts a refused login; its answer is due so long after `began`, whatever the checking took, so that nothing shows
    /// by it (rule R23).
    pub(super) fn refuse(&self, credentials: &Credentials, refused: u32, began: Instant) -> NotLetIn {
        let name = self.hash.hash_one(credentials.key());
        let now = self.start.elapsed();
        let wait = self.guesses.lock().unwrap_or_else(PoisonError::into_inner).refused(name, refused, now);
        match self.places.clone().try_acquire_owned() {
            Ok(place) => NotLetIn::After(Wait { due: began + wait, _place: place }),
            // The connection is to close: that costs whoever guesses a new one.
            Err(_) => NotLetIn::Now(Failure::Busy(Cap::Logins)),
        }
    }
}

impl Wait {
    /// Ends when the answer is due.
    pub async fn over(self) {
        sleep_until(self.due.into()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_refusal_without_a_place_is_said_at_once() {
        let guard = Guard::new(1);
        let began = Instant::now();
        let NotLetIn::After(wait) = guard.refuse(&Credentials::Nobody, 0, began) else { panic!("there is a place") };
        let second = guard.refuse(&Credentials::Nobody, 0, began);
        assert!(matches!(second, NotLetIn::Now(Failure::Busy(Cap::Logins))));
        wait.over().await;
        assert!(began.elapsed() >= Duration::from_millis(500));
        assert!(matches!(guard.refuse(&Credentials::Nobody, 0, began), NotLetIn::After(_)), "the place is free again");
    }
}
