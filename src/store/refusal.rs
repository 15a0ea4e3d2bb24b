//! The rows of refusals: which accounts their provider does not let in, since when, and in what words.
//!
//! For people, and for a bridge that starts again. What is known for the next opening is the gate's.

use super::{Error, Store, on};
use crate::model::{AccountId, Generation};
use serde::Serialize;

/// A refusal of an account's credentials that still stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
pub struct StandingRefusal {
    /// `imap`, `smtp`, `token`: the token endpoint refuses the registered client, or `grant`: it refused the grant, which is
    /// gone.
    pub service: String,
    /// Unix seconds.
    pub since: i64,
    /// The provider's own words, for the account's owner; never for the CRM.
    pub words: String,
}

const MARK: &str = "INSERT INTO refusals (account_id, service, generation, since, words) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (account_id, service) DO UPDATE SET words = excluded.words, generation = excluded.generation,
        since = CASE WHEN refusals.generation = excluded.generation THEN refusals.since ELSE excluded.since END";

impl Store {
    /// The provider refuses what the account of this generation signs in with.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn mark_refused(
        &self,
        id: AccountId,
        at: Generation,
        service: &'static str,
        words: &str,
        now: i64,
    ) -> Result<(), Error> {
        on!(self, pool => {
            sqlx::query(MARK).bind(id.0).bind(service).bind(at.0).bind(now).bind(words).execute(pool).await?;
        });
        Ok(())
    }

    /// The provider lets the account in, to this service.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn clear_refusal(&self, id: AccountId, service: &'static str) -> Result<(), Error> {
        const CLEAR: &str = "DELETE FROM refusals WHERE account_id = $1 AND service = $2";
        on!(self, pool => { sqlx::query(CLEAR).bind(id.0).bind(service).execute(pool).await?; });
        Ok(())
    }

    /// What is known to be refused of an account as it is now.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn refusals(&self, id: AccountId) -> Result<Vec<StandingRefusal>, Error> {
        const OF: &str = "SELECT r.service, r.since, r.words FROM refusals r
            JOIN accounts a ON a.id = r.account_id AND a.generation = r.generation AND a.removed_at IS NULL
            WHERE r.account_id = $1 ORDER BY r.service";
        Ok(on!(self, pool => sqlx::query_as(OF).bind(id.0).fetch_all(pool).await?))
    }
}
