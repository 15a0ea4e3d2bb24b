//! How one login's names look, and what people chose for an account: both go into a [`super::namespace::Namespace`].
//!
//! A naming belongs to the CRM (its folder names, its delimiter), choices belong to the account. Neither knows which
//! mailboxes exist.

use super::folder_map::{below, escaped};
use crate::{
    model::{LocalName, RemoteName, Role},
    wire::imap::utf7,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a CRM calls the special mailboxes, and how it separates levels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Naming {
    /// In the order of [`Role::ALL`]; no two alike, none INBOX.
    roles: [LocalName; 4],
    /// One of [`Naming::DELIMITERS`].
    delimiter: u8,
}

/// Why there is no such naming.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNaming {
    /// A delimiter that names are full of, or that clients misread.
    #[error("not a delimiter that a CRM can have (one of / . | : ^)")]
    Delimiter,
    /// A name that no special folder can have.
    #[error("not a name for a special folder (printable, without quotes, backslash, % and *, and not INBOX)")]
    Role,
    /// Two special folders of one name.
    #[error("two special folders cannot have one name")]
    Twice,
}

impl Naming {
    /// What may separate levels: nothing that modified UTF-7, an escape or a LIST pattern is written with.
    pub const DELIMITERS: &[u8] = b"/.|:^";

    /// A naming of these names, given in the order of [`Role::ALL`]: Sent, Drafts, Trash, Junk.
    ///
    /// # Errors
    /// [`BadNaming`].
    pub fn new(roles: [LocalName; 4], delimiter: u8) -> Result<Self, BadNaming> {
        if !Self::DELIMITERS.contains(&delimiter) {
            return Err(BadNaming::Delimiter);
        }
        let usable = |name: &LocalName| {
            let octets = name.as_bytes();
            let whole = octets.split(|octet| *octet == delimiter).all(|component| !component.is_empty());
            !name.is_inbox() && whole && !octets.iter().any(|octet| b"\"\\%*".contains(octet))
        };
        if !roles.iter().all(usable) {
            return Err(BadNaming::Role);
        }
        if roles.iter().collect::<BTreeSet<_>>().len() < roles.len() {
            return Err(BadNaming::Twice);
        }
        Ok(Self { roles, delimiter })
    }

    /// The same from names as people read them: `Envoyés`, not its modified UTF-7.
    ///
    /// # Errors
    /// [`BadNaming`].
    pub fn of_texts(roles: [&str; 4], delimiter: u8) -> Result<Self, BadNaming> {
        let [sent, drafts, trash, junk] =
            roles.map(|text| LocalName::parse(&utf7::encode(text)).map_err(|_| BadNaming::Role));
        Self::new([sent?, drafts?, trash?, junk?], delimiter)
    }

    /// What the CRM calls the mailbox of a role.
    #[must_use]
    pub fn local(&self, role: Role) -> &LocalName {
        let [sent, drafts, trash, junk] = &self.roles;
        match role {
            Role::Sent => sent,
            Role::Drafts => drafts,
            Role::Trash => trash,
            Role::Junk => junk,
        }
    }

    /// The role that the CRM means by a name.
    #[must_use]
    pub fn role(&self, local: &LocalName) -> Option<Role> {
        Role::ALL.into_iter().find(|role| self.local(*role) == local)
    }

    /// A name of the house as this CRM has it: the special mailboxes by its names, levels by its delimiter.
    #[must_use]
    pub fn spell(&self, local: &LocalName) -> LocalName {
        let role = Role::ALL.into_iter().find_map(|role| {
            let rest = below(LocalName::of_role(role).as_bytes(), Some(LocalName::DELIMITER), local.as_bytes())?;
            Some((role, rest))
        });
        let name = match role {
            Some((role, [])) => return self.local(role).clone(),
            Some((role, rest)) => [self.local(role).as_bytes(), &[self.delimiter], &self.levels(rest)].concat(),
            None => self.levels(local.as_bytes()),
        };
        // Cannot fail but for a name that escapes make too long; then the pair is a name that nobody says.
        LocalName::parse(&name).unwrap_or_else(|_| local.clone())
    }

    /// The house's name of what this CRM calls so: `Envoyés/2024` is `Sent/2024`. What the house would take for a special
    /// mailbox, and this CRM does not, is escaped as a namespace does it: no two names of a CRM are one of the house.
    #[must_use]
    pub fn house(&self, local: &LocalName) -> LocalName {
        let levels = self.house_levels(local.as_bytes());
        let role = Role::ALL.into_iter().find_map(|role| {
            let own = self.house_levels(self.local(role).as_bytes());
            Some((role, below(&own, Some(LocalName::DELIMITER), &levels)?.to_vec()))
        });
        let name = match (role, levels.split_first()) {
            (Some((role, rest)), _) if rest.is_empty() => return LocalName::of_role(role),
            (Some((role, rest)), _) => [LocalName::of_role(role).as_bytes(), &[LocalName::DELIMITER], &rest].concat(),
            (None, Some((first, rest))) if is_of_a_role(&levels) => [&escaped(*first)[..], rest].concat(),
            (None, _) => levels,
        };
        // Cannot fail but for a name of nearly the longest; then it is taken as it is.
        LocalName::parse(&name).unwrap_or_else(|_| local.clone())
    }

    /// The same for what a person types, who may say `Sent` of whatever CRM.
    #[must_use]
    pub fn house_of_typed(&self, typed: &LocalName) -> LocalName {
        if is_of_a_role(typed.as_bytes()) { typed.clone() } else { self.house(typed) }
    }

    /// What [`Naming::levels`] undoes.
    fn house_levels(&self, octets: &[u8]) -> Vec<u8> {
        if self.delimiter == LocalName::DELIMITER {
            return octets.to_vec();
        }
        let escape = escaped(self.delimiter);
        let mut name = Vec::with_capacity(octets.len());
        let mut rest = octets;
        while let Some((&octet, after)) = rest.split_first() {
            if let Some(after) = rest.strip_prefix(escape.as_slice()) {
                name.push(self.delimiter);
                rest = after;
            } else {
                name.push(if octet == self.delimiter { LocalName::DELIMITER } else { octet });
                rest = after;
            }
        }
        name
    }

    fn levels(&self, octets: &[u8]) -> Vec<u8> {
        let mut name = Vec::with_capacity(octets.len());
        for &octet in octets {
            match octet {
                LocalName::DELIMITER => name.push(self.delimiter),
                octet if octet == self.delimiter => name.extend_from_slice(&escaped(octet)),
                octet => name.push(octet),
            }
        }
        name
    }

    /// What separates the levels of a LocalName.
    #[must_use]
    pub fn delimiter(&self) -> u8 {
        self.delimiter
    }
}

/// Whether a name of the house is a special mailbox's, or below one.
fn is_of_a_role(name: &[u8]) -> bool {
    Role::ALL.iter().any(|role| below(LocalName::of_role(*role).as_bytes(), Some(LocalName::DELIMITER), name).is_some())
}

impl Default for Naming {
    /// Sent, Drafts, Trash, Junk, and `/`.
    fn default() -> Self {
        Self { roles: Role::ALL.map(LocalName::of_role), delimiter: LocalName::DELIMITER }
    }
}

/// What people chose for an account, and what the bridge keeps for it in their place. Names are the house's: levels by
/// [`LocalName::DELIMITER`], a special mailbox by its default name ([`LocalName::of_role`]), whatever a CRM calls them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// A person's own pairs: above all else.
    pub pairs: Vec<(LocalName, RemoteName)>,
    /// Mailboxes that a CRM made for a role: above what a name makes guess, below what the provider says by attribute.
    pub made: BTreeMap<Role, RemoteName>,
    /// Mailboxes that no CRM shall see, nor what is below them.
    pub hidden: BTreeSet<RemoteName>,
    /// What a CRM subscribed to (true) or not, where the provider does not keep it.
    pub subscribed: BTreeMap<RemoteName, bool>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_crm_are_read_back_into_the_houses() {
        let names = ["Envoy\u{e9}s", "Brouillons", "INBOX.Corbeille", "Ind\u{e9}sirables"];
        let dots = Naming::of_texts(names, b'.').expect("a naming");
        let slashes = Naming::of_texts(names, b'/').expect("a naming");
        let name = |text: &str| LocalName::parse(&utf7::encode(text)).expect("a name");
        for house in ["Sent", "Sent/2024/v1.2", "Trash", "Trash/x", "Clients/Dupont & fils", "a.b", "INBOX"] {
            for naming in [&dots, &slashes] {
                assert_eq!(naming.house(&naming.spell(&name(house))), name(house), "{house}");
            }
        }
        assert_eq!(dots.house(&name("Clients/Dupont")), name("Clients/Dupont"));
        for typed in ["Sent", "Sent/2024"] {
            assert_eq!(dots.house_of_typed(&name(typed)), name(typed));
        }
        assert_eq!(dots.house(&name("Sent.x")), name("=53ent/x"));
        assert_eq!(slashes.house(&name("Sent")), name("=53ent"), "a stray mailbox, which is not this CRM's Sent");
        assert_eq!(slashes.house(&name("Envoy\u{e9}s/2024")), name("Sent/2024"));
        assert_eq!(slashes.house(&name("Envoy\u{e9}s2024")), name("Envoy\u{e9}s2024"));
    }

    #[test]
    fn names_of_special_mailboxes_are_distinct_and_can_be_listed() {
        let french = Naming::of_texts(["Envoyés", "Brouillons", "Corbeille", "Indésirables"], b'.').expect("a naming");
        assert_eq!(french.local(Role::Sent).as_str(), "Envoy&AOk-s");
        assert_eq!(french.role(french.local(Role::Junk)), Some(Role::Junk));
        assert_eq!(french.role(&LocalName::of_role(Role::Junk)), None);
        for (names, delimiter, error) in [
            (["a", "b", "c", "d"], b'a', BadNaming::Delimiter),
            (["a", "b", "c", "d"], b'=', BadNaming::Delimiter),
            (["a", "b", "c", "inbox"], b'/', BadNaming::Role),
            (["a", "b", "c", ""], b'/', BadNaming::Role),
            (["a", "b", "c", "d/"], b'/', BadNaming::Role),
            (["a", "b", "c", "\"d\""], b'/', BadNaming::Role),
            (["a", "b", "c", "a"], b'/', BadNaming::Twice),
        ] {
            assert_eq!(Naming::of_texts(names, delimiter), Err(error), "{names:?}");
        }
        for (kept, said) in
            [("Sent", "Envoy&AOk-s"), ("Sent/a.b/c", "Envoy&AOk-s.a=2Eb.c"), ("Sentinel/x", "Sentinel.x")]
        {
            let kept = LocalName::parse(kept.as_bytes()).expect("a name");
            assert_eq!(french.spell(&kept).as_str(), said);
            assert_eq!(Naming::default().spell(&kept), kept);
        }
        let default = Naming::of_texts(["Sent", "Drafts", "Trash", "Junk"], b'/');
        assert_eq!(default, Ok(Naming::default()));
    }
}
