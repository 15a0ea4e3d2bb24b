//! A real Dovecot, laid out as a hoster does it ([`Layout`]). What hosters refuse that Dovecot can do is the filter's.

use super::{
    certificates::Signed,
    lab::{Lab, Unprivileged, find, free_port},
    layout::Layout,
    leash::{Leashed, PATIENCE, run, until},
    wire::Wire,
};
use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, Output},
    sync::Mutex,
    time::Duration,
};

/// A message to lay into a mailbox before a test.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) mailbox: &'static str,
    /// `\Seen \Flagged`
    pub(crate) flags: &'static str,
    /// ` 4-Mar-2024 05:06:07 +0100`
    pub(crate) date: &'static str,
    pub(crate) octets: Vec<u8>,
}

pub(crate) struct Dovecot {
    /// IMAP in the clear.
    pub(crate) imap: u16,
    /// IMAP in TLS.
    pub(crate) imaps: u16,
    pub(crate) lmtp: u16,
    folder: PathBuf,
    ca: PathBuf,
    name: &'static str,
    user: Unprivileged,
    pub(crate) layout: Layout,
    passwords: Mutex<BTreeMap<String, String>>,
    /// Whether it takes access tokens, too.
    pub(crate) tokens: bool,
    leash: Option<Leashed>,
}

impl Dovecot {
    /// The OVH layout with the lab's good certificate.
    pub(crate) fn ovh(lab: &Lab) -> Self {
        Self::start(lab, Layout::Ovh, &lab.certificates.good, "")
    }

    /// Any layout, any certificate, and directives that come last in the configuration and so win.
    pub(crate) fn start(lab: &Lab, layout: Layout, certificate: &Signed, more: &str) -> Self {
        let mut dovecot = Self {
            imap: free_port(),
            imaps: free_port(),
            lmtp: free_port(),
            folder: lab.folder("d"),
            ca: lab.certificates.ca.clone(),
            name: "localhost",
            user: lab.user.clone(),
            layout,
            passwords: Mutex::default(),
            tokens: false,
            leash: None,
        };
        let configuration = dovecot.configuration(certificate) + more;
        fs::create_dir(dovecot.folder.join("users")).expect("a folder for users");
        fs::write(dovecot.folder.join("conf"), configuration).expect("Dovecot's configuration is written");
        dovecot.start_again();
        dovecot
    }

    /// The OVH layout, and tokens of the authorization server at this port of this machine, which is asked at each login.
    pub(crate) fn with_tokens(lab: &Lab, authorization_server: u16) -> Self {
        Self::asking(lab, authorization_server, "%u")
    }

    /// The same, but a token of one mailbox opens all of its domain, as a tenant's client has them at Microsoft.
    pub(crate) fn with_tokens_of_tenants(lab: &Lab, authorization_server: u16) -> Self {
        Self::asking(lab, authorization_server, "%d")
    }

    /// The OVH layout at a provider that files what is sent by itself: [`Exim::filing`](super::Exim::filing) delivers copies.
    pub(crate) fn filing(lab: &Lab, more: &str) -> Self {
        const SCRIPT: &str = "require [\"envelope\", \"subaddress\", \"fileinto\", \"imap4flags\"];\n\
            if envelope :detail \"to\" \"sentcopy\" { setflag \"\\\\Seen\"; fileinto \"INBOX.Sent\"; stop; }\n";
        let script = lab.folder("v").join("before.sieve");
        fs::write(&script, SCRIPT).expect("a script for Dovecot is written");
        let more = format!(
            "{more}recipient_delimiter = +\nprotocol lmtp {{\n  mail_plugins = sieve\n}}\nplugin {{\n  sieve_before = {}\n}}\n",
            script.display()
        );
        Self::start(lab, Layout::Ovh, &lab.certificates.good, &more)
    }

    /// `format` says what of token and user must be the same.
    fn asking(lab: &Lab, authorization_server: u16, format: &str) -> Self {
        let asks = lab.folder("t").join("oauth2.ext");
        let lines = [
            "introspection_mode = post".to_owned(),
            format!(
                "introspection_url = http://dovecot:dovesecret@127.0.0.1:{authorization_server}/token/introspection"
            ),
            format!("username_attribute = email\nusername_format = {format}"),
            "active_attribute = active\nactive_value = true\nforce_introspection = yes\n".to_owned(),
        ];
        fs::write(&asks, lines.join("\n")).expect("how Dovecot asks for tokens is written");
        let more = format!(
            "auth_mechanisms = plain login xoauth2 oauthbearer\n\
             passdb {{\n  driver = oauth2\n  mechanisms = xoauth2 oauthbearer\n  args = {}\n}}\n",
            asks.display()
        );
        Self { tokens: true, ..Self::start(lab, Layout::Ovh, &lab.certificates.good, &more) }
    }

    /// Starts on the same ports, over the same mail. For tests in which the provider comes back.
    pub(crate) fn start_again(&mut self) {
        let program = find("dovecot").expect("Dovecot is installed");
        let conf = self.folder.join("conf");
        let command = self.user.command(&[&program.to_string_lossy(), "-F", "-c", &conf.to_string_lossy()]);
        let mut leash = Leashed::start(&command, &self.folder.join("out"));
        let ready = until(PATIENCE, || {
            if let Some(status) = leash.ended() {
                panic!("Dovecot ended ({status})\n{}", self.log());
            }
            greets(self.imap).then_some(())
        });
        assert!(ready.is_some(), "Dovecot does not greet\n{}", self.log());
        self.leash = Some(leash);
    }

    /// Ends it at once, as a power cut does. Its ports are free afterwards.
    pub(crate) fn stop(&mut self) {
        self.leash = None;
    }

    /// Makes a mailbox owner, also while it runs. A file each, because Dovecot looks at a file that it has read once a
    /// second at most.
    pub(crate) fn add_user(&self, address: &str, password: &str) {
        let line = format!("{address}:{{PLAIN}}{password}\n");
        fs::write(self.folder.join("users").join(address), line).expect("a user of Dovecot is written");
        self.passwords.lock().expect("no test panicked in here").insert(address.to_owned(), password.to_owned());
    }

    /// A signed-in IMAP connection to Dovecot itself.
    pub(crate) fn sign_in(&self, address: &str) -> Wire {
        let password = self.password(address);
        let mut wire = Wire::tls(self.imaps, &self.ca, self.name);
        wire.expect("* OK");
        wire.imap_ok(&format!("LOGIN {address} \"{password}\""));
        wire
    }

    pub(crate) fn password(&self, address: &str) -> String {
        self.passwords.lock().expect("no test panicked in here")[address].clone()
    }

    /// Lays messages into mailboxes. Nothing is `\Recent` afterwards, so that two users laid out alike look alike.
    pub(crate) fn load(&self, address: &str, letters: &[Letter]) {
        let mut wire = self.sign_in(address);
        for letter in letters {
            let options = format!("({}) \"{}\"", letter.flags, letter.date);
            let answer = wire.append(&self.layout.spell(letter.mailbox), &options, &letter.octets);
            assert!(answer.is_ok(), "{}: {}", letter.mailbox, answer.tagged);
        }
        for mailbox in self.layout.mailboxes() {
            wire.imap_ok(&format!("SELECT \"{mailbox}\""));
        }
    }

    /// Makes a mailbox hold `count` small messages, in seconds: it copies what it has until it has enough. Quick only
    /// over [`Layout::OvhDense`].
    pub(crate) fn fill(&self, address: &str, mailbox: &str, count: u32) {
        let mut wire = self.sign_in(address);
        wire.set_patience(Duration::from_secs(120));
        let message = b"From: a@lab.test\r\nTo: b@lab.test\r\nSubject: one of many\r\n\r\nShort.\r\n";
        // A stored message can be referred to 32,767 times.
        let mut have = count.min(64);
        for _ in 0..have {
            assert!(wire.append(mailbox, "", message).is_ok());
        }
        wire.imap_ok(&format!("SELECT \"{mailbox}\""));
        while have < count {
            let more = have.min(count - have);
            wire.imap_ok(&format!("COPY 1:{more} \"{mailbox}\""));
            have += more;
        }
    }

    /// How many messages a mailbox holds, asked of Dovecot itself.
    pub(crate) fn count(&self, address: &str, mailbox: &str) -> u32 {
        self.sign_in(address).count(mailbox)
    }

    /// A message as Dovecot stores it.
    pub(crate) fn message(&self, address: &str, mailbox: &str, number: u32) -> Vec<u8> {
        self.sign_in(address).message(mailbox, number)
    }

    /// Runs an administrator's command: `doveadm(&["kick", "alice@ovh.test"])`.
    pub(crate) fn doveadm(&self, words: &[&str]) -> Output {
        let program = find("doveadm").expect("Dovecot is installed");
        let conf = self.folder.join("conf");
        let start = [&*program.to_string_lossy(), "-c", &*conf.to_string_lossy()].map(str::to_owned);
        let whole: Vec<&str> = start.iter().map(String::as_str).chain(words.iter().copied()).collect();
        let command = self.user.command(&whole);
        run(20, Command::new(&command[0]).args(&command[1..]), b"")
    }

    /// The socket at which Exim asks whether a password is right.
    pub(crate) fn auth_socket(&self) -> PathBuf {
        self.folder.join("run/auth-client")
    }

    pub(crate) fn log(&self) -> String {
        ["log", "out"].map(|file| fs::read_to_string(self.folder.join(file)).unwrap_or_default()).join("\n")
    }

    fn configuration(&self, certificate: &Signed) -> String {
        let (user, group) = (&self.user.name, &self.user.group);
        let lab = self.folder.display();
        format!(
            "{}{COMMON}{}",
            format_args!(
                "base_dir = {lab}/run
state_dir = {lab}/state
log_path = {lab}/log
listen = 127.0.0.1
default_internal_user = {user}
default_internal_group = {group}
default_login_user = {user}
ssl_cert = <{certificate}
ssl_key = <{key}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    port = {lmtp}
  }}
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {lab}/users/%u
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={lab}/home/%u allow_all_users=yes
}}
",
                certificate = certificate.certificate.display(),
                key = certificate.key.display(),
                imap = self.imap,
                imaps = self.imaps,
                lmtp = self.lmtp,
            ),
            self.layout.directives(),
        )
    }
}

/// What does not depend on the lab.
///
/// - The penalty of anvil slows *good* logins by up to 15 s after a few bad ones from the same address, and here every
///   address is 127.0.0.1: without mode 0 a suite looks hung.
/// - `mail_max_userip_connections` counts all tests of one user together.
const COMMON: &str = "protocols = imap lmtp
ssl = yes
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
first_valid_uid = 0
mail_max_userip_connections = 200
postmaster_address = postmaster@lab.test
hostname = localhost
service anvil {
  chroot =
  client_limit = 600
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service auth {
  client_limit = 600
}
service stats {
  chroot =
}
service ipc {
  chroot =
}
";

/// Whether an IMAP server says hello at this port. Connecting alone proves nothing: the kernel does that.
fn greets(port: u16) -> bool {
    Wire::try_plain(port).is_ok_and(|mut wire| wire.next_octets().is_some_and(|line| line.starts_with(b"* OK")))
}
