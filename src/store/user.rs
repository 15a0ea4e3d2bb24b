//! The rows of users: persons known to the bridge, who own accounts.

use super::{Error, Store, on};
use crate::model::UserId;
use serde::Serialize;

/// The user whom the first start makes, and who owns what no other user is named for.
pub const ADMIN: &str = "admin";

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UserRole {
    /// Sees and changes all accounts.
    Administrator,
    /// Sees and changes what is their own.
    Member,
}

impl UserRole {
    fn as_str(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::Member => "member",
        }
    }

    fn read(text: &str) -> Result<Self, Error> {
        [Self::Administrator, Self::Member]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(Error::Corrupt("users.role"))
    }
}

/// A person known to the bridge.
#[derive(Clone, Debug, Serialize)]
pub struct User {
    pub id: UserId,
    pub name: String,
    pub role: UserRole,
    pub created_at: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    name: String,
    role: String,
    created_at: i64,
}

impl Store {
    pub(super) async fn ensure_admin(&self, now: i64) -> Result<(), Error> {
        const ENSURE: &str = "INSERT INTO users (name, name_key, role, created_at)
            SELECT $1, $1, $2, $3 WHERE NOT EXISTS (SELECT 1 FROM users)";
        on!(self, pool => {
            sqlx::query(ENSURE).bind(ADMIN).bind(UserRole::Administrator.as_str()).bind(now).execute(pool).await?;
        });
        Ok(())
    }

    /// The user of this name, compared without case.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn user(&self, name: &str) -> Result<Option<User>, Error> {
        const BY_NAME: &str = "SELECT id, name, role, created_at FROM users WHERE name_key = $1";
        let row: Option<Row> = on!(self, pool => {
            sqlx::query_as(BY_NAME).bind(name.to_ascii_lowercase()).fetch_optional(pool).await?
        });
        row.map(read).transpose()
    }

    /// All users, by name.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn users(&self) -> Result<Vec<User>, Error> {
        const ALL: &str = "SELECT id, name, role, created_at FROM users ORDER BY name_key";
        let rows: Vec<Row> = on!(self, pool => sqlx::query_as(ALL).fetch_all(pool).await?);
        rows.into_iter().map(read).collect()
    }
}

fn read(row: Row) -> Result<User, Error> {
    let role = UserRole::read(&row.role)?;
    Ok(User { id: UserId(row.id), name: row.name, role, created_at: row.created_at })
}
