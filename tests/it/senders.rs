//! Real programs that send, at real hosts that file what is sent by themselves or do not, and whether the bridge waits for the
//! host or queues: each message arrives once, and one copy stands in Sent.

use crate::harness::{
    AddAccount, Bridge, CrmSettings, Cyrus, Dovecot, Exim, Lab, Layout, Postfix, Program, Wire, run, script, until,
    words,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use std::{process::Command, time::Duration};

const ALICE: &str = "alice@ovh.test";
const SENT: &str = "INBOX.Sent";

/// Who delivers: the host while the client waits, or the bridge by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Direct,
    Queued,
}

/// What a CRM sends with.
struct Crm {
    bridge: Bridge,
    crm: CrmSettings,
    mode: Mode,
}

/// What a program sent: its subject, and its octets but for the line ends behind the last line.
type Letter = (&'static str, Vec<u8>);

impl Crm {
    fn start(lab: &Lab, account: AddAccount, mode: Mode) -> Self {
        let mut bridge = Bridge::prepare(lab);
        let crm = bridge.add_account(&AddAccount { password: "direct".to_owned(), ..account });
        if mode == Mode::Queued {
            let set = bridge.cli(&["account", "set", ALICE, "--submission", "queued"], b"");
            assert!(set.status.success(), "{}", words(&set));
        }
        bridge.serve();
        Self { bridge, crm, mode }
    }

    /// By PHPMailer, and with a copy of its own by PHP's imap extension.
    fn phpmailer(&self, subject: &'static str, copy: bool) -> Letter {
        let ports = [self.bridge.smtp, self.bridge.imap].map(|port| port.to_string());
        let mut said = script(
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
        let message = said["message"].take();
        assert_eq!(
            said,
            json!({ "sent": true, "appended": copy.then_some(true), "message": null, "errors": [] }),
            "{}",
            self.bridge.log()
        );
        let octets = STANDARD.decode(message.as_str().expect("the message")).expect("Base64");
        (subject, octets.trim_ascii_end().to_vec())
    }

    fn swaks(&self, subject: &'static str) -> Letter {
        let server = format!("127.0.0.1:{}", self.bridge.smtp);
        let text = format!(
            "Date: Fri, 27 Nov 2026 10:00:00 +0100\r\nFrom: {ALICE}\r\nTo: {ALICE}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@swaks.test>\r\n\r\n\
             Ci-joint le devis.\r\n.\r\n..deux\r\n  trois \r\nfin\r\n"
        );
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
                "--data",
                "-",
            ]),
            text.replace("\r\n", "\n").as_bytes(),
        );
        assert!(output.status.success(), "{}\n{}", words(&output), self.bridge.log());
        (subject, text.trim_ascii_end().as_bytes().to_vec())
    }

    /// Each program sends; in the end each message has arrived once and stands in Sent once, both as they were sent.
    fn sends(&self, sign_in: &dyn Fn() -> Wire, arrives: &dyn Fn() -> Wire) {
        let letters = [self.phpmailer("one", false), self.phpmailer("two", true), self.swaks("three")];
        let count = |wire: Wire, mailbox: &str| { wire }.count(mailbox);
        let spool = self.bridge.state().join("spool");
        let done = until(Duration::from_secs(40), || {
            let all = count(arrives(), "INBOX") >= 3 && count(sign_in(), SENT) >= 3;
            (all && std::fs::read_dir(&spool).expect("the spool").count() == 0).then_some(())
        });
        assert!(done.is_some(), "{} in Sent\n{}", count(sign_in(), SENT), self.bridge.log());
        let mut wire = sign_in();
        wire.imap_ok(&format!("EXAMINE {SENT}"));
        let flags = wire.imap_ok("FETCH 1:* (FLAGS)").text();
        assert_eq!(flags.matches("\\Seen").count(), 3, "{flags}");
        for (what, wire, mailbox) in [("arrived", arrives(), "INBOX"), ("in Sent", sign_in(), SENT)] {
            stand_once(wire, mailbox, &letters, &format!("{what}\n{}", self.bridge.log()));
        }
        if self.mode == Mode::Queued {
            let queued = self.bridge.log().matches("a message is queued").count();
            let left = self.bridge.cli(&["queue", "list", "--json"], b"");
            let left: serde_json::Value = serde_json::from_slice(&left.stdout).expect("JSON");
            assert_eq!((queued, left), (3, json!([])), "{}", self.bridge.log());
        }
    }
}

/// Each of the letters stands there once, behind what hosts and CRMs put in front, and nothing else does.
fn stand_once(mut wire: Wire, mailbox: &str, letters: &[Letter], what: &str) {
    assert_eq!(wire.count(mailbox) as usize, letters.len(), "{what}");
    let stands: Vec<_> = (1..).zip(letters).map(|(number, _)| wire.message(mailbox, number)).collect();
    for (subject, octets) in letters {
        let same = stands.iter().filter(|message| message.trim_ascii_end().ends_with(octets)).count();
        let texts = || stands.iter().map(|message| String::from_utf8_lossy(message)).collect::<Vec<_>>().join("\n--\n");
        assert_eq!(same, 1, "{subject}: {what}\nsent: {}\nstands: {}", String::from_utf8_lossy(octets), texts());
    }
}

fn needing(more: &[Program]) -> Option<Lab> {
    Lab::needing(&[&[Program::Dovecot, Program::Php, Program::Phpmailer, Program::Swaks], more].concat())
}

/// The same account at any submission server.
fn account(lab: &Lab, imap: u16, smtp: u16) -> AddAccount {
    AddAccount::at(lab, [imap, smtp], ALICE).checked()
}

/// Each of these is a test in both modes.
macro_rules! in_both_modes {
    ($($direct:ident $queued:ident $at:ident)*) => {$(
        #[test]
        fn $direct() {
            $at(Mode::Direct);
        }

        #[test]
        fn $queued() {
            $at(Mode::Queued);
        }
    )*};
}

in_both_modes! {
    r41_exim_does_not_file r39_r41_exim_does_not_file_what_is_queued exim_does_not_file
    r41_exim_files r39_r41_exim_files_what_is_queued exim_files
    r41_postfix_does_not_file r39_r41_postfix_does_not_file_what_is_queued postfix_does_not_file
    r41_postfix_files r39_r41_postfix_files_what_is_queued postfix_files
    r41_cyrus_has_the_copies_of_exim r39_r41_cyrus_has_the_copies_of_exims_queue exim_and_cyrus
    r41_cyrus_has_the_copies_of_postfix r39_r41_cyrus_has_the_copies_of_postfixs_queue postfix_and_cyrus
}

fn exim_does_not_file(mode: Mode) {
    let Some(lab) = needing(&[Program::Exim]) else { return };
    let dovecot = Dovecot::ovh(&lab);
    dovecot.add_user(ALICE, "direct");
    let exim = Exim::submission(&lab, &dovecot);
    let crm = Crm::start(&lab, account(&lab, dovecot.imaps, exim.submissions), mode);
    crm.sends(&|| dovecot.sign_in(ALICE), &|| dovecot.sign_in(ALICE));
}

fn exim_files(mode: Mode) {
    let Some(lab) = needing(&[Program::Exim, Program::Sieve]) else { return };
    let dovecot = Dovecot::filing(&lab, "");
    dovecot.add_user(ALICE, "direct");
    let exim = Exim::filing(&lab, &dovecot, "");
    let crm = Crm::start(&lab, account(&lab, dovecot.imaps, exim.submissions), mode);
    crm.sends(&|| dovecot.sign_in(ALICE), &|| dovecot.sign_in(ALICE));
}

fn postfix_does_not_file(mode: Mode) {
    let Some(lab) = needing(&[Program::Postfix]) else { return };
    let (dovecot, postfix) = Postfix::with_dovecot(&lab);
    dovecot.add_user(ALICE, "direct");
    let crm = Crm::start(&lab, account(&lab, dovecot.imaps, postfix.submissions), mode);
    crm.sends(&|| dovecot.sign_in(ALICE), &|| dovecot.sign_in(ALICE));
}

fn postfix_files(mode: Mode) {
    let Some(lab) = needing(&[Program::Postfix, Program::Sieve]) else { return };
    let (dovecot, postfix) = Postfix::filing(&lab);
    dovecot.add_user(ALICE, "direct");
    let crm = Crm::start(&lab, account(&lab, dovecot.imaps, postfix.submissions), mode);
    crm.sends(&|| dovecot.sign_in(ALICE), &|| dovecot.sign_in(ALICE));
}

/// Cyrus has the mailbox; Dovecot judges the passwords of what takes mail, and takes in what is sent.
fn cyrus(lab: &Lab) -> Cyrus {
    let cyrus = Cyrus::start(lab, Layout::Ovh);
    cyrus.add_user(ALICE, "direct");
    cyrus.load(ALICE, &[]);
    cyrus
}

fn exim_and_cyrus(mode: Mode) {
    let Some(lab) = needing(&[Program::Exim, Program::Cyrus]) else { return };
    let cyrus = cyrus(&lab);
    let dovecot = Dovecot::ovh(&lab);
    dovecot.add_user(ALICE, "direct");
    let exim = Exim::submission(&lab, &dovecot);
    let crm = Crm::start(&lab, account(&lab, cyrus.imaps, exim.submissions), mode);
    crm.sends(&|| cyrus.sign_in(ALICE), &|| dovecot.sign_in(ALICE));
}

fn postfix_and_cyrus(mode: Mode) {
    let Some(lab) = needing(&[Program::Postfix, Program::Cyrus]) else { return };
    let cyrus = cyrus(&lab);
    let (dovecot, postfix) = Postfix::with_dovecot(&lab);
    dovecot.add_user(ALICE, "direct");
    let crm = Crm::start(&lab, account(&lab, cyrus.imaps, postfix.submissions), mode);
    crm.sends(&|| cyrus.sign_in(ALICE), &|| dovecot.sign_in(ALICE));
}
