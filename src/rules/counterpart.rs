//! Which mailbox of another provider takes the place of which: by role first, then by name.
//!
//! What a CRM calls its folders never changes in a swap. So a mailbox that would come under another name is given the
//! old one, as if a person had chosen it; what has no counterpart is told, not made.

use super::namespace::{Choices, Entry, Namespace, Naming};
use crate::{
    model::{AccountId, Attributes, Folder, FolderTable, LocalName, RemoteName, Role},
    wire::imap::utf7,
};
use std::collections::{BTreeMap, BTreeSet};

/// A folder as the CRM knows it before the swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub local: LocalName,
    pub role: Option<Role>,
    /// The levels of its name at the old provider, as people read them.
    pub path: Vec<String>,
}

/// A folder of the CRM, and the mailbox that it will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterpart {
    pub local: LocalName,
    pub role: Option<Role>,
    /// None: there is none.
    pub remote: Option<RemoteName>,
}

/// What a swap makes of the folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order of what was known.
    pub counterparts: Vec<Counterpart>,
    /// What the CRM will see beside them.
    pub fresh: Vec<(LocalName, RemoteName)>,
    /// Names that must be chosen for it to be so.
    pub pairs: Vec<(LocalName, RemoteName)>,
}

/// What a CRM sees of a provider's mailboxes.
#[must_use]
pub fn known(namespace: &Namespace, table: &FolderTable) -> Vec<Known> {
    let known = |entry: &Entry| {
        let path = path(table, entry.remote()?);
        Some(Known { local: entry.local.clone(), role: entry.role, path })
    };
    namespace.entries().filter(|entry| !entry.attributes.no_select).filter_map(known).collect()
}

/// Finds a counterpart for each folder that is known, among the mailboxes of the other provider.
#[must_use]
pub fn plan(account: AccountId, known: &[Known], table: &FolderTable, hidden: &BTreeSet<RemoteName>) -> Plan {
    let unpaired = Choices { hidden: hidden.clone(), ..Choices::default() };
    let plain = Namespace::new(account, table, &unpaired, &Naming::default());
    let choices = Choices { pairs: pairs(known, table, &plain), ..unpaired };
    Plan { pairs: choices.pairs.clone(), ..with(account, known, table, &choices) }
}

/// The same where people have chosen before: what they did counts, and nothing else is chosen.
#[must_use]
pub fn with(account: AccountId, known: &[Known], table: &FolderTable, choices: &Choices) -> Plan {
    let chosen = Namespace::new(account, table, choices, &Naming::default());
    let messages: BTreeSet<&RemoteName> =
        table.folders.iter().filter(|folder| !folder.attributes.no_select).map(|folder| &folder.name).collect();
    let remote = |local: &LocalName| chosen.resolve(local).map(|route| route.remote);
    let counterparts: Vec<_> = known
        .iter()
        .map(|known| Counterpart {
            local: known.local.clone(),
            role: known.role,
            remote: remote(&known.local).filter(|remote| messages.contains(remote)),
        })
        .collect();
    let taken: BTreeSet<&RemoteName> =
        counterparts.iter().filter_map(|counterpart| counterpart.remote.as_ref()).collect();
    let fresh = chosen.entries().filter_map(|entry| Some((entry.local.clone(), entry.remote()?.clone())));
    let fresh = fresh.filter(|(_, remote)| messages.contains(remote) && !taken.contains(remote)).collect();
    Plan { counterparts, fresh, pairs: Vec::new() }
}

/// What stays hidden: the counterparts of what was. `before` is the table of the old provider.
#[must_use]
pub fn hidden(
    account: AccountId,
    hidden: &BTreeSet<RemoteName>,
    before: &FolderTable,
    table: &FolderTable,
) -> BTreeSet<RemoteName> {
    let plain = |table| Namespace::new(account, table, &Choices::default(), &Naming::default());
    let (old, new) = (plain(before), plain(table));
    let by_path: BTreeMap<Vec<String>, &RemoteName> =
        table.folders.iter().map(|folder| (folded(&path(table, &folder.name)), &folder.name)).collect();
    let counterpart = |name: &RemoteName| {
        let by_name = old.local(name).and_then(|local| new.resolve(local)).map(|route| route.remote);
        by_name.or_else(|| by_path.get(&folded(&path(before, name))).map(|&name| name.clone()))
    };
    hidden.iter().filter_map(counterpart).collect()
}

/// A table of names of which nothing else is known: a provider that puts all below `INBOX.` is told by that.
pub fn guessed<'a>(names: impl Iterator<Item = &'a RemoteName> + Clone) -> FolderTable {
    let below_inbox = names.clone().any(|name| name.as_bytes().starts_with(b"INBOX."));
    let (prefix, delimiter) = if below_inbox { (b"INBOX.".to_vec(), b'.') } else { (Vec::new(), b'/') };
    let folder = |name: &RemoteName| Folder {
        name: name.clone(),
        attributes: Attributes::default(),
        role: None,
        subscribed: false,
    };
    let folders = names.collect::<BTreeSet<_>>().into_iter().map(folder).collect();
    FolderTable { prefix, delimiter: Some(delimiter), folders, ..FolderTable::default() }
}

/// Mailboxes that only by choice get the name that the CRM knows.
fn pairs(known: &[Known], table: &FolderTable, plain: &Namespace) -> Vec<(LocalName, RemoteName)> {
    let resolved: BTreeSet<RemoteName> =
        known.iter().filter_map(|known| plain.resolve(&known.local)).map(|route| route.remote).collect();
    let special: BTreeSet<&RemoteName> =
        plain.entries().filter(|entry| entry.role.is_some()).filter_map(Entry::remote).collect();
    let mut free: BTreeMap<Vec<String>, &RemoteName> = table
        .folders
        .iter()
        .filter(|folder| !folder.attributes.no_select && !folder.name.is_inbox())
        .filter(|folder| !resolved.contains(&folder.name) && !special.contains(&folder.name))
        .filter(|folder| plain.local(&folder.name).is_some())
        .map(|folder| (folded(&path(table, &folder.name)), &folder.name))
        .collect();
    let mut pairs = Vec::new();
    // A role that the provider lacks is made when the CRM files there: no mailbox is bent to it.
    for known in known.iter().filter(|known| known.role.is_none() && plain.resolve(&known.local).is_none()) {
        let levels =
            known.local.as_bytes().split(|octet| *octet == LocalName::DELIMITER).map(readable).collect::<Vec<_>>();
        let found = [&known.path, &levels].into_iter().find_map(|path| free.remove(&folded(path)));
        pairs.extend(found.map(|remote| (known.local.clone(), remote.clone())));
    }
    pairs
}

/// The levels of a mailbox's name below the prefix.
fn path(table: &FolderTable, remote: &RemoteName) -> Vec<String> {
    let octets = remote.as_bytes();
    let own = octets.strip_prefix(&*table.prefix).unwrap_or(octets);
    match table.delimiter {
        Some(delimiter) => own.split(|octet| *octet == delimiter).map(readable).collect(),
        None => vec![readable(own)],
    }
}

fn readable(octets: &[u8]) -> String {
    utf7::decode(octets).unwrap_or_else(|| String::from_utf8_lossy(octets).into_owned())
}

fn folded(path: &[String]) -> Vec<String> {
    path.iter().map(|level| level.trim().to_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(name: &str) -> RemoteName {
        RemoteName::parse(&utf7::encode(name)).expect("a name")
    }

    fn local(name: &str) -> LocalName {
        LocalName::parse(&utf7::encode(name)).expect("a name")
    }

    fn table(prefix: &str, delimiter: u8, folders: &[(&str, Option<Role>)]) -> FolderTable {
        let folders = folders.iter().map(|(name, role)| Folder {
            name: remote(name),
            attributes: Attributes { no_select: *name == "[Gmail]", ..Attributes::default() },
            role: *role,
            subscribed: true,
        });
        let (prefix, folders) = (prefix.into(), folders.collect());
        FolderTable { prefix, delimiter: Some(delimiter), folders, ..FolderTable::default() }
    }

    fn known_of(table: &FolderTable, pairs: Vec<(LocalName, RemoteName)>) -> Vec<Known> {
        let choices = Choices { pairs, ..Choices::default() };
        known(&Namespace::new(AccountId(1), table, &choices, &Naming::default()), table)
    }

    fn ovh() -> FolderTable {
        let names = ["INBOX", "INBOX.Sent", "INBOX.Trash", "INBOX.Clients", "INBOX.Clients.Été", "INBOX.Old.2019"];
        table("INBOX.", b'.', &names.map(|name| (name, None)))
    }

    fn moved(plan: &Plan) -> Vec<(String, Option<String>)> {
        let text = |octets: &[u8]| utf7::decode(octets).expect("UTF-7");
        let row = |counterpart: &Counterpart| {
            let remote = counterpart.remote.as_ref().map(|remote| text(remote.as_bytes()));
            (text(counterpart.local.as_bytes()), remote)
        };
        plan.counterparts.iter().map(row).collect()
    }

    #[test]
    fn roles_go_by_role_and_others_by_name() {
        let gmail = [
            ("INBOX", None),
            ("[Gmail]", None),
            ("[Gmail]/Messages envoyés", Some(Role::Sent)),
            ("[Gmail]/Corbeille", Some(Role::Trash)),
            ("[Gmail]/Tous les messages", None),
            ("Clients", None),
            ("Clients/Été", None),
        ];
        let plan = plan(AccountId(1), &known_of(&ovh(), Vec::new()), &table("", b'/', &gmail), &BTreeSet::new());
        let row = |local: &str, remote: Option<&str>| (local.to_owned(), remote.map(str::to_owned));
        assert_eq!(
            moved(&plan),
            [
                row("INBOX", Some("INBOX")),
                row("Sent", Some("[Gmail]/Messages envoyés")),
                row("Trash", Some("[Gmail]/Corbeille")),
                row("Clients", Some("Clients")),
                row("Clients/Été", Some("Clients/Été")),
                row("Old/2019", None),
            ]
        );
        assert_eq!(plan.pairs, []);
        assert_eq!(plan.fresh, [(local("[Gmail]/Tous les messages"), remote("[Gmail]/Tous les messages"))]);
    }

    #[test]
    fn a_name_that_a_person_chose_is_kept_by_choice() {
        let chosen = vec![(local("Archive"), remote("INBOX.Old.2019")), (local("Sent"), remote("INBOX.Clients"))];
        let known = known_of(&ovh(), chosen);
        let new = table(
            "",
            b'/',
            &[("INBOX", None), ("old/2019", None), ("Sent Items", Some(Role::Sent)), ("clients", None)],
        );
        let plan = plan(AccountId(1), &known, &new, &BTreeSet::new());
        assert!(plan.pairs.contains(&(local("Archive"), remote("old/2019"))), "{plan:?}");
        let moved = moved(&plan);
        assert!(moved.contains(&("Sent".into(), Some("Sent Items".into()))), "{moved:?}");
        assert!(moved.contains(&("Archive".into(), Some("old/2019".into()))), "{moved:?}");
    }

    #[test]
    fn case_alone_makes_no_other_folder() {
        let new = table("", b'/', &[("INBOX", None), ("CLIENTS", None), ("Trash", Some(Role::Trash))]);
        let plan = plan(AccountId(1), &known_of(&ovh(), Vec::new()), &new, &BTreeSet::new());
        assert_eq!(plan.pairs, [(local("Clients"), remote("CLIENTS"))]);
        assert_eq!(plan.fresh, []);
        let sent = plan.counterparts.iter().find(|counterpart| counterpart.role == Some(Role::Sent)).expect("known");
        assert_eq!(sent.remote, None, "nothing is bent to a role");
    }

    #[test]
    fn what_was_hidden_stays_hidden() {
        let names = [("INBOX", None), ("[Gmail]/Corbeille", Some(Role::Trash)), ("clients", None), ("Sent", None)];
        let new = table("", b'/', &names);
        let was = ["INBOX.Trash", "INBOX.Clients", "INBOX.Old"].map(remote).into();
        let stays = BTreeSet::from(["[Gmail]/Corbeille", "clients"].map(remote));
        assert_eq!(hidden(AccountId(1), &was, &ovh(), &new), stays);
        // The same where the old provider is gone.
        assert_eq!(hidden(AccountId(1), &was, &guessed(was.iter()), &new), stays);
        let plan = plan(AccountId(1), &known_of(&ovh(), Vec::new()), &new, &stays);
        let seen: Vec<_> = moved(&plan).into_iter().filter_map(|(_, remote)| remote).collect();
        assert_eq!(seen, ["INBOX", "Sent"]);
        assert_eq!((plan.fresh, plan.pairs), (Vec::new(), Vec::new()));
    }
}
