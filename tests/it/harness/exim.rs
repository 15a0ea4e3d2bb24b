//! A real Exim: submission with AUTH, delivery back to Dovecot over LMTP.

use super::{
    certificates::Signed,
    dovecot::Dovecot,
    lab::{Lab, find, free_port},
    leash::{Leashed, PATIENCE, run, until},
    wire::Wire,
};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

pub(crate) struct Exim {
    /// Submission: AUTH only after STARTTLS.
    pub(crate) submission: u16,
    /// Submission in TLS.
    pub(crate) submissions: u16,
    folder: PathBuf,
    command: Vec<String>,
    leash: Option<Leashed>,
}

impl Exim {
    /// Signs in the users of `dovecot`, and delivers to them whatever domain they are of.
    pub(crate) fn submission(lab: &Lab, dovecot: &Dovecot) -> Self {
        Self::start(lab, dovecot, &lab.certificates.good, "")
    }

    /// The same, but what is sent goes to another LMTP server: `dovecot` only knows the passwords.
    pub(crate) fn delivering(lab: &Lab, dovecot: &Dovecot, lmtp: u16) -> Self {
        Self::launch(lab, dovecot, lmtp, &lab.certificates.good, ["", ""])
    }

    /// The same as [`Exim::submission`] at a provider that files what is sent by itself, as Google and Microsoft do: what is
    /// delivered goes to the sender too, for [`Dovecot::filing`] to file. `more`: main options.
    pub(crate) fn filing(lab: &Lab, dovecot: &Dovecot, more: &str) -> Self {
        Self::launch(lab, dovecot, dovecot.lmtp, &lab.certificates.good, [more, FILES])
    }

    /// The same with any certificate, and with main options that come last and so win.
    pub(crate) fn start(lab: &Lab, dovecot: &Dovecot, certificate: &Signed, more: &str) -> Self {
        Self::launch(lab, dovecot, dovecot.lmtp, certificate, [more, ""])
    }

    fn launch(lab: &Lab, dovecot: &Dovecot, lmtp: u16, certificate: &Signed, more: [&str; 2]) -> Self {
        let folder = lab.folder("e");
        for name in ["log", "spool", "refuse"] {
            fs::create_dir(folder.join(name)).expect("a folder for Exim");
            lab.give(&folder.join(name));
        }
        // The packaged one is set-uid root, which forbids it our configuration.
        let program = folder.join("exim");
        fs::copy(find("exim4").expect("Exim is installed"), &program).expect("Exim is copied");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("the copy can run");
        let conf = folder.join("conf");
        let command = lab.user.command(&[&program.to_string_lossy(), "-C", &conf.to_string_lossy(), "-bdf", "-q1m"]);
        let mut exim = Self { submission: free_port(), submissions: free_port(), folder, command, leash: None };
        fs::write(conf, exim.configuration(lab, dovecot, lmtp, certificate, more))
            .expect("Exim's configuration is written");
        exim.start_again();
        exim
    }

    /// Starts on the same ports.
    pub(crate) fn start_again(&mut self) {
        let mut leash = Leashed::start(&self.command, &self.folder.join("out"));
        let ready = until(PATIENCE, || {
            if let Some(status) = leash.ended() {
                panic!("Exim ended ({status})\n{}", self.log());
            }
            let greeting = Wire::try_plain(self.submission).ok()?.next_octets()?;
            greeting.starts_with(b"220").then_some(())
        });
        assert!(ready.is_some(), "Exim does not greet\n{}", self.log());
        self.leash = Some(leash);
    }

    /// Cuts every connection and listens no more.
    pub(crate) fn stop(&mut self) {
        self.leash = None;
    }

    /// From now on this reply meets `AUTH`, `MAIL`, `RCPT` or `DATA` (the end of the message): a code of class 4 or 5
    /// and words. `None` lifts it.
    pub(crate) fn refuse(&self, verb: &str, reply: Option<&str>) {
        let verb = verb.to_lowercase();
        for class in ['4', '5'] {
            let file = self.folder.join(format!("refuse/{verb}{class}"));
            match reply.filter(|reply| reply.starts_with(class)) {
                Some(reply) => fs::write(file, reply).expect("a refusal is written"),
                None => drop(fs::remove_file(file)),
            }
        }
    }

    pub(crate) fn log(&self) -> String {
        let logs = ["log/mainlog", "log/paniclog", "log/rejectlog", "out"];
        logs.map(|file| fs::read_to_string(self.folder.join(file)).unwrap_or_default()).join("\n")
    }

    /// Delivers what lies in the queue.
    pub(crate) fn deliver(&self) {
        let words: Vec<&str> =
            self.command.iter().map(String::as_str).filter(|word| !["-bdf", "-q1m"].contains(word)).collect();
        let output = run(20, Command::new(words[0]).args(&words[1..]).arg("-qff"), b"");
        assert!(output.status.success(), "{}\n{}", String::from_utf8_lossy(&output.stderr), self.log());
    }

    fn configuration(
        &self,
        lab: &Lab,
        dovecot: &Dovecot,
        lmtp: u16,
        certificate: &Signed,
        [more, routers]: [&str; 2],
    ) -> String {
        let refusals: String = ["auth", "mail", "rcpt", "data"].map(|verb| refusal(&self.folder, verb)).concat();
        format!(
            "exim_user = {user}
exim_group = {group}
admin_groups = {group}
trusted_groups = {group}
spool_directory = {folder}/spool
log_file_path = {folder}/log/%slog
pid_file_path = {folder}/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {submission} : {submissions}
tls_on_connect_ports = {submissions}
tls_certificate = {certificate}
tls_privatekey = {key}
{COMMON}{more}
begin acl
{refusals}
begin routers
{routers}back:
  driver = manualroute
  route_list = * 127.0.0.1 byname
  self = send
  transport = lmtp

begin transports
lmtp:
  driver = smtp
  protocol = lmtp
  port = {lmtp}
  allow_localhost
  hosts_try_chunking =
  tls_try_verify_hosts =

begin retry
* * F,1h,1s

begin authenticators
plain:
  driver = dovecot
  public_name = PLAIN
  server_socket = {socket}
  server_set_id = $auth1
login:
  driver = dovecot
  public_name = LOGIN
  server_socket = {socket}
  server_set_id = $auth1
",
            user = lab.user.name,
            group = lab.user.group,
            folder = self.folder.display(),
            submission = self.submission,
            submissions = self.submissions,
            certificate = certificate.certificate.display(),
            key = certificate.key.display(),
            socket = dovecot.auth_socket().display(),
        ) + &if dovecot.tokens { tokens(dovecot) } else { String::new() }
    }
}

/// The last authenticators, where Dovecot takes access tokens.
fn tokens(dovecot: &Dovecot) -> String {
    let socket = dovecot.auth_socket();
    let one = |name: &str| {
        let driver = format!("driver = dovecot\n  public_name = {}", name.to_uppercase());
        format!("{name}:\n  {driver}\n  server_socket = {}\n  server_set_id = $auth1\n", socket.display())
    };
    ["xoauth2", "oauthbearer"].map(one).concat()
}

/// An ACL that refuses while a file is there, and else wants a signed-in client.
fn refusal(folder: &Path, verb: &str) -> String {
    let file = |class: char| format!("{}/refuse/{verb}{class}", folder.display());
    let steps = [('4', "defer"), ('5', "deny")].map(|(class, step)| {
        let file = file(class);
        format!("  {step}\n    condition = ${{if exists{{{file}}}}}\n    message = ${{readfile{{{file}}}{{}}}}\n")
    });
    let rest = if verb == "rcpt" {
        "  accept\n    authenticated = *\n  deny\n    message = 530 5.7.0 Authentication required\n"
    } else {
        "  accept\n"
    };
    format!("refuse_{verb}:\n{}{rest}\n", steps.concat())
}

/// A copy for the sender, once for a message, whoever it is for.
const FILES: &str = "copy:
  driver = redirect
  condition = ${if !match{$local_part}{\\N\\+sentcopy$\\N}}
  data = ${local_part:$sender_address}+sentcopy@${domain:$sender_address}
  unseen
";

/// What does not depend on the lab. Without `host_lookup =` and `rfc1413_hosts =` it waits for names that nobody serves.
/// Nothing is added to messages, so that what arrives can be compared with what was sent. The pipe of `-bdf` stays in
/// the foreground, so that it ends with its leash.
const COMMON: &str = "primary_hostname = localhost
keep_environment =
never_users =
deliver_drop_privilege = true
host_lookup =
rfc1413_hosts =
tls_advertise_hosts = *
auth_advertise_hosts = ${if eq{$tls_in_cipher}{}{}{*}}
acl_smtp_auth = refuse_auth
acl_smtp_mail = refuse_mail
acl_smtp_rcpt = refuse_rcpt
acl_smtp_data = refuse_data
message_size_limit = 200M
smtp_accept_max = 0
";
