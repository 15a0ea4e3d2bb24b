//! Lanes that no session uses now: left clean, and given to the next session of the same account and generation.
//!
//! A gate's places bound the lanes in use; a lane is opened only where none is parked, so places bound them all. Parked
//! lanes are few and go before providers and routers forget them. Each use has a pool of its own. A submission lane from
//! here may have been dropped unseen: whoever takes it says RSET first ([`super::reset`]).

#![allow(clippy::disallowed_methods, reason = "how long a lane is parked is told by the clock")]

use super::{
    Stream,
    lane::{LaneNumber, Memory},
    passed::LaneKey,
    places::Stay,
    reset,
};
use crate::model::Generation;
use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak, atomic::AtomicBool},
    task::{Context, Waker},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Instant, sleep_until},
};

/// A parked lane of a client's token is closed so long after its sign-in, whatever its [`Stay`].
pub(crate) const TOKEN_PARKED: Duration = Duration::from_secs(4 * 60);
/// The most often that parked lanes are looked at for those that the provider closed.
pub(crate) const LOOKED_AT: Duration = Duration::from_secs(30);

/// The parked lanes of one account; all are of its generation.
#[derive(Default)]
pub(super) struct Pool {
    lanes: Mutex<Lanes>,
}

#[derive(Default)]
struct Lanes {
    /// Those of older generations are not taken any more.
    generation: Generation,
    /// Oldest first; at most as many as the [`Stay`] of the newest has.
    parked: Vec<Parked>,
    /// A task closes them in time; [`Sweep`] says so.
    swept: bool,
    /// The provider offers UNSELECT and said no to it: whoever spoke behind it would lose its lane each time.
    refuses_unselect: Arc<AtomicBool>,
}

/// A signed-in connection between two sessions, no mailbox selected.
pub(super) struct Parked {
    pub(super) stream: Stream,
    pub(super) number: LaneNumber,
    pub(super) memory: Memory,
    /// By whose credential it is signed in.
    key: LaneKey,
    pub(super) signed_in: Instant,
    pub(super) until: Instant,
    pub(super) parked: Instant,
    /// With how many others.
    lanes: usize,
}

impl Parked {
    pub(super) fn new(stream: Stream, number: LaneNumber, memory: Memory, key: LaneKey, stay: Stay) -> Self {
        let now = Instant::now();
        let lanes = usize::try_from(stay.lanes).unwrap_or(usize::MAX);
        Self { stream, number, memory, key, signed_in: now, until: now + stay.time, parked: now, lanes }
    }

    /// The same lane, signed in earlier. Only another sign-in tells that a client's token was taken back: a lane of one is
    /// not parked for longer by being used.
    pub(super) fn since(self, signed_in: Instant) -> Self {
        let until = match self.key {
            LaneKey::Stored => self.until,
            LaneKey::Token(_) => self.until.min(signed_in + TOKEN_PARKED),
        };
        Self { signed_in, until, ..self }
    }

    /// Whether it may be had: its provider has neither closed it nor said anything, a BYE, or what the next session would
    /// take for an answer.
    fn is_good(&mut self) -> bool {
        let mut octet = [0];
        let mut context = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut self.stream).poll_read(&mut context, &mut ReadBuf::new(&mut octet));
        self.until > Instant::now() && read.is_pending()
    }

    /// For how long nobody has used it.
    pub(super) fn rested(&self) -> Duration {
        self.parked.elapsed()
    }

    /// Closes it, with a word where the service wants one: some count those that leave without.
    fn end(self) {
        if matches!(self.memory, Memory::Submission { .. }) {
            drop(tokio::spawn(reset::part(self.stream)));
        }
    }
}

impl Pool {
    /// A lane of this generation and key: the one of this number if it is there, else one whose last mailbox is left.
    pub(super) fn take(&self, generation: Generation, key: LaneKey, last: Option<LaneNumber>) -> Option<Parked> {
        let mut lanes = self.lanes();
        if lanes.generation != generation {
            return None;
        }
        lanes.parked.retain_mut(Parked::is_good);
        let is_of_key = |parked: &Parked| parked.key == key;
        let own = lanes.parked.iter().position(|parked| is_of_key(parked) && Some(parked.number) == last);
        let is_at_hand = |parked: &Parked| is_of_key(parked) && !parked.stream.is_busy();
        let at_hand = || lanes.parked.iter().rposition(is_at_hand);
        let at = own.or_else(at_hand).or_else(|| lanes.parked.iter().rposition(is_of_key))?;
        Some(lanes.parked.remove(at))
    }

    /// Keeps a lane, unless the account has a newer generation, or the lane's time is over.
    pub(super) fn keep(self: &Arc<Self>, parked: Parked, generation: Generation) {
        let mut lanes = self.lanes();
        if lanes.generation != generation {
            return;
        }
        if parked.until <= Instant::now() {
            return parked.end();
        }
        let over = (lanes.parked.len() + 1).saturating_sub(parked.lanes);
        if over > lanes.parked.len() {
            return parked.end();
        }
        lanes.parked.drain(..over).for_each(Parked::end);
        lanes.parked.push(parked);
        if !std::mem::replace(&mut lanes.swept, true) {
            let sweep = Sweep { pool: Arc::downgrade(self) };
            drop(tokio::spawn(sweep.until_none_is_left()));
        }
    }

    /// Closes the oldest, so that no more than these are left: whose key is another's takes no place that is needed.
    pub(super) fn shrink(&self, left: usize) {
        let mut lanes = self.lanes();
        let over = lanes.parked.len().saturating_sub(left);
        lanes.parked.drain(..over).for_each(Parked::end);
    }

    /// Closes what is of an older generation. Who saw a later change may have been here before: then nothing is done.
    pub(super) fn reach(&self, generation: Generation) {
        let mut lanes = self.lanes();
        if lanes.generation < generation {
            lanes.generation = generation;
            lanes.parked.clear();
            lanes.refuses_unselect = Arc::default();
        }
    }

    /// Closes what is signed in by this key: the provider takes it no more.
    pub(super) fn close(&self, key: LaneKey) {
        let mut lanes = self.lanes();
        lanes.parked.extract_if(.., |parked| parked.key == key).for_each(Parked::end);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes().parked.is_empty()
    }

    /// Whether a lane of this generation and key may be had.
    pub(super) fn has(&self, generation: Generation, key: LaneKey) -> bool {
        let mut lanes = self.lanes();
        lanes.parked.retain_mut(Parked::is_good);
        lanes.generation == generation && lanes.parked.iter().any(|parked| parked.key == key)
    }

    /// Set by lanes of this generation.
    pub(super) fn refuses_unselect(&self) -> Arc<AtomicBool> {
        self.lanes().refuses_unselect.clone()
    }

    /// How many lanes are parked.
    pub(super) fn parked(&self) -> usize {
        self.lanes().parked.len()
    }

    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        // A panic elsewhere leaves whole lanes here.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes parked lanes whose time is over or that their provider closed.
struct Sweep {
    /// Of nobody once the sweep has ended as it should.
    pool: Weak<Pool>,
}

impl Sweep {
    async fn until_none_is_left(mut self) {
        loop {
            let Some(strong) = self.pool.upgrade() else { return };
            let next = {
                let mut lanes = strong.lanes();
                let parked = std::mem::take(&mut lanes.parked);
                for mut parked in parked {
                    if parked.is_good() { lanes.parked.push(parked) } else { parked.end() }
                }
                let Some(first) = lanes.parked.iter().map(|parked| parked.until).min() else {
                    lanes.swept = false;
                    // The next lane has a sweep of its own from here on.
                    self.pool = Weak::new();
                    return;
                };
                first.min(Instant::now() + LOOKED_AT)
            };
            drop(strong);
            sleep_until(next).await;
        }
    }
}

/// Where a sweep ends by a panic, what it was to close is closed at once, and the next lane gets another sweep.
impl Drop for Sweep {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.upgrade() {
            let mut lanes = pool.lanes();
            lanes.swept = false;
            lanes.parked.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        relay::leaving::Leaving,
        upstream::{departing::Departing, leave::LEAVING, places::Allowance},
        wire::imap::Capabilities,
    };
    use std::{io, task::Poll};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex},
        time::timeout,
    };

    const NOW: Generation = Generation(3);
    const PARKED_MAX: usize = 4;
    const PARKED: Stay = Stay { time: Duration::from_secs(240), lanes: 4 };

    fn memory() -> Memory {
        Memory::Imap { capabilities: Capabilities::default(), stay: PARKED }
    }

    fn pool() -> Arc<Pool> {
        let pool = Arc::new(Pool::default());
        pool.reach(NOW);
        pool
    }

    /// Parks a lane; the provider's end of it.
    fn park(pool: &Arc<Pool>, number: u64, generation: Generation) -> DuplexStream {
        let (ours, theirs) = duplex(64);
        let number = LaneNumber(number);
        pool.keep(Parked::new(Box::new(ours), number, memory(), LaneKey::Stored, PARKED), generation);
        theirs
    }

    fn taken(pool: &Pool, last: Option<u64>) -> Option<u64> {
        pool.take(NOW, LaneKey::Stored, last.map(LaneNumber)).map(|parked| parked.number.0)
    }

    #[tokio::test]
    async fn a_lane_of_one_token_is_nobody_elses() {
        let pool = pool();
        let _stored = park(&pool, 1, NOW);
        let (ours, _theirs) = duplex(64);
        let (mine, another) = (LaneKey::Token([1; 32]), LaneKey::Token([2; 32]));
        pool.keep(Parked::new(Box::new(ours), LaneNumber(2), memory(), mine, PARKED), NOW);
        assert!(!pool.has(NOW, another) && pool.take(NOW, another, Some(LaneNumber(2))).is_none());
        assert_eq!(taken(&pool, Some(2)), Some(1), "by its number, too");
        assert!(pool.take(NOW, LaneKey::Stored, Some(LaneNumber(2))).is_none());
        assert!(pool.has(NOW, mine) && pool.take(NOW, mine, None).is_some());
    }

    #[tokio::test]
    async fn the_lanes_of_a_refused_token_are_closed_and_no_others() {
        let pool = pool();
        let _stored = park(&pool, 1, NOW);
        let keys = [LaneKey::Token([1; 32]), LaneKey::Token([2; 32])];
        let _theirs = keys.map(|key| {
            let (ours, theirs) = duplex(64);
            pool.keep(Parked::new(Box::new(ours), LaneNumber(2), memory(), key, PARKED), NOW);
            theirs
        });
        pool.close(keys[0]);
        assert!(!pool.has(NOW, keys[0]) && pool.has(NOW, keys[1]) && pool.has(NOW, LaneKey::Stored));
    }

    #[tokio::test]
    async fn a_session_has_its_own_last_lane_where_it_is_free() {
        let pool = pool();
        let _provider = [park(&pool, 1, NOW), park(&pool, 2, NOW), park(&pool, 3, NOW)];
        // A STATUS after an APPEND must see it.
        assert_eq!(taken(&pool, Some(2)), Some(2));
        assert_eq!(taken(&pool, Some(2)), Some(3));
        assert_eq!(taken(&pool, None), Some(1));
        assert_eq!(taken(&pool, None), None);
    }

    #[tokio::test]
    async fn who_comes_next_has_a_lane_whose_mailbox_is_left_if_there_is_one() {
        let pool = pool();
        let _left = park(&pool, 1, NOW);
        let (ours, mut theirs) = duplex(64);
        let (leaving, _) = Leaving::begin(&crate::wire::imap::response::capabilities(b"IMAP4rev1 UNSELECT"));
        let ours = Departing::new(Box::new(ours), leaving, Instant::now() + LEAVING, Arc::default());
        pool.keep(Parked::new(Box::new(ours), LaneNumber(2), memory(), LaneKey::Stored, PARKED), NOW);
        let first = pool.take(NOW, LaneKey::Stored, None).expect("a lane");
        assert!(first.number == LaneNumber(1));
        pool.keep(first, NOW);
        theirs.write_all(b"PSRLu OK\r\n").await.expect("room");
        assert_eq!((taken(&pool, Some(2)), taken(&pool, None)), (Some(2), Some(1)));
    }

    #[tokio::test]
    async fn a_lane_that_was_closed_or_that_speaks_is_not_given() {
        let pool = pool();
        drop(park(&pool, 1, NOW));
        let mut second = park(&pool, 2, NOW);
        second.write_all(b"* BYE\r\n").await.expect("room");
        assert_eq!(taken(&pool, Some(2)), None);
        assert!(pool.is_empty());
    }

    #[tokio::test]
    async fn lanes_of_another_generation_are_closed() {
        let pool = pool();
        let mut kept = park(&pool, 1, NOW);
        let mut early = park(&pool, 2, Generation(2));
        assert_eq!(early.read(&mut [0]).await.ok(), Some(0));
        pool.reach(Generation(4));
        assert_eq!(kept.read(&mut [0]).await.ok(), Some(0));
        assert!(pool.take(NOW, LaneKey::Stored, None).is_none());
        // Of two changes seen at once the older may come last.
        let _provider = park(&pool, 3, Generation(4));
        pool.reach(NOW);
        assert!(pool.take(Generation(4), LaneKey::Stored, None).is_some());
    }

    #[tokio::test]
    async fn few_are_kept_and_the_oldest_goes() {
        let pool = pool();
        let parked = (0..).take(PARKED_MAX + 1);
        let mut providers: Vec<_> = parked.map(|number| park(&pool, number, NOW)).collect();
        assert_eq!(providers[0].read(&mut [0]).await.ok(), Some(0));
        assert_eq!(pool.lanes().parked.len(), PARKED_MAX);
        // One that may not be had goes itself.
        let (ours, mut over) = duplex(64);
        pool.keep(
            Parked::new(
                Box::new(ours),
                LaneNumber(9),
                memory(),
                LaneKey::Stored,
                Stay { time: Duration::ZERO, ..PARKED },
            ),
            NOW,
        );
        assert_eq!((over.read(&mut [0]).await.ok(), pool.lanes().parked.len()), (Some(0), PARKED_MAX));
        assert_eq!(taken(&pool, Some(1)), Some(1), "the oldest of those that were left");
    }

    #[tokio::test]
    async fn room_is_made_by_the_oldest_and_a_lane_to_send_is_left_with_a_word() {
        let pool = pool();
        let allowance = Allowance { per_lane: 9, per_minute: None, stay: PARKED };
        let memory = Memory::Submission { extensions: Default::default(), messages: 0, allowance };
        let mut providers = Vec::new();
        for number in 1..=3 {
            let (ours, theirs) = duplex(64);
            pool.keep(Parked::new(Box::new(ours), LaneNumber(number), memory.clone(), LaneKey::Stored, PARKED), NOW);
            providers.push(theirs);
        }
        pool.shrink(4);
        assert_eq!(pool.parked(), 3);
        pool.shrink(1);
        assert_eq!(pool.parked(), 1);
        for provider in &mut providers[..2] {
            let mut heard = [0; 6];
            provider.read_exact(&mut heard).await.expect("a word");
            assert_eq!(&heard, b"QUIT\r\n");
        }
        assert_eq!(taken(&pool, None), Some(3));
    }

    /// Says whether it was told to rest.
    struct Resting(DuplexStream, Arc<std::sync::atomic::AtomicBool>);

    impl crate::upstream::Duplex for Resting {
        fn rest(&mut self) {
            self.1.store(true, std::sync::atomic::Ordering::SeqCst);
        }

        fn bare(self: Box<Self>) -> Stream {
            self
        }
    }

    impl AsyncRead for Resting {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            data: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_read(context, data)
        }
    }

    impl AsyncWrite for Resting {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(context, data)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(context)
        }
    }

    #[tokio::test]
    async fn a_parked_lane_has_given_its_memory_back() {
        let (ours, _theirs) = duplex(64);
        let (gates, _root) = crate::upstream::Gates::of_a_test().await;
        let rested = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stream = Box::new(Resting(ours, rested.clone()));
        let lane = gates.lane_over(stream, crate::model::AccountId(1));
        assert!(lane.park(crate::relay::LaneState::Clean).is_some());
        assert!(rested.load(std::sync::atomic::Ordering::SeqCst));
    }

    /// A lane whose reading is a fault of ours.
    struct Faulty(DuplexStream);

    impl crate::upstream::Duplex for Faulty {
        fn bare(self: Box<Self>) -> Stream {
            self
        }
    }

    impl AsyncRead for Faulty {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            panic!("planted");
        }
    }

    impl AsyncWrite for Faulty {
        fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(context, data)
        }

        fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(context)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(context)
        }
    }

    /// Reads to the end that the bridge makes.
    async fn closed(provider: &mut DuplexStream) -> bool {
        timeout(Duration::from_secs(10), provider.read(&mut [0])).await.is_ok_and(|read| read.ok() == Some(0))
    }

    #[tokio::test]
    async fn r21_a_planted_panic_ends_one_sweep_and_not_the_next() {
        let pool = pool();
        let mut bystander = park(&pool, 1, NOW);
        let (ours, mut provider) = duplex(64);
        pool.keep(Parked::new(Box::new(Faulty(ours)), LaneNumber(2), memory(), LaneKey::Stored, PARKED), NOW);
        // Nobody is left who would close them in time.
        assert!(closed(&mut provider).await && closed(&mut bystander).await);
        assert!(pool.is_empty());
        let (ours, mut provider) = duplex(64);
        let (number, time) = (LaneNumber(3), Stay { time: Duration::from_millis(50), ..PARKED });
        pool.keep(Parked::new(Box::new(ours), number, memory(), LaneKey::Stored, time), NOW);
        assert!(!pool.is_empty());
        assert!(closed(&mut provider).await && pool.is_empty());
    }

    #[tokio::test]
    async fn a_parked_lane_is_closed_before_it_is_forgotten() {
        let pool = pool();
        for number in 1..=2 {
            let (ours, mut provider) = duplex(64);
            let time = Stay { time: Duration::from_millis(50), ..PARKED };
            pool.keep(Parked::new(Box::new(ours), LaneNumber(number), memory(), LaneKey::Stored, time), NOW);
            assert!(!pool.is_empty());
            assert_eq!(provider.read(&mut [0]).await.ok(), Some(0));
            assert!(pool.is_empty());
        }
    }
}
