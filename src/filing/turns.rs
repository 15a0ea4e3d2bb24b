//! Whose messages are filed now: those that are due, few at a time, and one after the other of each account.
//!
//! Two must never file for one account at once: each would look into Sent before the other's copy is there.

use super::{Filing, rooms::Rooms};
use crate::{model::AccountId, store::unix_now};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::task::JoinSet;

/// Messages that are read from the store at a time.
pub(crate) const DUE_AT_ONCE: u32 = 256;
/// Messages that are filed at a time, half of them at one provider; a room costs a connection and little else.
pub(crate) const ROOMS: usize = 16;
/// The store is looked at this often, whatever it said: another bridge may have changed it.
pub(crate) const AT_LEAST: Duration = Duration::from_secs(30);
/// How often what nobody needs is swept from the spool.
pub(crate) const SWEPT: Duration = Duration::from_secs(3600);

impl Filing {
    /// Files until it is dropped. `serve` runs one.
    pub async fn run(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        let rooms = Rooms::new(ROOMS);
        let mut swept: Option<tokio::time::Instant> = None;
        loop {
            if swept.is_none_or(|at| at.elapsed() > SWEPT) {
                self.sweep().await;
                swept = Some(now());
            }
            let wait = match self.store.due_sent(unix_now(), DUE_AT_ONCE).await {
                Ok((due, next)) => {
                    self.start(due, &mut tasks, &rooms);
                    let until = next.map_or(AT_LEAST, |next| seconds(next - unix_now()));
                    until.clamp(Duration::from_millis(200), AT_LEAST)
                }
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "Sent copies cannot be read");
                    Duration::from_secs(5)
                }
            };
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
                Some(ended) = tasks.join_next() => {
                    // Its messages are claimed until their time is over, and then another's.
                    if ended.is_err() {
                        tracing::error!("the filing of Sent copies of an account ended by a fault of the bridge");
                    }
                }
            }
        }
    }

    async fn sweep(&self) {
        let swept = async {
            let needed = self.store.spooled_files().await.map_err(|error| error.to_string())?;
            self.spool.sweep(&needed).await.map_err(|error| error.to_string())
        };
        if let Err(error) = swept.await {
            tracing::warn!(error, "the spool cannot be swept");
        }
    }

    fn start(self: &Arc<Self>, due: Vec<(AccountId, i64)>, tasks: &mut JoinSet<()>, rooms: &Arc<Rooms>) {
        let mut accounts: BTreeMap<AccountId, Vec<i64>> = BTreeMap::new();
        for (account, id) in due {
            accounts.entry(account).or_default().push(id);
        }
        for (account, messages) in accounts {
            let Some(turn) = Turn::take(self, account) else { continue };
            let rooms = rooms.clone();
            tasks.spawn(async move {
                let provider = turn.filing.store.account(account).await.ok().flatten().map(|account| account.imap);
                for id in messages {
                    let _room = rooms.take(provider.as_ref()).await;
                    if !turn.filing.attend(id).await {
                        break;
                    }
                }
            });
        }
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[allow(clippy::disallowed_methods, reason = "when the spool was swept is told by the clock")]
fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// The one who files for an account now.
struct Turn {
    filing: Arc<Filing>,
    account: AccountId,
}

impl Turn {
    fn take(filing: &Arc<Filing>, account: AccountId) -> Option<Self> {
        let mut busy = filing.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.insert(account).then(|| Self { filing: filing.clone(), account })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.filing.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.account);
        self.filing.wake.notify_one();
    }
}
