//! A shared mailbox as Microsoft has it: its delegate's grant opens it, and the delegate sends for it. The CRM has one login.

use crate::harness::{Bridge, CrmSettings, Dovecot, Exim, Firm, Lab, Oidc, Person, Program, settings, until, words};
use std::time::Duration;

const SHARED: &str = "info@ovh.test";
const DELEGATE: &str = "alice@ovh.test";

#[test]
fn a_delegate_opens_a_shared_mailbox_and_sends_for_it() {
    let Some(lab) = Lab::needing(&[Program::Dovecot, Program::Exim, Program::Oidc]) else { return };
    let oidc = Oidc::start(&lab, 600);
    let dovecot = Dovecot::with_tokens_of_tenants(&lab, oidc.port);
    for address in [SHARED, DELEGATE] {
        dovecot.add_user(address, "direct");
    }
    let exim = Exim::submission(&lab, &dovecot);
    let mut bridge = Bridge::prepare(&lab);
    let imap = format!("localhost:{}", dovecot.imaps);
    let smtp = format!("localhost:{}", exim.submissions);
    let certificates = format!("ca={}", lab.certificates.ca.display());
    let endpoint = oidc.token_endpoint();
    let mut arguments = vec!["account", "add", SHARED, "--imap", &imap, "--smtp", &smtp, "--smtp-delegate", DELEGATE];
    arguments.extend(["--certificates", &certificates, "--token-endpoint", &endpoint, "--client-id", "bridge"]);
    arguments.extend(["--refresh-token-stdin", "--client-secret-stdin", "--json"]);
    let output = bridge.cli(&arguments, format!("{}\nbridgesecret\n", oidc.grant(DELEGATE)).as_bytes());
    assert!(output.status.success(), "{}", words(&output));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let field = |name: &str| answer[name].as_str().expect("text").to_owned();
    let crm = CrmSettings { login: field("login"), password: field("password") };
    let shown = words(&bridge.cli(&["account", "show", SHARED], b""));
    assert!(shown.contains(&format!("as {DELEGATE}, the delegate of this mailbox")), "{shown}");
    bridge.serve();

    let mut wire = bridge.sign_in_smtp(&crm);
    wire.smtp(&format!("MAIL FROM:<{SHARED}>"), 250);
    wire.smtp(&format!("RCPT TO:<{SHARED}>"), 250);
    wire.smtp("DATA", 354);
    wire.send(format!("From: {SHARED}\r\nSubject: sent by the delegate\r\n\r\nHello.\r\n").as_bytes());
    wire.smtp(".", 250);
    let arrived = until(Duration::from_secs(10), || (dovecot.count(SHARED, "INBOX") == 1).then_some(()));
    assert!(arrived.is_some(), "{}", exim.log());
    let log = exim.log();
    let sent = log.lines().find(|line| line.contains(&format!("<= {SHARED}"))).unwrap_or_else(|| panic!("{log}"));
    assert!(sent.contains(DELEGATE), "who signed in: {sent}");

    let mut wire = bridge.sign_in(&crm);
    wire.imap_ok("SELECT INBOX");
    let told = wire.imap_ok("FETCH 1 (BODY[HEADER.FIELDS (SUBJECT)])").text();
    assert!(told.contains("sent by the delegate"), "{told}");
    assert_eq!(dovecot.count(DELEGATE, "INBOX"), 0, "the delegate's own mailbox is another");
}

/// Mail goes in and out by the one login, also with the delegate's next token, and is none of the delegate's own.
fn opens_by_its_delegate(firm: &Firm, crm: &CrmSettings) {
    firm.lives(crm, SHARED);
    // It fails where nobody is signed in.
    let _ = firm.dovecot.doveadm(&["kick", SHARED]);
    firm.outlive_the_token();
    firm.lives(crm, SHARED);
    let log = firm.exim.log();
    let sent: Vec<_> = log.lines().filter(|line| line.contains(&format!("<= {SHARED}"))).collect();
    assert_eq!(sent.len(), 2, "{log}");
    assert!(sent.iter().all(|line| line.contains(&format!(":{DELEGATE}"))), "who signed in: {sent:?}");
    assert_eq!(firm.dovecot.count(DELEGATE, "INBOX"), 0, "the delegate's own mailbox is another");
    let logins = firm.json(&[&["login", "list", SHARED]], "");
    assert_eq!(logins.as_array().map(Vec::len), Some(1), "{logins}");
    let shown = firm.json(&[&["account", "show", SHARED]], "");
    assert_eq!(shown["grant"]["state"], "good", "{shown}");
}

/// A provider that knows the shared mailbox, and the client by which people sign in there.
fn firm(register: &[&str], secret: &str) -> Option<Firm> {
    let firm = Firm::start("token")?;
    firm.dovecot.add_user(SHARED, "direct");
    firm.json(&[&["provider", "register", "firm"], register], secret);
    Some(firm)
}

#[test]
fn a_delegate_consents_for_a_shared_mailbox_at_the_providers_page() {
    let Some(mut firm) = firm(&["--client-id", "browser", "--secret-stdin", "--unchecked"], "keep-it-quiet-8\n") else {
        return;
    };
    let [option, ca] = firm.certificates();
    let sign_in = ["account", "sign-in", SHARED];
    let new = ["--provider", "firm", &option, &ca, "--smtp-delegate", DELEGATE, "--paste"];
    let asked = firm.json(&[&sign_in, &new], "");
    let page = asked["open"].as_str().expect("an address");
    let back = Person::default().consents(page, DELEGATE);
    let crm = settings(&firm.json(&[&sign_in, &["--answer-stdin"]], &format!("{back}\n")));
    firm.bridge.serve();
    opens_by_its_delegate(&firm, &crm);
    assert!(firm.bridge.drain(), "{}", firm.bridge.log());
}

#[test]
fn a_delegate_signs_in_for_a_shared_mailbox_on_another_device() {
    let Some(mut firm) = firm(&["--client-id", "device"], "") else { return };
    let [option, ca] = firm.certificates();
    let add = ["account", "add", SHARED, "--provider", "firm", &option, &ca, "--smtp-delegate", DELEGATE, "--device"];
    let (ended, said) = firm.on_a_device(&add, Some(DELEGATE));
    assert_eq!(ended, "exit status: 0", "{said}");
    let crm = settings(&serde_json::from_str(&said).expect("JSON"));
    firm.bridge.serve();
    opens_by_its_delegate(&firm, &crm);
    assert!(firm.bridge.drain(), "{}", firm.bridge.log());
}
