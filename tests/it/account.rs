//! Accounts added through the command line at real servers: what is told, what is refused, what is stored.

use crate::harness::{AddAccount, Bridge, Dovecot, Exim, Lab, Program, words};
use serde_json::Value;

const ALICE: &str = "alice@ovh.test";

/// A provider, and a bridge without an account.
struct House {
    lab: Lab,
    dovecot: Dovecot,
    exim: Exim,
    bridge: Bridge,
}

impl House {
    fn start() -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Exim])?;
        let dovecot = Dovecot::ovh(&lab);
        dovecot.add_user(ALICE, "secret");
        let exim = Exim::submission(&lab, &dovecot);
        let bridge = Bridge::prepare(&lab);
        Some(Self { lab, dovecot, exim, bridge })
    }

    fn alice(&self) -> AddAccount {
        AddAccount::of(&self.lab, &self.dovecot, &self.exim, ALICE)
    }

    /// What `account add` answers when it is refused: its error.
    fn refused(&self, account: &AddAccount) -> Value {
        let output = self.bridge.try_add_account(account);
        assert_eq!(output.status.code(), Some(4), "{}", words(&output));
        let error = serde_json::from_slice(&output.stderr).expect("JSON");
        assert_eq!(self.json(&["account", "list"]), Value::Array(Vec::new()), "nothing is stored");
        error
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.bridge.cli(&[arguments, &["--json"]].concat(), b"");
        assert!(output.status.success(), "{}", words(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

#[test]
fn each_step_that_works_is_told_and_then_what_to_copy() {
    let Some(house) = House::start() else { return };
    let account = house.alice();
    let arguments = [
        "account",
        "add",
        ALICE,
        "--imap",
        &account.imap,
        "--smtp",
        &account.smtp,
        "--certificates",
        &account.certificates,
        "--password-stdin",
    ];
    let output = house.bridge.cli(&arguments, b"secret\n");
    assert!(output.status.success(), "{}", words(&output));
    let told = String::from_utf8(output.stdout).expect("text");
    for service in ["imap", "smtp"] {
        let steps: Vec<_> =
            told.lines().filter_map(|line| line.strip_prefix(service)?.split_whitespace().next()).collect();
        let awaited: &[&str] = match service {
            "imap" => &["name", "connected", "encrypted", "greeted", "signed", "folders", "roles"],
            _ => &["name", "connected", "encrypted", "greeted", "signed"],
        };
        assert_eq!(steps, awaited, "{told}");
    }
    assert!(told.contains("certificate verified"), "{told}");
    assert!(told.contains("Sent = INBOX.Sent"), "{told}");
    assert!(told.contains(&format!("IMAP server   127.0.0.1   port {}   no encryption", house.bridge.imap)), "{told}");
    assert!(!told.contains("secret"), "{told}");
    assert!(house.json(&["account", "show", ALICE])["checked_at"].is_i64());
}

#[test]
fn folders_are_listed_under_both_names() {
    let Some(house) = House::start() else { return };
    house.bridge.add_account(&house.alice());
    let rows = house.json(&["folder", "list", ALICE]);
    let row = |local: &str| rows.as_array().expect("a list").iter().find(|row| row["local"] == local).cloned();
    assert_eq!(row("Sent").expect("Sent")["remote"], "INBOX.Sent");
    assert_eq!(row("Sent").expect("Sent")["role"], "sent");
    assert_eq!(row("Été 2024/Devis & co").expect("decoded")["remote"], "INBOX.Été 2024.Devis & co");
}

#[test]
fn a_wrong_password_is_said_for_both_services_and_nothing_is_stored() {
    let Some(house) = House::start() else { return };
    let error = house.refused(&AddAccount { password: "wrong".to_owned(), ..house.alice() });
    let said = text(&error["error"]);
    assert!(said.contains("imap localhost:") && said.contains("; smtp localhost:"), "{said}");
    assert!(said.contains("refused the bridge's sign-in") && !said.contains("wrong"), "{said}");
    assert!(text(&error["hint"]).starts_with("check the password"), "{error}");
}

#[test]
fn an_unknown_authority_is_refused_and_may_be_accepted_in_words() {
    let Some(house) = House::start() else { return };
    let error = house.refused(&AddAccount { certificates: "verify".to_owned(), ..house.alice() });
    assert!(text(&error["error"]).contains("unknown authority"), "{error}");
    assert!(text(&error["hint"]).contains("--certificates ca=FILE"), "{error}");

    house.bridge.add_account(&AddAccount { certificates: "accept-any".to_owned(), ..house.alice() });
    let shown = house.json(&["account", "show", ALICE]);
    assert!(text(&shown["warnings"][0]).starts_with("any certificate is accepted"), "{shown}");
}

#[test]
fn nobody_listening_is_said_with_a_hint() {
    let Some(house) = House::start() else { return };
    let error = house.refused(&AddAccount { imap: "127.0.0.1:1".to_owned(), ..house.alice() });
    assert!(text(&error["error"]).starts_with("imap 127.0.0.1:1 (tls): "), "{error}");
    assert!(text(&error["hint"]).contains("firewall"), "{error}");
}
