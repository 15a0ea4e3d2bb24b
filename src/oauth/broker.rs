//! The broker: hands out access tokens, which live in memory alone, and renews them.
//!
//! One renewal at a time for an account, in a task of its own: a client that goes away cuts no renewal, or a refresh
//! token that the provider has just replaced would be lost. The new refresh token is committed before the access token
//! that came with it is used (rule R28). A token's age is told by the monotonic clock, never by the day (rule R32).

#![allow(clippy::disallowed_methods, reason = "the age of a token is told by the monotonic clock")]

mod alarm;
mod lease;
mod pauses;

pub(crate) use self::lease::{ASKED_EACH, LEASE, Lease};
pub use self::pauses::{Paused, Waits};
use super::{
    exchange::Exchange,
    flow::{Means, Tokens, Trouble, scope},
};
use crate::{
    failpoint::{Moment, reach},
    failure::{Failure, Misbehaviour, Unreachable},
    model::{AccountId, Generation, Secret},
    store::{Error as StoreError, Grant, GrantState, LeaseOf, Store},
};
use dashmap::DashMap;
use ring::rand::{SecureRandom, SystemRandom};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// All tokens, and what they stand on. Cheap to clone.
#[derive(Clone)]
pub struct Broker {
    store: Store,
    exchange: Exchange,
    desks: Arc<DashMap<AccountId, Arc<Desk>>>,
    /// By which leases of grants are held.
    holder: Arc<str>,
}

/// Who holds a broker's leases.
#[derive(Clone, Copy, Debug)]
pub enum Holder {
    /// The bridge of this store that serves. Started again after it was killed, it goes on with its leases at once: it has
    /// the lock of its state directory ([`crate::store::Alone`]), so whoever held them by this name is gone, and nothing of
    /// its renewals is under way.
    Serve,
    /// One command, which ends.
    Command,
}

impl Holder {
    /// By which a lease is held.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Serve => "serve".to_owned(),
            Self::Command => format!("command-{}-{:05}", std::process::id(), (jitter() * 65_535.0).round()),
        }
    }
}

/// An access token with its number, by which a refused one is known.
#[derive(Clone)]
pub struct Access {
    pub token: Secret<String>,
    serial: u64,
}

/// What is known of one account.
#[derive(Default)]
struct Desk {
    /// Held for as long as a renewal takes.
    flight: Arc<tokio::sync::Mutex<()>>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// What is held is of this generation of the account.
    generation: Generation,
    serial: u64,
    token: Option<Token>,
    pause: Option<Pause>,
    /// The last one, for whoever asks why.
    trouble: Option<Trouble>,
    /// What the last token is not for, of what was asked for.
    lacks: Vec<String>,
    /// What the store says of the registered client: whether the provider refuses it. None: not looked at yet.
    alarmed: Option<bool>,
    /// Came from the provider and could not be committed: not to be used, and not to be lost. Its version says of which
    /// grant it is, whatever the generation.
    uncommitted: Option<Uncommitted>,
}

struct Token {
    access: Access,
    born: Instant,
    /// From here on it is renewed while it is still used.
    ripe: Instant,
    dies: Instant,
    /// Where its endpoint said less than is believed: what is refused from here on has ended as it was to.
    over: Option<Instant>,
    /// Asked for because the one before was refused.
    in_place_of_refused: bool,
    /// The services that have let this token in.
    worked: Vec<&'static str>,
}

struct Uncommitted {
    version: i64,
    used: Secret<String>,
    tokens: Tokens,
}

/// After trouble nobody is asked for a while.
struct Pause {
    until: Instant,
    times: u32,
    failure: Failure,
    /// For what, in words of ours.
    after: String,
    waits: Waits,
}

/// The first pause after trouble, and the floor of all (rule R30); each later one is twice as long.
pub(crate) const PAUSE_FIRST: Duration = Duration::from_secs(30);
/// No pause is longer: a provider that is back is found within this time.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(10 * 60);
/// Where the client is refused: its operator must act, and is not fast.
const PAUSE_CLIENT: Duration = Duration::from_secs(5 * 60);
/// Where the bridge itself could not: nobody else was asked.
pub(crate) const PAUSE_OWN: Duration = Duration::from_secs(3);
/// Before the one other try where the first surely did nothing.
const AGAIN: Duration = Duration::from_millis(700);
/// A token that came in the place of a refused one and was refused at once: others will be, too.
const IN_VAIN: Duration = Duration::from_secs(60);
/// The account was changed: who comes again is let in to what it is now.
const OUTDATED: Failure = Failure::ProviderUnreachable(Unreachable::Lost);

impl Broker {
    #[must_use]
    pub fn new(store: Store, exchange: Exchange, holder: Holder) -> Self {
        Self { store, exchange, desks: Arc::default(), holder: holder.name().into() }
    }

    /// The access token of an account that is of this generation; asked for if there is none.
    ///
    /// # Errors
    /// [`Failure::ConsentNeeded`], [`Failure::SignInRefused`] where the client itself is refused, or that the token
    /// endpoint cannot be had.
    pub async fn token(&self, id: AccountId, generation: Generation) -> Result<Access, Failure> {
        let desk = self.desk(id);
        let (usable, ripe) = {
            let mut held = desk.held();
            held.reach(generation)?;
            (held.usable(None), held.is_ripe())
        };
        match usable {
            None => self.renewal(id, generation, None).await,
            Some(access) => {
                if ripe {
                    let broker = self.clone();
                    tokio::spawn(async move { drop(broker.renewal(id, generation, None).await) });
                }
                Ok(access)
            }
        }
    }

    /// Another token in the place of one that `service` refused; whoever asked before may have brought it already.
    ///
    /// # Errors
    /// As for [`Broker::token`]; [`Failure::SignInRefused`] where another one was refused just now.
    pub async fn instead_of(
        &self,
        refused: &Access,
        service: &'static str,
        id: AccountId,
        generation: Generation,
    ) -> Result<Access, Failure> {
        if self.desk(id).held().is_in_vain(refused.serial, service) {
            return Err(Failure::SignInRefused);
        }
        self.renewal(id, generation, Some(refused.serial)).await
    }

    /// This service has let the token in.
    pub async fn worked(&self, access: &Access, service: &'static str, id: AccountId) {
        if let Some(token) = &mut self.desk(id).held().token
            && token.access.serial == access.serial
            && !token.worked.contains(&service)
        {
            token.worked.push(service);
        }
        reach(Moment::AfterUse).await;
    }

    /// What became of the last renewal, where the endpoint was in the way.
    #[must_use]
    pub fn trouble(&self, id: AccountId) -> Option<Trouble> {
        self.desk(id).held().trouble.clone()
    }

    /// What the last access token is not for, of what was asked for, as its endpoint has said.
    #[must_use]
    pub fn lacks(&self, id: AccountId) -> Vec<String> {
        self.desk(id).held().lacks.clone()
    }

    /// Ends when no renewal is under way: one that is cut could lose a refresh token.
    pub async fn settle(&self) {
        let desks: Vec<_> = self.desks.iter().map(|entry| entry.value().clone()).collect();
        for desk in desks {
            drop(desk.flight.lock().await);
        }
    }

    fn desk(&self, id: AccountId) -> Arc<Desk> {
        self.desks.entry(id).or_default().clone()
    }

    async fn renewal(&self, id: AccountId, generation: Generation, refused: Option<u64>) -> Result<Access, Failure> {
        let (broker, desk) = (self.clone(), self.desk(id));
        let task = tokio::spawn(async move {
            let _alone = desk.flight.clone().lock_owned().await;
            {
                let mut held = desk.held();
                held.reach(generation)?;
                // Whoever was before us in the flight has brought one, or had no luck.
                if let Some(access) = held.usable(refused).filter(|_| refused.is_some() || !held.is_ripe()) {
                    return Ok(access);
                }
                held.paused()?;
            }
            broker.renew(id, generation, &desk, refused.is_some()).await
        });
        task.await.unwrap_or(Err(Failure::Internal("the renewal of a token")))
    }

    async fn renew(
        &self,
        id: AccountId,
        generation: Generation,
        desk: &Desk,
        refused: bool,
    ) -> Result<Access, Failure> {
        let renewed = self.ask(id, generation, desk).await;
        self.tell_operator(id, generation, desk, &renewed).await;
        let mut held = desk.held();
        match renewed {
            Ok(tokens) if held.generation == generation => Ok(held.keep(tokens, refused)),
            // The account was changed meanwhile: this token is another credential's.
            Ok(_) => Err(OUTDATED),
            Err(problem) => {
                if let Problem::Trouble(trouble) = &problem {
                    held.trouble = Some(trouble.clone());
                }
                // The trouble of an older credential is none of the new one's.
                let lasts = !matches!(problem, Problem::ConsentNeeded | Problem::Superseded);
                if lasts && held.generation == generation {
                    held.wait(&problem);
                }
                tracing::warn!(account = id.0, %problem, "no access token");
                Err(problem.failure())
            }
        }
    }

    /// Asks, and commits what must be kept. On a refused grant the row is read once more: another program may have
    /// renewed it meanwhile.
    async fn ask(&self, id: AccountId, generation: Generation, desk: &Desk) -> Result<Tokens, Problem> {
        let late = desk.held().uncommitted.take();
        if let Some(late) = late {
            match self.commit(id, desk, late).await {
                // It is of a grant that is no more: the one that is there is asked with.
                Err(Problem::Superseded) => {}
                committed => return committed,
            }
        }
        let lease =
            Lease::take(&self.store, id, LeaseOf::Current, &self.holder, LEASE).await.map_err(Problem::store)?;
        let asked = self.ask_alone(id, generation, desk).await;
        if let Some(lease) = lease {
            lease.give_back().await;
        }
        asked
    }

    async fn ask_alone(&self, id: AccountId, generation: Generation, desk: &Desk) -> Result<Tokens, Problem> {
        let mut grant = self.grant(id, generation).await?;
        for _ in 0..2 {
            match self.ask_with(id, desk, &grant).await {
                Err(Problem::Trouble(Trouble::Consent(reason))) => {
                    let now = self.grant(id, generation).await?;
                    if now.version == grant.version {
                        desk.held().trouble = Some(Trouble::Consent(reason));
                        tracing::error!(account = id.0, %reason, "the owner of this mailbox must consent again");
                        self.store.grant_refused(id, now.version).await.map_err(Problem::store)?;
                        self.tell_owner(id, generation, reason).await;
                        return Err(Problem::ConsentNeeded);
                    }
                    grant = now;
                }
                Ok(tokens) => {
                    let lacks = scope::missing(&grant.client.scope, tokens.scope.as_deref());
                    desk.held().lacks = lacks.into_iter().map(str::to_owned).collect();
                    return Ok(tokens);
                }
                asked => return asked,
            }
        }
        Err(Problem::Trouble(Trouble::Unreachable(Unreachable::Lost)))
    }

    async fn grant(&self, id: AccountId, generation: Generation) -> Result<Grant, Problem> {
        let grant = self.store.grant(id, generation).await.map_err(Problem::store)?;
        let grant = grant.ok_or(Problem::Failure(Failure::ProviderUnreachable(Unreachable::Lost)))?;
        if grant.state == GrantState::ConsentNeeded { Err(Problem::ConsentNeeded) } else { Ok(grant) }
    }

    /// With a refresh token the current one first; the previous one only where the current one never worked and the
    /// provider keeps old ones valid: elsewhere a spent one would end the whole grant (rule R29).
    async fn ask_with(&self, id: AccountId, desk: &Desk, grant: &Grant) -> Result<Tokens, Problem> {
        let Means::Refresh(current) = &grant.means else {
            // Nothing is spent by asking, and nothing has to be kept.
            let user = self.store.account(id).await.map_err(Problem::store)?.map(|account| account.sign_in_name);
            let user = user.ok_or(Problem::Superseded)?;
            return self.ask_patiently(grant, &grant.means, &user).await.map_err(Problem::Trouble);
        };
        // The provider's answer will exist nowhere else.
        self.store.hold_reserve().await.map_err(Problem::store)?;
        let mut used = current;
        let mut asked = self.ask_patiently(grant, &grant.means, "").await;
        if let (Err(Trouble::Consent(_)), Some(previous)) = (&asked, &grant.previous) {
            used = previous;
            asked = self.ask_patiently(grant, &Means::Refresh(previous.clone()), "").await;
        }
        let tokens = asked.map_err(Problem::Trouble)?;
        if tokens.refresh.is_none() && grant.previous.is_some() {
            // The one that worked is the one that is kept.
            let kept = self.store.forget_previous_token(id, grant.version, used).await;
            return kept.map(|()| tokens).map_err(Problem::store);
        }
        self.commit(id, desk, Uncommitted { version: grant.version, used: used.clone(), tokens }).await
    }

    /// Twice where the first time did surely nothing.
    async fn ask_patiently(&self, grant: &Grant, means: &Means, user: &str) -> Result<Tokens, Trouble> {
        let asked = self.exchange.ask_by(&grant.client, means, user).await;
        match asked {
            Err(Trouble::Unavailable { .. } | Trouble::Unreachable(Unreachable::Refused)) => {
                tokio::time::sleep(AGAIN).await;
                self.exchange.ask_by(&grant.client, means, user).await
            }
            asked => asked,
        }
    }

    async fn commit(&self, id: AccountId, desk: &Desk, new: Uncommitted) -> Result<Tokens, Problem> {
        let Some(fresh) = new.tokens.refresh.as_ref().filter(|fresh| fresh.expose() != new.used.expose()) else {
            return Ok(new.tokens);
        };
        reach(Moment::BeforeCommit).await;
        match self.store.in_reserve(|| self.store.rotate_grant(id, new.version, &new.used, fresh)).await {
            Ok(()) => {
                reach(Moment::BeforeUse).await;
                Ok(new.tokens)
            }
            Err(StoreError::Contended(_)) => Err(self.commit_moved(id, desk, new).await),
            Err(error) => {
                desk.held().uncommitted = Some(new);
                Err(Problem::store(error))
            }
        }
    }

    /// Another grant is there. If a swap has moved this one while it was renewed, what came is kept where it stands now: the
    /// token that was shown may be spent. The access token opens nothing of where the account is.
    async fn commit_moved(&self, id: AccountId, desk: &Desk, new: Uncommitted) -> Problem {
        let Some(fresh) = &new.tokens.refresh else { return Problem::Superseded };
        match self.store.rotate_moved_grant(id, &new.used, fresh).await {
            Ok(()) | Err(StoreError::Contended(_)) => Problem::Superseded,
            Err(error) => {
                desk.held().uncommitted = Some(new);
                Problem::store(error)
            }
        }
    }
}

impl Desk {
    fn held(&self) -> MutexGuard<'_, Held> {
        // A panic elsewhere leaves a whole value here: each write is one assignment.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// What is of an older generation was another credential's.
    ///
    /// # Errors
    /// If what is held is of a newer one: whoever read the account before a swap would bring the new provider's token to
    /// the old one.
    fn reach(&mut self, generation: Generation) -> Result<(), Failure> {
        if self.generation < generation {
            // Numbers go on: a refused token of the old grant is none of the new.
            let uncommitted = self.uncommitted.take();
            *self = Self { generation, serial: self.serial, uncommitted, ..Self::default() };
        }
        if self.generation == generation { Ok(()) } else { Err(OUTDATED) }
    }

    fn usable(&self, refused: Option<u64>) -> Option<Access> {
        let token = self.token.as_ref()?;
        (Some(token.access.serial) != refused && Instant::now() < token.dies).then(|| token.access.clone())
    }

    fn is_ripe(&self) -> bool {
        self.token.as_ref().is_some_and(|token| Instant::now() >= token.ripe) && self.paused().is_ok()
    }

    fn is_in_vain(&self, refused: u64, service: &str) -> bool {
        self.token.as_ref().is_some_and(|token| {
            let over = token.over.is_some_and(|over| Instant::now() >= over);
            let fresh = token.in_place_of_refused && token.born.elapsed() < IN_VAIN && !over;
            token.access.serial == refused && fresh && !token.worked.contains(&service)
        })
    }

    fn paused(&self) -> Result<(), Failure> {
        match &self.pause {
            Some(pause) if Instant::now() < pause.until => Err(pause.failure.clone()),
            _ => Ok(()),
        }
    }

    fn keep(&mut self, tokens: Tokens, in_place_of_refused: bool) -> Access {
        self.serial += 1;
        let access = Access { token: tokens.access, serial: self.serial };
        let born = Instant::now();
        // Spread over a seventh of its life, so that all accounts of a provider are not renewed at once.
        let ripe = born + tokens.lifetime.mul_f64(0.75 + 0.15 * jitter());
        let dies = born + tokens.lifetime.mul_f64(0.97);
        let over = tokens.short.map(|short| born + short);
        let worked = Vec::new();
        self.token = Some(Token { access: access.clone(), born, ripe, dies, over, in_place_of_refused, worked });
        (self.pause, self.trouble) = (None, None);
        access
    }

    /// Nobody is asked before this is over. A token that still lives goes on being used.
    fn wait(&mut self, problem: &Problem) {
        let times = self.pause.as_ref().map_or(0, |pause| pause.times);
        let (waits, base) = match problem {
            Problem::Trouble(Trouble::Client(_)) => (Waits::Operator, PAUSE_CLIENT),
            // Our own trouble is none of the provider's, and who mends it wants to see it mended (rule R44).
            Problem::Failure(_) => (Waits::Ourselves, PAUSE_OWN),
            _ => (Waits::Endpoint, (PAUSE_FIRST * 2_u32.saturating_pow(times.min(8))).min(PAUSE_MAX)),
        };
        let until = Instant::now() + base.mul_f64(1.0 + 0.2 * jitter());
        let after = problem.to_string();
        self.pause = Some(Pause { until, times: times + 1, failure: problem.failure(), after, waits });
    }
}

/// Why there is no token: the endpoint's, the grant's, or our own.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Problem {
    #[error("the grant is gone")]
    ConsentNeeded,
    /// Another grant was given, or another program renewed this one: theirs is the newer.
    #[error("another grant has taken the place of this one")]
    Superseded,
    #[error(transparent)]
    Failure(Failure),
    #[error(transparent)]
    Trouble(Trouble),
}

impl Problem {
    #[allow(clippy::needless_pass_by_value, reason = "for map_err")]
    fn store(error: StoreError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "a grant cannot be read or kept");
        Self::Failure(Failure::from(&error))
    }

    fn failure(&self) -> Failure {
        match self {
            Self::ConsentNeeded => Failure::ConsentNeeded(None),
            Self::Superseded => OUTDATED,
            Self::Failure(failure) => failure.clone(),
            Self::Trouble(trouble) => Failure::from(trouble),
        }
    }
}

/// What it means for a session. The client's refusal is not the CRM's matter, and no person's consent helps.
impl From<&Trouble> for Failure {
    fn from(trouble: &Trouble) -> Self {
        match trouble {
            Trouble::Client(_) => Self::SignInRefused,
            Trouble::Consent(_) => Self::ConsentNeeded(None),
            Trouble::Nonsense { .. } => Self::ProviderMisbehaved(Misbehaviour::Syntax),
            Trouble::Unavailable { .. } => Self::ProviderUnreachable(Unreachable::Unavailable),
            Trouble::Unreachable(reason) => Self::ProviderUnreachable(*reason),
        }
    }
}

/// From 0 to 1. Where the system gives no random numbers, accounts are renewed at once; nothing else depends on it.
pub(crate) fn jitter() -> f64 {
    let mut octets = [0; 2];
    let _ = SystemRandom::new().fill(&mut octets);
    f64::from(u16::from_be_bytes(octets)) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests;
