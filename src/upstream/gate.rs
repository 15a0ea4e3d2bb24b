//! The gates: for each account, the one owner of what its sessions share: lane permits, the folder table, generations.
//!
//! A lane is leased; dropping it closes the connection. No lock is held over I/O, so that one account's trouble hurts no
//! other (rule R45).

#![allow(clippy::disallowed_methods, reason = "the age of a folder table is told by the clock")]

mod attempt;
mod guard;
mod invitation;
mod judged;
pub(crate) mod lease;
mod own;
mod seat;
pub(crate) mod turn;

use super::{Lane, passed::Passed, places::Places, pool::Pool};
use crate::{
    failure::Failure,
    model::{AccountId, FolderTable, Generation, LocalName, LoginId, RemoteName},
    oauth::broker::Broker,
    profile, provider,
    relay::{Admission, Credentials, Keep},
    rules::namespace::{Choices, Namespace, Naming},
    store::{Standing, Store, unix_now},
    wire::{imap::Capabilities, smtp::Extensions},
};
use dashmap::DashMap;
use guard::Guard;
pub use guard::{NotLetIn, Wait};
pub use invitation::{Invitation, Inviter};
pub use own::Own;
pub use seat::{GateUse, Seat};
use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// A folder table this young answers LIST (design section 4).
pub(crate) const FRESH: Duration = Duration::from_secs(5);
/// A folder table this old is read again when a lane is opened: names that only another program made are found by a
/// LIST, or by a name that is not found, sooner.
pub(crate) const AGED: Duration = Duration::from_secs(600);

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
}

/// What a verdict let in to.
pub struct LetIn {
    pub admission: Admission,
    pub standing: Standing,
    /// The token that opens it, where it is the client's own.
    pub passed: Option<Passed>,
    /// The lane by which the provider judged that token, where none is parked: for the session's first request.
    pub first: Option<(Lane, Extensions)>,
}

/// All gates, and what they stand on.
pub struct Gates {
    store: Store,
    broker: Broker,
    gates: DashMap<AccountId, Arc<Gate>>,
    bounds: Bounds,
    guard: Guard,
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
    folders: Mutex<Folders>,
    health: Mutex<Health>,
    attempts: attempt::Attempts,
    /// Of clients.
    tokens: Arc<turn::Tokens>,
    pub(super) pool: Arc<Pool>,
    /// Lanes of IMAP that sessions have.
    pub(super) in_use: AtomicUsize,
    /// Sessions that are signed in.
    seated: AtomicU32,
    /// Lanes of IMAP so far.
    opened: AtomicU64,
    opening: Mutex<Option<(Generation, watch::Receiver<OpeningEnded>)>>,
}

/// None: it goes on.
type OpeningEnded = Option<Result<(), Failure>>;

/// What lanes of IMAP told of this generation of the account.
#[derive(Default)]
struct Health {
    /// As the last lane had them.
    capabilities: Option<Capabilities>,
    /// When a sign-in worked. None: never, or the last one did not.
    signed_in: Option<Instant>,
}

#[derive(Default)]
struct Folders {
    /// When the table was read. None: never, or the tree was changed since.
    read: Option<Instant>,
    /// The last one even if the tree was changed since: better than none for a lane that does not read it.
    last: Option<Known>,
}

/// A folder table, and what is made of it: a namespace for each naming in use, a handful at most.
struct Known {
    table: FolderTable,
    choices: Choices,
    namespaces: HashMap<Naming, Arc<Namespace>>,
}

impl Known {
    fn namespace(&mut self, id: AccountId, naming: &Naming) -> Arc<Namespace> {
        let Self { table, choices, namespaces } = self;
        match namespaces.get(naming) {
            Some(namespace) => namespace.clone(),
            None => {
                let namespace = Arc::new(Namespace::new(id, table, choices, naming));
                namespaces.insert(naming.clone(), namespace.clone());
                namespace
            }
        }
    }
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
        let (gates, inviter) = (DashMap::new(), OnceLock::new());
        Arc::new(Self { store, broker, gates, bounds, guard, revoked, own, providers, profiles, inviter })
    }

    /// Whether these credentials open an account, and which; good for as long as the standing lasts. `refused` is how many
    /// were refused on this connection.
    ///
    /// # Errors
    /// What became of the store, to be said at once; of a refused login, to be said when its time has come.
    pub async fn verdict(self: &Arc<Self>, credentials: &Credentials, refused: u32) -> Result<LetIn, NotLetIn> {
        let began = Instant::now();
        let (admission, standing) = match self.store.verdict(credentials).await {
            Ok(admitted) => admitted,
            Err(Failure::LoginRefused) => return Err(self.guard.refuse(credentials, refused, began)),
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
        let Some((token, purpose)) = token else { return Ok(LetIn { admission, standing, passed: None, first: None }) };
        let passed = Passed::new(token).ok_or(NotLetIn::Now(Failure::Internal("an access token that is no text")))?;
        match self.judged(&admission, standing, &passed, purpose).await {
            Ok(first) => Ok(LetIn { admission, standing, passed: Some(passed), first }),
            // The provider's no to this token is a wrong password here, and costs what one costs.
            Err(Failure::SignInRefused) => Err(self.guard.refuse(credentials, refused, began)),
            Err(failure) => Err(NotLetIn::Now(failure)),
        }
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

    /// The namespace, if it was read less than five seconds ago.
    #[must_use]
    pub fn folders(&self, id: AccountId, naming: &Naming) -> Option<Arc<Namespace>> {
        let gate = self.gates.get(&id)?.clone();
        let mut folders = gate.folders();
        folders.read.filter(|read| read.elapsed() < FRESH)?;
        folders.last.as_mut().map(|known| known.namespace(id, naming))
    }

    /// Keeps a folder table that was just read by whom a verdict let in at this generation, unless the account has a
    /// newer one, and gives the namespace made of it.
    ///
    /// # Errors
    /// If the account's own folder map cannot be read.
    pub async fn publish(
        &self,
        id: AccountId,
        judged_at: Generation,
        naming: &Naming,
        table: FolderTable,
    ) -> Result<Arc<Namespace>, Failure> {
        let choices = self.store.choices(id).await.map_err(|error| said(&error, "a folder map cannot be read"))?;
        let mut known = Known { table, choices, namespaces: HashMap::new() };
        let namespace = known.namespace(id, naming);
        if let Some(gate) = self.gates.get(&id).map(|gate| gate.clone()) {
            let mut folders = gate.folders();
            // Asked with the lock held: what grows later forgets this table, too.
            if !gate.is_beyond(judged_at) {
                *folders = Folders { read: Some(Instant::now()), last: Some(known) };
            }
        }
        Ok(namespace)
    }

    /// Keeps what a client did to the tree that the provider does not keep, and gives the namespace as it is with it. It
    /// is no change that ends sessions: the others see it with their next LIST.
    ///
    /// # Errors
    /// If the store fails: nothing is kept then.
    pub async fn keep(&self, id: AccountId, naming: &Naming, keep: Keep) -> Result<Option<Arc<Namespace>>, Failure> {
        let kept = match &keep {
            Keep::Role(role, remote) => self.store.keep_role(id, *role, remote).await,
            Keep::Subscription(remote, subscribed) => self.store.keep_subscription(id, remote, *subscribed).await,
        };
        kept.map_err(|error| said(&error, "a change of the tree cannot be kept"))?;
        let Some(gate) = self.gates.get(&id).map(|gate| gate.clone()) else { return Ok(None) };
        let mut folders = gate.folders();
        let Some(known) = &mut folders.last else { return Ok(None) };
        match keep {
            Keep::Role(role, remote) => drop(known.choices.made.insert(role, remote)),
            Keep::Subscription(remote, Some(subscribed)) => drop(known.choices.subscribed.insert(remote, subscribed)),
            Keep::Subscription(remote, None) => drop(known.choices.subscribed.remove(&remote)),
        }
        known.namespaces.clear();
        Ok(Some(known.namespace(id, naming)))
    }

    /// The tree of this account was changed.
    pub fn stale(&self, id: AccountId) {
        if let Some(gate) = self.gates.get(&id).map(|gate| gate.clone()) {
            gate.folders().read = None;
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
                folders: Mutex::default(),
                health: Mutex::default(),
                attempts: attempt::Attempts::default(),
                tokens: Arc::default(),
                pool: Arc::default(),
                in_use: AtomicUsize::new(0),
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
    /// A lane of IMAP over a stream of the test's.
    pub(crate) fn lane_over(&self, stream: super::Stream, id: AccountId) -> super::Lane {
        let permit = Arc::new(tokio::sync::Semaphore::new(1)).try_acquire_owned().expect("a place");
        let number = super::lane::LaneNumber(1);
        let home = super::lane::Home::new(
            self.gate(id),
            Generation::default(),
            Capabilities::default(),
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
            *self.folders() = Folders::default();
            *self.health() = Health::default();
            self.attempts.forget();
            self.tokens.forget();
            self.pool.reach(generation);
        }
    }

    fn is_beyond(&self, generation: Generation) -> bool {
        *self.generation.borrow() > generation
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folders(&self) -> MutexGuard<'_, Folders> {
        // A panic elsewhere leaves a whole value here: each write is one assignment.
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
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
    use crate::{oauth::broker::Holder, upstream::exchange};

    #[tokio::test]
    async fn a_change_is_read_until_it_is_known() {
        let reads = std::sync::atomic::AtomicU32::new(0);
        let read = async || match reads.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Err(crate::store::Error::DiskFull),
            read => Ok(read),
        };
        assert_eq!(persistently(read).await, 1);
    }

    #[tokio::test]
    async fn a_table_of_an_older_generation_is_not_kept() {
        let root = tempfile::tempdir().expect("a directory");
        let store = Store::open(root.path(), None, 1_800_000_000).await.expect("a store");
        let bounds = Bounds {
            lanes_per_account: 1,
            sessions_per_account: 1,
            login_wait: Duration::from_secs(1),
            handshake: Duration::from_secs(1),
            refusals: 1,
        };
        let broker = Broker::new(store.clone(), exchange().expect("a client"), Holder::Serve);
        let tables = (provider::Table::built_in().expect("a table"), profile::Table::built_in().expect("a table"));
        let gates = Gates::new(store, broker, bounds, Vec::new(), tables.0, tables.1);
        let (id, table, naming) = (AccountId(1), FolderTable::default(), Naming::default());
        let gate = gates.gate(id);
        gate.reach(Generation(2));
        gates.publish(id, Generation(1), &naming, table.clone()).await.expect("a namespace");
        assert!(gates.folders(id, &naming).is_none());
        gates.publish(id, Generation(2), &naming, table.clone()).await.expect("a namespace");
        assert!(gates.folders(id, &naming).is_some());
        gate.reach(Generation(3));
        assert!(gates.folders(id, &naming).is_none());
    }
}
