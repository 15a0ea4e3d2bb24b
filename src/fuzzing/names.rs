//! The folder map: names of the provider and of the CRM are one to one, whatever the map and the names are (rule R10).

use crate::{
    model::{LocalName, RemoteName},
    rules::{folder_map::FolderMap, naming::Naming},
};
use std::collections::HashMap;

/// The first octet says the shape of the provider's tree, the CRM's delimiter and how many pairs follow; the rest are
/// names, one a line: of each pair the CRM's and the provider's, then any.
///
/// # Panics
/// When the property does not hold.
pub fn names(octets: &[u8]) {
    let Some((first, rest)) = octets.split_first() else { return };
    let (prefix, delimiter) = match first & 3 {
        0 => (&b"INBOX."[..], Some(b'.')),
        1 => (&b""[..], Some(b'/')),
        2 => (&b""[..], Some(b'.')),
        _ => (&b""[..], None),
    };
    let separators = Naming::DELIMITERS;
    let separator = separators.iter().copied().nth(usize::from(first >> 2 & 3) % separators.len()).unwrap_or(b'/');
    let mut lines = rest.split(|octet| *octet == b'\n');
    let mut map = FolderMap::new(prefix, delimiter, None, separator);
    for _ in 0..first >> 4 & 3 {
        let (Some(local), Some(remote)) = (lines.next(), lines.next()) else { return };
        if let (Ok(local), Ok(remote)) = (LocalName::parse(local), RemoteName::parse(remote)) {
            map.pair(local, remote);
        }
    }
    let mut shown = HashMap::new();
    for name in lines {
        if let Ok(remote) = RemoteName::parse(name)
            && !remote.is_inbox()
            && let Some(local) = map.to_local(&remote)
        {
            assert!(!local.as_bytes().iter().any(|octet| matches!(octet, b'\r' | b'\n' | 0)), "no name is a line");
            assert_eq!(map.to_remote(&local).as_ref(), Ok(&remote), "unmapped is not what was mapped");
            let before = shown.insert(local, remote.clone());
            assert!(before.is_none_or(|before| before == remote), "two mailboxes have one name");
        }
        if let Ok(local) = LocalName::parse(name)
            && let Ok(remote) = map.to_remote(&local)
        {
            assert_eq!(map.to_local(&remote), Some(local), "mapped is not what was unmapped");
        }
    }
}
