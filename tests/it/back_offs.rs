//! `passerelle doctor` tells what a running bridge does not ask a provider for a while: until when, and after what words.

use crate::harness::{
    AddAccount, Bridge, CrmSettings, Endpoint, IMAP_CAPABILITIES, Lab, PATIENCE, Provider, Wire, until, words,
};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const ALICE: &str = "alice@lab.test";
/// In seconds, as Microsoft would ask for.
const PAUSE: u64 = 12;
/// What a command may take on a machine that is busy, in seconds.
const SLACK: i64 = 30;

/// What the double says next to who signs in; none: it lets in.
type Says = Arc<Mutex<Option<String>>>;

fn says(says: &Says, words: Option<&str>) {
    *says.lock().expect("no test panicked in here") = words.map(str::to_owned);
}

/// An IMAP server that takes passwords and tokens.
fn imap(lab: &Lab, says: Says) -> Provider {
    Provider::start(Some(&lab.certificates.good), move |visit| {
        visit.say(&format!("* OK [CAPABILITY {IMAP_CAPABILITIES} AUTH=XOAUTH2] Double ready"))?;
        visit.imap(&|visit, tag, command| {
            let words = says.lock().expect("no test panicked in here").clone();
            match words {
                Some(words) if command.starts_with("AUTHENTICATE") => {
                    visit.say(&format!("{tag} {words}")).map(|()| true)
                }
                _ => Some(false),
            }
        })
    })
}

fn login(bridge: &Bridge, crm: &CrmSettings) -> String {
    let mut wire = Wire::plain(bridge.imap);
    wire.expect("* OK");
    wire.imap(&crm.imap_login()).tagged
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_secs()).expect("small")
}

/// The back-offs that `doctor` tells of, each at its end the warning that it is.
fn back_offs(bridge: &Bridge) -> Vec<Value> {
    let output = bridge.cli(&["doctor", ALICE, "--json"], b"");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", words(&output)));
    let findings = answer["findings"].as_array().expect("findings").iter();
    let all: Vec<_> = findings.filter(|finding| finding["check"] == "back-off").cloned().collect();
    for back_off in &all {
        assert_eq!((&back_off["severity"], &back_off["account"]), (&"warning".into(), &ALICE.into()), "{back_off}");
        assert!(back_off["mend"].is_string() && back_off["until"].is_i64(), "{back_off}");
    }
    all
}

/// Whether it ends within so many seconds of when it began, and says so in words.
fn ends(back_off: &Value, began: i64, [least, most]: [u64; 2]) {
    let until = back_off["until"].as_i64().expect("a time");
    let [least, most] = [least, most].map(|seconds| began + i64::try_from(seconds).expect("small"));
    assert!((least..=most + SLACK).contains(&until), "{until} is not from {least} to {most}: {back_off}");
    assert!(back_off["what"].as_str().is_some_and(|what| what.contains(" UTC: ")), "{back_off}");
}

#[test]
fn a_pause_that_a_provider_asks_for_is_told_of_until_it_is_over() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let words_of = Says::default();
    let imap = imap(&lab, words_of.clone());
    let mut bridge = Bridge::prepare(&lab);
    let crm = bridge.add_account(&AddAccount::unchecked(&lab, &imap, &imap, ALICE));
    bridge.serve();
    assert_eq!(back_offs(&bridge), Vec::<Value>::new());

    let said = format!("NO Request is throttled. Suggested Backoff Time: {PAUSE}000 milliseconds");
    says(&words_of, Some(&said));
    let began = now();
    assert!(login(&bridge, &crm).starts_with("NO [UNAVAILABLE] "));
    says(&words_of, None);
    let told = back_offs(&bridge);
    let [back_off] = told.as_slice() else { panic!("{told:#?}\n{}", bridge.log()) };
    ends(back_off, began, [PAUSE, PAUSE + PAUSE / 10 + 1]);
    assert_eq!(back_off["explanation"], "microsoft-throttled", "{back_off}");
    assert!(back_off["why"].as_str().is_some_and(|why| why.contains("Suggested Backoff Time")), "{back_off}");
    let text = words(&bridge.cli(&["doctor", ALICE], b""));
    assert!(text.contains("back-off") && text.contains("a sign-in to IMAP waits until 2"), "{text}");

    let over = until(2 * Duration::from_secs(PAUSE), || back_offs(&bridge).is_empty().then_some(()));
    assert!(over.is_some(), "{}", bridge.log());
    let answer = login(&bridge, &crm);
    assert!(answer.starts_with("OK"), "{answer}");
}

#[test]
fn a_pause_that_a_provider_asks_a_session_for_is_kept_by_all() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let imap = Provider::imap(Some(&lab.certificates.good), |visit, tag, command| {
        if !command.starts_with("SEARCH") {
            return Some(false);
        }
        visit.say(&format!("{tag} NO Request is throttled. Suggested Backoff Time: {}000 milliseconds", PAUSE))?;
        Some(true)
    });
    let mut bridge = Bridge::configured(&lab, "");
    let crm = bridge.add_account(&AddAccount::at(&lab, [imap.port, 1], ALICE));
    bridge.serve();
    let (mut first, mut other) = (bridge.sign_in(&crm), bridge.sign_in(&crm));
    first.imap_ok("SELECT INBOX");
    let began = now();
    // The client hears it, too: some know what it means.
    assert!(first.imap("SEARCH ALL").tagged.contains("Suggested Backoff Time"));
    let told = back_offs(&bridge);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].to_string().contains("Request is throttled"), "{told:?}");
    ends(&told[0], began, [PAUSE, PAUSE * 11 / 10 + 1]);
    first.imap_ok("LOGOUT");
    // Nothing is said to it by anybody, over the lane that is parked neither.
    assert!(other.imap("SELECT INBOX").tagged.starts_with("NO [UNAVAILABLE] "));
    assert!(login(&bridge, &crm).starts_with("NO [UNAVAILABLE] "));
    let over =
        until(PATIENCE + Duration::from_secs(PAUSE * 2), || login(&bridge, &crm).starts_with("OK ").then_some(()));
    assert!(over.is_some(), "{}", bridge.log());
    other.imap_ok("SELECT INBOX");
    assert_eq!(back_offs(&bridge), Vec::<Value>::new());
}

#[test]
fn refused_credentials_are_told_of_until_they_are_mended() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let words_of = Says::default();
    let imap = imap(&lab, words_of.clone());
    let mut bridge = Bridge::prepare(&lab);
    let crm = bridge.add_account(&AddAccount::unchecked(&lab, &imap, &imap, ALICE));
    let set = bridge.cli(&["account", "set", ALICE, "--send", "off", "--unchecked"], b"");
    assert!(set.status.success(), "{}", words(&set));
    bridge.serve();
    says(&words_of, Some("NO [AUTHENTICATIONFAILED] Invalid credentials"));
    let began = now();
    for _ in 0..2 {
        login(&bridge, &crm);
    }
    let told = back_offs(&bridge);
    let [back_off] = told.as_slice() else { panic!("{told:#?}\n{}", bridge.log()) };
    ends(back_off, began, [60, 67]);
    assert!(back_off["why"].as_str().is_some_and(|why| why.contains("Invalid credentials")), "{back_off}");
    // What a check by hand is let in with, the bridge tries at once.
    says(&words_of, None);
    let checked = bridge.cli(&["account", "check", ALICE], b"");
    assert!(checked.status.success(), "{}", words(&checked));
    assert_eq!(back_offs(&bridge), Vec::<Value>::new());
    assert!(login(&bridge, &crm).starts_with("OK"));
}

#[test]
fn a_token_endpoint_that_fails_is_told_of_until_the_account_is_another() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let imap = imap(&lab, Says::default());
    let mut bridge = Bridge::prepare(&lab);
    let crm = bridge.add_account(&AddAccount::unchecked(&lab, &imap, &imap, ALICE));
    let answer = Arc::new(Mutex::new((503, json!({ "error": "temporarily_unavailable" }))));
    let answers = answer.clone();
    let endpoint = Endpoint::start(move |_, _| answers.lock().expect("no test panicked in here").clone());
    let granted = |bridge: &Bridge, token: &[u8]| {
        let grant = ["account", "set", ALICE, "--refresh-token-stdin", "--client-id", "c", "--unchecked"];
        let set = bridge.cli(&[&grant[..], &["--token-endpoint", &endpoint.url()]].concat(), token);
        assert!(set.status.success(), "{}", words(&set));
    };
    granted(&bridge, b"a-refresh-token-of-the-toys\n");
    bridge.serve();
    let began = now();
    assert!(login(&bridge, &crm).starts_with("NO [UNAVAILABLE] "));
    let told = back_offs(&bridge);
    let [back_off] = told.as_slice() else { panic!("{told:#?}\n{}", bridge.log()) };
    ends(back_off, began, [30, 37]);
    assert!(back_off["why"].as_str().is_some_and(|why| why.ends_with("not available: status 503")), "{back_off}");
    assert!(back_off["what"].as_str().is_some_and(|what| what.starts_with("the request of an access token waits")));

    // The registered client is refused: its operator's alarm.
    *answer.lock().expect("no test panicked in here") = (401, json!({ "error": "invalid_client" }));
    granted(&bridge, b"another-refresh-token-of-the-toys\n");
    let over = until(PATIENCE, || back_offs(&bridge).is_empty().then_some(()));
    assert!(over.is_some(), "what an older grant met is none of this one's: {}", bridge.log());
    let began = now();
    assert!(login(&bridge, &crm).starts_with("NO "));
    // The sign-in that such a token would be for waits, too.
    let told = back_offs(&bridge);
    let back_off = told.iter().find(|back_off| back_off["explanation"] == "token-client-refused");
    let back_off = back_off.unwrap_or_else(|| panic!("{told:#?}\n{}", bridge.log()));
    ends(back_off, began, [300, 361]);
}
