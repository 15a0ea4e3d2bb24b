//! What each command does: it asks the source, or answers at once.

use super::{
    Engine, State, Step,
    answers::What,
    command::{self, Append, Command},
    numbers::{Selected, Set},
    reading::{Fetching, Searching},
    search::Query,
};
use crate::{
    engine::source::{NewLetter, Request},
    model::RemoteName,
};

impl Engine {
    /// A whole command.
    pub(super) fn command(&mut self, octets: &[u8], out: &mut Vec<u8>) -> Step {
        let Some(front) = command::front(octets) else {
            return self.say(b"", "BAD there is no tag", out);
        };
        let Ok(command) = command::read(&front, octets) else {
            return self.say(&front.tag, "BAD no command of this engine, or not its form", out);
        };
        let tag = front.tag;
        match (command, &self.state) {
            (Command::Capability, _) => {
                out.extend_from_slice(format!("* CAPABILITY {}\r\n", self.manner.capabilities()).as_bytes());
                self.say(&tag, "OK that is all", out)
            }
            (Command::Id, _) => {
                out.extend_from_slice(b"* ID (\"name\" \"Passerelle engine\")\r\n");
                self.say(&tag, "OK ID", out)
            }
            (Command::Logout, _) => {
                out.extend_from_slice(b"* BYE until next time\r\n");
                self.say(&tag, "OK signed out", out);
                Step::Done
            }
            (Command::Noop, State::NotSignedIn) => self.say(&tag, "OK NOOP", out),
            (Command::Login { user, password }, State::NotSignedIn) => self.login(tag, &user, password, out),
            (Command::Authenticate { mechanism, initial }, State::NotSignedIn) => {
                self.authenticate(tag, &mechanism, initial.as_deref(), out)
            }
            (_, State::NotSignedIn) => self.say(&tag, "BAD sign in first", out),
            (Command::Login { .. } | Command::Authenticate { .. }, _) => self.say(&tag, "BAD already signed in", out),
            (command, _) => self.signed_in(tag, front.uid, command, out),
        }
    }

    fn signed_in(&mut self, tag: Vec<u8>, uid: bool, command: Command, out: &mut Vec<u8>) -> Step {
        let simple = |words: &'static str| What::Simple { words };
        match command {
            Command::Noop | Command::Check => self.complete(tag, "OK done", out),
            Command::Namespace => {
                let (prefix, delimiter) =
                    (String::from_utf8_lossy(&self.manner.prefix), char::from(self.manner.delimiter));
                out.extend_from_slice(format!("* NAMESPACE ((\"{prefix}\" \"{delimiter}\")) NIL NIL\r\n").as_bytes());
                self.say(&tag, "OK NAMESPACE", out)
            }
            Command::List { reference, pattern, subscribed } if pattern.is_empty() && !subscribed => {
                self.write_root(&reference, out);
                self.say(&tag, "OK LIST", out)
            }
            Command::List { reference, pattern, subscribed } => {
                let what = What::List { pattern: [reference, pattern].concat(), subscribed };
                self.ask(tag, what, Request::Mailboxes)
            }
            Command::Status { mailbox, items } => {
                let request = Request::View { mailbox: mailbox.clone(), claims: false };
                self.ask(tag, What::Status { mailbox, items }, request)
            }
            Command::Select { mailbox, read_only } => {
                self.state = State::SignedIn;
                let request = Request::View { mailbox: mailbox.clone(), claims: !read_only };
                self.ask(tag, What::Select { mailbox, read_only }, request)
            }
            Command::Create(mailbox) => match self.placed(&mailbox) {
                Some(mailbox) => self.ask(tag, simple("OK created"), Request::Create(mailbox)),
                None => self.say(&tag, OUTSIDE, out),
            },
            Command::Rename { from, to } => match self.placed(&to) {
                Some(to) => self.ask(tag, simple("OK renamed"), Request::Rename { from, to }),
                None => self.say(&tag, OUTSIDE, out),
            },
            Command::Delete(mailbox) => self.ask(tag, simple("OK deleted"), Request::Delete(mailbox)),
            Command::Subscribe { mailbox, on } => self.ask(tag, simple("OK done"), Request::Subscribe { mailbox, on }),
            Command::Idle => {
                out.extend_from_slice(b"+ idling\r\n");
                self.doing = super::Doing::Idling { tag };
                Step::More
            }
            command => match std::mem::replace(&mut self.state, State::SignedIn) {
                State::Selected(selected) => self.selected(tag, uid, *selected, command, out),
                state => {
                    self.state = state;
                    self.say(&tag, "BAD select a mailbox first", out)
                }
            },
        }
    }

    /// Commands of the selected state. The mailbox is put back but by CLOSE and UNSELECT.
    fn selected(&mut self, tag: Vec<u8>, uid: bool, selected: Selected, command: Command, out: &mut Vec<u8>) -> Step {
        let mailbox = selected.mailbox.clone();
        let read_only = selected.read_only;
        let step = match command {
            Command::Unselect => return self.say(&tag, "OK unselected", out),
            Command::Close => {
                let uids = selected.deleted();
                if read_only || uids.is_empty() {
                    return self.say(&tag, "OK closed", out);
                }
                return self.ask(tag, What::Simple { words: "OK closed" }, Request::Expunge { mailbox, uids });
            }
            Command::Expunge(_) | Command::Store { .. } if read_only => self.say(&tag, READ_ONLY, out),
            Command::Copy { moves: true, .. } if read_only => self.say(&tag, READ_ONLY, out),
            Command::Expunge(set) => {
                let uids = expunged(&selected, set.as_ref());
                let what = What::Completes { words: "OK expunged" };
                self.ask(tag, what, Request::Expunge { mailbox, uids })
            }
            Command::Copy { set, to, moves } => {
                let uids = selected.uids(&set, uid);
                if uids.is_empty() {
                    self.say(&tag, "OK nothing was named", out)
                } else {
                    let request = Request::Copy { from: mailbox, uids, to, moves };
                    self.ask(tag, What::Copied { moves }, request)
                }
            }
            Command::Store { set, change, silent } => {
                let uids = selected.uids(&set, uid);
                let request = Request::Change { mailbox, uids: uids.clone(), change: change.clone() };
                self.ask(tag, What::Stored { uids, change, told: !silent, uid }, request)
            }
            Command::Search(Query::UnknownCharset) => {
                self.say(&tag, "NO [BADCHARSET (UTF-8 US-ASCII)] that charset is not known here", out)
            }
            Command::Search(Query::Keys(keys)) => {
                let searching = Searching::new(tag, uid, keys, &selected);
                self.state = State::Selected(Box::new(selected));
                return self.search_on(searching, out);
            }
            Command::Fetch { set, items } => {
                let fetching = Fetching::new(tag, uid, selected.uids(&set, uid), items);
                self.state = State::Selected(Box::new(selected));
                return self.fetch(fetching, out);
            }
            _ => self.say(&tag, "BAD not now", out),
        };
        self.state = State::Selected(Box::new(selected));
        step
    }

    /// An APPEND with its message.
    pub(super) fn append(&mut self, tag: Vec<u8>, append: Append, octets: Vec<u8>) -> Step {
        let letter = NewLetter { octets: octets.into(), flags: append.flags, received: append.received };
        self.ask(tag, What::Appended, Request::Append { mailbox: append.mailbox, letter })
    }

    /// A name that may be made: below the prefix, a delimiter at its end cut (RFC 3501 6.3.3).
    fn placed(&self, mailbox: &RemoteName) -> Option<RemoteName> {
        let name = mailbox.as_bytes();
        let name = name.strip_suffix(&[self.manner.delimiter]).unwrap_or(name);
        let inside =
            mailbox.is_inbox() || name.len() > self.manner.prefix.len() && name.starts_with(&self.manner.prefix);
        RemoteName::parse(name).ok().filter(|_| inside)
    }
}

fn expunged(selected: &Selected, set: Option<&Set>) -> Vec<u32> {
    let deleted = selected.deleted();
    match set {
        Some(set) => {
            let named = selected.uids(set, true);
            deleted.into_iter().filter(|uid| named.binary_search(uid).is_ok()).collect()
        }
        None => deleted,
    }
}

const OUTSIDE: &str = "NO [CANNOT] mailboxes stand below the prefix that NAMESPACE tells";
const READ_ONLY: &str = "NO [READ-ONLY] the mailbox is open for reading";
