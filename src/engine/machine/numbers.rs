//! Sequence sets (RFC 3501 section 9) and the numbers of a selected mailbox.

use crate::{
    engine::source::{Entry, View, ranges},
    failure::Misbehaviour,
    model::{RemoteName, index},
    wire::imap::token::Cursor,
};
use std::collections::BTreeSet;

/// A set as written; `*` is None until it is known what the largest number is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Set(Vec<(Option<u32>, Option<u32>)>);

impl Set {
    pub(super) fn read(cursor: &mut Cursor<'_>, octets: &[u8]) -> Result<Self, Misbehaviour> {
        let span = cursor.sequence_set()?;
        let text = octets.get(span).and_then(|text| std::str::from_utf8(text).ok()).ok_or(Misbehaviour::Syntax)?;
        let number = |text: &str| text.parse::<u32>().ok();
        let ranges = text.split(',').map(|part| match part.split_once(':') {
            Some((start, end)) => (number(start), number(end)),
            None => (number(part), number(part)),
        });
        Ok(Self(ranges.collect()))
    }

    /// A set of numbers in growing order.
    pub(super) fn of(numbers: &[u32]) -> Self {
        Self(ranges(numbers).into_iter().map(|range| (Some(*range.start()), Some(*range.end()))).collect())
    }

    /// Whether a number is in a set made by [`Self::of`].
    pub(super) fn has(&self, number: u32) -> bool {
        let next = self.0.partition_point(|(_, end)| end.is_none_or(|end| end < number));
        self.0.get(next).is_some_and(|(start, _)| start.is_some_and(|start| start <= number))
    }

    /// Ranges in order that do not touch.
    fn resolved(&self, largest: u32) -> Vec<(u32, u32)> {
        let value = |number: Option<u32>| number.unwrap_or(largest);
        let mut ranges: Vec<_> =
            self.0.iter().map(|(a, b)| (value(*a).min(value(*b)), value(*a).max(value(*b)))).collect();
        ranges.sort_unstable();
        ranges.dedup_by(|next, last| {
            let touches = next.0 <= last.1.saturating_add(1);
            if touches {
                last.1 = last.1.max(next.1);
            }
            touches
        });
        ranges
    }
}

/// A selected mailbox as its session was told of it: message numbers are places in `entries`.
#[derive(Debug)]
pub(super) struct Selected {
    pub(super) mailbox: RemoteName,
    pub(super) read_only: bool,
    pub(super) uid_validity: u32,
    pub(super) uid_next: u32,
    pub(super) entries: Vec<Entry>,
    pub(super) recent: BTreeSet<u32>,
}

impl Selected {
    pub(super) fn new(mailbox: RemoteName, read_only: bool, view: View) -> Self {
        let recent = recent(&view);
        let View { uid_validity, uid_next, entries, .. } = view;
        Self { mailbox, read_only, uid_validity, uid_next, entries, recent }
    }

    /// The index of a UID.
    pub(super) fn index(&self, uid: u32) -> Option<usize> {
        self.entries.binary_search_by_key(&uid, |entry| entry.uid).ok()
    }

    /// The UIDs that a set names, in order; numbers that are none are passed over.
    pub(super) fn uids(&self, set: &Set, by_uid: bool) -> Vec<u32> {
        if by_uid {
            let largest = self.entries.last().map_or(0, |entry| entry.uid);
            let within = |uid: u32, ranges: &[(u32, u32)]| {
                let next = ranges.partition_point(|(_, end)| *end < uid);
                ranges.get(next).is_some_and(|(start, _)| *start <= uid)
            };
            let ranges = set.resolved(largest);
            return self.entries.iter().map(|entry| entry.uid).filter(|uid| within(*uid, &ranges)).collect();
        }
        let largest = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let mut uids = Vec::new();
        for (start, end) in set.resolved(largest) {
            let slice = self.entries.get(index(start.max(1)) - 1..index(end.min(largest)));
            uids.extend(slice.unwrap_or_default().iter().map(|entry| entry.uid));
        }
        uids
    }

    /// UIDs of messages with `\Deleted`.
    pub(super) fn deleted(&self) -> Vec<u32> {
        self.entries.iter().filter(|entry| entry.flags.contains("\\Deleted")).map(|entry| entry.uid).collect()
    }

    /// The keywords in use.
    pub(super) fn keywords(&self) -> BTreeSet<&str> {
        let flags = self.entries.iter().flat_map(|entry| entry.flags.iter());
        flags.map(|flag| &**flag).filter(|flag| !flag.starts_with('\\')).collect()
    }

    /// Takes a newer view over and tells what changed: expunged messages, flags, new messages. False where the mailbox is
    /// another one now.
    pub(super) fn refresh(&mut self, view: View, out: &mut Vec<u8>) -> bool {
        if view.uid_validity != self.uid_validity {
            return false;
        }
        let newly = recent(&view);
        let mut left = view.entries.iter().map(|entry| entry.uid).peekable();
        let mut number = 1;
        self.entries.retain(|entry| {
            while left.next_if(|uid| *uid < entry.uid).is_some() {}
            let stays = left.peek() == Some(&entry.uid);
            if stays {
                number += 1;
            } else {
                out.extend_from_slice(format!("* {number} EXPUNGE\r\n").as_bytes());
            }
            stays
        });
        let known = self.entries.len();
        self.recent.extend(newly);
        let old = std::mem::replace(&mut self.entries, view.entries);
        for (index, (before, after)) in old.iter().zip(&self.entries).enumerate() {
            if before.flags != after.flags {
                out.extend_from_slice(format!("* {} FETCH (FLAGS ", index + 1).as_bytes());
                self.write_flags(after, out);
                out.extend_from_slice(b")\r\n");
            }
        }
        self.uid_next = view.uid_next;
        if self.entries.len() > known {
            self.write_counts(out);
        }
        true
    }

    pub(super) fn write_counts(&self, out: &mut Vec<u8>) {
        let recent = self.entries.iter().filter(|entry| self.recent.contains(&entry.uid)).count();
        out.extend_from_slice(format!("* {} EXISTS\r\n* {recent} RECENT\r\n", self.entries.len()).as_bytes());
    }

    /// `(\Seen important)`
    pub(super) fn write_flags(&self, entry: &Entry, out: &mut Vec<u8>) {
        let recent = self.recent.contains(&entry.uid).then_some("\\Recent");
        let system = super::command::SYSTEM_FLAGS.into_iter().filter(|flag| entry.flags.contains(*flag));
        let keywords = entry.flags.iter().map(|flag| &**flag).filter(|flag| !flag.starts_with('\\'));
        let flags: Vec<_> = system.chain(recent).chain(keywords).collect();
        out.extend_from_slice(format!("({})", flags.join(" ")).as_bytes());
    }
}

fn recent(view: &View) -> BTreeSet<u32> {
    view.entries.iter().map(|entry| entry.uid).filter(|uid| *uid >= view.recent_from).collect()
}

/// A set of UIDs as COPYUID tells it.
pub(super) fn written(uids: &[u32]) -> String {
    let part = |range: std::ops::RangeInclusive<u32>| match range.into_inner() {
        (start, end) if start == end => start.to_string(),
        (start, end) => format!("{start}:{end}"),
    };
    ranges(uids).into_iter().map(part).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::source::Flags;

    fn view(uids: &[u32], seen: &[u32]) -> View {
        let entry = |uid: &u32| Entry {
            uid: *uid,
            flags: if seen.contains(uid) { Flags::from(["\\Seen".into()]) } else { Flags::new() },
            received: 0,
            octets: 1,
        };
        View { uid_validity: 7, uid_next: 99, recent_from: 50, entries: uids.iter().map(entry).collect() }
    }

    fn selected(uids: &[u32]) -> Selected {
        Selected::new(RemoteName::parse(b"INBOX").expect("a name"), false, view(uids, &[]))
    }

    #[test]
    fn sets_name_messages_in_either_numbering() {
        let mailbox = selected(&[2, 4, 6, 8]);
        for (text, by_number, by_uid) in [
            ("1:*", vec![2, 4, 6, 8], vec![2, 4, 6, 8]),
            ("*", vec![8], vec![8]),
            ("3:2,1", vec![2, 4, 6], vec![2]),
            ("9:*", vec![8], vec![8]),
            ("5,6,7", vec![], vec![6]),
            ("1,1:2,2", vec![2, 4], vec![2]),
        ] {
            let set = Set::read(&mut Cursor::new(text.as_bytes()), text.as_bytes()).expect("a set");
            assert_eq!((mailbox.uids(&set, false), mailbox.uids(&set, true)), (by_number, by_uid), "{text}");
        }
        let set = Set::read(&mut Cursor::new(b"1:*"), b"1:*").expect("a set");
        assert_eq!(selected(&[]).uids(&set, false), Vec::<u32>::new());
    }

    #[test]
    fn what_changed_is_told_in_numbers_of_the_moment() {
        let mut mailbox = selected(&[2, 4, 6, 8]);
        let mut out = Vec::new();
        assert!(mailbox.refresh(view(&[4, 8, 51], &[8]), &mut out));
        let told = "* 1 EXPUNGE\r\n* 2 EXPUNGE\r\n* 2 FETCH (FLAGS (\\Seen))\r\n* 3 EXISTS\r\n* 1 RECENT\r\n";
        assert_eq!(String::from_utf8_lossy(&out), told);
        assert!(!mailbox.refresh(View { uid_validity: 8, ..View::default() }, &mut out));
    }
}
