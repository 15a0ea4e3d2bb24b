//! Leases of grants: of all bridges and commands that stand on one store, one renews a grant at a time (rule R28).
//!
//! A row and no lock of an engine: it survives a connection and means the same everywhere. It keeps refresh tokens from
//! being shown twice; what was renewed is kept by the version of the grant alone.

use super::{Error, Store, on};
use crate::model::AccountId;

/// What came of asking for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leased {
    /// It is the asker's, under this serial.
    Ours(i64),
    /// Somebody else has it, under this serial.
    Theirs(i64),
    /// There is no grant.
    Gone,
}

/// Whoever comes by the name of the holder is the holder, started again: within a process they take turns, and of those
/// that serve there is one on a store ([`super::Alone`]). A command's name is its own.
const TAKE: &str = "UPDATE grants SET lease_holder = $2, lease_serial = lease_serial + 1
    WHERE account_id = $1 AND (lease_holder IS NULL OR lease_holder = $2 OR lease_serial = $3)
    RETURNING lease_serial";
const SERIAL: &str = "SELECT lease_serial FROM grants WHERE account_id = $1";
const GIVE_BACK: &str = "UPDATE grants SET lease_holder = NULL
    WHERE account_id = $1 AND lease_holder = $2 AND lease_serial = $3";

impl Store {
    /// Asks for the lease of an account's grant. `stale` is the serial of a holder that is known to be gone.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn lease_grant(&self, id: AccountId, holder: &str, stale: Option<i64>) -> Result<Leased, Error> {
        on!(self, pool => {
            let taken: Option<i64> = sqlx::query_scalar(TAKE)
                .bind(id.0)
                .bind(holder)
                .bind(stale.unwrap_or(-1))
                .fetch_optional(pool)
                .await?;
            if let Some(serial) = taken {
                return Ok(Leased::Ours(serial));
            }
            let theirs: Option<i64> = sqlx::query_scalar(SERIAL).bind(id.0).fetch_optional(pool).await?;
            Ok(theirs.map_or(Leased::Gone, Leased::Theirs))
        })
    }

    /// Gives a lease back, if it still is the holder's.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn give_back_grant(&self, id: AccountId, holder: &str, serial: i64) -> Result<(), Error> {
        on!(self, pool => {
            sqlx::query(GIVE_BACK).bind(id.0).bind(holder).bind(serial).execute(pool).await?;
        });
        Ok(())
    }
}
