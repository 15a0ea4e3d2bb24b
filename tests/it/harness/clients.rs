//! Clients of the world for the tests to run: the scripts of `tests/lab`, curl, mbsync.

use super::{
    bridge::{Bridge, CrmSettings},
    lab::Lab,
    layout::Layout,
    leash::{PATIENCE, run, until, words},
    letters::letter,
    wire::Wire,
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

/// The mail of one user as his provider has it, laid out with the letters of the corpus.
pub(crate) struct Hosted<'a> {
    pub(crate) address: &'a str,
    pub(crate) layout: Layout,
    pub(crate) sign_in: &'a dyn Fn() -> Wire,
}

impl Hosted<'_> {
    fn count(&self, local: &str) -> u32 {
        (self.sign_in)().count(&self.layout.remote(local))
    }

    fn message(&self, local: &str, number: u32) -> Vec<u8> {
        (self.sign_in)().message(&self.layout.remote(local), number)
    }
}

/// curl with a CRM's settings.
pub(crate) struct Curl {
    folder: PathBuf,
    user: String,
    ports: [[u16; 2]; 2],
    ca: String,
}

impl Curl {
    /// Lists, fetches, searches, stores and sends, in clear and in TLS.
    pub(crate) fn works(lab: &Lab, bridge: &Bridge, crm: &CrmSettings, hosted: &Hosted<'_>) {
        let curl = Self::of(lab, bridge, crm);
        for secured in [false, true] {
            curl.lists(secured);
            curl.fetches_and_stores(hosted, secured);
            curl.sends(hosted, secured);
        }
    }

    fn of(lab: &Lab, bridge: &Bridge, crm: &CrmSettings) -> Self {
        Self {
            folder: lab.folder("u"),
            user: format!("{}:{}", crm.login, crm.password),
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

    fn fetches_and_stores(&self, hosted: &Hosted<'_>, secured: bool) {
        assert_eq!(self.run(secured, 0, "Sent;UID=1", &[], b""), letter("plain"));
        assert!(self.imap(secured, "INBOX?SUBJECT%20Order", &[]).starts_with("* SEARCH 1"));
        // It stores nothing whose size it does not know beforehand.
        let file = self.folder.join("stored.eml");
        fs::write(&file, "Subject: stored\r\n\r\nby curl\r\n").expect("a message to store");
        for (path, local) in [("Sent", "Sent"), ("Clients/Dupont%20SARL", "Clients/Dupont SARL")] {
            let before = hosted.count(local);
            self.imap(secured, path, &["--upload-file", &file.to_string_lossy()]);
            assert_eq!(hosted.count(local), before + 1, "{local}");
            assert_eq!(hosted.message(local, before + 1), b"Subject: stored\r\n\r\nby curl\r\n");
        }
    }

    fn sends(&self, hosted: &Hosted<'_>, secured: bool) {
        let before = hosted.count("INBOX");
        let arguments = ["--mail-from", hosted.address, "--mail-rcpt", hosted.address, "--upload-file", "-"];
        self.run(secured, 1, "crm.test", &arguments, b"Subject: sent\r\n\r\n.\r\nby curl\r\n");
        let arrived = until(PATIENCE, || (hosted.count("INBOX") == before + 1).then_some(()));
        assert!(arrived.is_some(), "what curl sent did not arrive");
        assert!(hosted.message("INBOX", before + 1).ends_with(b"\r\n\r\n.\r\nby curl\r\n"));
    }
}

/// mbsync between the bridge and a Maildir.
pub(crate) struct Mbsync {
    folder: PathBuf,
}

impl Mbsync {
    /// Pulls all, takes a new message each way, and finds nothing left to do.
    pub(crate) fn works(lab: &Lab, bridge: &Bridge, crm: &CrmSettings, hosted: &Hosted<'_>, secured: bool) {
        let mbsync = Self::of(lab, bridge, crm, secured);
        let mail = mbsync.mail();
        mbsync.run();
        assert_eq!(mbsync.messages(""), 9, "all letters of the provider");
        for name in ["Sent", "Drafts", "Trash", "Junk", "Clients/Dupont SARL"] {
            assert!(mail.join(name).join("cur").is_dir(), "{name} is not in {:?}", mbsync.files());
        }

        let sent = hosted.layout.remote("Sent");
        let far = (hosted.sign_in)().append(&sent, "(\\Seen)", b"Subject: of the provider\r\n\r\nfar\r\n");
        assert!(far.is_ok(), "{}", far.tagged);
        fs::write(mail.join("Sent/new/1.here"), "Subject: of the client\n\nnear\n").expect("a message of ours");
        mbsync.run();
        assert_eq!((mbsync.messages("Sent"), mbsync.messages("")), (3, 11));
        assert_eq!(hosted.count("Sent"), 3);
        let stored = hosted.message("Sent", 3);
        assert!(stored.starts_with(b"Subject: of the client\r\n"), "{}", String::from_utf8_lossy(&stored));

        let before = mbsync.files();
        mbsync.run();
        assert_eq!(before, mbsync.files(), "nothing is left to do");
        assert_eq!(hosted.count("Sent"), 3);
    }

    fn of(lab: &Lab, bridge: &Bridge, crm: &CrmSettings, secured: bool) -> Self {
        let folder = lab.folder("m");
        // In clear it wants to be told that LOGIN will do.
        let security = if secured {
            format!("Port {}\nSSLType IMAPS\nCertificateFile {}", bridge.imaps, bridge.authority().display())
        } else {
            format!("Port {}\nSSLType None\nAuthMechs LOGIN", bridge.imap)
        };
        let conf = format!(
            "IMAPAccount bridge\nHost localhost\n{security}\nUser \"{}\"\nPass \"{}\"\nTimeout 20\n\n\
             IMAPStore bridge\nAccount bridge\n\n\
             MaildirStore here\nPath {mail}/\nInbox {mail}/INBOX\nSubFolders Verbatim\n\n\
             Channel all\nFar :bridge:\nNear :here:\nPatterns *\nCreate Both\nSyncState *\n",
            crm.login,
            crm.password,
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

/// Both at once: they wait more than they work.
pub(crate) fn both(one: impl FnOnce() -> Value + Send, other: impl FnOnce() -> Value) -> [Value; 2] {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        [one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), other]
    })
}

/// Runs a script of `tests/lab` and gives the JSON that it prints.
pub(crate) fn script(interpreter: &str, name: &str, arguments: &[&str]) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name);
    let output = run(120, Command::new(interpreter).arg(path).args(arguments), b"");
    assert!(output.status.success(), "{name}: {}", words(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("SECURITY PROBLEM"), "the library warns of the server: {text}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{name}: {error}\n{}", words(&output)))
}
