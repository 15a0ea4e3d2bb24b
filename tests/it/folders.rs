//! The tree of a real provider: what a CRM makes of it, and what a person maps and hides under a running bridge.

use crate::harness::{AddAccount, Bridge, CrmSettings, Dovecot, Exim, Lab, Program, Wire, words};
use serde_json::Value;
use std::time::{Duration, Instant};

const ALICE: &str = "alice@ovh.test";
/// Design section 6: a running bridge sees any change of the store within this.
const SEEN: Duration = Duration::from_secs(1);

struct House {
    dovecot: Dovecot,
    bridge: Bridge,
    crm: CrmSettings,
    _exim: Exim,
    _lab: Lab,
}

impl House {
    fn start() -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Exim])?;
        let dovecot = Dovecot::ovh(&lab);
        dovecot.add_user(ALICE, "secret");
        let exim = Exim::submission(&lab, &dovecot);
        let mut bridge = Bridge::prepare(&lab);
        let crm = bridge.add_account(&AddAccount::of(&lab, &dovecot, &exim, ALICE));
        bridge.serve();
        Some(Self { dovecot, bridge, crm, _exim: exim, _lab: lab })
    }

    fn session(&self) -> Wire {
        self.bridge.sign_in(&self.crm)
    }

    fn folder(&self, arguments: &[&str]) -> Value {
        let output = self.bridge.cli(&[&["folder"], arguments, &["--json"]].concat(), b"");
        assert!(output.status.success(), "{}", words(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// A change of the map that ends this session in time.
    fn change(&self, mut session: Wire, arguments: &[&str]) -> Value {
        let change = self.folder(arguments);
        let began = Instant::now();
        session.expect("* BYE [UNAVAILABLE] ");
        assert!(began.elapsed() < SEEN, "{arguments:?}: {:?}", began.elapsed());
        assert_eq!(change["changed"], true, "{change}");
        change
    }

    /// The exit code of a command that is refused, and what it says.
    fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.bridge.cli(&[&["folder"], arguments].concat(), b"");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().expect("it ended by itself"), said)
    }

    fn row(&self, key: &str, name: &str) -> Value {
        let rows = self.folder(&["list", ALICE]);
        let row = rows.as_array().expect("a list").iter().find(|row| row[key] == name).cloned();
        row.unwrap_or_else(|| panic!("no {name} in {rows}"))
    }
}

fn listed(session: &mut Wire, pattern: &str) -> String {
    session.imap_ok(&format!("LIST \"\" \"{pattern}\"")).text()
}

fn uid_validity(session: &mut Wire, mailbox: &str) -> u32 {
    let told = session.imap_ok(&format!("STATUS {mailbox} (UIDVALIDITY)")).text();
    let number = told.split("UIDVALIDITY ").nth(1).and_then(|rest| rest.split(')').next()).expect("a number");
    number.parse().expect("a number")
}

#[test]
fn what_a_crm_makes_stands_at_the_provider() {
    let Some(house) = House::start() else { return };
    let mut session = house.session();
    let mut dovecot = house.dovecot.sign_in(ALICE);
    session.imap_ok("CREATE \"Clients/Neu\"");
    session.imap_ok("SUBSCRIBE \"Clients/Neu\"");
    assert!(session.imap_ok("LSUB \"\" \"Clients/*\"").text().contains("\"Clients/Neu\""));
    session.imap_ok("RENAME \"Clients/Neu\" \"Sent/Alt\"");
    assert!(dovecot.imap_ok("LIST \"\" \"INBOX.Sent.*\"").text().contains("INBOX.Sent.Alt"));
    assert!(listed(&mut session, "Sent/%").contains("\"Sent/Alt\""));
    let refused = session.imap("RENAME Sent Elsewhere").tagged;
    assert!(refused.starts_with("NO [CANNOT]"), "{refused}");
    session.imap_ok("DELETE \"Sent/Alt\"");
    assert!(!dovecot.imap_ok("LIST \"\" \"INBOX.Sent.*\"").text().contains("Alt"));
    // A special mailbox can go, and comes back in its place.
    session.imap_ok("DELETE Junk");
    session.imap_ok("CREATE INBOX.Junk");
    assert!(listed(&mut session, "Junk").contains("\\Junk"), "it has its role");
    assert!(dovecot.imap_ok("LIST \"\" \"INBOX.Junk\"").text().contains("INBOX.Junk"));
}

#[test]
fn a_folder_that_a_person_maps_is_another_mailbox_to_the_crm() {
    let Some(house) = House::start() else { return };
    let mut session = house.session();
    let first = uid_validity(&mut session, "Sent");

    house.change(session, &["map", ALICE, "Sent", "INBOX.Été 2024.Devis & co"]);
    let mut session = house.session();
    let tree = listed(&mut session, "*");
    assert!(tree.contains("\\Sent) \"/\" \"Sent\"") && tree.contains("\"=53ent\""), "{tree}");
    assert!(!tree.contains("Devis"), "{tree}");
    let second = uid_validity(&mut session, "Sent");
    assert!(second > first, "{second} > {first}");
    session.imap_ok("APPEND Sent {4+}\r\nmail");
    assert_eq!(house.dovecot.count(ALICE, "INBOX.&AMk-t&AOk- 2024.Devis &- co"), 1);
    assert_eq!(house.row("local", "Sent")["state"], "mapped");
    assert_eq!(house.folder(&["map", ALICE, "Sent", "INBOX.Été 2024.Devis & co"])["changed"], false);
    // It was no change: the session goes on.
    session.imap_ok("NOOP");

    house.change(session, &["unmap", ALICE, "Sent"]);
    let mut session = house.session();
    let third = uid_validity(&mut session, "Sent");
    assert!(third > second, "{third} > {second}");

    house.change(session, &["map", ALICE, "Alte Kunden/Archiv", "INBOX.Clients"]);
    let mut session = house.session();
    session.imap_ok("SELECT \"Alte Kunden/Archiv/Dupont SARL\"");
    assert!(listed(&mut session, "%").contains("(\\Noselect \\HasChildren) \"/\" \"Alte Kunden\""));
}

#[test]
fn a_person_speaks_of_folders_as_the_crm_does() {
    let Some(mut house) = House::start() else { return };
    // The oldest login in force says which CRM it is; any other is named.
    let first = house.crm.login.clone();
    house.crm = house.bridge.add_login(ALICE, "generic-fr");
    assert_eq!(house.row("role", "sent")["local"], "Sent");
    assert!(house.folder(&["list", ALICE, "--crm", "generic-fr"]).to_string().contains("\"Envoyés\""));
    assert_eq!(house.refused(&["list", ALICE, "--crm", "sugar"]).0, 5);
    assert!(house.bridge.cli(&["login", "revoke", &first], b"").status.success());
    assert_eq!(house.row("role", "sent")["local"], "Envoyés");

    house.change(house.session(), &["map", ALICE, "Envoyés", "INBOX.Été 2024.Devis & co"]);
    let mut session = house.session();
    session.imap_ok("APPEND Envoy&AOk-s {4+}\r\nmail");
    assert_eq!(house.dovecot.count(ALICE, "INBOX.&AMk-t&AOk- 2024.Devis &- co"), 1);
    assert_eq!(house.row("local", "Envoyés")["state"], "mapped");
    house.change(session, &["unmap", ALICE, "Envoyés"]);
    house.change(house.session(), &["hide", ALICE, "Corbeille"]);
    assert_eq!(house.row("remote", "INBOX.Trash")["state"], "hidden");
}

#[test]
fn a_hidden_folder_is_not_there_until_it_is_shown() {
    let Some(house) = House::start() else { return };
    house.change(house.session(), &["hide", ALICE, "Clients"]);
    let mut session = house.session();
    assert!(!listed(&mut session, "*").contains("Clients"));
    for command in ["SELECT \"Clients/Dupont SARL\"", "CREATE Clients", "RENAME Trash Clients"] {
        let refused = session.imap(command).tagged;
        assert!(refused.starts_with("NO ["), "{command}: {refused}");
    }
    let row = house.row("remote", "INBOX.Clients");
    assert_eq!((&row["local"], &row["state"]), (&Value::Null, &Value::from("hidden")));
    assert_eq!(house.row("remote", "INBOX.Clients.Dupont SARL")["state"], "hidden");
    house.change(session, &["show", ALICE, "Clients"]);
    house.session().imap_ok("SELECT \"Clients/Dupont SARL\"");
    assert_eq!(house.refused(&["show", ALICE, "Clients"]).0, 5);
}

#[test]
fn clashes_of_the_map_are_refused_when_it_is_made() {
    let Some(house) = House::start() else { return };
    house.folder(&["map", ALICE, "Archiv", "INBOX.Clients"]);
    for (arguments, code, said) in [
        (&["map", ALICE, "Archiv", "INBOX.Junk"][..], 6, "folder unmap alice@ovh.test Archiv`"),
        (&["map", ALICE, "Autre", "INBOX.Clients"], 6, "folder unmap alice@ovh.test Archiv`"),
        (&["map", ALICE, "Kunden-Ärger", "INBOX.Junk"], 6, "INBOX.Kunden-Ärger"),
        (&["map", ALICE, "Autre", "INBOX.Nope"], 5, "folder list"),
        (&["map", ALICE, "inbox", "INBOX.Junk"], 2, "INBOX"),
        (&["map", ALICE, "Autre", "INBOX"], 2, "INBOX"),
        (&["map", ALICE, "a//b", "INBOX.Junk"], 2, "separate levels"),
        (&["hide", ALICE, "Archiv"], 6, "folder unmap"),
        (&["hide", ALICE, "Nope"], 5, "folder list"),
        (&["unmap", ALICE, "Nope"], 5, "folder list"),
    ] {
        let (exit, words) = house.refused(arguments);
        assert!(exit == code && words.contains(said), "{arguments:?}: {exit} {words}");
        assert!(words.starts_with("error: "), "{words}");
    }
    house.folder(&["map", ALICE, "Autre", "INBOX.Pas encore", "--unchecked"]);
    assert_eq!(house.row("local", "Autre")["state"], "missing");
    let mut session = house.session();
    session.imap_ok("CREATE Autre");
    assert!(house.dovecot.sign_in(ALICE).imap_ok("LIST \"\" *").text().contains("INBOX.Pas encore"));
}
