//! Where a provider listens, and how far its certificate is believed.

use super::{Invalid, Pins, address::is_domain};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::{fmt, net::IpAddr, path::PathBuf};

/// A host name or IP address, lower case, without brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Host(Box<str>);

impl Host {
    /// # Errors
    /// [`Invalid::Host`] if the text is neither a domain name nor an IP address.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if bare.parse::<IpAddr>().is_ok() || is_domain(bare) {
            Ok(Self(bare.to_ascii_lowercase().into()))
        } else {
            Err(Invalid::Host)
        }
    }

    /// This machine, by its usual name.
    #[must_use]
    pub fn localhost() -> Self {
        Self("localhost".into())
    }

    /// The name or address without brackets.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// How a connection to a provider is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// TLS from the first octet (RFC 8314).
    Tls,
    /// Upgraded before anything but CAPABILITY or EHLO was said; a provider that does not offer it gets no credential.
    Starttls,
    /// Clear text. Only for a provider on a trusted wire.
    None,
}

impl fmt::Display for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "tls",
            Self::Starttls => "starttls",
            Self::None => "none",
        })
    }
}

/// Which certificates of a provider are believed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certificates {
    /// Those that this machine trusts, for the right name, in time.
    Verify,
    /// Those that this file's CA signed, for the right name, in time.
    Ca(PathBuf),
    /// Those of these keys, whoever signed them, for whichever name and time.
    Pin(Pins),
    /// Any. Whoever stands between can read everything: said in words wherever the account is shown.
    AcceptAny,
}

impl fmt::Display for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verify => f.write_str("verify"),
            Self::Ca(file) => write!(f, "ca={}", file.display()),
            Self::Pin(pins) => write!(f, "pin={pins}"),
            Self::AcceptAny => f.write_str("accept-any"),
        }
    }
}

/// One service of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    pub host: Host,
    pub port: u16,
    pub security: Security,
}

impl Endpoint {
    /// Reads `HOST`, `HOST:PORT`, `[V6]` or `[V6]:PORT`; the port is `default_port` where the text names none.
    ///
    /// # Errors
    /// [`Invalid::Host`] or [`Invalid::Port`].
    pub fn parse(text: &str, security: Security, default_port: u16) -> Result<Self, Invalid> {
        let (host, port) = match text.rsplit_once(':') {
            // A bare IPv6 address has colons of its own.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(Invalid::Port)?,
            None => default_port,
        };
        Ok(Self { host: Host::parse(host)?, port, security })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.as_str().contains(':') {
            write!(f, "[{}]:{} ({})", self.host, self.port, self.security)
        } else {
            write!(f, "{}:{} ({})", self.host, self.port, self.security)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host_and_port(text: &str) -> Result<(String, u16), Invalid> {
        Endpoint::parse(text, Security::Tls, 993).map(|e| (e.host.as_str().to_owned(), e.port))
    }

    #[test]
    fn ports_are_optional_and_v6_is_understood() {
        assert_eq!(host_and_port("IMAP.example.test"), Ok(("imap.example.test".into(), 993)));
        assert_eq!(host_and_port("127.0.0.1:1143"), Ok(("127.0.0.1".into(), 1143)));
        assert_eq!(host_and_port("[::1]:143"), Ok(("::1".into(), 143)));
        assert_eq!(host_and_port("::1"), Ok(("::1".into(), 993)));
    }

    #[test]
    fn bad_hosts_and_ports_are_told_apart() {
        assert_eq!(host_and_port("a b"), Err(Invalid::Host));
        assert_eq!(host_and_port("host:0"), Err(Invalid::Port));
        assert_eq!(host_and_port("host:65536"), Err(Invalid::Port));
        assert_eq!(host_and_port(""), Err(Invalid::Host));
    }
}
