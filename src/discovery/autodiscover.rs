//! Microsoft Autodiscover in the XML of Outlook ("POX"): the question, which holds the address and never a password, and
//! the answer.
//!
//! `SSL` stands in for `Encryption`, and both are on where nothing is said: port 993 and 465 mean TLS from the first
//! octet, others an upgrade.

use super::{
    Kind, LeftOut, Nonsense, Server, Servers, SignInName, host,
    xml::{self, Element},
};
use crate::model::{Address, Endpoint, Security};

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Another web address knows; of `https`, and not asked yet.
    Elsewhere(String),
    /// The mailbox is known by another address.
    OtherAddress(Address),
    Servers(Servers),
}

/// A web address that is followed is no longer.
const ADDRESS_MAX: usize = 2048;

/// The body of the question.
#[must_use]
pub fn question(address: &Address) -> String {
    const SCHEMA: &str = "http://schemas.microsoft.com/exchange/autodiscover/outlook";
    let address = address.as_str().replace('&', "&amp;").replace('\'', "&apos;");
    format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<Autodiscover xmlns=\"{SCHEMA}/requestschema/2006\"><Request>\
         <EMailAddress>{address}</EMailAddress><AcceptableResponseSchema>{SCHEMA}/responseschema/2006a\
         </AcceptableResponseSchema></Request></Autodiscover>"
    )
}

/// What the octets of an answer say for this address.
///
/// # Errors
/// [`Nonsense`].
pub fn answer(octets: &[u8], address: &Address) -> Result<Answer, Nonsense> {
    let root = xml::read(octets)?;
    if root.name != "Autodiscover" {
        return Err(Nonsense::OtherKind);
    }
    let account = root.child("Response").and_then(|response| response.child("Account")).ok_or(Nonsense::OtherKind)?;
    match account.text_of("Action").to_ascii_lowercase().as_str() {
        "redirectaddr" => {
            let other = Address::parse(account.text_of("RedirectAddr")).map_err(|_| Nonsense::OtherKind)?;
            return Ok(Answer::OtherAddress(other));
        }
        "redirecturl" => {
            let url = account.text_of("RedirectUrl");
            let safe = url.starts_with("https://") && url.len() <= ADDRESS_MAX && !url.contains(char::is_control);
            return if safe { Ok(Answer::Elsewhere(url.to_owned())) } else { Err(Nonsense::OtherKind) };
        }
        _ => {}
    }
    let mut servers = Servers::default();
    for protocol in account.all("Protocol") {
        let named = if protocol.kind.is_empty() { protocol.text_of("Type") } else { &protocol.kind };
        let kind = match named.to_ascii_uppercase().as_str() {
            "IMAP" => Kind::Imap,
            "SMTP" => Kind::Smtp,
            _ => continue,
        };
        servers.keep(kind, server(kind, protocol, address));
    }
    Ok(Answer::Servers(servers))
}

fn server(kind: Kind, protocol: &Element, address: &Address) -> Result<Server, LeftOut> {
    let usual = match kind {
        Kind::Imap => 993,
        Kind::Smtp => 465,
    };
    let port = match protocol.text_of("Port") {
        "" => usual,
        port => port.parse().ok().filter(|port| *port > 0).ok_or(LeftOut::Unusable)?,
    };
    let by_port = if [993, 465].contains(&port) { Security::Tls } else { Security::Starttls };
    let (encryption, ssl) = (protocol.text_of("Encryption"), protocol.text_of("SSL"));
    let security = match (encryption.to_ascii_lowercase().as_str(), ssl.to_ascii_lowercase().as_str()) {
        ("ssl", _) => Security::Tls,
        ("tls", _) => Security::Starttls,
        ("auto", _) | ("", "on" | "") => by_port,
        _ => return Err(LeftOut::InClear),
    };
    let host = host(protocol.text_of("Server"), address.domain()).ok_or(LeftOut::Unusable)?;
    let name = SignInName::read(protocol.text_of("LoginName"), address).ok_or(LeftOut::Unusable)?;
    Ok(Server { endpoint: Endpoint { host, port, security }, name, password: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Address {
        Address::parse("o'neil&co@firm.test").expect("an address")
    }

    fn read(account: &str) -> Result<Answer, Nonsense> {
        let text = format!(
            "<Autodiscover xmlns='x'><Response xmlns='y'><Account><AccountType>email</AccountType>{account}</Account>\
             </Response></Autodiscover>"
        );
        answer(text.as_bytes(), &address())
    }

    fn servers(protocol: &str) -> Servers {
        match read(&format!("<Action>settings</Action><Protocol>{protocol}</Protocol>")) {
            Ok(Answer::Servers(servers)) => servers,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_question_holds_the_address_as_xml() {
        let question = question(&address());
        let root = xml::read(question.as_bytes()).expect("XML");
        let asked = root.child("Request").map(|request| request.text_of("EMailAddress"));
        assert_eq!(asked, Some("o'neil&co@firm.test"));
    }

    #[test]
    fn how_a_server_is_encrypted_is_told_in_two_ways() {
        for (said, awaited) in [
            ("<Port>993</Port><SSL>on</SSL>", Some("imap.firm.test:993 (tls)")),
            ("<Port>993</Port>", Some("imap.firm.test:993 (tls)")),
            ("", Some("imap.firm.test:993 (tls)")),
            ("<Port>143</Port><SSL>on</SSL>", Some("imap.firm.test:143 (starttls)")),
            ("<Port>143</Port><Encryption>TLS</Encryption>", Some("imap.firm.test:143 (starttls)")),
            ("<Port>1993</Port><Encryption>SSL</Encryption>", Some("imap.firm.test:1993 (tls)")),
            ("<Port>143</Port><SSL>off</SSL><Encryption>Auto</Encryption>", Some("imap.firm.test:143 (starttls)")),
            ("<Port>143</Port><SSL>off</SSL>", None),
            ("<Port>993</Port><SSL>on</SSL><Encryption>None</Encryption>", None),
            ("<Port>0</Port>", None),
            ("<Port>99999</Port>", None),
        ] {
            let read = servers(&format!("<Type>IMAP</Type><Server>imap.firm.test</Server>{said}"));
            let found = read.imap.first().map(|server| server.endpoint.to_string());
            assert_eq!(found.as_deref(), awaited, "{said}");
        }
        let name = servers("<Type>SMTP</Type><Server>s.firm.test</Server><LoginName>co</LoginName>").smtp;
        assert_eq!((name[0].name.name.as_str(), name[0].endpoint.port), ("co", 465));
        assert!(servers("<Type>EXCH</Type><Server>x.firm.test</Server>").is_empty());
        assert!(servers("<Type>POP3</Type><Server>x.firm.test</Server>").is_empty());
    }

    #[test]
    fn whoever_knows_it_elsewhere_says_so_over_https() {
        let url = |url: &str| read(&format!("<Action>redirectUrl</Action><RedirectUrl>{url}</RedirectUrl>"));
        assert_eq!(url("https://a.test/x"), Ok(Answer::Elsewhere("https://a.test/x".into())));
        assert_eq!(url("http://a.test/x"), Err(Nonsense::OtherKind));
        assert_eq!(url(&format!("https://a.test/{}", "x".repeat(3000))), Err(Nonsense::OtherKind));
        let other = read("<Action>redirectAddr</Action><RedirectAddr>co@real.test</RedirectAddr>");
        assert_eq!(other, Ok(Answer::OtherAddress(Address::parse("co@real.test").expect("an address"))));
        assert_eq!(read("<Action>redirectAddr</Action>"), Err(Nonsense::OtherKind));
        assert_eq!(answer(b"<html/>", &address()), Err(Nonsense::OtherKind));
    }
}
