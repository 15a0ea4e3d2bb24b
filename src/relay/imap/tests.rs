//! What no dialogue can say: bounds on memory, and the identity of what passes.

use super::*;
use crate::{
    model::{AccountId, Address, Attributes, Folder, FolderTable, RemoteName},
    profile::{GENERIC, built_in},
    relay::{Admission, HIGH_WATER, LaneId, Lease},
    rules::namespace::{Choices, Naming},
    wire::{self, IMAP_COMMAND_MAX, imap::response::capabilities},
};
use proptest::{collection::vec, prelude::*, sample::select};

/// A session that has signed in to an account whose folders have the same names on both sides.
struct Identity {
    relay: ImapRelay,
    outbox: Outbox,
}

const LANE: LaneId = LaneId(1);

impl Identity {
    fn new(offered: &str) -> Self {
        let facts = SessionFacts {
            hostname: "bridge.test".into(),
            secured: false,
            message_max: 1000,
            profile: built_in(GENERIC),
            passes_tokens: false,
            nonce: 1,
        };
        let mut session = Self { relay: ImapRelay::new(facts), outbox: Outbox::default() };
        session.event(Event::Connected);
        session.client(b"a LOGIN alice secret\r\n");
        let admission = Admission::new(AccountId(1), Address::parse("a@b.test").expect("an address"));
        session.answer(Answer::Verdict(Ok(admission)));
        let folder = |name: &str| Folder {
            name: RemoteName::parse(name.as_bytes()).expect("a name"),
            attributes: Attributes::default(),
            role: None,
            subscribed: true,
        };
        let folders = ["INBOX", "Sent", "Kunden/2024"].map(folder).to_vec();
        let table = FolderTable { prefix: Vec::new(), delimiter: Some(b'/'), folders, ..FolderTable::default() };
        let namespace = Arc::new(Namespace::new(AccountId(1), &table, &Choices::default(), &Naming::default()));
        let capabilities = capabilities(offered.as_bytes());
        let facts = LaneFacts::Imap { capabilities, namespace };
        session.answer(Answer::Ready(Ok(facts.clone())));
        session.client(b"b SELECT INBOX\r\n");
        session.answer(Answer::Lane(Ok(Lease { lane: LANE, facts })));
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

/// Whoever wrote the message would else write commands: its octets stand where the provider reads a name.
#[test]
fn r09_a_message_never_overtakes_the_name_of_its_mailbox() {
    for (offered, synchronising) in [("LITERAL+", ""), ("LITERAL-", ""), ("", ""), ("LITERAL+", "+"), ("LITERAL-", "+")]
    {
        let mut session = Identity::new(offered);
        let command = format!("c APPEND {{4{synchronising}}}\r\nSent (\\Seen) {{14+}}\r\n");
        assert!(session.client(command.as_bytes()).is_empty());
        // As the driver does it: what is left is offered again after anything else happened.
        let mut left = session.client(b"Subject: x\r\n\r\n\r\n");
        let mut said = std::mem::take(session.outbox.lane(LANE));
        while said.ends_with(b"}\r\n") {
            session.provider(b"+ go\r\n");
            left = session.client(left);
            said.append(session.outbox.lane(LANE));
        }
        let said = String::from_utf8_lossy(&said).replace("+}", "}");
        assert_eq!(said, "c APPEND {4}\r\nSent (\\Seen) {14}\r\nSubject: x\r\n\r\n\r\n", "{offered}");
    }
}

#[test]
fn r15_an_idle_that_ends_at_once_leaves_no_timer_behind() {
    let mut session = Identity::new("");
    for _ in 0..100 {
        assert!(session.client(b"c IDLE\r\nDONE\r\n").is_empty());
    }
    let timers = std::iter::from_fn(|| session.outbox.next_request()).count();
    assert!(timers <= 3, "{timers} run at once");
}

#[test]
fn a_timer_of_an_earlier_idle_does_not_leave_a_later_one_without() {
    let mut session = Identity::new("IDLE");
    session.client(b"c IDLE\r\n");
    session.provider(b"+\r\n");
    session.client(b"DONE\r\n");
    session.provider(b"PSRLi OK\r\n");
    session.client(b"d IDLE\r\n");
    let (timer, _) = session.outbox.next_request().expect("the timer of both");
    assert!(session.outbox.next_request().is_none());
    session.event(Event::Elapsed(timer));
    session.provider(b"+\r\n");
    let (timer, _) = session.outbox.next_request().expect("the timer of the second");
    session.event(Event::Elapsed(timer));
    assert!(session.outbox.lane(LANE).ends_with(b"PSRLi IDLE\r\nDONE\r\n"), "renewed");
}

#[test]
fn r15_a_provider_that_ends_idle_at_once_is_not_asked_to_idle_for_ever() {
    let mut session = Identity::new("IDLE");
    session.client(b"c IDLE\r\n");
    for _ in 0..100 {
        let ended = if session.outbox.lane(LANE).ends_with(b"PSRLi IDLE\r\n") { &b"PSRLi OK\r\n"[..] } else { b"" };
        session.provider(ended);
    }
    assert!(session.outbox.lane(LANE).len() <= 2 * b"PSRLi IDLE\r\n".len());
    let timers = std::iter::from_fn(|| session.outbox.next_request()).count();
    assert!(timers <= 3, "{timers} run at once");
    // The client is served on.
    session.client(b"DONE\r\n");
    assert!(session.outbox.client().ends_with(b"c OK IDLE completed\r\n"));
}

#[test]
fn r15_what_is_kept_to_say_again_is_bounded() {
    let mut session = Identity::new("");
    let items = "MESSAGES ".repeat(7000);
    for n in 0..200 {
        let status = format!("s{n} STATUS Sent ({})\r\n", items.trim_end());
        assert!(session.client(status.as_bytes()).is_empty());
        session.outbox.lane(LANE).clear();
    }
    let kept = session.relay.session.pending.iter().filter_map(|pending| pending.again.as_ref());
    let kept: usize = kept.map(|command| command.octets.len()).sum();
    assert!(kept <= IMAP_COMMAND_MAX, "{kept} octets");
}

/// Commands as clients send them, each under the tag that stands for `T`.
fn command() -> impl Strategy<Value = String> {
    let name = select(vec!["INBOX", "Sent", "\"Sent\"", "{4+}\r\nSent", "\"Kunden/2024\"", "Kunden/2024"]);
    let string = select(vec!["x", "\"a b\"", "\"\\\"q\\\" \\\\\"", "{0+}\r\n", "{7+}\r\na) {1}\r", "\"\u{e9}\""]);
    let set = select(vec!["1", "1:*", "4:1,*", "5,6:7"]);
    let items = select(vec!["(RFC822)", "FLAGS", "(UID BODY.PEEK[HEADER.FIELDS (To)]<0.9>)", "(FLAGS  UID)"]);
    let message = select(vec!["", "x", "Subject: x\r\n\r\n.\r\n", "a1 LOGOUT\r\n"]);
    prop_oneof![
        (set.clone(), items).prop_map(|(set, items)| format!("T UID Fetch {set} {items}\r\n")),
        set.clone().prop_map(|set| format!("T STORE {set} +Flags (\\SEEN)\r\n")),
        (string.clone(), string.clone())
            .prop_map(|(a, b)| format!("T SEARCH CHARSET UTF-8 SUBJECT {a} (FROM {b} UNSEEN)\r\n")),
        string.prop_map(|string| format!("T sort (REVERSE DATE) UTF-8 TEXT {string}\r\n")),
        name.clone().prop_map(|name| format!("T STATUS {name} (MESSAGES UIDVALIDITY)\r\n")),
        (set, name.clone()).prop_map(|(set, name)| format!("T UID COPY {set} {name}\r\n")),
        (name, message).prop_map(|(name, text)| format!("T APPEND {name} (\\Seen) {{{}+}}\r\n{text}\r\n", text.len())),
        Just("T NOOP\r\n".to_owned()),
        Just("T check \r\n".to_owned()),
    ]
}

/// Answers as providers send them, in the spelling that is kept.
fn answer() -> impl Strategy<Value = String> {
    let octets = select(vec!["", "x", "a)\r\n* 5 EXISTS\r\n", "\r", "{3}\r\n", "\0\u{e9}\n"]);
    let lines = select(vec![
        "* 5 EXISTS",
        "* 0 RECENT",
        "* 7 EXPUNGE",
        "* FLAGS (\\Answered \\Seen)",
        "* SEARCH",
        "* SEARCH 1 22 333",
        "* SORT 3 2 1",
        "* THREAD (1 (2)(3 4))",
        "* ESEARCH (TAG \"t\") UID ALL 1:3",
        "* 1 FETCH (FLAGS (\\Seen)  UID 7)",
        "* OK [UIDNEXT 9] Predicted next UID",
        "* OK [PERMANENTFLAGS (\\Seen \\*)] Limited",
        "* NO [ALERT] The disk is full",
    ]);
    prop_oneof![
        lines.prop_map(|line| format!("{line}\r\n")),
        (1_usize..12_000).prop_map(|length| format!("* SEARCH {}\r\n", "1 ".repeat(length).trim_end())),
        octets.prop_map(|octets| format!("* 1 FETCH (BODY[] {{{}}}\r\n{octets} FLAGS ())\r\n", octets.len())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn with_the_same_names_on_both_sides_commands_pass_as_they_are(
        commands in vec(command(), 1..12),
        cuts in vec(0_usize..400, 0..12),
    ) {
        let mut session = Identity::new("LITERAL+ UIDPLUS SORT");
        let tagged = commands.iter().enumerate().map(|(n, command)| command.replacen('T', &format!("t{n}"), 1));
        let said = tagged.collect::<String>().into_bytes();
        for piece in wire::pieces(&said, &cuts) {
            prop_assert!(session.client(piece).is_empty(), "the client is made to wait");
        }
        let passed = std::mem::take(session.outbox.lane(LANE));
        prop_assert_eq!(String::from_utf8_lossy(&passed), String::from_utf8_lossy(&said));
        prop_assert!(session.outbox.client().is_empty());
    }

    #[test]
    fn with_the_same_names_on_both_sides_answers_pass_as_they_are(
        answers in vec(answer(), 1..12),
        cuts in vec(0_usize..20_000, 0..12),
    ) {
        let mut session = Identity::new("");
        session.client(b"c NOOP\r\nd STATUS \"Sent\" (UIDVALIDITY)\r\n");
        let said = answers.concat().into_bytes();
        for piece in wire::pieces(&said, &cuts) {
            prop_assert!(session.provider(piece).is_empty(), "the provider is made to wait");
        }
        let passed = std::mem::take(session.outbox.client());
        prop_assert!(passed == said, "{:?}", String::from_utf8_lossy(&passed));

        let last = b"* STATUS \"Sent\" (UIDVALIDITY 7)\r\nd NO [NOPERM] no\r\n";
        let left = session.provider(last);
        session.answer(Answer::Validity(Ok(7)));
        session.provider(left);
        prop_assert_eq!(String::from_utf8_lossy(session.outbox.client()), String::from_utf8_lossy(last));
    }
}
