//! A login that is revoked ends, with all that it has open; what other logins of its account have open goes on.

use crate::harness::{AddAccount, Bridge, CrmSettings, Lab, PATIENCE, Provider, Wire, until, words};
use std::{
    io::Write as _,
    thread,
    time::{Duration, Instant},
};

const ALICE: &str = "alice@lab.test";
/// A revoked login is refused from then on.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);
/// What it has open ends.
const ENDED_WITHIN: Duration = Duration::from_secs(5);

/// Says how long something took, and that it was short enough.
fn told(what: &str, took: Duration, bound: Duration) {
    let _ = writeln!(std::io::stderr(), "{what}: {took:?}");
    assert!(took < bound, "{what}: {took:?}");
}

/// Sessions in every state that a CRM leaves them in, by what they are.
fn sessions(bridge: &Bridge, crm: &CrmSettings) -> Vec<(&'static str, Wire)> {
    let imap = |commands: &[&str], last: &[u8]| {
        let mut wire = bridge.sign_in(crm);
        commands.iter().for_each(|command| drop(wire.imap_ok(command)));
        wire.send(last);
        wire
    };
    let smtp = |commands: &[(&str, u16)], last: &[u8]| {
        let mut wire = bridge.sign_in_smtp(crm);
        commands.iter().for_each(|(command, code)| drop(wire.smtp(command, *code)));
        wire.send(last);
        wire
    };
    let mut idle = imap(&["SELECT INBOX"], b"i IDLE\r\n");
    idle.expect("+ ");
    let envelope = [("MAIL FROM:<alice@lab.test>", 250), ("RCPT TO:<bob@lab.test>", 250), ("DATA", 354)];
    vec![
        ("IMAP, nothing selected", imap(&[], b"")),
        ("IMAP, selected", imap(&["SELECT INBOX"], b"")),
        ("IMAP, idling", idle),
        ("IMAP, half a command", imap(&["SELECT INBOX"], b"x APPEND Sent {100+}\r\nhalf of it")),
        ("IMAP, an answer that does not come", imap(&["SELECT INBOX"], b"x FETCH 1 BODY[]\r\n")),
        ("SMTP, signed in", smtp(&[], b"")),
        ("SMTP, without a lane", smtp(&[("MAIL FROM:<alice@lab.test>", 250), ("EHLO crm.test", 250)], b"")),
        ("SMTP, half a message", smtp(&envelope, b"Subject: half\r\n\r\n")),
    ]
}

#[test]
fn a_revoked_login_ends_in_time_and_no_other_does() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let imap = Provider::imap(Some(&lab.certificates.good), |visit, tag, command| match command {
        // No answer comes, until the bridge hangs up.
        fetch if fetch.starts_with("FETCH") => visit.line().map(|_| true),
        append if append.starts_with("APPEND") => {
            if !append.ends_with("+}") {
                visit.say("+ go on")?;
            }
            visit.octets(102)?;
            visit.say(&format!("{tag} OK stored")).map(|()| true)
        }
        _ if command.starts_with("IDLE") => visit.say("+ idling").map(|()| true),
        _ => Some(false),
    });
    let smtp = Provider::smtp(Some(&lab.certificates.good));
    let mut bridge = Bridge::configured(&lab, "[limits]\nlanes-per-account = 30\n");
    let alice = bridge.add_account(&AddAccount::unchecked(&lab, &imap, &smtp, ALICE));
    let made = bridge.cli(&["login", "add", ALICE, "--label", "old", "--json"], b"");
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let text = |key: &str| made[key].as_str().expect("text").to_owned();
    let old = CrmSettings { login: text("login"), password: text("password") };
    bridge.serve();
    let mut others = sessions(&bridge, &alice);
    let mut ending = sessions(&bridge, &old);

    let revoked = bridge.cli(&["login", "revoke", &old.login], b"");
    assert!(revoked.status.success(), "{}", words(&revoked));
    let began = Instant::now();
    let refused = until(PATIENCE, || {
        let mut wire = Wire::plain(bridge.imap);
        wire.expect("* OK");
        wire.imap(&old.imap_login()).tagged.starts_with("NO [AUTHENTICATIONFAILED] ").then(|| began.elapsed())
    });
    told("the login is refused", refused.expect("refused at last"), REFUSED_WITHIN);
    for (what, wire) in &mut ending {
        wire.rest();
        told(what, began.elapsed(), ENDED_WITHIN);
    }

    // Longer than the bridge takes to look again.
    thread::sleep(Duration::from_secs(1));
    for (what, wire) in &mut others {
        match *what {
            "IMAP, nothing selected" | "IMAP, selected" => drop(wire.imap_ok("NOOP")),
            "IMAP, idling" => {
                wire.send(b"DONE\r\n");
                wire.expect("i OK");
            }
            "IMAP, half a command" => {
                wire.send([b"x".repeat(90).as_slice(), b"\r\n"].concat().as_slice());
                wire.expect("x OK");
            }
            "SMTP, half a message" => drop(wire.smtp("whole\r\n.", 250)),
            "IMAP, an answer that does not come" => {
                assert!(wire.is_silent(), "{what}");
            }
            _ => drop(wire.smtp("NOOP", 250)),
        }
    }
    bridge.sign_in(&alice);
}

#[test]
fn a_login_of_the_same_name_is_another_one() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let imap = Provider::imap(Some(&lab.certificates.good), |_, _, _| Some(false));
    let smtp = Provider::smtp(Some(&lab.certificates.good));
    let mut bridge = Bridge::prepare(&lab);
    bridge.add_account(&AddAccount::unchecked(&lab, &imap, &smtp, ALICE));
    bridge.serve();
    let add = || {
        let made = bridge.cli(&["login", "add", ALICE, "--name", "crm", "--json"], b"");
        let made: serde_json::Value = serde_json::from_slice(&made.stdout).expect("JSON");
        CrmSettings { login: "crm".into(), password: made["password"].as_str().expect("text").to_owned() }
    };
    let first = add();
    let mut old = bridge.sign_in(&first);
    assert!(bridge.cli(&["login", "revoke", "crm"], b"").status.success());
    let second = add();
    let mut new = bridge.sign_in(&second);
    old.expect("* BYE [UNAVAILABLE] ");
    thread::sleep(Duration::from_millis(500));
    new.imap_ok("NOOP");
}
