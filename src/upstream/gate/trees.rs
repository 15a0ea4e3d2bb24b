//! The trees of an account: the folder tables that its lanes listed, and the namespaces made of them.
//!
//! One for each credential by which lanes are signed in. The account's own has one, for all its logins. Tokens of clients
//! may be of several people, to whom the provider shows different mailboxes: nobody is told a name that no lane of his own
//! token listed (rule R24).

#![allow(clippy::disallowed_methods, reason = "the age of a folder table is told by the clock")]

use super::{Gate, Gates, said};
use crate::{
    failure::Failure,
    model::{AccountId, FolderTable, Generation},
    relay::Keep,
    rules::namespace::{Choices, Namespace, Naming},
    upstream::passed::{LaneKey, Passed, key},
};
use std::{
    collections::HashMap,
    sync::{Arc, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A folder table this young answers LIST (design section 4).
pub(crate) const FRESH: Duration = Duration::from_secs(5);
/// A folder table this old is read again when a lane is opened: names that only another program made are found by a
/// LIST, or by a name that is not found, sooner.
pub(crate) const AGED: Duration = Duration::from_secs(600);
/// Folder tables of one account at once. Its clients are a handful, each with one token; whose table has gone reads it
/// again. A table is some megabytes at most.
pub(crate) const TREES_MAX: usize = 8;

/// What is known of an account's folders.
#[derive(Default)]
pub(super) struct Trees {
    /// The one that was asked for longest ago first; at most [`TREES_MAX`].
    trees: Vec<Tree>,
}

struct Tree {
    key: LaneKey,
    /// When the table was read. None: the tree was changed since, and it is better than none for a lane that does not read
    /// it.
    read: Option<Instant>,
    known: Known,
}

/// A folder table, and what is made of it: a namespace for each naming in use, a handful at most.
struct Known {
    table: FolderTable,
    choices: Choices,
    namespaces: HashMap<Naming, Arc<Namespace>>,
}

impl Trees {
    fn of(&mut self, key: LaneKey) -> Option<&mut Tree> {
        let at = self.trees.iter().position(|tree| tree.key == key)?;
        let tree = self.trees.remove(at);
        self.trees.push(tree);
        self.trees.last_mut()
    }

    fn put(&mut self, key: LaneKey, known: Known) {
        self.trees.retain(|tree| tree.key != key);
        if self.trees.len() == TREES_MAX {
            self.trees.remove(0);
        }
        self.trees.push(Tree { key, read: Some(Instant::now()), known });
    }
}

impl Known {
    fn namespace(&mut self, id: AccountId, naming: &Naming) -> Arc<Namespace> {
        let Self { table, choices, namespaces } = self;
        match namespaces.get(naming) {
            Some(namespace) => namespace.clone(),
            None => {
                let namespace = Arc::new(Namespace::new(id, table, choices, naming));
                namespaces.insert(naming.clone(), namespace.clone());
                namespace
            }
        }
    }

    fn keep(&mut self, keep: &Keep) {
        match keep.clone() {
            Keep::Role(role, remote) => drop(self.choices.made.insert(role, remote)),
            Keep::Subscription(remote, Some(subscribed)) => drop(self.choices.subscribed.insert(remote, subscribed)),
            Keep::Subscription(remote, None) => drop(self.choices.subscribed.remove(&remote)),
        }
        self.namespaces.clear();
    }
}

impl Gates {
    /// The namespace of whom this token let in, or of the account's own credential, if it was read less than five seconds
    /// ago.
    #[must_use]
    pub fn folders(&self, id: AccountId, naming: &Naming, passed: Option<&Passed>) -> Option<Arc<Namespace>> {
        let gate = self.gates.get(&id)?.clone();
        let mut trees = gate.trees();
        let tree = trees.of(key(passed))?;
        tree.read.filter(|read| read.elapsed() < FRESH)?;
        Some(tree.known.namespace(id, naming))
    }

    /// Keeps a folder table that was just read by whom a verdict let in at this generation, unless the account has a
    /// newer one, and gives the namespace made of it.
    ///
    /// # Errors
    /// If the account's own folder map cannot be read.
    pub async fn publish(
        &self,
        id: AccountId,
        judged_at: Generation,
        naming: &Naming,
        passed: Option<&Passed>,
        table: FolderTable,
    ) -> Result<Arc<Namespace>, Failure> {
        let choices = self.store.choices(id).await.map_err(|error| said(&error, "a folder map cannot be read"))?;
        let mut known = Known { table, choices, namespaces: HashMap::new() };
        let namespace = known.namespace(id, naming);
        if let Some(gate) = self.gates.get(&id).map(|gate| gate.clone()) {
            let mut trees = gate.trees();
            // Asked with the lock held: what grows later forgets this table, too.
            if !gate.is_beyond(judged_at) {
                trees.put(key(passed), known);
            }
        }
        Ok(namespace)
    }

    /// Keeps what a client did to the tree that the provider does not keep, and gives its namespace as it is with it. It
    /// is no change that ends sessions: the others see it with their next LIST. It is kept for the account, and shows only
    /// where a table of one's own has the mailbox.
    ///
    /// # Errors
    /// If the store fails: nothing is kept then.
    pub async fn keep(
        &self,
        id: AccountId,
        naming: &Naming,
        passed: Option<&Passed>,
        keep: Keep,
    ) -> Result<Option<Arc<Namespace>>, Failure> {
        let kept = match &keep {
            Keep::Role(role, remote) => self.store.keep_role(id, *role, remote).await,
            Keep::Subscription(remote, subscribed) => self.store.keep_subscription(id, remote, *subscribed).await,
        };
        kept.map_err(|error| said(&error, "a change of the tree cannot be kept"))?;
        let Some(gate) = self.gates.get(&id).map(|gate| gate.clone()) else { return Ok(None) };
        let mut trees = gate.trees();
        for tree in &mut trees.trees {
            tree.known.keep(&keep);
        }
        Ok(trees.of(key(passed)).map(|tree| tree.known.namespace(id, naming)))
    }

    /// The tree of this account was changed: for whoever sees it.
    pub fn stale(&self, id: AccountId) {
        if let Some(gate) = self.gates.get(&id).map(|gate| gate.clone()) {
            gate.trees().trees.iter_mut().for_each(|tree| tree.read = None);
        }
    }
}

impl Gate {
    pub(super) fn trees(&self) -> MutexGuard<'_, Trees> {
        // A panic elsewhere leaves whole entries here.
        self.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a folder table is known of lanes with this key.
    pub(super) fn has_tree(&self, key: LaneKey) -> bool {
        self.trees().of(key).is_some()
    }

    /// Whether the next lane with this key is to read it.
    pub(super) fn wants_tree(&self, key: LaneKey) -> bool {
        self.trees().of(key).and_then(|tree| tree.read).is_none_or(|read| read.elapsed() > AGED)
    }

    /// The namespace of lanes with this key, however old.
    pub(super) fn tree(&self, id: AccountId, naming: &Naming, key: LaneKey) -> Option<Arc<Namespace>> {
        self.trees().of(key).map(|tree| tree.known.namespace(id, naming))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attributes, Folder, RemoteName, Secret};

    fn table_of(name: &str) -> FolderTable {
        let name = RemoteName::parse(name.as_bytes()).expect("a name");
        let folder = Folder { name, attributes: Attributes::default(), role: None, subscribed: true };
        FolderTable { folders: vec![folder], ..FolderTable::default() }
    }

    #[tokio::test]
    async fn a_table_of_an_older_generation_is_not_kept() {
        let (gates, _root) = Gates::of_a_test().await;
        let (id, table, naming) = (AccountId(1), FolderTable::default(), Naming::default());
        let gate = gates.gate(id);
        gate.reach(Generation(2));
        gates.publish(id, Generation(1), &naming, None, table.clone()).await.expect("a namespace");
        assert!(gates.folders(id, &naming, None).is_none());
        gates.publish(id, Generation(2), &naming, None, table.clone()).await.expect("a namespace");
        assert!(gates.folders(id, &naming, None).is_some());
        gate.reach(Generation(3));
        assert!(gates.folders(id, &naming, None).is_none());
    }

    #[tokio::test]
    async fn each_token_has_a_tree_of_its_own_and_the_one_unused_longest_goes() {
        let (gates, _root) = Gates::of_a_test().await;
        let (id, naming, now) = (AccountId(1), Naming::default(), Generation::default());
        let gate = gates.gate(id);
        let passed = |number: usize| {
            Passed::new(&Secret::new(format!("token-{number}").into_bytes()), Arc::default()).expect("text")
        };
        let sees = |number: usize| {
            let namespace = gates.folders(id, &naming, Some(&passed(number)))?;
            Some(namespace.entries().map(|entry| entry.local.as_str().to_owned()).collect::<Vec<_>>())
        };
        for number in 0..=TREES_MAX {
            assert_eq!(sees(number), None);
            let table = table_of(&format!("Of{number}"));
            gates.publish(id, now, &naming, Some(&passed(number)), table).await.expect("a namespace");
            // The first is in use.
            assert_eq!(sees(0), Some(vec!["Of0".to_owned()]));
        }
        assert_eq!(sees(1), None, "unused longest");
        assert_eq!(sees(TREES_MAX), Some(vec![format!("Of{TREES_MAX}")]));
        assert!(gates.folders(id, &naming, None).is_none(), "the account's own is another");
        let key = passed(0).key;
        assert!(!gate.wants_tree(key));
        gates.stale(id);
        assert!(gate.wants_tree(key) && gate.has_tree(key) && sees(0).is_none(), "better than none");
    }
}
