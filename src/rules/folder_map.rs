//! The one-to-one table between a provider's mailbox names and the CRM's, for one account.
//!
//! A bijection by construction: [`FolderMap::to_local`] never gives one LocalName for two RemoteNames, and
//! [`FolderMap::to_remote`] accepts only names that the other direction gives. What a LocalName cannot hold is escaped as
//! `=HH`. It must not know which mailboxes exist; that is the namespace's.

use crate::{
    model::{LocalName, RemoteName},
    wire::imap::utf7,
};

/// The shape of a provider's names, and the pairs that do not follow it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderMap {
    /// What stands before every personal mailbox but INBOX, delimiter included.
    prefix: Vec<u8>,
    /// The provider's delimiter; None for a flat namespace.
    delimiter: Option<u8>,
    /// Roles and the user's choices, both sides unique. Mailboxes below a pair go with it.
    pairs: Vec<(LocalName, RemoteName)>,
    /// How the provider spells INBOX. It has its own rule: its children, where a provider has them, follow the shape.
    inbox: Option<RemoteName>,
}

/// Why a LocalName cannot be a mailbox of this provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the provider cannot have a folder of this name")]
pub struct Unnameable;

impl FolderMap {
    /// A map for names of this shape. A pair whose local or remote side an earlier one holds is left out.
    #[must_use]
    pub fn new(prefix: &[u8], delimiter: Option<u8>, inbox: Option<RemoteName>) -> Self {
        Self { prefix: prefix.to_vec(), delimiter, pairs: Vec::new(), inbox }
    }

    /// Gives a mailbox a name of its own. False, and nothing done, where either side is taken, or is INBOX.
    pub fn pair(&mut self, local: LocalName, remote: RemoteName) -> bool {
        let taken =
            local.is_inbox() || remote.is_inbox() || self.pairs.iter().any(|(l, r)| *l == local || *r == remote);
        if !taken {
            self.pairs.push((local, remote));
        }
        !taken
    }

    /// The CRM's name for a mailbox; None for one outside the personal namespace, which is hidden.
    #[must_use]
    pub fn to_local(&self, remote: &RemoteName) -> Option<LocalName> {
        if remote.is_inbox() {
            return Some(LocalName::inbox());
        }
        let octets = remote.as_bytes();
        let below = |(local, name): &(LocalName, RemoteName)| {
            below(name.as_bytes(), self.delimiter, octets).map(|rest| (local.clone(), rest.to_vec()))
        };
        // The deepest pair wins, so that a pair below a pair is possible.
        if let Some((local, rest)) = self.pairs.iter().filter_map(below).min_by_key(|(_, rest)| rest.len()) {
            if rest.is_empty() {
                return Some(local);
            }
            let name = [local.as_bytes(), &[LocalName::DELIMITER], &self.escape(&rest)?].concat();
            return LocalName::parse(&name).ok();
        }
        let mut name = self.escape(octets.strip_prefix(&*self.prefix)?)?;
        if self.is_held(&name) {
            let first = *name.first()?;
            name.splice(..1, escaped(first));
        }
        LocalName::parse(&name).ok()
    }

    /// The provider's name for a mailbox, which need not exist yet.
    ///
    /// # Errors
    /// [`Unnameable`] where a part holds the provider's delimiter, or the name is a spelling that [`Self::to_local`]
    /// never gives.
    pub fn to_remote(&self, local: &LocalName) -> Result<RemoteName, Unnameable> {
        if local.is_inbox() {
            let inbox = self.inbox.clone().map_or_else(|| RemoteName::parse(b"INBOX"), Ok);
            return inbox.map_err(|_| Unnameable);
        }
        let octets = local.as_bytes();
        let below = |(name, remote): &(LocalName, RemoteName)| {
            below(name.as_bytes(), Some(LocalName::DELIMITER), octets).map(|rest| (remote.clone(), rest.to_vec()))
        };
        let (mut name, rest) = match self.pairs.iter().filter_map(below).min_by_key(|(_, rest)| rest.len()) {
            Some((remote, rest)) if rest.is_empty() => return Ok(remote),
            Some((remote, rest)) => ([remote.as_bytes(), &[self.delimiter.ok_or(Unnameable)?]].concat(), rest),
            None => (self.prefix.clone(), octets.to_vec()),
        };
        name.extend_from_slice(&self.unescape(&rest)?);
        let remote = RemoteName::parse(&name).map_err(|_| Unnameable)?;
        // What another spelling already says, or a name that would come back as another one, is no name.
        if self.to_local(&remote).as_ref() == Some(local) { Ok(remote) } else { Err(Unnameable) }
    }

    /// Whether a name made by the shape is one that INBOX, a pair, or what is below a pair, holds.
    fn is_held(&self, name: &[u8]) -> bool {
        let held =
            |(local, _): &(LocalName, RemoteName)| below(local.as_bytes(), Some(LocalName::DELIMITER), name).is_some();
        name.eq_ignore_ascii_case(b"INBOX") || self.pairs.iter().any(held)
    }

    fn escape(&self, octets: &[u8]) -> Option<Vec<u8>> {
        let mut name = Vec::with_capacity(octets.len());
        match self.delimiter {
            Some(delimiter) => {
                for (index, component) in octets.split(|octet| *octet == delimiter).enumerate() {
                    if index > 0 {
                        name.push(LocalName::DELIMITER);
                    }
                    escape_component(component, &mut name);
                }
            }
            None => escape_component(octets, &mut name),
        }
        (!name.is_empty()).then_some(name)
    }

    fn unescape(&self, octets: &[u8]) -> Result<Vec<u8>, Unnameable> {
        let mut name = Vec::with_capacity(octets.len());
        for (index, component) in octets.split(|octet| *octet == LocalName::DELIMITER).enumerate() {
            if index > 0 {
                name.push(self.delimiter.ok_or(Unnameable)?);
            }
            let start = name.len();
            unescape_component(component, &mut name);
            let said = name.get(start..).unwrap_or_default();
            if self.delimiter.is_some_and(|delimiter| said.contains(&delimiter)) {
                return Err(Unnameable);
            }
        }
        Ok(name)
    }
}

/// What `octets` has behind `parent` and its delimiter: nothing if it is the parent itself, None if it is not below it.
fn below<'a>(parent: &[u8], delimiter: Option<u8>, octets: &'a [u8]) -> Option<&'a [u8]> {
    match octets.strip_prefix(parent)?.split_first() {
        None => Some(&[]),
        Some((octet, rest)) if Some(*octet) == delimiter && !rest.is_empty() => Some(rest),
        Some(_) => None,
    }
}

/// Escapes what a LocalName cannot hold, or what clients of the field misread: our delimiter, quotes and backslashes
/// (laminas), wildcards, blanks that a client would trim or fold (laminas hangs on two), anything that is no ASCII, `&`
/// in what is no modified UTF-7, and `=` where it would read as an escape.
fn escape_component(component: &[u8], name: &mut Vec<u8>) {
    let shifts = utf7::decode(component).is_some();
    for (at, &octet) in component.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| component.get(at));
        let plain = match octet {
            b' ' => before.is_some_and(|octet| *octet != b' ') && at + 1 < component.len(),
            b'&' => shifts,
            b'=' => read_escape(component.get(at..).unwrap_or_default()).is_none(),
            b'"' | b'\\' | b'%' | b'*' | LocalName::DELIMITER => false,
            _ => octet.is_ascii_graphic(),
        };
        if plain {
            name.push(octet);
        } else {
            name.extend_from_slice(&escaped(octet));
        }
    }
}

fn unescape_component(component: &[u8], name: &mut Vec<u8>) {
    let mut rest = component;
    while let Some((&octet, behind)) = rest.split_first() {
        if let Some(escaped) = read_escape(rest) {
            name.push(escaped);
            rest = rest.get(3..).unwrap_or_default();
        } else {
            name.push(octet);
            rest = behind;
        }
    }
}

fn escaped(octet: u8) -> [u8; 3] {
    let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value & 0xf)];
    [b'=', digit(octet >> 4), digit(octet)]
}

/// The octet that an escape at the front stands for. Capitals only: one spelling an octet.
fn read_escape(octets: &[u8]) -> Option<u8> {
    let &[b'=', high, low, ..] = octets else { return None };
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    };
    Some(value(high)? << 4 | value(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn remote(name: &str) -> RemoteName {
        RemoteName::parse(name.as_bytes()).expect("a remote name")
    }

    fn local(name: &str) -> LocalName {
        LocalName::parse(name.as_bytes()).expect("a local name")
    }

    fn ovh() -> FolderMap {
        let mut map = FolderMap::new(b"INBOX.", Some(b'.'), None);
        assert!(map.pair(local("Sent"), remote("INBOX.Objets")));
        map
    }

    fn gmail() -> FolderMap {
        let mut map = FolderMap::new(b"", Some(b'/'), None);
        assert!(map.pair(local("Sent"), remote("[Gmail]/Messages envoy&AOk-s")));
        map
    }

    fn both_ways(map: &FolderMap, at_provider: &str, at_crm: &str) {
        assert_eq!(map.to_local(&remote(at_provider)), Some(local(at_crm)), "{at_provider}");
        assert_eq!(map.to_remote(&local(at_crm)), Ok(remote(at_provider)), "{at_crm}");
    }

    #[test]
    fn prefix_and_delimiter_are_the_providers() {
        both_ways(&ovh(), "INBOX.Clients.2024", "Clients/2024");
        both_ways(&ovh(), "INBOX.&AMk-t&AOk-", "&AMk-t&AOk-");
        assert_eq!(ovh().to_local(&remote("inbox")), Some(LocalName::inbox()));
        assert_eq!(ovh().to_remote(&LocalName::inbox()), Ok(remote("INBOX")));
        assert_eq!(ovh().to_local(&remote("shared.Team")), None);
    }

    #[test]
    fn pairs_take_what_is_below_them_along() {
        both_ways(&gmail(), "[Gmail]/Messages envoy&AOk-s", "Sent");
        both_ways(&gmail(), "[Gmail]/Messages envoy&AOk-s/2024", "Sent/2024");
        both_ways(&ovh(), "INBOX.Objets.2024", "Sent/2024");
        both_ways(&gmail(), "[Gmail]/Corbeille", "[Gmail]/Corbeille");
    }

    #[test]
    fn a_stray_mailbox_with_the_name_of_a_role_is_escaped() {
        both_ways(&ovh(), "INBOX.Sent", "=53ent");
        both_ways(&ovh(), "INBOX.Sent.old", "=53ent/old");
        both_ways(&ovh(), "INBOX.INBOX", "=49NBOX");
        both_ways(&ovh(), "INBOX.Sentinel", "Sentinel");
    }

    #[test]
    fn what_a_local_name_cannot_hold_is_escaped() {
        both_ways(&ovh(), "INBOX.a/b", "a=2Fb");
        both_ways(&ovh(), "INBOX.a  b ", "a =20b=20");
        both_ways(&ovh(), "INBOX.\"x\"", "=22x=22");
        both_ways(&ovh(), "INBOX.=2F", "=3D2F");
        both_ways(&ovh(), "INBOX.R&D", "R=26D");
        both_ways(&ovh(), "INBOX.é", "=C3=A9");
    }

    #[test]
    fn names_that_the_provider_cannot_have_are_refused() {
        for name in ["a.b", "=41", "Sent.x", "=2E", "=0D=0AX"] {
            assert_eq!(ovh().to_remote(&local(name)), Err(Unnameable), "{name}");
        }
        let flat = FolderMap::new(b"", None, None);
        assert_eq!(flat.to_remote(&local("a/b")), Err(Unnameable));
    }

    #[test]
    fn both_sides_of_a_pair_are_unique() {
        let mut map = ovh();
        assert!(!map.pair(local("Sent"), remote("INBOX.Other")));
        assert!(!map.pair(local("Envois"), remote("INBOX.Objets")));
        assert!(!map.pair(local("X"), remote("inbox")));
    }

    fn name() -> impl Strategy<Value = Vec<u8>> {
        let octet = prop_oneof![
            Just(b'.'),
            Just(b'/'),
            Just(b'='),
            Just(b'&'),
            Just(b'-'),
            Just(b' '),
            Just(b'2'),
            Just(b'F'),
            Just(b'"'),
            b'A'..=b'Z',
            1_u8..=255
        ];
        let word = prop_oneof![
            Just(b"Sent".to_vec()),
            Just(b"INBOX".to_vec()),
            Just(b"INBOX.".to_vec()),
            Just(b"INBOX.Objets".to_vec()),
            Just(b"[Gmail]/Messages envoy&AOk-s".to_vec()),
            proptest::collection::vec(octet, 0..6)
        ];
        proptest::collection::vec(word, 1..4).prop_map(|words| words.concat())
    }

    fn map() -> impl Strategy<Value = FolderMap> {
        let shape = prop_oneof![
            Just((&b"INBOX."[..], Some(b'.'))),
            Just((&b""[..], Some(b'/'))),
            Just((&b""[..], Some(b'.'))),
            Just((&b""[..], None))
        ];
        (shape, name(), name()).prop_map(|((prefix, delimiter), a, b)| {
            let mut map = FolderMap::new(prefix, delimiter, None);
            for (at_crm, at_provider) in [("Sent", &a), ("Clients/Old", &b)] {
                if let Ok(at_provider) = RemoteName::parse(at_provider) {
                    map.pair(local(at_crm), at_provider);
                }
            }
            map
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn mapping_and_unmapping_is_the_identity(map in map(), name in name()) {
            if let Ok(remote) = RemoteName::parse(&name)
                && !remote.is_inbox()
                && let Some(local) = map.to_local(&remote)
            {
                prop_assert_eq!(map.to_remote(&local), Ok(remote));
            }
            if let Ok(local) = LocalName::parse(&name)
                && let Ok(remote) = map.to_remote(&local)
            {
                prop_assert_eq!(map.to_local(&remote), Some(local));
            }
        }
    }
}
