//! Connections to send: kept and leased for one message each, within what the provider bears, and never at a message's
//! cost.

use crate::{
    harness::{AddAccount, Bridge, CrmSettings, Dovecot, Exim, Lab, PATIENCE, Program, Provider, Wire, until, words},
    sending_house::{Done, letter, message, session, submission},
    serve::change,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use std::{
    ops::RangeInclusive,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

const ALICE: &str = "alice@lab.test";
const BOB: &str = "bob@lab.test";

/// A real host, and what it has seen of the bridge.
struct Firm {
    _lab: Lab,
    dovecot: Dovecot,
    exim: Exim,
    bridge: Bridge,
    crm: CrmSettings,
    /// Connections of others, to see that the host is there.
    others: usize,
}

impl Firm {
    fn start(configuration: &str, copy: &str) -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Exim])?;
        let dovecot = Dovecot::ovh(&lab);
        dovecot.add_user(ALICE, "hunter2");
        let log = "log_selector = +smtp_connection +subject\n";
        let exim = Exim::start(&lab, &dovecot, &lab.certificates.good, log);
        let mut bridge = Bridge::configured(&lab, configuration);
        let crm = bridge.add_account(&AddAccount::of(&lab, &dovecot, &exim, ALICE));
        let set = bridge.cli(&["account", "set", ALICE, "--sent-copy", copy], b"");
        assert!(set.status.success(), "{}", words(&set));
        bridge.serve();
        let others = exim.log().matches("(TCP/IP connection count = ").count();
        Some(Self { _lab: lab, dovecot, exim, bridge, crm, others })
    }

    /// As a page of a CRM does: a session for one message. Some leave without a word.
    fn sends(&self, numbers: RangeInclusive<u32>) {
        for number in numbers {
            let mut wire = self.bridge.sign_in_smtp(&self.crm);
            let (code, text) = letter(&mut wire, ALICE, &format!("number {number}"));
            assert_eq!(code, 250, "{text}\n{}", self.bridge.log());
            if number % 2 == 0 {
                wire.smtp("QUIT", 221);
            }
        }
    }

    /// Each of so many is delivered once, and was taken in the order in which it was sent.
    fn has_each_once(&self, count: u32) {
        let all = until(PATIENCE, || (self.dovecot.count(ALICE, "INBOX") >= count).then_some(()));
        assert!(all.is_some(), "{}\n{}", self.dovecot.count(ALICE, "INBOX"), self.exim.log());
        let log = self.exim.log();
        let expected: Vec<_> = (1..=count).map(|number| format!("number {number}")).collect();
        let subject = |line: &str| Some(line.split_once(" T=\"")?.1.split('"').next()?.to_owned());
        let taken: Vec<_> = log.lines().filter(|line| line.contains(" <= ")).filter_map(subject).collect();
        assert_eq!(taken, expected, "{log}");
        let mut delivered: Vec<_> = (1..=self.dovecot.count(ALICE, "INBOX"))
            .filter_map(|number| {
                let message = String::from_utf8(self.dovecot.message(ALICE, "INBOX", number)).expect("text");
                Some(message.split_once("\r\nSubject: ")?.1.split("\r\n").next()?.to_owned())
            })
            .collect();
        delivered.sort_by_key(|subject| expected.iter().position(|other| other == subject));
        assert_eq!(delivered, expected);
    }

    /// How often the bridge came: each time it has signed in once, as nobody can twice on one connection.
    fn came(&self) -> usize {
        self.exim.log().matches("(TCP/IP connection count = ").count() - self.others
    }

    fn left(&self) -> usize {
        self.exim.log().matches("closed by QUIT").count()
    }
}

#[test]
fn ten_sessions_of_a_crm_are_one_sign_in_at_the_provider() {
    let Some(firm) = Firm::start("[timeouts]\nsmtp-parked = \"5s\"\n", "always") else { return };
    let before = firm.left();
    firm.sends(1..=10);
    firm.has_each_once(10);
    let log = firm.exim.log();
    assert_eq!((firm.came(), firm.left() - before), (1, 0), "{log}");
    // Exim keeps count of commands without a message: one RSET before each is free.
    assert!(!log.contains("too many nonmail"), "{log}");
    let parted = until(PATIENCE, || (firm.left() == before + 1).then_some(()));
    assert!(parted.is_some(), "its time is over, and QUIT is said: {}", firm.exim.log());
    // Each was kept on disk while it went over the same connection.
    let filed = until(PATIENCE, || (firm.dovecot.count(ALICE, "INBOX.Sent") >= 10).then_some(()));
    assert!(filed.is_some(), "{}", firm.bridge.log());
    assert_eq!(firm.dovecot.count(ALICE, "INBOX.Sent"), 10);
}

#[test]
fn a_connection_that_has_carried_its_messages_is_followed_by_the_next() {
    let Some(firm) = Firm::start("[limits]\nmessages-per-connection = 3\n", "never") else { return };
    firm.sends(1..=7);
    firm.has_each_once(7);
    assert_eq!(firm.came(), 3, "{}", firm.exim.log());
    let parted = until(PATIENCE, || (firm.exim.log().matches("closed by QUIT").count() >= 2).then_some(()));
    assert!(parted.is_some(), "{}", firm.exim.log());
}

#[test]
fn each_message_has_a_clean_lane_and_sessions_that_rest_have_none() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let house = submission(&lab, |_, _, _| None);
    let (bridge, crms) = house.bridge(&lab, "[limits]\nlanes-per-account = 1\n", &[ALICE]);
    let mut wires = [0; 3].map(|_| bridge.sign_in_smtp(&crms[0]));
    for _ in 0..2 {
        for wire in &mut wires {
            assert_eq!(message(wire, ALICE).0, 250);
        }
    }
    assert_eq!((house.each("AUTH"), house.each("RSET"), house.each(".")), (vec![1], vec![6], vec![6]));
}

#[test]
fn a_kept_lane_that_its_provider_gave_up_costs_no_message() {
    let Some(lab) = Lab::needing(&[]) else { return };
    // The first answers RSET with a 421 and goes, the second goes without a word, the third is silent for ever.
    let house = submission(&lab, |visit, number, line| match (line, number) {
        ("RSET", 0) => visit.say("421 4.4.2 Idle for too long").map(|()| Done::Left),
        ("RSET", 1) => Some(Done::Left),
        ("RSET", 2) => Some(Done::Answered),
        _ => None,
    });
    // The message after a sign-in of its own finds the lane of that: the first of each lane is behind a RSET.
    let (bridge, crms) = house.bridge(&lab, "", &[ALICE]);
    let mut wire = bridge.sign_in_smtp(&crms[0]);
    for visits in 2..=4 {
        assert_eq!(message(&mut wire, ALICE).0, 250, "{}", bridge.log());
        assert_eq!(house.each(".").len(), visits);
    }
    assert_eq!(house.each("."), [0, 1, 1, 1], "each message is sent once");
    // Cut between two messages, before anybody asks.
    house.smtp.cut();
    thread::sleep(Duration::from_millis(200));
    session(&bridge, &crms[0], ALICE);
    assert_eq!(house.each("."), [0, 1, 1, 1, 1]);
}

#[test]
fn a_message_whose_outcome_is_lost_on_a_kept_lane_is_not_sent_again() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let house = submission(&lab, |_, _, line| (line == ".").then_some(Done::Left));
    let (bridge, crms) = house.bridge(&lab, "", &[ALICE]);
    let mut wire = bridge.sign_in_smtp(&crms[0]);
    let (code, text) = message(&mut wire, ALICE);
    assert_eq!(code, 451, "{text}");
    assert!(text.starts_with("4.4.2 ") && text.contains("may have been sent"), "{text}");
    thread::sleep(Duration::from_millis(300));
    assert_eq!(house.each("."), [1]);
}

#[test]
fn a_lane_that_stands_in_a_message_is_nobodys_when_its_session_ends() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let house = submission(&lab, |_, _, _| None);
    let (bridge, crms) = house.bridge(&lab, "", &[ALICE]);
    for quits in [true, false] {
        let mut wire = bridge.sign_in_smtp(&crms[0]);
        wire.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
        if quits {
            wire.smtp("QUIT", 221);
        }
        drop(wire);
    }
    thread::sleep(Duration::from_millis(200));
    session(&bridge, &crms[0], ALICE);
    assert_eq!(house.each("MAIL"), [1, 1, 1]);
}

#[test]
fn two_accounts_never_share_a_lane() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let house = submission(&lab, |_, _, _| None);
    let (bridge, crms) = house.bridge(&lab, "", &[ALICE, BOB]);
    for _ in 0..3 {
        session(&bridge, &crms[0], ALICE);
        session(&bridge, &crms[1], BOB);
    }
    let heard = house.heard.lock().expect("no panic in here");
    assert_eq!(heard.len(), 2);
    for (visit, of) in heard.iter().zip([ALICE, BOB]) {
        let auth = format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{of}\0hunter2")));
        assert_eq!(visit.iter().filter(|line| line.starts_with("AUTH")).collect::<Vec<_>>(), [&auth]);
        let mails: Vec<_> = visit.iter().filter(|line| line.starts_with("MAIL")).collect();
        assert_eq!(mails, [&format!("MAIL FROM:<{of}>"); 3]);
    }
}

#[test]
fn a_changed_account_sends_over_no_lane_of_before() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let house = submission(&lab, |_, _, _| None);
    let (bridge, crms) = house.bridge(&lab, "", &[ALICE]);
    let set = |more: &[&str], input: &[u8]| {
        let output = bridge.cli(&[&["account", "set", ALICE], more].concat(), input);
        assert!(output.status.success(), "{}", words(&output));
    };
    session(&bridge, &crms[0], ALICE);
    change(&bridge);
    assert!(house.is_left(0), "a lane of before is closed, although nobody has asked for it");
    session(&bridge, &crms[0], ALICE);
    // By a person, too: what the provider is shown next is what is stored now.
    set(&["--password-stdin", "--unchecked"], b"hunter3\n");
    assert!(house.is_left(1));
    session(&bridge, &crms[0], ALICE);
    assert_eq!((house.each("AUTH"), house.each(".")), (vec![1, 1, 1], vec![1, 1, 1]));
    let shown = format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{ALICE}\0hunter3")));
    assert_eq!(house.each(&shown), [0, 0, 1]);
    // What is switched off has no lane left, either.
    set(&["--send", "off"], b"");
    assert!(house.is_left(2));
    let mut wire = Wire::plain(bridge.smtp);
    wire.expect("220");
    wire.smtp("EHLO crm.test", 250);
    wire.smtp(&crms[0].smtp_auth(), 550);
    assert_eq!(house.each("AUTH").len(), 3);
    set(&["--send", "on"], b"");
    session(&bridge, &crms[0], ALICE);
    let removed = bridge.cli(&["account", "remove", ALICE], b"");
    assert!(removed.status.success(), "{}", words(&removed));
    assert!(house.is_left(3));
}

#[test]
fn a_swapped_account_sends_by_its_new_provider_alone() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let (old, new) = (submission(&lab, |_, _, _| None), submission(&lab, |_, _, _| None));
    let imap = Provider::imap(Some(&lab.certificates.good), |_, _, _| Some(false));
    let mut bridge = Bridge::prepare(&lab);
    let crm = bridge.add_account(&AddAccount::unchecked(&lab, &imap, &old.smtp, ALICE));
    bridge.serve();
    session(&bridge, &crm, ALICE);
    let certificates = format!("ca={}", lab.certificates.ca.display());
    let [at, sends] = [imap.port, new.smtp.port].map(|port| format!("localhost:{port}"));
    let swap = ["account", "swap", ALICE, "--provider", "generic", "--imap", &at, "--smtp", &sends];
    let more = ["--certificates", &certificates, "--password-stdin", "--yes"];
    let swapped = bridge.cli(&[&swap[..], &more].concat(), b"hunter2\n");
    assert!(swapped.status.success(), "{}", words(&swapped));
    assert!(old.is_left(0));
    session(&bridge, &crm, ALICE);
    assert_eq!((old.all("."), new.all(".")), (1, 1));
}

#[test]
fn a_wrong_password_rides_no_lane_of_a_right_one() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let house = submission(&lab, |_, _, _| None);
    let (bridge, crms) = house.bridge(&lab, "", &[ALICE, BOB]);
    session(&bridge, &crms[0], ALICE);
    for wrong in [
        CrmSettings { password: "a guess".to_owned(), ..crms[0].clone() },
        // Another account's.
        CrmSettings { password: crms[1].password.clone(), ..crms[0].clone() },
    ] {
        let mut wire = Wire::plain(bridge.smtp);
        wire.expect("220");
        wire.smtp("EHLO crm.test", 250);
        wire.smtp(&wrong.smtp_auth(), 535);
        wire.smtp(&format!("MAIL FROM:<{ALICE}>"), 530);
    }
    session(&bridge, &crms[0], ALICE);
    assert_eq!((house.each("AUTH"), house.each("MAIL")), (vec![1], vec![2]));
}

#[test]
fn a_lane_is_left_after_as_many_messages_as_it_bears() {
    let Some(lab) = Lab::needing(&[]) else { return };
    // It would refuse a third one.
    let seen = Mutex::new(Vec::new());
    let house = submission(&lab, move |visit, number, line| {
        let mut seen = seen.lock().expect("no panic in here");
        let visits = seen.len().max(number + 1);
        seen.resize(visits, 0);
        seen[number] += usize::from(line.starts_with("MAIL"));
        let refused = line.starts_with("MAIL") && seen[number] > 2;
        refused.then(|| {
            visit.say("452 4.5.3 Too many messages in this connection").map_or(Done::Left, |()| Done::Answered)
        })
    });
    let (bridge, crms) = house.bridge(&lab, "[limits]\nmessages-per-connection = 2\nlanes-per-account = 1\n", &[ALICE]);
    let mut wire = bridge.sign_in_smtp(&crms[0]);
    for _ in 0..5 {
        assert_eq!(message(&mut wire, ALICE).0, 250);
    }
    assert_eq!((house.each("."), house.each("QUIT")), (vec![2, 2, 1], vec![1, 1, 0]));
}

#[test]
fn a_message_waits_for_a_lane_as_long_as_configured() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let house = submission(&lab, |_, _, _| None);
    let limits = "[limits]\nlanes-per-account = 1\n[timeouts]\nprogress = \"1s\"\nsend-wait = \"20s\"\n";
    let (bridge, crms) = house.bridge(&lab, limits, &[ALICE]);
    let [mut has, mut waits] = [0; 2].map(|_| bridge.sign_in_smtp(&crms[0]));
    has.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
    waits.line(&format!("MAIL FROM:<{ALICE}>"));
    // More than a provider is given for an answer.
    thread::sleep(Duration::from_millis(1500));
    has.smtp("RSET", 250);
    let (code, text) = waits.reply();
    assert_eq!(code, 250, "{text}");
    assert_eq!(house.each("AUTH"), [1]);
}

#[test]
fn messages_that_wait_are_told_of_and_a_client_that_leaves_waits_no_more() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let house = submission(&lab, |_, _, _| None);
    let limits = "[limits]\nmessages-per-minute = 1\n[timeouts]\nsend-wait = \"90s\"\n";
    let (bridge, crms) = house.bridge(&lab, limits, &[ALICE]);
    let mut wires = [0; 3].map(|_| bridge.sign_in_smtp(&crms[0]));
    for wire in &mut wires[..2] {
        wire.line(&format!("MAIL FROM:<{ALICE}>"));
    }
    let waiting = |count: u64| {
        let told = || {
            let output = bridge.cli(&["limits", "--json"], b"");
            let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
            let account = &told["in_use"]["accounts"][0];
            (account["smtp_waiting"] == count && account["messages_in_a_minute"] == 1).then_some(())
        };
        until(PATIENCE, told).is_some()
    };
    assert!(waiting(1), "{}", bridge.log());
    let told = words(&bridge.cli(&["doctor", ALICE], b""));
    assert!(told.contains("messages in the last minute: 1 (at most 1)") && told.contains("waiting: 1"), "{told}");
    assert!(told.contains("the provider takes no more in a minute"), "{told}");
    // There is no place in line for a third: its turn would come after two minutes.
    wires[2].line(&format!("MAIL FROM:<{ALICE}>"));
    let (code, text) = wires[2].reply();
    assert_eq!((code, &text[..6]), (451, "4.3.2 "), "{text}");
    drop(wires);
    assert!(waiting(0));
    // Beside the one that doctor says on a connection of its own.
    assert_eq!((house.each("MAIL"), house.each("QUIT")), (vec![1, 1], vec![0, 1]));
}

/// What a strict server has seen.
#[derive(Default)]
struct Strict {
    /// Visits that have signed in and not left.
    inside: Vec<usize>,
    most: usize,
    messages: Vec<Instant>,
    refused: usize,
}

#[test]
fn the_providers_caps_are_kept_and_the_crm_sees_only_that_it_waits() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let strict = Arc::new(Mutex::new(Strict::default()));
    let seen = strict.clone();
    // As Microsoft has it: so many connections at once, so many messages in a time.
    let house = submission(&lab, move |visit, number, line| {
        let mut seen = seen.lock().expect("no panic in here");
        if line.starts_with("AUTH") {
            seen.inside.push(number);
            seen.most = seen.most.max(seen.inside.len());
            if seen.inside.len() > 3 {
                seen.refused += 1;
                return visit.say("432 4.3.2 Concurrent connections limit exceeded.").map(|()| Done::Answered);
            }
        }
        if line.starts_with("QUIT") {
            seen.inside.retain(|inside| *inside != number);
        }
        if line.starts_with("MAIL") {
            let now = Instant::now();
            seen.messages.push(now);
            let lately = seen.messages.iter().filter(|at| now - **at < Duration::from_millis(2300)).count();
            if lately > 5 {
                seen.refused += 1;
                return visit.say("452 4.3.2 sender thread limit exceeded").map(|()| Done::Answered);
            }
            drop(seen);
            thread::sleep(Duration::from_millis(100));
        }
        None
    });
    let mut bridge = Bridge::configured(&lab, "");
    let account = AddAccount::at(&lab, [1, house.smtp.port], ALICE);
    let more = ["--unchecked", "--provider", "microsoft365"].map(str::to_owned).to_vec();
    let crm = bridge.add_account(&AddAccount { more, ..account });
    bridge.serve();
    let began = Instant::now();
    thread::scope(|scope| {
        let senders: Vec<_> = (0..8).map(|_| scope.spawn(|| session(&bridge, &crm, ALICE))).collect();
        senders.into_iter().for_each(|sender| sender.join().expect("it was sent"));
    });
    let strict = strict.lock().expect("no panic in here");
    assert_eq!((strict.refused, strict.messages.len(), house.all(".")), (0, 8, 8));
    assert!((2..=3).contains(&strict.most), "{} at once", strict.most);
    // Five go at once, and three wait for their turn.
    assert!(began.elapsed() > Duration::from_millis(7000), "{:?}", began.elapsed());
    assert!(!bridge.log().contains("busy"), "{}", bridge.log());
}
