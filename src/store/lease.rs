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
macro_rules! take {
    ($table:literal) => {
        concat!(
            "UPDATE ",
            $table,
            " SET lease_holder = $2, lease_serial = lease_serial + 1
            WHERE account_id = $1 AND (lease_holder IS NULL OR lease_holder = $2 OR lease_serial = $3)
            RETURNING lease_serial"
        )
    };
}
/// A swap takes the lease along with the grant: whoever has it does not know where it stands by now.
const GIVE_BACK: [&str; 2] = [
    "UPDATE grants SET lease_holder = NULL WHERE account_id = $1 AND lease_holder = $2 AND lease_serial = $3",
    "UPDATE swap_grants SET lease_holder = NULL WHERE account_id = $1 AND lease_holder = $2 AND lease_serial = $3",
];

/// Which grant of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseOf {
    Current,
    /// The one of where the account can go back to.
    Aside,
}

impl Store {
    /// Asks for the lease of an account's grant. `stale` is the serial of a holder that is known to be gone.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn lease_grant(
        &self,
        id: AccountId,
        of: LeaseOf,
        holder: &str,
        stale: Option<i64>,
    ) -> Result<Leased, Error> {
        let (take, serial) = match of {
            LeaseOf::Current => (take!("grants"), "SELECT lease_serial FROM grants WHERE account_id = $1"),
            LeaseOf::Aside => (take!("swap_grants"), "SELECT lease_serial FROM swap_grants WHERE account_id = $1"),
        };
        on!(self, pool => {
            let taken: Option<i64> = sqlx::query_scalar(take)
                .bind(id.0)
                .bind(holder)
                .bind(stale.unwrap_or(-1))
                .fetch_optional(pool)
                .await?;
            if let Some(serial) = taken {
                return Ok(Leased::Ours(serial));
            }
            let theirs: Option<i64> = sqlx::query_scalar(serial).bind(id.0).fetch_optional(pool).await?;
            Ok(theirs.map_or(Leased::Gone, Leased::Theirs))
        })
    }

    /// Gives a lease back, if it still is the holder's.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn give_back_grant(&self, id: AccountId, holder: &str, serial: i64) -> Result<(), Error> {
        on!(self, pool => {
            for give_back in GIVE_BACK {
                sqlx::query(give_back).bind(id.0).bind(holder).bind(serial).execute(pool).await?;
            }
        });
        Ok(())
    }
}
