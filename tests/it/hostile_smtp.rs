//! Hostile CRMs at the submission port: nothing is sent that was not sent, and what is sent is sent once (rules R7, R8,
//! R13, R25, R43).
//!
//! The provider of most tests is lax on purpose: it takes whatever any server was ever found to take for the end of a
//! message, so that a false end which passes the bridge is a message more.

use crate::harness::{AddAccount, Bridge, CrmSettings, Lab, PATIENCE, Provider, Visit, Wire, until};
use std::{
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

const ALICE: &str = "alice@ovh.test";

/// What some server took, or was said to take, for the end of a message that goes on: the tools and reports on SMTP
/// smuggling of 2023 and 2024, and each place of a CR, an LF and a NUL around the dot.
const FALSE_ENDS: [&[u8]; 24] = [
    b"\n.\n",
    b"\n.\r\n",
    b"\n.\r",
    b"\r.\r",
    b"\r.\r\n",
    b"\r.\n",
    b"\r\n.\n",
    b"\r\n.\rM",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\r.\r\n",
    b"\r\n.\n\r\n",
    b"\n\n.\r\n",
    b"\n\r.\r\n",
    b"\r\n\n.\n\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\0\n",
    b"\r\0\n.\r\n",
    b"\0\n.\n",
    b"\r\n\0.\0\r\n\0",
    b"\n\0.\n",
    b"\r.\0\r",
];

/// A server that finds an end of data wherever one was ever found, and what it has taken: envelope and text of each.
struct Lax {
    server: Provider,
    taken: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Lax {
    fn start(lab: &Lab) -> Self {
        let taken = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let kept = taken.clone();
        let server = Provider::start(Some(&lab.certificates.good), move |visit| {
            visit.say("220 lax ESMTP")?;
            loop {
                let line = visit.line()?;
                match line.split(' ').next().unwrap_or_default().to_ascii_uppercase().as_str() {
                    "EHLO" => visit.say("250-lax\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 AUTH PLAIN")?,
                    "AUTH" => visit.say("235 2.7.0 Signed in")?,
                    "DATA" => message(visit, &kept)?,
                    "QUIT" => return visit.say("221 2.0.0 Bye"),
                    _ => visit.say("250 2.0.0 Ok")?,
                }
            }
        });
        Self { server, taken }
    }

    /// The messages taken since the last time.
    fn taken(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut *self.taken.lock().expect("no test panicked in here"))
    }
}

/// Reads octet by octet to the first thing that is an end to somebody.
fn message(visit: &mut Visit, taken: &Mutex<Vec<Vec<u8>>>) -> Option<()> {
    visit.say("354 go")?;
    // What stands before the text is a line's end, too.
    let mut text = b"\r\n".to_vec();
    while !text.ends_with(b"\r\n.\r\n") && !FALSE_ENDS.iter().any(|end| text.ends_with(end)) {
        text.extend(visit.octets(1)?);
        // The start of the true end is a false one only where the true one does not come.
        if text.ends_with(b"\r\n.\r") {
            text.extend(visit.octets(1)?);
        }
    }
    taken.lock().expect("no test panicked in here").push(text);
    visit.say("250 2.0.0 Taken")
}

struct House {
    imap: Provider,
    lax: Lax,
    bridge: Bridge,
    crm: CrmSettings,
    _lab: Lab,
}

impl House {
    fn start(more: &[&str]) -> Option<Self> {
        let lab = Lab::needing(&[])?;
        let imap = Provider::imap(Some(&lab.certificates.good), |_, _, _| Some(false));
        let lax = Lax::start(&lab);
        let mut bridge = Bridge::prepare(&lab);
        let mut account = AddAccount::unchecked(&lab, &imap, &lax.server, ALICE).uncopied();
        account.more.extend(more.iter().map(|&flag| flag.to_owned()));
        let crm = bridge.add_account(&account);
        bridge.serve();
        Some(Self { imap, lax, bridge, crm, _lab: lab })
    }

    /// A session that may send octets of a message.
    fn in_data(&self) -> Wire {
        let mut wire = self.bridge.sign_in_smtp(&self.crm);
        wire.smtp("MAIL FROM:<alice@ovh.test>", 250);
        wire.smtp("RCPT TO:<bob@other.test>", 250);
        wire.smtp("DATA", 354);
        wire
    }

    fn sends_a_message(&self) {
        let mut wire = self.in_data();
        wire.line("Subject: honest\r\n\r\n..\r\nfour lines\r\n.");
        assert_eq!(wire.reply().0, 250);
        let taken = self.lax.taken();
        assert_eq!(taken, [b"\r\nSubject: honest\r\n\r\n..\r\nfour lines\r\n.\r\n".to_vec()]);
    }
}

/// What a smuggler puts behind a false end.
const FORGED: &[u8] = b"MAIL FROM:<forged@victim.test>\r\nRCPT TO:<forged@victim.test>\r\nDATA\r\nforged\r\n.\r\n";

#[test]
fn r07_a_false_end_of_data_sends_nothing() {
    let Some(house) = House::start(&[]) else { return };
    for end in FALSE_ENDS {
        for split in [false, true] {
            let what = format!("{}, {}", end.escape_ascii(), if split { "octet by octet" } else { "at once" });
            let mut wire = house.in_data();
            let octets = [b"Subject: x\r\n\r\nfirst", end, FORGED].concat();
            if split {
                // The bridge may have closed before the last of them.
                let _ = octets.chunks(1).all(|octet| wire.try_send(octet));
            } else {
                wire.try_send(&octets);
            }
            let (code, words) = wire.reply();
            assert!([550, 554].contains(&code), "{what}: {code} {words}");
            assert!(wire.rest().is_empty(), "{what}: nothing behind it is a command");
            // The lane is closed in the middle of the message, which is nothing to whoever reads to the end.
            assert_eq!(house.lax.taken(), Vec::<Vec<u8>>::new(), "{what}");
        }
    }
    house.sends_a_message();
    let heard = house.lax.server.heard();
    assert!(!heard.contains("forged") && !heard.contains('\0'), "{heard}");
    let bare = heard.replace("\r\n", "");
    assert!(!bare.contains('\r') && !bare.contains('\n'), "a CR or LF alone went to the provider");
}

#[test]
fn r07_the_start_of_a_message_is_no_better_place() {
    let Some(house) = House::start(&[]) else { return };
    for end in [&b".\n"[..], b".\r", b"\n.\n", b".\0\r\n", b"\0.\r\n", b"\r.\r\n"] {
        let mut wire = house.in_data();
        // An end of the line behind it, for what would else wait for its next octet.
        wire.try_send(&[end, b"\r\n", FORGED].concat());
        let (code, words) = wire.reply();
        assert_eq!(code, 550, "{}: {words}", end.escape_ascii());
        assert!(wire.rest().is_empty());
        assert_eq!(house.lax.taken(), Vec::<Vec<u8>>::new(), "{}", end.escape_ascii());
    }
    house.sends_a_message();
}

#[test]
fn r07_commands_cannot_be_smuggled_into_the_envelope() {
    let Some(house) = House::start(&[]) else { return };
    for line in [
        &b"MAIL FROM:<alice@ovh.test>\nRCPT TO:<forged@victim.test>\r\n"[..],
        b"MAIL FROM:<alice@ovh.test>\rRCPT TO:<forged@victim.test>\r\n",
        b"MAIL FROM:<alice@ovh.test\r\r\nRCPT TO:<forged@victim.test>\r\n",
        b"MAIL FROM:<alice@ovh.test>\0RCPT TO:<forged@victim.test>\r\n",
        b"MAIL FROM:<\"forged\rRCPT\"@victim.test>\r\n",
        b"EHLO x\nMAIL FROM:<forged@victim.test>\r\n",
    ] {
        let mut wire = house.bridge.sign_in_smtp(&house.crm);
        wire.send(line);
        let (code, words) = wire.reply();
        assert!((500..600).contains(&code), "{}: {code} {words}", line.escape_ascii());
    }
    let heard = house.lax.server.heard();
    assert!(!heard.contains("forged"), "{heard}");
    house.sends_a_message();
}

#[test]
fn r08_chunks_are_neither_offered_nor_taken() {
    let Some(house) = House::start(&[]) else { return };
    let mut wire = house.bridge.sign_in_smtp(&house.crm);
    let offered = wire.smtp("EHLO crm.test", 250);
    assert!(!offered.contains("CHUNKING") && !offered.contains("BINARYMIME"), "{offered}");
    wire.smtp("MAIL FROM:<alice@ovh.test>", 250);
    wire.smtp("RCPT TO:<bob@other.test>", 250);
    // Whoever does not wait for the answer has sent octets that are no commands: none of them is read.
    wire.send(&[b"BDAT 93 LAST\r\n", FORGED].concat());
    assert_eq!(wire.reply().0, 421);
    assert!(wire.rest().is_empty());
    assert_eq!(house.lax.taken(), Vec::<Vec<u8>>::new());
    let heard = house.lax.server.heard();
    assert!(!heard.contains("BDAT") && !heard.contains("forged"), "{heard}");
}

#[test]
fn r13_a_browser_at_a_mail_port_is_turned_away() {
    let Some(house) = House::start(&[]) else { return };
    let body = "a LOGIN alice secret\r\nMAIL FROM:<forged@victim.test>\r\n";
    for request in ["GET / HTTP/1.1", "POST / HTTP/1.1", "PUT /x HTTP/1.0", "OPTIONS * HTTP/1.1", "PRI * HTTP/2.0"] {
        let octets = format!("{request}\r\nHost: localhost\r\nContent-Type: text/plain\r\n\r\n{body}");
        for (port, last_word) in [(house.bridge.imap, "* BYE "), (house.bridge.smtp, "421 4.7.0 ")] {
            let mut wire = Wire::plain(port);
            wire.next();
            wire.try_send(octets.as_bytes());
            let said = String::from_utf8_lossy(&wire.rest()).into_owned();
            assert!(said.starts_with(last_word) && said.lines().count() == 1, "{request}: {said}");
        }
        for port in [house.bridge.imaps, house.bridge.smtps] {
            let mut wire = Wire::plain(port);
            wire.try_send(octets.as_bytes());
            // A TLS alert and nothing else: the first octet of its record is 21.
            let said = wire.rest();
            assert!(said.first() == Some(&21) && said.len() == 7, "{request}: {}", said.escape_ascii());
        }
    }
    assert_eq!((house.imap.visits(), house.lax.server.visits()), (0, 0));
}

#[test]
fn r25_an_address_that_is_not_the_accounts_sends_nothing() {
    let Some(house) = House::start(&[]) else { return };
    let mut wire = house.bridge.sign_in_smtp(&house.crm);
    for other in [
        "forged@victim.test",
        "alice@ovh.test@victim.test",
        "\"alice@ovh.test\"@victim.test",
        "alice@ovh.test.victim.test",
        "xalice@ovh.test",
        "alice%forged@ovh.test",
        "@victim.test:alice@ovh.test",
    ] {
        wire.line(&format!("MAIL FROM:<{other}>"));
        let (code, words) = wire.reply();
        // Not the account's; or no address at all.
        assert!(code == 550 && words.starts_with("5.7.1 ") || code == 501, "{other}: {code} {words}");
        // It may be the CRM's setting: the session goes on.
        wire.smtp("RCPT TO:<bob@other.test>", 503);
        wire.smtp("RSET", 250);
    }
    let heard = house.lax.server.heard();
    assert!(!heard.contains("victim.test") && !heard.contains("MAIL"), "{heard}");
    wire.smtp("MAIL FROM:<ALICE@OVH.test>", 250);
    wire.smtp("RSET", 250);
    house.sends_a_message();
}

#[test]
fn r43_a_client_that_goes_in_a_message_sends_nothing() {
    let Some(house) = House::start(&[]) else { return };
    let begun = "Subject: half\r\n\r\n";
    for ending in ["", "half a line", "a line\r\n", "a line\r", "\r\n.", "\r\n.\r", "..\r\n", "\r\n..\r\n."] {
        for abrupt in [false, true] {
            let before = house.lax.server.heard().len();
            let mut wire = house.in_data();
            wire.send(format!("{begun}{ending}").as_bytes());
            if abrupt {
                drop(wire);
            } else {
                wire.half_close();
                assert!(!String::from_utf8_lossy(&wire.rest()).contains("250"), "{ending:?}");
            }
            // What did come has gone on, and the lane with it: nobody else writes into this message.
            let gone_on = || house.lax.server.heard()[before..].contains("Subject: half").then_some(());
            assert!(until(PATIENCE, gone_on).is_some(), "{ending:?}");
            house.sends_a_message();
        }
    }
    thread::sleep(Duration::from_millis(100));
    assert_eq!(house.lax.taken(), Vec::<Vec<u8>>::new());
}
