//! Real programs that send, at real hosts that file what is sent by themselves or do not: one copy stands in Sent.

use crate::harness::{
    AddAccount, Bridge, CrmSettings, Cyrus, Dovecot, Exim, Lab, Layout, Postfix, Program, Wire, run, script, until,
    words,
};
use serde_json::json;
use std::{process::Command, time::Duration};

const ALICE: &str = "alice@ovh.test";
const SENT: &str = "INBOX.Sent";

/// What a CRM sends with.
struct Crm {
    bridge: Bridge,
    crm: CrmSettings,
}

impl Crm {
    fn start(lab: &Lab, account: AddAccount) -> Self {
        let mut bridge = Bridge::prepare(lab);
        let crm = bridge.add_account(&AddAccount { password: "direct".to_owned(), ..account });
        bridge.serve();
        Self { bridge, crm }
    }

    /// By PHPMailer, and with a copy of its own by PHP's imap extension.
    fn phpmailer(&self, subject: &str, copy: bool) {
        let ports = [self.bridge.smtp, self.bridge.imap].map(|port| port.to_string());
        let said = script(
            "php",
            "phpmailer.php",
            &[
                "127.0.0.1",
                &ports[0],
                &ports[1],
                &self.crm.login,
                &self.crm.password,
                ALICE,
                subject,
                if copy { "copy" } else { "none" },
            ],
        );
        assert_eq!(
            said,
            json!({ "sent": true, "appended": copy.then_some(true), "errors": [] }),
            "{}",
            self.bridge.log()
        );
    }

    fn swaks(&self, subject: &str) {
        let server = format!("127.0.0.1:{}", self.bridge.smtp);
        let header = format!("Subject: {subject}");
        let output = run(
            60,
            Command::new("swaks").args(["--server", &server, "--auth", "PLAIN"]).args([
                "--auth-user",
                &self.crm.login,
                "--auth-password",
                &self.crm.password,
                "--from",
                ALICE,
                "--to",
                ALICE,
                "--header",
                &header,
            ]),
            b"",
        );
        assert!(output.status.success(), "{}\n{}", words(&output), self.bridge.log());
    }

    /// Each program sends; in the end each message has arrived once and stands in Sent once.
    fn sends(&self, sign_in: &dyn Fn() -> Wire, arrives: &dyn Fn() -> Wire) {
        self.phpmailer("one", false);
        self.phpmailer("two", true);
        self.swaks("three");
        let count = |wire: Wire, mailbox: &str| { wire }.count(mailbox);
        let spool = self.bridge.state().join("spool");
        let done = until(Duration::from_secs(40), || {
            let all = count(arrives(), "INBOX") == 3 && count(sign_in(), SENT) >= 3;
            (all && std::fs::read_dir(&spool).expect("the spool").count() == 0).then_some(())
        });
        assert!(done.is_some(), "{} in Sent\n{}", count(sign_in(), SENT), self.bridge.log());
        let mut wire = sign_in();
        wire.imap_ok(&format!("EXAMINE {SENT}"));
        let subjects = wire.imap_ok("FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])").text();
        for subject in ["one", "two", "three"] {
            assert_eq!(subjects.matches(&format!("Subject: {subject}\r\n")).count(), 1, "{subjects}");
        }
        assert_eq!(subjects.matches("\\Seen").count(), 3, "{subjects}");
        assert_eq!(count(arrives(), "INBOX"), 3);
    }
}

fn needing(more: &[Program]) -> Option<Lab> {
    Lab::needing(&[&[Program::Dovecot, Program::Php, Program::Phpmailer, Program::Swaks], more].concat())
}

/// The same account at any submission server.
fn account(lab: &Lab, imap: u16, smtp: u16) -> AddAccount {
    AddAccount::at(lab, [imap, smtp], ALICE).checked()
}

#[test]
fn r41_exim_does_not_file() {
    let Some(lab) = needing(&[Program::Exim]) else { return };
    let dovecot = Dovecot::ovh(&lab);
    dovecot.add_user(ALICE, "direct");
    let exim = Exim::submission(&lab, &dovecot);
    let crm = Crm::start(&lab, account(&lab, dovecot.imaps, exim.submissions));
    crm.sends(&|| dovecot.sign_in(ALICE), &|| dovecot.sign_in(ALICE));
}

#[test]
fn r41_exim_files() {
    let Some(lab) = needing(&[Program::Exim, Program::Sieve]) else { return };
    let dovecot = Dovecot::filing(&lab, "");
    dovecot.add_user(ALICE, "direct");
    let exim = Exim::filing(&lab, &dovecot, "");
    let crm = Crm::start(&lab, account(&lab, dovecot.imaps, exim.submissions));
    crm.sends(&|| dovecot.sign_in(ALICE), &|| dovecot.sign_in(ALICE));
}

#[test]
fn r41_postfix_does_not_file() {
    let Some(lab) = needing(&[Program::Postfix]) else { return };
    let (dovecot, postfix) = Postfix::with_dovecot(&lab);
    dovecot.add_user(ALICE, "direct");
    let crm = Crm::start(&lab, account(&lab, dovecot.imaps, postfix.submissions));
    crm.sends(&|| dovecot.sign_in(ALICE), &|| dovecot.sign_in(ALICE));
}

#[test]
fn r41_postfix_files() {
    let Some(lab) = needing(&[Program::Postfix, Program::Sieve]) else { return };
    let (dovecot, postfix) = Postfix::filing(&lab);
    dovecot.add_user(ALICE, "direct");
    let crm = Crm::start(&lab, account(&lab, dovecot.imaps, postfix.submissions));
    crm.sends(&|| dovecot.sign_in(ALICE), &|| dovecot.sign_in(ALICE));
}

#[test]
fn r41_cyrus_has_the_copies() {
    let Some(lab) = needing(&[Program::Exim, Program::Cyrus]) else { return };
    let cyrus = Cyrus::start(&lab, Layout::Ovh);
    cyrus.add_user(ALICE, "direct");
    cyrus.load(ALICE, &[]);
    // Dovecot judges Exim's passwords, and takes in what is sent.
    let dovecot = Dovecot::ovh(&lab);
    dovecot.add_user(ALICE, "direct");
    let exim = Exim::submission(&lab, &dovecot);
    let crm = Crm::start(&lab, account(&lab, cyrus.imaps, exim.submissions));
    crm.sends(&|| cyrus.sign_in(ALICE), &|| dovecot.sign_in(ALICE));
}
