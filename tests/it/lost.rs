//! What clients see when something ends before its time: the provider, the client itself, the bridge.

use crate::harness::{AddAccount, Bridge, CrmSettings, Dovecot, Exim, Lab, PATIENCE, Program, Provider, Wire, until};
use std::{
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

const ALICE: &str = "alice@ovh.test";
const LITERAL: usize = 1_000_000;

/// A door that a test opens for a provider that waits in front of it.
#[derive(Clone, Default)]
struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    fn open(&self) {
        *self.0.0.lock().expect("no test panicked in here") = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let open = self.0.0.lock().expect("no test panicked in here");
        let _ = self.0.1.wait_timeout_while(open, PATIENCE, |open| !*open);
    }
}

/// A bridge with an account at doubles. FETCH of message 1 says half of a literal and waits at the door with the rest.
struct House {
    imap: Provider,
    smtp: Provider,
    bridge: Bridge,
    crm: CrmSettings,
    door: Door,
    _lab: Lab,
}

impl House {
    fn start(configuration: &str) -> Option<Self> {
        let lab = Lab::needing(&[])?;
        let door = Door::default();
        let at_door = door.clone();
        let imap = Provider::imap(Some(&lab.certificates.good), move |visit, tag, command| {
            if command != "FETCH 1 BODY.PEEK[]" {
                return Some(false);
            }
            visit.say(&format!("* 1 FETCH (BODY[] {{{LITERAL}}}"))?;
            visit.send(&vec![b'x'; LITERAL / 2])?;
            at_door.wait();
            visit.send(&vec![b'x'; LITERAL / 2])?;
            visit.say(&format!(")\r\n{tag} OK done"))?;
            Some(true)
        });
        let smtp = Provider::smtp(Some(&lab.certificates.good));
        let mut bridge = Bridge::configured(&lab, configuration);
        let crm = bridge.add_account(&AddAccount::unchecked(&lab, &imap, &smtp, ALICE));
        bridge.serve();
        Some(Self { imap, smtp, bridge, crm, door, _lab: lab })
    }

    fn try_both(&self) -> [String; 2] {
        let mut imap = Wire::plain(self.bridge.imap);
        imap.expect("* OK");
        let mut smtp = Wire::plain(self.bridge.smtp);
        smtp.expect("220");
        smtp.smtp("EHLO crm.test", 250);
        smtp.line(&self.crm.smtp_auth());
        let tagged = imap.imap(&self.crm.imap_login()).tagged;
        [tagged, smtp.reply().0.to_string()]
    }
}

#[test]
fn a_provider_that_is_down_is_said_in_time_and_used_again_when_it_is_back() {
    let Some(mut house) = House::start("[timeouts]\nlogin-wait = \"1s\"\n") else { return };
    assert_eq!(house.try_both()[1], "235");
    let mut wire = house.bridge.sign_in(&house.crm);
    house.imap.stop();
    house.smtp.stop();
    // Until then nobody can know.
    assert!(wire.imap("SELECT INBOX").tagged.starts_with("NO [UNAVAILABLE] "));
    let [imap, smtp] = house.try_both();
    assert!(imap.starts_with("NO [UNAVAILABLE] ") && smtp == "454", "{imap} {smtp}");
    house.imap.start_again();
    house.smtp.start_again();
    wire.imap_ok("SELECT INBOX");
    let [imap, smtp] = house.try_both();
    assert!(imap.starts_with("OK") && smtp == "235", "{imap} {smtp}");
}

#[test]
fn a_provider_that_says_nothing_is_waited_for_as_configured() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let silent = Provider::start(None, |visit| visit.line().map(drop));
    let mut bridge = Bridge::configured(&lab, "[timeouts]\nlogin-wait = \"1s\"\n");
    let crm = bridge.add_account(&AddAccount::at(&lab, [silent.port, silent.port], ALICE));
    bridge.serve();
    let mut imap = Wire::plain(bridge.imap);
    imap.expect("* OK");
    let began = Instant::now();
    let answer = imap.imap(&crm.imap_login());
    let took = began.elapsed();
    assert!(answer.tagged.starts_with("NO [UNAVAILABLE] "), "{}", answer.tagged);
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(4), "{took:?}");
    // The connection is as good as before.
    imap.imap_ok("NOOP");
}

#[test]
fn r42_a_provider_lost_in_a_literal_leaves_no_complete_answer() {
    let Some(mut house) = House::start("") else { return };
    let authority = house.bridge.authority();
    for secured in [false, true] {
        let mut wire = if secured {
            Wire::tls(house.bridge.imaps, &authority, "localhost")
        } else {
            Wire::plain(house.bridge.imap)
        };
        wire.expect("* OK");
        wire.imap_ok(&house.crm.imap_login());
        wire.imap_ok("SELECT INBOX");
        wire.line("x FETCH 1 BODY.PEEK[]");
        assert_eq!(wire.next(), format!("* 1 FETCH (BODY[] {{{LITERAL}}}"));
        wire.swallow(LITERAL as u64 / 2);
        house.imap.cut();
        assert!(wire.rest().is_empty(), "nothing is said in the middle of a literal");
    }
    // Between two answers a lane is opened anew where that can be done, and else it is said.
    let mut wire = house.bridge.sign_in(&house.crm);
    wire.imap_ok("SELECT INBOX");
    house.imap.cut();
    // Until the bridge has seen the end: a command that is under way then is answered NO.
    thread::sleep(Duration::from_secs(1));
    wire.imap_ok("FETCH 1 FLAGS");
    house.imap.stop();
    wire.line("x NOOP");
    let rest = String::from_utf8_lossy(&wire.rest()).into_owned();
    assert!(rest.contains("* BYE [UNAVAILABLE] ") && !rest.contains("x OK"), "{rest}");
}

#[test]
fn a_client_that_is_gone_while_it_idles_frees_its_lane() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let double = Provider::start(Some(&lab.certificates.good), move |visit| {
        visit.say("* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready")?;
        visit.imap(&|_, _, _| Some(false))
    });
    let mut bridge = Bridge::configured(&lab, "[limits]\nlanes-per-account = 1\n");
    let crm = bridge.add_account(&AddAccount::at(&lab, [double.port, 1], ALICE));
    bridge.serve();
    let mut wire = bridge.sign_in(&crm);
    wire.imap_ok("SELECT INBOX");
    wire.line("x IDLE");
    wire.expect("+");
    let began = Instant::now();
    drop(wire);
    bridge.sign_in(&crm).imap_ok("SELECT INBOX.Sent");
    assert!(began.elapsed() < PATIENCE / 4, "{:?}", began.elapsed());
}

#[test]
fn r43_a_client_cut_in_a_message_stores_and_sends_nothing() {
    let Some(lab) = Lab::needing(&[Program::Dovecot, Program::Exim]) else { return };
    let dovecot = Dovecot::ovh(&lab);
    dovecot.add_user(ALICE, "hunter2");
    let exim = Exim::submission(&lab, &dovecot);
    let mut bridge = Bridge::prepare(&lab);
    let crm = bridge.add_account(&AddAccount::at(&lab, [dovecot.imaps, exim.submissions], ALICE));
    bridge.serve();
    let session_ends =
        || bridge.log().matches("session ended").count() + bridge.log().matches("session failed").count();
    let mut ended = session_ends();
    // All but the last octets, of each: with the line end behind the literal, or the end mark, it would count.
    for (start, end) in [("{40}", ""), ("{40+}", ""), ("{20+}", ""), ("{19+}", "\r")] {
        let mut wire = bridge.sign_in(&crm);
        wire.line(&format!("x APPEND Sent {start}"));
        if start == "{40}" {
            wire.expect("+");
        }
        wire.send(format!("Subject: half\r\n\r\ntext{end}").as_bytes());
        drop(wire);
        ended += 1;
    }
    for end in ["", "\r\n", "\r\n.", "\r\n.\r"] {
        let mut wire = bridge.sign_in_smtp(&crm);
        wire.smtp("MAIL FROM:<alice@ovh.test>", 250);
        wire.smtp("RCPT TO:<alice@ovh.test>", 250);
        wire.smtp("DATA", 354);
        wire.send(format!("Subject: half\r\n\r\ntext{end}").as_bytes());
        drop(wire);
        ended += 1;
    }
    let gone = until(PATIENCE, || (session_ends() >= ended).then_some(()));
    assert!(gone.is_some(), "{}", bridge.log());
    thread::sleep(Duration::from_millis(200));
    assert_eq!((dovecot.count(ALICE, "INBOX.Sent"), dovecot.count(ALICE, "INBOX")), (0, 0));
    assert!(!exim.log().contains(" <= "), "{}", exim.log());
}

#[test]
fn a_client_that_says_no_more_still_hears_its_answers() {
    let Some(house) = House::start("") else { return };
    let login = house.crm.imap_login();
    let mut wire = Wire::plain(house.bridge.imap);
    wire.expect("* OK");
    wire.line(&format!("a {login}\r\nb SELECT INBOX\r\nc FETCH 1 BODY.PEEK[]\r\nd NOOP"));
    wire.half_close();
    assert!(wire.answer("a").is_ok() && wire.answer("b").is_ok());
    thread::sleep(Duration::from_millis(200));
    house.door.open();
    assert!(wire.answer("c").is_ok() && wire.answer("d").is_ok());
    assert!(wire.rest().is_empty());

    let mut wire = Wire::plain(house.bridge.smtp);
    wire.expect("220");
    wire.line(&format!(
        "EHLO crm.test\r\n{}\r\nMAIL FROM:<alice@ovh.test>\r\nRCPT TO:<b@c.test>\r\nDATA",
        house.crm.smtp_auth()
    ));
    for code in [250, 235, 250, 250, 354] {
        assert_eq!(wire.reply().0, code);
    }
    wire.line("Subject: x\r\n\r\ntext\r\n.");
    wire.half_close();
    assert_eq!(wire.reply().0, 250);
    assert!(wire.rest().is_empty());
}

#[test]
fn a_client_that_is_gone_frees_its_lane_although_the_provider_is_at_work() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let (asked, left) = (Door::default(), Door::default());
    let (at_asked, at_left) = (asked.clone(), left.clone());
    let busy = Provider::imap(Some(&lab.certificates.good), move |visit, _, command| {
        if command == "SEARCH TEXT x" {
            at_asked.open();
            // Never answered; the next that comes is the end.
            assert_eq!(visit.some().unwrap_or_default(), b"");
            at_left.open();
            return None;
        }
        Some(false)
    });
    let mut bridge = Bridge::prepare(&lab);
    let crm = bridge.add_account(&AddAccount::at(&lab, [busy.port, 1], ALICE));
    bridge.serve();
    let mut wire = bridge.sign_in(&crm);
    wire.imap_ok("SELECT INBOX");
    wire.line("x SEARCH TEXT x");
    asked.wait();
    let began = Instant::now();
    drop(wire);
    left.wait();
    assert!(began.elapsed() < PATIENCE * 3 / 4, "{:?}", began.elapsed());
}

#[test]
fn last_words_are_heard_by_a_client_that_goes_on_talking() {
    let Some(house) = House::start("") else { return };
    // A socket that is closed with octets unread resets the connection: the client's next write fails, and most give up
    // there, with the words unread.
    let mut imap = Wire::plain(house.bridge.imap);
    imap.expect("* OK");
    assert!(imap.try_send(b"GET / HTTP/1.1\r\n") && imap.try_send(&vec![b'x'; 10_000_000]), "it could say all");
    imap.expect("* BYE ");

    let mut smtp = house.bridge.sign_in_smtp(&house.crm);
    smtp.smtp("MAIL FROM:<alice@ovh.test>", 250);
    smtp.smtp("RCPT TO:<b@c.test>", 250);
    smtp.smtp("DATA", 354);
    let text = b"and much more text\r\n".repeat(500_000);
    assert!(smtp.try_send(b"Subject: x\r\n\r\nbare\nline end\r\n") && smtp.try_send(&text), "it could say all");
    assert_eq!(smtp.reply().0, 550);
    assert!(!house.smtp.heard().contains("line end"));
}

#[test]
fn a_message_whose_end_mark_is_sent_is_waited_for_when_its_account_changes() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let door = Door::default();
    let at_door = door.clone();
    let slow = Provider::start(Some(&lab.certificates.good), move |visit| {
        visit.say("220 double")?;
        loop {
            let line = visit.line()?;
            match line.as_str() {
                "DATA" => visit.say("354 go")?,
                "." => {
                    at_door.wait();
                    visit.say("250 2.0.0 Taken")?;
                }
                _ if line.starts_with("EHLO") => visit.say("250-double\r\n250 AUTH PLAIN")?,
                _ if line.starts_with("AUTH") => visit.say("235 2.7.0 Welcome")?,
                _ if line.starts_with("Message-ID:") || line.contains(':') && !line.contains('<') => {}
                _ if line.is_empty() => {}
                _ => visit.say("250 2.0.0 Ok")?,
            }
        }
    });
    let mut bridge = Bridge::prepare(&lab);
    let crm = bridge.add_account(&AddAccount::at(&lab, [1, slow.port], ALICE));
    bridge.serve();
    let mut smtp = bridge.sign_in_smtp(&crm);
    smtp.smtp("MAIL FROM:<alice@ovh.test>", 250);
    smtp.smtp("RCPT TO:<b@c.test>", 250);
    smtp.smtp("DATA", 354);
    smtp.send(b"Subject: x\r\n\r\n.\r\n");
    assert!(until(PATIENCE, || slow.heard().contains("\r\n.\r\n").then_some(())).is_some());
    assert!(bridge.cli(&["account", "remove", ALICE], b"").status.success());
    thread::sleep(Duration::from_secs(1));
    door.open();
    assert_eq!(smtp.reply().0, 250, "the provider has it, and the client knows");
    assert_eq!(smtp.reply().0, 421);
}

#[test]
fn the_bridge_stops_when_all_has_been_said() {
    let Some(mut house) = House::start("") else { return };
    let mut idle = [house.bridge.sign_in(&house.crm), Wire::plain(house.bridge.imap)];
    idle[0].imap_ok("SELECT INBOX");
    idle[1].expect("* OK");
    let mut submission = house.bridge.sign_in_smtp(&house.crm);
    let mut message = house.bridge.sign_in_smtp(&house.crm);
    message.smtp("MAIL FROM:<alice@ovh.test>", 250);
    message.smtp("RCPT TO:<b@c.test>", 250);
    message.smtp("DATA", 354);
    let mut busy = house.bridge.sign_in(&house.crm);
    busy.imap_ok("SELECT INBOX");
    busy.line("x FETCH 1 BODY.PEEK[]");
    busy.expect("* 1 FETCH");
    busy.swallow(LITERAL as u64 / 2);

    house.bridge.ask_to_stop();
    for wire in &mut idle {
        wire.expect("* BYE ");
        assert!(wire.rest().is_empty());
    }
    assert_eq!(submission.reply().0, 421);
    let closed = until(PATIENCE, || Wire::try_plain(house.bridge.imap).is_err().then_some(()));
    assert!(closed.is_some(), "nobody is let in any more");
    house.door.open();
    busy.swallow(LITERAL as u64 / 2);
    assert_eq!(busy.next(), ")");
    assert!(busy.next().starts_with("x OK"));
    busy.expect("* BYE ");
    message.send(b"Subject: x\r\n\r\nto its end\r\n.\r\n");
    assert_eq!(message.reply().0, 250);
    assert_eq!(message.reply().0, 421);
    assert!(house.bridge.drain(), "it ends by itself, with success");
}

#[test]
fn a_provider_that_takes_no_more_is_not_waited_for_as_long_as_a_client() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let deaf = Provider::imap(Some(&lab.certificates.good), |_, _, command| {
        if command.starts_with("APPEND") {
            thread::sleep(PATIENCE);
        }
        Some(false)
    });
    let mut bridge = Bridge::configured(&lab, "[timeouts]\nprogress = \"2s\"\n");
    let crm = bridge.add_account(&AddAccount::at(&lab, [deaf.port, 1], ALICE).uncopied());
    bridge.serve();
    let mut wire = bridge.sign_in(&crm);
    let began = Instant::now();
    wire.line("x APPEND Sent {100000000+}");
    wire.try_send(&vec![b'x'; 50_000_000]);
    let rest = String::from_utf8_lossy(&wire.rest()).into_owned();
    assert!(rest.contains("BYE [UNAVAILABLE]"), "{rest}");
    assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
}
