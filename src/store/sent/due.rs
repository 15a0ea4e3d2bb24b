//! Sent copies that are due: who looks at which, what came of it, and what may be forgotten.

use super::{Files, KNOWN, Letter, Place, Row, Sending, SentMessage, columns, hashed, named, place};
use crate::{
    model::AccountId,
    store::{Error, Store, on},
};
use std::collections::HashSet;

/// Of one account at a time.
pub(crate) const OF_ONE: u32 = 16;

impl Store {
    /// Those that are to be looked at by now and that nobody has claimed, by account and number, oldest first; and when the
    /// next ones are.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn due_sent(&self, now: i64, most: u32) -> Result<(Vec<(AccountId, i64)>, Option<i64>), Error> {
        // No account keeps the others waiting.
        const DUE: &str = "SELECT account_id, id FROM
                (SELECT account_id, id, due_at, ROW_NUMBER() OVER (PARTITION BY account_id ORDER BY due_at, id) AS place
                FROM sent WHERE due_at <= $1 AND claimed_until <= $1) AS due
            WHERE place <= $3 ORDER BY place, due_at, id LIMIT $2";
        const NEXT: &str = "SELECT MIN(CASE WHEN due_at < claimed_until THEN claimed_until ELSE due_at END) FROM sent
            WHERE due_at > $1 OR claimed_until > $1";
        let (due, next): (Vec<(i64, i64)>, Option<i64>) = on!(self, pool => (
            sqlx::query_as(DUE).bind(now).bind(i64::from(most)).bind(i64::from(OF_ONE)).fetch_all(pool).await?,
            sqlx::query_scalar(NEXT).bind(now).fetch_one(pool).await?,
        ));
        Ok((due.into_iter().map(|(account, id)| (AccountId(account), id)).collect(), next))
    }

    /// One of them, as it is now.
    ///
    /// # Errors
    /// If the store fails, or the row cannot be read.
    pub async fn sent_message(&self, id: i64) -> Result<Option<SentMessage>, Error> {
        const ONE: &str = concat!("SELECT ", columns!(), " FROM sent WHERE id = $1");
        let row: Option<Row> = on!(self, pool => sqlx::query_as(ONE).bind(id).fetch_optional(pool).await?);
        row.map(SentMessage::try_from).transpose()
    }

    /// Claims one that is due for a while, against other bridges on this store, and gives it as it is now. None: another
    /// has it, it is not due any more, or it is gone.
    ///
    /// # Errors
    /// If the store fails, or the row cannot be read.
    pub async fn claim_sent(&self, id: i64, now: i64, until: i64) -> Result<Option<SentMessage>, Error> {
        const CLAIM: &str = concat!(
            "UPDATE sent SET claimed_until = $3 WHERE id = $1 AND due_at <= $2 AND claimed_until <= $2 RETURNING ",
            columns!()
        );
        let claimed: Option<Row> =
            on!(self, pool => sqlx::query_as(CLAIM).bind(id).bind(now).bind(until).fetch_optional(pool).await?);
        claimed.map(SentMessage::try_from).transpose()
    }

    /// Its copy stands in Sent. The files that are needed no more are named.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn filed_sent(
        &self,
        id: i64,
        place: Option<Place>,
        ours: bool,
        now: i64,
        due: i64,
    ) -> Result<Vec<String>, Error> {
        const FILE: &str = "SELECT file, fallback FROM sent WHERE id = $1";
        const FILED: &str =
            "UPDATE sent SET filed_at = $2, uid_validity = $3, uid = $4, ours = $5, due_at = $6, file = NULL,
            octets = 0, fallback = NULL, tries = 0, claimed_until = 0 WHERE id = $1";
        on!(self, pool => {
            let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
            let files: Option<Files> = sqlx::query_as(FILE).bind(id).fetch_optional(&mut *transaction).await?;
            sqlx::query(FILED)
                .bind(id)
                .bind(now)
                .bind(place.map(|place| i64::from(place.uid_validity)))
                .bind(place.map(|place| i64::from(place.uid)))
                .bind(i64::from(ours))
                .bind(due)
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(named(files))
        })
    }

    /// It is looked at again later; `sending` where more is known of that.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn postpone_sent(&self, id: i64, due: Option<i64>, sending: Option<Sending>) -> Result<(), Error> {
        const LATER: &str = "UPDATE sent SET due_at = $2, tries = tries + 1, claimed_until = 0,
            sending = CASE WHEN sending = 'marked' THEN COALESCE($3, sending) ELSE sending END WHERE id = $1";
        on!(self, pool => {
            sqlx::query(LATER).bind(id).bind(due).bind(sending.map(Sending::name)).execute(pool).await?;
        });
        Ok(())
    }

    /// Puts off all of an account's that are due: its mailbox cannot be reached.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn postpone_all_sent(&self, account: AccountId, now: i64, due: i64) -> Result<(), Error> {
        const LATER: &str =
            "UPDATE sent SET due_at = $3 WHERE account_id = $1 AND due_at <= $2 AND claimed_until <= $2";
        on!(self, pool => {
            sqlx::query(LATER).bind(account.0).bind(now).bind(due).execute(pool).await?;
        });
        Ok(())
    }

    /// Notes that an APPEND of ours may be stored from here on.
    ///
    /// # Errors
    /// If the store fails: it must not be said then.
    pub async fn try_sent(&self, id: i64) -> Result<(), Error> {
        const TRY: &str = "UPDATE sent SET tried = 1 WHERE id = $1";
        on!(self, pool => { sqlx::query(TRY).bind(id).execute(pool).await?; });
        Ok(())
    }

    /// The provider has refused the copy: it is tried without what the CRM wrote beside it, then what was sent in its place.
    /// The file that is needed no more is named; false: there is nothing else to try.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn refused_sent(&self, message: &SentMessage, due: i64) -> Result<(bool, Option<String>), Error> {
        const PLAIN: &str = "UPDATE sent SET plain = 1, due_at = $2, claimed_until = 0 WHERE id = $1";
        const FALL_BACK: &str =
            "UPDATE sent SET file = fallback, octets = fallback_octets, fallback = NULL, flags = '',
            seen = 1, internal_date = NULL, due_at = $2, claimed_until = 0 WHERE id = $1 AND fallback IS NOT NULL";
        let has_more = !message.flags.is_empty() || message.internal_date.is_some();
        if has_more && !message.plain {
            on!(self, pool => { sqlx::query(PLAIN).bind(message.id).bind(due).execute(pool).await?; });
            return Ok((true, None));
        }
        let fell = on!(self, pool => sqlx::query(FALL_BACK).bind(message.id).bind(due).execute(pool).await?);
        let fell = fell.rows_affected() > 0;
        Ok((fell, message.spooled.clone().filter(|_| fell).map(|spooled| spooled.file)))
    }

    /// Whether what stands in Sent under this message's Message-ID may be there by us, by the CRM, or for another sending of
    /// it: then it says nothing of the provider.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn may_be_others(&self, message: &SentMessage) -> Result<bool, Error> {
        const OTHERS: &str = "SELECT COUNT(*) FROM sent WHERE account_id = $1 AND (message_id = $2 OR copy_id = $2)
            AND (tried = 1 OR ours = 1 OR copied = 1 OR (id <> $3 AND sending IN ('marked', 'accepted')))";
        let count: i64 = on!(self, pool => {
            sqlx::query_scalar(OTHERS).bind(message.account.0).bind(&message.message_id).bind(message.id).fetch_one(pool).await?
        });
        Ok(count > 0)
    }

    /// Where other messages of this one's Message-ID stand.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn places_of_others(&self, message: &SentMessage) -> Result<Vec<Place>, Error> {
        const PLACES: &str = "SELECT uid_validity, uid FROM sent WHERE account_id = $1 AND id <> $3
            AND (message_id = $2 OR copy_id = $2) AND uid IS NOT NULL AND uid_validity IS NOT NULL";
        let rows: Vec<(i64, i64)> = on!(self, pool => {
            sqlx::query_as(PLACES).bind(message.account.0).bind(&message.message_id).bind(message.id).fetch_all(pool).await?
        });
        Ok(rows.into_iter().filter_map(|(uid_validity, uid)| place(Some(uid_validity), Some(uid))).collect())
    }

    /// Octets in the spool for an account.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn spooled_octets(&self, account: AccountId) -> Result<u64, Error> {
        const OCTETS: &str =
            "SELECT (SELECT COALESCE(SUM(octets + CASE WHEN fallback IS NULL THEN 0 ELSE fallback_octets END), 0)
                FROM sent WHERE account_id = $1 AND file IS NOT NULL)
            + (SELECT COALESCE(SUM(octets), 0) FROM queue WHERE account_id = $1 AND file IS NOT NULL)";
        let octets: i64 = on!(self, pool => sqlx::query_scalar(OCTETS).bind(account.0).fetch_one(pool).await?);
        Ok(u64::try_from(octets).unwrap_or_default())
    }

    /// Forgets one. Its files are named.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn forget_sent(&self, id: i64) -> Result<Vec<String>, Error> {
        const FORGET: &str = "DELETE FROM sent WHERE id = $1 RETURNING file, fallback";
        let files: Option<Files> = on!(self, pool => sqlx::query_as(FORGET).bind(id).fetch_optional(pool).await?);
        Ok(named(files))
    }

    /// Messages of this Message-ID, to the same recipients, whose outcome is not known, within a day.
    ///
    /// # Errors
    /// If the store fails, or a row cannot be read.
    pub async fn uncertain_sent(
        &self,
        account: AccountId,
        letter: &Letter,
        now: i64,
    ) -> Result<Vec<SentMessage>, Error> {
        const SAME: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM sent WHERE account_id = $1 AND message_id = $2 AND envelope = $4 AND sending = 'uncertain'
              AND began_at >= $3 ORDER BY began_at LIMIT 8"
        );
        let rows: Vec<Row> = on!(self, pool => {
            sqlx::query_as(SAME).bind(account.0)
                .bind(&letter.likeness.message_id)
                .bind(now - KNOWN)
                .bind(letter.recipients.as_deref().map(hashed))
                .fetch_all(pool)
                .await?
        });
        rows.into_iter().map(SentMessage::try_from).collect()
    }

    /// Takes over from a bridge that is gone, when one starts: of those that it marked nobody will tell the outcome, and
    /// what it claimed is free. How many are in doubt.
    ///
    /// Where another bridge still runs on this store both may file one message: then each finds the other's copy, and
    /// takes its own back.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn doubt_sent(&self, due: i64) -> Result<u64, Error> {
        const FREE: &str = "UPDATE sent SET claimed_until = 0 WHERE claimed_until > 0";
        const DOUBT: &str = "UPDATE sent SET sending = 'uncertain', due_at = $1 WHERE sending = 'marked'";
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            sqlx::query(FREE).execute(&mut *transaction).await?;
            let doubted = sqlx::query(DOUBT).bind(due).execute(&mut *transaction).await?.rows_affected();
            transaction.commit().await?;
            Ok(doubted)
        })
    }

    /// The names of all files that are needed.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn spooled_files(&self) -> Result<HashSet<String>, Error> {
        const FILES: &str = "SELECT file FROM sent WHERE file IS NOT NULL
            UNION SELECT fallback FROM sent WHERE fallback IS NOT NULL
            UNION SELECT file FROM queue WHERE file IS NOT NULL";
        let files: Vec<String> = on!(self, pool => sqlx::query_scalar(FILES).fetch_all(pool).await?);
        Ok(files.into_iter().collect())
    }

    /// What of an account is waited for: how many copies, and since when the oldest.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn unfiled_sent(&self, account: AccountId) -> Result<(u64, Option<i64>), Error> {
        const WAITING: &str = "SELECT COUNT(*), MIN(began_at) FROM sent WHERE account_id = $1 AND file IS NOT NULL";
        let (count, since): (i64, Option<i64>) =
            on!(self, pool => sqlx::query_as(WAITING).bind(account.0).fetch_one(pool).await?);
        Ok((u64::try_from(count).unwrap_or_default(), since))
    }

    /// Remembers whether the provider files what this account sends, where its table does not know.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn note_files_sent(&self, account: AccountId, files: bool) -> Result<(), Error> {
        const NOTE: &str = "UPDATE accounts SET files_sent = $2 WHERE id = $1";
        let word = if files { "yes" } else { "no" };
        on!(self, pool => { sqlx::query(NOTE).bind(account.0).bind(word).execute(pool).await?; });
        Ok(())
    }
}
