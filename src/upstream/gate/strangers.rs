//! Strangers: logins that open nothing, where clients show tokens of their own. They hear what a known login does that
//! comes with a wrong token (rule R23).
//!
//! That one hears its provider's no when it comes, or that the provider is not there, and after a few that there is a
//! pause: whoever is refused at once would be known for no login. So a stranger has turns and pauses of its own
//! ([`Tokens`]), and in each it waits as long, and hears the same, as whoever showed the last token to a provider. Nobody
//! is asked for it.
//!
//! What remains: a flood at more than three logins of one account is met by bounds of the account, which holds up a quiet
//! one of its logins, too; and strangers that share a place share its pauses. Providers differ, and a stranger is like one of those whom tokens were shown to of late; before the first,
//! it is refused at once. So is a known login at a service that judges no tokens, whatever the others do.

#![allow(clippy::disallowed_methods, reason = "how long it is waited is told by the clock")]

use super::{
    Gates,
    attempt::outcome_of_token,
    turn::{Tokens, Turn},
};
use crate::{
    failure::{Failure, Unreachable},
    model::{AccountId, Generation},
    relay::{Credentials, LaneUse},
    rules::breaker::Outcome,
    upstream::{Opened, Passed, Refusal, passed::LaneKey},
    wire::sasl::bearer::is_token,
};
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};

/// Places for what is known of strangers, of some kilobytes each. A name has one by its hash, and names of one place share
/// its pauses: of a hundred names that are guessed one in ten does.
pub(crate) const STRANGERS: u64 = 1024;
/// What providers said last is kept of so many accounts and services.
pub(crate) const ECHOES_MAX: usize = 32;

/// What is known of strangers, and of what they are to hear.
#[derive(Default)]
pub(super) struct Strangers {
    /// Keyed at random: nobody knows which names share a place, nor whom a name is like.
    hash: RandomState,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// At most [`STRANGERS`].
    places: HashMap<u64, Arc<Tokens>>,
    /// The oldest first; at most [`ECHOES_MAX`].
    echoes: Vec<((AccountId, LaneUse), Echo)>,
}

/// What became of a wrong token, and how long that took: at most an opening's deadline.
#[derive(Clone, Debug, PartialEq)]
struct Echo {
    failure: Failure,
    outcome: Outcome,
    took: Duration,
}

/// Of an account whose provider nobody has asked yet.
const NO_ECHO: Echo = Echo { failure: Failure::SignInRefused, outcome: Outcome::Refused(1), took: Duration::ZERO };

impl Strangers {
    /// A token was shown to the provider of this account.
    pub(super) fn heard(&self, id: AccountId, purpose: LaneUse, opened: &Result<Opened, Refusal>, took: Duration) {
        let echo = match opened {
            Ok(_) => Echo { took, ..NO_ECHO },
            Err(refusal) if is_of_provider(&refusal.failure) => {
                Echo { failure: refusal.failure.clone(), outcome: outcome_of_token(opened), took }
            }
            Err(_) => return,
        };
        self.keep((id, purpose), echo, opened.is_ok());
    }

    /// `let_in`: a good token says that the provider is there, and not how long it thinks about a wrong one.
    fn keep(&self, shown: (AccountId, LaneUse), echo: Echo, let_in: bool) {
        let mut known = self.known();
        let last = known.echoes.iter().position(|(at, _)| *at == shown).map(|at| known.echoes.remove(at).1);
        let echo = last.filter(|last| let_in && last.failure == NO_ECHO.failure).unwrap_or(echo);
        if known.echoes.len() == ECHOES_MAX {
            known.echoes.remove(0);
        }
        known.echoes.push((shown, echo));
    }

    /// What a name has at a service: its turns, and what it hears in them. It is like the same account each time.
    fn of(&self, name: &str, purpose: LaneUse) -> (Arc<Tokens>, Echo) {
        let name = self.hash.hash_one(name);
        let mut known = self.known();
        let tokens = known.places.entry(name % STRANGERS).or_insert_with(|| Arc::new(Tokens::of_login())).clone();
        let of_service = known.echoes.iter().filter(|((_, at), _)| *at == purpose);
        let like = of_service.max_by_key(|((id, _), _)| self.hash.hash_one((name, id.0)));
        (tokens, like.map_or(NO_ECHO, |(_, echo)| echo.clone()))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic elsewhere leaves whole entries here.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Not a fault of ours, nor what only a good token is told.
const fn is_of_provider(failure: &Failure) -> bool {
    matches!(failure, Failure::SignInRefused | Failure::ProviderUnreachable(_) | Failure::ProviderMisbehaved(_))
}

impl Gates {
    /// What is told to a login that opens nothing, at the time when it would be if it opened an account.
    pub(super) async fn stranger(&self, credentials: &Credentials, wait: Duration) -> Failure {
        let Credentials::Token { token, purpose, .. } = credentials else { return Failure::SignInRefused };
        // What cannot be a token is shown for nobody.
        let ((tokens, echo), began) = (self.strangers.of(&credentials.key(), *purpose), Instant::now());
        let passed = Passed::new(token, tokens.lately.clone()).filter(|passed| is_token(passed.token.expose()));
        let Some(Passed { key, .. }) = passed else { return Failure::SignInRefused };
        let left = || wait.saturating_sub(began.elapsed());
        loop {
            if tokens.lately.refuses(key, *purpose, Instant::now()) {
                return Failure::SignInRefused;
            }
            match tokens.turn(key, Generation::default(), *purpose, left()).await {
                Ok(Some(turn)) => {
                    // It goes on without its client, as what is shown to a provider does.
                    let told = tokio::spawn(echoed(tokens, turn, (key, *purpose), echo));
                    let told = timeout(left(), told).await;
                    return match told {
                        Ok(told) => told.unwrap_or(Failure::Internal("a stranger's turn panicked")),
                        Err(_) => Failure::ProviderUnreachable(Unreachable::TimedOut),
                    };
                }
                Ok(None) => {}
                Err(failure) => return failure,
            }
        }
    }
}

/// A turn in which nothing is shown to anybody.
async fn echoed(tokens: Arc<Tokens>, mut turn: Turn, (key, purpose): (LaneKey, LaneUse), echo: Echo) -> Failure {
    sleep(echo.took).await;
    if echo.failure == Failure::SignInRefused {
        tokens.lately.refused(key, purpose, Instant::now());
    }
    turn.ended(echo.outcome, Err(echo.failure.clone()));
    echo.failure
}

#[cfg(test)]
mod tests {
    use super::*;
    use LaneUse::{Imap, Submission};

    const SLOW: Duration = Duration::from_secs(3);
    const DOWN: Failure = Failure::ProviderUnreachable(Unreachable::TimedOut);

    /// The provider of this account took so long, and said so.
    fn refuse(strangers: &Strangers, id: i64, failure: Failure) {
        strangers.heard(AccountId(id), Imap, &Err(failure.into()), SLOW);
    }

    #[test]
    fn r23_a_stranger_is_like_one_account_as_its_provider_was_last() {
        let strangers = Strangers::default();
        let hears = |name: &str| strangers.of(name, Imap).1;
        assert_eq!(hears("nobody"), NO_ECHO);
        refuse(&strangers, 1, Failure::SignInRefused);
        let slow = Echo { took: SLOW, ..NO_ECHO };
        assert_eq!((hears("nobody"), strangers.of("nobody", Submission).1), (slow.clone(), NO_ECHO));
        refuse(&strangers, 2, DOWN);
        let down = Echo { failure: DOWN, outcome: Outcome::Unknown, took: SLOW };
        let names: Vec<_> = (0..32).map(|number| format!("nobody-{number}")).collect();
        let first: Vec<_> = names.iter().map(|name| hears(name)).collect();
        assert!(first.contains(&slow) && first.contains(&down), "like any of them");
        // Whatever the other does, each is like the same as before.
        refuse(&strangers, 1, Failure::SignInRefused);
        assert_eq!(names.iter().map(|name| hears(name)).collect::<Vec<_>>(), first);
        refuse(&strangers, 2, Failure::Internal("a fault"));
        assert_eq!(names.iter().map(|name| hears(name)).collect::<Vec<_>>(), first, "a fault of ours is nobody's");
    }

    #[test]
    fn r23_a_good_token_says_that_the_provider_is_there_and_not_how_slow_it_is() {
        let (strangers, shown) = (Strangers::default(), (AccountId(1), Imap));
        let hears = || strangers.of("nobody", Imap).1;
        let (down, quick) = (Echo { failure: DOWN, ..NO_ECHO }, Echo { took: Duration::from_millis(1), ..NO_ECHO });
        strangers.keep(shown, down.clone(), false);
        assert_eq!(hears(), down);
        strangers.keep(shown, quick.clone(), true);
        assert_eq!(hears(), quick);
        strangers.keep(shown, Echo { took: SLOW, ..NO_ECHO }, false);
        strangers.keep(shown, quick, true);
        assert_eq!(hears(), Echo { took: SLOW, ..NO_ECHO });
    }

    #[test]
    fn names_and_accounts_without_end_take_no_room() {
        let strangers = Strangers::default();
        for number in 0..10_000 {
            strangers.of(&number.to_string(), Imap);
            refuse(&strangers, number, DOWN);
        }
        let known = strangers.known();
        assert!(known.places.len() <= 1024 && known.echoes.len() == ECHOES_MAX);
    }
}
