//! A running bridge: its first start, what it sees of changes, its caps, and what it costs while nothing happens.

use crate::harness::{AddAccount, Bridge, CrmSettings, Lab, PATIENCE, Provider, Wire, until, words};
use passerelle::store::{Changes, Store};
use serde_json::Value;
use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

const ALICE: &str = "alice@lab.test";
/// Design section 6: a running bridge sees any change of the store within this.
const SEEN: Duration = Duration::from_secs(1);

/// A running bridge, and doubles that let everyone in.
struct House {
    imap: Provider,
    smtp: Provider,
    bridge: Bridge,
    lab: Lab,
}

impl House {
    fn start(configuration: &str) -> Option<Self> {
        let lab = Lab::needing(&[])?;
        let imap = Provider::imap(Some(&lab.certificates.good), |_, _, _| Some(false));
        let smtp = Provider::smtp(Some(&lab.certificates.good));
        let mut bridge = Bridge::configured(&lab, configuration);
        bridge.serve();
        Some(Self { imap, smtp, bridge, lab })
    }

    fn add(&self, address: &str) -> CrmSettings {
        self.bridge.add_account(&AddAccount::unchecked(&self.lab, &self.imap, &self.smtp, address))
    }

    fn cli(&self, arguments: &[&str]) -> Value {
        let output = self.bridge.cli(&[arguments, &["--json"]].concat(), b"");
        assert!(output.status.success(), "{}", words(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn try_login(&self, crm: &CrmSettings) -> String {
        let mut wire = Wire::plain(self.bridge.imap);
        wire.expect("* OK");
        wire.imap(&crm.imap_login()).tagged
    }

    /// How long until a login is answered like this.
    fn login_is_answered(&self, crm: &CrmSettings, start: &str, what: &str) {
        let began = Instant::now();
        let seen = until(PATIENCE, || self.try_login(crm).starts_with(start).then(|| began.elapsed()));
        told(what, seen.expect("seen at last"));
    }
}

/// Says how long something took, and that it was short enough.
fn told(what: &str, took: Duration) {
    let _ = writeln!(std::io::stderr(), "{what}: seen after {took:?}");
    assert!(took < SEEN, "{what}: {took:?}");
}

#[test]
fn changes_are_seen_within_a_second() {
    let Some(house) = House::start("") else { return };
    let alice = house.add(ALICE);
    house.login_is_answered(&alice, "OK", "account add");

    let made = house.cli(&["login", "add", ALICE, "--label", "crm"]);
    let text = |key: &str| made[key].as_str().expect("text").to_owned();
    let second = CrmSettings { login: text("login"), password: text("password") };
    house.login_is_answered(&second, "OK", "login add");

    house.cli(&["login", "revoke", &second.login]);
    house.login_is_answered(&second, "NO [AUTHENTICATIONFAILED] ", "login revoke");
    house.login_is_answered(&alice, "OK", "the other login goes on");

    let mut imap = house.bridge.sign_in(&alice);
    imap.imap_ok("SELECT INBOX");
    let mut smtp = house.bridge.sign_in_smtp(&alice);
    let bob = house.add("bob@lab.test");
    let mut bystander = house.bridge.sign_in(&bob);
    house.cli(&["account", "remove", ALICE]);
    let began = Instant::now();
    imap.expect("* BYE [UNAVAILABLE] ");
    told("account remove, in a session", began.elapsed());
    assert!(imap.rest().is_empty());
    assert_eq!(smtp.reply().0, 421);
    assert!(smtp.rest().is_empty());
    house.login_is_answered(&alice, "NO [AUTHENTICATIONFAILED] ", "account remove, at login");
    bystander.imap_ok("NOOP");
}

#[test]
fn a_login_that_is_given_another_crm_is_signed_in_anew_under_its_names() {
    let Some(house) = House::start("") else { return };
    let alice = house.add(ALICE);
    let mut old = house.bridge.sign_in(&alice);
    old.imap_ok("SELECT Sent");
    let changed = house.cli(&["login", "set", ALICE, "--crm", "generic-fr"]);
    assert_eq!((changed["changed"].as_bool(), changed["crm"].as_str()), (Some(true), Some("generic-fr")));
    let began = Instant::now();
    old.expect("* BYE [UNAVAILABLE] ");
    told("login set, in a session", began.elapsed());
    let mut new = house.bridge.sign_in(&alice);
    new.imap_ok("SELECT Envoy&AOk-s");
    // What changes nothing ends nothing.
    let again = house.cli(&["login", "set", ALICE, "--crm", "generic-fr"]);
    assert_eq!(again["changed"], false);
    thread::sleep(Duration::from_millis(700));
    new.imap_ok("NOOP");
}

#[test]
fn a_session_that_opens_while_its_account_is_removed_ends_too() {
    let Some(lab) = Lab::needing(&[]) else { return };
    // A provider that takes its time.
    let slow = Provider::imap(Some(&lab.certificates.good), |_, _, command| {
        if command.starts_with("NAMESPACE") {
            thread::sleep(Duration::from_millis(1500));
        }
        Some(false)
    });
    let mut bridge = Bridge::prepare(&lab);
    let crm = bridge.add_account(&AddAccount::at(&lab, [slow.port, 1], ALICE));
    bridge.serve();
    let mut wire = Wire::plain(bridge.imap);
    wire.expect("* OK");
    wire.line(&format!("a {}", crm.imap_login()));
    let opening = until(PATIENCE, || slow.heard().contains("NAMESPACE").then_some(()));
    assert!(opening.is_some());
    assert!(bridge.cli(&["account", "remove", ALICE], b"").status.success());
    let rest = String::from_utf8_lossy(&wire.rest()).into_owned();
    assert!(rest.contains("* BYE "), "{rest}");
}

/// A session of SMTP that is signed in and holds no lane: EHLO gave it up.
fn without_a_lane(house: &House, crm: &CrmSettings) -> Wire {
    let mut wire = house.bridge.sign_in_smtp(crm);
    wire.smtp("MAIL FROM:<alice@lab.test>", 250);
    wire.smtp("EHLO crm.test", 250);
    wire
}

#[test]
fn a_login_that_was_revoked_gets_no_new_lane() {
    let Some(house) = House::start("") else { return };
    let alice = house.add(ALICE);
    let (mut silent, mut busy) = (without_a_lane(&house, &alice), without_a_lane(&house, &alice));
    house.cli(&["login", "revoke", &alice.login]);
    let began = Instant::now();
    // The bridge may not have looked yet.
    busy.send(b"MAIL FROM:<alice@lab.test>\r\n");
    assert!([421, 451].contains(&busy.reply().0));
    assert_eq!(silent.reply().0, 421);
    told("login revoke, in a session without a lane", began.elapsed());
    assert!(silent.rest().is_empty());
}

#[test]
fn an_account_that_came_back_lets_no_old_session_in() {
    let Some(house) = House::start("") else { return };
    let alice = house.add(ALICE);
    let mut old = without_a_lane(&house, &alice);
    house.cli(&["account", "remove", ALICE]);
    let again = house.add(ALICE);
    old.send(b"MAIL FROM:<alice@lab.test>\r\n");
    assert!([421, 451].contains(&old.reply().0));
    house.bridge.sign_in_smtp(&again).smtp("MAIL FROM:<alice@lab.test>", 250);
}

/// Gives the account another generation, as another process does.
pub(crate) fn change(bridge: &Bridge) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let store = Store::open(&bridge.state(), None, 1).await.expect("a store");
        let id = store.accounts().await.expect("read")[0].id;
        let changes = Changes { sends: Some(true), ..Changes::default() };
        store.change_account(id, &changes).await.expect("changed");
        store.close().await;
    });
}

#[test]
fn a_login_that_opens_while_its_account_changes_may_try_again() {
    let Some(lab) = Lab::needing(&[]) else { return };
    // The first sign-in takes its time: later ones need not be waited for.
    let signed_in = AtomicBool::new(false);
    let imap = Provider::imap(Some(&lab.certificates.good), move |_, _, command| {
        if command.starts_with("AUTHENTICATE") && !signed_in.swap(true, Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1500));
        }
        Some(false)
    });
    let mut bridge = Bridge::prepare(&lab);
    let alice = bridge.add_account(&AddAccount::at(&lab, [imap.port, 1], ALICE));
    bridge.serve();
    let mut wire = Wire::plain(bridge.imap);
    wire.expect("* OK");
    wire.line(&format!("a {}", alice.imap_login()));
    let opening = until(PATIENCE, || (imap.heard().matches("AUTHENTICATE").count() == 1).then_some(()));
    assert!(opening.is_some());
    change(&bridge);
    let said = wire.next();
    assert!(said.contains("[UNAVAILABLE]"), "{said}");
    bridge.sign_in(&alice);
}

#[test]
fn a_session_that_opens_just_after_a_change_stays() {
    let Some(house) = House::start("") else { return };
    let alice = house.add(ALICE);
    for _ in 0..3 {
        house.bridge.sign_in(&alice);
        // The change is committed, and the bridge has not looked yet.
        change(&house.bridge);
        let mut wire = house.bridge.sign_in(&alice);
        thread::sleep(Duration::from_millis(500));
        wire.imap_ok("NOOP");
    }
}

#[test]
fn a_wrong_password_and_an_unknown_login_look_the_same() {
    let Some(house) = House::start("") else { return };
    let alice = house.add(ALICE);
    let wrong = CrmSettings { password: "x".repeat(31), ..alice.clone() };
    let unknown = CrmSettings { login: "nobody@lab.test".into(), ..alice.clone() };
    let imap = [&wrong, &unknown].map(|crm| house.try_login(crm));
    assert!(imap[0].starts_with("NO [AUTHENTICATIONFAILED] "), "{imap:?}");
    assert_eq!(imap[0], imap[1]);
    let smtp = [&wrong, &unknown].map(|crm| {
        let mut wire = Wire::plain(house.bridge.smtp);
        wire.expect("220");
        wire.smtp("EHLO crm.test", 250);
        wire.smtp(&crm.smtp_auth(), 535)
    });
    assert_eq!(smtp[0], smtp[1]);
    assert!(!house.imap.heard().contains("AUTHENTICATE"), "no provider is asked");
}

/// All that is below a folder, itself too.
fn walk(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    if path.is_dir() {
        fs::read_dir(path).expect("a folder").for_each(|entry| found.extend(walk(&entry.expect("an entry").path())));
    }
    found
}

#[test]
fn a_first_start_makes_a_private_state_and_says_what_to_do() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let mut bridge = Bridge::prepare(&lab);
    bridge.serve();
    let files = walk(&bridge.state());
    let names: Vec<_> = files.iter().filter_map(|path| path.file_name()?.to_str()).collect();
    for name in ["passerelle.db", "master.key", "ca.pem", "leaf.pem"] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    for file in &files {
        let mode = fs::metadata(file).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", file.display());
    }
    // A client may be greeted before the last of it is said.
    until(PATIENCE, || bridge.log().contains("certs/ca.pem").then_some(()));
    let said = bridge.log();
    let ports = [bridge.imap, bridge.smtp, bridge.imaps, bridge.smtps];
    for words in ports.map(|port| format!("127.0.0.1:{port}")).iter().map(String::as_str).chain([
        "serves 0 account(s)",
        "passerelle account add you@example.org",
        "certs/ca.pem",
    ]) {
        assert!(said.contains(words), "{words} is not in\n{said}");
    }
    assert!(said.lines().count() <= 12, "{said}");
}

/// Gives a bridge the configuration of another, ports and all, for its next start.
fn configure_as(bridge: &Bridge, other: &Bridge) {
    let [from, to] = [other, bridge].map(|bridge| bridge.state().with_file_name("passerelle.toml"));
    fs::copy(from, to).expect("a configuration is copied");
}

#[test]
fn a_second_bridge_at_the_same_ports_says_so() {
    let Some(house) = House::start("") else { return };
    let second = Bridge::prepare(&house.lab);
    configure_as(&second, &house.bridge);
    let output = second.cli(&["serve"], b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    let taken =
        format!("error: cannot serve: cannot listen on 127.0.0.1:{}: Address already in use", house.bridge.imap);
    assert!(said.contains(&taken) && said.contains("hint: another passerelle may be running"), "{said}");
}

#[test]
fn one_bridge_serves_a_state_directory_and_the_next_when_it_is_gone() {
    let Some(mut house) = House::start("") else { return };
    let alice = house.add(ALICE);
    house.bridge.sign_in(&alice).imap_ok("NOOP");
    // At ports of its own nothing else would stop it.
    let first = Bridge::prepare(&house.lab);
    configure_as(&first, &house.bridge);
    configure_as(&house.bridge, &Bridge::prepare(&house.lab));
    let output = house.bridge.cli(&["serve"], b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(7), "{}", words(&output));
    let state = house.bridge.state();
    let refused =
        format!("error: cannot serve: another `passerelle serve` has this state directory: {}\n", state.display());
    assert!(said.starts_with(&refused) && said.contains("hint: one is enough for all accounts; stop it"), "{said}");
    // The first one is none the worse, and commands work beside it.
    house.cli(&["account", "show", ALICE]);
    assert!(house.try_login(&alice).starts_with("OK"));
    configure_as(&house.bridge, &first);
    house.bridge.kill();
    house.bridge.serve();
    assert!(house.try_login(&alice).starts_with("OK"));
    assert!(house.bridge.drain());
    house.bridge.serve();
}

#[test]
fn an_address_that_this_machine_has_not_is_said_with_what_mends_it() {
    let Some(lab) = Lab::needing(&[]) else { return };
    // Of a network that is for examples (RFC 5737).
    let bridge = Bridge::configured(&lab, "[[crm]]\nprofile = \"odoo\"\nimaps = \"192.0.2.1:9993\"\n");
    let output = bridge.cli(&["serve"], b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("error: cannot serve: cannot listen on 192.0.2.1:9993: "), "{said}");
    assert!(said.contains("hint: this machine has no such address"), "{said}");
}

#[test]
fn two_sessions_share_an_account_without_waiting_for_each_other() {
    let Some(house) = House::start("") else { return };
    let alice = house.add(ALICE);
    let (mut one, mut other) = (house.bridge.sign_in(&alice), house.bridge.sign_in(&alice));
    one.imap_ok("SELECT INBOX");
    other.imap_ok("EXAMINE Sent");
    // Each has a lane of its own: half a command of one holds up nobody.
    one.send(b"x1 FETCH 1 ");
    other.imap_ok("NOOP");
    one.send(b"FLAGS\r\n");
    assert!(one.answer("x1").is_ok());
    let mut smtp = [house.bridge.sign_in_smtp(&alice), house.bridge.sign_in_smtp(&alice)];
    for wire in &mut smtp {
        wire.smtp("MAIL FROM:<alice@lab.test>", 250);
    }
}

#[test]
fn r19_a_client_above_the_caps_is_told_and_gets_in_later() {
    let Some(house) = House::start("[limits]\nconnections = 4\nbefore-login = 2\n") else { return };
    let alice = house.add(ALICE);
    let told_so = || {
        Wire::plain(house.bridge.imap).expect("* BYE [LIMIT] ");
        assert_eq!(Wire::plain(house.bridge.smtp).reply().0, 421);
    };
    let free = || {
        let open = until(PATIENCE, || {
            let mut wire = Wire::plain(house.bridge.imap);
            wire.next().starts_with("* OK").then_some(wire)
        });
        open.expect("a place becomes free")
    };
    let mut lobby = [free(), free()];
    told_so();
    // Those that sign in leave the lobby to others.
    for wire in &mut lobby {
        wire.imap_ok(&alice.imap_login());
    }
    let more = [free(), free()];
    told_so();
    drop(more);
    free().imap_ok(&alice.imap_login());
    lobby[0].imap_ok("NOOP");
}

#[test]
fn r19_connections_that_say_nothing_keep_nobody_out_for_long() {
    let Some(house) = House::start("[limits]\nbefore-login = 3\n") else { return };
    let alice = house.add(ALICE);
    let mut silent = [0; 3].map(|_| Wire::plain(house.bridge.imap));
    silent.iter_mut().for_each(|wire| drop(wire.expect("* OK")));
    let mut in_a_session = None;
    let let_in = until(PATIENCE * 2, || {
        let mut wire = Wire::plain(house.bridge.imap);
        in_a_session = wire.next().starts_with("* OK").then_some(wire);
        in_a_session.is_some().then_some(())
    });
    assert!(let_in.is_some(), "{}", house.bridge.log());
    let mut wire = in_a_session.expect("let in");
    wire.imap_ok(&alice.imap_login());
    // Who has signed in stays, and who comes has its place.
    for _ in 0..3 {
        drop(house.bridge.sign_in(&alice));
    }
    wire.imap_ok("SELECT INBOX");
    let said = house.bridge.log().matches("no place for clients").count();
    assert!(said <= 1, "said {said} times");
}

#[test]
fn mail_goes_out_where_imap_holds_all_its_lanes() {
    let configuration = "[limits]\nlanes-per-account = 1\n[timeouts]\nlogin-wait = \"1s\"\n";
    let Some(house) = House::start(configuration) else { return };
    let alice = house.add(ALICE);
    let (mut imap, mut other) = (house.bridge.sign_in(&alice), house.bridge.sign_in(&alice));
    imap.imap_ok("SELECT INBOX");
    assert!(other.imap("SELECT INBOX").tagged.starts_with("NO [LIMIT] "));
    house.bridge.sign_in_smtp(&alice).smtp("MAIL FROM:<alice@lab.test>", 250);
    imap.imap_ok("NOOP");
}

#[test]
fn a_command_that_waits_for_a_place_and_then_for_the_provider_waits_once() {
    let Some(lab) = Lab::needing(&[]) else { return };
    // Answers one sign-in and no more.
    let signed_in = AtomicBool::new(false);
    let imap = Provider::imap(Some(&lab.certificates.good), move |visit, _, command| {
        if command.starts_with("AUTHENTICATE") && signed_in.swap(true, Ordering::SeqCst) {
            thread::sleep(Duration::from_secs(4));
        }
        match command.starts_with("APPEND") {
            true => visit.octets(1000).map(|_| true),
            false => Some(false),
        }
    });
    let mut bridge = Bridge::configured(&lab, "[limits]\nlanes-per-account = 1\n[timeouts]\nlogin-wait = \"2s\"\n");
    let alice = bridge.add_account(&AddAccount::at(&lab, [imap.port, 1], ALICE));
    bridge.serve();
    let (mut first, mut second) = (bridge.sign_in(&alice), bridge.sign_in(&alice));
    first.imap_ok("SELECT INBOX");
    // Within a message its lane is of use to nobody: the place is free, and another is opened.
    first.line("a APPEND INBOX {1000+}");
    let began = Instant::now();
    second.line("a SELECT INBOX");
    thread::sleep(Duration::from_millis(1200));
    drop(first);
    second.expect("a NO [UNAVAILABLE] ");
    let took = began.elapsed();
    assert!((Duration::from_millis(1900)..Duration::from_millis(2700)).contains(&took), "{took:?}");
}

#[test]
fn r19_silent_clients_keep_nobody_from_signing_in() {
    let Some(house) = House::start("") else { return };
    let alice = house.add(ALICE);
    house.bridge.sign_in(&alice);
    // Rule R19 has 200 that never speak; on the TLS port too, where each sits in its handshake.
    let ports = [house.bridge.imap, house.bridge.smtp, house.bridge.imaps];
    let watch = house.bridge.watch();
    let open = |port| TcpStream::connect(("127.0.0.1", port)).expect("connected");
    let mut silent: Vec<_> = (0..210).map(|n| open(ports[n % 3])).collect();
    for (n, client) in silent.iter_mut().enumerate().filter(|(n, _)| n % 3 != 2) {
        client.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        client.read_exact(&mut [0; 20]).unwrap_or_else(|error| panic!("client {n} is not greeted: {error}"));
    }
    thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    house.bridge.sign_in(&alice);
    let mut smtp = Wire::tls(house.bridge.smtps, &house.bridge.authority(), "localhost");
    smtp.expect("220");
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    // Rule R14: 64 KiB each.
    let growth = watch.growth("210 clients that never speak");
    assert!(growth < 210 * 64, "{growth} KiB");
}

#[test]
fn r19_sockets_return() {
    let Some(house) = House::start("") else { return };
    let alice = house.add(ALICE);
    // Of each kind a connection to the provider is kept.
    house.bridge.sign_in(&alice).imap_ok("LOGOUT");
    house.bridge.sign_in_smtp(&alice).smtp("QUIT", 221);
    let before = house.bridge.sockets();
    for n in 0..200 {
        match n % 5 {
            0 => drop(house.bridge.sign_in(&alice)),
            1 => drop(house.bridge.sign_in_smtp(&alice)),
            2 => drop(Wire::plain(house.bridge.imaps)),
            3 => drop(Wire::tls(house.bridge.imaps, &house.bridge.authority(), "localhost").next()),
            _ => drop(Wire::plain(house.bridge.imap)),
        }
    }
    let after = until(Duration::from_secs(10), || (house.bridge.sockets() <= before).then_some(()));
    assert!(after.is_some(), "{before} sockets before, {} after", house.bridge.sockets());
}

#[test]
fn idle_sessions_cost_no_time() {
    let Some(house) = House::start("") else { return };
    let alice = house.add(ALICE);
    let mut wires = Vec::new();
    for _ in 0..2 {
        wires.push(Wire::plain(house.bridge.imap));
        wires.push(Wire::tls(house.bridge.smtps, &house.bridge.authority(), "localhost"));
        let mut selected = house.bridge.sign_in(&alice);
        selected.imap_ok("SELECT INBOX");
        wires.push(selected);
        let mut half = house.bridge.sign_in(&alice);
        half.send(b"x APPEND Sent {100+}\r\nhalf of it");
        wires.push(half);
        wires.push(house.bridge.sign_in_smtp(&alice));
        // Said all that it has to say, and reads on: nothing may spin on its end.
        let closed = house.bridge.sign_in(&alice);
        closed.half_close();
        wires.push(closed);
    }
    thread::sleep(Duration::from_millis(300));
    let before = house.bridge.ticks();
    thread::sleep(Duration::from_secs(2));
    let ticks = house.bridge.ticks() - before;
    let _ = writeln!(std::io::stderr(), "12 idle sessions, 2 s: {} ms of the processor", ticks * 10);
    // The look for changes of the store has its share: some of its turns may cross a tick.
    assert!(ticks <= 2, "{ticks} ticks");
}
