//! When an account is tried again that its provider refused or sent away (rule R26).
//!
//! A provider counts refused sign-ins and locks the mailbox, for its owner too: wrong credentials are shown twice, then
//! once after each of pauses that grow. While it is not known that they are right again, one try is under way at a time.
//! A provider that asks for a pause has it. Pure: the clock and chance come as arguments.

use std::time::Duration;

/// What is known of an account's sign-ins to one service.
#[derive(Debug, Default)]
pub struct Breaker {
    /// Sign-ins in a row that were refused.
    refusals: u32,
    /// Openings in a row that the provider sent away.
    sent_away: u32,
    /// Until then nobody is let through.
    until: Duration,
    /// Until then the provider wants no command either, of whoever is signed in.
    throttled: Duration,
    /// One try is under way, of credentials or a provider that may still say no.
    trying: bool,
}

/// How an opening ended, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    SignedIn,
    /// The credentials were shown so many times, and refused.
    Refused(u32),
    /// It is busy or says that we are too many; and how long it wants us to wait, where it says so.
    SentAway(Option<Duration>),
    /// Says nothing of the account: no connection, a lost one, a fault of ours.
    Unknown,
}

/// Shown so often before the first pause.
pub(crate) const REFUSALS_FREE: u32 = 2;
/// The first pause after refusals: a CRM that polls each minute costs one try each time at most.
pub(crate) const REFUSED_FIRST: Duration = Duration::from_secs(60);
/// What is put right at the provider alone is found within this time; what is put right here, at once.
pub(crate) const REFUSED_MAX: Duration = Duration::from_secs(30 * 60);
/// The first pause of a provider that sent us away twice.
pub(crate) const SENT_AWAY_FIRST: Duration = Duration::from_secs(2);
/// A provider that is there again is found within this time.
pub(crate) const SENT_AWAY_MAX: Duration = Duration::from_secs(60);
/// No wish of a provider is obeyed for longer: Microsoft's are minutes.
pub(crate) const WISH_MAX: Duration = Duration::from_secs(60 * 60);

impl Breaker {
    /// Whether an opening may begin; each that does is followed by [`Breaker::ended`].
    ///
    /// # Errors
    /// How long to wait; zero while the one that decides is under way.
    pub fn begin(&mut self, now: Duration) -> Result<(), Duration> {
        if now < self.until {
            return Err(self.until.saturating_sub(now));
        }
        if self.trying {
            return Err(Duration::ZERO);
        }
        self.trying = self.is_in_doubt();
        Ok(())
    }

    /// Whether one may begin that says nothing of the account unless it signs in: it takes nobody's try, and is not
    /// followed by [`Breaker::ended`].
    #[must_use]
    pub fn lets_through(&self, now: Duration) -> bool {
        now >= self.until && !self.trying
    }

    /// For how long nobody is let through yet. None: somebody may try.
    #[must_use]
    pub fn paused(&self, now: Duration) -> Option<Duration> {
        Some(self.until.saturating_sub(now)).filter(|left| !left.is_zero())
    }

    /// What became of it. `chance` from 0 to 1 spreads accounts that a provider refused at once.
    pub fn ended(&mut self, outcome: Outcome, now: Duration, chance: f64) {
        self.trying = false;
        let pause = match outcome {
            Outcome::SignedIn => {
                *self = Self { until: self.throttled, throttled: self.throttled, ..Self::default() };
                return;
            }
            Outcome::Unknown => return,
            Outcome::Refused(times) => {
                self.refusals = self.refusals.saturating_add(times.max(1));
                match self.refusals.checked_sub(REFUSALS_FREE) {
                    Some(more) => grown(REFUSED_FIRST, more, REFUSED_MAX),
                    None => return,
                }
            }
            Outcome::SentAway(wish) => {
                self.sent_away = self.sent_away.saturating_add(1);
                match (wish, self.sent_away.checked_sub(2)) {
                    (Some(wish), _) => wish.min(WISH_MAX),
                    (None, Some(more)) => grown(SENT_AWAY_FIRST, more, SENT_AWAY_MAX),
                    (None, None) => return,
                }
            }
        };
        self.until = self.until.max(now.saturating_add(pause).saturating_add(spread(pause, chance)));
    }

    /// The provider asked for this pause of somebody who was signed in. `chance` as in [`Breaker::ended`].
    pub fn throttle(&mut self, pause: Duration, now: Duration, chance: f64) {
        let pause = pause.min(WISH_MAX);
        self.throttled = self.throttled.max(now.saturating_add(pause).saturating_add(spread(pause, chance)));
        self.until = self.until.max(self.throttled);
    }

    /// Whether nothing is to be said to the provider now, over a lane that is signed in neither.
    #[must_use]
    pub fn is_throttled(&self, now: Duration) -> bool {
        now < self.throttled
    }

    /// Whether credentials were refused so often that nobody is let through but for one try after each pause.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.refusals >= REFUSALS_FREE
    }

    fn is_in_doubt(&self) -> bool {
        // Once is a provider that restarts, or one connection too many: whoever else sends mail now is not held up.
        self.refusals > 0 || self.sent_away > 1
    }
}

/// What comes on top of a pause, so that many do not come back at once.
fn spread(pause: Duration, chance: f64) -> Duration {
    pause.mul_f64(0.1 * chance.clamp(0.0, 1.0))
}

/// Twice as long each time.
fn grown(first: Duration, times: u32, most: Duration) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(times)).min(most)
}

/// The pause that a provider asks for in its words, as Microsoft does.
#[must_use]
pub fn wish(words: &str) -> Option<Duration> {
    const BEFORE: &str = "Suggested Backoff Time: ";
    let (_, behind) = words.split_once(BEFORE)?;
    let (number, unit) = behind.split_once(' ')?;
    let number = number.parse().ok()?;
    unit.starts_with("milliseconds").then(|| Duration::from_millis(number))
}

/// The pause that a provider wants of a mailbox in its answer to a command, if that is what its words say: Microsoft says
/// for how long, or only that it throttles; Google that a day's commands or octets are used up, which lasts for hours.
///
/// Words that begin so alone: further on may stand the name that a client gave a mailbox, and whoever shares an account
/// must not shut the others out by it. In front of those of SMTP are its codes.
#[must_use]
pub fn throttle(words: &str) -> Option<Duration> {
    const PASSING: [&str; 2] = ["Request is throttled", "Server Unavailable"];
    const FOR_LONG: [&str; 2] = ["Account exceeded command or bandwidth limits", "Daily user sending"];
    let words = words.trim_start_matches(|letter: char| letter.is_ascii_digit() || matches!(letter, '.' | ' '));
    let begins = |known: &[&str]| known.iter().any(|known| words.starts_with(known));
    match (begins(&PASSING), begins(&FOR_LONG)) {
        (true, _) => Some(wish(words).unwrap_or(SENT_AWAY_MAX)),
        (_, true) => Some(WISH_MAX),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn wrong_credentials_are_shown_twice_and_then_seldom() {
        let (mut breaker, mut now, mut shown) = (Breaker::default(), s(0), Vec::new());
        // A CRM that tries each ten seconds for a day.
        while now < s(86_400) {
            if breaker.begin(now).is_ok() {
                shown.push(now.as_secs());
                breaker.ended(Outcome::Refused(1), now, 0.0);
            }
            now += s(10);
        }
        assert_eq!(shown[..8], [0, 10, 70, 190, 430, 910, 1870, 3670]);
        assert!(shown.len() < 60, "{} times a day", shown.len());
        assert!(breaker.is_open());
    }

    #[test]
    fn a_token_that_was_renewed_in_vain_has_been_shown_twice() {
        let mut breaker = Breaker::default();
        breaker.begin(s(0)).expect("the first");
        breaker.ended(Outcome::Refused(2), s(1), 0.0);
        assert_eq!((breaker.begin(s(2)), breaker.paused(s(2))), (Err(s(59)), Some(s(59))));
        assert_eq!(breaker.paused(s(61)), None);
    }

    #[test]
    fn one_try_at_a_time_while_in_doubt_and_as_many_as_wanted_else() {
        let mut breaker = Breaker::default();
        assert_eq!((breaker.begin(s(0)), breaker.begin(s(0)), breaker.begin(s(0))), (Ok(()), Ok(()), Ok(())));
        breaker.ended(Outcome::Refused(1), s(0), 0.0);
        assert_eq!((breaker.begin(s(1)), breaker.begin(s(1))), (Ok(()), Err(s(0))));
        // It says nothing of the credentials: the next may try.
        breaker.ended(Outcome::Unknown, s(2), 0.0);
        assert_eq!(breaker.begin(s(2)), Ok(()));
        breaker.ended(Outcome::SignedIn, s(3), 0.0);
        assert_eq!((breaker.begin(s(3)), breaker.begin(s(3))), (Ok(()), Ok(())));
    }

    #[test]
    fn whoever_is_throttled_says_nothing_until_its_time_is_over() {
        let mut breaker = Breaker::default();
        breaker.throttle(s(300), s(10), 0.0);
        assert!(breaker.is_throttled(s(309)) && !breaker.is_throttled(s(310)));
        assert_eq!(breaker.begin(s(20)), Err(s(290)));
        // Of an opening that was under way.
        breaker.ended(Outcome::SignedIn, s(20), 0.0);
        assert_eq!((breaker.paused(s(20)), breaker.begin(s(310))), (Some(s(290)), Ok(())));
        breaker.throttle(s(1_000_000), s(0), 1.0);
        assert!(!breaker.is_throttled(WISH_MAX * 2));
    }

    #[test]
    fn a_pause_is_read_in_the_words_of_a_command() {
        for (words, pause) in [
            ("Request is throttled. Suggested Backoff Time: 299961 milliseconds", Some(Duration::from_millis(299_961))),
            ("Request is throttled.", Some(SENT_AWAY_MAX)),
            ("Server Unavailable. 15", Some(SENT_AWAY_MAX)),
            ("Account exceeded command or bandwidth limits. (Failure)", Some(WISH_MAX)),
            ("550 5.4.5 Daily user sending limit exceeded.", Some(WISH_MAX)),
            ("No such mailbox: Request is throttled. Suggested Backoff Time: 3600000 milliseconds", None),
            ("Quota exceeded (mailbox for user is full)", None),
            ("Mailbox does not exist", None),
        ] {
            assert_eq!(throttle(words), pause, "{words}");
        }
    }

    #[test]
    fn a_provider_that_was_busy_once_holds_nobody_up() {
        let mut breaker = Breaker::default();
        breaker.begin(s(0)).expect("the first");
        breaker.ended(Outcome::SentAway(None), s(0), 0.0);
        assert_eq!((breaker.begin(s(1)), breaker.begin(s(1))), (Ok(()), Ok(())));
        breaker.ended(Outcome::SentAway(None), s(1), 0.0);
        assert_eq!(breaker.begin(s(2)), Err(s(1)));
        assert_eq!((breaker.begin(s(3)), breaker.begin(s(3))), (Ok(()), Err(s(0))));
    }

    #[test]
    fn a_provider_that_asks_for_a_pause_has_it() {
        let words = "Request is throttled. Suggested Backoff Time: 299961 milliseconds";
        assert_eq!(wish(words), Some(Duration::from_millis(299_961)));
        for other in
            ["", "Suggested Backoff Time: soon", "Suggested Backoff Time: 5 hours", "Suggested Backoff Time: 5"]
        {
            assert_eq!(wish(other), None, "{other}");
        }
        let mut breaker = Breaker::default();
        breaker.begin(s(0)).expect("the first");
        breaker.ended(Outcome::SentAway(wish(words)), s(0), 0.0);
        assert!(breaker.begin(s(299)).is_err() && !breaker.is_open());
        assert_eq!(breaker.begin(s(300)), Ok(()));
        breaker.ended(Outcome::SentAway(Some(s(1_000_000))), s(300), 1.0);
        assert!(breaker.begin(s(300) + WISH_MAX.mul_f64(1.1)).is_ok(), "no wish is obeyed for ever");
    }

    proptest! {
        /// Whatever happens: no pause is longer than the longest, and after it somebody may try.
        #[test]
        fn nobody_is_kept_out_for_ever(steps in prop::collection::vec((0..5_u8, 0..100_u64, 0.0..1.0), 0..200)) {
            let (mut breaker, mut now) = (Breaker::default(), s(0));
            for (kind, seconds, chance) in steps {
                if breaker.begin(now).is_ok() {
                    let outcome = match kind {
                        0 => Outcome::SignedIn,
                        1 => Outcome::Refused(u32::try_from(seconds % 3).expect("small")),
                        2 => Outcome::SentAway(None),
                        3 => Outcome::SentAway(Some(s(seconds * 100))),
                        _ => Outcome::Unknown,
                    };
                    breaker.ended(outcome, now, chance);
                }
                now += s(seconds);
            }
            prop_assert!(breaker.begin(now + WISH_MAX.mul_f64(1.1)).is_ok());
        }
    }
}
