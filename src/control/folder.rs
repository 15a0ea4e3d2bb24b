//! Folders: what a mailbox is called at the provider, what CRMs see it as, and what people change about that.

use super::{Error, OwnListeners, Refused, Service, account};
use crate::{
    model::{AccountId, Address, Folder, FolderTable, LocalName, RemoteName, Role, quoted},
    oauth::broker::{Broker, Holder},
    relay::LaneUse,
    rules::namespace::{Choices, Entry, Namespace, Naming},
    store::{Account, Store},
    upstream::{self, Opened, OpenedFacts, Wanted},
    wire::imap::utf7,
};
use serde::Serialize;

/// A folder under both its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FolderRow {
    /// As CRMs see it; None if they do not.
    pub local: Option<String>,
    /// As the provider calls it, decoded.
    pub remote: String,
    pub role: Option<Role>,
    pub subscribed: bool,
    pub state: FolderState,
}

/// What people did to a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FolderState {
    /// Nothing: it has the name that the rules give it.
    Plain,
    /// A person gave it its name.
    Mapped,
    /// No CRM sees it: a person hid it, or it is another's.
    Hidden,
    /// A person mapped it, and the provider has no such folder.
    Missing,
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FolderChange {
    /// As CRMs see it; None where that is not known.
    pub local: Option<String>,
    pub remote: String,
    /// False if it was so already.
    pub changed: bool,
}

/// Why a change of the folder map cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// INBOX has its own rule.
    #[error("INBOX is INBOX for every CRM, and always shown")]
    Inbox,
    /// A person mapped one of the two names already.
    #[error("a folder is mapped to this name, or this folder to another: {local}")]
    Mapped { local: String, address: Address },
    /// A text that is no name of a folder.
    #[error("no CRM could use this as the name of a folder: {0}")]
    Name(String),
    /// A folder that only has others below it.
    #[error("this folder of the provider holds no messages, only other folders: {0}")]
    NoMessages(String),
    /// It was not hidden by a person.
    #[error("no folder is hidden under this name: {0}")]
    NotHidden(String),
    /// Nothing is mapped to this name.
    #[error("no folder is mapped to this name: {0}")]
    NotMapped(String),
    /// Another folder has the name.
    #[error("CRMs see another folder of the provider ({remote}) under this name: {local}")]
    Taken { local: String, remote: String },
    /// The provider has no such folder.
    #[error("the provider has no folder of this name: {0}")]
    Unknown(String),
}

impl Refusal {
    /// What mends it, for people.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Inbox | Self::NoMessages(_) => return None,
            Self::Mapped { local, address } => {
                let address = quoted(address.as_str());
                format!("take that back first: `passerelle folder unmap {address} {}`", quoted(local))
            }
            Self::Name(_) => {
                "separate levels by `/`; leave out quotes, backslashes, `%`, `*`, and blanks at the ends of a level"
                    .into()
            }
            Self::NotHidden(_) | Self::NotMapped(_) => {
                "`passerelle folder list ADDRESS` shows what is mapped and what is hidden".into()
            }
            Self::Taken { .. } => {
                "choose another name, or first `passerelle folder hide` or `map` the folder that has it".into()
            }
            Self::Unknown(_) => {
                "`passerelle folder list ADDRESS` shows the names; `--unchecked` takes what is not there yet".into()
            }
        })
    }
}

/// Signs in and reads the folders of an account.
///
/// # Errors
/// If the provider does not let us in, or the store fails.
pub async fn list(
    store: &Store,
    account: &Account,
    naming: &Naming,
    own: &OwnListeners,
) -> Result<Vec<FolderRow>, Error> {
    let table = read(store, account, own).await?;
    let choices = store.choices(account.id).await?;
    Ok(rows(account.id, &table, &choices, naming))
}

/// Gives a folder of the provider a name of its own, or a role by the role's name: the house's (`Sent`) or the CRM's
/// (`Envoyés`). Names are texts, as people type them.
///
/// # Errors
/// If a name cannot be one, the provider has no such folder (unless it is not to be `checked`), either name is taken, the provider does
/// not let us in, or the store fails. Then nothing is changed.
pub async fn map(
    store: &Store,
    account: &Account,
    naming: &Naming,
    [local, remote]: [&str; 2],
    checked: Option<&OwnListeners>,
) -> Result<FolderChange, Error> {
    let name = naming.house_of_typed(&local_name(local)?);
    let choices = store.choices(account.id).await?;
    let target = if let Some(own) = checked {
        let table = read(store, account, own).await?;
        let target = find(&table, remote).ok_or_else(|| Refusal::Unknown(remote.to_owned()))?;
        if target.attributes.no_select {
            return Err(Refusal::NoMessages(remote.to_owned()).into());
        }
        free(account.id, &table, &choices, &name, &target.name)?;
        target.name.clone()
    } else {
        typed(remote)?
    };
    if target.is_inbox() {
        return Err(Refusal::Inbox.into());
    }
    let change = |changed| FolderChange { local: Some(local.to_owned()), remote: readable(target.as_bytes()), changed };
    match choices.pairs.iter().find(|(l, r)| *l == name || *r == target) {
        Some((l, r)) if *l == name && *r == target => return Ok(change(false)),
        Some((l, _)) => {
            return Err(Refusal::Mapped { local: readable(l.as_bytes()), address: account.address.clone() }.into());
        }
        None => {}
    }
    store.map_folder(account.id, &name, &target).await?;
    Ok(change(true))
}

/// Takes the name away that a person gave, or the role of what a CRM made for it.
///
/// # Errors
/// If no folder is mapped to this name, or the store fails.
pub async fn unmap(store: &Store, account: &Account, naming: &Naming, local: &str) -> Result<FolderChange, Error> {
    let name = naming.house_of_typed(&local_name(local)?);
    let mapped = store.folder_map(account.id).await?.into_iter().find(|row| row.local == name);
    let mapped = mapped.ok_or_else(|| Refusal::NotMapped(local.to_owned()))?;
    let changed = store.unmap_folder(account.id, &name).await?;
    Ok(FolderChange { local: Some(local.to_owned()), remote: readable(mapped.remote.as_bytes()), changed })
}

/// Hides a folder, and what is below it, from CRMs. It is named as CRMs see it, or as the provider calls it.
///
/// # Errors
/// If there is no such folder (where that is not to be `checked`, the name is the provider's), a person mapped it, or it is INBOX; if the
/// provider does not let us in, or the store fails.
pub async fn hide(
    store: &Store,
    account: &Account,
    naming: &Naming,
    name: &str,
    checked: Option<&OwnListeners>,
) -> Result<FolderChange, Error> {
    let choices = store.choices(account.id).await?;
    let target = if let Some(own) = checked {
        let table = read(store, account, own).await?;
        let namespace = Namespace::new(account.id, &table, &choices, naming);
        let shown = namespace.entries().find(|entry| readable(entry.local.as_bytes()) == name);
        let shown = shown.and_then(|entry| entry.remote().cloned());
        let found = shown.or_else(|| find(&table, name).map(|folder| folder.name.clone()));
        found.ok_or_else(|| Refusal::Unknown(name.to_owned()))?
    } else {
        typed(name)?
    };
    if target.is_inbox() {
        return Err(Refusal::Inbox.into());
    }
    if let Some((local, _)) = choices.pairs.iter().find(|(_, remote)| *remote == target) {
        return Err(Refusal::Mapped { local: readable(local.as_bytes()), address: account.address.clone() }.into());
    }
    let changed = store.set_hidden(account.id, &target, true).await?;
    Ok(FolderChange { local: None, remote: readable(target.as_bytes()), changed })
}

/// Shows a folder again that was hidden, by the provider's name for it, or the end of that.
///
/// # Errors
/// If it was not hidden, or the store fails.
pub async fn show(store: &Store, account: &Account, name: &str) -> Result<FolderChange, Error> {
    let hidden = store.choices(account.id).await?.hidden;
    let whole = hidden.iter().find(|remote| readable(remote.as_bytes()) == name);
    let ends_so = |remote: &&RemoteName| {
        let text = readable(remote.as_bytes());
        text.strip_suffix(name).is_some_and(|front| front.ends_with(['.', '/']))
    };
    let mut ends = hidden.iter().filter(ends_so);
    let target = whole.or_else(|| ends.next().filter(|_| ends.next().is_none()));
    let target = target.ok_or_else(|| Refusal::NotHidden(name.to_owned()))?;
    let changed = store.set_hidden(account.id, target, false).await?;
    Ok(FolderChange { local: None, remote: readable(target.as_bytes()), changed })
}

async fn read(store: &Store, account: &Account, own: &OwnListeners) -> Result<FolderTable, Error> {
    let broker = Broker::new(store.clone(), upstream::exchange().map_err(|_| Error::NoHttp)?, Holder::Command);
    let wanted = Wanted { account, purpose: LaneUse::Imap, reads_folders: true, passed: None, own: own.addresses() };
    let silent = &mut |_| {};
    let opened = upstream::open_stored(store, &broker, wanted, account::DEADLINES, silent).await;
    match opened {
        Ok(opened) => Ok(table(opened)),
        Err(refusal) => Err(Error::Refused(vec![Refused::by(Service::Imap, &account.imap, refusal, own)])),
    }
}

/// The folder that a person means by this text.
fn find<'a>(table: &'a FolderTable, text: &str) -> Option<&'a Folder> {
    table.folders.iter().find(|folder| readable(folder.name.as_bytes()) == text)
}

/// The provider's name of a folder, typed by a person.
fn typed(text: &str) -> Result<RemoteName, Refusal> {
    RemoteName::parse(&utf7::encode(text)).map_err(|_| Refusal::Name(text.to_owned()))
}

/// A name for CRMs, typed by a person: one that every client can list.
fn local_name(text: &str) -> Result<LocalName, Refusal> {
    let name = LocalName::parse(&utf7::encode(text)).map_err(|_| Refusal::Name(text.to_owned()))?;
    if name.is_inbox() {
        return Err(Refusal::Inbox);
    }
    let level = |level: &str| !level.is_empty() && level.trim() == level && !level.contains("  ");
    if text.contains(['"', '\\', '%', '*']) || !text.split('/').all(level) {
        return Err(Refusal::Name(text.to_owned()));
    }
    Ok(name)
}

/// Whether no other folder has this name now. That of a role is for a person to give away: the folder that had it goes on
/// under another.
fn free(
    account: AccountId,
    table: &FolderTable,
    choices: &Choices,
    name: &LocalName,
    target: &RemoteName,
) -> Result<(), Refusal> {
    let namespace = Namespace::new(account, table, choices, &Naming::default());
    let taken = namespace.resolve(name).filter(|route| route.local == *name && route.remote != *target);
    let mapped = choices.pairs.iter().any(|(local, _)| local == name);
    match taken {
        Some(route) if !mapped && Naming::default().role(name).is_none() => {
            Err(Refusal::Taken { local: readable(name.as_bytes()), remote: readable(route.remote.as_bytes()) })
        }
        _ => Ok(()),
    }
}

/// What an opening read of the folders.
pub(super) fn table(opened: Opened) -> FolderTable {
    match opened.facts {
        OpenedFacts::Imap { folders, .. } => folders.unwrap_or_default(),
        OpenedFacts::Smtp { .. } => FolderTable::default(),
    }
}

/// The folder table in the CRM's order: INBOX, the roles, then by name; then what CRMs do not see.
pub(super) fn rows(account: AccountId, table: &FolderTable, choices: &Choices, naming: &Naming) -> Vec<FolderRow> {
    let namespace = Namespace::new(account, table, choices, naming);
    let mapped = |remote: &RemoteName| choices.pairs.iter().any(|(_, mapped)| mapped == remote);
    let row = |entry: &Entry, remote: &RemoteName| FolderRow {
        local: Some(readable(entry.local.as_bytes())),
        remote: readable(remote.as_bytes()),
        role: entry.role,
        subscribed: entry.subscribed,
        state: if mapped(remote) { FolderState::Mapped } else { FolderState::Plain },
    };
    let other = |local: Option<&LocalName>, remote: &RemoteName, state| FolderRow {
        local: local.map(|local| readable(local.as_bytes())),
        remote: readable(remote.as_bytes()),
        role: None,
        subscribed: false,
        state,
    };
    let shown = namespace.entries().filter_map(|entry| Some(row(entry, entry.remote()?)));
    let unseen = table.folders.iter().filter(|folder| namespace.local(&folder.name).is_none());
    let missing = choices.pairs.iter().filter(|(_, remote)| !table.folders.iter().any(|folder| folder.name == *remote));
    shown
        .chain(missing.map(|(local, remote)| other(Some(&naming.spell(local)), remote, FolderState::Missing)))
        .chain(unseen.map(|folder| other(None, &folder.name, FolderState::Hidden)))
        .collect()
}

/// The text of a wire name; one that is no modified UTF-7 as it is, control octets left out.
pub(super) fn readable(name: &[u8]) -> String {
    let text = utf7::decode(name).unwrap_or_else(|| String::from_utf8_lossy(name).into_owned());
    text.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Attributes;

    #[test]
    fn folders_are_shown_under_both_names() {
        let folder = |name: &str, role| Folder {
            name: RemoteName::parse(name.as_bytes()).expect("a name"),
            attributes: Attributes::default(),
            role,
            subscribed: true,
        };
        let table = FolderTable {
            prefix: b"INBOX.".to_vec(),
            delimiter: Some(b'.'),
            folders: vec![folder("INBOX", None), folder("INBOX.&AMk-l&AOk-ments envoy&AOk-s", Some(Role::Sent))],
            ..FolderTable::default()
        };
        let french = Naming::of_texts(["Envoyés", "Brouillons", "Corbeille", "Indésirables"], b'/').expect("a naming");
        assert_eq!(rows(AccountId(1), &table, &Choices::default(), &french)[1].local.as_deref(), Some("Envoyés"));
        let rows = rows(AccountId(1), &table, &Choices::default(), &Naming::default());
        let names: Vec<_> = rows.iter().map(|row| (row.local.as_deref(), row.remote.as_str(), row.role)).collect();
        assert_eq!(names, [(Some("INBOX"), "INBOX", None), (Some("Sent"), "INBOX.Éléments envoyés", Some(Role::Sent))]);
    }

    #[test]
    fn names_are_typed_as_people_read_them() {
        assert_eq!(local_name("Clients/Été").expect("a name").as_str(), "Clients/&AMk-t&AOk-");
        assert_eq!(local_name("R&D").expect("a name").as_str(), "R&-D");
        for text in ["", "inbox", "/a", "a/", "a//b", " a", "a  b", "a\"b", "100%", "a*"] {
            assert!(local_name(text).is_err(), "{text}");
        }
    }
}
