//! A real authorization server: oidc-provider on node, whose refresh tokens rotate and are refused the second time.

use super::{
    lab::{Lab, find, free_port},
    leash::{Leashed, PATIENCE, run, until},
    secrets,
};
use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, Write as _},
    net::TcpStream,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

/// Where `tests/run` installs it.
const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/oidc");
const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/oidc/server.mjs");

pub(crate) struct Oidc {
    pub(crate) port: u16,
    /// Of access tokens.
    seconds: u32,
    /// Whether it knows keys of clients.
    keys: bool,
    folder: PathBuf,
    leash: Option<Leashed>,
    /// Where it says which tokens it issued; open, as the lab's folder may go first.
    log: Option<File>,
}

impl Oidc {
    pub(crate) fn is_installed() -> bool {
        let node = find("node").is_some_and(|node| {
            let output = run(20, Command::new(node).arg("--version"), b"");
            let version = String::from_utf8_lossy(&output.stdout).into_owned();
            let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
            major.is_some_and(|major| major >= 18)
        });
        node && Path::new(INSTALLED).join("node_modules/oidc-provider/package.json").exists()
    }

    /// Gives access tokens that live for so many seconds.
    pub(crate) fn start(lab: &Lab, seconds: u32) -> Self {
        Self::knowing(lab, seconds, None)
    }

    /// The same, and knows the public keys of the clients that `server.mjs` speaks of.
    pub(crate) fn knowing(lab: &Lab, seconds: u32, keys: Option<&serde_json::Value>) -> Self {
        let folder = lab.folder("o");
        // Modules are looked for beside the file that wants them.
        fs::copy(SERVER, folder.join("server.mjs")).expect("the server is copied");
        symlink(Path::new(INSTALLED).join("node_modules"), folder.join("node_modules")).expect("a link to its modules");
        if let Some(keys) = keys {
            fs::write(folder.join("keys.json"), keys.to_string()).expect("the keys are written");
        }
        let keys = keys.is_some();
        let mut oidc = Self { port: free_port(), seconds, keys, folder, leash: None, log: None };
        oidc.start_again();
        oidc
    }

    /// On the same port. What it kept was in memory: all tokens are void.
    pub(crate) fn start_again(&mut self) {
        let node = find("node").expect("node is installed").to_string_lossy().into_owned();
        let server = self.folder.join("server.mjs").to_string_lossy().into_owned();
        let mut command = vec![node, server, self.port.to_string(), self.seconds.to_string()];
        command.extend(self.keys.then(|| self.folder.join("keys.json").to_string_lossy().into_owned()));
        let log = self.folder.join("log");
        let mut leash = Leashed::start(&command, &log);
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let ready = until(PATIENCE, || {
            if let Some(status) = leash.ended() {
                panic!("the authorization server ended ({status})\n{}", said());
            }
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
        assert!(ready.is_some(), "the authorization server does not listen\n{}", said());
        self.leash = Some(leash);
        self.log = File::open(&log).ok();
    }

    /// All tokens so far are secrets of the harness.
    fn give_out_tokens(&self) {
        let mut said = String::new();
        let read = self.log.as_ref().map(|mut log| log.rewind().and_then(|()| log.read_to_string(&mut said)));
        assert!(read.is_none_or(|read| read.is_ok()), "the log of the authorization server can be read");
        said.lines().filter_map(|line| line.strip_prefix("issued ")).for_each(secrets::give_out);
    }

    pub(crate) fn stop(&mut self) {
        self.leash = None;
    }

    pub(crate) fn token_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/token", self.port)
    }

    /// What a person's consent gives: a refresh token.
    pub(crate) fn grant(&self, account: &str) -> String {
        self.ask(&format!("/lab/grant?account={account}"))
    }

    /// The same to this client.
    pub(crate) fn grant_to(&self, client: &str, account: &str) -> String {
        self.ask(&format!("/lab/grant?account={account}&client={client}"))
    }

    /// An access token of an account, as a CRM has it that asked by itself.
    pub(crate) fn access_token(&self, account: &str) -> String {
        let form = format!(
            "grant_type=refresh_token&client_id=bridge&client_secret=bridgesecret&refresh_token={}",
            self.grant(account)
        );
        let head = format!(
            "POST /token HTTP/1.0\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n",
            self.port,
            form.len()
        );
        let answer: serde_json::Value = serde_json::from_str(&self.say(&(head + &form))).expect("JSON");
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    /// A person's answer to the code of a device: as this account, or no.
    pub(crate) fn answer_device(&self, user_code: &str, account: Option<&str>) {
        let account = account.map(|account| format!("&account={account}")).unwrap_or_default();
        assert_eq!(self.ask(&format!("/lab/device?user_code={user_code}{account}")), "answered");
    }

    /// All grants of an account are taken back, access tokens included.
    pub(crate) fn revoke(&self, account: &str) {
        assert_eq!(self.ask(&format!("/lab/revoke?account={account}")), "revoked");
    }

    /// From now on refresh tokens that were replaced go on working.
    pub(crate) fn keeps_old_tokens(&self) {
        assert_eq!(self.ask("/lab/lenient"), "lenient");
    }

    /// How many refresh tokens were shown, and how many of those refused.
    pub(crate) fn refreshes(&self) -> (u32, u32) {
        let answer = self.ask("/lab/refreshes");
        let mut numbers = answer.split(' ').map(|number| number.parse().expect("a number"));
        (numbers.next().expect("one"), numbers.next().expect("two"))
    }

    fn ask(&self, path: &str) -> String {
        self.say(&format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{}\r\n\r\n", self.port))
    }

    fn say(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the authorization server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream.write_all(request.as_bytes()).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        assert!(head.contains(" 200 "), "{answer}");
        body.to_owned()
    }
}

impl Drop for Oidc {
    fn drop(&mut self) {
        self.give_out_tokens();
    }
}
