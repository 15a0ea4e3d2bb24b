//! A header that streams by, and its From: what is found does not depend on the cuts, no octet is lost, and no policy but
//! *keep* lets a message go out from an address that is not the account's (rule R25).

use crate::{
    model::{Address, FromPolicy},
    rules::from::{Identity, Judged},
    wire::{
        header::{Found, HeaderFilter},
        mailbox::mailboxes,
    },
};

const WANTED: &[&str] = &["from", "message-id"];

/// The first octet says the policy and how long the pieces are; the rest is the message.
///
/// # Panics
/// When the property does not hold.
pub fn header(octets: &[u8]) {
    let Some((first, message)) = octets.split_first() else { return };
    let (whole, found) = filter(message, message.len().max(1));
    let pieces = usize::from(first >> 4) + 1;
    assert_eq!(filter(message, pieces), (whole.clone(), found.clone()), "it depends on the cuts");
    assert!(whole.is_none_or(|whole| whole == message), "octets were lost");

    let senders: Vec<_> =
        ["alice@firm.test", "sales@firm.test"].into_iter().filter_map(|text| Address::parse(text).ok()).collect();
    let policy = FromPolicy::ALL.get(usize::from(first & 3)).copied().unwrap_or_default();
    let identity = Identity { policy, senders: &senders, display_name: "Alice \"A\" Martin" };
    for (index, field) in found.iter().filter(|(name, _)| *name == 0).map(|(_, field)| field).enumerate() {
        let out = match identity.judge(field, u32::try_from(index).unwrap_or(u32::MAX)) {
            Judged::Passes => field.clone(),
            Judged::Becomes(field) => field,
            Judged::Refused(_) => continue,
        };
        if policy == FromPolicy::Keep {
            assert_eq!(&out, field, "nothing is looked at");
            continue;
        }
        assert_eq!(index, 0, "a second From passed");
        let colon = out.iter().position(|octet| *octet == b':').map_or(0, |colon| colon + 1);
        let told = mailboxes(out.get(colon..).unwrap_or_default());
        let own = |address: &[u8]| senders.iter().any(|own| own.as_str().as_bytes().eq_ignore_ascii_case(address));
        let all = told.is_ok_and(|told| !told.is_empty() && told.iter().all(|mailbox| own(&mailbox.address)));
        assert!(all, "a foreign From passed");
    }
}

type Fields = Vec<(usize, Vec<u8>)>;

/// The message with what was held put back, and the held fields. None: a field is too long.
fn filter(message: &[u8], piece: usize) -> (Option<Vec<u8>>, Fields) {
    let (mut filter, mut out, mut fields) = (HeaderFilter::new(WANTED), Vec::new(), Vec::new());
    let mut see = |found: Found, out: &mut Vec<u8>| match found {
        Found::Field(name, field) => {
            out.extend_from_slice(&field);
            fields.push((name, field));
        }
        Found::End { empty_line } => out.extend_from_slice(if empty_line { b"\r\n" } else { b"" }),
    };
    for mut piece in message.chunks(piece) {
        loop {
            match filter.pass(&mut piece, &mut out) {
                Ok(Some(found)) => see(found, &mut out),
                Ok(None) => break,
                Err(_) => return (None, fields),
            }
        }
    }
    while let Some(found) = filter.finish(&mut out) {
        see(found, &mut out);
    }
    (Some(out), fields)
}
