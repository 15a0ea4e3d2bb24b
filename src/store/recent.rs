//! What was read lately, given again while nothing has been committed since, by this process or another: a page of a CRM
//! asks for the same few rows a dozen times.
//!
//! It must never give what a fresh read would not. SQLite's readers learn of a commit by the header of the WAL index
//! (`-shm`, shared by all processes): the same 96 octets mean that there was none
//! (<https://www.sqlite.org/walformat.html#the_wal_index_header>). So they are compared, and not understood. Where the
//! file cannot be read, every row is read anew.

use super::{Error, Store};
use crate::model::{AccountId, LocalName, LoginId};
use std::{
    any::Any,
    collections::HashMap,
    fs::File,
    future::Future,
    mem::ManuallyDrop,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// Rows that are kept; beyond that all are forgotten. A firm of 5,000 has a login, an account and some folders each.
pub(crate) const ROWS: usize = 40_000;

/// Both copies of the header.
type Header = [u8; 96];

/// Which row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Account(AccountId),
    /// By the form of its name that compares.
    Login(String),
    /// Whether it is in force.
    InForce(LoginId),
    Aliases(AccountId),
    /// What was last told of this mailbox.
    Told(AccountId, LocalName),
}

pub(super) struct Recent {
    /// None: there is no such file here. It is never closed: that would let go of the locks that SQLite has on it in this
    /// process (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).
    index: Option<ManuallyDrop<File>>,
    rows: Mutex<Rows>,
}

struct Rows {
    /// Of the commit that they were read at, or a later one: what was committed before is in them.
    at: Header,
    kept: HashMap<Key, Arc<dyn Any + Send + Sync>>,
}

impl Recent {
    /// Of the database at this path, which is open: its index is there as long as that is so.
    pub(super) fn of(database: &Path) -> Self {
        let mut index = database.as_os_str().to_owned();
        index.push("-shm");
        let rows = Rows { at: [0; 96], kept: HashMap::new() };
        Self { index: File::open(index).ok().map(ManuallyDrop::new), rows: Mutex::new(rows) }
    }

    /// The last commit. The file is in memory, and no disk is waited for.
    #[cfg(unix)]
    fn at(&self) -> Option<Header> {
        use std::os::unix::fs::{FileExt as _, MetadataExt as _};
        let mut header = [0; 96];
        let index = self.index.as_ref()?;
        // Whoever closes the database last takes its index away, and the next to open it makes another.
        if index.metadata().ok()?.nlink() == 0 {
            return None;
        }
        index.read_exact_at(&mut header, 0).ok()?;
        // Copies that differ are being written.
        let (first, second) = header.split_at(48);
        (first == second).then_some(header)
    }

    #[cfg(not(unix))]
    fn at(&self) -> Option<Header> {
        None
    }

    fn get<T: Clone + 'static>(&self, at: &Header, key: &Key) -> Option<T> {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.at != *at {
            rows.at = *at;
            rows.kept.clear();
            return None;
        }
        rows.kept.get(key)?.downcast_ref::<T>().cloned()
    }

    /// `at` was read before the value was.
    fn keep<T: Send + Sync + 'static>(&self, at: &Header, key: Key, value: T) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        // Another has seen a later commit since: that may have changed this.
        if rows.at != *at {
            return;
        }
        if rows.kept.len() >= ROWS {
            rows.kept.clear();
        }
        rows.kept.insert(key, Arc::new(value));
    }
}

impl Store {
    /// What `read` gives, or gave at this key since the last commit. What is not there is read anew each time, so that
    /// nobody fills memory with names that he makes up.
    pub(super) async fn recent<T: Clone + Send + Sync + 'static>(
        &self,
        key: Key,
        read: impl Future<Output = Result<Option<T>, Error>>,
    ) -> Result<Option<T>, Error> {
        let Some(at) = self.recent.at() else { return read.await };
        if let Some(value) = self.recent.get(&at, &key) {
            return Ok(Some(value));
        }
        let value = read.await?;
        if let Some(value) = &value {
            self.recent.keep(&at, key, value.clone());
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Address, store::on};
    use std::sync::atomic::{AtomicU32, Ordering};

    const NOW: i64 = 1_800_000_000;
    const KEY: fn() -> Key = || Key::InForce(LoginId(7));

    async fn read(store: &Store, reads: &AtomicU32) -> u32 {
        let read = async { Ok(Some(reads.fetch_add(1, Ordering::Relaxed))) };
        store.recent(KEY(), read).await.expect("read").expect("there")
    }

    /// Something new each time: an update to what is there already is no change to SQLite.
    async fn commit(store: &Store) {
        let value =
            [(); 8].map(|()| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0).to_le_bytes()[0]);
        on!(store, pool => {
            sqlx::query("INSERT INTO properties (name, value) VALUES ('x', $1) ON CONFLICT (name) DO UPDATE SET value = $1")
                .bind(value.to_vec())
                .execute(pool)
                .await
                .expect("committed");
        });
    }

    #[tokio::test]
    async fn it_is_read_once_until_anybody_commits() {
        let root = tempfile::tempdir().expect("a directory");
        let store = Store::open(root.path(), None, NOW).await.expect("a store");
        let reads = AtomicU32::new(0);
        assert_eq!((read(&store, &reads).await, read(&store, &reads).await), (0, 0));
        commit(&store).await;
        assert_eq!((read(&store, &reads).await, read(&store, &reads).await), (1, 1));
        // As another process has it.
        let other = Store::open(root.path(), None, NOW).await.expect("another");
        let before = read(&store, &reads).await;
        commit(&other).await;
        assert_eq!(read(&store, &reads).await, before + 1);
        // What is in the index goes into the database: nothing is lost by that.
        on!(store, pool => sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(pool).await.map(drop).expect("done"));
        let before = read(&store, &reads).await;
        commit(&other).await;
        assert_eq!(read(&store, &reads).await, before + 1);
    }

    #[tokio::test]
    async fn what_a_caller_brings_from_before_a_change_is_not_kept_for_others() {
        let root = tempfile::tempdir().expect("a directory");
        let store = Store::open(root.path(), None, NOW).await.expect("a store");
        let [own, former, now] = ["own@mail.test", "former@mail.test", "now@mail.test"]
            .map(|text| Address::parse(text).expect("an address"));
        for sender in [former, now] {
            let senders = store.senders(AccountId(1), Some(sender.clone()), &own).await.expect("read");
            assert_eq!(*senders, [sender, own.clone()]);
        }
    }

    #[tokio::test]
    async fn an_index_that_was_taken_away_tells_nothing() {
        let root = tempfile::tempdir().expect("a directory");
        let store = Store::open(root.path(), None, NOW).await.expect("a store");
        let reads = AtomicU32::new(0);
        assert_eq!((read(&store, &reads).await, read(&store, &reads).await), (0, 0));
        // As the last connection of all does it; this store's own are still there, and are not used.
        let index = root.path().join(format!("{}-shm", crate::store::DATABASE_FILE));
        std::fs::remove_file(index).expect("an index");
        assert_eq!((read(&store, &reads).await, read(&store, &reads).await), (1, 2));
    }

    #[tokio::test]
    async fn what_was_read_before_a_commit_is_not_kept_behind_it() {
        let root = tempfile::tempdir().expect("a directory");
        let store = Store::open(root.path(), None, NOW).await.expect("a store");
        let reads = AtomicU32::new(1);
        let overtaken = async {
            commit(&store).await;
            // Another reader has seen the commit.
            assert_eq!(read(&store, &reads).await, 1);
            Ok(Some(0_u32))
        };
        assert_eq!(store.recent(KEY(), overtaken).await.expect("read"), Some(0));
        assert_eq!(read(&store, &reads).await, 1);
    }

    #[tokio::test]
    async fn what_is_not_there_takes_no_memory() {
        let root = tempfile::tempdir().expect("a directory");
        let store = Store::open(root.path(), None, NOW).await.expect("a store");
        for name in 0..10 {
            let none = store.recent(Key::Login(name.to_string()), async { Ok(None::<u32>) }).await;
            assert_eq!(none.expect("read"), None);
        }
        assert!(store.recent.rows.lock().expect("no panic").kept.is_empty());
    }
}
