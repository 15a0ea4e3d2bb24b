//! Turns: how a client's token that nobody has seen yet comes before its account's provider.
//!
//! Whoever reaches a listener that passes tokens on can show any. So these have a few places of their own, not the
//! account's (rules R22, R45), and a pace of their own ([`Pace`], rule R26). Both belong to the login that shows them,
//! whether it opens something or not: what one login is told says nothing of another (rule R23). A provider is asked
//! within bounds of the account beside these, which only a flood at several of its logins meets. A token has one turn at a
//! time at its login: whoever shows the same one meanwhile shares its verdict. Nothing is opened here.

#![allow(clippy::disallowed_methods, reason = "pauses, and how long it is waited, are told by the clock")]

use crate::{
    failure::{Cap, Failure, Unreachable},
    model::Generation,
    relay::LaneUse,
    rules::{breaker::Outcome, pace::Pace},
    upstream::passed::{LaneKey, Lately},
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};

/// Tokens that nobody has seen yet, shown to one service at once by one login.
pub(crate) const TURNS: usize = 2;
/// The same, of one account: a provider that allows ten connections has room for the lanes of those it has let in.
pub(crate) const ACCOUNT_TURNS: usize = 2 * TURNS;

/// What is known of the tokens of one login, or of all logins of one account.
pub(super) struct Tokens {
    pub(super) lately: Arc<Lately>,
    imap: Window,
    submission: Window,
}

/// Of one service.
struct Window {
    places: Arc<Semaphore>,
    line: Mutex<Line>,
}

struct Line {
    pace: Pace,
    /// What the provider said before the last pause; for the account's owner.
    words: String,
    /// Since when time is told.
    start: Instant,
    /// At most [`TURNS`], of a login, and those that have ended since.
    under_way: Vec<(Shown, watch::Receiver<Ended>)>,
}

/// A token, shown at the account as it is in this generation.
type Shown = (LaneKey, Generation);

/// None: it goes on.
type Ended = Option<Result<(), Failure>>;

/// The right to show a token once. Dropped without an end, it says nothing of the token.
pub(super) struct Turn {
    of_login: Leave,
    /// Where a provider is asked.
    of_account: Option<Leave>,
    tell: watch::Sender<Ended>,
}

/// A place, and what the pace is told when it ends.
struct Leave {
    tokens: Arc<Tokens>,
    purpose: LaneUse,
    ended: bool,
    _place: OwnedSemaphorePermit,
}

/// What comes of asking for a turn.
enum Begun {
    Turn(watch::Sender<Ended>),
    /// Another has it.
    Shared(watch::Receiver<Ended>),
    /// A pause is not over.
    NotYet,
}

impl Tokens {
    pub(super) fn of_login() -> Self {
        Self::within(TURNS, Pace::of_login)
    }

    pub(super) fn of_account() -> Self {
        Self::within(ACCOUNT_TURNS, Pace::of_account)
    }

    fn within(places: usize, pace: fn() -> Pace) -> Self {
        let window = || {
            let line = Line { pace: pace(), words: String::new(), start: Instant::now(), under_way: Vec::new() };
            Window { places: Arc::new(Semaphore::new(places)), line: Mutex::new(line) }
        };
        Self { lately: Arc::default(), imap: window(), submission: window() }
    }

    /// A turn for this token. None: another's has ended, and more is known than before.
    ///
    /// # Errors
    /// What another's turn ended with; [`Cap::Tokens`] where there is none within this time, or within the pause.
    pub(super) async fn turn(
        self: &Arc<Self>,
        key: LaneKey,
        generation: Generation,
        purpose: LaneUse,
        wait: Duration,
    ) -> Result<Option<Turn>, Failure> {
        let (window, shown, began) = (self.window(purpose), (key, generation), Instant::now());
        let other = window.line().other(shown);
        if let Some(other) = other {
            return shared(other, wait).await;
        }
        let place = window.place(wait).await?;
        // Asked again: the same token may have waited beside this one.
        let begun = window.line().begin(shown);
        match begun {
            Begun::Turn(tell) => {
                let of_login = Leave { tokens: self.clone(), purpose, ended: false, _place: place };
                Ok(Some(Turn { of_login, of_account: None, tell }))
            }
            Begun::Shared(other) => {
                drop(place);
                shared(other, wait.saturating_sub(began.elapsed())).await
            }
            Begun::NotYet => Err(Failure::Busy(Cap::Tokens)),
        }
    }

    /// Of an account: another place, or other settings. Turns that are under way are of what was before, and nobody's to
    /// share.
    pub(super) fn forget(&self) {
        self.lately.forget();
        for purpose in [LaneUse::Imap, LaneUse::Submission] {
            let mut line = self.window(purpose).line();
            line.pace = Pace::of_account();
        }
    }

    /// For how long no token that nobody has seen yet is shown, and what the provider said of the last one.
    pub(super) fn paused(&self, purpose: LaneUse) -> Option<(Duration, String)> {
        let line = self.window(purpose).line();
        let left = line.pace.paused(line.start.elapsed())?;
        Some((left, line.words.clone()))
    }

    const fn window(&self, purpose: LaneUse) -> &Window {
        match purpose {
            LaneUse::Imap => &self.imap,
            LaneUse::Submission => &self.submission,
        }
    }
}

/// Waits for the end of another's turn with the same token.
async fn shared(mut other: watch::Receiver<Ended>, wait: Duration) -> Result<Option<Turn>, Failure> {
    let ended = timeout(wait, other.wait_for(Option::is_some)).await;
    let ended = ended.map_err(|_| Failure::ProviderUnreachable(Unreachable::TimedOut))?;
    // Without an end it was given up: the token is as new as before.
    ended.ok().and_then(|ended| ended.clone()).unwrap_or(Ok(())).map(|()| None)
}

impl Window {
    async fn place(&self, wait: Duration) -> Result<OwnedSemaphorePermit, Failure> {
        let place = timeout(wait, self.places.clone().acquire_owned()).await;
        place.ok().and_then(Result::ok).ok_or(Failure::Busy(Cap::Tokens))
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        // A panic elsewhere leaves whole entries here.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn begin(&mut self, shown: Shown) -> Begun {
        if let Some(other) = self.other(shown) {
            return Begun::Shared(other);
        }
        if !self.pace.begin(self.start.elapsed()) {
            return Begun::NotYet;
        }
        let (tell, ended) = watch::channel(None);
        self.under_way.push((shown, ended));
        Begun::Turn(tell)
    }

    fn other(&mut self, shown: Shown) -> Option<watch::Receiver<Ended>> {
        // One that has ended has dropped its sender, or said so.
        self.under_way.retain(|(_, ended)| ended.has_changed().is_ok_and(|changed| !changed));
        self.under_way.iter().find(|(other, _)| *other == shown).map(|(_, ended)| ended.clone())
    }
}

impl Turn {
    /// The same before the provider of this account.
    ///
    /// # Errors
    /// [`Cap::Tokens`] where the account has no place within this time, or is in its pause.
    pub(super) async fn at(self, account: &Arc<Tokens>, wait: Duration) -> Result<Self, Failure> {
        let purpose = self.of_login.purpose;
        let window = account.window(purpose);
        let place = window.place(wait).await?;
        {
            let mut line = window.line();
            let now = line.start.elapsed();
            if !line.pace.begin(now) {
                return Err(Failure::Busy(Cap::Tokens));
            }
        }
        let of_account = Some(Leave { tokens: account.clone(), purpose, ended: false, _place: place });
        Ok(Self { of_account, ..self })
    }

    /// What became of the token; those who share the turn are told. The places are kept until the turn is dropped. The
    /// pause that begins with that, where one does.
    pub(super) fn ended(&mut self, outcome: Outcome, verdict: Result<(), Failure>) -> Option<Duration> {
        let of_account = self.of_account.as_mut().and_then(|leave| leave.ended(outcome));
        let pause = self.of_login.ended(outcome).max(of_account);
        self.tell.send_replace(Some(verdict));
        pause
    }

    /// What the provider said of the token, which began a pause.
    pub(super) fn because(&self, words: &str) {
        for leave in std::iter::once(&self.of_login).chain(&self.of_account) {
            words.clone_into(&mut leave.tokens.window(leave.purpose).line().words);
        }
    }
}

impl Leave {
    fn ended(&mut self, outcome: Outcome) -> Option<Duration> {
        let mut line = self.tokens.window(self.purpose).line();
        let now = line.start.elapsed();
        self.ended = true;
        line.pace.ended(outcome, now)
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if !self.ended {
            self.ended(Outcome::Unknown);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LaneUse::{Imap, Submission};

    const NOW: Generation = Generation(1);
    const SHORT: Duration = Duration::from_millis(20);

    fn key(number: u8) -> LaneKey {
        LaneKey::Token([number; 32])
    }

    async fn turn(tokens: &Arc<Tokens>, number: u8) -> Turn {
        let turn = tokens.turn(key(number), NOW, Imap, SHORT).await;
        turn.expect("there is one").expect("nobody else has it")
    }

    #[tokio::test]
    async fn few_have_a_turn_at_once_and_each_service_its_own() {
        let tokens = Arc::new(Tokens::of_login());
        let (first, _second) = (turn(&tokens, 1).await, turn(&tokens, 2).await);
        let third = tokens.turn(key(3), NOW, Imap, SHORT).await;
        assert!(matches!(third, Err(Failure::Busy(Cap::Tokens))));
        assert!(matches!(tokens.turn(key(3), NOW, Submission, SHORT).await, Ok(Some(_))));
        drop(first);
        turn(&tokens, 3).await;
    }

    #[tokio::test]
    async fn r26_the_same_token_shares_its_verdict() {
        let tokens = Arc::new(Tokens::of_login());
        for verdict in [Ok(()), Err(Failure::SignInRefused)] {
            let mut first = turn(&tokens, 1).await;
            let shared = tokio::spawn({
                let tokens = tokens.clone();
                async move { tokens.turn(key(1), NOW, Imap, Duration::from_secs(5)).await.map(|turn| turn.is_some()) }
            });
            tokio::task::yield_now().await;
            // As it is after a change it is another.
            assert!(tokens.turn(key(1), Generation(2), Imap, SHORT).await.is_ok_and(|turn| turn.is_some()));
            let outcome = if verdict.is_ok() { Outcome::SignedIn } else { Outcome::Refused(1) };
            first.ended(outcome, verdict.clone());
            assert_eq!(shared.await.expect("no panic"), verdict.map(|()| false));
        }
        // One that is given up says nothing.
        let first = turn(&tokens, 1).await;
        let tokens = tokens.clone();
        let shared = tokio::spawn(async move { tokens.turn(key(1), NOW, Imap, Duration::from_secs(5)).await.is_ok() });
        tokio::task::yield_now().await;
        drop(first);
        assert!(shared.await.expect("no panic"));
    }

    #[tokio::test]
    async fn r26_a_pause_is_said_at_once() {
        let tokens = Arc::new(Tokens::of_login());
        let pauses: Vec<_> = {
            let mut pauses = Vec::new();
            for number in 1..=4 {
                pauses.push(turn(&tokens, number).await.ended(Outcome::Refused(1), Err(Failure::SignInRefused)));
            }
            pauses
        };
        assert_eq!(pauses.iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, false, true]);
        let began = Instant::now();
        let next = tokens.turn(key(5), NOW, Imap, Duration::from_secs(60)).await;
        assert!(matches!(next, Err(Failure::Busy(Cap::Tokens))) && began.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn r23_r26_logins_of_one_account_have_turns_of_their_own_and_its_bounds_together() {
        let account = Arc::new(Tokens::of_account());
        let logins: Vec<_> = (0..5).map(|_| Arc::new(Tokens::of_login())).collect();
        let shown = async |login: &Arc<Tokens>, number: u8| {
            let turn = login.turn(key(number), NOW, Imap, SHORT).await?.expect("nobody else has it");
            turn.at(&account, SHORT).await
        };
        // Those of one leave the others all of theirs.
        for login in &logins[..4] {
            for number in 0..4 {
                shown(login, number).await.expect("shown").ended(Outcome::Refused(1), Err(Failure::SignInRefused));
            }
            assert!(matches!(shown(login, 4).await, Err(Failure::Busy(Cap::Tokens))), "its own pause");
        }
        let quiet = shown(&logins[4], 0).await;
        assert!(matches!(quiet, Err(Failure::Busy(Cap::Tokens))), "the account's pause");
        account.forget();
        assert!(shown(&logins[4], 1).await.is_ok(), "a change ends it");
    }
}
