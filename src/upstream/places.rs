//! How many lanes an account may have, and what it may send: the lower of the configuration's cap and the provider's.

use super::gate::SendingBounds;
use crate::{
    model::number,
    provider::{Limits, Table},
    relay::LaneUse,
    store::Account,
};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Semaphore;

/// The places of one account, of each use apart: a session of IMAP holds its lane for as long as it lives, and mail must
/// go out all the same.
#[derive(Default)]
pub(super) struct Places {
    imap: Mutex<Counted>,
    submission: Mutex<Counted>,
}

/// How many there are, and those that are free.
struct Counted {
    cap: usize,
    free: Arc<Semaphore>,
}

impl Default for Counted {
    /// None, until an account says how many.
    fn default() -> Self {
        Self { cap: 0, free: Arc::new(Semaphore::new(0)) }
    }
}

impl Places {
    /// The free places of this use. Another cap, as another provider has, begins anew: what was let in under the old one
    /// ends with its generation.
    pub(super) fn free(&self, purpose: LaneUse, cap: usize) -> Arc<Semaphore> {
        let mut counted = self.counted(purpose);
        if counted.cap != cap {
            *counted = Counted { cap, free: Arc::new(Semaphore::new(cap)) };
        }
        counted.free.clone()
    }

    /// How many of this use are taken.
    pub(super) fn taken(&self, purpose: LaneUse) -> u64 {
        let counted = self.counted(purpose);
        number(counted.cap.saturating_sub(counted.free.available_permits()))
    }

    fn counted(&self, purpose: LaneUse) -> MutexGuard<'_, Counted> {
        let counted = match purpose {
            LaneUse::Imap => &self.imap,
            LaneUse::Submission => &self.submission,
        };
        counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many lanes of this use the account may have, where the configuration allows `ours`.
#[must_use]
pub fn cap(account: &Account, purpose: LaneUse, ours: u32, providers: &Table) -> usize {
    let Limits { imap_connections, smtp_connections, .. } = providers.limits(&account.settings.provider);
    let theirs = match purpose {
        LaneUse::Imap => imap_connections,
        LaneUse::Submission => smtp_connections,
    };
    let cap = theirs.map_or(ours, |theirs| theirs.min(ours));
    usize::try_from(cap).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}

/// What an account may send, beside how many lanes it may have for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Messages over one lane.
    pub per_lane: u32,
    /// Messages in a minute. None: nobody says.
    pub per_minute: Option<u32>,
    pub stay: Stay,
}

/// How long lanes that nobody uses are kept, and how many of one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stay {
    pub time: Duration,
    pub lanes: u32,
}

impl Stay {
    /// The lower of ours and of what the provider bears.
    fn within(self, idle_seconds: Option<u32>, lanes: Option<u32>) -> Self {
        // Well before: the last use of a lane must not race with the provider's closing it.
        let borne = idle_seconds.map_or(Duration::MAX, |idle| Duration::from_secs(idle.into()) * 4 / 5);
        Self { time: self.time.min(borne), lanes: self.lanes.min(lanes.unwrap_or(u32::MAX)) }
    }
}

/// How IMAP's lanes of the account are kept, where the configuration allows `ours`.
pub(super) fn stay(account: &Account, ours: Stay, providers: &Table) -> Stay {
    stay_within(&providers.limits(&account.settings.provider), ours)
}

fn stay_within(theirs: &Limits, ours: Stay) -> Stay {
    ours.within(theirs.imap_idle_seconds, theirs.parked_connections)
}

/// What the account may send, where the configuration allows `ours`.
#[must_use]
pub fn allowance(account: &Account, ours: SendingBounds, providers: &Table) -> Allowance {
    Allowance::of(&providers.limits(&account.settings.provider), ours)
}

impl Allowance {
    /// The lower of what the provider bears and what the configuration allows.
    fn of(theirs: &Limits, ours: SendingBounds) -> Self {
        Self {
            per_lane: theirs.messages_per_connection.unwrap_or(u32::MAX).min(ours.per_lane),
            per_minute: [theirs.messages_per_minute, ours.per_minute].into_iter().flatten().min(),
            stay: ours.stay.within(theirs.smtp_idle_seconds, theirs.parked_connections),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Address, Certificates, Endpoint, Secret, Security},
        store::{ADMIN, Changes, Credential, NewAccount, Settings, Store},
    };

    #[tokio::test]
    async fn the_lower_of_both_caps_holds_and_another_provider_brings_its_own() {
        let root = tempfile::tempdir().expect("a directory");
        let store = Store::open(root.path(), None, 1_800_000_000).await.expect("a store");
        let endpoint = || Endpoint::parse("mail.test", Security::Tls, 993).expect("an endpoint");
        let new = NewAccount {
            owner: store.user(ADMIN).await.expect("read").expect("there").id,
            address: Address::parse("alice@mail.test").expect("an address"),
            imap: endpoint(),
            smtp: endpoint(),
            certificates: Certificates::Verify,
            sign_in_name: "alice".to_owned(),
            credential: Credential::Password(Secret::new("x".to_owned())),
            settings: Settings::default(),
            smtp_password: None,
            aliases: Vec::new(),
            checked_at: None,
        };
        let id = store.add_account(&new, 0).await.expect("added");
        let (places, table) = (Places::default(), Table::built_in().expect("a table"));
        let mut seen = Vec::new();
        for provider in ["google", "microsoft365", "nobody-knows"] {
            let changes = Changes { provider: Some(provider.to_owned()), ..Changes::default() };
            store.change_account(id, &changes).await.expect("changed");
            let account = store.account(id).await.expect("read").expect("there");
            let free = |purpose| places.free(purpose, cap(&account, purpose, 4, &table)).available_permits();
            seen.push((free(LaneUse::Imap), free(LaneUse::Submission)));
        }
        assert_eq!(seen, [(4, 4), (4, 3), (4, 4)], "5 of Google's are more than 4 of ours");
    }

    #[test]
    fn the_lower_of_both_bounds_of_parking_holds() {
        let stay = |seconds, lanes| Stay { time: Duration::from_secs(seconds), lanes };
        let of = |idle, lanes| {
            let theirs = Limits { imap_idle_seconds: idle, parked_connections: lanes, ..Limits::default() };
            stay_within(&theirs, stay(240, 4))
        };
        assert_eq!(of(None, None), stay(240, 4));
        // Well before the provider would close it.
        assert_eq!(of(Some(60), Some(2)), stay(48, 2));
        assert_eq!(of(Some(1740), Some(9)), stay(240, 4));
    }

    #[tokio::test]
    async fn places_go_to_who_came_first() {
        let free = Places::default().free(LaneUse::Imap, 1);
        let held = free.clone().acquire_owned().await.expect("open");
        let (told, mut order) = tokio::sync::mpsc::unbounded_channel();
        for number in 0..3 {
            let (free, told) = (free.clone(), told.clone());
            tokio::spawn(async move {
                let _place = free.acquire_owned().await;
                let _ = told.send(number);
            });
            // Each is in line before the next comes.
            tokio::task::yield_now().await;
        }
        drop((held, told));
        let mut came = Vec::new();
        while let Some(number) = order.recv().await {
            came.push(number);
        }
        assert_eq!(came, [0, 1, 2]);
    }

    #[test]
    fn the_lower_of_both_bounds_of_sending_holds() {
        let seconds = Duration::from_secs;
        let stay = |time, lanes| Stay { time: seconds(time), lanes };
        let ours = SendingBounds { per_lane: 100, per_minute: Some(40), stay: stay(25, 4), wait: seconds(25) };
        let unknown = Limits::default();
        let lower = Limits {
            messages_per_connection: Some(20),
            messages_per_minute: Some(30),
            smtp_idle_seconds: Some(10),
            parked_connections: Some(1),
            ..Limits::default()
        };
        let higher = Limits {
            messages_per_connection: Some(500),
            messages_per_minute: Some(60),
            smtp_idle_seconds: Some(600),
            parked_connections: Some(9),
            ..Limits::default()
        };
        let allowed = [unknown, lower, higher].map(|theirs| Allowance::of(&theirs, ours));
        let known = Allowance { per_lane: 100, per_minute: Some(40), stay: stay(25, 4) };
        assert_eq!(allowed, [known, Allowance { per_lane: 20, per_minute: Some(30), stay: stay(8, 1) }, known]);
    }
}
