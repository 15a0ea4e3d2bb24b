//! Queued mail, at a real provider and at doubles: 250 means on disk, and from there each recipient has it once, or its sender
//! hears why not.

use crate::{
    filing::{ALICE, SENT, message},
    harness::{
        AddAccount, Bridge, CrmSettings, Dovecot, Exim, Lab, PATIENCE, Program, Provider, Visit, Wire, until, words,
    },
};
use serde_json::Value;
use std::{
    sync::{Arc, Mutex},
    thread::sleep,
    time::Duration,
};

/// An account whose mail is queued, and a bridge that runs.
pub(crate) struct Firm {
    _lab: Lab,
    pub(crate) dovecot: Dovecot,
    pub(crate) bridge: Bridge,
    pub(crate) crm: CrmSettings,
}

impl Firm {
    /// At real servers.
    pub(crate) fn start() -> Option<(Self, Exim)> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Exim])?;
        let dovecot = Dovecot::ovh(&lab);
        let exim = Exim::submission(&lab, &dovecot);
        dovecot.add_user(ALICE, "direct");
        let account = AddAccount::of(&lab, &dovecot, &exim, ALICE);
        Some((Self::of(lab, dovecot, account, "hold", "always"), exim))
    }

    /// With a double for what takes its mail.
    fn sending_to(
        answer: impl Fn(&mut Visit, &str) -> Option<bool> + Send + Sync + 'static,
        uncertain: &str,
    ) -> Option<(Self, Provider)> {
        let lab = Lab::needing(&[Program::Dovecot])?;
        let dovecot = Dovecot::ovh(&lab);
        dovecot.add_user(ALICE, "direct");
        let smtp = Provider::start(Some(&lab.certificates.good), move |visit| {
            visit.say("220 double ESMTP")?;
            loop {
                let line = visit.line()?;
                if !answer(visit, &line)? {
                    takes(visit, &line)?;
                }
            }
        });
        let at = AddAccount::at(&lab, [dovecot.imaps, smtp.port], ALICE);
        let account = AddAccount { password: dovecot.password(ALICE), ..at };
        Some((Self::of(lab, dovecot, account, uncertain, "always"), smtp))
    }

    /// At any servers; `uncertain` and `copy` are the account's.
    pub(crate) fn of(lab: Lab, dovecot: Dovecot, account: AddAccount, uncertain: &str, copy: &str) -> Self {
        let mut bridge = Bridge::prepare(&lab);
        let more = ["--submission", "queued", "--uncertain", uncertain, "--sent-copy", copy];
        let more = account.more.iter().cloned().chain(more.map(str::to_owned)).collect();
        let crm = bridge.add_account(&AddAccount { more, ..account });
        bridge.serve();
        Self { _lab: lab, dovecot, bridge, crm }
    }

    pub(crate) fn send(&self, id: &str) {
        let mut wire = self.bridge.sign_in_smtp(&self.crm);
        message(&mut wire, &format!("Subject: one\r\nMessage-ID: <{id}@crm.test>\r\n"));
        wire.smtp("QUIT", 221);
    }

    fn send_to(&self, id: &str, recipients: &[&str]) {
        let mut wire = self.bridge.sign_in_smtp(&self.crm);
        wire.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
        for recipient in recipients {
            wire.smtp(&format!("RCPT TO:<{recipient}>"), 250);
        }
        wire.smtp("DATA", 354);
        wire.send(
            format!("From: {ALICE}\r\nMessage-ID: <{id}@crm.test>\r\nSubject: Devis\r\n\r\nHello.\r\n").as_bytes(),
        );
        wire.smtp(".", 250);
        wire.smtp("QUIT", 221);
    }

    pub(crate) fn queue(&self) -> Vec<Value> {
        let output = self.bridge.cli(&["queue", "list", ALICE, "--json"], b"");
        assert!(output.status.success(), "{}", words(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Waits until the queue is so.
    pub(crate) fn awaits(&self, what: &str, is: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let found = until(PATIENCE, || Some(self.queue()).filter(|queue| is(queue)));
        found.unwrap_or_else(|| panic!("{what}: {:#?}\n{}", self.queue(), self.bridge.log()))
    }

    pub(crate) fn is_empty(&self) {
        self.awaits("empty", <[Value]>::is_empty);
    }

    pub(crate) fn retry(&self, what: &str) {
        let output = self.bridge.cli(&["queue", "retry", what], b"");
        assert!(output.status.success(), "{}", words(&output));
    }

    /// So many stand there, and stay so many.
    pub(crate) fn stand(&self, mailbox: &str, count: u32) {
        let found = until(PATIENCE, || (self.dovecot.count(ALICE, mailbox) >= count).then_some(()));
        assert!(found.is_some(), "{mailbox}: {}\n{}", self.dovecot.count(ALICE, mailbox), self.bridge.log());
        sleep(Duration::from_millis(300));
        assert_eq!(self.dovecot.count(ALICE, mailbox), count, "{mailbox}\n{}", self.bridge.log());
    }

    pub(crate) fn spool_is_empty(&self) {
        let count = || std::fs::read_dir(self.bridge.state().join("spool")).expect("the spool").count();
        assert!(until(PATIENCE, || (count() == 0).then_some(())).is_some(), "{} files\n{}", count(), self.bridge.log());
    }
}

/// What a submission server says that takes all.
pub(crate) fn takes(visit: &mut Visit, line: &str) -> Option<()> {
    match line.split(' ').next().unwrap_or_default() {
        "EHLO" => visit.say("250-double\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN"),
        "AUTH" => visit.say("235 2.7.0 Signed in"),
        "DATA" => {
            visit.say("354 go")?;
            while visit.line()? != "." {}
            visit.say("250 2.0.0 Taken")
        }
        "QUIT" => visit.say("221 2.0.0 Bye"),
        _ => visit.say("250 2.0.0 Ok"),
    }
}

pub(crate) fn state(queue: &[Value]) -> &str {
    queue.first().and_then(|one| one["state"].as_str()).unwrap_or("none")
}

pub(crate) fn tries(queue: &[Value]) -> u64 {
    queue.first().and_then(|one| one["tries"].as_u64()).unwrap_or_default()
}

pub(crate) fn why(queue: &[Value]) -> &str {
    queue.first().and_then(|one| one["words"].as_str()).unwrap_or_default()
}

#[test]
fn what_is_queued_goes_out_once_when_its_provider_is_there_again() {
    let Some((firm, mut exim)) = Firm::start() else { return };
    exim.stop();
    firm.send("one");
    let queue = firm.awaits("a try", |queue| tries(queue) > 0);
    assert_eq!((queue.len(), state(&queue)), (1, "waiting"));
    assert!(why(&queue).contains("provider cannot be reached"), "{queue:#?}");
    exim.start_again();
    firm.retry("--all");
    firm.is_empty();
    firm.stand("INBOX", 1);
    firm.stand(SENT, 1);
    let [arrived, copy] = ["INBOX", SENT].map(|mailbox| firm.dovecot.message(ALICE, mailbox, 1));
    assert!(
        arrived.ends_with(&copy) && copy.ends_with(b"\r\nHello.\r\n.stuffed\r\n"),
        "{}",
        String::from_utf8_lossy(&arrived)
    );
    firm.spool_is_empty();

    // The provider does not want it now, and then takes it; the CRM's own copy is the same message, while it waits.
    exim.refuse("data", Some("451 4.3.0 Later please"));
    firm.send("two");
    let queue = firm.awaits("a try", |queue| tries(queue) > 0);
    assert_eq!(why(&queue), "451 4.3.0 Later please");
    let copy = format!("From: {ALICE}\r\nTo: {ALICE}\r\nSubject: one\r\nMessage-ID: <two@crm.test>\r\n\r\nHello.\r\n");
    let answer = firm.bridge.sign_in(&firm.crm).append("Sent", "(\\Seen)", copy.as_bytes());
    assert!(answer.is_ok(), "{}", answer.tagged);
    firm.stand(SENT, 1);
    exim.refuse("data", None);
    firm.retry(&queue[0]["id"].to_string());
    firm.is_empty();
    firm.stand("INBOX", 2);
    firm.stand(SENT, 2);
    assert_eq!(firm.dovecot.message(ALICE, SENT, 2), copy.as_bytes());

    // Taken at once, and with the copy afterwards.
    firm.send("three");
    firm.is_empty();
    firm.stand(SENT, 3);
    let copy = copy.replace("<two@", "<three@");
    assert!(firm.bridge.sign_in(&firm.crm).append("Sent", "(\\Seen)", copy.as_bytes()).is_ok());
    firm.stand("INBOX", 3);
    firm.stand(SENT, 3);
    firm.spool_is_empty();
}

#[test]
fn what_is_refused_for_good_is_reported_in_inbox_and_nowhere_else() {
    let Some((firm, exim)) = Firm::start() else { return };
    exim.refuse("rcpt", Some("550 5.1.1 No such user here"));
    firm.send("one");
    firm.is_empty();
    firm.stand("INBOX", 1);
    firm.stand(SENT, 0);
    let report = String::from_utf8(firm.dovecot.message(ALICE, "INBOX", 1)).expect("text");
    for part in [
        "Content-Type: multipart/report; report-type=delivery-status",
        "could not be delivered",
        "n'a pas pu être remis",
        "Final-Recipient: rfc822; alice@ovh.test",
        "Status: 5.1.1",
        "Diagnostic-Code: smtp; 550 5.1.1 No such user here",
        "Message-ID: <one@crm.test>",
    ] {
        assert!(report.contains(part), "{part}\n{report}");
    }
    assert!(!report.contains("stuffed"), "{report}");
    firm.spool_is_empty();

    // Its time is over: the same, with what was said last.
    exim.refuse("rcpt", Some("450 4.2.0 Full, for now"));
    firm.send("two");
    let queue = firm.awaits("a try", |queue| tries(queue) > 0);
    firm.expires();
    firm.is_empty();
    firm.stand("INBOX", 2);
    firm.stand(SENT, 0);
    let report = String::from_utf8(firm.dovecot.message(ALICE, "INBOX", 2)).expect("text");
    assert!(report.contains("Status: 4.4.7") && report.contains("450 4.2.0 Full, for now"), "{report}");
    // Gone, as far as people see.
    let id = queue[0]["id"].to_string();
    assert_eq!(firm.bridge.cli(&["queue", "show", &id], b"").status.code(), Some(5));
}

impl Firm {
    /// The time of all that waits is over.
    fn expires(&self) {
        self.change("UPDATE queue SET expires_at = 1, due_at = 1");
    }

    fn change(&self, sql: &'static str) {
        use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};
        let file = self.bridge.state().join("passerelle.db");
        tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
            let mut store = SqliteConnectOptions::new().filename(file).connect().await.expect("the store");
            sqlx::query(sql).execute(&mut store).await.expect("changed");
        });
    }
}

#[test]
fn each_recipient_has_it_once_or_its_sender_hears_why_not() {
    let later = Arc::new(Mutex::new("450 4.7.1 Greylisted"));
    let said = later.clone();
    let answer = move |visit: &mut Visit, line: &str| {
        let reply = match line {
            "RCPT TO:<later@x.test>" => *said.lock().expect("whole"),
            "RCPT TO:<never@x.test>" => "550 5.1.1 Nobody",
            _ => return Some(false),
        };
        visit.say(reply)?;
        Some(true)
    };
    let Some((firm, smtp)) = Firm::sending_to(answer, "hold") else { return };
    firm.send_to("one", &["bob@x.test", "later@x.test", "never@x.test"]);
    let queue = firm.awaits("a try", |queue| tries(queue) > 0);
    let states: Vec<_> = queue[0]["recipients"].as_array().expect("some").iter().map(|one| &one["state"]).collect();
    assert_eq!(states, ["accepted", "waiting", "failed"]);
    // Those that have it have it: its copy stands in Sent. Nobody hears of a failure that is not the last.
    firm.stand(SENT, 1);
    firm.stand("INBOX", 0);
    *later.lock().expect("whole") = "250 2.1.5 Ok";
    firm.retry("--all");
    firm.is_empty();
    firm.stand("INBOX", 1);
    firm.stand(SENT, 1);
    let report = String::from_utf8(firm.dovecot.message(ALICE, "INBOX", 1)).expect("text");
    assert!(report.contains("rfc822; never@x.test") && !report.contains("rfc822; later@x.test"), "{report}");
    let heard = smtp.heard();
    let count = |line: &str| heard.matches(line).count();
    assert_eq!((count("RCPT TO:<bob@x.test>"), count("RCPT TO:<later@x.test>"), count("\r\nDATA\r\n")), (1, 2, 2));
    firm.spool_is_empty();
}

/// Hangs up behind so many end marks.
fn hangs_up(times: u32) -> (Arc<Mutex<u32>>, impl Fn(&mut Visit, &str) -> Option<bool> + Send + Sync + 'static) {
    let left = Arc::new(Mutex::new(times));
    let counted = left.clone();
    let answer = move |visit: &mut Visit, line: &str| {
        if line != "DATA" || *counted.lock().expect("whole") == 0 {
            return Some(false);
        }
        visit.say("354 go")?;
        while visit.line()? != "." {}
        *counted.lock().expect("whole") -= 1;
        visit.hang_up()?;
        None
    };
    (left, answer)
}

#[test]
fn what_is_in_doubt_is_shown_and_never_sent_again_by_itself() {
    let (_, answer) = hangs_up(1);
    let Some((mut firm, smtp)) = Firm::sending_to(answer, "hold") else { return };
    firm.send("one");
    let queue = firm.awaits("in doubt", |queue| state(queue) == "uncertain");
    assert_eq!(queue[0]["due_at"], Value::Null);
    let told = firm.bridge.cli(&["doctor", ALICE], b"");
    assert!(words(&told).contains("nobody knows whether these messages were sent: 1"), "{}", words(&told));
    firm.bridge.kill();
    firm.bridge.serve();
    firm.retry("--all");
    sleep(Duration::from_secs(1));
    assert_eq!(smtp.heard().matches("\r\nDATA\r\n").count(), 1, "{}", firm.bridge.log());
    let shown = firm.bridge.cli(&["queue", "show", "1"], b"");
    assert!(words(&shown).contains("uncertain") && words(&shown).contains("never by itself"), "{}", words(&shown));
    // A person has asked the recipient.
    firm.retry("1");
    firm.is_empty();
    assert_eq!(smtp.heard().matches("\r\nDATA\r\n").count(), 2);
    firm.stand(SENT, 1);

    let removed = firm.bridge.cli(&["queue", "remove", "1"], b"");
    assert_eq!(removed.status.code(), Some(5), "{}", words(&removed));
    firm.spool_is_empty();
}

#[test]
fn what_is_in_doubt_is_sent_again_where_the_account_wants_it() {
    let (_, answer) = hangs_up(1);
    let Some((firm, smtp)) = Firm::sending_to(answer, "resend") else { return };
    firm.send("one");
    firm.awaits("in doubt", |queue| state(queue) == "waiting" && tries(queue) > 0);
    firm.retry("--all");
    firm.is_empty();
    assert_eq!(smtp.heard().matches("\r\nDATA\r\n").count(), 2);
    firm.stand(SENT, 1);
    firm.stand("INBOX", 0);
}

#[test]
fn a_message_is_taken_out_by_hand() {
    let Some((firm, mut exim)) = Firm::start() else { return };
    exim.stop();
    firm.send("one");
    let queue = firm.awaits("a try", |queue| tries(queue) > 0);
    let id = queue[0]["id"].to_string();
    let text = words(&firm.bridge.cli(&["queue", "list"], b""));
    assert!(text.contains(ALICE) && text.contains("waiting"), "{text}");
    let text = words(&firm.bridge.cli(&["queue", "show", &id], b""));
    assert!(text.contains("one@crm.test") && text.contains("given up in"), "{text}");
    let removed = firm.bridge.cli(&["queue", "remove", &id, "--json"], b"");
    assert!(removed.status.success(), "{}", words(&removed));
    assert!(firm.queue().is_empty());
    assert!(words(&firm.bridge.cli(&["queue", "list"], b"")).contains("the queue is empty"));
    exim.start_again();
    firm.spool_is_empty();
    firm.stand("INBOX", 0);
    firm.stand(SENT, 0);
}

/// The spool cannot be written: nothing is taken, and what was taken before is not lost.
#[test]
fn r42_a_disk_that_takes_nothing_refuses_for_now_and_recovers_by_itself() {
    let Some((firm, mut exim)) = Firm::start() else { return };
    exim.stop();
    firm.send("one");
    firm.awaits("a try", |queue| tries(queue) > 0);
    let spool = firm.bridge.state().join("spool");
    let aside = firm.bridge.state().join("aside");
    std::fs::rename(&spool, &aside).expect("moved");
    let mut wire = firm.bridge.sign_in_smtp(&firm.crm);
    let try_again = |wire: &mut Wire, code: u16| {
        wire.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
        wire.smtp(&format!("RCPT TO:<{ALICE}>"), 250);
        wire.smtp("DATA", 354);
        wire.send(format!("From: {ALICE}\r\nMessage-ID: <two@crm.test>\r\n\r\nHello.\r\n").as_bytes());
        wire.smtp(".", code);
    };
    try_again(&mut wire, 452);
    std::fs::rename(&aside, &spool).expect("moved back");
    try_again(&mut wire, 250);
    exim.start_again();
    firm.retry("--all");
    firm.is_empty();
    firm.stand("INBOX", 2);
    firm.stand(SENT, 2);
    firm.spool_is_empty();
}
