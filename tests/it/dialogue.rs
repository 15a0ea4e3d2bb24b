//! Dialogues: files that say, in order, what each voice says on the wire, and what the relay asks of the bridge.
//!
//! Because relays do no I/O, each file is run several times: with everything a voice says at once, octet by octet, and
//! at seeded random cuts. What the bridge says must not depend on it.
//!
//! ```text
//! # a comment: the story, above all
//! C => EHLO crm                       the client says a line; P => the provider
//! B <= 250 2.0.0 Ok                   the bridge says to the client; U <= to the provider
//! B <~ 250 2.0.0 *                    ... a line like this, `*` standing for any octets
//! U <! .                              ... anything, but no such line: for a lane that is given up
//! ? verdict alice secret => ok        the next request, and its answer
//! ? lane => ok PIPELINING SIZE=1000   see `Protocol::facts` for the words behind `ok`
//! ? release clean
//! ! closed | ! drain                  an event
//! = done | = failed BareLineEnd       how it ends; `= failed` implies the farewell
//! ```
//! Octets: `\r \n \t \\ \xHH`, `\{1000*a}` for a repeated one; a line ends with CR LF unless a lone `\` ends it.

use passerelle::{
    failure::{Cap, Failure, Unreachable},
    model::{AccountId, Address},
    relay::{
        Admission, Answer, Credentials, Event, Flow, LaneFacts, LaneId, LaneState, Lease, Outbox, Relay, Request,
        RequestId, SessionFacts, Side,
    },
    wire,
};
use std::{fmt::Write as _, fs, path::Path};

/// Random cuts that each file is run with, besides whole and octet by octet.
const SEEDS: u64 = 8;
/// The account that every good verdict of a dialogue opens.
const ADDRESS: &str = "alice@example.test";

/// What differs by protocol; a folder of `tests/dialogues` each.
enum Protocol {
    Smtp,
}

impl Protocol {
    fn of(folder: &str) -> Option<Self> {
        match folder {
            "smtp" => Some(Self::Smtp),
            _ => None,
        }
    }

    fn relay(&self) -> Box<dyn Relay> {
        let facts = SessionFacts { hostname: "bridge.test".into(), secured: false, message_max: 1000 };
        match self {
            Self::Smtp => Box::new(passerelle::relay::smtp::SmtpRelay::new(facts)),
        }
    }

    /// The facts of a lane, from the words behind `? lane => ok`.
    fn facts(&self, words: &[&str]) -> LaneFacts {
        match self {
            Self::Smtp => {
                let hello =
                    words.iter().fold("250-mx".to_owned(), |hello, word| hello + "\r\n250-" + &word.replace('=', " "));
                let hello = hello + "\r\n250 OK\r\n";
                let reply = wire::smtp::ReplyReader::default().read(&mut hello.as_bytes());
                let reply = reply.expect("the words make a reply").expect("a whole one");
                LaneFacts::Smtp { extensions: wire::smtp::Extensions::read(&reply) }
            }
        }
    }
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
            if let Err(trouble) = Run::new(&protocol, cuts).play(&text) {
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
    unread: [Vec<u8>; 2],
    heard: [Vec<u8>; 2],
    requests: Vec<(RequestId, Request)>,
    end: Option<Result<(), Failure>>,
}

/// Index into `unread` and `heard`.
const CLIENT: usize = 0;
const PROVIDER: usize = 1;

impl<'a> Run<'a> {
    fn new(protocol: &'a Protocol, cuts: Cuts) -> Self {
        Self {
            protocol,
            cuts,
            relay: protocol.relay(),
            outbox: Outbox::default(),
            lane: LaneId(0),
            unread: Default::default(),
            heard: Default::default(),
            requests: Vec::new(),
            end: None,
        }
    }

    fn play(&mut self, text: &str) -> Result<(), String> {
        self.happens(Event::Connected);
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            self.line(line).map_err(|trouble| format!("line {}: {line}\n    {trouble}", number + 1))?;
        }
        self.pump();
        self.nothing_left()
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (mark, rest) = line.split_at(line.find(' ').ok_or("no words")?);
        let rest = rest.trim_start();
        // What one voice says without a break comes in one go, so that pipelining is pipelined.
        if !(rest.starts_with("=>") && matches!(mark, "C" | "P")) {
            self.pump();
        }
        match (mark, rest.split_at_checked(3)) {
            ("C", Some(("=> ", words))) => self.says(CLIENT, words),
            ("P", Some(("=> ", words))) => self.says(PROVIDER, words),
            ("B", Some((how, words))) => self.hears(CLIENT, how, words),
            ("U", Some((how, words))) => self.hears(PROVIDER, how, words),
            ("?", _) => self.asked(rest),
            ("!", _) => self.event(rest),
            ("=", _) => self.ended(rest),
            _ => Err("not a line of a dialogue".to_owned()),
        }
    }

    fn says(&mut self, side: usize, words: &str) -> Result<(), String> {
        if !self.unread[1 - side].is_empty() {
            self.pump();
        }
        self.unread[side].extend(octets(words)?);
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
            let stuck = taken == 0 && !matches!(flow, Ok(Flow::Pause(_) | Flow::Done) | Err(_));
            assert!(
                !stuck,
                "the relay takes nothing of {:?} and does not pause",
                String::from_utf8_lossy(&self.unread[side])
            );
            paused[1 - side] = false;
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
            "<= " => {
                let awaited = octets(words)?;
                heard.starts_with(&awaited).then_some(awaited.len())
            }
            "<~ " => heard
                .windows(2)
                .position(|two| two == b"\r\n")
                .map(|at| at + 2)
                .filter(|end| like(words.as_bytes(), heard[..*end - 2].as_ref())),
            "<! " => {
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
        if self.requests.is_empty() {
            return Err("nothing was asked".to_owned());
        }
        let (id, request) = self.requests.remove(0);
        let (question, answer) = words.split_once(" => ").unwrap_or((words, ""));
        let asked = spell(&request);
        if asked != question {
            return Err(format!("asked instead: {asked}"));
        }
        let answer: Vec<&str> = answer.split_whitespace().collect();
        let answer = match (&request, answer.split_first()) {
            (Request::Verdict(_), Some((&"ok", _))) => Answer::Verdict(Ok(admission())),
            (Request::Verdict(_), Some((word, _))) => Answer::Verdict(Err(failure(word)?)),
            (Request::Lane(..), Some((&"ok", facts))) => {
                self.lane = LaneId(self.lane.0 + 1);
                self.unread[PROVIDER].clear();
                Answer::Lane(Ok(Lease { lane: self.lane, facts: self.protocol.facts(facts) }))
            }
            (Request::Lane(..), Some((word, _))) => Answer::Lane(Err(failure(word)?)),
            _ => return Ok(()),
        };
        self.happens(Event::Answer(id, answer));
        Ok(())
    }

    fn event(&mut self, words: &str) -> Result<(), String> {
        match words {
            "closed" => {
                let lane = self.lane;
                self.happens(Event::Closed(lane));
            }
            "drain" => self.happens(Event::Drain),
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
        if self.heard.iter().all(Vec::is_empty) && asked.is_empty() {
            return Ok(());
        }
        Err(format!("at the end: B {:?}, U {:?}, asked {asked:?}", heard(CLIENT), heard(PROVIDER)))
    }
}

/// A request in the words of a dialogue.
fn spell(request: &Request) -> String {
    match request {
        Request::Verdict(Credentials::Plain { login, password }) => {
            format!("verdict {login} {}", String::from_utf8_lossy(password.expose()))
        }
        Request::Lane(..) => "lane".to_owned(),
        Request::Release(_, LaneState::Clean) => "release clean".to_owned(),
        Request::Release(_, LaneState::Unknown) => "release unknown".to_owned(),
        Request::Folders(_) => "folders".to_owned(),
        Request::Publish(..) => "publish".to_owned(),
        Request::Stale(_) => "stale".to_owned(),
        Request::Validity { local, upstream, .. } => format!("validity {} {upstream}", local.as_str()),
        Request::Timer(duration) => format!("timer {}", duration.as_secs()),
    }
}

fn admission() -> Admission {
    Admission { account: AccountId(1), address: Address::parse(ADDRESS).expect("an address") }
}

fn failure(word: &str) -> Result<Failure, String> {
    Ok(match word {
        "busy" => Failure::Busy(Cap::Lanes),
        "consent" => Failure::ConsentNeeded,
        "internal" => Failure::Internal("as the dialogue wants it"),
        "refused" => Failure::LoginRefused,
        "sign-in-refused" => Failure::SignInRefused,
        "unreachable" => Failure::ProviderUnreachable(Unreachable::TimedOut),
        _ => return Err(format!("no such failure: {word}")),
    })
}

/// The octets of a line of a dialogue.
fn octets(words: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let mut rest = words;
    while let Some(at) = rest.find('\\') {
        octets.extend_from_slice(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let (octet, times, length) = match escape.chars().next() {
            None => return Ok(octets),
            Some('r') => (b'\r', 1, 1),
            Some('n') => (b'\n', 1, 1),
            Some('t') => (b'\t', 1, 1),
            Some('\\') => (b'\\', 1, 1),
            Some('x') => {
                let hex = escape.get(1..3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
                (hex.ok_or("not \\xHH")?, 1, 3)
            }
            Some('{') => {
                let end = escape.find('}').ok_or("no } behind \\{")?;
                let (times, text) = escape[1..end].split_once('*').ok_or("not \\{times*octet}")?;
                let times = times.parse().map_err(|_| "not a number of times")?;
                (*text.as_bytes().first().ok_or("no octet to repeat")?, times, end + 1)
            }
            Some(_) => return Err("no such escape".to_owned()),
        };
        octets.extend(std::iter::repeat_n(octet, times));
        rest = &escape[length..];
    }
    octets.extend_from_slice(rest.as_bytes());
    octets.extend_from_slice(b"\r\n");
    Ok(octets)
}

/// Whether `text` is like `pattern`, in which `*` stands for any octets.
fn like(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (Some((b'*', rest)), _) => (0..=text.len()).any(|skip| like(rest, &text[skip..])),
        (Some((first, pattern)), Some((octet, text))) => first == octet && like(pattern, text),
        (None, None) => true,
        _ => false,
    }
}
