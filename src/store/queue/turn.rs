//! Queued messages that are due: who tries which, what came of it, and what is taken over from a bridge that is gone.

use super::{QueueState, Queued, Recipient, Row, columns};
use crate::{
    model::AccountId,
    store::{Error, Spooled, Store, on, sent::KNOWN},
};

/// Messages that are done and forgotten at a time.
pub(crate) const DONE_AT_ONCE: u32 = 256;

/// What is known of a message after a step of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Those of which something new is known, as they are now.
    pub recipients: Vec<Recipient>,
    pub state: QueueState,
    /// When it is looked at next.
    pub due: Option<i64>,
    /// Until when it stays claimed; 0: it is free.
    pub claimed_until: i64,
    /// Only where its claim still ends then. None: whoever has it now, the provider has answered.
    pub claim: Option<i64>,
    /// As they are now.
    pub tries: u32,
    pub reports: u32,
    pub words: String,
    /// It waits as long as the provider has asked for.
    pub advised: bool,
    /// What becomes of its Sent copy with it.
    pub sent: Option<ToldSent>,
}

/// What becomes of the Sent copy of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldSent {
    pub id: i64,
    /// The provider has taken the message; else nobody knows.
    pub accepted: bool,
    /// From here on the copy's own.
    pub file: Option<Spooled>,
    pub due: Option<i64>,
}

impl Store {
    /// Those that are to be looked at by now and that nobody has claimed, `most` of each account, by account and number: the
    /// least tried first, in the order in which they came; and when the next ones are.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn due_queued(&self, now: i64, most: u32) -> Result<(Vec<(AccountId, i64)>, Option<i64>), Error> {
        // So many of each: an account with many must not keep out others, nor a message that is put off again and again.
        // Each part ends after some rows of an index of its own: the queue may be long, and is looked at for each message.
        const DUE: &str = "SELECT account_id, id FROM
                (SELECT queue.account_id, queue.id, queue.tries FROM accounts JOIN queue ON queue.id IN
                    (SELECT id FROM queue WHERE account_id = accounts.id AND state <> 'done' AND due_at <= $1
                        AND claimed_until <= $1 ORDER BY tries, id LIMIT $2)
                UNION ALL SELECT account_id, id, tries FROM
                    (SELECT account_id, id, tries FROM queue WHERE state = 'done' AND due_at <= $1 AND claimed_until <= $1
                    ORDER BY due_at LIMIT $3) AS done) AS due
            ORDER BY tries, id";
        const NEXT: &str = "SELECT MIN(at) FROM
                (SELECT at FROM (SELECT due_at AS at FROM queue WHERE due_at > $1 AND claimed_until <= $1
                    ORDER BY due_at LIMIT 1) AS due
                UNION ALL SELECT CASE WHEN due_at < claimed_until THEN claimed_until ELSE due_at END AS at FROM queue
                    WHERE claimed_until > 0 AND claimed_until > $1 AND due_at IS NOT NULL) AS next";
        let (due, next): (Vec<(i64, i64)>, Option<i64>) = on!(self, pool => (
            sqlx::query_as(DUE).bind(now).bind(i64::from(most)).bind(i64::from(DONE_AT_ONCE)).fetch_all(pool).await?,
            sqlx::query_scalar(NEXT).bind(now).fetch_one(pool).await?,
        ));
        Ok((due.into_iter().map(|(account, id)| (AccountId(account), id)).collect(), next))
    }

    /// Claims one that is due for a while, against other bridges on this store, and gives it as it is now. None: another
    /// has it, it is not due any more, or it is gone.
    ///
    /// # Errors
    /// If the store fails, or a row cannot be read.
    pub async fn claim_queued(&self, id: i64, now: i64, until: i64) -> Result<Option<Queued>, Error> {
        const CLAIM: &str = concat!(
            "UPDATE queue SET claimed_until = $3 WHERE id = $1 AND due_at <= $2 AND claimed_until <= $2 RETURNING ",
            columns!()
        );
        let claimed: Option<Row> =
            on!(self, pool => sqlx::query_as(CLAIM).bind(id).bind(now).bind(until).fetch_optional(pool).await?);
        match claimed {
            Some(row) => self.with_recipients(row).await.map(Some),
            None => Ok(None),
        }
    }

    /// Keeps what is known of a message now. Names the file that is needed no more: the queue's own where it is done, or
    /// that of its Sent copy where there is another.
    ///
    /// # Errors
    /// [`Error::Missing`] if its claim is another's by now, or it was taken out; or if the store fails: nothing is kept then.
    pub async fn tell_queued(&self, id: i64, told: &Told, now: i64) -> Result<Vec<String>, Error> {
        const RECIPIENT: &str =
            "UPDATE queue_recipients SET state = $3, words = $4 WHERE queue_id = $1 AND position = $2";
        const FILE: &str = "SELECT file FROM queue WHERE id = $1";
        const TELL: &str = "UPDATE queue SET state = $2, due_at = $3, claimed_until = $4, tries = $5, reports = $6,
            words = $7, advised = $8 WHERE id = $1 AND claimed_until = COALESCE($9, claimed_until)";
        // One whose client may not have heard of it is known by its row for a day.
        const DONE: &str = "UPDATE queue SET file = NULL, octets = 0, due_at = began_at + $2 WHERE id = $1";
        const OVER: &str = "DELETE FROM queue WHERE id = $1 AND told = 1";
        const SENT: &str = "UPDATE sent SET sending = $2, began_at = $3, due_at = $4, claimed_until = 0,
                file = CASE WHEN file IS NULL AND filed_at IS NULL THEN $5 ELSE file END,
                octets = CASE WHEN file IS NULL AND filed_at IS NULL THEN $6 ELSE octets END
            WHERE id = $1 AND sending IN ('queued', 'uncertain') RETURNING file";
        let mut spare = Vec::new();
        on!(self, pool => {
            let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
            let file: Option<String> =
                sqlx::query_scalar(FILE).bind(id).fetch_optional(&mut *transaction).await?.flatten();
            for Recipient { position, state, words, .. } in &told.recipients {
                let change = sqlx::query(RECIPIENT).bind(id).bind(position).bind(state.name()).bind(words);
                change.execute(&mut *transaction).await?;
            }
            let kept = sqlx::query(TELL)
                .bind(id)
                .bind(told.state.name())
                .bind(told.due)
                .bind(told.claimed_until)
                .bind(i64::from(told.tries))
                .bind(i64::from(told.reports))
                .bind(&told.words)
                .bind(i64::from(told.advised))
                .bind(told.claim)
                .execute(&mut *transaction)
                .await?;
            if kept.rows_affected() == 0 && told.claim.is_some() {
                return Err(Error::Missing("a queued message that is claimed here"));
            }
            if told.state == QueueState::Done {
                sqlx::query(DONE).bind(id).bind(KNOWN).execute(&mut *transaction).await?;
                sqlx::query(OVER).bind(id).execute(&mut *transaction).await?;
                spare.extend(file);
            }
            if let Some(sent) = &told.sent {
                let octets = sent.file.as_ref().map_or(0, |file| file.octets);
                let kept: Option<Option<String>> = sqlx::query_scalar(SENT)
                    .bind(sent.id)
                    .bind(if sent.accepted { "accepted" } else { "uncertain" })
                    .bind(now)
                    .bind(sent.due)
                    .bind(sent.file.as_ref().map(|file| &file.file))
                    .bind(i64::try_from(octets).map_err(|_| Error::Corrupt("sent.octets"))?)
                    .fetch_optional(&mut *transaction)
                    .await?;
                let ours = sent.file.as_ref().map(|file| file.file.clone());
                spare.extend(ours.filter(|ours| kept.flatten().as_ref() != Some(ours)));
            }
            transaction.commit().await?;
        });
        Ok(spare)
    }

    /// The others of an account that would be tried now wait until then, too.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn hold_back(&self, account: AccountId, until: i64, advised: bool, now: i64) -> Result<(), Error> {
        const HOLD: &str = "UPDATE queue SET due_at = $2, advised = $3
            WHERE account_id = $1 AND state = 'waiting' AND due_at <= $4 AND claimed_until <= $4 AND expires_at > $2";
        on!(self, pool => {
            let hold = sqlx::query(HOLD).bind(account.0).bind(until).bind(i64::from(advised)).bind(now);
            hold.execute(pool).await?;
        });
        Ok(())
    }

    /// Takes over from a bridge that is gone, when one starts: what it claimed is free. Those whose end mark it may have sent
    /// are named: of them nobody will tell the outcome.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn marked_queued(&self) -> Result<Vec<i64>, Error> {
        const FREE: &str = "UPDATE queue SET claimed_until = 0 WHERE claimed_until > 0";
        const MARKED: &str = "SELECT id FROM queue WHERE state = 'marked' ORDER BY id";
        on!(self, pool => {
            sqlx::query(FREE).execute(pool).await?;
            Ok(sqlx::query_scalar(MARKED).fetch_all(pool).await?)
        })
    }

    /// Forgets one, with its recipients. Its file is named.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn forget_queued(&self, id: i64) -> Result<Option<String>, Error> {
        const FORGET: &str = "DELETE FROM queue WHERE id = $1 RETURNING file";
        let file: Option<Option<String>> =
            on!(self, pool => sqlx::query_scalar(FORGET).bind(id).fetch_optional(pool).await?);
        Ok(file.flatten())
    }
}
