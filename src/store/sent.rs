//! The rows of Sent copies: what is known of each message that is to stand once in its account's Sent mailbox.
//!
//! A row says what outlives a crash; the octets lie in the spool, by the name that the row has. Which row a message has is
//! judged here, in the commit that needs it, so that two who come at once find one. When it is looked at next is for the
//! caller to say.

pub(crate) mod due;
pub(super) mod statements;
mod told;

use super::{Error, Store, on};
use crate::{
    model::AccountId,
    relay::Outcome,
    rules::likeness::{ABOUT, Likeness},
};
use ring::digest::{SHA256, digest};
use statements::{COPY, COPY_JOINS, TAKE_COPY, UNDER_WAY};

/// For how long a message is known by its Message-ID, in seconds (rule R40).
pub(crate) const KNOWN: i64 = 24 * 3600;

/// What is known of a message's sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// A CRM gave its copy, and nothing was sent by us that is alike.
    None,
    /// It lies in the queue, and is not sent yet.
    Queued,
    /// The end mark may be with the provider.
    Marked,
    Accepted,
    /// The provider was lost before it answered (RFC 1047).
    Uncertain,
}

impl Sending {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Queued => "queued",
            Self::Marked => "marked",
            Self::Accepted => "accepted",
            Self::Uncertain => "uncertain",
        }
    }

    fn parse(text: &str) -> Result<Self, Error> {
        let all = [Self::None, Self::Queued, Self::Marked, Self::Accepted, Self::Uncertain];
        all.into_iter().find(|sending| sending.name() == text).ok_or(Error::Corrupt("sent.sending"))
    }
}

/// A file of the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spooled {
    pub file: String,
    /// Its length.
    pub octets: u64,
}

/// Where a copy stands at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub uid_validity: u32,
    pub uid: u32,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentMessage {
    pub id: i64,
    pub account: AccountId,
    pub sending: Sending,
    pub message_id: Option<String>,
    /// That of the CRM's copy, where it is another.
    pub copy_id: Option<String>,
    /// When it was committed, in Unix seconds.
    pub began_at: i64,
    pub spooled: Option<Spooled>,
    /// What was sent, where the CRM's copy is to be filed first.
    pub fallback: Option<Spooled>,
    /// Beside `\Seen`, as the CRM gave them.
    pub flags: String,
    pub seen: bool,
    /// As the CRM gave it.
    pub internal_date: Option<String>,
    /// The CRM has given its own copy.
    pub copied: bool,
    /// It is another version of a copy that the CRM gave before: what stands under its Message-ID is not it.
    pub alone: bool,
    /// An APPEND of ours may have been stored.
    pub tried: bool,
    /// The provider has refused the CRM's flags or date.
    pub plain: bool,
    /// The provider is known to file by itself.
    pub files: bool,
    pub tries: u32,
    /// It was seen in Sent, or put there.
    pub filed: bool,
    pub place: Option<Place>,
    /// We put it there.
    pub ours: bool,
}

/// A message that is sent next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    pub likeness: Likeness,
    /// Of its envelope, in one form; None: too many to tell a retry by.
    pub recipients: Option<String>,
    pub spooled: Option<Spooled>,
    /// A digest of its octets, where they are kept.
    pub content: Option<Vec<u8>>,
    /// The provider is known to file by itself.
    pub files: bool,
}

/// A CRM's copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    pub likeness: Likeness,
    pub spooled: Spooled,
    /// A digest of its octets.
    pub content: Vec<u8>,
    pub flags: String,
    pub seen: bool,
    pub date: Option<String>,
    pub files: bool,
}

/// What a message or copy has become part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub id: i64,
    /// A file that is needed no more: the one given, or the one before.
    pub spare: Option<String>,
    /// It stands in Sent already.
    pub filed: bool,
    pub place: Option<Place>,
    /// When it is looked at next.
    pub due: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    account_id: i64,
    sending: String,
    message_id: Option<String>,
    copy_id: Option<String>,
    began_at: i64,
    file: Option<String>,
    octets: i64,
    fallback: Option<String>,
    fallback_octets: i64,
    flags: String,
    seen: i64,
    internal_date: Option<String>,
    copied: i64,
    alone: i64,
    tried: i64,
    plain: i64,
    files: i64,
    tries: i64,
    filed_at: Option<i64>,
    uid_validity: Option<i64>,
    uid: Option<i64>,
    ours: i64,
}

impl TryFrom<Row> for SentMessage {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        let spooled = |file: Option<String>, octets: i64| {
            let octets = u64::try_from(octets).map_err(|_| Error::Corrupt("sent.octets"))?;
            Ok::<_, Error>(file.map(|file| Spooled { file, octets }))
        };
        Ok(Self {
            id: row.id,
            account: AccountId(row.account_id),
            sending: Sending::parse(&row.sending)?,
            message_id: row.message_id,
            copy_id: row.copy_id,
            began_at: row.began_at,
            spooled: spooled(row.file, row.octets)?,
            fallback: spooled(row.fallback, row.fallback_octets)?,
            flags: row.flags,
            seen: row.seen != 0,
            internal_date: row.internal_date,
            copied: row.copied != 0,
            alone: row.alone != 0,
            tried: row.tried != 0,
            plain: row.plain != 0,
            files: row.files != 0,
            tries: u32::try_from(row.tries).unwrap_or(u32::MAX),
            filed: row.filed_at.is_some(),
            place: place(row.uid_validity, row.uid),
            ours: row.ours != 0,
        })
    }
}

fn place(uid_validity: Option<i64>, uid: Option<i64>) -> Option<Place> {
    let number = |number: Option<i64>| u32::try_from(number?).ok();
    Some(Place { uid_validity: number(uid_validity)?, uid: number(uid)? })
}

pub(super) fn alike(likeness: &Likeness) -> Option<Vec<u8>> {
    likeness.alike.as_deref().map(hashed)
}

pub(super) fn hashed(text: &str) -> Vec<u8> {
    digest(&SHA256, text.as_bytes()).as_ref().to_vec()
}

/// All columns of [`Row`].
macro_rules! columns {
    () => {
        "id, account_id, sending, message_id, copy_id, began_at, file, octets, fallback, fallback_octets, flags, seen,
         internal_date, copied, alone, tried, plain, files, tries, filed_at, uid_validity, uid, ours"
    };
}
use columns;

/// Begins the row of a message within a transaction, or joins it to the copy that the CRM gave before.
macro_rules! begin_sent {
    ($transaction:ident, $account:ident, $letter:ident, $now:ident, $due:ident, $sending:expr, $spooled:ident) => {{
        use $crate::store::sent::{
            Found, Joined, KNOWN, alike, hashed, octets,
            statements::{GIVE_FILE, SEND, SEND_JOINS},
        };
        let (alike, octets) = (alike(&$letter.likeness), octets($spooled)?);
        let envelope = $letter.recipients.as_deref().map(hashed);
        let joined: Option<Found> = sqlx::query_as(SEND_JOINS)
            .bind($account.0)
            .bind(&$letter.likeness.message_id)
            .bind(&alike)
            .bind($letter.likeness.dated)
            .bind($now)
            .bind($now - $crate::rules::likeness::ABOUT)
            .bind($due)
            .bind($crate::rules::likeness::ABOUT)
            .bind(&envelope)
            .bind($now - KNOWN)
            .bind($sending.name())
            .bind(&$letter.content)
            .fetch_optional(&mut *$transaction)
            .await?;
        match joined {
            Some(found) => {
                let mut spare = $spooled.map(|spooled| spooled.file.clone());
                // What the CRM gave, or an earlier try has left, is what it wants to have in Sent.
                if found.file.is_none() && found.filed_at.is_none() && spare.is_some() {
                    let give = sqlx::query(GIVE_FILE).bind(found.id).bind(spare.take()).bind(octets);
                    give.execute(&mut *$transaction).await?;
                }
                found.joined(spare)
            }
            None => {
                let id = sqlx::query_scalar(SEND)
                    .bind($account.0)
                    .bind(&$letter.likeness.message_id)
                    .bind(alike)
                    .bind($letter.likeness.dated)
                    .bind($now)
                    .bind($spooled.map(|spooled| &spooled.file))
                    .bind(octets)
                    .bind(i64::from($letter.files))
                    .bind($due)
                    .bind(envelope)
                    .bind($sending.name())
                    .bind(&$letter.content)
                    .fetch_one(&mut *$transaction)
                    .await?;
                Joined { id, spare: None, filed: false, place: None, due: $due }
            }
        }
    }};
}
pub(super) use begin_sent;

#[derive(sqlx::FromRow)]
pub(super) struct Found {
    pub(super) id: i64,
    pub(super) file: Option<String>,
    pub(super) filed_at: Option<i64>,
    uid_validity: Option<i64>,
    uid: Option<i64>,
    due_at: Option<i64>,
}

impl Store {
    /// Commits a message whose end mark is sent next; `due` is when it is looked at if nobody says what became of it.
    ///
    /// # Errors
    /// If the store fails: the message must not be sent then.
    pub async fn mark_sent(&self, account: AccountId, letter: &Letter, now: i64, due: i64) -> Result<Joined, Error> {
        let spooled = letter.spooled.as_ref();
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            let due = Some(due);
            let joined = begin_sent!(transaction, account, letter, now, due, Sending::Marked, spooled);
            transaction.commit().await?;
            Ok(joined)
        })
    }

    /// Whether this message is being sent to the same recipients, by a session that began since then.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn is_under_way(&self, account: AccountId, letter: &Letter, since: i64) -> Result<bool, Error> {
        let envelope = letter.recipients.as_deref().map(hashed);
        let count: i64 = on!(self, pool => {
            sqlx::query_scalar(UNDER_WAY)
                .bind(account.0)
                .bind(&letter.likeness.message_id)
                .bind(envelope)
                .bind(since)
                .fetch_one(pool)
                .await?
        });
        Ok(count > 0)
    }

    /// Commits a CRM's own copy: as that of what was sent, or as a message of its own. `due` is when one that joins is
    /// looked at, None: as it was; one of its own is looked at now.
    ///
    /// # Errors
    /// If the store fails: the copy must not be acknowledged then.
    pub async fn give_copy(
        &self,
        account: AccountId,
        copy: &Copy,
        now: i64,
        due: Option<i64>,
    ) -> Result<Joined, Error> {
        let (likeness, octets) = (&copy.likeness, octets(Some(&copy.spooled))?);
        let alike = alike(likeness);
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            let joined: Option<Found> = sqlx::query_as(COPY_JOINS)
                .bind(account.0)
                .bind(&likeness.message_id)
                .bind(&alike)
                .bind(likeness.dated)
                .bind(now - KNOWN)
                .bind(now - ABOUT)
                .bind(ABOUT)
                .bind(&copy.content)
                .fetch_optional(&mut *transaction)
                .await?;
            if let Some(found) = joined {
                let mut spare = Some(copy.spooled.file.clone());
                if found.filed_at.is_none() {
                    spare = None;
                    sqlx::query(TAKE_COPY)
                        .bind(found.id)
                        .bind(&copy.spooled.file)
                        .bind(octets)
                        .bind(&copy.flags)
                        .bind(i64::from(copy.seen))
                        .bind(&copy.date)
                        .bind(due)
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await?;
                return Ok(found.joined(spare));
            }
            let id = sqlx::query_scalar(COPY)
                .bind(account.0)
                .bind(&likeness.message_id)
                .bind(alike)
                .bind(likeness.dated)
                .bind(now)
                .bind(&copy.spooled.file)
                .bind(octets)
                .bind(i64::from(copy.files))
                .bind(now)
                .bind(&copy.flags)
                .bind(i64::from(copy.seen))
                .bind(&copy.date)
                .bind(&copy.content)
                .bind(now - KNOWN)
                .fetch_one(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(Joined { id, spare: None, filed: false, place: None, due: Some(now) })
        })
    }

    /// Says what became of a message whose end mark was sent, and when it is looked at next. Files that are needed no more
    /// are named.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn settle_sent(&self, id: i64, outcome: Outcome, due: Option<i64>) -> Result<Vec<String>, Error> {
        const SAID: &str =
            "UPDATE sent SET sending = $2, due_at = $3, claimed_until = 0 WHERE id = $1 AND sending <> 'none'";
        // What the CRM gave stays, sent or not; and this refusal says nothing of an earlier try.
        const BACK: &str =
            "UPDATE sent SET sending = CASE WHEN doubted = 1 THEN 'uncertain' ELSE 'none' END, due_at = $2
            WHERE id = $1 AND (copied = 1 OR doubted = 1)";
        const GONE: &str = "DELETE FROM sent WHERE id = $1 AND copied = 0 AND doubted = 0 RETURNING file, fallback";
        let sending = match outcome {
            Outcome::Accepted => Sending::Accepted,
            Outcome::Unknown => Sending::Uncertain,
            Outcome::Refused => {
                return on!(self, pool => {
                    let mut transaction = pool.begin().await?;
                    sqlx::query(BACK).bind(id).bind(due).execute(&mut *transaction).await?;
                    let gone: Option<Files> = sqlx::query_as(GONE).bind(id).fetch_optional(&mut *transaction).await?;
                    transaction.commit().await?;
                    Ok(named(gone))
                });
            }
        };
        on!(self, pool => {
            sqlx::query(SAID).bind(id).bind(sending.name()).bind(due).execute(pool).await?;
        });
        Ok(Vec::new())
    }
}

/// The file of a row, and the one beside it.
type Files = (Option<String>, Option<String>);

fn named(files: Option<Files>) -> Vec<String> {
    files.into_iter().flat_map(|(file, fallback)| [file, fallback]).flatten().collect()
}

pub(super) fn octets(spooled: Option<&Spooled>) -> Result<i64, Error> {
    let octets = spooled.map_or(0, |spooled| spooled.octets);
    i64::try_from(octets).map_err(|_| Error::Corrupt("sent.octets"))
}

impl Found {
    pub(super) fn joined(self, spare: Option<String>) -> Joined {
        let place = place(self.uid_validity, self.uid);
        Joined { id: self.id, spare, filed: self.filed_at.is_some(), place, due: self.due_at }
    }
}
