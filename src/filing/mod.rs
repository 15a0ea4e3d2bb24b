//! Filing: what is sent stands once in the Sent mailbox of its account, whoever else files it, and whatever crashes.
//!
//! ```text
//! a file of the spool, no row    prepared: the message is under way; a crash leaves nothing but the file
//! marked                         end-mark-sent: committed before the provider gets the end mark
//! accepted                       committed before the client hears 250
//! filed                          seen in Sent or put there; kept for a day to know copies and retries by
//! ```
//! A message whose outcome nobody knows (a crash, or a provider that was lost before it answered) is *uncertain*: Sent is
//! looked at, and where it does not stand there after 15 minutes without a retry its copy is filed, with a notice. A CRM's
//! own APPEND to Sent goes the same way, so that it and what was sent are one message here. It must never say that
//! something is kept which is not on disk, and must never send anything.
//!
//! | file | what |
//! |---|---|
//! | `spool`, `shares` | messages on disk, and how much of it is whose |
//! | `desk` | what a session has under way |
//! | `filer` | looks, files, tries again |
//! | `turns`, `rooms` | whose message is next, and how many at a time |
//! | `talk`, `line` | the bridge's own IMAP |
//!
//! Whether the client has heard its 250 is known by its next command, or by its leaving in peace behind it. One that was gone
//! before sends the same again: it is told that it was sent, and nothing is.
//!
//! A message that is queued begins here too, and `queue` delivers it: its Sent copy is then as that of any other.

pub mod desk;
pub(crate) mod filer;
pub(crate) mod line;
pub(crate) mod rooms;
mod shares;
pub(crate) mod spool;
pub(crate) mod talk;
pub(crate) mod turns;

use crate::{
    failpoint::{Moment, reach},
    failure::Failure,
    model::AccountId,
    relay::{Care, Commitment, Committed, Envelope, Outcome},
    rules::likeness::Likeness,
    store::{Account, Copy, Error, Joined, Letter, SentMessage, SentPlace, Spooled, Store, sent::KNOWN, unix_now},
    upstream::Gates,
};
pub use desk::Desk;
use spool::{SPOOL_SHARE, Spool, Spooling, Whole};
use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

/// When a message whose outcome nobody has told is looked at, in seconds: a provider has ten minutes to answer an end mark
/// (RFC 5321 section 4.5.3.2.6).
pub(crate) const UNTOLD: i64 = 660;
/// What became of a message is said again this often, and so many times, where it could not be kept: until it is looked at.
pub(crate) const SETTLED_EACH: Duration = Duration::from_secs(5);
pub(crate) const SETTLED_AGAIN: u32 = 130;
/// A provider that files by itself is given this time, in seconds, before Sent is looked at.
pub(crate) const LOOKED_AFTER: i64 = 5;
/// How long a CRM waits to be told under which number its copy stands.
pub(crate) const COPY_WAIT: Duration = Duration::from_secs(2);
/// How long a retry of a message waits until Sent is looked at.
pub(crate) const RETRY_LOOK: Duration = Duration::from_secs(30);

/// Where sessions leave what they send, and who files it.
pub struct Filing {
    pub(crate) store: Store,
    pub(crate) gates: Arc<Gates>,
    pub(crate) spool: Spool,
    /// Something is due.
    wake: Notify,
    /// Something was filed.
    news: Notify,
    /// Something was queued.
    pub(crate) queued: Notify,
    /// For how long the delivery of a queued message is tried, in seconds.
    delivery: i64,
    /// One lock for the messages of an account.
    busy: Mutex<HashSet<AccountId>>,
    /// When a message whose outcome nobody has told is looked at, in seconds.
    untold: i64,
}

impl Filing {
    /// Makes the spool where there is none. `end_of_data` is how long the answer to an end mark is waited for.
    ///
    /// # Errors
    /// If it cannot be made, or others may write it.
    pub fn open(
        state: &Path,
        store: Store,
        gates: Arc<Gates>,
        end_of_data: Duration,
        delivery: Duration,
    ) -> Result<Arc<Self>, Error> {
        let spool = Spool::open(state, SPOOL_SHARE)?;
        let busy = Mutex::default();
        let [wake, news, queued] = std::array::from_fn(|_| Notify::new());
        let untold = UNTOLD.max(as_seconds(end_of_data).saturating_add(60));
        let delivery = as_seconds(delivery).min(i64::MAX / 2);
        Ok(Arc::new(Self { store, gates, spool, wake, news, queued, delivery, busy, untold }))
    }

    /// What a bridge that is gone had under way is in doubt. To be called before anything new begins.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn recover(&self) -> Result<(), Error> {
        let doubted = self.store.doubt_sent(unix_now() + LOOKED_AFTER).await?;
        if doubted > 0 {
            tracing::warn!(messages = doubted, "whether these were sent is not known; Sent is looked at");
        }
        Ok(())
    }

    async fn begin(&self, account: AccountId) -> Result<Spooling, Failure> {
        let share = self.spool.share(account);
        let commits = share.commits();
        share.learn(self.store.spooled_octets(account).await.map_err(|error| untold(&error))?, commits);
        self.spool.create(share).await.map_err(|error| not_kept(&error))
    }

    async fn account(&self, id: AccountId) -> Result<Account, Failure> {
        let account = self.store.account(id).await.map_err(|error| untold(&error))?;
        account.ok_or(Failure::Internal("the account is gone"))
    }

    /// Commits what is whole. Its number is by which the outcome is said later.
    async fn commit(
        &self,
        id: AccountId,
        whole: Option<Whole>,
        likeness: Likeness,
        commitment: Commitment,
    ) -> Result<(i64, Committed), Failure> {
        // Counted as a draft's until its row is there.
        let (whole, share) = whole.map(|Whole { spooled, content, share }| ((spooled, content), share)).unzip();
        let committed = self.commit_whole(id, whole, likeness, commitment).await?;
        if let Some(share) = share.filter(|_| !matches!(committed.1, Committed::SentBefore | Committed::UnderWay)) {
            share.keep();
        }
        Ok(committed)
    }

    async fn commit_whole(
        &self,
        id: AccountId,
        whole: Option<(Spooled, Vec<u8>)>,
        likeness: Likeness,
        commitment: Commitment,
    ) -> Result<(i64, Committed), Failure> {
        let account = self.account(id).await?;
        let files = self.gates.files(&account) == Some(true);
        match (commitment, whole) {
            (Commitment::Sending { recipients }, whole) => {
                let (spooled, content) = whole.unzip();
                let letter = Letter { likeness, recipients, spooled, content, files };
                self.mark(&account, letter).await
            }
            (Commitment::Copy { flags, seen, date }, Some((spooled, content))) => {
                // What is older than a day was not sent just now: no provider is about to file it.
                let is_new = likeness.dated.is_none_or(|dated| (unix_now() - dated).abs() < KNOWN);
                let files = files && is_new;
                let copy = Copy { likeness, spooled, content, flags, seen, date, files };
                self.take_copy(&account, &copy).await
            }
            (Commitment::Queued(envelope), Some((spooled, content))) => {
                let recipients = Some(one_form(&envelope.recipients));
                let letter = Letter { likeness, recipients, spooled: Some(spooled), content: Some(content), files };
                self.enqueue(&account, &letter, &envelope).await
            }
            (Commitment::Queued(_), None) => Err(Failure::Internal("a queued message without its octets")),
            (Commitment::Copy { .. }, None) => Err(Failure::Internal("a copy without its octets")),
        }
    }

    async fn mark(&self, account: &Account, letter: Letter) -> Result<(i64, Committed), Failure> {
        let since = unix_now() - self.untold;
        if self.store.is_under_way(account.id, &letter, since).await.map_err(|error| untold(&error))? {
            self.spool.remove(letter.spooled.map(|spooled| spooled.file)).await;
            return Ok((0, Committed::UnderWay));
        }
        let unheard = self.store.untold_sent(account.id, &letter, unix_now()).await.map_err(|error| untold(&error))?;
        if let Some(id) = unheard {
            self.spool.remove(letter.spooled.map(|spooled| spooled.file)).await;
            let account = account.address.as_str();
            tracing::info!(account, "a message whose client had gone before it was told is not sent again");
            return Ok((id, Committed::SentBefore));
        }
        let before = timeout(RETRY_LOOK, self.was_sent_before(account, &letter)).await;
        let before = match before.unwrap_or(Err(LOOK_FAILED)) {
            // Its reply would say that the connection closes.
            Err(Failure::Busy(_)) => Err(LOOK_FAILED),
            before => before,
        };
        if before != Ok(false) {
            self.spool.remove(letter.spooled.map(|spooled| spooled.file)).await;
            return before.map(|_| (0, Committed::SentBefore));
        }
        reach(Moment::BeforeMark).await;
        let now = unix_now();
        let marked = self.store.mark_sent(account.id, &letter, now, now + self.untold).await;
        let Joined { id, spare, .. } = match marked {
            Ok(joined) => joined,
            Err(error) => {
                self.spool.remove(letter.spooled.map(|spooled| spooled.file)).await;
                return Err(untold(&error));
            }
        };
        self.spool.remove(spare).await;
        reach(Moment::AfterMark).await;
        Ok((id, Committed::Kept))
    }

    /// Takes what the bridge delivers by itself.
    async fn enqueue(
        &self,
        account: &Account,
        letter: &Letter,
        envelope: &Envelope,
    ) -> Result<(i64, Committed), Failure> {
        // Where nobody may read, the bridge does not look into the mailbox.
        let copies = account.settings.receives && self.gates.filing_of(account) != Care::Nothing;
        let now = unix_now();
        reach(Moment::BeforeQueued).await;
        let expires = now.saturating_add(self.delivery);
        let enqueued = self.store.enqueue(account.id, letter, envelope, copies, now, expires).await;
        let id = match enqueued {
            Ok(enqueued) => {
                self.spool.remove(enqueued.spare).await;
                enqueued.id
            }
            Err(error) => {
                self.spool.remove(letter.spooled.as_ref().map(|spooled| spooled.file.clone())).await;
                return Err(untold(&error));
            }
        };
        reach(Moment::AfterQueued).await;
        tracing::info!(account = account.address.as_str(), number = id, "a message is queued");
        self.queued.notify_one();
        Ok((id, Committed::Queued(id)))
    }

    /// The client of a queued message is known to have heard of it.
    async fn queued_is_told(&self, id: i64) {
        if let Err(error) = self.store.told_queued(id).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "that a client knows of its message is not kept");
        }
    }

    /// The client of a message that was sent while it waited is known to have heard of it.
    async fn sent_is_told(&self, id: i64) {
        if let Err(error) = self.store.told_sent(id).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "that a client knows of its message is not kept");
        }
    }

    /// Something new is due.
    pub(crate) fn is_due(&self) {
        self.wake.notify_one();
    }

    /// Whether this is a retry, to the same recipients, of a message whose outcome was not known, and that its provider has
    /// put into Sent (rule R40). What may stand there by anybody else proves nothing.
    async fn was_sent_before(&self, account: &Account, letter: &Letter) -> Result<bool, Failure> {
        if self.gates.files(account) == Some(false) {
            return Ok(false);
        }
        let before = self.store.uncertain_sent(account.id, letter, unix_now()).await;
        for earlier in before.map_err(|error| untold(&error))? {
            let proves = !self.store.may_be_others(&earlier).await.map_err(|error| untold(&error))?;
            if proves && (earlier.filed || self.looked(account.id, &earlier).await?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn take_copy(&self, account: &Account, copy: &Copy) -> Result<(i64, Committed), Failure> {
        let now = unix_now();
        // A provider that files by itself may not have done so yet. Elsewhere the CRM looks for its copy next.
        let due = Some(if copy.files { now + LOOKED_AFTER } else { now });
        reach(Moment::BeforeCopy).await;
        let joined = match self.store.give_copy(account.id, copy, now, due).await {
            Ok(joined) => joined,
            Err(error) => {
                self.spool.remove(Some(copy.spooled.file.clone())).await;
                return Err(untold(&error));
            }
        };
        reach(Moment::AfterCopy).await;
        self.spool.remove(joined.spare).await;
        self.wake.notify_one();
        let place = match joined.filed {
            true => joined.place,
            // It is not looked at before that time is over.
            false if due.or(joined.due).is_none_or(|due| due > now + as_seconds(COPY_WAIT)) => None,
            false => timeout(COPY_WAIT, self.filed(joined.id)).await.ok().flatten(),
        };
        reach(Moment::BeforeCopyReply).await;
        let filed = place.map(|SentPlace { uid_validity, uid }| Committed::Filed(uid_validity, uid));
        Ok((joined.id, filed.unwrap_or(Committed::Kept)))
    }

    /// Where it stands, once it does.
    async fn filed(&self, id: i64) -> Option<SentPlace> {
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            news.as_mut().enable();
            let message = self.store.sent_message(id).await.ok()??;
            if message.filed {
                return message.place;
            }
            news.await;
        }
    }

    /// Says what became of a message. Where that cannot be committed nobody waits for it, and it is tried again until the
    /// message is looked at for want of it: nothing is lost even then.
    async fn settle(self: &Arc<Self>, id: i64, outcome: Outcome) {
        reach(Moment::BeforeOutcome).await;
        if !self.is_settled(id, outcome).await {
            let filing = self.clone();
            tokio::spawn(async move {
                for _ in 0..SETTLED_AGAIN {
                    tokio::time::sleep(SETTLED_EACH).await;
                    if filing.is_settled(id, outcome).await {
                        break;
                    }
                }
            });
        }
        reach(Moment::AfterOutcome).await;
    }

    async fn is_settled(&self, id: i64, outcome: Outcome) -> bool {
        match self.try_settle(id, outcome).await {
            Ok(spare) => {
                self.spool.remove(spare).await;
                self.wake.notify_one();
                true
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "what became of a sent message cannot be kept; its Sent copy comes later");
                false
            }
        }
    }

    async fn try_settle(&self, id: i64, outcome: Outcome) -> Result<Vec<String>, Error> {
        let now = unix_now();
        let Some(message) = self.store.sent_message(id).await? else { return Ok(Vec::new()) };
        let account = self.store.account(message.account).await?;
        let due = self.due(&message, account.as_ref(), outcome, now);
        self.store.settle_sent(id, outcome, due).await
    }

    /// When the Sent copy of a message with this outcome is looked at next.
    pub(crate) fn due(
        &self,
        message: &SentMessage,
        account: Option<&Account>,
        outcome: Outcome,
        now: i64,
    ) -> Option<i64> {
        let known = account.map(|account| (account.settings.sent_copy, self.gates.files(account)));
        match (outcome, known) {
            _ if message.filed => Some(now + filer::LOOKED_FIRST),
            (Outcome::Unknown, _) => Some(now + LOOKED_AFTER),
            (Outcome::Refused, _) => Some(now),
            (Outcome::Accepted, _) if message.files && message.spooled.is_none() => Some(message.began_at + KNOWN),
            (Outcome::Accepted, Some((crate::model::SentCopy::Auto, None | Some(true)))) => Some(now + LOOKED_AFTER),
            (Outcome::Accepted, _) => Some(now),
        }
    }
}

pub(crate) fn as_seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// Whether a message was sent cannot be told now.
const LOOK_FAILED: Failure = Failure::ProviderUnreachable(crate::failure::Unreachable::TimedOut);

/// Recipients by which a retry is known, whatever the order in which they were said.
fn one_form(recipients: &[String]) -> String {
    let mut recipients: Vec<_> = recipients.iter().map(|recipient| recipient.to_ascii_lowercase()).collect();
    recipients.sort_unstable();
    recipients.join("\n")
}

/// Nothing is acknowledged that is not on disk: whatever the disk says, there is no room for it.
fn not_kept(error: &std::io::Error) -> Failure {
    tracing::error!(%error, "a message cannot be written to the spool");
    Failure::OurDiskFull
}

fn untold(error: &Error) -> Failure {
    tracing::error!(error = error as &dyn std::error::Error, "what is sent cannot be committed");
    match Failure::from(error) {
        Failure::Internal(_) => Failure::OurDiskFull,
        failure => failure,
    }
}
