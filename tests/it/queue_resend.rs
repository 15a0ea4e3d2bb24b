//! A queued message whose connection is lost behind its end mark, at a provider that files what is sent by itself, and an
//! account that wants such a message sent again: what stands in Sent is not, what does not stand there is, once.

use crate::{
    filing::{ALICE, SENT},
    harness::{AddAccount, Dovecot, Exim, Lab, Program, Provider, Visit, Wire},
    queue::{Firm, state, tries, why},
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// What happens to the first message behind its last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lost {
    /// The provider has no end mark: it drops the message.
    EndMark,
    /// The provider has taken the message, and its client hears nothing of that.
    Answer,
}

/// A house that files, and a door before each of its servers.
struct House {
    firm: Firm,
    exim: Exim,
    imap: Provider,
    _smtp: Provider,
    /// End marks that the bridge has sent.
    marks: Arc<AtomicUsize>,
}

impl House {
    fn start(lost: Lost) -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot, Program::Sieve, Program::Exim])?;
        let dovecot = Dovecot::filing(&lab, "");
        dovecot.add_user(ALICE, "direct");
        let exim = Exim::filing(&lab, &dovecot, "");
        let marks: Arc<AtomicUsize> = Arc::default();
        let (seen, ca, port) = (marks.clone(), lab.certificates.ca.clone(), exim.submissions);
        let imaps = dovecot.imaps;
        let imap = Provider::start(None, move |visit| visit.pass_on(imaps));
        let smtp = Provider::start(Some(&lab.certificates.good), move |visit| {
            let mut server = Wire::tls(port, &ca, "localhost");
            pass(visit, &mut server)?;
            loop {
                let line = visit.line()?;
                server.line(&line);
                if line.starts_with("EHLO") {
                    // Without what makes several replies of one.
                    server.reply();
                    visit.say("250-door\r\n250 AUTH PLAIN LOGIN")?;
                } else if pass(visit, &mut server)? == 354 {
                    content(visit, &mut server, lost, &seen)?;
                }
            }
        });
        let account = AddAccount::at(&lab, [imap.port, smtp.port], ALICE);
        let account = AddAccount { password: dovecot.password(ALICE), ..account };
        Some(Self { firm: Firm::of(lab, dovecot, account, "resend", "auto"), exim, imap, _smtp: smtp, marks })
    }

    fn marks(&self) -> usize {
        self.marks.load(Ordering::SeqCst)
    }

    /// The message is in doubt, and would be sent again.
    fn loses_one(&self) {
        self.firm.send("one");
        let queue = self.firm.awaits("in doubt", |queue| state(queue) == "waiting" && tries(queue) > 0);
        assert_eq!(queue[0]["recipients"][0]["state"], "uncertain", "{queue:#?}");
        assert_eq!(self.marks(), 1);
    }

    /// It has arrived once and stands in Sent once.
    fn is_sent(&self, marks: usize) {
        self.firm.is_empty();
        self.exim.deliver();
        self.firm.stand("INBOX", 1);
        self.firm.stand(SENT, 1);
        self.firm.spool_is_empty();
        assert_eq!(self.marks(), marks, "{}", self.firm.bridge.log());
    }
}

/// One reply.
fn pass(visit: &mut Visit, server: &mut Wire) -> Option<u16> {
    let (code, text) = server.reply();
    visit.say(&format!("{code} {text}"))?;
    Some(code)
}

fn content(visit: &mut Visit, server: &mut Wire, lost: Lost, marks: &AtomicUsize) -> Option<()> {
    loop {
        let line = visit.line()?;
        if line != "." {
            server.line(&line);
            continue;
        }
        let is_first = marks.fetch_add(1, Ordering::SeqCst) == 0;
        if is_first && lost == Lost::EndMark {
            return visit.hang_up();
        }
        server.line(".");
        if is_first {
            let (code, text) = server.reply();
            assert_eq!(code, 250, "{text}");
            visit.hang_up()?;
            return None;
        }
        return pass(visit, server).map(drop);
    }
}

#[test]
fn r40_what_stands_in_sent_is_not_sent_again() {
    let Some(house) = House::start(Lost::Answer) else { return };
    house.loses_one();
    house.firm.stand(SENT, 1);
    house.firm.retry("--all");
    house.is_sent(1);
}

#[test]
fn r40_what_does_not_stand_in_sent_is_sent_again_once() {
    let Some(house) = House::start(Lost::EndMark) else { return };
    house.loses_one();
    house.firm.stand(SENT, 0);
    house.firm.retry("--all");
    house.is_sent(2);
}

#[test]
fn r40_what_is_in_doubt_waits_until_sent_can_be_looked_at() {
    let Some(mut house) = House::start(Lost::Answer) else { return };
    house.loses_one();
    house.firm.stand(SENT, 1);
    house.imap.stop();
    house.firm.retry("--all");
    let before = "Sent could not be looked at before it is sent again";
    house.firm.awaits("another try", |queue| why(queue).starts_with(before));
    assert_eq!(house.marks(), 1);
    house.imap.start_again();
    house.firm.retry("--all");
    house.is_sent(1);
}
