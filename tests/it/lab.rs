//! The lab itself: its servers start, sign in, store, deliver and refuse as the other tests rely on.

use crate::harness::{
    Dovecot, Exim, Lab, Layout, Letter, OVH_MAILBOXES, PATIENCE, Program, Wire, letters, run, same, until, words,
};
use std::{path::Path, process::Command};

const ALICE: &str = "alice@ovh.test";
const BOB: &str = "bob@ovh.test";

#[test]
fn dovecot_looks_like_ovh() {
    let Some(lab) = Lab::needing(&[Program::Dovecot]) else { return };
    let dovecot = Dovecot::ovh(&lab);
    dovecot.add_user(ALICE, "secret");
    let mut wire = dovecot.sign_in(ALICE);
    let listed = wire.imap_ok("LIST \"\" *").text();
    for mailbox in OVH_MAILBOXES {
        let spelt = [format!("\".\" {mailbox}\n"), format!("\".\" \"{mailbox}\"\n")];
        assert!(spelt.iter().any(|end| listed.contains(end)), "{mailbox} is not in\n{listed}");
    }
    assert!(!listed.contains("\\Sent"), "no special use is told:\n{listed}");
    assert_eq!(wire.imap_ok("NAMESPACE").text(), "* NAMESPACE ((\"INBOX.\" \".\")) NIL NIL\n");
    let refused = wire.imap("CREATE Outside");
    assert!(refused.tagged.contains("INBOX."), "a name without the prefix is refused: {}", refused.tagged);
}

#[test]
fn letters_lie_where_they_were_laid() {
    let Some(lab) = Lab::needing(&[Program::Dovecot]) else { return };
    let dovecot = Dovecot::ovh(&lab);
    dovecot.add_user(ALICE, "secret");
    let octets = b"Subject: accent\r\n\r\n\xc3\xa9t\xc3\xa9\r\n".to_vec();
    let mailbox = "INBOX.&AMk-t&AOk- 2024.Devis &- co";
    let date = "04-Mar-2024 05:06:07 +0100";
    dovecot.load(ALICE, &[Letter { mailbox, flags: "\\Flagged", date, octets: octets.clone() }]);
    assert_eq!(dovecot.count(ALICE, mailbox), 1);
    assert_eq!(dovecot.message(ALICE, mailbox, 1), octets);
    let mut wire = dovecot.sign_in(ALICE);
    wire.imap_ok(&format!("SELECT \"{mailbox}\""));
    let fetched = wire.imap_ok("FETCH 1 (FLAGS INTERNALDATE)").text();
    assert!(fetched.contains("FLAGS (\\Flagged)") && fetched.contains("04-Mar-2024 04:06:07 +0000"), "{fetched}");
}

#[test]
fn a_wrong_password_does_not_slow_the_next_login() {
    let Some(lab) = Lab::needing(&[Program::Dovecot]) else { return };
    let dovecot = Dovecot::ovh(&lab);
    dovecot.add_user(ALICE, "secret");
    let start = std::time::Instant::now();
    for _ in 0..3 {
        let mut wire = Wire::plain(dovecot.imap);
        wire.expect("* OK");
        assert!(wire.imap("LOGIN alice@ovh.test wrong").tagged.starts_with("NO"));
    }
    dovecot.sign_in(ALICE);
    assert!(start.elapsed() < PATIENCE / 4, "took {:?}", start.elapsed());
}

#[test]
fn a_mailbox_of_200_000_messages_is_made_in_seconds() {
    let Some(lab) = Lab::needing(&[Program::Dovecot]) else { return };
    let dovecot = Dovecot::start(&lab, Layout::OvhDense, &lab.certificates.good, "");
    dovecot.add_user(ALICE, "secret");
    dovecot.fill(ALICE, "INBOX.Clients", 200_000);
    let mut wire = dovecot.sign_in(ALICE);
    wire.imap_ok("SELECT INBOX.Clients");
    let found = wire.imap_ok("SEARCH ALL");
    assert!(found.untagged[0].len() > 600_000, "{} octets in one line", found.untagged[0].len());
}

#[test]
fn exim_delivers_what_a_signed_in_client_sends() {
    let Some(lab) = Lab::needing(&[Program::Dovecot, Program::Exim]) else { return };
    let dovecot = Dovecot::ovh(&lab);
    dovecot.add_user(ALICE, "secret");
    dovecot.add_user(BOB, "hidden");
    let exim = Exim::submission(&lab, &dovecot);

    let mut wire = Wire::plain(exim.submission);
    wire.expect("220 ");
    assert!(!wire.smtp("EHLO crm.test", 250).contains("AUTH"), "no AUTH in the clear");
    wire.smtp("STARTTLS", 220);
    let mut wire = wire.secured(&lab.certificates.ca, "ssl0.ovh.net");
    assert!(wire.smtp("EHLO crm.test", 250).contains("AUTH PLAIN LOGIN"));
    wire.smtp("MAIL FROM:<alice@ovh.test>", 250);
    wire.smtp("RCPT TO:<bob@ovh.test>", 530);
    wire.smtp("RSET", 250);
    wire.smtp("AUTH PLAIN AGFsaWNlQG92aC50ZXN0AHdyb25n", 535);
    wire.smtp("AUTH PLAIN AGFsaWNlQG92aC50ZXN0AHNlY3JldA==", 235);
    wire.smtp("MAIL FROM:<alice@ovh.test> BODY=8BITMIME", 250);
    wire.smtp("RCPT TO:<bob@ovh.test>", 250);
    wire.smtp("DATA", 354);
    wire.send(b"From: alice@ovh.test\r\nMessage-ID: <1@lab>\r\n\r\n..\r\n..dots and \xc3\xa9\r\n.\r\n");
    let (code, words) = wire.reply();
    assert_eq!(code, 250, "{words}");

    let arrived = until(PATIENCE, || (dovecot.count(BOB, "INBOX") == 1).then_some(()));
    assert!(arrived.is_some(), "{}", exim.log());
    let message = dovecot.message(BOB, "INBOX", 1);
    assert!(message.ends_with(b"\r\n\r\n.\r\n.dots and \xc3\xa9\r\n"), "{}", String::from_utf8_lossy(&message));
}

#[test]
fn exim_refuses_as_told() {
    let Some(lab) = Lab::needing(&[Program::Dovecot, Program::Exim]) else { return };
    let dovecot = Dovecot::ovh(&lab);
    dovecot.add_user(ALICE, "secret");
    let exim = Exim::submission(&lab, &dovecot);
    let open = || {
        let mut wire = Wire::tls(exim.submissions, &lab.certificates.ca, "localhost");
        wire.expect("220 ");
        wire.smtp("EHLO crm.test", 250);
        wire
    };
    exim.refuse("AUTH", Some("535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled"));
    open().smtp("AUTH PLAIN AGFsaWNlQG92aC50ZXN0AHNlY3JldA==", 535);
    exim.refuse("AUTH", None);
    let mut wire = open();
    wire.smtp("AUTH PLAIN AGFsaWNlQG92aC50ZXN0AHNlY3JldA==", 235);
    exim.refuse("MAIL", Some("432 4.3.2 Concurrent connections limit exceeded."));
    assert!(wire.smtp("MAIL FROM:<alice@ovh.test>", 432).contains("4.3.2"));
    exim.refuse("MAIL", None);
    wire.smtp("MAIL FROM:<alice@ovh.test>", 250);
    exim.refuse("RCPT", Some("550 5.1.1 No such user"));
    wire.smtp("RCPT TO:<nobody@ovh.test>", 550);
    exim.refuse("RCPT", None);
    wire.smtp("RCPT TO:<alice@ovh.test>", 250);
    exim.refuse("DATA", Some("552 5.2.3 Message too large for us"));
    wire.smtp("DATA", 354);
    wire.smtp("Subject: x\r\n\r\nx\r\n.", 552);
}

#[test]
fn servers_stop_at_once_and_come_back_with_their_mail() {
    let Some(lab) = Lab::needing(&[Program::Dovecot]) else { return };
    let mut dovecot = Dovecot::ovh(&lab);
    dovecot.add_user(ALICE, "secret");
    dovecot.sign_in(ALICE).append("INBOX", "", b"Subject: kept\r\n\r\n\r\n");
    let mut idle = dovecot.sign_in(ALICE);
    dovecot.stop();
    assert!(idle.rest().is_empty(), "an open session is cut");
    assert!(Wire::try_plain(dovecot.imap).is_err(), "the port is free");
    dovecot.start_again();
    assert_eq!(dovecot.count(ALICE, "INBOX"), 1);
}

/// The scripts of `tests/lab` against two servers that differ in the names of their mailboxes, as a provider and the
/// bridge do: what they compare must not differ.
#[test]
fn the_scripts_of_clients_see_past_names() {
    let Some(lab) = Lab::needing(&[Program::Dovecot, Program::Exim, Program::Php, Program::Python]) else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab");
    let ca = lab.certificates.ca.to_string_lossy();
    let mut seen = [Vec::new(), Vec::new()];
    for (layout, prefix, delimiter) in [(Layout::Ovh, "INBOX.", "."), (Layout::Slash, "", "/")] {
        let dovecot = Dovecot::start(&lab, layout, &lab.certificates.good, "");
        let exim = Exim::submission(&lab, &dovecot);
        let (imap, smtp) = (dovecot.imaps.to_string(), exim.submissions.to_string());
        let php = vec!["127.0.0.1", &imap, "/ssl/novalidate-cert", ALICE, "secret", prefix, delimiter];
        let python = vec!["localhost", &imap, &smtp, "tls", BOB, "secret", prefix, delimiter, &ca];
        for (n, (user, interpreter, script, arguments)) in
            [(ALICE, "php", "script_a.php", php), (BOB, "python3", "script_a.py", python)].into_iter().enumerate()
        {
            dovecot.add_user(user, "secret");
            dovecot.load(user, &letters());
            let output = run(120, Command::new(interpreter).arg(folder.join(script)).args(arguments), b"");
            assert!(output.status.success(), "{}", words(&output));
            let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
            seen[n].push(json.get("pages").or_else(|| json.get("steps")).expect("what was seen").clone());
        }
    }
    for runs in seen {
        same(&runs[0], &runs[1]);
    }
}
