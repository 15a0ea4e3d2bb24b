//! How domains of customers show that their mail is at a provider: patterns of hosts, matched label by label.

use crate::model::Host;
use serde::{Deserialize, Serialize};

/// What the records of a customer's domain lead to. `*.` in front stands for one label or more, `*` at the end of the first
/// label for letters and digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Discovery {
    /// Hosts that take in the domain's mail.
    pub mx: Vec<String>,
    /// What `autodiscover.DOMAIN` is another name of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub autodiscover: Vec<String>,
    pub source: String,
}

impl Discovery {
    /// Whether this host takes in mail for customers.
    pub(super) fn has_mx(&self, host: &str) -> bool {
        self.mx.iter().any(|pattern| fits(pattern, host))
    }

    /// Whether customers' domains lead Outlook to this host.
    pub(super) fn has_autodiscover(&self, host: &str) -> bool {
        self.autodiscover.iter().any(|pattern| fits(pattern, host))
    }

    /// The first pattern that is none.
    pub(super) fn broken_pattern(&self) -> Option<&str> {
        let whole = |pattern: &str| {
            let (first, rest) = pattern.split_once('.').unwrap_or_default();
            let start = first.strip_suffix('*').unwrap_or(first);
            pattern == pattern.to_lowercase() && rest.contains('.') && Host::parse(&format!("{start}x.{rest}")).is_ok()
        };
        let mut all = self.mx.iter().chain(&self.autodiscover).map(String::as_str);
        all.find(|pattern| !whole(pattern))
    }
}

/// Label by label: what stands in another domain never fits.
fn fits(pattern: &str, host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if let Some(end) = pattern.strip_prefix('*') {
        return host.len() > end.len() && host.ends_with(end) && !host.starts_with('.');
    }
    match pattern.split_once("*.") {
        None => pattern == host,
        Some((start, rest)) => host.split_once('.').is_some_and(|(first, behind)| {
            let part = first.strip_prefix(start);
            behind == rest && part.is_some_and(|part| part.bytes().all(|octet| octet.is_ascii_alphanumeric()))
        }),
    }
}
