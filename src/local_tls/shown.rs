//! The certificate that is shown now: renewed, or read again, while the bridge serves.
//!
//! New handshakes get the new one; sessions that are there go on with the old. What cannot be used never takes the place
//! of what is shown: it is logged once, and looked at again. A fault of ours in looking ends that look, and no later one.

use super::{Error, LocalTls, certified, tls_with};
use crate::model::Host;
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};
use tokio_rustls::rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// How often files are looked at: whoever renewed a certificate sees it served within seconds, and two calls of `stat`
/// cost nothing.
const LOOK: Duration = Duration::from_secs(2);
/// After each panic in a row the pause is twice as long, so often at the most: 34 minutes. What makes one may well be there
/// at the next look, too, and each is told to the log.
const DOUBLINGS_MAX: u32 = 10;
/// How often, in seconds, the end of the bridge's own certificate is looked at: it is renewed weeks before.
const HOUR: i64 = 3600;

/// What clients are shown, and where it comes from.
pub struct Shown {
    source: Source,
    current: Arc<Current>,
    /// The files as they were when last read.
    seen: [Option<Seen>; 2],
    /// When the bridge's own certificate was last looked at, in Unix seconds.
    looked_at: i64,
}

enum Source {
    Local(LocalTls, Vec<Host>),
    /// The administrator's chain and key.
    Files(PathBuf, PathBuf),
}

/// What tells that a file is another than before.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    modified: Option<SystemTime>,
    length: u64,
    /// Of two files that were made in the same instant.
    number: u64,
}

impl Shown {
    /// A certificate of the local authority, for localhost and these names, made or renewed if need be. `now` is in Unix
    /// seconds.
    ///
    /// # Errors
    /// If a file cannot be read or written, or holds something else.
    pub fn local(local: LocalTls, names: Vec<Host>, now: i64) -> Result<Self, Error> {
        local.ensure(&names, now)?;
        Self::of(Source::Local(local, names), now)
    }

    /// The administrator's own.
    ///
    /// # Errors
    /// If a file cannot be read, or the two do not go together.
    pub fn files(chain: &Path, key: &Path) -> Result<Self, Error> {
        Self::of(Source::Files(chain.to_owned(), key.to_owned()), 0)
    }

    fn of(source: Source, now: i64) -> Result<Self, Error> {
        // Seen before it is read: a change between the two is seen again.
        let seen = source.files().map(|file| seen(&file));
        let [chain, key] = source.files();
        let current = Arc::new(Current(RwLock::new(certified(&chain, &key)?)));
        Ok(Self { source, current, seen, looked_at: now })
    }

    /// TLS 1.2 and newer, with what is shown at each handshake.
    ///
    /// # Errors
    /// If TLS does not take it.
    pub fn config(&self) -> Result<Arc<ServerConfig>, Error> {
        let [chain, _] = self.source.files();
        tls_with(self.current.clone()).map_err(|source| Error::Unusable { path: chain, source })
    }

    /// Looks again and again, for ever. `clock` gives Unix seconds.
    pub async fn keep(self, clock: impl Fn() -> i64 + Send) {
        self.keep_looking(LOOK, clock).await;
    }

    async fn keep_looking(mut self, every: Duration, clock: impl Fn() -> i64 + Send) {
        let mut panics_in_a_row = 0_u32;
        loop {
            let times = 2_u32.saturating_pow(panics_in_a_row.min(DOUBLINGS_MAX));
            tokio::time::sleep(every.saturating_mul(times)).await;
            let now = clock();
            // Files are read, and a key may be made.
            let looked = tokio::task::spawn_blocking(move || {
                // What may be half done by then is what was seen, and that is forgotten.
                let looked = catch_unwind(AssertUnwindSafe(|| self.look(now)));
                (self, looked)
            });
            // The runtime ends.
            let Ok((shown, looked)) = looked.await else { return };
            self = shown;
            let Ok(looked) = looked else {
                panics_in_a_row = panics_in_a_row.saturating_add(1);
                self.forget_what_was_seen();
                continue;
            };
            panics_in_a_row = 0;
            match looked {
                Ok(false) => {}
                Ok(true) => tracing::info!("a new certificate is shown to clients"),
                Err(error) => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    hint = error.hint(),
                    "a new certificate cannot be used, clients are shown the old one"
                ),
            }
        }
    }

    /// The next look reads everything anew.
    fn forget_what_was_seen(&mut self) {
        (self.seen, self.looked_at) = ([None; 2], i64::MIN);
    }

    /// Renews what is due and reads what has changed; whether another certificate is shown from now on.
    fn look(&mut self, now: i64) -> Result<bool, Error> {
        let seen = self.source.files().map(|file| seen(&file));
        let changed = seen != self.seen;
        let due = matches!(self.source, Source::Local(..)) && now >= self.looked_at.saturating_add(HOUR);
        if !changed && !due {
            return Ok(false);
        }
        (self.seen, self.looked_at) = (seen, now);
        if let Source::Local(local, names) = &self.source {
            let renewed = local.ensure(names, now)?;
            if !renewed && !changed {
                return Ok(false);
            }
            self.seen = self.source.files().map(|file| self::seen(&file));
        }
        let [chain, key] = self.source.files();
        #[cfg(test)]
        crate::plant::IN_A_CERTIFICATE.spring(&std::fs::read(&chain).unwrap_or_default());
        let next = certified(&chain, &key)?;
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(true)
    }
}

impl Source {
    /// Chain and key.
    fn files(&self) -> [PathBuf; 2] {
        match self {
            Self::Local(local, _) => local.leaf(),
            Self::Files(chain, key) => [chain.clone(), key.clone()],
        }
    }
}

fn seen(file: &Path) -> Option<Seen> {
    let metadata = std::fs::metadata(file).ok()?;
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(&metadata);
    #[cfg(not(unix))]
    let number = 0;
    Some(Seen { modified: metadata.modified().ok(), length: metadata.len(), number })
}

struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // A panic elsewhere leaves a whole value here: each write is one assignment.
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Shows no key.
impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{DAY, LEAF_DAYS, RENEW_DAYS, tests::handshake},
        *,
    };

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn a_leaf_is_renewed_before_its_end_while_it_is_shown() {
        let root = tempfile::tempdir().expect("a directory");
        let local = || LocalTls::at(root.path()).expect("made");
        let mut shown = Shown::local(local(), Vec::new(), NOW).expect("made");
        let config = shown.config().expect("TLS");
        let end = NOW + LEAF_DAYS * DAY;
        let good_at = |at| handshake(&local(), config.clone(), "localhost", at).is_ok();
        // Not a day too early: whoever was told of this very leaf would have to be told again.
        assert!(!shown.look(end - (RENEW_DAYS + 1) * DAY).expect("looked"));
        assert!(good_at(end - DAY) && !good_at(end + DAY));
        let due = end - (RENEW_DAYS - 1) * DAY;
        assert!(shown.look(due).expect("renewed"));
        assert!(good_at(due) && good_at(end + DAY));
        assert!(!shown.look(due).expect("looked") && !shown.look(due + DAY).expect("looked"));
        // Another bridge of the same state made one: it is read, not made again.
        std::fs::remove_file(root.path().join("leaf.pem")).expect("removed");
        local().ensure(&[], due + 30 * DAY).expect("made");
        assert!(shown.look(due + 30 * DAY).expect("read"));
        assert!(good_at(due + LEAF_DAYS * DAY + DAY));
    }

    #[test]
    fn what_cannot_be_used_is_never_shown_and_what_mends_it_is() {
        let [root, other] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let [local, next] = [&root, &other].map(|root| LocalTls::at(root.path()).expect("made"));
        local.ensure(&[], NOW).expect("made");
        next.ensure(&[], NOW).expect("made");
        let [chain, key] = local.leaf();
        let mut shown = Shown::files(&chain, &key).expect("read");
        let config = shown.config().expect("TLS");
        let shows = |local: &LocalTls| handshake(local, config.clone(), "localhost", NOW).is_ok();
        assert!(!shown.look(NOW).expect("the same"));
        // One of the two files first, as most programs do it.
        let [next_chain, next_key] = next.leaf();
        std::fs::copy(next_chain, &chain).expect("copied");
        shown.look(NOW).expect_err("they do not go together");
        assert!(shows(&local) && !shows(&next));
        assert!(!shown.look(NOW).expect("said once"));
        std::fs::copy(next_key, &key).expect("copied");
        assert!(shown.look(NOW).expect("read"));
        assert!(!shows(&local) && shows(&next));
        std::fs::remove_file(&key).expect("removed");
        shown.look(NOW).expect_err("nothing to read");
        assert!(shows(&next));
    }

    #[tokio::test]
    async fn r21_a_planted_panic_ends_no_watch_of_the_certificate() {
        let until = async |what: &str, holds: &dyn Fn() -> bool| {
            for _ in 0..1000 {
                if holds() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("not in time: {what}");
        };
        let [root, other] = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
        let [local, next] = [&root, &other].map(|root| LocalTls::at(root.path()).expect("made"));
        local.ensure(&[], NOW).expect("made");
        next.ensure(&[], NOW).expect("made");
        let ([chain, key], [next_chain, next_key]) = (local.leaf(), next.leaf());
        let shown = Shown::files(&chain, &key).expect("read");
        let config = shown.config().expect("TLS");
        let shows = |local: &LocalTls| handshake(local, config.clone(), "localhost", NOW).is_ok();
        let watch = tokio::spawn(shown.keep_looking(Duration::from_millis(1), || NOW));

        // The same file all the while: what was seen before a panic is seen again.
        let text = std::fs::read_to_string(&chain).expect("read");
        std::fs::write(&chain, format!("{}\n{text}", crate::plant::IN_A_CERTIFICATE.words)).expect("written");
        until("three panics", &|| crate::plant::IN_A_CERTIFICATE.sprung() >= 3).await;
        assert!(shows(&local), "what was shown is shown");
        std::fs::copy(next_key, &key).expect("copied");
        std::fs::copy(next_chain, &chain).expect("copied");
        until("the next certificate", &|| shows(&next)).await;
        assert!(!watch.is_finished());
        watch.abort();
    }
}
