//! The provider table: what is known of each company that hosts mail, as data.
//!
//! Read from `config/providers/*.toml`, which are built in, and from files that replace or add to them, which others read
//! from disk and hand in here. Nothing here does I/O, and no protocol machine knows a provider's name.

mod discovery;
mod entry;
mod explanation;
mod register;

pub use discovery::Discovery;
pub use entry::{Filed, Limits, Mechanism, OAuth, Password, Provider, Quirk, Search, Sent, Service, SignIn, Tokens};
pub use explanation::{Explanation, Explanations, Said, Who};
pub use register::{Places, Register, Way};

use crate::mistake::Mistake;
use std::path::Path;

/// The provider without habits of its own: always in the table.
pub const GENERIC: &str = "generic";

/// The files that are built in, by name.
const BUILT_IN: [(&str, &str); 12] = [
    ("exchange", include_str!("../../config/providers/exchange.toml")),
    ("fastmail", include_str!("../../config/providers/fastmail.toml")),
    ("gandi", include_str!("../../config/providers/gandi.toml")),
    (GENERIC, include_str!("../../config/providers/generic.toml")),
    ("google", include_str!("../../config/providers/google.toml")),
    ("microsoft365", include_str!("../../config/providers/microsoft365.toml")),
    ("outlook", include_str!("../../config/providers/outlook.toml")),
    ("ovh", include_str!("../../config/providers/ovh.toml")),
    ("ovh-exchange", include_str!("../../config/providers/ovh-exchange.toml")),
    ("ovh-pro", include_str!("../../config/providers/ovh-pro.toml")),
    ("yahoo", include_str!("../../config/providers/yahoo.toml")),
    ("zoho", include_str!("../../config/providers/zoho.toml")),
];

/// All providers that are known, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Sorted by name, each name once.
    providers: Vec<Provider>,
}

impl Table {
    /// The providers that are built in.
    ///
    /// # Errors
    /// Never, as a test shows: what is built in is read by the same code as what is not.
    pub fn built_in() -> Result<Self, Box<Mistake>> {
        let mut table = Self { providers: Vec::new() };
        for (name, text) in BUILT_IN {
            let file = format!("config/providers/{name}.toml");
            table.insert(Provider::parse(name, Path::new(&file), text, true)?);
        }
        Ok(table)
    }

    /// Reads one more file: it replaces the provider of its name, or adds one.
    ///
    /// # Errors
    /// The first mistake in it, with its place.
    pub fn read(&mut self, file: &Path, text: &str) -> Result<(), Box<Mistake>> {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        self.insert(Provider::parse(&name, file, text, false)?);
        Ok(())
    }

    fn insert(&mut self, provider: Provider) {
        self.providers.retain(|known| known.name != provider.name);
        let at = self.providers.partition_point(|known| known.name < provider.name);
        self.providers.insert(at, provider);
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Provider> {
        self.providers.iter()
    }

    /// The provider of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Provider> {
        self.providers.iter().find(|provider| provider.name == name)
    }

    /// The provider whose addresses have this domain. What an administrator added comes before what is built in.
    #[must_use]
    pub fn of_domain(&self, domain: &str) -> Option<&Provider> {
        let mut theirs = self.providers.iter().filter(|provider| provider.has_domain(domain));
        let first = theirs.next()?;
        if !first.built_in {
            return Some(first);
        }
        Some(theirs.find(|provider| !provider.built_in).unwrap_or(first))
    }

    /// The providers of a host that takes in a domain's mail. What an administrator added comes before what is built in;
    /// of those, what has the same hosts for all customers comes before what has one for each.
    #[must_use]
    pub fn of_mx(&self, host: &str) -> Vec<&Provider> {
        let mut theirs: Vec<_> = self.providers.iter().filter(|provider| provider.has_mx(host)).collect();
        theirs.sort_by_key(|provider| (provider.built_in, provider.imap.endpoint().is_none()));
        theirs
    }

    /// The provider to which `autodiscover.DOMAIN` leads, if it is another name of this.
    #[must_use]
    pub fn of_autodiscover(&self, host: &str) -> Option<&Provider> {
        let mut theirs: Vec<_> = self.providers.iter().filter(|provider| provider.has_autodiscover(host)).collect();
        theirs.sort_by_key(|provider| provider.built_in);
        theirs.first().copied()
    }

    /// The provider that hosts mail at this host: of two that share it, the one with customers of other domains.
    #[must_use]
    pub fn of_host(&self, host: &str) -> Option<&Provider> {
        let mut theirs: Vec<_> = self.providers.iter().filter(|provider| provider.is_at(host)).collect();
        theirs.sort_by_key(|provider| (provider.built_in, provider.discovery.is_none()));
        theirs.first().copied()
    }

    /// What this provider bears of one account; None of each: no cap is known.
    #[must_use]
    pub fn limits(&self, name: &str) -> Limits {
        self.named(name).map(|provider| provider.limits.clone()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Security;

    fn table() -> Table {
        Table::built_in().expect("what is built in is whole")
    }

    const OWN: &str = r#"label = "Own"
[domains]
names = ["gmail.com", "*.own.test"]
source = "a test"
[imap]
host = "imap.own.test"
port = 993
security = "tls"
mechanisms = ["plain"]
source = "a test"
[smtp]
host = "smtp.own.test"
port = 465
security = "tls"
mechanisms = ["plain"]
source = "a test"
[sign-in]
user = "mailbox-name"
password = "mailbox"
source = "a test"
[sent]
filed = "no"
source = "a test"
[limits]
imap-connections = 2
source = "a test"
"#;

    #[test]
    fn all_that_are_built_in_are_there_in_order() {
        let table = table();
        let names: Vec<_> = table.iter().map(|provider| provider.name.as_str()).collect();
        assert_eq!(names, BUILT_IN.map(|(name, _)| name));
        assert!(table.iter().all(|provider| provider.built_in));
    }

    #[test]
    fn a_provider_is_found_by_the_domain_of_an_address() {
        let table = table();
        let of = |domain: &str| table.of_domain(domain).map(|provider| provider.name.as_str());
        assert_eq!(of("gmail.com"), Some("google"));
        assert_eq!(of("GMail.Com"), Some("google"));
        assert_eq!(of("firm.onmicrosoft.com"), Some("microsoft365"));
        assert_eq!(of("onmicrosoft.com"), None);
        assert_eq!(of("notonmicrosoft.com"), None);
        assert_eq!(of("example.org"), None);
    }

    #[test]
    fn a_provider_is_found_by_what_takes_in_the_mail() {
        let table = table();
        let of = |host: &str| {
            let names: Vec<_> = table.of_mx(host).into_iter().map(|provider| provider.name.as_str()).collect();
            names.join(" ")
        };
        for (host, awaited) in [
            ("aspmx.l.google.com", "google"),
            ("ASPMX2.GoogleMail.com.", "google"),
            ("firm-test.mail.protection.outlook.com", "microsoft365"),
            ("firm-test.a-v1.mx.microsoft", "microsoft365"),
            ("mx1.mail.ovh.net", "ovh ovh-pro"),
            ("mx0.ovh.net", "ovh ovh-pro"),
            ("ex5.mail.ovh.net", "ovh-exchange"),
            ("mx.zoho.eu", "zoho"),
            ("in1-smtp.messagingengine.com", "fastmail"),
            ("google.com", ""),
            ("evilgoogle.com", ""),
            ("aspmx.l.google.com.evil.test", ""),
            ("mx1.mail.ovh.net.evil.test", ""),
            ("mx1.evil.mail.ovh.net", ""),
            ("outlook-com.olc.protection.outlook.com", ""),
            ("", ""),
        ] {
            assert_eq!(of(host), awaited, "{host}");
        }
        let leads = |host: &str| table.of_autodiscover(host).map(|provider| provider.name.as_str());
        assert_eq!(leads("autodiscover.outlook.com."), Some("microsoft365"));
        assert_eq!(leads("autodiscover.evil.test"), None);
    }

    #[test]
    fn a_provider_is_found_by_its_hosts() {
        let table = table();
        let of = |host: &str| table.of_host(host).map(|provider| provider.name.as_str());
        assert_eq!(of("imap.gmail.com"), Some("google"));
        assert_eq!(of("outlook.office365.com"), Some("microsoft365"));
        assert_eq!(of("Pro2.mail.ovh.net"), Some("ovh-pro"));
        for none in ["pro.mail.ovh.net", "pro2.evil.mail.ovh.net", "imap.firm.test", "x", ""] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_file_replaces_or_adds_and_comes_first() {
        let mut table = table();
        table.read(Path::new("/etc/passerelle/providers/own.toml"), OWN).expect("read");
        assert_eq!(table.of_domain("gmail.com").map(|provider| provider.name.as_str()), Some("own"));
        assert_eq!(table.limits("own").imap_connections, Some(2));
        assert_eq!(table.limits("nobody").imap_connections, None);
        let count = table.iter().count();
        table.read(Path::new("google.toml"), OWN).expect("read");
        assert_eq!(table.iter().count(), count);
        assert_eq!(table.named("google").map(|provider| provider.label.as_str()), Some("Own"));
    }

    #[test]
    fn a_host_that_is_not_known_is_no_endpoint() {
        let table = table();
        let host = |name: &str| table.named(name).and_then(|provider| provider.imap.endpoint());
        assert_eq!(host("ovh-pro"), None);
        let google = host("google").expect("known");
        assert_eq!((google.host.as_str(), google.port, google.security), ("imap.gmail.com", 993, Security::Tls));
    }

    #[test]
    fn mistakes_are_told_with_file_line_and_key() {
        let wrong = |from: &str, to: &str| {
            let text = OWN.replacen(from, to, 1);
            let mistake = table().read(Path::new("providers/own.toml"), &text).expect_err("wrong");
            (mistake.to_string(), mistake.hint())
        };
        let cases = [
            ("port = 993", "port = 0", "providers/own.toml:7: imap.port: "),
            ("port = 993", "port = 99999", "providers/own.toml:7: imap.port: "),
            ("\"imap.own.test\"", "\"a b\"", "providers/own.toml:6: imap.host: "),
            ("\"imap.own.test\"", "\"pro{}.own.test\"", "providers/own.toml:6: imap.host: "),
            ("\"*.own.test\"", "\"*own.test\"", "providers/own.toml:3: domains.names: "),
            (
                "[imap]",
                "[discovery]\nmx = [\"mx.*.test\"]\nsource = \"a test\"\n[imap]",
                "providers/own.toml:5: discovery: ",
            ),
            (
                "[imap]",
                "[discovery]\nmx = [\"*.test\"]\nsource = \"a test\"\n[imap]",
                "providers/own.toml:5: discovery: ",
            ),
            ("filed = \"no\"", "filed = \"maybe\"", "providers/own.toml:22: sent.filed: "),
            ("filed = \"no\"", "fild = \"no\"", "providers/own.toml:22: sent.fild: unknown key, "),
            ("imap-connections = 2", "imap-connections = 0", "providers/own.toml:25: limits.imap-connections: "),
            ("imap-connections = 2", "messages-per-minute = 0", "providers/own.toml:25: limits.messages-per-minute: "),
            ("[\"plain\"]", "[]", "providers/own.toml:9: imap.mechanisms: "),
            ("\"mailbox-name\"", "\"manual\"", "providers/own.toml:18: sign-in.user: "),
            ("source = \"a test\"", "source = \" \"", "providers/own.toml:4: domains.source: "),
            ("label = \"Own\"", "label = \"\"", "providers/own.toml:1: label: "),
        ];
        for (from, to, start) in cases {
            let (said, hint) = wrong(from, to);
            assert!(said.starts_with(start), "{to}: {said}");
            assert!(hint.contains("config/providers/README.md"), "{hint}");
        }
        let (said, _) = wrong("[sent]\nfiled = \"no\"\nsource = \"a test\"\n", "");
        assert!(said.contains("sent"), "{said}");
        let unnamed = table().read(Path::new("providers/a b.toml"), OWN).expect_err("no name");
        assert!(unnamed.to_string().starts_with("providers/a b.toml: "), "{unnamed}");
    }

    #[test]
    fn oauth_addresses_name_the_tenant() {
        let table = table();
        let oauth = table.named("microsoft365").and_then(|provider| provider.oauth.as_ref()).expect("it has");
        let token = |tenant| oauth.token_of(tenant);
        assert_eq!(token(None), "https://login.microsoftonline.com/organizations/oauth2/v2.0/token");
        assert_eq!(token(Some("firm.test")), "https://login.microsoftonline.com/firm.test/oauth2/v2.0/token");
        assert_eq!(oauth.old_refresh_tokens, Tokens::Valid);
        let insecure = OWN.to_owned()
            + "[oauth]\nauthorise = \"https://a\"\ntoken = \"http://b\"\nscopes = [\"mail\"]\nold-refresh-tokens = \"spent\"\nsource = \"a test\"\n";
        let mistake = Table::built_in().and_then(|mut table| table.read(Path::new("own.toml"), &insecure));
        assert!(mistake.expect_err("in clear").to_string().starts_with("own.toml:29: oauth.token: "));
    }
}
