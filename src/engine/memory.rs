//! A source in memory: letters given as octets, shared by every connection that holds a clone.
//!
//! It keeps what a demo or a test needs and nothing on disk. Its caps stand below; above them it refuses.

use super::source::{Change, Entry, Flags, Letter, Mailbox, NewLetter, Placed, Refusal, Source, View};
use crate::model::{RemoteName, Role, number};
use std::{
    collections::BTreeMap,
    future::{Future, ready},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Mailboxes of one user.
const MAILBOXES_MAX: usize = 1_000;
/// Messages of one user.
const LETTERS_MAX: usize = 50_000;
/// Octets of all messages of one user.
const OCTETS_MAX: u64 = 512 * 1024 * 1024;

/// One user's mailboxes. A clone is the same mailboxes.
#[derive(Clone)]
pub struct Memory(Arc<Mutex<State>>);

struct State {
    delimiter: u8,
    /// Grows with every mailbox made, so that none ever has the numbers of another.
    uid_validity: u32,
    boxes: BTreeMap<RemoteName, Kept>,
    /// Subscribed, whether they exist or not (RFC 3501 6.3.6).
    subscribed: std::collections::BTreeSet<RemoteName>,
}

struct Kept {
    role: Option<Role>,
    no_select: bool,
    uid_validity: u32,
    uid_next: u32,
    recent_from: u32,
    letters: Vec<(Entry, Arc<[u8]>)>,
}

type Answered<T> = Result<T, Refusal>;

impl Memory {
    /// INBOX alone. `uid_validity` is the first number given to a mailbox: of two sources one may then be told apart.
    #[must_use]
    pub fn new(delimiter: u8, uid_validity: u32) -> Self {
        let state =
            State { delimiter, uid_validity, boxes: BTreeMap::new(), subscribed: std::collections::BTreeSet::new() };
        let memory = Self(Arc::new(Mutex::new(state)));
        memory.add(b"INBOX", None, false);
        memory
    }

    /// Lays out a mailbox, subscribed. What is no name, or there already, changes nothing.
    pub fn add(&self, name: &[u8], role: Option<Role>, no_select: bool) {
        let Ok(name) = RemoteName::parse(name) else { return };
        let mut state = self.state();
        if !state.boxes.contains_key(&name) {
            let kept = Kept { role, no_select, ..state.fresh() };
            state.boxes.insert(name.clone(), kept);
            state.subscribed.insert(name);
        }
    }

    /// Lays a letter into a mailbox.
    ///
    /// # Errors
    /// As [`Source::append`].
    pub fn deliver(&self, mailbox: &RemoteName, octets: &[u8], flags: Flags, received: i64) -> Answered<Placed> {
        self.state().append(mailbox, octets.into(), flags, received)
    }

    /// The first mailbox of this role.
    #[must_use]
    pub fn of_role(&self, role: Role) -> Option<RemoteName> {
        let state = self.state();
        state.boxes.iter().find(|(_, kept)| kept.role == Some(role)).map(|(name, _)| name.clone())
    }

    /// Every change is made whole before anything that could panic: a poisoned lock holds good state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn fresh(&mut self) -> Kept {
        self.uid_validity = self.uid_validity.saturating_add(1);
        Kept {
            role: None,
            no_select: false,
            uid_validity: self.uid_validity,
            uid_next: 1,
            recent_from: 1,
            letters: Vec::new(),
        }
    }

    fn kept(&mut self, name: &RemoteName) -> Answered<&mut Kept> {
        self.boxes.get_mut(&canonical(name)).filter(|kept| !kept.no_select).ok_or(Refusal::NonExistent)
    }

    fn has_room(&self, more: usize, octets: u64) -> bool {
        let (mut count, mut size) = (more, octets);
        for kept in self.boxes.values() {
            count += kept.letters.len();
            size += kept.letters.iter().map(|(entry, _)| entry.octets).sum::<u64>();
        }
        count <= LETTERS_MAX && size <= OCTETS_MAX
    }

    fn append(&mut self, name: &RemoteName, octets: Arc<[u8]>, flags: Flags, received: i64) -> Answered<Placed> {
        self.kept(name)?;
        if !self.has_room(1, number(octets.len())) {
            return Err(Refusal::OverQuota);
        }
        let kept = self.kept(name)?;
        let uid = kept.put(octets, flags, received)?;
        Ok(Placed { uid_validity: kept.uid_validity, from: Vec::new(), to: vec![uid] })
    }

    fn copy(&mut self, from: &RemoteName, uids: &[u32], to: &RemoteName, moves: bool) -> Answered<Placed> {
        self.kept(to)?;
        let letters: Vec<_> = self
            .kept(from)?
            .letters
            .iter()
            .filter(|(entry, _)| uids.binary_search(&entry.uid).is_ok())
            .cloned()
            .collect();
        if !self.has_room(letters.len(), letters.iter().map(|(entry, _)| entry.octets).sum()) {
            return Err(Refusal::OverQuota);
        }
        let target = self.kept(to)?;
        let mut placed = Placed { uid_validity: target.uid_validity, ..Placed::default() };
        for (entry, octets) in letters {
            placed.to.push(target.put(octets, entry.flags, entry.received)?);
            placed.from.push(entry.uid);
        }
        if moves {
            self.kept(from)?.letters.retain(|(entry, _)| !placed.from.contains(&entry.uid));
        }
        Ok(placed)
    }

    fn create(&mut self, name: &RemoteName) -> Answered<()> {
        let name = canonical(name);
        if self.boxes.get(&name).is_some_and(|kept| !kept.no_select) {
            return Err(Refusal::AlreadyExists);
        }
        let octets = name.as_bytes();
        let empty_level = octets.split(|octet| *octet == self.delimiter).any(<[u8]>::is_empty);
        if empty_level {
            return Err(Refusal::Cannot);
        }
        let levels = octets.iter().enumerate().filter(|(_, octet)| **octet == self.delimiter).map(|(at, _)| at);
        let names: Vec<_> = levels.chain([octets.len()]).filter_map(|end| octets.get(..end)).collect();
        if self.boxes.len() + names.len() > MAILBOXES_MAX {
            return Err(Refusal::OverQuota);
        }
        for level in names {
            let level = canonical(&RemoteName::parse(level).map_err(|_| Refusal::Cannot)?);
            if !self.boxes.contains_key(&level) || level == name {
                let kept = self.fresh();
                self.boxes.insert(level, kept);
            }
        }
        Ok(())
    }

    fn rename(&mut self, from: &RemoteName, to: &RemoteName) -> Answered<()> {
        let (from, to) = (canonical(from), canonical(to));
        if !self.boxes.contains_key(&from) {
            return Err(Refusal::NonExistent);
        }
        if from.is_inbox() || self.below(&from).any(|name| *name == to) {
            return Err(Refusal::Cannot);
        }
        let moved: Vec<_> = std::iter::once(from.clone()).chain(self.below(&from).cloned()).collect();
        self.create(&to)?;
        for old in moved {
            let rest = old.as_bytes().get(from.as_bytes().len()..).unwrap_or_default();
            let new = RemoteName::parse(&[to.as_bytes(), rest].concat()).map_err(|_| Refusal::Cannot)?;
            if let Some(kept) = self.boxes.remove(&old) {
                self.boxes.insert(new, kept);
            }
        }
        Ok(())
    }

    fn delete(&mut self, name: &RemoteName) -> Answered<()> {
        let name = canonical(name);
        if name.is_inbox() {
            return Err(Refusal::Cannot);
        }
        self.kept(&name)?;
        if self.below(&name).next().is_some() {
            let node = Kept { no_select: true, ..self.fresh() };
            self.boxes.insert(name, node);
        } else {
            self.boxes.remove(&name);
        }
        Ok(())
    }

    fn below<'a>(&'a self, name: &'a RemoteName) -> impl Iterator<Item = &'a RemoteName> {
        self.boxes.keys().filter(move |other| {
            let rest = other.as_bytes().strip_prefix(name.as_bytes());
            rest.is_some_and(|rest| rest.first() == Some(&self.delimiter))
        })
    }
}

impl Kept {
    fn put(&mut self, octets: Arc<[u8]>, flags: Flags, received: i64) -> Answered<u32> {
        let uid = self.uid_next;
        self.uid_next = uid.checked_add(1).ok_or(Refusal::OverQuota)?;
        let entry = Entry { uid, flags, received, octets: number(octets.len()) };
        self.letters.push((entry, octets));
        Ok(uid)
    }

    fn change(&mut self, uids: &[u32], change: &Change) {
        for (entry, _) in self.letters.iter_mut().filter(|(entry, _)| uids.binary_search(&entry.uid).is_ok()) {
            change.apply(&mut entry.flags);
        }
    }
}

/// INBOX in any case is one mailbox.
fn canonical(name: &RemoteName) -> RemoteName {
    if name.is_inbox() { RemoteName::parse(b"INBOX").unwrap_or_else(|_| name.clone()) } else { name.clone() }
}

impl Source for Memory {
    fn patience(&self) -> Duration {
        Duration::from_millis(150)
    }

    fn mailboxes(&self) -> impl Future<Output = Answered<Vec<Mailbox>>> + Send {
        let state = self.state();
        let boxes = state.boxes.iter().map(|(name, kept)| Mailbox {
            name: name.clone(),
            role: kept.role,
            no_select: kept.no_select,
            subscribed: state.subscribed.contains(name),
            gone: false,
        });
        let gone = state.subscribed.iter().filter(|name| !state.boxes.contains_key(name)).map(|name| Mailbox {
            name: name.clone(),
            role: None,
            no_select: true,
            subscribed: true,
            gone: true,
        });
        ready(Ok(boxes.chain(gone).collect()))
    }

    fn view(&self, mailbox: &RemoteName, claims: bool) -> impl Future<Output = Answered<View>> + Send {
        ready(self.state().kept(mailbox).map(|kept| {
            let view = View {
                uid_validity: kept.uid_validity,
                uid_next: kept.uid_next,
                recent_from: kept.recent_from,
                entries: kept.letters.iter().map(|(entry, _)| entry.clone()).collect(),
            };
            if claims {
                kept.recent_from = kept.uid_next;
            }
            view
        }))
    }

    fn letters(&self, mailbox: &RemoteName, uids: &[u32]) -> impl Future<Output = Answered<Vec<Letter>>> + Send {
        ready(self.state().kept(mailbox).map(|kept| {
            let wanted = kept.letters.iter().filter(|(entry, _)| uids.binary_search(&entry.uid).is_ok());
            wanted.map(|(entry, octets)| Letter { uid: entry.uid, octets: octets.clone() }).collect()
        }))
    }

    fn change(&self, mailbox: &RemoteName, uids: &[u32], change: &Change) -> impl Future<Output = Answered<()>> + Send {
        ready(self.state().kept(mailbox).map(|kept| kept.change(uids, change)))
    }

    fn append(
        &self,
        mailbox: &RemoteName,
        letter: &NewLetter,
        received: i64,
    ) -> impl Future<Output = Answered<Placed>> + Send {
        ready(self.state().append(mailbox, letter.octets.clone(), letter.flags.clone(), received))
    }

    fn copy(
        &self,
        from: &RemoteName,
        uids: &[u32],
        to: &RemoteName,
        moves: bool,
    ) -> impl Future<Output = Answered<Placed>> + Send {
        ready(self.state().copy(from, uids, to, moves))
    }

    fn expunge(&self, mailbox: &RemoteName, uids: &[u32]) -> impl Future<Output = Answered<()>> + Send {
        ready(
            self.state()
                .kept(mailbox)
                .map(|kept| kept.letters.retain(|(entry, _)| uids.binary_search(&entry.uid).is_err())),
        )
    }

    fn create(&self, mailbox: &RemoteName) -> impl Future<Output = Answered<()>> + Send {
        ready(self.state().create(mailbox))
    }

    fn rename(&self, from: &RemoteName, to: &RemoteName) -> impl Future<Output = Answered<()>> + Send {
        ready(self.state().rename(from, to))
    }

    fn delete(&self, mailbox: &RemoteName) -> impl Future<Output = Answered<()>> + Send {
        ready(self.state().delete(mailbox))
    }

    fn subscribe(&self, mailbox: &RemoteName, on: bool) -> impl Future<Output = Answered<()>> + Send {
        let mut state = self.state();
        let name = canonical(mailbox);
        if on && !state.boxes.contains_key(&name) {
            return ready(Err(Refusal::NonExistent));
        }
        if on {
            state.subscribed.insert(name);
        } else {
            state.subscribed.remove(&name);
        }
        ready(Ok(()))
    }
}
