//! Shares: how many octets of the spool are an account's, those that are being written and those that rows of the store name.
//!
//! Octets are taken before they are written, so that drafts which are never committed are bounded as well, and what is
//! committed at once by several sessions has been counted before. Too much may be counted for a moment, never too little.

use crate::model::AccountId;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Of all accounts that have a draft.
pub(super) struct Shares {
    /// Octets of one account at most.
    each: u64,
    accounts: Mutex<HashMap<AccountId, Held>>,
}

/// What is known of one account, for as long as it has a draft.
#[derive(Default)]
struct Held {
    drafts: u32,
    /// Octets of its drafts.
    writing: u64,
    /// Octets of rows.
    kept: u64,
    /// So many drafts have become rows: what was read before the last of them is outdated.
    commits: u64,
}

/// Those of one draft; dropped, they are free.
pub(super) struct Share {
    shares: Arc<Shares>,
    account: AccountId,
    octets: u64,
}

impl Shares {
    pub(super) fn new(each: u64) -> Arc<Self> {
        Arc::new(Self { each, accounts: Mutex::default() })
    }

    /// That of a new draft, of which nothing is written.
    pub(super) fn of(self: &Arc<Self>, account: AccountId) -> Share {
        self.with(account, |held| held.drafts += 1);
        Share { shares: self.clone(), account, octets: 0 }
    }

    fn with<T>(&self, account: AccountId, deed: impl FnOnce(&mut Held) -> T) -> T {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let held = accounts.entry(account).or_default();
        let done = deed(held);
        if held.drafts == 0 {
            accounts.remove(&account);
        }
        done
    }
}

impl Share {
    /// So many commits there have been, to be asked for before rows are read.
    pub(super) fn commits(&self) -> u64 {
        self.shares.with(self.account, |held| held.commits)
    }

    /// Learns what rows name, as it was read behind so many commits. Whoever has committed meanwhile knew it before.
    pub(super) fn learn(&self, kept: u64, commits: u64) {
        self.shares.with(self.account, |held| {
            if held.commits == commits {
                held.kept = kept;
            }
        });
    }

    /// Takes octets that are about to be written. False: the account has no more.
    pub(super) fn take(&mut self, more: u64) -> bool {
        let each = self.shares.each;
        let taken = self.shares.with(self.account, |held| {
            let sum = held.writing.saturating_add(held.kept).saturating_add(more);
            let fits = sum <= each;
            held.writing += if fits { more } else { 0 };
            fits
        });
        self.octets += if taken { more } else { 0 };
        taken
    }

    /// A row names them from now on.
    pub(super) fn keep(mut self) {
        let octets = std::mem::take(&mut self.octets);
        self.shares.with(self.account, |held| {
            held.writing -= octets;
            held.kept += octets;
            held.commits += 1;
        });
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.with(self.account, |held| {
            held.writing -= self.octets;
            held.drafts -= 1;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: AccountId = AccountId(1);
    const BOB: AccountId = AccountId(2);

    fn draft(shares: &Arc<Shares>, account: AccountId, rows: u64) -> Share {
        let share = shares.of(account);
        share.learn(rows, share.commits());
        share
    }

    #[test]
    fn what_is_written_and_what_rows_name_is_an_accounts_share() {
        let shares = Shares::new(100);
        let mut one = draft(&shares, ALICE, 30);
        let mut two = draft(&shares, ALICE, 30);
        assert!(one.take(40) && two.take(30) && !two.take(1), "drafts that nobody has committed count");
        assert!(draft(&shares, BOB, 0).take(100), "another's share is its own");
        drop(one);
        assert!(two.take(40) && !two.take(1), "what is dropped is free again");
    }

    #[test]
    fn commits_at_once_never_pass_the_share() {
        let shares = Shares::new(100);
        let mut drafts = Vec::new();
        for _ in 0..3 {
            drafts.push(draft(&shares, ALICE, 0));
        }
        let fit: Vec<bool> = drafts.iter_mut().map(|draft| draft.take(40)).collect();
        assert_eq!(fit, [true, true, false]);
        let mut last = drafts.pop().expect("three");
        drafts.into_iter().for_each(Share::keep);
        assert!(!last.take(21) && last.take(20), "what is committed counts as before");
        // As its store has it, some was filed meanwhile.
        let mut next = draft(&shares, ALICE, 40);
        assert!(next.take(40) && !next.take(1));
        drop((last, next));
        assert!(shares.accounts.lock().expect("whole").is_empty());
    }

    #[test]
    fn what_was_read_before_a_commit_is_not_believed() {
        let shares = Shares::new(100);
        let mut early = draft(&shares, ALICE, 0);
        assert!(early.take(60));
        let mut late = shares.of(ALICE);
        let commits = late.commits();
        early.keep();
        late.learn(0, commits);
        assert!(!late.take(41) && late.take(40));
    }
}
