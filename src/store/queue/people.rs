//! What people see of queued messages, and do to them.

use super::{QueueState, Queued, Row, columns};
use crate::{
    model::AccountId,
    relay::Outcome,
    store::{Error, Store, on},
};

/// A person who wants a message tried again wants it for this time at least, in seconds.
const RETRIED: i64 = 3600;

impl Store {
    /// All that are not done, of an account or of all, in the order in which they came.
    ///
    /// # Errors
    /// If the store fails, or a row cannot be read.
    pub async fn all_queued(&self, account: Option<AccountId>) -> Result<Vec<Queued>, Error> {
        const ALL: &str = concat!(
            "SELECT ",
            columns!(),
            " FROM queue WHERE state <> 'done' AND account_id = COALESCE($1, account_id) ORDER BY id"
        );
        let account = account.map(|account| account.0);
        let rows: Vec<Row> = on!(self, pool => sqlx::query_as(ALL).bind(account).fetch_all(pool).await?);
        let mut all = Vec::new();
        for row in rows {
            all.push(self.with_recipients(row).await?);
        }
        Ok(all)
    }

    /// Makes one due now, or all, and has those of unknown outcome sent again. How many.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn retry_queued(&self, id: Option<i64>, now: i64) -> Result<u64, Error> {
        // Of all at once nobody has looked whether they were sent.
        const AGAIN: &str = "UPDATE queue_recipients SET state = 'waiting' WHERE state = 'uncertain' AND queue_id = $1
            AND EXISTS (SELECT 1 FROM queue WHERE id = $1 AND claimed_until <= $2 AND state IN ('waiting', 'uncertain'))";
        const DUE: &str = "UPDATE queue SET due_at = $2, advised = 0, state = CASE WHEN state = 'uncertain' THEN 'waiting' ELSE state END,
                expires_at = CASE WHEN expires_at < $3 THEN $3 ELSE expires_at END
            WHERE claimed_until <= $2 AND ((id = $1 AND state IN ('waiting', 'uncertain', 'reporting'))
                OR ($1 IS NULL AND state IN ('waiting', 'reporting')))";
        on!(self, pool => {
            let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query(AGAIN).bind(id).bind(now).execute(&mut *transaction).await?;
            let due = sqlx::query(DUE).bind(id).bind(now).bind(now + RETRIED).execute(&mut *transaction).await?;
            transaction.commit().await?;
            Ok(due.rows_affected())
        })
    }

    /// Takes one out of the queue, unless it is being sent; what was to stand in Sent with it goes too, but for a copy of the
    /// CRM's own. The files that are needed no more are named.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is gone or being sent; or if the store fails.
    pub async fn remove_queued(&self, id: i64, now: i64) -> Result<Vec<String>, Error> {
        const REMOVE: &str = "DELETE FROM queue WHERE id = $1 AND claimed_until <= $2 AND state <> 'done'
            RETURNING file, sent_id, state";
        type Removed = (Option<String>, Option<i64>, String);
        let removed: Option<Removed> =
            on!(self, pool => sqlx::query_as(REMOVE).bind(id).bind(now).fetch_optional(pool).await?);
        let (file, sent, state) = removed.ok_or(Error::Missing("a queued message that is not being sent now"))?;
        let mut spare: Vec<String> = file.into_iter().collect();
        // Some of its recipients, or nobody knows who, may have it: then its copy stays.
        if let Some(sent) = sent.filter(|_| state == QueueState::Waiting.name())
            && let Some(message) = self.sent_message(sent).await?
            && message.sending == crate::store::Sending::Queued
        {
            spare.extend(self.settle_sent(sent, Outcome::Refused, Some(now)).await?);
        }
        Ok(spare)
    }
}
