//! Many clients, and clients that say too much: what they cost, what they are told, and what they leave to others (rules
//! R14 and R19; R17 stands with `streaming`).
//!
//! Memory is what /proc says of the bridge. It must not depend on who reads it when: each figure is taken once all
//! clients were served, and the most that was seen counts.

use crate::harness::{AddAccount, Bridge, CrmSettings, Lab, PATIENCE, Provider, Wire, until};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    time::{Duration, Instant},
};

const ALICE: &str = "alice@lab.test";
const BOB: &str = "bob@lab.test";

/// Rule R14: anonymous memory of a client that has not signed in, in KiB.
const EACH_MAX: u64 = 64;
/// Rule R14: of a thousand of them, in KiB.
const THOUSAND_MAX: u64 = 64_000_000 / 1024;
/// Rule R19: within which time descriptors are back.
const DESCRIPTORS_BACK: Duration = Duration::from_secs(10);
/// What a thousand clients and as many places of the bridge need, with room for the tests beside this one.
const DESCRIPTORS: u32 = 4096;

struct House {
    imap: Provider,
    smtp: Provider,
    bridge: Bridge,
    lab: Lab,
}

impl House {
    fn start(configuration: &str) -> Option<Self> {
        raise_descriptors();
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
}

/// Raises this process's soft limit, which the bridge inherits: 1024 is usual, and both ends of each client count.
fn raise_descriptors() {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("Linux tells of its processes");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit of files");
    let soft = line.split_whitespace().nth(3).and_then(|soft| soft.parse::<u32>().ok());
    if soft.is_none_or(|soft| soft >= DESCRIPTORS) {
        return;
    }
    let flags = [format!("--pid={}", std::process::id()), format!("--nofile={DESCRIPTORS}:")];
    let raised = Command::new("prlimit").args(&flags).status();
    assert!(raised.is_ok_and(|status| status.success()), "ulimit -n is {line}, and cannot be raised to {DESCRIPTORS}");
}

/// A client that has said this and no more, greeted before.
fn half(port: u16, said: &[u8]) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    client.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let mut greeting = [0; 512];
    let read = client.read(&mut greeting).expect("a greeting");
    assert!(greeting[..read].starts_with(b"* OK") || greeting[..read].starts_with(b"220 "), "turned away");
    client.write_all(said).expect("taken");
    client
}

#[test]
fn r14_a_thousand_clients_before_login_take_less_than_64_mb() {
    const CLIENTS: usize = 1000;
    let Some(house) = House::start("[limits]\nconnections = 1100\nbefore-login = 1050\n") else { return };
    let alice = house.add(ALICE);
    house.bridge.sign_in(&alice).imap_ok("LOGOUT");
    house.bridge.sign_in_smtp(&alice).smtp("QUIT", 221);
    let (imap, smtp) = (house.bridge.imap, house.bridge.smtp);
    // The longest that each may say without having said a whole command.
    let line = [b"a LOGIN ", "x".repeat(8 * 1024 - 8).as_bytes()].concat();
    let literal = [b"a LOGIN {4096+}\r\n", "x".repeat(4095).as_bytes()].concat();
    let auth = [b"AUTH PLAIN ", "A".repeat(12_288 - 11).as_bytes()].concat();
    let forms: [(u16, &[u8]); 6] =
        [(imap, b""), (imap, &line), (imap, &literal), (smtp, b""), (smtp, &auth), (smtp, &auth)];
    let sockets = house.bridge.sockets();
    let watch = house.bridge.watch();
    let mut clients = Vec::new();
    for n in 0..CLIENTS {
        let (port, said) = forms[n % forms.len()];
        clients.push(half(port, said));
    }
    let open = until(PATIENCE, || (house.bridge.sockets() >= CLIENTS).then_some(()));
    assert!(open.is_some(), "{} sockets", house.bridge.sockets());
    // And there is room for whoever signs in: his are the first octets that come after all theirs.
    let began = Instant::now();
    house.bridge.sign_in(&alice);
    let took = began.elapsed();
    let growth =
        watch.growth(&format!("{CLIENTS} clients before login, two thirds within a line; a login took {took:?}"));
    assert!(growth < THOUSAND_MAX, "{growth} KiB");
    assert!(growth < CLIENTS as u64 * EACH_MAX, "{growth} KiB");
    assert!(took < Duration::from_secs(1), "{took:?}");
    drop(clients);
    let began = Instant::now();
    let is_back = until(DESCRIPTORS_BACK, || (house.bridge.sockets() <= sockets).then_some(()));
    let _ = writeln!(std::io::stderr(), "descriptors of {CLIENTS} clients are back after {:?}", began.elapsed());
    assert!(is_back.is_some(), "{sockets} sockets before, {} after", house.bridge.sockets());
}

#[test]
fn r14_clients_over_tls_take_less_than_twice_that() {
    const CLIENTS: usize = 200;
    let Some(house) = House::start("") else { return };
    let authority = house.bridge.authority();
    let open = |n: usize| {
        let (port, greeting) =
            if n.is_multiple_of(2) { (house.bridge.imaps, "* OK") } else { (house.bridge.smtps, "220 ") };
        let mut wire = Wire::tls(port, &authority, "localhost");
        wire.expect(greeting);
        wire.send(b"a half of a line");
        wire
    };
    drop([open(0), open(1)]);
    let watch = house.bridge.watch();
    let clients: Vec<_> = (0..CLIENTS).map(open).collect();
    let growth = watch.growth(&format!("{CLIENTS} clients over TLS before login"));
    let _ = writeln!(std::io::stderr(), "over TLS a client before login takes {} KiB", growth / CLIENTS as u64);
    // TLS keeps its keys and a record each way.
    assert!(growth < CLIENTS as u64 * 2 * EACH_MAX, "{growth} KiB");
    drop(clients);
}

/// What IMAP says to a client that says this, and whether it closes then.
fn told(house: &House, said: &[u8]) -> String {
    let mut wire = Wire::plain(house.bridge.imap);
    wire.expect("* OK");
    assert!(wire.try_send(said));
    String::from_utf8_lossy(&wire.rest()).into_owned()
}

#[test]
fn r14_what_is_too_much_before_login_is_refused_before_it_was_read() {
    let Some(house) = House::start("[timeouts]\nbefore-login = \"5s\"\n") else { return };
    let long = "x".repeat(8 * 1024 + 1);
    // No line ends here: the octet that is too much is what is refused.
    let line = told(&house, format!("a LOGIN {long}").as_bytes());
    assert!(line.contains("BYE") && line.contains("The line is too long"), "{line}");
    let mut wire = Wire::plain(house.bridge.imap);
    wire.expect("* OK");
    // A literal is refused by its announcement, one alone or all together.
    for (command, start) in [("a LOGIN {8193}", "a BAD"), ("b LOGIN {4294967296}", "b BAD")] {
        wire.line(command);
        wire.expect(start);
    }
    let mut wire = Wire::plain(house.bridge.imap);
    wire.expect("* OK");
    for part in ["a LOGIN {4000}", &format!("{} {{4000}}", "x".repeat(4000))] {
        wire.line(part);
        wire.expect("+ ");
    }
    wire.line(&format!("{} {{200}}", "x".repeat(4000)));
    wire.expect("a BAD ");
    // What is sent without waiting cannot be told from commands any more.
    let unasked = told(&house, b"a LOGIN {8193+}\r\n");
    assert!(unasked.contains("The literal is too large"), "{unasked}");
    // Nesting.
    let mut wire = Wire::plain(house.bridge.imap);
    wire.expect("* OK");
    let nested = |deep: usize| format!("ID {}{}", "(".repeat(deep), ")".repeat(deep));
    wire.imap_ok(&nested(16));
    assert!(wire.imap(&nested(17)).tagged.starts_with("BAD "));
    // SMTP, in a command and in a proof.
    for said in [format!("EHLO {long}\r\n"), format!("AUTH PLAIN {}", "A".repeat(12_278))] {
        let mut wire = Wire::plain(house.bridge.smtp);
        wire.expect("220 ");
        assert!(wire.try_send(said.as_bytes()));
        let rest = String::from_utf8_lossy(&wire.rest()).into_owned();
        assert!(rest.starts_with("421 4.7.0 The line is too long"), "{rest}");
    }
}

#[test]
fn r19_one_account_leaves_places_to_others() {
    let Some(house) = House::start("[limits]\nsessions-per-account = 3\n") else { return };
    let (alice, bob) = (house.add(ALICE), house.add(BOB));
    let mut seated = [house.bridge.sign_in(&alice), house.bridge.sign_in(&alice)].map(Some);
    let _sends = house.bridge.sign_in_smtp(&alice);
    let try_imap = || {
        let mut wire = Wire::plain(house.bridge.imap);
        wire.expect("* OK");
        wire.imap(&alice.imap_login()).tagged
    };
    let said = try_imap();
    assert!(said.starts_with("NO [LIMIT] Too many connections are signed in to this account"), "{said}");
    let mut smtp = Wire::plain(house.bridge.smtp);
    smtp.expect("220");
    smtp.smtp("EHLO crm.test", 250);
    let words = smtp.smtp(&alice.smtp_auth(), 421);
    assert!(words.starts_with("4.3.2 Too many connections"), "{words}");
    // Others do not notice, nor those that are in.
    house.bridge.sign_in(&bob).imap_ok("NOOP");
    seated[0].as_mut().expect("signed in").imap_ok("NOOP");
    // A seat is free again once its session has ended, without a word too.
    seated[0] = None;
    let seat = until(PATIENCE, || try_imap().starts_with("OK").then_some(()));
    assert!(seat.is_some(), "{}", house.bridge.log());
}
