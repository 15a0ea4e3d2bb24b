//! Access tokens of clients, passed on to their account's provider, who alone judges them.
//!
//! One is kept for as long as its session, never stored or logged. Lanes that it opened are parked under its hash: whoever
//! comes with another token never has one of them.

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
    pub(super) fn new(token: &Secret<Vec<u8>>) -> Option<Self> {
        let text = std::str::from_utf8(token.expose()).ok()?.to_owned();
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Some(Self { token: Arc::new(Secret::new(text)), key: LaneKey::Token(key) })
    }
}

/// The key under which lanes of this session are parked.
pub(super) fn key(passed: Option<&Passed>) -> LaneKey {
    passed.map(|passed| passed.key).unwrap_or_default()
}

/// A token, and where it was shown.
type Shown = (LaneKey, LaneUse);

/// Tokens that the provider has refused of late: it counts refusals, and locks the mailbox in the end (rule R26).
#[derive(Default)]
pub(super) struct Refused {
    /// Oldest first; at most [`REFUSED_MAX`]. By service: providers switch one off alone.
    tokens: Mutex<Vec<(Shown, u32, Instant)>>,
}

/// So often one token is shown before it is known to be refused.
pub(crate) const SHOWN: u32 = 2;
/// A CRM that polls each minute with a token that is over asks the provider once in this time; what is put right there is
/// found within it.
pub(crate) const REMEMBERED: Duration = Duration::from_secs(5 * 60);
/// A mailbox has a handful of CRMs, each with one token; the oldest is forgotten for whoever guesses.
pub(crate) const REFUSED_MAX: usize = 64;

impl Refused {
    /// Whether this token need not be shown to this service again.
    pub(super) fn knows(&self, passed: &Passed, purpose: LaneUse, now: Instant) -> bool {
        self.of_late(now).iter().any(|(shown, times, _)| *shown == (passed.key, purpose) && *times >= SHOWN)
    }

    /// It was refused.
    pub(super) fn note(&self, passed: &Passed, purpose: LaneUse, now: Instant) {
        let mut tokens = self.of_late(now);
        if let Some((_, times, since)) = tokens.iter_mut().find(|(shown, ..)| *shown == (passed.key, purpose)) {
            (*times, *since) = (times.saturating_add(1), now);
            return;
        }
        if tokens.len() == REFUSED_MAX {
            tokens.remove(0);
        }
        tokens.push(((passed.key, purpose), 1, now));
    }

    /// Another place, or other settings.
    pub(super) fn forget(&self) {
        self.all().clear();
    }

    fn of_late(&self, now: Instant) -> MutexGuard<'_, Vec<(Shown, u32, Instant)>> {
        let mut tokens = self.all();
        tokens.retain(|(_, _, since)| now.saturating_duration_since(*since) < REMEMBERED);
        tokens
    }

    fn all(&self) -> MutexGuard<'_, Vec<(Shown, u32, Instant)>> {
        // A panic elsewhere leaves whole entries here.
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(token: &str) -> Passed {
        Passed::new(&Secret::new(token.as_bytes().to_vec())).expect("text")
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "any moment will do")]
    fn r26_a_refused_token_is_shown_twice_and_forgotten_in_time() {
        let (refused, now) = (Refused::default(), Instant::now());
        let (one, other) = (passed("one"), passed("other"));
        refused.note(&one, LaneUse::Imap, now);
        assert!(!refused.knows(&one, LaneUse::Imap, now), "once may be the provider's trouble");
        refused.note(&one, LaneUse::Imap, now);
        assert!(refused.knows(&one, LaneUse::Imap, now) && !refused.knows(&other, LaneUse::Imap, now));
        assert!(!refused.knows(&one, LaneUse::Submission, now), "the other service may take it");
        let later = now + REMEMBERED;
        assert!(!refused.knows(&one, LaneUse::Imap, later));
        refused.note(&other, LaneUse::Imap, later);
        refused.note(&other, LaneUse::Imap, later);
        for number in 0..REFUSED_MAX {
            refused.note(&passed(&number.to_string()), LaneUse::Imap, later);
        }
        assert!(!refused.knows(&other, LaneUse::Imap, later), "whoever guesses takes no room");
        assert_eq!(refused.of_late(later).len(), REFUSED_MAX);
    }
}
