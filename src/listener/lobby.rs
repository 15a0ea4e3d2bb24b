//! Clients that have not signed in: few at once, and when there is no place left, who has waited longest for nothing goes
//! for who comes (rule R19). Without that a few hundred connections that say nothing would keep a CRM out that signs in
//! for each page.
//!
//! Whoever has signed in is no guest any more, and must never be sent away from here.

#![allow(clippy::disallowed_methods, reason = "how long a guest has been there is told by the clock")]

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

/// An honest client has signed in by then, or waits for a provider that is slow.
pub(crate) const GUEST_AT_LEAST: Duration = Duration::from_secs(5);
/// For the place of one that is sent away.
pub(crate) const MADE_ROOM: Duration = Duration::from_secs(1);
/// That clients are turned away is said this often, and not for each: who does it would fill the log.
pub(crate) const SAID_AGAIN: Duration = Duration::from_secs(60);

/// The places of those that have not signed in, and who has them.
pub struct Lobby {
    places: Arc<Semaphore>,
    in_all: usize,
    guests: Mutex<Guests>,
    /// When it was last said that there is no place, and how many were turned away since.
    turned_away: Mutex<(Option<Instant>, u64)>,
}

#[derive(Default)]
struct Guests {
    /// Oldest first, and so by their numbers.
    there: VecDeque<Guest>,
    /// So far.
    came: u64,
}

struct Guest {
    number: u64,
    since: Instant,
    tell: oneshot::Sender<()>,
}

/// A place in the lobby; dropped once its client has signed in.
pub struct Place {
    lobby: Arc<Lobby>,
    number: u64,
    signed_in: Arc<AtomicBool>,
    _permit: OwnedSemaphorePermit,
}

/// Tells a guest to leave.
pub struct Notice {
    leave: oneshot::Receiver<()>,
    signed_in: Arc<AtomicBool>,
}

impl Notice {
    /// Ends when the guest is to leave: never once its place was dropped, though it may have been told before.
    pub async fn given(self) {
        if self.leave.await.is_err() || self.signed_in.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
    }
}

impl Lobby {
    #[must_use]
    pub fn new(places: usize) -> Arc<Self> {
        let (guests, turned_away) = (Mutex::default(), Mutex::default());
        Arc::new(Self { places: Arc::new(Semaphore::new(places)), in_all: places, guests, turned_away })
    }

    /// How many guests there are.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.in_all.saturating_sub(self.places.available_permits())
    }

    /// A place, and what tells its guest to leave it. None: there is none.
    pub async fn enter(self: &Arc<Self>) -> Option<(Place, Notice)> {
        let permit = match self.places.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.send_away()?;
                timeout(MADE_ROOM, self.places.clone().acquire_owned()).await.ok()?.ok()?
            }
        };
        let ((tell, leave), signed_in) = (oneshot::channel(), Arc::new(AtomicBool::new(false)));
        let mut guests = self.guests();
        guests.came += 1;
        let number = guests.came;
        guests.there.push_back(Guest { number, since: Instant::now(), tell });
        let place = Place { lobby: self.clone(), number, signed_in: signed_in.clone(), _permit: permit };
        Some((place, Notice { leave, signed_in }))
    }

    /// The oldest, if it has been there for long enough.
    fn send_away(&self) -> Option<()> {
        let mut guests = self.guests();
        guests.there.front().filter(|guest| guest.since.elapsed() >= GUEST_AT_LEAST)?;
        guests.there.pop_front()?.tell.send(()).ok()
    }

    /// Counts a client that had no place, or had to leave its own, and says now and then how many there were.
    pub fn note_turned_away(&self) {
        let mut turned_away = self.turned_away.lock().unwrap_or_else(PoisonError::into_inner);
        let (said, clients) = &mut *turned_away;
        *clients += 1;
        if said.is_none_or(|said| said.elapsed() >= SAID_AGAIN) {
            tracing::warn!(clients, "no place for clients; see limits in the configuration");
            *turned_away = (Some(Instant::now()), 0);
        }
    }

    fn guests(&self) -> MutexGuard<'_, Guests> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.signed_in.store(true, Ordering::SeqCst);
        let there = &mut self.lobby.guests().there;
        if let Ok(at) = there.binary_search_by_key(&self.number, |guest| guest.number) {
            there.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As if all had come so long ago.
    fn age(lobby: &Lobby, by: Duration) {
        lobby.guests().there.iter_mut().for_each(|guest| guest.since -= by);
    }

    #[tokio::test]
    async fn who_waited_longest_goes_for_who_comes() {
        let lobby = Lobby::new(2);
        let (first, told) = lobby.enter().await.expect("a place");
        let (second, _second) = lobby.enter().await.expect("a place");
        assert!(lobby.enter().await.is_none(), "both are young");
        age(&lobby, GUEST_AT_LEAST);
        let leaves = tokio::spawn(async move {
            told.given().await;
            drop(first);
        });
        let third = lobby.enter().await;
        assert!(third.is_some());
        leaves.await.expect("no panic");
        assert_eq!(lobby.taken(), 2);
        drop((second, third));
        assert!(lobby.taken() == 0 && lobby.guests().there.is_empty());
    }

    #[tokio::test]
    async fn who_has_signed_in_is_not_sent_away() {
        let lobby = Lobby::new(1);
        let (place, told) = lobby.enter().await.expect("a place");
        drop(place);
        let _second = lobby.enter().await.expect("a place");
        age(&lobby, GUEST_AT_LEAST);
        // Nobody gives up a place here, and the one that signed in hears nothing.
        assert!(lobby.enter().await.is_none());
        assert!(timeout(Duration::from_millis(50), told.given()).await.is_err());
    }

    #[tokio::test]
    async fn who_signs_in_at_the_moment_in_which_it_is_told_to_leave_stays() {
        let lobby = Lobby::new(1);
        let (place, told) = lobby.enter().await.expect("a place");
        age(&lobby, GUEST_AT_LEAST);
        assert!(lobby.send_away().is_some());
        drop(place);
        assert!(timeout(Duration::from_millis(50), told.given()).await.is_err());
    }
}
