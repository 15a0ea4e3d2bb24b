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
    naming: Naming,
    map: FolderMap,
    /// The provider's delimiter.
    delimiter: Option<u8>,
    /// Of other users, and shared: what begins so is no mailbox of this account, unless a person mapped it.
    foreign: Vec<Vec<u8>>,
    hidden: BTreeSet<RemoteName>,
    /// In LIST order: INBOX, the roles, then by name.
    entries: Vec<Entry>,
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
            entries: Vec::new(),
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
            entry.has_children = has_children(&names, &entry.local, self.naming.delimiter());
        }
        let mut implied = BTreeSet::new();
        let mut octets = 0;
        for parent in names
            .iter()
            .flat_map(|name| ancestors(name, self.naming.delimiter()))
            .filter(|parent| !names.contains(parent))
        {
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
        self.entries.iter().filter(|entry| entry.remote.is_some())
    }

    /// What LIST answers (RFC 3501 6.3.8): the mailboxes whose names match, and with a trailing `%` also the parents that
    /// exist only through their children.
    pub fn list<'a>(&'a self, pattern: &[u8]) -> impl Iterator<Item = &'a Entry> + use<'a> {
        let levels = pattern.last() == Some(&b'%');
        let pattern = Pattern::new(pattern);
        let (told, delimiter) =
            (move |entry: &&Entry| !entry.gone && (levels || entry.remote.is_some()), self.naming.delimiter());
        self.entries.iter().filter(told).filter(move |entry| entry.matches(&pattern, delimiter))
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
        let (pattern, delimiter) = (Pattern::new(pattern), self.naming.delimiter());
        self.entries.iter().filter(|entry| entry.subscribed).filter(move |entry| entry.matches(&pattern, delimiter))
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
    fn matches(&self, pattern: &Pattern, delimiter: u8) -> bool {
        pattern.matches(self.local.as_bytes(), delimiter)
    }

    /// The provider's name, for people who set the map; None for an implied node.
    #[must_use]
    pub fn remote(&self) -> Option<&RemoteName> {
        self.remote.as_ref()
    }
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

fn has_children(names: &BTreeSet<LocalName>, local: &LocalName, delimiter: u8) -> bool {
    let Ok(below) = LocalName::parse(&[local.as_bytes(), &[delimiter]].concat()) else { return false };
    let next = names.range(&below..).next();
    next.is_some_and(|name| name.as_bytes().starts_with(below.as_bytes()))
}

fn ancestors(local: &LocalName, delimiter: u8) -> impl Iterator<Item = LocalName> {
    let octets = local.as_bytes();
    let ends = octets.iter().enumerate().filter(move |(_, octet)| **octet == delimiter).map(|(at, _)| at);
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
        Namespace::new(AccountId(1), &table, &Choices::default(), &Naming::default())
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
        let namespace = Namespace::new(AccountId(1), &table, &Choices::default(), &Naming::default());
        assert_eq!(namespace.lsub(b"*").map(|entry| entry.local.as_str()).collect::<Vec<_>>(), ["Old"]);
        assert_eq!(listed(&namespace, "%"), Vec::<String>::new());
        assert_eq!(remote_of(&namespace, "Old"), None);
    }

    #[test]
    fn what_others_share_cannot_be_reached_by_making_it() {
        let foreign = vec![b"shared.".to_vec()];
        let table = FolderTable { delimiter: Some(b'.'), foreign, ..FolderTable::default() };
        let namespace = Namespace::new(AccountId(1), &table, &Choices::default(), &Naming::default());
        let route = |name: &[u8]| namespace.route_of_new(&LocalName::parse(name).expect("a name"));
        assert_eq!(route(b"shared/bob/x"), None);
        assert_eq!(route(b"shared"), None);
        assert!(route(b"sharedx").is_some());
    }

    fn remote(name: &str) -> RemoteName {
        RemoteName::parse(&utf7::encode(name)).expect("a name")
    }

    fn local(name: &str) -> LocalName {
        LocalName::parse(&utf7::encode(name)).expect("a name")
    }

    fn table(folders: &[(&str, Option<Role>)]) -> FolderTable {
        let folder = |(name, role): &(&str, Option<Role>)| Folder {
            name: remote(name),
            attributes: Attributes::default(),
            role: *role,
            subscribed: false,
        };
        FolderTable { delimiter: Some(b'/'), folders: folders.iter().map(folder).collect(), ..FolderTable::default() }
    }

    fn french() -> Naming {
        Naming::of_texts(["Envoyés", "Brouillons", "Corbeille", "Indésirables"], b'.').expect("a naming")
    }

    #[test]
    fn a_login_has_its_own_names_for_special_mailboxes() {
        let gmail = table(&[
            ("INBOX", None),
            ("[Gmail]/Sent Mail", Some(Role::Sent)),
            ("Sent", None),
            ("Corbeille", None),
            ("Clients/2024", None),
        ]);
        let names = |naming: &Naming| {
            let namespace = Namespace::new(AccountId(1), &gmail, &Choices::default(), naming);
            namespace.entries().map(|entry| utf7::decode(entry.local.as_bytes()).expect("text")).collect::<Vec<_>>()
        };
        assert_eq!(names(&french()), ["INBOX", "Envoyés", "Corbeille", "Clients.2024", "Sent"]);
        assert_eq!(names(&Naming::default()), ["INBOX", "Sent", "Trash", "=53ent", "Clients/2024"]);
    }

    #[test]
    fn a_persons_choice_is_above_attribute_and_name() {
        let table =
            table(&[("INBOX", None), ("Sent", Some(Role::Sent)), ("Trash", None), ("Mine", None), ("Bin", None)]);
        let choices = Choices {
            pairs: vec![(local("Sent"), remote("Mine")), (local("Old/Bin"), remote("Trash"))],
            ..Choices::default()
        };
        for (naming, sent) in [(Naming::default(), "Sent"), (french(), "Envoyés")] {
            let namespace = Namespace::new(AccountId(1), &table, &choices, &naming);
            let mine = namespace.entries().find(|entry| entry.role == Some(Role::Sent)).expect("a Sent");
            assert_eq!((&mine.local, mine.remote()), (&local(sent), Some(&remote("Mine"))));
            // A name that a person chose stays; the mailbox has its role all the same.
            let trash = namespace.entries().find(|entry| entry.role == Some(Role::Trash)).expect("a Trash");
            assert_eq!((&trash.local, trash.remote()), (&naming.spell(&local("Old/Bin")), Some(&remote("Trash"))));
        }
    }

    #[test]
    fn what_a_crm_made_for_a_role_is_known_again() {
        let made = |role, name| Choices { made: [(role, remote(name))].into(), ..Choices::default() };
        let role = |table: &FolderTable, choices: &Choices| {
            let namespace = Namespace::new(AccountId(1), table, choices, &Naming::default());
            namespace.resolve(&local("Sent")).map(|route| route.remote)
        };
        let plain = table(&[("INBOX", None), ("Versendet", None), ("Sent Items", None)]);
        assert_eq!(role(&plain, &made(Role::Sent, "Versendet")), Some(remote("Versendet")));
        // It is gone: a known name will do.
        assert_eq!(role(&plain, &made(Role::Sent, "Weg")), Some(remote("Sent Items")));
        let flagged = table(&[("Versendet", None), ("Sent Items", Some(Role::Sent))]);
        assert_eq!(role(&flagged, &made(Role::Sent, "Versendet")), Some(remote("Sent Items")));
    }

    #[test]
    fn what_is_hidden_is_no_mailbox_but_for_what_was_mapped() {
        let mut table = table(&[
            ("INBOX", None),
            ("Calendar", None),
            ("Calendar/Birthdays", None),
            ("[Gmail]/Sent", Some(Role::Sent)),
            ("[Gmail]/All", None),
            ("shared/Team", None),
        ]);
        table.foreign.push(b"shared/".to_vec());
        let hidden = [remote("Calendar"), remote("[Gmail]")].into();
        let choices = Choices { hidden, ..Choices::default() };
        let namespace = Namespace::new(AccountId(1), &table, &choices, &Naming::default());
        assert_eq!(listed(&namespace, "*"), ["INBOX"]);
        for name in ["Calendar/Birthdays", "Calendar/New", "[Gmail]/All", "shared/Team"] {
            assert!(
                namespace.resolve(&local(name)).is_none() && namespace.route_of_new(&local(name)).is_none(),
                "{name}"
            );
        }
        let pairs = vec![(local("All"), remote("[Gmail]/All")), (local("Team"), remote("shared/Team"))];
        let namespace = Namespace::new(AccountId(1), &table, &Choices { pairs, ..choices }, &Naming::default());
        assert_eq!(listed(&namespace, "*"), ["INBOX", "All", "Team"]);
    }

    #[test]
    fn a_delimiter_at_the_end_is_no_part_of_a_new_name() {
        let namespace = ovh();
        for (name, made) in
            [("New/", "INBOX.New"), ("Sent/", "INBOX.Sent"), ("INBOX.Junk", "INBOX.Junk"), ("a/b", "INBOX.a.b")]
        {
            let route = namespace.route_of_new(&LocalName::parse(name.as_bytes()).expect("a name")).expect("a route");
            assert_eq!(route.remote, remote(made), "{name}");
        }
        assert!(namespace.route_of_new(&local("INBOX.Nope")).is_none());
    }

    #[test]
    fn deep_names_imply_no_more_than_names_may_take() {
        let name = |n: usize| RemoteName::parse(format!("{n:03}{}", "/a".repeat(290)).as_bytes()).expect("a name");
        let folder = |n| Folder { name: name(n), attributes: Attributes::default(), role: None, subscribed: false };
        let folders = (0..900).map(folder).collect();
        let table = FolderTable { delimiter: Some(b'/'), folders, ..FolderTable::default() };
        let namespace = Namespace::new(AccountId(1), &table, &Choices::default(), &Naming::default());
        let octets: usize = namespace.entries.iter().map(|entry| entry.local.as_bytes().len()).sum();
        assert!(octets <= 2 * FOLDER_NAMES_MAX, "{octets}");
        let deep = RemoteName::parse("/a".repeat(2000).as_bytes()).expect("a name");
        let folders = vec![Folder { name: deep, ..folder(0) }];
        let table = FolderTable { delimiter: Some(b'/'), folders, ..FolderTable::default() };
        assert!(Namespace::new(AccountId(1), &table, &Choices::default(), &Naming::default()).entries.is_empty());
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
