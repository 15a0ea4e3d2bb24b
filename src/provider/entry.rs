//! One provider: its file's sections, and the rules that the file must keep.

use super::{Discovery, Register};
use crate::{
    mistake::{Broken, Mistake, Text},
    model::{Endpoint, Host, Security, UserFormat},
    oauth::TokenEndpoint,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path};

/// What is known of one company that hosts mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Provider {
    /// By which it is chosen: the name of its file.
    #[serde(skip_deserializing)]
    pub name: String,
    /// Whether nobody but us has written it.
    #[serde(skip_deserializing)]
    pub built_in: bool,
    /// The name for people.
    pub label: String,
    pub domains: Domains,
    /// How domains of customers show that they are here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery: Option<Discovery>,
    pub imap: Service,
    pub smtp: Service,
    pub sign_in: SignIn,
    pub sent: Sent,
    pub limits: Limits,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth: Option<OAuth>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub register: Option<Register>,
    #[serde(default)]
    pub quirks: Vec<Quirk>,
}

/// Whose addresses it hosts, as far as a domain tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Domains {
    /// Lower case; `*.` in front stands for one label or more.
    pub names: Vec<String>,
    pub source: String,
}

/// Where one of its services listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Service {
    /// A host, or one with a part in braces that only the customer knows.
    pub host: String,
    pub port: u16,
    pub security: Security,
    /// The best first.
    pub mechanisms: Vec<Mechanism>,
    pub source: String,
}

/// A way to sign in (SASL), by its name on the wire in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mechanism {
    Login,
    Oauthbearer,
    Plain,
    Xoauth2,
}

/// As whom, and with what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SignIn {
    pub user: UserFormat,
    pub password: Password,
    /// What mends a refused sign-in, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
    pub source: String,
}

/// Which passwords open a mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Password {
    /// One that is made for this program alone.
    App,
    /// That of the mailbox.
    Mailbox,
    /// None: a token does.
    None,
}

/// What becomes of the copy of a sent message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sent {
    pub filed: Filed,
    /// How a message is looked for there.
    #[serde(default, skip_serializing_if = "Search::is_exact")]
    pub search: Search,
    pub source: String,
}

/// How a message is looked for at a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Search {
    /// By its Message-ID.
    #[default]
    Exact,
    /// Its search by Message-ID is slow or approximate: by day, then compared.
    ByDate,
}

impl Search {
    fn is_exact(&self) -> bool {
        *self == Self::Exact
    }
}

/// Whether the provider files it in its Sent mailbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filed {
    No,
    Unknown,
    Yes,
}

/// What the provider bears of one account; None: what the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Limits {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imap_connections: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp_connections: Option<u32>,
    /// Messages over one connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_connection: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_minute: Option<u32>,
    /// How long it bears a connection on which nothing is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp_idle_seconds: Option<u32>,
    /// How long it bears a signed-in connection of IMAP on which nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub imap_idle_seconds: Option<u32>,
    /// How many connections that nobody uses are kept, of each use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parked_connections: Option<u32>,
    pub source: String,
}

impl Limits {
    /// All that are numbers, by their keys.
    #[must_use]
    pub fn all(&self) -> [(&'static str, Option<u32>); 7] {
        [
            ("limits.imap-connections", self.imap_connections),
            ("limits.smtp-connections", self.smtp_connections),
            ("limits.messages-per-connection", self.messages_per_connection),
            ("limits.messages-per-minute", self.messages_per_minute),
            ("limits.smtp-idle-seconds", self.smtp_idle_seconds),
            ("limits.imap-idle-seconds", self.imap_idle_seconds),
            ("limits.parked-connections", self.parked_connections),
        ]
    }
}

/// Where consent is asked for and tokens come from. `{tenant}` in an address stands for the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OAuth {
    pub authorise: String,
    pub token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoke: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Used where the person names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    pub scopes: Vec<String>,
    /// More parameters of the first address.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    pub old_refresh_tokens: Tokens,
    pub source: String,
}

/// What becomes of refresh tokens when a new one was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokens {
    /// Presenting an old one may end the grant.
    Spent,
    /// They go on for a while.
    Valid,
}

/// What else there is to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Quirk {
    pub about: String,
    pub source: String,
}

impl Provider {
    pub(super) fn parse(name: &str, file: &Path, text: &str, built_in: bool) -> Result<Self, Box<Mistake>> {
        let place = Text { file, text, keys: EXPLAINED, forms: EXPLAINED };
        let read: Self = toml::from_str(text).map_err(|error| Box::new(place.misread(&error)))?;
        let provider = Self { name: name.to_owned(), built_in, ..read };
        match provider.broken_rule() {
            Some(broken) => Err(Box::new(place.broken(broken))),
            None => Ok(provider),
        }
    }

    /// How clients are registered for it, where it takes access tokens.
    #[must_use]
    pub fn registers(&self) -> Option<Register> {
        self.oauth.as_ref()?;
        Some(self.register.clone().unwrap_or_else(Register::usual))
    }

    /// Whether its addresses have this domain.
    #[must_use]
    pub fn has_domain(&self, domain: &str) -> bool {
        let domain = domain.to_ascii_lowercase();
        self.domains.names.iter().any(|name| match name.strip_prefix('*') {
            Some(end) => domain.len() > end.len() && domain.ends_with(end),
            None => *name == domain,
        })
    }

    /// Whether a host that takes in a domain's mail is the provider's.
    #[must_use]
    pub fn has_mx(&self, host: &str) -> bool {
        self.discovery.as_ref().is_some_and(|discovery| discovery.has_mx(host))
    }

    /// Whether what `autodiscover.DOMAIN` is another name of is the provider's.
    #[must_use]
    pub fn has_autodiscover(&self, host: &str) -> bool {
        let discovery = self.discovery.as_ref();
        discovery.is_some_and(|discovery| discovery.has_autodiscover(host))
    }

    /// Whether it hosts mail at this host.
    #[must_use]
    pub fn is_at(&self, host: &str) -> bool {
        [&self.imap, &self.smtp].into_iter().any(|service| service.is_at(host))
    }

    fn broken_rule(&self) -> Option<Broken> {
        let broken = |key, what, found: &str| Some(Broken { key, what, found: found.to_owned(), hint: EXPLAINED });
        if let Some(broken) = Broken::of_name(&self.name, &self.label, EXPLAINED) {
            return Some(broken);
        }
        let is_domain = |name: &&String| Host::parse(name.strip_prefix("*.").unwrap_or(name)).is_ok();
        if let Some(wrong) = self.domains.names.iter().find(|name| !is_domain(name) || **name != name.to_lowercase()) {
            return broken("domains.names", "expected a domain in lower case, or *. and a domain", wrong);
        }
        if let Some(wrong) = self.discovery.as_ref().and_then(Discovery::broken_pattern) {
            return broken(
                "discovery",
                "expected host names in lower case, *. in front or * behind the first label",
                wrong,
            );
        }
        if self.sign_in.user == UserFormat::Manual {
            return broken("sign-in.user", "expected address or mailbox-name", "manual");
        }
        self.broken_service().or_else(|| self.broken_limit()).or_else(|| self.broken_oauth()).or_else(|| self.unsaid())
    }

    fn broken_service(&self) -> Option<Broken> {
        let keys = [
            (&self.imap, ["imap.host", "imap.port", "imap.mechanisms"]),
            (&self.smtp, ["smtp.host", "smtp.port", "smtp.mechanisms"]),
        ];
        for (service, [host, port, mechanisms]) in keys {
            let (key, what, found) = match service {
                _ if Host::parse(&service.with_part("x")).is_err() || service.host.contains("{}") => {
                    (host, "expected a host name, or one with a {PART} that the customer knows", service.host.clone())
                }
                Service { port: 0, .. } => (port, "expected a port from 1 to 65535", "0".to_owned()),
                _ if service.mechanisms.is_empty() => (mechanisms, "expected at least one", "[]".to_owned()),
                _ => continue,
            };
            return Some(Broken { key, what, found, hint: EXPLAINED });
        }
        None
    }

    fn broken_limit(&self) -> Option<Broken> {
        let (key, _) = self.limits.all().into_iter().find(|(_, limit)| *limit == Some(0))?;
        Some(Broken { key, what: "expected a whole number from 1", found: "0".to_owned(), hint: EXPLAINED })
    }

    /// Tokens go nowhere in clear.
    fn broken_oauth(&self) -> Option<Broken> {
        let oauth = self.oauth.as_ref()?;
        let addresses = [
            ("oauth.authorise", Some(&oauth.authorise)),
            ("oauth.token", Some(&oauth.token)),
            ("oauth.revoke", oauth.revoke.as_ref()),
            ("oauth.device", oauth.device.as_ref()),
        ];
        for (key, address) in addresses {
            let Some(address) = address else { continue };
            let what = match address {
                _ if address.contains(TENANT) && oauth.tenant.is_none() => "expected a tenant for {tenant}",
                _ if TokenEndpoint::parse(&oauth.of(address, None)).is_err() => {
                    "expected an address that begins with https://, or with http:// and a loopback address"
                }
                _ => continue,
            };
            return Some(Broken { key, what, found: address.clone(), hint: EXPLAINED });
        }
        None
    }

    /// Every section says where its facts are from.
    fn unsaid(&self) -> Option<Broken> {
        let mut sources = vec![
            ("domains.source", &self.domains.source),
            ("imap.source", &self.imap.source),
            ("smtp.source", &self.smtp.source),
            ("sign-in.source", &self.sign_in.source),
            ("sent.source", &self.sent.source),
            ("limits.source", &self.limits.source),
        ];
        sources.extend(self.discovery.as_ref().map(|discovery| ("discovery.source", &discovery.source)));
        sources.extend(self.oauth.as_ref().map(|oauth| ("oauth.source", &oauth.source)));
        sources.extend(self.register.as_ref().map(|register| ("register.source", &register.source)));
        sources.extend(self.quirks.iter().map(|quirk| ("quirks", &quirk.source)));
        let (key, found) = sources.into_iter().find(|(_, source)| source.trim().is_empty())?;
        Some(Broken { key, what: "expected where the facts are from", found: found.clone(), hint: EXPLAINED })
    }
}

impl Service {
    /// Where it listens; None where only the customer knows.
    #[must_use]
    pub fn endpoint(&self) -> Option<Endpoint> {
        let host = Host::parse(&self.host).ok()?;
        Some(Endpoint { host, port: self.port, security: self.security })
    }

    /// Whether this is its host, or one of a customer. A pattern that has nothing but braces is of no one.
    fn is_at(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let Some((start, rest)) = self.host.split_once('{') else { return self.host.eq_ignore_ascii_case(&host) };
        let end = rest.rsplit_once('}').map(|(_, end)| end).filter(|end| end.contains('.'));
        let part = end.and_then(|end| host.strip_prefix(start)?.strip_suffix(end));
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|octet| octet.is_ascii_alphanumeric()))
    }

    /// The host with this for the part in braces.
    fn with_part(&self, part: &str) -> String {
        let cut = self.host.split_once('{').and_then(|(before, rest)| Some((before, rest.rsplit_once('}')?.1)));
        cut.map_or_else(|| self.host.clone(), |(before, behind)| format!("{before}{part}{behind}"))
    }
}

impl OAuth {
    /// Where consent is asked for.
    #[must_use]
    pub fn authorise_of(&self, tenant: Option<&str>) -> String {
        self.of(&self.authorise, tenant)
    }

    /// Where tokens come from.
    #[must_use]
    pub fn token_of(&self, tenant: Option<&str>) -> String {
        self.of(&self.token, tenant)
    }

    /// Where a code for another device is asked for, if it gives such.
    #[must_use]
    pub fn device_of(&self, tenant: Option<&str>) -> Option<String> {
        self.device.as_ref().map(|device| self.of(device, tenant))
    }

    /// Whether its addresses are different for each tenant.
    #[must_use]
    pub fn has_tenants(&self) -> bool {
        self.token.contains(TENANT)
    }

    fn of(&self, address: &str, tenant: Option<&str>) -> String {
        address.replace(TENANT, tenant.or(self.tenant.as_deref()).unwrap_or_default())
    }
}

/// What stands for the tenant in an address.
const TENANT: &str = "{tenant}";
/// What helps against any mistake here.
const EXPLAINED: &str =
    "config/providers/README.md explains every key; `passerelle provider show google` is an example";
