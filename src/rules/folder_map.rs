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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderMap {
    /// What separates the levels of a LocalName.
    separator: u8,
    /// What stands before every personal mailbox but INBOX, delimiter included.
    prefix: Vec<u8>,
    /// The provider's delimiter; None for a flat namespace.
    delimiter: Option<u8>,
    /// Roles and the user's choices, both sides unique. Mailboxes below a pair go with it.
    pairs: Vec<(LocalName, RemoteName)>,
    /// How the provider spells INBOX.
    inbox: (LocalName, RemoteName),
}

/// One mailbox under both its names.
type Node<'a> = (&'a LocalName, &'a RemoteName);

/// Why a LocalName cannot be a mailbox of this provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the provider cannot have a folder of this name")]
pub struct Unnameable;

impl FolderMap {
    /// A map from names of this shape to names whose levels `separator` separates.
    #[must_use]
    pub fn new(prefix: &[u8], delimiter: Option<u8>, inbox: Option<RemoteName>, separator: u8) -> Self {
        let inbox = (LocalName::inbox(), inbox.unwrap_or_else(RemoteName::inbox));
        Self { separator, prefix: prefix.to_vec(), delimiter, pairs: Vec::new(), inbox }
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
        if let Some(((local, _), rest)) = self.deepest(|(_, name)| below(name.as_bytes(), self.delimiter, octets)) {
            return self.local_below(local, rest);
        }
        let mut name = self.escape(octets.strip_prefix(&*self.prefix)?)?;
        if self.is_held(0, &name) {
            name = self.freed(0, &name)?;
        }
        LocalName::parse(&name).ok()
    }

    /// The name of what is below a pair. It may be one that a pair below this one holds.
    fn local_below(&self, local: &LocalName, rest: &[u8]) -> Option<LocalName> {
        if rest.is_empty() {
            return Some(local.clone());
        }
        let own = local.as_bytes().len();
        let mut name = [local.as_bytes(), &[self.separator], &self.escape(rest)?].concat();
        if self.is_held(own, &name) {
            name = self.freed(own, &name)?;
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
            return Ok(self.inbox.1.clone());
        }
        let octets = local.as_bytes();
        let found = self.deepest(|(name, _)| below(name.as_bytes(), Some(self.separator), octets));
        let (mut name, rest) = match found {
            Some(((_, remote), [])) => return Ok(remote.clone()),
            Some(((_, remote), rest)) => ([remote.as_bytes(), &[self.delimiter.ok_or(Unnameable)?]].concat(), rest),
            None => (self.prefix.clone(), octets),
        };
        name.extend_from_slice(&self.unescape(rest)?);
        let remote = RemoteName::parse(&name).map_err(|_| Unnameable)?;
        // What another spelling already says, or a name that would come back as another one, is no name.
        if self.to_local(&remote).as_ref() == Some(local) { Ok(remote) } else { Err(Unnameable) }
    }

    /// How much of a name is a pair's: the octets of the deepest pair that it is, or is below; none for INBOX, which needs
    /// no pair.
    #[must_use]
    pub fn paired_octets(&self, remote: &RemoteName) -> usize {
        let above =
            |(_, name): &&(LocalName, RemoteName)| below(name.as_bytes(), self.delimiter, remote.as_bytes()).is_some();
        self.pairs.iter().filter(above).map(|(_, name)| name.as_bytes().len()).max().unwrap_or_default()
    }

    /// Whether a mailbox is one of a pair, or has one below it: were it called otherwise, the pair would mean nothing.
    #[must_use]
    pub fn binds(&self, remote: &RemoteName) -> bool {
        let bound =
            |(_, name): &(LocalName, RemoteName)| below(remote.as_bytes(), self.delimiter, name.as_bytes()).is_some();
        self.pairs.iter().any(bound)
    }

    /// The pairs, and INBOX where what is below it is not the whole personal namespace.
    fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        let (_, inbox) = &self.inbox;
        let whole = self.delimiter.is_some_and(|delimiter| self.prefix == [inbox.as_bytes(), &[delimiter]].concat());
        self.pairs.iter().chain((!whole).then_some(&self.inbox)).map(|(local, remote)| (local, remote))
    }

    /// The node of which least is left over: a pair below a pair is possible.
    fn deepest<'a>(&'a self, rest: impl Fn(Node<'a>) -> Option<&'a [u8]>) -> Option<(Node<'a>, &'a [u8])> {
        let nodes = self.nodes().filter_map(|node| rest(node).map(|rest| (node, rest)));
        nodes.min_by_key(|(_, rest)| rest.len())
    }

    /// Whether a name made by the shape is one that INBOX, a pair, or what is below a pair, holds: of the pairs whose
    /// names have more than `above` octets.
    fn is_held(&self, above: usize, name: &[u8]) -> bool {
        let held = |(local, _): Node<'_>| {
            local.as_bytes().len() > above && below(local.as_bytes(), Some(self.separator), name).is_some()
        };
        name.eq_ignore_ascii_case(b"INBOX") || self.nodes().any(held)
    }

    fn escape(&self, octets: &[u8]) -> Option<Vec<u8>> {
        let mut name = Vec::with_capacity(octets.len());
        match self.delimiter {
            Some(delimiter) => {
                for (index, component) in octets.split(|octet| *octet == delimiter).enumerate() {
                    if index > 0 {
                        name.push(self.separator);
                    }
                    escape_component(component, self.separator, &mut name);
                }
            }
            None => escape_component(octets, self.separator, &mut name),
        }
        (!name.is_empty()).then_some(name)
    }

    /// The same name with one octet escaped that needs no escape, so that no pair holds it: the first that does. Neither a
    /// separator, which would come back as an octet of a part, nor what is an escape already. None: each is held, as below
    /// a pair whose name is but separators.
    fn freed(&self, above: usize, name: &[u8]) -> Option<Vec<u8>> {
        let mut at = above;
        while let Some(&octet) = name.get(at) {
            if read_escape(name.get(at..).unwrap_or_default()).is_some() {
                at += 3;
                continue;
            }
            let (before, behind) = name.split_at_checked(at)?;
            let other = [before, &escaped(octet), behind.get(1..).unwrap_or_default()].concat();
            if octet != self.separator && !self.is_held(above, &other) {
                return Some(other);
            }
            at += 1;
        }
        None
    }

    fn unescape(&self, octets: &[u8]) -> Result<Vec<u8>, Unnameable> {
        let mut name = Vec::with_capacity(octets.len());
        for (index, component) in octets.split(|octet| *octet == self.separator).enumerate() {
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
pub(super) fn below<'a>(parent: &[u8], delimiter: Option<u8>, octets: &'a [u8]) -> Option<&'a [u8]> {
    match octets.strip_prefix(parent)?.split_first() {
        None => Some(&[]),
        Some((octet, rest)) if Some(*octet) == delimiter && !rest.is_empty() => Some(rest),
        Some(_) => None,
    }
}

/// Escapes what a LocalName cannot hold, or what clients of the field misread: our delimiter, quotes and backslashes
/// (laminas), wildcards, blanks that a client would trim or fold (laminas hangs on two), anything that is no ASCII, `&`
/// in what is no modified UTF-7, and `=` where it would read as an escape.
fn escape_component(component: &[u8], separator: u8, name: &mut Vec<u8>) {
    let shifts = utf7::decode(component).is_some();
    for (at, &octet) in component.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| component.get(at));
        let plain = match octet {
            b' ' => before.is_some_and(|octet| *octet != b' ') && at + 1 < component.len(),
            b'&' => shifts,
            b'=' => read_escape(component.get(at..).unwrap_or_default()).is_none(),
            b'"' | b'\\' | b'%' | b'*' => false,
            _ => octet != separator && octet.is_ascii_graphic(),
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

pub(super) fn escaped(octet: u8) -> [u8; 3] {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'A' + value - 10 };
    [b'=', digit(octet >> 4), digit(octet & 0xf)]
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
    use crate::rules::naming::Naming;
    use proptest::prelude::*;

    fn remote(name: &str) -> RemoteName {
        RemoteName::parse(name.as_bytes()).expect("a remote name")
    }

    fn local(name: &str) -> LocalName {
        LocalName::parse(name.as_bytes()).expect("a local name")
    }

    fn ovh() -> FolderMap {
        let mut map = FolderMap::new(b"INBOX.", Some(b'.'), None, b'/');
        assert!(map.pair(local("Sent"), remote("INBOX.Objets")));
        map
    }

    fn gmail() -> FolderMap {
        let mut map = FolderMap::new(b"", Some(b'/'), None, b'/');
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
        let flat = FolderMap::new(b"", None, None, b'/');
        assert_eq!(flat.to_remote(&local("a/b")), Err(Unnameable));
    }

    #[test]
    fn levels_are_separated_as_the_crm_wants() {
        let mut gmail = FolderMap::new(b"", Some(b'/'), None, b'.');
        assert!(gmail.pair(local("Envoy&AOk-s"), remote("[Gmail]/Messages envoy&AOk-s")));
        both_ways(&gmail, "[Gmail]/Messages envoy&AOk-s/2024", "Envoy&AOk-s.2024");
        both_ways(&gmail, "Clients/a.b", "Clients.a=2Eb");
        both_ways(&gmail, "Envoy&AOk-s", "=45nvoy&AOk-s");
        assert_eq!(gmail.to_remote(&local("a/b")), Err(Unnameable));
        let ovh = FolderMap::new(b"INBOX.", Some(b'.'), None, b'.');
        both_ways(&ovh, "INBOX.Clients.a/b", "Clients.a/b");
    }

    #[test]
    fn what_is_below_inbox_stays_below_it() {
        let microsoft = FolderMap::new(b"", Some(b'/'), Some(remote("Inbox")), b'/');
        both_ways(&microsoft, "Inbox/Clients", "INBOX/Clients");
        both_ways(&microsoft, "INBOX/Clients", "=49NBOX/Clients");
        both_ways(&microsoft, "inbox/Clients", "inbox/Clients");
        // Where it is the whole personal namespace, its children stand at the top.
        both_ways(&ovh(), "INBOX.Clients", "Clients");
        both_ways(&ovh(), "INBOX.INBOX.Clients", "INBOX/Clients");
    }

    #[test]
    fn a_pair_below_a_pair_holds_its_name() {
        let mut map = ovh();
        assert!(map.pair(local("Sent/2024"), remote("INBOX.Alt")));
        both_ways(&map, "INBOX.Alt", "Sent/2024");
        both_ways(&map, "INBOX.Objets.2024", "Sent/=32024");
        both_ways(&map, "INBOX.Objets.2024.x", "Sent/=32024/x");
        both_ways(&map, "INBOX.Objets.2025", "Sent/2025");
        assert!(map.binds(&remote("INBOX.Objets")) && map.binds(&remote("INBOX")));
        assert!(!map.binds(&remote("INBOX.Objets.2024")) && !map.binds(&remote("INBOX.Alt.x")));
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
            Just(b'|'),
            Just(b':'),
            Just(b'^'),
            b'A'..=b'Z',
            1_u8..=255
        ];
        let word = prop_oneof![
            Just(b"Sent".to_vec()),
            Just(b"INBOX".to_vec()),
            Just(b"Inbox".to_vec()),
            Just(b"INBOX.".to_vec()),
            Just(b"INBOX.Objets".to_vec()),
            Just(b"[Gmail]/Messages envoy&AOk-s".to_vec()),
            Just(b"Envoy&AOk-s".to_vec()),
            Just(b"Corbeille".to_vec()),
            Just(b"Ind&AOk-sirables".to_vec()),
            Just(b"Corbeille/2024".to_vec()),
            proptest::collection::vec(octet, 0..6)
        ];
        proptest::collection::vec(word, 1..4).prop_map(|words| words.concat())
    }

    /// Names of special mailboxes as CRMs have them, each with a pair below one of them.
    fn map() -> impl Strategy<Value = FolderMap> {
        let shape = prop_oneof![
            Just((&b"INBOX."[..], Some(b'.'))),
            Just((&b""[..], Some(b'/'))),
            Just((&b""[..], Some(b'.'))),
            Just((&b""[..], None))
        ];
        let locals = prop_oneof![
            Just(["Sent", "Clients/Old", "Sent/2024", "INBOX/x"]),
            Just(["Envoy&AOk-s", "Corbeille", "Corbeille/2024", "Ind&AOk-sirables"]),
            Just(["Envoy&AOk-s", "Corbeille.2024", "Corbeille", "=41"]),
        ];
        let inbox = prop_oneof![Just(None), Just(Some(remote("Inbox")))];
        let separator = proptest::sample::select(Naming::DELIMITERS);
        (shape, locals, inbox, separator, [name(), name(), name(), name()]).prop_map(
            |((prefix, delimiter), locals, inbox, separator, remotes)| {
                let mut map = FolderMap::new(prefix, delimiter, inbox, separator);
                for (at_crm, at_provider) in locals.into_iter().zip(remotes) {
                    if let Ok(at_provider) = RemoteName::parse(&at_provider) {
                        map.pair(local(at_crm), at_provider);
                    }
                }
                map
            },
        )
    }

    #[test]
    fn a_held_name_that_begins_with_a_separator_comes_back() {
        let mut map = FolderMap::new(b"", Some(b'/'), None, b'/');
        map.pair(local("/o"), remote("Elsewhere"));
        both_ways(&map, "/o", "/=6F");
    }

    #[test]
    fn below_a_pair_of_separators_alone_nothing_else_is_shown() {
        let mut map = FolderMap::new(b"", Some(b'/'), None, b'/');
        map.pair(local("/"), remote("Elsewhere"));
        both_ways(&map, "Elsewhere/x", "//x");
        for hidden in ["/", "//x", "//x/y"] {
            assert_eq!(map.to_local(&remote(hidden)), None, "{hidden}");
        }
        both_ways(&map, "/x", "/x");
    }

    #[test]
    fn a_held_name_that_begins_with_an_escape_comes_back() {
        // A person's `.x` in a CRM that separates by dots.
        let mut map = FolderMap::new(b"", Some(b'/'), None, b'.');
        map.pair(local("=2Ex"), remote("Elsewhere"));
        both_ways(&map, ".x", "=2E=78");
        both_ways(&map, "=2Ex", "=3D2Ex");
        // What frees a name from one pair may be what another holds.
        let mut map = ovh();
        map.pair(local("=53ent"), remote("INBOX.Elsewhere"));
        both_ways(&map, "INBOX.Sent", "S=65nt");
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
