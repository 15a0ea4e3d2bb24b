//! A bridge that is killed while a CRM gives it a copy of its own, at each moment of that (rule R41).
//!
//! Each copy is counted in the end: one that was acknowledged stands in Sent once, and so does one whose message was sent, or
//! that the CRM gave again because it heard nothing; none stands there twice.

use crate::{
    filing::SENT,
    harness::{Wire, until},
    killed::{ACCOUNTS, House},
};
use std::{collections::BTreeMap, time::Duration};

/// The copy's own, each with so many kills of four copies; half of those copies are of what was sent before.
const OWN: [&str; 3] = ["before-copy", "after-copy", "before-copy-reply"];
const OWN_TIMES: usize = 5;
/// Those that any message passes: each copy is of what nobody sends through the bridge, and there are two kills of four.
const SHARED: [&str; 4] = ["before-spool", "spool-written", "before-sync", "after-sync"];
/// And those behind the reply, which the CRM waits for.
const BEHIND: [&str; 5] = ["before-look", "before-append", "within-append", "before-filed", "after-filed"];
const SHARED_TIMES: usize = 2;
/// Kills at random moments, of four copies each.
const KILLS: usize = 10;
/// Longer than the bridge waits to be told where a copy stands.
const REPLIES: Duration = Duration::from_secs(10);

/// A copy that was being given when the bridge was killed.
struct Given {
    account: usize,
    id: String,
    /// Its message was sent before, and acknowledged.
    sent: bool,
    acknowledged: bool,
    /// It was given once more, and acknowledged then.
    again: bool,
}

/// What became of the copies of one moment.
#[derive(Debug, Default)]
struct Sum {
    copies: usize,
    acknowledged: usize,
    again: usize,
    filed: usize,
    missing: usize,
    doubled: usize,
    /// Messages that did not arrive once.
    lost_or_twice: usize,
}

impl House {
    /// What a CRM gives as its copy.
    fn copy(&self, account: usize, id: &str) -> String {
        let address = &self.crms[account].0;
        format!(
            "From: {address}\r\nTo: {address}\r\nBcc: boss@ovh.test\r\nMessage-ID: <{id}@crm.test>\r\n\r\nHello.\r\n"
        )
    }

    fn sends(&self, account: usize, id: &str) {
        let (address, crm) = &self.crms[account];
        let mut wire = self.bridge.sign_in_smtp(crm);
        wire.smtp(&format!("MAIL FROM:<{address}>"), 250);
        wire.smtp(&format!("RCPT TO:<{address}>"), 250);
        wire.smtp("DATA", 354);
        let text = self.copy(account, id).replace("Bcc: boss@ovh.test\r\n", "");
        wire.send(text.as_bytes());
        wire.smtp(".", 250);
        wire.smtp("QUIT", 221);
    }

    /// All accounts give a copy at once, and the bridge is killed at this moment, or after a pause at any.
    fn dies(&mut self, moment: Option<&'static str>, pause: Duration, given: &mut Vec<Given>) {
        if let Some(moment) = moment {
            self.bridge.runs_under(&["env", &format!("PASSERELLE_FAILPOINT={moment}")]);
        }
        let before = self.stopped();
        self.bridge.serve();
        self.bridge.runs_under(&[]);
        let is_own = moment.is_none_or(|moment| OWN.contains(&moment));
        let mut wires = Vec::new();
        for account in 0..ACCOUNTS {
            let label = moment.unwrap_or("at-random");
            let (id, sent) = (format!("{label}-{}", given.len()), is_own && account % 2 == 0);
            if sent {
                self.sends(account, &id);
            }
            wires.push(self.bridge.sign_in(&self.crms[account].1));
            given.push(Given { account, id, sent, acknowledged: false, again: false });
        }
        let first = given.len() - ACCOUNTS;
        for (given, wire) in given[first..].iter().zip(&mut wires) {
            let text = self.copy(given.account, &given.id);
            wire.send(format!("c APPEND Sent (\\Seen) {{{}+}}\r\n{text}\r\n", text.len()).as_bytes());
        }
        let mut replies: Vec<Vec<u8>> = wires.iter().map(|_| Vec::new()).collect();
        if let Some(moment) = moment {
            let all = until(Duration::from_secs(20), || (self.stopped() >= before + ACCOUNTS).then_some(()));
            assert!(all.is_some(), "{moment}: {} of {ACCOUNTS}\n{}", self.stopped() - before, self.bridge.log());
            if BEHIND.contains(&moment) {
                for (reply, wire) in replies.iter_mut().zip(&mut wires) {
                    wire.set_patience(REPLIES);
                    reply.extend(wire.next().into_bytes());
                }
            }
        } else {
            std::thread::sleep(pause);
        }
        self.bridge.kill();
        for ((given, wire), reply) in given[first..].iter_mut().zip(&mut wires).zip(&mut replies) {
            reply.extend(wire.rest());
            given.acknowledged = String::from_utf8_lossy(reply).lines().any(|line| line.starts_with("c OK"));
            assert!(moment.is_none_or(|moment| given.acknowledged == BEHIND.contains(&moment)), "{moment:?}");
        }
        // Half of the CRMs that heard nothing try again.
        self.bridge.serve();
        for given in given[first..].iter_mut().filter(|given| !given.acknowledged && given.account < ACCOUNTS / 2) {
            let mut wire: Wire = self.bridge.sign_in(&self.crms[given.account].1);
            let text = self.copy(given.account, &given.id);
            let answer = wire.append("Sent", "(\\Seen)", text.as_bytes());
            assert!(answer.is_ok(), "{}\n{}", answer.tagged, self.bridge.log());
            given.again = true;
        }
        self.bridge.kill();
        self.settle();
    }

    fn sums_of_copies(&self, given: &BTreeMap<&'static str, Vec<Given>>) -> BTreeMap<&'static str, Sum> {
        let stand: Vec<_> =
            (0..ACCOUNTS).map(|account| ["INBOX", SENT].map(|mailbox| self.ids(account, mailbox))).collect();
        let mut sums: BTreeMap<&'static str, Sum> = BTreeMap::new();
        for (label, given) in given {
            for Given { account, id, sent, acknowledged, again } in given {
                let [arrived, filed] =
                    [0, 1].map(|at: usize| stand[*account][at].matches(&format!("<{id}@crm.test>")).count());
                let sum = sums.entry(label).or_default();
                sum.copies += 1;
                sum.acknowledged += usize::from(*acknowledged);
                sum.again += usize::from(*again);
                sum.filed += usize::from(filed > 0);
                sum.missing += usize::from((*acknowledged || *again || *sent) && filed == 0);
                sum.doubled += usize::from(filed > 1);
                sum.lost_or_twice += usize::from(arrived != usize::from(*sent));
            }
        }
        sums
    }
}

#[test]
fn r41_no_kill_loses_or_doubles_a_copy_of_the_crms_own() {
    let Some(mut house) = House::start(&["--sent-copy", "always"]) else { return };
    let mut given: BTreeMap<&'static str, Vec<Given>> = BTreeMap::new();
    let own = OWN.map(|moment| (moment, OWN_TIMES));
    let others = [&SHARED[..], &BEHIND].concat().into_iter().map(|moment| (moment, SHARED_TIMES));
    for (moment, times) in own.into_iter().chain(others) {
        for _ in 0..times {
            house.dies(Some(moment), Duration::ZERO, given.entry(moment).or_default());
        }
    }
    let mut seed = 0x2545_f491_u32;
    for _ in 0..KILLS {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        house.dies(None, Duration::from_millis(u64::from(seed >> 24) / 4), given.entry("at random").or_default());
    }
    let sums = house.sums_of_copies(&given);
    for (label, sum) in &sums {
        println!("killed {label}: {sum:?}");
    }
    let is_sound = |sum: &Sum| (sum.missing, sum.doubled, sum.lost_or_twice) == (0, 0, 0);
    assert!(sums.values().all(is_sound), "{}", house.bridge.log());
    let counted: usize = sums.values().map(|sum| sum.copies).sum();
    let kills = OWN.len() * OWN_TIMES + (SHARED.len() + BEHIND.len()) * SHARED_TIMES + KILLS;
    assert_eq!(counted, kills * ACCOUNTS);
}
