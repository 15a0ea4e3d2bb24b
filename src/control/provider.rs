//! Providers: found by name or by the domain of an address, and where their services are for one account.

use super::{Error, Service};
use crate::{
    model::{Address, Endpoint, Host, Security},
    provider::{GENERIC, Password, Provider, Table},
};

/// Where a person says that a service is, as far as he says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    pub host: Option<Host>,
    pub port: Option<u16>,
    pub security: Option<Security>,
}

impl Whereabouts {
    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As a person says, else as it was found; whoever names another host knows its port too.
    #[must_use]
    pub fn or_at(self, found: &Endpoint) -> Self {
        if self.host.is_some() {
            return self;
        }
        let same = self.security.is_none_or(|security| security == found.security);
        Self {
            host: Some(found.host.clone()),
            port: self.port.or(same.then_some(found.port)),
            security: self.security.or(Some(found.security)),
        }
    }
}

/// The provider of this name.
///
/// # Errors
/// [`Error::NoProvider`].
pub fn named<'a>(table: &'a Table, name: &str) -> Result<&'a Provider, Error> {
    table.named(name).ok_or_else(|| Error::NoProvider(name.to_owned()))
}

/// The provider of this name or, without one, of the address's domain; the generic one where no domain tells and the
/// hosts of both services are given.
///
/// # Errors
/// [`Error::NoProvider`] or [`Error::DomainUnknown`].
pub fn of_account<'a>(
    table: &'a Table,
    name: Option<&str>,
    address: &Address,
    [imap, smtp]: [&Whereabouts; 2],
) -> Result<&'a Provider, Error> {
    match (name, table.of_domain(address.domain())) {
        (Some(name), _) => named(table, name),
        (None, Some(provider)) => Ok(provider),
        (None, None) if imap.host.is_some() && smtp.host.is_some() => named(table, GENERIC),
        (None, None) => Err(Error::DomainUnknown(address.domain().to_owned())),
    }
}

/// Where a service of this provider is: as the person says, else as the table has it.
///
/// # Errors
/// [`Error::HostWanted`] where neither knows the host.
pub fn endpoint(provider: &Provider, service: Service, said: &Whereabouts) -> Result<Endpoint, Error> {
    let known = match service {
        Service::Imap => &provider.imap,
        Service::Smtp => &provider.smtp,
    };
    let host = said.host.clone().or_else(|| known.endpoint().map(|endpoint| endpoint.host));
    let host = host.ok_or_else(|| Error::HostWanted {
        service,
        provider: provider.label.clone(),
        pattern: known.host.clone(),
        advice: provider.sign_in.advice.clone(),
    })?;
    let security = said.security.unwrap_or(known.security);
    let usual = if security == known.security { known.port } else { usual_port(service, security) };
    Ok(Endpoint { host, port: said.port.unwrap_or(usual), security })
}

/// What becomes of an account's endpoint by what a person says; None: it stays.
pub(super) fn changed(now: &Endpoint, service: Service, said: &Whereabouts) -> Option<Endpoint> {
    if said.is_empty() {
        return None;
    }
    let security = said.security.unwrap_or(now.security);
    let stays = said.host.is_none() && security == now.security;
    let usual = if stays { now.port } else { usual_port(service, security) };
    let host = said.host.clone().unwrap_or_else(|| now.host.clone());
    Some(Endpoint { host, port: said.port.unwrap_or(usual), security })
}

/// RFC 8314, RFC 3501, RFC 6409.
fn usual_port(service: Service, security: Security) -> u16 {
    match (service, security) {
        (Service::Imap, Security::Tls) => 993,
        (Service::Imap, Security::Starttls | Security::None) => 143,
        (Service::Smtp, Security::Tls) => 465,
        (Service::Smtp, Security::Starttls | Security::None) => 587,
    }
}

/// What mends a sign-in that the provider of this name refused, for people.
pub(super) fn advice(table: &Table, name: &str) -> Option<String> {
    table.named(name).and_then(|provider| provider.sign_in.advice.clone())
}

/// That a password may open a mailbox at this provider.
///
/// # Errors
/// [`Error::NoPasswords`].
pub fn takes_passwords(provider: &Provider) -> Result<(), Error> {
    match provider.sign_in.password {
        Password::App | Password::Mailbox => Ok(()),
        Password::None => Err(Error::NoPasswords(provider.label.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        Table::built_in().expect("a table")
    }

    fn said(host: &str, port: u16, security: Option<Security>) -> Whereabouts {
        Whereabouts { host: Host::parse(host).ok(), port: Some(port).filter(|port| *port > 0), security }
    }

    fn at(provider: &str, service: Service, said: &Whereabouts) -> Result<String, Error> {
        let table = table();
        endpoint(named(&table, provider)?, service, said).map(|endpoint| endpoint.to_string())
    }

    #[test]
    fn what_is_said_wins_over_the_table_and_ports_follow_the_security() {
        let nothing = Whereabouts::default();
        let cases = [
            ("google", Service::Imap, nothing.clone(), "imap.gmail.com:993 (tls)"),
            ("google", Service::Smtp, said("", 0, Some(Security::Starttls)), "smtp.gmail.com:587 (starttls)"),
            ("google", Service::Smtp, said("", 2525, None), "smtp.gmail.com:2525 (tls)"),
            ("ovh-pro", Service::Smtp, said("pro2.mail.ovh.net", 0, None), "pro2.mail.ovh.net:587 (starttls)"),
            ("generic", Service::Smtp, said("mail.test", 0, None), "mail.test:465 (tls)"),
            ("generic", Service::Imap, said("mail.test", 0, Some(Security::None)), "mail.test:143 (none)"),
        ];
        for (provider, service, said, awaited) in cases {
            assert_eq!(at(provider, service, &said).ok().as_deref(), Some(awaited));
        }
        let wanted = at("ovh-pro", Service::Imap, &nothing).expect_err("the number is not known");
        assert_eq!(
            wanted.to_string(),
            "OVH Email Pro has a host for each customer, which --imap must say: pro{N}.mail.ovh.net"
        );
    }

    #[test]
    fn a_domain_that_nobody_knows_wants_both_hosts_or_a_name() {
        let table = table();
        let of = |address: &str, name, imap: &str, smtp: &str| {
            let address = Address::parse(address).expect("an address");
            let (imap, smtp) = (said(imap, 0, None), said(smtp, 0, None));
            of_account(&table, name, &address, [&imap, &smtp]).map(|provider| provider.name.clone()).ok()
        };
        assert_eq!(of("a@gmail.com", None, "", "").as_deref(), Some("google"));
        assert_eq!(of("a@firm.test", None, "i.test", "s.test").as_deref(), Some("generic"));
        assert_eq!(of("a@firm.test", None, "i.test", ""), None);
        assert_eq!(of("a@firm.test", Some("ovh"), "", "").as_deref(), Some("ovh"));
        assert_eq!(of("a@firm.test", Some("gmail"), "", ""), None);
    }

    #[test]
    fn what_is_said_wins_over_what_was_found() {
        let found = Endpoint { host: Host::localhost(), port: 1993, security: Security::Tls };
        let or_at = |said: Whereabouts| {
            endpoint(named(&table(), "generic").expect("it is there"), Service::Imap, &said.or_at(&found))
        };
        for (said, awaited) in [
            (Whereabouts::default(), "localhost:1993 (tls)"),
            (said("mail.test", 0, None), "mail.test:993 (tls)"),
            (said("", 994, None), "localhost:994 (tls)"),
            (said("", 0, Some(Security::Starttls)), "localhost:143 (starttls)"),
        ] {
            assert_eq!(or_at(said).ok().map(|endpoint| endpoint.to_string()).as_deref(), Some(awaited));
        }
    }

    #[test]
    fn an_endpoint_changes_by_what_is_said_of_it_alone() {
        let now = Endpoint { host: Host::localhost(), port: 1993, security: Security::Tls };
        let to = |said: Whereabouts| changed(&now, Service::Imap, &said).map(|endpoint| endpoint.to_string());
        assert_eq!(to(Whereabouts::default()), None);
        assert_eq!(to(said("mail.test", 0, None)).as_deref(), Some("mail.test:993 (tls)"));
        assert_eq!(to(said("", 0, Some(Security::Starttls))).as_deref(), Some("localhost:143 (starttls)"));
        assert_eq!(to(said("", 0, Some(Security::Tls))).as_deref(), Some("localhost:1993 (tls)"));
        assert_eq!(to(said("", 994, None)).as_deref(), Some("localhost:994 (tls)"));
    }
}
