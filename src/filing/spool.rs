//! The spool: messages on disk, a file each, as they were sent, from the first octet until their copy stands in Sent.
//!
//! A file is whole, and on disk together with its name, before a row of the store has its name. What no row names is of a
//! message that came to nothing. Files and their folder are their owner's alone.

use super::shares::{Share, Shares};
use crate::{
    failpoint::{Moment, reach},
    model::AccountId,
    store::{Error, SPOOL_DIRECTORY, Spooled, files},
};
use ring::{
    digest::{Context, SHA256},
    rand::{SecureRandom as _, SystemRandom},
};
use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{
    fs::{self, File, OpenOptions},
    io::AsyncWriteExt as _,
};

/// Octets of all files together: a busy firm's mail of an hour in which no Sent mailbox can be reached.
pub(crate) const SPOOL_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// Those of one account: its mailbox that takes nothing keeps no other from sending.
pub(crate) const SPOOL_SHARE: u64 = SPOOL_MAX / 8;
/// A file that no row names may be one that is being written, by another bridge too.
pub(crate) const ABANDONED: Duration = Duration::from_secs(3600);

/// To the administrator.
const OVER_SHARE: &str = "too many messages of its account wait to be sent, or for its Sent mailbox";

/// The folder, and how much lies in it.
pub(crate) struct Spool {
    directory: PathBuf,
    used: Arc<AtomicU64>,
    shares: Arc<Shares>,
}

impl Spool {
    /// Makes the folder where there is none. No account has more octets in it than its share.
    pub(super) fn open(state: &Path, share: u64) -> Result<Self, Error> {
        let directory = state.join(SPOOL_DIRECTORY);
        files::private_directory(&directory)?;
        Ok(Self { directory, used: Arc::default(), shares: Shares::new(share) })
    }

    /// The octets of an account's new file.
    pub(super) fn share(&self, account: AccountId) -> Share {
        self.shares.of(account)
    }

    /// A new file.
    pub(super) async fn create(&self, share: Share) -> io::Result<Spooling> {
        let name = name()?;
        let path = self.directory.join(&name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        options.mode(0o600);
        let file = options.open(&path).await?;
        let kept = Kept { path, octets: 0, used: self.used.clone(), whole: false };
        Ok(Spooling { name, file, content: Context::new(&SHA256), share, kept })
    }

    /// A file to read from.
    pub(crate) async fn read(&self, name: &str) -> io::Result<File> {
        File::open(self.directory.join(name)).await
    }

    /// Gives a file a second name, under which it outlives the first; on disk when this returns.
    pub(crate) async fn link(&self, spooled: &Spooled) -> io::Result<Spooled> {
        let name = name()?;
        let (from, to) = (self.directory.join(&spooled.file), self.directory.join(&name));
        if fs::hard_link(&from, &to).await.is_err() {
            // Not every file system has them.
            fs::copy(&from, &to).await?;
            File::open(&to).await?.sync_all().await?;
        }
        File::open(&self.directory).await?.sync_all().await?;
        self.used.fetch_add(spooled.octets, Ordering::Relaxed);
        Ok(Spooled { file: name, octets: spooled.octets })
    }

    /// Files are needed no more. What stays behind is swept.
    pub(crate) async fn remove(&self, names: impl IntoIterator<Item = String>) {
        for name in names {
            self.remove_one(&name).await;
        }
    }

    async fn remove_one(&self, name: &str) {
        let path = self.directory.join(name);
        let octets = fs::metadata(&path).await.map_or(0, |metadata| metadata.len());
        match fs::remove_file(&path).await {
            Ok(()) => drop(self.used.fetch_sub(octets.min(self.used.load(Ordering::Relaxed)), Ordering::Relaxed)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "a file of the spool cannot be removed"),
        }
    }

    /// Removes what nobody needs, and counts the rest.
    #[allow(clippy::disallowed_methods, reason = "the age of a file is told by the clock")]
    pub(super) async fn sweep(&self, needed: &HashSet<String>) -> io::Result<()> {
        let mut entries = fs::read_dir(&self.directory).await?;
        let mut used = 0;
        while let Some(entry) = entries.next_entry().await? {
            let Ok(metadata) = entry.metadata().await else { continue };
            let age = metadata.modified().ok().and_then(|changed| SystemTime::now().duration_since(changed).ok());
            let abandoned = age.is_some_and(|age| age > ABANDONED);
            if abandoned && !needed.contains(&*entry.file_name().to_string_lossy()) {
                fs::remove_file(entry.path()).await?;
            } else {
                used += metadata.len();
            }
        }
        self.used.store(used, Ordering::Relaxed);
        Ok(())
    }
}

/// One that nobody has.
fn name() -> io::Result<String> {
    let mut name = [0_u8; 16];
    SystemRandom::new().fill(&mut name).map_err(|_| io::Error::other("no random octets"))?;
    Ok(format!("{:032x}.eml", u128::from_be_bytes(name)))
}

/// A file that is being written. Dropped before it is whole, it is removed.
pub(super) struct Spooling {
    name: String,
    file: File,
    content: Context,
    share: Share,
    kept: Kept,
}

/// A file that is whole and on disk.
pub(super) struct Whole {
    pub(super) spooled: Spooled,
    /// A digest of its octets.
    pub(super) content: Vec<u8>,
    /// Until a row names it.
    pub(super) share: Share,
}

struct Kept {
    path: PathBuf,
    octets: u64,
    used: Arc<AtomicU64>,
    whole: bool,
}

impl Spooling {
    pub(super) async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        let more = octets.len() as u64;
        if !self.share.take(more) {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, OVER_SHARE));
        }
        if self.kept.used.fetch_add(more, Ordering::Relaxed) + more > SPOOL_MAX {
            self.kept.used.fetch_sub(more, Ordering::Relaxed);
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.kept.octets += more;
        self.content.update(octets);
        reach(Moment::BeforeSpool).await;
        self.file.write_all(octets).await?;
        // What is only buffered has not met a full disk yet.
        self.file.flush().await?;
        reach(Moment::SpoolWritten).await;
        Ok(())
    }

    /// All of it is on disk, and so is its name.
    pub(super) async fn finish(mut self) -> io::Result<Whole> {
        reach(Moment::BeforeSync).await;
        self.file.sync_all().await?;
        let directory = self.kept.path.parent().map(Path::to_owned).unwrap_or_default();
        File::open(directory).await?.sync_all().await?;
        reach(Moment::AfterSync).await;
        self.kept.whole = true;
        let spooled = Spooled { file: self.name.clone(), octets: self.kept.octets };
        Ok(Whole { spooled, content: self.content.finish().as_ref().to_vec(), share: self.share })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if !self.whole {
            // What a sweep counted anew meanwhile may be less.
            let less = |used: u64| Some(used.saturating_sub(self.octets));
            let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            // A moment's work, and at a cut session nobody could wait for it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn drafts_of_one_account_leave_the_spool_to_others() {
        let root = tempfile::tempdir().expect("a directory");
        let spool = Spool::open(root.path(), 1000).expect("a spool");
        let [alice, bob] = [AccountId(1), AccountId(2)];
        let mut drafts = [
            spool.create(spool.share(alice)).await.expect("a file"),
            spool.create(spool.share(alice)).await.expect("a file"),
        ];
        for draft in &mut drafts {
            draft.write(&[b'x'; 500]).await.expect("written");
        }
        let refused = drafts[0].write(b"x").await.expect_err("its share is full");
        assert_eq!(refused.kind(), io::ErrorKind::QuotaExceeded);
        let mut others = spool.create(spool.share(bob)).await.expect("a file");
        others.write(&[b'x'; 1000]).await.expect("another has all of its own");
        let [one, two] = drafts;
        // Whole, and no row names it yet.
        let whole = one.finish().await.expect("on disk");
        let mut next = spool.create(spool.share(alice)).await.expect("a file");
        assert!(next.write(b"x").await.is_err());
        drop(two);
        next.write(&[b'x'; 500]).await.expect("what was dropped is free");
        spool.remove([whole.spooled.file]).await;
        drop((next, others, whole.share));
        assert_eq!(spool.used.load(Ordering::Relaxed), 0);
        assert_eq!(std::fs::read_dir(&spool.directory).expect("the folder").count(), 0);
    }
}
