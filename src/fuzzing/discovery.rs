//! What strangers publish of a domain's mail: whatever they say, a server that is chosen is encrypted and named, names
//! can be sent, lists are short, and where it goes on is `https`.

use crate::{
    discovery::{self, Answer, HostTemplate, Record, Server, Servers, WebTemplate},
    model::{Address, Host, Security},
};

/// # Panics
/// When the property does not hold.
pub fn discovery(octets: &[u8]) {
    let Some((kind, rest)) = octets.split_first() else { return };
    let Ok(address) = Address::parse("alice@firm.test") else { return };
    match kind % 4 {
        0 => {
            if let Ok(servers) = discovery::of_autoconfig(rest, &address) {
                all(&servers);
            }
        }
        1 => match discovery::answer(rest, &address) {
            Ok(Answer::Servers(servers)) => all(&servers),
            Ok(Answer::Elsewhere(url)) => {
                let safe = url.starts_with("https://") && url.len() <= 2048 && !url.contains(char::is_control);
                assert!(safe, "it would go on at {url:?}");
            }
            Ok(Answer::OtherAddress(_)) | Err(_) => {}
        },
        2 => all(&discovery::of_records(&records(rest), &address)),
        _ => templates(&String::from_utf8_lossy(rest), &address),
    }
}

fn all(servers: &Servers) {
    for servers in [&servers.imap, &servers.smtp] {
        assert!(servers.len() <= 16, "a list without an end");
        servers.iter().for_each(one);
        assert_eq!(Servers::best(servers).is_none(), servers.is_empty(), "none of some");
    }
}

fn one(server: &Server) {
    let endpoint = &server.endpoint;
    assert!(endpoint.security != Security::None, "in clear: {endpoint}");
    named(&endpoint.host);
    assert!(endpoint.port > 0, "no port");
    let name = &server.name.name;
    assert!(!name.is_empty() && name.len() <= 320 && !name.chars().any(char::is_control), "a name {name:?}");
}

/// No resolver takes it for a number, and nothing for this machine.
fn named(host: &Host) {
    let host = host.as_str();
    assert_eq!(Host::parse(host).as_ref().map(Host::as_str), Ok(host), "another when read again");
    let letter =
        host.rsplit('.').next().and_then(|label| label.chars().next()).is_some_and(|c| c.is_ascii_alphabetic());
    assert!(letter && host.contains('.') && !host.contains(':'), "no name: {host}");
}

/// Of four names, eight octets and a target for each.
fn records(octets: &[u8]) -> [Vec<Record>; 4] {
    let mut records: [Vec<Record>; 4] = Default::default();
    for (nth, line) in octets.split(|octet| *octet == b'\n').enumerate() {
        let number = |at: usize| {
            u16::from_be_bytes([line.get(at).copied().unwrap_or(0), line.get(at + 1).copied().unwrap_or(0)])
        };
        let target = String::from_utf8_lossy(line.get(6..).unwrap_or_default()).into_owned();
        records[nth % 4].push(Record { priority: number(0), weight: number(2), port: number(4), target });
    }
    records
}

fn templates(text: &str, address: &Address) {
    if let Ok(template) = text.parse::<WebTemplate>() {
        assert_eq!(template.to_string().parse::<WebTemplate>().as_ref(), Ok(&template));
        assert!(template.of(address).starts_with("https://"), "in clear: {template}");
        assert!(!template.of_other("hoster.test").contains("alice"), "told to others: {template}");
        let url = template.of(address);
        let told = url.split(['/', '?']).nth(2).unwrap_or_default();
        let host = told.split(':').next().unwrap_or_default();
        let own = host == "firm.test" || host.ends_with(".firm.test");
        assert!(own || !url.contains("alice"), "the address goes elsewhere: {url}");
    }
    if let Ok(template) = text.parse::<HostTemplate>() {
        assert_eq!(template.to_string().parse::<HostTemplate>().as_ref(), Ok(&template));
        if let Some(endpoint) = template.of(address.domain()) {
            named(&endpoint.host);
            assert!(endpoint.security != Security::None, "in clear: {endpoint}");
        }
    }
}
