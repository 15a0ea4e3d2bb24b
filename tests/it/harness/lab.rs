//! The place of one test: a folder, an unprivileged user to run servers as, certificates, and what is installed.

use super::{
    certificates::Certificates, cyrus::Cyrus, leash::run, oidc::Oidc, postfix::Postfix, small_disk::SmallDisk,
};
use std::{
    fs,
    io::Write as _,
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};
use tempfile::TempDir;

/// What a test may need that a machine may not have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Program {
    Dovecot,
    Exim,
    Php,
    Phpmailer,
    Python,
    Curl,
    Mbsync,
    Cyrus,
    Emailproxy,
    Faketime,
    Oidc,
    Openssl,
    Postfix,
    Script,
    Sieve,
    SmallDisk,
    Swaks,
}

impl Program {
    /// What is missing and how to get it, or `None` when it is there.
    fn missing(self) -> Option<&'static str> {
        let (found, reason) = match self {
            Self::Dovecot => (dovecot_is_complete(), "no Dovecot with IMAP and LMTP (dovecot-imapd, dovecot-lmtpd)"),
            Self::Exim => (exim_is_heavy(), "no Exim with Dovecot authentication (exim4-daemon-heavy)"),
            Self::Php => (says("php", &["-m"], "imap"), "no PHP with its imap extension (php-cli, php-imap)"),
            Self::Phpmailer => {
                let there = Path::new("/usr/share/php/libphp-phpmailer/autoload.php").is_file();
                (there, "no PHPMailer (libphp-phpmailer)")
            }
            Self::SmallDisk => return SmallDisk::missing(),
            Self::Swaks => (find("swaks").is_some(), "no swaks (swaks)"),
            Self::Python => (says("python3", &["--version"], "Python 3"), "no Python 3 (python3)"),
            Self::Curl => (says("curl", &["--version"], "imaps"), "no curl with IMAP (curl)"),
            Self::Emailproxy => {
                let reason = "no email-oauth2-proxy (python3-pip, python3-cryptography, then tests/run)";
                (
                    Path::new(Self::EMAILPROXY).join("emailproxy.py").is_file() && says_python("import cryptography"),
                    reason,
                )
            }
            Self::Faketime => (Self::faketime().is_some(), "no library for another clock (libfaketime)"),
            Self::Oidc => (Oidc::is_installed(), "no authorization server (node 18 or newer with npm, then tests/run)"),
            Self::Script => {
                (says("script", &["--version"], "util-linux"), "no script, which makes a terminal (bsdutils)")
            }
            Self::Sieve => (find("sievec").is_some(), "no Dovecot that files by itself (dovecot-sieve)"),
            Self::Openssl => (says("openssl", &["version"], "OpenSSL"), "no OpenSSL (openssl)"),
            Self::Mbsync => (says("mbsync", &["--version"], "isync"), "no mbsync (isync)"),
            Self::Cyrus => return Cyrus::missing(),
            Self::Postfix => return Postfix::missing(),
        };
        (!found).then_some(reason)
    }

    /// Where `tests/run` installs it.
    pub(crate) const EMAILPROXY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/emailproxy");

    /// The library that tells a program another time, for programs with threads.
    pub(crate) fn faketime() -> Option<PathBuf> {
        let folders = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
        folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|file| file.is_file())
    }
}

fn dovecot_is_complete() -> bool {
    let folders = ["/usr/lib/dovecot", "/usr/libexec/dovecot"];
    find("dovecot").is_some()
        && folders.iter().any(|f| Path::new(f).join("imap").exists() && Path::new(f).join("lmtp").exists())
}

fn exim_is_heavy() -> bool {
    // Exim looks its built-in user up even when told another one.
    let user = fs::read_to_string("/etc/passwd").is_ok_and(|text| text.contains("Debian-exim:"));
    user && says("exim4", &["-bV"], "dovecot")
}

fn says_python(statement: &str) -> bool {
    let Some(python) = find("python3") else { return false };
    run(20, Command::new(python).args(["-c", statement]), b"").status.success()
}

fn says(program: &str, arguments: &[&str], word: &str) -> bool {
    let Some(program) = find(program) else { return false };
    let output = run(20, Command::new(program).args(arguments), b"");
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains(word)
}

/// Where a program is; also in the folders that only root has in its path.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let administrators = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(administrators).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// A file of the packages that `tests/run` unpacks without installing them, because they conflict with installed ones.
pub(crate) fn unpacked(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/lab/debian").join(path)
}

/// The user that servers run as: Dovecot opens no mailbox as root, and tests shall prove that root is not needed.
#[derive(Clone, Debug)]
pub(crate) struct Unprivileged {
    pub(crate) name: String,
    pub(crate) group: String,
    ids: Option<(u32, u32)>,
}

impl Unprivileged {
    fn choose() -> Self {
        let own = |flag| {
            let output = run(5, Command::new("id").arg(flag), b"");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        if own("-u") != "0" {
            return Self { name: own("-un"), group: own("-gn"), ids: None };
        }
        let passwd = fs::read_to_string("/etc/passwd").expect("/etc/passwd can be read");
        let fields: Vec<_> = passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|f| f[0] == "nobody")
            .expect("nobody exists");
        let ids = (fields[2].parse().expect("a uid"), fields[3].parse().expect("a gid"));
        let groups = fs::read_to_string("/etc/group").expect("/etc/group can be read");
        let group =
            groups.lines().find(|line| line.split(':').nth(2) == Some(fields[3])).expect("nobody's group exists");
        Self { name: "nobody".into(), group: group.split(':').next().unwrap_or_default().into(), ids: Some(ids) }
    }

    /// The command line that runs `command` as this user.
    pub(crate) fn command(&self, command: &[&str]) -> Vec<String> {
        let drop = self.ids.map(|(uid, gid)| {
            vec!["setpriv".into(), format!("--reuid={uid}"), format!("--regid={gid}"), "--clear-groups".to_owned()]
        });
        drop.into_iter().flatten().chain(command.iter().map(|&word| word.to_owned())).collect()
    }
}

pub(crate) struct Lab {
    folder: TempDir,
    pub(crate) user: Unprivileged,
    pub(crate) certificates: Certificates,
}

impl Lab {
    /// The lab, or `None` after saying why the test is skipped.
    ///
    /// # Panics
    /// With `CI=true` when something is missing: a test that silently does not run there is worth nothing.
    pub(crate) fn needing(programs: &[Program]) -> Option<Self> {
        if let Some(reason) = programs.iter().find_map(|program| program.missing()) {
            // No package gives the right to mount.
            let installable = SmallDisk::missing() != Some(reason);
            assert!(!installable || std::env::var("CI").as_deref() != Ok("true"), "missing in CI: {reason}");
            // Not by `println!`, which the test runner swallows for tests that pass.
            let _ = writeln!(std::io::stderr(), "skipped: {reason}");
            return None;
        }
        let user = Unprivileged::choose();
        let folder =
            tempfile::Builder::new().prefix("lab").tempdir_in(searchable_folder()).expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))
            .expect("the lab's folder opens to others");
        let certificates = Certificates::issue(folder.path());
        Some(Self { folder, user, certificates })
    }

    /// A new folder of the lab that belongs to the unprivileged user. Names stay short: a Unix socket path has 108
    /// octets.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = (0..).map(|n| self.path().join(format!("{name}{n}"))).find(|f| !f.exists()).expect("a free name");
        fs::create_dir(&folder).expect("a folder of the lab");
        self.give(&folder);
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes the unprivileged user the owner.
    pub(crate) fn give(&self, path: &Path) {
        if let Some((uid, gid)) = self.user.ids {
            chown(path, Some(uid), Some(gid)).expect("root gives files away");
        }
    }
}

/// The first temporary folder whose parents other users may search; a private one gives errors that look like failed
/// logins.
fn searchable_folder() -> PathBuf {
    let own = std::env::temp_dir();
    let searchable = own.ancestors().all(|f| fs::metadata(f).is_ok_and(|m| m.permissions().mode() & 0o001 != 0));
    if searchable { own } else { "/tmp".into() }
}

/// A loopback port that nobody listens on. Below the ports that the kernel gives to outgoing connections, and never the
/// same one twice in a run: what is free now stays free until the server that asked for it binds it.
pub(crate) fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    // Another run on the same machine starts elsewhere.
    let start = std::process::id() % COUNT * 61;
    loop {
        let port = FIRST + (start + TAKEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
        let port = u16::try_from(port).expect("FIRST + COUNT is a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
