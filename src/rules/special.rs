//! Which mailbox is Sent, Drafts, Trash or Junk: by special-use attribute first (RFC 6154; Microsoft and Zoho send them
//! in plain LIST without announcing them), by the mailbox that a CRM made for it second, by the names that providers and
//! mail programs use third. A person's choice is above all that, and none of this file's.

use crate::{
    model::{Folder, FolderTable, RemoteName, Role},
    wire::imap::utf7,
};

/// Finds a role's mailbox: at most one, which messages can be stored in, and which this login may see. `made`: what a CRM
/// made for it.
#[must_use]
pub fn find<'a>(
    table: &'a FolderTable,
    role: Role,
    made: Option<&RemoteName>,
    visible: impl Fn(&RemoteName) -> bool,
) -> Option<&'a RemoteName> {
    let usable = |folder: &&Folder| !folder.attributes.no_select && !folder.name.is_inbox() && visible(&folder.name);
    // Asked last: a provider may have thousands of folders, and as many rules of what is visible.
    let first = |is: &dyn Fn(&Folder) -> bool| table.folders.iter().filter(|folder| is(folder)).find(usable);
    first(&|folder| folder.role == Some(role))
        .or_else(|| first(&|folder| Some(&folder.name) == made))
        .or_else(|| {
            let ranked = table.folders.iter().filter_map(|folder| Some((rank(table, folder, role)?, folder)));
            ranked.filter(|(_, folder)| usable(folder)).min_by_key(|(rank, _)| *rank).map(|(_, folder)| folder)
        })
        .map(|folder| &folder.name)
}

/// How unlikely the name of a mailbox is for this role; zero is the likeliest. None: it is no name of it.
fn rank(table: &FolderTable, folder: &Folder, role: Role) -> Option<usize> {
    let top = folder.role.is_none().then(|| top_level(table, &folder.name))??;
    known_names(role).iter().position(|known| same(&top, known))
}

/// The decoded name of a mailbox that stands directly in the personal namespace.
fn top_level(table: &FolderTable, name: &RemoteName) -> Option<String> {
    let rest = name.as_bytes().strip_prefix(&*table.prefix)?;
    let nested = table.delimiter.is_some_and(|delimiter| rest.contains(&delimiter));
    if nested { None } else { utf7::decode(rest) }
}

fn same(name: &str, known: &str) -> bool {
    name.chars().flat_map(char::to_lowercase).eq(known.chars())
}

/// Lower case, the likeliest first. Sources: providers.md sections 3-6 (Microsoft in French and English, OVH, Yahoo),
/// and the defaults of Thunderbird, Apple Mail and Roundcube.
fn known_names(role: Role) -> &'static [&'static str] {
    match role {
        Role::Sent => &[
            "sent",
            "sent items",
            "sent mail",
            "sent messages",
            "éléments envoyés",
            "messages envoyés",
            "envoyés",
            "objets envoyés",
            "gesendet",
            "gesendete elemente",
            "gesendete objekte",
            "elementos enviados",
            "enviados",
            "posta inviata",
            "inviati",
        ],
        Role::Drafts => &["drafts", "draft", "brouillons", "entwürfe", "borradores", "bozze"],
        Role::Trash => &[
            "trash",
            "deleted items",
            "deleted",
            "deleted messages",
            "bin",
            "corbeille",
            "éléments supprimés",
            "messages supprimés",
            "papierkorb",
            "gelöschte elemente",
            "gelöschte objekte",
            "papelera",
            "elementos eliminados",
            "cestino",
        ],
        Role::Junk => &[
            "junk",
            "spam",
            "junk email",
            "junk e-mail",
            "junk mail",
            "bulk",
            "bulk mail",
            "courrier indésirable",
            "indésirables",
            "pourriel",
            "unerwünscht",
            "junk-e-mail",
            "correo no deseado",
            "posta indesiderata",
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Attributes;

    fn table(prefix: &str, delimiter: u8, folders: &[(&str, Option<Role>)]) -> FolderTable {
        let folders = folders.iter().map(|(name, role)| Folder {
            name: RemoteName::parse(&utf7::encode(name)).expect("a name"),
            attributes: Attributes::default(),
            role: *role,
            subscribed: true,
        });
        FolderTable {
            prefix: prefix.into(),
            delimiter: Some(delimiter),
            folders: folders.collect(),
            ..FolderTable::default()
        }
    }

    fn found(table: &FolderTable, role: Role) -> Option<String> {
        find(table, role, None, |_| true).and_then(|name| utf7::decode(name.as_bytes()))
    }

    #[test]
    fn an_attribute_wins_over_a_name() {
        let gmail = table("", b'/', &[("Sent", None), ("[Gmail]/Messages envoyés", Some(Role::Sent))]);
        assert_eq!(found(&gmail, Role::Sent).as_deref(), Some("[Gmail]/Messages envoyés"));
    }

    #[test]
    fn names_are_known_below_the_prefix_only() {
        let ovh = table("INBOX.", b'.', &[("INBOX.Clients.Sent", None), ("INBOX.Sent", None), ("Trash", None)]);
        assert_eq!(found(&ovh, Role::Sent).as_deref(), Some("INBOX.Sent"));
        assert_eq!(found(&ovh, Role::Trash), None);
        let microsoft = table("", b'/', &[("Inbox", None), ("ÉLÉMENTS SUPPRIMÉS", None)]);
        assert_eq!(found(&microsoft, Role::Trash).as_deref(), Some("ÉLÉMENTS SUPPRIMÉS"));
    }

    #[test]
    fn the_likeliest_name_that_may_be_seen_wins() {
        let many = table("", b'/', &[("Gesendet", None), ("Sent Items", None), ("Sent", None), ("SENT", None)]);
        assert_eq!(found(&many, Role::Sent).as_deref(), Some("Sent"));
        let hidden = |name: &RemoteName| name.as_bytes() != b"Sent" && name.as_bytes() != b"SENT";
        assert_eq!(find(&many, Role::Sent, None, hidden).map(RemoteName::as_bytes), Some(&b"Sent Items"[..]));
    }

    #[test]
    fn a_mailbox_has_one_role() {
        let odd = table("", b'/', &[("Deleted", Some(Role::Junk)), ("Trash", None)]);
        assert_eq!(found(&odd, Role::Trash).as_deref(), Some("Trash"));
    }
}
