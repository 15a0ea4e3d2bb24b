//! Accounts added through the command line at real servers: what is told, what is refused, what is stored.

use crate::harness::{
    AddAccount, Bridge, Dovecot, Exim, GMAIL_APP_PASSWORD, GMAIL_SMTP_LIMIT, GMAIL_SMTP_TOO_MANY_LOGINS,
    GMAIL_TOO_MANY, Host, Lab, Layout, MICROSOFT_SMTP_BASIC_OFF, MICROSOFT_SMTP_BUSY, MICROSOFT_SMTP_OFF, Program,
    Wire, words,
};
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

#[test]
fn a_refusal_is_told_in_the_providers_words_and_only_a_final_one_doubts_the_password() {
    let Some(lab) = Lab::needing(&[Program::Dovecot, Program::Exim]) else { return };
    let gmail = Host::with(&lab, Layout::Gmail, ALICE, "secret");
    let bridge = Bridge::prepare(&lab);
    bridge.add_account(&AddAccount::behind(&lab, &gmail, ALICE));
    // The hint is the table's of explanations, with the address; it doubts the password where that helps.
    let check = |refusal: &str, is_final: bool, doubts: bool| {
        let output = bridge.cli(&["account", "check", ALICE, "--json"], b"");
        assert_eq!(output.status.code(), Some(4), "{refusal}: {}", words(&output));
        let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
        let (said, hint) = (text(&error["error"]), text(&error["hint"]));
        // Of IMAP, the words behind the condition and the code.
        let theirs = refusal.strip_prefix("NO [ALERT] ").unwrap_or(refusal);
        assert!(said.ends_with(&format!(": {theirs}")), "{said}");
        assert_eq!(said.contains("refused the bridge's sign-in"), is_final, "{said}");
        assert_eq!(hint.contains("`passerelle account set alice@ovh.test --password`"), doubts, "{hint}");
        let explained = ["Google ", "Microsoft ", "sending by SMTP "].iter().any(|start| hint.starts_with(start));
        assert!(explained && !hint.contains("ADDRESS"), "{hint}");
    };
    for (refusal, is_final) in [(GMAIL_APP_PASSWORD, true), (GMAIL_TOO_MANY, false)] {
        gmail.filter.refuse_sign_in(Some(refusal));
        check(refusal, is_final, is_final);
    }
    gmail.filter.refuse_sign_in(None);
    let submission = [
        (MICROSOFT_SMTP_OFF, true),
        (MICROSOFT_SMTP_BASIC_OFF, true),
        (MICROSOFT_SMTP_BUSY, false),
        (GMAIL_SMTP_TOO_MANY_LOGINS, false),
    ];
    for (refusal, is_final) in submission {
        gmail.exim.refuse("AUTH", None);
        gmail.exim.refuse("AUTH", Some(refusal));
        check(refusal, is_final, false);
    }
}

#[test]
fn a_limit_on_sending_reaches_the_crm_in_the_providers_words() {
    let Some(mut house) = House::start() else { return };
    let alice = house.bridge.add_account(&house.alice());
    house.bridge.serve();
    house.exim.refuse("DATA", Some(GMAIL_SMTP_LIMIT));
    let mut wire = Wire::plain(house.bridge.smtp);
    wire.expect("220 ");
    wire.smtp("EHLO crm.test", 250);
    wire.smtp(&alice.smtp_auth(), 235);
    wire.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
    wire.smtp(&format!("RCPT TO:<{ALICE}>"), 250);
    wire.smtp("DATA", 354);
    let said = wire.smtp("Subject: x\r\n\r\nx\r\n.", 550);
    assert!(said.contains(GMAIL_SMTP_LIMIT.trim_start_matches("550 ")), "{said}");
}
