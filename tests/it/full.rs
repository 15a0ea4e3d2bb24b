//! A disk that is full, a spool that cannot be written, a database that another holds (rule R44): new work is refused for
//! now, nothing that was acknowledged is lost, and the bridge goes on by itself when there is room.

use crate::{
    crashes::House,
    filing::{ALICE, Firm, SENT},
    harness::{SmallDisk, Wire, until},
};
use sqlx::{ConnectOptions as _, Executor as _, sqlite::SqliteConnectOptions};
use std::time::{Duration, Instant};

/// Within which the bridge goes on when there is room.
const RECOVERY: Duration = Duration::from_secs(10);

/// What a CRM hears of a message, in the end or before.
fn send(firm: &Firm, id: &str) -> (u16, String) {
    let mut wire = firm.bridge.sign_in_smtp(&firm.crm);
    wire.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
    wire.smtp(&format!("RCPT TO:<{ALICE}>"), 250);
    wire.smtp("DATA", 354);
    let body = ["x".repeat(70).as_str(); 20].join("\r\n");
    wire.send(format!("From: {ALICE}\r\nTo: {ALICE}\r\nMessage-ID: <{id}@crm.test>\r\n\r\n{body}\r\n.\r\n").as_bytes());
    wire.reply()
}

/// What a CRM hears of its copy.
fn append(firm: &Firm, id: &str) -> String {
    let message = format!("From: {ALICE}\r\nMessage-ID: <{id}@crm.test>\r\n\r\n{}\r\n", "x".repeat(900));
    firm.bridge.sign_in(&firm.crm).append("Sent", "(\\Seen)", message.as_bytes()).tagged
}

/// Goes on until it is taken, and says how long that took.
fn recovers(firm: &Firm, id: &str) {
    let began = Instant::now();
    let sent = until(RECOVERY, || (send(firm, id).0 == 250).then_some(()));
    assert!(sent.is_some(), "{}", firm.bridge.log());
    println!("{id}: taken again after {:?}", began.elapsed());
}

/// Each of these has arrived once, and stands in Sent once; what was refused is nowhere.
fn all_is_there(firm: &Firm, acknowledged: &[&str], refused: &[&str]) {
    // What could not be delivered at once waits for its turn.
    firm.exim.deliver();
    let all = until(Duration::from_secs(30), || {
        let count = u32::try_from(acknowledged.len()).expect("a few");
        let there = firm.dovecot.count(ALICE, SENT) >= count && firm.dovecot.count(ALICE, "INBOX") >= count;
        there.then_some(())
    });
    assert!(all.is_some(), "{}", firm.bridge.log());
    for mailbox in [SENT, "INBOX"] {
        let mut wire: Wire = firm.dovecot.sign_in(ALICE);
        wire.imap_ok(&format!("EXAMINE {mailbox}"));
        let ids = wire.imap_ok("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])").text();
        let count = |id: &&&str| ids.matches(&format!("<{id}@crm.test>")).count();
        for id in acknowledged {
            assert_eq!(count(&id), 1, "{id} in {mailbox}: {ids}\n{}", firm.bridge.log());
        }
        for id in refused {
            assert_eq!(count(&id), 0, "{id} in {mailbox}: {ids}");
        }
    }
}

#[test]
fn r44_a_full_disk_refuses_new_work_and_keeps_what_was_acknowledged() {
    let Some((mut firm, disk)) = Firm::on_a_small_disk("always") else { return };
    // Under which number it is told is kept.
    firm.bridge.sign_in(&firm.crm).imap_ok("SELECT INBOX");
    // Acknowledged while the mailbox is down: it waits in the spool.
    let mut wire = firm.bridge.sign_in_smtp(&firm.crm);
    wire.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
    firm.dovecot.stop();
    wire.smtp(&format!("RCPT TO:<{ALICE}>"), 250);
    wire.smtp("DATA", 354);
    wire.send(
        format!("From: {ALICE}\r\nTo: {ALICE}\r\nMessage-ID: <before@crm.test>\r\n\r\nHello.\r\n.\r\n").as_bytes(),
    );
    assert_eq!(wire.reply().0, 250);
    firm.dovecot.start_again();

    disk.fill();
    let (code, words) = send(&firm, "full");
    assert_eq!(code, 452, "{words}");
    assert!(words.contains("disk of the mail bridge is full"), "{words}");
    let heard = append(&firm, "full");
    assert!(heard.starts_with("NO [UNAVAILABLE]"), "{heard}");
    // What needs no disk goes on.
    firm.bridge.sign_in(&firm.crm).imap_ok("SELECT INBOX");

    disk.make_room();
    recovers(&firm, "after");
    all_is_there(&firm, &["before", "after"], &["full"]);
    assert_eq!(firm.spooled(), 0);
}

#[test]
fn r44_a_spool_that_cannot_be_written_refuses_new_work() {
    let Some((firm, _disk)) = Firm::on_a_small_disk("always") else { return };
    let locked = SmallDisk::lock(&firm.bridge.state().join("spool"));
    let (code, words) = send(&firm, "locked");
    assert_eq!(code, 452, "{words}");
    assert!(append(&firm, "locked").starts_with("NO [UNAVAILABLE]"));
    drop(locked);
    recovers(&firm, "after");
    all_is_there(&firm, &["after"], &["locked"]);
}

#[test]
fn r44_a_database_that_another_holds_refuses_new_work() {
    let Some(firm) = Firm::start("always") else { return };
    let file = firm.bridge.state().join("passerelle.db");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut other = runtime.block_on(async {
        let mut store = SqliteConnectOptions::new().filename(file).connect().await.expect("the store");
        store.execute("BEGIN IMMEDIATE").await.expect("a lock");
        store
    });
    let (code, words) = send(&firm, "held");
    assert_eq!(code, 452, "{words}");
    runtime.block_on(async { other.execute("ROLLBACK").await.expect("unlocked") });
    recovers(&firm, "after");
    all_is_there(&firm, &["after"], &["held"]);
}

#[test]
fn r44_no_token_is_renewed_that_could_not_be_kept() {
    let Some((mut house, disk)) = House::on_a_small_disk() else { return };
    house.bridge.serve();
    disk.fill();
    let before = house.refreshes();
    let sign_in = |house: &House| {
        let mut wire = Wire::plain(house.bridge.imap);
        wire.expect("* OK");
        wire.imap(&house.crms[0].1.imap_login()).tagged
    };
    let told = sign_in(&house);
    assert!(told.starts_with("NO [UNAVAILABLE]"), "{told}");
    assert_eq!(house.refreshes(), before, "a refresh token was spent");
    disk.make_room();
    let began = Instant::now();
    let signed_in = until(RECOVERY, || sign_in(&house).starts_with("OK").then_some(()));
    assert!(signed_in.is_some(), "{}", house.bridge.log());
    println!("signed in again after {:?}", began.elapsed());
    assert_eq!(house.refreshes(), before + 1);

    // From here on room is held back: what the provider gives is kept although the disk is full.
    house.bridge.kill();
    house.bridge.serve();
    disk.fill();
    assert!(sign_in(&house).starts_with("OK"), "{}", house.bridge.log());
    assert_eq!(house.refreshes(), before + 2);
    house.bridge.kill();
    disk.make_room();
    house.bridge.serve();
    assert!(sign_in(&house).starts_with("OK"), "{}", house.bridge.log());
    assert_eq!(house.refreshes(), before + 3, "the one that was kept is good");
}
