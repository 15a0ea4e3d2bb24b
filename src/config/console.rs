//! Where browsers reach the bridge: to sign in at a provider and come back.

use super::{listen::Listener, values::Listeners};
use crate::{
    mistake::Broken,
    model::SignInLink,
    oauth::{CONSOLE_PORT, TokenEndpoint},
};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The pages of the bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Console {
    /// All on one port, which providers are told to send browsers back to.
    pub listen: Listeners,
    /// Where others than this machine reach it, behind a web server that speaks TLS; in clear at a loopback address alone,
    /// where nobody listens: the end of a tunnel, say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
}

impl Default for Console {
    fn default() -> Self {
        let addresses =
            [SocketAddr::from((Ipv4Addr::LOCALHOST, CONSOLE_PORT)), (Ipv6Addr::LOCALHOST, CONSOLE_PORT).into()];
        Self { listen: Listeners(addresses.to_vec()), public_url: None }
    }
}

impl Console {
    /// Where browsers are told to come: scheme, host and port. None: nowhere.
    #[must_use]
    pub fn base(&self) -> Option<String> {
        let Listeners(addresses) = &self.listen;
        let local = addresses.first().map(|address| format!("http://localhost:{}", address.port()));
        self.public_url.as_ref().map(|url| url.trim_end_matches('/').to_owned()).or(local)
    }

    /// The host of `public-url`.
    #[must_use]
    pub fn public_host(&self) -> Option<String> {
        let url = TokenEndpoint::parse(self.public_url.as_deref()?).ok()?;
        Some(url.host().to_owned())
    }

    /// No password crosses a network in clear (rule R35), and no port is another's.
    pub(super) fn broken_rule<'a>(&self, mut others: impl Iterator<Item = Listener<'a>>) -> Option<Broken> {
        let Listeners(addresses) = &self.listen;
        let broken = |key, what, found: String, hint| Some(Broken { key, what, found, hint });
        if let Some(outside) = addresses.iter().find(|address| !address.ip().to_canonical().is_loopback()) {
            return broken(
                "console.listen",
                "expected an address of this machine alone",
                outside.to_string(),
                "a web server with TLS before it makes it public: name its address in console.public-url",
            );
        }
        if let Some(odd) =
            addresses.iter().find(|a| a.port() == 0 || Some(a.port()) != addresses.first().map(SocketAddr::port))
        {
            return broken(
                "console.listen",
                "expected one port, the same for all addresses",
                odd.to_string(),
                "providers send browsers back to one address: a name, and one port",
            );
        }
        if let Some(taken) = others.find(|other| addresses.contains(&other.address)) {
            return broken(
                "console.listen",
                "another listener has this port already, expected one of its own",
                taken.address.to_string(),
                "choose another port here",
            );
        }
        let url = self.public_url.as_ref()?;
        let whole = TokenEndpoint::parse(url).is_ok_and(|parsed| {
            let bare = url.trim_end_matches('/');
            parsed.as_str().trim_end_matches('/') == bare && bare.matches('/').count() == 2 && !bare.contains('?')
        });
        if !whole {
            return broken(
                "console.public-url",
                "expected https:// and a host, in lower case and without a path; or http:// and a loopback address by number",
                url.clone(),
                "such as https://mail.example.org: links are good once, and in clear whoever listens on the way is the first",
            );
        }
        if !SignInLink::fits(url.trim_end_matches('/')) {
            return broken(
                "console.public-url",
                "expected an address that leaves room for a link in a reply of SMTP, which has 512 octets",
                url.clone(),
                "choose a shorter name, such as https://mail.example.org",
            );
        }
        None
    }
}
