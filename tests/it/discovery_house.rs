//! What the tests of finding a provider stand on: a firm's names, its web servers, and a state that asks those alone.

use crate::harness::{Dns, Lab, Page, Program, Provider, Record, Web, Zone, run};
use serde_json::Value;
use std::{
    fs,
    net::Ipv4Addr,
    path::PathBuf,
    process::{Command, Output},
    sync::{Arc, Mutex},
};

pub(crate) const ADDRESS: &str = "alice@firm.test";

/// Names that have an address here: this machine.
const HERE: [&str; 15] = [
    "firm.test",
    "imap.firm.test",
    "smtp.firm.test",
    "mail.firm.test",
    "autoconfig.firm.test",
    "autodiscover.firm.test",
    "outlook.firm.test",
    "hoster.test",
    "table.hoster.test",
    "autoconfig.hoster.test",
    "imap.hoster.test",
    "smtp.hoster.test",
    "ex5.mail.ovh.net",
    "localhost",
    "mx.hoster.test",
];

type Pages = dyn Fn(&str, &str, &str) -> Option<Page> + Send + Sync;

pub(crate) struct House {
    pub(crate) lab: Lab,
    pub(crate) dns: Dns,
    pub(crate) web: Web,
    state: PathBuf,
    zone: Zone,
    pages: Arc<Mutex<Arc<Pages>>>,
    /// Of `[discovery]`, by key, as TOML.
    keys: std::collections::BTreeMap<&'static str, String>,
    question_seconds: u32,
    whole_seconds: u32,
}

/// A house with what this says of it. None: the machine has no room for a lab, which was said.
pub(crate) fn a_house(prepare: impl FnOnce(&mut House)) -> Option<House> {
    a_house_with(&[], prepare)
}

/// The same where these programs are needed.
pub(crate) fn a_house_with(programs: &[Program], prepare: impl FnOnce(&mut House)) -> Option<House> {
    let lab = Lab::needing(programs)?;
    let pages: Arc<Mutex<Arc<Pages>>> = Arc::new(Mutex::new(Arc::new(|_: &str, _: &str, _: &str| None)));
    let theirs = pages.clone();
    let web = Web::start(Some(&lab.certificates.good), move |method, host, path| {
        let pages = theirs.lock().expect("no test panicked in here").clone();
        pages(method, host, path)
    });
    let zone = HERE.iter().map(|name| ((*name).to_owned(), vec![Record::A(Ipv4Addr::LOCALHOST)])).collect();
    let state = lab.path().join("discovery");
    fs::create_dir_all(&state).expect("made");
    let (at, dns) = (web.port(), Dns::start(Some(Zone::new())));
    let keys = [
        ("private-addresses", "true".to_owned()),
        (
            "autoconfig",
            format!(
                "[\"https://autoconfig.{{domain}}:{at}/mail/config-v1.1.xml?emailaddress={{address}}\", \
                 \"https://{{domain}}:{at}/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress={{address}}\", \
                 \"https://table.hoster.test:{at}/v1.1/{{domain}}\"]"
            ),
        ),
        (
            "autodiscover",
            format!(
                "[\"https://{{domain}}:{at}/autodiscover/autodiscover.xml\", \
                 \"https://autodiscover.{{domain}}:{at}/autodiscover/autodiscover.xml\"]"
            ),
        ),
        ("imap", "[]".to_owned()),
        ("smtp", "[]".to_owned()),
    ];
    let mut house =
        House { lab, dns, web, state, zone, pages, keys: keys.into(), question_seconds: 5, whole_seconds: 15 };
    prepare(&mut house);
    house.dns = Dns::start(Some(house.zone.clone()));
    house.configure();
    Some(house)
}

impl House {
    pub(crate) fn web_port(&self) -> u16 {
        self.web.port()
    }

    /// More of the zone.
    pub(crate) fn say(&mut self, name: &str, records: Vec<Record>) {
        let known = self.zone.entry(name.to_owned()).or_default();
        // Another name has no records of its own.
        if records.iter().any(|record| matches!(record, Record::Cname(_))) {
            known.clear();
        }
        known.extend(records);
    }

    /// What the web server answers, by method, host and path.
    pub(crate) fn page(&mut self, pages: impl Fn(&str, &str, &str) -> Option<Page> + Send + Sync + 'static) {
        *self.pages.lock().expect("no test panicked in here") = Arc::new(pages);
    }

    /// A key of `[discovery]`, as TOML.
    pub(crate) fn key(&mut self, key: &'static str, value: &str) {
        self.keys.insert(key, value.to_owned());
    }

    pub(crate) fn seconds(&mut self, question: u32, whole: u32) {
        (self.question_seconds, self.whole_seconds) = (question, whole);
    }

    /// A name server that never answers.
    pub(crate) fn no_name_server(&mut self) {
        self.dns = Dns::start(None);
        self.configure();
    }

    /// Where usual names are tried.
    pub(crate) fn probe(&mut self, imap: u16, smtp: u16, imap_security: &str) {
        self.key("imap", &format!("[\"mail.{{domain}}:1\", \"imap.{{domain}}:{imap}{imap_security}\"]"));
        self.key("smtp", &format!("[\"smtp.{{domain}}:{smtp}\"]"));
        self.configure();
    }

    /// The same at the domain itself, and nobody else.
    pub(crate) fn own_hosts(&mut self, imap: &Provider, smtp: &Provider) {
        self.key("steps", "[\"probe\"]");
        self.key("imap", &format!("[\"{{domain}}:{}\"]", imap.port));
        self.key("smtp", &format!("[\"{{domain}}:{}\"]", smtp.port));
        self.configure();
    }

    /// A file of the provider table.
    pub(crate) fn provider(&self, name: &str, text: &str) {
        let folder = self.state.join("providers");
        fs::create_dir_all(&folder).expect("made");
        fs::write(folder.join(name).with_extension("toml"), text).expect("written");
    }

    pub(crate) fn configure(&self) {
        let mut text = format!("[discovery]\nresolver = \"127.0.0.1:{}\"\n", self.dns.port);
        for (key, value) in &self.keys {
            text += &format!("{key} = {value}\n");
        }
        let (question, whole) = (self.question_seconds, self.whole_seconds);
        text += &format!("[timeouts]\ndiscovery = \"{whole}s\"\ndiscovery-question = \"{question}s\"\n");
        fs::write(self.state.join("passerelle.toml"), text).expect("written");
    }

    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_passerelle"));
        command.env_clear().env("PASSERELLE_STATE", &self.state).env("SSL_CERT_FILE", &self.lab.certificates.ca);
        run(30, command.args(arguments), input.as_bytes())
    }

    /// The same at a terminal, where this is typed. Both outputs come as one.
    pub(crate) fn at_terminal(&self, arguments: &str, typed: &str) -> Output {
        let line = format!("{} {arguments}", env!("CARGO_BIN_EXE_passerelle"));
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        command.env("PASSERELLE_STATE", &self.state).env("SSL_CERT_FILE", &self.lab.certificates.ca);
        run(30, &mut command, typed.as_bytes())
    }

    /// What `provider find --json` says, with or without success.
    pub(crate) fn outcome(&self, address: &str) -> Value {
        let output = self.run(&["provider", "find", address, "--json"], "");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", crate::harness::words(&output)))
    }

    pub(crate) fn found(&self, address: &str) -> Value {
        let outcome = self.outcome(address);
        assert!(outcome["found"].is_object(), "{outcome:#}");
        outcome
    }

    /// What each question that was asked by this way came to.
    pub(crate) fn answers(&self, outcome: &Value, by: &str) -> Vec<String> {
        assert!(outcome["found"].is_null(), "{outcome:#}");
        let tried = outcome["tried"].as_array().expect("steps").iter().filter(|tried| tried["by"] == by);
        tried.map(|tried| tried["answer"].as_str().expect("text").to_owned()).collect()
    }
}

/// Mozilla's file.
pub(crate) struct File {
    /// Host and kind of socket.
    pub(crate) imap: Option<(&'static str, &'static str)>,
    pub(crate) smtp: Option<(&'static str, &'static str)>,
}

impl Default for File {
    fn default() -> Self {
        Self { imap: Some(("imap.firm.test", "SSL")), smtp: Some(("smtp.firm.test", "SSL")) }
    }
}

impl File {
    pub(crate) fn xml(&self) -> String {
        let server = |element: &str, kind: &str, port: u16, place: Option<(&str, &str)>| {
            let Some((host, socket)) = place else { return String::new() };
            format!(
                "<{element} type=\"{kind}\"><hostname>{host}</hostname><port>{port}</port><socketType>{socket}</socketType>\
                 <username>%EMAILADDRESS%</username><authentication>password-cleartext</authentication></{element}>"
            )
        };
        format!(
            "<?xml version=\"1.0\"?><clientConfig version=\"1.1\"><emailProvider id=\"firm.test\">{}{}</emailProvider>\
             </clientConfig>",
            server("incomingServer", "imap", 993, self.imap),
            server("outgoingServer", "smtp", 465, self.smtp)
        )
    }
}

/// An answer of Autodiscover: IMAP by this SSL, and submission on 587.
pub(crate) fn pox(host: &str, ssl: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><Autodiscover xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/\
         responseschema/2006\"><Response xmlns=\"http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/\
         2006a\"><Account><AccountType>email</AccountType><Action>settings</Action><Protocol><Type>IMAP</Type>\
         <Server>{host}</Server><Port>993</Port><SSL>{ssl}</SSL><LoginName>firm\\alice</LoginName></Protocol><Protocol>\
         <Type>SMTP</Type><Server>{host}</Server><Port>587</Port><Encryption>TLS</Encryption></Protocol></Account>\
         </Response></Autodiscover>"
    )
}
