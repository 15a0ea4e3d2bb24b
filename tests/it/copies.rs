//! Sent copies that others file, too: the CRM by an APPEND of its own, the provider by itself. One stands in Sent.

use crate::{
    filing::{ALICE, Firm, SENT, message},
    harness::{Wire, until},
};
use sqlx::{ConnectOptions as _, sqlite::SqliteConnectOptions};
use std::time::Duration;

/// A CRM's own copy, with what it does not send.
fn copy(header: &str) -> Vec<u8> {
    let text = format!("From: {ALICE}\r\nTo: {ALICE}\r\nBcc: boss@ovh.test\r\n{header}\r\nHello.\r\n");
    text.into_bytes()
}

/// What a CRM says of the place of its copy, if it is told one.
fn appended(wire: &mut Wire, header: &str) -> Option<(u32, u32)> {
    let answer = wire.append("Sent", "(\\Seen)", &copy(header));
    assert!(answer.is_ok(), "{}", answer.tagged);
    let place = answer.tagged.split("[APPENDUID ").nth(1)?.split(']').next()?;
    let (uid_validity, uid) = place.split_once(' ')?;
    Some((uid_validity.parse().expect("a number"), uid.parse().expect("a number")))
}

impl Firm {
    /// Makes everything due that waits for minutes, and has it looked at.
    fn later(&mut self) {
        self.bridge.kill();
        self.store("UPDATE sent SET due_at = 1, claimed_until = 0 WHERE due_at IS NOT NULL RETURNING 'one'");
        self.bridge.serve();
    }

    fn store(&self, query: &'static str) -> Vec<Option<String>> {
        let file = self.bridge.state().join("passerelle.db");
        tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
            let mut store = SqliteConnectOptions::new().filename(file).connect().await.expect("the store");
            sqlx::query_scalar(query).fetch_all(&mut store).await.expect("rows")
        })
    }
}

#[test]
fn r41_a_copy_of_the_crms_own_is_the_same_message() {
    let Some(firm) = Firm::start("always") else { return };
    let mut imap = firm.bridge.sign_in(&firm.crm);
    let number = imap.imap_ok("STATUS Sent (UIDVALIDITY)").text();

    // Behind it, when it stands there: the CRM hears where.
    firm.send("Subject: after\r\nMessage-ID: <after@crm.test>\r\n");
    assert_eq!(firm.sent(1), 1, "{}", firm.bridge.log());
    let (uid_validity, uid) = appended(&mut imap, "Message-ID: <after@crm.test>\r\n").expect("a place");
    assert!(number.contains(&format!("UIDVALIDITY {uid_validity})")), "{number} {uid_validity}");
    imap.imap_ok("EXAMINE Sent");
    let found = imap.imap_ok(&format!("UID FETCH {uid} (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")).text();
    assert!(found.contains("after@crm.test"), "{found}");
    imap.imap_ok("CLOSE");
    assert_eq!(firm.sent(1), 1, "{}", firm.bridge.log());

    // Before it: what the CRM wants to have is what stands there.
    let (_, uid) = appended(&mut imap, "Message-ID: <before@crm.test>\r\n").expect("a place");
    firm.send("Subject: before\r\nMessage-ID: <before@crm.test>\r\n");
    assert_eq!(firm.sent(2), 2, "{}", firm.bridge.log());
    let stands = String::from_utf8(firm.dovecot.message(ALICE, SENT, 2)).expect("text");
    assert!(stands.as_bytes() == copy("Message-ID: <before@crm.test>\r\n"), "{uid}: {stands}");

    // While it is being sent.
    let mut smtp = firm.bridge.sign_in_smtp(&firm.crm);
    smtp.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
    smtp.smtp(&format!("RCPT TO:<{ALICE}>"), 250);
    smtp.smtp("DATA", 354);
    smtp.send(b"Message-ID: <during@crm.test>\r\n");
    appended(&mut imap, "Message-ID: <during@crm.test>\r\n");
    smtp.send(b"Subject: during\r\n\r\nHello.\r\n");
    smtp.smtp(".", 250);
    assert_eq!(firm.sent(3), 3, "{}", firm.bridge.log());

    // Under another Message-ID, as some CRMs write their copies; then a second copy of the same.
    let header = "Date: Fri, 27 Nov 2026 10:00:00 +0100\r\nSubject: Devis\r\n";
    message(&mut smtp, &format!("Message-ID: <one@crm.test>\r\n{header}"));
    appended(&mut imap, &format!("Message-ID: <two@crm.test>\r\n{header}"));
    assert_eq!(firm.sent(4), 4, "{}", firm.bridge.log());

    // A copy of what nobody sends through the bridge is filed as any.
    assert!(appended(&mut imap, "Message-ID: <alone@crm.test>\r\n").is_some());
    assert_eq!((firm.sent(5), firm.spooled()), (5, 0), "{}", firm.bridge.log());
}

#[test]
fn r41_a_crm_that_files_is_not_taken_for_its_provider() {
    let Some(firm) = Firm::start("auto") else { return };
    let mut imap = firm.bridge.sign_in(&firm.crm);
    firm.send("Subject: one\r\nMessage-ID: <one@crm.test>\r\n");
    appended(&mut imap, "Message-ID: <one@crm.test>\r\n");
    assert_eq!(firm.sent(1), 1, "{}", firm.bridge.log());
    // Nobody else files the next.
    firm.send("Subject: two\r\nMessage-ID: <two@crm.test>\r\n");
    assert_eq!(firm.sent(2), 2, "{}", firm.bridge.log());
}

#[test]
fn r41_a_copy_of_the_crms_own_waits_for_a_mailbox_that_is_down() {
    let Some(mut firm) = Firm::start("always") else { return };
    let mut imap = firm.bridge.sign_in(&firm.crm);
    imap.imap_ok("STATUS Sent (MESSAGES)");
    firm.dovecot.stop();
    let answer = imap.append(
        "Sent",
        "(\\Flagged $Label) \" 4-Mar-2020 05:06:07 +0100\"",
        &copy("Message-ID: <one@crm.test>\r\n"),
    );
    assert!(answer.is_ok() && !answer.tagged.contains("APPENDUID"), "{}", answer.tagged);
    assert_eq!(firm.spooled(), 1);
    // It is tried in vain, and put off.
    let put_off =
        until(Duration::from_secs(10), || firm.bridge.log().contains("a Sent copy could not be seen to").then_some(()));
    assert!(put_off.is_some(), "{}", firm.bridge.log());
    firm.dovecot.start_again();
    assert_eq!((firm.sent(1), firm.spooled()), (1, 0), "{}", firm.bridge.log());
    // As the CRM gave it.
    let mut wire = firm.dovecot.sign_in(ALICE);
    wire.imap_ok(&format!("EXAMINE {SENT}"));
    let stands = wire.imap_ok("FETCH 1 (FLAGS INTERNALDATE)").text();
    assert!(stands.contains("\\Flagged") && stands.contains("$Label") && !stands.contains("\\Seen"), "{stands}");
    assert!(stands.contains("04-Mar-2020 04:06:07 +0000"), "{stands}");
}

#[test]
fn a_copy_with_a_flag_that_the_provider_does_not_take_is_filed_all_the_same() {
    let Some(firm) = Firm::start("always") else { return };
    let mut imap = firm.bridge.sign_in(&firm.crm);
    let answer = imap.append("Sent", &format!("(\\Seen {})", "k".repeat(200)), &copy(""));
    assert!(answer.is_ok(), "{}", answer.tagged);
    assert_eq!((firm.sent(1), firm.spooled()), (1, 0), "{}", firm.bridge.log());
}

#[test]
fn r41_a_provider_that_files_by_itself_is_left_to_it() {
    let Some(firm) = Firm::filing("auto", "") else { return };
    firm.send("Subject: one\r\nMessage-ID: <one@crm.test>\r\n");
    assert_eq!(firm.sent(1), 1, "{}", firm.bridge.log());
    let mut wire = firm.dovecot.sign_in(ALICE);
    wire.imap_ok(&format!("SELECT {SENT}"));
    assert!(wire.imap_ok("FETCH 1 FLAGS").text().contains("\\Seen"));
    let emptied = until(Duration::from_secs(15), || (firm.spooled() == 0).then_some(()));
    assert!(emptied.is_some(), "{}", firm.bridge.log());
    // That is remembered, and looked at all the same: also where the CRM gives its copy.
    firm.send("Subject: two\r\nMessage-ID: <two@crm.test>\r\n");
    let mut imap = firm.bridge.sign_in(&firm.crm);
    appended(&mut imap, "Message-ID: <two@crm.test>\r\n");
    let emptied = until(Duration::from_secs(15), || (firm.spooled() == 0).then_some(()));
    assert!(emptied.is_some(), "{}", firm.bridge.log());
    assert_eq!(firm.sent(2), 2, "{}", firm.bridge.log());
}

#[test]
fn r41_a_provider_that_files_late_takes_the_place_of_ours() {
    let Some(mut firm) = Firm::filing("auto", "queue_only = true\nqueue_run_max = 0\n") else { return };
    firm.send("Subject: one\r\nMessage-ID: <one@crm.test>\r\n");
    assert_eq!(firm.sent(1), 1, "{}", firm.bridge.log());
    firm.exim.deliver();
    assert_eq!(firm.sent(2), 2, "{}\n{}", firm.exim.log(), firm.bridge.log());
    firm.later();
    let one = until(Duration::from_secs(15), || (firm.dovecot.count(ALICE, SENT) == 1).then_some(()));
    assert!(one.is_some(), "{}", firm.bridge.log());
    let known = || (firm.store("SELECT files_sent FROM accounts") == [Some("yes".to_owned())]).then_some(());
    assert!(until(Duration::from_secs(5), known).is_some(), "{}", firm.bridge.log());
    firm.send("Subject: two\r\nMessage-ID: <two@crm.test>\r\n");
    firm.exim.deliver();
    let emptied = until(Duration::from_secs(15), || (firm.spooled() == 0).then_some(()));
    assert!(emptied.is_some(), "{}", firm.bridge.log());
    assert_eq!(firm.sent(2), 2, "{}", firm.bridge.log());
}

#[test]
fn r41_our_own_copy_is_not_taken_for_the_providers() {
    let Some(mut firm) = Firm::start("auto") else { return };
    firm.bridge.kill();
    firm.bridge.runs_under(&["env", "PASSERELLE_FAILPOINT=before-filed"]);
    firm.bridge.serve();
    firm.send("Subject: one\r\nMessage-ID: <one@crm.test>\r\n");
    // It stands there, and the bridge is killed before it has noted that.
    assert_eq!(firm.sent(1), 1, "{}", firm.bridge.log());
    firm.bridge.kill();
    firm.bridge.runs_under(&[]);
    firm.bridge.serve();
    let emptied = until(Duration::from_secs(15), || (firm.spooled() == 0).then_some(()));
    assert!(emptied.is_some(), "{}", firm.bridge.log());
    assert_ne!(firm.store("SELECT files_sent FROM accounts"), [Some("yes".to_owned())]);
    firm.send("Subject: two\r\nMessage-ID: <two@crm.test>\r\n");
    assert_eq!(firm.sent(2), 2, "{}", firm.bridge.log());
}

#[test]
fn r41_what_was_seen_of_a_provider_may_be_over() {
    let Some(mut firm) = Firm::start("auto") else { return };
    firm.store("UPDATE accounts SET files_sent = 'yes' RETURNING 'one'");
    firm.send("Subject: one\r\nMessage-ID: <one@crm.test>\r\n");
    // Looked for in vain, three times, then filed.
    for _ in 0..=3 {
        std::thread::sleep(Duration::from_millis(500));
        firm.later();
    }
    assert_eq!((firm.sent(1), firm.spooled()), (1, 0), "{}", firm.bridge.log());
    assert_eq!(firm.store("SELECT files_sent FROM accounts"), [Some("no".to_owned())]);
}

#[test]
fn a_copy_that_was_taken_away_can_be_given_again_and_in_another_version() {
    let Some(firm) = Firm::start("always") else { return };
    let mut imap = firm.bridge.sign_in(&firm.crm);
    let id = "Message-ID: <one@crm.test>\r\n";
    let expunge = |number: u32| {
        let mut wire = firm.dovecot.sign_in(ALICE);
        wire.imap_ok(&format!("SELECT {SENT}"));
        wire.imap_ok(&format!("STORE {number} +FLAGS (\\Deleted)"));
        wire.imap_ok("EXPUNGE");
    };
    let (_, first) = appended(&mut imap, id).expect("a place");
    expunge(1);
    let (_, second) = appended(&mut imap, id).expect("a place");
    assert!(second > first && firm.sent(1) == 1, "{first} {second}\n{}", firm.bridge.log());
    // As Thunderbird takes an attachment away: the new one first, then the old one goes.
    let (_, third) = appended(&mut imap, &format!("{id}X-Mozilla-Altered: yes\r\n")).expect("a place");
    assert!(third > second && firm.sent(2) == 2, "{second} {third}\n{}", firm.bridge.log());
    expunge(1);
    let stands = String::from_utf8(firm.dovecot.message(ALICE, SENT, 1)).expect("text");
    assert!(stands.contains("X-Mozilla-Altered") && firm.sent(1) == 1, "{stands}");
    // The same once more is the same.
    appended(&mut imap, &format!("{id}X-Mozilla-Altered: yes\r\n"));
    assert_eq!((firm.sent(1), firm.spooled()), (1, 0), "{}", firm.bridge.log());
}

#[test]
fn r41_a_mailbox_that_is_renamed_or_deleted_meanwhile_is_found_or_made() {
    let Some(mut firm) = Firm::start("always") else { return };
    firm.send("Subject: one\r\nMessage-ID: <one@crm.test>\r\n");
    assert_eq!(firm.sent(1), 1, "{}", firm.bridge.log());
    let mut direct = firm.dovecot.sign_in(ALICE);
    direct.imap_ok(&format!("DELETE {SENT}"));
    firm.send("Subject: two\r\nMessage-ID: <two@crm.test>\r\n");
    let filed = until(Duration::from_secs(15), || (firm.spooled() == 0).then_some(()));
    assert!(filed.is_some(), "{}", firm.bridge.log());
    assert_eq!(firm.dovecot.count(ALICE, SENT), 1);
    // Renamed: what stood there is not filed again.
    direct.imap_ok(&format!("RENAME {SENT} INBOX.2025"));
    firm.later();
    firm.send("Subject: three\r\nMessage-ID: <three@crm.test>\r\n");
    let filed = until(Duration::from_secs(15), || (firm.spooled() == 0).then_some(()));
    assert!(filed.is_some(), "{}", firm.bridge.log());
    assert_eq!((firm.dovecot.count(ALICE, SENT), firm.dovecot.count(ALICE, "INBOX.2025")), (1, 1));
}
