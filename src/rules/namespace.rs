//! All that a login sees: its mailboxes under LocalNames, from which LIST is answered and names are resolved.
//!
//! A snapshot, made anew from each folder table; it must not fetch, wait or remember.

pub use super::naming::{BadNaming, Choices, Naming};
use super::{
    folder_map::{FolderMap, below},
    special,
};
use crate::{
    model::{AccountId, Attributes, FolderTable, LocalName, RemoteName, Role},
    wire::FOLDER_NAMES_MAX,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

#[cfg(test)]
mod tests;

/// What a LocalName resolves to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub account: AccountId,
    pub local: LocalName,
    pub remote: RemoteName,
}

/// One name of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub local: LocalName,
    pub attributes: Attributes,
    pub has_children: bool,
    pub role: Option<Role>,
    pub subscribed: bool,
    /// None for a name that is no mailbox.
    remote: Option<RemoteName>,
    /// A parent that exists only through its children.
    implied: bool,
    /// Subscribed at the provider, and no mailbox any more.
    gone: Option<RemoteName>,
}

/// The mailboxes of one account as a login sees them.
#[derive(Clone, Debug)]
pub struct Namespace {
    account: AccountId,
    naming: Naming,
    map: FolderMap,
    /// The provider's delimiter.
    delimiter: Option<u8>,
    /// Of other users, and shared: what begins so is no mailbox of this account, unless a person mapped it.
    foreign: Vec<Vec<u8>>,
    hidden: BTreeSet<RemoteName>,
    /// The provider keeps no subscriptions.
    unsubscribed: bool,
    /// What the bridge keeps of subscriptions.
    own_subscriptions: BTreeMap<RemoteName, bool>,
    /// In LIST order: INBOX, the roles, then by name.
    entries: Vec<Entry>,
    /// Names above subscribed ones that are not subscribed themselves.
    parents_of_subscribed: BTreeSet<LocalName>,
    by_local: HashMap<LocalName, usize>,
    by_remote: HashMap<RemoteName, usize>,
}

impl Namespace {
    /// Maps a folder table for a login of this naming. A person's choices win over roles found by attribute or name.
    #[must_use]
    pub fn new(account: AccountId, table: &FolderTable, choices: &Choices, naming: &Naming) -> Self {
        let inbox = table.folders.iter().find(|folder| folder.name.is_inbox()).map(|folder| folder.name.clone());
        let mut namespace = Self {
            account,
            naming: naming.clone(),
            map: FolderMap::new(&table.prefix, table.delimiter, inbox, naming.delimiter()),
            delimiter: table.delimiter,
            foreign: table.foreign.clone(),
            hidden: choices.hidden.clone(),
            unsubscribed: table.unsubscribed,
            own_subscriptions: choices.subscribed.clone(),
            entries: Vec::new(),
            parents_of_subscribed: BTreeSet::new(),
            by_local: HashMap::new(),
            by_remote: HashMap::new(),
        };
        let roles = namespace.pair(table, choices);
        namespace.fill(table, choices, &roles);
        namespace
    }

    /// Pairs what people chose, then the special mailboxes that they left to us; which of them has which role.
    fn pair(&mut self, table: &FolderTable, choices: &Choices) -> BTreeMap<RemoteName, Role> {
        let mut roles = BTreeMap::new();
        for (local, remote) in &choices.pairs {
            let local = self.naming.spell(local);
            if self.map.pair(local.clone(), remote.clone())
                && let Some(role) = self.naming.role(&local)
            {
                roles.insert(remote.clone(), role);
            }
        }
        for role in Role::ALL {
            let chosen = roles.values().any(|known| *known == role);
            let visible = |remote: &RemoteName| !self.is_hidden(remote);
            let found = special::find(table, role, choices.made.get(&role), visible).filter(|_| !chosen).cloned();
            if let Some(remote) = found
                && !roles.contains_key(&remote)
            {
                // A name of its own that a person chose stays; the mailbox has its role all the same.
                self.map.pair(self.naming.local(role).clone(), remote.clone());
                roles.insert(remote, role);
            }
        }
        roles
    }

    /// Whether no login may see a mailbox: a person hid it or what it lies in, or it is another's. What a person mapped
    /// inside of that is seen.
    fn is_hidden(&self, remote: &RemoteName) -> bool {
        let paired = self.map.paired_octets(remote);
        let lies_in = |hidden: &&RemoteName| below(hidden.as_bytes(), self.delimiter, remote.as_bytes()).is_some();
        let hidden = self.hidden.iter().filter(lies_in).map(|hidden| hidden.as_bytes().len()).max();
        let foreign = self.foreign.iter().filter(|prefix| is_in(prefix, remote)).map(|prefix| prefix.len() - 1).max();
        !remote.is_inbox() && hidden.max(foreign).is_some_and(|octets| octets > paired)
    }

    fn fill(&mut self, table: &FolderTable, choices: &Choices, roles: &BTreeMap<RemoteName, Role>) {
        for folder in &table.folders {
            if self.is_hidden(&folder.name) {
                continue;
            }
            // Outside the personal namespace: hidden at first.
            let Some(local) = self.map.to_local(&folder.name) else { continue };
            // Nobody has such a mailbox; a provider that says so wants to cost us something.
            if self.levels(&local) > LEVELS_MAX {
                continue;
            }
            let own = choices.subscribed.get(&folder.name);
            self.entries.push(Entry {
                local,
                attributes: folder.attributes,
                has_children: false,
                role: roles.get(&folder.name).copied(),
                subscribed: own.copied().unwrap_or(table.unsubscribed || folder.subscribed),
                remote: Some(folder.name.clone()),
                implied: false,
                gone: None,
            });
        }
        self.drop_emptied_containers(table);
        self.add_implied_parents();
        self.add_gone(table);
        self.entries.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.local.cmp(&b.local)));
        for (index, entry) in self.entries.iter().enumerate() {
            self.by_local.insert(entry.local.clone(), index);
            if let Some(remote) = &entry.remote {
                self.by_remote.insert(remote.clone(), index);
            }
        }
        let subscribed: BTreeSet<&LocalName> =
            self.entries.iter().filter(|entry| entry.subscribed).map(|entry| &entry.local).collect();
        self.parents_of_subscribed = missing_ancestors(&subscribed, self.naming.delimiter());
    }

    /// Leaves out the nodes that hold no messages, and whose children all have names elsewhere or are hidden: Gmail's
    /// `[Gmail]` is nothing that a CRM could use.
    fn drop_emptied_containers(&mut self, table: &FolderTable) {
        let Some(delimiter) = self.delimiter else { return };
        let remotes: BTreeSet<&[u8]> = table.folders.iter().map(|folder| folder.name.as_bytes()).collect();
        let holds = |entry: &Entry| {
            let below = entry.remote.as_ref().map(|remote| [remote.as_bytes(), &[delimiter]].concat());
            below.is_some_and(|below| remotes.range(&*below..).next().is_some_and(|name| name.starts_with(&below)))
        };
        let (containers, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.entries).into_iter().partition(|entry| entry.attributes.no_select && holds(entry));
        let names: BTreeSet<&LocalName> = others.iter().map(|entry| &entry.local).collect();
        let kept: Vec<_> =
            containers.into_iter().filter(|entry| has_below(&names, &entry.local, self.naming.delimiter())).collect();
        self.entries = others;
        self.entries.extend(kept);
    }

    /// Names that the provider still has subscribed: LSUB tells them, mailboxes or not.
    fn add_gone(&mut self, table: &FolderTable) {
        let at: HashMap<LocalName, usize> =
            self.entries.iter().enumerate().map(|(at, entry)| (entry.local.clone(), at)).collect();
        for name in &table.gone {
            let local =
                self.map.to_local(name).filter(|local| !self.is_hidden(name) && self.levels(local) <= LEVELS_MAX);
            let Some(local) = local else { continue };
            match at.get(&local).and_then(|at| self.entries.get_mut(*at)) {
                Some(entry) => {
                    entry.subscribed = true;
                    entry.gone = Some(name.clone());
                }
                None => {
                    let gone = Some(name.clone());
                    self.entries.push(Entry { subscribed: true, gone, ..Entry::node(local) });
                }
            }
        }
    }

    /// Marks parents, and adds those that exist only through their children.
    fn add_implied_parents(&mut self) {
        let delimiter = self.naming.delimiter();
        let names: Vec<LocalName> = self.entries.iter().map(|entry| entry.local.clone()).collect();
        let names: BTreeSet<&LocalName> = names.iter().collect();
        for entry in &mut self.entries {
            entry.has_children = has_below(&names, &entry.local, delimiter);
        }
        for local in missing_ancestors(&names, delimiter) {
            self.entries.push(Entry { has_children: true, implied: true, ..Entry::node(local) });
        }
    }

    /// The route of a mailbox that exists. `INBOX.Trash` and `INBOX/Trash` stand for the special mailbox `Trash` where no
    /// mailbox has that name: SuiteCRM falls back to the first (crm.md fact 15).
    #[must_use]
    pub fn resolve(&self, local: &LocalName) -> Option<Route> {
        let direct = self.by_local.get(local);
        let index = direct.or_else(|| self.by_local.get(self.alias(local)?))?;
        let entry = self.entries.get(*index)?;
        Some(Route { account: self.account, local: entry.local.clone(), remote: entry.remote.clone()? })
    }

    /// The special mailbox that a name below INBOX stands for.
    fn alias(&self, local: &LocalName) -> Option<&LocalName> {
        let (inbox, rest) = local.as_bytes().split_at_checked(6)?;
        let below = [&b"INBOX."[..], b"INBOX/", &[b"INBOX", &[self.delimiter()][..]].concat()].contains(&inbox);
        let role = self.naming.role(&LocalName::parse(rest).ok()?).filter(|_| below)?;
        Some(self.naming.local(role))
    }

    /// The route of a mailbox that is to be made; None where the provider cannot have it, or nobody may see it.
    #[must_use]
    pub fn route_of_new(&self, local: &LocalName) -> Option<Route> {
        // RFC 3501 6.3.3: a delimiter at the end says that names will be made below it, and is no part of the name.
        let name = local.as_bytes().strip_suffix(&[self.delimiter()]).unwrap_or(local.as_bytes());
        let local = LocalName::parse(name).ok()?;
        let local = if self.by_local.contains_key(&local) { &local } else { self.alias(&local).unwrap_or(&local) };
        let remote = self.map.to_remote(local).ok()?;
        if self.is_hidden(&remote) {
            return None;
        }
        Some(Route { account: self.account, local: local.clone(), remote })
    }

    /// The CRM's name of a provider's mailbox.
    #[must_use]
    pub fn local(&self, remote: &RemoteName) -> Option<&LocalName> {
        self.by_remote.get(remote).and_then(|index| self.entries.get(*index)).map(|entry| &entry.local)
    }

    /// The mailboxes that exist, in LIST order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.is_mailbox())
    }

    /// All names that can be told, in LIST order.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Names above subscribed ones that are not subscribed themselves.
    pub(super) fn parents_of_subscribed(&self) -> impl Iterator<Item = &LocalName> {
        self.parents_of_subscribed.iter()
    }

    /// The route of a subscribed name that is no mailbox any more.
    #[must_use]
    pub fn resolve_gone(&self, local: &LocalName) -> Option<Route> {
        let entry = self.entries.get(*self.by_local.get(local)?)?;
        Some(Route { account: self.account, local: entry.local.clone(), remote: entry.gone.clone()? })
    }

    /// Whether subscriptions are the provider's to keep.
    #[must_use]
    pub fn provider_subscribes(&self) -> bool {
        !self.unsubscribed
    }

    /// Whether the bridge keeps something of its own about the subscription of a mailbox.
    #[must_use]
    pub fn has_own_subscription(&self, remote: &RemoteName) -> bool {
        self.own_subscriptions.contains_key(remote)
    }

    /// The role that a mailbox would take if it were made here: one that has none yet, by the name that this login has for
    /// it.
    #[must_use]
    pub fn role_of_new(&self, route: &Route) -> Option<Role> {
        let role = self.naming.role(&route.local)?;
        let taken = self.entries().any(|entry| entry.role == Some(role));
        // What a person paired has the role already.
        (!taken && self.map.paired_octets(&route.remote) == 0).then_some(role)
    }

    /// Whether a mailbox must keep its name: it has a role, or a person mapped it, or such a one lies below it. INBOX need
    /// not: its messages are moved, and it stays (RFC 3501 6.3.5).
    #[must_use]
    pub fn is_bound(&self, remote: &RemoteName) -> bool {
        !remote.is_inbox() && self.map.binds(remote)
    }

    fn levels(&self, local: &LocalName) -> usize {
        local.as_bytes().iter().filter(|octet| **octet == self.naming.delimiter()).count()
    }

    /// What separates the levels of its LocalNames.
    #[must_use]
    pub fn delimiter(&self) -> u8 {
        self.naming.delimiter()
    }

    /// The account whose mailboxes these are.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.account
    }
}

impl Entry {
    /// A name that is no mailbox.
    fn node(local: LocalName) -> Self {
        Self {
            local,
            attributes: Attributes { no_select: true, ..Attributes::default() },
            has_children: false,
            role: None,
            subscribed: false,
            remote: None,
            implied: false,
            gone: None,
        }
    }

    pub(super) fn is_mailbox(&self) -> bool {
        self.remote.is_some()
    }

    pub(super) fn is_implied(&self) -> bool {
        self.implied
    }

    /// The provider's name, for people who set the map; None for what is no mailbox.
    #[must_use]
    pub fn remote(&self) -> Option<&RemoteName> {
        self.remote.as_ref()
    }
}

/// INBOX, then the roles in their order, then the rest.
fn rank(entry: &Entry) -> (bool, bool, Option<Role>) {
    (!entry.local.is_inbox(), entry.role.is_none(), entry.role)
}

/// Whether a name lies in the namespace of this prefix, or is the prefix without its delimiter.
fn is_in(prefix: &[u8], remote: &RemoteName) -> bool {
    let node = prefix.split_last().map_or(prefix, |(_, node)| node);
    !prefix.is_empty() && (remote.as_bytes().starts_with(prefix) || remote.as_bytes() == node)
}

/// Levels of the hierarchy in one name. People nest a handful; Exchange allows 300.
pub(crate) const LEVELS_MAX: usize = 300;

/// Whether one of these names lies below `local`.
pub(super) fn has_below(names: &BTreeSet<&LocalName>, local: &LocalName, delimiter: u8) -> bool {
    let Ok(below) = LocalName::parse(&[local.as_bytes(), &[delimiter]].concat()) else { return false };
    let next = names.range::<&LocalName, _>(&below..).next();
    next.is_some_and(|name| name.as_bytes().starts_with(below.as_bytes()))
}

/// The names above these that are not among them: as many as the names themselves may take, for a name of many levels has
/// as many parents of nearly its length.
fn missing_ancestors(names: &BTreeSet<&LocalName>, delimiter: u8) -> BTreeSet<LocalName> {
    let mut missing = BTreeSet::new();
    let mut octets = 0;
    for parent in names.iter().flat_map(|name| ancestors(name, delimiter)).filter(|parent| !names.contains(parent)) {
        octets += parent.as_bytes().len();
        if octets > FOLDER_NAMES_MAX {
            break;
        }
        missing.insert(parent);
    }
    missing
}

fn ancestors(local: &LocalName, delimiter: u8) -> impl Iterator<Item = LocalName> {
    let octets = local.as_bytes();
    let ends = octets.iter().enumerate().filter(move |(_, octet)| **octet == delimiter).map(|(at, _)| at);
    ends.filter_map(|at| LocalName::parse(octets.get(..at)?).ok())
}
