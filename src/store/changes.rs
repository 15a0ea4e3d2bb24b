//! The notice that the store was changed, by this process or another.
//!
//! It says only that something changed: whoever hears it reads again what it caches and compares generations.

use super::{Error, Pool, Store};
use sqlx::{ConnectOptions, SqliteConnection};
use std::time::Duration;
use tokio::sync::watch;

/// A change is seen within a second (design section 6) with room to spare; the pragma costs microseconds.
pub(crate) const INTERVAL: Duration = Duration::from_millis(300);

impl Store {
    /// Starts to watch. The number grows with every change seen; the watch ends when all receivers are dropped.
    ///
    /// # Errors
    /// If the database cannot be opened once more.
    pub async fn changes(&self) -> Result<watch::Receiver<u64>, Error> {
        match &self.pool {
            Pool::Sqlite(pool) => {
                let options = pool.connect_options();
                // A connection of its own: SQLite counts the changes that *others* than the asking connection make.
                let mut connection = options.connect().await?;
                // Asked before this returns: what the caller reads from now on cannot miss a change.
                let first = version(&mut connection).await?;
                let (sender, receiver) = watch::channel(0);
                tokio::spawn(async move {
                    tokio::select! {
                        () = sender.closed() => {}
                        () = poll(connection, first, &options, &sender) => {}
                    }
                });
                Ok(receiver)
            }
        }
    }
}

async fn poll(
    mut connection: SqliteConnection,
    first: i64,
    options: &sqlx::sqlite::SqliteConnectOptions,
    sender: &watch::Sender<u64>,
) {
    let mut last = Some(first);
    loop {
        tokio::time::sleep(INTERVAL).await;
        match version(&mut connection).await {
            Ok(version) => {
                if last.is_some_and(|last| last != version) {
                    sender.send_modify(|count| *count += 1);
                }
                last = Some(version);
            }
            // Whatever happened meanwhile was not seen: take it for a change.
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "changes of the store cannot be watched");
                if let Ok(again) = options.connect().await {
                    connection = again;
                    sender.send_modify(|count| *count += 1);
                }
                last = None;
            }
        }
    }
}

async fn version(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("PRAGMA data_version").fetch_one(connection).await
}
