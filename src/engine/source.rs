//! What a source of mail must be able to do for the engine, and the requests that the machine makes of it.
//!
//! Beside `Relay` this is the one trait of the house. Its functions are asynchronous because Graph and POP3 are; none
//! knows a message number or an IMAP session: names, octets, and UIDs in growing order. It must not learn of a clock.

use crate::{
    model::{RemoteName, Role, Secret},
    wire::sasl::bearer::Bearer,
};
use std::{collections::BTreeSet, future::Future, ops::RangeInclusive, sync::Arc};

/// Who wants to sign in, and how. To judge it is the matter of whoever has the sources.
pub enum Credentials {
    /// An access token, by XOAUTH2.
    Bearer(Bearer),
    Password {
        user: String,
        password: Secret<Vec<u8>>,
    },
}

/// A mailbox as LIST tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    pub name: RemoteName,
    pub role: Option<Role>,
    /// A node of the tree that holds no messages.
    pub no_select: bool,
    pub subscribed: bool,
    /// Subscribed, and no mailbox any more: LSUB alone tells it (RFC 3501 6.3.9).
    pub gone: bool,
}

/// Flags and keywords, as spelt by whoever set them first.
pub type Flags = BTreeSet<Box<str>>;

/// A message without its octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub uid: u32,
    pub flags: Flags,
    /// When it came, in Unix seconds.
    pub received: i64,
    pub octets: u64,
}

/// A mailbox at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub uid_validity: u32,
    pub uid_next: u32,
    /// Messages from this UID on were told to nobody yet (`\Recent`).
    pub recent_from: u32,
    /// In the order of their UIDs, which only grow.
    pub entries: Vec<Entry>,
}

/// A message's octets; shared, because a source in memory has them already.
#[derive(Clone, Debug)]
pub struct Letter {
    pub uid: u32,
    pub octets: Arc<[u8]>,
}

/// What APPEND brings. `received` is None where the client says nothing: the driver has the clock.
#[derive(Clone, Debug)]
pub struct NewLetter {
    pub octets: Arc<[u8]>,
    pub flags: Flags,
    pub received: Option<i64>,
}

/// Where letters went: what APPENDUID and COPYUID tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    pub uid_validity: u32,
    /// The old UIDs (none for APPEND) and, in the same order, the new ones.
    pub from: Vec<u32>,
    pub to: Vec<u32>,
}

/// What STORE does with flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Add(Flags),
    Remove(Flags),
    Set(Flags),
}

impl Change {
    /// Changes the flags of one message; `\seen` and `\Seen` are one flag.
    pub fn apply(&self, flags: &mut Flags) {
        let held = |flags: &Flags, flag: &str| flags.iter().find(|other| other.eq_ignore_ascii_case(flag)).cloned();
        match self {
            Self::Add(more) => {
                for flag in more {
                    if held(flags, flag).is_none() {
                        flags.insert(flag.clone());
                    }
                }
            }
            Self::Remove(less) => {
                for flag in less.iter().filter_map(|flag| held(flags, flag)).collect::<Vec<_>>() {
                    flags.remove(&flag);
                }
            }
            Self::Set(all) => *flags = all.clone(),
        }
    }
}

/// Why a source does not do what it is asked. Its words are the machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a mailbox of that name exists")]
    AlreadyExists,
    /// INBOX cannot be deleted, a name is below something that has no room.
    #[error("that cannot be done with this mailbox")]
    Cannot,
    #[error("there is no such mailbox")]
    NonExistent,
    /// A cap on mailboxes or messages is reached.
    #[error("there is no room for more")]
    OverQuota,
    #[error("the source is not available")]
    Unavailable,
}

/// What the machine asks. One at a time.
pub enum Request {
    SignIn(Credentials),
    Mailboxes,
    /// `claims`: what is told as `\Recent` here is so nowhere else.
    View {
        mailbox: RemoteName,
        claims: bool,
    },
    Letters {
        mailbox: RemoteName,
        uids: Vec<u32>,
    },
    Change {
        mailbox: RemoteName,
        uids: Vec<u32>,
        change: Change,
    },
    Append {
        mailbox: RemoteName,
        letter: NewLetter,
    },
    Copy {
        from: RemoteName,
        uids: Vec<u32>,
        to: RemoteName,
        moves: bool,
    },
    Expunge {
        mailbox: RemoteName,
        uids: Vec<u32>,
    },
    Create(RemoteName),
    Rename {
        from: RemoteName,
        to: RemoteName,
    },
    Delete(RemoteName),
    Subscribe {
        mailbox: RemoteName,
        on: bool,
    },
}

/// What comes back.
#[derive(Clone, Debug)]
pub enum Answer {
    Done,
    Letters(Vec<Letter>),
    Mailboxes(Vec<Mailbox>),
    Placed(Placed),
    Refused(Refusal),
    View(View),
}

type Answered<T> = std::result::Result<T, Refusal>;

/// Mail behind something other than IMAP: one user's mailboxes.
pub trait Source: Send + Sync {
    /// The delay between two looks for news while a client idles. Sources that would be charged for it wait longer.
    fn patience(&self) -> std::time::Duration;
    /// All mailboxes.
    fn mailboxes(&self) -> impl Future<Output = Answered<Vec<Mailbox>>> + Send;
    /// What is in one.
    fn view(&self, mailbox: &RemoteName, claims: bool) -> impl Future<Output = Answered<View>> + Send;
    /// The octets of these messages; those that are gone are left out.
    fn letters(&self, mailbox: &RemoteName, uids: &[u32]) -> impl Future<Output = Answered<Vec<Letter>>> + Send;
    /// Changes flags; messages that are gone are passed over.
    fn change(&self, mailbox: &RemoteName, uids: &[u32], change: &Change) -> impl Future<Output = Answered<()>> + Send;
    /// Stores a message that came in `received` Unix seconds.
    fn append(
        &self,
        mailbox: &RemoteName,
        letter: &NewLetter,
        received: i64,
    ) -> impl Future<Output = Answered<Placed>> + Send;
    /// Copies or moves messages, all or none.
    fn copy(
        &self,
        from: &RemoteName,
        uids: &[u32],
        to: &RemoteName,
        moves: bool,
    ) -> impl Future<Output = Answered<Placed>> + Send;
    /// Removes messages for good.
    fn expunge(&self, mailbox: &RemoteName, uids: &[u32]) -> impl Future<Output = Answered<()>> + Send;
    fn create(&self, mailbox: &RemoteName) -> impl Future<Output = Answered<()>> + Send;
    /// Takes what lies below the mailbox along.
    fn rename(&self, from: &RemoteName, to: &RemoteName) -> impl Future<Output = Answered<()>> + Send;
    fn delete(&self, mailbox: &RemoteName) -> impl Future<Output = Answered<()>> + Send;
    fn subscribe(&self, mailbox: &RemoteName, on: bool) -> impl Future<Output = Answered<()>> + Send;
}

/// Does what the machine asks; `now` in Unix seconds. A sign-in is no matter of a source.
pub async fn perform(source: &impl Source, request: Request, now: i64) -> Answer {
    let done = |result: Answered<()>| result.map(|()| Answer::Done);
    let answered = match request {
        Request::SignIn(_) => Err(Refusal::Cannot),
        Request::Mailboxes => source.mailboxes().await.map(Answer::Mailboxes),
        Request::View { mailbox, claims } => source.view(&mailbox, claims).await.map(Answer::View),
        Request::Letters { mailbox, uids } => source.letters(&mailbox, &uids).await.map(Answer::Letters),
        Request::Change { mailbox, uids, change } => done(source.change(&mailbox, &uids, &change).await),
        Request::Append { mailbox, letter } => {
            let received = letter.received.unwrap_or(now);
            source.append(&mailbox, &letter, received).await.map(Answer::Placed)
        }
        Request::Copy { from, uids, to, moves } => source.copy(&from, &uids, &to, moves).await.map(Answer::Placed),
        Request::Expunge { mailbox, uids } => done(source.expunge(&mailbox, &uids).await),
        Request::Create(mailbox) => done(source.create(&mailbox).await),
        Request::Rename { from, to } => done(source.rename(&from, &to).await),
        Request::Delete(mailbox) => done(source.delete(&mailbox).await),
        Request::Subscribe { mailbox, on } => done(source.subscribe(&mailbox, on).await),
    };
    answered.unwrap_or_else(Answer::Refused)
}

/// `1,3:5` from numbers that grow, as the codes of RFC 4315 tell them.
#[must_use]
pub fn ranges(numbers: &[u32]) -> Vec<RangeInclusive<u32>> {
    let mut ranges: Vec<RangeInclusive<u32>> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some(last) if last.end().checked_add(1) == Some(number) => *last = *last.start()..=number,
            _ => ranges.push(number..=number),
        }
    }
    ranges
}
