//! What a provider's EHLO reply offers, of what the bridge may use. Unknown keywords are skipped. RFC 5321 4.1.1.1.

use super::Reply;

/// The service extensions that matter to the bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// SIZE is offered (RFC 1870), with the largest message that is taken; 0 says that no largest is known.
    pub size: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit_mime: bool,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// ENHANCEDSTATUSCODES (RFC 2034).
    pub enhanced_status_codes: bool,
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// AUTH (RFC 4954): the mechanisms, upper case.
    pub auth: Vec<Box<str>>,
}

/// Mechanisms that are remembered: twice what any host offers, so that telling them apart stays cheap.
pub(crate) const MECHANISMS_MAX: usize = 32;

impl Extensions {
    /// Reads a 250 reply to EHLO.
    #[must_use]
    pub fn read(reply: &Reply) -> Self {
        let mut extensions = Self::default();
        // The first line is the provider's name, whatever it looks like.
        for line in reply.lines.iter().skip(1) {
            extensions.line(&String::from_utf8_lossy(line).to_ascii_uppercase());
        }
        extensions
    }

    /// Whether this mechanism, in upper case, may be used.
    #[must_use]
    pub fn offers_auth(&self, mechanism: &str) -> bool {
        self.auth.iter().any(|offered| **offered == *mechanism)
    }

    fn line(&mut self, line: &str) {
        // `AUTH=LOGIN PLAIN` is what clients of the last century wanted; some hosts still send it beside the other.
        let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
        match words.next() {
            Some("SIZE") => self.size = Some(words.next().and_then(|size| size.parse().ok()).unwrap_or(0)),
            Some("8BITMIME") => self.eight_bit_mime = true,
            Some("PIPELINING") => self.pipelining = true,
            Some("ENHANCEDSTATUSCODES") => self.enhanced_status_codes = true,
            Some("STARTTLS") => self.starttls = true,
            Some("AUTH") => {
                for mechanism in words {
                    if self.auth.len() < MECHANISMS_MAX && !self.offers_auth(mechanism) {
                        self.auth.push(mechanism.into());
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::smtp::ReplyReader;
    use smtp_proto::{AUTH_LOGIN, AUTH_PLAIN, EXT_8BIT_MIME, EXT_PIPELINING, EXT_START_TLS, EhloResponse};

    const OVH: &[u8] = b"250-SIZE.example.test at your service\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n\
        250-AUTH LOGIN PLAIN\r\n250-AUTH=LOGIN PLAIN\r\n250-STARTTLS\r\n250-X-LIMITS RCPTMAX=20\r\n250 enhancedstatuscodes\r\n";

    fn extensions(octets: &[u8]) -> Extensions {
        let reply = ReplyReader::default().read(&mut &*octets).ok().flatten().unwrap_or_default();
        Extensions::read(&reply)
    }

    #[test]
    fn what_is_offered_is_what_smtp_proto_sees() {
        let ours = extensions(OVH);
        let Ok(oracle) = EhloResponse::parse(&mut OVH.iter()) else { panic!("the oracle reads it") };
        assert_eq!(ours.size, Some(oracle.size as u64));
        assert_eq!(ours.eight_bit_mime, oracle.capabilities & EXT_8BIT_MIME != 0);
        assert_eq!(ours.pipelining, oracle.capabilities & EXT_PIPELINING != 0);
        assert_eq!(ours.starttls, oracle.capabilities & EXT_START_TLS != 0);
        assert_eq!(oracle.auth_mechanisms, AUTH_LOGIN | AUTH_PLAIN);
        assert_eq!(ours.auth, ["LOGIN".into(), "PLAIN".into()]);
        assert!(ours.enhanced_status_codes);
    }

    #[test]
    fn a_bare_hello_offers_nothing() {
        assert_eq!(extensions(b"250 SIZE 10\r\n"), Extensions::default());
        assert_eq!(extensions(b"250-x\r\n250 SIZE\r\n").size, Some(0));
    }
}
