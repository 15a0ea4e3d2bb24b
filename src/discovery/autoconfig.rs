//! Mozilla's autoconfiguration file, version 1.1: servers in order of preference, with places for the address's parts.
//!
//! What is not known is passed over: other kinds of servers, other ways to sign in, other elements. A server in clear is
//! left out, whatever else the file says of it.

use super::{
    Kind, LeftOut, Nonsense, Server, Servers, SignInName, host,
    xml::{self, Element},
};
use crate::model::{Address, Endpoint, Security};

/// The servers of a file for this address.
///
/// # Errors
/// [`Nonsense`].
pub fn servers(octets: &[u8], address: &Address) -> Result<Servers, Nonsense> {
    let root = xml::read(octets)?;
    if root.name != "clientConfig" {
        return Err(Nonsense::OtherKind);
    }
    let provider = root.child("emailProvider").ok_or(Nonsense::OtherKind)?;
    let mut servers = Servers::default();
    for element in &provider.children {
        let kind = match (element.name.as_str(), element.kind.as_str()) {
            ("incomingServer", "imap") => Kind::Imap,
            ("outgoingServer", "smtp") => Kind::Smtp,
            _ => continue,
        };
        servers.keep(kind, server(element, address));
    }
    Ok(servers)
}

fn server(element: &Element, address: &Address) -> Result<Server, LeftOut> {
    let security = match element.text_of("socketType") {
        "SSL" => Security::Tls,
        "STARTTLS" => Security::Starttls,
        _ => return Err(LeftOut::InClear),
    };
    let host = host(&filled(element.text_of("hostname"), address), address.domain()).ok_or(LeftOut::Unusable)?;
    let port = element.text_of("port").parse().ok().filter(|port| *port > 0).ok_or(LeftOut::Unusable)?;
    let name = SignInName::read(&filled(element.text_of("username"), address), address).ok_or(LeftOut::Unusable)?;
    let password = password(element).ok_or(LeftOut::Unusable)?;
    Ok(Server { endpoint: Endpoint { host, port, security }, name, password })
}

/// Whether it takes passwords; None: neither passwords nor access tokens. Old files say nothing, and mean passwords.
fn password(element: &Element) -> Option<bool> {
    let mut ways = element.all("authentication").map(Element::text).peekable();
    if ways.peek().is_none() {
        return Some(true);
    }
    let ways: Vec<_> = ways.collect();
    if ways.iter().any(|way| ["password-cleartext", "plain"].contains(way)) {
        return Some(true);
    }
    ways.contains(&"OAuth2").then_some(false)
}

/// With the parts of the address in their places. That of Microsoft has lost a percent sign at its end.
fn filled(text: &str, address: &Address) -> String {
    let places = [
        ("%EMAILADDRESS", address.as_str()),
        ("%EMAILLOCALPART", address.local_part()),
        ("%EMAILDOMAIN", address.domain()),
    ];
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('%') {
        filled.push_str(before);
        let place = places.iter().find_map(|(name, value)| Some((behind.strip_prefix(name.get(1..)?)?, value)));
        match place {
            Some((behind, value)) => {
                filled.push_str(value);
                rest = behind.strip_prefix('%').unwrap_or(behind);
            }
            None => {
                filled.push('%');
                rest = behind;
            }
        }
    }
    filled + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UserFormat;

    fn read(inside: &str) -> Servers {
        let text =
            format!("<clientConfig version=\"1.1\"><emailProvider id=\"x\">{inside}</emailProvider></clientConfig>");
        servers(text.as_bytes(), &address()).expect("a file")
    }

    fn address() -> Address {
        Address::parse("Zoe%x@firm.test").expect("an address")
    }

    fn imap(socket: &str, host: &str, user: &str, more: &str) -> String {
        format!(
            "<incomingServer type=\"imap\"><hostname>{host}</hostname><port>993</port><socketType>{socket}</socketType>\
             <username>{user}</username>{more}</incomingServer>"
        )
    }

    fn hosts(servers: &[Server]) -> Vec<String> {
        servers.iter().map(|server| server.endpoint.to_string()).collect()
    }

    #[test]
    fn a_whole_file_is_read_in_its_order() {
        let text = include_bytes!("../../fuzz/seeds/discovery/autoconfig");
        let servers = servers(text.get(1..).expect("behind the kind"), &address()).expect("a file");
        assert_eq!(hosts(&servers.imap), ["imap.firm.test:993 (tls)", "imap.firm.test:143 (starttls)"]);
        assert_eq!(hosts(&servers.smtp), ["smtp.hoster.test:465 (tls)"]);
        assert_eq!((servers.in_clear, servers.unusable), (1, 1));
        assert!(servers.imap.iter().all(|server| server.password && server.name.format == UserFormat::Address));
        assert_eq!(servers.smtp[0].name, SignInName { format: UserFormat::MailboxName, name: "Zoe%x".into() });
    }

    #[test]
    fn places_are_filled_in_and_a_lost_percent_sign_is_forgiven() {
        for (user, awaited) in [
            ("%EMAILADDRESS%", "Zoe%x@firm.test"),
            ("%EMAILADDRESS", "Zoe%x@firm.test"),
            ("%EMAILLOCALPART%.firm", "Zoe%x.firm"),
            ("%EMAILLOCALPART%@%EMAILDOMAIN%", "Zoe%x@firm.test"),
            ("", "Zoe%x@firm.test"),
            ("100%", "100%"),
            ("%%EMAILDOMAIN%%", "%firm.test%"),
        ] {
            let read = read(&imap("SSL", "imap.%EMAILDOMAIN%", user, ""));
            assert_eq!(read.imap[0].name.name, awaited, "{user}");
            assert_eq!(hosts(&read.imap), ["imap.firm.test:993 (tls)"]);
        }
    }

    #[test]
    fn only_what_is_encrypted_and_known_is_kept() {
        for socket in ["plain", "", "ssl?", "none"] {
            let read = read(&imap(socket, "imap.firm.test", "", ""));
            assert_eq!((read.imap.len(), read.in_clear), (0, 1), "{socket}");
        }
        for host in ["", "127.0.0.1", "localhost", "a b.test", "imap.firm.test:1"] {
            let read = read(&imap("SSL", host, "", ""));
            assert_eq!((read.imap.len(), read.unusable), (0, 1), "{host}");
        }
        let way = |way: &str| format!("<authentication>{way}</authentication>");
        for (more, awaited) in [
            (String::new(), Some(true)),
            (way("password-cleartext"), Some(true)),
            (way("OAuth2"), Some(false)),
            (way("OAuth2") + &way("password-cleartext"), Some(true)),
            (way("GSSAPI") + &way("NTLM"), None),
            (way("password-encrypted"), None),
        ] {
            let read = read(&imap("SSL", "imap.firm.test", "", &more));
            assert_eq!(read.imap.first().map(|server| server.password), awaited, "{more}");
        }
        assert!(read(&imap("SSL", "i.firm.test", "a&#13;b", "")).imap.is_empty());
        assert!(read("<incomingServer type=\"exchange\"/><new><deep/></new>").is_empty());
        assert_eq!(read(&imap("SSL", "i.firm.test", "", "").repeat(100)).imap.len(), super::super::SERVERS_MAX);
    }

    #[test]
    fn another_document_is_none() {
        let read = |text: &str| servers(text.as_bytes(), &address());
        assert_eq!(read("<html><body>not found</body></html>"), Err(Nonsense::OtherKind));
        assert_eq!(read("<clientConfig/>"), Err(Nonsense::OtherKind));
        assert_eq!(read("not found"), Err(Nonsense::NotXml));
    }
}
