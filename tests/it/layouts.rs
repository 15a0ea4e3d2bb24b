//! The clients of CRMs before the mail of any provider: OVH, Gmail and Microsoft 365, each behind the strict filter.
//!
//! What a client sees through the bridge is what it would see of a server with the same announcements whose special
//! mailboxes bear the plain names: Sent, Drafts, Trash, Junk. So the same script runs straight against such a server
//! ([`Layout::shown`]), and through the bridge against the provider. And no command of the bridge goes beyond what the
//! provider announces.

use crate::harness::{
    AddAccount, Bridge, CrmSettings, Dovecot, Exim, Filter, Lab, Layout, PATIENCE, Program, letter, letters, run, same,
    until, words,
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

const ALICE: &str = "alice@crm.test";
const PASSWORD: &str = "secret";

/// A provider as the world sees it: its front door, its mail, its submission.
struct Host {
    dovecot: Dovecot,
    filter: Filter,
    exim: Exim,
}

impl Host {
    fn with(lab: &Lab, layout: Layout) -> Self {
        let dovecot = Dovecot::start(lab, layout, &lab.certificates.good, "");
        dovecot.add_user(ALICE, PASSWORD);
        dovecot.load(ALICE, &letters());
        let exim = Exim::submission(lab, &dovecot);
        let filter = Filter::before(lab, &dovecot);
        Self { dovecot, filter, exim }
    }
}

/// A bridge before a provider, and beside it the server that it should look like.
struct House {
    lab: Lab,
    provider: Host,
    model: Host,
    bridge: Bridge,
    crm: CrmSettings,
}

impl House {
    fn with(layout: Layout, client: Program) -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Exim, client])?;
        let (provider, model) = (Host::with(&lab, layout), Host::with(&lab, layout.shown()));
        let mut bridge = Bridge::prepare(&lab);
        let account = AddAccount::behind(&lab, &provider.filter, &provider.dovecot, &provider.exim, ALICE);
        let crm = bridge.add_account(&account);
        bridge.serve();
        Some(Self { lab, provider, model, bridge, crm })
    }

    /// The steps that the bridge itself does where the provider cannot are `beyond` comparison.
    fn python(&self, beyond: &[&str]) {
        let ca = self.lab.certificates.ca.to_string_lossy();
        let script = |imap: u16, smtp: u16, security, login: &str, password: &str| {
            let arguments =
                ["localhost", &imap.to_string(), &smtp.to_string(), security, login, password, "", "/", &*ca];
            script("python3", "script_a.py", &arguments)
        };
        let mut direct = script(self.model.filter.imaps, self.model.exim.submissions, "tls", ALICE, PASSWORD);
        let mut through = script(self.bridge.imap, self.bridge.smtp, "none", &self.crm.login, &self.crm.password);
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
        let direct = script(self.model.filter.imaps, "/ssl/novalidate-cert", ALICE, PASSWORD);
        let through = script(self.bridge.imap, "/notls", &self.crm.login, &self.crm.password);
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
    let curl = Curl::of(&house);
    for secured in [false, true] {
        curl.lists(secured);
        curl.fetches_and_stores(&house, secured);
        curl.sends(&house, secured);
    }
    house.provider.filter.expect_obeyed();
}

#[test]
fn mbsync_works_with_ovh() {
    mbsync_copies_both_ways_and_then_rests(Layout::Ovh);
}

#[test]
fn mbsync_works_with_gmail() {
    mbsync_copies_both_ways_and_then_rests(Layout::Gmail);
}

#[test]
fn mbsync_works_with_microsoft() {
    mbsync_copies_both_ways_and_then_rests(Layout::Microsoft);
}

fn mbsync_copies_both_ways_and_then_rests(layout: Layout) {
    let Some(house) = House::with(layout, Program::Mbsync) else { return };
    let mbsync = Mbsync::of(&house, layout == Layout::Ovh);
    let mail = mbsync.mail();
    mbsync.run();
    assert_eq!(mbsync.messages(""), 9, "all letters of the provider");
    for name in ["Sent", "Drafts", "Trash", "Junk", "Clients/Dupont SARL"] {
        assert!(mail.join(name).join("cur").is_dir(), "{name} is not in {:?}", mbsync.files());
    }

    let sent = layout.remote("Sent");
    let mut wire = house.provider.dovecot.sign_in(ALICE);
    assert!(wire.append(&sent, "(\\Seen)", b"Subject: of the provider\r\n\r\nfar\r\n").is_ok());
    fs::write(mail.join("Sent/new/1.here"), "Subject: of the client\n\nnear\n").expect("a message of ours");
    mbsync.run();
    assert_eq!((mbsync.messages("Sent"), mbsync.messages("")), (3, 11));
    assert_eq!(house.provider.dovecot.count(ALICE, &sent), 3);
    let stored = house.provider.dovecot.message(ALICE, &sent, 3);
    assert!(stored.starts_with(b"Subject: of the client\r\n"), "{}", String::from_utf8_lossy(&stored));

    let before = mbsync.files();
    mbsync.run();
    assert_eq!(before, mbsync.files(), "nothing is left to do");
    assert_eq!(house.provider.dovecot.count(ALICE, &sent), 3);
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

/// curl with a CRM's settings.
struct Curl {
    user: String,
    ports: [[u16; 2]; 2],
    ca: String,
}

impl Curl {
    fn of(house: &House) -> Self {
        let bridge = &house.bridge;
        Self {
            user: format!("{}:{}", house.crm.login, house.crm.password),
            ports: [[bridge.imap, bridge.smtp], [bridge.imaps, bridge.smtps]],
            ca: bridge.authority().to_string_lossy().into_owned(),
        }
    }

    fn run(&self, secured: bool, protocol: usize, path: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let scheme = [["imap", "smtp"], ["imaps", "smtps"]][usize::from(secured)][protocol];
        let url = format!("{scheme}://localhost:{}/{path}", self.ports[usize::from(secured)][protocol]);
        let mut command = Command::new("curl");
        command.args(["-sS", "--ipv4", "--max-time", "30", "--cacert", &self.ca, "--user", &self.user, &url]);
        let output = run(40, command.args(arguments), input);
        assert!(output.status.success(), "{url} {arguments:?}: {}", words(&output));
        output.stdout
    }

    fn imap(&self, secured: bool, path: &str, arguments: &[&str]) -> String {
        String::from_utf8_lossy(&self.run(secured, 0, path, arguments, b"")).into_owned()
    }

    fn lists(&self, secured: bool) {
        let listed = self.imap(secured, "", &[]);
        for (name, flag) in [("Sent", "\\Sent"), ("Drafts", "\\Drafts"), ("Trash", "\\Trash"), ("Junk", "\\Junk")] {
            let ends = [format!(" \"/\" {name}\r\n"), format!(" \"/\" \"{name}\"\r\n")];
            let line = listed.split_inclusive('\n').find(|line| ends.iter().any(|end| line.ends_with(end)));
            assert!(line.is_some_and(|line| line.contains(flag)), "{name} with {flag} is not in\n{listed}");
        }
    }

    fn fetches_and_stores(&self, house: &House, secured: bool) {
        assert_eq!(self.run(secured, 0, "Sent;UID=1", &[], b""), letter("plain"));
        assert!(self.imap(secured, "INBOX?SUBJECT%20Order", &[]).starts_with("* SEARCH 1"));
        let dovecot = &house.provider.dovecot;
        // It stores nothing whose size it does not know beforehand.
        let file = house.lab.path().join("stored.eml");
        fs::write(&file, "Subject: stored\r\n\r\nby curl\r\n").expect("a message to store");
        for (path, local) in [("Sent", "Sent"), ("Clients/Dupont%20SARL", "Clients/Dupont SARL")] {
            let remote = dovecot.layout.remote(local);
            let before = dovecot.count(ALICE, &remote);
            self.imap(secured, path, &["--upload-file", &file.to_string_lossy()]);
            assert_eq!(dovecot.count(ALICE, &remote), before + 1, "{remote}");
            assert_eq!(dovecot.message(ALICE, &remote, before + 1), b"Subject: stored\r\n\r\nby curl\r\n");
        }
    }

    fn sends(&self, house: &House, secured: bool) {
        let dovecot = &house.provider.dovecot;
        let before = dovecot.count(ALICE, "INBOX");
        let arguments = ["--mail-from", ALICE, "--mail-rcpt", ALICE, "--upload-file", "-"];
        self.run(secured, 1, "crm.test", &arguments, b"Subject: sent\r\n\r\n.\r\nby curl\r\n");
        let arrived = until(PATIENCE, || (dovecot.count(ALICE, "INBOX") == before + 1).then_some(()));
        assert!(arrived.is_some(), "{}", house.provider.exim.log());
        assert!(dovecot.message(ALICE, "INBOX", before + 1).ends_with(b"\r\n\r\n.\r\nby curl\r\n"));
    }
}

/// mbsync between the bridge and a Maildir.
struct Mbsync {
    folder: PathBuf,
}

impl Mbsync {
    fn of(house: &House, secured: bool) -> Self {
        let folder = house.lab.folder("m");
        // In clear it wants to be told that LOGIN will do.
        let security = if secured {
            format!(
                "Port {}\nSSLType IMAPS\nCertificateFile {}",
                house.bridge.imaps,
                house.bridge.authority().display()
            )
        } else {
            format!("Port {}\nSSLType None\nAuthMechs LOGIN", house.bridge.imap)
        };
        let conf = format!(
            "IMAPAccount bridge\nHost localhost\n{security}\nUser \"{}\"\nPass \"{}\"\nTimeout 20\n\n\
             IMAPStore bridge\nAccount bridge\n\n\
             MaildirStore here\nPath {mail}/\nInbox {mail}/INBOX\nSubFolders Verbatim\n\n\
             Channel all\nFar :bridge:\nNear :here:\nPatterns *\nCreate Both\nSyncState *\n",
            house.crm.login,
            house.crm.password,
            mail = folder.join("mail").display(),
        );
        fs::create_dir(folder.join("mail")).expect("a folder for mail");
        fs::write(folder.join("conf"), conf).expect("mbsync's configuration is written");
        Self { folder }
    }

    fn mail(&self) -> PathBuf {
        self.folder.join("mail")
    }

    fn run(&self) {
        let mut command = Command::new("mbsync");
        let output = run(60, command.arg("-c").arg(self.folder.join("conf")).args(["-V", "all"]), b"");
        assert!(output.status.success(), "{}", words(&output));
    }

    /// Messages in a mailbox, or in all.
    fn messages(&self, mailbox: &str) -> usize {
        let holds = |folder: &Path| folder.ends_with("cur") || folder.ends_with("new");
        let lies = |path: &Path| path.starts_with(self.mail().join(mailbox)) && path.parent().is_some_and(holds);
        self.files().iter().filter(|path| lies(path)).count()
    }

    /// All that lies here, its notes of what is done too, by path.
    fn files(&self) -> Vec<PathBuf> {
        let (mut found, mut folders) = (Vec::new(), vec![self.mail()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("a folder of mail").flatten() {
                if entry.path().is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
            }
        }
        found.sort();
        found
    }
}

/// Runs a script of `tests/lab` and gives the JSON that it prints.
fn script(interpreter: &str, name: &str, arguments: &[&str]) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name);
    let output = run(120, Command::new(interpreter).arg(path).args(arguments), b"");
    assert!(output.status.success(), "{name}: {}", words(&output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{name}: {error}\n{}", words(&output)))
}
