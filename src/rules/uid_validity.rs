//! What UIDVALIDITY a client is told for a mailbox, so that a remapped folder or a swapped provider is never taken for
//! the old one.
//!
//! Pure: the row is kept by `store`, the clock is an argument. A new value must be committed before it is told, else a
//! crash could tell one number for two mailboxes. RFC 3501 section 2.3.1.1, RFC 9051 section 2.3.1.1.

use crate::model::{Epoch, RemoteName};

/// What was last told under a LocalName, and of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub epoch: Epoch,
    pub remote: RemoteName,
    /// What the provider said.
    pub upstream: u32,
    /// What the client was told.
    pub told: u32,
    /// Epoch or RemoteName have changed at least once. From then on the provider's own values may collide with ours.
    pub rewritten: bool,
}

impl Told {
    /// The first time a mailbox is seen under this name: the provider's value as it is.
    #[must_use]
    pub fn first(epoch: Epoch, remote: RemoteName, upstream: u32) -> Self {
        Self { epoch, remote, upstream, told: upstream, rewritten: false }
    }

    /// The row that must be committed before its `told` is told; None while nothing has changed. `now` is in Unix seconds.
    #[must_use]
    pub fn next(&self, epoch: Epoch, remote: &RemoteName, upstream: u32, now: i64) -> Option<Self> {
        let same_mailbox = self.epoch == epoch && self.remote == *remote;
        if same_mailbox && self.upstream == upstream {
            return None;
        }
        let rewritten = self.rewritten || !same_mailbox;
        let told = if rewritten { above(self.told, now) } else { upstream };
        Some(Self { epoch, remote: remote.clone(), upstream, told, rewritten })
    }
}

/// `max(last + 1, now)` within 32 bits. Where no larger number is left (a provider once said 4294967295) the clock still
/// gives another one: different is what makes a client drop its cache, larger only what it may hope for.
fn above(last: u32, now: i64) -> u32 {
    let now = u32::try_from(now.max(1)).unwrap_or(u32::MAX - 1);
    last.checked_add(1).map_or(now, |next| next.max(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn remote(name: &str) -> RemoteName {
        RemoteName::parse(name.as_bytes()).expect("a mailbox name")
    }

    #[test]
    fn an_untouched_mailbox_keeps_the_providers_values() {
        let row = Told::first(Epoch(1), remote("INBOX.Sent"), 7);
        assert_eq!(row.told, 7);
        assert_eq!(row.next(Epoch(1), &remote("INBOX.Sent"), 7, 1_000), None);
        // The provider made the mailbox anew; nothing was ever mapped otherwise, so its word is good.
        let row = row.next(Epoch(1), &remote("INBOX.Sent"), 5, 1_000).expect("a change");
        assert_eq!((row.told, row.rewritten), (5, false));
    }

    #[test]
    fn another_mailbox_with_the_same_value_is_told_apart() {
        let row = Told::first(Epoch(1), remote("INBOX.Sent"), 1);
        let mapped = row.next(Epoch(1), &remote("Sent Items"), 1, 1_000).expect("a change");
        assert_eq!((mapped.told, mapped.rewritten), (1_000, true));
        let swapped = row.next(Epoch(2), &remote("INBOX.Sent"), 1, 0).expect("a change");
        assert_eq!(swapped.told, 2);
        let back = mapped.next(Epoch(1), &remote("INBOX.Sent"), 1, 1_000).expect("a change");
        assert_eq!(back.told, 1_001);
    }

    #[test]
    fn the_last_number_of_32_bits_is_left_behind() {
        let row = Told::first(Epoch(1), remote("a"), u32::MAX);
        let next = row.next(Epoch(2), &remote("a"), u32::MAX, 1_800_000_000).expect("a change");
        assert_eq!(next.told, 1_800_000_000);
        assert_ne!(row.next(Epoch(2), &remote("a"), 1, i64::MAX).expect("a change").told, u32::MAX);
    }

    proptest! {
        #[test]
        fn told_only_grows_once_rewritten(
            start in 1..u32::MAX - 1_000,
            steps in proptest::collection::vec((0..3i64, 0..3usize, 1..4u32, 0..4_000_000_000i64), 1..100),
        ) {
            let names = ["a", "b", "c"].map(remote);
            let mut row = Told::first(Epoch(0), names[0].clone(), start);
            for (epoch, name, upstream, now) in steps {
                let untouched = !row.rewritten && epoch == row.epoch.0 && names[name] == row.remote;
                match row.next(Epoch(epoch), &names[name], upstream, now) {
                    None => prop_assert_eq!((row.epoch.0, &row.remote, row.upstream), (epoch, &names[name], upstream)),
                    Some(next) => {
                        prop_assert_eq!(next.rewritten, !untouched);
                        prop_assert!(!next.rewritten || next.told > row.told);
                        prop_assert!(next.rewritten || next.told == upstream);
                        row = next;
                    }
                }
            }
        }
    }
}
