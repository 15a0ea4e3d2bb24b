//! Dialogues: files that say, in order, what each voice says on the wire, and what the relay asks of the bridge.
//!
//! Because relays do no I/O, each file is run several times: with everything a voice says at once, octet by octet, and
//! at seeded random cuts. What the bridge says must not depend on it. `dialogue_tls.rs` plays the same files over sockets.
//!
//! ```text
//! # a comment: the story, above all
//! C => EHLO crm                       the client says a line; P => the provider
//! B <= 250 2.0.0 Ok                   the bridge says to the client; U <= to the provider
//! B <~ 250 2.0.0 *                    ... a line like this, `*` standing for any octets
//! U <! .                              ... anything, but no such line: for a lane that is given up
//! ? verdict alice secret => ok        the next request, and its answer; behind `ok` settings of the account:
//!                                     `crm=odoo` (the login's profile; else one that lets every sender pass),
//!                                     `receives=no`, `sends=no`, `unread=inbox`, `sender=bob@example.test`
//! ? verdict alice cram-md5 HEX => ok  the same for CRAM-MD5; over TLS the password is `secret`
//! ? lane => ok PIPELINING SIZE=1000   see `Protocol::facts` for the words behind `ok`
//! ? ready => ok ovh UIDPLUS           the account can be used; of IMAP: what its lanes would be
//! ? release clean                     the lane is given back, now or since the last line
//! ? folders => none                   nobody read the folder table lately; `known`: it is as it was
//! ? publish => ok                     the table that was just read makes the namespace
//! ? validity Sent INBOX.Sent 1 => 2   the UIDVALIDITY to tell
//! ? keep role Sent INBOX.Sent => ok   what the provider does not keep: a mailbox made for a role, or
//!                                     `keep subscription INBOX.a yes` (or `no`, or `forget`)
//! ? commit ID to a@b,c@d => kept      a message is committed before its end mark; `sent-before`, or a failure
//! ? queue ID from <a@b> to c@d => queued 7   a message that the bridge delivers by itself; or a failure
//! ? copy ID seen (flags) - => filed 7 9   a CRM's own copy; `kept`, or a failure
//! ? outcome accepted                  what became of it is committed; `refused`, `unknown`
//! ? spool => disk-full                the next octets go to disk; where no line says so, the disk takes them
//! ? release clean
//! ! closed | ! drain | ! elapsed | ! left     an event; elapsed is that of the timer asked for last
//! ! secured                           anywhere: the client came over TLS
//! ! names Envoyés Brouillons Corbeille Indésirables .     anywhere: what the login calls its mailboxes
//! ! map Alt INBOX.Clients.2024        anywhere: what a person mapped; `! hide INBOX.Calendar`: or hid
//! ! profile suitecrm                  anywhere: the CRM profile of the listener, else generic
//! = done | = failed BareLineEnd       how it ends; `= failed` implies the farewell
//! ```
//! A pool stands behind a session, as in the bridge: a lane that is given back clean is parked, and the session has it
//! again when it asks (in the bridge, one of SMTP after the provider has answered RSET). That goes without saying where a
//! dialogue does not say it, and `? lane` answers a login too, with a lane that is parked.
//!
//! Octets: `\r \n \t \\ \xHH`, `\{1000*a}` for a repeated one; a line ends with CR LF unless a lone `\` ends it.

pub(crate) mod protocol;
pub(crate) mod words;

use passerelle::{
    failure::Failure,
    model::FolderTable,
    profile::GENERIC,
    relay::{
        Answer, Committed, Event, Flow, LaneFacts, LaneId, LaneState, Lease, Outbox, Relay, Request, RequestId, Side,
    },
    rules::namespace::Namespace,
};
use protocol::{Chosen, Protocol, admission, table};
use std::{fmt::Write as _, fs, path::Path, sync::Arc};
use words::{failure, like, octets, spell};

/// Random cuts that each file is run with, besides whole and octet by octet.
const SEEDS: u64 = 8;

#[test]
fn imap() {
    run_folder("imap");
}

#[test]
fn smtp() {
    run_folder("smtp");
}

fn run_folder(folder: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogues").join(folder);
    let protocol = Protocol::of(folder).expect("a protocol");
    let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no dialogues in {}", path.display());
    let mut failures = String::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a readable dialogue");
        let cuts = [Cuts::Whole, Cuts::Octets].into_iter().chain((1..=SEEDS).map(Cuts::Random));
        for cuts in cuts {
            if let Err(trouble) = Run::new(&protocol, cuts, &text).play(&text) {
                let _ = writeln!(failures, "{} ({cuts:?}): {trouble}", file.display());
                break;
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

/// Where what a voice says is cut.
#[derive(Clone, Copy, Debug)]
enum Cuts {
    Whole,
    Octets,
    Random(u64),
}

impl Cuts {
    /// The length of the next piece of `left` octets.
    fn next(&mut self, left: usize) -> usize {
        match self {
            Self::Whole => left,
            Self::Octets => 1,
            Self::Random(state) => {
                // Xorshift: any sequence will do, as long as it is the same tomorrow.
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                1 + usize::try_from(*state % 23).unwrap_or(0).min(left - 1)
            }
        }
    }
}

/// One run of one file: a driver without sockets.
struct Run<'a> {
    protocol: &'a Protocol,
    cuts: Cuts,
    relay: Box<dyn Relay>,
    outbox: Outbox,
    /// The lane that the dialogue speaks of: the last one given out.
    lane: LaneId,
    /// The folder table of the account.
    folders: FolderTable,
    chosen: Chosen,
    namespace: Option<Arc<Namespace>>,
    unread: [Vec<u8>; 2],
    heard: [Vec<u8>; 2],
    requests: Vec<(RequestId, Request)>,
    pool: Pool,
    /// The timer asked for last.
    timer: Option<RequestId>,
    end: Option<Result<(), Failure>>,
}

/// What stands behind a session.
#[derive(Default)]
struct Pool {
    /// The lane is parked.
    parked: bool,
    /// It was given back, and no line said so.
    unsaid: bool,
    /// The words of its facts.
    facts: Vec<String>,
}

/// The line that says that the client came over TLS.
const SECURED: &str = "! secured";
const PROFILE: &str = "! profile ";

/// The CRM profile of the listener.
pub(crate) fn profile_of(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix(PROFILE)).unwrap_or(GENERIC)
}

/// Index into `unread` and `heard`.
const CLIENT: usize = 0;
const PROVIDER: usize = 1;

impl<'a> Run<'a> {
    fn new(protocol: &'a Protocol, cuts: Cuts, text: &str) -> Self {
        Self {
            protocol,
            cuts,
            relay: protocol.relay(text.lines().any(|line| line == SECURED), profile_of(text)),
            outbox: Outbox::default(),
            lane: LaneId(0),
            folders: FolderTable::default(),
            chosen: Chosen::of(text),
            namespace: None,
            unread: Default::default(),
            heard: Default::default(),
            requests: Vec::new(),
            pool: Pool::default(),
            timer: None,
            end: None,
        }
    }

    fn play(&mut self, text: &str) -> Result<(), String> {
        self.happens(Event::Connected);
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            self.line(line).map_err(|trouble| format!("line {}: {line}\n    {trouble}", number + 1))?;
        }
        self.pump();
        self.attend("");
        self.nothing_left()
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (mark, rest) = line.split_at(line.find(' ').ok_or("no words")?);
        let rest = rest.trim_start();
        // What one voice says without a break comes in one go, so that pipelining is pipelined.
        if !(rest.starts_with("=>") && matches!(mark, "C" | "P")) {
            self.pump();
        }
        self.attend(if mark == "?" { rest } else { "" });
        let (how, words) = rest.split_once(' ').unwrap_or((rest, ""));
        match (mark, how) {
            ("C", "=>") => self.says(CLIENT, words),
            ("P", "=>") => self.says(PROVIDER, words),
            ("B", how) => self.hears(CLIENT, how, words),
            ("U", how) => self.hears(PROVIDER, how, words),
            ("?", _) => self.asked(rest),
            ("!", _) => self.event(rest),
            ("=", _) => self.ended(rest),
            _ => Err("not a line of a dialogue".to_owned()),
        }
    }

    /// What the pool does without a line of the dialogue; `line` is a question that comes now.
    fn attend(&mut self, line: &str) {
        loop {
            match self.requests.first() {
                Some((_, Request::Release(_, LaneState::Clean))) if !line.starts_with("release") => {
                    self.requests.remove(0);
                    self.given_back();
                    self.pool.unsaid = true;
                }
                Some((id, Request::Lane(..))) if self.pool.parked && !line.starts_with("lane") => {
                    let id = *id;
                    self.requests.remove(0);
                    let facts = self.pool.facts.clone();
                    let lease = self.lease(&facts.iter().map(String::as_str).collect::<Vec<_>>());
                    self.happens(Event::Answer(id, Answer::Lane(Ok(lease))));
                    self.pump();
                }
                // The disk takes what it is given, unless a line says otherwise.
                Some((id, Request::Spool(..))) if !line.starts_with("spool") => {
                    let id = *id;
                    self.requests.remove(0);
                    self.happens(Event::Answer(id, Answer::Spooled(Ok(()))));
                    self.pump();
                }
                _ => return,
            }
        }
    }

    /// A lane that has more to say than was asked is nobody's answer: it is closed.
    fn given_back(&mut self) {
        self.pool.parked = self.unread[PROVIDER].is_empty();
        self.unread[PROVIDER].clear();
    }

    fn lease(&mut self, facts: &[&str]) -> Lease {
        self.lane = LaneId(self.lane.0 + 1);
        self.unread[PROVIDER].clear();
        self.pool = Pool { parked: false, unsaid: false, facts: facts.iter().map(|&word| word.to_owned()).collect() };
        Lease { lane: self.lane, facts: self.facts(facts) }
    }

    /// The facts of a lane. What is known of the tree is the gate's, and the same for all lanes.
    fn facts(&mut self, facts: &[&str]) -> LaneFacts {
        let told = self.protocol.facts(facts, &self.chosen);
        match (told, &self.namespace) {
            (LaneFacts::Imap { capabilities, .. }, Some(namespace)) => {
                LaneFacts::Imap { capabilities, namespace: namespace.clone() }
            }
            (told, _) => told,
        }
    }

    /// Another folder table is known, or other choices.
    fn known(&mut self) -> Arc<Namespace> {
        let namespace = self.chosen.namespace(&self.folders);
        self.namespace = Some(namespace.clone());
        namespace
    }

    fn says(&mut self, side: usize, words: &str) -> Result<(), String> {
        if !self.unread[1 - side].is_empty() {
            self.pump();
        }
        let octets = octets(words)?;
        if side == PROVIDER && self.pool.parked {
            // A parked lane that speaks is closed.
            self.pool.parked = false;
        } else {
            self.unread[side].extend(octets);
        }
        Ok(())
    }

    /// Gives the relay what it has not read, as the driver of a session would.
    fn pump(&mut self) {
        let mut paused = [false; 2];
        while self.end.is_none() {
            let Some(side) = (0..2).find(|side| !paused[*side] && !self.unread[*side].is_empty()) else { break };
            let cut = self.cuts.next(self.unread[side].len());
            let from = if side == CLIENT { Side::Client } else { Side::Lane(self.lane) };
            let mut input = &self.unread[side][..cut];
            let flow = self.relay.input(from, &mut input, &mut self.outbox);
            let taken = cut - input.len();
            self.unread[side].drain(..taken);
            if taken == 0 && matches!(flow, Ok(Flow::More)) {
                self.end = Some(Err(Failure::Internal("the relay takes nothing and does not pause")));
                return;
            }
            // What was paused on both sides waits for something else.
            paused[1 - side] &= taken == 0;
            match flow {
                Ok(Flow::Pause(Side::Client)) => paused[CLIENT] = true,
                Ok(Flow::Pause(Side::Lane(_))) => paused[PROVIDER] = true,
                flow => self.flows(flow),
            }
            if self.flush() {
                paused = [false; 2];
            }
        }
    }

    fn happens(&mut self, event: Event) {
        let flow = self.relay.event(event, &mut self.outbox);
        self.flows(flow);
        self.flush();
    }

    fn flows(&mut self, flow: Result<Flow, Failure>) {
        match flow {
            Ok(Flow::Done) => self.end = Some(Ok(())),
            Ok(_) => {}
            Err(failure) => {
                self.relay.farewell(&failure, &mut self.outbox);
                self.end = Some(Err(failure));
            }
        }
    }

    /// Takes what is in the outbox; says whether there was anything.
    fn flush(&mut self) -> bool {
        let before = (self.heard[CLIENT].len(), self.heard[PROVIDER].len(), self.requests.len());
        self.heard[CLIENT].append(self.outbox.client());
        self.heard[PROVIDER].append(self.outbox.lane(self.lane));
        self.requests.extend(std::iter::from_fn(|| self.outbox.next_request()));
        before != (self.heard[CLIENT].len(), self.heard[PROVIDER].len(), self.requests.len())
    }

    fn hears(&mut self, side: usize, how: &str, words: &str) -> Result<(), String> {
        let heard = &mut self.heard[side];
        let found = match how {
            "<=" => {
                let awaited = octets(words)?;
                heard.starts_with(&awaited).then_some(awaited.len())
            }
            "<~" => heard
                .windows(2)
                .position(|two| two == b"\r\n")
                .map(|at| at + 2)
                .filter(|end| like(words.as_bytes(), heard[..*end - 2].as_ref())),
            "<!" => {
                let unwanted = octets(words)?;
                let said = [b"\r\n", heard.as_slice()].concat();
                let line = [b"\r\n", unwanted.as_slice()].concat();
                (!said.windows(line.len()).any(|window| window == line)).then_some(heard.len())
            }
            _ => return Err("neither <=, <~ nor <!".to_owned()),
        };
        match found {
            Some(length) => {
                heard.drain(..length);
                Ok(())
            }
            None => Err(format!("heard instead: {:?}", String::from_utf8_lossy(heard))),
        }
    }

    fn asked(&mut self, words: &str) -> Result<(), String> {
        let (question, answer) = words.split_once(" => ").unwrap_or((words, ""));
        let given_back = matches!(self.requests.first(), Some((_, Request::Release(..))));
        if question == "release clean" && !given_back && std::mem::take(&mut self.pool.unsaid) {
            return Ok(());
        }
        if self.requests.is_empty() {
            return Err("nothing was asked".to_owned());
        }
        let (id, request) = self.requests.remove(0);
        let asked = spell(&request);
        let asks_for_none = matches!(request, Request::Ready(_) | Request::ReadyToSend(_));
        if asked != question && !(question == "lane" && asks_for_none) {
            return Err(format!("asked instead: {asked}"));
        }
        if matches!(request, Request::Timer(_)) {
            self.timer = Some(id);
        }
        let answer: Vec<&str> = answer.split_whitespace().collect();
        let answer = match (request, answer.split_first()) {
            (Request::Verdict(_), Some((&"ok", settings))) => Answer::Verdict(Ok(admission(settings))),
            (Request::Verdict(_), Some((word, _))) => Answer::Verdict(Err(failure(word)?)),
            (Request::Ready(_), Some((&"ok", facts))) => {
                self.folders = table(facts.first().ok_or("no folder table")?);
                self.known();
                self.pool.parked = question == "lane";
                self.pool.unsaid = self.pool.parked;
                self.pool.facts = facts.iter().map(|&word| word.to_owned()).collect();
                Answer::Ready(Ok(self.facts(facts)))
            }
            (Request::Ready(_), Some((word, _))) => Answer::Ready(Err(failure(word)?)),
            (Request::ReadyToSend(_), Some((&"ok", facts))) => {
                let parked = question == "lane";
                let facts = facts.iter().map(|&word| word.to_owned()).collect();
                self.pool = Pool { parked, unsaid: parked, facts };
                Answer::ReadyToSend(Ok(()))
            }
            (Request::ReadyToSend(_), Some((word, _))) => Answer::ReadyToSend(Err(failure(word)?)),
            (Request::Lane(..), Some((&"ok", facts))) => {
                if let (Protocol::Imap, Some(provider)) = (self.protocol, facts.first()) {
                    self.folders = table(provider);
                    self.known();
                }
                Answer::Lane(Ok(self.lease(facts)))
            }
            (Request::Release(_, LaneState::Clean), None) => {
                self.given_back();
                return Ok(());
            }
            (Request::Release(_, LaneState::Unknown), None) => {
                // It is closed, whatever it still had to say.
                self.unread[PROVIDER].clear();
                return Ok(());
            }
            (Request::Lane(..), Some((word, _))) => Answer::Lane(Err(failure(word)?)),
            (Request::Folders(_), Some((&"known", _))) => Answer::Folders(Some(self.known())),
            (Request::Folders(_), Some((&"none", _))) => Answer::Folders(None),
            (Request::Publish(_, table), Some((&"ok", _))) => {
                self.folders = table;
                Answer::Folders(Some(self.known()))
            }
            (Request::Keep(_, keep), Some((&"ok", _))) => {
                self.chosen.keep(keep);
                Answer::Kept(Ok(Some(self.known())))
            }
            (Request::Keep(..), Some((word, _))) => Answer::Kept(Err(failure(word)?)),
            (Request::Spool(..), Some((&"ok", _))) => Answer::Spooled(Ok(())),
            (Request::Spool(..), Some((word, _))) => Answer::Spooled(Err(failure(word)?)),
            (Request::Commit(..), Some((&"kept", _))) => Answer::Committed(Ok(Committed::Kept)),
            (Request::Commit(..), Some((&"sent-before", _))) => Answer::Committed(Ok(Committed::SentBefore)),
            (Request::Commit(..), Some((&"queued", number))) => {
                let number = number.first().and_then(|word| word.parse().ok()).ok_or("a number")?;
                Answer::Committed(Ok(Committed::Queued(number)))
            }
            (Request::Commit(..), Some((&"filed", place))) => {
                let number = |at: usize| place.get(at).and_then(|word| word.parse().ok()).ok_or("two numbers");
                Answer::Committed(Ok(Committed::Filed(number(0)?, number(1)?)))
            }
            (Request::Commit(..), Some((word, _))) => Answer::Committed(Err(failure(word)?)),
            (Request::Outcome(..), None) => Answer::Settled,
            (Request::Validity { .. }, Some((told, _))) => Answer::Validity(match told.parse() {
                Ok(told) => Ok(told),
                Err(_) => Err(failure(told)?),
            }),
            (_, Some(_)) => return Err("not an answer to this".to_owned()),
            (_, None) => return Ok(()),
        };
        self.happens(Event::Answer(id, answer));
        Ok(())
    }

    fn event(&mut self, words: &str) -> Result<(), String> {
        match words {
            "closed" if std::mem::take(&mut self.pool.parked) => {}
            "closed" => {
                let lane = self.lane;
                self.happens(Event::Closed(lane));
            }
            "drain" => self.happens(Event::Drain),
            "left" => self.happens(Event::Left),
            "elapsed" => {
                let timer = self.timer.ok_or("no timer was asked for")?;
                self.happens(Event::Elapsed(timer));
            }
            "secured" => {}
            _ if ["names ", "map ", "hide "].iter().any(|start| words.starts_with(start)) => {}
            words if words.starts_with("profile ") => {}
            _ => return Err("no such event".to_owned()),
        }
        Ok(())
    }

    fn ended(&mut self, words: &str) -> Result<(), String> {
        let end = match &self.end {
            None => "goes on".to_owned(),
            Some(Ok(())) => "done".to_owned(),
            Some(Err(failure)) => format!("failed {failure:?}"),
        };
        if end == words { Ok(()) } else { Err(format!("instead: {end}")) }
    }

    fn nothing_left(&self) -> Result<(), String> {
        let heard = |side: usize| String::from_utf8_lossy(&self.heard[side]).into_owned();
        let asked: Vec<String> = self.requests.iter().map(|(_, request)| spell(request)).collect();
        // A session that goes on has taken all that was said, or waits for ever.
        let read = self.end.is_some() || self.unread.iter().all(Vec::is_empty);
        if self.heard.iter().all(Vec::is_empty) && asked.is_empty() && read {
            return Ok(());
        }
        let unread = if read { "" } else { ", and something was not read" };
        Err(format!("at the end: B {:?}, U {:?}, asked {asked:?}{unread}", heard(CLIENT), heard(PROVIDER)))
    }
}
