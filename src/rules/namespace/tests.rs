//! What a login sees of a folder table.

use super::*;
use crate::{
    model::Folder,
    rules::listing,
    wire::imap::{command::Verb, utf7},
};

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
        &[("INBOX.Zebra.a", None), ("INBOX.Trash", None), ("INBOX", None), ("INBOX.Sent", None), ("shared.x", None)],
    )
}

fn listed(namespace: &Namespace, pattern: &str) -> Vec<String> {
    told(namespace, Verb::List, pattern)
}

fn told(namespace: &Namespace, verb: Verb, pattern: &str) -> Vec<String> {
    let query = listing::Query { verb, patterns: &[pattern.as_bytes().to_vec()], extended: None };
    listing::answer(namespace, &query).iter().map(|line| line.name.as_str().to_owned()).collect()
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
    assert_eq!(told(&namespace, Verb::Lsub, "*"), ["Old"]);
    assert!(namespace.resolve_gone(&LocalName::parse(b"Old").expect("a name")).is_some());
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
    let table = table(&[("INBOX", None), ("Sent", Some(Role::Sent)), ("Trash", None), ("Mine", None), ("Bin", None)]);
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
        assert!(namespace.resolve(&local(name)).is_none() && namespace.route_of_new(&local(name)).is_none(), "{name}");
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

#[test]
fn a_container_whose_children_have_other_names_is_no_folder() {
    let folder = |name: &str, no_select, role| Folder {
        name: RemoteName::parse(name.as_bytes()).expect("a name"),
        attributes: Attributes { no_select, ..Attributes::default() },
        role,
        subscribed: true,
    };
    let listed = |more: &[Folder]| {
        let folders = [folder("INBOX", false, None), folder("[Gmail]", true, None)];
        let specials = [folder("[Gmail]/x", true, None), folder("[Gmail]/x/Sent", false, Some(Role::Sent))];
        let folders = folders.into_iter().chain(specials).chain(more.iter().cloned()).collect();
        let table = FolderTable { delimiter: Some(b'/'), folders, ..FolderTable::default() };
        let namespace = Namespace::new(AccountId(1), &table, &Choices::default(), &Naming::default());
        namespace.entries().map(|entry| entry.local.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&[]), ["INBOX", "Sent"]);
    assert_eq!(listed(&[folder("[Gmail]/Suivis", false, None)]), ["INBOX", "Sent", "[Gmail]", "[Gmail]/Suivis"]);
    // One that holds nothing at the provider either is the person's own.
    assert_eq!(listed(&[folder("Archive", true, None)]), ["INBOX", "Sent", "Archive"]);
}
