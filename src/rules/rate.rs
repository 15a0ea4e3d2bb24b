//! When the next message of an account may begin, so that no minute has more than its provider bears.
//!
//! A few go at once; then they are spread evenly, so that whoever sends many waits a little each time and never for most
//! of a minute. Pure: the clock comes as an argument.

use std::time::Duration;

/// The messages of one account.
#[derive(Debug)]
pub struct Rate {
    /// When all that went would have gone, had each kept its distance.
    spread: Duration,
    /// Messages in each second of the last minute: second `n` stands at `n % MINUTE`.
    seconds: [u32; 60],
    /// The second up to which `seconds` tells.
    counted: u64,
}

/// Seconds.
const MINUTE: u64 = 60;
/// Of the messages of a minute one in so many goes at once.
pub(crate) const AT_ONCE: u32 = 6;

impl Default for Rate {
    fn default() -> Self {
        Self { spread: Duration::ZERO, seconds: [0; 60], counted: 0 }
    }
}

impl Rate {
    /// How long the next message has to wait, where so many a minute may go and others wait ahead of it. Whatever minute is
    /// looked at, it has no more.
    #[must_use]
    pub fn wait(&self, per_minute: u32, ahead: u32, now: Duration) -> Duration {
        let (at_once, distance) = spread(per_minute);
        let spread = self.spread.max(now).saturating_add(distance.saturating_mul(ahead));
        spread.saturating_sub(distance.saturating_mul(at_once.saturating_sub(1))).saturating_sub(now)
    }

    /// A message goes.
    pub fn note(&mut self, per_minute: Option<u32>, now: Duration) {
        self.forget(now);
        if let Some(second) = self.seconds.get_mut(place(self.counted)) {
            *second = second.saturating_add(1);
        }
        if let Some(per_minute) = per_minute {
            self.spread = self.spread.max(now).saturating_add(spread(per_minute).1);
        }
    }

    /// Messages of the last minute.
    pub fn lately(&mut self, now: Duration) -> u64 {
        self.forget(now);
        self.seconds.iter().copied().map(u64::from).sum()
    }

    fn forget(&mut self, now: Duration) {
        let now = now.as_secs();
        for second in self.counted.saturating_add(1)..=now.min(self.counted.saturating_add(MINUTE)) {
            if let Some(count) = self.seconds.get_mut(place(second)) {
                *count = 0;
            }
        }
        self.counted = self.counted.max(now);
    }
}

/// How many go at once, and how far from each other the rest.
fn spread(per_minute: u32) -> (u32, Duration) {
    let at_once = (per_minute / AT_ONCE).max(1);
    let rest = per_minute.saturating_sub(at_once).max(1);
    (at_once, Duration::from_secs(MINUTE) / rest)
}

fn place(second: u64) -> usize {
    usize::try_from(second % MINUTE).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// When messages go whose sender has always another one; with pauses before some.
    fn sent(per_minute: u32, pauses: &[u64]) -> Vec<Duration> {
        let (mut rate, mut now, mut sent) = (Rate::default(), Duration::from_secs(7), Vec::new());
        for pause in pauses {
            now += Duration::from_millis(*pause);
            now += rate.wait(per_minute, 0, now);
            rate.note(Some(per_minute), now);
            sent.push(now);
        }
        sent
    }

    #[test]
    fn what_microsoft_bears_goes_without_a_long_wait() {
        let sent = sent(30, &[0; 100]);
        let waits: Vec<_> = sent.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(waits[..4].iter().all(Duration::is_zero), "five go at once");
        assert!(waits[4..].iter().all(|wait| *wait == Duration::from_millis(2400)), "{waits:?}");
    }

    #[test]
    fn one_a_minute_is_one_a_minute() {
        let sent = sent(1, &[0; 3]);
        assert_eq!(sent[1] - sent[0], Duration::from_secs(60));
        assert_eq!(sent[2] - sent[1], Duration::from_secs(60));
    }

    #[test]
    fn the_messages_of_the_last_minute_are_counted() {
        let (mut rate, second) = (Rate::default(), Duration::from_secs(1));
        for at in [0, 0, 30, 59, 60] {
            rate.note(None, second * at);
        }
        assert_eq!(rate.wait(1, 0, second * 60), Duration::ZERO, "nobody bounds it");
        assert_eq!(rate.lately(second * 60), 3);
        assert_eq!(rate.lately(second * 90), 2);
        assert_eq!(rate.lately(second * 100_000), 0);
        rate.note(None, second * 100_000);
        assert_eq!(rate.lately(second * 100_059), 1);
        assert_eq!(rate.lately(second * 100_060), 0);
    }

    proptest! {
        #[test]
        fn who_waits_behind_others_knows_how_long(
            per_minute in 1_u32..200,
            before in 0_u32..100,
            pause in 0_u64..90_000,
            ahead in 0_u32..50,
        ) {
            let (mut rate, mut now) = (Rate::default(), Duration::from_secs(7));
            for _ in 0..before {
                now += rate.wait(per_minute, 0, now);
                rate.note(Some(per_minute), now);
            }
            let began = now + Duration::from_millis(pause);
            let told = rate.wait(per_minute, ahead, began);
            now = began;
            for _ in 0..ahead {
                now += rate.wait(per_minute, 0, now);
                rate.note(Some(per_minute), now);
            }
            prop_assert_eq!(now + rate.wait(per_minute, 0, now), began + told);
        }

        #[test]
        fn no_minute_has_more_than_its_messages(
            per_minute in 1_u32..200,
            pauses in prop::collection::vec(prop_oneof![Just(0_u64), 0_u64..5_000, Just(120_000)], 1..400),
        ) {
            let sent = sent(per_minute, &pauses);
            for (first, at) in sent.iter().enumerate() {
                let minute = sent[first..].iter().take_while(|later| **later < *at + Duration::from_secs(60)).count();
                prop_assert!(minute <= per_minute as usize, "{} of {}", minute, per_minute);
            }
        }
    }
}
