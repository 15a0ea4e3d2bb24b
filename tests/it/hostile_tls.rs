//! Who stands between the bridge and its peers: nothing from before a handshake survives it, and old TLS is refused
//! (rules R1, R3, R5, R6). Whose certificate is believed, and STARTTLS that is meddled with, stand in `certificates`.

use crate::harness::{AddAccount, Bridge, IMAP_CAPABILITIES, Lab, PATIENCE, Provider, Wire, until, words};
use std::{
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

const ALICE: &str = "alice@ovh.test";

/// A bridge that serves, with an account of which no provider knows.
fn serving(lab: &Lab) -> (Bridge, [Provider; 2]) {
    let good = &lab.certificates.good;
    let doubles = [Provider::imap(Some(good), |_, _, _| Some(false)), Provider::smtp(Some(good))];
    let mut bridge = Bridge::prepare(lab);
    bridge.add_account(&AddAccount::unchecked(lab, &doubles[0], &doubles[1], ALICE));
    bridge.serve();
    (bridge, doubles)
}

#[test]
fn r01_no_port_of_ours_changes_to_tls_in_the_middle() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let (bridge, _doubles) = serving(&lab);
    // Clients upgrade by themselves wherever it is offered, and then do not believe our certificate.
    let mut imap = Wire::plain(bridge.imap);
    let offered = imap.expect("* OK") + &imap.imap_ok("CAPABILITY").text();
    assert!(!offered.contains("STARTTLS"), "{offered}");
    // What is laid behind it is read as what it is: a command in the clear, no answer of which is inside TLS.
    imap.send(b"a STARTTLS\r\nb NOOP\r\n");
    imap.expect("a BAD ");
    imap.expect("b OK ");
    let mut smtp = Wire::plain(bridge.smtp);
    smtp.expect("220 ");
    let offered = smtp.smtp("EHLO crm.test", 250);
    assert!(!offered.contains("STARTTLS"), "{offered}");
    smtp.send(b"STARTTLS\r\nNOOP\r\n");
    assert_eq!(smtp.reply().0, 502);
    assert_eq!(smtp.reply().0, 250);
}

#[test]
fn r01_commands_in_clear_at_a_tls_port_are_not_answered() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let (bridge, doubles) = serving(&lab);
    for port in [bridge.imaps, bridge.smtps] {
        for octets in ["a NOOP\r\nb LOGOUT\r\n", "EHLO x\r\nQUIT\r\n", "\r\n", "\u{16}\u{3}\u{1}\u{0}\u{5}NOOP\r\n"] {
            let mut wire = Wire::plain(port);
            wire.try_send(octets.as_bytes());
            let said = wire.rest();
            // An alert of TLS (21), fatal (2), or nothing at all.
            assert!(said.is_empty() || said[0] == 21 && said.len() == 7, "{octets:?}: {}", said.escape_ascii());
        }
        // In one packet with the handshake's first octets, which then are not where they must be.
        let mut wire = Wire::plain(port);
        wire.try_send(b"NOOP\r\n\x16\x03\x01");
        assert!(!wire.rest().windows(2).any(|octets| octets == b"OK"));
    }
    assert!(doubles.iter().all(|double| double.visits() == 0));
}

#[test]
fn r03_a_session_that_is_signed_in_already_gets_no_credential() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let good = &lab.certificates.good;
    let bridge = Bridge::prepare(&lab);
    // As whom, nobody knows: inside TLS it is no better than before.
    let imap = Provider::start(Some(good), |visit| {
        visit.say(&format!("* PREAUTH [CAPABILITY {IMAP_CAPABILITIES}] welcome"))?;
        visit.imap(&|_, _, _| Some(false))
    });
    let smtp = Provider::smtp(Some(good));
    let account = AddAccount::unchecked(&lab, &imap, &smtp, ALICE).checked();
    let output = bridge.try_add_account(&account);
    assert_eq!(output.status.code(), Some(4), "{}", words(&output));
    assert_eq!(imap.heard(), "");
}

#[test]
fn r05_what_was_announced_before_tls_is_forgotten() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let certificate = [lab.certificates.good.clone(), lab.certificates.good.clone()];
    let [one, other] = certificate;
    // Before TLS all that a bridge could wish; inside it the least.
    let imap = Provider::start(None, move |visit| {
        visit.say(&format!("* OK [CAPABILITY {IMAP_CAPABILITIES} STARTTLS XOAUTH2] ready"))?;
        let line = visit.line()?;
        visit.say(&format!("{} OK go", line.split(' ').next()?))?;
        visit.secure(&one)?;
        visit.imap(&|visit, tag, command| match command.split(' ').next()? {
            "CAPABILITY" => {
                visit.say(&format!("* CAPABILITY IMAP4rev1\r\n{tag} OK done"))?;
                Some(true)
            }
            "LOGIN" => {
                visit.say(&format!("{tag} OK signed in"))?;
                Some(true)
            }
            "AUTHENTICATE" => {
                visit.say(&format!("{tag} BAD not offered"))?;
                Some(true)
            }
            _ => Some(false),
        })
    });
    let smtp = Provider::start(None, move |visit| {
        visit.say("220 double")?;
        visit.line()?;
        visit.say("250-double\r\n250-STARTTLS\r\n250-PIPELINING\r\n250-SIZE 77\r\n250 AUTH PLAIN")?;
        visit.line()?;
        visit.say("220 go")?;
        visit.secure(&other)?;
        loop {
            let line = visit.line()?;
            match line.split(' ').next().unwrap_or_default() {
                "EHLO" => visit.say("250-double\r\n250 AUTH LOGIN")?,
                "AUTH" if line.starts_with("AUTH LOGIN") => {
                    if line == "AUTH LOGIN" {
                        visit.say("334 VXNlcm5hbWU6")?;
                        visit.line()?;
                    }
                    visit.say("334 UGFzc3dvcmQ6")?;
                    visit.line()?;
                    visit.say("235 2.7.0 Signed in")?;
                }
                "AUTH" => visit.say("504 5.5.4 not offered")?,
                "QUIT" => return visit.say("221 2.0.0 Bye"),
                _ => visit.say("250 2.0.0 Ok")?,
            }
        }
    });
    let mut bridge = Bridge::prepare(&lab);
    let account = AddAccount {
        imap_security: "starttls",
        smtp_security: "starttls",
        ..AddAccount::unchecked(&lab, &imap, &smtp, ALICE).checked()
    };
    let crm = bridge.add_account(&account);
    bridge.serve();
    let mut session = bridge.sign_in(&crm);
    // A literal that need not wait was announced in clear only: this provider waits for its own answer to it.
    session.imap_ok("SELECT INBOX");
    let heard = imap.heard();
    assert!(heard.contains("CAPABILITY") && !heard.contains("AUTHENTICATE") && !heard.contains("+}"), "{heard}");
    let mut session = bridge.sign_in_smtp(&crm);
    assert!(!session.smtp("EHLO crm.test", 250).contains("SIZE 77"));
    session.smtp("MAIL FROM:<alice@ovh.test>", 250);
    let heard = smtp.heard();
    assert!(!heard.contains("AUTH PLAIN") && heard.matches("EHLO").count() >= 4, "{heard}");
}

/// ServerHello of RFC 5246 7.4.1.3 in a record, as a server of this version that knows no newer one sends it.
fn server_hello(version: [u8; 2]) -> Vec<u8> {
    let mut hello = vec![2, 0, 0, 38, version[0], version[1]];
    hello.extend([7; 32]);
    // No session; ECDHE_ECDSA with AES_128_CBC_SHA (the suite of its time) or GCM_SHA256; no compression.
    hello.extend([0, 0xc0, if version == [3, 3] { 0x2b } else { 0x09 }, 0]);
    [&[22, version[0], version[1], 0, 42][..], &hello].concat()
}

#[test]
fn r06_a_provider_with_old_tls_gets_no_credential() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let bridge = Bridge::prepare(&lab);
    for version in [[3, 0], [3, 1], [3, 2], [3, 3]] {
        let (is_old, answers) = (version < [3, 3], Arc::<Mutex<Vec<Vec<u8>>>>::default());
        let servers = [(); 2].map(|()| {
            let answers = answers.clone();
            Provider::start(None, move |visit| {
                visit.some()?;
                visit.send(&server_hello(version))?;
                if is_old {
                    let answer = visit.some()?;
                    answers.lock().expect("no test panicked in here").push(answer);
                }
                // What else a client had to say would be heard.
                thread::sleep(Duration::from_millis(200));
                visit.hang_up()
            })
        });
        let account = AddAccount::unchecked(&lab, &servers[0], &servers[1], ALICE).checked();
        let output = bridge.try_add_account(&AddAccount { certificates: "accept-any".to_owned(), ..account });
        assert_eq!(output.status.code(), Some(4), "{}", words(&output));
        // The same octets of TLS 1.2 are no reason to stop: that handshake ends by the server that goes.
        let why = if is_old { "the TLS handshake failed" } else { "the connection was lost" };
        assert_eq!(words(&output).matches(why).count(), 2, "{version:?}: {}", words(&output));
        if is_old {
            // An alert (21), fatal (2): protocol_version (70), and nothing else.
            let all = || Some(answers.lock().expect("no test panicked in here").clone()).filter(|said| said.len() == 2);
            let said = until(PATIENCE, all).expect("an answer to each server");
            assert!(said.iter().all(|said| said[0] == 21 && said[5..] == [2, 70]), "{said:?}");
        }
    }
}
