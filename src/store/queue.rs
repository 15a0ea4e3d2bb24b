//! The rows of queued messages: what was taken for a CRM, and what is known of each recipient.
//!
//! A row and its Sent copy's begin in one commit. What becomes of a message is for the caller to say; here it is kept, so
//! that no crash can lose a message that was acknowledged, or forget that its end mark was sent.

mod people;
mod turn;

pub use turn::{Told, ToldSent};

use super::{
    Error, Letter, Spooled, Store, on,
    sent::{KNOWN, Sending, begin_sent, hashed},
};
use crate::{model::AccountId, relay::Envelope, wire::smtp::BodyKind};

/// Messages of one account that are not done: a campaign of a day, while its provider takes nothing.
pub(crate) const MESSAGES_MAX: u32 = 5_000;
/// Recipients of them all.
pub(crate) const RECIPIENTS_MAX: u32 = 100_000;

/// How a queued message stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueState {
    Waiting,
    /// The end mark may be with the provider.
    Marked,
    /// Nobody knows whether it was sent, and a person decides.
    Uncertain,
    /// A report of what failed is to be put into the INBOX.
    Reporting,
    /// Kept to know a retry by.
    Done,
}

impl QueueState {
    const ALL: [Self; 5] = [Self::Waiting, Self::Marked, Self::Uncertain, Self::Reporting, Self::Done];

    /// As it is kept and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Marked => "marked",
            Self::Uncertain => "uncertain",
            Self::Reporting => "reporting",
            Self::Done => "done",
        }
    }
}

/// How one recipient of it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RecipientState {
    Waiting,
    /// The provider takes it, and may have the message.
    Offered,
    Accepted,
    /// For good.
    Failed,
    /// The same, and that was told.
    Reported,
    Uncertain,
}

impl RecipientState {
    const ALL: [Self; 6] =
        [Self::Waiting, Self::Offered, Self::Accepted, Self::Failed, Self::Reported, Self::Uncertain];

    /// As it is kept and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Offered => "offered",
            Self::Accepted => "accepted",
            Self::Failed => "failed",
            Self::Reported => "reported",
            Self::Uncertain => "uncertain",
        }
    }
}

/// One recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    pub position: i64,
    pub address: String,
    pub state: RecipientState,
    /// The last reply to it.
    pub words: String,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    pub id: i64,
    pub account: AccountId,
    pub state: QueueState,
    /// Of the envelope; empty: the null reverse-path.
    pub sender: String,
    pub body: Option<BodyKind>,
    pub message_id: Option<String>,
    /// Its row of Sent copies.
    pub sent: Option<i64>,
    /// None: done.
    pub spooled: Option<Spooled>,
    pub began_at: i64,
    pub expires_at: i64,
    pub due_at: Option<i64>,
    pub claimed_until: i64,
    pub tries: u32,
    /// So many reports stand in the INBOX.
    pub reports: u32,
    /// Why the last try came to nothing.
    pub words: String,
    pub recipients: Vec<Recipient>,
}

/// A message that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enqueued {
    pub id: i64,
    /// A file that is needed no more: the same message was queued before.
    pub spare: Option<String>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    account_id: i64,
    state: String,
    sender: String,
    body: Option<String>,
    message_id: Option<String>,
    sent_id: Option<i64>,
    file: Option<String>,
    octets: i64,
    began_at: i64,
    expires_at: i64,
    due_at: Option<i64>,
    claimed_until: i64,
    tries: i64,
    reports: i64,
    words: String,
}

/// All columns of [`Row`].
macro_rules! columns {
    () => {
        "id, account_id, state, sender, body, message_id, sent_id, file, octets, began_at, expires_at, due_at,
         claimed_until, tries, reports, words"
    };
}
use columns;

const BODIES: [(BodyKind, &str); 2] = [(BodyKind::SevenBit, "7bit"), (BodyKind::EightBitMime, "8bitmime")];

impl TryFrom<Row> for Queued {
    type Error = Error;

    /// Without its recipients.
    fn try_from(row: Row) -> Result<Self, Error> {
        let octets = u64::try_from(row.octets).map_err(|_| Error::Corrupt("queue.octets"))?;
        let state = QueueState::ALL.into_iter().find(|state| state.name() == row.state);
        let body = |word: String| {
            let known = BODIES.into_iter().find(|(_, name)| *name == word);
            known.map(|(body, _)| body).ok_or(Error::Corrupt("queue.body"))
        };
        Ok(Self {
            id: row.id,
            account: AccountId(row.account_id),
            state: state.ok_or(Error::Corrupt("queue.state"))?,
            sender: row.sender,
            body: row.body.map(body).transpose()?,
            message_id: row.message_id,
            sent: row.sent_id,
            spooled: row.file.map(|file| Spooled { file, octets }),
            began_at: row.began_at,
            expires_at: row.expires_at,
            due_at: row.due_at,
            claimed_until: row.claimed_until,
            tries: u32::try_from(row.tries).unwrap_or(u32::MAX),
            reports: u32::try_from(row.reports).unwrap_or(u32::MAX),
            words: row.words,
            recipients: Vec::new(),
        })
    }
}

fn recipient((position, address, state, words): (i64, String, String, String)) -> Result<Recipient, Error> {
    let state = RecipientState::ALL.into_iter().find(|known| known.name() == state);
    Ok(Recipient { position, address, state: state.ok_or(Error::Corrupt("queue_recipients.state"))?, words })
}

const RECIPIENTS: &str =
    "SELECT position, address, state, words FROM queue_recipients WHERE queue_id = $1 ORDER BY position";
/// Of a session that ended before its client was known to have heard of it.
const BEFORE: &str = "SELECT id FROM queue WHERE account_id = $1 AND message_id = $2 AND envelope = $3 AND sender = $4
        AND told = 0 AND began_at >= $5
    ORDER BY id LIMIT 1";
/// Messages of an account that are not done, and their recipients.
const WAITING: &str = "SELECT (SELECT COUNT(*) FROM queue WHERE account_id = $1 AND state <> 'done'),
    (SELECT COUNT(*) FROM queue JOIN queue_recipients ON queue_id = queue.id
        WHERE account_id = $1 AND queue.state <> 'done')";
/// Where the provider has asked for a pause, a new message waits with the others.
const ENQUEUE: &str =
    "INSERT INTO queue (account_id, state, sender, body, message_id, envelope, sent_id, file, octets, began_at,
        expires_at, due_at)
    VALUES ($1, 'waiting', $2, $3, $4, $5, $6, $7, $8, $9, $10, COALESCE((SELECT MAX(due_at) FROM queue
        WHERE account_id = $1 AND state = 'waiting' AND advised = 1 AND due_at > $9), $9)) RETURNING id";
const ADD_RECIPIENT: &str =
    "INSERT INTO queue_recipients (queue_id, position, address, state) VALUES ($1, $2, $3, 'waiting')";

impl Store {
    /// Takes a message, in one commit with the row of its Sent copy where `copies` says that one is seen to. A message that
    /// was queued before, and whose client may not have heard of that, is taken once.
    ///
    /// # Errors
    /// [`Error::QueueFull`] if the account has too many, or if the store fails: the message must not be acknowledged then.
    pub async fn enqueue(
        &self,
        account: AccountId,
        letter: &Letter,
        envelope: &Envelope,
        copies: bool,
        now: i64,
        expires_at: i64,
    ) -> Result<Enqueued, Error> {
        let spooled = letter.spooled.as_ref().ok_or(Error::Corrupt("queue.file"))?;
        let octets = i64::try_from(spooled.octets).map_err(|_| Error::Corrupt("queue.octets"))?;
        let digest = hashed(letter.recipients.as_deref().unwrap_or_default());
        let body = BODIES.into_iter().find(|(body, _)| Some(*body) == envelope.body).map(|(_, name)| name);
        on!(self, pool => {
            let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
            let before: Option<i64> = sqlx::query_scalar(BEFORE)
                .bind(account.0)
                .bind(&letter.likeness.message_id)
                .bind(&digest)
                .bind(&envelope.sender)
                .bind(now - KNOWN)
                .fetch_optional(&mut *transaction)
                .await?;
            if let Some(id) = before {
                return Ok(Enqueued { id, spare: Some(spooled.file.clone()) });
            }
            let (messages, recipients): (i64, i64) =
                sqlx::query_as(WAITING).bind(account.0).fetch_one(&mut *transaction).await?;
            let more = i64::try_from(envelope.recipients.len()).unwrap_or(i64::MAX);
            if messages >= MESSAGES_MAX.into() || recipients.saturating_add(more) > RECIPIENTS_MAX.into() {
                return Err(Error::QueueFull);
            }
            let sent = match copies {
                true => {
                    // The file is the queue's until the message is sent.
                    let (due, file): (Option<i64>, Option<&Spooled>) = (None, None);
                    let begun = begin_sent!(transaction, account, letter, now, due, Sending::Queued, file);
                    Some(begun.id)
                }
                false => None,
            };
            let id: i64 = sqlx::query_scalar(ENQUEUE)
                .bind(account.0)
                .bind(&envelope.sender)
                .bind(body)
                .bind(&letter.likeness.message_id)
                .bind(&digest)
                .bind(sent)
                .bind(&spooled.file)
                .bind(octets)
                .bind(now)
                .bind(expires_at)
                .fetch_one(&mut *transaction)
                .await?;
            for (position, address) in (0_i64..).zip(&envelope.recipients) {
                let add = sqlx::query(ADD_RECIPIENT).bind(id).bind(position).bind(address);
                add.execute(&mut *transaction).await?;
            }
            transaction.commit().await?;
            Ok(Enqueued { id, spare: None })
        })
    }

    /// Its client has heard that it is queued.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn told_queued(&self, id: i64) -> Result<(), Error> {
        const TOLD: &str = "UPDATE queue SET told = 1 WHERE id = $1";
        const OVER: &str = "DELETE FROM queue WHERE id = $1 AND state = 'done'";
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            sqlx::query(TOLD).bind(id).execute(&mut *transaction).await?;
            sqlx::query(OVER).bind(id).execute(&mut *transaction).await?;
            transaction.commit().await?;
        });
        Ok(())
    }

    /// One of them, as it is now.
    ///
    /// # Errors
    /// If the store fails, or a row cannot be read.
    pub async fn queued(&self, id: i64) -> Result<Option<Queued>, Error> {
        const ONE: &str = concat!("SELECT ", columns!(), " FROM queue WHERE id = $1");
        let row: Option<Row> = on!(self, pool => sqlx::query_as(ONE).bind(id).fetch_optional(pool).await?);
        match row {
            Some(row) => self.with_recipients(row).await.map(Some),
            None => Ok(None),
        }
    }

    async fn with_recipients(&self, row: Row) -> Result<Queued, Error> {
        let mut queued = Queued::try_from(row)?;
        let rows: Vec<(i64, String, String, String)> =
            on!(self, pool => sqlx::query_as(RECIPIENTS).bind(queued.id).fetch_all(pool).await?);
        queued.recipients = rows.into_iter().map(recipient).collect::<Result<_, _>>()?;
        Ok(queued)
    }
}
