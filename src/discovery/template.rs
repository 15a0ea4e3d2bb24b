//! Where it is looked, as the configuration writes it: web addresses and hosts, with `{domain}` and `{address}`.

use super::host;
use crate::model::{Address, Endpoint, Security};
use oauth2::url::{Url, form_urlencoded};
use std::{fmt, str::FromStr};

const DOMAIN: &str = "{domain}";
const ADDRESS: &str = "{address}";
/// As long as any browser takes.
const URL_MAX: usize = 2048;

/// A text is no such template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTemplate;

/// A web address: `https` alone, and the whole address is told to hosts of its own domain alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebTemplate(String);

impl WebTemplate {
    /// For this address.
    #[must_use]
    pub fn of(&self, address: &Address) -> String {
        let encoded: String = form_urlencoded::byte_serialize(address.as_str().as_bytes()).collect();
        self.filled(&address.domain().to_ascii_lowercase(), &encoded)
    }

    /// For the domain of somebody else, who is not told the address.
    #[must_use]
    pub fn of_other(&self, domain: &str) -> String {
        match self.0.split_once('?') {
            Some((bare, query)) if query.contains(ADDRESS) => bare.replace(DOMAIN, domain),
            _ => self.filled(domain, ""),
        }
    }

    fn filled(&self, domain: &str, address: &str) -> String {
        self.0.replace(DOMAIN, domain).replace(ADDRESS, address)
    }
}

impl FromStr for WebTemplate {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, InvalidTemplate> {
        let template = Self(text.to_owned());
        let url = Url::parse(&template.filled("firm.test", "a")).map_err(|_| InvalidTemplate)?;
        let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let named = url.host_str().is_some_and(|name| host(name, name).is_some());
        let own = url.host_str().is_some_and(|name| name == "firm.test" || name.ends_with(".firm.test"));
        let discreet = match text.split_once('?') {
            Some((bare, query)) => !bare.contains(ADDRESS) && (own || !query.contains(ADDRESS)),
            None => !text.contains(ADDRESS),
        };
        // Readers of addresses forgive much; what stands in a configuration need not be forgiven.
        let rest = text.strip_prefix("https://").filter(|rest| !rest.starts_with(['/', '\\']));
        let spelt = rest.is_some_and(|rest| rest.bytes().all(|octet| octet.is_ascii_graphic()));
        let whole = spelt && text.contains(DOMAIN) && text.len() <= URL_MAX;
        (whole && plain && named && discreet).then_some(template).ok_or(InvalidTemplate)
    }
}

/// A host that is tried: `imap.{domain}:993`, or `imap.{domain}:143 starttls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostTemplate {
    /// Host and port.
    place: String,
    security: Security,
}

impl HostTemplate {
    /// For this domain.
    #[must_use]
    pub fn of(&self, domain: &str) -> Option<Endpoint> {
        let place = self.place.replace(DOMAIN, &domain.to_ascii_lowercase());
        let endpoint = Endpoint::parse(&place, self.security, 0).ok()?;
        host(endpoint.host.as_str(), domain).is_some().then_some(endpoint)
    }
}

impl FromStr for HostTemplate {
    type Err = InvalidTemplate;

    fn from_str(text: &str) -> Result<Self, InvalidTemplate> {
        let (place, security) = match text.split_once(' ') {
            None => (text, Security::Tls),
            Some((place, "starttls")) => (place, Security::Starttls),
            Some(_) => return Err(InvalidTemplate),
        };
        let template = Self { place: place.to_owned(), security };
        let whole = place.contains(DOMAIN) && template.of("firm.test").is_some_and(|endpoint| endpoint.port > 0);
        whole.then_some(template).ok_or(InvalidTemplate)
    }
}

impl fmt::Display for WebTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for HostTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        if self.security == Security::Starttls { f.write_str(" starttls") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_told_to_its_own_domain_alone() {
        let address = Address::parse("a+b@Firm.Test").expect("an address");
        let own: WebTemplate = "https://autoconfig.{domain}/c.xml?emailaddress={address}".parse().expect("a template");
        assert_eq!(own.of(&address), "https://autoconfig.firm.test/c.xml?emailaddress=a%2Bb%40Firm.Test");
        assert_eq!(own.of_other("hoster.test"), "https://autoconfig.hoster.test/c.xml");
        let table: WebTemplate = "https://table.test:444/v1.1/{domain}".parse().expect("a template");
        assert_eq!(table.of(&address), "https://table.test:444/v1.1/firm.test");
        for bad in [
            "http://autoconfig.{domain}/c.xml",
            "https://table.test/{domain}?a={address}",
            "https://{domain}.table.test/?a={address}",
            "https://evil{domain}/?a={address}",
            "https://table.test/{domain}/{address}",
            "https://table.test/all",
            "https://user:secret@{domain}/",
            "https://127.0.0.1/{domain}",
            "https://{domain}/#x",
            "https:/{domain}/",
            "https:///{domain}/",
            "HTTPS://{domain}/",
            "https://{domain}/ x",
            "{domain}",
            "",
        ] {
            assert_eq!(bad.parse::<WebTemplate>(), Err(InvalidTemplate), "{bad}");
        }
    }

    #[test]
    fn a_host_has_a_port_and_is_encrypted() {
        let of = |text: &str| {
            text.parse::<HostTemplate>().ok().and_then(|template| template.of("Firm.test")).map(|e| e.to_string())
        };
        assert_eq!(of("imap.{domain}:993").as_deref(), Some("imap.firm.test:993 (tls)"));
        assert_eq!(of("{domain}:143 starttls").as_deref(), Some("firm.test:143 (starttls)"));
        for bad in ["imap.{domain}", "imap.test:993", "{domain}:143 none", "{domain}:0", "{domain}:1  starttls", ""] {
            assert_eq!(of(bad), None, "{bad}");
        }
        for text in ["imap.{domain}:993", "mail.{domain}:143 starttls"] {
            assert_eq!(text.parse::<HostTemplate>().map(|template| template.to_string()).as_deref(), Ok(text));
        }
    }
}
