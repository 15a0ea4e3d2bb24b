//! All that a login sees: its mailboxes under LocalNames, from which LIST is answered and names are resolved.
//!
//! A snapshot, made anew from each folder table; it must not fetch, wait or remember.

use super::{folder_map::FolderMap, special};
use crate::{
    model::{AccountId, Attributes, FolderTable, LocalName, RemoteName, Role},
    wire::{FOLDER_NAMES_MAX, imap::pattern::Pattern},
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What a LocalName resolves to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub account: AccountId,
    pub local: LocalName,
    pub remote: RemoteName,
}

/// One mailbox as LIST tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub local: LocalName,
    pub attributes: Attributes,
    pub has_children: bool,
    pub role: Option<Role>,
    pub subscribed: bool,
    /// Subscribed, and no mailbox any more.
    gone: bool,
    /// None for a node of the tree that only its children imply.
    remote: Option<RemoteName>,
}

/// The mailboxes of one account as a login sees them.
#[derive(Clone, Debug)]
pub struct Namespace {
    account: AccountId,
    map: FolderMap,
    /// Of other users, and shared: what begins so is no mailbox of this account.
    foreign: Vec<Vec<u8>>,
    /// In LIST order: INBOX, the roles, then by name.
    entries: Vec<Entry>,
    by_local: HashMap<LocalName, usize>,
    by_remote: HashMap<RemoteName, usize>,
}

impl Namespace {
    /// Maps a folder table. `choices` are the user's own pairs, which win over roles found by attribute or name.
    #[must_use]
    pub fn new(account: AccountId, table: &FolderTable, choices: &[(LocalName, RemoteName)]) -> Self {
        let inbox = table.folders.iter().find(|folder| folder.name.is_inbox()).map(|folder| folder.name.clone());
        let mut map = FolderMap::new(&table.prefix, table.delimiter, inbox);
        for (local, remote) in choices {
            map.pair(local.clone(), remote.clone());
        }
        let mut roles = BTreeMap::new();
        for role in Role::ALL {
            if let Some(remote) = special::find(table, role) {
                map.pair(local_name_of(role), remote.clone());
                roles.insert(remote.clone(), role);
            }
        }
        let mut namespace = Self {
            account,
            map,
            foreign: table.foreign.clone(),
            entries: Vec::new(),
            by_local: HashMap::new(),
            by_remote: HashMap::new(),
        };
        namespace.fill(table, &roles);
        namespace
    }

    fn fill(&mut self, table: &FolderTable, roles: &BTreeMap<RemoteName, Role>) {
        for folder in &table.folders {
            // Outside the personal namespace: hidden.
            let Some(local) = self.map.to_local(&folder.name) else { continue };
            // Nobody has such a mailbox; a provider that says so wants to cost us something.
            if levels(&local) > LEVELS_MAX {
                continue;
            }
            self.entries.push(Entry {
                local,
                attributes: folder.attributes,
                has_children: false,
                role: roles.get(&folder.name).copied(),
                subscribed: folder.subscribed,
                gone: false,
                remote: Some(folder.name.clone()),
            });
        }
        self.add_implied_parents();
        for local in table.gone.iter().filter_map(|name| self.map.to_local(name)) {
            let attributes = Attributes { no_select: true, ..Attributes::default() };
            let subscribed = true;
            let entry =
                Entry { local, attributes, has_children: false, role: None, subscribed, gone: true, remote: None };
            self.entries.push(entry);
        }
        self.entries.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.local.cmp(&b.local)));
        for (index, entry) in self.entries.iter().enumerate().filter(|(_, entry)| !entry.gone) {
            self.by_local.insert(entry.local.clone(), index);
            if let Some(remote) = &entry.remote {
                self.by_remote.insert(remote.clone(), index);
            }
        }
    }

    /// Marks parents, and adds those that exist only through their children: as many as the names themselves may take, for
    /// a name of many levels implies as many parents of nearly its length.
    fn add_implied_parents(&mut self) {
        let names: BTreeSet<LocalName> = self.entries.iter().map(|entry| entry.local.clone()).collect();
        for entry in &mut self.entries {
            entry.has_children = has_children(&names, &entry.local);
        }
        let mut implied = BTreeSet::new();
        let mut octets = 0;
        for parent in names.iter().flat_map(ancestors).filter(|parent| !names.contains(parent)) {
            octets += parent.as_bytes().len();
            if octets > FOLDER_NAMES_MAX {
                break;
            }
            implied.insert(parent);
        }
        for local in implied {
            self.entries.push(Entry {
                local,
                attributes: Attributes { no_select: true, ..Attributes::default() },
                has_children: true,
                role: None,
                subscribed: false,
                gone: false,
                remote: None,
            });
        }
    }

    /// The route of a mailbox that exists. `INBOX.Trash` and `INBOX/Trash` stand for the special mailbox `Trash` where no
    /// mailbox has that name: SuiteCRM falls back to the first (crm.md fact 15).
    #[must_use]
    pub fn resolve(&self, local: &LocalName) -> Option<Route> {
        let direct = self.by_local.get(local);
        let index = direct.or_else(|| {
            let rest = local.as_bytes().strip_prefix(b"INBOX.").or(local.as_bytes().strip_prefix(b"INBOX/"))?;
            let index = self.by_local.get(&LocalName::parse(rest).ok()?)?;
            self.entries.get(*index)?.role.is_some().then_some(index)
        })?;
        let entry = self.entries.get(*index)?;
        Some(Route { account: self.account, local: entry.local.clone(), remote: entry.remote.clone()? })
    }

    /// The route of a mailbox that is to be made; None where the provider cannot have it.
    #[must_use]
    pub fn route_of_new(&self, local: &LocalName) -> Option<Route> {
        let remote = self.map.to_remote(local).ok()?;
        if self.foreign.iter().any(|prefix| is_in(prefix, &remote)) {
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
        self.entries.iter().filter(|entry| entry.remote.is_some())
    }

    /// What LIST answers (RFC 3501 6.3.8): the mailboxes whose names match, and with a trailing `%` also the parents that
    /// exist only through their children.
    pub fn list<'a>(&'a self, pattern: &[u8]) -> impl Iterator<Item = &'a Entry> + use<'a> {
        let levels = pattern.last() == Some(&b'%');
        let pattern = Pattern::new(pattern);
        let told = move |entry: &&Entry| !entry.gone && (levels || entry.remote.is_some());
        self.entries.iter().filter(told).filter(move |entry| entry.matches(&pattern))
    }

    /// What matching a pattern against all names costs, in steps of some nanoseconds: it runs where other sessions wait
    /// (rules R16, R45).
    #[must_use]
    pub fn cost(&self, pattern: &[u8]) -> u64 {
        let pattern = Pattern::new(pattern);
        self.entries.iter().map(|entry| pattern.cost(entry.local.as_bytes())).sum()
    }

    /// What LSUB answers (RFC 3501 6.3.9): subscribed names, whether they are mailboxes or not.
    pub fn lsub<'a>(&'a self, pattern: &[u8]) -> impl Iterator<Item = &'a Entry> + use<'a> {
        let pattern = Pattern::new(pattern);
        self.entries.iter().filter(|entry| entry.subscribed).filter(move |entry| entry.matches(&pattern))
    }

    /// The account whose mailboxes these are.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.account
    }
}

impl Entry {
    fn matches(&self, pattern: &Pattern) -> bool {
        pattern.matches(self.local.as_bytes(), LocalName::DELIMITER)
    }

    /// The provider's name, for people who set the map; None for an implied node.
    #[must_use]
    pub fn remote(&self) -> Option<&RemoteName> {
        self.remote.as_ref()
    }
}

/// The LocalName of a role. CRM profiles will say others.
fn local_name_of(role: Role) -> LocalName {
    let name = match role {
        Role::Sent => "Sent",
        Role::Drafts => "Drafts",
        Role::Trash => "Trash",
        Role::Junk => "Junk",
    };
    // Cannot fail: printable ASCII; INBOX is the harmless answer that the pair would refuse.
    LocalName::parse(name.as_bytes()).unwrap_or_else(|_| LocalName::inbox())
}

fn rank(entry: &Entry) -> u8 {
    match (entry.local.is_inbox(), entry.role) {
        (true, _) => 0,
        (false, Some(role)) => 1 + role as u8,
        (false, None) => u8::MAX,
    }
}

/// Whether a name lies in the namespace of this prefix, or is the prefix without its delimiter.
fn is_in(prefix: &[u8], remote: &RemoteName) -> bool {
    let node = prefix.split_last().map_or(prefix, |(_, node)| node);
    !prefix.is_empty() && (remote.as_bytes().starts_with(prefix) || remote.as_bytes() == node)
}

/// Levels of the hierarchy in one name. People nest a handful; Exchange allows 300.
const LEVELS_MAX: usize = 300;

fn levels(local: &LocalName) -> usize {
    local.as_bytes().iter().filter(|octet| **octet == LocalName::DELIMITER).count()
}

fn has_children(names: &BTreeSet<LocalName>, local: &LocalName) -> bool {
    let Ok(below) = LocalName::parse(&[local.as_bytes(), &[LocalName::DELIMITER]].concat()) else { return false };
    let next = names.range(&below..).next();
    next.is_some_and(|name| name.as_bytes().starts_with(below.as_bytes()))
}

fn ancestors(local: &LocalName) -> impl Iterator<Item = LocalName> {
    let octets = local.as_bytes();
    let ends = octets.iter().enumerate().filter(|(_, octet)| **octet == LocalName::DELIMITER).map(|(at, _)| at);
    ends.filter_map(|at| LocalName::parse(octets.get(..at)?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Folder, wire::imap::utf7};

    fn namespace(prefix: &str, delimiter: u8, folders: &[(&str, Option<Role>)]) -> Namespace {
        let folders = folders.iter().map(|(name, role)| Folder {
            name: RemoteName::parse(&utf7::encode(name)).expect("a name"),
            attributes: Attributes::default(),
            role: *role,
            subscribed: true,
        });
        let table = FolderTable {
            prefix: prefix.into(),
            delimiter: Some(delimiter),
            folders: folders.collect(),
            ..FolderTable::default()
        };
        Namespace::new(AccountId(1), &table, &[])
    }

    fn ovh() -> Namespace {
        namespace(
            "INBOX.",
            b'.',
            &[
                ("INBOX.Zebra.a", None),
                ("INBOX.Trash", None),
                ("INBOX", None),
                ("INBOX.Sent", None),
                ("shared.x", None),
            ],
        )
    }

    fn listed(namespace: &Namespace, pattern: &str) -> Vec<String> {
        namespace.list(pattern.as_bytes()).map(|entry| entry.local.as_str().to_owned()).collect()
    }

    fn remote_of(namespace: &Namespace, local: &str) -> Option<String> {
        let route = namespace.resolve(&LocalName::parse(local.as_bytes()).ok()?)?;
        Some(String::from_utf8_lossy(route.remote.as_bytes()).into_owned())
    }

    #[test]
    fn the_tree_is_the_crms() {
        assert_eq!(listed(&ovh(), "*"), ["INBOX", "Sent", "Trash", "Zebra/a"]);
        assert_eq!(listed(&ovh(), "%"), ["INBOX", "Sent", "Trash", "Zebra"]);
        assert_eq!(listed(&ovh(), "Z*"), ["Zebra/a"]);
        assert_eq!(listed(&ovh(), "Zebra/%"), ["Zebra/a"]);
    }

    #[test]
    fn names_resolve_and_specials_have_aliases() {
        for (local, remote) in [
            ("inbox", "INBOX"),
            ("Sent", "INBOX.Sent"),
            ("INBOX.Sent", "INBOX.Sent"),
            ("INBOX/Trash", "INBOX.Trash"),
            ("Zebra/a", "INBOX.Zebra.a"),
        ] {
            assert_eq!(remote_of(&ovh(), local).as_deref(), Some(remote), "{local}");
        }
        for local in ["Zebra", "INBOX.Zebra/a", "shared.x", "shared/x", "Nope"] {
            assert_eq!(remote_of(&ovh(), local), None, "{local}");
        }
    }

    #[test]
    fn names_that_are_only_subscribed_stand_in_lsub_alone() {
        let gone = vec![RemoteName::parse(b"INBOX.Old").expect("a name")];
        let table = FolderTable { prefix: b"INBOX.".to_vec(), delimiter: Some(b'.'), gone, ..FolderTable::default() };
        let namespace = Namespace::new(AccountId(1), &table, &[]);
        assert_eq!(namespace.lsub(b"*").map(|entry| entry.local.as_str()).collect::<Vec<_>>(), ["Old"]);
        assert_eq!(listed(&namespace, "%"), Vec::<String>::new());
        assert_eq!(remote_of(&namespace, "Old"), None);
    }

    #[test]
    fn what_others_share_cannot_be_reached_by_making_it() {
        let foreign = vec![b"shared.".to_vec()];
        let table = FolderTable { delimiter: Some(b'.'), foreign, ..FolderTable::default() };
        let namespace = Namespace::new(AccountId(1), &table, &[]);
        let route = |name: &[u8]| namespace.route_of_new(&LocalName::parse(name).expect("a name"));
        assert_eq!(route(b"shared/bob/x"), None);
        assert_eq!(route(b"shared"), None);
        assert!(route(b"sharedx").is_some());
    }

    #[test]
    fn deep_names_imply_no_more_than_names_may_take() {
        let name = |n: usize| RemoteName::parse(format!("{n:03}{}", "/a".repeat(290)).as_bytes()).expect("a name");
        let folder = |n| Folder { name: name(n), attributes: Attributes::default(), role: None, subscribed: false };
        let folders = (0..900).map(folder).collect();
        let table = FolderTable { delimiter: Some(b'/'), folders, ..FolderTable::default() };
        let namespace = Namespace::new(AccountId(1), &table, &[]);
        let octets: usize = namespace.entries.iter().map(|entry| entry.local.as_bytes().len()).sum();
        assert!(octets <= 2 * FOLDER_NAMES_MAX, "{octets}");
        let deep = RemoteName::parse("/a".repeat(2000).as_bytes()).expect("a name");
        let folders = vec![Folder { name: deep, ..folder(0) }];
        let table = FolderTable { delimiter: Some(b'/'), folders, ..FolderTable::default() };
        assert!(Namespace::new(AccountId(1), &table, &[]).entries.is_empty());
    }

    #[test]
    fn a_role_without_a_mailbox_is_not_listed_but_can_be_made() {
        let bare = namespace("INBOX.", b'.', &[("INBOX", None)]);
        assert_eq!(listed(&bare, "*"), ["INBOX"]);
        let route = bare.route_of_new(&LocalName::parse(b"Sent").expect("a name"));
        assert_eq!(route.map(|route| route.remote), RemoteName::parse(b"INBOX.Sent").ok());
    }

    #[test]
    fn gmail_in_french_has_the_crms_names() {
        let gmail = namespace(
            "",
            b'/',
            &[
                ("INBOX", None),
                ("[Gmail]/Messages envoyés", Some(Role::Sent)),
                ("[Gmail]/Corbeille", Some(Role::Trash)),
                ("[Gmail]/Suivis", None),
            ],
        );
        assert_eq!(listed(&gmail, "*"), ["INBOX", "Sent", "Trash", "[Gmail]/Suivis"]);
        assert_eq!(remote_of(&gmail, "Sent").as_deref(), Some("[Gmail]/Messages envoy&AOk-s"));
    }
}
