//! Room on the disk that is held back: what a provider has just given for a refresh token that is spent by it exists nowhere
//! else, and must find room (rule R44).
//!
//! A file of its own, whole before such a token is asked for, given up where there is no other room, and made again when
//! there is.

use super::{Error, Store, files};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::{fs, path::Path};

/// The file's name in the state directory.
const RESERVE_FILE: &str = "reserve";
/// Its length: room for the pages of many commits at once, each a few.
pub(crate) const RESERVE: usize = 1024 * 1024;

impl Store {
    /// Sees to it that a small commit finds room, whatever else fills the disk.
    ///
    /// # Errors
    /// [`Error::DiskFull`], or that the file cannot be made: what cannot be asked for again must not be asked for then.
    pub async fn hold_reserve(&self) -> Result<(), Error> {
        let path = self.state.join(RESERVE_FILE);
        let made = tokio::task::spawn_blocking(move || make(&path)).await;
        made.unwrap_or(Err(Error::Corrupt("reserve")))
    }

    /// Commits what exists nowhere else, in the room that is held back where there is no other.
    ///
    /// # Errors
    /// Those of the commit.
    pub async fn in_reserve<F: Future<Output = Result<(), Error>>>(&self, commit: impl Fn() -> F) -> Result<(), Error> {
        let kept = commit().await;
        let is_full = matches!(kept, Err(Error::DiskFull));
        if is_full && tokio::fs::remove_file(self.state.join(RESERVE_FILE)).await.is_ok() {
            return commit().await;
        }
        kept
    }
}

fn make(path: &Path) -> Result<(), Error> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() == RESERVE as u64) {
        return Ok(());
    }
    // Some disks give no room to octets that are all alike.
    let mut octets = vec![0; RESERVE];
    SystemRandom::new().fill(&mut octets).map_err(|_| Error::Corrupt("reserve"))?;
    files::replace_private(path, &octets)
}
