//! Messages that cost whoever looks into them: MIME bombs, each fetched from the engine, which parses, and through the
//! bridge before it, which does not (rule R20).

use crate::{
    engine::{PASSWORD, USER, access},
    harness::{AddAccount, Bridge, Lab, Wire},
};
use passerelle::{
    engine::{memory::Memory, source::Flags},
    model::RemoteName,
};
use std::{
    fmt::Write as _,
    io::Write as _,
    time::{Duration, Instant},
};

/// Rule R20.
const FETCH_MAX: Duration = Duration::from_secs(15);
/// Rule R15's bound of 16 MB, in KiB.
const GROWTH_MAX: u64 = 16_000_000 / 1024;
/// Parentheses in each other: rule R20's 50 levels, each a message in a multipart, and an address list in the last.
const NESTING_MAX: usize = 2 * 50 + 10;
/// Parts of a structure that is told: rule R20.
const PARTS_MAX: usize = 1_000;

/// A message that is text once its header is read.
fn text(header: &str) -> String {
    format!("{header}\r\nSubject: bomb\r\n\r\ntext\r\n")
}

fn mixed(boundary: &str, body: &str) -> String {
    format!("Subject: bomb\r\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n{body}")
}

/// Each is a kind of its own; where one grows with a number, that is what made some parser slow or deep.
fn bombs() -> Vec<(&'static str, String)> {
    let nested = |level: usize| format!("Content-Type: multipart/mixed; boundary=b{level}\r\n\r\n--b{level}\r\n");
    let alike = |level: usize| {
        let boundary = "a".repeat(level);
        format!("Content-Type: multipart/mixed; boundary={boundary}\r\n\r\n--{boundary}\r\n")
    };
    let never = |part: usize| format!("--b\r\nContent-Type: multipart/mixed; boundary=n{part}\r\n\r\n");
    let continued = |what: &str, count: usize| {
        (0..count).fold(String::new(), |mut all, number| {
            write!(all, ";\r\n {what}*{number}=\"x\"").expect("a string");
            all
        })
    };
    let many = |count: usize, part: &dyn Fn(usize) -> String| (0..count).map(part).collect::<String>();
    let dashes = "-".repeat(500_000);
    vec![
        ("multiparts in each other", many(20_000, &nested)),
        ("messages in each other", "Content-Type: message/rfc822\r\n\r\n".repeat(20_000)),
        ("digests in each other", "Content-Type: multipart/digest; boundary=d\r\n\r\n--d\r\n\r\n".repeat(20_000)),
        ("100,000 parts", mixed("b", &"--b\r\n\r\nx\r\n".repeat(100_000))),
        ("50,000 parts whose parts never begin", mixed("b", &many(50_000, &never))),
        ("an empty boundary", mixed("", &"--\r\n\r\nx\r\n".repeat(100_000))),
        ("boundaries that begin another", many(1_000, &|level| alike(level + 1))),
        ("a boundary as long as the body", mixed(&dashes, &format!("{dashes}{dashes}\r\n").repeat(4))),
        ("a body of beginnings of delimiters", mixed(&"--".repeat(35), &dashes.repeat(16))),
        ("a header line of 8 MB", text(&format!("To: {}", "a@b.test, ".repeat(800_000)))),
        ("1,000,000 header lines", text(&format!("{}A: b", "To: a\r\n".repeat(1_000_000)))),
        ("continuations without an end", text(&format!("Content-Type: text/plain{}", continued("name", 100_000)))),
        (
            "a boundary of continuations",
            text(&format!("Content-Type: multipart/mixed{}", continued("boundary", 50_000))),
        ),
        ("encoded words without an end", text(&format!("From: {0}\r\nX: {0}", "=?ab?q?".repeat(60_000)))),
        ("comments without an end", text(&format!("To: {0}\r\nContent-Type: text/{0}", "(".repeat(400_000)))),
        ("quoted strings without an end", text(&format!("Cc: {}\r\nContent-Type: text/\"x", "\"\\".repeat(400_000)))),
        ("groups in groups", text(&format!("To: {}", "g: a@b, ".repeat(100_000)))),
        (
            "base64 of nonsense",
            text("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64") + &"=!A".repeat(2_000_000),
        ),
    ]
}

/// All of it, over the engine's own port and through the bridge; then the same connection is as good as before.
#[test]
fn r20_mime_bombs_are_fetched_in_time() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let bombs = bombs();
    assert!(bombs.len() >= 11);
    let memory = Memory::new(b'.', 1);
    let inbox = RemoteName::parse(b"INBOX").expect("a name");
    for (_, octets) in &bombs {
        memory.deliver(&inbox, octets.as_bytes(), Flags::new(), 0).expect("there is room");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let good = &lab.certificates.good;
    let tls = passerelle::local_tls::server_config(&good.certificate, &good.key).expect("a certificate");
    let engine = runtime.block_on(access(memory, tokio_rustls::TlsAcceptor::from(tls)));

    let mut bridge = Bridge::prepare(&lab);
    let password = PASSWORD.to_owned();
    let crm = bridge.add_account(&AddAccount { password, ..AddAccount::at(&lab, [engine, 1], USER) });
    bridge.serve();
    let mut direct = Wire::tls(engine, &lab.certificates.ca, "localhost");
    direct.expect("* OK");
    direct.imap_ok(&format!("LOGIN {USER} {PASSWORD}"));
    let mut through = bridge.sign_in(&crm);
    for wire in [&mut direct, &mut through] {
        wire.imap_ok("SELECT INBOX");
    }
    let watch = bridge.watch();
    for (at, (name, octets)) in bombs.iter().enumerate() {
        let told = [&mut direct, &mut through].map(|wire| fetched(wire, at + 1, name, octets));
        assert_eq!(told[0], told[1], "{name}: the bridge tells it otherwise");
    }
    for wire in [&mut direct, &mut through] {
        let began = Instant::now();
        assert_eq!(wire.imap_ok("SEARCH TEXT \"nowhere at all\"").text().trim(), "* SEARCH");
        let took = began.elapsed();
        assert!(took < FETCH_MAX, "{took:?} for a search of all of them");
    }
    let growth = watch.growth("MIME bombs");
    assert!(growth < GROWTH_MAX, "memory grew by {growth} KiB");
    runtime.shutdown_background();
}

/// Fetches a message in every way, and gives what was told of its structure.
fn fetched(wire: &mut Wire, number: usize, name: &str, octets: &str) -> Vec<u8> {
    let mut slowest = Duration::ZERO;
    let mut timed = |command: &str| {
        let began = Instant::now();
        let answer = wire.imap_ok(command);
        let took = began.elapsed();
        assert!(took < FETCH_MAX, "{name}: {took:?} for {command}");
        slowest = slowest.max(took);
        answer.untagged.concat()
    };
    let structure = timed(&format!("FETCH {number} (BODYSTRUCTURE)"));
    let envelope = timed(&format!("FETCH {number} (ENVELOPE)"));
    let body = timed(&format!("FETCH {number} BODY.PEEK[]"));
    timed(&format!("FETCH {number} (BODY.PEEK[1.1.1.1.1.1.MIME] BODY.PEEK[HEADER.FIELDS (To Subject)])"));
    timed(&format!("FETCH {number} FLAGS"));
    for told in [&structure, &envelope] {
        let (deepest, opened) = parentheses(told);
        assert!(deepest <= NESTING_MAX, "{name}: {deepest} levels");
        assert!(opened <= 10 * PARTS_MAX || told == &envelope, "{name}: {opened} lists");
        assert!(told.len() <= 3 * octets.len() + 1_000, "{name}: {} octets of it", told.len());
    }
    let end = body.len() - 1;
    assert!(&body[end - octets.len()..end] == octets.as_bytes(), "{name}: other octets");
    let _ = writeln!(std::io::stderr(), "{name}: {slowest:?} at most");
    structure
}

/// How deep lists are in each other, outside of strings, and how many there are.
fn parentheses(told: &[u8]) -> (usize, usize) {
    let (mut depth, mut deepest, mut opened) = (0_usize, 0, 0);
    let (mut quoted, mut escaped) = (false, false);
    for octet in told {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'(' if !quoted => {
                depth += 1;
                opened += 1;
                deepest = deepest.max(depth);
            }
            b')' if !quoted => depth = depth.checked_sub(1).expect("a list that was opened"),
            _ => {}
        }
    }
    assert!(depth == 0 && !quoted, "a list or a string without its end");
    (deepest, opened)
}
