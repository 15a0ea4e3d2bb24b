//! Other families of servers behind the bridge: what Dovecot and Exim never say must not trip it.

use crate::harness::{
    AddAccount, Bridge, CrmSettings, Curl, Cyrus, Dovecot, Exim, Hosted, Lab, Layout, Mbsync, PATIENCE, Postfix,
    Program, both, letters, same, script, until,
};

const ALICE: &str = "alice@crm.test";
const PASSWORD: &str = "secret";

/// A Cyrus with names below `INBOX.` behind the bridge, and one with plain names, as the first should look.
struct House {
    model: Cyrus,
    submission: Exim,
    bridge: Bridge,
    crm: CrmSettings,
    provider: Cyrus,
    _running: (Exim, Dovecot),
    // Its folder goes last.
    lab: Lab,
}

impl House {
    fn with(client: Program) -> Option<Self> {
        let lab = Lab::needing(&[Program::Cyrus, Program::Dovecot, Program::Exim, client])?;
        let passwords = Dovecot::ovh(&lab);
        passwords.add_user(ALICE, PASSWORD);
        let [provider, model] = [Layout::Ovh, Layout::Slash].map(|layout| {
            let cyrus = Cyrus::start(&lab, layout);
            cyrus.add_user(ALICE, PASSWORD);
            cyrus.load(ALICE, &letters());
            cyrus
        });
        let [exim, submission] = [&provider, &model].map(|cyrus| Exim::delivering(&lab, &passwords, cyrus.lmtp));
        let mut bridge = Bridge::prepare(&lab);
        let mut account = AddAccount::of(&lab, &passwords, &exim, ALICE);
        account.imap = format!("localhost:{}", provider.imaps);
        let crm = bridge.add_account(&account);
        bridge.serve();
        Some(Self { lab, model, submission, bridge, crm, provider, _running: (exim, passwords) })
    }
}

#[test]
fn python_sees_cyrus_by_plain_names() {
    let Some(house) = House::with(Program::Python) else { return };
    let ca = house.lab.certificates.ca.to_string_lossy();
    let script = |imap: u16, smtp: u16, security, login: &str, password: &str| {
        let (imap, smtp) = (imap.to_string(), smtp.to_string());
        script("python3", "script_a.py", &["localhost", &imap, &smtp, security, login, password, "", "/", &*ca])
    };
    let [direct, through] = both(
        || script(house.model.imaps, house.submission.submissions, "tls", ALICE, PASSWORD),
        || script(house.bridge.imap, house.bridge.smtp, "none", &house.crm.login, &house.crm.password),
    );
    same(&direct["steps"], &through["steps"]);
}

#[test]
fn php_sees_cyrus_by_plain_names() {
    let Some(house) = House::with(Program::Php) else { return };
    let script = |imap: u16, flags, login: &str, password: &str| {
        script("php", "script_a.php", &["127.0.0.1", &imap.to_string(), flags, login, password, "", "/"])
    };
    let [direct, through] = both(
        || script(house.model.imaps, "/ssl/novalidate-cert", ALICE, PASSWORD),
        || script(house.bridge.imap, "/notls", &house.crm.login, &house.crm.password),
    );
    same(&direct["pages"], &through["pages"]);
}

#[test]
fn curl_and_mbsync_work_with_cyrus() {
    let Some(_) = Lab::needing(&[Program::Mbsync]) else { return };
    let Some(house) = House::with(Program::Curl) else { return };
    let sign_in = || house.provider.sign_in(ALICE);
    let hosted = Hosted { address: ALICE, layout: Layout::Ovh, sign_in: &sign_in };
    Mbsync::works(&house.lab, &house.bridge, &house.crm, &hosted, true);
    Curl::works(&house.lab, &house.bridge, &house.crm, &hosted);
}

/// A Dovecot whose mail Postfix takes, behind a bridge that reaches it by TLS or STARTTLS.
struct PostfixHouse {
    bridge: Bridge,
    crm: CrmSettings,
    postfix: Postfix,
    dovecot: Dovecot,
    // Its folder goes last.
    lab: Lab,
}

impl PostfixHouse {
    fn with(security: &str) -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Postfix, Program::Python])?;
        let (dovecot, postfix) = Postfix::with_dovecot(&lab);
        for user in [ALICE_OVH, BOB_OVH] {
            dovecot.add_user(user, PASSWORD);
            dovecot.load(user, &letters());
        }
        let mut bridge = Bridge::prepare(&lab);
        let (smtp, security) = match security {
            "starttls" => (postfix.submission, "starttls"),
            _ => (postfix.submissions, "tls"),
        };
        let account = AddAccount {
            address: BOB_OVH.to_owned(),
            imap: format!("localhost:{}", dovecot.imaps),
            imap_security: "tls",
            smtp: format!("localhost:{smtp}"),
            smtp_security: security,
            certificates: format!("ca={}", lab.certificates.ca.display()),
            password: PASSWORD.to_owned(),
            more: Vec::new(),
        };
        let crm = bridge.add_account(&account);
        bridge.serve();
        Some(Self { bridge, crm, postfix, dovecot, lab })
    }
}

const ALICE_OVH: &str = "alice@ovh.test";
const BOB_OVH: &str = "bob@ovh.test";

#[test]
fn python_sends_by_postfix_as_without_the_bridge() {
    let Some(house) = PostfixHouse::with("tls") else { return };
    let ca = house.lab.certificates.ca.to_string_lossy();
    let script = |imap: u16, smtp: u16, security, login: &str, password: &str, names: [&str; 2]| {
        let (imap, smtp) = (imap.to_string(), smtp.to_string());
        script(
            "python3",
            "script_a.py",
            &["localhost", &imap, &smtp, security, login, password, names[0], names[1], &*ca],
        )
    };
    let [direct, through] = both(
        || script(house.dovecot.imaps, house.postfix.submissions, "tls", ALICE_OVH, PASSWORD, ["INBOX.", "."]),
        || script(house.bridge.imap, house.bridge.smtp, "none", &house.crm.login, &house.crm.password, ["", "/"]),
    );
    same(&direct["steps"], &through["steps"]);
}

#[test]
fn postfix_refuses_in_its_own_words_over_starttls() {
    let Some(house) = PostfixHouse::with("starttls") else { return };
    let mut wire = house.bridge.sign_in_smtp(&house.crm);
    wire.smtp(&format!("MAIL FROM:<{BOB_OVH}>"), 250);
    let words = wire.smtp("RCPT TO:<nobody@ovh.test>", 550);
    assert!(words.contains("5.1.1") && words.contains("Not a mailbox of ours"), "{words}");
    wire.smtp("RSET", 250);
    let words = wire.smtp(&format!("MAIL FROM:<{BOB_OVH}> SIZE=5000000"), 552);
    assert!(words.contains("5.3.4"), "{words}");
    // Postfix holds that size against the next MAIL too, until RSET.
    wire.smtp("RSET", 250);
    wire.smtp(&format!("MAIL FROM:<{BOB_OVH}>"), 250);
    wire.smtp(&format!("RCPT TO:<{BOB_OVH}>"), 250);
    wire.smtp("DATA", 354);
    wire.smtp("Subject: by Postfix\r\n\r\nShort.\r\n.", 250);
    let found = until(PATIENCE, || {
        let mut imap = house.bridge.sign_in(&house.crm);
        imap.imap_ok("SELECT INBOX");
        imap.imap_ok("SEARCH SUBJECT \"by Postfix\"").text().contains(" 7").then_some(())
    });
    assert!(found.is_some(), "{}", house.postfix.log());
    // Its password changes behind the bridge's back: refused in words that its owner reads.
    house.dovecot.add_user(BOB_OVH, "another");
    let refused = until(PATIENCE, || {
        let output = house.bridge.cli(&["account", "check", BOB_OVH, "--json"], b"");
        let checked: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let error = checked["smtp"]["error"].as_str()?.to_owned();
        error.contains("authentication failed").then_some(error)
    });
    let refused = refused.unwrap_or_else(|| panic!("not refused\n{}", house.postfix.log()));
    assert!(refused.contains("535 5.7.8") && !refused.contains(PASSWORD), "{refused}");
}
