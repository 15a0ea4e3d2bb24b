//! Sent copies: what a CRM sends through the bridge stands once in Sent, whoever files it.

use crate::harness::{AddAccount, Bridge, CrmSettings, Dovecot, Exim, Lab, Program, SmallDisk, Wire, until, words};
use std::time::Duration;

pub(crate) const ALICE: &str = "alice@ovh.test";
/// What Dovecot calls Sent.
pub(crate) const SENT: &str = "INBOX.Sent";

/// One account, and what it is sent from.
pub(crate) struct Firm {
    _lab: Lab,
    pub(crate) dovecot: Dovecot,
    pub(crate) exim: Exim,
    pub(crate) bridge: Bridge,
    pub(crate) crm: CrmSettings,
}

impl Firm {
    pub(crate) fn start(copy: &str) -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Exim])?;
        let dovecot = Dovecot::ovh(&lab);
        let exim = Exim::submission(&lab, &dovecot);
        Some(Self::of(lab, dovecot, exim, copy))
    }

    /// With the bridge's state on a disk that can be filled.
    pub(crate) fn on_a_small_disk(copy: &str) -> Option<(Self, SmallDisk)> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Exim, Program::SmallDisk])?;
        let dovecot = Dovecot::ovh(&lab);
        let exim = Exim::submission(&lab, &dovecot);
        let bridge = Bridge::prepare(&lab);
        let disk = SmallDisk::mount(&bridge.state());
        Some((Self::with(lab, dovecot, exim, bridge, copy), disk))
    }

    /// At a provider that files what is sent by itself.
    pub(crate) fn filing(copy: &str, exim: &str) -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Sieve, Program::Exim])?;
        let dovecot = Dovecot::filing(&lab, "");
        let exim = Exim::filing(&lab, &dovecot, exim);
        Some(Self::of(lab, dovecot, exim, copy))
    }

    fn of(lab: Lab, dovecot: Dovecot, exim: Exim, copy: &str) -> Self {
        let bridge = Bridge::prepare(&lab);
        Self::with(lab, dovecot, exim, bridge, copy)
    }

    fn with(lab: Lab, dovecot: Dovecot, exim: Exim, mut bridge: Bridge, copy: &str) -> Self {
        dovecot.add_user(ALICE, "direct");
        let crm = bridge.add_account(&AddAccount::of(&lab, &dovecot, &exim, ALICE));
        let set = bridge.cli(&["account", "set", ALICE, "--sent-copy", copy], b"");
        assert!(set.status.success(), "{}", words(&set));
        bridge.serve();
        Self { _lab: lab, dovecot, exim, bridge, crm }
    }

    pub(crate) fn send(&self, header: &str) {
        let mut wire = self.bridge.sign_in_smtp(&self.crm);
        message(&mut wire, header);
        wire.smtp("QUIT", 221);
    }

    /// How many messages stand in Sent, once there are so many and for as long as it takes to see that there are no more.
    pub(crate) fn sent(&self, awaited: u32) -> u32 {
        until(Duration::from_secs(15), || (self.dovecot.count(ALICE, SENT) >= awaited).then_some(()));
        std::thread::sleep(Duration::from_millis(500));
        self.dovecot.count(ALICE, SENT)
    }

    pub(crate) fn spooled(&self) -> usize {
        std::fs::read_dir(self.bridge.state().join("spool")).expect("the spool").count()
    }
}

pub(crate) fn message(wire: &mut Wire, header: &str) {
    wire.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
    wire.smtp(&format!("RCPT TO:<{ALICE}>"), 250);
    wire.smtp("DATA", 354);
    wire.send(format!("From: {ALICE}\r\nTo: {ALICE}\r\n{header}\r\nHello.\r\n..stuffed\r\n").as_bytes());
    wire.smtp(".", 250);
}

#[test]
fn r41_what_is_sent_stands_once_in_sent() {
    let Some(firm) = Firm::start("always") else { return };
    firm.send("Subject: one\r\nMessage-ID: <one@crm.test>\r\n");
    assert_eq!(firm.sent(1), 1, "{}", firm.bridge.log());
    let copy = String::from_utf8(firm.dovecot.message(ALICE, SENT, 1)).expect("text");
    assert!(copy.contains("Message-ID: <one@crm.test>\r\n"), "{copy}");
    assert!(copy.ends_with("\r\nHello.\r\n.stuffed\r\n"), "{copy}");
    // As it went out, octet for octet behind what the hosts on its way put in front.
    let arrived = until(Duration::from_secs(10), || (firm.dovecot.count(ALICE, "INBOX") == 1).then_some(()));
    assert!(arrived.is_some(), "{}", firm.exim.log());
    let arrived = String::from_utf8(firm.dovecot.message(ALICE, "INBOX", 1)).expect("text");
    assert!(arrived.ends_with(&copy), "{arrived}\n{copy}");
    let mut wire = firm.dovecot.sign_in(ALICE);
    wire.imap_ok(&format!("SELECT {SENT}"));
    assert!(wire.imap_ok("FETCH 1 FLAGS").text().contains("\\Seen"));
    let emptied = until(Duration::from_secs(5), || (firm.spooled() == 0).then_some(()));
    assert!(emptied.is_some(), "the spool keeps {} files", firm.spooled());

    // Without Message-ID it gets one, and with it both go out.
    firm.send("Subject: two\r\n");
    assert_eq!(firm.sent(2), 2, "{}", firm.bridge.log());
    let copy = String::from_utf8(firm.dovecot.message(ALICE, SENT, 2)).expect("text");
    let id = copy.lines().find(|line| line.starts_with("Message-ID: <")).expect("a Message-ID").to_owned();
    assert!(id.ends_with("@ovh.test>"), "{id}");
    until(Duration::from_secs(10), || (firm.dovecot.count(ALICE, "INBOX") == 2).then_some(()));
    let arrived = String::from_utf8(firm.dovecot.message(ALICE, "INBOX", 2)).expect("text");
    assert!(arrived.contains(&id), "{arrived}");
}

#[test]
fn r41_a_copy_outlives_a_mailbox_that_cannot_be_reached() {
    let Some(mut firm) = Firm::start("always") else { return };
    // Signed in while the mailbox is there; sent when it is not.
    let mut wire = firm.bridge.sign_in_smtp(&firm.crm);
    firm.dovecot.stop();
    message(&mut wire, "Subject: one\r\nMessage-ID: <one@crm.test>\r\n");
    let put_off =
        until(Duration::from_secs(10), || firm.bridge.log().contains("a Sent copy could not be seen to").then_some(()));
    assert!(put_off.is_some(), "{}", firm.bridge.log());
    assert_eq!(firm.spooled(), 1);
    let told = words(&firm.bridge.cli(&["doctor", ALICE], b""));
    assert!(told.contains("copies that do not stand in Sent yet: 1"), "{told}");
    firm.dovecot.start_again();
    assert_eq!(firm.sent(1), 1, "{}", firm.bridge.log());
    assert_eq!(firm.spooled(), 0);
}

/// At each of these moments the message is with the provider, or the CRM has been told so.
#[test]
fn r39_r41_a_killed_bridge_leaves_one_copy() {
    let Some(mut firm) = Firm::start("always") else { return };
    for (moment, number) in
        ["after-outcome", "before-append", "within-append", "before-filed", "after-filed"].iter().zip(1..)
    {
        firm.bridge.kill();
        firm.bridge.runs_under(&["env", &format!("PASSERELLE_FAILPOINT={moment}")]);
        firm.bridge.serve();
        let mut wire = firm.bridge.sign_in_smtp(&firm.crm);
        wire.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
        wire.smtp(&format!("RCPT TO:<{ALICE}>"), 250);
        wire.smtp("DATA", 354);
        let id = format!("Message-ID: <{number}@crm.test>\r\n");
        wire.send(format!("From: {ALICE}\r\nTo: {ALICE}\r\n{id}\r\nHello.\r\n.\r\n").as_bytes());
        let stopped = || firm.bridge.log().matches("stopped at a moment that a test has named").count() >= number;
        let reached = until(Duration::from_secs(20), || stopped().then_some(()));
        assert!(reached.is_some(), "{moment}: {}", firm.bridge.log());
        firm.bridge.kill();
        firm.bridge.runs_under(&[]);
        firm.bridge.serve();
        let awaited = u32::try_from(number).expect("a few");
        assert_eq!(firm.sent(awaited), awaited, "{moment}: {}", firm.bridge.log());
        let arrived = until(Duration::from_secs(10), || (firm.dovecot.count(ALICE, "INBOX") == awaited).then_some(()));
        assert!(arrived.is_some(), "{moment}: {}", firm.exim.log());
        assert_eq!(firm.spooled(), 0, "{moment}");
    }
}

#[test]
fn what_a_provider_does_is_looked_at_and_remembered() {
    let Some(firm) = Firm::start("auto") else { return };
    // Nobody knows yet, and Sent is given some seconds.
    firm.send("Subject: one\r\nMessage-ID: <one@crm.test>\r\n");
    assert_eq!(firm.sent(1), 1, "{}", firm.bridge.log());
    let began = std::time::Instant::now();
    firm.send("Subject: two\r\nMessage-ID: <two@crm.test>\r\n");
    let filed = until(Duration::from_secs(15), || (firm.dovecot.count(ALICE, SENT) == 2).then_some(()));
    assert!(filed.is_some(), "{}", firm.bridge.log());
    println!("filed after {:?} once it is known that the provider does not", began.elapsed());
}

#[test]
fn nothing_is_filed_where_nobody_wants_it() {
    let Some(firm) = Firm::start("never") else { return };
    firm.send("Subject: one\r\n");
    let arrived = until(Duration::from_secs(10), || (firm.dovecot.count(ALICE, "INBOX") == 1).then_some(()));
    assert!(arrived.is_some(), "{}", firm.exim.log());
    let arrived = String::from_utf8(firm.dovecot.message(ALICE, "INBOX", 1)).expect("text");
    assert!(!arrived.contains("Message-ID: <") || arrived.contains("exim"), "no field of ours: {arrived}");
    assert_eq!((firm.sent(0), firm.spooled()), (0, 0));
}
