//! Where clients are awaited: the usual listeners, and those of a CRM that wants ports or words of its own.

use super::values::{Listeners, Network};
use crate::{
    mistake::Broken,
    profile::{GENERIC, Table},
};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// The usual listeners.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Listen {
    /// IMAP in clear.
    pub imap: Listeners,
    /// SMTP submission in clear.
    pub smtp: Listeners,
    /// IMAP over TLS.
    pub imaps: Listeners,
    /// SMTP submission over TLS.
    pub smtps: Listeners,
    /// The CRM profile that says what is offered there before login.
    pub crm: String,
    /// The one exception to "in clear on loopback alone": who may connect to a clear listener on a private address.
    pub plain_from: Vec<Network>,
}

/// Listeners for one kind of CRM, beside the usual ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Crm {
    /// A name of the table of CRM profiles.
    pub profile: String,
    /// Each is what the profile says if it is left out, and never None once a configuration is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imap: Option<Listeners>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smtp: Option<Listeners>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imaps: Option<Listeners>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smtps: Option<Listeners>,
    /// Whether a client's own access token goes to its account's provider, for accounts that are opened so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pass_tokens: bool,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Imap,
    Smtp,
    Imaps,
    Smtps,
}

/// What is said at one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    pub kind: Kind,
    /// The name of its CRM profile.
    pub crm: String,
    /// Whether a client's own access token goes to its account's provider.
    pub passes_tokens: bool,
}

impl Kind {
    /// Whether it speaks TLS from the first octet.
    #[must_use]
    pub fn is_secured(self) -> bool {
        matches!(self, Self::Imaps | Self::Smtps)
    }

    /// Whether it speaks IMAP; else SMTP.
    #[must_use]
    pub fn is_imap(self) -> bool {
        matches!(self, Self::Imap | Self::Imaps)
    }
}

/// One address on which clients are awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener<'a> {
    pub kind: Kind,
    /// The name of its CRM profile.
    pub crm: &'a str,
    pub address: SocketAddr,
    /// Which of the `[[crm]]`; None: a usual one.
    pub(super) nth: Option<usize>,
}

impl Listener<'_> {
    /// Where it stands in the file.
    #[must_use]
    pub fn key(&self) -> &'static str {
        match (self.kind, self.nth) {
            (Kind::Imap, None) => "listen.imap",
            (Kind::Smtp, None) => "listen.smtp",
            (Kind::Imaps, None) => "listen.imaps",
            (Kind::Smtps, None) => "listen.smtps",
            (Kind::Imap, Some(_)) => "crm.imap",
            (Kind::Smtp, Some(_)) => "crm.smtp",
            (Kind::Imaps, Some(_)) => "crm.imaps",
            (Kind::Smtps, Some(_)) => "crm.smtps",
        }
    }
}

impl Listen {
    /// Whether a client may use a clear listener. Those on loopback are reached by this machine alone, and it may.
    #[must_use]
    pub fn admits_plain(&self, client: IpAddr) -> bool {
        client.to_canonical().is_loopback() || self.plain_from.iter().any(|network| network.contains(client))
    }

    fn kinds(&self) -> [(Kind, Option<&Listeners>); 4] {
        let Self { imap, smtp, imaps, smtps, .. } = self;
        [(Kind::Imap, imap), (Kind::Smtp, smtp), (Kind::Imaps, imaps), (Kind::Smtps, smtps)]
            .map(|(kind, listeners)| (kind, Some(listeners)))
    }

    fn kinds_mut(&mut self) -> [(Kind, Option<&mut Listeners>); 4] {
        let Self { imap, smtp, imaps, smtps, .. } = self;
        [(Kind::Imap, imap), (Kind::Smtp, smtp), (Kind::Imaps, imaps), (Kind::Smtps, smtps)]
            .map(|(kind, listeners)| (kind, Some(listeners)))
    }
}

impl Crm {
    fn kinds(&self) -> [(Kind, Option<&Listeners>); 4] {
        let Self { imap, smtp, imaps, smtps, .. } = self;
        [(Kind::Imap, imap), (Kind::Smtp, smtp), (Kind::Imaps, imaps), (Kind::Smtps, smtps)]
            .map(|(kind, listeners)| (kind, listeners.as_ref()))
    }

    fn kinds_mut(&mut self) -> [(Kind, Option<&mut Listeners>); 4] {
        let Self { imap, smtp, imaps, smtps, .. } = self;
        [(Kind::Imap, imap), (Kind::Smtp, smtp), (Kind::Imaps, imaps), (Kind::Smtps, smtps)]
            .map(|(kind, listeners)| (kind, listeners.as_mut()))
    }

    /// What was left out becomes what the profile says.
    pub(super) fn fill(&mut self, profiles: &Table) -> Result<(), Broken> {
        let Some(profile) = profiles.named(&self.profile) else { return Err(unknown("crm.profile", &self.profile)) };
        let own = &profile.listen;
        for (ours, theirs) in [
            (&mut self.imap, &own.imap),
            (&mut self.smtp, &own.smtp),
            (&mut self.imaps, &own.imaps),
            (&mut self.smtps, &own.smtps),
        ] {
            ours.get_or_insert_with(|| Listeners(theirs.clone()));
        }
        if self.kinds().iter().all(|(_, listeners)| listeners.is_none_or(|Listeners(addresses)| addresses.is_empty())) {
            return Err(Broken {
                key: "crm.profile",
                what: "this CRM has no ports of its own, expected at least one of imap, smtp, imaps and smtps",
                found: self.profile.clone(),
                hint: "name addresses beside it, or none at all: the usual listeners do for this CRM",
            });
        }
        Ok(())
    }
}

/// No such profile.
pub(super) fn unknown(key: &'static str, name: &str) -> Broken {
    Broken {
        key,
        what: "expected the name of a CRM profile",
        found: name.to_owned(),
        hint: "`passerelle crm list` shows all; a file of your own goes into the folder crm beside this file",
    }
}

/// All listeners of these two, the usual ones first.
pub(super) fn all<'a>(listen: &'a Listen, crms: &'a [Crm]) -> impl Iterator<Item = Listener<'a>> {
    let usual = [(listen.crm.as_str(), None, listen.kinds())];
    let own = crms.iter().enumerate().map(|(nth, crm)| (crm.profile.as_str(), Some(nth), crm.kinds()));
    usual.into_iter().chain(own).flat_map(|(crm, nth, kinds)| {
        kinds.into_iter().flat_map(move |(kind, listeners)| {
            let addresses = listeners.into_iter().flat_map(|Listeners(addresses)| addresses);
            addresses.map(move |address| Listener { kind, crm, address: *address, nth })
        })
    })
}

/// The same, to be told where they really are.
pub(super) fn all_mut<'a>(
    listen: &'a mut Listen,
    crms: &'a mut [Crm],
) -> impl Iterator<Item = (Door, &'a mut SocketAddr)> {
    let door = |crm: &String, passes_tokens| Door { kind: Kind::Imap, crm: crm.clone(), passes_tokens };
    let usual = [(door(&listen.crm, false), listen.kinds_mut())];
    let own = crms.iter_mut().map(move |crm| (door(&crm.profile, crm.pass_tokens), crm.kinds_mut()));
    usual.into_iter().chain(own).flat_map(|(place, kinds)| {
        kinds.into_iter().flat_map(move |(kind, listeners)| {
            let place = place.clone();
            let addresses = listeners.into_iter().flat_map(|Listeners(addresses)| addresses);
            addresses.map(move |address| (Door { kind, ..place.clone() }, address))
        })
    })
}

impl Default for Listen {
    fn default() -> Self {
        let loopback = |port| Listeners(vec![SocketAddr::from(([127, 0, 0, 1], port))]);
        Self {
            imap: loopback(1143),
            smtp: loopback(1587),
            imaps: loopback(1993),
            smtps: loopback(1465),
            crm: GENERIC.to_owned(),
            plain_from: Vec::new(),
        }
    }
}
