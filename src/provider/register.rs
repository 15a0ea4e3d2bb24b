//! How a client (an application) is registered at a provider: what its page wants, in words with places for what only this
//! machine knows.

use serde::{Deserialize, Serialize};

/// The ways in which a client can be registered; none of them where the provider takes no new ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Register {
    /// For people who consent, each for their own mailbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consent: Option<Way>,
    /// For all mailboxes of a tenant, by the client's own right.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Way>,
    /// For all users of a domain, by a service account's right to act for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<Way>,
    pub source: String,
}

/// One way. In all texts `{tenant}`, `{client}`, `{port}` and `{callback}` stand for what is known at the time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Way {
    /// Where it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// What is asked for with each access token; empty: the scopes of `oauth`.
    pub scopes: Vec<String>,
    /// Where browsers come back to, as they must be entered.
    pub redirects: Vec<String>,
    /// What to choose, in order.
    pub steps: Vec<String>,
    /// By their names on the page.
    pub permissions: Vec<String>,
    /// Where an administrator agrees for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_consent: Option<String>,
    /// Lines for the administrator's shell.
    pub commands: Vec<String>,
    /// What people trip over.
    pub warnings: Vec<String>,
}

/// What the places in a way's texts stand for.
pub struct Places<'a> {
    /// As the address of tokens has it.
    pub tenant: &'a str,
    pub client: &'a str,
    /// Of the loopback address to which browsers come back.
    pub port: u16,
    /// The path there.
    pub callback: &'a str,
}

impl Register {
    /// Where the table says nothing of it, what any authorization server of RFC 6749 has.
    #[must_use]
    pub fn usual() -> Self {
        let redirects = ["http://localhost:{port}{callback}", "http://127.0.0.1:{port}{callback}"];
        Self {
            consent: Some(Way { redirects: redirects.map(str::to_owned).into(), ..Way::default() }),
            tenant: Some(Way::default()),
            ..Self::default()
        }
    }
}

impl Way {
    /// With what the places stand for.
    #[must_use]
    pub fn filled(&self, places: &Places<'_>) -> Self {
        let port = places.port.to_string();
        let known = [
            ("{tenant}", places.tenant),
            ("{client}", places.client),
            ("{port}", &port),
            ("{callback}", places.callback),
        ];
        let one = |text: &String| known.iter().fold(text.clone(), |text, (place, value)| text.replace(place, value));
        let all = |texts: &[String]| texts.iter().map(one).collect();
        Self {
            page: self.page.as_ref().map(one),
            scopes: self.scopes.clone(),
            redirects: all(&self.redirects),
            steps: all(&self.steps),
            permissions: self.permissions.clone(),
            admin_consent: self.admin_consent.as_ref().map(one),
            commands: all(&self.commands),
            warnings: all(&self.warnings),
        }
    }
}
