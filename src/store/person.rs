//! The rows of persons: who must sign in again for a mailbox, where neither its address nor its settings tell.

use super::{Error, Store, on, settings::key};
use crate::model::{AccountId, Address};

const KEEP: &str = "INSERT INTO persons (account_id, address, person) VALUES ($1, $2, $3)
    ON CONFLICT (account_id, address) DO UPDATE SET person = excluded.person";
const FORGET_ONE: &str = "DELETE FROM persons WHERE account_id = $1 AND address = $2";
const OF: &str = "SELECT person FROM persons WHERE account_id = $1 AND address = $2";
/// All of an account go by this.
pub(super) const FORGET: &str = "DELETE FROM persons WHERE account_id = $1";

impl Store {
    /// This person has signed in for the mailbox; None: whoever its address or its settings name.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn keep_person(&self, id: AccountId, mailbox: &Address, person: Option<&str>) -> Result<(), Error> {
        on!(self, pool => match person {
            Some(person) => sqlx::query(KEEP).bind(id.0).bind(key(mailbox)).bind(person).execute(pool).await?,
            None => sqlx::query(FORGET_ONE).bind(id.0).bind(key(mailbox)).execute(pool).await?,
        });
        Ok(())
    }

    /// Who has signed in for the mailbox, where that was kept.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn person(&self, id: AccountId, mailbox: &Address) -> Result<Option<String>, Error> {
        Ok(on!(self, pool => sqlx::query_scalar(OF).bind(id.0).bind(key(mailbox)).fetch_optional(pool).await?))
    }
}
