//! The IMAP relay: any octets, from either side, in any order, with any answers.
//!
//! What one call adds to an outbox stays bounded, the password and the provider's name of a mailbox reach nobody, what
//! the client hears is whole responses to the last octet, each request is the only one, and the session ends when it is
//! told to drain and its lane is lost.

use crate::{
    failure::{Failure, Unreachable},
    model::{AccountId, Address, Attributes, Folder, FolderTable, RemoteName, Role},
    profile::{GENERIC, built_in},
    relay::{
        Admission, Answer, Awaited, Care, Committed, Event, Flow, HIGH_WATER, LaneFacts, LaneId, LaneState, Lease,
        Outbox, Relay, Request, RequestId, SessionFacts, Side, imap::ImapRelay,
    },
    rules::namespace::{Choices, Namespace, Naming},
    wire::imap::{
        Capabilities,
        framer::{End, Framer, Piece},
        response,
    },
};
use std::{collections::VecDeque, sync::Arc};

const SECRET: &[u8] = b"psrl-SECRET-9f3a";
/// The provider's name of Sent.
const REMOTE: &[u8] = b"INBOX.R3M0T3";
/// What no input may hold: who says it may hear it again.
const MARKS: [&[u8]; 2] = [b"CRET", b"3M0T"];
/// Octets of a draft that was given up, and that it was.
const DISK_MAX: usize = 2;
/// What one call may add: an answer to LIST, or what was withheld and the octets of one read.
const SLACK: usize = 64 * 1024;

/// # Panics
/// When the property does not hold.
pub fn relay_imap(octets: &[u8]) {
    if MARKS.iter().any(|mark| octets.windows(mark.len()).any(|window| window == *mark)) {
        return;
    }
    let Some((flags, octets)) = octets.split_first() else { return };
    let mut session = Session::new(*flags);
    session.happens(Event::Connected);
    session.says(Side::Client, &[b"a LOGIN alice ", SECRET, b"\r\n"].concat());
    let mut rest = octets;
    while let Some((operation, behind)) = rest.split_first()
        && !session.ended
    {
        let (length, behind) = behind.split_first().map_or((0, behind), |(length, behind)| (*length, behind));
        let (said, behind) = behind.split_at(usize::from(length).min(behind.len()));
        rest = behind;
        session.operation(*operation, said);
    }
    session.finish();
}

/// A driver without sockets.
struct Session {
    relay: ImapRelay,
    outbox: Outbox,
    capabilities: Capabilities,
    namespace: Arc<Namespace>,
    asked: Option<(RequestId, Request)>,
    /// What the disk is asked for, beside.
    disk: VecDeque<(RequestId, Request)>,
    /// Whether the bridge keeps copies for Sent.
    care: Care,
    /// The timer asked for last.
    timer: Option<RequestId>,
    /// The last lane, and whether it is the session's now.
    lane: LaneId,
    leased: bool,
    /// There is a lane in the pool: the session has it when it asks.
    parked: bool,
    /// What the client and the provider said and the relay left.
    unread: [Vec<u8>; 2],
    /// What the lane was told, for the password.
    told: Vec<u8>,
    /// What the client heard, framed.
    heard: Heard,
    /// Where the provider's stream stands.
    provider: Framer,
    ended: bool,
}

impl Session {
    fn new(flags: u8) -> Self {
        let words =
            ["LITERAL+", "UIDPLUS MOVE", "SORT THREAD=REFS", "UNSELECT IDLE", "LIST-EXTENDED SPECIAL-USE", "LITERAL-"];
        let offered = words.iter().enumerate().filter(|(bit, _)| flags >> bit & 1 == 1).map(|(_, words)| *words);
        let capabilities = response::capabilities(offered.collect::<Vec<_>>().join(" ").as_bytes());
        let facts = SessionFacts {
            hostname: "bridge.test".into(),
            secured: flags & 64 != 0,
            message_max: 300,
            profile: built_in(if flags & 128 != 0 { "suitecrm" } else { GENERIC }),
            passes_tokens: false,
            nonce: 1,
        };
        Self {
            relay: ImapRelay::new(facts),
            outbox: Outbox::default(),
            capabilities,
            namespace: Arc::new(Namespace::new(
                AccountId(1),
                &FolderTable { unsubscribed: flags & 128 != 0, ..table() },
                &Choices::default(),
                &Naming::default(),
            )),
            asked: None,
            disk: VecDeque::new(),
            care: if flags & 32 != 0 { Care::Kept } else { Care::Nothing },
            timer: None,
            lane: LaneId(0),
            leased: false,
            parked: false,
            unread: Default::default(),
            told: Vec::new(),
            heard: Heard::default(),
            provider: Framer::provider(),
            ended: false,
        }
    }

    fn operation(&mut self, operation: u8, said: &[u8]) {
        match operation % 16 {
            0..=3 => self.says(Side::Client, said),
            4..=7 => self.says(Side::Lane(self.lane), said),
            8 | 9 => self.answer(true),
            10 => self.answer(false),
            11 => self.tells_name(&[b"* STATUS ", REMOTE, b" (", &one_line(said), b")\r\n"].concat()),
            12 => self.tells_name(&[b"* LIST (\\Sent) \".\" ", REMOTE, b"\r\n"].concat()),
            13 => self.tells_name(&[b"* OK [ALERT ", REMOTE, b"] ", &one_line(said), b"\r\n"].concat()),
            14 if said.len() == 7 => self.closes(),
            15 if said.len() == 7 => self.happens(Event::Drain),
            15 if said.len() == 5 => self.happens(Event::Left),
            14 | 15 if said.len() == 6 => self.timer.take().into_iter().for_each(|id| self.happens(Event::Elapsed(id))),
            _ => self.answer(true),
        }
        self.attend();
        self.says(Side::Client, b"");
        self.attend();
        self.says(Side::Lane(self.lane), b"");
    }

    fn attend(&mut self) {
        if self.parked && matches!(self.asked, Some((_, Request::Lane(..)))) {
            self.answer(true);
        }
    }

    /// The provider says its name of a mailbox: only between two responses, for data streams as it is.
    fn tells_name(&mut self, line: &[u8]) {
        if self.provider.at_boundary() && self.unread[1].is_empty() {
            self.says(Side::Lane(self.lane), line);
        }
    }

    fn says(&mut self, side: Side, said: &[u8]) {
        let at = usize::from(side != Side::Client);
        if at == 1 && !self.leased {
            return;
        }
        let mut held = std::mem::take(&mut self.unread[at]);
        held.extend_from_slice(said);
        let mut input = &held[..];
        while !input.is_empty() && !self.ended {
            let (before, left) = (input, input.len());
            let flow = self.relay.input(side, &mut input, &mut self.outbox);
            if at == 1 {
                self.follow(&before[..left - input.len()]);
            }
            match flow {
                Ok(Flow::More) => assert!(input.len() < left, "nothing was taken"),
                Ok(Flow::Pause(paused)) => {
                    assert!(paused == side, "the other side is paused");
                    self.flush();
                    break;
                }
                flow => self.flows(flow),
            }
            self.flush();
            if at == 1 && !self.leased {
                // What it has more to say is nobody's answer: it is closed.
                self.parked &= input.is_empty();
                return;
            }
            if self.leased && self.provider.at_boundary() && !self.ended {
                assert!(self.heard.framer.at_boundary(), "the client waits for octets that nobody will send");
            }
        }
        // As the driver's read buffer: what is paused waits, and no more is read.
        held.drain(..held.len() - input.len());
        held.truncate(4096);
        self.unread[at] = held;
    }

    /// Frames what the relay took of the provider's octets.
    fn follow(&mut self, mut taken: &[u8]) {
        while !taken.is_empty() && self.provider.next(&mut taken).is_ok() {}
    }

    fn answer(&mut self, good: bool) {
        if let Some((id, request)) = self.disk.pop_front() {
            let kept = || if id.0 % 2 == 0 { Committed::Kept } else { Committed::Filed(7, 9) };
            return self.happens(Event::Answer(
                id,
                match request {
                    Request::Spool(..) => Answer::Spooled(good.then_some(()).ok_or(Failure::OurDiskFull)),
                    Request::Commit(..) => Answer::Committed(good.then(kept).ok_or(Failure::OurDiskFull)),
                    _ => Answer::Settled,
                },
            ));
        }
        let Some((id, request)) = self.asked.take() else { return };
        let refused = || Failure::ProviderUnreachable(Unreachable::TimedOut);
        let answer = match request {
            Request::Verdict(_) => {
                let admission = || Admission { filing: self.care, ..admission() };
                Answer::Verdict(good.then(admission).ok_or(Failure::LoginRefused))
            }
            Request::Ready(_) => {
                self.parked = good;
                Answer::Ready(good.then(|| self.facts()).ok_or_else(refused))
            }
            Request::Lane(..) => {
                self.leased = good;
                self.parked = false;
                self.lane.0 += 1;
                let lease = Lease { lane: self.lane, facts: self.facts() };
                Answer::Lane(good.then_some(lease).ok_or_else(refused))
            }
            Request::Folders(_) => Answer::Folders((!good).then(|| Arc::clone(&self.namespace))),
            Request::Publish(..) => Answer::Folders(Some(Arc::clone(&self.namespace))),
            Request::Validity { upstream, .. } => Answer::Validity(good.then_some(upstream ^ 1).ok_or_else(refused)),
            Request::Keep(..) => Answer::Kept(good.then(|| Some(Arc::clone(&self.namespace))).ok_or_else(refused)),
            _ => panic!("a request without an answer"),
        };
        self.happens(Event::Answer(id, answer));
    }

    fn facts(&self) -> LaneFacts {
        LaneFacts::Imap { capabilities: self.capabilities.clone(), namespace: Arc::clone(&self.namespace) }
    }

    /// The lane is gone; the next one, if the relay asks for it, begins anew.
    fn closes(&mut self) {
        self.gone();
        self.parked = false;
        self.happens(Event::Closed(self.lane));
    }

    fn gone(&mut self) {
        self.leased = false;
        self.provider = Framer::provider();
        self.unread[1].clear();
    }

    /// A lane goes to the next session as it is: whoever has it then reads what comes from its first octet on.
    fn given_back(&mut self, lane: LaneId, state: LaneState) {
        assert!(self.leased && lane == self.lane, "a lane that is not the session's is given back");
        assert!(state == LaneState::Unknown || self.provider.at_boundary(), "a lane is given back inside a response");
        self.gone();
        self.parked = state == LaneState::Clean;
    }

    /// A drain, no more answers, and no lane: whatever the session was in ends with it, but for a command that the client
    /// has not said whole.
    fn finish(&mut self) {
        self.happens(Event::Drain);
        for _ in 0..=DISK_MAX {
            self.answer(false);
        }
        self.answer(false);
        self.closes();
        // What was lost with it may begin anew once, and asks for the table and then for a lane.
        for _ in 0..3 {
            self.answer(false);
        }
        // Before login the driver bounds all of it (design section 8).
        let of_client = matches!(self.relay.awaits(), Awaited::Client | Awaited::Login);
        let waits = self.asked.is_none() && of_client;
        assert!(self.ended || waits, "the session does not end");
        assert!(!self.told.windows(SECRET.len()).any(|window| window == SECRET), "the password went to the provider");
        self.heard.check();
    }

    fn happens(&mut self, event: Event) {
        if !self.ended {
            let flow = self.relay.event(event, &mut self.outbox);
            self.flows(flow);
            self.flush();
        }
    }

    fn flows(&mut self, flow: Result<Flow, Failure>) {
        match flow {
            Ok(Flow::Done) => self.ended = true,
            Ok(_) => {}
            Err(failure) => {
                self.flush();
                let boundary = self.heard.framer.at_boundary();
                self.relay.farewell(&failure, &mut self.outbox);
                assert!(boundary || self.outbox.client().is_empty(), "words of ours inside an answer");
                self.ended = true;
            }
        }
    }

    fn flush(&mut self) {
        assert!(self.outbox.waiting(Side::Lane(self.lane)) <= HIGH_WATER + SLACK, "the lane's outbox grows");
        assert!(self.outbox.waiting(Side::Client) <= HIGH_WATER + SLACK, "the client's outbox grows");
        let lane = self.lane;
        self.told.append(self.outbox.lane(lane));
        self.heard.take(self.outbox.client());
        while let Some((id, request)) = self.outbox.next_request() {
            match request {
                Request::Release(lane, state) => self.given_back(lane, state),
                Request::Stale(_) | Request::Throttled { .. } => {}
                Request::Timer(_) => self.timer = Some(id),
                Request::Spool(..) | Request::Commit(..) | Request::Outcome(..) => {
                    self.disk.push_back((id, request));
                    assert!(self.disk.len() <= DISK_MAX, "the disk is asked for too much at once");
                }
                _ => assert!(self.asked.replace((id, request)).is_none(), "two requests at once"),
            }
        }
    }
}

/// What the client heard, read as a client reads it.
struct Heard {
    framer: Framer,
    octets: Vec<u8>,
    /// The line to come begins a response.
    begins: bool,
}

impl Default for Heard {
    fn default() -> Self {
        Self { framer: Framer::provider(), octets: Vec::new(), begins: true }
    }
}

impl Heard {
    fn take(&mut self, octets: &mut Vec<u8>) {
        let mut input = &octets[..];
        while !input.is_empty() {
            match self.framer.next(&mut input).expect("a client can frame what it hears") {
                Some(Piece::Line { text, end }) => {
                    if self.begins {
                        assert!(response::read(text).is_ok(), "no response: {:?}", String::from_utf8_lossy(text));
                    }
                    self.begins = end == End::Line;
                }
                Some(Piece::More { end, .. }) => self.begins = end == End::Line,
                Some(Piece::Octets(_)) | None => {}
            }
        }
        self.octets.append(octets);
    }

    fn check(&self) {
        for secret in [SECRET, &REMOTE[6..]] {
            assert!(!self.octets.windows(secret.len()).any(|window| window == secret), "a secret was told");
        }
    }
}

fn admission() -> Admission {
    Admission::new(AccountId(1), Address::parse("alice@example.test").expect("an address"))
}

fn table() -> FolderTable {
    let folder = |name: &[u8], role| Folder {
        name: RemoteName::parse(name).expect("a name"),
        attributes: Attributes::default(),
        role,
        subscribed: true,
    };
    let folders = vec![folder(b"INBOX", None), folder(REMOTE, Some(Role::Sent)), folder(b"INBOX.K\xe9.a", None)];
    FolderTable { prefix: b"INBOX.".to_vec(), delimiter: Some(b'.'), folders, ..FolderTable::default() }
}

/// What can stand in one line without a literal behind it.
fn one_line(said: &[u8]) -> Vec<u8> {
    said.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n' | b'{' | b'}')).collect()
}
