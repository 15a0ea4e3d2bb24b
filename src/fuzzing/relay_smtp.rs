//! The SMTP relay: any octets, from either side, in any order, with any answers.
//!
//! The outbox stays bounded, no sender but the account's own goes to the provider unless the policy lets any pass, the
//! secret of the login reaches nobody, no bare line end reaches anybody, each request is one that makes sense, and the
//! session ends when it is told to drain and the client falls silent.

use crate::{
    failure::{Failure, Unreachable},
    model::{AccountId, Address, SenderPolicy, Submission},
    profile::{GENERIC, built_in},
    relay::{
        Admission, Answer, Commitment, Committed, Event, Flow, HIGH_WATER, LaneFacts, LaneId, Lease, Outbox, Relay,
        Request, RequestId, SessionFacts, Side, smtp::SmtpRelay,
    },
    wire::{REPLY_TEXT_MAX, smtp::Extensions},
};

const SECRET: &[u8] = b"psrl-SECRET-9f3a";
/// The account's address.
const OWN: &str = "alice@example.test";
/// PLAIN with the login `alice` and [`SECRET`].
const AUTH: &[u8] = b"AUTH PLAIN AGFsaWNlAHBzcmwtU0VDUkVULTlmM2E=\r\n";
const ENCODED: &[u8] = b"AHBzcmwtU0VDUkVU";
/// Within which a session ends: each command that is unread may ask for a lane of its own.
const ROUNDS: usize = 512;
/// What one call may add to an outbox that was not yet above its mark: a reply or the octets of one read, re-spelled.
const SLACK: usize = 8 * REPLY_TEXT_MAX;

/// # Panics
/// When the property does not hold.
pub fn relay_smtp(octets: &[u8]) {
    // Who sends the secret itself may see it again.
    if octets.windows(4).any(|four| four == &SECRET[5..9] || four == &ENCODED[4..8]) {
        return;
    }
    let Some((first, octets)) = octets.split_first() else { return };
    let mut session = Session::new(*first);
    session.happens(Event::Connected);
    session.says(Side::Client, AUTH);
    let mut rest = octets;
    while let Some((operation, behind)) = rest.split_first() {
        let (length, behind) = behind.split_first().map_or((0, behind), |(length, behind)| (*length, behind));
        let (said, behind) = behind.split_at(usize::from(length).min(behind.len()));
        rest = behind;
        if session.ended {
            break;
        }
        session.operation(*operation, said);
    }
    session.finish();
    session.check();
}

/// A request about what is kept of a message.
enum Kept {
    Spool,
    Commit,
    Outcome,
}

/// A driver without sockets.
struct Session {
    relay: SmtpRelay,
    outbox: Outbox,
    lanes: u32,
    extensions: Extensions,
    sender_policy: SenderPolicy,
    waiting: Vec<RequestId>,
    readies: Vec<RequestId>,
    leases: Vec<RequestId>,
    /// What is asked of the disk, for an account whose mail is queued.
    kept: Vec<(RequestId, Kept)>,
    submission: Submission,
    unread: Vec<u8>,
    heard: [Vec<u8>; 2],
    ended: bool,
}

impl Session {
    fn new(flags: u8) -> Self {
        let facts = SessionFacts {
            hostname: "bridge.test".into(),
            secured: false,
            message_max: 300,
            profile: built_in(if flags & 8 != 0 { "suitecrm" } else { GENERIC }),
            passes_tokens: false,
            nonce: 1,
        };
        let extensions = Extensions {
            size: (flags & 1 != 0).then_some(0),
            eight_bit_mime: flags & 2 != 0,
            pipelining: flags & 4 != 0,
            ..Extensions::default()
        };
        Self {
            relay: SmtpRelay::new(facts),
            outbox: Outbox::default(),
            lanes: 0,
            extensions,
            sender_policy: SenderPolicy::ALL[usize::from(flags >> 4) % 3],
            waiting: Vec::new(),
            readies: Vec::new(),
            leases: Vec::new(),
            kept: Vec::new(),
            submission: if flags >> 4 >= 12 { Submission::Queued } else { Submission::Direct },
            unread: Vec::new(),
            heard: Default::default(),
            ended: false,
        }
    }

    fn operation(&mut self, operation: u8, said: &[u8]) {
        match operation % 8 {
            0..=2 => self.says(Side::Client, said),
            3 | 4 => self.says(Side::Lane(LaneId(self.lanes)), said),
            5 => self.answer(operation & 8 == 0),
            6 => self.happens(Event::Closed(LaneId(self.lanes))),
            _ if operation & 0x78 == 0 => self.happens(Event::Drain),
            _ if operation & 0x78 == 8 => self.happens(Event::Left),
            _ => self.answer(true),
        }
    }

    fn says(&mut self, side: Side, said: &[u8]) {
        let mut held = match side {
            Side::Client => std::mem::take(&mut self.unread),
            Side::Lane(_) => Vec::new(),
        };
        held.extend_from_slice(said);
        let mut input = &held[..];
        while !input.is_empty() && !self.ended {
            let left = input.len();
            match self.relay.input(side, &mut input, &mut self.outbox) {
                Ok(Flow::More) => assert!(input.len() < left, "nothing was taken"),
                Ok(Flow::Pause(paused)) => {
                    assert!(paused == side, "the other side is paused");
                    break;
                }
                flow => self.flows(flow),
            }
            self.flush();
        }
        if side == Side::Client {
            // As the driver's read buffer: what is paused waits, and no more is read.
            self.unread = input.to_vec();
            self.unread.truncate(4096);
        }
    }

    fn answer(&mut self, good: bool) {
        if let Some(request) = self.waiting.pop() {
            let (sender_policy, submission) = (self.sender_policy, self.submission);
            let admission = Address::parse(OWN).map(|address| Admission {
                sender_policy,
                submission,
                ..Admission::new(AccountId(1), address)
            });
            let verdict = admission.ok().filter(|_| good).ok_or(Failure::LoginRefused);
            self.happens(Event::Answer(request, Answer::Verdict(verdict)));
        } else if let Some(request) = self.readies.pop() {
            let ready = if good { Ok(()) } else { Err(Failure::ProviderUnreachable(Unreachable::TimedOut)) };
            self.happens(Event::Answer(request, Answer::ReadyToSend(ready)));
        } else if let Some(request) = self.leases.pop() {
            self.lanes += u32::from(good);
            let facts = LaneFacts::Smtp { extensions: self.extensions.clone() };
            let lease = Lease { lane: LaneId(self.lanes), facts };
            let lease = if good { Ok(lease) } else { Err(Failure::ProviderUnreachable(Unreachable::TimedOut)) };
            self.happens(Event::Answer(request, Answer::Lane(lease)));
        } else if !self.kept.is_empty() {
            let (request, kept) = self.kept.remove(0);
            let answer = match kept {
                Kept::Spool => Answer::Spooled(if good { Ok(()) } else { Err(Failure::OurDiskFull) }),
                Kept::Commit => {
                    Answer::Committed(if good { Ok(Committed::Queued(7)) } else { Err(Failure::OurDiskFull) })
                }
                Kept::Outcome => Answer::Settled,
            };
            self.happens(Event::Answer(request, answer));
        }
        if !self.ended {
            self.says(Side::Client, b"");
        }
    }

    /// A drain, no more answers, no lane, and the end of whatever message the client was in.
    fn finish(&mut self) {
        self.happens(Event::Drain);
        for _ in 0..ROUNDS {
            if self.ended {
                break;
            }
            self.answer(false);
            self.happens(Event::Closed(LaneId(self.lanes)));
            if !self.ended {
                self.says(Side::Client, b"\r\n.\r\n");
            }
        }
        assert!(self.ended, "the session does not end");
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
                self.relay.farewell(&failure, &mut self.outbox);
                self.ended = true;
            }
        }
    }

    fn flush(&mut self) {
        for lane in 0..=self.lanes {
            assert!(self.outbox.waiting(Side::Lane(LaneId(lane))) <= HIGH_WATER + SLACK, "the lane's outbox grows");
            self.heard[1].append(self.outbox.lane(LaneId(lane)));
        }
        assert!(self.outbox.waiting(Side::Client) <= HIGH_WATER + SLACK, "the client's outbox grows");
        self.heard[0].append(self.outbox.client());
        while let Some((id, request)) = self.outbox.next_request() {
            match request {
                Request::Verdict(_) => self.waiting.push(id),
                Request::ReadyToSend(_) => self.readies.push(id),
                Request::Lane(..) => self.leases.push(id),
                Request::Release(..) | Request::Throttled { .. } => {}
                Request::Spool(..) if self.submission == Submission::Queued => self.kept.push((id, Kept::Spool)),
                Request::Outcome(..) if self.submission == Submission::Queued => self.kept.push((id, Kept::Outcome)),
                Request::Commit(_, _, whole) => {
                    let Commitment::Queued(envelope) = &whole.1 else { panic!("a message that nobody keeps") };
                    let own = envelope.sender.is_empty() || envelope.sender.eq_ignore_ascii_case(OWN);
                    assert!(own || self.sender_policy == SenderPolicy::Any, "a sender that is none of the account's");
                    assert!(!envelope.recipients.is_empty(), "a message to nobody");
                    self.kept.push((id, Kept::Commit));
                }
                _ => panic!("a request that is none of SMTP's"),
            }
        }
        assert!(self.waiting.len() + self.readies.len() + self.leases.len() <= 1, "two requests at once");
    }

    fn check(&self) {
        for heard in &self.heard {
            assert!(!heard.windows(SECRET.len()).any(|window| window == SECRET), "the secret was told");
            assert!(!heard.windows(ENCODED.len()).any(|window| window == ENCODED), "the encoded secret was told");
            for pair in heard.windows(2) {
                assert!((pair[0] == b'\r') == (pair[1] == b'\n'), "a bare line end went out");
            }
        }
        self.check_senders();
        assert!(self.heard[0].is_empty() || self.heard[0].ends_with(b"\r\n"), "half a reply");
    }

    /// Before the first message, in which lines are not commands.
    fn check_senders(&self) {
        let heard = String::from_utf8_lossy(&self.heard[1]).to_ascii_lowercase();
        let commands = heard.split("data\r\n").next().unwrap_or_default();
        for line in commands.lines().filter(|line| line.starts_with("mail")) {
            let path = line.split(['<', '>']).nth(1).unwrap_or_default();
            let own = path.is_empty() || path == OWN;
            assert!(own || self.sender_policy == SenderPolicy::Any, "a sender that is none of the account's");
        }
    }
}
