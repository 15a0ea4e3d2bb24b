//! LIST and LSUB (RFC 3501 sections 6.3.8 and 6.3.9), CHILDREN (RFC 3348), SPECIAL-USE (RFC 6154).

use super::{Engine, Manner};
use crate::{
    engine::source::Mailbox,
    wire::imap::{pattern::Pattern, token::write_string},
};
use std::collections::BTreeSet;

/// Steps that matching one LIST may take: a pattern of 64 KiB against a thousand names of a hundred letters.
const COST_MAX: u64 = 100_000_000;

impl Engine {
    /// The answer to an empty pattern: the delimiter, and the root of the reference.
    pub(super) fn write_root(&self, reference: &[u8], out: &mut Vec<u8>) {
        let root = if reference.starts_with(&self.manner.prefix) { &self.manner.prefix[..] } else { b"" };
        line("LIST", &["\\Noselect"], &self.manner, root, out);
    }
}

/// Tells the mailboxes that match.
pub(super) fn write(manner: &Manner, pattern: &[u8], subscribed: bool, mailboxes: &[Mailbox], out: &mut Vec<u8>) {
    let sought = Pattern::new(pattern);
    let cost: u64 = mailboxes.iter().map(|mailbox| sought.cost(mailbox.name.as_bytes())).sum();
    if cost > COST_MAX {
        return;
    }
    if subscribed {
        return write_subscribed(manner, pattern, &sought, mailboxes, out);
    }
    for mailbox in mailboxes.iter().filter(|mailbox| !mailbox.gone) {
        let name = mailbox.name.as_bytes();
        if !sought.matches(name, manner.delimiter) {
            continue;
        }
        let below = |other: &Mailbox| {
            !other.gone
                && other.name.as_bytes().strip_prefix(name).is_some_and(|rest| rest.first() == Some(&manner.delimiter))
        };
        let mut attributes = vec![if mailboxes.iter().any(below) { "\\HasChildren" } else { "\\HasNoChildren" }];
        attributes.extend(mailbox.no_select.then_some("\\Noselect"));
        attributes.extend(mailbox.role.filter(|_| manner.special_use).map(|role| role.attribute()));
        line("LIST", &attributes, manner, name, out);
    }
}

/// With `%` a level above a subscribed mailbox is told, as one that cannot be selected.
fn write_subscribed(manner: &Manner, pattern: &[u8], sought: &Pattern, mailboxes: &[Mailbox], out: &mut Vec<u8>) {
    let names: BTreeSet<_> =
        mailboxes.iter().filter(|mailbox| mailbox.subscribed).map(|mailbox| mailbox.name.as_bytes()).collect();
    let mut levels = BTreeSet::new();
    for name in &names {
        if sought.matches(name, manner.delimiter) {
            line("LSUB", &[], manner, name, out);
        } else if pattern.last() == Some(&b'%') {
            let ends = name.iter().enumerate().filter(|(_, octet)| **octet == manner.delimiter).map(|(at, _)| at);
            levels.extend(ends.filter_map(|end| name.get(..end)).filter(|l| sought.matches(l, manner.delimiter)));
        }
    }
    for level in levels.difference(&names) {
        line("LSUB", &["\\Noselect"], manner, level, out);
    }
}

fn line(verb: &str, attributes: &[&str], manner: &Manner, name: &[u8], out: &mut Vec<u8>) {
    let delimiter = char::from(manner.delimiter);
    out.extend_from_slice(format!("* {verb} ({}) \"{delimiter}\" ", attributes.join(" ")).as_bytes());
    write_string(name, false, out);
    out.extend_from_slice(b"\r\n");
}
