//! The rows of persons and issuers: who must sign in again for a mailbox, where neither its address nor its settings tell,
//! and at which authorization server, where no table does.

use super::{Error, Store, on, settings::key};
use crate::model::{AccountId, Address};

const KEEP: &str = "INSERT INTO persons (account_id, address, person) VALUES ($1, $2, $3)
    ON CONFLICT (account_id, address) DO UPDATE SET person = excluded.person";
const FORGET_ONE: &str = "DELETE FROM persons WHERE account_id = $1 AND address = $2";
const OF: &str = "SELECT person FROM persons WHERE account_id = $1 AND address = $2";
const KEEP_ISSUER: &str = "INSERT INTO issuers (account_id, address, issuer) VALUES ($1, $2, $3)
    ON CONFLICT (account_id, address) DO UPDATE SET issuer = excluded.issuer";
const FORGET_ISSUER: &str = "DELETE FROM issuers WHERE account_id = $1 AND address = $2";
const ISSUER: &str = "SELECT issuer FROM issuers WHERE account_id = $1 AND address = $2";
/// All of an account go by these.
pub(super) const FORGET: [&str; 2] =
    ["DELETE FROM persons WHERE account_id = $1", "DELETE FROM issuers WHERE account_id = $1"];

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

    /// The mailbox was signed in for at this authorization server; None: at the one that its provider's entry names.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn keep_issuer(&self, id: AccountId, mailbox: &Address, issuer: Option<&str>) -> Result<(), Error> {
        on!(self, pool => match issuer {
            Some(issuer) => sqlx::query(KEEP_ISSUER).bind(id.0).bind(key(mailbox)).bind(issuer).execute(pool).await?,
            None => sqlx::query(FORGET_ISSUER).bind(id.0).bind(key(mailbox)).execute(pool).await?,
        });
        Ok(())
    }

    /// The authorization server at which the mailbox was signed in for, where that was kept.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn issuer(&self, id: AccountId, mailbox: &Address) -> Result<Option<String>, Error> {
        Ok(on!(self, pool => sqlx::query_scalar(ISSUER).bind(id.0).bind(key(mailbox)).fetch_optional(pool).await?))
    }

    /// Who has signed in for the mailbox, where that was kept.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn person(&self, id: AccountId, mailbox: &Address) -> Result<Option<String>, Error> {
        Ok(on!(self, pool => sqlx::query_scalar(OF).bind(id.0).bind(key(mailbox)).fetch_optional(pool).await?))
    }
}
