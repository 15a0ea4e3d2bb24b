//! The rows of folders: the map between the two names of a mailbox, and what was told as its UIDVALIDITY.
//!
//! The rules are `rules::folder_map` and `rules::uid_validity`; here they meet the disk.

use super::{Error, Store, on, recent::Key};
use crate::{
    model::{AccountId, Epoch, LocalName, RemoteName, Role},
    rules::{namespace::Choices, uid_validity::Told},
};
use serde::{Deserialize, Serialize};

/// Rounds of compare and swap before a row that others keep changing is an error. Each lost round means that another
/// session's change went through.
const ROUNDS: usize = 16;

/// LocalNames of one account of which what was told is kept: four whole trees, for what was renamed and swapped away.
///
/// A full account takes no new name, and nothing goes to make room. What was told under a name binds us for as long as a
/// client may remember it: without its row the next mailbox of that name, mapped or swapped there, is told the provider's
/// own value, which may be the very one that was told of another mailbox.
pub(crate) const VALIDITY_ROWS_MAX: i64 = 40_000;

/// Ends what was let in before: a name may mean another mailbox from now on.
const GROW: &str = "UPDATE accounts SET generation = generation + 1 WHERE id = $1 AND removed_at IS NULL";

/// Who put two names together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// A CRM made it for a role; its LocalName is [`LocalName::of_role`].
    Role,
    /// A person, whose word is above the other.
    User,
}

impl Origin {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::User => "user",
        }
    }
}

/// One row of the folder map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub local: LocalName,
    pub remote: RemoteName,
    pub origin: Origin,
}

#[derive(sqlx::FromRow)]
struct Row {
    account_epoch: i64,
    epoch: Option<i64>,
    remote_name: Option<Vec<u8>>,
    upstream: Option<i64>,
    told: Option<i64>,
    rewritten: Option<i64>,
}

impl Store {
    /// The folder map of an account as it was stored, by LocalName.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn folder_map(&self, account: AccountId) -> Result<Vec<Mapping>, Error> {
        const ALL: &str = "SELECT local_name, remote_name, origin FROM folder_map WHERE account_id = $1
            ORDER BY local_name";
        let rows: Vec<(String, Vec<u8>, String)> = on!(self, pool => {
            sqlx::query_as(ALL).bind(account.0).fetch_all(pool).await?
        });
        rows.into_iter().map(mapping).collect()
    }

    /// What people chose for an account, and what is kept in their place.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn choices(&self, account: AccountId) -> Result<Choices, Error> {
        const HIDDEN: &str = "SELECT remote_name FROM hidden_folders WHERE account_id = $1";
        const SUBSCRIBED: &str = "SELECT remote_name, subscribed FROM subscriptions WHERE account_id = $1";
        let map = self.folder_map(account).await?;
        let hidden: Vec<Vec<u8>> = on!(self, pool => sqlx::query_scalar(HIDDEN).bind(account.0).fetch_all(pool).await?);
        let subscribed: Vec<(Vec<u8>, i64)> =
            on!(self, pool => sqlx::query_as(SUBSCRIBED).bind(account.0).fetch_all(pool).await?);
        chosen(map, &hidden, &subscribed)
    }

    /// Keeps that a CRM made this mailbox for a role, unless a person chose one for it. No generation grows: the session
    /// that made it goes on.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn keep_role(&self, account: AccountId, role: Role, name: &RemoteName) -> Result<(), Error> {
        // A mailbox has one row: what a person paired stays so, and what was made for another role is not made twice.
        const FREE: &str = "DELETE FROM folder_map WHERE account_id = $1 AND remote_name = $2 AND origin = 'role'";
        const KEEP: &str = "INSERT INTO folder_map (account_id, local_name, remote_name, origin)
            SELECT $1, $2, $3, 'role' WHERE NOT EXISTS
                (SELECT 1 FROM folder_map WHERE account_id = $1 AND remote_name = $3)
            ON CONFLICT (account_id, local_name) DO UPDATE SET remote_name = excluded.remote_name
            WHERE folder_map.origin = 'role'";
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            sqlx::query(FREE).bind(account.0).bind(name.as_bytes()).execute(&mut *transaction).await?;
            sqlx::query(KEEP)
                .bind(account.0)
                .bind(LocalName::of_role(role).as_str())
                .bind(name.as_bytes())
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(())
        })
    }

    /// Keeps whether a CRM subscribed to this mailbox; None: the provider knows. No generation grows.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn keep_subscription(
        &self,
        account: AccountId,
        name: &RemoteName,
        subscribed: Option<bool>,
    ) -> Result<(), Error> {
        const KEEP: &str = "INSERT INTO subscriptions (account_id, remote_name, subscribed) VALUES ($1, $2, $3)
            ON CONFLICT (account_id, remote_name) DO UPDATE SET subscribed = excluded.subscribed";
        const FORGET: &str = "DELETE FROM subscriptions WHERE account_id = $1 AND remote_name = $2";
        on!(self, pool => {
            let query = match subscribed {
                Some(subscribed) => sqlx::query(KEEP).bind(account.0).bind(name.as_bytes()).bind(i64::from(subscribed)),
                None => sqlx::query(FORGET).bind(account.0).bind(name.as_bytes()),
            };
            query.execute(pool).await?;
            Ok(())
        })
    }

    /// Hides a mailbox from CRMs, or shows it again. Grows the generation; false if it was so already.
    ///
    /// # Errors
    /// [`Error::Missing`] if the account is gone, or if the store fails.
    pub async fn set_hidden(&self, account: AccountId, name: &RemoteName, hidden: bool) -> Result<bool, Error> {
        const HIDE: &str = "INSERT INTO hidden_folders (account_id, remote_name) VALUES ($1, $2)
            ON CONFLICT (account_id, remote_name) DO NOTHING";
        const SHOW: &str = "DELETE FROM hidden_folders WHERE account_id = $1 AND remote_name = $2";
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            let query = sqlx::query(if hidden { HIDE } else { SHOW }).bind(account.0).bind(name.as_bytes());
            let changed = query.execute(&mut *transaction).await?.rows_affected() > 0;
            if changed {
                grown(sqlx::query(GROW).bind(account.0).execute(&mut *transaction).await?.rows_affected())?;
            }
            transaction.commit().await?;
            Ok(changed)
        })
    }

    /// Puts the whole folder map of an account, in one commit, and grows its generation.
    ///
    /// # Errors
    /// [`Error::Missing`] if the account is gone, or if the store fails; two rows of one name are refused by it.
    pub async fn set_folder_map(&self, account: AccountId, rows: &[Mapping]) -> Result<(), Error> {
        const INSERT: &str =
            "INSERT INTO folder_map (account_id, local_name, remote_name, origin) VALUES ($1, $2, $3, $4)";
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            grown(sqlx::query(GROW).bind(account.0).execute(&mut *transaction).await?.rows_affected())?;
            sqlx::query("DELETE FROM folder_map WHERE account_id = $1").bind(account.0).execute(&mut *transaction).await?;
            for Mapping { local, remote, origin } in rows {
                sqlx::query(INSERT)
                    .bind(account.0)
                    .bind(local.as_str())
                    .bind(remote.as_bytes())
                    .bind(origin.as_str())
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await?;
            Ok(())
        })
    }

    /// Puts two names together by a person's word, which is above what a CRM made. Grows the generation.
    ///
    /// # Errors
    /// [`Error::Missing`] if the account is gone, or if the store fails; it refuses a name that a person paired already.
    pub async fn map_folder(&self, account: AccountId, local: &LocalName, name: &RemoteName) -> Result<(), Error> {
        const FREE: &str = "DELETE FROM folder_map
            WHERE account_id = $1 AND origin = 'role' AND (local_name = $2 OR remote_name = $3)";
        const MAP: &str =
            "INSERT INTO folder_map (account_id, local_name, remote_name, origin) VALUES ($1, $2, $3, 'user')";
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            grown(sqlx::query(GROW).bind(account.0).execute(&mut *transaction).await?.rows_affected())?;
            for query in [FREE, MAP] {
                sqlx::query(query)
                    .bind(account.0)
                    .bind(local.as_str())
                    .bind(name.as_bytes())
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await?;
            Ok(())
        })
    }

    /// Takes a row out of the folder map, and grows the generation. False if there was none.
    ///
    /// # Errors
    /// [`Error::Missing`] if the account is gone, or if the store fails.
    pub async fn unmap_folder(&self, account: AccountId, local: &LocalName) -> Result<bool, Error> {
        const UNMAP: &str = "DELETE FROM folder_map WHERE account_id = $1 AND local_name = $2";
        on!(self, pool => {
            let mut transaction = pool.begin().await?;
            let query = sqlx::query(UNMAP).bind(account.0).bind(local.as_str());
            let changed = query.execute(&mut *transaction).await?.rows_affected() > 0;
            if changed {
                grown(sqlx::query(GROW).bind(account.0).execute(&mut *transaction).await?.rows_affected())?;
            }
            transaction.commit().await?;
            Ok(changed)
        })
    }

    /// What UIDVALIDITY to tell for this mailbox when the provider says `upstream`; committed when this returns.
    /// `now` is in Unix seconds. Sessions may ask for one mailbox at once: all are told the same.
    ///
    /// # Errors
    /// [`Error::Missing`] if the account is gone, [`Error::TooManyNames`] if this is one more name than are kept, or if the
    /// store fails.
    pub async fn uid_validity(
        &self,
        account: AccountId,
        local: &LocalName,
        remote: &RemoteName,
        upstream: u32,
        now: i64,
    ) -> Result<u32, Error> {
        let mut not_first = false;
        for _ in 0..ROUNDS {
            let read = async {
                let (epoch, last) = self.told(account, local).await?;
                Ok(last.map(|last| (epoch, last)))
            };
            let (epoch, last) = match self.recent(Key::Told(account, local.clone()), read).await? {
                Some((epoch, last)) => (epoch, Some(last)),
                None => self.told(account, local).await?,
            };
            // Rows stay: where nobody was first, it was the cap that refused.
            if not_first && last.is_none() {
                return Err(Error::TooManyNames);
            }
            let (next, committed) = match &last {
                None => {
                    let first = Told::first(epoch, remote.clone(), upstream);
                    let committed = self.tell_first(account, local, &first).await?;
                    not_first = !committed;
                    (first, committed)
                }
                Some(last) => match last.next(epoch, remote, upstream, now) {
                    None => return Ok(last.told),
                    Some(next) => {
                        let committed = self.tell_next(account, local, last, &next).await?;
                        (next, committed)
                    }
                },
            };
            if committed {
                return Ok(next.told);
            }
        }
        Err(Error::Contended("uid_validity"))
    }

    /// The account's epoch, and what was last told under this name.
    async fn told(&self, account: AccountId, local: &LocalName) -> Result<(Epoch, Option<Told>), Error> {
        const LAST: &str = "SELECT a.epoch AS account_epoch, v.epoch, v.remote_name, v.upstream, v.told, v.rewritten
            FROM accounts a LEFT JOIN uid_validity v ON v.account_id = a.id AND v.local_name = $2
            WHERE a.id = $1 AND a.removed_at IS NULL";
        let row: Option<Row> = on!(self, pool => {
            sqlx::query_as(LAST).bind(account.0).bind(local.as_str()).fetch_optional(pool).await?
        });
        let row = row.ok_or(Error::Missing("the account"))?;
        Ok((Epoch(row.account_epoch), told(row)?))
    }

    /// False if another session was first, or the account has as many rows as it may.
    async fn tell_first(&self, account: AccountId, local: &LocalName, first: &Told) -> Result<bool, Error> {
        const INSERT: &str = "INSERT INTO uid_validity
            (account_id, local_name, epoch, remote_name, upstream, told, rewritten) SELECT $1, $2, $3, $4, $5, $6, 0
            WHERE (SELECT COUNT(*) FROM uid_validity WHERE account_id = $1) < $7
            ON CONFLICT (account_id, local_name) DO NOTHING";
        let rows = on!(self, pool => {
            sqlx::query(INSERT)
                .bind(account.0)
                .bind(local.as_str())
                .bind(first.epoch.0)
                .bind(first.remote.as_bytes())
                .bind(i64::from(first.upstream))
                .bind(i64::from(first.told))
                .bind(VALIDITY_ROWS_MAX)
                .execute(pool)
                .await?
                .rows_affected()
        });
        Ok(rows == 1)
    }

    /// Compare and swap: false if the row is not `last` any more.
    async fn tell_next(&self, account: AccountId, local: &LocalName, last: &Told, next: &Told) -> Result<bool, Error> {
        const SWAP: &str = "UPDATE uid_validity
            SET epoch = $3, remote_name = $4, upstream = $5, told = $6, rewritten = $7
            WHERE account_id = $1 AND local_name = $2
                AND epoch = $8 AND remote_name = $9 AND upstream = $10 AND told = $11";
        let rows = on!(self, pool => {
            sqlx::query(SWAP)
                .bind(account.0)
                .bind(local.as_str())
                .bind(next.epoch.0)
                .bind(next.remote.as_bytes())
                .bind(i64::from(next.upstream))
                .bind(i64::from(next.told))
                .bind(i64::from(next.rewritten))
                .bind(last.epoch.0)
                .bind(last.remote.as_bytes())
                .bind(i64::from(last.upstream))
                .bind(i64::from(last.told))
                .execute(pool)
                .await?
                .rows_affected()
        });
        Ok(rows == 1)
    }
}

/// An account that is gone has no row to grow.
fn grown(rows: u64) -> Result<(), Error> {
    if rows == 0 { Err(Error::Missing("the account")) } else { Ok(()) }
}

fn remote(name: &[u8], column: &'static str) -> Result<RemoteName, Error> {
    RemoteName::parse(name).map_err(|_| Error::Corrupt(column))
}

/// What these rows say was chosen.
pub(super) fn chosen(map: Vec<Mapping>, hidden: &[Vec<u8>], subscribed: &[(Vec<u8>, i64)]) -> Result<Choices, Error> {
    let mut choices = Choices::default();
    for Mapping { local, remote, origin } in map {
        let role = Role::ALL.into_iter().find(|role| LocalName::of_role(*role) == local);
        match (origin, role) {
            (Origin::User, _) => choices.pairs.push((local, remote)),
            (Origin::Role, Some(role)) => drop(choices.made.insert(role, remote)),
            (Origin::Role, None) => return Err(Error::Corrupt("folder_map.local_name")),
        }
    }
    for name in hidden {
        choices.hidden.insert(remote(name, "hidden_folders.remote_name")?);
    }
    for (name, subscribed) in subscribed {
        choices.subscribed.insert(remote(name, "subscriptions.remote_name")?, *subscribed != 0);
    }
    Ok(choices)
}

pub(super) fn mapping((local, remote, origin): (String, Vec<u8>, String)) -> Result<Mapping, Error> {
    Ok(Mapping {
        local: LocalName::parse(local.as_bytes()).map_err(|_| Error::Corrupt("folder_map.local_name"))?,
        remote: RemoteName::parse(&remote).map_err(|_| Error::Corrupt("folder_map.remote_name"))?,
        origin: [Origin::Role, Origin::User]
            .into_iter()
            .find(|known| known.as_str() == origin)
            .ok_or(Error::Corrupt("folder_map.origin"))?,
    })
}

fn told(row: Row) -> Result<Option<Told>, Error> {
    let (Some(epoch), Some(remote), Some(upstream), Some(told), Some(rewritten)) =
        (row.epoch, row.remote_name, row.upstream, row.told, row.rewritten)
    else {
        return Ok(None);
    };
    Ok(Some(Told {
        epoch: Epoch(epoch),
        remote: RemoteName::parse(&remote).map_err(|_| Error::Corrupt("uid_validity.remote_name"))?,
        upstream: u32::try_from(upstream).map_err(|_| Error::Corrupt("uid_validity.upstream"))?,
        told: u32::try_from(told).map_err(|_| Error::Corrupt("uid_validity.told"))?,
        rewritten: rewritten != 0,
    }))
}
