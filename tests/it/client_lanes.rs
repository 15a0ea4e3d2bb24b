//! What a client's own token opens is that token's alone: the folders that it is told of, and the lanes that are parked.
//!
//! The doubles are those of `unknown_tokens`; the bridge is the real program.

use crate::{
    harness::{PATIENCE, Wire, until},
    unknown_tokens::House,
};

const TOKEN: &str = "a-good-token";
/// As many folder tables as an account keeps, and as many lanes as it has.
const TABLES: usize = 8;

/// A session that this token lets in.
fn let_in(house: &House, token: &str) -> Wire {
    let (answer, wire) = house.imap(token);
    assert!(answer.starts_with("OK "), "{answer}\n{}", house.bridge.log());
    wire
}

fn is_refused(house: &House, token: &str) {
    let (answer, _) = house.imap(token);
    assert!(answer.starts_with("NO [AUTHENTICATIONFAILED] "), "{answer}\n{}", house.bridge.log());
}

#[test]
fn r24_each_token_is_told_the_folders_that_it_may_see() {
    let Some(house) = House::start() else { return };
    house.door.shows("token-of-the-head", "INBOX.Salaries", "INBOX.Dismissals");
    house.door.shows("token-of-the-clerk", "INBOX.Invoices", "INBOX.Reminders");
    let (own, foreign) = (["Salaries", "Dismissals"], ["Invoices", "Reminders"]);
    for (token, own, foreign) in [("token-of-the-head", own, foreign), ("token-of-the-clerk", foreign, own)] {
        let mut wire = let_in(&house, token);
        // At once: the other's table is young.
        let told = ["LIST", "LSUB"].map(|verb| wire.imap_ok(&format!("{verb} \"\" \"*\"")).text());
        for (told, own) in told.iter().zip(own) {
            assert!(told.contains(own), "{token}: {told}");
            assert!(foreign.iter().all(|name| !told.contains(name)), "{token}: {told}");
        }
        let answer = wire.imap(&format!("STATUS {} (MESSAGES)", foreign[0])).tagged;
        assert!(answer.starts_with("NO [NONEXISTENT] "), "{token}: {answer}");
        wire.imap_ok(&format!("SELECT {}", own[0]));
    }
    let mut wire = let_in(&house, "token-of-the-head");
    let told = wire.imap_ok("LSUB \"\" \"*\"").text();
    assert!(told.contains("Dismissals") && !told.contains("Invoices") && !told.contains("Reminders"), "{told}");
}

#[test]
fn a_session_goes_on_whose_folder_table_went_for_those_of_other_tokens() {
    let Some(house) = House::start() else { return };
    house.door.shows(TOKEN, "INBOX.First", "INBOX.Gone");
    let mut first = let_in(&house, TOKEN);
    first.imap_ok("STATUS First (MESSAGES)");
    // With a mailbox each keeps its lane, so that the one of the first stays parked.
    let mut others: Vec<Wire> = (0..TABLES)
        .map(|number| {
            let token = format!("another-token-{number}");
            house.door.shows(&token, &format!("INBOX.Of{number}"), "INBOX.Gone");
            let mut wire = let_in(&house, &token);
            wire.imap_ok(&format!("SELECT Of{number}"));
            wire
        })
        .collect();
    others[0].imap_ok("CLOSE");
    first.imap_ok("STATUS First (MESSAGES)");
    let told = first.imap_ok("LIST \"\" \"*\"").text();
    assert!(told.contains("First") && !told.contains("Of"), "{told}");
}

#[test]
fn parked_lanes_of_other_tokens_make_room_for_those_that_are_needed() {
    let Some(house) = House::start() else { return };
    let select = |token: &str| {
        house.door.opens_to(token);
        let mut wire = let_in(&house, token);
        wire.imap_ok("SELECT INBOX");
        wire
    };
    let mut first: Vec<Wire> = (0..TABLES / 2).map(|_| select(TOKEN)).collect();
    first.iter_mut().for_each(|wire| drop(wire.imap_ok("LOGOUT")));
    let parked = until(PATIENCE, || (house.places_in_use() == [0, 0]).then_some(()));
    assert!(parked.is_some(), "{}", house.bridge.log());
    // Seen once before, so that a place is had for each.
    let _others: Vec<Wire> = (0..TABLES).map(|_| select("another")).collect();
    let most = house.doubles[0].most_at_once();
    assert!(most <= TABLES as u64, "{most} connections to the provider of one account");
}

#[test]
fn a_token_that_the_provider_refuses_has_no_parked_lane_any_more() {
    let Some(house) = House::start() else { return };
    house.door.opens_to(TOKEN);
    let _parked = let_in(&house, TOKEN);
    // Without a sign-in, as long as nobody says that it is over.
    house.door.closes_to(TOKEN);
    let _parked = let_in(&house, TOKEN);
    assert!(house.smtp(TOKEN).0.starts_with("535 "), "{}", house.bridge.log());
    is_refused(&house, TOKEN);
}

#[test]
fn a_lane_whose_token_was_refused_meanwhile_is_not_parked() {
    let Some(house) = House::start() else { return };
    house.door.opens_to(TOKEN);
    let mut wire = let_in(&house, TOKEN);
    wire.imap_ok("SELECT INBOX");
    house.door.closes_to(TOKEN);
    assert!(house.smtp(TOKEN).0.starts_with("535 "), "{}", house.bridge.log());
    wire.imap_ok("LOGOUT");
    let left = until(PATIENCE, || {
        let left = house.doubles[0].heard().contains("UNSELECT") && house.places_in_use() == [0, 0];
        left.then_some(())
    });
    assert!(left.is_some(), "{}", house.bridge.log());
    is_refused(&house, TOKEN);
}

#[test]
fn a_token_that_the_mailbox_refuses_has_no_parked_lane_to_send() {
    let Some(house) = House::start() else { return };
    house.door.opens_to(TOKEN);
    let sends = || house.smtp(TOKEN).0;
    assert!(sends().starts_with("235 "), "{}", house.bridge.log());
    house.door.closes_to(TOKEN);
    assert!(sends().starts_with("235 "), "by the lane that is parked\n{}", house.bridge.log());
    is_refused(&house, TOKEN);
    assert!(sends().starts_with("535 "), "{}", house.bridge.log());
}

#[test]
fn a_lane_to_send_whose_token_was_refused_meanwhile_is_not_parked() {
    let Some(house) = House::start() else { return };
    house.door.opens_to(TOKEN);
    let (answer, mut wire) = house.smtp(TOKEN);
    assert!(answer.starts_with("235 "), "{answer}\n{}", house.bridge.log());
    wire.smtp("MAIL FROM:<alice@tokens.test>", 250);
    house.door.closes_to(TOKEN);
    is_refused(&house, TOKEN);
    wire.smtp("RSET", 250);
    let left = until(PATIENCE, || (house.places_in_use() == [0, 0]).then_some(()));
    assert!(left.is_some(), "{}", house.bridge.log());
    assert!(house.smtp(TOKEN).0.starts_with("535 "), "{}", house.bridge.log());
}
