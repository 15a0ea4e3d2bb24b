//! What an account with a grant must be: for all of the mailbox, and shown to nobody whom the bridge does not believe.

use crate::harness::{Endpoint, passerelle};
use serde_json::{Value, json};
use std::{path::Path, process::Output};

const ALICE: &str = "alice@example.test";
const HOSTS: [&str; 4] = ["--imap", "imap.example.test", "--smtp", "smtp.example.test"];
const TOKEN: &str = "a-refresh-token";

fn run(state: &Path, parts: &[&[&str]], input: &str) -> Output {
    passerelle(state, &[&parts.concat()[..], &["--json"]].concat(), input)
}

/// The error of a command that is refused, after which there is no account unless one was there.
fn refused(state: &Path, parts: &[&[&str]], input: &str, code: i32) -> Value {
    let output = run(state, parts, input);
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stderr).expect("JSON")
}

fn accounts(state: &Path) -> Value {
    serde_json::from_slice(&run(state, &[&["account", "list"]], "").stdout).expect("JSON")
}

#[test]
fn a_missing_mail_scope_is_told_and_nothing_is_stored() {
    let root = tempfile::tempdir().expect("a directory");
    // A person has unticked the mail on Google's page.
    let endpoint = Endpoint::start(|_, _| {
        let scope = "openid https://www.googleapis.com/auth/userinfo.email";
        (200, json!({ "access_token": "ya29.narrow", "token_type": "Bearer", "expires_in": 3599, "scope": scope }))
    });
    let url = endpoint.url();
    let grant = ["--refresh-token-stdin", "--client-id", "desktop", "--token-endpoint", &url];
    let add = ["account", "add", "alice@gmail.com"];
    let error = refused(root.path(), &[&add, &grant], TOKEN, 4);
    let (said, hint) = (error["error"].as_str().expect("words"), error["hint"].as_str().expect("a hint"));
    assert!(said.starts_with(&url) && said.ends_with("; missing: https://mail.google.com/"), "{said}");
    assert!(hint.contains("leave every permission ticked"), "{hint}");
    assert!(!error.to_string().contains(TOKEN) && !error.to_string().contains("ya29"), "{error}");
    assert_eq!(accounts(root.path()), json!([]));
    assert_eq!(endpoint.asked().len(), 1);
    assert_eq!(endpoint.asked()[0]["scope"], "https://mail.google.com/");
}

#[test]
fn a_grant_is_not_for_whoever_shows_any_certificate() {
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path();
    // Nobody is asked: it would be an endpoint that gives all.
    let endpoint = Endpoint::start(|_, _| (200, json!({ "access_token": "all", "token_type": "Bearer" })));
    let url = endpoint.url();
    let grant = ["--refresh-token-stdin", "--client-id", "desktop", "--token-endpoint", &url];
    let (add, set, swap) = (["account", "add", ALICE], ["account", "set", ALICE], ["account", "swap", ALICE]);
    let (any, unchecked) = (["--certificates", "accept-any"], ["--unchecked"]);
    let told = |parts: &[&[&str]]| {
        let error = refused(state, parts, TOKEN, 2);
        assert!(error["error"].as_str().is_some_and(|text| text.contains("cannot believe any certificate")), "{error}");
        assert!(error["hint"].as_str().is_some_and(|text| text.contains("--certificates ca=FILE")), "{error}");
    };
    told(&[&add, &HOSTS, &grant, &any]);
    told(&[&add, &HOSTS, &grant, &any, &unchecked]);
    assert_eq!(accounts(state), json!([]));

    // From the certificates' side, and from the grant's.
    assert!(run(state, &[&add, &HOSTS, &grant, &unchecked], TOKEN).status.success());
    told(&[&set, &any]);
    told(&[&set, &any, &unchecked]);
    assert!(run(state, &[&["account", "remove", ALICE]], "").status.success());
    assert!(run(state, &[&add, &HOSTS, &any, &unchecked, &["--password-stdin"]], "password").status.success());
    told(&[&set, &grant]);
    told(&[&set, &grant, &unchecked]);
    told(&[&swap, &HOSTS, &grant, &any, &["--provider", "generic", "--yes"]]);
    let shown: Value = serde_json::from_slice(&run(state, &[&["account", "show", ALICE]], "").stdout).expect("JSON");
    assert_eq!((&shown["grant"], &shown["certificates"]), (&Value::Null, &"accept-any".into()));
    assert!(run(state, &[&set, &grant, &["--certificates", "verify"], &unchecked], TOKEN).status.success());
    assert_eq!(endpoint.asked().len(), 0, "no token was asked for");
}

#[test]
fn an_endpoint_that_gives_no_token_is_told_by_what_came() {
    // What comes, what is said of it, and what of the hint is to help.
    let page = json!("<html>Please sign in to the network</html>");
    for (status, answer, what, help) in [
        (200, page.clone(), "no JSON object; status: 200", "a web page or a proxy of this network answered"),
        (404, page, "no JSON object; status: 404", "its path is wrong"),
        (302, json!({}), "a redirect to another address; status: 302", "if the provider has moved it"),
        (200, json!({ "id": TOKEN }), "without a usable access token; status: 200", "not the authorization endpoint"),
        (403, json!({ "error": TOKEN }), "without a known error code; status: 403", "does not say why"),
    ] {
        let root = tempfile::tempdir().expect("a directory");
        let endpoint = Endpoint::start(move |_, _| (status, answer.clone()));
        let url = endpoint.url();
        let grant = ["--refresh-token-stdin", "--client-id", "desktop", "--token-endpoint", &url];
        let error = refused(root.path(), &[&["account", "add", ALICE], &HOSTS, &grant], TOKEN, 4);
        let (said, hint) = (error["error"].as_str().expect("words"), error["hint"].as_str().expect("a hint"));
        assert!(said.starts_with(&url) && said.ends_with(what), "{said}");
        assert!(hint.contains(help) && hint.contains("nothing is known to be wrong with what you gave"), "{hint}");
        assert!(hint.ends_with(&format!("`--token-endpoint URL` takes the place of {url}")), "{hint}");
        assert!(!error.to_string().contains(TOKEN), "{error}");
        assert_eq!((accounts(root.path()), endpoint.asked().len()), (json!([]), 1));
    }
}
