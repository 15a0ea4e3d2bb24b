//! Rooms: how many messages are in hand at a time, and how few of them at one provider.
//!
//! A room is for one message, not for all of an account: whoever waits has one after the message before it. What a provider
//! that is slow may hold must never be all there is.

use crate::model::Endpoint;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many, given in the order in which they are asked for.
pub(crate) struct Rooms {
    all: Arc<Semaphore>,
    /// Rooms of one provider.
    share: usize,
    /// Of those providers that have a room or wait for one.
    providers: Mutex<HashMap<Endpoint, Arc<Semaphore>>>,
}

/// One room; dropped, it is the next one's.
pub(crate) struct Room {
    _room: Option<OwnedSemaphorePermit>,
    _of_provider: Option<OwnedSemaphorePermit>,
}

impl Rooms {
    /// Of which no provider has more than half.
    pub(crate) fn new(rooms: usize) -> Arc<Self> {
        let (all, share) = (Arc::new(Semaphore::new(rooms)), rooms.div_ceil(2));
        Arc::new(Self { all, share, providers: Mutex::default() })
    }

    /// Waits for a room for a message at this provider. None: nobody knows which that is.
    pub(crate) async fn take(&self, provider: Option<&Endpoint>) -> Room {
        // First of the provider: who waits for that holds nobody else's room.
        let of_provider = match provider {
            Some(provider) => self.share_of(provider).acquire_owned().await.ok(),
            None => None,
        };
        Room { _room: self.all.clone().acquire_owned().await.ok(), _of_provider: of_provider }
    }

    fn share_of(&self, provider: &Endpoint) -> Arc<Semaphore> {
        let mut providers = self.providers.lock().unwrap_or_else(PoisonError::into_inner);
        // Who has a room, or waits for one, holds its own.
        providers.retain(|_, share| Arc::strong_count(share) > 1);
        providers.entry(provider.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.share))).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Security;
    use std::{
        future::poll_fn,
        pin::{Pin, pin},
        task::Poll,
    };

    #[tokio::test]
    async fn one_provider_has_half_of_the_rooms_and_then_waits() {
        let at = |host: &str| Endpoint::parse(host, Security::Tls, 993).expect("an endpoint");
        let (slow, good) = (at("slow.test"), at("good.test"));
        let rooms = Rooms::new(4);
        let held = [rooms.take(Some(&slow)).await, rooms.take(Some(&slow)).await];
        let mut third = pin!(rooms.take(Some(&slow)));
        assert!(is_pending(third.as_mut()).await);
        let others = [rooms.take(Some(&good)).await, rooms.take(None).await];
        let mut last = pin!(rooms.take(None));
        assert!(is_pending(last.as_mut()).await, "there are no more");
        drop(held);
        let _third = third.await;
        let _last = last.await;
        drop(others);
        drop(rooms.take(Some(&good)).await);
        assert_eq!(rooms.providers.lock().expect("whole").len(), 2, "who has none is forgotten");
    }

    async fn is_pending(mut future: Pin<&mut impl Future>) -> bool {
        poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
    }
}
