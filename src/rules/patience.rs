//! When a message that a provider put off is tried again, and what its replies to a message mean.
//!
//! Pauses grow; a provider that asks for one has it, within bounds. Pure: nothing here reads a clock.

use super::breaker::{throttle, wish};
use crate::wire::smtp::Reply;
use std::time::Duration;

/// Seconds from a failure to the next try; the last goes on until the message expires. A greylisting provider takes it
/// after 5 minutes at most; one that is down is found within half an hour.
pub(crate) const PAUSES: [i64; 8] = [15, 60, 120, 300, 600, 900, 1800, 1800];
/// No pause that a provider asks for is obeyed for longer.
pub(crate) const ADVISED_MAX: Duration = Duration::from_secs(4 * 3600);
/// Words between a number and what says that it is a pause.
const NEAR: usize = 4;

/// Seconds to the next try after so many, where these words came back.
#[must_use]
pub fn pause(tries: u32, words: &str) -> i64 {
    let at = usize::try_from(tries).unwrap_or(usize::MAX).min(PAUSES.len() - 1);
    let usual = PAUSES.get(at).copied().unwrap_or(1800);
    let advised =
        throttle(words).max(advised(words)).map_or(0, |advised| i64::try_from(advised.as_secs()).unwrap_or(usual));
    usual.max(advised)
}

/// The pause that a provider asks for in its words: Microsoft's backoff, `try again in 5 minutes`, `Greylisted for 300
/// seconds`.
#[must_use]
pub fn advised(words: &str) -> Option<Duration> {
    let asked = wish(words).or_else(|| said(words))?;
    Some(asked.min(ADVISED_MAX))
}

fn said(words: &str) -> Option<Duration> {
    let lower = words.to_ascii_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '(' | ')' | '[' | ']'))
        .filter(|word| !word.is_empty())
        .collect();
    words.iter().enumerate().find_map(|(at, word)| {
        let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
        let (number, stuck) = word.split_at_checked(digits)?;
        let number: u64 = number.parse().ok()?;
        let unit = if stuck.is_empty() { words.get(at + 1).copied().unwrap_or_default() } else { stuck };
        let seconds = match unit.trim_end_matches(['.', ':', '!']) {
            "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 3600,
            _ => return None,
        };
        let before = words.get(at.saturating_sub(NEAR)..at)?;
        let asks = |word: &&str| matches!(word.trim_end_matches(':'), "in" | "after" | "for" | "wait" | "retry");
        before.iter().any(asks).then(|| Duration::from_secs(number.saturating_mul(seconds)))
    })
}

/// What a reply to a command about a message means for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    Taken,
    /// For now: it is tried again.
    PutOff,
    /// For good.
    Refused,
}

/// What it means. Class 5 about who we are, not what we send, is ours to mend, and no reason to give a message back.
#[must_use]
pub fn meaning(reply: &Reply) -> Meaning {
    const OURS: [u16; 6] = [500, 502, 503, 530, 534, 535];
    match reply.class() {
        2 => Meaning::Taken,
        // As permanent as it is said, and over within a day.
        5 if throttle(&reply.words()).is_some() => Meaning::PutOff,
        5 if !OURS.contains(&reply.code) => Meaning::Refused,
        _ => Meaning::PutOff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_that_asks_for_a_pause_has_it() {
        for (words, seconds) in [
            ("451 4.7.1 Greylisted, please try again in 300 seconds", Some(300)),
            ("450 4.2.0 <a@b>: Recipient address rejected: Greylisted for 5 minutes", Some(300)),
            ("421 4.7.0 Try again later, retry after 90s.", Some(90)),
            ("432 4.3.2 Concurrent connections limit exceeded. Suggested Backoff Time: 120000 milliseconds", Some(120)),
            ("450 4.7.1 wait 2h", Some(7200)),
            ("450 4.7.1 wait 99999999999999999999 hours", None),
            ("450 4.7.1 wait 9999999999 hours", Some(4 * 3600)),
            ("452 4.2.2 mailbox full: 300 messages", None),
            ("451 4.3.0 more than 30 messages sent in 60 seconds is too fast", Some(60)),
            ("451 4.3.0 try again later", None),
            ("", None),
        ] {
            assert_eq!(advised(words).map(|pause| pause.as_secs()), seconds, "{words}");
        }
        assert_eq!((pause(0, ""), pause(3, ""), pause(u32::MAX, "")), (15, 300, 1800));
        assert_eq!(pause(0, "451 try again in 10 minutes"), 600);
        assert_eq!(pause(7, "451 try again in 1 minute"), 1800, "no sooner than the house's own");
    }

    #[test]
    fn a_day_that_is_used_up_is_waited_for() {
        let words: &[u8] = b"5.4.5 Daily user sending limit exceeded. See the help pages.";
        let reply = Reply { code: 550, lines: vec![words.to_vec().into()] };
        assert_eq!((meaning(&reply), pause(0, &reply.words())), (Meaning::PutOff, 3600));
    }

    #[test]
    fn what_is_ours_to_mend_gives_no_message_back() {
        let of = |code| meaning(&Reply { code, lines: vec![b"x".to_vec().into()] });
        assert_eq!((of(250), of(251), of(354)), (Meaning::Taken, Meaning::Taken, Meaning::PutOff));
        assert_eq!(
            (of(421), of(452), of(530), of(535)),
            (Meaning::PutOff, Meaning::PutOff, Meaning::PutOff, Meaning::PutOff)
        );
        assert_eq!((of(550), of(552), of(554)), (Meaning::Refused, Meaning::Refused, Meaning::Refused));
    }
}
