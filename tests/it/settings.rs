//! Settings of accounts, at real servers and doubles: found by provider, changed, checked, and what a running bridge
//! makes of a change.

use crate::harness::{
    AddAccount, Bridge, CrmSettings, Dovecot, Exim, Lab, PATIENCE, Program, Provider, Wire, until, words,
};
use serde_json::Value;
use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

const ALICE: &str = "alice@ovh.test";
/// The issue: after its password was changed, an account is back within this.
const BACK: Duration = Duration::from_secs(2);

/// A provider, a running bridge, and an account.
struct House {
    lab: Lab,
    dovecot: Dovecot,
    exim: Exim,
    bridge: Bridge,
    alice: CrmSettings,
}

impl House {
    fn start() -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Exim])?;
        let dovecot = Dovecot::ovh(&lab);
        dovecot.add_user(ALICE, "secret");
        let exim = Exim::submission(&lab, &dovecot);
        let mut bridge = Bridge::prepare(&lab);
        let alice = bridge.add_account(&AddAccount::of(&lab, &dovecot, &exim, ALICE));
        bridge.serve();
        Some(Self { lab, dovecot, exim, bridge, alice })
    }

    fn set(&self, arguments: &[&str], input: &str) -> Value {
        let all = [&["account", "set", ALICE], arguments, &["--json"]].concat();
        let output = self.bridge.cli(&all, input.as_bytes());
        assert!(output.status.success(), "{arguments:?}: {}", words(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// The error of a command that ends so.
    fn fails(&self, arguments: &[&str], input: &str, code: i32) -> Value {
        let output = self.bridge.cli(&[arguments, &["--json"]].concat(), input.as_bytes());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", words(&output));
        serde_json::from_slice(&output.stderr).expect("JSON")
    }

    fn show(&self) -> Value {
        json(&self.bridge, &["account", "show", ALICE])
    }

    fn try_login(&self) -> String {
        let mut wire = Wire::plain(self.bridge.imap);
        wire.expect("* OK");
        wire.imap(&self.alice.imap_login()).tagged
    }

    fn try_auth(&self) -> (u16, String) {
        let mut wire = Wire::plain(self.bridge.smtp);
        wire.expect("220");
        wire.smtp("EHLO crm.test", 250);
        wire.line(&self.alice.smtp_auth());
        wire.reply()
    }

    /// What a client is told that wants a mailbox: LOGIN alone needs no lane while the account is known to be well.
    fn try_select(&self) -> String {
        let mut wire = Wire::plain(self.bridge.imap);
        wire.expect("* OK");
        let login = wire.imap(&self.alice.imap_login());
        if login.is_ok() { wire.imap("SELECT INBOX").tagged } else { login.tagged }
    }

    /// Changes the password at the provider, and waits until it goes by it: Dovecot looks at its users once a second.
    fn provider_knows(&self, password: &str) {
        self.dovecot.add_user(ALICE, password);
        let knows = || {
            let mut wire = Wire::tls(self.dovecot.imaps, &self.lab.certificates.ca, "localhost");
            wire.expect("* OK");
            wire.imap(&format!("LOGIN {ALICE} {password}")).is_ok().then_some(())
        };
        until(PATIENCE, knows).expect("Dovecot looks at its users once a second");
    }

    /// How long until a login is let in, from when this began.
    fn is_back(&self, began: Instant) {
        let back = until(PATIENCE, || self.try_select().starts_with("OK").then(|| began.elapsed()));
        let back = back.expect("back at last");
        assert!(back < BACK, "{back:?}");
    }
}

fn json(bridge: &Bridge, arguments: &[&str]) -> Value {
    let output = bridge.cli(&[arguments, &["--json"]].concat(), b"");
    assert!(output.status.success(), "{arguments:?}: {}", words(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

#[test]
fn an_account_finds_its_provider_by_its_domain_or_by_name() {
    let Some(lab) = Lab::needing(&[]) else { return };
    // Nobody is asked: how others are is for `discovery.rs`.
    let bridge = Bridge::configured(&lab, "[discovery]\nsteps = []\n");
    let add = |arguments: &[&str]| {
        let all = [&["account", "add"], arguments, &["--unchecked", "--password-stdin", "--json"]].concat();
        bridge.cli(&all, b"secret\n")
    };
    let added = |arguments: &[&str]| {
        let output = add(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", words(&output));
        json(&bridge, &["account", "show", arguments[0]])
    };
    let account = added(&["alice@gmail.com"]);
    assert_eq!((text(&account["provider"]), text(&account["imap"]["host"])), ("google", "imap.gmail.com"));
    assert_eq!((text(&account["smtp"]["host"]), account["smtp"]["port"].as_u64()), ("smtp.gmail.com", Some(465)));
    let account = added(&[
        "bob@firm.test",
        "--provider",
        "ovh-pro",
        "--imap",
        "pro2.mail.ovh.net",
        "--smtp",
        "pro2.mail.ovh.net",
    ]);
    assert_eq!((text(&account["provider"]), account["smtp"]["port"].as_u64()), ("ovh-pro", Some(587)));
    assert_eq!(text(&account["smtp"]["security"]), "starttls");
    let account =
        added(&["carol@firm.test", "--imap", "mail.test", "--smtp", "mail.test", "--user-format", "mailbox-name"]);
    assert_eq!((text(&account["provider"]), text(&account["user"])), ("generic", "carol"));

    let refused = |arguments: &[&str], code, start: &str, hint: &str| {
        let output = add(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", words(&output));
        let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
        assert!(text(&error["error"]).starts_with(start), "{error}");
        assert!(text(&error["hint"]).contains(hint), "{error}");
    };
    refused(&["dave@firm.test"], 2, "no provider is known for this domain: firm.test", "--provider NAME");
    refused(&["dave@firm.test", "--imap", "mail.test"], 2, "no provider is known", "--smtp HOST");
    refused(&["dave@firm.test", "--provider", "gmail"], 5, "there is no provider of this name: gmail", "provider list");
    let wanted = "OVH Email Pro has a host for each customer, which --imap must say: pro{N}.mail.ovh.net";
    refused(&["dave@firm.test", "--provider", "ovh-pro"], 2, wanted, "control panel");
    refused(&["dave@outlook.com"], 2, "no password opens a mailbox of this provider: Outlook.com", "refresh token");
    assert_eq!(json(&bridge, &["account", "list"]).as_array().map(Vec::len), Some(3));
}

#[test]
fn a_new_password_brings_the_account_back_and_leaves_all_else() {
    let Some(house) = House::start() else { return };
    let selected = |wire: &mut Wire| {
        let text = wire.imap_ok("SELECT Sent").text();
        text.split("[UIDVALIDITY ").nth(1).and_then(|rest| rest.split(']').next()).expect("a number").to_owned()
    };
    let mut session = house.bridge.sign_in(&house.alice);
    let told = selected(&mut session);
    let (before, logins) = (house.show(), json(&house.bridge, &["login", "list"]));

    house.provider_knows("changed");
    let refused = house.try_select();
    assert!(refused.starts_with("NO [CONTACTADMIN] "), "{refused}");

    let wrong = house.fails(&["account", "set", ALICE, "--password-stdin"], "wrong\n", 4);
    assert!(text(&wrong["error"]).contains("refused the bridge's sign-in"), "{wrong}");
    assert!(!wrong.to_string().contains("wrong\""), "{wrong}");
    assert_eq!(house.show(), before, "nothing is changed");

    let began = Instant::now();
    let now = house.set(&["--password-stdin"], "changed\r\n");
    assert_eq!(now["signed_in"], true);
    house.is_back(began);
    session.expect("* BYE [UNAVAILABLE] ");
    assert_eq!(house.try_auth().0, 235);
    assert_eq!(selected(&mut house.bridge.sign_in(&house.alice)), told);
    assert_eq!(json(&house.bridge, &["login", "list"]), logins);
    for key in ["address", "imap", "smtp", "user", "certificates", "created_at"] {
        assert_eq!(now[key], before[key], "{key}");
    }
}

#[test]
fn what_is_switched_off_is_refused_in_words_and_need_not_work() {
    let Some(house) = House::start() else { return };
    let mut session = house.bridge.sign_in(&house.alice);
    house.set(&["--receive", "off"], "");
    session.expect("* BYE [UNAVAILABLE] ");
    assert!(house.try_login().starts_with("NO [NOPERM] Receiving is switched off"), "{}", house.try_login());
    assert_eq!(house.try_auth().0, 235);

    house.set(&["--receive", "on", "--send", "off"], "");
    let seen = until(PATIENCE, || Some(house.try_auth()).filter(|(code, _)| *code != 235)).expect("seen");
    assert!(seen.0 == 550 && seen.1.contains("5.7.1 Sending is switched off"), "{seen:?}");
    house.is_back(Instant::now());

    // A submission server that is not used need not be there.
    let checked = house.set(&["--smtp", "127.0.0.1:1", "--display-name", "Alice"], "");
    assert_eq!((&checked["signed_in"], &checked["display_name"]), (&Value::Bool(false), &Value::from("Alice")));
    let checked = json(&house.bridge, &["account", "check", ALICE]);
    assert_eq!((text(&checked["imap"]["state"]), text(&checked["smtp"]["state"])), ("ok", "off"));
}

#[test]
fn submission_may_have_a_user_of_its_own() {
    let Some(house) = House::start() else { return };
    house.dovecot.add_user("relay@ovh.test", "relay secret");
    let separate = ["account", "set", ALICE, "--smtp-user", "relay@ovh.test", "--smtp-password-stdin"];
    house.fails(&separate, "wrong\n", 4);
    assert_eq!(house.show()["smtp_auth"]["kind"], "same");
    let now = house.set(&separate[3..], "relay secret\n");
    assert_eq!(now["smtp_auth"], serde_json::json!({ "kind": "separate", "user": "relay@ovh.test" }));
    // Only this password still opens submission.
    house.provider_knows("changed");
    let mut smtp = house.bridge.sign_in_smtp(&house.alice);
    smtp.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
    smtp.smtp("RCPT TO:<alice@ovh.test>", 250);
    smtp.smtp("DATA", 354);
    smtp.smtp("Subject: by another user\r\n\r\nShort.\r\n.", 250);
    house.set(&["--smtp-auth", "same", "--password-stdin"], "changed\n");
    assert_eq!(house.show()["smtp_auth"]["kind"], "same");
}

#[test]
fn submission_may_want_no_sign_in() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let imap = Provider::imap(Some(&lab.certificates.good), |_, _, _| Some(false));
    // It knows this machine, and offers no AUTH.
    let smtp = Provider::start(Some(&lab.certificates.good), |visit| {
        visit.say("220 relay ESMTP")?;
        loop {
            match visit.line()?.split(' ').next().unwrap_or_default() {
                "EHLO" => visit.say("250-relay\r\n250 PIPELINING")?,
                "QUIT" => return visit.say("221 2.0.0 Bye"),
                "AUTH" => visit.say("503 5.5.1 what for")?,
                _ => visit.say("250 2.0.0 Ok")?,
            }
        }
    });
    let mut bridge = Bridge::prepare(&lab);
    let account = AddAccount::at(&lab, [imap.port, smtp.port], "alice@lab.test").checked();
    assert_eq!(bridge.try_add_account(&account).status.code(), Some(4), "it offers no sign-in");
    let more = ["--smtp-auth", "none"].map(str::to_owned).to_vec();
    let alice = bridge.add_account(&AddAccount { more, ..account });
    bridge.serve();
    let mut wire = bridge.sign_in_smtp(&alice);
    wire.smtp("MAIL FROM:<alice@lab.test>", 250);
    assert!(smtp.heard().contains("MAIL FROM:<alice@lab.test>") && !smtp.heard().contains("AUTH"), "{}", smtp.heard());
}

#[test]
fn a_check_tells_each_step_and_what_does_not_work() {
    let Some(house) = House::start() else { return };
    let told = |output: &std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    house.set(&["--imap", &format!("localhost:{}", house.dovecot.imaps), "--unchecked"], "");
    assert_eq!(house.show()["checked_at"], Value::Null, "what was proven is not what is now");

    let output = house.bridge.cli(&["account", "check", ALICE], b"");
    let said = told(&output);
    assert!(output.status.success(), "{}", words(&output));
    for step in ["imap  connected ", "imap  encrypted", "imap  signed in", "imap  folders", "smtp  signed in"] {
        assert!(said.contains(step), "{step}: {said}");
    }
    assert!(said.ends_with(&format!("\n{ALICE} works.\n")), "{said}");
    assert!(house.show()["checked_at"].is_i64());

    let before = house.show()["checked_at"].clone();
    house.provider_knows("changed");
    house.exim.refuse("auth", Some("535 5.7.8 Not today"));
    let output = house.bridge.cli(&["account", "check", ALICE, "--json"], b"");
    assert_eq!(output.status.code(), Some(4), "{}", words(&output));
    let checked: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for service in ["imap", "smtp"] {
        assert_eq!(checked[service]["state"], "refused", "{checked}");
        let hint = text(&checked[service]["hint"]);
        assert!(
            hint.starts_with(&format!("if the password has changed: `passerelle account set {ALICE} --password`")),
            "{hint}"
        );
    }
    assert!(text(&checked["smtp"]["error"]).contains("Not today"), "{checked}");
    let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert_eq!((error["exit"].as_i64(), &house.show()["checked_at"]), (Some(4), &before));
    assert_eq!(house.fails(&["account", "check", "bob@ovh.test"], "", 5)["exit"], 5);
}

#[test]
fn settings_are_shown_and_a_change_that_does_not_work_is_not_made() {
    let Some(house) = House::start() else { return };
    let arguments = [
        "--display-name",
        "Alice Martin",
        "--sender",
        "sales@ovh.test",
        "--alias",
        "info@ovh.test",
        "--alias",
        "x@ovh.test",
    ];
    house.set(&arguments, "");
    let now = house.set(&["--remove-alias", "X@ovh.test", "--unread", "inbox", "--provider", "ovh"], "");
    assert_eq!((text(&now["display_name"]), text(&now["sender"])), ("Alice Martin", "sales@ovh.test"));
    assert_eq!(now["aliases"], serde_json::json!(["info@ovh.test"]));
    assert_eq!((text(&now["unread"]), text(&now["provider"])), ("inbox", "ovh"));
    let output = house.bridge.cli(&["account", "show", ALICE], b"");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in [
        "provider      ovh",
        "display name  Alice Martin",
        "sends as      sales@ovh.test",
        "  or          alice@ovh.test",
        "unread of     inbox",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let back = house.set(&["--sender", ALICE], "");
    assert_eq!(text(&back["sender"]), ALICE);

    let before = house.show();
    let error = house.fails(&["account", "set", ALICE, "--imap", "127.0.0.1:1"], "", 4);
    assert!(text(&error["error"]).starts_with("imap 127.0.0.1:1 (tls): "), "{error}");
    house.fails(&["account", "set", ALICE, "--certificates", "verify"], "", 4);
    house.fails(&["account", "set", ALICE, "--user", "nobody"], "", 4);
    house.fails(&["account", "set", ALICE, "--provider", "nobody"], "", 5);
    let nothing = house.fails(&["account", "set", ALICE], "", 2);
    assert!(text(&nothing["hint"]).contains("account set --help"), "{nothing}");
    assert_eq!(house.show(), before);
    // By the words alone no session is ended.
    let mut session = house.bridge.sign_in(&house.alice);
    house.set(&["--display-name", "Alice"], "");
    std::thread::sleep(Duration::from_millis(700));
    session.imap_ok("NOOP");
    drop(house.lab);
}

#[test]
fn a_password_goes_to_no_place_but_that_which_it_was_proven_at() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let bridge: Arc<OnceLock<Bridge>> = Arc::default();
    let other = bridge.clone();
    // While one password is tried, another administrator sends the account elsewhere.
    let imap = Provider::imap(Some(&lab.certificates.good), move |_, _, command| {
        if command.starts_with("AUTHENTICATE") {
            let moved = ["account", "set", ALICE, "--imap", "localhost:4", "--unchecked"];
            let output = other.get().map(|bridge| bridge.cli(&moved, b""));
            assert!(output.is_some_and(|output| output.status.success()));
        }
        Some(false)
    });
    let smtp = Provider::smtp(Some(&lab.certificates.good));
    let prepared = Bridge::prepare(&lab);
    prepared.add_account(&AddAccount::unchecked(&lab, &imap, &smtp, ALICE));
    let bridge = bridge.get_or_init(|| prepared);
    let output = bridge.cli(&["account", "set", ALICE, "--password-stdin", "--json"], b"new\n");
    let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    assert!(!output.status.success() && text(&error["hint"]).contains("try again"), "{}", words(&output));
    let account = json(bridge, &["account", "show", ALICE]);
    assert_eq!((account["imap"]["port"].as_u64(), &account["checked_at"]), (Some(4), &Value::Null));
    // Words fit any place.
    json(bridge, &["account", "set", ALICE, "--display-name", "Alice"]);
}

#[test]
fn the_cap_of_the_provider_holds_where_it_is_the_lower() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let imap = Provider::imap(Some(&lab.certificates.good), |_, _, _| Some(false));
    let smtp = Provider::smtp(Some(&lab.certificates.good));
    let mut bridge = Bridge::configured(&lab, "[timeouts]\nlogin-wait = \"1s\"\n");
    let capped =
        include_str!("../../config/providers/gandi.toml").replace("[limits]", "[limits]\nimap-connections = 1");
    bridge.know_provider("capped", &capped);
    let add = |address: &str, provider: &str| {
        let mut account = AddAccount::unchecked(&lab, &imap, &smtp, address);
        account.more.extend(["--provider", provider].map(str::to_owned));
        bridge.add_account(&account)
    };
    let (alice, bob) = (add("alice@lab.test", "capped"), add("bob@lab.test", "gandi"));
    bridge.serve();
    let second = |crm: &CrmSettings| {
        let mut first = bridge.sign_in(crm);
        first.imap_ok("SELECT INBOX");
        let mut wire = Wire::plain(bridge.imap);
        wire.expect("* OK");
        wire.imap_ok(&crm.imap_login());
        let answer = wire.imap("SELECT INBOX").tagged;
        let mut smtp = bridge.sign_in_smtp(crm);
        smtp.smtp("NOOP", 250);
        answer
    };
    assert!(second(&alice).starts_with("NO [LIMIT] "));
    assert!(second(&bob).starts_with("OK"));
}
