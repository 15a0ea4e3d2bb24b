//! What the driver makes of a lane that is given back.

use super::*;
use crate::{
    model::{AccountId, Address, Attributes, Folder, FolderTable, RemoteName},
    profile,
    relay::{Admission, LaneFacts, Request, RequestId, SessionFacts, imap::ImapRelay},
    rules::namespace::{Choices, Namespace, Naming},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt as _, DuplexStream, duplex};

const ID: AccountId = AccountId(1);
/// What the provider's connection holds of what it has not read.
const ROOM: usize = 8;

struct House {
    gates: Arc<Gates>,
    session: Session,
    lane: LaneId,
    facts: LaneFacts,
    provider: DuplexStream,
    client: DuplexStream,
    _root: tempfile::TempDir,
}

impl House {
    /// A session with a lane, at which it has this to say.
    async fn saying(octets: usize) -> Self {
        let (gates, _root) = Gates::of_a_test().await;
        let second = Duration::from_secs(1);
        let facts = SessionFacts {
            hostname: "bridge.test".into(),
            secured: false,
            message_max: 1000,
            profile: profile::built_in(profile::GENERIC),
            passes_tokens: false,
            nonce: 1,
        };
        let patience =
            Patience { login: second, client: second, progress: second, long_command: second, end_of_data: second };
        let (_, drain) = watch::channel(false);
        let surroundings = Surroundings { gates: gates.clone(), filing: None, patience, login_wait: None, drain };
        let ((theirs, client), (ours, provider)) = (duplex(ROOM), duplex(ROOM));
        let mut session = Session::new(Box::new(theirs), Box::new(ImapRelay::new(facts)), surroundings);
        let name = RemoteName::parse(b"INBOX").expect("a name");
        let inbox = Folder { name, attributes: Attributes::default(), role: None, subscribed: true };
        let table = FolderTable { folders: vec![inbox], ..FolderTable::default() };
        let namespace = Namespace::new(ID, &table, &Choices::default(), &Naming::default());
        let facts = LaneFacts::Imap { capabilities: Default::default(), namespace: namespace.into() };
        let leased = Leased { lane: gates.lane_over(Box::new(ours), ID), facts: facts.clone() };
        let lane = session.take_lane(leased).lane;
        session.outbox.lane(lane).resize(octets, b'x');
        Self { gates, session, lane, facts, provider, client, _root }
    }

    /// The same, with INBOX open on it.
    async fn with_a_mailbox() -> Self {
        let mut house = Self::saying(0).await;
        let (lane, facts) = (house.lane, house.facts.clone());
        let admission = Admission::new(ID, Address::parse("a@b.test").expect("an address"));
        house.happens(Event::Connected);
        house.says(Side::Client, b"a LOGIN alice secret\r\n");
        house.answers(Answer::Verdict(Ok(admission)));
        house.answers(Answer::Ready(Ok(facts.clone())));
        house.says(Side::Client, b"b SELECT INBOX\r\n");
        house.answers(Answer::Lane(Ok(Lease { lane, facts })));
        house.says(Side::Lane(lane), b"b OK\r\n");
        house.session.outbox.client().clear();
        house.session.outbox.lane(lane).clear();
        house
    }

    /// Past the sockets.
    fn says(&mut self, side: Side, mut octets: &[u8]) {
        let Session { relay, outbox, .. } = &mut self.session;
        while !octets.is_empty() && relay.input(side, &mut octets, outbox) == Ok(Flow::More) {}
        assert!(octets.is_empty(), "{}", String::from_utf8_lossy(octets));
    }

    fn happens(&mut self, event: Event) {
        self.session.tell(event).expect("goes on");
    }

    fn answers(&mut self, answer: Answer) {
        let (id, _) = self.session.outbox.next_request().expect("a request");
        self.happens(Event::Answer(id, answer));
    }

    /// Writes what the provider's connection holds.
    async fn write(&mut self) {
        poll_fn(|context| self.session.poll(context)).await.expect("written");
    }

    fn parks_what_is_given_back(mut self) -> bool {
        self.session.outbox.ask(Request::Release(self.lane, LaneState::Clean));
        self.session.see_to_requests();
        self.gates.has_parked(ID)
    }
}

#[tokio::test]
async fn a_lane_that_has_not_heard_all_is_no_one_elses() {
    assert!(!House::saying(1).await.parks_what_is_given_back(), "nothing is written");
    let mut house = House::saying(ROOM + 1).await;
    house.write().await;
    assert!(!house.parks_what_is_given_back(), "one octet is not");
    let mut house = House::saying(ROOM + 1).await;
    house.write().await;
    house.provider.read_exact(&mut [0; ROOM]).await.expect("heard");
    house.write().await;
    assert!(house.parks_what_is_given_back(), "all is");
}

#[tokio::test]
async fn what_a_lane_says_behind_its_last_answer_stays_with_it() {
    let mut house = House::saying(0).await;
    house.provider.write_all(b"* BYE").await.expect("room");
    house.write().await;
    house.session.outbox.ask(Request::Release(house.lane, LaneState::Clean));
    house.session.feed().expect("goes on");
    house.session.see_to_requests();
    assert!(!house.gates.has_parked(ID), "the next session would hear it");
}

#[tokio::test]
async fn a_lane_that_was_granted_to_a_client_that_left_is_the_next_ones() {
    let mut house = House::saying(0).await;
    let (ours, _theirs) = duplex(ROOM);
    let leased = Leased { lane: house.gates.lane_over(Box::new(ours), ID), facts: house.facts.clone() };
    house.session.requests.answer(async { Done::Leased(RequestId(1), Ok(Box::new(leased))) });
    tokio::task::yield_now().await;
    house.session.give_lanes_back().expect("goes on");
    assert!(house.gates.has_parked(ID));
}

/// The lane's end and the client's command are found in one look.
#[tokio::test]
async fn no_command_is_given_to_a_lane_that_has_ended() {
    let mut house = House::with_a_mailbox().await;
    house.client.write_all(b"c NOOP\r\n").await.expect("room");
    house.provider.shutdown().await.expect("closed");
    house.write().await;
    house.session.feed().expect("nothing was under way");
    assert!(!house.session.relay.said(Side::Client).within && house.session.requests.any(), "it asks for another lane");
}

#[tokio::test]
async fn a_session_that_rests_gives_its_buffers_back_and_hears_all_that_comes_then() {
    let mut house = House::saying(0).await;
    let lane = house.lane;
    house.session.rest_if_due(Instant::now());
    assert!(house.session.rest.is_some(), "it is too early");
    house.session.rest_if_due(Instant::now() + REST);
    assert!(house.session.rest.is_none());
    let rooms =
        |session: &Session| session.client.room() + session.lanes.iter().map(|lane| lane.pipe.room()).sum::<usize>();
    assert_eq!(rooms(&house.session), 0);
    // More than it has room for, in pieces.
    for said in 1..=20 {
        house.provider.write_all(&[b'x'; ROOM]).await.expect("written");
        house.write().await;
        let pipe = pipe_of(&mut house.session.client, &mut house.session.lanes, Side::Lane(lane)).expect("its lane");
        assert_eq!((pipe.unread(), pipe.read), (&[b'x'; ROOM][..], said * ROOM as u64));
        pipe.consume(ROOM);
        assert!(pipe.room() <= pipe::READ_AT_REST, "{}", pipe.room());
    }
    assert!(house.session.rest.is_some());
}
