//! A submission server that a test gives rules, and CRMs that send through a bridge before it.

use crate::harness::{AddAccount, Bridge, CrmSettings, Lab, PATIENCE, Provider, Visit, Wire, until};
use std::sync::{Arc, Mutex};

/// The note of a visit that its client has ended.
pub(crate) const END: &str = "(end)";

/// What each visit of a submission server heard.
pub(crate) type Heard = Arc<Mutex<Vec<Vec<String>>>>;

/// What a submission server does with a command. None: as usual.
type Rule = dyn Fn(&mut Visit, usize, &str) -> Option<Done> + Send + Sync;

/// What it did.
pub(crate) enum Done {
    Answered,
    Left,
}

/// A submission server that lets everyone in and takes every message, but where a rule says otherwise.
pub(crate) fn submission(
    lab: &Lab,
    rule: impl Fn(&mut Visit, usize, &str) -> Option<Done> + Send + Sync + 'static,
) -> House {
    let heard = Heard::default();
    let (notes, rule): (_, Box<Rule>) = (heard.clone(), Box::new(rule));
    let smtp = Provider::start(Some(&lab.certificates.good), move |visit| {
        let number = {
            let mut notes = notes.lock().expect("no panic in here");
            notes.push(Vec::new());
            notes.len() - 1
        };
        visit.say("220 double ESMTP")?;
        loop {
            let line = visit.line();
            notes.lock().expect("no panic in here")[number].push(line.clone().unwrap_or_else(|| END.to_owned()));
            let line = line?;
            match rule(visit, number, &line) {
                Some(Done::Answered) => continue,
                Some(Done::Left) => return visit.hang_up(),
                None => {}
            }
            match line.split(' ').next().unwrap_or_default() {
                "EHLO" => visit.say("250-double\r\n250-PIPELINING\r\n250 AUTH PLAIN")?,
                "AUTH" => visit.say("235 2.7.0 Signed in")?,
                "DATA" => {
                    visit.say("354 go")?;
                    while visit.line()? != "." {}
                    notes.lock().expect("no panic in here")[number].push(".".to_owned());
                    if matches!(rule(visit, number, "."), Some(Done::Left)) {
                        return visit.hang_up();
                    }
                    visit.say("250 2.0.0 Taken")?;
                }
                "QUIT" => {
                    visit.say("221 2.0.0 Bye")?;
                    return visit.hang_up();
                }
                _ => visit.say("250 2.0.0 Ok")?,
            }
        }
    });
    House { smtp, heard }
}

/// A server, and what was said to it.
pub(crate) struct House {
    pub(crate) smtp: Provider,
    pub(crate) heard: Heard,
}

impl House {
    pub(crate) fn bridge(&self, lab: &Lab, configuration: &str, addresses: &[&str]) -> (Bridge, Vec<CrmSettings>) {
        let mut bridge = Bridge::configured(lab, configuration);
        let add = |address: &&str| bridge.add_account(&AddAccount::at(lab, [1, self.smtp.port], address));
        let crms = addresses.iter().map(add).collect();
        bridge.serve();
        (bridge, crms)
    }

    /// How often this was said, to each visit.
    pub(crate) fn each(&self, command: &str) -> Vec<usize> {
        let heard = self.heard.lock().expect("no panic in here");
        heard.iter().map(|visit| visit.iter().filter(|line| line.starts_with(command)).count()).collect()
    }

    pub(crate) fn all(&self, command: &str) -> usize {
        self.each(command).iter().sum()
    }

    /// The client of this visit has gone by itself, in time.
    pub(crate) fn is_left(&self, visit: usize) -> bool {
        let left = || {
            let heard = self.heard.lock().expect("no panic in here");
            heard.get(visit).is_some_and(|heard| heard.last().is_some_and(|last| last == END || last == "QUIT"))
        };
        until(PATIENCE, || left().then_some(())).is_some()
    }
}

/// One message, and whatever its end is answered.
pub(crate) fn message(wire: &mut Wire, from: &str) -> (u16, String) {
    letter(wire, from, "one")
}

/// The same with this subject.
pub(crate) fn letter(wire: &mut Wire, from: &str, subject: &str) -> (u16, String) {
    wire.smtp(&format!("MAIL FROM:<{from}>"), 250);
    wire.smtp(&format!("RCPT TO:<{from}>"), 250);
    wire.smtp("DATA", 354);
    wire.send(format!("From: <{from}>\r\nSubject: {subject}\r\n\r\ntext\r\n.\r\n").as_bytes());
    wire.reply()
}

/// A session of a CRM as most are: it signs in, sends one message, and leaves.
pub(crate) fn session(bridge: &Bridge, crm: &CrmSettings, from: &str) {
    let mut wire = bridge.sign_in_smtp(crm);
    let (code, text) = message(&mut wire, from);
    assert_eq!(code, 250, "{text}\n{}", bridge.log());
    wire.smtp("QUIT", 221);
}
