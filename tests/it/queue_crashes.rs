//! A bridge that is killed at each moment of a queued message: what was acknowledged is delivered, or queued, or shown; nothing
//! is delivered twice, and one copy stands in Sent.

use crate::{
    filing::{ALICE, SENT},
    harness::{PATIENCE, until},
    queue::Firm,
};
use std::time::Duration;

/// Each moment; whether the client has heard 250 by then; whether its outcome is then in doubt.
const MOMENTS: [(&str, bool, bool); 9] = [
    ("spool-written", false, false),
    ("after-sync", false, false),
    ("before-queued", false, false),
    ("after-queued", false, false),
    ("before-queue-mark", true, false),
    ("after-queue-mark", true, true),
    ("after-queue-end-mark", true, true),
    ("before-delivered", true, true),
    ("after-delivered", true, false),
];

impl Firm {
    /// Whether so many arrive within a moment.
    fn arrives(&self, count: u32) -> bool {
        until(Duration::from_secs(2), || (self.dovecot.count(ALICE, "INBOX") >= count).then_some(())).is_some()
    }

    /// Runs under a failpoint until it is reached by what `act` does.
    fn dies_at(&mut self, moment: &str, act: impl FnOnce(&mut Self)) {
        let stopped = |firm: &Self| firm.bridge.log().matches("stopped at a moment that a test has named").count();
        self.bridge.kill();
        self.bridge.runs_under(&["env", &format!("PASSERELLE_FAILPOINT={moment}")]);
        self.bridge.serve();
        self.bridge.runs_under(&[]);
        let before = stopped(self);
        act(self);
        let reached = until(PATIENCE, || (stopped(self) > before).then_some(()));
        assert!(reached.is_some(), "{moment}: {}", self.bridge.log());
        self.bridge.kill();
        self.bridge.serve();
    }
}

#[test]
fn r39_r41_a_killed_bridge_loses_and_doubles_nothing_that_is_queued() {
    let Some((mut firm, _exim)) = Firm::start() else { return };
    let (mut delivered, mut copies) = (0, 0);
    for (moment, heard, in_doubt) in MOMENTS {
        let id = format!("{moment}@crm.test");
        firm.dies_at(moment, |firm| {
            let mut wire = firm.bridge.sign_in_smtp(&firm.crm);
            wire.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
            wire.smtp(&format!("RCPT TO:<{ALICE}>"), 250);
            wire.smtp("DATA", 354);
            wire.send(format!("From: {ALICE}\r\nMessage-ID: <{id}>\r\n\r\nHello.\r\n.\r\n").as_bytes());
            if heard {
                let (code, text) = wire.reply();
                assert_eq!(code, 250, "{moment}: {text}");
            }
        });
        if !heard {
            // The client tries again what nobody acknowledged.
            firm.send(moment);
        }
        if in_doubt {
            let queue = firm.awaits(moment, |queue| queue.iter().any(|one| one["state"] == "uncertain"));
            assert_eq!((queue.len(), queue[0]["message_id"].as_str()), (1, Some(id.as_str())), "{moment}");
            delivered += match moment {
                "after-queue-mark" => 0,
                // Exim drops what it could not say that it has taken.
                "after-queue-end-mark" => u32::from(firm.arrives(delivered + 1)),
                _ => 1,
            };
            let number = queue[0]["id"].to_string();
            let removed = firm.bridge.cli(&["queue", "remove", &number], b"");
            assert!(removed.status.success(), "{moment}");
        } else {
            firm.is_empty();
            delivered += 1;
            copies += 1;
            firm.stand(SENT, copies);
        }
        firm.stand("INBOX", delivered);
    }
}

#[test]
fn a_killed_bridge_reports_once() {
    let Some((mut firm, exim)) = Firm::start() else { return };
    exim.refuse("rcpt", Some("550 5.1.1 No such user here"));
    for (moment, reports) in ["before-report", "after-report"].into_iter().zip(1..) {
        firm.dies_at(moment, |firm| firm.send(moment));
        firm.is_empty();
        firm.stand("INBOX", reports);
    }
    firm.stand(SENT, 0);
    firm.spool_is_empty();
}
