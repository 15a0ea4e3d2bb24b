//! Folders: what a mailbox is called at the provider, and what CRMs see it as.

use super::{Error, Refused, Service, account};
use crate::{
    model::{AccountId, Address, FolderTable, Role},
    relay::{LaneUse, opening::SignIn},
    rules::namespace::{Choices, Namespace, Naming},
    store::Store,
    upstream::{self, Opened, OpenedFacts, Target},
    wire::imap::utf7,
};
use serde::Serialize;

/// A folder under both its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FolderRow {
    /// As CRMs see it.
    pub local: String,
    /// As the provider calls it, decoded.
    pub remote: String,
    pub role: Option<Role>,
    pub subscribed: bool,
}

/// Signs in and reads the folders of an account.
///
/// # Errors
/// If there is no such account, the provider does not let us in, or the store fails.
pub async fn list(store: &Store, address: &Address) -> Result<Vec<FolderRow>, Error> {
    let account = account::by_address(store, address).await?;
    let password = store.account_password(&account).await?;
    let target = Target { endpoint: account.imap.clone(), certificates: account.certificates.clone() };
    let silent = &mut |_| {};
    let sign_in = SignIn::Password { user: account.sign_in_name.as_str().into(), password };
    let opened = upstream::open(&target, LaneUse::Imap, sign_in, account::DEADLINE, silent).await;
    let opened = opened.map_err(|refusal| Error::Refused(vec![Refused::by(Service::Imap, &account.imap, refusal)]))?;
    let choices = store.choices(account.id).await?;
    Ok(rows(account.id, &table(opened), &choices))
}

/// What an opening read of the folders.
pub(super) fn table(opened: Opened) -> FolderTable {
    match opened.facts {
        OpenedFacts::Imap { folders, .. } => folders.unwrap_or_default(),
        OpenedFacts::Smtp { .. } => FolderTable::default(),
    }
}

/// The folder table in the CRM's order: INBOX, the roles, then by name.
pub(super) fn rows(account: AccountId, table: &FolderTable, choices: &Choices) -> Vec<FolderRow> {
    let namespace = Namespace::new(account, table, choices, &Naming::default());
    let row = |entry: &crate::rules::namespace::Entry| FolderRow {
        local: readable(entry.local.as_bytes()),
        remote: entry.remote().map(|remote| readable(remote.as_bytes())).unwrap_or_default(),
        role: entry.role,
        subscribed: entry.subscribed,
    };
    namespace.entries().map(row).collect()
}

/// The text of a wire name; one that is no modified UTF-7 as it is, control octets left out.
pub(super) fn readable(name: &[u8]) -> String {
    let text = utf7::decode(name).unwrap_or_else(|| String::from_utf8_lossy(name).into_owned());
    text.replace(char::is_control, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attributes, Folder, RemoteName};

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
        let rows = rows(AccountId(1), &table, &Choices::default());
        let names: Vec<_> = rows.iter().map(|row| (row.local.as_str(), row.remote.as_str(), row.role)).collect();
        assert_eq!(names, [("INBOX", "INBOX", None), ("Sent", "INBOX.Éléments envoyés", Some(Role::Sent))]);
    }
}
