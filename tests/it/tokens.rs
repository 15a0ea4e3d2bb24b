//! Accounts that sign in with access tokens: a real authorization server, asked by a real Dovecot whether they are good.
//!
//! Its refresh tokens rotate, and one that is shown twice ends the whole grant: what the bridge does wrong locks it out.

use crate::harness::{Bridge, CrmSettings, Dovecot, Exim, Lab, Oidc, Program, Wire, until, words};
use serde_json::Value;
use std::{
    fs,
    process::Output,
    thread,
    time::{Duration, Instant},
};

const ALICE: &str = "alice@ovh.test";
/// Of access tokens, where a test says nothing else.
const SECONDS: u32 = 4;

struct House {
    lab: Lab,
    oidc: Oidc,
    dovecot: Dovecot,
    exim: Exim,
    bridge: Bridge,
    /// Of access tokens.
    seconds: u32,
}

impl House {
    fn start() -> Option<Self> {
        Self::with_tokens_of(SECONDS)
    }

    fn with_tokens_of(seconds: u32) -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Exim, Program::Oidc])?;
        let oidc = Oidc::start(&lab, seconds);
        let dovecot = Dovecot::with_tokens(&lab, oidc.port);
        dovecot.add_user(ALICE, "direct");
        let exim = Exim::submission(&lab, &dovecot);
        let bridge = Bridge::configured(&lab, "[limits]\nlanes-per-account = 40\n");
        Some(Self { lab, oidc, dovecot, exim, bridge, seconds })
    }

    fn try_add(&self, refresh_token: &str, client_secret: &str) -> Output {
        let imap = format!("localhost:{}", self.dovecot.imaps);
        let smtp = format!("localhost:{}", self.exim.submissions);
        let certificates = format!("ca={}", self.lab.certificates.ca.display());
        let endpoint = self.oidc.token_endpoint();
        let mut arguments = vec!["account", "add", ALICE, "--imap", &imap, "--smtp", &smtp];
        arguments.extend(["--certificates", &certificates, "--token-endpoint", &endpoint, "--client-id", "bridge"]);
        arguments.extend(["--refresh-token-stdin", "--client-secret-stdin", "--json"]);
        self.bridge.cli(&arguments, format!("{refresh_token}\n{client_secret}\n").as_bytes())
    }

    fn add(&self) -> CrmSettings {
        let output = self.try_add(&self.oidc.grant(ALICE), "bridgesecret");
        assert!(output.status.success(), "{}", words(&output));
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let field = |name: &str| answer[name].as_str().expect("text").to_owned();
        CrmSettings { login: field("login"), password: field("password") }
    }

    fn show(&self) -> Value {
        let output = self.bridge.cli(&["account", "show", ALICE, "--json"], b"");
        assert!(output.status.success(), "{}", words(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Until no access token that was given before works any more, and no lane that one has opened is left.
    fn outlive_the_token(&self) {
        // It fails where nobody is signed in.
        let _ = self.dovecot.doveadm(&["kick", ALICE]);
        thread::sleep(Duration::from_secs(u64::from(self.seconds) + 1));
    }

    /// What IMAP and SMTP answer to a login.
    fn refused(&self, crm: &CrmSettings) -> [String; 2] {
        let mut imap = Wire::plain(self.bridge.imap);
        imap.expect("* OK");
        let mut smtp = Wire::plain(self.bridge.smtp);
        smtp.expect("220");
        smtp.smtp("EHLO crm.test", 250);
        [imap.imap(&crm.imap_login()).tagged, smtp.smtp(&crm.smtp_auth(), 454)]
    }
}

#[test]
fn an_account_lives_by_its_refresh_token() {
    let Some(mut house) = House::start() else { return };
    let crm = house.add();
    house.bridge.serve();
    let shown = house.show();
    assert_eq!((&shown["grant"]["client_id"], &shown["grant"]["state"]), (&"bridge".into(), &"good".into()), "{shown}");
    assert!(!shown.to_string().contains("secret"), "{shown}");

    house.bridge.sign_in(&crm).imap_ok("SELECT INBOX");
    let mut smtp = house.bridge.sign_in_smtp(&crm);
    smtp.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
    smtp.smtp(&format!("RCPT TO:<{ALICE}>"), 250);
    smtp.smtp("DATA", 354);
    smtp.send(b"Subject: sent with a token\r\n\r\nHello.\r\n");
    smtp.smtp(".", 250);
    let arrived = until(Duration::from_secs(10), || (house.dovecot.count(ALICE, "INBOX") == 1).then_some(()));
    assert!(arrived.is_some(), "{}", house.exim.log());

    // The token ends: the provider refuses it, and the same login works with the next.
    for _ in 0..2 {
        house.outlive_the_token();
        let (before, _) = house.oidc.refreshes();
        house.bridge.sign_in(&crm).imap_ok("SELECT INBOX");
        drop(house.bridge.sign_in_smtp(&crm));
        assert_eq!(house.oidc.refreshes(), (before + 1, 0), "{}", house.bridge.log());
    }

    let (after, _) = house.oidc.refreshes();
    // What came last is what is kept.
    assert!(house.bridge.drain(), "{}", house.bridge.log());
    house.bridge.serve();
    house.bridge.sign_in(&crm).imap_ok("SELECT INBOX");
    assert_eq!(house.oidc.refreshes(), (after + 1, 0));
    assert_eq!(house.show()["grant"]["state"], "good");
    assert!(house.bridge.drain(), "{}", house.bridge.log());
    let log = house.bridge.log();
    for secret in ["bridgesecret", "Bearer ", "refresh_token="] {
        assert!(!log.contains(secret), "{log}");
    }
    for file in fs::read_dir(house.bridge.state()).expect("the state").map(|entry| entry.expect("an entry").path()) {
        let octets = fs::read(&file).unwrap_or_default();
        assert!(!octets.windows(12).any(|window| window == b"bridgesecret"), "{}", file.display());
    }
}

/// Of tokens that outlive twenty logins on a machine at work: where they do not, a second one is asked for rightly.
const LONG: u32 = 20;
const LOGINS: usize = 20;

/// Signs in so often at once, each with a lane of its own, as none leaves before all are in.
fn all_at_once(house: &House, crm: &CrmSettings, apart: Duration) {
    let sessions: Vec<_> = thread::scope(|scope| {
        let sign_in = |number: usize| {
            thread::sleep(apart * u32::try_from(number).expect("few"));
            let mut wire = house.bridge.sign_in(crm);
            wire.imap_ok("SELECT INBOX");
            wire
        };
        let started: Vec<_> = (0..LOGINS).map(|number| scope.spawn(move || sign_in(number))).collect();
        started.into_iter().map(|session| session.join().expect("it signs in")).collect()
    });
    assert_eq!(sessions.len(), LOGINS);
}

#[test]
fn r28_twenty_logins_at_the_moment_of_expiry_give_one_refresh() {
    let Some(mut house) = House::with_tokens_of(LONG) else { return };
    let crm = house.add();
    house.bridge.serve();
    let renewals = |house: &House, what: &str, logins: &dyn Fn()| {
        let ((before, _), began) = (house.oidc.refreshes(), Instant::now());
        logins();
        let ((after, refused), took) = (house.oidc.refreshes(), began.elapsed());
        eprintln!("r28: {LOGINS} logins {what}: {} refresh, {refused} spent tokens shown, {took:?}", after - before);
        assert_eq!((after - before, refused), (1, 0), "{what}\n{}", house.bridge.log());
    };
    // A bridge that was just started has no token.
    renewals(&house, "without a token", &|| all_at_once(&house, &crm, Duration::ZERO));
    // All find that the token they share is over.
    house.outlive_the_token();
    renewals(&house, "after the expiry", &|| all_at_once(&house, &crm, Duration::ZERO));
    // Some come before and some after it. How old the token is, is known to the second in which it was given.
    house.outlive_the_token();
    house.bridge.sign_in(&crm).imap_ok("SELECT INBOX");
    let given = Instant::now();
    let _ = house.dovecot.doveadm(&["kick", ALICE]);
    let life = Duration::from_secs(u64::from(LONG));
    thread::sleep((life - Duration::from_secs(2)).saturating_sub(given.elapsed()));
    renewals(&house, "around the expiry", &|| all_at_once(&house, &crm, Duration::from_millis(250)));
    assert_eq!(house.show()["grant"]["state"], "good");
    assert!(house.bridge.drain(), "{}", house.bridge.log());
}

#[test]
fn r32_tokens_of_five_seconds_disturb_no_session_that_runs() {
    const LIFE: u64 = 5;
    const EXPIRIES: u32 = 3;
    let Some(mut house) = House::with_tokens_of(5) else { return };
    let crm = house.add();
    house.bridge.serve();
    let mut selected = house.bridge.sign_in(&crm);
    selected.imap_ok("SELECT INBOX");
    let mut idle = house.bridge.sign_in(&crm);
    idle.imap_ok("SELECT INBOX");
    idle.line("i IDLE");
    idle.expect("+");
    // Without a mailbox it has a lane for a command at a time.
    let mut unselected = house.bridge.sign_in(&crm);
    let mut smtp = house.bridge.sign_in_smtp(&crm);
    for expiry in 1..=EXPIRIES {
        thread::sleep(Duration::from_secs(LIFE + 1));
        selected.imap_ok("NOOP");
        selected.imap_ok("UID SEARCH ALL");
        unselected.imap_ok("STATUS INBOX (MESSAGES)");
        smtp.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
        smtp.smtp(&format!("RCPT TO:<{ALICE}>"), 250);
        smtp.smtp("DATA", 354);
        smtp.send(b"Subject: sent on a lane whose token is over\r\n\r\nHello.\r\n");
        smtp.smtp(".", 250);
        let arrived = until(Duration::from_secs(10), || (house.dovecot.count(ALICE, "INBOX") == expiry).then_some(()));
        assert!(arrived.is_some(), "{}", house.exim.log());
        // Who comes now finds a token that is over, turn about of the other service: it has never seen this one.
        if expiry % 2 == 0 {
            drop(house.bridge.sign_in_smtp(&crm));
        } else {
            house.bridge.sign_in(&crm).imap_ok("SELECT INBOX");
        }
        assert_eq!(house.oidc.refreshes().1, 0, "a spent refresh token was shown");
    }
    idle.line("DONE");
    while !idle.next().starts_with("i OK") {}
    idle.imap_ok("NOOP");
    selected.imap_ok("FETCH 1:* FLAGS");
    eprintln!("r32: 4 sessions over {EXPIRIES} expiries of {LIFE} s, {} renewals", house.oidc.refreshes().0);
    assert_eq!(house.show()["grant"]["state"], "good");
    let log = house.bridge.log();
    assert!(!log.contains("no access token"), "{log}");
}

#[test]
fn a_revoked_grant_says_that_its_owner_must_sign_in_again() {
    let Some(mut house) = House::start() else { return };
    let crm = house.add();
    house.bridge.serve();
    drop(house.bridge.sign_in(&crm));
    house.oidc.revoke(ALICE);
    // Without an access token from before, which would be let in on trust.
    assert!(house.bridge.drain(), "{}", house.bridge.log());
    house.bridge.serve();
    let [imap, smtp] = house.refused(&crm);
    assert!(imap.contains("NO [CONTACTADMIN]") && imap.contains("sign in again"), "{imap}");
    assert!(smtp.contains("sign in again"), "{smtp}");
    assert_eq!(house.show()["grant"]["state"], "consent-needed");
    // Nobody is asked again for what only a person can mend.
    let before = house.oidc.refreshes();
    house.refused(&crm);
    assert_eq!(house.oidc.refreshes(), before);
    assert_eq!(before.1, 1, "shown once, refused once");

    // Its owner has consented again.
    let endpoint = house.oidc.token_endpoint();
    let arguments =
        ["account", "set", ALICE, "--refresh-token-stdin", "--client-id", "bridge", "--client-secret-stdin"];
    let input = format!("{}\nbridgesecret\n", house.oidc.grant(ALICE));
    let output = house.bridge.cli(&[&arguments[..], &["--token-endpoint", &endpoint]].concat(), input.as_bytes());
    assert!(output.status.success(), "{}", words(&output));
    house.bridge.sign_in(&crm).imap_ok("SELECT INBOX");
    assert_eq!(house.show()["grant"]["state"], "good");
}

#[test]
fn a_lane_to_send_of_a_grant_that_is_lost_is_nobodys() {
    let Some(mut house) = House::start() else { return };
    let crm = house.add();
    house.bridge.serve();
    let sends = |house: &House| {
        let mut smtp = house.bridge.sign_in_smtp(&crm);
        smtp.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
        smtp.smtp("RSET", 250);
        smtp
    };
    let mut signed_in = sends(&house);
    house.oidc.revoke(ALICE);
    house.outlive_the_token();
    // Exim asks nobody again: the lane that is parked is as good as before.
    drop(sends(&house));
    // The mailbox is where it is noticed.
    let [imap, smtp] = house.refused(&crm);
    assert!(imap.contains("sign in again"), "{imap}");
    assert!(smtp.contains("sign in again"), "{smtp}");
    signed_in.line(&format!("MAIL FROM:<{ALICE}>"));
    let (code, words) = signed_in.reply();
    assert!(code == 454 && words.contains("sign in again"), "{code} {words}");
}

#[test]
fn a_parked_lane_of_a_grant_that_is_lost_is_nobodys() {
    let Some(mut house) = House::start() else { return };
    let crm = house.add();
    house.bridge.serve();
    let mut signed_in = house.bridge.sign_in(&crm);
    signed_in.imap_ok("STATUS INBOX (MESSAGES)");
    house.oidc.revoke(ALICE);
    // The provider bears the lane for as long as it is there; it is noticed where mail is sent.
    thread::sleep(Duration::from_secs(u64::from(house.seconds) + 1));
    let [imap, smtp] = house.refused(&crm);
    assert!(smtp.contains("sign in again"), "{smtp}");
    // Which of the two came first is not told: the next knows.
    let _ = imap;
    let [imap, _] = house.refused(&crm);
    assert!(imap.contains("NO [CONTACTADMIN]") && imap.contains("sign in again"), "{imap}");
    let status = signed_in.imap("STATUS INBOX (MESSAGES)").tagged;
    assert!(status.contains("sign in again"), "{status}");
}

#[test]
fn an_authorization_server_that_is_down_is_transient() {
    let Some(mut house) = House::start() else { return };
    let crm = house.add();
    house.oidc.stop();
    house.bridge.serve();
    for answer in house.refused(&crm) {
        assert!(answer.contains("cannot be reached now"), "{answer}");
    }
    assert_eq!(house.show()["grant"]["state"], "good");
}

#[test]
fn what_the_authorization_server_refuses_is_told_and_nothing_is_kept() {
    let Some(house) = House::start() else { return };
    let good = house.oidc.grant(ALICE);
    for (token, secret, said, hint) in [
        ("spent-or-never-given", "bridgesecret", "consent again", "refresh token"),
        (&good, "wrong", "client", "--client-id"),
    ] {
        let output = house.try_add(token, secret);
        assert_eq!(output.status.code(), Some(4), "{}", words(&output));
        let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
        assert!(error["error"].as_str().is_some_and(|text| text.contains(said)), "{error}");
        assert!(error["hint"].as_str().is_some_and(|text| text.contains(hint)), "{error}");
        assert!(!error.to_string().contains(token) && !error.to_string().contains("wrong"), "{error}");
    }
    let listed = house.bridge.cli(&["account", "list", "--json"], b"");
    assert_eq!(serde_json::from_slice::<Value>(&listed.stdout).expect("JSON"), Value::Array(Vec::new()));
}
