//! A message that is taken from who delivers it before its end mark was sent: by hand, or by another bridge. The provider
//! never sees the end mark then.

use crate::harness::{AddAccount, Bridge, CrmSettings, Lab, PATIENCE, Provider, until, words};
use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    thread::sleep,
    time::Duration,
};

const ALICE: &str = "alice@lab.test";

/// What the provider has seen of messages, and whether it may go on behind RCPT.
#[derive(Default)]
struct Seen {
    asked: AtomicBool,
    may_go_on: AtomicBool,
    end_marks: AtomicU32,
    /// Connections that ended within a message.
    given_up: AtomicU32,
}

struct House {
    bridge: Bridge,
    crm: CrmSettings,
    seen: Arc<Seen>,
    _providers: [Provider; 2],
    _lab: Lab,
}

impl House {
    fn start() -> Option<Self> {
        let lab = Lab::needing(&[])?;
        let seen: Arc<Seen> = Arc::default();
        let smtp = Provider::start(Some(&lab.certificates.good), {
            let seen = seen.clone();
            move |visit| {
                visit.say("220 double ESMTP")?;
                loop {
                    let line = visit.line()?;
                    match line.split(' ').next().unwrap_or_default() {
                        "EHLO" => visit.say("250-double\r\n250 AUTH PLAIN LOGIN")?,
                        "AUTH" => visit.say("235 2.7.0 Signed in")?,
                        "RCPT" => {
                            seen.asked.store(true, SeqCst);
                            until(PATIENCE, || seen.may_go_on.load(SeqCst).then_some(()))?;
                            visit.say("250 2.1.5 Ok")?;
                        }
                        "DATA" => {
                            visit.say("354 go")?;
                            loop {
                                match visit.line() {
                                    Some(line) if line == "." => break,
                                    Some(_) => {}
                                    None => {
                                        seen.given_up.fetch_add(1, SeqCst);
                                        return None;
                                    }
                                }
                            }
                            seen.end_marks.fetch_add(1, SeqCst);
                            visit.say("250 2.0.0 Taken")?;
                        }
                        _ => visit.say("250 2.0.0 Ok")?,
                    }
                }
            }
        });
        let imap = Provider::imap(Some(&lab.certificates.good), |_, _, _| Some(false));
        let mut bridge = Bridge::prepare(&lab);
        let mut account = AddAccount::unchecked(&lab, &imap, &smtp, ALICE);
        account.more.extend(["--submission", "queued", "--sent-copy", "always"].map(str::to_owned));
        let crm = bridge.add_account(&account);
        bridge.serve();
        Some(Self { bridge, crm, seen, _providers: [imap, smtp], _lab: lab })
    }

    /// Queues a message, and returns when the provider was asked for its recipient.
    fn is_asked(&self) {
        let mut wire = self.bridge.sign_in_smtp(&self.crm);
        wire.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
        wire.smtp("RCPT TO:<bob@lab.test>", 250);
        wire.smtp("DATA", 354);
        wire.send(format!("From: {ALICE}\r\nMessage-ID: <one@crm.test>\r\n\r\nHello.\r\n.\r\n").as_bytes());
        assert_eq!(wire.reply().0, 250);
        wire.smtp("QUIT", 221);
        let asked = until(PATIENCE, || self.seen.asked.load(SeqCst).then_some(()));
        assert!(asked.is_some(), "{}", self.bridge.log());
    }

    /// The provider goes on, and sees the delivery given up.
    fn is_given_up(&self) {
        self.seen.may_go_on.store(true, SeqCst);
        let seen = || [&self.seen.given_up, &self.seen.end_marks].map(|count| count.load(SeqCst));
        let ended = until(PATIENCE, || (seen() != [0, 0]).then_some(()));
        assert!(ended.is_some(), "{}", self.bridge.log());
        // Nobody says it on another connection either.
        sleep(Duration::from_millis(300));
        assert_eq!(seen(), [1, 0], "given up, and end marks\n{}", self.bridge.log());
    }

    fn change(&self, sql: &'static str) {
        let file = self.bridge.state().join("passerelle.db");
        tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
            let mut store = SqliteConnectOptions::new().filename(file).connect().await.expect("the store");
            let changed = sqlx::query(sql).execute(&mut store).await.expect("changed");
            assert_eq!(changed.rows_affected(), 1, "{sql}");
        });
    }
}

#[test]
fn what_was_taken_out_of_the_queue_is_not_sent() {
    let Some(house) = House::start() else { return };
    house.is_asked();
    let refused = house.bridge.cli(&["queue", "remove", "1"], b"");
    assert!(words(&refused).contains("is sending this message now"), "{}", words(&refused));
    // As after a provider that was slow for too long.
    house.change("UPDATE queue SET claimed_until = 1");
    let removed = house.bridge.cli(&["queue", "remove", "1"], b"");
    assert!(removed.status.success(), "{}", words(&removed));
    house.is_given_up();
    let queue = house.bridge.cli(&["queue", "list", "--json"], b"");
    assert_eq!(String::from_utf8_lossy(&queue.stdout).trim(), "[]");
}

#[test]
fn what_another_bridge_delivers_is_not_sent_by_this_one() {
    let Some(house) = House::start() else { return };
    house.is_asked();
    house.change("UPDATE queue SET claimed_until = claimed_until + 60");
    house.is_given_up();
    // It is the other's still, and this one has said nothing of it.
    house.change("UPDATE queue SET tries = 1 WHERE state = 'waiting' AND tries = 0 AND claimed_until > 60");
}
