//! The store: what the bridge keeps on disk, its vault, and the notice that something changed.
//!
//! SQL stands here and nowhere else, always with bound parameters (rule R11), written so that one text runs on every
//! engine. Secrets go in sealed and come out as `Secret`; nothing here may log one, and nothing here reads a clock: times
//! come in as Unix seconds, for which the callers at the edge have [`unix_now`].

#![allow(clippy::disallowed_methods, reason = "`unix_now` reads the clock")]

mod account;
mod alone;
pub(crate) mod changes;
pub mod consent;
mod error;
pub(crate) mod files;
pub(crate) mod folder;
mod grant;
mod lease;
mod login;
pub mod password;
mod person;
pub(crate) mod queue;
pub(crate) mod recent;
mod refusal;
mod registration;
pub(crate) mod reserve;
pub(crate) mod sent;
mod settings;
mod swap;
mod user;
pub mod vault;

pub(crate) use account::certificates;
pub use account::{Account, Credential, NewAccount};
pub use alone::Alone;
pub use error::Error;
pub use folder::{Mapping, Origin};
pub use grant::{Grant, GrantState, GrantSummary, NewGrant};
pub use lease::{LeaseOf, Leased};
pub use login::{LoginRow, NewLogin, Standing};
pub use queue::{Enqueued, QueueState, Queued, Recipient, RecipientState, Told, ToldSent};
pub use refusal::StandingRefusal;
pub use registration::{ForWhom, NewRegistration, Registration};
pub use sent::{Copy, Joined, Letter, Place as SentPlace, Sending, SentMessage, Spooled};
pub use settings::{Changes, Settings};
pub use swap::{NewPlace, WayBack};
pub use user::{ADMIN, User, UserRole};

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use vault::{Place, Vault};

/// The database's name in the state directory.
pub(crate) const DATABASE_FILE: &str = "passerelle.db";
/// The name of the folder with the files that rows name, in the state directory.
pub(crate) const SPOOL_DIRECTORY: &str = "spool";
/// SQLite writes one after another: more connections than this only wait for each other.
const CONNECTIONS: u32 = 8;
/// How long a writer waits for another process's transaction. Ours take milliseconds; a backup may take seconds.
const BUSY: Duration = Duration::from_secs(10);
/// Sealed at birth of the database, opened at every start: tells a wrong key before a password is needed.
const KEY_CHECK: Place = Place { table: "properties", row: 0, column: "key-check" };

/// What the bridge keeps. Cheap to clone; all clones share one pool.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    vault: Arc<Vault>,
    /// The state directory.
    state: Arc<Path>,
    /// Checked against where there is no login, so that this takes the same time (rule R23). Fits no password.
    nobody: Arc<login::Nobody>,
    recent: Arc<recent::Recent>,
}

/// The engines. PostgreSQL becomes a second variant.
#[derive(Clone)]
enum Pool {
    Sqlite(SqlitePool),
}

/// Runs the same queries on whichever engine there is: the drivers' types differ, the text does not.
macro_rules! on {
    ($store:expr, $pool:ident => $queries:expr) => {
        match &$store.pool {
            $crate::store::Pool::Sqlite($pool) => $queries,
        }
    };
}
use on;

/// Now, in Unix seconds: for the callers at the edge, who pass it inwards.
#[must_use]
pub fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl Store {
    /// Opens the store of the state directory and brings it up to date. At the first start: makes the directory, the key,
    /// the database and the user `admin`.
    ///
    /// # Errors
    /// If directory, key or database cannot be made or read, or belong not together.
    pub async fn open(state: &Path, key_file: Option<&Path>, now: i64) -> Result<Self, Error> {
        files::private_directory(state)?;
        // Two first starts at once would make two keys and two schemas.
        let _lock = files::lock(state)?;
        let path = state.join(DATABASE_FILE);
        let exists = std::fs::metadata(&path).is_ok_and(|metadata| metadata.len() > 0);
        let (vault, key_path) = Vault::unlock(state, key_file, exists)?;
        files::ensure_private(&path)?;
        let pool = SqlitePoolOptions::new().max_connections(CONNECTIONS).connect_with(sqlite(&path)).await?;
        sqlx::migrate!("src/store/migrations/sqlite").run(&pool).await.map_err(Error::Migration)?;
        let nobody = Arc::new(login::Nobody::new(&vault)?);
        let recent = Arc::new(recent::Recent::of(&path));
        let store = Self { pool: Pool::Sqlite(pool), vault: Arc::new(vault), state: state.into(), nobody, recent };
        store.check_key(&key_path).await?;
        store.ensure_admin(now).await?;
        store.forget_ways_back(now).await?;
        Ok(store)
    }

    /// Closes all connections and writes the log back into the database file.
    pub async fn close(&self) {
        on!(self, pool => pool.close().await);
    }

    async fn check_key(&self, key_path: &Path) -> Result<(), Error> {
        let fresh = self.vault.seal(KEY_CHECK, b"passerelle")?;
        let kept: Vec<u8> = on!(self, pool => {
            sqlx::query("INSERT INTO properties (name, value) VALUES ('key-check', $1) ON CONFLICT (name) DO NOTHING")
                .bind(&fresh)
                .execute(pool)
                .await?;
            sqlx::query_scalar("SELECT value FROM properties WHERE name = 'key-check'").fetch_one(pool).await?
        });
        self.vault.open(KEY_CHECK, &kept).map_err(|_| vault::Error::KeyOther(key_path.to_owned()))?;
        Ok(())
    }
}

fn sqlite(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        // What is committed is told: it must be on disk, not only in the cache of the system.
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
}

/// Where the store of this state directory keeps its rows: for `--help`, backups and tests.
#[must_use]
pub fn database_path(state: &Path) -> PathBuf {
    state.join(DATABASE_FILE)
}
