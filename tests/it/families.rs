//! Other families of servers behind the bridge: what Dovecot and Exim never say must not trip it.

use crate::harness::{
    AddAccount, Bridge, CrmSettings, Curl, Cyrus, Dovecot, Exim, Hosted, Lab, Layout, Mbsync, Program, both, letters,
    same, script,
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
