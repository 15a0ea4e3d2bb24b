//! A firm with an authorization server of its own, real mail servers that take its tokens, and a bridge that knows it as a
//! provider.

use super::{
    bridge::{Bridge, CrmSettings},
    dovecot::Dovecot,
    exim::Exim,
    lab::{Lab, Program},
    leash::{PATIENCE, until, words},
    oidc::Oidc,
    openssl::KeyFiles,
    secrets,
};
use serde_json::{Value, json};
use std::{fs, process::Output, thread, time::Duration};

pub(crate) const ALICE: &str = "alice@ovh.test";
pub(crate) const BOB: &str = "bob@ovh.test";
/// Of access tokens.
const SECONDS: u32 = 4;
pub(crate) const EMAIL: &str = "bridge@firm.iam.gserviceaccount.test";
pub(crate) const KID: &str = "a1b2c3d4";

/// The authorization server and the hosts as a provider, as an administrator writes it.
const ENTRY: &str = r#"label = "The firm"
[domains]
names = []
source = "a test"
[imap]
host = "localhost"
port = IMAPS
security = "tls"
mechanisms = ["xoauth2", "plain"]
source = "a test"
[smtp]
host = "localhost"
port = SUBMISSIONS
security = "tls"
mechanisms = ["xoauth2", "plain"]
source = "a test"
[sign-in]
user = "address"
password = "mailbox"
source = "a test"
[sent]
filed = "no"
source = "a test"
[limits]
source = "a test"
[oauth]
authorise = "http://127.0.0.1:OIDC/auth"
token = "http://127.0.0.1:OIDC/TOKEN"
parameters = { prompt = "consent" }
device = "http://127.0.0.1:OIDC/device/auth"
scopes = ["mail", "openid", "offline_access"]
old-refresh-tokens = "spent"
source = "a test"
[register.consent]
redirects = ["http://localhost:{port}{callback}"]
[register.tenant]
scopes = ["mail"]
[register.domain]
scopes = ["mail"]
[register]
source = "a test"
"#;

pub(crate) struct Firm {
    pub(crate) lab: Lab,
    pub(crate) oidc: Oidc,
    pub(crate) dovecot: Dovecot,
    pub(crate) exim: Exim,
    pub(crate) bridge: Bridge,
    /// Of the tenant's client, or of the service account.
    pub(crate) keys: KeyFiles,
}

impl Firm {
    /// `token` is the path of the token endpoint.
    pub(crate) fn start(token: &str) -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Exim, Program::Oidc, Program::Openssl])?;
        let keys = KeyFiles::make(&lab.folder("k"), "client");
        let known = json!({
            "client": keys.certificate_in_pem(),
            "service": { "email": EMAIL, "kid": KID, "public": keys.public_key() },
        });
        let oidc = Oidc::knowing(&lab, SECONDS, Some(&known));
        let dovecot = match token {
            "service/token" => Dovecot::with_tokens(&lab, oidc.port),
            _ => Dovecot::with_tokens_of_tenants(&lab, oidc.port),
        };
        [ALICE, BOB].into_iter().for_each(|address| dovecot.add_user(address, "direct"));
        let exim = Exim::submission(&lab, &dovecot);
        let bridge = Bridge::prepare(&lab);
        let ports = [("IMAPS", dovecot.imaps), ("SUBMISSIONS", exim.submissions), ("OIDC", oidc.port)];
        let firm = ports.iter().fold(ENTRY.to_owned(), |text, (name, port)| text.replace(name, &port.to_string()));
        bridge.know_provider("firm", &firm.replace("TOKEN", token));
        Some(Self { lab, oidc, dovecot, exim, bridge, keys })
    }

    pub(crate) fn cli(&self, parts: &[&[&str]], input: &str) -> Output {
        self.bridge.cli(&[&parts.concat()[..], &["--json"]].concat(), input.as_bytes())
    }

    pub(crate) fn json(&self, parts: &[&[&str]], input: &str) -> Value {
        let output = self.cli(parts, input);
        assert!(output.status.success(), "{}", words(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// What a command is refused with: its error and its hint.
    pub(crate) fn refused(&self, parts: &[&[&str]], input: &str, code: i32) -> (String, String) {
        let output = self.cli(parts, input);
        assert_eq!(output.status.code(), Some(code), "{}", words(&output));
        let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        (text("error"), text("hint"))
    }

    pub(crate) fn certificates(&self) -> [String; 2] {
        ["--certificates".to_owned(), format!("ca={}", self.lab.certificates.ca.display())]
    }

    /// Without any option of a sign-in, and nothing on standard input.
    pub(crate) fn add(&self, address: &str) -> CrmSettings {
        let [option, value] = self.certificates();
        let added = self.json(&[&["account", "add", address, &option, &value]], "");
        assert_eq!(added["provider"], "firm");
        settings(&added)
    }

    /// A command that shows a code, which this person answers; how it ended, and what it said behind the code.
    pub(crate) fn on_a_device(&self, arguments: &[&str], person: Option<&str>) -> (String, String) {
        let log = self.lab.folder("v").join("said");
        let mut waiting = self.bridge.start_cli(&[arguments, &["--json"]].concat(), &log);
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let line = until(PATIENCE, || said().split_once('\n').map(|(line, _)| line.to_owned()));
        let code: Value = serde_json::from_str(&line.expect("it says a code")).expect("a line of JSON");
        let whole = code["verification_uri_complete"].as_str().expect("an address");
        assert!(whole.contains(code["user_code"].as_str().expect("a code")), "{code}");
        assert!(code["expires_in"].as_u64().is_some_and(|seconds| seconds > 60), "{code}");
        self.oidc.answer_device(code["user_code"].as_str().expect("a code"), person);
        let ended = until(PATIENCE, || waiting.ended()).expect("it ends");
        (ended, said().split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or_default())
    }

    pub(crate) fn lives(&self, crm: &CrmSettings, address: &str) {
        let mut smtp = self.bridge.sign_in_smtp(crm);
        smtp.smtp(&format!("MAIL FROM:<{address}>"), 250);
        smtp.smtp(&format!("RCPT TO:<{address}>"), 250);
        smtp.smtp("DATA", 354);
        smtp.send(b"Subject: sent without a browser\r\n\r\nHello.\r\n");
        smtp.smtp(".", 250);
        let arrived = until(Duration::from_secs(10), || (self.dovecot.count(address, "INBOX") > 0).then_some(()));
        assert!(arrived.is_some(), "{}", self.exim.log());
        let mut imap = self.bridge.sign_in(crm);
        imap.imap_ok("SELECT INBOX");
        let fetched = imap.imap_ok("FETCH 1 BODY.PEEK[]");
        assert!(fetched.text().contains("sent without a browser"), "{}", fetched.text());
    }

    /// Until no access token that was given before works any more, and no lane that one has opened is left.
    pub(crate) fn outlive_the_token(&self) {
        for address in [ALICE, BOB] {
            // It fails where nobody is signed in.
            let _ = self.dovecot.doveadm(&["kick", address]);
        }
        thread::sleep(Duration::from_secs(u64::from(SECONDS) + 1));
    }

    pub(crate) fn key_file(&self, token_uri: &str, key: &str) -> String {
        let file = json!({
            "type": "service_account", "project_id": "firm", "private_key_id": KID, "private_key": key,
            "client_email": EMAIL, "client_id": "117", "token_uri": token_uri,
        });
        let path = self.lab.folder("s").join("key.json");
        fs::write(&path, file.to_string()).expect("written");
        path.to_string_lossy().into_owned()
    }
}

pub(crate) fn settings(added: &Value) -> CrmSettings {
    let field = |name: &str| added[name].as_str().expect("text").to_owned();
    secrets::give_out(&field("password"));
    CrmSettings { login: field("login"), password: field("password") }
}
