//! Providers that answer without an end what the bridge itself asks them: a look into Sent ends for now, with its memory
//! bounded, and is tried again.

use crate::harness::{AddAccount, Bridge, CrmSettings, Lab, PATIENCE, Provider, Visit, until, words};

const ALICE: &str = "alice@lab.test";
const TOO_MUCH: &str = "too many lines in one answer";

struct House {
    bridge: Bridge,
    crm: CrmSettings,
    imap: Provider,
    _smtp: Provider,
    _lab: Lab,
}

impl House {
    /// Whose provider answers commands of the bridge itself so.
    fn start(answer: impl Fn(&mut Visit, &str, &str) -> Option<bool> + Send + Sync + 'static) -> Option<Self> {
        let lab = Lab::needing(&[])?;
        let imap = Provider::imap(Some(&lab.certificates.good), answer);
        let smtp = Provider::smtp(Some(&lab.certificates.good));
        let mut bridge = Bridge::prepare(&lab);
        let mut account = AddAccount::unchecked(&lab, &imap, &smtp, ALICE);
        account.more.extend(["--sent-copy", "always"].map(str::to_owned));
        let crm = bridge.add_account(&account);
        bridge.serve();
        Some(Self { bridge, crm, imap, _smtp: smtp, _lab: lab })
    }

    fn send(&self) {
        let mut wire = self.bridge.sign_in_smtp(&self.crm);
        wire.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
        wire.smtp("RCPT TO:<bob@lab.test>", 250);
        wire.smtp("DATA", 354);
        wire.send(format!("From: {ALICE}\r\nMessage-ID: <one@crm.test>\r\n\r\nHello.\r\n.\r\n").as_bytes());
        assert_eq!(wire.reply().0, 250);
        wire.smtp("QUIT", 221);
    }

    fn gives_up_the_look(&self) {
        let given_up = until(PATIENCE, || self.bridge.log().contains(TOO_MUCH).then_some(()));
        assert!(given_up.is_some(), "{} octets were read\n{}", self.imap.said(), self.bridge.log());
        let told = words(&self.bridge.cli(&["doctor", ALICE], b""));
        assert!(told.contains("copies that do not stand in Sent yet: 1"), "{told}");
    }
}

/// Says a line until nobody takes it.
fn without_end(visit: &mut Visit, line: &str) -> Option<bool> {
    let block = format!("{line}\r\n").repeat(64 * 1024 / line.len() + 1);
    loop {
        visit.send(block.as_bytes())?;
    }
}

#[test]
fn numbers_without_an_end_are_not_gathered() {
    let numbers = format!("* SEARCH{}", " 4".repeat(10_000));
    let Some(house) = House::start(move |visit, _, command| match command.starts_with("UID SEARCH") {
        true => without_end(visit, &numbers),
        false => Some(false),
    }) else {
        return;
    };
    house.send();
    house.gives_up_the_look();
}

#[test]
fn the_same_message_without_an_end_is_not_gathered() {
    let Some(house) = House::start(|visit, tag, command| {
        if command.starts_with("UID SEARCH") {
            visit.say(&format!("* SEARCH 4\r\n{tag} OK done"))?;
            return Some(true);
        }
        let field = "Message-ID: <one@crm.test>\r\n\r\n";
        let one = format!("* 4 FETCH (UID 4 BODY[HEADER.FIELDS (MESSAGE-ID)] {{{}}}\r\n{field})", field.len());
        if command.starts_with("UID FETCH") { without_end(visit, &one) } else { Some(false) }
    }) else {
        return;
    };
    house.send();
    house.gives_up_the_look();
}

#[test]
fn what_is_said_unasked_without_an_end_is_not_listened_to() {
    let Some(house) = House::start(|visit, _, command| match command.starts_with("UID SEARCH") {
        true => without_end(visit, "* OK still searching"),
        false => Some(false),
    }) else {
        return;
    };
    house.send();
    house.gives_up_the_look();
}
