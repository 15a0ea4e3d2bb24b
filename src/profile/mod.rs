//! CRM profiles: what is known of each program that opens mail here, as data.
//!
//! Read from `config/crm/*.toml`, which are built in, and from files that replace or add to them, which others read from
//! disk and hand in here. Nothing here does I/O, and no protocol machine knows a CRM's name.

mod entry;
mod settings;

pub use entry::{Listen, Profile};
pub use settings::{Field, Page, Service, Words};

use crate::mistake::Mistake;
use std::{path::Path, sync::Arc};

/// The profile without habits of its own: always in the table.
pub const GENERIC: &str = "generic";

/// The files that are built in, by name.
const BUILT_IN: [(&str, &str); 11] = [
    ("dolibarr", include_str!("../../config/crm/dolibarr.toml")),
    ("espocrm", include_str!("../../config/crm/espocrm.toml")),
    ("freescout", include_str!("../../config/crm/freescout.toml")),
    (GENERIC, include_str!("../../config/crm/generic.toml")),
    ("generic-fr", include_str!("../../config/crm/generic-fr.toml")),
    ("laminas", include_str!("../../config/crm/laminas.toml")),
    ("odoo", include_str!("../../config/crm/odoo.toml")),
    ("suitecrm", include_str!("../../config/crm/suitecrm.toml")),
    ("vtiger", include_str!("../../config/crm/vtiger.toml")),
    ("zammad", include_str!("../../config/crm/zammad.toml")),
    ("znuny", include_str!("../../config/crm/znuny.toml")),
];

/// All profiles that are known, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Sorted by name, each name once; [`GENERIC`] is among them.
    profiles: Vec<Arc<Profile>>,
}

impl Table {
    /// The profiles that are built in.
    ///
    /// # Errors
    /// Never, as a test shows: what is built in is read by the same code as what is not.
    pub fn built_in() -> Result<Self, Box<Mistake>> {
        let mut table = Self { profiles: Vec::new() };
        for (name, text) in BUILT_IN {
            let file = format!("config/crm/{name}.toml");
            table.insert(Profile::parse(name, Path::new(&file), text, true)?);
        }
        Ok(table)
    }

    /// Reads one more file: it replaces the profile of its name, or adds one.
    ///
    /// # Errors
    /// The first mistake in it, with its place.
    pub fn read(&mut self, file: &Path, text: &str) -> Result<(), Box<Mistake>> {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        self.insert(Profile::parse(&name, file, text, false)?);
        Ok(())
    }

    fn insert(&mut self, profile: Profile) {
        self.profiles.retain(|known| known.name != profile.name);
        let at = self.profiles.partition_point(|known| known.name < profile.name);
        self.profiles.insert(at, Arc::new(profile));
    }

    /// All, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.profiles.iter()
    }

    /// The profile of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Profile>> {
        self.profiles.iter().find(|profile| profile.name == name)
    }
}

/// A profile that is built in, for tests and fuzz targets, which ask for it again and again.
///
/// # Panics
/// If it is not there.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn built_in(name: &str) -> Arc<Profile> {
    static TABLE: std::sync::LazyLock<Table> =
        std::sync::LazyLock::new(|| Table::built_in().expect("what is built in is whole"));
    TABLE.named(name).expect("a profile that is built in").clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Role, SenderPolicy},
        wire::sasl::Mechanism,
    };

    fn table() -> Table {
        Table::built_in().expect("what is built in is whole")
    }

    const OWN: &str = r#"label = "Own"
[folders]
sent = "Envoyés"
drafts = "Drafts"
trash = "Trash"
junk = "Junk"
delimiter = "."
source = "a test"
[imap]
clear = []
tls = ["plain"]
source = "a test"
[smtp]
clear = ["plain"]
tls = ["plain"]
size = true
source = "a test"
[sender]
policy = "any"
source = "a test"
[login]
wait = 7
source = "a test"
[listen]
imap = ["127.0.0.3:143"]
source = "a test"
[settings]
imap-security = { none = "no", tls = "yes" }
smtp-security = { none = "no", tls = "yes" }
source = "a test"
[[settings.pages]]
page = "Mail"
fields = [["Server", "{imap-host}"]]
"#;

    #[test]
    fn all_that_are_built_in_are_there_in_order() {
        let table = table();
        let names: Vec<_> = table.iter().map(|profile| profile.name.as_str()).collect();
        assert_eq!(names, BUILT_IN.map(|(name, _)| name));
        assert!(table.iter().all(|profile| profile.built_in));
    }

    #[test]
    fn no_profile_lists_a_plain_password_alone_on_a_clear_imap_port() {
        for profile in table().iter() {
            let listed = profile.imap_mechanisms(false);
            let plain = listed.contains(&Mechanism::Plain) || listed.contains(&Mechanism::Login);
            assert!(!plain || listed.contains(&Mechanism::CramMd5), "{}: PHP's library complains", profile.name);
        }
    }

    #[test]
    fn special_folders_have_no_blanks_and_no_quotes() {
        for profile in table().iter() {
            for role in Role::ALL {
                let name = profile.naming().local(role).as_str();
                assert!(!name.contains([' ', '"']), "{}: {name}", profile.name);
            }
        }
    }

    #[test]
    fn a_file_replaces_or_adds() {
        let mut table = table();
        table.read(Path::new("/etc/passerelle/crm/own.toml"), OWN).expect("read");
        let own = table.named("own").expect("it is there");
        assert_eq!(own.naming().local(Role::Sent).as_str(), "Envoy&AOk-s");
        assert_eq!(own.sender.policy, SenderPolicy::Any);
        let count = table.iter().count();
        table.read(Path::new("vtiger.toml"), OWN).expect("read");
        assert_eq!(table.iter().count(), count);
        assert_eq!(
            table.named("vtiger").map(|profile| (profile.label.as_str(), profile.built_in)),
            Some(("Own", false))
        );
    }

    #[test]
    fn mistakes_are_told_with_file_line_and_key() {
        let wrong = |from: &str, to: &str| {
            let text = OWN.replacen(from, to, 1);
            let mistake = table().read(Path::new("crm/own.toml"), &text).expect_err("wrong");
            (mistake.to_string(), mistake.hint())
        };
        let cases = [
            ("label = \"Own\"", "label = \" \"", "crm/own.toml:1: label: "),
            ("\"Envoyés\"", "\"Drafts\"", "crm/own.toml:3: folders.sent: two special folders"),
            ("\"Envoyés\"", "\"INBOX\"", "crm/own.toml:3: folders.sent: not a name"),
            ("delimiter = \".\"", "delimiter = \"&\"", "crm/own.toml:7: folders.delimiter: not a delimiter"),
            ("delimiter = \".\"", "delimiter = \"..\"", "crm/own.toml:7: folders.delimiter: "),
            ("clear = []", "clear = [\"digest-md5\"]", "crm/own.toml:10: imap.clear: "),
            ("clear = []", "clean = []", "crm/own.toml:10: imap.clean: unknown key, "),
            ("policy = \"any\"", "policy = \"some\"", "crm/own.toml:19: sender.policy: "),
            ("wait = 7", "wait = 0", "crm/own.toml:22: login.wait: "),
            ("\"127.0.0.3:143\"", "\"127.0.0.3\"", "crm/own.toml:25: listen.imap: "),
            ("{imap-host}", "{imap-hosst}", "crm/own.toml:31: settings.pages: "),
            ("source = \"a test\"", "source = \"\"", "crm/own.toml:8: folders.source: "),
        ];
        for (from, to, start) in cases {
            let (said, hint) = wrong(from, to);
            assert!(said.starts_with(start), "{to}: {said}");
            assert!(hint.contains("config/crm/README.md"), "{hint}");
        }
        let unnamed = table().read(Path::new("crm/a b.toml"), OWN).expect_err("no name");
        assert!(unnamed.to_string().starts_with("crm/a b.toml: "), "{unnamed}");
    }
}
