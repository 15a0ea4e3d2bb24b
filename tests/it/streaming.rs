//! Messages and answers of any size pass in constant memory, and a slow reader slows its own session only.
//!
//! Memory is what /proc says of the bridge: anonymous, looked at every 10 ms, against what it was after a first session
//! had touched the same code.

use crate::harness::{AddAccount, Bridge, CrmSettings, Dovecot, Exim, Lab, PATIENCE, Program, Provider, Wire, until};
use std::time::{Duration, Instant};

const ALICE: &str = "alice@ovh.test";
const BOB: &str = "bob@ovh.test";

/// The bound of 4 MB, in KiB.
const GROWTH_MAX: u64 = 4_000_000 / 1024;
/// Rule R17's bound of 32 MB while a client does not read.
const STALLED_GROWTH_MAX: u64 = 32_000_000 / 1024;
const HEAD: &[u8] = b"Subject: large\r\n\r\n";

/// APPENDs a message of `octets` in all.
fn append(wire: &mut Wire, octets: usize, synchronising: bool) {
    let plus = if synchronising { "" } else { "+" };
    let tag = wire.next_tag();
    wire.line(&format!("{tag} APPEND Sent (\\Seen) {{{octets}{plus}}}"));
    if synchronising {
        wire.expect("+");
    }
    wire.send(HEAD);
    wire.send_lines(octets - HEAD.len());
    wire.line("");
    let answer = wire.answer(&tag);
    assert!(answer.is_ok(), "{}", answer.tagged);
}

/// FETCHes a message and compares each octet with what [`append`] sent.
fn fetch(wire: &mut Wire, number: u32, octets: usize) {
    let tag = wire.next_tag();
    wire.line(&format!("{tag} FETCH {number} BODY.PEEK[]"));
    let line = wire.next();
    assert_eq!(line, format!("* {number} FETCH (BODY[] {{{octets}}}"));
    assert_eq!(wire.octets(HEAD.len()), HEAD);
    wire.expect_lines(octets - HEAD.len());
    assert_eq!(wire.next(), ")");
    assert!(wire.answer(&tag).is_ok());
}

#[test]
fn a_message_of_100_mb_is_stored_and_read_in_4_mb() {
    const OCTETS: usize = 100_000_000;
    let Some(lab) = Lab::needing(&[Program::Dovecot]) else { return };
    let dovecot = Dovecot::ovh(&lab);
    dovecot.add_user(ALICE, "hunter2");
    let mut bridge = Bridge::prepare(&lab);
    let crm = bridge.add_account(&AddAccount::at(&lab, [dovecot.imaps, 1], ALICE));
    bridge.serve();
    let session = |octets, first| {
        let mut wire = bridge.sign_in(&crm);
        for (number, synchronising) in [(first, true), (first + 1, false)] {
            append(&mut wire, octets, synchronising);
            // A copy that takes the provider longer than two seconds is kept by the bridge, and filed behind the OK.
            let stands = until(PATIENCE, || (dovecot.count(ALICE, "INBOX.Sent") >= number).then_some(()));
            stands.expect("the copy stands in Sent");
            wire.imap_ok("SELECT Sent");
            fetch(&mut wire, number, octets);
        }
        wire.imap_ok("LOGOUT");
    };
    session(1_000_000, 1);
    let (watch, start) = (bridge.watch(), Instant::now());
    session(OCTETS, 3);
    let growth = watch.growth(&format!("APPEND and FETCH of 100 MB, twice, {:?}", start.elapsed()));
    assert!(growth < GROWTH_MAX, "{growth} KiB");
    assert_eq!(dovecot.count(ALICE, "INBOX.Sent"), 4);
}

#[test]
fn a_message_of_30_mb_is_sent_in_4_mb() {
    const OCTETS: usize = 30_000_000;
    let Some(lab) = Lab::needing(&[Program::Dovecot, Program::Exim]) else { return };
    let dovecot = Dovecot::ovh(&lab);
    dovecot.add_user(ALICE, "hunter2");
    dovecot.add_user(BOB, "hidden");
    let exim = Exim::submission(&lab, &dovecot);
    let mut bridge = Bridge::prepare(&lab);
    let crm = bridge.add_account(&AddAccount::at(&lab, [dovecot.imaps, exim.submissions], ALICE));
    bridge.serve();
    let send = |octets: usize| {
        let mut wire = bridge.sign_in_smtp(&crm);
        wire.smtp("MAIL FROM:<alice@ovh.test>", 250);
        wire.smtp("RCPT TO:<bob@ovh.test>", 250);
        wire.smtp("DATA", 354);
        wire.send(HEAD);
        wire.send_lines(octets - HEAD.len());
        wire.send(b"\r\n.\r\n");
        let (code, words) = wire.reply();
        assert_eq!(code, 250, "{words}");
        wire.smtp("QUIT", 221);
    };
    send(1_000_000);
    let (watch, start) = (bridge.watch(), Instant::now());
    send(OCTETS);
    let growth = watch.growth(&format!("DATA of 30 MB, {:?}", start.elapsed()));
    assert!(growth < GROWTH_MAX, "{growth} KiB");
    let arrived = until(PATIENCE, || (dovecot.count(BOB, "INBOX") == 2).then_some(()));
    assert!(arrived.is_some(), "{}", exim.log());
    let mut wire = dovecot.sign_in(BOB);
    wire.imap_ok("EXAMINE INBOX");
    let sizes = wire.imap_ok("FETCH 1:2 RFC822.SIZE").text();
    let size = |text: &str| text.split("RFC822.SIZE ").nth(1)?.split([' ', ')']).next()?.parse::<usize>().ok();
    let largest = sizes.lines().filter_map(size).max().expect("a size");
    // Exim adds a few header lines, and the end mark's CR LF belongs to the message.
    assert!((OCTETS..OCTETS + 2000).contains(&largest), "{largest} octets arrived");
}

/// A provider with three answers of many octets, each as one line or literal, and a bridge with an account there.
struct Large {
    provider: Provider,
    bridge: Bridge,
    crm: CrmSettings,
    _lab: Lab,
}

/// 200,000 numbers in one line: 1.3 MB.
fn search_line() -> String {
    (1..=200_000).fold("* SEARCH".to_owned(), |line, number| line + " " + &number.to_string())
}

/// An ENVELOPE of 300 kB: a letter to 7,000 people.
fn envelope_line() -> String {
    let people: String =
        (0..7_000).map(|n| format!("(\"Person {n:05} {{3}}\" NIL \"p{n:05}\" \"example.test\")")).collect();
    let line = format!(
        "* 1 FETCH (ENVELOPE (\"Mon, 4 Mar 2024 05:06:08 +0100\" \"All of us \\\"\" NIL NIL NIL ({people}) NIL NIL NIL \"<1@x>\"))"
    );
    assert!(line.len() > 300_000);
    line
}

const FLOOD: usize = 120_000_000;

impl Large {
    fn start() -> Option<Self> {
        let lab = Lab::needing(&[])?;
        let (search, envelope) = (search_line(), envelope_line());
        let provider = Provider::imap(Some(&lab.certificates.good), move |visit, tag, command| {
            match command {
                "SEARCH ALL" => visit.say(&search)?,
                "FETCH 1 ENVELOPE" => visit.say(&envelope)?,
                "FETCH 1 BODY.PEEK[]" => {
                    visit.say(&format!("* 1 FETCH (BODY[] {{{FLOOD}}}"))?;
                    let block = vec![b'x'; 1_000_000];
                    for _ in 0..FLOOD / block.len() {
                        visit.send(&block)?;
                    }
                    visit.say(")")?;
                }
                _ => return Some(false),
            }
            visit.say(&format!("{tag} OK done"))?;
            Some(true)
        });
        let mut bridge = Bridge::prepare(&lab);
        let crm = bridge.add_account(&AddAccount::at(&lab, [provider.port, 1], ALICE));
        bridge.serve();
        Some(Self { provider, bridge, crm, _lab: lab })
    }

    fn select(&self) -> Wire {
        let mut wire = self.bridge.sign_in(&self.crm);
        wire.imap_ok("SELECT INBOX");
        wire
    }
}

#[test]
fn answers_of_one_long_line_pass_octet_for_octet_in_4_mb() {
    let Some(large) = Large::start() else { return };
    large.select().imap_ok("SEARCH ALL");
    let mut wire = large.select();
    let (watch, start) = (large.bridge.watch(), Instant::now());
    for (command, line) in [("SEARCH ALL", search_line()), ("FETCH 1 ENVELOPE", envelope_line())] {
        for _ in 0..5 {
            let answer = wire.imap_ok(command);
            assert_eq!(answer.untagged.len(), 1);
            assert!(answer.untagged[0] == line.as_bytes(), "{command}: the line differs");
        }
    }
    let growth = watch.growth(&format!("lines of 1.3 MB and 300 kB, {:?}", start.elapsed()));
    assert!(growth < GROWTH_MAX, "{growth} KiB");
}

#[test]
fn r17_a_client_that_stops_reading_stops_its_provider_and_nobody_else() {
    let Some(large) = Large::start() else { return };
    let mut bystander = large.select();
    let mut stalled = large.select();
    let (watch, before) = (large.bridge.watch(), large.provider.said());
    let tag = stalled.next_tag();
    stalled.line(&format!("{tag} FETCH 1 BODY.PEEK[]"));
    // Until nothing moves any more: what went out fills buffers of the kernel.
    let mut last = (before, Instant::now());
    let stuck = until(PATIENCE, || {
        let said = large.provider.said();
        if said != last.0 {
            last = (said, Instant::now());
        }
        (said > before && last.1.elapsed() > Duration::from_millis(500)).then_some(said - before)
    });
    let stuck = stuck.expect("the provider is stopped");
    assert!(stuck < FLOOD as u64 / 2, "{stuck} octets were taken that nobody reads");
    let start = Instant::now();
    for _ in 0..10 {
        bystander.imap_ok("NOOP");
    }
    bystander.imap_ok("SEARCH ALL");
    assert!(start.elapsed() < Duration::from_millis(2500), "the bystander waited {:?}", start.elapsed());
    let growth = watch.growth(&format!("a client that does not read, {stuck} octets under way"));
    assert!(growth < STALLED_GROWTH_MAX, "{growth} KiB");
    // And it goes on where it stopped.
    stalled.expect("* 1 FETCH (BODY[] {120000000}");
    stalled.swallow(FLOOD as u64);
    assert_eq!(stalled.next(), ")");
    assert!(stalled.answer(&tag).is_ok());
}
