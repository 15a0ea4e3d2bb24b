//! The clients of CRMs before the mail of any provider: OVH, Gmail and Microsoft 365, each behind the strict filter.
//!
//! What a client sees through the bridge is what it would see of a server with the same announcements whose special
//! mailboxes bear the plain names: Sent, Drafts, Trash, Junk. So the same script runs straight against such a server
//! ([`Layout::shown`]), and through the bridge against the provider. And no command of the bridge goes beyond what the
//! provider announces.

use crate::harness::{
    AddAccount, Bridge, CrmSettings, Curl, Host, Hosted, Lab, Layout, Mbsync, PATIENCE, Program, Wire, both, same,
    script, until,
};
use std::{thread, time::Duration};

const ALICE: &str = "alice@crm.test";
const PASSWORD: &str = "secret";

/// A bridge before a provider, and beside it the server that it should look like.
struct House {
    provider: Host,
    model: Host,
    bridge: Bridge,
    crm: CrmSettings,
    // Its folder goes last.
    lab: Lab,
}

impl House {
    fn with(layout: Layout, client: Program) -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Exim, client])?;
        let [provider, model] = [layout, layout.shown()].map(|layout| Host::with(&lab, layout, ALICE, PASSWORD));
        let mut bridge = Bridge::prepare(&lab);
        let account = AddAccount::behind(&lab, &provider, ALICE);
        let crm = bridge.add_account(&account);
        bridge.serve();
        Some(Self { lab, provider, model, bridge, crm })
    }

    fn hosted<'a>(&self, sign_in: &'a dyn Fn() -> Wire) -> Hosted<'a> {
        Hosted { address: ALICE, layout: self.provider.dovecot.layout, sign_in }
    }

    /// The steps that the bridge itself does where the provider cannot are `beyond` comparison.
    fn python(&self, beyond: &[&str]) {
        let ca = self.lab.certificates.ca.to_string_lossy();
        let script = |imap: u16, smtp: u16, security, login: &str, password: &str| {
            let arguments =
                ["localhost", &imap.to_string(), &smtp.to_string(), security, login, password, "", "/", &*ca];
            script("python3", "script_a.py", &arguments)
        };
        let [mut direct, mut through] = both(
            || script(self.model.filter.imaps, self.model.exim.submissions, "tls", ALICE, PASSWORD),
            || script(self.bridge.imap, self.bridge.smtp, "none", &self.crm.login, &self.crm.password),
        );
        for seen in [&mut direct, &mut through] {
            let steps = seen["steps"].as_array_mut().expect("a list of steps");
            let all = steps.len();
            steps.retain(|step| !beyond.iter().any(|beyond| step["step"] == *beyond));
            assert_eq!(all - steps.len(), beyond.len(), "steps are called otherwise");
        }
        same(&direct["steps"], &through["steps"]);
        self.provider.filter.expect_obeyed();
    }

    fn php(&self) {
        let script = |imap: u16, flags, login: &str, password: &str| {
            script("php", "script_a.php", &["127.0.0.1", &imap.to_string(), flags, login, password, "", "/"])
        };
        let [direct, through] = both(
            || script(self.model.filter.imaps, "/ssl/novalidate-cert", ALICE, PASSWORD),
            || script(self.bridge.imap, "/notls", &self.crm.login, &self.crm.password),
        );
        same(&direct["pages"], &through["pages"]);
        self.provider.filter.expect_obeyed();
    }
}

#[test]
fn python_sees_ovh_by_plain_names() {
    let Some(house) = House::with(Layout::Ovh, Program::Python) else { return };
    house.python(&[]);
}

#[test]
fn python_sees_gmail_by_plain_names() {
    let Some(house) = House::with(Layout::Gmail, Program::Python) else { return };
    house.python(&["authenticate login"]);
}

#[test]
fn python_sees_microsoft_by_plain_names() {
    let Some(house) = House::with(Layout::Microsoft, Program::Python) else { return };
    house.python(&["authenticate login"]);
}

#[test]
fn php_sees_ovh_by_plain_names() {
    let Some(house) = House::with(Layout::Ovh, Program::Php) else { return };
    house.php();
}

#[test]
fn php_sees_gmail_by_plain_names() {
    let Some(house) = House::with(Layout::Gmail, Program::Php) else { return };
    house.php();
}

#[test]
fn php_sees_microsoft_by_plain_names() {
    let Some(house) = House::with(Layout::Microsoft, Program::Php) else { return };
    house.php();
}

#[test]
fn curl_works_with_ovh() {
    curl_works(Layout::Ovh);
}

#[test]
fn curl_works_with_gmail() {
    curl_works(Layout::Gmail);
}

#[test]
fn curl_works_with_microsoft() {
    curl_works(Layout::Microsoft);
}

fn curl_works(layout: Layout) {
    let Some(house) = House::with(layout, Program::Curl) else { return };
    Curl::works(&house.lab, &house.bridge, &house.crm, &house.hosted(&|| house.provider.dovecot.sign_in(ALICE)));
    house.provider.filter.expect_obeyed();
}

#[test]
fn mbsync_works_with_ovh() {
    mbsync_works(Layout::Ovh);
}

#[test]
fn mbsync_works_with_gmail() {
    mbsync_works(Layout::Gmail);
}

#[test]
fn mbsync_works_with_microsoft() {
    mbsync_works(Layout::Microsoft);
}

fn mbsync_works(layout: Layout) {
    let Some(house) = House::with(layout, Program::Mbsync) else { return };
    let sign_in = || house.provider.dovecot.sign_in(ALICE);
    let hosted = house.hosted(&sign_in);
    Mbsync::works(&house.lab, &house.bridge, &house.crm, &hosted, layout == Layout::Ovh);
    house.provider.filter.expect_obeyed();
}

/// Gmail ends the session of a token about hourly: who is idle must not notice.
#[test]
fn sessions_that_gmail_ends_go_on() {
    let Some(house) = House::with(Layout::Gmail, Program::Dovecot) else { return };
    let (mut bare, mut selected, mut idle) =
        (house.bridge.sign_in(&house.crm), house.bridge.sign_in(&house.crm), house.bridge.sign_in(&house.crm));
    bare.imap_ok("STATUS Sent (MESSAGES)");
    let told = selected.imap_ok("SELECT Sent").text();
    idle.imap_ok("SELECT INBOX");
    idle.line("i IDLE");
    idle.expect("+");
    for round in 1..=2_u32 {
        let filter = &house.provider.filter;
        let (signed_in, over, visits) = (filter.sign_ins(), filter.over(), filter.visits());
        assert!(visits - over >= 2, "two have a mailbox selected");
        filter.expire();
        // Who idles comes back by itself; the others when they next say something.
        let back = until(PATIENCE, || (filter.over() >= visits && filter.sign_ins() > signed_in).then_some(()));
        assert!(back.is_some(), "{}", house.bridge.log());
        // A command that crosses the BYE on its way is rightly refused; here none does.
        thread::sleep(Duration::from_millis(200));

        let status = bare.imap_ok("STATUS Sent (MESSAGES UIDVALIDITY)").text();
        let validity = told.split("UIDVALIDITY ").nth(1).and_then(|rest| rest.split(']').next()).expect("a value");
        assert_eq!(status, format!("* STATUS Sent (MESSAGES 1 UIDVALIDITY {validity})\n"));
        assert!(selected.imap_ok("UID FETCH 1 (UID RFC822.SIZE)").text().contains("* 1 FETCH (UID 1 "));
        assert!(house.provider.dovecot.sign_in(ALICE).append("INBOX", "", b"Subject: new\r\n\r\n\r\n").is_ok());
        while !idle.next().starts_with(&format!("* {} EXISTS", 6 + round)) {}
    }
    idle.line("DONE");
    assert!(idle.answer("i").is_ok());
    house.provider.filter.expect_obeyed();
}
