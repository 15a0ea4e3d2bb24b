//! What the bridge does for each octet, line and login, without sockets: `cargo bench --bench micro`.
//!
//! Figures of one machine say little alone; they are for a comparison before and after a change. Nothing here asserts.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use divan::{Bencher, black_box, counter::BytesCount};
use passerelle::{
    model::{
        AccountId, Address, Attributes, Certificates, Endpoint, Folder, FolderTable, Login, RemoteName, Role, Secret,
        Security,
    },
    oauth::broker::{Broker, Holder},
    profile, provider,
    relay::{
        Admission, Answer, Care, Credentials, Event, First, LaneFacts, LaneId, LaneState, LaneUse, Lease, Outbox,
        Relay as _, Request, SessionFacts, Side, imap::ImapRelay,
    },
    rules::namespace::{Choices, Namespace, Naming},
    store::{ADMIN, Credential, NewAccount, NewLogin, Settings, Store},
    upstream::{self, Bounds, Gates, LaneWanted, SendingBounds, Stay},
    wire::{
        dot::DotFilter,
        header::HeaderFilter,
        imap::{Capabilities, framer::Framer},
    },
};
use std::{
    fmt::Write as _,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

fn main() {
    divan::main();
}

/// A message as a CRM has them: lines of base64.
fn message(octets: usize) -> Vec<u8> {
    let line = [&[b'a'; 76][..], b"\r\n"].concat();
    line.iter().copied().cycle().take(octets).collect()
}

/// Headers of 50 messages, as a page of a CRM asks for them.
fn page() -> Vec<u8> {
    let mut page = String::new();
    for number in 1..=50 {
        let header = format!("From: a@example.test\r\nSubject: offer {number}\r\n\r\n");
        let _ = write!(
            page,
            "* {number} FETCH (UID {number} FLAGS (\\Seen) BODY[HEADER] {{{}}}\r\n{header})\r\n",
            header.len()
        );
    }
    page.into_bytes()
}

#[divan::bench(args = [1_000, 10_000_000])]
fn framer_of_a_literal(bencher: Bencher, octets: usize) {
    let said = [format!("* 1 FETCH (BODY[] {{{octets}}}\r\n").as_bytes(), &message(octets), b")\r\n"].concat();
    frames(bencher, &said);
}

#[divan::bench]
fn framer_of_a_page(bencher: Bencher) {
    frames(bencher, &page());
}

fn frames(bencher: Bencher, said: &[u8]) {
    bencher.counter(BytesCount::of_slice(said)).bench(|| {
        let mut framer = Framer::provider();
        for mut piece in black_box(said).chunks(16 * 1024) {
            while framer.next(&mut piece).expect("framed").is_some() {}
        }
    });
}

#[divan::bench(args = [10_000, 10_000_000])]
fn dot_filter(bencher: Bencher, octets: usize) {
    let message = message(octets);
    let mut passed = Vec::with_capacity(octets);
    bencher.counter(BytesCount::new(octets)).bench_local(|| {
        let mut filter = DotFilter::default();
        passed.clear();
        for mut piece in black_box(&message[..]).chunks(16 * 1024) {
            filter.pass(&mut piece, Some(&mut passed)).expect("it passes");
        }
    });
}

/// What the sender's check sees of a message; the second kind of line could be a name for long.
#[divan::bench(args = ["From: ", "\x0b"])]
fn header_filter(bencher: Bencher, begins: &str) {
    let header = format!("{begins:\x0b<16000}\r\n").repeat(16);
    let mut passed = Vec::with_capacity(header.len());
    bencher.counter(BytesCount::of_str(&header)).bench_local(|| {
        let (mut filter, mut input) = (HeaderFilter::new(&["from", "sender"]), black_box(header.as_bytes()));
        passed.clear();
        while filter.pass(&mut input, &mut passed).expect("a header").is_some() {}
    });
}

/// A session that has signed in, and its lane.
struct Session {
    relay: ImapRelay,
    outbox: Outbox,
    namespace: Arc<Namespace>,
}

const LANE: LaneId = LaneId(1);

impl Session {
    /// With `folders` beside INBOX, of which Sent has another name at the provider.
    fn with(folders: usize) -> Self {
        let folder = |name: String, role| Folder {
            name: RemoteName::parse(name.as_bytes()).expect("a name"),
            attributes: Attributes::default(),
            role,
            subscribed: true,
        };
        let mut all = vec![folder("INBOX".into(), None), folder("INBOX.Envoyes".into(), Some(Role::Sent))];
        all.extend((0..folders).map(|number| folder(format!("INBOX.Clients.{number}"), None)));
        let table =
            FolderTable { prefix: b"INBOX.".to_vec(), delimiter: Some(b'.'), folders: all, ..FolderTable::default() };
        let facts = SessionFacts {
            hostname: "bridge.test".into(),
            secured: false,
            message_max: 1_000_000,
            profile: profile::Table::built_in()
                .expect("the profiles")
                .named(profile::GENERIC)
                .expect("generic")
                .clone(),
            passes_tokens: false,
            nonce: 1,
        };
        let namespace = Arc::new(Namespace::new(AccountId(1), &table, &Choices::default(), &Naming::default()));
        let mut session = Self { relay: ImapRelay::new(facts), outbox: Outbox::default(), namespace };
        session.relay.event(Event::Connected, &mut session.outbox).expect("connected");
        session.says(Side::Client, b"a LOGIN alice secret\r\n");
        session
    }

    /// What one side says, and all that follows from it.
    fn says(&mut self, side: Side, mut said: &[u8]) {
        while !said.is_empty() {
            self.relay.input(side, &mut said, &mut self.outbox).expect("taken");
            self.outbox.client().clear();
            self.outbox.lane(LANE).clear();
            while let Some((id, request)) = self.outbox.next_request() {
                let capabilities = Capabilities::default();
                let facts =
                    || LaneFacts::Imap { capabilities: capabilities.clone(), namespace: self.namespace.clone() };
                let answer = match request {
                    Request::Verdict(_) => {
                        let address = Address::parse("alice@bridge.test").expect("an address");
                        Answer::Verdict(Ok(Admission {
                            filing: Care::Nothing,
                            ..Admission::new(AccountId(1), address)
                        }))
                    }
                    Request::Ready(_) => Answer::Ready(Ok(facts())),
                    Request::Lane(..) => Answer::Lane(Ok(Lease { lane: LANE, facts: facts() })),
                    Request::Folders(_) => Answer::Folders(Some(self.namespace.clone())),
                    Request::Validity { upstream, .. } => Answer::Validity(Ok(upstream)),
                    _ => continue,
                };
                self.relay.event(Event::Answer(id, answer), &mut self.outbox).expect("answered");
            }
        }
        self.outbox.client().clear();
        self.outbox.lane(LANE).clear();
    }

    fn selects(&mut self) {
        self.says(Side::Client, b"b SELECT INBOX\r\n");
        self.says(Side::Lane(LANE), b"* 50 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nb OK [READ-WRITE] done\r\n");
    }
}

/// A command of the client, answered by the provider; per octet of the answer.
fn relays(bencher: Bencher, mut session: Session, command: &[u8], answer: &[u8]) {
    bencher.counter(BytesCount::of_slice(answer)).bench_local(|| {
        session.says(Side::Client, black_box(command));
        for piece in black_box(answer).chunks(16 * 1024) {
            session.says(Side::Lane(LANE), piece);
        }
    });
}

#[divan::bench(args = [10, 500])]
fn rewrite_of_list(bencher: Bencher, folders: usize) {
    let mut answer = String::new();
    for number in 0..folders {
        let _ = write!(answer, "* LIST (\\HasNoChildren) \".\" INBOX.Clients.{number}\r\n");
    }
    relays(bencher, Session::with(folders), b"c LIST \"\" *\r\n", (answer + "c OK done\r\n").as_bytes());
}

#[divan::bench]
fn rewrite_of_status(bencher: Bencher) {
    let answer = b"* STATUS INBOX.Envoyes (MESSAGES 231 UIDNEXT 44292 UNSEEN 7)\r\nc OK done\r\n";
    relays(bencher, Session::with(10), b"c STATUS Sent (MESSAGES UIDNEXT UNSEEN)\r\n", answer);
}

#[divan::bench]
fn relay_of_a_page(bencher: Bencher) {
    let mut session = Session::with(10);
    session.selects();
    relays(
        bencher,
        session,
        b"c UID FETCH 1:50 (FLAGS BODY.PEEK[HEADER])\r\n",
        &[&page()[..], b"c OK done\r\n"].concat(),
    );
}

#[divan::bench]
fn relay_of_10_mb(bencher: Bencher) {
    let mut session = Session::with(10);
    session.selects();
    let octets = 10_000_000;
    let answer =
        [format!("* 1 FETCH (UID 1 BODY[] {{{octets}}}\r\n").as_bytes(), &message(octets), b")\r\nc OK done\r\n"]
            .concat();
    relays(bencher, session, b"c UID FETCH 1 BODY.PEEK[]\r\n", &answer);
}

/// A login's check at the store. A name that no login has is looked for anew each time.
#[divan::bench(args = ["alice@bridge.test", "nobody@bridge.test"])]
fn login_check(bencher: Bencher, name: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let root = tempfile::tempdir().expect("a directory");
    let store = runtime.block_on(firm(root.path(), 993, Security::Tls));
    let login = Login::parse(name).expect("a login");
    let credentials = Credentials::Plain { login, password: Secret::new(b"secret".to_vec()) };
    bencher.bench_local(|| runtime.block_on(store.verdict(black_box(&credentials))).is_ok());
}

/// What a page of a CRM waits for at the gate: a parked lane is taken and given back.
#[divan::bench]
fn lane_checkout(bencher: Bencher) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let root = tempfile::tempdir().expect("a directory");
    let (gates, let_in) = runtime.block_on(async {
        let store = firm(root.path(), double(), Security::None).await;
        let stay = Stay { time: Duration::from_secs(240), lanes: 4 };
        let wait = Duration::from_secs(10);
        let bounds = Bounds {
            lanes_per_account: 5,
            sessions_per_account: 10,
            login_wait: wait,
            handshake: wait,
            refusals: 10,
            stay,
            sending: SendingBounds { per_lane: 100, per_minute: None, stay, wait },
        };
        let broker = Broker::new(store.clone(), upstream::exchange().expect("a client"), Holder::Serve);
        let tables = (provider::Table::built_in().expect("a table"), profile::Table::built_in().expect("a table"));
        let gates = Gates::new(store, broker, bounds, Vec::new(), tables.0, tables.1);
        let login = Login::parse("alice@bridge.test").expect("a login");
        let credentials = Credentials::Plain { login, password: Secret::new(b"secret".to_vec()) };
        let Ok(let_in) = gates.verdict(&credentials, 0, None).await else { panic!("the login is refused") };
        (gates, let_in)
    });
    let (account, standing, naming) = (let_in.admission.account, let_in.standing, Naming::default());
    bencher.bench_local(|| {
        runtime.block_on(async {
            let first = First::Repeatable;
            let wanted = LaneWanted { purpose: LaneUse::Imap, first, last: None, passed: None, wait: Duration::MAX };
            let leased = gates.lease(account, standing, &naming, wanted).await.expect("a lane");
            black_box(leased.lane.park(LaneState::Clean))
        })
    });
}

/// A provider that lets everyone in, in clear; its port.
fn double() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || visit(stream));
        }
    });
    port
}

fn visit(stream: TcpStream) -> io::Result<()> {
    const CAPABILITIES: &str = "IMAP4rev1 UNSELECT AUTH=PLAIN SASL-IR";
    let mut answers = stream.try_clone()?;
    write!(answers, "* OK [CAPABILITY {CAPABILITIES}] ready\r\n")?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let (tag, command) = line.split_once(' ').unwrap_or((&line, ""));
        let untagged = match command.split(' ').next().unwrap_or_default() {
            "CAPABILITY" => format!("* CAPABILITY {CAPABILITIES}\r\n"),
            "NAMESPACE" => "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n".to_owned(),
            "LIST" => "* LIST () \"/\" INBOX\r\n".to_owned(),
            _ => String::new(),
        };
        write!(answers, "{untagged}{tag} OK done\r\n")?;
    }
    Ok(())
}

/// With one login.
async fn firm(state: &Path, port: u16, security: Security) -> Store {
    let now = 1_800_000_000;
    let store = Store::open(state, None, now).await.expect("a store");
    let (address, owner) = ("alice@bridge.test", store.user(ADMIN).await.expect("read").expect("there").id);
    let endpoint = || Endpoint::parse("localhost", security, port).expect("an endpoint");
    let account = NewAccount {
        owner,
        address: Address::parse(address).expect("an address"),
        imap: endpoint(),
        smtp: endpoint(),
        certificates: Certificates::Verify,
        sign_in_name: "alice".to_owned(),
        credential: Credential::Password(Secret::new("x".to_owned())),
        settings: Settings::default(),
        smtp_password: None,
        aliases: Vec::new(),
        checked_at: None,
    };
    let account = store.add_account(&account, now).await.expect("added");
    let login = NewLogin {
        user: owner,
        account,
        name: Login::parse(address).expect("a login"),
        label: String::new(),
        profile: "generic".to_owned(),
        password: Secret::new("secret".to_owned()),
    };
    store.add_login(&login, now).await.expect("added");
    store
}
