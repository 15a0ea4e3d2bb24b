//! What one account leaves in the spool and in the queue keeps no other from sending.

use crate::{
    harness::{AddAccount, Bridge, CrmSettings, Lab, PATIENCE, Provider, Wire, until},
    queue::takes,
};
use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};

const ALICE: &str = "alice@lab.test";
const BOB: &str = "bob@lab.test";
/// Octets of a message: two of them are more than [`NEARLY_ALL`] leaves.
const LARGE: usize = 400_000;
/// Of `spool-share` of the limits.
const NEARLY_ALL: &str = "UPDATE queue SET octets = 512 * 1024 * 1024 - 700000";

struct House {
    bridge: Bridge,
    alice: CrmSettings,
    bob: CrmSettings,
    _providers: [Provider; 2],
    _lab: Lab,
}

impl House {
    /// Whose provider takes nothing for now.
    fn start() -> Option<Self> {
        let lab = Lab::needing(&[])?;
        let smtp = Provider::start(Some(&lab.certificates.good), |visit| {
            visit.say("220 double ESMTP")?;
            loop {
                let line = visit.line()?;
                match line.starts_with("MAIL") {
                    true => visit.say("451 4.3.0 Later")?,
                    false => takes(visit, &line)?,
                }
            }
        });
        let imap = Provider::imap(Some(&lab.certificates.good), |_, _, _| Some(false));
        let mut bridge = Bridge::prepare(&lab);
        let add = |address: &str| {
            let mut account = AddAccount::unchecked(&lab, &imap, &smtp, address);
            account.more.extend(["--submission", "queued", "--sent-copy", "always"].map(str::to_owned));
            bridge.add_account(&account)
        };
        let (alice, bob) = (add(ALICE), add(BOB));
        bridge.serve();
        Some(Self { bridge, alice, bob, _providers: [imap, smtp], _lab: lab })
    }

    /// A message of which so many octets are said, and not its end.
    fn begins(&self, who: &CrmSettings, from: &str, id: &str, octets: usize) -> Wire {
        let mut wire = self.bridge.sign_in_smtp(who);
        wire.smtp(&format!("MAIL FROM:<{from}>"), 250);
        wire.smtp("RCPT TO:<carol@lab.test>", 250);
        wire.smtp("DATA", 354);
        let line = format!("{}\r\n", "x".repeat(70));
        wire.send(format!("From: {from}\r\nMessage-ID: <{id}@crm.test>\r\n\r\n").as_bytes());
        wire.send(line.repeat(octets / line.len()).as_bytes());
        wire
    }

    fn sends(&self, who: &CrmSettings, from: &str, id: &str, octets: usize) -> (u16, String) {
        let mut wire = self.begins(who, from, id, octets);
        wire.send(b".\r\n");
        wire.reply()
    }

    /// Octets of the largest file that is being written.
    fn spooled(&self) -> u64 {
        let files = std::fs::read_dir(self.bridge.state().join("spool")).expect("the spool");
        files.filter_map(|file| file.ok()?.metadata().ok().map(|metadata| metadata.len())).max().unwrap_or_default()
    }

    fn change(&self, sql: &'static str) {
        let file = self.bridge.state().join("passerelle.db");
        tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
            let mut store = SqliteConnectOptions::new().filename(file).connect().await.expect("the store");
            sqlx::query(sql).execute(&mut store).await.expect("changed");
        });
    }
}

/// As many as an account may have, and a few, none of them due.
const FULL: &str = "WITH RECURSIVE numbers (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < 5000)
    INSERT INTO queue (account_id, state, sender, envelope, octets, began_at, expires_at)
    SELECT account_id, 'uncertain', '', X'00', 0, began_at, expires_at FROM queue, numbers";

#[test]
fn who_has_too_many_messages_in_the_queue_is_told_and_others_are_not() {
    let Some(house) = House::start() else { return };
    assert_eq!(house.sends(&house.alice, ALICE, "one", 100).0, 250);
    house.change(FULL);
    let (code, words) = house.sends(&house.alice, ALICE, "two", 100);
    assert_eq!(code, 452, "{words}");
    assert!(words.starts_with("4.3.1 Too many messages of this account wait in the queue"), "{words}");
    assert_eq!(house.sends(&house.bob, BOB, "one", 100).0, 250, "another has a number of its own");
    house.change("DELETE FROM queue WHERE id = (SELECT MAX(id) FROM queue WHERE state = 'uncertain')");
    assert_eq!(house.sends(&house.alice, ALICE, "two", 100).0, 250);
}

#[test]
fn a_draft_that_nobody_ends_counts_in_its_accounts_share() {
    let Some(house) = House::start() else { return };
    assert_eq!(house.sends(&house.alice, ALICE, "one", 100).0, 250);
    house.change(NEARLY_ALL);
    let mut draft = house.begins(&house.alice, ALICE, "two", LARGE);
    let written = until(PATIENCE, || (house.spooled() > 9 * LARGE as u64 / 10).then_some(()));
    assert!(written.is_some(), "{} octets are on disk\n{}", house.spooled(), house.bridge.log());
    let (code, words) = house.sends(&house.alice, ALICE, "three", LARGE);
    assert_eq!(code, 452, "{words}\n{}", house.bridge.log());
    assert_eq!(house.sends(&house.bob, BOB, "one", LARGE).0, 250, "another's share is its own");
    // What was begun first is whole, and what it had is free where it is given up.
    draft.send(b".\r\n");
    assert_eq!(draft.reply().0, 250);
    house.change("DELETE FROM queue WHERE message_id LIKE '%two@%'");
    drop(house.begins(&house.alice, ALICE, "four", LARGE));
    let free = until(PATIENCE, || (house.sends(&house.alice, ALICE, "three", LARGE).0 == 250).then_some(()));
    assert!(free.is_some(), "{}", house.bridge.log());
}
