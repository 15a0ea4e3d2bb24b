//! What a refused login costs: a wait that grows with each one, on its connection and for its name (rule R22).
//!
//! Only refusals wait. A right password is answered at once, however many guess at its name: whoever makes the honest CRM
//! wait lets a guesser lock it out. So a guesser that leaves without waiting learns what it came for; what keeps a
//! password is its 140 bits, and the wait keeps down what guesses, and CRMs with an old password, cost the others.
//!
//! Never by address: every client is 127.0.0.1. By name and not by account: two names that slow each other down would
//! tell that both exist. Names that are no login's count alike.

use std::time::Duration;

/// The refusals of late, by name. Of one size, whatever is guessed: a name is one of `PLACES` by its hash, and names of
/// one place share its count. As the hash is keyed, nobody knows which do.
pub struct Guesses {
    places: Box<[Count]>,
}

#[derive(Clone, Copy, Default)]
struct Count {
    /// At most [`REFUSALS_MAX`].
    refusals: u32,
    /// From when on the next of them is forgotten.
    since: Duration,
}

/// 64 KiB in all. With a thousand names in it one in four shares its place.
pub(crate) const PLACES: u32 = 4096;
/// A refusal is forgotten after this, one by one.
pub(crate) const FORGOTTEN: Duration = Duration::from_secs(15);

/// The first on a connection.
pub(crate) const FIRST: Duration = Duration::from_millis(500);
/// By the refusals on the connection. c-client tries a wrong password three times in a row while a person waits for the
/// page: together 2.25 s.
const ON_CONNECTION: [Duration; 4] =
    [FIRST, Duration::from_millis(750), Duration::from_secs(1), Duration::from_secs(2)];
/// The next ones on the connection.
const LATER: Duration = Duration::from_secs(4);
/// So many of a name cost no more than the first: a CRM's page of settings tries several ways in, each several times.
pub(crate) const FREE: u32 = 10;
/// By how much each further one of a name costs more.
pub(crate) const STEP: Duration = Duration::from_millis(250);
/// The longest wait. A relay bears five refusals: all of them fit into the time before login.
pub const WAIT_MAX: Duration = Duration::from_secs(8);
/// More are not counted: from here on the wait is [`WAIT_MAX`], and ten minutes forget them all.
pub(crate) const REFUSALS_MAX: u32 = 40;

impl Default for Guesses {
    fn default() -> Self {
        Self { places: (0..PLACES).map(|_| Count::default()).collect() }
    }
}

impl Guesses {
    /// Counts a refusal for the name of this hash, on a connection that had so many before, and says how long its answer
    /// waits. `now` is since any fixed moment.
    pub fn refused(&mut self, name: u64, on_connection: u32, now: Duration) -> Duration {
        let place = usize::try_from(name % u64::from(PLACES)).ok().and_then(|place| self.places.get_mut(place));
        // Never None: the remainder is below the number of places.
        let of_name = place.map_or(WAIT_MAX, |count| count.refused(now));
        let earlier = usize::try_from(on_connection).unwrap_or(usize::MAX);
        ON_CONNECTION.get(earlier).copied().unwrap_or(LATER).max(of_name)
    }
}

impl Count {
    fn refused(&mut self, now: Duration) -> Duration {
        let forgotten = now.saturating_sub(self.since).as_secs() / FORGOTTEN.as_secs();
        let forgotten = u32::try_from(forgotten).unwrap_or(u32::MAX);
        self.refusals = self.refusals.saturating_sub(forgotten);
        // What is left of a period counts for the next one, unless there is nothing to forget.
        self.since = match self.refusals {
            0 => now,
            _ => self.since.saturating_add(FORGOTTEN.saturating_mul(forgotten)),
        };
        self.refusals = self.refusals.saturating_add(1).min(REFUSALS_MAX);
        let [first, ..] = ON_CONNECTION;
        first.saturating_add(STEP.saturating_mul(self.refusals.saturating_sub(FREE))).min(WAIT_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Duration = Duration::from_secs(1000);

    #[test]
    fn three_tries_in_a_row_stay_below_three_seconds() {
        let mut guesses = Guesses::default();
        let waits: Vec<_> = (0..5).map(|earlier| guesses.refused(1, earlier, START)).collect();
        assert_eq!(waits, [500, 750, 1000, 2000, 4000].map(Duration::from_millis));
        assert!(waits.iter().take(3).sum::<Duration>() < Duration::from_secs(3));
    }

    #[test]
    fn a_name_costs_more_from_its_eleventh_refusal_on_and_is_forgiven_in_ten_minutes() {
        let mut guesses = Guesses::default();
        // Each on a connection of its own.
        let waits: Vec<_> = (0..60).map(|_| guesses.refused(1, 0, START)).collect();
        assert!(waits.iter().take(10).all(|wait| *wait == Duration::from_millis(500)));
        assert_eq!(waits[10], Duration::from_millis(750));
        assert_eq!((waits[39], waits[59]), (WAIT_MAX, WAIT_MAX));
        // Another name, also one that shares no more than the hash's upper half, costs what it always costs.
        assert_eq!(guesses.refused(2, 0, START), Duration::from_millis(500));
        assert_eq!(guesses.refused(1, 0, START + Duration::from_secs(15)), WAIT_MAX);
        assert_eq!(guesses.refused(1, 0, START + Duration::from_secs(15 + 600)), Duration::from_millis(500));
    }

    proptest! {
        #[test]
        fn every_wait_is_bounded_and_grows_with_what_was_refused(
            steps in prop::collection::vec((0u64..6, 0u32..12, 0u64..40), 1..300),
        ) {
            let (mut guesses, mut now) = (Guesses::default(), START);
            let mut last = std::collections::HashMap::new();
            for (name, on_connection, seconds) in steps {
                now += Duration::from_secs(seconds);
                let wait = guesses.refused(name, on_connection, now);
                prop_assert!(wait >= Duration::from_millis(500) && wait <= WAIT_MAX, "{wait:?}");
                // Within the time in which nothing is forgotten, a name's wait never falls.
                let fresh = guesses.refused(name, 0, now);
                if let Some((before, at)) = last.insert(name, (fresh, now)) && now - at < FORGOTTEN {
                    prop_assert!(fresh + STEP >= before, "{before:?}, then {fresh:?}");
                }
                let more = guesses.refused(name, on_connection.saturating_add(1), now);
                prop_assert!(more >= wait, "{wait:?}, then {more:?}");
            }
        }

        #[test]
        fn names_without_end_take_no_room_and_slow_no_one_for_ever(names in prop::collection::vec(any::<u64>(), 1..500)) {
            let mut guesses = Guesses::default();
            for name in &names {
                guesses.refused(*name, 0, START);
            }
            prop_assert_eq!(guesses.places.len(), 4096);
            let later = START + FORGOTTEN * REFUSALS_MAX;
            let first = names[0];
            prop_assert_eq!(guesses.refused(first, 0, later), Duration::from_millis(500));
        }
    }
}
