//! CRMs that hold an access token of their own: at a listener that passes tokens on, their account's provider judges it.
//!
//! A real authorization server gives the tokens, and a real Dovecot asks it about each.

use crate::{
    failure_table::{Cell, line},
    harness::{
        AddAccount, Bridge, CrmSettings, Dovecot, Exim, Lab, Oidc, Program, Wire, free_port, secrets, until, words,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use passerelle::failure::{Cap, Failure};
use serde_json::Value;
use std::{
    thread,
    time::{Duration, Instant},
};

const ALICE: &str = "alice@ovh.test";
const BOB: &str = "bob@ovh.test";
/// No token of anybody.
const WRONG: &str = "ya29.not-a-token-of-anybody";

struct House {
    oidc: Oidc,
    dovecot: Dovecot,
    exim: Exim,
    bridge: Bridge,
    /// Of the listeners that pass tokens on.
    imap: u16,
    smtp: u16,
    lab: Lab,
}

impl House {
    fn start() -> Option<Self> {
        Self::configured("")
    }

    fn configured(configuration: &str) -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Exim, Program::Oidc])?;
        let oidc = Oidc::start(&lab, 600);
        let dovecot = Dovecot::with_tokens(&lab, oidc.port);
        dovecot.add_user(ALICE, "direct-alice");
        dovecot.add_user(BOB, "direct-bob");
        let exim = Exim::submission(&lab, &dovecot);
        let (imap, smtp) = (free_port(), free_port());
        let more = format!(
            "{configuration}[[crm]]\nprofile = \"suitecrm\"\npass-tokens = true\nimap = \"127.0.0.1:{imap}\"\n\
             smtp = \"127.0.0.1:{smtp}\"\nimaps = \"off\"\nsmtps = \"off\"\n"
        );
        let bridge = Bridge::configured(&lab, &more);
        Some(Self { oidc, dovecot, exim, bridge, imap, smtp, lab })
    }

    fn certificates(&self) -> String {
        format!("ca={}", self.lab.certificates.ca.display())
    }

    fn add(&self, address: &str, more: &[&str]) -> Value {
        let (imap, smtp) =
            (format!("localhost:{}", self.dovecot.imaps), format!("localhost:{}", self.exim.submissions));
        let certificates = self.certificates();
        let mut command = vec!["account", "add", address, "--imap", &imap, "--smtp", &smtp, "--crm-token", "--json"];
        if !more.contains(&"--certificates") {
            command.extend(["--certificates", &certificates]);
        }
        command.extend(more);
        let output = self.bridge.cli(&command, b"");
        let said = if output.status.success() { &output.stdout } else { &output.stderr };
        serde_json::from_slice(said).unwrap_or_else(|_| panic!("{}", words(&output)))
    }

    /// What IMAP answers to a sign-in here, and how long it took.
    fn try_imap(&self, command: &str) -> (String, Duration, Wire) {
        let mut wire = Wire::plain(self.imap);
        wire.expect("* OK");
        let began = Instant::now();
        let tagged = wire.imap(command).tagged;
        (tagged, began.elapsed(), wire)
    }

    fn try_smtp(&self, command: &str) -> (u16, Wire) {
        let mut wire = Wire::plain(self.smtp);
        wire.expect("220");
        wire.smtp("EHLO crm.test", 250);
        wire.line(command);
        (wire.reply().0, wire)
    }

    fn refused_now(&self, address: &str) -> Value {
        let output = self.bridge.cli(&["account", "show", address, "--json"], b"");
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")["refused"].clone()
    }
}

fn login(user: &str, token: &str) -> String {
    format!("LOGIN \"{user}\" \"{token}\"")
}

fn plain(user: &str, token: &str) -> String {
    STANDARD.encode(format!("\0{user}\0{token}"))
}

fn xoauth2(user: &str, token: &str) -> String {
    STANDARD.encode(format!("user={user}\x01auth=Bearer {token}\x01\x01"))
}

fn oauthbearer(user: &str, token: &str) -> String {
    STANDARD.encode(format!("n,a={user},\x01auth=Bearer {token}\x01\x01"))
}

#[test]
fn a_clients_own_token_opens_its_mailbox_in_every_form() {
    let Some(mut house) = House::start() else { return };
    let added = house.add(ALICE, &[]);
    assert_eq!(
        (&added["login"], &added["password"]),
        (&ALICE.into(), &"(the CRM's own access token)".into()),
        "{added}"
    );
    house.bridge.serve();
    let token = house.oidc.access_token(ALICE);

    // Offered here alone, and no challenge that a token cannot answer.
    let offered = |port: u16| Wire::plain(port).next();
    assert!(offered(house.imap).contains(" AUTH=XOAUTH2 AUTH=OAUTHBEARER"), "{}", offered(house.imap));
    assert!(!offered(house.imap).contains("CRAM-MD5"), "{}", offered(house.imap));
    assert!(!offered(house.bridge.imap).contains("XOAUTH2"));
    let ehlo = |port: u16| {
        let mut wire = Wire::plain(port);
        wire.expect("220");
        wire.smtp("EHLO crm.test", 250)
    };
    let heard = ehlo(house.smtp);
    assert!(heard.contains("XOAUTH2") && heard.contains("OAUTHBEARER") && !heard.contains("CRAM-MD5"), "{heard}");
    assert!(!ehlo(house.bridge.smtp).contains("XOAUTH2"));

    let forms = [
        login(ALICE, &token),
        format!("AUTHENTICATE PLAIN {}", plain(ALICE, &token)),
        format!("AUTHENTICATE XOAUTH2 {}", xoauth2(ALICE, &token)),
        format!("AUTHENTICATE OAUTHBEARER {}", oauthbearer(ALICE, &token)),
    ];
    for (sent, form) in [
        format!("AUTH PLAIN {}", plain(ALICE, &token)),
        format!("AUTH XOAUTH2 {}", xoauth2(ALICE, &token)),
        format!("AUTH OAUTHBEARER {}", oauthbearer(ALICE, &token)),
    ]
    .iter()
    .enumerate()
    {
        let (code, mut smtp) = house.try_smtp(form);
        assert_eq!(code, 235, "{}", house.bridge.log());
        smtp.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
        smtp.smtp(&format!("RCPT TO:<{ALICE}>"), 250);
        smtp.smtp("DATA", 354);
        smtp.send(b"Subject: sent with the CRM's own token\r\n\r\nHello.\r\n");
        smtp.smtp(".", 250);
        let arrived = until(Duration::from_secs(10), || {
            (house.dovecot.count(ALICE, "INBOX") == u32::try_from(sent + 1).expect("few")).then_some(())
        });
        assert!(arrived.is_some(), "{}", house.exim.log());
    }
    for form in &forms {
        let (answer, _, mut wire) = house.try_imap(form);
        assert!(answer.starts_with("OK"), "{answer}\n{}", house.bridge.log());
        wire.imap_ok("SELECT INBOX");
        assert!(wire.imap_ok("FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT)]").text().contains("own token"));
    }
    // What is parked is had again by the same token: a page of a CRM waits for no sign-in.
    let sign_ins = || house.dovecot.log().matches("method=XOAUTH2").count();
    let page = || {
        let (answer, _, mut wire) = house.try_imap(&forms[0]);
        assert!(answer.starts_with("OK"), "{answer}");
        wire.imap_ok("STATUS INBOX (MESSAGES)");
        wire.imap_ok("LOGOUT");
        sign_ins()
    };
    let first = page();
    assert!(first > 0, "{}", house.dovecot.log());
    assert_eq!([page(), page()], [first, first], "{}", house.dovecot.log());
    assert!(house.bridge.drain(), "{}", house.bridge.log());
    assert!(!house.bridge.log().contains(&token));
}

#[test]
fn r22_a_token_that_the_provider_refuses_costs_its_client_alone() {
    let Some(mut house) = House::configured("[timeouts]\nsmtp-parked = \"1s\"\n") else { return };
    house.add(ALICE, &[]);
    house.add(BOB, &[]);
    house.bridge.serve();
    secrets::give_out(WRONG);
    let (alice, bob) = (house.oidc.access_token(ALICE), house.oidc.access_token(BOB));
    let (answer, ..) = house.try_imap(&login(ALICE, &alice));
    assert!(answer.starts_with("OK"), "{answer}\n{}", house.bridge.log());

    // A lane is parked now. Neither a wrong token nor another's rides it, in whatever form, and each costs a wait.
    // Of one account the provider is shown four before it has a pause (`unknown_tokens`).
    for (user, token, ways) in
        [(ALICE, WRONG, 2), (ALICE, bob.as_str(), 2), (BOB, alice.as_str(), 2), (BOB, "short", 1)]
    {
        let forms = [login(user, token), format!("AUTHENTICATE XOAUTH2 {}", xoauth2(user, token))];
        for form in &forms[..ways] {
            let (answer, took, _) = house.try_imap(form);
            assert!(answer.starts_with("NO [AUTHENTICATIONFAILED]"), "{answer}\n{}", house.bridge.log());
            assert!(took >= Duration::from_millis(490), "{took:?}");
        }
        let (code, _) = house.try_smtp(&format!("AUTH XOAUTH2 {}", xoauth2(user, token)));
        assert_eq!(code, 535);
    }
    // More on one connection take longer, until it ends.
    let mut wire = Wire::plain(house.imap);
    wire.expect("* OK");
    let began = Instant::now();
    for _ in 0..3 {
        assert!(wire.imap(&login(ALICE, WRONG)).tagged.starts_with("NO [AUTHENTICATIONFAILED]"));
    }
    let three = began.elapsed();
    // A CRM that polls with a token that is over is no lock-out: the provider has seen each of these twice at most.
    let shown = |user: &str| {
        house
            .dovecot
            .log()
            .lines()
            .filter(|line| line.contains("auth failed") && line.contains(&format!("user=<{user}>")))
            .count()
    };
    let seen = (shown(ALICE), shown(BOB));
    assert!((1..=4).contains(&seen.0) && (1..=3).contains(&seen.1), "{seen:?}\n{}", house.dovecot.log());
    assert!(three >= Duration::from_millis(2200), "{three:?}");

    // All these refusals later nothing is locked: neither by a breaker nor in the store.
    let began = Instant::now();
    for (user, token) in [(ALICE, &alice), (BOB, &bob)] {
        let (answer, ..) = house.try_imap(&login(user, token));
        assert!(answer.starts_with("OK"), "{answer}\n{}", house.bridge.log());
        assert_eq!(house.try_smtp(&format!("AUTH PLAIN {}", plain(user, token))).0, 235, "{}", house.bridge.log());
        assert_eq!(house.refused_now(user), Value::Array(Vec::new()));
    }
    eprintln!(
        "flow 6: three refusals on a connection {three:?}; the provider saw {seen:?} refusals; four good sign-ins after 14 refusals {:?}",
        began.elapsed()
    );

    // A token that was taken back opens nothing where it must be shown again.
    house.oidc.revoke(ALICE);
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(house.try_smtp(&format!("AUTH XOAUTH2 {}", xoauth2(ALICE, &alice))).0, 535);
}

#[test]
fn a_token_waits_in_vain_for_the_place_of_another() {
    let Some(mut house) = House::configured("[limits]\nlanes-per-account = 1\n[timeouts]\nlogin-wait = \"1s\"\n")
    else {
        return;
    };
    house.add(ALICE, &[]);
    house.bridge.serve();
    let [mine, another] = [(); 2].map(|()| house.oidc.access_token(ALICE));
    let auth = |token: &str| format!("AUTH XOAUTH2 {}", xoauth2(ALICE, token));
    // Both are known to its provider: one that is not has its turn first.
    assert_eq!(house.try_smtp(&auth(&another)).0, 235, "{}", house.bridge.log());
    let (code, mut sends) = house.try_smtp(&auth(&mine));
    assert_eq!(code, 235, "{}", house.bridge.log());
    sends.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
    // A lane of the other token is none of its own.
    let mut waits = Wire::plain(house.smtp);
    waits.expect("220");
    waits.smtp("EHLO crm.test", 250);
    waits.line(&auth(&another));
    assert_eq!(waits.next(), line(&Failure::Busy(Cap::Lanes), Cell::Auth));
    // The lane is parked, and makes room for one of the other token.
    sends.smtp("RSET", 250);
    let (code, mut other) = house.try_smtp(&auth(&another));
    assert_eq!(code, 235, "{}", house.bridge.log());
    other.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
}

#[test]
fn a_token_is_shown_to_nobody_but_its_own_provider() {
    let Some(mut house) = House::start() else { return };
    house.add(ALICE, &[]);
    // Submission that signs in as nobody would let in whoever shows anything.
    house.add(BOB, &["--smtp-auth", "none"]);
    let any = house.add("carol@ovh.test", &["--certificates", "accept-any"]);
    assert!(any["error"].as_str().is_some_and(|text| text.contains("cannot believe any certificate")), "{any}");
    let with_password = AddAccount {
        address: "dave@ovh.test".to_owned(),
        ..AddAccount::at(&house.lab, [house.dovecot.imaps, house.exim.submissions], "dave@ovh.test")
    };
    house.dovecot.add_user("dave@ovh.test", "hunter2-dave");
    let dave = house.bridge.add_account(&AddAccount { password: "hunter2-dave".to_owned(), ..with_password });
    let more = house.bridge.add_login(ALICE, "generic");
    house.bridge.serve();
    let token = house.oidc.access_token(ALICE);

    // At a listener that passes none on, neither the token nor a password of the bridge's opens the account.
    for secret in [&token, &more.password] {
        for user in [ALICE, &more.login] {
            let mut wire = Wire::plain(house.bridge.imap);
            wire.expect("* OK");
            let answer = wire.imap(&login(user, secret)).tagged;
            assert!(answer.starts_with("NO [AUTHENTICATIONFAILED]"), "{answer}");
        }
    }
    let mut wire = Wire::plain(house.bridge.imap);
    wire.expect("* OK");
    assert!(wire.imap(&format!("AUTHENTICATE XOAUTH2 {}", xoauth2(ALICE, &token))).tagged.starts_with("NO [CANNOT]"));
    assert!(!house.dovecot.log().contains("user=<alice@ovh.test>"), "nobody was asked: {}", house.dovecot.log());

    // Here it does; and another login of the account is as good, being a name alone.
    assert!(house.try_imap(&login(&more.login, &token)).0.starts_with("OK"), "{}", house.bridge.log());
    assert!(house.dovecot.log().contains("user=<alice@ovh.test>"), "{}", house.dovecot.log());
    assert!(house.bridge.cli(&["login", "revoke", &more.login], b"").status.success());
    assert!(house.try_imap(&login(&more.login, &token)).0.starts_with("NO [AUTHENTICATIONFAILED]"));

    // An account with a password has it here as elsewhere, and no other way.
    let CrmSettings { login: name, password } = &dave;
    assert!(house.try_imap(&login(name, password)).0.starts_with("OK"), "{}", house.bridge.log());
    assert!(house.try_imap(&login(name, "hunter2-dave")).0.starts_with("NO [AUTHENTICATIONFAILED]"));
    let as_token = format!("AUTHENTICATE XOAUTH2 {}", xoauth2(name, password));
    assert!(house.try_imap(&as_token).0.starts_with("NO [AUTHENTICATIONFAILED]"));

    let bobs = house.oidc.access_token(BOB);
    for token in [&bobs, &token, &"whatever-it-is".to_owned()] {
        assert_eq!(house.try_smtp(&format!("AUTH PLAIN {}", plain(BOB, token))).0, 535, "{}", house.bridge.log());
    }
}
