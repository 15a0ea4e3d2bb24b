//! When a lane is taken and given back (design section 4): what logins wait for, and whose lane the next session has.

use crate::{
    harness::{AddAccount, Bridge, CrmSettings, Lab, PATIENCE, Provider, Visit, Wire, until},
    serve::change,
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

const ALICE: &str = "alice@lab.test";

/// A bridge with an account at a double.
struct House {
    imap: Provider,
    bridge: Bridge,
    crm: CrmSettings,
    _lab: Lab,
}

impl House {
    /// Signing in takes this long.
    fn start(configuration: &str, signing_in: Duration) -> Option<Self> {
        Self::answering(configuration, move |_, _, command| {
            if command.starts_with("AUTHENTICATE") {
                thread::sleep(signing_in);
            }
            Some(false)
        })
    }

    fn answering(
        configuration: &str,
        answer: impl Fn(&mut Visit, &str, &str) -> Option<bool> + Send + Sync + 'static,
    ) -> Option<Self> {
        let lab = Lab::needing(&[])?;
        let imap = Provider::imap(Some(&lab.certificates.good), answer);
        let mut bridge = Bridge::configured(&lab, configuration);
        let crm = bridge.add_account(&AddAccount::at(&lab, [imap.port, 1], ALICE));
        bridge.serve();
        Some(Self { imap, bridge, crm, _lab: lab })
    }

    fn greeted(&self) -> Wire {
        let mut wire = Wire::plain(self.bridge.imap);
        wire.expect("* OK");
        wire
    }

    fn heard(&self, words: &str) -> usize {
        self.imap.heard().matches(words).count()
    }

    /// The lane that was left is free again.
    fn left(&self, times: usize) {
        let left = until(PATIENCE, || (self.heard("UNSELECT") == times).then_some(()));
        assert!(left.is_some(), "{}", self.imap.heard());
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_next_session_has_the_lane_of_the_last() {
    let Some(house) = House::start("", Duration::ZERO) else { return };
    for page in 1..=3 {
        let mut wire = house.bridge.sign_in(&house.crm);
        wire.imap_ok("SELECT INBOX");
        wire.imap_ok("FETCH 1 FLAGS");
        wire.imap_ok("LOGOUT");
        // Left by UNSELECT, which expunges nothing.
        house.left(page);
    }
    assert_eq!((house.imap.visits(), house.heard("AUTHENTICATE")), (1, 1), "{}", house.imap.heard());
    assert_eq!(house.heard("CLOSE"), 0);
}

/// Pages of many CRMs end without LOGOUT.
#[test]
fn the_lane_of_a_client_that_goes_without_a_word_is_the_next_ones() {
    let Some(house) = House::start("", Duration::ZERO) else { return };
    for page in 1..=3 {
        let mut wire = house.bridge.sign_in(&house.crm);
        wire.imap_ok("SELECT INBOX");
        wire.imap_ok("FETCH 1 FLAGS");
        drop(wire);
        house.left(page);
    }
    assert_eq!((house.imap.visits(), house.heard("AUTHENTICATE")), (1, 1), "{}", house.imap.heard());
}

#[test]
fn a_lane_with_something_under_way_goes_with_its_client() {
    // With one place the next session waits until it is known what becomes of the lane.
    let answering = House::answering("[limits]\nlanes-per-account = 1\n", |visit, _, command| {
        match command.split(' ').next()? {
            "FETCH" => {
                visit.say("* 1 FETCH (BODY[] {100000000}")?;
                // Until the lane is closed.
                loop {
                    visit.send(&[b'x'; 10_000])?;
                    thread::sleep(Duration::from_millis(5));
                }
            }
            "APPEND" => {
                visit.some()?;
                visit.octets(1000).map(|_| true)
            }
            _ => Some(false),
        }
    });
    let Some(house) = answering else { return };
    let mut wire = house.bridge.sign_in(&house.crm);
    wire.imap_ok("SELECT INBOX");
    wire.line("a FETCH 1 BODY[]");
    wire.expect("* 1 FETCH ");
    drop(wire);
    let mut wire = house.bridge.sign_in(&house.crm);
    wire.imap_ok("SELECT INBOX");
    assert_eq!(house.imap.visits(), 2, "within an answer");
    wire.line("a APPEND INBOX {1000+}");
    wire.line("half of it");
    assert!(until(PATIENCE, || (house.heard("half of it") == 1).then_some(())).is_some());
    drop(wire);
    house.bridge.sign_in(&house.crm).imap_ok("STATUS Sent (MESSAGES)");
    assert_eq!(house.imap.visits(), 3, "within a message");
}

#[test]
fn a_lane_that_said_more_than_its_answer_is_no_one_elses() {
    let said = AtomicBool::new(false);
    let answering = House::answering("", move |visit, tag, command| {
        if !command.starts_with("STATUS") || said.swap(true, Ordering::SeqCst) {
            return Some(false);
        }
        // In one read, and open for a while yet.
        visit.say(&format!("{tag} NO throttled\r\n* BYE Come again later"))?;
        Some(true)
    });
    let Some(house) = answering else { return };
    let mut wire = house.bridge.sign_in(&house.crm);
    assert!(wire.imap("STATUS Sent (MESSAGES)").tagged.starts_with("NO "));
    wire.imap_ok("STATUS Sent (MESSAGES)");
    assert_eq!(house.imap.visits(), 2);
}

#[test]
fn the_next_session_speaks_before_the_mailbox_of_the_last_is_left() {
    let answering = House::answering("[limits]\nlanes-per-account = 1\n", |visit, tag, command| {
        if command != "UNSELECT" {
            return Some(false);
        }
        // Far away: both were under way before the first answer.
        let next = visit.line()?;
        visit.say(&format!("* 9 EXISTS\r\n{tag} OK left"))?;
        let (tag, command) = next.split_once(' ')?;
        visit.imap_answer(tag, command)?;
        Some(true)
    });
    let Some(house) = answering else { return };
    let mut first = house.bridge.sign_in(&house.crm);
    first.imap_ok("SELECT INBOX");
    first.imap_ok("LOGOUT");
    let mut second = house.bridge.sign_in(&house.crm);
    let selected = second.imap("SELECT INBOX.Sent");
    assert!(selected.tagged.starts_with("OK ["), "{}", selected.tagged);
    let exist: Vec<_> = selected.untagged.iter().filter(|line| line.ends_with(b" EXISTS")).collect();
    assert_eq!(exist, [b"* 3 EXISTS"], "news of the mailbox of another session");
    second.imap_ok("NOOP");
    assert_eq!((house.imap.visits(), house.heard("UNSELECT")), (1, 1));
}

#[test]
fn a_lane_whose_mailbox_cannot_be_left_is_replaced_unseen() {
    let answering = House::answering("[limits]\nlanes-per-account = 1\n", |visit, tag, command| {
        if command != "UNSELECT" {
            return Some(false);
        }
        drop(visit.line()?);
        visit.say(&format!("{tag} NO not now"))?;
        Some(true)
    });
    let Some(house) = answering else { return };
    let mut first = house.bridge.sign_in(&house.crm);
    first.imap_ok("SELECT INBOX");
    first.imap_ok("LOGOUT");
    let mut second = house.bridge.sign_in(&house.crm);
    second.imap_ok("SELECT INBOX.Sent");
    second.imap_ok("NOOP");
    assert_eq!(house.imap.visits(), 2);
    // Known from now on: a command that cannot be said twice has a lane of its own, and is not lost behind a refusal.
    second.imap_ok("LOGOUT");
    let mut third = house.bridge.sign_in(&house.crm);
    third.imap_ok("CREATE Third");
    assert_eq!(house.imap.visits(), 3);
}

#[test]
fn a_select_that_fails_leaves_the_lane_to_others() {
    let answering = House::answering("[limits]\nlanes-per-account = 1\n", |visit, tag, command| {
        // With most providers nothing is selected then.
        let said = match command {
            "SELECT INBOX.Sent" => "NO not now",
            "UNSELECT" => "BAD nothing is selected",
            _ => return Some(false),
        };
        visit.say(&format!("{tag} {said}")).map(|()| true)
    });
    let Some(house) = answering else { return };
    let mut first = house.bridge.sign_in(&house.crm);
    first.imap_ok("SELECT INBOX");
    assert!(first.imap("SELECT Sent").tagged.starts_with("NO "));
    // It waits for the lane, and its command could not be said twice.
    let mut second = house.bridge.sign_in(&house.crm);
    second.imap_ok("CREATE Third");
    assert_eq!((house.imap.visits(), house.heard("UNSELECT")), (1, 0), "{}", house.imap.heard());
}

#[test]
fn a_command_that_is_said_once_is_said_when_the_mailbox_of_the_last_is_left() {
    let answering = House::answering("", |visit, tag, command| {
        if command != "UNSELECT" {
            return Some(false);
        }
        thread::sleep(Duration::from_millis(500));
        visit.say(&format!("{tag} NO not now"))?;
        Some(true)
    });
    let Some(house) = answering else { return };
    let mut first = house.bridge.sign_in(&house.crm);
    first.imap_ok("SELECT INBOX");
    first.imap_ok("LOGOUT");
    // What was never said is no message twice, and no folder that was made and is there already.
    house.bridge.sign_in(&house.crm).imap_ok("CREATE Second");
    assert_eq!((house.imap.visits(), house.heard(" CREATE ")), (2, 1), "{}", house.imap.heard());
}

#[test]
fn a_lane_is_used_for_what_it_offers_itself() {
    let signed_in = AtomicBool::new(false);
    let answering = House::answering("", move |visit, tag, command| {
        let offers = |words| format!("{tag} OK [CAPABILITY IMAP4rev1 SASL-IR UNSELECT{words}] Signed in");
        if command.starts_with("AUTHENTICATE") {
            // One front end of the provider is older than the other.
            let newer = signed_in.swap(true, Ordering::SeqCst);
            visit.say(&offers(if newer { " LITERAL+" } else { "" }))?;
        } else if command.starts_with("APPEND") {
            visit.say("+ go")?;
            visit.line()?;
            visit.say(&format!("{tag} OK stored"))?;
        } else {
            return Some(false);
        }
        Some(true)
    });
    let Some(house) = answering else { return };
    let mut wires = [0; 2].map(|_| house.bridge.sign_in(&house.crm));
    for wire in &mut wires {
        wire.imap_ok("SELECT INBOX");
    }
    wires[0].imap_ok("LOGOUT");
    house.left(1);
    let mut third = house.bridge.sign_in(&house.crm);
    third.send(b"a APPEND INBOX {3+}\r\nabc\r\n");
    third.expect("a OK");
    assert_eq!((house.imap.visits(), house.heard("{3+}")), (2, 0), "{}", house.imap.heard());
}

#[test]
fn an_impatient_client_hears_of_the_limit_that_it_waited_for() {
    let Some(house) = House::start("[limits]\nlanes-per-account = 1\n", Duration::ZERO) else { return };
    let set = house.bridge.cli(&["login", "set", &house.crm.login, "--crm", "suitecrm"], b"");
    assert!(set.status.success());
    let mut first = house.bridge.sign_in(&house.crm);
    first.imap_ok("SELECT INBOX");
    let refused = house.bridge.sign_in(&house.crm).imap("SELECT INBOX").tagged;
    assert!(refused.starts_with("NO [LIMIT] "), "{refused}");
    first.imap_ok("NOOP");
}

#[test]
fn as_many_lanes_are_parked_and_for_as_long_as_the_configuration_says() {
    let configuration = "[limits]\nparked-lanes = 1\n[timeouts]\nimap-parked = \"2s\"\n";
    let Some(house) = House::start(configuration, Duration::ZERO) else { return };
    let open = || {
        let mut wires = [0; 3].map(|_| house.bridge.sign_in(&house.crm));
        wires.iter_mut().for_each(|wire| drop(wire.imap_ok("SELECT INBOX")));
        wires.iter_mut().for_each(|wire| drop(wire.imap_ok("LOGOUT")));
    };
    open();
    house.left(3);
    assert_eq!(house.imap.visits(), 3);
    house.bridge.sign_in(&house.crm).imap_ok("STATUS Sent (MESSAGES)");
    assert_eq!(house.imap.visits(), 3, "one of them is had again");
    open();
    assert_eq!(house.imap.visits(), 5);
    let over = until(PATIENCE, || {
        thread::sleep(Duration::from_millis(2500));
        house.bridge.sign_in(&house.crm).imap_ok("STATUS Sent (MESSAGES)");
        (house.imap.visits() > 5).then_some(())
    });
    assert!(over.is_some(), "a lane is kept for longer");
}

#[test]
fn sessions_without_a_mailbox_share_one_lane() {
    let Some(house) = House::start("[limits]\nlanes-per-account = 1\n", Duration::ZERO) else { return };
    let mut wires = [0; 3].map(|_| house.bridge.sign_in(&house.crm));
    for _ in 0..3 {
        for wire in &mut wires {
            wire.imap_ok("STATUS Sent (MESSAGES)");
        }
    }
    wires[0].imap_ok("SELECT INBOX");
    wires[0].imap_ok("CLOSE");
    wires[1].imap_ok("EXAMINE Sent");
    assert_eq!(house.imap.visits(), 1);
}

#[test]
fn a_parked_lane_that_was_cut_is_given_to_nobody() {
    let Some(house) = House::start("", Duration::ZERO) else { return };
    let mut wire = house.bridge.sign_in(&house.crm);
    wire.imap_ok("STATUS Sent (MESSAGES)");
    house.imap.cut();
    thread::sleep(Duration::from_millis(200));
    wire.imap_ok("STATUS Sent (MESSAGES)");
    house.bridge.sign_in(&house.crm).imap_ok("SELECT INBOX");
    assert_eq!(house.imap.visits(), 2);
}

#[test]
fn who_signs_in_to_a_healthy_account_does_not_wait_for_its_provider() {
    let Some(house) = House::start("", Duration::from_millis(1500)) else { return };
    let took = |login: &str| {
        let mut wire = house.greeted();
        let began = Instant::now();
        wire.imap_ok(login);
        (wire, began.elapsed())
    };
    let login = house.crm.imap_login();
    let (mut first, waited) = took(&login);
    assert!(waited > Duration::from_millis(1400), "nothing is known yet: {waited:?}");
    first.imap_ok("SELECT INBOX");
    // No lane is free; none is needed, either.
    let (mut second, at_once) = took(&login);
    assert!(at_once < Duration::from_millis(500), "{at_once:?}");
    assert_eq!(house.imap.visits(), 1);
    second.imap_ok("SELECT INBOX");
    assert_eq!(house.imap.visits(), 2);
}

#[test]
fn an_opening_that_takes_too_long_goes_on_for_the_next_try() {
    let configuration = "[timeouts]\nlogin-wait = \"1s\"\n";
    let Some(house) = House::start(configuration, Duration::from_millis(2000)) else { return };
    let login = house.crm.imap_login();
    let (mut wire, mut other) = (house.greeted(), house.greeted());
    let began = Instant::now();
    // Two at once wait for the same opening.
    other.line(&format!("a {login}"));
    assert!(wire.imap(&login).tagged.starts_with("NO [UNAVAILABLE] "));
    other.expect("a NO [UNAVAILABLE] ");
    let told = began.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_millis(1700)).contains(&told), "{told:?}");
    let said = until(PATIENCE, || wire.imap(&login).tagged.starts_with("OK ").then_some(()));
    assert!(said.is_some());
    wire.imap_ok("SELECT INBOX");
    assert_eq!((house.imap.visits(), house.heard("AUTHENTICATE")), (1, 1));
}

#[test]
fn a_changed_account_has_no_lane_of_before() {
    let Some(house) = House::start("", Duration::ZERO) else { return };
    house.bridge.sign_in(&house.crm).imap_ok("STATUS Sent (MESSAGES)");
    change(&house.bridge);
    house.bridge.sign_in(&house.crm).imap_ok("STATUS Sent (MESSAGES)");
    assert_eq!((house.imap.visits(), house.heard("AUTHENTICATE")), (2, 2));
}
