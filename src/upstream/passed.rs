//! Access tokens of clients, passed on to their account's provider, who alone judges them.
//!
//! One is kept for as long as its session, never stored or logged. Lanes that it opened are parked under its hash: whoever
//! comes with another token never has one of them. What the provider said of tokens of late is known by their hashes, too.

use crate::{model::Secret, relay::LaneUse};
use ring::digest::{SHA256, digest};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A token that a client has shown. Cheap to clone.
#[derive(Clone)]
pub struct Passed {
    pub(super) token: Arc<Secret<String>>,
    pub(super) key: LaneKey,
    /// What is known of the tokens of the login that shows it.
    pub(super) of_login: Arc<Lately>,
}

/// By whose credential a lane is signed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum LaneKey {
    /// By what is stored of the account.
    #[default]
    Stored,
    /// By the token of this SHA-256: 256 bits that nobody finds another token for.
    Token([u8; 32]),
}

impl Passed {
    /// None: no text, which no access token is.
    pub(super) fn new(token: &Secret<Vec<u8>>, of_login: Arc<Lately>) -> Option<Self> {
        let text = std::str::from_utf8(token.expose()).ok()?.to_owned();
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Some(Self { token: Arc::new(Secret::new(text)), key: LaneKey::Token(key), of_login })
    }
}

/// The key under which lanes of this session are parked.
pub(super) fn key(passed: Option<&Passed>) -> LaneKey {
    passed.map(|passed| passed.key).unwrap_or_default()
}

/// A token, and where it was shown.
type Shown = (LaneKey, LaneUse);

/// What the provider said of tokens of late, to one login or to one account: it counts refusals, and locks the mailbox in the end (rule R26). By service:
/// providers switch one off alone, and a token may be for one alone.
#[derive(Default)]
pub(super) struct Lately {
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    /// Oldest first; at most [`REFUSED_MAX`].
    refused: Vec<(Shown, u32, Instant)>,
    /// Oldest first; at most [`LET_IN_MAX`]. Nobody takes room here but by a token that is good.
    let_in: Vec<(Shown, Instant)>,
}

/// So often one token is shown before it is known to be refused.
pub(crate) const SHOWN: u32 = 2;
/// A CRM that polls each minute with a token that is over asks the provider once in this time; what is put right there is
/// found within it.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(5 * 60);
/// A mailbox has a handful of CRMs, each with one token; the oldest is forgotten for whoever guesses.
pub(crate) const REFUSED_MAX: usize = 64;
/// What was let in so lately waits in no line of new tokens. As long as access tokens live as a rule.
pub(crate) const LET_IN: Duration = Duration::from_secs(60 * 60);
/// Each CRM of a mailbox has a new token once an hour.
pub(crate) const LET_IN_MAX: usize = 64;

impl Lately {
    /// Whether this token need not be shown to this service again.
    pub(super) fn refuses(&self, key: LaneKey, purpose: LaneUse, now: Instant) -> bool {
        self.of_late(now).refused.iter().any(|(shown, times, _)| *shown == (key, purpose) && *times >= SHOWN)
    }

    /// Whether the provider knows this token, as far as is known: at the other service, too, unless this one has refused
    /// it.
    pub(super) fn knows(&self, key: LaneKey, purpose: LaneUse, now: Instant) -> bool {
        let told = self.of_late(now);
        let other = match purpose {
            LaneUse::Imap => LaneUse::Submission,
            LaneUse::Submission => LaneUse::Imap,
        };
        let let_in = |at| told.let_in.iter().any(|(shown, _)| *shown == (key, at));
        let_in(purpose) || (let_in(other) && !told.refused.iter().any(|(shown, ..)| *shown == (key, purpose)))
    }

    /// It was let in.
    pub(super) fn let_in(&self, key: LaneKey, purpose: LaneUse, now: Instant) {
        let mut told = self.of_late(now);
        told.refused.retain(|(shown, ..)| *shown != (key, purpose));
        told.let_in.retain(|(shown, _)| *shown != (key, purpose));
        if told.let_in.len() == LET_IN_MAX {
            told.let_in.remove(0);
        }
        told.let_in.push(((key, purpose), now));
    }

    /// It was refused.
    pub(super) fn refused(&self, key: LaneKey, purpose: LaneUse, now: Instant) {
        let mut told = self.of_late(now);
        told.let_in.retain(|(shown, _)| *shown != (key, purpose));
        if let Some((_, times, since)) = told.refused.iter_mut().find(|(shown, ..)| *shown == (key, purpose)) {
            (*times, *since) = (times.saturating_add(1), now);
            return;
        }
        if told.refused.len() == REFUSED_MAX {
            told.refused.remove(0);
        }
        told.refused.push(((key, purpose), 1, now));
    }

    /// Whether this token was refused since then, at either service.
    pub(super) fn has_refused_since(&self, key: LaneKey, then: Instant) -> bool {
        self.all().refused.iter().any(|((shown, _), _, since)| *shown == key && *since >= then)
    }

    /// Another place, or other settings.
    pub(super) fn forget(&self) {
        *self.all() = Told::default();
    }

    fn of_late(&self, now: Instant) -> MutexGuard<'_, Told> {
        let mut told = self.all();
        told.refused.retain(|(_, _, since)| now.saturating_duration_since(*since) < REMEMBERED);
        told.let_in.retain(|(_, since)| now.saturating_duration_since(*since) < LET_IN);
        told
    }

    fn all(&self) -> MutexGuard<'_, Told> {
        // A panic elsewhere leaves whole entries here.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LaneUse::{Imap, Submission};

    fn key(token: &str) -> LaneKey {
        Passed::new(&Secret::new(token.as_bytes().to_vec()), Arc::default()).expect("text").key
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any moment will do")]
    fn r26_a_refused_token_is_shown_twice_and_forgotten_in_time() {
        let (lately, now) = (Lately::default(), Instant::now());
        let (one, other) = (key("one"), key("other"));
        lately.refused(one, Imap, now);
        assert!(!lately.refuses(one, Imap, now), "once may be the provider's trouble");
        lately.refused(one, Imap, now);
        assert!(lately.refuses(one, Imap, now) && !lately.refuses(other, Imap, now));
        assert!(!lately.refuses(one, Submission, now), "the other service may take it");
        assert!(lately.has_refused_since(one, now) && !lately.has_refused_since(other, now));
        assert!(!lately.has_refused_since(one, now + REMEMBERED));
        let later = now + REMEMBERED;
        assert!(!lately.refuses(one, Imap, later));
        lately.refused(other, Imap, later);
        lately.refused(other, Imap, later);
        for number in 0..REFUSED_MAX {
            lately.refused(key(&number.to_string()), Imap, later);
        }
        assert!(!lately.refuses(other, Imap, later), "whoever guesses takes no room");
        assert_eq!(lately.of_late(later).refused.len(), REFUSED_MAX);
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any moment will do")]
    fn what_was_let_in_is_known_until_it_is_refused_or_old() {
        let (lately, now) = (Lately::default(), Instant::now());
        let (one, other) = (key("one"), key("other"));
        lately.let_in(one, Imap, now);
        assert!(lately.knows(one, Imap, now) && lately.knows(one, Submission, now) && !lately.knows(other, Imap, now));
        // A token for reading alone.
        lately.refused(one, Submission, now);
        assert!(lately.knows(one, Imap, now) && !lately.knows(one, Submission, now));
        lately.let_in(one, Submission, now);
        assert!(lately.knows(one, Submission, now));
        // One that was taken back.
        lately.refused(one, Imap, now);
        assert!(!lately.knows(one, Imap, now));
        lately.let_in(other, Imap, now);
        for number in 0..REFUSED_MAX {
            lately.refused(key(&number.to_string()), Imap, now);
        }
        assert!(lately.knows(other, Imap, now) && !lately.knows(other, Imap, now + LET_IN));
    }
}
