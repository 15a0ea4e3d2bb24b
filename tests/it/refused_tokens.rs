//! Access tokens that the mail server refuses (rule R26): another is asked for once, both are shown once a login, and then
//! the provider is left alone.

use crate::{
    harness::{CrmSettings, Lab, Provider, Wire, settings, words},
    toy_house::{ALICE, FIRST, Toys},
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    thread,
};

/// Logins in a row, and as many at once.
const LOGINS: usize = 10;

/// What an IMAP server was shown, and what it takes of it.
#[derive(Default)]
struct Judge {
    shown: Vec<String>,
    refuses_all: bool,
    /// Tokens that were good.
    over: BTreeSet<String>,
}

/// An IMAP server that takes tokens as its judge likes.
fn judged(lab: &Lab, judge: Arc<Mutex<Judge>>) -> Provider {
    Provider::start(Some(&lab.certificates.good), move |visit| {
        visit.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] ready")?;
        visit.imap(&|visit, tag, command| {
            let Some(token) = command.strip_prefix("AUTHENTICATE XOAUTH2 ") else { return Some(false) };
            let mut judge = judge.lock().expect("no test panicked in here");
            judge.shown.push(token.to_owned());
            let refused = judge.refuses_all || judge.over.contains(token);
            drop(judge);
            if refused {
                return visit.say(&format!("{tag} NO [AUTHENTICATIONFAILED] Invalid credentials")).map(|()| true);
            }
            Some(false)
        })
    })
}

fn log_in(toys: &Toys, crm: &CrmSettings) -> String {
    let mut wire = Wire::plain(toys.bridge.imap);
    wire.expect("* OK");
    wire.imap(&crm.imap_login()).tagged
}

#[test]
fn r26_an_access_token_that_is_refused_is_followed_by_one_other_and_then_by_none() {
    let Some(mut toys) = Toys::start() else { return };
    let judge = Arc::new(Mutex::new(Judge::default()));
    toys.imap = judged(&toys.lab, judge.clone());
    let output = toys.hand_over("add", FIRST, &[]);
    assert!(output.status.success(), "{}", words(&output));
    let crm = settings(&serde_json::from_slice(&output.stdout).expect("JSON"));
    let taken = || std::mem::take(&mut judge.lock().expect("no test panicked in here").shown);
    toys.bridge.serve();
    let mut first = toys.bridge.sign_in(&crm);
    first.imap_ok("SELECT INBOX");

    // The token of a bridge that runs is over before its time: one other, and the CRM notices nothing.
    let over: BTreeSet<_> = taken().into_iter().collect();
    judge.lock().expect("no test panicked in here").over = over.clone();
    let asked = toys.endpoint.asked().len();
    toys.bridge.sign_in(&crm).imap_ok("SELECT INBOX");
    let shown = taken();
    eprintln!("r26: one token is over: {} shown, {} asked for", shown.len(), toys.endpoint.asked().len() - asked);
    assert!(shown.len() == 2 && over.contains(&shown[0]) && !over.contains(&shown[1]), "{}", shown.len());
    assert_eq!(toys.endpoint.asked().len(), asked + 1);

    // All are refused. No lane is left of before, and no token.
    assert!(toys.bridge.drain(), "{}", toys.bridge.log());
    judge.lock().expect("no test panicked in here").refuses_all = true;
    toys.bridge.serve();
    let asked = toys.endpoint.asked().len();
    let each: Vec<_> = (0..LOGINS)
        .map(|_| {
            let told = log_in(&toys, &crm);
            assert!(told.starts_with("NO [CONTACTADMIN] "), "{told}");
            taken().len()
        })
        .collect();
    thread::scope(|scope| {
        for _ in 0..LOGINS {
            scope.spawn(|| assert!(log_in(&toys, &crm).starts_with("NO [CONTACTADMIN] ")));
        }
    });
    let (at_once, asked) = (taken().len(), toys.endpoint.asked().len() - asked);
    eprintln!(
        "r26: all are refused: {each:?} shown at {LOGINS} logins, {at_once} at as many at once, {asked} asked for"
    );
    assert!(each[0] == 2 && each.iter().all(|&shown| shown <= 2), "{each:?}");
    assert!(each[2..].iter().sum::<usize>() + at_once == 0, "left alone: {each:?}, {at_once}");
    assert!(asked <= 2, "{asked}");
    let account = toys.done(&["account", "show", ALICE], "");
    assert_eq!((&account["grant"]["state"], &account["refused"][0]["service"]), (&"good".into(), &"imap".into()));

    // Put right at the provider, and checked by hand: the CRM is back at once.
    judge.lock().expect("no test panicked in here").refuses_all = false;
    toys.done(&["account", "check", ALICE], "");
    let told = log_in(&toys, &crm);
    assert!(told.starts_with("OK "), "{told}");
    assert_eq!(toys.knows(|known| known.refused), 0, "no spent refresh token was shown");
}
