//! What is shared by sessions is never another's mail: every message and mailbox here carries the marker of its account and
//! mailbox, and a foreign one anywhere in any session is a fault.
//!
//! Two tests: random scripts of a few sessions, of clients' disconnects and of the provider's cuts, which shrink to the
//! shortest that fails; and fifty clients at once, for as long as `SOAK_SECONDS` says. Wrong passwords are tried between:
//! they must not ride a good lane.

use crate::harness::{AddAccount, Bridge, CrmSettings, Dovecot, Lab, PATIENCE, Program, free_port, until};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Accounts: the name, and how many messages its INBOX has; the others have one and two more.
const ACCOUNTS: [(&str, u32); 3] = [("alpha", 3), ("beta", 7), ("gamma", 11)];
/// As the CRM names them.
const MAILBOXES: [&str; 3] = ["INBOX", "Notes", "Plans"];
/// Where clients append to; all else stays as it is.
const DROP: &str = "Drop";

fn marker(account: usize, mailbox: &str) -> String {
    format!("mark-{}-{}.", ACCOUNTS[account].0, mailbox.to_lowercase())
}

fn letter(account: usize, mailbox: &str, number: u32) -> String {
    let mark = marker(account, mailbox);
    let filler = format!("{mark} line\r\n").repeat(20 + number as usize * 7 % 50);
    format!("From: a@lab.test\r\nTo: b@lab.test\r\nSubject: {mark} {number}\r\n\r\n{filler}")
}

/// How many messages a mailbox has.
fn size(account: usize, mailbox: &str) -> u32 {
    let more = MAILBOXES.iter().position(|known| *known == mailbox).expect("a mailbox that stays as it is");
    ACCOUNTS[account].1 + more as u32
}

/// Three accounts at one Dovecot, behind a line that can be cut.
struct House {
    line: Line,
    bridge: Bridge,
    crm: Vec<CrmSettings>,
    _dovecot: Dovecot,
    _lab: Lab,
}

impl House {
    fn start(configuration: &str) -> Option<Self> {
        let lab = Lab::needing(&[Program::Dovecot])?;
        let more = "mail_max_userip_connections = 100\ndefault_process_limit = 1000\n";
        let dovecot = Dovecot::start(&lab, crate::harness::Layout::Ovh, &lab.certificates.good, more);
        let line = Line::to(dovecot.imaps);
        let mut bridge = Bridge::configured(&lab, configuration);
        bridge.is_quiet();
        let mut crm = Vec::new();
        for (account, (name, _)) in ACCOUNTS.iter().enumerate() {
            let address = format!("{name}@ovh.test");
            dovecot.add_user(&address, "hunter2");
            let mut wire = dovecot.sign_in(&address);
            for mailbox in MAILBOXES.into_iter().chain([DROP]) {
                let remote = if mailbox == "INBOX" { mailbox.to_owned() } else { format!("INBOX.{mailbox}") };
                wire.imap(&format!("CREATE {remote}"));
                let count = if mailbox == DROP { 0 } else { size(account, mailbox) };
                for number in 1..=count {
                    assert!(wire.append(&remote, "", letter(account, mailbox, number).as_bytes()).is_ok());
                }
            }
            wire.imap_ok(&format!("CREATE INBOX.{}x", marker(account, "own").replace('.', "")));
            crm.push(bridge.add_account(&AddAccount::at(&lab, [line.port, 1], &address)));
        }
        bridge.serve();
        Some(Self { line, bridge, crm, _dovecot: dovecot, _lab: lab })
    }

    /// None: the login was refused, or the provider was cut under way.
    fn sign_in(&self, account: usize, good: bool) -> Result<Option<Client>, String> {
        let mut client =
            Client::connect(self.bridge.imap, account).map_err(|error| format!("no connection: {error}"))?;
        let CrmSettings { login, password } = &self.crm[account];
        let password = if good { password.clone() } else { self.crm[(account + 1) % 3].password.clone() };
        let said = client.command(&format!("LOGIN \"{login}\" \"{password}\""))?;
        match (good, said) {
            (true, Some(true)) => Ok(Some(client)),
            (false, Some(true)) => Err(format!("a wrong password opened {}", ACCOUNTS[account].0)),
            _ => Ok(None),
        }
    }
}

/// Passes octets between the bridge and its provider until it is cut.
struct Line {
    port: u16,
    /// Those that are open, by their number.
    connections: Arc<Mutex<HashMap<u64, TcpStream>>>,
    opened: Arc<AtomicU64>,
}

impl Line {
    fn to(provider: u16) -> Self {
        let port = free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        let line = Self { port, connections: Arc::default(), opened: Arc::default() };
        let (connections, opened) = (line.connections.clone(), line.opened.clone());
        // It ends with the process: no test waits for it.
        thread::spawn(move || {
            for ours in listener.incoming().flatten() {
                let Ok(theirs) = TcpStream::connect(("127.0.0.1", provider)) else { continue };
                let number = opened.fetch_add(1, Ordering::SeqCst);
                for end in [&ours, &theirs] {
                    end.set_nodelay(true).expect("a socket");
                }
                let copy = |end: &TcpStream| end.try_clone().expect("a descriptor");
                connections.lock().expect("no panic in here").insert(number, copy(&ours));
                for (mut from, mut to) in [(copy(&ours), copy(&theirs)), (theirs, ours)] {
                    let connections = connections.clone();
                    thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                        let _ = from.shutdown(Shutdown::Both);
                        connections.lock().expect("no panic in here").remove(&number);
                    });
                }
            }
        });
        line
    }

    /// Cuts all connections there are.
    fn cut(&self) {
        for connection in self.connections.lock().expect("no panic in here").values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

/// A CRM's session, which looks at each octet that it is shown.
struct Client {
    stream: BufReader<TcpStream>,
    account: usize,
    selected: Option<&'static str>,
    tag: u32,
}

impl Client {
    fn connect(port: u16, account: usize) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE * 3))?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream: BufReader::new(stream), account, selected: None, tag: 0 };
        let mut greeting = String::new();
        client.stream.read_line(&mut greeting)?;
        Ok(client)
    }

    fn say(&mut self, text: &str) -> bool {
        self.stream.get_mut().write_all(text.as_bytes()).is_ok()
    }

    /// A response with its literals. None: the session is over.
    fn response(&mut self) -> Option<Vec<u8>> {
        let mut response = Vec::new();
        loop {
            let start = response.len();
            self.stream.read_until(b'\n', &mut response).ok().filter(|read| *read > 0)?;
            let line = String::from_utf8_lossy(&response[start..]).into_owned();
            let announced = line.trim_end().strip_suffix('}').and_then(|rest| rest.rsplit_once('{'));
            let Some(size) = announced.and_then(|(_, size)| size.parse::<usize>().ok()) else { return Some(response) };
            let literal = response.len();
            response.resize(literal + size, 0);
            self.stream.read_exact(&mut response[literal..]).ok()?;
        }
    }

    /// Says a command, and whether it was answered with OK; None: the session is over.
    fn command(&mut self, command: &str) -> Result<Option<bool>, String> {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        if !self.say(&format!("{tag} {command}\r\n")) {
            return Ok(None);
        }
        self.answer(&tag, command)
    }

    fn answer(&mut self, tag: &str, command: &str) -> Result<Option<bool>, String> {
        let opens = command.split_once(' ').filter(|(verb, _)| matches!(*verb, "SELECT" | "EXAMINE"));
        let opens = opens.and_then(|(_, name)| MAILBOXES.into_iter().find(|known| *known == name));
        while let Some(response) = self.response() {
            let text = String::from_utf8_lossy(&response).into_owned();
            self.check(&text, command, opens)?;
            if let Some(tagged) = text.strip_prefix(tag).and_then(|rest| rest.strip_prefix(' ')) {
                let ok = tagged.starts_with("OK");
                match command.split(' ').next().unwrap_or_default() {
                    "SELECT" | "EXAMINE" => self.selected = opens.filter(|_| ok),
                    "CLOSE" | "UNSELECT" if ok => self.selected = None,
                    _ => {}
                }
                return Ok(Some(ok));
            }
            if !text.starts_with("* ") && !text.starts_with("+ ") {
                return Err(format!("{command}: neither untagged nor for {tag}: {text}"));
            }
        }
        Ok(None)
    }

    /// What is foreign in a response.
    fn check(&self, text: &str, command: &str, opens: Option<&str>) -> Result<(), String> {
        let own = format!("mark-{}-", ACCOUNTS[self.account].0);
        if let Some(at) = text.match_indices("mark-").map(|(at, _)| at).find(|at| !text[*at..].starts_with(&own)) {
            return Err(format!(
                "{command} of {own}: a marker of another account: {}",
                &text[at..(at + 30).min(text.len())]
            ));
        }
        // Between SELECT and its answer the former mailbox may still be told of.
        let open = opens.or(self.selected);
        if let Some(mailbox) = open {
            if text.contains(" FETCH (") && text.contains("BODY[") && !text.contains(&marker(self.account, mailbox)) {
                return Err(format!("{command} in {mailbox}: a message of another mailbox: {text}"));
            }
            let exists = text.strip_prefix("* ").and_then(|rest| rest.strip_suffix(" EXISTS\r\n"));
            if let Some(exists) = exists.and_then(|exists| exists.parse::<u32>().ok())
                && exists != size(self.account, mailbox)
            {
                return Err(format!("{command} in {mailbox}: {exists} messages, not {}", size(self.account, mailbox)));
            }
        } else if text.starts_with("* ") && (text.contains(" EXISTS") || text.contains(" FETCH (")) {
            return Err(format!("{command}: news of a mailbox that nobody selected: {text}"));
        }
        Ok(())
    }

    /// APPEND with a literal, of which this part is sent.
    fn append(&mut self, part: Part) -> Result<Option<bool>, String> {
        self.tag += 1;
        let (tag, message) = (format!("t{}", self.tag), letter(self.account, DROP, self.tag));
        if !self.say(&format!("{tag} APPEND {DROP} {{{}+}}\r\n", message.len())) {
            return Ok(None);
        }
        match part {
            Part::Half => Ok(Some(self.say(&message[..message.len() / 2]))),
            Part::Whole => {
                let said = self.say(&message) && self.say("\r\n");
                if said { self.answer(&tag, "APPEND") } else { Ok(None) }
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Half,
    Whole,
}

/// What a client does next.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Select(usize),
    Examine(usize),
    Status(usize),
    /// A message by its number, of those that every mailbox has.
    Fetch(u32),
    Flags,
    /// Flags a message, or no longer: who has the mailbox open is told.
    Store(u32, bool),
    Search,
    List,
    Noop,
    Close,
    Unselect,
    Idle,
    Append,
    Logout,
    /// Goes without a word.
    Vanish,
    /// Asks for a message and goes before it comes.
    VanishWithin(u32),
    /// Goes within a message that it appends.
    VanishAppending,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        4 => (0..3usize).prop_map(Deed::Select),
        2 => (0..3usize).prop_map(Deed::Examine),
        3 => (0..3usize).prop_map(Deed::Status),
        4 => (1..=3u32).prop_map(Deed::Fetch),
        1 => Just(Deed::Flags),
        3 => (1..=3u32, any::<bool>()).prop_map(|(number, on)| Deed::Store(number, on)),
        1 => Just(Deed::Search),
        1 => Just(Deed::List),
        1 => Just(Deed::Noop),
        1 => Just(Deed::Close),
        1 => Just(Deed::Unselect),
        1 => Just(Deed::Idle),
        1 => Just(Deed::Append),
        2 => Just(Deed::Logout),
        1 => Just(Deed::Vanish),
        1 => (1..=3u32).prop_map(Deed::VanishWithin),
        1 => Just(Deed::VanishAppending),
    ]
}

/// How a deed ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Done,
    /// The client is gone, as it wanted.
    Gone,
    /// The provider's side or the bridge said no, or ended the session.
    Refused,
}

impl Client {
    fn act(&mut self, deed: Deed) -> Result<Ended, String> {
        let needs_mailbox = matches!(
            deed,
            Deed::Fetch(_)
                | Deed::Flags
                | Deed::Store(..)
                | Deed::Search
                | Deed::Close
                | Deed::Unselect
                | Deed::VanishWithin(_)
        );
        if needs_mailbox && self.selected.is_none() {
            return Ok(Ended::Done);
        }
        let said = match deed {
            Deed::Select(at) => self.command(&format!("SELECT {}", MAILBOXES[at]))?,
            Deed::Examine(at) => self.command(&format!("EXAMINE {}", MAILBOXES[at]))?,
            Deed::Status(at) => self.command(&format!("STATUS {} (MESSAGES UIDNEXT)", MAILBOXES[at]))?,
            Deed::Fetch(number) => self.command(&format!("FETCH {number} (FLAGS BODY.PEEK[])"))?,
            Deed::Flags => self.command("UID FETCH 1:* (FLAGS)")?,
            Deed::Store(number, on) => {
                let sign = if on { '+' } else { '-' };
                self.command(&format!("STORE {number} {sign}FLAGS (\\Flagged)"))?
            }
            Deed::Search => self.command("SEARCH ALL")?,
            Deed::List => self.command("LIST \"\" *")?,
            Deed::Noop => self.command("NOOP")?,
            Deed::Close => self.command("CLOSE")?,
            Deed::Unselect => self.command("UNSELECT")?,
            Deed::Idle => self.idle()?,
            Deed::Append => self.append(Part::Whole)?,
            Deed::Logout => {
                self.command("LOGOUT")?;
                return Ok(Ended::Gone);
            }
            Deed::Vanish => return Ok(Ended::Gone),
            Deed::VanishWithin(number) => {
                self.say(&format!("x FETCH 1:{number} (BODY.PEEK[])\r\n"));
                return Ok(Ended::Gone);
            }
            Deed::VanishAppending => {
                self.append(Part::Half)?;
                return Ok(Ended::Gone);
            }
        };
        Ok(if said == Some(true) { Ended::Done } else { Ended::Refused })
    }

    fn idle(&mut self) -> Result<Option<bool>, String> {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        if !self.say(&format!("{tag} IDLE\r\n")) {
            return Ok(None);
        }
        // It may be refused, and news may come first.
        loop {
            let Some(response) = self.response() else { return Ok(None) };
            let text = String::from_utf8_lossy(&response).into_owned();
            self.check(&text, "IDLE", None)?;
            if text.starts_with(&tag) {
                return Ok(Some(false));
            }
            if text.starts_with('+') {
                break;
            }
        }
        if self.say("DONE\r\n") { self.answer(&tag, "IDLE") } else { Ok(None) }
    }
}

/// A step of a script: a client, by its place.
#[derive(Clone, Copy, Debug)]
enum Step {
    Connect(usize, usize, bool),
    Act(usize, Deed),
    CutProvider,
}

const PLACES: usize = 4;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => (0..PLACES, 0..3usize).prop_map(|(place, account)| Step::Connect(place, account, true)),
        1 => (0..PLACES, 0..3usize).prop_map(|(place, account)| Step::Connect(place, account, false)),
        100 => (0..PLACES, deed()).prop_map(|(place, deed)| Step::Act(place, deed)),
        6 => Just(Step::CutProvider),
    ]
}

/// Plays a script. `hurt` are the places that a cut may have hurt: they may hear one no, until they have signed in again.
fn play(house: &House, script: &[Step]) -> Result<u64, String> {
    let mut clients: [Option<Client>; PLACES] = [const { None }; PLACES];
    let (mut hurt, mut done) = ([false; PLACES], 0);
    for step in script {
        match *step {
            Step::CutProvider => {
                house.line.cut();
                hurt = [true; PLACES];
            }
            Step::Connect(place, account, good) => {
                let client = house.sign_in(account, good)?;
                if good && client.is_none() && !hurt[place] {
                    return Err(format!("{step:?}: a login is refused"));
                }
                clients[place] = client;
                hurt[place] &= !good;
            }
            Step::Act(place, deed) => {
                let Some(client) = &mut clients[place] else { continue };
                match client.act(deed)? {
                    Ended::Done => done += 1,
                    Ended::Refused if !hurt[place] => return Err(format!("{step:?}: refused")),
                    Ended::Refused => (clients[place], hurt[place]) = (None, false),
                    Ended::Gone => clients[place] = None,
                }
            }
        }
    }
    Ok(done)
}

#[test]
fn random_sessions_over_pooled_lanes_see_their_own_mail_alone() {
    // Few lanes, so that they go from hand to hand.
    let Some(house) = House::start("[limits]\nlanes-per-account = 3\nparked-lanes = 2\n") else { return };
    let done = AtomicU64::new(0);
    let mut runner =
        TestRunner::new(Config { cases: 60, max_shrink_iters: 200, failure_persistence: None, ..Config::default() });
    let ended = runner.run(&vec(step(), 10..60), |script| {
        let played = play(&house, &script).map_err(TestCaseError::fail)?;
        done.fetch_add(played, Ordering::SeqCst);
        Ok(())
    });
    println!(
        "60 random scripts: {} commands answered, {} connections to the provider",
        done.load(Ordering::SeqCst),
        house.line.opened.load(Ordering::SeqCst)
    );
    if let Err(error) = ended {
        panic!("{error}");
    }
    assert!(done.load(Ordering::SeqCst) > 300, "hardly anything was done");
}

/// Small numbers, without a pattern that matters.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn deed(&mut self) -> Deed {
        let at = usize::try_from(self.below(3)).expect("small");
        let number = u32::try_from(1 + self.below(3)).expect("small");
        match self.below(40) {
            0..8 => Deed::Select(at),
            8..10 => Deed::Examine(at),
            10..15 => Deed::Status(at),
            15..24 => Deed::Fetch(number),
            24 => Deed::Flags,
            25 => Deed::Store(number, self.below(2) == 0),
            26 => Deed::Search,
            27 => Deed::List,
            28..30 => Deed::Noop,
            30 => Deed::Close,
            31 => Deed::Unselect,
            32 => Deed::Idle,
            33 => Deed::Append,
            34..37 => Deed::Logout,
            37 => Deed::Vanish,
            38 => Deed::VanishWithin(number),
            _ => Deed::VanishAppending,
        }
    }
}

/// What all clients did.
#[derive(Default)]
struct Sums {
    sessions: AtomicU64,
    commands: AtomicU64,
    refused: AtomicU64,
}

/// One client until the end: any error ends it.
fn soak(house: &House, sums: &Sums, seed: u64, over: &AtomicBool) -> Result<(), String> {
    let mut dice = Dice(seed);
    while !over.load(Ordering::SeqCst) {
        let account = usize::try_from(dice.below(3)).expect("small");
        let good = dice.below(100) > 0;
        let client = house.sign_in(account, good)?;
        match (good, client) {
            (true, Some(mut client)) => {
                sums.sessions.fetch_add(1, Ordering::SeqCst);
                for _ in 0..dice.below(12) {
                    let deed = dice.deed();
                    match client.act(deed)? {
                        Ended::Done => sums.commands.fetch_add(1, Ordering::SeqCst),
                        Ended::Gone => break,
                        Ended::Refused => return Err(format!("{deed:?}: refused")),
                    };
                }
            }
            (true, None) => return Err("a login is refused".to_owned()),
            (false, _) => drop(sums.refused.fetch_add(1, Ordering::SeqCst)),
        }
        // A person reads a page.
        thread::sleep(Duration::from_millis(dice.below(60)));
    }
    Ok(())
}

#[test]
fn fifty_clients_at_once_see_their_own_mail_alone() {
    const CLIENTS: u64 = 50;
    let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(20);
    let Some(house) = House::start("[limits]\nlanes-per-account = 8\n") else { return };
    let (sums, over) = (Sums::default(), AtomicBool::new(false));
    let began = Instant::now();
    let faults = thread::scope(|scope| {
        let running: Vec<_> = (1..=CLIENTS)
            .map(|seed| {
                let (house, sums, over) = (&house, &sums, &over);
                scope.spawn(move || soak(house, sums, seed.wrapping_mul(0x9e37_79b9_7f4a_7c15), over))
            })
            .collect();
        until(Duration::from_secs(seconds), || running.iter().any(|client| client.is_finished()).then_some(()));
        over.store(true, Ordering::SeqCst);
        running.into_iter().filter_map(|client| client.join().expect("no panic").err()).collect::<Vec<_>>()
    });
    println!(
        "{CLIENTS} clients for {} s: {} sessions, {} commands, {} wrong passwords refused, {} connections to the provider, \
         {} faults",
        began.elapsed().as_secs(),
        sums.sessions.load(Ordering::SeqCst),
        sums.commands.load(Ordering::SeqCst),
        sums.refused.load(Ordering::SeqCst),
        house.line.opened.load(Ordering::SeqCst),
        faults.len()
    );
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(sums.commands.load(Ordering::SeqCst) > 50 * seconds, "hardly anything was done");
}
