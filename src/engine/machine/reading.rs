//! FETCH and SEARCH: what reads many messages does so in batches, and FETCH writes no more than is taken from it.

use super::{Doing, Engine, HIGH_WATER, State, Step, items::Item, numbers::Selected, search::Key};
use crate::{
    engine::{
        letter::Read,
        source::{Answer, Change, Flags, Letter, Request},
    },
    model::index,
};
use std::collections::{BTreeSet, VecDeque};

/// Octets and messages of a batch, which holds at least one.
const BATCH_OCTETS: u64 = 1024 * 1024;
const BATCH_LETTERS: usize = 64;

/// A FETCH under way.
pub(super) struct Fetching {
    tag: Vec<u8>,
    items: Vec<Item>,
    uids: Vec<u32>,
    /// How many of `uids` are told, or in `batch`.
    next: usize,
    batch: VecDeque<Letter>,
    /// Items told of the message that is being told.
    told: usize,
    /// Messages that this FETCH marks as seen: their flags are told with them.
    seen: BTreeSet<u32>,
    reads: bool,
}

impl Fetching {
    pub(super) fn new(tag: Vec<u8>, by_uid: bool, uids: Vec<u32>, mut items: Vec<Item>) -> Self {
        if by_uid && !items.contains(&Item::Uid) {
            items.insert(0, Item::Uid);
        }
        let reads = items.iter().any(Item::reads);
        Self { tag, items, uids, next: 0, batch: VecDeque::new(), told: 0, seen: BTreeSet::new(), reads }
    }
}

/// A SEARCH under way.
pub(super) struct Searching {
    tag: Vec<u8>,
    by_uid: bool,
    key: Key,
    uids: Vec<u32>,
    next: usize,
    found: Vec<u32>,
}

impl Searching {
    pub(super) fn new(tag: Vec<u8>, by_uid: bool, keys: Vec<Key>, selected: &Selected) -> Self {
        let mut key = Key::All(keys);
        key.resolve(selected);
        let uids = selected.entries.iter().map(|entry| entry.uid).collect();
        Self { tag, by_uid, key, uids, next: 0, found: Vec::new() }
    }
}

impl Engine {
    /// Begins a FETCH: messages whose text it tells are marked as seen first.
    pub(super) fn fetch(&mut self, mut fetching: Fetching, out: &mut Vec<u8>) -> Step {
        let State::Selected(selected) = &self.state else { return Step::More };
        if selected.read_only || !fetching.items.iter().any(Item::marks_seen) {
            return self.fetch_on(fetching, out);
        }
        let unseen = |uid: &&u32| {
            let entry = selected.index(**uid).and_then(|index| selected.entries.get(index));
            entry.is_some_and(|entry| !entry.flags.contains("\\Seen"))
        };
        let uids: Vec<u32> = fetching.uids.iter().filter(unseen).copied().collect();
        if uids.is_empty() {
            return self.fetch_on(fetching, out);
        }
        fetching.seen = uids.iter().copied().collect();
        let request = Request::Change { mailbox: selected.mailbox.clone(), uids, change: seen() };
        self.doing = Doing::Fetching(Box::new(fetching));
        Step::Ask(request)
    }

    /// The answer to either request of a FETCH.
    pub(super) fn letters_to_fetch(&mut self, mut fetching: Fetching, answer: Answer, out: &mut Vec<u8>) -> Step {
        match (answer, &mut self.state) {
            (Answer::Done, State::Selected(selected)) => {
                for uid in &fetching.seen {
                    if let Some(entry) = selected.index(*uid).and_then(|index| selected.entries.get_mut(index)) {
                        seen().apply(&mut entry.flags);
                    }
                }
                if !fetching.items.contains(&Item::Flags) && !fetching.seen.is_empty() {
                    let behind_uid = usize::from(fetching.items.first() == Some(&Item::Uid));
                    fetching.items.insert(behind_uid, Item::Flags);
                }
            }
            (Answer::Letters(letters), _) => fetching.batch.extend(letters),
            (Answer::Refused(refusal), _) => {
                return self.say(&fetching.tag, &format!("NO [UNAVAILABLE] {refusal}"), out);
            }
            _ => {}
        }
        self.fetch_on(fetching, out)
    }

    /// Tells what it has, up to the mark; then asks for more.
    pub(super) fn fetch_on(&mut self, mut fetching: Fetching, out: &mut Vec<u8>) -> Step {
        let State::Selected(selected) = &self.state else { return Step::More };
        loop {
            if out.len() > HIGH_WATER {
                self.doing = Doing::Fetching(Box::new(fetching));
                return Step::Flush;
            }
            if fetching.reads {
                let Some(letter) = fetching.batch.front().cloned() else { break };
                let read = Read::new(&letter.octets);
                if fetching.tell(selected, letter.uid, Some(&read), out) {
                    fetching.batch.pop_front();
                }
            } else {
                let Some(&uid) = fetching.uids.get(fetching.next) else { break };
                if fetching.tell(selected, uid, None, out) {
                    fetching.next += 1;
                }
            }
        }
        match next_batch(selected, &fetching.uids, &mut fetching.next) {
            Some(request) => {
                self.doing = Doing::Fetching(Box::new(fetching));
                Step::Ask(request)
            }
            None => self.say(&fetching.tag, "OK fetched", out),
        }
    }

    /// Looks at the messages of a batch.
    pub(super) fn letters_to_search(&mut self, mut searching: Searching, answer: Answer, out: &mut Vec<u8>) -> Step {
        let State::Selected(selected) = &self.state else { return Step::More };
        let letters = match answer {
            Answer::Letters(letters) => letters,
            Answer::Refused(refusal) => return self.say(&searching.tag, &format!("NO [UNAVAILABLE] {refusal}"), out),
            _ => Vec::new(),
        };
        for letter in letters {
            let Some(entry) = selected.index(letter.uid).and_then(|index| selected.entries.get(index)) else {
                continue;
            };
            if searching.key.fits(entry, selected, Some(&Read::new(&letter.octets))) {
                searching.found.push(letter.uid);
            }
        }
        self.search_on(searching, out)
    }

    /// Asks for the next batch, or tells what was found.
    pub(super) fn search_on(&mut self, mut searching: Searching, out: &mut Vec<u8>) -> Step {
        let State::Selected(selected) = &self.state else { return Step::More };
        if searching.key.reads() {
            if let Some(request) = next_batch(selected, &searching.uids, &mut searching.next) {
                self.doing = Doing::Searching(Box::new(searching));
                return Step::Ask(request);
            }
        } else {
            let fits = selected.entries.iter().filter(|entry| searching.key.fits(entry, selected, None));
            searching.found = fits.map(|entry| entry.uid).collect();
        }
        out.extend_from_slice(b"* SEARCH");
        for uid in &searching.found {
            let number = if searching.by_uid { Some(index(*uid)) } else { selected.index(*uid).map(|index| index + 1) };
            out.extend_from_slice(number.map(|number| format!(" {number}")).unwrap_or_default().as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        self.say(&searching.tag, "OK searched", out)
    }
}

impl Fetching {
    /// Tells items of one message up to the mark. True: all are told, or the message is none any more.
    fn tell(&mut self, selected: &Selected, uid: u32, letter: Option<&Read<'_>>, out: &mut Vec<u8>) -> bool {
        let Some(index) = selected.index(uid) else { return true };
        let Some(entry) = selected.entries.get(index) else { return true };
        if self.told == 0 {
            out.extend_from_slice(format!("* {} FETCH (", index + 1).as_bytes());
        }
        while let Some(item) = self.items.get(self.told) {
            if self.told > 0 {
                out.push(b' ');
            }
            item.write(entry, selected, letter, out);
            self.told += 1;
            if out.len() > HIGH_WATER && self.told < self.items.len() {
                return false;
            }
        }
        out.extend_from_slice(b")\r\n");
        self.told = 0;
        true
    }
}

/// The next messages to be asked for.
fn next_batch(selected: &Selected, uids: &[u32], next: &mut usize) -> Option<Request> {
    let mut batch = Vec::new();
    let mut octets = 0;
    while let Some(&uid) = uids.get(*next).filter(|_| octets < BATCH_OCTETS && batch.len() < BATCH_LETTERS) {
        octets += selected.index(uid).and_then(|index| selected.entries.get(index)).map_or(0, |entry| entry.octets);
        batch.push(uid);
        *next += 1;
    }
    (!batch.is_empty()).then(|| Request::Letters { mailbox: selected.mailbox.clone(), uids: batch })
}

fn seen() -> Change {
    Change::Add(Flags::from(["\\Seen".into()]))
}
