//! When a client's token that nobody has seen yet may be shown to its account's provider (rule R26).
//!
//! Each wrong one is a refused sign-in there, and enough of them lock the mailbox, whoever they came from. So a few are
//! shown at once, and then one after each of pauses that grow: a good one comes through within the longest of them. Each
//! login has a pace of its own, so that what one is told says nothing of another (rule R23), and the account one of all of
//! them, which only a flood at several of its logins meets. What
//! the provider has let in lately never asks here, and is never held up. Refusals are forgotten one by one, not by a good
//! token: that one says nothing of the others. Pure: the clock comes as an argument.

use super::breaker::{Outcome, WISH_MAX};
use std::time::Duration;

/// What is known of the tokens of one login, or of all of one account, at one service, that nobody has seen yet.
#[derive(Debug)]
pub struct Pace {
    /// Refused before the first pause.
    free: u32,
    /// Of late, each of another token or of the same once more.
    refusals: u32,
    /// From when on the next of them is forgotten.
    since: Duration,
    /// Until then none is shown.
    until: Duration,
    /// Shown, and not judged yet.
    under_way: u32,
}

/// Of one login, refused before the first pause: a page of settings tries a few ways in, and a CRM has two or three tokens.
pub(crate) const UNKNOWN_FREE: u32 = 4;
/// Of one account: as many as four of its logins have, and more than a page of settings and its CRMs come to.
pub(crate) const ACCOUNT_FREE: u32 = 4 * UNKNOWN_FREE;
/// The first pause. A person who has put a token right tries again in such a time.
pub(crate) const UNKNOWN_FIRST: Duration = Duration::from_secs(5);
/// The longest: whoever floods an account shows its provider five tokens in five minutes, and keeps a new token of its
/// CRM waiting for a minute once the flood is over.
pub(crate) const UNKNOWN_MAX: Duration = Duration::from_secs(60);
/// One refusal is forgotten in this time.
pub(crate) const UNKNOWN_FORGOTTEN: Duration = Duration::from_secs(60);

impl Pace {
    /// Of one login.
    #[must_use]
    pub const fn of_login() -> Self {
        Self::after(UNKNOWN_FREE)
    }

    /// Of one account.
    #[must_use]
    pub const fn of_account() -> Self {
        Self::after(ACCOUNT_FREE)
    }

    const fn after(free: u32) -> Self {
        Self { free, refusals: 0, since: Duration::ZERO, until: Duration::ZERO, under_way: 0 }
    }

    /// Whether one may be shown; each that is, is followed by [`Pace::ended`].
    pub fn begin(&mut self, now: Duration) -> bool {
        self.forget(now);
        // What is under way counts as refused: more at once must not show more in all.
        let few = self.refusals.saturating_add(self.under_way) < self.free;
        let may = now >= self.until && (few || self.under_way == 0);
        self.under_way = self.under_way.saturating_add(u32::from(may));
        may
    }

    /// For how long none is shown yet. None: one may be.
    #[must_use]
    pub fn paused(&self, now: Duration) -> Option<Duration> {
        Some(self.until.saturating_sub(now)).filter(|left| !left.is_zero())
    }

    /// What became of it; the pause that begins with that.
    pub fn ended(&mut self, outcome: Outcome, now: Duration) -> Option<Duration> {
        self.under_way = self.under_way.saturating_sub(1);
        self.forget(now);
        let pause = match outcome {
            Outcome::SignedIn | Outcome::Unknown => return None,
            Outcome::SentAway(Some(wish)) => wish.min(WISH_MAX),
            Outcome::SentAway(None) | Outcome::Refused(_) => {
                if self.refusals == 0 {
                    self.since = now;
                }
                self.refusals = self.refusals.saturating_add(1);
                let more = self.refusals.checked_sub(self.free)?;
                UNKNOWN_FIRST.saturating_mul(2_u32.saturating_pow(more)).min(UNKNOWN_MAX)
            }
        };
        self.until = self.until.max(now.saturating_add(pause));
        Some(pause)
    }

    fn forget(&mut self, now: Duration) {
        let over = now.saturating_sub(self.since).as_secs().checked_div(UNKNOWN_FORGOTTEN.as_secs());
        let over = u32::try_from(over.unwrap_or_default()).unwrap_or(u32::MAX);
        self.refusals = self.refusals.saturating_sub(over);
        self.since = self.since.saturating_add(UNKNOWN_FORGOTTEN.saturating_mul(over));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// When each of a flood's tokens was shown that comes as fast as it may.
    fn flood(pace: &mut Pace, from: u64, to: u64) -> Vec<u64> {
        let mut shown = Vec::new();
        for now in from..to {
            while pace.begin(s(now)) {
                pace.ended(Outcome::Refused(1), s(now));
                shown.push(now - from);
            }
        }
        shown
    }

    #[test]
    fn r26_a_flood_shows_a_few_tokens_at_once_and_then_one_a_minute() {
        let mut pace = Pace::of_login();
        let shown = flood(&mut pace, 1000, 1300);
        assert_eq!(shown[..8], [0, 0, 0, 0, 5, 15, 35, 75]);
        assert!(shown.len() <= 12, "{shown:?}");
        let later = flood(&mut pace, 1300, 4300);
        assert!((45..=55).contains(&later.len()), "{later:?}");
        // Half an hour of peace forgets it all.
        assert_eq!(flood(&mut pace, 6100, 6104), [0; 4]);
    }

    #[test]
    fn r26_an_account_bears_what_four_of_its_logins_may_and_then_one_a_minute() {
        let mut pace = Pace::of_account();
        let shown = flood(&mut pace, 1000, 1300);
        assert_eq!(shown[..16], [0; 16]);
        assert_eq!(shown[16..20], [5, 15, 35, 75]);
    }

    #[test]
    fn r26_what_is_under_way_counts() {
        let mut pace = Pace::of_login();
        assert_eq!([(); 6].map(|()| pace.begin(s(1))), [true, true, true, true, false, false]);
        for _ in 0..4 {
            pace.ended(Outcome::Refused(1), s(2));
        }
        assert!(!pace.begin(s(6)) && pace.begin(s(7)) && !pace.begin(s(8)), "one at a time, after the pause");
        // Whoever leaves, or comes in, says nothing of the others.
        pace.ended(Outcome::Unknown, s(8));
        assert!(pace.begin(s(8)));
        pace.ended(Outcome::SignedIn, s(9));
        assert!(pace.begin(s(9)) && !pace.begin(s(9)));
    }

    #[test]
    fn a_provider_that_asks_for_a_pause_has_it() {
        let mut pace = Pace::of_login();
        assert!(pace.begin(s(0)));
        pace.ended(Outcome::SentAway(Some(s(90))), s(0));
        assert_eq!((pace.paused(s(89)), pace.paused(s(90))), (Some(s(1)), None));
        assert!(!pace.begin(s(89)) && pace.begin(s(90)));
        pace.ended(Outcome::SentAway(Some(s(1_000_000))), s(90));
        assert!(pace.begin(s(90) + WISH_MAX));
    }

    proptest! {
        /// Whatever happens, a good token comes through within the longest pause that there is.
        #[test]
        fn nobody_is_kept_out_for_ever(steps in prop::collection::vec((0..5_u8, 0..100_u64), 0..200)) {
            let (mut pace, mut now) = (Pace::of_login(), s(0));
            for (kind, seconds) in steps {
                if pace.begin(now) {
                    let outcome = match kind {
                        0 => Outcome::SignedIn,
                        1 | 2 => Outcome::Refused(1),
                        3 => Outcome::SentAway(None),
                        _ => Outcome::Unknown,
                    };
                    pace.ended(outcome, now);
                }
                now += s(seconds);
            }
            prop_assert!(pace.begin(now + UNKNOWN_MAX));
        }
    }
}
