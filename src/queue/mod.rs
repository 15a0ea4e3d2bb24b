//! The queue: messages that were taken for a CRM, delivered by the bridge itself, whatever the provider says and whatever
//! crashes.
//!
//! ```text
//! waiting ──> marked ──> done             each recipient has the message
//!    ^           │  └──> reporting ──> done     some do not, for good: a report goes into the INBOX
//!    └── later ──┤                              (also where the time of a waiting one is over)
//!                └─────> uncertain         nobody knows: a person decides, or it is waiting again (`resend`)
//! ```
//! A row is marked before its end mark leaves, and told of the answer before anything else is done with it: of a bridge
//! that is killed between, nobody knows. It must never send a message again whose end mark may have been taken, unless the
//! account wants that; and must never forget one that was acknowledged.
//!
//! | file | what |
//! |---|---|
//! | `speak` | the bridge's own SMTP over a lane |
//! | `delivery` | one message, from MAIL to what is known of it then |
//! | `standing` | what is known of a message, and what follows from it |
//! | `notice` | the report of what failed |

mod delivery;
mod notice;
pub(crate) mod speak;
mod standing;

use crate::{
    filing::{Filing, rooms::Rooms},
    model::{AccountId, Uncertain},
    relay::Outcome,
    store::{Account, Error, QueueState, Queued, RecipientState, Sending, Told, ToldSent, unix_now},
};
pub(crate) use delivery::RECIPIENTS_AT_ONCE;
pub(crate) use notice::REPORT;
use standing::Standing;
use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};

/// Messages of one account that are taken at a time; each waits for a room of its own.
pub(crate) const IN_A_ROW: u32 = 20;
/// Messages that are delivered at a time; half of them at one provider.
pub(crate) const ROOMS: usize = 32;
/// The queue is looked at this often, whatever the store said.
pub(crate) const AT_LEAST: Duration = Duration::from_secs(30);
/// For a lane of its own.
pub(crate) const LANE_WAIT: Duration = Duration::from_secs(60);
/// Seconds for which a message that is being delivered is nobody else's; from its mark on, for as long as its answer takes.
pub(crate) const CLAIM: i64 = 2700;
/// From its claim to its mark, in all: 35 MB at 256 kbit/s, and a slow provider. It must end before the claim.
pub(crate) const UP_TO_MARK: Duration = Duration::from_secs(2400);
/// Seconds of a claim for what comes behind the answer: it is kept again and again where the store fails.
pub(crate) const ANSWER_KEPT: i64 = 300;
/// What is known of a message is kept: tried again after this time where the store fails.
pub(crate) const KEPT_AGAIN: Duration = Duration::from_secs(2);

/// The one who delivers.
pub struct Queue {
    filing: Arc<Filing>,
    /// The name of the bridge.
    host: Box<str>,
    /// The provider's answer to the end of a message.
    end_of_data: Duration,
    /// Accounts that are delivered for now.
    busy: Mutex<HashSet<AccountId>>,
    /// One of them is not any more.
    freed: Notify,
    /// Nothing new is begun.
    draining: AtomicBool,
}

/// Whether the next message of the account may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Go,
    /// The provider is not there, or does not want more now.
    Rest,
}

impl Queue {
    /// Nothing is delivered until it runs.
    #[must_use]
    pub fn new(filing: Arc<Filing>, host: &str, end_of_data: Duration) -> Arc<Self> {
        let (busy, freed, draining) = (Mutex::default(), Notify::new(), AtomicBool::new(false));
        Arc::new(Self { filing, host: host.into(), end_of_data, busy, freed, draining })
    }

    /// Of what a bridge that is gone had marked nobody will tell the outcome. To be called before anything new begins.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn recover(&self) -> Result<(), Error> {
        for id in self.filing.store.marked_queued().await? {
            let Some(message) = self.filing.store.queued(id).await? else { continue };
            let account = self.filing.store.account(message.account).await?;
            let mut standing = Standing::of(message);
            standing.is_unknown("the bridge was stopped before the provider's answer was known");
            let uncertain = account.as_ref().map_or(Uncertain::Hold, |account| account.settings.uncertain);
            let told = self.try_keep(account.as_ref(), &standing, uncertain).await?;
            self.say(account.as_ref(), &standing, &told);
        }
        Ok(())
    }

    /// Delivers until `drain` becomes true and what was begun has ended.
    pub async fn run(self: Arc<Self>, mut drain: watch::Receiver<bool>) {
        let mut tasks = JoinSet::new();
        let rooms = Rooms::new(ROOMS);
        // The command line changes rows, too. Without this they are seen later.
        let mut changes = self.filing.store.changes().await.ok();
        loop {
            let wait = match self.filing.store.due_queued(unix_now(), IN_A_ROW).await {
                Ok((due, next)) => {
                    self.start(due, &mut tasks, &rooms);
                    let until = next.map_or(AT_LEAST, |next| seconds(next - unix_now()));
                    until.clamp(Duration::from_millis(200), AT_LEAST)
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "the queue cannot be read");
                    KEPT_AGAIN
                }
            };
            tokio::select! {
                () = self.filing.queued.notified() => {}
                () = self.freed.notified() => {}
                () = tokio::time::sleep(wait) => {}
                changed = seen(&mut changes) => {
                    if !changed {
                        changes = None;
                    }
                }
                Some(ended) = tasks.join_next() => {
                    // Its messages are claimed until their time is over, and then another's.
                    if ended.is_err() {
                        tracing::error!("a delivery of queued messages ended by a fault of the bridge");
                    }
                }
                _ = drain.wait_for(|drain| *drain) => break,
            }
        }
        self.draining.store(true, Ordering::Relaxed);
        while tasks.join_next().await.is_some() {}
    }

    fn start(self: &Arc<Self>, due: Vec<(AccountId, i64)>, tasks: &mut JoinSet<()>, rooms: &Arc<Rooms>) {
        let mut accounts: BTreeMap<AccountId, Vec<i64>> = BTreeMap::new();
        for (account, id) in due {
            accounts.entry(account).or_default().push(id);
        }
        for (account, messages) in accounts {
            let Some(turn) = Turn::take(self, account) else { continue };
            let rooms = rooms.clone();
            tasks.spawn(async move {
                let store = &turn.queue.filing.store;
                let provider = store.account(account).await.ok().flatten().map(|account| account.smtp);
                for id in messages {
                    let _room = rooms.take(provider.as_ref()).await;
                    let draining = turn.queue.draining.load(Ordering::Relaxed);
                    if draining || turn.queue.attend(id).await == Next::Rest {
                        break;
                    }
                }
            });
        }
    }

    async fn attend(&self, id: i64) -> Next {
        let now = unix_now();
        let store = &self.filing.store;
        let message = match store.claim_queued(id, now, now + CLAIM).await {
            Ok(Some(message)) => message,
            Ok(None) => return Next::Go,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a queued message cannot be claimed");
                return Next::Rest;
            }
        };
        if message.state == QueueState::Done {
            let forgotten = store.forget_queued(id).await;
            self.filing.spool.remove(forgotten.unwrap_or_default()).await;
            return Next::Go;
        }
        let account = match store.account(message.account).await {
            Ok(Some(account)) => account,
            Ok(None) => {
                self.forget(&message).await;
                return Next::Go;
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "an account cannot be read");
                self.keep(None, &Standing::of(message).put_off("the store of the bridge cannot be read")).await;
                return Next::Rest;
            }
        };
        match message.state {
            QueueState::Reporting => {
                self.report(&account, message).await;
                Next::Go
            }
            QueueState::Marked => {
                let mut standing = Standing::of(message);
                standing
                    .is_unknown("the delivery ended by a fault of the bridge before the provider's answer was known");
                self.keep(Some(&account), &standing).await;
                Next::Go
            }
            _ => self.deliver(&account, message).await,
        }
    }

    /// Its account was removed, and with it what it wanted sent.
    async fn forget(&self, message: &Queued) {
        tracing::error!(number = message.id, "a queued message is given up: its account was removed");
        let forgotten = self.filing.store.forget_queued(message.id).await;
        self.filing.spool.remove(forgotten.unwrap_or_default()).await;
        self.forget_copy(message).await;
    }

    /// Nobody has the message: what was to stand in Sent with it goes, but for a copy of the CRM's own.
    async fn forget_copy(&self, message: &Queued) {
        let forget = async {
            let Some(sent) = message.sent else { return Ok(Vec::new()) };
            let copy = self.filing.store.sent_message(sent).await?;
            if copy.is_none_or(|copy| copy.sending != Sending::Queued) {
                return Ok(Vec::new());
            }
            self.filing.store.settle_sent(sent, Outcome::Refused, Some(unix_now())).await
        };
        match forget.await {
            Ok(file) => self.filing.spool.remove(file).await,
            Err(error) => {
                let error: &Error = &error;
                tracing::error!(error = error as &dyn std::error::Error, "a Sent copy that is not wanted stays");
            }
        }
        self.filing.is_due();
    }

    /// Keeps what is known of a message, however long that takes: what the provider has answered is not asked again.
    async fn keep(&self, account: Option<&Account>, standing: &Standing) {
        let uncertain = account.map_or(Uncertain::Hold, |account| account.settings.uncertain);
        loop {
            match self.try_keep(account, standing, uncertain).await {
                Ok(told) => {
                    self.say(account, standing, &told);
                    if told.sent.is_some() {
                        self.filing.is_due();
                    }
                    if standing.nobody_has_it() {
                        self.forget_copy(&standing.message).await;
                    }
                    return;
                }
                Err(Error::Missing(_)) => {
                    let number = standing.message.id;
                    tracing::warn!(number, "a queued message was taken from its delivery, and is given up here");
                    return;
                }
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "what became of a queued message cannot be kept, tried again"
                    );
                    tokio::time::sleep(KEPT_AGAIN).await;
                }
            }
        }
    }

    async fn try_keep(
        &self,
        account: Option<&Account>,
        standing: &Standing,
        uncertain: Uncertain,
    ) -> Result<Told, Error> {
        let now = unix_now();
        let mut told = standing.told(uncertain, now);
        told.sent = self.copy(account, standing, &told, now).await?;
        let link = told.sent.as_ref().and_then(|sent| sent.file.clone());
        match self.filing.store.tell_queued(standing.message.id, &told, now).await {
            Ok(spare) => {
                for file in spare {
                    self.filing.spool.remove(Some(file)).await;
                }
                Ok(told)
            }
            Err(error) => {
                self.filing.spool.remove(link.map(|link| link.file)).await;
                Err(error)
            }
        }
    }

    /// What becomes of the Sent copy with this: the first time that somebody has the message, or may have.
    async fn copy(
        &self,
        account: Option<&Account>,
        standing: &Standing,
        told: &Told,
        now: i64,
    ) -> Result<Option<ToldSent>, Error> {
        let became = |state| standing.became(state);
        let accepted = became(RecipientState::Accepted);
        // What is sent again is not in doubt yet.
        let unknown = became(RecipientState::Uncertain) && told.state != QueueState::Waiting;
        let Some(id) = standing.message.sent.filter(|_| accepted || unknown) else { return Ok(None) };
        let Some(mut copy) = self.filing.store.sent_message(id).await? else { return Ok(None) };
        if !matches!(copy.sending, Sending::Queued | Sending::Uncertain) {
            return Ok(None);
        }
        let mut file = None;
        if let Some(spooled) = standing.message.spooled.as_ref().filter(|_| copy.spooled.is_none())
            && !copy.files
            && !copy.filed
        {
            file = match self.filing.spool.link(spooled).await {
                Ok(link) => Some(link),
                // What the provider has said is kept all the same.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    tracing::error!(number = standing.message.id, "a queued message is not in the spool any more");
                    None
                }
                Err(error) => return Err(Error::file("link", std::path::Path::new(&spooled.file), error)),
            };
            copy.spooled.clone_from(&file);
        }
        copy.began_at = now;
        let outcome = if accepted { Outcome::Accepted } else { Outcome::Unknown };
        let due = self.filing.due(&copy, account, outcome, now);
        Ok(Some(ToldSent { id, accepted, file, due }))
    }

    fn say(&self, account: Option<&Account>, standing: &Standing, told: &Told) {
        let account = account.map_or("removed", |account| account.address.as_str());
        let (number, words) = (standing.message.id, told.words.as_str());
        match told.state {
            QueueState::Done => tracing::info!(account, number, "a queued message is seen to"),
            QueueState::Waiting => {
                tracing::warn!(account, number, words, tries = told.tries, "a queued message waits")
            }
            QueueState::Reporting => {
                tracing::warn!(
                    account,
                    number,
                    words,
                    "a queued message was not delivered to all, a report goes to INBOX"
                );
            }
            QueueState::Uncertain => tracing::warn!(
                account,
                number,
                words,
                "whether a queued message was sent is not known, it is held: see `passerelle queue list`"
            ),
            QueueState::Marked => {}
        }
    }
}

/// False: the watch has ended.
async fn seen(changes: &mut Option<watch::Receiver<u64>>) -> bool {
    match changes {
        Some(changes) => changes.changed().await.is_ok(),
        None => std::future::pending().await,
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// The one who delivers for an account now.
struct Turn {
    queue: Arc<Queue>,
    account: AccountId,
}

impl Turn {
    fn take(queue: &Arc<Queue>, account: AccountId) -> Option<Self> {
        let mut busy = queue.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.insert(account).then(|| Self { queue: queue.clone(), account })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.queue.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.account);
        self.queue.freed.notify_one();
    }
}
