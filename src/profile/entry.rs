//! One CRM profile: its file's sections, and the rules that the file must keep.

use super::settings::Settings;
use crate::{
    mistake::{Broken, Mistake, Text},
    model::SenderPolicy,
    rules::namespace::{BadNaming, Naming},
    wire::sasl::Mechanism,
};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

/// What one kind of CRM expects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Profile {
    /// By which it is chosen: the name of its file.
    #[serde(skip_deserializing)]
    pub name: String,
    /// Whether nobody but us has written it.
    #[serde(skip_deserializing)]
    pub built_in: bool,
    /// The name for people.
    pub label: String,
    pub folders: Folders,
    pub imap: Imap,
    pub smtp: Smtp,
    pub sender: Sender,
    pub login: Login,
    pub listen: Listen,
    pub settings: Settings,
    /// Made of `folders`.
    #[serde(skip)]
    naming: Arc<Naming>,
}

/// What it calls the special folders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Folders {
    pub sent: String,
    pub drafts: String,
    pub trash: String,
    pub junk: String,
    pub delimiter: char,
    pub source: String,
}

/// Which mechanisms are listed before login. LOGIN, and AUTHENTICATE with PLAIN and LOGIN, work whether listed or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Imap {
    pub clear: Vec<Mechanism>,
    pub tls: Vec<Mechanism>,
    pub source: String,
}

/// What EHLO offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Smtp {
    pub clear: Vec<Mechanism>,
    pub tls: Vec<Mechanism>,
    /// Whether the largest size is announced.
    pub size: bool,
    pub source: String,
}

/// What becomes of an envelope sender that is not one of the account's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sender {
    pub policy: SenderPolicy,
    pub source: String,
}

/// How patient it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Login {
    /// Seconds within which a login must be answered; none: what the configuration says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<u8>,
    pub source: String,
}

/// Where it must find the bridge; nothing: the usual listeners do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Listen {
    #[serde(default)]
    pub imap: Vec<SocketAddr>,
    #[serde(default)]
    pub smtp: Vec<SocketAddr>,
    #[serde(default)]
    pub imaps: Vec<SocketAddr>,
    #[serde(default)]
    pub smtps: Vec<SocketAddr>,
    pub source: String,
}

impl Listen {
    /// Whether the usual listeners do.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        [&self.imap, &self.smtp, &self.imaps, &self.smtps].iter().all(|addresses| addresses.is_empty())
    }
}

impl Profile {
    pub(super) fn parse(name: &str, file: &Path, text: &str, built_in: bool) -> Result<Self, Box<Mistake>> {
        let place = Text { file, text, keys: EXPLAINED, forms: EXPLAINED };
        let read: Self = toml::from_str(text).map_err(|error| Box::new(place.misread(&error)))?;
        let mut profile = Self { name: name.to_owned(), built_in, ..read };
        if let Some(broken) = profile.broken_rule() {
            return Err(Box::new(place.broken(broken)));
        }
        profile.naming = Arc::new(profile.folders.naming().map_err(|broken| Box::new(place.broken(broken)))?);
        Ok(profile)
    }

    /// What its logins call their mailboxes.
    #[must_use]
    pub fn naming(&self) -> &Arc<Naming> {
        &self.naming
    }

    /// What CAPABILITY lists before login.
    #[must_use]
    pub fn imap_mechanisms(&self, secured: bool) -> &[Mechanism] {
        if secured { &self.imap.tls } else { &self.imap.clear }
    }

    /// What EHLO lists.
    #[must_use]
    pub fn smtp_mechanisms(&self, secured: bool) -> &[Mechanism] {
        if secured { &self.smtp.tls } else { &self.smtp.clear }
    }

    /// Within which time a login must be answered; None: what the configuration says.
    #[must_use]
    pub fn login_wait(&self) -> Option<Duration> {
        self.login.wait.map(|seconds| Duration::from_secs(seconds.into()))
    }

    fn broken_rule(&self) -> Option<Broken> {
        let broken = |key, what, found: &str| Some(Broken { key, what, found: found.to_owned(), hint: EXPLAINED });
        if let Some(broken) = Broken::of_name(&self.name, &self.label, EXPLAINED) {
            return Some(broken);
        }
        if self.login.wait == Some(0) {
            return broken("login.wait", "expected seconds, from 1 to 255", "0");
        }
        if let Some(unknown) = self.settings.unknown_word() {
            return broken("settings.pages", "expected a word that is known in { }", unknown);
        }
        let sources = [
            ("folders.source", &self.folders.source),
            ("imap.source", &self.imap.source),
            ("smtp.source", &self.smtp.source),
            ("sender.source", &self.sender.source),
            ("login.source", &self.login.source),
            ("listen.source", &self.listen.source),
            ("settings.source", &self.settings.source),
        ];
        let (key, found) = sources.into_iter().find(|(_, source)| source.trim().is_empty())?;
        broken(key, "expected where the facts are from", found)
    }
}

impl Folders {
    /// In the order of the roles: Sent, Drafts, Trash, Junk.
    fn names(&self) -> [&str; 4] {
        [&self.sent, &self.drafts, &self.trash, &self.junk].map(String::as_str)
    }

    fn naming(&self) -> Result<Naming, Broken> {
        let delimiter = u8::try_from(self.delimiter).unwrap_or_default();
        Naming::of_texts(self.names(), delimiter).map_err(|bad| match bad {
            BadNaming::Delimiter => Broken {
                key: "folders.delimiter",
                what: "not a delimiter that a CRM can have, expected one of / . | : ^",
                found: self.delimiter.to_string(),
                hint: EXPLAINED,
            },
            BadNaming::Role => Broken {
                key: "folders.sent",
                what: "not a name for a special folder (printable, no quotes, backslash, % or *, and not INBOX), among",
                found: self.names().join(", "),
                hint: EXPLAINED,
            },
            BadNaming::Twice => Broken {
                key: "folders.sent",
                what: "two special folders cannot have one name, among",
                found: self.names().join(", "),
                hint: EXPLAINED,
            },
        })
    }
}

/// What helps against any mistake here.
const EXPLAINED: &str = "config/crm/README.md explains every key; `passerelle crm show vtiger` is an example";
