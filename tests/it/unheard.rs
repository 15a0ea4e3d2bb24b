//! CRMs that are gone before they hear that their message was sent, and try again: the provider has it once (rule R40). Those
//! that have heard it and send the same again are taken at their word.

use crate::{
    harness::{PATIENCE, Wire, until},
    uncertain::{ALICE, House},
};

const BOB: &str = "bob@client.test";
/// So the double's answer to the end mark takes more than a second.
const SLOW: &str = "slow";

impl House {
    fn text(subject: &str, body: &str) -> String {
        format!("From: {ALICE}\r\nSubject: {subject}\r\nMessage-ID: <{subject}@crm.test>\r\n\r\n{body}\r\n.\r\n")
    }

    /// All of a message is said; its answer is not read.
    fn says(&self, recipient: &str, body: &str) -> Wire {
        let mut wire = self.bridge.sign_in_smtp(&self.crm);
        wire.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
        wire.smtp(&format!("RCPT TO:<{recipient}>"), 250);
        wire.smtp("DATA", 354);
        wire.send(Self::text(SLOW, body).as_bytes());
        wire
    }

    /// What is answered to a message.
    fn sends(&self, recipient: &str, body: &str) -> String {
        let mut wire = self.says(recipient, body);
        let (code, words) = wire.reply();
        assert_eq!(code, 250, "{words}\n{}", self.bridge.log());
        wire.smtp("QUIT", 221);
        words
    }

    fn arrives(&self, times: usize) {
        let arrived = until(PATIENCE, || (self.taken(SLOW) >= times).then_some(()));
        assert!(arrived.is_some(), "{}", self.bridge.log());
        assert_eq!(self.taken(SLOW), times, "{}", self.bridge.log());
    }

    /// So many messages are known to be taken.
    fn knows(&self, times: i64) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let known = until(PATIENCE, || {
            let count: i64 = runtime.block_on(async {
                let mut store = self.store().await;
                let query = "SELECT COUNT(*) FROM sent WHERE sending = 'accepted'";
                sqlx::query_scalar(query).fetch_one(&mut store).await.expect("a number")
            });
            (count == times).then_some(())
        });
        assert!(known.is_some(), "{}", self.bridge.log());
    }
}

/// It hangs up while the provider thinks, whatever it has read until then.
fn hangs_up(house: &House, wire: Wire, times: usize) {
    house.arrives(times);
    drop(wire);
    house.knows(i64::try_from(times).expect("a few"));
}

#[test]
fn r40_a_client_that_was_gone_before_its_answer_is_told_at_its_next_try() {
    for copy in ["auto", "always"] {
        let Some(house) = House::start(copy) else { return };
        hangs_up(&house, house.says(BOB, "Hello."), 1);
        // However often it is gone.
        drop(house.says(BOB, "Hello."));
        let held = || house.bridge.log().contains("is not sent again").then_some(());
        assert!(until(PATIENCE, held).is_some(), "{}", house.bridge.log());
        let words = house.sends(BOB, "Hello.");
        assert!(words.contains("was sent before"), "{words}\n{}", house.bridge.log());
        assert_eq!(house.taken(SLOW), 1);
        // Now it has heard: what it says again, it means.
        assert!(!house.sends(BOB, "Hello.").contains("was sent before"));
        assert_eq!(house.taken(SLOW), 2);
    }
}

#[test]
fn r40_a_client_whose_connection_broke_is_told_at_its_next_try() {
    let Some(house) = House::start("auto") else { return };
    // Closed with replies that it has not read: a reset, and no end.
    let mut wire = house.bridge.sign_in_smtp(&house.crm);
    wire.send(format!("MAIL FROM:<{ALICE}>\r\nRCPT TO:<{BOB}>\r\nDATA\r\n").as_bytes());
    wire.send(House::text(SLOW, "Hello.").as_bytes());
    hangs_up(&house, wire, 1);
    assert!(house.sends(BOB, "Hello.").contains("was sent before"), "{}", house.bridge.log());
    assert_eq!(house.taken(SLOW), 1);
}

#[test]
fn r40_what_is_not_the_same_message_is_sent() {
    let Some(house) = House::start("always") else { return };
    hangs_up(&house, house.says(BOB, "Hello."), 1);
    for (times, (recipient, body)) in (2..).zip([("carol@client.test", "Hello."), (BOB, "Hello again.")]) {
        assert!(!house.sends(recipient, body).contains("was sent before"), "{recipient}: {body}");
        assert_eq!(house.taken(SLOW), times, "{recipient}: {body}");
    }
}

#[test]
fn a_client_that_has_heard_its_answer_may_send_the_same_again() {
    let Some(house) = House::start("auto") else { return };
    assert!(!house.sends(BOB, "Hello.").contains("was sent before"));
    assert!(!house.sends(BOB, "Hello.").contains("was sent before"));
    assert_eq!(house.taken(SLOW), 2);
    // Nor is it asked to say QUIT.
    let mut wire = house.says(BOB, "Hello.");
    assert_eq!(wire.reply().0, 250);
    drop(wire);
    let told = "SELECT COUNT(*) FROM sent WHERE told = 1";
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let all = || {
        let count = runtime.block_on(async {
            let mut store = house.store().await;
            sqlx::query_scalar::<_, i64>(told).fetch_one(&mut store).await.expect("a number")
        });
        (count == 3).then_some(())
    };
    assert!(until(PATIENCE, all).is_some(), "{}", house.bridge.log());
    assert!(!house.sends(BOB, "Hello.").contains("was sent before"));
    assert_eq!(house.taken(SLOW), 4);
}

#[test]
fn r40_r41_a_client_that_a_killed_bridge_did_not_answer_is_told_at_its_next_try() {
    let Some(mut house) = House::start("always") else { return };
    house.bridge.kill();
    house.bridge.runs_under(&["env", "PASSERELLE_FAILPOINT=after-outcome"]);
    house.bridge.serve();
    house.bridge.runs_under(&[]);
    let wire = house.says(BOB, "Hello.");
    house.knows(1);
    house.bridge.kill();
    drop(wire);
    house.bridge.serve();
    assert!(house.sends(BOB, "Hello.").contains("was sent before"), "{}", house.bridge.log());
    assert_eq!(house.taken(SLOW), 1);
    let filed = until(PATIENCE, || (house.filed(SLOW) > 0).then_some(()));
    assert!(filed.is_some() && house.filed(SLOW) == 1, "{}", house.bridge.log());
}
