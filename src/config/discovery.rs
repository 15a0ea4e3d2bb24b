//! Where the mail of an address is looked for, where neither its domain nor a person tells.

use crate::discovery::{HostTemplate, Step, WebTemplate};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Whom `account add` asks. An empty list switches a way off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Discovery {
    /// Gone in this order.
    pub steps: Vec<Step>,
    /// A name server in the place of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolver: Option<SocketAddr>,
    /// Whether what is found may be in a private network, or on this machine.
    pub private_addresses: bool,
    /// Mozilla's file.
    pub autoconfig: Vec<WebTemplate>,
    /// Microsoft Autodiscover.
    pub autodiscover: Vec<WebTemplate>,
    /// Usual names, tried by what greets there.
    pub imap: Vec<HostTemplate>,
    pub smtp: Vec<HostTemplate>,
}

const AUTOCONFIG: [&str; 3] = [
    "https://autoconfig.{domain}/mail/config-v1.1.xml?emailaddress={address}",
    "https://{domain}/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress={address}",
    "https://autoconfig.thunderbird.net/v1.1/{domain}",
];
const AUTODISCOVER: [&str; 2] =
    ["https://{domain}/autodiscover/autodiscover.xml", "https://autodiscover.{domain}/autodiscover/autodiscover.xml"];
const IMAP: [&str; 4] =
    ["imap.{domain}:993", "mail.{domain}:993", "imap.{domain}:143 starttls", "mail.{domain}:143 starttls"];
const SMTP: [&str; 4] =
    ["smtp.{domain}:465", "mail.{domain}:465", "smtp.{domain}:587 starttls", "mail.{domain}:587 starttls"];

impl Default for Discovery {
    fn default() -> Self {
        Self {
            steps: Step::ALL.to_vec(),
            resolver: None,
            private_addresses: false,
            autoconfig: AUTOCONFIG.iter().filter_map(|text| text.parse().ok()).collect(),
            autodiscover: AUTODISCOVER.iter().filter_map(|text| text.parse().ok()).collect(),
            imap: IMAP.iter().filter_map(|text| text.parse().ok()).collect(),
            smtp: SMTP.iter().filter_map(|text| text.parse().ok()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_is_whole() {
        let usual = Discovery::default();
        let counts = [usual.autoconfig.len(), usual.autodiscover.len(), usual.imap.len(), usual.smtp.len()];
        assert_eq!(counts, [AUTOCONFIG.len(), AUTODISCOVER.len(), IMAP.len(), SMTP.len()]);
    }
}
