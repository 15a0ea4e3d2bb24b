//! Sent messages, and whether their clients have heard so: who has not sends the same again.

use super::{KNOWN, Letter, hashed};
use crate::{
    model::AccountId,
    store::{Error, Store, on},
};

impl Store {
    /// A message that the provider has taken within a day, and of which its client may not have heard, where this is the
    /// same: its number.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn untold_sent(&self, account: AccountId, letter: &Letter, now: i64) -> Result<Option<i64>, Error> {
        const UNTOLD: &str = "SELECT id FROM sent WHERE account_id = $1 AND message_id = $2 AND envelope = $3
            AND sending = 'accepted' AND told = 0 AND began_at >= $4
            AND (sent_content IS NULL OR $5 IS NULL OR sent_content = $5) ORDER BY id LIMIT 1";
        Ok(on!(self, pool => {
            sqlx::query_scalar(UNTOLD)
                .bind(account.0)
                .bind(&letter.likeness.message_id)
                .bind(letter.recipients.as_deref().map(hashed))
                .bind(now - KNOWN)
                .bind(&letter.content)
                .fetch_optional(pool)
                .await?
        }))
    }

    /// Its client has heard that it was sent.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn told_sent(&self, id: i64) -> Result<(), Error> {
        const TOLD: &str = "UPDATE sent SET told = 1 WHERE id = $1";
        on!(self, pool => { sqlx::query(TOLD).bind(id).execute(pool).await?; });
        Ok(())
    }
}
