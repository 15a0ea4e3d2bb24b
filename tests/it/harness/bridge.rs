//! The bridge under test: the built binary, with a state and a configuration of its own.

use super::{
    dovecot::Dovecot,
    exim::Exim,
    faults,
    host::Host,
    lab::{Lab, free_port},
    leash::{Leashed, PATIENCE, run, until, words},
    provider::Provider,
    secrets,
    wire::Wire,
};
use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Where `account add --json` says what to copy into the CRM, as JSON pointers.
const LOGIN: &str = "/login";
const PASSWORD: &str = "/password";

/// Above this the first sign-ins at both hosts count as hung.
const ADD_SECONDS: u32 = 60;

pub(crate) struct Bridge {
    pub(crate) imap: u16,
    pub(crate) imaps: u16,
    /// Submission in the clear.
    pub(crate) smtp: u16,
    pub(crate) smtps: u16,
    /// Where browsers come back to.
    pub(crate) console: u16,
    folder: PathBuf,
    /// What starts the program and its command line.
    before: Vec<String>,
    leash: Option<Leashed>,
    /// Open since the start: at the end a lab's folder may be gone.
    kept: Vec<(&'static str, File)>,
    /// Its log may tell of panics.
    bears_faults: bool,
}

/// What `account add` is told.
#[derive(Clone, Debug)]
pub(crate) struct AddAccount {
    pub(crate) address: String,
    pub(crate) password: String,
    /// `localhost:10993`
    pub(crate) imap: String,
    pub(crate) smtp: String,
    /// `tls`, `starttls`, `none`
    pub(crate) imap_security: &'static str,
    pub(crate) smtp_security: &'static str,
    /// `verify`, `ca=FILE`, `accept-any`
    pub(crate) certificates: String,
    /// Whatever else, such as `--unchecked`.
    pub(crate) more: Vec<String>,
}

impl AddAccount {
    /// A user of the lab's Dovecot and Exim, over TLS verified by the lab's authority.
    pub(crate) fn of(lab: &Lab, dovecot: &Dovecot, exim: &Exim, address: &str) -> Self {
        Self {
            address: address.to_owned(),
            password: dovecot.password(address),
            imap: format!("localhost:{}", dovecot.imaps),
            smtp: format!("localhost:{}", exim.submissions),
            imap_security: "tls",
            smtp_security: "tls",
            certificates: format!("ca={}", lab.certificates.ca.display()),
            more: Vec::new(),
        }
    }

    /// A user of a host, by its front door.
    pub(crate) fn behind(lab: &Lab, host: &Host, address: &str) -> Self {
        Self { imap: format!("localhost:{}", host.filter.imaps), ..Self::of(lab, &host.dovecot, &host.exim, address) }
    }

    /// At doubles that show certificates of the lab's authority; stored without asking them.
    pub(crate) fn unchecked(lab: &Lab, imap: &Provider, smtp: &Provider, address: &str) -> Self {
        Self::at(lab, [imap.port, smtp.port], address)
    }

    /// The same at any ports of this machine.
    pub(crate) fn at(lab: &Lab, [imap, smtp]: [u16; 2], address: &str) -> Self {
        Self {
            address: address.to_owned(),
            password: "hunter2".to_owned(),
            imap: format!("localhost:{imap}"),
            smtp: format!("localhost:{smtp}"),
            imap_security: "tls",
            smtp_security: "tls",
            certificates: format!("ca={}", lab.certificates.ca.display()),
            more: vec!["--unchecked".to_owned()],
        }
    }

    /// Whose Sent copies the bridge leaves alone: what is appended there, and each octet that is sent, is the client's.
    pub(crate) fn uncopied(mut self) -> Self {
        self.more.extend(["--sent-copy", "never"].map(str::to_owned));
        self
    }

    /// Signs in before it is stored.
    pub(crate) fn checked(self) -> Self {
        Self { more: Vec::new(), ..self }
    }
}

/// What a person copies into the CRM.
#[derive(Clone, Debug)]
pub(crate) struct CrmSettings {
    pub(crate) login: String,
    pub(crate) password: String,
}

impl CrmSettings {
    pub(crate) fn imap_login(&self) -> String {
        format!("LOGIN \"{}\" \"{}\"", self.login, self.password)
    }

    pub(crate) fn smtp_auth(&self) -> String {
        use base64::Engine as _;
        let plain = format!("\0{}\0{}", self.login, self.password);
        format!("AUTH PLAIN {}", base64::engine::general_purpose::STANDARD.encode(plain))
    }
}

impl Bridge {
    /// A state folder and a configuration with free ports; nothing runs yet. Accounts that are added before
    /// [`Bridge::serve`] are known from its first login on.
    pub(crate) fn prepare(lab: &Lab) -> Self {
        Self::configured(lab, "")
    }

    /// The same, with more sections of the configuration.
    pub(crate) fn configured(lab: &Lab, more: &str) -> Self {
        Self::begun(lab, more, "text")
    }

    /// The same with the log in this format.
    pub(crate) fn logging(lab: &Lab, format: &str) -> Self {
        Self::begun(lab, "", format)
    }

    fn begun(lab: &Lab, more: &str, log: &str) -> Self {
        let folder = lab.folder("b");
        let bridge = Self {
            imap: free_port(),
            imaps: free_port(),
            smtp: free_port(),
            smtps: free_port(),
            console: free_port(),
            folder,
            before: Vec::new(),
            leash: None,
            kept: Vec::new(),
            bears_faults: false,
        };
        // All that is ever logged: each bridge's end looks for secrets in it.
        let log = format!("[log]\nlevel = \"trace\"\nformat = \"{log}\"\n");
        let configuration = bridge.configuration() + &log + more;
        fs::write(bridge.folder.join("passerelle.toml"), configuration).expect("a configuration is written");
        bridge
    }

    fn configuration(&self) -> String {
        format!(
            "[listen]\nimap = \"127.0.0.1:{}\"\nimaps = \"127.0.0.1:{}\"\nsmtp = \"127.0.0.1:{}\"\nsmtps = \"127.0.0.1:{}\"\n\
             [console]\nlisten = [\"127.0.0.1:{console}\", \"[::1]:{console}\"]\n",
            self.imap,
            self.imaps,
            self.smtp,
            self.smtps,
            console = self.console
        )
    }

    /// What the usual listeners offer before login is for this CRM, from the next start on.
    pub(crate) fn listens_for(&self, crm: &str) {
        self.configure("[listen]\n", &format!("[listen]\ncrm = \"{crm}\"\n"));
    }

    /// Others reach its pages here, from the next start on.
    pub(crate) fn is_public_as(&self, url: &str) {
        self.configure("[console]\n", &format!("[console]\npublic-url = \"{url}\"\n"));
    }

    /// Logs warnings alone, where what is logged would cost more than what is done.
    pub(crate) fn is_quiet(&self) {
        self.configure("level = \"trace\"", "level = \"warn\"");
    }

    fn configure(&self, from: &str, to: &str) {
        let file = self.folder.join("passerelle.toml");
        let configuration = fs::read_to_string(&file).expect("a configuration");
        assert!(configuration.contains(from), "{configuration}");
        fs::write(file, configuration.replacen(from, to, 1)).expect("a configuration is written");
    }

    /// Starts `serve` and waits until both plain ports greet.
    pub(crate) fn serve(&mut self) {
        self.serve_by(&[]);
    }

    /// The same by a program that is to start it, with its arguments.
    pub(crate) fn serve_by(&mut self, parent: &[String]) {
        let command = [parent, &self.command(&["serve"])].concat();
        let mut leash = Leashed::start(&command, &self.folder.join("log"));
        for (port, greeting) in [(self.imap, "* OK"), (self.smtp, "220")] {
            let ready = until(PATIENCE, || {
                if let Some(status) = leash.ended() {
                    panic!("the bridge ended ({status})\n{}", self.log());
                }
                let line = Wire::try_plain(port).ok()?.next_octets()?;
                line.starts_with(greeting.as_bytes()).then_some(())
            });
            assert!(ready.is_some(), "the bridge does not greet at {port}\n{}", self.log());
        }
        // It greets before it says where.
        let said = until(PATIENCE, || self.log().contains(" account(s)\n").then_some(()));
        assert!(said.is_some(), "the bridge does not say what it serves\n{}", self.log());
        self.leash = Some(leash);
        self.keep_what_may_hold_secrets();
    }

    /// The key is the one secret that stands on disk, and in no other file.
    fn keep_what_may_hold_secrets(&mut self) {
        let key = fs::read_to_string(self.state().join("master.key")).expect("the bridge runs, so it has a key");
        secrets::give_out(key.trim());
        for name in ["log", "state/passerelle.db", "state/passerelle.db-wal"] {
            let Ok(file) = File::open(self.folder.join(name)) else { continue };
            // A bridge that is started again goes on with the same files.
            if !self.kept.iter().any(|(_, kept)| same_file(kept, &file)) {
                self.kept.push((name, file));
            }
        }
    }

    /// How many secrets this run has given out, and which of them stand in the log, the database or the command line, and
    /// where.
    pub(crate) fn secrets_found(&self) -> (usize, Vec<String>) {
        let mut found = Vec::new();
        let mut look = |octets: &[u8], name: &str| {
            found.extend(secrets::found_in(octets).into_iter().map(|secret| format!("{secret} in {name}")));
        };
        for (name, file) in &self.kept {
            look(&whole(file), name);
        }
        if let Some(leash) = &self.leash {
            look(&fs::read(format!("/proc/{}/cmdline", leash.pid())).unwrap_or_default(), "the command line");
        }
        (secrets::given(), found)
    }

    /// This test makes its bridge panic: the log may tell of it. All others' logs may not.
    pub(crate) fn has_planted_faults(&mut self) {
        self.bears_faults = true;
    }

    /// What runs these arguments on this bridge's state.
    fn command(&self, arguments: &[&str]) -> Vec<String> {
        let program = env!("CARGO_BIN_EXE_passerelle").to_owned();
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        self.before.iter().cloned().chain([program]).chain(self.global_flags()).chain(arguments).collect()
    }

    /// From now on the program is started by this.
    pub(crate) fn runs_under(&mut self, before: &[&str]) {
        self.before = before.iter().map(|&word| word.to_owned()).collect();
    }

    /// One of the four usual listeners stands at another address, from the next start on.
    pub(crate) fn listens_at(&self, kind: &str, ip: &str) {
        self.configure(&format!("{kind} = \"127.0.0.1:"), &format!("{kind} = \"{ip}:"));
    }

    /// Puts a file of the provider table beside the configuration.
    pub(crate) fn know_provider(&self, name: &str, text: &str) {
        let folder = self.folder.join("providers");
        fs::create_dir_all(&folder).expect("a folder for providers");
        fs::write(folder.join(format!("{name}.toml")), text).expect("a provider is written");
    }

    /// Adds an account through the command line, as a person does.
    pub(crate) fn add_account(&self, account: &AddAccount) -> CrmSettings {
        let output = self.try_add_account(account);
        assert!(output.status.success(), "account add: {}", words(&output));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("account add says no JSON: {error}\n{}", words(&output)));
        let field = |pointer: &str| {
            let value = answer.pointer(pointer).and_then(serde_json::Value::as_str);
            value.unwrap_or_else(|| panic!("account add has no {pointer}: {answer}")).to_owned()
        };
        let password = field(PASSWORD);
        secrets::give_out(&password);
        CrmSettings { login: field(LOGIN), password }
    }

    /// The same, also when it is expected to be refused.
    pub(crate) fn try_add_account(&self, account: &AddAccount) -> Output {
        let mut arguments = vec!["account", "add", &account.address, "--imap", &account.imap, "--smtp", &account.smtp];
        arguments.extend(["--imap-security", account.imap_security, "--smtp-security", account.smtp_security]);
        arguments.extend(["--certificates", &account.certificates, "--password-stdin", "--json"]);
        arguments.extend(account.more.iter().map(String::as_str));
        self.cli(&arguments, format!("{}\n", account.password).as_bytes())
    }

    /// One more login of an account, for a CRM of this name.
    pub(crate) fn add_login(&self, address: &str, crm: &str) -> CrmSettings {
        let output = self.cli(&["login", "add", address, "--label", crm, "--crm", crm, "--json"], b"");
        assert!(output.status.success(), "{}", words(&output));
        let made: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let text = |key: &str| made[key].as_str().expect("text").to_owned();
        secrets::give_out(&text("password"));
        CrmSettings { login: text("login"), password: text("password") }
    }

    /// Runs any subcommand on this bridge's state.
    pub(crate) fn cli(&self, arguments: &[&str], input: &[u8]) -> Output {
        // What is typed without echo: passwords, tokens, client secrets.
        String::from_utf8_lossy(input).lines().for_each(secrets::give_out);
        let words = self.command(arguments);
        let (program, arguments) = words.split_first().expect("a program");
        run(ADD_SECONDS, Command::new(program).args(arguments), input)
    }

    /// Starts any subcommand; what it says goes to `log`.
    pub(crate) fn start_cli(&self, arguments: &[&str], log: &Path) -> Leashed {
        Leashed::start(&self.command(arguments), log)
    }

    /// A signed-in IMAP connection, in the clear as a CRM has it.
    pub(crate) fn sign_in(&self, crm: &CrmSettings) -> Wire {
        let mut wire = Wire::plain(self.imap);
        wire.expect("* OK");
        wire.imap_ok(&crm.imap_login());
        wire
    }

    /// A signed-in SMTP connection, in the clear.
    pub(crate) fn sign_in_smtp(&self, crm: &CrmSettings) -> Wire {
        let mut wire = Wire::plain(self.smtp);
        wire.expect("220");
        wire.smtp("EHLO crm.test", 250);
        wire.smtp(&crm.smtp_auth(), 235);
        wire
    }

    pub(crate) fn pid(&self) -> u32 {
        self.leash.as_ref().expect("the bridge runs").pid()
    }

    /// Sockets that are open. Of the other descriptors the store opens more when it is busy.
    pub(crate) fn sockets(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("Linux tells of its processes");
        let is_socket = |path: PathBuf| fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
        open.flatten().filter(|entry| is_socket(entry.path())).count()
    }

    /// Time of the processor used so far, in ticks of 10 ms.
    pub(crate) fn ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("Linux tells of its processes");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // utime and stime, fields 14 and 15 of proc(5); the state is field 3.
        [11, 12].iter().map(|&field| fields[field].parse::<u64>().expect("a number of ticks")).sum()
    }

    /// Looks at its memory until it is asked for the most that was seen.
    pub(crate) fn watch(&self) -> Watch {
        Watch::start(self.pid())
    }

    /// SIGTERM, and no waiting.
    pub(crate) fn ask_to_stop(&self) {
        let pid = self.pid().to_string();
        let _ = Command::new("sh").args(["-c", r#"kill -s TERM "$1""#, "stop", &pid]).status();
    }

    /// SIGTERM; whether it ended by itself, in time, with success.
    pub(crate) fn drain(&mut self) -> bool {
        self.leash.take().expect("the bridge runs").terminate(PATIENCE)
    }

    /// SIGKILL: nothing is closed or taken away.
    pub(crate) fn kill(&mut self) {
        drop(self.leash.take().expect("the bridge runs"));
    }

    /// The state folder.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// The authority that CRMs are told to trust.
    pub(crate) fn authority(&self) -> PathBuf {
        self.state().join("certs/ca.pem")
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// What makes any call of the binary use this bridge's state and configuration.
    pub(crate) fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [("PASSERELLE_STATE", self.folder.join("state")), ("PASSERELLE_CONFIG", self.folder.join("passerelle.toml"))]
    }

    fn global_flags(&self) -> [String; 4] {
        let path = |name| self.folder.join(name).to_string_lossy().into_owned();
        ["--state".into(), path("state"), "--config".into(), path("passerelle.toml")]
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // A test that failed has said why.
        if thread::panicking() {
            return;
        }
        let (_, found) = self.secrets_found();
        assert!(found.is_empty(), "secrets in the log, the database or the command line: {found:?}\n{}", self.log());
        // Each start appends to the same file.
        let log = self.kept.iter().find(|(name, _)| *name == "log").filter(|_| !self.bears_faults);
        log.into_iter().for_each(|(_, file)| faults::refuse(&String::from_utf8_lossy(&whole(file))));
    }
}

/// All of a file from its start, whatever was read before.
fn whole(mut file: &File) -> Vec<u8> {
    let mut octets = Vec::new();
    let _ = file.rewind().and_then(|()| file.read_to_end(&mut octets));
    octets
}

/// Looks at a process's memory every few milliseconds.
pub(crate) struct Watch {
    most: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    looker: Option<JoinHandle<()>>,
    before: u64,
}

impl Watch {
    fn start(pid: u32) -> Self {
        let before = anonymous(pid);
        let (most, over) = (Arc::new(AtomicU64::new(before)), Arc::new(AtomicBool::new(false)));
        let (seen, ends) = (most.clone(), over.clone());
        let looker = thread::spawn(move || {
            while !ends.load(Ordering::SeqCst) {
                seen.fetch_max(anonymous(pid), Ordering::SeqCst);
                thread::sleep(Duration::from_millis(10));
            }
        });
        Self { most, over, looker: Some(looker), before }
    }

    /// By how many KiB anonymous memory was above its start at the most, now included; says so on standard error, where
    /// the test runner lets it through.
    pub(crate) fn growth(mut self, what: &str) -> u64 {
        self.over.store(true, Ordering::SeqCst);
        self.looker.take().expect("it looks").join().expect("the process runs");
        let growth = self.most.load(Ordering::SeqCst) - self.before;
        let _ = writeln!(std::io::stderr(), "{what}: from {} KiB, at most {growth} KiB more", self.before);
        growth
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

/// What /proc says of a program's memory, in KiB, without files that are mapped: code that is touched for the first time is
/// no growth.
fn anonymous(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux tells of its processes");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux tells of their memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number of kB")
}

fn same_file(one: &File, other: &File) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let number = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
    number(one) == number(other)
}
