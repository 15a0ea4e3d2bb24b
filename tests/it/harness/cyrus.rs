//! A real Cyrus, the other family of IMAP servers: Fastmail's engine, three namespaces, `SESSIONID` and `MAILBOXID` codes,
//! special-use flags in small letters.
//!
//! Debian allows one IMAP server, and that is Dovecot; so `tests/run` unpacks this one without installing it.

use super::{
    dovecot::Letter,
    lab::{Lab, free_port, unpacked},
    layout::Layout,
    leash::{Leashed, PATIENCE, run, until},
    letters::lay_out,
    wire::Wire,
};
use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

const PROGRAMS: [&str; 4] = ["master", "imapd", "lmtpd", "ctl_cyrusdb"];

pub(crate) struct Cyrus {
    pub(crate) imap: u16,
    /// IMAP in TLS.
    pub(crate) imaps: u16,
    pub(crate) lmtp: u16,
    pub(crate) layout: Layout,
    folder: PathBuf,
    // Ends before the warden that its processes ask.
    leash: Option<Leashed>,
    warden: Warden,
}

impl Cyrus {
    /// Why it cannot run here, if it cannot.
    pub(super) fn missing() -> Option<&'static str> {
        let programs = PROGRAMS.map(|program| unpacked("usr/lib/cyrus/bin").join(program));
        let there = programs.iter().all(|program| program.is_file()) && {
            let mut libraries = Command::new("ldd");
            let own = own_libraries().into_iter().filter_map(|library| Some(library.parent()?.to_owned())).next();
            let output = run(20, libraries.args(&programs).env("LD_LIBRARY_PATH", own.unwrap_or_default()), b"");
            output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("not found")
        };
        (!there).then_some("no unpacked Cyrus with its libraries (cyrus-imapd; tests/run fetches it)")
    }

    /// [`Layout::Ovh`]: all below `INBOX.`; [`Layout::Slash`]: no prefix, `/` between names. Both are Cyrus's own ways.
    pub(crate) fn start(lab: &Lab, layout: Layout) -> Self {
        let folder = lab.folder("c");
        for name in ["bin", "lib", "conf", "spool", "s"] {
            fs::create_dir(folder.join(name)).expect("a folder for Cyrus");
            lab.give(&folder.join(name));
        }
        for program in PROGRAMS {
            copy(&unpacked("usr/lib/cyrus/bin").join(program), &folder.join("bin"));
        }
        for library in own_libraries() {
            copy(&library, &folder.join("lib"));
        }
        let warden = Warden::start(&folder.join("s/mux"));
        let mut cyrus =
            Self { imap: free_port(), imaps: free_port(), lmtp: free_port(), layout, folder, leash: None, warden };
        fs::write(cyrus.folder.join("imapd.conf"), cyrus.imapd_conf(lab)).expect("Cyrus's configuration is written");
        fs::write(cyrus.folder.join("cyrus.conf"), cyrus.cyrus_conf()).expect("Cyrus's services are written");
        cyrus.run(lab);
        cyrus
    }

    fn run(&mut self, lab: &Lab) {
        let path = |name: &str| self.folder.join(name).to_string_lossy().into_owned();
        let libraries = format!("LD_LIBRARY_PATH={}", path("lib"));
        let (master, imapd, services, pid) =
            (path("bin/master"), path("imapd.conf"), path("cyrus.conf"), path("conf/pid"));
        let words = ["env", &libraries, &master, "-C", &imapd, "-M", &services, "-p", &pid, "-D"];
        let mut leash = Leashed::start(&lab.user.command(&words), &self.folder.join("out"));
        let ready = until(PATIENCE, || {
            if let Some(status) = leash.ended() {
                panic!("Cyrus ended ({status})\n{}", self.log());
            }
            let greeting = Wire::try_plain(self.imap).ok()?.next_octets()?;
            greeting.starts_with(b"* OK").then_some(())
        });
        assert!(ready.is_some(), "Cyrus does not greet\n{}", self.log());
        self.leash = Some(leash);
    }

    /// Makes a mailbox owner. The mailboxes come with the first sign-in.
    pub(crate) fn add_user(&self, address: &str, password: &str) {
        self.warden.passwords.lock().expect("no test panicked in here").insert(address.to_owned(), password.to_owned());
    }

    pub(crate) fn sign_in(&self, address: &str) -> Wire {
        let password = self.warden.passwords.lock().expect("no test panicked in here")[address].clone();
        let mut wire = Wire::plain(self.imap);
        wire.expect("* OK");
        wire.imap_ok(&format!("LOGIN {address} \"{password}\""));
        wire
    }

    /// Makes the user's mailboxes and lays messages into them.
    pub(crate) fn load(&self, address: &str, letters: &[Letter]) {
        lay_out(&mut self.sign_in(address), self.layout, letters);
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("out")).unwrap_or_default()
    }

    /// `defaultdomain` is none of the lab's: Cyrus strips its own and then looks for the user elsewhere.
    fn imapd_conf(&self, lab: &Lab) -> String {
        let plain = if self.layout.prefix().is_empty() { "yes" } else { "no" };
        format!(
            "configdirectory: {folder}/conf
defaultpartition: default
partition-default: {folder}/spool
cyrus_user: {user}
cyrus_group: {group}
proc_path: {folder}/conf/proc
mboxname_lockpath: {folder}/conf/lock
duplicate_db_path: {folder}/conf/deliver.db
statuscache_db_path: {folder}/conf/statuscache.db
lmtpsocket: {folder}/s/lmtp
idlesocket: {folder}/s/idle
notifysocket: {folder}/s/notify
servername: localhost
virtdomains: userid
defaultdomain: unused.test
altnamespace: {plain}
unixhierarchysep: {plain}
autocreate_quota: 0
autocreate_post: 1
autocreate_inbox_folders: Sent|Drafts|Trash|Junk
autocreate_subscribe_folders: Sent|Drafts|Trash|Junk
xlist-sent: Sent
xlist-drafts: Drafts
xlist-trash: Trash
xlist-junk: Junk
allowplaintext: yes
failedloginpause: 0
sasl_pwcheck_method: saslauthd
sasl_saslauthd_path: {folder}/s/mux
sasl_mech_list: PLAIN LOGIN
tls_server_cert: {certificate}
tls_server_key: {key}
",
            folder = self.folder.display(),
            user = lab.user.name,
            group = lab.user.group,
            certificate = lab.certificates.good.certificate.display(),
            key = lab.certificates.good.key.display(),
        )
    }

    fn cyrus_conf(&self) -> String {
        let folder = self.folder.display();
        let service = |name: &str, program: &str, options: &str, port: u16| {
            format!(
                "  {name} cmd=\"{folder}/bin/{program} -C {folder}/imapd.conf{options}\" listen=\"127.0.0.1:{port}\" prefork=0\n"
            )
        };
        format!(
            "START {{\n  recover cmd=\"{folder}/bin/ctl_cyrusdb -C {folder}/imapd.conf -r\"\n}}\nSERVICES {{\n{}{}{}}}\n",
            service("imap", "imapd", "", self.imap),
            service("imaps", "imapd", " -s", self.imaps),
            service("lmtp", "lmtpd", " -a", self.lmtp),
        )
    }
}

/// The libraries in the package itself, in the folder of this machine's kind.
fn own_libraries() -> Vec<PathBuf> {
    let inside = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_own = |file: &PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libcyrus"));
    inside(unpacked("usr/lib")).flat_map(inside).filter(is_own).collect()
}

fn copy(file: &Path, folder: &Path) {
    let to = folder.join(file.file_name().expect("a file has a name"));
    fs::copy(file, &to).expect("a file of Cyrus is copied");
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755)).expect("all may run the copy");
}

/// Says whether passwords are right, as saslauthd does: four counted strings (user, password, service, realm) in, one
/// out.
struct Warden {
    passwords: Arc<Mutex<BTreeMap<String, String>>>,
    closed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Warden {
    fn start(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket for the warden");
        fs::set_permissions(socket, fs::Permissions::from_mode(0o777)).expect("all may ask the warden");
        // Its end must not depend on the socket, which may be gone with the lab before.
        listener.set_nonblocking(true).expect("a socket that does not wait");
        let passwords: Arc<Mutex<BTreeMap<String, String>>> = Arc::default();
        let closed = Arc::new(AtomicBool::new(false));
        let (known, over) = (passwords.clone(), closed.clone());
        let thread = thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                match listener.accept() {
                    // Who asks badly gets no answer, which is a no.
                    Ok((client, _)) => drop(judge(client, &known)),
                    Err(_) => thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        Self { passwords, closed, thread: Some(thread) }
    }
}

fn judge(mut client: UnixStream, passwords: &Mutex<BTreeMap<String, String>>) -> std::io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(PATIENCE))?;
    let mut counted = || {
        let mut count = [0; 2];
        client.read_exact(&mut count)?;
        let mut text = vec![0; u16::from_be_bytes(count).into()];
        client.read_exact(&mut text)?;
        std::io::Result::Ok(String::from_utf8_lossy(&text).into_owned())
    };
    let [user, password, _service, realm] = [counted()?, counted()?, counted()?, counted()?];
    let known = passwords.lock().expect("no test panicked in here");
    let right = known.get(&format!("{user}@{realm}")).is_some_and(|known| *known == password);
    client.write_all(if right { b"\0\x02OK" } else { b"\0\x02NO" })
}

impl Drop for Warden {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
