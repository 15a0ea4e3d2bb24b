//! Lanes for sessions: parked ones, new ones, and what is known without one.
//!
//! An opening that is waited for too long goes on, and its lane is parked: the next try finds it.

#![allow(clippy::disallowed_methods, reason = "how long it is waited is told by the clock")]

use super::{Gate, Gates, Health, OpeningEnded, attempt::Ending, said, turn::Turn};
use crate::{
    failure::{Cap, Failure, Unreachable},
    model::{AccountId, Generation, SmtpAuth},
    relay::{First, LaneFacts, LaneState, LaneUse},
    rules::namespace::Naming,
    store::{Account, Standing},
    upstream::{
        Opened,
        lane::{Hold, Home, Lane, LaneNumber, Leased, Memory},
        leave,
        open::{Deadlines, OpenedFacts, Refusal},
        passed::{LaneKey, Passed, key},
        places::{self, Stay},
        pool::{Parked, Pool},
        stored::{Wanted, open_stored},
    },
    wire::imap::Capabilities,
};
use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot, watch},
    time::timeout,
};

/// An account whose sign-in worked this lately is taken to be healthy (design section 4).
pub(crate) const HEALTHY: Duration = Duration::from_secs(600);
/// An opening in all, waited for or not.
pub(crate) const OPENING: Duration = Duration::from_secs(60);
/// Not a refused login: whether it is one is for the next verdict to say.
pub(super) const OUTDATED: Failure = Failure::ProviderUnreachable(Unreachable::Lost);

/// What a lane is wanted for, and by whom.
pub struct LaneWanted<'a> {
    pub purpose: LaneUse,
    pub first: First,
    /// The session's last one.
    pub last: Option<LaneNumber>,
    /// The client's own token, where that opens the account.
    pub passed: Option<&'a Passed>,
    /// How long the client waits. The gate has a limit of its own.
    pub wait: Duration,
}

/// A lane that is to be opened.
pub(super) struct Opening {
    pub(super) account: Account,
    pub(super) purpose: LaneUse,
    pub(super) passed: Option<Passed>,
    pub(super) held: Held,
}

/// By what right.
pub(super) enum Held {
    /// One of the account's places.
    Place(OwnedSemaphorePermit),
    /// The turn of a token that nobody has seen yet: a place is had when it is let in.
    Turn(Turn),
}

impl Gates {
    /// What a lane of IMAP would be, for whom a verdict let in, if that still stands. At once where the account is known
    /// to be healthy; else a lane is opened for it and parked, and if that takes longer than `login-wait`, the opening goes
    /// on for the next try.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn ready(
        self: &Arc<Self>,
        id: AccountId,
        standing: Standing,
        naming: &Naming,
        passed: Option<&Passed>,
    ) -> Result<LaneFacts, Failure> {
        let (gate, account) = self.standing(id, standing).await?;
        gate.attempts.throttled(LaneUse::Imap)?;
        if passed.is_some() {
            // A lane that this token opened, or its facts, are known since the verdict.
            return gate.known(id, naming, key(passed)).ok_or(OUTDATED);
        }
        if !gate.empty_if_forsaken(&account, LaneUse::Imap)
            && gate.is_healthy()
            && let Some(facts) = gate.known(id, naming, LaneKey::Stored)
        {
            return Ok(facts);
        }
        self.opened_for_a_login(&gate, account, LaneUse::Imap).await?;
        self.still_stands(&gate, standing)?;
        gate.known(id, naming, LaneKey::Stored).ok_or(OUTDATED)
    }

    /// Waits for a lane that is parked then.
    pub(super) async fn opened_for_a_login(
        self: &Arc<Self>,
        gate: &Arc<Gate>,
        account: Account,
        purpose: LaneUse,
    ) -> Result<(), Failure> {
        let mut opening = self.opening(gate, account, purpose);
        let ended = timeout(self.bounds.login_wait, opening.wait_for(Option::is_some)).await;
        let ended = ended.map_err(|_| Failure::ProviderUnreachable(Unreachable::TimedOut))?;
        ended.ok().and_then(|ended| ended.clone()).unwrap_or(Err(OUTDATED))
    }

    /// A lane for whom a verdict let in, if that still stands: the last one, where it is free, or another that is parked,
    /// or a new one. A lane of submission is for one message.
    ///
    /// # Errors
    /// Why there is none; `login-wait` bounds the wait, of a message `send-wait`.
    pub async fn lease(
        self: &Arc<Self>,
        id: AccountId,
        standing: Standing,
        naming: &Naming,
        wanted: LaneWanted<'_>,
    ) -> Result<Leased, Failure> {
        let LaneWanted { purpose, first, last, passed, wait } = wanted;
        if purpose == LaneUse::Submission {
            return self.lease_for_a_message(id, standing, last, passed).await;
        }
        // One wait for all: the client is told in time, whether a place or the provider was short.
        let (wait, began) = (wait.min(self.bounds.login_wait), Instant::now());
        let left = || wait.saturating_sub(began.elapsed());
        let (gate, account) = self.standing(id, standing).await?;
        let permit = self.place(&gate, &account, purpose, left()).await?;
        gate.attempts.throttled(purpose)?;
        gate.empty_if_forsaken(&account, purpose);
        let key = key(passed);
        // Whose folder table went for those of others reads it anew, with another lane.
        let parked = match gate.has_tree(key) {
            true => gate.parked(standing.generation, key, first, last, left()).await,
            false => None,
        };
        let lane = match parked {
            Some(parked) => gate.unparked(parked, standing.generation, key, permit),
            None => {
                if passed.is_some_and(|passed| gate.tokens.lately.refuses(passed.key, purpose, Instant::now())) {
                    return Err(Failure::SignInRefused);
                }
                let wanted = Opening { account, purpose, passed: passed.cloned(), held: Held::Place(permit) };
                self.opened_within(&gate, wanted, left()).await?
            }
        };
        let facts = gate.known_of(&lane, id, naming, key).ok_or(OUTDATED)?;
        self.still_stands(&gate, standing)?;
        Ok(Leased { lane, facts })
    }

    /// What is waited for too long is parked when it comes, for the next try.
    pub(super) async fn opened_within(
        self: &Arc<Self>,
        gate: &Arc<Gate>,
        wanted: Opening,
        left: Duration,
    ) -> Result<Lane, Failure> {
        let (give, opened) = oneshot::channel();
        let (gates, gate) = (self.clone(), gate.clone());
        tokio::spawn(async move {
            let opened = gates.open(&gate, wanted).await;
            // Whoever wanted it may be gone, or have been told that it takes too long.
            if let Err(Ok(lane)) = give.send(opened) {
                let _ = lane.park(LaneState::Clean);
            }
        });
        let opened = timeout(left, opened).await.map_err(|_| Failure::ProviderUnreachable(Unreachable::TimedOut))?;
        opened.unwrap_or(Err(Failure::Internal("an opening panicked")))
    }

    /// The gate and the account of whom a verdict let in.
    pub(super) async fn standing(&self, id: AccountId, standing: Standing) -> Result<(Arc<Gate>, Account), Failure> {
        let Standing { login, generation: judged_at } = standing;
        // The gate before the account: whatever changes after the account was read is noticed at the gate.
        let gate = self.gate(id);
        let account = self.store.account(id).await.map_err(|error| said(&error, "an account cannot be read"))?;
        if let Some(account) = &account {
            gate.reach(account.generation);
        }
        // Account changed or removed since the verdict; an address that came back has its old id.
        let account = account.filter(|account| account.generation == judged_at).ok_or(OUTDATED)?;
        match self.store.is_in_force(login).await.map_err(|error| said(&error, "a login cannot be read"))? {
            true => Ok((gate, account)),
            false => Err(OUTDATED),
        }
    }

    pub(super) fn still_stands(&self, gate: &Gate, standing: Standing) -> Result<(), Failure> {
        let over = gate.is_beyond(standing.generation) || self.revoked.borrow().contains(&standing.login);
        if over { Err(OUTDATED) } else { Ok(()) }
    }

    /// A place for a lane.
    pub(super) async fn place(
        &self,
        gate: &Gate,
        account: &Account,
        purpose: LaneUse,
        wait: Duration,
    ) -> Result<OwnedSemaphorePermit, Failure> {
        let cap = places::cap(account, purpose, self.bounds.lanes_per_account, &self.providers);
        let permit = timeout(wait, gate.places.free(purpose, cap).acquire_owned()).await;
        permit.ok().and_then(Result::ok).ok_or(Failure::Busy(Cap::Lanes))
    }

    /// The opening of a lane that logins wait for: one for all of them.
    fn opening(
        self: &Arc<Self>,
        gate: &Arc<Gate>,
        account: Account,
        purpose: LaneUse,
    ) -> watch::Receiver<OpeningEnded> {
        let opening = match purpose {
            LaneUse::Imap => &gate.opening,
            LaneUse::Submission => &gate.sending.opening,
        };
        let mut opening = opening.lock().unwrap_or_else(PoisonError::into_inner);
        // One that has ended has dropped its sender.
        if let Some((generation, under_way)) = opening.as_ref()
            && *generation == account.generation
            && under_way.has_changed().is_ok()
        {
            return under_way.clone();
        }
        let (tell, ended) = watch::channel(None);
        *opening = Some((account.generation, ended.clone()));
        let (gates, gate) = (self.clone(), gate.clone());
        tokio::spawn(async move {
            let opened = match gates.place(&gate, &account, purpose, OPENING).await {
                Ok(permit) => {
                    let wanted = Opening { account, purpose, passed: None, held: Held::Place(permit) };
                    gates.open(&gate, wanted).await
                }
                Err(failure) => Err(failure),
            };
            let ended = opened.map(|lane| {
                let _ = lane.park(LaneState::Clean);
            });
            tell.send_replace(Some(ended));
        });
        ended
    }

    async fn open(&self, gate: &Arc<Gate>, wanted: Opening) -> Result<Lane, Failure> {
        let Opening { account, purpose, passed, held } = wanted;
        let account = &account;
        let opened = match (held, &passed) {
            (Held::Turn(turn), Some(passed)) => {
                let opened = self.in_turn(gate, account, purpose, passed, turn).await;
                // Not before: what nobody has seen yet costs others no lane.
                if opened.is_ok() {
                    self.make_room(gate, account, purpose);
                }
                opened
            }
            (Held::Turn(_), None) => Err(Failure::Internal("a turn without a token")),
            (Held::Place(permit), passed) => {
                self.make_room(gate, account, purpose);
                let attempt = self.attempt(gate, account, purpose).await?;
                let opened = self.sign_in_to(account, gate, purpose, passed.as_ref()).await;
                if let Some(passed) = passed {
                    gate.told(account, purpose, passed, &opened);
                }
                self.attempted(attempt, account, Ending::of(&opened, account)).await;
                if purpose == LaneUse::Imap && opened.is_err() {
                    gate.health().signed_in = None;
                }
                opened.map(|opened| (opened, permit)).map_err(|refusal| refusal.failure)
            }
        };
        let (opened, permit) = opened?;
        let (generation, key) = (account.generation, key(passed.as_ref()));
        let home = match opened.facts {
            OpenedFacts::Smtp { extensions } => {
                let memory = Memory::Submission { extensions, messages: 0, allowance: self.allowance(account) };
                gate.sending.opened(generation);
                gate.home(memory, generation, key)
            }
            OpenedFacts::Imap { capabilities, folders } => {
                if let Some(table) = folders {
                    self.publish(account.id, account.generation, &Naming::default(), passed.as_ref(), table).await?;
                }
                let stay = places::stay(account, self.bounds.stay, &self.providers);
                gate.opened(capabilities, stay, generation, key)
            }
        };
        Ok(Lane { stream: opened.stream, unread: opened.rest, hold: Hold::new(permit, Some(home)) })
    }

    pub(super) async fn sign_in_to(
        &self,
        account: &Account,
        gate: &Gate,
        purpose: LaneUse,
        passed: Option<&Passed>,
    ) -> Result<Opened, Refusal> {
        let wanted = Wanted { account, purpose, passed, reads_folders: gate.wants_tree(key(passed)), own: &self.own };
        let deadlines = Deadlines { whole: OPENING, handshake: self.bounds.handshake };
        let began = Instant::now();
        let opened = open_stored(&self.store, &self.broker, wanted, deadlines, &mut |_| {}).await;
        if passed.is_some() {
            self.strangers.heard(account.id, purpose, &opened, began.elapsed());
        }
        opened.inspect_err(|Refusal { failure, words, .. }| {
            let words = words.as_deref().unwrap_or_default();
            // By its address: people know accounts by nothing else.
            let address = account.address.as_str();
            tracing::warn!(account = address, ?purpose, %failure, words, "no connection to the provider");
        })
    }
}

impl Gate {
    /// Whether the provider is there and lets us in, as far as is known.
    fn is_healthy(&self) -> bool {
        let lately = self.health().signed_in.is_some_and(|signed_in| signed_in.elapsed() < HEALTHY);
        lately || self.in_use.load(Ordering::Relaxed) > 0 || !self.pool.is_empty()
    }

    /// What is known of lanes of IMAP with this key. None: nothing of this generation.
    pub(super) fn known(&self, id: AccountId, naming: &Naming, key: LaneKey) -> Option<LaneFacts> {
        let capabilities = self.health().capabilities.clone()?;
        let namespace = self.tree(id, naming, key)?;
        Some(LaneFacts::Imap { capabilities, namespace })
    }

    /// The same of this lane: what one front end of a provider offers, another may not.
    pub(super) fn known_of(&self, lane: &Lane, id: AccountId, naming: &Naming, key: LaneKey) -> Option<LaneFacts> {
        let namespace = self.tree(id, naming, key)?;
        Some(LaneFacts::Imap { capabilities: lane.capabilities()?.clone(), namespace })
    }

    /// A parked lane that is good for what is said first over it, in this time. None: there is none.
    pub(super) async fn parked(
        &self,
        generation: Generation,
        key: LaneKey,
        first: First,
        last: Option<LaneNumber>,
        wait: Duration,
    ) -> Option<Parked> {
        let good = async {
            while let Some(mut parked) = self.pool.take(generation, key, last) {
                if leave::is_good_for(&mut parked, first).await {
                    return Some(parked);
                }
            }
            None
        };
        // What is left is for another lane, where all that are parked are dead.
        timeout(wait / 3, good).await.ok().flatten()
    }

    /// Closes what is parked where the account has lost its grant, so that its owner must consent again before it is used:
    /// what was opened before is nobody's then, even where the provider still bears it. Whether that is so.
    pub(super) fn empty_if_forsaken(&self, account: &Account, purpose: LaneUse) -> bool {
        let by_grant = match purpose {
            LaneUse::Imap => true,
            LaneUse::Submission => !matches!(account.settings.smtp_auth, SmtpAuth::None | SmtpAuth::Separate(_)),
        };
        let forsaken = by_grant && account.needs_consent;
        if forsaken {
            self.pool(purpose).shrink(0);
        }
        forsaken
    }

    pub(super) fn pool(&self, purpose: LaneUse) -> &Pool {
        match purpose {
            LaneUse::Imap => &self.pool,
            LaneUse::Submission => &self.sending.pool,
        }
    }

    /// A sign-in of this generation worked.
    fn opened(self: &Arc<Self>, capabilities: Capabilities, stay: Stay, generation: Generation, key: LaneKey) -> Home {
        {
            let mut health = self.health();
            // Asked with the lock held: what grows later forgets this, too.
            if !self.is_beyond(generation) {
                *health = Health { capabilities: Some(capabilities.clone()), signed_in: Some(Instant::now()) };
            }
        }
        self.home(Memory::Imap { capabilities, stay }, generation, key)
    }

    /// Of a new lane.
    fn home(self: &Arc<Self>, memory: Memory, generation: Generation, key: LaneKey) -> Home {
        let number = LaneNumber(self.opened.fetch_add(1, Ordering::Relaxed));
        Home::new(self.clone(), generation, memory, number, key)
    }

    /// A parked lane, in use again.
    pub(super) fn unparked(
        self: &Arc<Self>,
        parked: Parked,
        generation: Generation,
        key: LaneKey,
        permit: OwnedSemaphorePermit,
    ) -> Lane {
        let Parked { stream, number, memory, signed_in, .. } = parked;
        let home = Home::new(self.clone(), generation, memory, number, key).since(signed_in);
        Lane { stream, unread: Vec::new(), hold: Hold::new(permit, Some(home)) }
    }
}
