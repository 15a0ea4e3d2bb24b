//! Where tokens are asked for: an address that is safe to send a refresh token to (rule R31).

use oauth2::url::{Host, Url};
use std::{fmt, net::IpAddr};

/// A URL with `https`, or with `http` on this very machine; without user, password and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEndpoint(Box<Url>);

/// Why a text is no token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a token endpoint (https://HOST/PATH, or http:// on a loopback address)")]
pub struct InvalidTokenEndpoint;

/// As long as any browser takes.
const URL_MAX: usize = 2048;

impl TokenEndpoint {
    /// # Errors
    /// [`InvalidTokenEndpoint`].
    pub fn parse(text: &str) -> Result<Self, InvalidTokenEndpoint> {
        let url = Url::parse(text).map_err(|_| InvalidTokenEndpoint)?;
        let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let safe = match url.scheme() {
            "https" => url.host().is_some(),
            "http" => is_loopback(&url),
            _ => false,
        };
        (plain && safe && text.len() <= URL_MAX).then(|| Self(Box::new(url))).ok_or(InvalidTokenEndpoint)
    }

    /// The whole URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// The host alone, for people.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Scheme, host and port.
    #[must_use]
    pub fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    pub(in crate::oauth) fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for TokenEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// By number only: a name could be made to lead elsewhere.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        Some(Host::Domain(_)) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_nobody_can_listen() {
        for good in ["https://oauth2.googleapis.com/token", "http://127.0.0.1:4455/token", "http://[::1]:1/token"] {
            assert_eq!(TokenEndpoint::parse(good).map(|url| url.to_string()), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "oauth2.googleapis.com",
            "http://oauth2.googleapis.com/token",
            "http://localhost/token",
            "http://127.0.0.1.example.org/token",
            "https://user:secret@example.org/token",
            "https://example.org/token#here",
            "file:///etc/passwd",
            &format!("https://example.org/{}", "x".repeat(URL_MAX)),
        ] {
            assert_eq!(TokenEndpoint::parse(bad), Err(InvalidTokenEndpoint), "{bad}");
        }
    }
}
