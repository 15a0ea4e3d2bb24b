//! Real clients of CRMs: what they see through the bridge is what they see without it, but for the names.
//!
//! The same script runs for one user straight against the provider, and for another, whose mailbox is laid out alike,
//! through the bridge. Its JSON must be the same; what may differ stands under `apart`.

use crate::harness::{AddAccount, Bridge, CrmSettings, Dovecot, Exim, Lab, Program, letters, same, script};
use serde_json::Value;

const ALICE: &str = "alice@ovh.test";
const BOB: &str = "bob@ovh.test";
const PASSWORD: &str = "secret";

/// Mailboxes as the CRM and as the provider calls them.
const NAMES: [(&str, &str); 5] = [
    ("INBOX", "INBOX"),
    ("Sent", "INBOX.Sent"),
    ("Clients/Dupont SARL", "INBOX.Clients.Dupont SARL"),
    ("Kunden-Ärger", "INBOX.Kunden-&AMQ-rger"),
    ("Été 2024/Devis & co", "INBOX.&AMk-t&AOk- 2024.Devis &- co"),
];

/// A provider, and a bridge that serves Bob's account.
struct House {
    lab: Lab,
    dovecot: Dovecot,
    exim: Exim,
    bridge: Bridge,
    crm: CrmSettings,
}

impl House {
    fn with(client: Program) -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Exim, client])?;
        let dovecot = Dovecot::ovh(&lab);
        let exim = Exim::submission(&lab, &dovecot);
        for user in [ALICE, BOB] {
            dovecot.add_user(user, PASSWORD);
            dovecot.load(user, &letters());
        }
        let mut bridge = Bridge::prepare(&lab);
        let crm = bridge.add_account(&AddAccount::of(&lab, &dovecot, &exim, BOB));
        bridge.serve();
        Some(Self { lab, dovecot, exim, bridge, crm })
    }

    /// UIDVALIDITY as the provider tells it to Bob: an account that never moved is told the same by the bridge.
    fn same_validity(&self, through_bridge: &Value) {
        let mut provider = self.dovecot.sign_in(BOB);
        let mut compared = 0;
        for (local, remote) in NAMES {
            let status = provider.imap_ok(&format!("STATUS \"{remote}\" (UIDVALIDITY)")).text();
            let told =
                through_bridge["apart"].as_array().expect("a list").iter().filter(|o| o["uidvalidity of"] == local);
            for value in told.map(|other| other["is"].to_string()) {
                assert!(
                    status.contains(&format!("(UIDVALIDITY {})", value.trim_matches('"'))),
                    "{local}: {value}, {status}"
                );
                compared += 1;
            }
        }
        assert!(compared >= NAMES.len(), "the script asked for {compared} values only");
    }
}

#[test]
fn php_sees_the_same_with_and_without_the_bridge() {
    let Some(house) = House::with(Program::Php) else { return };
    let direct = script(
        "php",
        "script_a.php",
        &["127.0.0.1", &house.dovecot.imaps.to_string(), "/ssl/novalidate-cert", ALICE, PASSWORD, "INBOX.", "."],
    );
    let login = [house.crm.login.as_str(), &house.crm.password];
    let plain = house.bridge.imap.to_string();
    let through = script("php", "script_a.php", &["127.0.0.1", &plain, "/notls", login[0], login[1], "", "/"]);
    same(&direct["pages"], &through["pages"]);
    house.same_validity(&through);
}

#[test]
fn python_sees_the_same_with_and_without_the_bridge() {
    let Some(house) = House::with(Program::Python) else { return };
    let run = |imap: u16, smtp: u16, security, login: &str, password: &str, names: [&str; 2]| {
        let (imap, smtp) = (imap.to_string(), smtp.to_string());
        let ca = house.lab.certificates.ca.to_string_lossy();
        script(
            "python3",
            "script_a.py",
            &["localhost", &imap, &smtp, security, login, password, names[0], names[1], &ca],
        )
    };
    let direct = run(house.dovecot.imaps, house.exim.submissions, "tls", ALICE, PASSWORD, ["INBOX.", "."]);
    let (bridge, crm) = (&house.bridge, &house.crm);
    let through = run(bridge.imap, bridge.smtp, "none", &crm.login, &crm.password, ["", "/"]);
    same(&direct["steps"], &through["steps"]);
    house.same_validity(&through);
}
