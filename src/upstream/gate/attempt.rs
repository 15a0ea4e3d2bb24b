//! Openings that a provider may refuse: whether one may begin, and what is made of its end (rule R26).
//!
//! For IMAP and submission apart, as providers switch off one alone. What is known is of one generation: other
//! credentials, or another place, are tried at once.

#![allow(clippy::disallowed_methods, reason = "pauses are told by the monotonic clock")]

use super::{Gate, Gates};
use crate::{
    failure::{Failure, Unreachable},
    model::{AccountId, Generation},
    oauth::broker::jitter,
    relay::LaneUse,
    rules::breaker::{Breaker, Outcome, wish},
    store::{Account, Standing, unix_now},
    upstream::{Opened, open::Refusal},
};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What is known of both services.
#[derive(Default)]
pub(super) struct Attempts {
    imap: Mutex<Known>,
    submission: Mutex<Known>,
}

struct Known {
    breaker: Breaker,
    /// Since when time is told.
    start: Instant,
    /// What is said to whom is not let through.
    last: Failure,
    /// What the provider said of it; for the account's owner.
    words: String,
    /// Whether it stands in the store, where that is known.
    marked: Option<bool>,
}

impl Default for Known {
    fn default() -> Self {
        let last = Failure::ProviderUnreachable(Unreachable::Unavailable);
        Self { breaker: Breaker::default(), start: Instant::now(), last, words: String::new(), marked: None }
    }
}

/// An opening that was let through. Dropped without an end, it says nothing of the account.
pub(super) struct Attempt<'a> {
    gate: &'a Gate,
    purpose: LaneUse,
    generation: Generation,
    ended: bool,
}

impl Attempts {
    fn of(&self, purpose: LaneUse) -> MutexGuard<'_, Known> {
        let known = match purpose {
            LaneUse::Imap => &self.imap,
            LaneUse::Submission => &self.submission,
        };
        known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long nobody is let through yet, after what, and what the provider said of it.
    pub(super) fn paused(&self, purpose: LaneUse) -> Option<(Duration, Failure, String)> {
        let known = self.of(purpose);
        let left = known.breaker.paused(known.start.elapsed())?;
        Some((left, known.last.clone(), known.words.clone()))
    }

    /// What is said to whoever would say something to the provider now, which wants a pause.
    ///
    /// # Errors
    /// That it cannot be used now.
    pub(super) fn throttled(&self, purpose: LaneUse) -> Result<(), Failure> {
        let known = self.of(purpose);
        let throttled = known.breaker.is_throttled(known.start.elapsed());
        if throttled { Err(Failure::ProviderUnreachable(Unreachable::Unavailable)) } else { Ok(()) }
    }

    /// Other credentials, or another place.
    pub(super) fn forget(&self) {
        *self.of(LaneUse::Imap) = Known::default();
        *self.of(LaneUse::Submission) = Known::default();
    }
}

/// Its name in the store.
pub(super) const fn service(purpose: LaneUse) -> &'static str {
    match purpose {
        LaneUse::Imap => "imap",
        LaneUse::Submission => "smtp",
    }
}

impl Gates {
    /// Lets an opening through, unless the account was refused or sent away lately.
    ///
    /// # Errors
    /// What became of the last one.
    pub(super) async fn attempt<'a>(
        &self,
        gate: &'a Gate,
        account: &Account,
        purpose: LaneUse,
    ) -> Result<Attempt<'a>, Failure> {
        let first = gate.begin(purpose);
        // Whoever checks the account by hand, and is let in, takes the mark away: the CRM need not wait.
        let begun = match first {
            Err((_, Some(true))) if !self.is_marked(account, purpose).await => {
                *gate.attempts.of(purpose) = Known::default();
                gate.begin(purpose)
            }
            first => first,
        };
        begun.map_err(|(failure, _)| failure)?;
        Ok(Attempt { gate, purpose, generation: account.generation, ended: false })
    }

    /// The provider asked for a pause in its answer to a command of whom a verdict let in: of the whole account, whoever
    /// speaks.
    pub fn throttle(&self, id: AccountId, standing: Standing, purpose: LaneUse, pause: Duration, words: &str) {
        let gate = self.gate(id);
        if gate.is_beyond(standing.generation) {
            return;
        }
        {
            let mut known = gate.attempts.of(purpose);
            let now = known.start.elapsed();
            known.breaker.throttle(pause, now, jitter());
            known.last = Failure::ProviderUnreachable(Unreachable::Unavailable);
            words.clone_into(&mut known.words);
        }
        let (account, service, seconds) = (id.0, service(purpose), pause.as_secs());
        // Not its words: they may name a mailbox. Doctor shows them to whom they are for.
        tracing::warn!(account, service, seconds, "the provider wants a pause of this account; see doctor");
    }

    /// Whether the refusal still stands in the store; also where that cannot be read.
    async fn is_marked(&self, account: &Account, purpose: LaneUse) -> bool {
        let left = self.store.refusals(account.id).await;
        left.map_or(true, |left| left.iter().any(|refusal| refusal.service == service(purpose)))
    }

    /// What became of it; a refusal, and its end, are kept for people.
    pub(super) async fn attempted(&self, attempt: Attempt<'_>, account: &Account, ending: Ending) {
        let (purpose, gate) = (attempt.purpose, attempt.gate);
        let words = ending.words.clone().unwrap_or_default();
        let Some(refused) = attempt.end(ending) else { return };
        let kept = if refused {
            self.store.mark_refused(account.id, account.generation, service(purpose), &words, unix_now()).await
        } else {
            self.store.clear_refusal(account.id, service(purpose)).await
        };
        match kept {
            Ok(()) => gate.attempts.of(purpose).marked = Some(refused),
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "a refusal cannot be kept"),
        }
    }
}

/// How an opening ended.
pub(super) struct Ending {
    outcome: Outcome,
    failure: Option<Failure>,
    /// The provider's own.
    words: Option<String>,
}

impl Ending {
    pub(super) fn of(opened: &Result<Opened, Refusal>, account: &Account) -> Self {
        let Err(Refusal { failure, words, .. }) = opened else {
            return Self { outcome: Outcome::SignedIn, failure: None, words: None };
        };
        let outcome = match failure {
            // A token was renewed before it was refused for good, so that two were shown.
            // Of one client's token alone: others come with theirs.
            Failure::SignInRefused if account.by_client_token => Outcome::Unknown,
            Failure::SignInRefused => Outcome::Refused(if account.by_grant { 2 } else { 1 }),
            Failure::ProviderUnreachable(Unreachable::Unavailable) => {
                Outcome::SentAway(words.as_deref().and_then(wish))
            }
            _ => Outcome::Unknown,
        };
        Self { outcome, failure: Some(failure.clone()), words: words.clone() }
    }
}

/// What the end of a sign-in says of the token that was shown.
pub(super) fn outcome_of_token(opened: &Result<Opened, Refusal>) -> Outcome {
    match opened {
        Ok(_) => Outcome::SignedIn,
        Err(Refusal { failure: Failure::SignInRefused, .. }) => Outcome::Refused(1),
        Err(Refusal { failure: Failure::ProviderUnreachable(Unreachable::Unavailable), words, .. }) => {
            Outcome::SentAway(words.as_deref().and_then(wish))
        }
        Err(_) => Outcome::Unknown,
    }
}

impl Gate {
    /// Whether a token that nobody has seen yet may be shown: what becomes of it is nobody else's.
    ///
    /// # Errors
    /// What is said to whom is not let through.
    pub(super) fn lets_through(&self, purpose: LaneUse) -> Result<(), Failure> {
        let known = self.attempts.of(purpose);
        if known.breaker.lets_through(known.start.elapsed()) { Ok(()) } else { Err(known.last.clone()) }
    }

    /// Such a token was let in: the provider is there.
    pub(super) fn signed_in(&self, purpose: LaneUse, generation: Generation) {
        if !self.is_beyond(generation) {
            let mut known = self.attempts.of(purpose);
            let now = known.start.elapsed();
            known.breaker.ended(Outcome::SignedIn, now, 0.0);
        }
    }

    /// Whether an opening may begin; else what is said, and whether the refusal stands in the store.
    fn begin(&self, purpose: LaneUse) -> Result<(), (Failure, Option<bool>)> {
        let mut known = self.attempts.of(purpose);
        let now = known.start.elapsed();
        known.breaker.begin(now).map_err(|_| (known.last.clone(), known.marked))
    }
}

impl Attempt<'_> {
    /// Counts its end. Some if what stands in the store is to be changed: whether to a refusal.
    fn end(mut self, ending: Ending) -> Option<bool> {
        let Ending { outcome, failure, words } = ending;
        self.ended = true;
        // What an older credential was told says nothing of the one that is there now.
        if self.gate.is_beyond(self.generation) {
            return None;
        }
        let mut known = self.gate.attempts.of(self.purpose);
        let now = known.start.elapsed();
        known.breaker.ended(outcome, now, jitter());
        if let Some(failure) = failure.filter(|_| outcome != Outcome::Unknown) {
            (known.last, known.words) = (failure, words.unwrap_or_default());
        }
        let refused = match outcome {
            Outcome::SignedIn => false,
            Outcome::Refused(_) if known.breaker.is_open() => true,
            _ => return None,
        };
        (known.marked != Some(refused)).then_some(refused)
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let mut known = self.gate.attempts.of(self.purpose);
            let now = known.start.elapsed();
            known.breaker.ended(Outcome::Unknown, now, 0.0);
        }
    }
}
