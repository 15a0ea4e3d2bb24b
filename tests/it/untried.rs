//! Accounts that only their CRM can sign in to: whoever is asked how they are says that nobody has tried, and that nothing
//! is wrong with it.

use crate::{
    harness::words,
    toy_house::{ALICE, FIRST, Toys},
};
use serde_json::Value;

const UNTRIED: &str =
    "the sign-in was not tried: the access token that opens this account is the CRM's own, and is not kept";

/// Alice's account, which her CRM's token opens.
fn house() -> Option<Toys> {
    let toys = Toys::start()?;
    let at = toys.at([toys.imap.port, toys.smtp.port]);
    let mut add = vec!["account", "add", ALICE, "--provider", "toys", "--crm-token"];
    add.extend(at.iter().map(String::as_str));
    toys.done(&add, "");
    Some(toys)
}

#[test]
fn a_check_of_what_only_the_crm_can_sign_in_to_says_so() {
    let Some(toys) = house() else { return };
    let told = toys.bridge.cli(&["account", "check", ALICE], b"");
    assert_eq!(told.status.code(), Some(0), "{}", words(&told));
    assert_eq!(String::from_utf8_lossy(&told.stdout), format!("imap  {UNTRIED}\nsmtp  {UNTRIED}\n"));
    assert!(told.stderr.is_empty(), "{}", words(&told));
    let told = toys.done(&["account", "check", ALICE], "");
    for service in ["imap", "smtp"] {
        let outcome = &told[service];
        assert_eq!((&outcome["state"], &outcome["why"]), (&"client-token".into(), &UNTRIED.into()), "{told}");
        assert!(outcome.get("error").is_none() && outcome.get("hint").is_none(), "{told}");
    }
    assert_eq!(told["checked_at"], Value::Null, "nothing is known to work");

    let shown = toys.done(&["account", "show", ALICE], "");
    assert_eq!((&shown["crm_token"], &shown["grant"]), (&true.into(), &Value::Null), "{shown}");
    let shown = words(&toys.bridge.cli(&["account", "show", ALICE], b""));
    assert!(shown.contains("  access tokens the CRM's own"), "{shown}");

    // What is switched off is off, whoever could sign in.
    toys.done(&["account", "set", ALICE, "--send", "off"], "");
    let told = toys.done(&["account", "check", ALICE], "");
    assert_eq!((&told["imap"]["state"], &told["smtp"]["state"]), (&"client-token".into(), &"off".into()), "{told}");
    assert_eq!((toys.imap.visits(), toys.smtp.visits()), (0, 0), "nobody was asked");
}

#[test]
fn a_doctor_finds_nothing_wrong_with_what_only_the_crm_can_sign_in_to() {
    let Some(mut toys) = house() else { return };
    toys.bridge.serve();
    let told = toys.bridge.cli(&["doctor"], b"");
    assert_eq!(told.status.code(), Some(0), "{}", words(&told));
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(text.lines().any(|line| line == format!("ok       sign-in         {UNTRIED}")), "{text}");
    let told = toys.done(&["doctor", ALICE], "");
    let findings = told["findings"].as_array().expect("findings");
    let of = |check: &str| findings.iter().find(|finding| finding["check"] == check);
    let found = of("sign-in").unwrap_or_else(|| panic!("{told:#}"));
    assert_eq!(
        (&found["severity"], &found["what"], &found["account"]),
        (&"ok".into(), &UNTRIED.into(), &ALICE.into()),
        "{found}"
    );
    assert!(of("imap-sign-in").is_none() && of("smtp-sign-in").is_none(), "{told:#}");
    assert_eq!((toys.imap.visits(), toys.smtp.visits()), (0, 0), "nobody was asked");
}

#[test]
fn a_way_back_to_what_only_the_crm_can_sign_in_to_is_open() {
    let Some(toys) = house() else { return };
    let told = toys.hand_over("swap", FIRST, &["--yes"]);
    assert!(told.status.success(), "{}", words(&told));
    let there = toys.done(&["account", "check", ALICE], "");
    assert_eq!((&there["imap"]["state"], &there["smtp"]["state"]), (&"ok".into(), &"ok".into()), "{there}");

    let back = ["account", "swap", ALICE, "--back"];
    let seen = (toys.imap.visits(), toys.smtp.visits());
    let asked = toys.bridge.cli(&back, b"");
    assert_eq!(asked.status.code(), Some(2), "{}", words(&asked));
    let text = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(text.contains("nobody has signed in where it goes back to") && !text.contains("IN THE CRM"), "{text}");
    let told = toys.done(&[&back[..], &["--yes"]].concat(), "");
    assert_eq!(told["folders"]["asked"], false, "{told}");
    assert_eq!((toys.imap.visits(), toys.smtp.visits()), seen, "nobody was asked");
    let here = toys.done(&["account", "check", ALICE], "");
    assert_eq!(here["imap"]["state"], "client-token", "{here}");
}
