//! A real Postfix, the other family of submission servers: enhanced codes in every reply, answers of many lines.
//!
//! Debian allows one mail transport agent, and that is Exim; so `tests/run` unpacks this one without installing it. Its
//! master wants to be root, and gives its rights away to accounts that every Debian has.

use super::{
    dovecot::Dovecot,
    lab::{Lab, free_port, unpacked},
    layout::Layout,
    leash::{Leashed, PATIENCE, run, until},
    wire::Wire,
};
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::PathBuf,
    process::Command,
};

/// Its queue's owner, and the group of its programs that drop mail: neither is used by a running service in a lab.
const OWNER: (&str, u32) = ("daemon", 1);
const GROUP: (&str, u32) = ("sasl", 45);

/// Folders of the queue that belong to its owner.
const QUEUES: [&str; 14] = [
    "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "maildrop", "private", "public",
    "saved", "trace", "data",
];

pub(crate) struct Postfix {
    /// Submission: AUTH only after STARTTLS.
    pub(crate) submission: u16,
    /// Submission in TLS.
    pub(crate) submissions: u16,
    folder: PathBuf,
    _leash: Leashed,
}

impl Postfix {
    /// Why it cannot run here, if it cannot.
    pub(super) fn missing() -> Option<&'static str> {
        let own = |flag: &str| String::from_utf8_lossy(&run(5, Command::new("id").arg(flag), b"").stdout).into_owned();
        if own("-u").trim() != "0" {
            return Some("Postfix's master wants to be root");
        }
        let smtpd = unpacked("usr/lib/postfix/sbin/smtpd");
        let there = smtpd.is_file() && {
            let mut ldd = Command::new("ldd");
            let output = run(20, ldd.arg(&smtpd).env("LD_LIBRARY_PATH", unpacked("usr/lib/postfix")), b"");
            output.status.success() && !String::from_utf8_lossy(&output.stdout).contains("not found")
        };
        (!there).then_some("no unpacked Postfix with its libraries (postfix; tests/run fetches it)")
    }

    /// A Dovecot of the OVH layout that judges passwords for Postfix too, and a Postfix that delivers to it.
    pub(crate) fn with_dovecot(lab: &Lab) -> (Dovecot, Self) {
        let (port, more) = judged_by_dovecot();
        let dovecot = Dovecot::start(lab, Layout::Ovh, &lab.certificates.good, &more);
        let postfix = Self::start(lab, dovecot.lmtp, port, "");
        (dovecot, postfix)
    }

    /// The same at a provider that files what is sent by itself.
    pub(crate) fn filing(lab: &Lab) -> (Dovecot, Self) {
        let (port, more) = judged_by_dovecot();
        let dovecot = Dovecot::filing(lab, &more);
        let postfix = Self::start(lab, dovecot.lmtp, port, FILES);
        (dovecot, postfix)
    }

    fn start(lab: &Lab, lmtp: u16, sasl: u16, copies: &str) -> Self {
        let folder = lab.folder("p");
        // Its master trusts no queue of another's.
        chown(&folder, Some(0), Some(0)).expect("root owns the folder of Postfix");
        for name in QUEUES.into_iter().chain(["pid"]) {
            let path = folder.join(name);
            fs::create_dir(&path).expect("a folder for Postfix");
            let (owner, mode) = match name {
                "pid" => (0, 0o755),
                "private" => (OWNER.1, 0o700),
                "public" => (OWNER.1, 0o710),
                "maildrop" => (OWNER.1, 0o730),
                _ => (OWNER.1, 0o700),
            };
            chown(&path, Some(owner), Some(if name == "pid" { 0 } else { GROUP.1 })).expect("an owner");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        }
        let (submission, submissions) = (free_port(), free_port());
        fs::write(folder.join("copies"), copies).expect("who gets copies of what is sent");
        fs::write(folder.join("main.cf"), main_cf(lab, &folder, lmtp, sasl)).expect("Postfix's configuration");
        fs::write(folder.join("master.cf"), master_cf(submission, submissions)).expect("Postfix's services");
        let words = |path: PathBuf| path.to_string_lossy().into_owned();
        let command = [
            "env".to_owned(),
            format!("LD_LIBRARY_PATH={}", words(unpacked("usr/lib/postfix"))),
            words(unpacked("usr/lib/postfix/sbin/master")),
            "-c".to_owned(),
            words(folder.clone()),
            // It stays with its leash.
            "-d".to_owned(),
        ];
        let mut postfix =
            Self { submission, submissions, _leash: Leashed::start(&command, &folder.join("out")), folder };
        let ready = until(PATIENCE, || {
            if let Some(status) = postfix._leash.ended() {
                panic!("Postfix ended ({status})\n{}", postfix.log());
            }
            let greeting = Wire::try_plain(submission).ok()?.next_octets()?;
            greeting.starts_with(b"220").then_some(())
        });
        assert!(ready.is_some(), "Postfix does not greet\n{}", postfix.log());
        postfix
    }

    pub(crate) fn log(&self) -> String {
        ["log", "out"].map(|file| fs::read_to_string(self.folder.join(file)).unwrap_or_default()).join("\n")
    }
}

/// Where Dovecot judges passwords for Postfix, and its directives for that.
fn judged_by_dovecot() -> (u16, String) {
    let port = free_port();
    (port, format!("service auth {{\n  inet_listener {{\n    port = {port}\n  }}\n}}\n"))
}

/// A copy for the sender.
const FILES: &str = "/^([^+]+)@(.+)$/ ${1}+sentcopy@${2}\n";

fn main_cf(lab: &Lab, folder: &std::path::Path, lmtp: u16, sasl: u16) -> String {
    format!(
        "compatibility_level = 3.6
queue_directory = {folder}
data_directory = {folder}/data
command_directory = {unpacked}/usr/sbin
daemon_directory = {unpacked}/usr/lib/postfix/sbin
shlib_directory = {unpacked}/usr/lib/postfix
meta_directory = {unpacked}/etc/postfix
import_environment = MAIL_CONFIG MAIL_DEBUG MAIL_LOGTAG TZ LANG=C LD_LIBRARY_PATH={unpacked}/usr/lib/postfix
mail_owner = {owner}
setgid_group = {group}
default_privs = nobody
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = localhost
mydestination =
mynetworks =
alias_maps =
alias_database =
local_recipient_maps =
smtp_dns_support_level = disabled
smtpd_recipient_restrictions = reject_unknown_recipient, permit_sasl_authenticated, reject
smtpd_restriction_classes = reject_unknown_recipient
reject_unknown_recipient = check_recipient_access inline:{{ {{ nobody@ovh.test = 550 5.1.1 Not a mailbox of ours }} }}
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{sasl}
smtpd_tls_auth_only = yes
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_error_sleep_time = 0
smtpd_forbid_bare_newline = yes
smtpd_forbid_bare_newline_exclusions =
message_size_limit = 4000000
sender_bcc_maps = regexp:{folder}/copies
default_transport = lmtp:inet:127.0.0.1:{lmtp}
",
        folder = folder.display(),
        unpacked = unpacked("").display(),
        owner = OWNER.0,
        group = GROUP.0,
        certificate = lab.certificates.good.certificate.display(),
        key = lab.certificates.good.key.display(),
    )
}

fn master_cf(submission: u16, submissions: u16) -> String {
    format!(
        "127.0.0.1:{submission} inet n - n - - smtpd -o smtpd_tls_security_level=encrypt
127.0.0.1:{submissions} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes -o smtpd_tls_security_level=encrypt
postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
showq unix n - n - - showq
lmtp unix - - n - - lmtp
"
    )
}
