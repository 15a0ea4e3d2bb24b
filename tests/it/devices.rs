//! A sign-in on another device: a code is shown, and its person answers elsewhere.

use crate::harness::{ALICE, Endpoint, Firm, Leashed, PATIENCE, passerelle, settings, until};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::Output,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

#[test]
fn a_person_signs_in_on_another_device() {
    let Some(mut firm) = Firm::start("token") else { return };
    let registered = firm.json(&[&["provider", "register", "firm", "--client-id", "device"]], "");
    assert_eq!((&registered["for"], &registered["proof"]), (&"consent".into(), &"none".into()));
    let [option, ca] = firm.certificates();
    let add = ["account", "add", ALICE, "--provider", "firm", &option, &ca, "--device"];
    let (ended, said) = firm.on_a_device(&add, Some(ALICE));
    assert_eq!(ended, "exit status: 0", "{said}");
    let crm = settings(&serde_json::from_str(&said).expect("JSON"));
    firm.bridge.serve();
    firm.lives(&crm, ALICE);
    firm.outlive_the_token();
    firm.bridge.sign_in(&crm).imap_ok("SELECT INBOX");
    assert_eq!(firm.json(&[&["account", "show", ALICE]], "")["grant"]["client_id"], "device");

    // Its owner says no: all stays. Then yes, and the refresh token is another.
    let sign_in = ["account", "sign-in", ALICE, "--device"];
    let (ended, said) = firm.on_a_device(&sign_in, None);
    assert_eq!(ended, "exit status: 4", "{said}");
    assert!(said.contains("no sign-in came of the code: the person declined"), "{said}");
    firm.oidc.revoke(ALICE);
    let (ended, said) = firm.on_a_device(&sign_in, Some(ALICE));
    assert_eq!(ended, "exit status: 0", "{said}");
    assert_eq!(serde_json::from_str::<Value>(&said).expect("JSON")["signed_in"], true, "{said}");
    firm.outlive_the_token();
    firm.lives(&crm, ALICE);
    assert!(firm.bridge.drain(), "{}", firm.bridge.log());
}

/// A provider whose endpoints are toys, with a client for people.
fn toys(state: &Path, port: u16) {
    let entry = include_str!("../../config/providers/gandi.toml").to_owned()
        + &format!(
            r#"[oauth]
authorise = "http://127.0.0.1:{port}/auth"
token = "http://127.0.0.1:{port}/token"
device = "http://127.0.0.1:{port}/device"
scopes = ["mail", "offline_access"]
old-refresh-tokens = "spent"
source = "a test"
"#
        );
    fs::create_dir_all(state.join("providers")).expect("a folder");
    fs::write(state.join("providers/toys.toml"), entry).expect("written");
    let register = passerelle(state, &["provider", "register", "toys", "--client-id", "app"], "");
    assert!(register.status.success(), "{}", String::from_utf8_lossy(&register.stderr));
}

/// Answers the question for a code with so many seconds of life and one a poll, and each poll with the next of these.
fn says(expires: u32, polls: Vec<(u16, Value)>) -> Endpoint {
    let polls = Arc::new(Mutex::new(polls.into_iter()));
    Endpoint::start(move |path, _| match path {
        "/device" => (
            200,
            json!({ "device_code": "device-code-1", "user_code": "WDJB-MJHT", "expires_in": expires, "interval": 1,
                "verification_uri": "https://example.test/device" }),
        ),
        _ => polls.lock().expect("no panic").next().unwrap_or((400, json!({ "error": "authorization_pending" }))),
    })
}

const ADD: [&str; 6] = ["account", "add", "alice@example.test", "--provider", "toys", "--device"];

fn add(state: &Path, more: &[&str]) -> Output {
    passerelle(state, &[&ADD[..], more].concat(), "")
}

#[test]
fn a_code_that_comes_to_nothing_says_why_and_nothing_is_kept() {
    let error = |error: &str| (400, json!({ "error": error }));
    let tokens = |scope: &str, refresh: Option<&str>| {
        (
            200,
            json!({ "access_token": "an-access-token", "token_type": "Bearer", "scope": scope, "refresh_token": refresh }),
        )
    };
    for (answer, code, words) in [
        (error("authorization_declined"), 4, "no sign-in came of the code: the person declined\nhint: begin again"),
        (error("expired_token"), 4, "no sign-in came of the code: the code has expired\nhint: begin again"),
        (
            error("invalid_client"),
            4,
            "the token endpoint refuses the client: invalid_client\nhint: check the client's id",
        ),
        (tokens("openid", Some("a-refresh-token")), 4, "missing: mail\nhint: sign in again"),
        (tokens("mail", None), 4, "no refresh token was given\nhint: the registered client lacks"),
    ] {
        let root = tempfile::tempdir().expect("a directory");
        let endpoint = says(900, vec![error("authorization_pending"), answer]);
        toys(root.path(), endpoint.port);
        let output = add(root.path(), &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "{said}");
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(shown.contains("https://example.test/device\n") && shown.contains("WDJB-MJHT\n"), "{shown}");
        assert!(!format!("{said}{shown}").contains("device-code-1"), "{shown}");
        let asked = endpoint.asked();
        assert_eq!(asked.len(), 3, "a code and two polls");
        assert_eq!(
            (&asked[0]["client_id"], &asked[0]["scope"]),
            (&"app".to_owned(), &"mail offline_access".to_owned())
        );
        assert_eq!(asked[1]["grant_type"], "urn:ietf:params:oauth:grant-type:device_code");
        assert_eq!(
            (&asked[1]["device_code"], &asked[1]["client_id"]),
            (&"device-code-1".to_owned(), &"app".to_owned())
        );
        let list = passerelle(root.path(), &["account", "list", "--json"], "");
        assert_eq!(serde_json::from_slice::<Value>(&list.stdout).expect("JSON"), json!([]));
    }
}

#[test]
fn the_code_of_a_shared_mailbox_is_for_its_delegate() {
    let root = tempfile::tempdir().expect("a directory");
    let declined = || (400, json!({ "error": "authorization_declined" }));
    let endpoint = says(900, (0..6).map(|_| declined()).collect());
    toys(root.path(), endpoint.port);
    let told = |arguments: &[&str]| {
        let output = passerelle(root.path(), arguments, "");
        assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned()
    };
    let shared = "info@example.test";
    let add = ["account", "add", shared, "--provider", "toys", "--smtp-delegate", "Dave@example.test"];
    let of_dave = "As dave@example.test, on any device with a browser:";
    assert_eq!(told(&[&add[..], &["--device"]].concat()), of_dave);
    assert_eq!(told(&ADD), "As alice@example.test, on any device with a browser:");

    let there = [&add[..], &["--password-stdin", "--unchecked", "--json"]].concat();
    let added = passerelle(root.path(), &there, "a-password-of-before\n");
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let sign_in = ["account", "sign-in", shared, "--device"];
    assert_eq!(told(&sign_in), of_dave);
    assert_eq!(
        told(&[&sign_in[..], &["--as", "erin@example.test"]].concat()),
        "As erin@example.test, on any device with a browser:"
    );
    let set = ["account", "set", shared, "--device"];
    assert_eq!(told(&set), of_dave);
    assert_eq!(
        told(&[&set[..], &["--smtp-delegate", "frank@example.test"]].concat()),
        "As frank@example.test, on any device with a browser:"
    );
}

#[test]
fn polls_slow_down_when_they_are_told_and_end_with_the_code() {
    let root = tempfile::tempdir().expect("a directory");
    let endpoint = says(8, vec![(400, json!({ "error": "slow_down" }))]);
    toys(root.path(), endpoint.port);
    let began = Instant::now();
    let output = add(root.path(), &["--json"]);
    let took = began.elapsed();
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stderr).contains("the code has expired"));
    // After one second, and after six more; the third would come too late.
    assert_eq!(endpoint.asked().len(), 3, "a code and two polls");
    assert!(took >= Duration::from_secs(7), "{took:?}");
}

#[test]
fn waiting_can_be_stopped_and_not_every_provider_has_codes() {
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path();
    let endpoint = says(900, Vec::new());
    toys(state, endpoint.port);
    let log = state.join("said");
    let program = env!("CARGO_BIN_EXE_passerelle");
    let place = state.to_string_lossy();
    let command = [&[program, "--state", &place], &ADD[..]].concat();
    let mut waiting = Leashed::start(&command.into_iter().map(str::to_owned).collect::<Vec<_>>(), &log);
    assert!(until(PATIENCE, || (endpoint.asked().len() > 1).then_some(())).is_some(), "it polls");
    assert!(fs::read_to_string(&log).expect("said").contains("Ctrl-C stops"));
    waiting.interrupt();
    let ended = until(Duration::from_secs(5), || waiting.ended()).expect("it ends at once");
    assert!(ended.contains("signal: 2"), "{ended}");
    let list = passerelle(state, &["account", "list", "--json"], "");
    assert_eq!(serde_json::from_slice::<Value>(&list.stdout).expect("JSON"), json!([]));

    for (provider, words) in [
        ("google", "there are no codes for another device at this provider: google"),
        ("outlook", "no client is registered"),
    ] {
        let output = passerelle(state, &["account", "add", "bob@example.test", "--provider", provider, "--device"], "");
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(words) && said.contains(&format!("`passerelle provider register {provider}`")), "{said}");
    }
}
