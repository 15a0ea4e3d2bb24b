//! The command line as people and scripts meet it: words, JSON, exit codes, and what is on disk after a first start.

use crate::harness::passerelle as run;
use serde_json::Value;
use std::{path::Path, process::Output};

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn json(state: &Path, arguments: &[&str], input: &str) -> Value {
    let output = run(state, &[arguments, &["--json"]].concat(), input);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

const ADD: [&str; 9] = [
    "account",
    "add",
    "alice@example.test",
    "--imap",
    "imap.example.test",
    "--smtp",
    "smtp.example.test:2525",
    "--unchecked",
    "--password-stdin",
];

#[test]
fn help_says_what_to_type_and_what_the_exit_codes_mean() {
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path().join("state");
    let help = stdout(&run(&state, &["--help"], ""));
    for words in
        ["passerelle serve", "passerelle account add", "Exit codes:", "  3  the configuration is wrong", "--state"]
    {
        assert!(help.contains(words), "{words:?} in {help}");
    }
    let help = stdout(&run(&state, &["account", "add", "--help"], ""));
    for words in ["--imap-security", "ca=FILE", "--password-stdin", "Nothing is stored unless both let us in"] {
        assert!(help.contains(words), "{words:?} in {help}");
    }
    let version = stdout(&run(&state, &["--version"], ""));
    assert_eq!(version, format!("passerelle {}\n", env!("CARGO_PKG_VERSION")));
    assert!(!state.exists(), "asking for help makes no state");
}

#[test]
fn an_account_is_added_shown_and_removed() {
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path().join("state");
    let added = run(&state, &ADD, "open sesame\r\n");
    let text = stdout(&added);
    assert!(added.status.success(), "{}", stderr(&added));
    assert!(text.contains("alice@example.test is added without a sign-in"), "{text}");
    assert!(text.contains("  IMAP server   127.0.0.1   port 1143   no encryption\n"), "{text}");
    assert!(text.contains("  user name     alice@example.test\n"), "{text}");
    assert!(!text.contains("open sesame"));
    let password = text.lines().find_map(|line| line.trim().strip_prefix("password")).expect("a password").trim();
    assert_eq!(password.len(), 31);

    let list = json(&state, &["account", "list"], "");
    assert_eq!(list[0]["address"], "alice@example.test");
    assert_eq!(list[0]["owner"], "admin");
    assert_eq!(list[0]["imap"]["host"], "imap.example.test");
    assert_eq!(list[0]["imap"]["port"], 993);
    assert_eq!(list[0]["smtp"]["port"], 2525);
    assert_eq!(list[0]["smtp"]["security"], "tls");
    assert_eq!(list[0]["checked_at"], Value::Null);
    assert_eq!(list[0]["logins"][0]["name"], "alice@example.test");
    assert!(!list.to_string().contains(password) && !list.to_string().contains("sesame"));

    let again = run(&state, &ADD, "open sesame\n");
    assert_eq!(again.status.code(), Some(6));
    assert!(
        stderr(&again).starts_with("error: there is already an account with this address: alice@example.test\nhint: ")
    );

    let removed = json(&state, &["account", "remove", "Alice@example.test"], "");
    assert_eq!(removed["removed"], "Alice@example.test");
    let gone = run(&state, &["account", "show", "alice@example.test"], "");
    assert_eq!(gone.status.code(), Some(5));
    assert_eq!(
        stderr(&gone),
        "error: there is no account with this address: alice@example.test\nhint: `passerelle account list` shows all\n"
    );
}

#[test]
fn logins_are_made_listed_and_revoked() {
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path();
    assert_eq!(run(state, &["login", "add"], "").status.code(), Some(5));
    json(state, &ADD, "x");
    let made = json(state, &["login", "add", "--label", "crm"], "");
    assert_eq!(made["login"], "alice+crm@example.test");
    assert_eq!(made["connect"].as_array().map(Vec::len), Some(4));
    assert_eq!(
        made["connect"][0],
        serde_json::json!({"protocol": "imap", "host": "127.0.0.1", "port": 1143, "security": "none"})
    );
    let named = json(state, &["login", "add", "alice@example.test", "--name", "vtiger"], "");
    assert_eq!(named["login"], "vtiger");
    assert_eq!(run(state, &["login", "add", "--name", "VTIGER"], "").status.code(), Some(6));
    assert_eq!(run(state, &["login", "add", "--label", "a b"], "").status.code(), Some(2));
    assert_eq!(run(state, &["login", "add", "--label", "a", "--name", "b"], "").status.code(), Some(2));

    json(state, &["login", "revoke", "vtiger"], "");
    assert_eq!(run(state, &["login", "revoke", "vtiger"], "").status.code(), Some(5));
    let list = json(state, &["login", "list"], "");
    let in_force = |login: &&Value| login["revoked_at"] == Value::Null;
    assert_eq!(list.as_array().map(|list| (list.len(), list.iter().filter(in_force).count())), Some((3, 2)));
}

#[test]
fn a_login_is_given_the_profile_of_another_crm() {
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path();
    json(state, &ADD, "x");
    json(state, &["login", "add", "--name", "crm"], "");
    let set = json(state, &["login", "set", "CRM", "--crm", "vtiger"], "");
    assert_eq!((&set["name"], &set["crm"], &set["changed"]), (&"crm".into(), &"vtiger".into(), &true.into()));
    assert_eq!((&set["address"], set["connect"].as_array().map(Vec::len)), (&"alice@example.test".into(), Some(4)));
    let said = stdout(&run(state, &["login", "set", "crm", "--crm", "vtiger"], ""));
    let words = "the login is one for vtiger already: crm\nits password stays; what to copy into the CRM:\n  \
                 passerelle crm settings alice@example.test --crm vtiger\n";
    assert_eq!(said, words);
    let list = json(state, &["login", "list"], "");
    let crms: Vec<_> = list.as_array().expect("a list").iter().map(|login| login["crm"].as_str()).collect();
    assert_eq!(crms, [Some("generic"), Some("vtiger")], "the other login stays as it is");

    let refused = run(state, &["login", "set", "crm", "--crm", "sugar"], "");
    assert_eq!(refused.status.code(), Some(5), "{}", stderr(&refused));
    json(state, &["login", "revoke", "crm"], "");
    for arguments in [&["login", "set", "crm", "--crm", "odoo"][..], &["login", "revoke", "crm"]] {
        let refused = run(state, arguments, "");
        assert_eq!(refused.status.code(), Some(5));
        let start = "error: there is no login of this name in force: crm\nhint: `passerelle login list ";
        assert!(stderr(&refused).starts_with(start), "{}", stderr(&refused));
    }
    assert_eq!(run(state, &["login", "set", "crm"], "").status.code(), Some(2));
}

#[test]
fn a_dangerous_choice_is_said_wherever_the_account_is_shown() {
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path();
    let add = [&ADD[..], &["--certificates", "accept-any", "--imap-security", "none"]].concat();
    for arguments in [&add[..], &["account", "list"], &["account", "show", "alice@example.test"]] {
        let text = stdout(&run(state, arguments, "x"));
        assert!(text.contains("warning: ") && text.contains("any certificate is accepted"), "{arguments:?}: {text}");
        assert!(text.contains("is not encrypted"), "{arguments:?}: {text}");
    }
    let shown = json(state, &["account", "show", "alice@example.test"], "");
    assert_eq!(shown["warnings"].as_array().map(Vec::len), Some(2));
    assert_eq!(shown["certificates"], "accept-any");
}

#[test]
fn what_cannot_be_understood_ends_with_2() {
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path().join("state");
    let wrong: [&[&str]; 9] = [
        &[],
        &["sing"],
        &["account", "show", "no-address"],
        &["account", "add", "a@b.test", "--imap", "a b", "--smtp", "c"],
        &["account", "add", "a@b.test", "--imap", "a:0", "--smtp", "c", "--password-stdin"],
        &["account", "add", "a@b.test", "--imap", "a", "--smtp", "c", "--certificates", "ca=/no/such/file"],
        &["account", "add", "a@b.test", "--imap", "a", "--smtp", "c", "--certificates", "any"],
        &["account", "add", "a@b.test", "--imap", "a", "--smtp", "c", "--certificates", "pin=abc"],
        &["account", "add", "a@b.test", "--imap", "a", "--smtp", "c", "--password-stdin"],
    ];
    for arguments in wrong {
        assert_eq!(run(&state, arguments, "").status.code(), Some(2), "{arguments:?}");
    }
    assert!(!state.exists(), "nothing is made before the command is understood");
    let no_certificate = root.path().join("ca.pem");
    std::fs::write(&no_certificate, "no certificate").expect("written");
    let ca = format!("ca={}", no_certificate.display());
    let refused = run(&state, &["account", "add", "a@b.test", "--certificates", &ca], "");
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr(&refused).contains("the file holds no certificate in PEM form"), "{}", stderr(&refused));
}

#[test]
fn what_cannot_be_understood_is_said_as_json_too() {
    let root = tempfile::tempdir().expect("a directory");
    let wrong: [(&[&str], &str); 3] = [
        (&["--json", "sing"], "unrecognized subcommand 'sing'"),
        (
            &["account", "show", "x", "--json"],
            "invalid value 'x' for '<ADDRESS>': not an address of the form local@domain",
        ),
        (&["login", "set", "x", "--json"], "the following required arguments were not provided: --crm <NAME>"),
    ];
    for (arguments, words) in wrong {
        let refused = run(root.path(), arguments, "");
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        let error: Value = serde_json::from_slice(&refused.stderr).expect("JSON");
        assert_eq!((error["error"].as_str(), error["exit"].as_i64()), (Some(words), Some(2)), "{error}");
    }
    let help = run(root.path(), &["login", "set", "--help", "--json"], "");
    assert!(help.status.success() && stdout(&help).contains("Examples:"));
}

#[test]
fn a_state_that_cannot_be_used_ends_with_7() {
    let root = tempfile::tempdir().expect("a directory");
    let file = root.path().join("file");
    std::fs::write(&file, "x").expect("written");
    let refused = run(&file, &["account", "list"], "");
    assert_eq!(refused.status.code(), Some(7), "{}", stderr(&refused));

    let state = root.path().join("state");
    json(&state, &ADD, "x");
    std::fs::remove_file(state.join("master.key")).expect("removed");
    let refused = run(&state, &["account", "list", "--json"], "");
    assert_eq!(refused.status.code(), Some(7));
    let error: Value = serde_json::from_slice(&refused.stderr).expect("JSON");
    assert_eq!(error["exit"], 7);
    assert!(error["error"].as_str().is_some_and(|text| text.starts_with("the key file is missing")), "{error}");
    assert!(error["hint"].as_str().is_some_and(|text| text.starts_with("put back the key file")), "{error}");
}

#[test]
fn the_configuration_is_shown_as_it_can_be_written() {
    let root = tempfile::tempdir().expect("a directory");
    let shown = run(root.path(), &["config", "show"], "");
    let file = root.path().join("passerelle.toml");
    std::fs::write(&file, &shown.stdout).expect("written");
    let checked = json(root.path(), &["config", "check"], "");
    assert_eq!(checked["file"], file.display().to_string());
    let shown = json(root.path(), &["config", "show"], "");
    assert_eq!(shown["config"]["listen"]["imap"], "127.0.0.1:1143");
    assert_eq!(shown["config"]["timeouts"]["end-of-data"], "10m");
}
