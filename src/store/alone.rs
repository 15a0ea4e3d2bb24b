//! One bridge serves a state directory at a time: a second one would take the first's leases of grants for its own, and
//! what the first has in its spool for what a crash has left.
//!
//! A lock of the system and no row: it ends with the process that holds it, however that ends, so a bridge that was killed
//! is followed at once. Commands do not ask for it: they work beside a bridge that serves. Several bridges on one database
//! need names of their own first.

use super::{Error, files};
use std::{
    fs::{File, TryLockError},
    path::Path,
    time::Duration,
};

/// Beside the lock that is held only while a store is opened.
const FILE: &str = ".serving";
/// A process that is being ended lets go within some milliseconds; who starts the next need not wait for that.
const TRIES: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(50);

/// That no other bridge serves the same state directory, for as long as this lives.
#[derive(Debug)]
pub struct Alone {
    _locked: File,
}

impl Alone {
    /// Makes the lock's file where there is none; the directory is there.
    ///
    /// # Errors
    /// [`Error::Served`] where another bridge serves, or if the file cannot be made or locked.
    pub async fn at(state: &Path) -> Result<Self, Error> {
        let path = state.join(FILE);
        files::ensure_private(&path)?;
        let file = File::open(&path).map_err(|cause| Error::file("open", &path, cause))?;
        for _ in 1..TRIES {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => tokio::time::sleep(BETWEEN).await,
                _ => break,
            }
        }
        match file.try_lock() {
            Ok(()) => Ok(Self { _locked: file }),
            Err(TryLockError::WouldBlock) => Err(Error::Served(state.to_owned())),
            Err(TryLockError::Error(cause)) => Err(Error::file("lock", &path, cause)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_the_next_at_once() {
        let root = tempfile::tempdir().expect("a directory");
        let first = Alone::at(root.path()).await.expect("nobody serves");
        let second = Alone::at(root.path()).await;
        assert!(matches!(second, Err(Error::Served(path)) if path == root.path()));
        drop(first);
        drop(Alone::at(root.path()).await.expect("the first is gone"));
        let (path, other) = (root.path().to_owned(), Alone::at(root.path()).await.expect("nobody serves"));
        let waiting = tokio::spawn(async move { Alone::at(&path).await.map(drop) });
        tokio::time::sleep(BETWEEN).await;
        drop(other);
        waiting.await.expect("no panic").expect("it is ending, and waited for");
    }
}
