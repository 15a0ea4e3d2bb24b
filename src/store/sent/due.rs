//! Sent copies that are due: who looks at which, what came of it, and what may be forgotten.

use super::{KNOWN, Letter, Place, Row, Sending, SentMessage, columns, hashed};
use crate::{
    model::AccountId,
    store::{Error, Store, on},
};
use std::collections::HashSet;

impl Store {
    /// Those that are to be looked at by now and that nobody has claimed, by account and number, oldest first; and when the
    /// next ones are.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn due_sent(&self, now: i64, most: u32) -> Result<(Vec<(AccountId, i64)>, Option<i64>), Error> {
        const DUE: &str = "SELECT account_id, id FROM sent WHERE due_at <= $1 AND claimed_until <= $1
            ORDER BY due_at, id LIMIT $2";
        const NEXT: &str = "SELECT MIN(CASE WHEN due_at < claimed_until THEN claimed_until ELSE due_at END) FROM sent
            WHERE due_at > $1 OR claimed_until > $1";
        let (due, next): (Vec<(i64, i64)>, Option<i64>) = on!(self, pool => (
            sqlx::query_as(DUE).bind(now).bind(i64::from(most)).fetch_all(pool).await?,
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

    /// Its copy stands in Sent. The file that is needed no more is named.
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
    ) -> Result<Option<String>, Error> {
        const FILE: &str = "SELECT file FROM sent WHERE id = $1";
        const FILED: &str =
            "UPDATE sent SET filed_at = $2, uid_validity = $3, uid = $4, ours = $5, due_at = $6, file = NULL,
            octets = 0, tries = 0, claimed_until = 0 WHERE id = $1";
        on!(self, pool => {
            let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
            let file: Option<Option<String>> =
                sqlx::query_scalar(FILE).bind(id).fetch_optional(&mut *transaction).await?;
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
            Ok(file.flatten())
        })
    }

    /// It is looked at again later; `sending` where more is known of that.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn postpone_sent(&self, id: i64, due: Option<i64>, sending: Option<Sending>) -> Result<(), Error> {
        const LATER: &str = "UPDATE sent SET due_at = $2, tries = tries + 1, claimed_until = 0,
            sending = COALESCE($3, sending) WHERE id = $1";
        on!(self, pool => {
            sqlx::query(LATER).bind(id).bind(due).bind(sending.map(Sending::name)).execute(pool).await?;
        });
        Ok(())
    }

    /// Forgets one. Its file is named.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn forget_sent(&self, id: i64) -> Result<Option<String>, Error> {
        const FORGET: &str = "DELETE FROM sent WHERE id = $1 RETURNING file";
        let file: Option<Option<String>> =
            on!(self, pool => sqlx::query_scalar(FORGET).bind(id).fetch_optional(pool).await?);
        Ok(file.flatten())
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
        const FILES: &str = "SELECT file FROM sent WHERE file IS NOT NULL";
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
