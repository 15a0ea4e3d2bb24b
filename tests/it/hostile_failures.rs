//! Each cell of the failure table (`failure_table`) by a fault that a client hears of, over a socket.
//!
//! Our own trouble, and the provider's refusal of us, are transient towards the CRM: only a wrong login of the bridge
//! itself looks like one. What is said is one sentence, and holds no secret, no name of the provider's and nobody else's
//! address.

use crate::{
    failure_table::{Cell, awaited, line, lost_line, lost_name, name},
    harness::{
        AddAccount, Bridge, CrmSettings, Endpoint, Lab, Mood, Person, Provider, REMOTE, Wire, free_port, moody_imap,
        moody_smtp, secrets, words,
    },
    store::raw,
};
use passerelle::{
    failure::{Cap, Failure, LostTransaction, Misbehaviour, Rule, Unreachable},
    model::SignInLink,
};
use serde_json::json;
use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex},
};

const ALICE: &str = "alice@ovh.test";
const CAROL: &str = "carol@ovh.test";
const INTERNAL: Failure = Failure::Internal("a place in the code");
const MAIL: &str = "MAIL FROM:<alice@ovh.test>";

/// Cells that another test provokes: where the built program has no such fault, it is planted.
const ELSEWHERE: [(&str, Cell); 2] = [
    // client_tokens, a_token_waits_in_vain_for_the_place_of_another: who signs in with a password waits for none.
    ("Busy(Lanes)", Cell::Auth),
    // passerelle::panics, r21_a_planted_panic_ends_its_session_only: over a socket to listeners in the test's process.
    ("Internal", Cell::Closing),
];

struct House {
    moods: [Arc<Mutex<Mood>>; 2],
    imap: Provider,
    smtp: Provider,
    bridge: Bridge,
    crm: CrmSettings,
    heard: RefCell<BTreeSet<(String, Cell)>>,
    said: RefCell<Vec<String>>,
    _lab: Lab,
}

impl House {
    fn start(more: &str) -> Option<Self> {
        Self::of(more, |bridge, lab, imap, smtp| {
            bridge.add_account(&AddAccount::unchecked(lab, imap, smtp, CAROL));
            bridge.add_account(&AddAccount::unchecked(lab, imap, smtp, ALICE))
        })
    }

    /// With whatever account is added.
    fn of(more: &str, add: impl FnOnce(&Bridge, &Lab, &Provider, &Provider) -> CrmSettings) -> Option<Self> {
        let lab = Lab::needing(&[])?;
        let moods = [(); 2].map(|()| Arc::new(Mutex::new(Mood::Good)));
        let good = &lab.certificates.good;
        let (imap, smtp) = (moody_imap(good, moods[0].clone()), moody_smtp(good, moods[1].clone()));
        let mut bridge = Bridge::configured(&lab, more);
        let crm = add(&bridge, &lab, &imap, &smtp);
        bridge.serve();
        let (heard, said) = (RefCell::default(), RefCell::default());
        Some(Self { moods, imap, smtp, bridge, crm, heard, said, _lab: lab })
    }

    /// The cells that were heard, once nothing that was said in here holds what it must not.
    fn heard(&self) -> BTreeSet<(String, Cell)> {
        let said = self.said.borrow();
        assert!(!said.is_empty());
        for said in said.iter() {
            let secrets = ["hunter2", &self.crm.password, CAROL, REMOTE, "passerelle", "unwrap", REFRESH_TOKEN];
            for kept in secrets {
                assert!(!said.contains(kept), "{kept} stands in: {said}");
            }
        }
        self.heard.take()
    }

    fn are(&self, mood: Mood) {
        for moods in &self.moods {
            *moods.lock().expect("no test panicked in here") = mood;
        }
    }

    /// A client hears exactly what stands in this cell.
    fn hears(&self, failure: &Failure, cell: Cell, told: &str) {
        assert_eq!(told, line(failure, cell), "{failure:?} {cell:?}");
        self.heard.borrow_mut().insert((name(failure), cell));
        self.said.borrow_mut().push(told.to_owned());
    }

    fn hears_lost(&self, lost: LostTransaction, told: &str) {
        assert_eq!(told, lost_line(lost));
        self.heard.borrow_mut().insert((lost_name(lost), Cell::Midway));
        self.said.borrow_mut().push(told.to_owned());
    }

    fn imap(&self) -> Wire {
        let mut wire = Wire::plain(self.bridge.imap);
        wire.expect("* OK");
        wire
    }

    fn smtp(&self) -> Wire {
        let mut wire = Wire::plain(self.bridge.smtp);
        wire.expect("220 ");
        wire.smtp("EHLO crm.test", 250);
        wire
    }

    /// Both sign-ins hear of this failure.
    fn sign_ins_hear(&self, failure: &Failure) {
        self.hears(failure, Cell::Imap, &self.imap().imap(&self.crm.imap_login()).tagged);
        let mut smtp = self.smtp();
        smtp.line(&self.crm.smtp_auth());
        self.hears(failure, Cell::Auth, &smtp.next());
    }

    /// A submission that has lost the lane of its transaction.
    fn without_lane(&self) -> Wire {
        let unreachable = Failure::ProviderUnreachable(Unreachable::Lost);
        let mut smtp = self.bridge.sign_in_smtp(&self.crm);
        smtp.smtp(MAIL, 250);
        smtp.line("RCPT TO:<gone@other.test>");
        self.hears(&unreachable, Cell::Midway, &smtp.next());
        smtp.line("RCPT TO:<bob@other.test>");
        self.hears_lost(LostTransaction::NotSent, &smtp.next());
        smtp
    }

    /// Sessions whose lanes are lost in the middle, and that find trouble when they want others: a mailbox that is open is
    /// lost with its lane, MAIL can be said again.
    fn sessions_hear(&self, trouble: impl FnOnce() -> Failure) {
        let mut imap = self.bridge.sign_in(&self.crm);
        imap.imap_ok("SELECT INBOX");
        let mut smtp = self.without_lane();
        let failure = trouble();
        self.imap.cut();
        // Said again on another lane, if this one is not known to be lost yet.
        imap.line("z STATUS INBOX (MESSAGES)");
        self.hears(&failure, Cell::ImapBye, &last_of(&mut imap));
        smtp.line(MAIL);
        self.hears(&failure, Cell::Command, &smtp.next());
    }

    /// Both sides' last words, after these octets.
    fn last_words(&self, failure: &Failure, [imap, smtp]: [&[u8]; 2]) {
        for (mut wire, octets, cell) in [(self.imap(), imap, Cell::ImapBye), (self.smtp(), smtp, Cell::Closing)] {
            wire.try_send(octets);
            self.hears(failure, cell, &last_of(&mut wire));
        }
    }

    fn set(&self, arguments: &[&str]) {
        let output = self.bridge.cli(&[&["account", "set", ALICE], arguments].concat(), b"");
        assert!(output.status.success(), "{}", words(&output));
    }
}

/// The last line before it closes.
fn last_of(wire: &mut Wire) -> String {
    String::from_utf8_lossy(&wire.rest()).lines().last().unwrap_or_default().to_owned()
}

fn the_provider_fails(house: &mut House) {
    let unreachable = Failure::ProviderUnreachable(Unreachable::TimedOut);
    house.are(Mood::Closed);
    house.sign_ins_hear(&unreachable);
    house.are(Mood::Nonsense);
    house.sign_ins_hear(&Failure::ProviderMisbehaved(Misbehaviour::Syntax));
    house.are(Mood::Refuses);
    house.sign_ins_hear(&Failure::SignInRefused);
    for mood in [Mood::Silent, Mood::Slow] {
        house.are(mood);
        house.sign_ins_hear(&unreachable);
        // It would go on behind the client's back, and the next login wait for it.
        house.imap.stop();
        house.smtp.stop();
        house.sign_ins_hear(&unreachable);
        house.imap.start_again();
        house.smtp.start_again();
    }
    house.are(Mood::Good);
}

/// A provider that talks nonsense is closed, as one that leaves.
fn the_provider_fails_in_the_middle(house: &House) {
    let unreachable = Failure::ProviderUnreachable(Unreachable::Lost);
    let misbehaved = Failure::ProviderMisbehaved(Misbehaviour::Syntax);
    for (mood, failure) in
        [(Mood::Nonsense, &misbehaved), (Mood::Closed, &unreachable), (Mood::Refuses, &Failure::SignInRefused)]
    {
        house.sessions_hear(|| {
            house.are(mood);
            failure.clone()
        });
        house.are(Mood::Good);
    }
    for (command, failure) in [("FETCH 1 (FLAGS)", &misbehaved), ("FETCH 2 (FLAGS)", &unreachable)] {
        let mut imap = house.bridge.sign_in(&house.crm);
        imap.imap_ok("SELECT INBOX");
        let tag = imap.next_tag();
        imap.line(&format!("{tag} {command}"));
        let rest = String::from_utf8_lossy(&imap.rest()).into_owned();
        let told = rest.lines().next().unwrap_or_default();
        assert!(told.starts_with(&format!("{tag} NO [UNAVAILABLE] ")), "{command}: {rest}");
        let last = rest.lines().last().unwrap_or_default();
        assert!(last.starts_with("* BYE [UNAVAILABLE] "), "{command}: {rest}");
        house.said.borrow_mut().extend(rest.lines().map(str::to_owned));
        house.hears(failure, Cell::ImapBye, last);
    }
    let mut smtp = house.bridge.sign_in_smtp(&house.crm);
    smtp.smtp(MAIL, 250);
    smtp.line("RCPT TO:<mad@other.test>");
    house.hears(&misbehaved, Cell::Midway, &smtp.next());
    // All of the message is there, and no answer comes.
    for to in ["taken-and-gone", "taken-and-mad"] {
        let mut smtp = house.bridge.sign_in_smtp(&house.crm);
        for (command, code) in [(MAIL, 250), (&format!("RCPT TO:<{to}@other.test>"), 250), ("DATA", 354)] {
            smtp.smtp(command, code);
        }
        smtp.send(b"Subject: sent, or not\r\n\r\nHello.\r\n.\r\n");
        house.hears_lost(LostTransaction::Uncertain, &smtp.next());
    }
}

/// The store cannot be read any more: a fault of ours, in a session and at a login.
fn the_store_fails(house: &House) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let alter = |statement| runtime.block_on(raw(&house.bridge.state(), statement));
    house.sessions_hear(|| {
        alter("ALTER TABLE accounts RENAME TO accounts_elsewhere");
        INTERNAL
    });
    house.sign_ins_hear(&INTERNAL);
    alter("ALTER TABLE accounts_elsewhere RENAME TO accounts");
    house.bridge.sign_in(&house.crm).imap_ok("SELECT INBOX");
}

fn the_provider_refuses_a_command(house: &House) {
    let mut imap = house.bridge.sign_in(&house.crm);
    assert_eq!(imap.imap("CREATE full").tagged, "NO [OVERQUOTA] The mailbox is full");
    let locked = imap.imap("STATUS Sent (MESSAGES)").tagged;
    assert!(locked.starts_with("NO [INUSE] "), "{locked}");
    house.said.borrow_mut().push(locked);
    let mut smtp = house.bridge.sign_in_smtp(&house.crm);
    smtp.smtp(MAIL, 250);
    assert_eq!(smtp.smtp("RCPT TO:<nobody@other.test>", 550), "5.1.1 No such user");
    assert_eq!(smtp.smtp("RCPT TO:<later@other.test>", 451), "4.3.2 Greylisted");
}

fn a_rule_says_no(house: &House) {
    let mut smtp = house.bridge.sign_in_smtp(&house.crm);
    smtp.line(&format!("MAIL FROM:<{CAROL}>"));
    let told = smtp.next();
    let told = told.strip_suffix(&format!(": {CAROL}")).unwrap_or_else(|| panic!("which address: {told}"));
    house.hears(&Failure::Denied(Rule::Sender), Cell::Command, told);
    for (from, rule) in [
        ("From: alice", Rule::FromUnreadable),
        ("From: alice@ovh.test\r\nTo: x@y.test\r\nFrom: alice@ovh.test", Rule::FromSeveral),
    ] {
        for (command, code) in [(MAIL, 250), ("RCPT TO:<bob@other.test>", 250), ("DATA", 354)] {
            smtp.smtp(command, code);
        }
        smtp.send(format!("{from}\r\n\r\nHello.\r\n.\r\n").as_bytes());
        house.hears(&Failure::Denied(rule), Cell::Command, &smtp.next());
    }
    house.set(&["--receive", "off"]);
    // What it was let in to is not there any more: it may come again.
    house.hears(&Failure::ProviderUnreachable(Unreachable::Lost), Cell::Closing, &smtp.next());
    house.hears(&Failure::Denied(Rule::Receiving), Cell::Imap, &house.imap().imap(&house.crm.imap_login()).tagged);
    house.set(&["--receive", "on", "--send", "off"]);
    let mut smtp = house.smtp();
    smtp.line(&house.crm.smtp_auth());
    house.hears(&Failure::Denied(Rule::Sending), Cell::Auth, &smtp.next());
    house.set(&["--send", "on"]);
}

fn the_client_misbehaves(house: &House) {
    let fault = Failure::ClientMisbehaved;
    let mut imap = house.imap();
    house.hears(&fault(Misbehaviour::Syntax), Cell::Imap, &imap.imap("FROB").tagged);
    house.hears(&fault(Misbehaviour::WrongState), Cell::Imap, &imap.imap("SELECT INBOX").tagged);
    let mut smtp = house.smtp();
    smtp.line("FROB");
    house.hears(&fault(Misbehaviour::Syntax), Cell::Command, &smtp.next());
    smtp.line(MAIL);
    // Before login it is the sign-in that is missing (RFC 4954 section 6).
    assert!(smtp.next().starts_with("530 5.7.0 "));
    let mut smtp = house.bridge.sign_in_smtp(&house.crm);
    smtp.line("RCPT TO:<bob@other.test>");
    let told = smtp.next();
    assert!(told.starts_with("503 5.5.1 "), "{told}");

    house.hears(&fault(Misbehaviour::LiteralTooLarge), Cell::Imap, &house.imap().imap("LOGIN {5000}").tagged);
    for (octets, misbehaviour) in [
        ("a LOGIN {5000+}\r\n", Misbehaviour::LiteralTooLarge),
        ("a LOGIN {99999999999999999999}\r\n", Misbehaviour::LiteralSize),
        // A proof has no literals.
        ("a AUTHENTICATE PLAIN\r\nx {3+}\r\n", Misbehaviour::Syntax),
    ] {
        let mut imap = house.imap();
        imap.try_send(octets.as_bytes());
        house.hears(&fault(misbehaviour), Cell::ImapBye, &last_of(&mut imap));
    }
    let mut smtp = house.smtp();
    smtp.line("BDAT 3 LAST");
    house.hears(&fault(Misbehaviour::Syntax), Cell::Closing, &last_of(&mut smtp));
    house.last_words(&fault(Misbehaviour::BareLineEnd), [b"a NOOP\rx\r\n", b"NOOP\rx\r\n"]);
    house.last_words(&fault(Misbehaviour::Http), [b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n"]);
    let long = [&b"a NOOP "[..], &[b'x'; 20_000], b"\r\n"].concat();
    house.last_words(&fault(Misbehaviour::LineTooLong), [&long, &long]);
    let bad = b"a FROB\r\n".repeat(30);
    house.last_words(&fault(Misbehaviour::TooManyBadCommands), [&bad, &bad]);
    let mut smtp = house.bridge.sign_in_smtp(&house.crm);
    for (command, code) in [(MAIL, 250), ("RCPT TO:<bob@other.test>", 250), ("DATA", 354)] {
        smtp.smtp(command, code);
    }
    smtp.send(b"a\0b\r\n");
    house.hears(&fault(Misbehaviour::Nul), Cell::Closing, &smtp.next());

    let guess = |wire: &mut Wire, line: &str| {
        wire.line(line);
        wire.next()
    };
    let mut imap = house.imap();
    house.hears(&Failure::LoginRefused, Cell::Imap, &imap.imap(&format!("LOGIN {} wrong", house.crm.login)).tagged);
    let mut smtp = house.smtp();
    // alice, wrong
    house.hears(&Failure::LoginRefused, Cell::Auth, &guess(&mut smtp, "AUTH PLAIN AGFsaWNlAHdyb25n"));
}

/// The caps: with one place for a lane, two guesses at most, a few places for clients, and little time before login.
fn our_caps(house: &House) {
    let mut imap = house.bridge.sign_in(&house.crm);
    imap.imap_ok("SELECT INBOX");
    let mut second = house.bridge.sign_in(&house.crm);
    house.hears(&Failure::Busy(Cap::Lanes), Cell::Imap, &second.imap("SELECT INBOX").tagged);
    let submissions = [(); 2].map(|()| house.bridge.sign_in_smtp(&house.crm));
    // Four seats are taken.
    house.sign_ins_hear(&Failure::Busy(Cap::Sessions));
    drop((imap, second, submissions));

    // Nothing is said for as long as one may.
    for (port, cell) in [(house.bridge.imap, Cell::ImapBye), (house.bridge.smtp, Cell::Closing)] {
        let mut wire = Wire::plain(port);
        wire.next();
        house.hears(&Failure::ClientMisbehaved(Misbehaviour::TooSlow), cell, &wire.next());
    }

    let mut crowd: Vec<_> = (0..40).map(|_| Wire::plain(house.bridge.imap)).collect();
    crowd.iter_mut().for_each(|wire| drop(wire.next()));
    for (port, cell) in [(house.bridge.imap, Cell::ImapBye), (house.bridge.smtp, Cell::Closing)] {
        house.hears(&Failure::Busy(Cap::Connections), cell, &Wire::plain(port).next());
    }
    drop(crowd);
}

/// One that guesses on, and more that guess at once than may wait for their refusals.
fn guessed_out(house: &House, small: &House) {
    let mut imap = house.imap();
    imap.send(format!("a LOGIN {} wrong\r\n", house.crm.login).repeat(12).as_bytes());
    house.hears(&Failure::Busy(Cap::Logins), Cell::ImapBye, &last_of(&mut imap));
    let mut guessers: Vec<_> = (0..20).map(|_| small.smtp()).collect();
    guessers.iter_mut().for_each(|wire| wire.line("AUTH PLAIN AGFsaWNlAHdyb25n"));
    let told: Vec<_> = guessers.iter_mut().map(Wire::next).collect();
    let turned_away = told.iter().find(|told| told.starts_with("421 ")).expect("one too many");
    house.hears(&Failure::Busy(Cap::Logins), Cell::Closing, turned_away);
}

/// The one place for a lane is taken by others while a session has none.
fn our_caps_in_the_middle(house: &House) {
    let busy = Failure::Busy(Cap::Lanes);
    let mut imap = house.bridge.sign_in(&house.crm);
    imap.imap_ok("SELECT INBOX");
    house.imap.cut();
    let mut other = house.bridge.sign_in(&house.crm);
    other.imap_ok("SELECT INBOX");
    imap.line("z STATUS INBOX (MESSAGES)");
    house.hears(&busy, Cell::ImapBye, &last_of(&mut imap));
    let mut smtp = house.without_lane();
    let mut other = house.bridge.sign_in_smtp(&house.crm);
    other.smtp(MAIL, 250);
    smtp.line(MAIL);
    house.hears(&busy, Cell::Command, &smtp.next());
}

/// One message a minute.
fn the_providers_rate(house: &House) {
    let mut smtp = house.bridge.sign_in_smtp(&house.crm);
    smtp.smtp(MAIL, 250);
    smtp.smtp("RSET", 250);
    smtp.line(MAIL);
    house.hears(&Failure::Busy(Cap::Rate), Cell::Command, &smtp.next());
}

/// A login whose CRM profile is not there any more.
fn without_its_profile() -> Option<House> {
    let house = House::of("", |bridge, lab, imap, smtp| {
        let folder = bridge.state().join("crm");
        fs::create_dir_all(&folder).expect("made");
        fs::set_permissions(bridge.state(), fs::Permissions::from_mode(0o700)).expect("private");
        let generic = include_str!("../../config/crm/generic.toml");
        fs::write(folder.join("firm.toml"), generic.replace("generic", "firm")).expect("written");
        let mut account = AddAccount::unchecked(lab, imap, smtp, ALICE);
        account.more.extend(["--crm".to_owned(), "firm".to_owned()]);
        let crm = bridge.add_account(&account);
        fs::remove_file(folder.join("firm.toml")).expect("removed");
        crm
    })?;
    house.sign_ins_hear(&INTERNAL);
    Some(house)
}

const REFRESH_TOKEN: &str = "refresh-token-of-alice";
const PUBLIC: &str = "https://mail.firm.test";
const TOYS: &str = r#"
[oauth]
authorise = "https://toys.test/auth"
token = "TOKEN"
scopes = ["mail.read", "mail.send", "offline_access"]
old-refresh-tokens = "spent"
source = "a test"
"#;

/// An account whose grant ends while its sessions are there; where the console is public, its owner is told a link.
fn without_its_grant(public: bool) -> Option<House> {
    let revoked = Arc::new(Mutex::new(false));
    let ended = revoked.clone();
    let endpoint = Endpoint::start(move |_, _| match *ended.lock().expect("no test panicked in here") {
        true => (400, json!({ "error": "invalid_grant" })),
        false => (200, json!({ "access_token": "access-token-of-alice", "token_type": "Bearer", "expires_in": 3600 })),
    });
    let house = House::of("", |bridge, lab, imap, smtp| {
        if public {
            bridge.is_public_as(PUBLIC);
        }
        let toys = TOYS.replace("TOKEN", &endpoint.url());
        bridge.know_provider("toys", &(include_str!("../../config/providers/gandi.toml").to_owned() + &toys));
        let [imap, smtp] = [imap, smtp].map(|double| format!("localhost:{}", double.port));
        let (certificates, url) = (format!("ca={}", lab.certificates.ca.display()), endpoint.url());
        let mut arguments = vec!["account", "add", ALICE, "--imap", &imap, "--smtp", &smtp, "--unchecked", "--json"];
        arguments.extend(["--certificates", &certificates, "--token-endpoint", &url, "--client-id", "bridge"]);
        arguments.extend(["--provider", "toys", "--refresh-token-stdin"]);
        let output = bridge.cli(&arguments, format!("{REFRESH_TOKEN}\n").as_bytes());
        assert!(output.status.success(), "{}", words(&output));
        let made: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let text = |key: &str| made[key].as_str().expect("text").to_owned();
        CrmSettings { login: text("login"), password: text("password") }
    })?;
    let revoke = || {
        *revoked.lock().expect("no test panicked in here") = true;
        house.are(Mood::Refuses);
    };
    let link = || {
        if !public {
            return None;
        }
        // Drawn at random, and the same for all who ask within hours.
        house.imap.cut();
        let mut imap = house.imap();
        let mut told = imap.imap(&house.crm.imap_login()).tagged;
        // Of an account that was well a moment ago a login waits for no lane.
        if told.starts_with("OK") {
            told = imap.imap("SELECT INBOX").tagged;
        }
        let link = told.split(' ').find(|word| word.starts_with(PUBLIC)).unwrap_or_else(|| panic!("no link: {told}"));
        secrets::give_out(link.rsplit('/').next().expect("a ticket"));
        SignInLink::new(link)
    };
    house.sessions_hear(|| {
        revoke();
        Failure::ConsentNeeded(link())
    });
    let link = link();
    house.sign_ins_hear(&Failure::ConsentNeeded(link.clone()));
    if let Some(link) = link {
        // As the web server before the console passes it on.
        let local = link.as_str().replace(PUBLIC, &format!("http://localhost:{}", house.bridge.console));
        let host = "Host: mail.firm.test\r\nSec-Fetch-Site: same-origin\r\n";
        let sent = Person::default().ask("POST", &local, host, Some(""));
        let to = sent.header("location").unwrap_or_default();
        assert!(to.starts_with("https://toys.test/auth?") && to.contains("alice%40ovh.test"), "{sent:?}");
    }
    Some(house)
}

/// More tokens of clients than are shown to a provider that refuses them.
fn too_many_tokens() -> Option<House> {
    let ports = [free_port(), free_port()];
    let passes = format!(
        "[[crm]]\nprofile = \"generic\"\npass-tokens = true\nimap = \"127.0.0.1:{}\"\nsmtp = \"127.0.0.1:{}\"\n\
         imaps = \"off\"\nsmtps = \"off\"\n",
        ports[0], ports[1]
    );
    let house = House::of(&passes, |bridge, lab, imap, smtp| {
        let [imap, smtp] = [imap, smtp].map(|double| format!("localhost:{}", double.port));
        let certificates = format!("ca={}", lab.certificates.ca.display());
        let add = ["account", "add", ALICE, "--imap", &imap, "--smtp", &smtp, "--certificates", &certificates];
        let output = bridge.cli(&[&add[..], &["--crm-token"]].concat(), b"");
        assert!(output.status.success(), "{}", words(&output));
        CrmSettings { login: ALICE.to_owned(), password: "a-token-of-nobody".to_owned() }
    })?;
    house.are(Mood::RefusesTokens);
    for (port, cell) in [(ports[0], Cell::Imap), (ports[1], Cell::Auth)] {
        let tries = |number: usize| {
            let crm = CrmSettings { password: format!("{}-{number}", house.crm.password), ..house.crm.clone() };
            let mut wire = Wire::plain(port);
            wire.next();
            if cell == Cell::Imap {
                wire.line(&format!("a {}", crm.imap_login()));
            } else {
                wire.smtp("EHLO crm.test", 250);
                wire.line(&crm.smtp_auth());
            }
            wire
        };
        // All at once: each answer keeps its client waiting.
        let mut shown: Vec<_> = (0..4).map(tries).collect();
        let told = |wire: &mut Wire| wire.next().trim_start_matches("a ").to_owned();
        shown.iter_mut().for_each(|wire| house.hears(&Failure::LoginRefused, cell, &told(wire)));
        house.hears(&Failure::Busy(Cap::Tokens), cell, &told(&mut tries(4)));
    }
    Some(house)
}

#[test]
fn every_cell_of_the_table_is_heard_by_a_client() {
    let narrow = "[limits]\nlanes-per-account = 1\n[timeouts]\nlogin-wait = \"1s\"\nsend-wait = \"1s\"\n";
    let small = "[limits]\nlanes-per-account = 1\nsessions-per-account = 4\nconnections = 40\nbefore-login = 30\n\
                 [timeouts]\nlogin-wait = \"1s\"\nbefore-login = \"2s\"\n";
    let Some(mut house) = House::start("[timeouts]\nlogin-wait = \"1s\"\nsend-wait = \"1s\"\n") else { return };
    the_provider_fails(&mut house);
    the_provider_fails_in_the_middle(&house);
    the_provider_refuses_a_command(&house);
    the_store_fails(&house);
    a_rule_says_no(&house);
    the_client_misbehaves(&house);
    let Some(small) = House::start(small) else { return };
    guessed_out(&house, &small);
    our_caps(&small);
    let Some(narrow) = House::start(narrow) else { return };
    our_caps_in_the_middle(&narrow);
    let Some(paced) = House::start("[limits]\nmessages-per-minute = 1\n") else { return };
    the_providers_rate(&paced);
    let (Some(profile), Some(grant), Some(public), Some(tokens)) =
        (without_its_profile(), without_its_grant(false), without_its_grant(true), too_many_tokens())
    else {
        return;
    };

    let houses = [house, small, narrow, paced, profile, grant, public, tokens];
    let mut heard: BTreeSet<_> = houses.iter().flat_map(House::heard).collect();
    heard.extend(ELSEWHERE.map(|(name, cell)| (name.to_owned(), cell)));
    let missing: Vec<_> = awaited().filter(|cell| !heard.contains(cell)).collect();
    assert!(missing.is_empty(), "nobody heard: {missing:?}");
    let unlisted: Vec<_> = heard.difference(&awaited().collect()).cloned().collect();
    assert!(unlisted.is_empty(), "heard, and not in the table: {unlisted:?}");
}
