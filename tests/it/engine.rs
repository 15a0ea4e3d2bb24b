//! The engine is an IMAP server: the clients of CRMs see in it what they see in Dovecot.

use crate::harness::{Dovecot, Exim, Lab, OVH_MAILBOXES, Program, differences, letters, run, script, words};
use passerelle::{
    engine::{
        driver,
        machine::Manner,
        memory::Memory,
        sink::{Envelope, Mechanisms, Sink},
        source::{Credentials, Flags, Source as _},
    },
    model::RemoteName,
};
use std::{fs, process::Command};

pub(crate) const USER: &str = "alice@ovh.test";
pub(crate) const PASSWORD: &str = "secret";

/// An engine over one mailbox, on a port of its own.
struct House {
    port: u16,
    smtp: u16,
    memory: Memory,
    runtime: Option<tokio::runtime::Runtime>,
}

impl House {
    /// The mailboxes and letters that the lab's Dovecot has.
    fn laid_out(lab: &Lab) -> Self {
        let memory = Memory::new(b'.', 1_700_000_000);
        for name in OVH_MAILBOXES {
            memory.add(name.as_bytes(), None, false);
        }
        for letter in letters() {
            let name = RemoteName::parse(letter.mailbox.as_bytes()).expect("a name");
            let flags: Flags = letter.flags.split_ascii_whitespace().map(Box::from).collect();
            let received = seconds(letter.date);
            memory.deliver(&name, &letter.octets, flags, received).expect("there is room");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        runtime.block_on(as_loaded(&memory));
        let good = &lab.certificates.good;
        let tls = passerelle::local_tls::server_config(&good.certificate, &good.key).expect("a certificate");
        let tls = tokio_rustls::TlsAcceptor::from(tls);
        let port = runtime.block_on(access(memory.clone(), tls.clone()));
        let smtp = runtime.block_on(submission(memory.clone(), tls));
        Self { port, smtp, memory, runtime: Some(runtime) }
    }
}

fn judged(credentials: &Credentials) -> bool {
    matches!(credentials, Credentials::Password { user, password }
        if user == USER && password.expose() == PASSWORD.as_bytes())
}

/// An IMAP server over these mailboxes.
pub(crate) async fn access(memory: Memory, tls: tokio_rustls::TlsAcceptor) -> u16 {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (memory, tls) = (memory.clone(), tls.clone());
            let judge = move |credentials| std::future::ready(judged(&credentials).then(|| memory.clone()));
            tokio::spawn(async move {
                let stream = tls.accept(stream).await?;
                driver::serve(stream, Manner::ovh("engine"), judge).await
            });
        }
    });
    port
}

/// A sink that delivers into INBOX.
async fn submission(memory: Memory, tls: tokio_rustls::TlsAcceptor) -> u16 {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (memory, tls) = (memory.clone(), tls.clone());
            let judge = |credentials| std::future::ready(judged(&credentials).then_some(()));
            let deliver = move |(): &(), envelope: Envelope, now| {
                let inbox = RemoteName::parse(b"INBOX").expect("a name");
                memory.deliver(&inbox, &envelope.octets, Flags::new(), now).map(drop).map_err(|_| "452 4.2.2 full")
            };
            tokio::spawn(async move {
                let stream = tls.accept(stream).await?;
                let mut out = Vec::new();
                let mechanisms = Mechanisms { passwords: true, tokens: false };
                let sink = Sink::new("engine", 25 * 1024 * 1024, mechanisms, &mut out);
                driver::serve_sink(stream, sink, out, judge, deliver).await
            });
        }
    });
    port
}

impl House {
    fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("it runs until it is dropped").block_on(future)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// As Dovecot is when its letters were laid in: INBOX is not subscribed, and nothing is recent.
async fn as_loaded(memory: &Memory) {
    let name = |name: &str| RemoteName::parse(name.as_bytes()).expect("a name");
    memory.subscribe(&name("INBOX"), false).await.expect("there is an INBOX");
    for mailbox in OVH_MAILBOXES {
        memory.view(&name(mailbox), true).await.expect("there is such a mailbox");
    }
}

/// ` 4-Mar-2024 05:06:07 +0100` in Unix seconds.
fn seconds(date: &str) -> i64 {
    let date = date.trim().replacen("-Mar-", " Mar ", 1).replacen("-Feb-", " Feb ", 1);
    mail_parser::DateTime::parse_rfc822(&date).expect("a date").to_timestamp()
}

/// Where the engine may say other things than Dovecot, and why. Each must differ: what is mended goes from the list.
const APART: [(&str, &str); 8] = [
    ("a comment", "Dovecot drops a comment before an address, the engine takes it for the name"),
    ("filename*", "Dovecot joins the parts of an RFC 2231 parameter, the engine tells them as they stand"),
    ("--inner--", "Dovecot counts the line end behind a closing delimiter to the part"),
    ("[4,5]", "Dovecot's search takes a letter with an accent for one without"),
    ("--deep--", "the same"),
    ("direct:  374", "the same"),
    ("direct:  16", "the same"),
    ("status while open > result > recent", "Dovecot tells STATUS what is recent for the session that asks"),
];

#[test]
fn php_sees_in_the_engine_what_it_sees_in_dovecot() {
    let Some(lab) = Lab::needing(&[Program::Dovecot, Program::Php]) else { return };
    let dovecot = Dovecot::ovh(&lab);
    dovecot.add_user(USER, PASSWORD);
    dovecot.load(USER, &letters());
    let house = House::laid_out(&lab);
    let run = |port: u16| {
        let port = port.to_string();
        script("php", "script_a.php", &["127.0.0.1", &port, "/ssl/novalidate-cert", USER, PASSWORD, "INBOX.", "."])
    };
    let found = differences(&run(dovecot.imaps)["pages"], &run(house.port)["pages"]);
    allowed(&found, &APART);
}

/// As [`APART`], for Python's script.
const APART_IN_PYTHON: [(&str, &str); 14] = [
    ("fetch ENVELOPE >", "Dovecot tells long strings as literals, and drops a comment before an address"),
    ("fetch FULL >", "the same"),
    ("fetch BODYSTRUCTURE >", "Dovecot joins RFC 2231 parameters, and counts the line end behind a closing delimiter"),
    ("fetch BODY >", "the same"),
    ("fetch BODY.PEEK[1] >", "the same"),
    ("fetch BODY.PEEK[1.1] >", "Dovecot tells a part that is not there as an empty one, the engine as NIL"),
    ("fetch BODY.PEEK[2.MIME] >", "the same"),
    ("fetch BODY.PEEK[3.1] >", "the same"),
    ("fetch BODY.PEEK[3.HEADER] >", "the same"),
    ("X-ABSENT", "Dovecot echoes a field's name quoted, as it came"),
    ("sort >", "the engine offers no SORT"),
    ("thread >", "nor THREAD"),
    ("store +FLAGS (\\Seen) >", "Dovecot tells changed flags alone, the engine those of every message named"),
    ("uid expunge >", "Dovecot expunges from the last to the first"),
];

#[test]
fn python_sees_in_the_engine_what_it_sees_in_dovecot_and_exim() {
    let Some(lab) = Lab::needing(&[Program::Dovecot, Program::Exim, Program::Python]) else { return };
    let dovecot = Dovecot::ovh(&lab);
    let exim = Exim::submission(&lab, &dovecot);
    dovecot.add_user(USER, PASSWORD);
    dovecot.load(USER, &letters());
    let house = House::laid_out(&lab);
    let ca = lab.certificates.ca.to_string_lossy();
    let run = |imap: u16, smtp: u16| {
        let (imap, smtp) = (imap.to_string(), smtp.to_string());
        let arguments = ["localhost", &imap, &smtp, "tls", USER, PASSWORD, "INBOX.", ".", &ca];
        script("python3", "script_a.py", &arguments)
    };
    let (dovecot, engine) = (run(dovecot.imaps, exim.submissions), run(house.port, house.smtp));
    allowed(&differences(&dovecot["steps"], &engine["steps"]), &APART_IN_PYTHON);
}

/// Fails with differences that no reason allows, and with reasons that allow none.
fn allowed(found: &[String], apart: &[(&str, &str)]) {
    let others: Vec<_> =
        found.iter().filter(|difference| !apart.iter().any(|(word, _)| difference.contains(word))).collect();
    let first = others.iter().take(5).collect::<Vec<_>>();
    assert!(others.is_empty(), "{} differences, the first of them: {first:#?}", others.len());
    for (word, reason) in apart {
        assert!(found.iter().any(|difference| difference.contains(word)), "it is no longer so: {word}: {reason}");
    }
}

/// What curl says of a URL's path.
fn curl(lab: &Lab, house: &House, path: &str, more: &[&str]) -> String {
    let url = format!("imaps://localhost:{}/{path}", house.port);
    let ca = lab.certificates.ca.to_string_lossy();
    let user = format!("{USER}:{PASSWORD}");
    let arguments = ["-sS", "--max-time", "20", "--cacert", &ca, "-u", &user, &url];
    let output = run(30, Command::new("curl").args(arguments).args(more), b"");
    assert!(output.status.success(), "curl {path}: {}", words(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn curl_reads_and_appends() {
    let Some(lab) = Lab::needing(&[Program::Curl]) else { return };
    let house = House::laid_out(&lab);
    assert!(curl(&lab, &house, "", &[]).contains("* LIST (\\HasNoChildren) \".\" \"INBOX.Sent\""));
    assert_eq!(curl(&lab, &house, "INBOX", &["-X", "SEARCH SUBJECT order"]), "* SEARCH 1\r\n");
    assert!(curl(&lab, &house, "INBOX;UID=1", &[]).contains("please confirm order 2024-117."));
    let file = lab.folder("curl").join("letter.eml");
    fs::write(&file, "Subject: by curl\r\n\r\nHello\r\n").expect("a letter");
    curl(&lab, &house, "INBOX.Drafts", &["-T", &file.to_string_lossy()]);
    assert_eq!(curl(&lab, &house, "INBOX.Drafts;UID=1;SECTION=TEXT", &[]), "Hello\r\n");
}

#[test]
fn mbsync_copies_all_of_it_both_ways() {
    let Some(lab) = Lab::needing(&[Program::Mbsync]) else { return };
    let house = House::laid_out(&lab);
    let folder = lab.folder("mbsync");
    let (place, port, ca) = (folder.display(), house.port, lab.certificates.ca.display());
    let configuration = format!(
        "IMAPStore engine\nHost localhost\nPort {port}\nUser {USER}\nPass {PASSWORD}\nSSLType IMAPS\n\
         CertificateFile {ca}\nPath INBOX.\n\nMaildirStore here\nSubFolders Verbatim\nPath {place}/mail/\n\
         Inbox {place}/mail/INBOX\n\n\
         Channel all\nFar :engine:\nNear :here:\nPatterns INBOX *\nCreate Both\nExpunge Both\nSyncState *\n"
    );
    fs::create_dir(folder.join("mail")).expect("a folder");
    fs::write(folder.join("conf"), configuration).expect("a configuration");
    let sync = || {
        let conf = folder.join("conf");
        let output = run(60, Command::new("mbsync").args(["-c", &conf.to_string_lossy(), "-a"]), b"");
        assert!(output.status.success(), "mbsync: {}", words(&output));
    };
    sync();
    let files = |mailbox: &str| {
        let folder = folder.join("mail").join(mailbox);
        let entries = ["cur", "new"].map(|part| fs::read_dir(folder.join(part)).expect("a maildir").count());
        entries.iter().sum::<usize>()
    };
    assert_eq!([files("INBOX"), files("Sent"), files("Clients")], [6, 1, 1]);
    // And a letter of ours the other way.
    fs::write(folder.join("mail/Sent/new/1.1.here"), "Subject: from here\n\nHello\n").expect("a letter");
    sync();
    let sent = RemoteName::parse(b"INBOX.Sent").expect("a name");
    let view = house.block_on(house.memory.view(&sent, false)).expect("a mailbox");
    assert_eq!(view.entries.len(), 2);
}
