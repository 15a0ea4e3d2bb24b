//! Where the mail of an address is, as hosts publish it: the answers are read here, and one is chosen.
//!
//! Nothing here asks anybody. What is read comes from strangers: it is bounded, names hosts by name alone, and never a
//! server that is not encrypted. Whether a host is believed is for a person to say (`Servers::best`, `is_within`).
//!
//! Mozilla's autoconfiguration file; Microsoft Autodiscover, the XML of Outlook; RFC 6186 and RFC 8314 (SRV records).

mod autoconfig;
mod autodiscover;
mod srv;
mod template;
pub(crate) mod xml;

pub use autodiscover::{Answer, answer, question};
pub use srv::{NAMES, Record, located, servers as of_records};
pub use template::{HostTemplate, InvalidTemplate, WebTemplate};
pub use xml::{ANSWER_MAX, Nonsense};

pub use autoconfig::servers as of_autoconfig;

use crate::model::{Address, Endpoint, Host, Security, UserFormat};
use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr};

/// Of one kind that are kept of one answer. The longest file of Thunderbird's database has four.
pub(crate) const SERVERS_MAX: usize = 16;
/// A name to sign in with; the longest address is shorter.
pub(crate) const NAME_MAX: usize = 320;

/// A way to find out, in the order in which they are usually gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// The hosts that take in mail for the domain, by the patterns of the provider table.
    Mx,
    /// Mozilla's autoconfiguration file.
    Autoconfig,
    /// Records of the domain that name its servers.
    Srv,
    /// What Outlook asks.
    Autodiscover,
    /// Usual names are tried.
    Probe,
}

impl Step {
    /// All, in the usual order.
    pub const ALL: [Self; 5] = [Self::Mx, Self::Autoconfig, Self::Srv, Self::Autodiscover, Self::Probe];
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not write_str: steps are told in columns.
        f.pad(match self {
            Self::Mx => "mx",
            Self::Autoconfig => "autoconfig",
            Self::Srv => "srv",
            Self::Autodiscover => "autodiscover",
            Self::Probe => "probe",
        })
    }
}

/// A server that an answer names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Never in clear, and never by number.
    pub endpoint: Endpoint,
    pub name: SignInName,
    /// It takes passwords; else access tokens alone.
    pub password: bool,
}

/// As whom one signs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignInName {
    pub format: UserFormat,
    pub name: String,
}

impl SignInName {
    /// None for what could not be sent.
    fn read(text: &str, address: &Address) -> Option<Self> {
        let format = match text {
            "" => return Some(Self::usual(address)),
            text if text.len() > NAME_MAX || text.chars().any(char::is_control) => return None,
            text if text.eq_ignore_ascii_case(address.as_str()) => return Some(Self::usual(address)),
            text if text.eq_ignore_ascii_case(address.local_part()) => UserFormat::MailboxName,
            _ => UserFormat::Manual,
        };
        Some(Self { format, name: text.to_owned() })
    }

    /// The address itself.
    #[must_use]
    pub fn usual(address: &Address) -> Self {
        Self { format: UserFormat::Address, name: address.to_string() }
    }
}

/// All servers of one answer, the ones that its author likes best first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Servers {
    pub imap: Vec<Server>,
    pub smtp: Vec<Server>,
    /// How many were left out because they are not encrypted.
    pub in_clear: u32,
    /// How many were left out for another reason: no host name, or a way to sign in that the bridge does not know.
    pub unusable: u32,
}

impl Servers {
    /// The server to take: TLS from the first octet before an upgrade (RFC 8314), else in the author's order.
    #[must_use]
    pub fn best(servers: &[Server]) -> Option<&Server> {
        let by = |security| servers.iter().find(move |server| server.endpoint.security == security);
        by(Security::Tls).or_else(|| by(Security::Starttls))
    }

    /// Whether no server is named that could be used.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.imap.is_empty() && self.smtp.is_empty()
    }

    fn keep(&mut self, kind: Kind, read: Result<Server, LeftOut>) {
        let kept = match kind {
            Kind::Imap => &mut self.imap,
            Kind::Smtp => &mut self.smtp,
        };
        match read {
            Ok(server) if kept.len() < SERVERS_MAX => kept.push(server),
            Ok(_) | Err(LeftOut::Unusable) => self.unusable += 1,
            Err(LeftOut::InClear) => self.in_clear += 1,
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Imap,
    Smtp,
}

enum LeftOut {
    InClear,
    Unusable,
}

/// A host as a stranger names it for this address: a name, with a dot unless it is the address's own domain. What a
/// resolver could take for a number is none.
#[must_use]
pub fn host(text: &str, domain: &str) -> Option<Host> {
    let text = text.trim().trim_end_matches('.');
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_word = last.starts_with(|first: char| first.is_ascii_alphabetic()) && !text.contains([':', '[', '_']);
    let is_known = text.contains('.') || text.eq_ignore_ascii_case(domain);
    (is_word && is_known).then(|| Host::parse(text).ok()).flatten()
}

/// Whether an address is one of the internet, not of this machine, a private network, or nobody.
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            let special = ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_documentation();
            let shared = a == 100 && (64..128).contains(&b);
            let reserved = a == 0 || a >= 224 || (a, b, c) == (192, 0, 0) || (a == 198 && (18..20).contains(&b));
            !(special || shared || reserved)
        }
        // Global unicast is 2000::/3; of it, what wraps an IPv4 address (6to4, Teredo) or is for books leads elsewhere.
        IpAddr::V6(ip) => {
            let [a, b, ..] = ip.segments();
            a & 0xe000 == 0x2000 && a != 0x2002 && !(a == 0x2001 && (b == 0 || b == 0xdb8))
        }
    }
}

/// Whether the host is the domain's own: itself, or below it.
#[must_use]
pub fn is_within(host: &Host, domain: &str) -> bool {
    let (host, domain) = (host.as_str(), domain.to_ascii_lowercase());
    host == domain || host.strip_suffix(&domain).is_some_and(|start| start.ends_with('.'))
}

/// The domains to which a host that takes in mail may belong, the longest first: two at most, and nothing that whole
/// countries share.
#[must_use]
pub fn domains_of_mx(host: &Host, own: &str) -> Vec<String> {
    let labels: Vec<&str> = host.as_str().split('.').collect();
    let above = (1..labels.len()).filter_map(|from| labels.get(from..)).filter(|rest| is_somebodys(rest));
    let above = above.map(|rest| rest.join(".")).filter(|domain| !domain.eq_ignore_ascii_case(own));
    let mut domains: Vec<_> = above.collect();
    // Names between are of machines.
    if domains.len() > 2 {
        domains.drain(1..domains.len() - 1);
    }
    domains
}

/// Two labels or more, and not `co.uk` or its like.
fn is_somebodys(labels: &[&str]) -> bool {
    match labels {
        [] | [_] => false,
        [second, top] => {
            top.len() != 2 || !["ac", "co", "com", "edu", "go", "gov", "ne", "net", "or", "org"].contains(second)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_names() {
        for (text, awaited) in [
            ("Mail.Firm.Test.", Some("mail.firm.test")),
            ("firm", Some("firm")),
            ("localhost", None),
            ("127.0.0.1", None),
            ("0x7f.1", None),
            ("2130706433", None),
            ("mail.1", None),
            ("[::1]", None),
            ("::1", None),
            ("a b.test", None),
            ("mail.firm.test:993", None),
            ("mail.firm.test/x", None),
            ("", None),
            (".", None),
        ] {
            assert_eq!(host(text, "firm").as_ref().map(Host::as_str), awaited, "{text}");
        }
    }

    #[test]
    fn an_address_of_a_private_network_is_not_public() {
        let public = |ip: &str| is_public(ip.parse().expect("an address"));
        for ip in ["8.8.8.8", "100.63.0.1", "192.0.1.1", "2a00:1450::1", "::ffff:8.8.8.8"] {
            assert!(public(ip), "{ip}");
        }
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "198.18.0.1",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001::1",
        ] {
            assert!(!public(ip), "{ip}");
        }
    }

    #[test]
    fn what_is_within_a_domain_ends_with_it_behind_a_dot() {
        let within = |host: &str| is_within(&Host::parse(host).expect("a host"), "Firm.test");
        assert!(within("firm.test") && within("imap.firm.test"));
        assert!(!within("evilfirm.test") && !within("firm.test.evil.test") && !within("test"));
    }

    #[test]
    fn an_mx_belongs_to_two_domains_at_most() {
        let of = |host: &str| domains_of_mx(&Host::parse(host).expect("a host"), "firm.test").join(" ");
        assert_eq!(of("mx1.mail.ovh.net"), "mail.ovh.net ovh.net");
        assert_eq!(of("a.b.c.d.host.test"), "b.c.d.host.test host.test");
        assert_eq!(of("mx.hoster.co.uk"), "hoster.co.uk");
        assert_eq!(of("mail.firm.test"), "");
        assert_eq!(of("mx"), "");
    }

    #[test]
    fn tls_from_the_first_octet_comes_first() {
        let server = |port, security| Server {
            endpoint: Endpoint { host: Host::localhost(), port, security },
            name: SignInName { format: UserFormat::Address, name: String::new() },
            password: true,
        };
        let servers = [server(143, Security::Starttls), server(993, Security::Tls), server(994, Security::Tls)];
        let best = |servers: &[Server]| Servers::best(servers).map(|server| server.endpoint.port);
        assert_eq!(best(&servers), Some(993));
        assert_eq!(best(&servers[..1]), Some(143));
        assert_eq!(best(&[server(143, Security::None)]), None);
    }
}
