//! Providers with moods: doubles that a test changes from one moment to the next, and that fail for certain commands and
//! recipients.

use super::{
    certificates::Signed,
    provider::{IMAP_CAPABILITIES, Provider, Visit},
};
use std::sync::{Arc, Mutex};

/// The doubles' own name of the CRM's `Sent`.
pub(crate) const REMOTE: &str = "INBOX.Sent";

/// How the doubles behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    /// It refuses our password.
    Refuses,
    /// It refuses whatever token it is shown.
    RefusesTokens,
    /// It accepts the connection, and says nothing.
    Silent,
    /// It greets, and is slower than the CRM's patience from then on.
    Slow,
    /// What it says is no greeting of its protocol.
    Nonsense,
    /// It says that it is closed today.
    Closed,
}

fn mood(moods: &Mutex<Mood>) -> Mood {
    *moods.lock().expect("no test panicked in here")
}

/// Greets, or does what the mood wants instead: then the visit ends.
fn greet(visit: &mut Visit, mood: Mood, [greeting, closed, nonsense]: [&str; 3]) -> Option<()> {
    match mood {
        Mood::Silent => {
            while !visit.some()?.is_empty() {}
            None
        }
        Mood::Nonsense => {
            visit.say(nonsense)?;
            visit.hang_up()?;
            None
        }
        Mood::Closed => {
            visit.say(closed)?;
            visit.hang_up()?;
            None
        }
        Mood::Good | Mood::Refuses | Mood::RefusesTokens | Mood::Slow => visit.say(greeting),
    }
}

pub(crate) fn moody_imap(certificate: &Signed, moods: Arc<Mutex<Mood>>) -> Provider {
    Provider::start(Some(certificate), move |visit| {
        let greeting = format!("* OK [CAPABILITY {IMAP_CAPABILITIES} AUTH=XOAUTH2] Double ready");
        greet(visit, mood(&moods), [&greeting, "* BYE closed today", "hello there"])?;
        visit.imap(&|visit, tag, command| {
            if mood(&moods) == Mood::Slow {
                std::thread::sleep(std::time::Duration::from_millis(2500));
            }
            if command.starts_with("AUTHENTICATE") && mood(&moods) == Mood::RefusesTokens {
                visit.say(&format!("{tag} NO [AUTHENTICATIONFAILED] No such token"))?;
                return Some(true);
            }
            if command.starts_with("AUTHENTICATE") && mood(&moods) == Mood::Refuses {
                visit.say(&format!("{tag} NO [AUTHENTICATIONFAILED] alice@ovh.test hunter2 is wrong"))?;
                return Some(true);
            }
            let answer = match command {
                "CREATE INBOX.full" | "CREATE \"INBOX.full\"" => "NO [OVERQUOTA] The mailbox is full".to_owned(),
                "STATUS INBOX.Sent (MESSAGES)" | "STATUS \"INBOX.Sent\" (MESSAGES)" => {
                    format!("NO [INUSE] {REMOTE} is locked")
                }
                "FETCH 1 (FLAGS)" => {
                    visit.say("nonsense instead of an answer")?;
                    return Some(true);
                }
                "FETCH 2 (FLAGS)" => {
                    visit.say("* BYE enough")?;
                    visit.hang_up()?;
                    return Some(true);
                }
                _ => return Some(false),
            };
            visit.say(&format!("{tag} {answer}"))?;
            Some(true)
        })
    })
}

pub(crate) fn moody_smtp(certificate: &Signed, moods: Arc<Mutex<Mood>>) -> Provider {
    Provider::start(Some(certificate), move |visit| {
        greet(visit, mood(&moods), ["220 double", "421 4.3.2 closed today", "* OK IMAP here"])?;
        let mut end = String::new();
        loop {
            let line = visit.line()?;
            if mood(&moods) == Mood::Slow {
                std::thread::sleep(std::time::Duration::from_millis(2500));
            }
            match line.split(' ').next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "EHLO" => visit.say("250-double\r\n250 AUTH PLAIN XOAUTH2")?,
                "AUTH" if mood(&moods) == Mood::Refuses => visit.say("535 5.7.8 hunter2 is wrong")?,
                "AUTH" if mood(&moods) == Mood::RefusesTokens => visit.say("535 5.7.8 No such token")?,
                "AUTH" => visit.say("235 2.7.0 Signed in")?,
                "RCPT" if line.contains("nobody@") => visit.say("550 5.1.1 No such user")?,
                "RCPT" if line.contains("later@") => visit.say("451 4.3.2 Greylisted")?,
                "RCPT" if line.contains("<gone@") => return visit.hang_up(),
                "RCPT" if line.contains("<mad@") => visit.say("nonsense instead of a reply")?,
                "RCPT" => {
                    visit.say("250 2.1.5 Ok")?;
                    end = line;
                }
                "DATA" => {
                    visit.say("354 go")?;
                    while visit.line()? != "." {}
                    match end.as_str() {
                        end if end.contains("taken-and-gone@") => return visit.hang_up(),
                        end if end.contains("taken-and-mad@") => visit.say("nonsense instead of a reply")?,
                        _ => visit.say("250 2.0.0 Taken")?,
                    }
                }
                "QUIT" => return visit.say("221 2.0.0 Bye"),
                _ => visit.say("250 2.0.0 Ok")?,
            }
        }
    })
}
