//! What opens a mailbox and cannot be given twice, a refresh token that is spent when it is shown or a person's consent: it
//! is kept before the mail servers are asked, whatever they say, and whoever ends meanwhile.

use crate::{
    harness::{PATIENCE, Person, Provider, settings, until, words},
    toy_house::{ALICE, Door, FIRST, SAID, Toys, field, refusal},
};
use serde_json::{Value, json};
use std::{thread, time::Duration};

/// Each account's grant and when it was checked; whether it has a login.
fn accounts(toys: &Toys) -> Vec<(String, bool, bool)> {
    let list = toys.done(&["account", "list"], "");
    let of = |account: &Value| {
        let state = account["grant"]["state"].as_str().unwrap_or_default().to_owned();
        (state, !account["checked_at"].is_null(), account["logins"] != json!([]))
    };
    list.as_array().expect("a list").iter().map(of).collect()
}

fn good(checked: bool, login: bool) -> Vec<(String, bool, bool)> {
    vec![("good".to_owned(), checked, login)]
}

/// The mail servers let in: the account works by what was kept, and no spent token is ever shown.
fn works(toys: &mut Toys) {
    let refused = toys.knows(|known| known.refused);
    toys.doors(Door::Open);
    toys.done(&["account", "check", ALICE], "");
    let crm = settings(&toys.done(&["login", "add", ALICE, "--label", "again"], ""));
    toys.bridge.serve();
    toys.bridge.sign_in(&crm).imap_ok("SELECT INBOX");
    assert_eq!(toys.knows(|known| known.refused), refused, "no token is shown twice");
    assert_eq!(accounts(toys), good(true, true));
    assert!(toys.bridge.drain(), "{}", toys.bridge.log());
}

#[test]
fn r28_a_refresh_token_that_was_spent_for_an_account_is_not_lost() {
    let Some(mut toys) = Toys::start() else { return };
    toys.doors(Door::Shut);
    // Where the provider gives none in its place, the one that was handed over is as good as before, and nothing is kept.
    toys.knows(|known| known.rotates = false);
    let (error, _) = refusal(&toys.hand_over("add", FIRST, &[]), 4);
    assert!(error.contains(SAID) && !error.contains("kept"), "{error}");
    assert_eq!(accounts(&toys), []);
    toys.knows(|known| known.rotates = true);
    let (error, hint) = refusal(&toys.hand_over("add", FIRST, &[]), 4);
    assert!(error.contains(SAID) && error.ends_with("it is kept all the same, unchecked: alice@toys.test"), "{error}");
    for command in ["account check alice@toys.test", "login add alice@toys.test", "account set alice@toys.test"] {
        assert!(hint.contains(&format!("`passerelle {command}")), "{hint}");
    }
    assert_eq!(accounts(&toys), good(false, false));
    works(&mut toys);
}

#[test]
fn r28_a_login_whose_name_is_taken_takes_no_spent_token_away() {
    let Some(mut toys) = Toys::start() else { return };
    let at = toys.at([toys.imap.port, toys.smtp.port]);
    let mut other = vec!["account", "add", "bob@toys.test", "--password-stdin", "--unchecked"];
    other.extend(at.iter().map(String::as_str));
    toys.done(&other, "hunter2\n");
    // A login of Bob's has the name that Alice's would have.
    toys.done(&["login", "add", "bob@toys.test", "--name", ALICE], "");
    let (error, hint) = refusal(&toys.hand_over("add", FIRST, &[]), 6);
    assert!(error.contains("kept all the same") && hint.contains("login add"), "{error}\n{hint}");
    toys.done(&["account", "remove", "bob@toys.test"], "");
    assert_eq!(accounts(&toys), good(true, false));
    works(&mut toys);
}

#[test]
fn r28_a_token_that_was_spent_for_nothing_is_said_so() {
    let Some(toys) = Toys::start() else { return };
    toys.hand_over("add", FIRST, &["--unchecked"]);
    // Another one, of the same person: the account stays as it works.
    toys.doors(Door::Shut);
    let (error, hint) = refusal(&toys.hand_over("set", FIRST, &[]), 4);
    assert!(error.contains(SAID) && error.ends_with("the refresh token that was given is spent"), "{error}");
    assert!(hint.contains("a new refresh token"), "{hint}");
    assert_eq!(accounts(&toys), good(false, true));
    let next = toys.knows(|known| known.current.clone());
    let (error, _) = refusal(&toys.hand_over("swap", &next, &["--yes"]), 4);
    assert!(error.ends_with("the refresh token that was given is spent"), "{error}");
    let next = toys.knows(|known| {
        known.scope = Some("openid");
        known.current.clone()
    });
    toys.done(&["account", "remove", ALICE], "");
    let (error, hint) = refusal(&toys.hand_over("add", &next, &[]), 4);
    assert!(error.contains("missing: mail") && error.ends_with("is spent"), "{error}");
    assert!(hint.contains("leave every permission ticked"), "{hint}");
    assert_eq!(accounts(&toys), []);
}

#[test]
fn r28_what_is_given_for_a_grant_that_is_gone_is_kept() {
    let Some(mut toys) = Toys::start() else { return };
    toys.hand_over("add", FIRST, &["--unchecked"]);
    toys.knows(|known| known.revoked = true);
    assert!(!toys.bridge.cli(&["account", "check", ALICE], b"").status.success());
    assert_eq!(accounts(&toys)[0].0, "consent-needed");
    toys.knows(|known| known.revoked = false);
    toys.doors(Door::Shut);
    let (error, hint) = refusal(&toys.hand_over("set", FIRST, &[]), 4);
    assert!(error.contains(SAID) && error.contains("kept all the same"), "{error}");
    assert!(hint.contains("account check"), "{hint}");
    assert_eq!(accounts(&toys), good(false, true));
    works(&mut toys);
}

#[test]
fn r28_a_swap_that_nobody_confirmed_says_that_its_token_is_spent() {
    let Some(toys) = Toys::start() else { return };
    let at = toys.at([toys.imap.port, toys.smtp.port]);
    let at: Vec<_> = at.iter().map(String::as_str).collect();
    // A token of its own would be of the same chain, and spent as well.
    toys.done(&[&["account", "add", ALICE, "--provider", "toys", "--crm-token"][..], &at].concat(), "");
    let before = toys.done(&["account", "show", ALICE], "");
    // A token that stays good is nothing to tell of.
    toys.knows(|known| known.rotates = false);
    let (error, hint) = refusal(&toys.hand_over("swap", FIRST, &[]), 2);
    assert_eq!(error, "not confirmed, nothing was changed");
    assert_eq!(hint, "say y when you are asked, or add --yes");
    toys.knows(|known| known.rotates = true);
    let (error, hint) = refusal(&toys.hand_over("swap", FIRST, &[]), 2);
    assert_eq!(error, "not confirmed, nothing was changed; the refresh token that was given is spent");
    assert!(hint.contains("get a new refresh token") && hint.contains("--yes"), "{hint}");
    assert_eq!(toys.done(&["account", "show", ALICE], ""), before);
    // Given once more it would do harm at a strict provider; what came in its place is known to nobody.
    assert_eq!(toys.knows(|known| (known.current != FIRST, known.refused)), (true, 0));
    let told = toys.bridge.cli(&["account", "swap", ALICE, "--back"], b"");
    assert_eq!(told.status.code(), Some(5), "no way back was made: {}", words(&told));

    // Whoever is asked hears it before the answer.
    let next = toys.knows(|known| known.current.clone());
    let swap = ["account", "swap", ALICE, "--provider", "toys", "--refresh-token-stdin", "--client-id", "app"];
    let told = toys.bridge.cli(&[&swap[..], &at].concat(), format!("{next}\n").as_bytes());
    assert_eq!(told.status.code(), Some(2), "{}", words(&told));
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        text.contains("warning: the refresh token that was given is spent; what came in its place is kept by"),
        "{text}"
    );
}

#[test]
fn r28_two_ways_back_at_once_show_no_token_twice_and_lose_none() {
    let Some(mut toys) = Toys::start() else { return };
    toys.hand_over("add", FIRST, &[]);
    let elsewhere = [
        Provider::imap(Some(&toys.lab.certificates.good), |_, _, _| Some(false)),
        Provider::smtp(Some(&toys.lab.certificates.good)),
    ];
    let at = toys.at([elsewhere[0].port, elsewhere[1].port]);
    let swap = ["account", "swap", ALICE, "--provider", "generic", "--password-stdin", "--yes"];
    toys.done(&[&swap[..], &at.iter().map(String::as_str).collect::<Vec<_>>()].concat(), "hunter2\n");
    // Both ask before either is answered.
    let (known, bridge) = (toys.known.clone(), &toys.bridge);
    let slow = known.lock().expect("no test panicked");
    let ended: Vec<_> = thread::scope(|scope| {
        let back = || scope.spawn(|| bridge.cli(&["account", "swap", ALICE, "--back", "--yes"], b""));
        let both = [back(), back()];
        thread::sleep(Duration::from_millis(1500));
        drop(slow);
        both.into_iter().map(|one| one.join().expect("ended")).collect()
    });
    let went: Vec<_> = ended.iter().filter(|output| output.status.success()).collect();
    assert_eq!(went.len(), 1, "{}{}", words(&ended[0]), words(&ended[1]));
    assert_eq!(toys.knows(|known| known.refused), 0, "{}{}", words(&ended[0]), words(&ended[1]));
    works(&mut toys);
}

#[test]
fn a_grant_of_another_device_is_kept_when_the_mail_servers_refuse() {
    let Some(mut toys) = Toys::start() else { return };
    // It is the person who cannot be asked twice, whatever becomes of the token.
    toys.knows(|known| known.rotates = false);
    toys.doors(Door::Shut);
    let at = toys.at([toys.imap.port, toys.smtp.port]);
    let mut add = vec!["account", "add", ALICE, "--provider", "toys", "--device", "--json"];
    add.extend(at.iter().map(String::as_str));
    let (error, hint) = refusal(&toys.bridge.cli(&add, b""), 4);
    assert!(error.contains(SAID) && error.contains("kept all the same"), "{error}");
    assert!(hint.contains("`passerelle login add alice@toys.test`"), "{hint}");
    assert_eq!(accounts(&toys), good(false, false));
    assert_eq!(toys.knows(|known| (known.codes, known.refused)), (1, 0));

    // The same in the place of a grant that is gone.
    toys.knows(|known| known.revoked = true);
    assert!(!toys.bridge.cli(&["account", "check", ALICE], b"").status.success());
    assert_eq!(accounts(&toys)[0].0, "consent-needed");
    toys.knows(|known| (known.revoked, known.refused) = (false, 0));
    let (error, _) = refusal(&toys.bridge.cli(&["account", "sign-in", ALICE, "--device", "--json"], b""), 4);
    assert!(error.contains(SAID) && error.contains("kept all the same"), "{error}");
    assert_eq!((accounts(&toys), toys.knows(|known| known.codes)), (good(false, false), 2));
    works(&mut toys);
}

/// Where a sign-in of Alice's ends, as a browser shows it.
fn back(toys: &Toys) -> String {
    let at = toys.at([toys.imap.port, toys.smtp.port]);
    let mut command = vec!["account", "sign-in", ALICE, "--paste", "--provider", "toys"];
    command.extend(at.iter().map(String::as_str));
    let open = toys.done(&command, "")["open"].as_str().expect("an address").to_owned();
    format!("{}?code=toy-code&state={}\n", field(&open, "redirect_uri"), field(&open, "state"))
}

#[test]
fn a_consent_is_kept_when_the_mail_servers_refuse() {
    let Some(mut toys) = Toys::start() else { return };
    // It is the consent that cannot be given twice, not its token alone.
    toys.knows(|known| known.rotates = false);
    toys.doors(Door::Shut);
    let answer = ["account", "sign-in", ALICE, "--answer-stdin", "--json"];
    let (error, hint) = refusal(&toys.bridge.cli(&answer, back(&toys).as_bytes()), 4);
    assert!(error.contains(SAID) && error.contains("kept all the same"), "{error}");
    assert!(hint.contains("`passerelle login add alice@toys.test`"), "{hint}");
    assert_eq!(accounts(&toys), good(false, false));
    works(&mut toys);
}

#[test]
fn a_consent_is_kept_when_the_bridge_is_killed_before_the_first_sign_in() {
    let Some(mut toys) = Toys::start() else { return };
    let at = toys.at([toys.imap.port, toys.smtp.port]);
    let mut command = vec!["account", "sign-in", ALICE, "--link", "--provider", "toys"];
    command.extend(at.iter().map(String::as_str));
    for door in [Door::Silent, Door::Shut] {
        let link = toys.done(&command, "")["link"].as_str().expect("a link").to_owned();
        crate::harness::secrets::give_out(link.rsplit('/').next().expect("a ticket"));
        toys.doors(door);
        toys.bridge.serve();
        let mut alice = Person::default();
        let page = alice.begin(&link);
        let back = format!("{}?code=toy-code&state={}", field(&page, "redirect_uri"), field(&page, "state"));
        if door == Door::Shut {
            let told = alice.get(&back);
            assert!(told.status == 502 && told.body.contains("Your sign-in is kept"), "{told:?}");
            assert!(!told.body.contains("Nothing was stored"), "{told:?}");
            assert!(toys.bridge.drain(), "{}", toys.bridge.log());
        } else {
            let seen = toys.imap.visits();
            let browser = thread::spawn(move || alice.get(&back));
            let asked = until(PATIENCE, || {
                (toys.imap.visits() > seen && toys.imap.heard().contains("AUTHENTICATE")).then_some(())
            });
            assert!(asked.is_some(), "{}", toys.bridge.log());
            toys.bridge.kill();
            assert_eq!(browser.join().expect("no panic").status, 0, "cut");
        }
        assert_eq!(accounts(&toys), good(false, false));
        if door == Door::Silent {
            toys.done(&["account", "remove", ALICE], "");
        }
    }
    works(&mut toys);
    let output = toys.bridge.cli(&["account", "show", ALICE, "--json"], b"");
    assert!(output.status.success(), "{}", words(&output));
}
