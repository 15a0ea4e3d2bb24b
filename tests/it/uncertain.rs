//! Submission servers that do odd things around the end mark: what the CRM hears, what stands in Sent, and what a retry
//! does (rules R39 to R41). The mailbox is Dovecot's.

use crate::harness::{AddAccount, Bridge, CrmSettings, Dovecot, Lab, Program, Provider, Visit, Wire, until};
use sqlx::{ConnectOptions as _, Executor as _, SqliteConnection, sqlite::SqliteConnectOptions};
use std::{
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

pub(crate) const ALICE: &str = "alice@ovh.test";
const SENT: &str = "INBOX.Sent";
const TIMES: &str = "[timeouts]\nprogress = \"2s\"\nend-of-data = \"2s\"\n";
/// An answer that says more than it may before it ends.
const ENDLESS: usize = 100_000;

/// What the server says to a message of this subject. None: it hangs up.
fn answer(visit: &mut Visit, subject: &str, times: usize) -> Option<()> {
    match subject {
        "lost-then-later" if times > 1 => visit.say("451 4.3.0 Later")?,
        "lost-then-later" => visit.hang_up()?,
        "slow" => {
            thread::sleep(Duration::from_millis(1500));
            visit.say("250 2.0.0 Taken")?;
        }
        "silence" => thread::sleep(Duration::from_secs(20)),
        "lost" => visit.hang_up()?,
        "endless" => {
            for _ in 0..ENDLESS {
                visit.say("250-2.0.0 and")?;
            }
        }
        "drips" => {
            for _ in 0..100 {
                visit.send(b"2")?;
                thread::sleep(Duration::from_millis(100));
            }
        }
        "refused" => visit.say("554 5.6.0 No")?,
        "later" => visit.say("451 4.3.0 Later")?,
        "two" => visit.send(b"250 2.0.0 Taken\r\n250 2.0.0 Taken\r\n")?,
        _ => visit.say("250 2.0.0 Taken")?,
    }
    Some(())
}

pub(crate) struct House {
    dovecot: Dovecot,
    pub(crate) bridge: Bridge,
    pub(crate) crm: CrmSettings,
    /// The subjects of all whole messages.
    taken: Arc<Mutex<Vec<String>>>,
    _smtp: Provider,
    _lab: Lab,
}

impl House {
    pub(crate) fn start(copy: &str) -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot])?;
        let dovecot = Dovecot::ovh(&lab);
        dovecot.add_user(ALICE, "hunter2");
        let taken: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = taken.clone();
        let smtp = Provider::start(Some(&lab.certificates.good), move |visit| {
            visit.say("220 double ESMTP")?;
            loop {
                let line = visit.line()?;
                match line.split(' ').next().unwrap_or_default() {
                    "EHLO" => visit.say("250-double\r\n250 AUTH PLAIN")?,
                    "AUTH" => visit.say("235 2.7.0 Welcome")?,
                    "DATA" => {
                        visit.say("354 go")?;
                        let mut subject = String::new();
                        loop {
                            let line = visit.line()?;
                            match line.strip_prefix("Subject: ") {
                                _ if line == "." => break,
                                Some("421") => {
                                    visit.say("421 4.3.2 Going down")?;
                                    return visit.hang_up();
                                }
                                Some(found) => subject = found.to_owned(),
                                None => {}
                            }
                        }
                        let times = {
                            let mut seen = seen.lock().expect("no test panicked in here");
                            seen.push(subject.clone());
                            seen.iter().filter(|seen| **seen == subject).count()
                        };
                        answer(visit, &subject, times)?;
                    }
                    _ => visit.say("250 2.0.0 Ok")?,
                }
            }
        });
        let mut bridge = Bridge::configured(&lab, TIMES);
        let crm = bridge.add_account(&AddAccount {
            more: ["--unchecked", "--sent-copy", copy].map(str::to_owned).to_vec(),
            ..AddAccount::at(&lab, [dovecot.imaps, smtp.port], ALICE)
        });
        bridge.serve();
        Some(Self { dovecot, bridge, crm, taken, _smtp: smtp, _lab: lab })
    }

    /// What a CRM hears in the end of a message of this subject, whose Message-ID it is too.
    pub(crate) fn send(&self, subject: &str) -> (u16, String) {
        let mut wire = self.bridge.sign_in_smtp(&self.crm);
        wire.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
        wire.smtp("RCPT TO:<bob@client.test>", 250);
        wire.smtp("DATA", 354);
        let text =
            format!("From: {ALICE}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@crm.test>\r\n\r\nHello.\r\n.\r\n");
        wire.send(text.as_bytes());
        wire.reply()
    }

    pub(crate) fn taken(&self, subject: &str) -> usize {
        self.taken.lock().expect("no test panicked in here").iter().filter(|taken| *taken == subject).count()
    }

    pub(crate) fn filed(&self, subject: &str) -> usize {
        let mut wire = self.dovecot.sign_in(ALICE);
        if wire.count(SENT) == 0 {
            return 0;
        }
        wire.imap_ok(&format!("EXAMINE {SENT}"));
        let ids = wire.imap_ok("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])").text();
        ids.matches(&format!("<{subject}@crm.test>")).count()
    }

    fn files(&self, subject: &str) {
        let found = until(Duration::from_secs(15), || (self.filed(subject) > 0).then_some(()));
        assert!(found.is_some(), "{subject}\n{}", self.bridge.log());
    }

    pub(crate) async fn store(&self) -> SqliteConnection {
        let file = self.bridge.state().join("passerelle.db");
        SqliteConnectOptions::new().filename(file).connect().await.expect("the store")
    }

    /// Twenty minutes pass for what is uncertain.
    fn later(&mut self) {
        self.bridge.kill();
        tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
            let mut store = self.store().await;
            let later = "UPDATE sent SET began_at = began_at - 1200, due_at = 1, claimed_until = 0
                WHERE due_at IS NOT NULL AND sending = 'uncertain'";
            sqlx::query(later).execute(&mut store).await.expect("all is due");
        });
        self.bridge.serve();
    }
}

#[test]
fn r39_an_outcome_that_nobody_knows_is_said_and_its_copy_comes_later() {
    let Some(mut house) = House::start("always") else { return };
    let unknown = ["silence", "lost", "endless", "drips"];
    thread::scope(|scope| {
        for subject in unknown {
            let house = &house;
            scope.spawn(move || {
                let (code, words) = house.send(subject);
                assert_eq!(code, 451, "{subject}: {words}");
                assert!(words.contains("may have been sent, look before you try again"), "{subject}: {words}");
            });
        }
    });
    for subject in unknown {
        assert_eq!((house.taken(subject), house.filed(subject)), (1, 0), "{subject}");
    }
    house.later();
    for subject in unknown {
        house.files(subject);
        assert_eq!((house.taken(subject), house.filed(subject)), (1, 1), "{subject}");
    }
    assert_eq!(house.bridge.log().matches("nobody has tried again").count(), unknown.len());
}

#[test]
fn r39_what_is_refused_or_cut_before_its_end_mark_leaves_nothing() {
    let Some(house) = House::start("always") else { return };
    for (subject, code, taken) in [("421", 4, 0), ("refused", 5, 1), ("later", 4, 1)] {
        let (said, words) = house.send(subject);
        assert_eq!(said / 100, code, "{subject}: {said} {words}");
        assert_eq!(house.taken(subject), taken, "{subject}");
    }
    // One reply is the message's; what else is said is nobody's.
    assert_eq!(house.send("two").0, 250);
    house.files("two");
    let emptied = until(Duration::from_secs(5), || {
        (std::fs::read_dir(house.bridge.state().join("spool")).expect("the spool").count() == 0).then_some(())
    });
    assert!(emptied.is_some(), "{}", house.bridge.log());
    for (subject, copies) in [("421", 0), ("refused", 0), ("later", 0), ("two", 1)] {
        assert_eq!(house.filed(subject), copies, "{subject}");
    }
}

#[test]
fn r40_a_retry_of_what_the_provider_has_filed_is_not_sent_again() {
    let Some(house) = House::start("auto") else { return };
    let said = house.send("lost");
    assert_eq!(said.0, 451, "{said:?}\n{}", house.bridge.log());
    let file = |subject: &str| {
        let mut wire: Wire = house.dovecot.sign_in(ALICE);
        let text = format!("From: {ALICE}\r\nMessage-ID: <{subject}@crm.test>\r\n\r\nHello.\r\n");
        assert!(wire.append(SENT, "(\\Seen)", text.as_bytes()).is_ok());
    };
    file("lost");
    let (code, words) = house.send("lost");
    assert_eq!(code, 250, "{words}");
    assert!(words.contains("was sent before"), "{words}");
    assert_eq!((house.taken("lost"), house.filed("lost")), (1, 1));
    // One that does not stand there is sent, whatever the CRM hears of it.
    assert_eq!(house.send("silence").0, 451);
    assert_eq!(house.send("silence").0, 451);
    assert_eq!(house.taken("silence"), 2);
    // And another message that stands there by chance under its Message-ID is another: nothing was uncertain.
    file("fine");
    assert_eq!(house.send("fine").0, 250);
    assert_eq!(house.taken("fine"), 1);
}

#[test]
fn r44_an_outcome_that_cannot_be_kept_at_once_is_kept_when_it_can() {
    let Some(house) = House::start("always") else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    thread::scope(|scope| {
        let sending = scope.spawn(|| house.send("slow"));
        assert!(until(Duration::from_secs(10), || (house.taken("slow") == 1).then_some(())).is_some());
        // Its end mark is committed, its outcome is not.
        let mut other = runtime.block_on(house.store());
        runtime.block_on(async { other.execute("BEGIN IMMEDIATE").await.expect("a lock") });
        // It was sent, and that is what the CRM is told.
        assert_eq!(sending.join().expect("it ends").0, 250);
        let told = || house.bridge.log().contains("what became of a sent message cannot be kept").then_some(());
        assert!(until(Duration::from_secs(20), told).is_some(), "{}", house.bridge.log());
        runtime.block_on(async { other.execute("ROLLBACK").await.expect("unlocked") });
    });
    house.files("slow");
    assert_eq!((house.taken("slow"), house.filed("slow")), (1, 1));
}

#[test]
fn r40_what_we_have_filed_ourselves_proves_nothing() {
    let Some(mut house) = House::start("auto") else { return };
    assert_eq!(house.send("lost").0, 451);
    // Nobody tries again, and the copy is filed.
    house.later();
    house.files("lost");
    for times in 2..=3 {
        let (code, words) = house.send("lost");
        assert_eq!((code, house.taken("lost")), (451, times), "{words}");
    }
    house.later();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(house.filed("lost"), 1);
}

#[test]
fn r40_a_copy_of_the_crms_own_outlives_a_retry_that_is_refused() {
    let Some(mut house) = House::start("auto") else { return };
    assert_eq!(house.send("lost-then-later").0, 451);
    let text = format!("From: {ALICE}\r\nMessage-ID: <lost-then-later@crm.test>\r\nX-Own: yes\r\n\r\nHello.\r\n");
    let appended = house.bridge.sign_in(&house.crm).append("Sent", "(\\Seen)", text.as_bytes());
    assert!(appended.is_ok(), "{}\n{}", appended.tagged, house.bridge.log());
    assert_eq!(house.send("lost-then-later"), (451, "4.3.0 Later".to_owned()));
    house.later();
    house.files("lost-then-later");
    let stands = String::from_utf8(house.dovecot.message(ALICE, SENT, 1)).expect("text");
    assert!(stands.contains("X-Own: yes"), "{stands}");
    assert_eq!(house.filed("lost-then-later"), 1);
}

#[test]
fn r40_a_message_that_is_being_sent_is_not_sent_by_another_session() {
    let Some(house) = House::start("auto") else { return };
    thread::scope(|scope| {
        let first = scope.spawn(|| house.send("slow"));
        assert!(until(Duration::from_secs(10), || (house.taken("slow") == 1).then_some(())).is_some());
        let (code, words) = house.send("slow");
        assert_eq!(code, 451, "{words}");
        assert!(words.contains("is being sent already"), "{words}");
        assert_eq!(first.join().expect("it ends").0, 250);
    });
    assert_eq!(house.taken("slow"), 1);
}
