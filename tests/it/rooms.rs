//! Accounts at a provider that is silent, or hangs up, leave rooms of the filer and of the queue to others.

use crate::{
    harness::{AddAccount, Bridge, CrmSettings, Lab, PATIENCE, Provider, Visit, until},
    queue::takes,
};
use serde_json::Value;
use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};

const ALICE: &str = "alice@lab.test";
/// Rooms of the filer, and of the queue: `filing-accounts` and `queue-accounts` of the limits.
const FILER_ROOMS: usize = 16;
const QUEUE_ROOMS: usize = 32;

struct House {
    lab: Lab,
    bridge: Bridge,
    submission: &'static str,
}

impl House {
    fn start(submission: &'static str) -> Option<Self> {
        let lab = Lab::needing(&[])?;
        let mut bridge = Bridge::prepare(&lab);
        bridge.serve();
        Some(Self { lab, bridge, submission })
    }

    fn imap(&self, answer: impl Fn(&mut Visit, &str) -> Option<()> + Send + Sync + 'static) -> Provider {
        Provider::imap(Some(&self.lab.certificates.good), move |visit, _, command| {
            answer(visit, command)?;
            Some(false)
        })
    }

    fn smtp(&self, answer: impl Fn(&mut Visit, &str) -> Option<()> + Send + Sync + 'static) -> Provider {
        Provider::start(Some(&self.lab.certificates.good), move |visit| {
            visit.say("220 double ESMTP")?;
            loop {
                let line = visit.line()?;
                answer(visit, &line)?;
                takes(visit, &line)?;
            }
        })
    }

    fn add(&self, imap: &Provider, smtp: &Provider, address: &str) -> CrmSettings {
        let mut account = AddAccount::unchecked(&self.lab, imap, smtp, address);
        account.more.extend(["--submission", self.submission, "--sent-copy", "always"].map(str::to_owned));
        self.bridge.add_account(&account)
    }

    fn send(&self, crm: &CrmSettings, from: &str, id: &str) {
        let mut wire = self.bridge.sign_in_smtp(crm);
        wire.smtp(&format!("MAIL FROM:<{from}>"), 250);
        wire.smtp("RCPT TO:<bob@lab.test>", 250);
        wire.smtp("DATA", 354);
        wire.send(format!("From: {from}\r\nMessage-ID: <{id}@crm.test>\r\n\r\nHello.\r\n.\r\n").as_bytes());
        assert_eq!(wire.reply().0, 250);
        wire.smtp("QUIT", 221);
    }

    /// Has so many accounts send at these providers.
    fn many_send(&self, imap: &Provider, smtp: &Provider, accounts: usize) {
        for number in 0..accounts {
            let address = format!("a{number}@lab.test");
            self.send(&self.add(imap, smtp, &address), &address, "one");
        }
    }

    fn awaits(&self, what: &str, is: impl Fn() -> bool) {
        assert!(until(PATIENCE, || is().then_some(())).is_some(), "{what}\n{}", self.bridge.log());
    }

    fn store<T>(&self, deed: impl AsyncFnOnce(&mut sqlx::SqliteConnection) -> T) -> T {
        let file = self.bridge.state().join("passerelle.db");
        tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
            let mut store = SqliteConnectOptions::new().filename(file).connect().await.expect("the store");
            deed(&mut store).await
        })
    }
}

fn count(provider: &Provider, what: &str) -> usize {
    provider.heard().matches(what).count()
}

/// Whatever comes, nothing is said.
fn is_silent(visit: &mut Visit) -> Option<()> {
    while !visit.some()?.is_empty() {}
    None
}

#[test]
fn a_silent_mailbox_of_many_leaves_a_room_of_the_filer_to_others() {
    let Some(house) = House::start("direct") else { return };
    let silent = house.imap(|visit, command| match command.starts_with("UID SEARCH") {
        true => is_silent(visit),
        false => Some(()),
    });
    let good = house.imap(|_, _| Some(()));
    let smtp = house.smtp(|_, _| Some(()));
    house.many_send(&silent, &smtp, FILER_ROOMS);
    house.awaits("some are looked at", || count(&silent, "UID SEARCH") >= 4);
    house.send(&house.add(&good, &smtp, ALICE), ALICE, "one");
    house.awaits("a look at the good one", || count(&good, "UID SEARCH") > 0);
}

#[test]
fn a_silent_submission_of_many_leaves_a_room_of_the_queue_to_others() {
    let Some(house) = House::start("queued") else { return };
    let silent = house.smtp(|visit, line| if line.starts_with("MAIL") { is_silent(visit) } else { Some(()) });
    let good = house.smtp(|_, _| Some(()));
    let imap = house.imap(|_, _| Some(()));
    house.many_send(&imap, &silent, QUEUE_ROOMS);
    house.awaits("half of them are tried", || count(&silent, "MAIL FROM") >= QUEUE_ROOMS / 2);
    house.send(&house.add(&imap, &good, ALICE), ALICE, "one");
    house.awaits("the good one is sent", || count(&good, "\r\n.\r\n") == 1);
}

#[test]
fn a_mailbox_that_hangs_up_is_asked_for_one_message_of_its_account() {
    let Some(house) = House::start("direct") else { return };
    let imap = house.imap(|visit, command| match command.starts_with("UID SEARCH") {
        true => visit.hang_up(),
        false => Some(()),
    });
    let smtp = house.smtp(|_, _| Some(()));
    let crm = house.add(&imap, &smtp, ALICE);
    for id in ["one", "two", "three"] {
        house.send(&crm, ALICE, id);
    }
    let due = || {
        house.store(async |store| {
            let waits = "SELECT COUNT(*) FROM sent WHERE due_at > 1 AND claimed_until = 0";
            sqlx::query_scalar::<_, i64>(waits).fetch_one(store).await.expect("read")
        })
    };
    house.awaits("all were tried", || due() == 3);
    let before = count(&imap, "UID SEARCH");
    house.store(async |store| {
        sqlx::query("UPDATE sent SET due_at = 1").execute(store).await.expect("due");
    });
    house.awaits("all are put off", || due() == 3);
    assert_eq!(count(&imap, "UID SEARCH") - before, 1, "{}", house.bridge.log());
}

#[test]
fn a_submission_that_hangs_up_is_given_one_message_of_its_account() {
    let Some(house) = House::start("queued") else { return };
    let smtp = house.smtp(|visit, line| if line.starts_with("MAIL") { visit.hang_up() } else { Some(()) });
    let imap = house.imap(|_, _| Some(()));
    let crm = house.add(&imap, &smtp, ALICE);
    for id in ["one", "two", "three"] {
        house.send(&crm, ALICE, id);
    }
    let queue = || {
        let listed = house.bridge.cli(&["queue", "list", "--json"], b"");
        serde_json::from_slice::<Vec<Value>>(&listed.stdout).expect("JSON")
    };
    let due = || {
        house.store(async |store| {
            let waits = "SELECT COUNT(*) FROM queue WHERE due_at > 1 AND claimed_until = 0";
            sqlx::query_scalar::<_, i64>(waits).fetch_one(store).await.expect("read")
        })
    };
    let tries = || queue().iter().filter_map(|one| one["tries"].as_u64()).sum::<u64>();
    house.awaits("some was tried", || due() == 3 && tries() > 0);
    let before = count(&smtp, "MAIL FROM");
    house.store(async |store| {
        sqlx::query("UPDATE queue SET due_at = 1").execute(store).await.expect("due");
    });
    house.awaits("all are put off", || due() == 3);
    assert_eq!(count(&smtp, "MAIL FROM") - before, 1, "{}", house.bridge.log());
}
