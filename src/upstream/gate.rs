//! The gates: for each account, the one owner of what its sessions share: lane permits, the folder table, generations.
//!
//! A lane is leased; dropping it closes the connection. No lock is held over I/O, so that one account's trouble hurts no
//! other (rule R45).

#![allow(clippy::disallowed_methods, reason = "how long a verdict takes is told by the clock")]

mod attempt;
pub(crate) mod back_off;
mod guard;
mod invitation;
mod judged;
pub(crate) mod lease;
mod own;
mod seat;
mod sending;
pub(crate) mod strangers;
mod submission;
pub(crate) mod trees;
pub(crate) mod turn;

use super::{
    passed::Passed,
    places::{Places, Stay},
    pool::Pool,
};
use crate::{
    failure::Failure,
    model::{AccountId, Generation, LocalName, LoginId, RemoteName},
    oauth::broker::Broker,
    profile, provider,
    relay::{Admission, Credentials},
    store::{Standing, Store, unix_now},
    wire::imap::Capabilities,
};
pub use back_off::{BackOff, Cause};
use dashmap::DashMap;
use guard::Guard;
pub use guard::{NotLetIn, Wait};
pub use invitation::{Invitation, Inviter};
pub use lease::LaneWanted;
pub use own::Own;
pub use seat::{GateUse, Seat};
use sending::Sending;
use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize},
    },
    time::{Duration, Instant},
};
use strangers::Strangers;
pub use submission::OwnSubmission;
use tokio::sync::watch;
use trees::Trees;

/// The pause after a failed read of the store: short of the second within which changes are seen (design section 6).
pub(crate) const AGAIN: Duration = Duration::from_millis(500);

/// What bounds the lanes of every account.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections to the provider at once for one account, of each use; its own cap may be lower.
    pub lanes_per_account: u32,
    /// Sessions signed in at once to one account, of all protocols.
    pub sessions_per_account: u32,
    /// How long a login waits for the provider.
    pub login_wait: Duration,
    /// A provider's greeting, and a TLS handshake with it, each.
    pub handshake: Duration,
    /// Refused logins that wait for their answer at once.
    pub refusals: usize,
    /// Of IMAP's lanes that no session uses.
    pub stay: Stay,
    pub sending: SendingBounds,
}

/// What bounds the sending of every account; what its provider bears may be less.
#[derive(Clone, Copy, Debug)]
pub struct SendingBounds {
    /// Messages over one lane.
    pub per_lane: u32,
    /// Messages in a minute. None: as many as the provider bears.
    pub per_minute: Option<u32>,
    /// Of lanes that no message uses.
    pub stay: Stay,
    /// How long a message waits for a lane and for its turn.
    pub wait: Duration,
}

/// What a verdict let in to.
pub struct LetIn {
    pub admission: Admission,
    pub standing: Standing,
    /// The token that opens it, where it is the client's own.
    pub passed: Option<Passed>,
}

/// All gates, and what they stand on.
pub struct Gates {
    store: Store,
    broker: Broker,
    gates: DashMap<AccountId, Arc<Gate>>,
    bounds: Bounds,
    guard: Guard,
    strangers: Strangers,
    /// Logins that are refused: their sessions end, and no other.
    revoked: watch::Sender<HashSet<LoginId>>,
    /// The bridge's own listeners.
    own: Vec<SocketAddr>,
    /// Whose caps hold beside ours.
    providers: provider::Table,
    profiles: profile::Table,
    inviter: OnceLock<Arc<dyn Inviter>>,
}

/// What the sessions of one account share.
pub(super) struct Gate {
    places: Places,
    /// Grows with the account's; sessions that were let in at an older one end.
    generation: watch::Sender<Generation>,
    trees: Mutex<Trees>,
    health: Mutex<Health>,
    attempts: attempt::Attempts,
    /// Of clients, of all logins together.
    tokens: Arc<turn::Tokens>,
    /// Of each login, since the account is what it is.
    tokens_of: Mutex<HashMap<LoginId, Arc<turn::Tokens>>>,
    /// Lanes of IMAP.
    pub(super) pool: Arc<Pool>,
    /// Lanes of IMAP that sessions have.
    pub(super) in_use: AtomicUsize,
    pub(super) sending: Sending,
    /// Sessions that are signed in.
    seated: AtomicU32,
    /// Lanes so far.
    opened: AtomicU64,
    /// Of a lane of IMAP.
    opening: UnderWay,
}

/// None: it goes on.
type OpeningEnded = Option<Result<(), Failure>>;
/// The opening of a lane that logins wait for, and the generation that it is for.
type UnderWay = Mutex<Option<(Generation, watch::Receiver<OpeningEnded>)>>;

/// What lanes of IMAP told of this generation of the account.
#[derive(Default)]
struct Health {
    /// As the last lane had them.
    capabilities: Option<Capabilities>,
    /// When a sign-in worked. None: never, or the last one did not.
    signed_in: Option<Instant>,
}

impl Gates {
    #[must_use]
    pub fn new(
        store: Store,
        broker: Broker,
        bounds: Bounds,
        own: Vec<SocketAddr>,
        providers: provider::Table,
        profiles: profile::Table,
    ) -> Arc<Self> {
        let (revoked, guard) = (watch::Sender::new(HashSet::new()), Guard::new(bounds.refusals));
        let (gates, inviter, strangers) = (DashMap::new(), OnceLock::new(), Strangers::default());
        Arc::new(Self { store, broker, gates, bounds, guard, strangers, revoked, own, providers, profiles, inviter })
    }

    /// Whether these credentials open an account, and which; good for as long as the standing lasts. `refused` is how many
    /// were refused on this connection, `login_wait` within which time its CRM wants an answer.
    ///
    /// # Errors
    /// What became of the store, to be said at once; of a refused login, to be said when its time has come.
    pub async fn verdict(
        self: &Arc<Self>,
        credentials: &Credentials,
        refused: u32,
        login_wait: Option<Duration>,
    ) -> Result<LetIn, NotLetIn> {
        let (began, wait) = (Instant::now(), self.bounds.login_wait.min(login_wait.unwrap_or(Duration::MAX)));
        let not_let_in = |failure| match failure {
            // The provider's no to a token is a wrong password here, and costs what one costs.
            Failure::SignInRefused => self.guard.refuse(credentials, refused, began),
            failure => NotLetIn::Now(failure),
        };
        let (admission, standing) = match self.store.verdict(credentials).await {
            Ok(admitted) => admitted,
            Err(Failure::LoginRefused) => return Err(not_let_in(self.stranger(credentials, wait).await)),
            Err(failure) => return Err(NotLetIn::Now(failure)),
        };
        // Under another profile the CRM would find other folders: it is told to try again later.
        let Some(profile) = self.profiles.named(&admission.profile) else {
            let profile = &*admission.profile;
            tracing::error!(profile, "a login has a CRM profile that is not there; put its file back, and start again");
            return Err(NotLetIn::Now(Failure::Internal("a login whose CRM profile is not there")));
        };
        let admission = Admission { filing: self.filing(&admission).await?, ..admission.under(profile) };
        let token = match credentials {
            Credentials::Token { token, purpose, .. } if admission.by_client_token => Some((token, *purpose)),
            _ => None,
        };
        let Some((token, purpose)) = token else { return Ok(LetIn { admission, standing, passed: None }) };
        let gate = self.gate(admission.account);
        // What is known of tokens goes with a generation: the first to come would write to what is forgotten next.
        gate.reach(standing.generation);
        let of_login = gate.tokens_of(standing.login).lately.clone();
        let passed =
            Passed::new(token, of_login).ok_or(NotLetIn::Now(Failure::Internal("an access token that is no text")))?;
        self.judged(&admission, standing, &passed, purpose, wait).await.map_err(not_let_in)?;
        Ok(LetIn { admission, standing, passed: Some(passed) })
    }

    /// Ends when the account is known to have a newer generation than the verdict's, or to be gone, or the login to be
    /// revoked: what the verdict let in is not to go on. A lease reads both again, so that no change is missed between.
    pub fn outdated(&self, id: AccountId, standing: Standing) -> impl Future<Output = ()> + Send + 'static {
        let mut generation = self.gate(id).generation.subscribe();
        let mut revoked = self.revoked.subscribe();
        async move {
            tokio::select! {
                _ = generation.wait_for(|now| *now > standing.generation) => {}
                _ = revoked.wait_for(|revoked| revoked.contains(&standing.login)) => {}
            }
        }
    }

    /// What UIDVALIDITY to tell, committed.
    ///
    /// # Errors
    /// If the store fails: nothing may be told then.
    pub async fn uid_validity(
        &self,
        id: AccountId,
        local: &LocalName,
        remote: &RemoteName,
        upstream: u32,
    ) -> Result<u32, Failure> {
        let told = self.store.uid_validity(id, local, remote, upstream, unix_now()).await;
        told.map_err(|error| said(&error, "a UIDVALIDITY cannot be kept"))
    }

    /// Follows the store until it ends: what changed there is forgotten here; sessions of old generations and of revoked
    /// logins end.
    ///
    /// # Errors
    /// If the store cannot be watched.
    pub async fn follow(&self) -> Result<(), crate::store::Error> {
        let mut changes = self.store.changes().await?;
        // At once, too: a client may have been let in before the watch began.
        loop {
            let (now, revoked) =
                persistently(async || Ok((self.store.generations().await?, self.store.revoked_logins().await?))).await;
            self.compare(&now.into_iter().map(|(id, generation, _)| (id, generation)).collect());
            self.revoked.send_if_modified(|known| {
                let changed = *known != revoked;
                *known = revoked;
                changed
            });
            if changes.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    fn compare(&self, now: &HashMap<AccountId, Generation>) {
        let gates: Vec<_> = self.gates.iter().map(|entry| (*entry.key(), entry.value().clone())).collect();
        for (id, gate) in gates {
            // A removed account has no generation: any change ends its sessions.
            let generation = now.get(&id).copied().unwrap_or(Generation(i64::MAX));
            gate.reach(generation);
            if !now.contains_key(&id) {
                self.gates.remove(&id);
            }
        }
    }

    fn gate(&self, id: AccountId) -> Arc<Gate> {
        let made = || {
            Arc::new(Gate {
                places: Places::default(),
                generation: watch::Sender::new(Generation::default()),
                trees: Mutex::default(),
                health: Mutex::default(),
                attempts: attempt::Attempts::default(),
                tokens: Arc::new(turn::Tokens::of_account()),
                tokens_of: Mutex::default(),
                pool: Arc::default(),
                in_use: AtomicUsize::new(0),
                sending: Sending::default(),
                seated: AtomicU32::new(0),
                opened: AtomicU64::new(0),
                opening: Mutex::default(),
            })
        };
        self.gates.entry(id).or_insert_with(made).clone()
    }
}

/// For tests of who has lanes.
#[cfg(test)]
impl Gates {
    /// Over a store of its own, which lasts as long as the directory.
    pub(crate) async fn of_a_test() -> (Arc<Self>, tempfile::TempDir) {
        let root = tempfile::tempdir().expect("a directory");
        let store = Store::open(root.path(), None, 1_800_000_000).await.expect("a store");
        let bounds = Bounds {
            lanes_per_account: 1,
            sessions_per_account: 1,
            login_wait: Duration::from_secs(1),
            handshake: Duration::from_secs(1),
            refusals: 1,
            stay: Stay { time: Duration::from_secs(240), lanes: 4 },
            sending: SendingBounds::default(),
        };
        let broker =
            Broker::new(store.clone(), super::exchange().expect("a client"), crate::oauth::broker::Holder::Serve);
        let tables = (provider::Table::built_in().expect("a table"), profile::Table::built_in().expect("a table"));
        let gates = Self::new(store, broker, bounds, Vec::new(), tables.0, tables.1);
        (gates, root)
    }

    /// A lane of IMAP over a stream of the test's.
    pub(crate) fn lane_over(&self, stream: super::Stream, id: AccountId) -> super::Lane {
        let permit = Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().expect("a place");
        let number = super::lane::LaneNumber(1);
        let home = super::lane::Home::new(
            self.gate(id),
            Generation::default(),
            super::lane::Memory::Imap {
                capabilities: Capabilities::default(),
                stay: Stay { time: Duration::from_secs(240), lanes: 4 },
            },
            number,
            super::passed::LaneKey::Stored,
        );
        super::Lane { stream, unread: Vec::new(), hold: super::lane::Hold::new(permit, Some(home)) }
    }

    /// Whether a lane of this account is parked.
    pub(crate) fn has_parked(&self, id: AccountId) -> bool {
        !self.gate(id).pool.is_empty()
    }
}

impl Gate {
    /// The account was seen at this generation: what is known of an older one is forgotten, and its sessions end.
    fn reach(&self, generation: Generation) {
        let grown = self.generation.send_if_modified(|known| {
            let grown = *known < generation;
            *known = generation.max(*known);
            grown
        });
        if grown {
            *self.trees() = Trees::default();
            *self.health() = Health::default();
            self.attempts.forget();
            self.tokens.forget();
            self.tokens_of.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.pool.reach(generation);
            self.sending.reach(generation);
        }
    }

    /// What is known of the tokens of one of its logins.
    fn tokens_of(&self, login: LoginId) -> Arc<turn::Tokens> {
        let mut all = self.tokens_of.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(login).or_insert_with(|| Arc::new(turn::Tokens::of_login())).clone()
    }

    fn is_beyond(&self, generation: Generation) -> bool {
        *self.generation.borrow() > generation
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads until it works: the notice of a change comes once, and who was revoked by it must not go on until the next.
async fn persistently<T>(read: impl AsyncFn() -> Result<T, crate::store::Error>) -> T {
    loop {
        match read().await {
            Ok(value) => return value,
            Err(error) => tracing::error!(error = &error as &dyn std::error::Error, "generations cannot be read"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Logs a fault of the store and says what it means for the session.
fn said(error: &crate::store::Error, what: &'static str) -> Failure {
    tracing::error!(error = error as &dyn std::error::Error, hint = error.hint(), "{what}");
    Failure::from(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_read_until_it_is_known() {
        let reads = std::sync::atomic::AtomicU32::new(0);
        let read = async || match reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Err(crate::store::Error::DiskFull),
            read => Ok(read),
        };
        assert_eq!(persistently(read).await, 1);
    }
}
