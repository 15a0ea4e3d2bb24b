//! What each CRM does at its listener (crm.md section 3), through the bridge to real servers: what it is offered before
//! login, its script, and its real client where one is installed.

use crate::harness::{
    AddAccount, Bridge, CrmSettings, Dovecot, Exim, Lab, Program, Wire, free_port, letters, run, words,
};
use serde_json::Value;
use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

const ALICE: &str = "alice@ovh.test";
const BOB: &str = "bob@ovh.test";

/// What stands before `AUTH=` in every list before login.
const OWN: &str = "IMAP4rev1 LITERAL+ SASL-IR ID NAMESPACE UNSELECT CHILDREN SPECIAL-USE LIST-EXTENDED IDLE";

/// What each CRM is offered: by IMAP in clear and over TLS, by SMTP in clear.
const OFFERED: [(&str, &str, &str, &str); 11] = [
    ("dolibarr", "", " AUTH=PLAIN AUTH=LOGIN", "AUTH LOGIN PLAIN"),
    ("espocrm", "", " AUTH=PLAIN AUTH=LOGIN", "AUTH PLAIN LOGIN"),
    ("freescout", "", " AUTH=PLAIN AUTH=LOGIN", "AUTH PLAIN LOGIN"),
    ("generic", "", " AUTH=PLAIN AUTH=LOGIN", "AUTH PLAIN LOGIN"),
    ("generic-fr", "", " AUTH=PLAIN AUTH=LOGIN", "AUTH PLAIN LOGIN"),
    ("laminas", "", " AUTH=PLAIN AUTH=LOGIN", "AUTH PLAIN LOGIN"),
    ("odoo", "", " AUTH=PLAIN AUTH=LOGIN", "AUTH PLAIN LOGIN"),
    ("suitecrm", " AUTH=CRAM-MD5", " AUTH=CRAM-MD5 AUTH=PLAIN AUTH=LOGIN", "AUTH CRAM-MD5 LOGIN PLAIN"),
    ("vtiger", "", " AUTH=PLAIN AUTH=LOGIN", "AUTH LOGIN PLAIN"),
    ("zammad", "", " AUTH=PLAIN AUTH=LOGIN", "AUTH PLAIN LOGIN"),
    ("znuny", "", " AUTH=PLAIN AUTH=LOGIN", "AUTH PLAIN LOGIN"),
];

/// A CRM's own listeners, as configured.
struct Ports {
    imap: u16,
    smtp: u16,
    imaps: u16,
}

/// Listeners for these CRMs, each on ports of its own, and what the configuration says of them.
fn listeners(crms: &[&str]) -> (Vec<Ports>, String) {
    let mut text = String::new();
    let ports = crms.iter().map(|crm| {
        let ports = Ports { imap: free_port(), smtp: free_port(), imaps: free_port() };
        let Ports { imap, smtp, imaps } = ports;
        text += &format!(
            "[[crm]]\nprofile = \"{crm}\"\nimap = \"127.0.0.1:{imap}\"\nsmtp = \"127.0.0.1:{smtp}\"\n\
             imaps = \"127.0.0.1:{imaps}\"\nsmtps = \"off\"\n"
        );
        ports
    });
    (ports.collect(), text)
}

/// A provider, and a bridge with Bob's account, a listener and a login of his for each of some CRMs.
struct House {
    _lab: Lab,
    dovecot: Dovecot,
    _exim: Exim,
    bridge: Bridge,
    crms: Vec<(Ports, CrmSettings)>,
}

impl House {
    fn with(crms: &[&str], client: &[Program]) -> Option<Self> {
        let lab = Lab::needing(&[&[Program::Dovecot, Program::Exim], client].concat())?;
        let dovecot = Dovecot::ovh(&lab);
        let exim = Exim::submission(&lab, &dovecot);
        dovecot.add_user(ALICE, "secret");
        dovecot.add_user(BOB, "secret");
        dovecot.load(BOB, &letters());
        let (ports, text) = listeners(crms);
        let mut bridge = Bridge::configured(&lab, &text);
        bridge.add_account(&AddAccount::of(&lab, &dovecot, &exim, BOB));
        let logins: Vec<_> = crms.iter().map(|crm| bridge.add_login(BOB, crm)).collect();
        bridge.serve();
        let crms = ports.into_iter().zip(logins).collect();
        Some(Self { _lab: lab, dovecot, _exim: exim, bridge, crms })
    }

    /// The listener of the nth CRM, past its greeting, signed in as this command does.
    fn sign_in(&self, nth: usize, command: impl Fn(&CrmSettings) -> String) -> Wire {
        let (ports, crm) = &self.crms[nth];
        let mut wire = Wire::plain(ports.imap);
        wire.expect("* OK [CAPABILITY ");
        let answer = wire.imap_ok(&command(crm));
        // It saves the round trip of another CAPABILITY.
        assert!(answer.tagged.starts_with("OK [CAPABILITY "), "{}", answer.tagged);
        wire
    }
}

/// Runs a client of `tests/lab` and gives the JSON that it prints.
fn client(interpreter: &str, name: &str, arguments: &[&str]) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name);
    let output = run(60, Command::new(interpreter).arg(path).args(arguments), b"");
    assert!(output.status.success(), "{name}: {}", words(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{name}: {error}\n{}", words(&output)))
}

/// Quoted as most CRMs have it.
fn quoted(crm: &CrmSettings) -> String {
    crm.imap_login()
}

/// The login as an atom, the password quoted: imaplib, Net::IMAP::Simple.
fn half_quoted(crm: &CrmSettings) -> String {
    format!("LOGIN {} \"{}\"", crm.login, crm.password)
}

#[test]
fn each_crm_is_offered_what_it_wants_before_login() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let (ports, text) = listeners(&OFFERED.map(|(crm, ..)| crm));
    let mut bridge = Bridge::configured(&lab, &text);
    bridge.serve();
    for (ports, (crm, clear, tls, smtp)) in ports.iter().zip(OFFERED) {
        let greeting = |mechanisms: &str| format!("* OK [CAPABILITY {OWN}{mechanisms}] Passerelle ready");
        let mut wire = Wire::plain(ports.imap);
        assert_eq!(wire.next(), greeting(clear), "{crm}");
        assert_eq!(wire.imap_ok("CAPABILITY").text(), format!("* CAPABILITY {OWN}{clear}\n"), "{crm}");
        assert_eq!(Wire::tls(ports.imaps, &bridge.authority(), "localhost").next(), greeting(tls), "{crm}");
        let mut wire = Wire::plain(ports.smtp);
        wire.expect("220 ");
        let hello = wire.smtp("EHLO crm.test", 250);
        let offered = ["PIPELINING", "SIZE 157286400", "8BITMIME", "ENHANCEDSTATUSCODES", smtp];
        assert_eq!(hello.lines().skip(1).collect::<Vec<_>>(), offered, "{crm}");
    }
}

/// PHP's library at the listeners of three CRMs, and its complaints: vtiger takes any for an error.
fn php(crm: &str) -> Option<(House, Value)> {
    let house = House::with(&[crm], &[Program::Php])?;
    let (ports, settings) = &house.crms[0];
    let port = ports.imap.to_string();
    let story = client("php", "crm.php", &[crm, "127.0.0.1", &port, &settings.login, &settings.password]);
    for list in ["failed", "complaints", "warnings"] {
        assert_eq!(story[list], Value::Array(Vec::new()), "{crm}: {story}");
    }
    assert_eq!(story["moved"], 1, "{story}");
    let names = story["names"].as_array().expect("a list");
    for name in ["INBOX", "Sent", "Drafts", "Trash"] {
        assert!(names.iter().any(|listed| listed == name), "{name}: {story}");
    }
    Some((house, story))
}

#[test]
fn vtiger_finds_nothing_to_complain_of() {
    let Some((house, _)) = php("vtiger") else { return };
    assert_eq!(house.dovecot.count(BOB, "INBOX.Trash"), 1);
}

#[test]
fn suitecrm_opens_its_secure_string_after_three_wrong_passwords() {
    let Some((_, story)) = php("suitecrm") else { return };
    let seconds = story["seconds"].as_f64().expect("a number");
    assert!(seconds < 3.0, "three wrong passwords took {seconds} s");
}

#[test]
fn dolibarr_collects_and_moves() {
    php("dolibarr");
}

#[test]
fn laminas_never_hangs() {
    let Some(house) = House::with(&["laminas"], &[Program::Python]) else { return };
    let (ports, crm) = &house.crms[0];
    let story = client("python3", "laminas.py", &[&ports.imap.to_string(), &crm.login, &crm.password]);
    assert_eq!(story["count"], 6, "{story}");
    assert_eq!(house.dovecot.count(BOB, "INBOX.Sent"), 2);
}

#[test]
fn odoo_fetches_and_sends_from_its_bounce_address() {
    let Some(house) = House::with(&["odoo"], &[Program::Python]) else { return };
    let (ports, crm) = &house.crms[0];
    let (imap, smtp) = (ports.imap.to_string(), ports.smtp.to_string());
    let arguments = [&*imap, &smtp, &crm.login, &crm.password, "bounce+7-crm.lead-1@ovh.test", ALICE, BOB];
    let story = client("python3", "odoo.py", &arguments);
    assert_eq!(story["closed"], false, "{story}");
    assert_eq!(story["fetched"], 4, "{story}");
    assert_eq!(story["left"], 0, "{story}");
    assert_eq!(story["data"], 354, "{story}");
    assert_eq!(story["refused"], serde_json::json!({}), "{story}");
    // What was dropped after 354 was not sent; what was sent came from the account's own address.
    // Exim delivers behind its 250.
    let arrived =
        crate::harness::until(Duration::from_secs(10), || (house.dovecot.count(ALICE, "INBOX") > 0).then_some(()));
    arrived.expect("the message arrives");
    assert_eq!(house.dovecot.count(ALICE, "INBOX"), 1);
    let message = String::from_utf8_lossy(&house.dovecot.message(ALICE, "INBOX", 1)).into_owned();
    assert!(message.contains(&format!("Return-Path: <{BOB}>")), "{message}");
    assert!(message.contains("Message-ID: <odoo-1@crm.test>"), "{message}");
}

#[test]
fn espocrm_reads_from_where_it_was() {
    let Some(house) = House::with(&["espocrm"], &[]) else { return };
    let mut wire = house.sign_in(0, quoted);
    assert!(wire.imap_ok("LIST \"\" \"*\"").text().contains("\"Sent\""));
    assert_eq!(wire.imap_ok("LIST \"\" \"Sent\"").untagged.len(), 1);
    wire.imap_ok("SELECT \"INBOX\"");
    let status = wire.imap_ok("STATUS \"INBOX\" (MESSAGES UNSEEN RECENT UIDNEXT UIDVALIDITY)").text();
    assert!(status.contains("MESSAGES 6") && !status.contains("UIDVALIDITY 0"), "{status}");
    assert_eq!(wire.imap_ok("UID SEARCH UID 5:*").text(), "* SEARCH 5 6\n");
    assert!(wire.imap_ok("UID SEARCH SINCE 1-Mar-2024").text().ends_with(" 6\n"));
    let fetched = wire.imap_ok("UID FETCH 5 (FLAGS BODY.PEEK[HEADER] BODY.PEEK[TEXT])").text();
    assert!(fetched.contains("BODY[HEADER] {") && fetched.contains("BODY[TEXT] {") && fetched.contains("UID 5"));
    wire.imap_ok("UID FETCH 5 (RFC822.SIZE)");
    wire.imap_ok("UID STORE 5 -FLAGS (\\Seen)");
    assert!(wire.append("Sent", "(\\Seen)", b"Subject: from EspoCRM\r\n\r\nx\r\n").is_ok());
    assert_eq!(house.dovecot.count(BOB, "INBOX.Sent"), 2);
}

#[test]
fn freescout_finds_sent_by_name_and_maps_numbers() {
    let Some(house) = House::with(&["freescout"], &[]) else { return };
    let mut wire = house.sign_in(0, quoted);
    wire.imap_ok("SELECT \"INBOX\"");
    wire.imap_ok("UID SEARCH SINCE 1-Mar-2024 UNSEEN");
    assert_eq!(wire.imap_ok("UID FETCH 1:* (UID)").untagged.len(), 6);
    let fetched = wire.imap_ok("UID FETCH 2:2 (RFC822.HEADER)").text();
    assert!(fetched.contains("RFC822.HEADER {"), "{fetched}");
    assert!(wire.imap_ok("UID FETCH 2:2 (RFC822.TEXT)").text().contains("RFC822.TEXT {"));
    wire.imap_ok("UID FETCH 2:2 (FLAGS)");
    wire.imap_ok("UID STORE 2:2 +FLAGS (\\Seen)");
    // 8-bit text without CHARSET is read as UTF-8.
    wire.imap_ok("UID SEARCH SUBJECT \"Été\"");
    let mut again = house.sign_in(0, quoted);
    let options = "(\\Seen) \"04-Mar-2024 05:06:07 +0000\"";
    assert!(again.append("Sent", options, b"Subject: from FreeScout\r\n\r\nx\r\n").is_ok());
}

#[test]
fn zammad_sorts_and_gets_four_items_in_a_line() {
    let Some(house) = House::with(&["zammad"], &[]) else { return };
    let mut wire = house.sign_in(0, half_quoted);
    wire.imap_ok("SELECT INBOX");
    let capabilities = wire.imap_ok("CAPABILITY").text();
    assert!(capabilities.contains(" SORT"), "{capabilities}");
    wire.imap_ok("SORT (DATE) US-ASCII NOT SEEN");
    wire.imap_ok("SEARCH NOT SEEN");
    let fetched = wire.imap_ok("FETCH 1 (RFC822.SIZE FLAGS INTERNALDATE RFC822.HEADER)");
    let text = fetched.text();
    let all = ["RFC822.SIZE ", "FLAGS (", "INTERNALDATE \"", "RFC822.HEADER {"].iter().all(|item| text.contains(item));
    assert!(all && fetched.untagged.len() == 1, "{text}");
    wire.imap_ok("FETCH 1 RFC822");
    wire.imap_ok("STORE 1 +FLAGS (\\Deleted)");
    wire.imap_ok("EXPUNGE");
    assert_eq!(house.dovecot.count(BOB, "INBOX"), 5);
    // Its probe: sent, and then found by its subject.
    let (ports, crm) = &house.crms[0];
    let mut smtp = Wire::plain(ports.smtp);
    smtp.expect("220 ");
    smtp.smtp("EHLO zammad.test", 250);
    smtp.smtp(&crm.smtp_auth(), 235);
    smtp.smtp("MAIL FROM:<bounce@ovh.test>", 550);
    smtp.smtp(&format!("MAIL FROM:<{BOB}>"), 250);
    smtp.smtp(&format!("RCPT TO:<{BOB}>"), 250);
    smtp.smtp("DATA", 354);
    smtp.smtp("Subject: zammad-probe-1\r\n\r\nx\r\n.", 250);
    let found = crate::harness::until(Duration::from_secs(10), || {
        wire.imap_ok("NOOP");
        let found = wire.imap_ok("SEARCH SUBJECT zammad-probe-1").text();
        (found.trim() != "* SEARCH").then_some(())
    });
    assert!(found.is_some(), "the probe does not come");
}

#[test]
fn znuny_walks_the_mailbox_and_empties_it() {
    let Some(house) = House::with(&["znuny"], &[]) else { return };
    let mut wire = house.sign_in(0, half_quoted);
    assert!(wire.imap_ok("SELECT INBOX").text().contains("* 6 EXISTS"));
    for number in 1..=6 {
        assert!(wire.imap_ok(&format!("FETCH {number} RFC822.SIZE")).text().contains("RFC822.SIZE "));
        assert!(wire.imap_ok(&format!("FETCH {number} RFC822")).text().contains("RFC822 {"));
        wire.imap_ok(&format!("STORE {number} +FLAGS (\\Deleted)"));
    }
    wire.imap_ok("EXPUNGE");
    assert_eq!(house.dovecot.count(BOB, "INBOX"), 0);
    // Net::SMTP names the login as authzid too; notifications have an empty sender.
    use base64::Engine as _;
    let (ports, crm) = &house.crms[0];
    let plain = format!("{0}\0{0}\0{1}", crm.login, crm.password);
    let mut smtp = Wire::plain(ports.smtp);
    smtp.expect("220 ");
    smtp.smtp("EHLO znuny.test", 250);
    smtp.smtp(&format!("AUTH PLAIN {}", base64::engine::general_purpose::STANDARD.encode(plain)), 235);
    smtp.smtp("MAIL FROM:<>", 250);
}

#[test]
fn a_french_crm_finds_french_names() {
    let Some(house) = House::with(&["generic-fr", "generic"], &[]) else { return };
    let mut wire = house.sign_in(0, quoted);
    let listed = wire.imap_ok("LIST \"\" \"*\"").text();
    for (name, attribute) in [("Envoy&AOk-s", "\\Sent"), ("Brouillons", "\\Drafts"), ("Corbeille", "\\Trash")] {
        let line =
            listed.lines().find(|line| line.ends_with(&format!("\"{name}\"")) || line.ends_with(&format!(" {name}")));
        assert!(line.is_some_and(|line| line.contains(attribute)), "{name}: {listed}");
    }
    assert!(wire.append("Envoy&AOk-s", "(\\Seen)", b"Subject: de France\r\n\r\nx\r\n").is_ok());
    assert_eq!(house.dovecot.count(BOB, "INBOX.Sent"), 2);
    // The same mailbox at the same time, by the names of another login.
    let mut other = house.sign_in(1, quoted);
    let status = |wire: &mut Wire, name: &str| {
        let text = wire.imap_ok(&format!("STATUS \"{name}\" (MESSAGES UIDVALIDITY)")).text();
        text.split_once('(').map(|(_, counts)| counts.to_owned())
    };
    assert_eq!(status(&mut wire, "Envoy&AOk-s"), status(&mut other, "Sent"));
    assert!(!other.imap("STATUS \"Envoy&AOk-s\" (MESSAGES)").is_ok());
}

#[test]
fn two_crms_that_call_two_mailboxes_alike_keep_their_numbers() {
    let Some(house) = House::with(&["generic-fr", "generic"], &[]) else { return };
    // To the one it is the Sent of everybody; to the other a mailbox that somebody made.
    house.bridge.cli(&["folder", "map", BOB, "Sent", "INBOX.Trash"], b"");
    let told = |at: usize, name: &str| {
        let text = house.sign_in(at, quoted).imap_ok(&format!("STATUS \"{name}\" (UIDVALIDITY)")).text();
        text.split_once('(').map(|(_, number)| number.to_owned())
    };
    let first = [told(0, "Sent"), told(1, "Sent")];
    assert_eq!([told(0, "Sent"), told(1, "Sent")], first, "neither moves the other's");
    assert_eq!(told(0, "Envoy&AOk-s"), first[1], "one mailbox, one number");
}

#[test]
fn three_wrong_passwords_in_a_row_do_no_harm() {
    let Some(house) = House::with(&["vtiger", "suitecrm"], &[]) else { return };
    for (ports, crm) in &house.crms {
        let began = Instant::now();
        let mut wire = Wire::plain(ports.imap);
        wire.expect("* OK");
        for _ in 0..3 {
            assert!(
                wire.imap(&format!("LOGIN \"{}\" \"wrong\"", crm.login))
                    .tagged
                    .starts_with("NO [AUTHENTICATIONFAILED]")
            );
        }
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        wire.imap_ok(&crm.imap_login());
        wire.imap_ok("SELECT INBOX");
        let mut smtp = Wire::plain(ports.smtp);
        smtp.expect("220");
        for _ in 0..3 {
            smtp.smtp("AUTH PLAIN AGJvYkBvdmgudGVzdAB3cm9uZw==", 535);
        }
        smtp.smtp(&crm.smtp_auth(), 235);
    }
}
