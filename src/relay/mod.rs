//! The protocol machines: bytes and events in, bytes and requests out.
//!
//! No I/O, no clock, no randomness: what a relay may know of them comes in [`SessionFacts`], answers and events. So one
//! dialogue file can be run whole, octet by octet, and over real sockets, and any of it can be fuzzed and replayed.
//!
//! A [`Relay`] stands between one client and its lanes. It owns what the protocol needs remembering; the driver in
//! `session` owns buffers, sockets and time.

use crate::{
    failure::Failure,
    model::{
        AccountId, Address, FolderTable, FromPolicy, LocalName, Login, RemoteName, Role, Secret, SenderPolicy,
        Submission, UnreadScope,
    },
    profile::{GENERIC, Profile},
    rules::{
        likeness::Likeness,
        namespace::{Namespace, Naming},
    },
    wire::{self, sasl::Mechanism, smtp::BodyKind},
};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

pub mod draft;
pub mod folders;
pub mod imap;
pub mod leaving;
pub mod opening;
pub mod smtp;

/// Outboxes above this take no more input from the other side until the slow reader has read (back-pressure). Four
/// times the read buffer: a relay never has to stop in the middle of what one read brought.
pub const HIGH_WATER: usize = 64 * 1024;

/// A lane of this session. Given out by the driver, never used again within the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub u32);

/// Where octets come from or go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    Client,
    Lane(LaneId),
}

/// A protocol between a client and its upstreams.
///
/// `Err` ends the session: the driver then calls [`Relay::farewell`], flushes and closes. A refused command is no error
/// but a reply that the relay writes itself.
pub trait Relay: Send {
    /// Takes octets off the front of `input`, which is never empty. Returning [`Flow::More`] promises that at least one
    /// was taken; the driver calls again while some are left. What [`Flow::Pause`] leaves is offered again, unchanged,
    /// after anything else happened in the session.
    ///
    /// # Errors
    /// The failure that ends the session.
    fn input(&mut self, from: Side, input: &mut &[u8], out: &mut Outbox) -> Result<Flow, Failure>;

    /// # Errors
    /// The failure that ends the session.
    fn event(&mut self, event: Event, out: &mut Outbox) -> Result<Flow, Failure>;

    /// The last words to the client when `failure` ends the session: nothing where the client is in the middle of a
    /// line or literal, so that half an answer is never completed by words of ours (rule R42).
    fn farewell(&mut self, failure: &Failure, out: &mut Outbox);

    /// Whom the session waits for now: the driver's limits of time differ.
    fn awaits(&self) -> Awaited;

    /// How far this side has come with what it says.
    fn said(&self, side: Side) -> Said;

    /// How many messages of this session may have been sent although the client was told to try again (RFC 1047): for
    /// the log.
    fn uncertain(&self) -> u32 {
        0
    }
}

/// How far a side has come: the driver tells slow from stalled by it (rule R18).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Whole lines so far. Those of a literal or message are its octets, and no lines.
    pub lines: u64,
    /// Whether it is within something: a line, a literal, a message.
    pub within: bool,
}

/// What a session waits for, each with a limit of its own (design section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// The client's login; the limit is for all before it.
    Login,
    /// The client's next octets.
    Client,
    /// The provider's next octets.
    Provider,
    /// The provider's answer to a command that may take long: SEARCH, COPY, APPEND.
    LongCommand,
    /// The provider's answer to the end of a message (RFC 5321 4.5.3.2.6).
    EndOfData,
}

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    More,
    /// Leave this side's input until something else happened.
    Pause(Side),
    /// Flush what is in the outbox, then end the session.
    Done,
}

/// What happened outside the octets.
#[derive(Debug)]
pub enum Event {
    /// The greeting is due: always the first event, before any input.
    Connected,
    Answer(RequestId, Answer),
    /// A lane was closed by its provider.
    Closed(LaneId),
    /// The timer of this request ran out.
    Elapsed(RequestId),
    /// The bridge stops: end at the next boundary.
    Drain,
    /// The client is gone and the session ends, whatever was under way: the last event. What lane is not given back now is
    /// closed.
    Left,
}

/// What a relay is told at birth of the world that it cannot see.
#[derive(Clone, Debug)]
pub struct SessionFacts {
    /// The name that greets and identifies the bridge.
    pub hostname: Box<str>,
    /// Whether the client's connection is TLS.
    pub secured: bool,
    /// The largest message that a client may send, in octets, before encoding for transport.
    pub message_max: u64,
    /// The listener's: what is offered before login.
    pub profile: Arc<Profile>,
    /// The listener's: whether a client's own access token goes to the provider.
    pub passes_tokens: bool,
    /// Drawn at random for this session alone.
    pub nonce: u128,
}

impl SessionFacts {
    /// What CRAM-MD5 asks at one attempt: in the form of a msg-id, and never the same twice (RFC 2195 section 2).
    #[must_use]
    pub fn challenge(&self, attempt: u32) -> String {
        format!("<{}.{attempt}@{}>", self.nonce, self.hostname)
    }

    /// The mechanism of this name, if a client may use it here. Those that send the password may be used without being
    /// listed; CRAM-MD5 only where it is, since a client that finds it prefers it.
    #[must_use]
    pub fn mechanism(&self, name: &[u8], listed: &[Mechanism]) -> Option<Mechanism> {
        Mechanism::parse(name).filter(|mechanism| match mechanism {
            Mechanism::Login | Mechanism::Plain => true,
            Mechanism::CramMd5 | Mechanism::OauthBearer | Mechanism::Xoauth2 => listed.contains(mechanism),
        })
    }

    /// What IMAP lists before login.
    #[must_use]
    pub fn imap_mechanisms(&self) -> Vec<Mechanism> {
        self.listed(self.profile.imap_mechanisms(self.secured))
    }

    /// What EHLO lists.
    #[must_use]
    pub fn smtp_mechanisms(&self) -> Vec<Mechanism> {
        self.listed(self.profile.smtp_mechanisms(self.secured))
    }

    /// A client with a token cannot answer a challenge with its digest, and would if it were offered.
    fn listed(&self, of_profile: &[Mechanism]) -> Vec<Mechanism> {
        if !self.passes_tokens {
            return of_profile.to_vec();
        }
        let sent = of_profile.iter().copied().filter(|mechanism| *mechanism != Mechanism::CramMd5);
        sent.chain([Mechanism::Xoauth2, Mechanism::OauthBearer]).collect()
    }

    /// What a client has said as its password: where tokens are passed on, it may be one.
    #[must_use]
    pub fn credentials(&self, login: Login, password: Secret<Vec<u8>>, purpose: LaneUse) -> Credentials {
        match self.passes_tokens {
            true => Credentials::Token { login, token: password, bare: true, purpose },
            false => Credentials::Plain { login, password },
        }
    }
}

/// Ties an answer to its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What a relay wants done for it. Each gets exactly one answer but those marked otherwise.
pub enum Request {
    /// Is this login good? Answered by [`Answer::Verdict`].
    Verdict(Credentials),
    /// Can the account be read, as far as is known, or else as a lane shows that is opened for it? Answered by
    /// [`Answer::Ready`].
    Ready(AccountId),
    /// Can a message be sent, as a lane shows that is there, or else one that is opened for it? Answered by
    /// [`Answer::ReadyToSend`].
    ReadyToSend(AccountId),
    /// A signed-in connection; of submission for one message. Answered by [`Answer::Lane`].
    Lane(AccountId, LaneUse, First),
    /// The provider wants nothing said for this account in this time, in these words. No answer.
    Throttled { account: AccountId, purpose: LaneUse, pause: Duration, words: Box<str> },
    /// Gives a lane back. No answer.
    Release(LaneId, LaneState),
    /// The namespace, if it was read less than five seconds ago. Answered by [`Answer::Folders`].
    Folders(AccountId),
    /// A folder table just read. Answered by [`Answer::Folders`] with the namespace made of it.
    Publish(AccountId, FolderTable),
    /// The tree was changed: the folder table is stale. No answer.
    Stale(AccountId),
    /// What UIDVALIDITY to tell for this mailbox when the provider says `upstream`. Answered by [`Answer::Validity`].
    Validity { account: AccountId, local: LocalName, remote: RemoteName, upstream: u32 },
    /// Keeps what a client did to the tree that the provider does not keep. Answered by [`Answer::Kept`].
    Keep(AccountId, Keep),
    /// Keeps the next octets of a draft on disk. Answered by [`Answer::Spooled`].
    Spool(DraftId, Vec<u8>),
    /// The draft is whole: it is committed, and from here on outlives a crash. Answered by [`Answer::Committed`].
    Commit(DraftId, AccountId, Box<(Likeness, Commitment)>),
    /// What became of what was sent. Answered by [`Answer::Settled`].
    Outcome(DraftId, Outcome),
    /// An [`Event::Elapsed`] with this request's id after that time. No answer.
    Timer(Duration),
}

/// The driver's answers.
#[derive(Debug)]
pub enum Answer {
    Verdict(Result<Admission, Failure>),
    Lane(Result<Lease, Failure>),
    /// What a lane of IMAP would be.
    Ready(Result<LaneFacts, Failure>),
    ReadyToSend(Result<(), Failure>),
    /// None: what is known is older than five seconds.
    Folders(Option<Arc<Namespace>>),
    Validity(Result<u32, Failure>),
    Spooled(Result<(), Failure>),
    Committed(Result<Committed, Failure>),
    Settled,
    /// The namespace as it is with it; None: no folder table is known.
    Kept(Result<Option<Arc<Namespace>>, Failure>),
}

/// A message that is kept on disk for a while, by its number in the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DraftId(pub u32);

/// For what a draft is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commitment {
    /// The end mark is sent next. The recipients in one form; None: too many to tell a retry by.
    Sending { recipients: Option<String> },
    /// The bridge delivers it by itself; the client is told so next.
    Queued(Envelope),
    /// A CRM's own copy for the Sent mailbox: its flags, without `\Seen`, and its date, as the CRM wrote them.
    Copy { flags: String, seen: bool, date: Option<String> },
}

/// From whom and to whom a message is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// Empty: the null reverse-path.
    pub sender: String,
    /// As the client announced it.
    pub body: Option<BodyKind>,
    /// In the client's own order and spelling.
    pub recipients: Vec<String>,
}

/// What came of a commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is on disk.
    Kept,
    /// It is on disk, and delivered under this number.
    Queued(i64),
    /// This message was sent before, when its outcome was not known, and stands in Sent: it is not sent again.
    SentBefore,
    /// This message is being sent to the same recipients already.
    UnderWay,
    /// The copy stands in Sent, under these numbers of the provider: UIDVALIDITY and UID.
    Filed(u32, u32),
}

/// What became of a message that a provider was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    /// Or it was not given at all.
    Refused,
    /// Its answer was lost (RFC 1047).
    Unknown,
}

/// What the bridge does for a Sent copy of what an account sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Care {
    #[default]
    Nothing,
    /// The provider files by itself: only what is sent is noted, so that no retry doubles it.
    Noted,
    /// The message is kept until its copy stands in Sent.
    Kept,
}

/// What the bridge keeps of the tree in the provider's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// This mailbox was made for a role.
    Role(Role, RemoteName),
    /// Whether a mailbox is subscribed; None: the provider knows.
    Subscription(RemoteName, Option<bool>),
}

/// How a client proves itself.
pub enum Credentials {
    /// RFC 2195: the digest of the challenge, keyed by the password.
    CramMd5 {
        login: Login,
        challenge: Box<str>,
        digest: [u8; 16],
    },
    /// By a name or a password that no login has: judged all the same, so that it takes as long as the others (rule R23).
    Nobody,
    Plain {
        login: Login,
        password: Secret<Vec<u8>>,
    },
    /// An access token of the client's own, for its account's provider to judge. `bare`: said as a password is, and so the
    /// password of an account that is not opened so.
    Token {
        login: Login,
        token: Secret<Vec<u8>>,
        bare: bool,
        purpose: LaneUse,
    },
}

impl Credentials {
    /// The form of the name by which it is known; empty for nobody.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::CramMd5 { login, .. } | Self::Plain { login, .. } | Self::Token { login, .. } => login.key(),
            Self::Nobody => String::new(),
        }
    }
}

/// Whom a verdict let in, and to what.
#[derive(Clone, Debug)]
pub struct Admission {
    pub account: AccountId,
    /// The account's own address.
    pub address: Address,
    /// What the account may send as, the one to write where none is given first; never empty.
    pub senders: Arc<[Address]>,
    /// Whether the client's own token opens it, and nothing that is stored.
    pub by_client_token: bool,
    /// Whether the account is open for reading.
    pub receives: bool,
    /// Whether the account is open for sending.
    pub sends: bool,
    /// Of which mailboxes the unread messages are counted.
    pub unread: UnreadScope,
    /// The name of the login's CRM profile, from which the rest comes ([`Admission::under`]).
    pub profile: Arc<str>,
    /// What this login calls its mailboxes. The driver makes each namespace of the session with it.
    pub naming: Arc<Naming>,
    /// What becomes of a sender that is not among `senders`.
    pub sender_policy: SenderPolicy,
    /// What becomes of a message's From.
    pub from: FromPolicy,
    /// What a From gets that has no name; empty: nothing.
    pub display_name: Arc<str>,
    /// Whether the bridge sees to a Sent copy. The store says whether one is wanted, the gate what the provider does.
    pub filing: Care,
    /// When the client hears that its message is taken.
    pub submission: Submission,
    /// Within which time the login must be answered; None: what the configuration says. The driver sees to it.
    pub login_wait: Option<Duration>,
}

impl Admission {
    /// To an account with no settings of its own.
    #[must_use]
    pub fn new(account: AccountId, address: Address) -> Self {
        let senders = Arc::new([address.clone()]);
        Self {
            account,
            address,
            senders,
            by_client_token: false,
            receives: true,
            sends: true,
            unread: UnreadScope::default(),
            profile: GENERIC.into(),
            naming: Arc::default(),
            sender_policy: SenderPolicy::default(),
            from: FromPolicy::default(),
            display_name: "".into(),
            filing: Care::default(),
            submission: Submission::default(),
            login_wait: None,
        }
    }

    /// With what the login's profile says.
    #[must_use]
    pub fn under(self, profile: &Profile) -> Self {
        Self {
            profile: profile.name.as_str().into(),
            naming: profile.naming().clone(),
            sender_policy: profile.sender.policy,
            login_wait: profile.login_wait(),
            ..self
        }
    }
}

/// A lane that the session now holds.
#[derive(Debug)]
pub struct Lease {
    pub lane: LaneId,
    pub facts: LaneFacts,
}

/// What is known of a lane when it is leased.
#[derive(Clone, Debug)]
pub enum LaneFacts {
    Imap { capabilities: wire::imap::Capabilities, namespace: Arc<Namespace> },
    Smtp { extensions: wire::smtp::Extensions },
}

/// What a lane is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LaneUse {
    Imap,
    Submission,
}

/// What is said first over a lane that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum First {
    /// It can be said again over another lane, where this one turns out to be of no use.
    Repeatable,
    /// It cannot, and is lost with the lane.
    Once,
}

/// In what state a lane is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneState {
    /// Nothing pending, no mailbox selected, no transaction open.
    Clean,
    /// Nothing pending, but a mailbox is selected: it is left before another session has the lane.
    Selected,
    /// Nothing pending, and a mailbox may be selected: behind a SELECT that failed providers differ.
    PerhapsSelected,
    /// Anything else: it is closed.
    Unknown,
}

/// What a relay has to say and to ask, until the driver takes it.
#[derive(Default)]
pub struct Outbox {
    client: Vec<u8>,
    /// A handful at most.
    lanes: BTreeMap<LaneId, Vec<u8>>,
    requests: VecDeque<(RequestId, Request)>,
    asked: u64,
}

impl Outbox {
    /// Octets towards the client.
    pub fn client(&mut self) -> &mut Vec<u8> {
        &mut self.client
    }

    /// Octets towards a lane.
    pub fn lane(&mut self, lane: LaneId) -> &mut Vec<u8> {
        self.lanes.entry(lane).or_default()
    }

    /// Gives memory back that nothing stands in.
    pub fn rest(&mut self) {
        self.client.shrink_to_fit();
        self.lanes.values_mut().for_each(Vec::shrink_to_fit);
        self.requests.shrink_to_fit();
    }

    /// Puts a request and says by which id its answer will be known.
    pub fn ask(&mut self, request: Request) -> RequestId {
        self.asked += 1;
        let id = RequestId(self.asked);
        self.requests.push_back((id, request));
        id
    }

    /// The next request to see to.
    pub fn next_request(&mut self) -> Option<(RequestId, Request)> {
        self.requests.pop_front()
    }

    /// Forgets what was to be said to a lane that is gone.
    pub fn close_lane(&mut self, lane: LaneId) {
        self.lanes.remove(&lane);
    }

    /// Octets waiting for this side.
    #[must_use]
    pub fn waiting(&self, side: Side) -> usize {
        match side {
            Side::Client => self.client.len(),
            Side::Lane(lane) => self.lanes.get(&lane).map_or(0, Vec::len),
        }
    }
}
