//! What no dialogue can say: bounds on memory, and the identity of what passes.

use super::*;
use crate::{
    model::{AccountId, Address, Attributes, Folder, FolderTable, RemoteName},
    relay::{Admission, HIGH_WATER, LaneId, Lease},
    wire::{IMAP_COMMAND_MAX, imap::response::capabilities},
};

/// A session that has signed in to an account whose folders have the same names on both sides.
struct Identity {
    relay: ImapRelay,
    outbox: Outbox,
}

const LANE: LaneId = LaneId(1);

impl Identity {
    fn new(offered: &str) -> Self {
        let facts = SessionFacts { hostname: "bridge.test".into(), secured: false, message_max: 1000 };
        let mut session = Self { relay: ImapRelay::new(facts), outbox: Outbox::default() };
        session.event(Event::Connected);
        session.client(b"a LOGIN alice secret\r\n");
        let admission = Admission { account: AccountId(1), address: Address::parse("a@b.test").expect("an address") };
        session.answer(Answer::Verdict(Ok(admission)));
        let folder = |name: &str| Folder {
            name: RemoteName::parse(name.as_bytes()).expect("a name"),
            attributes: Attributes::default(),
            role: None,
            subscribed: true,
        };
        let folders = ["INBOX", "Sent", "Kunden/2024"].map(folder).to_vec();
        let table = FolderTable { prefix: Vec::new(), delimiter: Some(b'/'), folders, gone: Vec::new() };
        let namespace = Arc::new(Namespace::new(AccountId(1), &table, &[]));
        let capabilities = capabilities(offered.as_bytes());
        session.answer(Answer::Lane(Ok(Lease { lane: LANE, facts: LaneFacts::Imap { capabilities, namespace } })));
        session.client(b"b SELECT INBOX\r\n");
        session.provider(b"b OK\r\n");
        session.outbox.client().clear();
        session.outbox.lane(LANE).clear();
        session
    }

    fn event(&mut self, event: Event) {
        self.relay.event(event, &mut self.outbox).expect("goes on");
    }

    fn answer(&mut self, answer: Answer) {
        let (id, _) = self.outbox.next_request().expect("a request");
        self.event(Event::Answer(id, answer));
    }

    /// Says this as far as the relay takes it; what it left.
    fn says<'a>(&mut self, from: Side, mut octets: &'a [u8]) -> &'a [u8] {
        while !octets.is_empty() && self.relay.input(from, &mut octets, &mut self.outbox) == Ok(Flow::More) {}
        octets
    }

    fn client<'a>(&mut self, octets: &'a [u8]) -> &'a [u8] {
        self.says(Side::Client, octets)
    }

    fn provider<'a>(&mut self, octets: &'a [u8]) -> &'a [u8] {
        self.says(Side::Lane(LANE), octets)
    }
}

#[test]
fn what_waits_behind_a_literal_is_bounded() {
    let mut session = Identity::new("");
    assert!(session.client(b"c SEARCH TEXT {1+}\r\nx\r\n").is_empty());
    let taken = (0..300).take_while(|n| {
        let command = format!("d{n} SEARCH TEXT \"{}\"\r\n", "y".repeat(IMAP_COMMAND_MAX - 100));
        session.client(command.as_bytes()).is_empty()
    });
    assert!(taken.count() <= 3);
    assert!(session.relay.session.writer.octets() <= HIGH_WATER + IMAP_COMMAND_MAX);
    // They go on when the provider does.
    assert!(session.provider(b"+ go\r\n").is_empty());
    assert!(session.outbox.lane(LANE).len() > IMAP_COMMAND_MAX);
    assert!(session.client(b"e NOOP\r\n").is_empty());
    assert!(session.outbox.lane(LANE).ends_with(b"e NOOP\r\n"));
}
