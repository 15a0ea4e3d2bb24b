//! What the source's answers become on the wire.

use super::{
    Doing, Engine, State, Step,
    command::{SYSTEM_FLAGS, StatusItem},
    numbers::{Selected, written},
    tree,
};
use crate::{
    engine::source::{Answer, Change, Placed, Refusal, View},
    model::{RemoteName, number},
    wire::imap::token::write_string,
};

/// What an answer is for.
pub(super) enum What {
    Appended,
    /// A plain OK, after the news.
    Completes {
        words: &'static str,
    },
    Copied {
        moves: bool,
    },
    List {
        pattern: Vec<u8>,
        subscribed: bool,
    },
    /// News for one who idles.
    Look,
    /// News, then these words.
    Refresh {
        words: String,
    },
    Select {
        mailbox: RemoteName,
        read_only: bool,
    },
    SignIn {
        bearer: bool,
    },
    /// A plain OK.
    Simple {
        words: &'static str,
    },
    Status {
        mailbox: RemoteName,
        items: Vec<StatusItem>,
    },
    Stored {
        uids: Vec<u32>,
        change: Change,
        told: bool,
        uid: bool,
    },
}

impl Engine {
    pub(super) fn answered(&mut self, tag: Vec<u8>, what: What, answer: Answer, out: &mut Vec<u8>) -> Step {
        match (what, answer) {
            (What::SignIn { bearer }, _) => self.judged(tag, bearer, false, out),
            (What::Refresh { words }, answer) => {
                if self.news(answer, out) {
                    self.say(&tag, &words, out)
                } else {
                    Step::Done
                }
            }
            (What::Look, answer) => {
                if !self.news(answer, out) {
                    return Step::Done;
                }
                self.doing = Doing::Idling { tag };
                Step::Idle
            }
            (what, Answer::Refused(refusal)) => self.refused(&tag, &what, refusal, out),
            (What::Simple { words }, _) => self.say(&tag, words, out),
            (What::Completes { words }, _) => self.complete(tag, words, out),
            (What::Appended, Answer::Placed(placed)) => {
                let words = format!("OK [APPENDUID {} {}] stored", placed.uid_validity, written(&placed.to));
                self.complete(tag, &words, out)
            }
            (What::Copied { moves }, Answer::Placed(placed)) => self.copied(tag, moves, &placed, out),
            (What::List { pattern, subscribed }, Answer::Mailboxes(mailboxes)) => {
                tree::write(&self.manner, &pattern, subscribed, &mailboxes, out);
                self.say(&tag, if subscribed { "OK LSUB" } else { "OK LIST" }, out)
            }
            (What::Select { mailbox, read_only }, Answer::View(view)) => {
                self.select(&tag, mailbox, read_only, view, out)
            }
            (What::Status { mailbox, items }, Answer::View(view)) => {
                write_status(&mailbox, &items, &view, out);
                self.say(&tag, "OK STATUS", out)
            }
            (What::Stored { uids, change, told, uid }, _) => {
                if let State::Selected(selected) = &mut self.state {
                    stored(selected, &uids, &change, told, uid, out);
                }
                self.say(&tag, "OK stored", out)
            }
            // An answer to another question: the driver is at fault.
            (_, _) => self.say(&tag, "NO [SERVERBUG] the source answered another question", out),
        }
    }

    fn refused(&mut self, tag: &[u8], what: &What, refusal: Refusal, out: &mut Vec<u8>) -> Step {
        let code = match refusal {
            Refusal::AlreadyExists => "ALREADYEXISTS",
            Refusal::Cannot => "CANNOT",
            Refusal::NonExistent if matches!(what, What::Appended | What::Copied { .. }) => "TRYCREATE",
            Refusal::NonExistent => "NONEXISTENT",
            Refusal::OverQuota => "OVERQUOTA",
            Refusal::Unavailable => "UNAVAILABLE",
        };
        self.say(tag, &format!("NO [{code}] {refusal}"), out)
    }

    /// Tells what changed in the selected mailbox. False where it is gone, and the session with it.
    fn news(&mut self, answer: Answer, out: &mut Vec<u8>) -> bool {
        let State::Selected(selected) = &mut self.state else { return true };
        let still = match answer {
            Answer::View(view) => selected.refresh(view, out),
            Answer::Refused(Refusal::NonExistent) => false,
            // A source that is away for a while has no news.
            _ => true,
        };
        if !still {
            out.extend_from_slice(b"* BYE [UNAVAILABLE] the selected mailbox is gone\r\n");
        }
        still
    }

    fn copied(&mut self, tag: Vec<u8>, moves: bool, placed: &Placed, out: &mut Vec<u8>) -> Step {
        let code = format!("[COPYUID {} {} {}]", placed.uid_validity, written(&placed.from), written(&placed.to));
        match (placed.to.is_empty(), moves) {
            (true, _) => self.complete(tag, "OK nothing is there any more", out),
            // RFC 6851 section 4.3: in an untagged OK, before the EXPUNGEs.
            (false, true) => {
                out.extend_from_slice(format!("* OK {code} moved\r\n").as_bytes());
                self.complete(tag, "OK moved", out)
            }
            (false, false) => self.complete(tag, &format!("OK {code} copied"), out),
        }
    }

    fn select(&mut self, tag: &[u8], mailbox: RemoteName, read_only: bool, view: View, out: &mut Vec<u8>) -> Step {
        let selected = Selected::new(mailbox, read_only, view);
        let flags: Vec<_> = SYSTEM_FLAGS.into_iter().chain(selected.keywords()).collect();
        let flags = flags.join(" ");
        let permanent = if read_only { String::new() } else { format!("{flags} \\*") };
        let lines = format!("* FLAGS ({flags})\r\n* OK [PERMANENTFLAGS ({permanent})] flags that stay\r\n");
        out.extend_from_slice(lines.as_bytes());
        selected.write_counts(out);
        if let Some(first) = selected.entries.iter().position(|entry| !entry.flags.contains("\\Seen")) {
            out.extend_from_slice(format!("* OK [UNSEEN {}] first unseen\r\n", first + 1).as_bytes());
        }
        let numbers = format!(
            "* OK [UIDVALIDITY {}] UIDs valid\r\n* OK [UIDNEXT {}] next UID\r\n",
            selected.uid_validity, selected.uid_next
        );
        out.extend_from_slice(numbers.as_bytes());
        self.state = State::Selected(Box::new(selected));
        self.say(tag, if read_only { "OK [READ-ONLY] examined" } else { "OK [READ-WRITE] selected" }, out)
    }
}

fn stored(selected: &mut Selected, uids: &[u32], change: &Change, told: bool, uid: bool, out: &mut Vec<u8>) {
    for &changed in uids {
        let Some(index) = selected.index(changed) else { continue };
        if let Some(entry) = selected.entries.get_mut(index) {
            change.apply(&mut entry.flags);
        }
        let Some(entry) = selected.entries.get(index).filter(|_| told) else { continue };
        let number = index + 1;
        let said =
            if uid { format!("* {number} FETCH (UID {changed} FLAGS ") } else { format!("* {number} FETCH (FLAGS ") };
        out.extend_from_slice(said.as_bytes());
        selected.write_flags(entry, out);
        out.extend_from_slice(b")\r\n");
    }
}

fn write_status(mailbox: &RemoteName, items: &[StatusItem], view: &View, out: &mut Vec<u8>) {
    let told = items.iter().map(|item| {
        let count = |fits: &dyn Fn(&crate::engine::source::Entry) -> bool| {
            number(view.entries.iter().filter(|entry| fits(entry)).count())
        };
        let value = match item {
            StatusItem::Messages => number(view.entries.len()),
            StatusItem::Recent => count(&|entry| entry.uid >= view.recent_from),
            StatusItem::UidNext => u64::from(view.uid_next),
            StatusItem::UidValidity => u64::from(view.uid_validity),
            StatusItem::Unseen => count(&|entry| !entry.flags.contains("\\Seen")),
        };
        format!("{} {value}", item.name())
    });
    out.extend_from_slice(b"* STATUS ");
    write_string(mailbox.as_bytes(), false, out);
    out.extend_from_slice(format!(" ({})\r\n", told.collect::<Vec<_>>().join(" ")).as_bytes());
}
