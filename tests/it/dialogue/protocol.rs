//! What differs by protocol: the relay, and the facts of a lane. Folder tables of real providers, by name.

use passerelle::{
    model::{
        AccountId, Address, Attributes, Folder, FolderTable, FromPolicy, LocalName, RemoteName, Role, Submission,
        UnreadScope,
    },
    profile::Table,
    relay::{Admission, Care, Keep, LaneFacts, Relay, SessionFacts, imap::ImapRelay, smtp::SmtpRelay},
    rules::namespace::{Choices, Namespace, Naming},
    store::Changes,
    wire::{
        imap::{response::capabilities, utf7},
        smtp::{Extensions, ReplyReader},
    },
};
use std::{path::Path, sync::Arc};

/// The account that every good verdict of a dialogue opens.
pub const ACCOUNT: AccountId = AccountId(1);
/// What makes the challenges of every session.
const NONCE: u128 = 1896;
/// The generic profile, but every sender passes.
const ANY: &str = "any";
const ADDRESS: &str = "alice@example.test";

/// A folder of `tests/dialogues` each.
pub enum Protocol {
    Imap,
    Smtp,
}

impl Protocol {
    pub fn of(folder: &str) -> Option<Self> {
        match folder {
            "imap" => Some(Self::Imap),
            "smtp" => Some(Self::Smtp),
            _ => None,
        }
    }

    /// A relay at a listener of this CRM profile.
    pub fn relay(&self, secured: bool, profile: &str) -> Box<dyn Relay> {
        let facts = SessionFacts {
            hostname: "bridge.test".into(),
            secured,
            message_max: 1000,
            profile: profiles(&Naming::default()).named(profile).expect("a profile").clone(),
            passes_tokens: false,
            nonce: NONCE,
        };
        match self {
            Self::Imap => Box::new(ImapRelay::new(facts)),
            Self::Smtp => Box::new(SmtpRelay::new(facts)),
        }
    }

    /// The facts of a lane, from the words behind `? lane => ok`: of IMAP a folder table and capabilities, of SMTP
    /// extensions.
    pub fn facts(&self, words: &[&str], house: &Chosen) -> LaneFacts {
        match self {
            Self::Imap => {
                let (folders, words) = words.split_first().expect("a folder table");
                let capabilities = capabilities(words.join(" ").as_bytes());
                LaneFacts::Imap { capabilities, namespace: house.namespace(&table(folders)) }
            }
            Self::Smtp => {
                let hello =
                    words.iter().fold("250-mx".to_owned(), |hello, word| hello + "\r\n250-" + &word.replace('=', " "));
                let hello = hello + "\r\n250 OK\r\n";
                let reply = ReplyReader::default().read(&mut hello.as_bytes());
                let reply = reply.expect("the words make a reply").expect("a whole one");
                LaneFacts::Smtp { extensions: Extensions::read(&reply) }
            }
        }
    }
}

/// What a good verdict says, with these settings of the account.
pub fn admission(settings: &[&str]) -> Admission {
    let admission = Admission::new(ACCOUNT, Address::parse(ADDRESS).expect("an address"));
    let mut admission = admission.under(profiles(&Naming::default()).named(crm(settings)).expect("a profile"));
    let changes = changes(settings);
    if let Some(Some(sender)) = changes.sender {
        admission.senders = [sender, admission.address.clone()].into();
    }
    admission.from = changes.from.unwrap_or_default();
    admission.display_name = changes.display_name.unwrap_or_default().into();
    admission.filing = filing(settings);
    admission.submission = changes.submission.unwrap_or_default();
    admission.receives = changes.receives.unwrap_or(true);
    admission.sends = changes.sends.unwrap_or(true);
    admission.unread = changes.unread.unwrap_or_default();
    admission
}

/// What becomes of Sent copies: `filing=kept`, `filing=noted`.
fn filing(settings: &[&str]) -> Care {
    match settings.iter().find_map(|setting| setting.strip_prefix("filing=")) {
        Some("kept") => Care::Kept,
        Some("noted") => Care::Noted,
        _ => Care::Nothing,
    }
}

/// The CRM profile of the login: one that lets every sender pass, unless the settings say another.
pub fn crm<'a>(settings: &[&'a str]) -> &'a str {
    settings.iter().find_map(|setting| setting.strip_prefix("crm=")).unwrap_or(ANY)
}

/// The profiles that are built in, and [`ANY`] with these names for mailboxes.
pub fn profiles(naming: &Naming) -> Table {
    let mut generic = include_str!("../../../config/crm/generic.toml").replace("\"refuse\"", "\"any\"");
    for role in Role::ALL {
        let name = utf7::decode(naming.local(role).as_bytes()).expect("a name for people");
        generic = generic.replace(&format!("= \"{}\"", LocalName::of_role(role).as_str()), &format!("= \"{name}\""));
    }
    generic = generic.replace("delimiter = \"/\"", &format!("delimiter = \"{}\"", char::from(naming.delimiter())));
    let mut table = Table::built_in().expect("what is built in is whole");
    table.read(Path::new(&format!("{ANY}.toml")), &generic).expect("read");
    table
}

/// The settings behind a verdict, as changes of an account without any.
pub fn changes(settings: &[&str]) -> Changes {
    let mut changes = Changes::default();
    for setting in settings {
        match setting.split_once('=').unwrap_or((setting, "")) {
            ("crm" | "filing", _) => {}
            ("receives", "no") => changes.receives = Some(false),
            ("sends", "no") => changes.sends = Some(false),
            ("submission", "queued") => changes.submission = Some(Submission::Queued),
            ("unread", "inbox") => changes.unread = Some(UnreadScope::Inbox),
            ("from", policy) => {
                changes.from = FromPolicy::ALL.into_iter().find(|known| known.to_string() == policy);
                assert!(changes.from.is_some(), "no such policy: {policy}");
            }
            ("name", name) => changes.display_name = Some(name.to_owned()),
            ("sender", sender) => changes.sender = Some(Some(Address::parse(sender).expect("an address"))),
            _ => panic!("no setting of an account: {setting}"),
        }
    }
    changes
}

/// What a dialogue says, anywhere in it, of its login's names and of the account's folder map.
#[derive(Default)]
pub struct Chosen {
    pub naming: Naming,
    pub choices: Choices,
}

impl Chosen {
    pub fn of(text: &str) -> Self {
        let mut house = Self::default();
        let remote = |name: &str| RemoteName::parse(&utf7::encode(name)).expect("a name");
        for line in text.lines().filter_map(|line| line.strip_prefix("! ")) {
            match *line.split(' ').collect::<Vec<_>>() {
                ["names", sent, drafts, trash, junk, delimiter] => {
                    let naming = Naming::of_texts([sent, drafts, trash, junk], delimiter.as_bytes()[0]);
                    house.naming = naming.expect("a naming");
                }
                ["map", local, name] => {
                    let local = LocalName::parse(&utf7::encode(local)).expect("a name");
                    house.choices.pairs.push((local, remote(name)));
                }
                ["hide", name] => drop(house.choices.hidden.insert(remote(name))),
                _ => {}
            }
        }
        house
    }

    pub fn keep(&mut self, keep: Keep) {
        match keep {
            Keep::Role(role, remote) => drop(self.choices.made.insert(role, remote)),
            Keep::Subscription(remote, Some(subscribed)) => drop(self.choices.subscribed.insert(remote, subscribed)),
            Keep::Subscription(remote, None) => drop(self.choices.subscribed.remove(&remote)),
        }
    }

    pub fn namespace(&self, table: &FolderTable) -> Arc<Namespace> {
        Arc::new(Namespace::new(ACCOUNT, table, &self.choices, &self.naming))
    }
}

/// The folder table of a provider.
pub fn table(provider: &str) -> FolderTable {
    let (prefix, delimiter, names): (&str, u8, &[(&str, Option<Role>)]) = match provider {
        "gmail-fr" => (
            "",
            b'/',
            &[
                ("INBOX", None),
                ("[Gmail]/Messages envoyés", Some(Role::Sent)),
                ("[Gmail]/Brouillons", Some(Role::Drafts)),
                ("[Gmail]/Corbeille", Some(Role::Trash)),
                ("[Gmail]/Suivis", None),
            ],
        ),
        "identity" => {
            ("", b'/', &[("INBOX", None), ("Sent", None), ("Trash", None), ("Clients", None), ("Clients/2024", None)])
        }
        "ovh" => (
            "INBOX.",
            b'.',
            &[
                ("INBOX", None),
                ("INBOX.Sent", None),
                ("INBOX.Drafts", None),
                ("INBOX.Trash", None),
                ("INBOX.Clients.2024", None),
            ],
        ),
        // An old host whose names are no modified UTF-7, and which knows no special-use.
        "latin" => ("", b'/', &[("INBOX", None)]),
        _ => panic!("no folder table of this name: {provider}"),
    };
    let folder = |name: Vec<u8>, role| Folder {
        name: RemoteName::parse(&name).expect("a mailbox name"),
        attributes: Attributes::default(),
        role,
        subscribed: true,
    };
    let mut folders: Vec<Folder> = names.iter().map(|(name, role)| folder(utf7::encode(name), *role)).collect();
    if provider == "latin" {
        folders.push(folder(b"Envoy\xe9s".to_vec(), Some(Role::Sent)));
    }
    FolderTable { prefix: prefix.into(), delimiter: Some(delimiter), folders, ..FolderTable::default() }
}
