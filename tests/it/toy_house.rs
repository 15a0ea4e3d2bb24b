//! What the tests of grants between two moments stand on: a provider of toys, whose authorization server gives each refresh
//! token once (strict rotation) and whose mail servers let in, refuse or hang as the test likes.

use crate::harness::{Bridge, Endpoint, Lab, Provider, words};
use serde_json::{Value, json};
use std::{
    process::Output,
    sync::{Arc, Mutex},
};

pub(crate) const ALICE: &str = "alice@toys.test";
/// The refresh token that is good at the start.
pub(crate) const FIRST: &str = "toy-refresh-token-0";
/// What the mail servers say where they refuse.
pub(crate) const SAID: &str = "IMAP is switched off for this mailbox";

/// What the mail servers do with a sign-in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Open,
    Shut,
    /// They say nothing.
    Silent,
}

/// What the authorization server knows.
pub(crate) struct Known {
    /// The refresh token that is good.
    pub(crate) current: String,
    given: u32,
    /// Whether a refresh token is good once.
    pub(crate) rotates: bool,
    /// Whether every refresh token is refused.
    pub(crate) revoked: bool,
    pub(crate) scope: Option<&'static str>,
    /// Refresh tokens that were refused.
    pub(crate) refused: u32,
    pub(crate) codes: u32,
}

pub(crate) struct Toys {
    pub(crate) endpoint: Endpoint,
    pub(crate) known: Arc<Mutex<Known>>,
    pub(crate) door: Arc<Mutex<Door>>,
    pub(crate) imap: Provider,
    pub(crate) smtp: Provider,
    pub(crate) bridge: Bridge,
    pub(crate) lab: Lab,
}

impl Toys {
    /// With a registered client, and no account. None: no room for a lab, which was said.
    pub(crate) fn start() -> Option<Self> {
        let lab = Lab::needing(&[])?;
        let known = Known {
            current: FIRST.to_owned(),
            given: 0,
            rotates: true,
            revoked: false,
            scope: None,
            refused: 0,
            codes: 0,
        };
        let known = Arc::new(Mutex::new(known));
        let theirs = known.clone();
        let endpoint = Endpoint::start(move |path, form| {
            if path == "/device" {
                return (200, device_code());
            }
            let mut known = theirs.lock().expect("no test panicked in here");
            known.answer(form.get("grant_type").map_or("", String::as_str), form.get("refresh_token"))
        });
        let door = Arc::new(Mutex::new(Door::Open));
        let (imap, smtp) = (imap(&lab, door.clone()), smtp(&lab));
        let bridge = Bridge::prepare(&lab);
        let toys = Self { endpoint, known, door, imap, smtp, bridge, lab };
        toys.bridge.know_provider("toys", &toys.entry());
        toys.done(&["provider", "register", "toys", "--client-id", "app"], "");
        Some(toys)
    }

    fn entry(&self) -> String {
        let url = format!("http://127.0.0.1:{}", self.endpoint.port);
        include_str!("../../config/providers/gandi.toml").to_owned()
            + &format!(
                "[oauth]\nauthorise = \"{url}/auth\"\ntoken = \"{url}/token\"\ndevice = \"{url}/device\"\nscopes = [\"mail\", \"offline_access\"]\n\
                 old-refresh-tokens = \"spent\"\nsource = \"a test\"\n"
            )
    }

    /// The servers, as options.
    pub(crate) fn at(&self, [imap, smtp]: [u16; 2]) -> Vec<String> {
        let certificates = format!("ca={}", self.lab.certificates.ca.display());
        [
            "--imap",
            &format!("localhost:{imap}"),
            "--smtp",
            &format!("localhost:{smtp}"),
            "--certificates",
            &certificates,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    /// `account VERB ALICE` at these servers, with a refresh token that is handed over.
    pub(crate) fn hand_over(&self, verb: &str, token: &str, more: &[&str]) -> Output {
        let at = if verb == "set" { Vec::new() } else { self.at([self.imap.port, self.smtp.port]) };
        let mut command = vec!["account", verb, ALICE, "--refresh-token-stdin", "--client-id", "app", "--json"];
        if verb != "set" {
            command.extend(["--provider", "toys"]);
        }
        command.extend(at.iter().map(String::as_str).chain(more.iter().copied()));
        self.bridge.cli(&command, format!("{token}\n").as_bytes())
    }

    /// What a command that works answers.
    pub(crate) fn done(&self, arguments: &[&str], input: &str) -> Value {
        let output = self.bridge.cli(&[arguments, &["--json"]].concat(), input.as_bytes());
        assert!(output.status.success(), "{arguments:?}: {}", words(&output));
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    pub(crate) fn knows<T>(&self, of: impl FnOnce(&mut Known) -> T) -> T {
        of(&mut self.known.lock().expect("no test panicked in here"))
    }

    pub(crate) fn doors(&self, door: Door) {
        *self.door.lock().expect("no test panicked in here") = door;
    }
}

impl Known {
    fn answer(&mut self, grant: &str, shown: Option<&String>) -> (u16, Value) {
        let code = ["authorization_code", DEVICE].contains(&grant);
        self.codes += u32::from(code);
        if !code && (self.revoked || shown != Some(&self.current)) {
            self.refused += 1;
            return (400, json!({ "error": "invalid_grant" }));
        }
        self.given += 1;
        let mut answer = json!({
            "access_token": format!("toy-access-token-{}", self.given), "token_type": "Bearer", "expires_in": 3600,
        });
        if code || self.rotates {
            self.current = format!("toy-refresh-token-{}", self.given);
            answer["refresh_token"] = self.current.clone().into();
        }
        if let Some(scope) = self.scope {
            answer["scope"] = scope.into();
        }
        (200, answer)
    }
}

const DEVICE: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// A code whose person has agreed before the first poll.
fn device_code() -> Value {
    json!({ "device_code": "a-device-code", "user_code": "WDJB-MJHT", "expires_in": 900, "interval": 1,
        "verification_uri": "https://toys.test/device" })
}

/// An IMAP server that takes tokens, if its door is open.
pub(crate) fn imap(lab: &Lab, door: Arc<Mutex<Door>>) -> Provider {
    Provider::start(Some(&lab.certificates.good), move |visit| {
        visit.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] ready")?;
        let door = door.clone();
        visit.imap(&move |visit, tag, command| {
            let now = *door.lock().expect("no test panicked in here");
            match (command.starts_with("AUTHENTICATE"), now) {
                (true, Door::Shut) => visit.say(&format!("{tag} NO {SAID}")).map(|()| true),
                // Until the client leaves.
                (true, Door::Silent) => visit.line().map(|_| true),
                _ => Some(false),
            }
        })
    })
}

/// A submission server that takes every token.
pub(crate) fn smtp(lab: &Lab) -> Provider {
    Provider::start(Some(&lab.certificates.good), |visit| {
        visit.say("220 double")?;
        loop {
            let line = visit.line()?.to_ascii_uppercase();
            match line.split(' ').next().unwrap_or_default() {
                "EHLO" => visit.say("250-double\r\n250 AUTH XOAUTH2")?,
                "AUTH" => visit.say("235 2.7.0 Signed in")?,
                "QUIT" => return visit.say("221 2.0.0 Bye"),
                _ => visit.say("250 2.0.0 Ok")?,
            }
        }
    })
}

/// Of the query of an address, as it was before it was put there.
pub(crate) fn field(address: &str, name: &str) -> String {
    let query = address.split_once('?').expect("a query").1;
    let value = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).expect("the field");
    value.replace("%3A", ":").replace("%2F", "/")
}

/// The error of a command that is refused with this code, and its hint.
pub(crate) fn refusal(output: &Output, code: i32) -> (String, String) {
    assert_eq!(output.status.code(), Some(code), "{}", words(output));
    let error: Value = serde_json::from_slice(&output.stderr).expect("JSON");
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    assert!(!error.to_string().contains("toy-"), "no token is told: {error}");
    (text("error"), text("hint"))
}
