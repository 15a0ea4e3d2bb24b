//! Hostile sides from scenario files: a client and a provider that say what no honest one does, as often, as much and as
//! slowly as a line of the file wants it.
//!
//! ```text
//! # a comment: the story, above all
//! ! rule R15                       the rule of the case: it is played by the test of that name
//! ! timeouts progress=1s           keys of `[timeouts]` for the bridge of this case
//! ! port imaps                     the client comes to the TLS port, with whatever it says in clear
//! ! visits 2                       so many visits of the provider are hostile, else one; later ones behave well
//! C => a LOGIN \L                  the client says a line; `\L` is what logs in
//! C 5000 => \# NOOP                ... so many times, `\#` being the number
//! C each 20ms => a NOOP            ... octet by octet, so far apart
//! C signs in | C selects           greeting and LOGIN; and SELECT INBOX
//! C comes again                    leaves, and is one more client
//! C pauses 500ms | C hangs up | C says no more
//! B <~ a BAD *                     the bridge says to the client a line like this, `*` standing for any octets
//! B 1s << a OK *                   ... sooner or later such a line, here within a second
//! B 5s closed                      ... and closes within this time, whatever it says before
//! B <! * forged*                   at no time a line like this
//! U << SELECT *                    the provider behaves well up to a command like this; `\T` is its tag
//! U <! *forged*                    at no time a command like this
//! P => \T OK done                  the provider says; counts and drips as with C
//! P forever => * 1 EXISTS          ... until nobody takes it
//! P pauses 1s | P hangs up
//! P goes on                        it behaves well from here
//! ```
//! Octets are those of dialogues: `\r \n \t \\ \xHH \{1000*a}`; a line ends with CR LF unless a lone `\` ends it. The client
//! speaks in a thread of its own: what it says never waits for what it reads, and it reads only where a line says `B`.

use super::{
    leash::PATIENCE,
    provider::{IMAP_CAPABILITIES, Visit},
};
use crate::dialogue::words::{like, octets};
use std::{
    fs,
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    net::{Shutdown, TcpStream},
    path::Path,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) rule: String,
    /// Lines of `[timeouts]`.
    pub(crate) timeouts: String,
    pub(crate) over_tls_port: bool,
    pub(crate) visits: usize,
    client: Vec<Step>,
    provider: Vec<Step>,
    never_to_client: Vec<Vec<u8>>,
    never_to_provider: Vec<Vec<u8>>,
}

#[derive(Clone, Debug)]
enum Step {
    Say {
        text: String,
        times: u64,
        /// Between octets.
        apart: Option<Duration>,
    },
    /// The next line of the peer.
    Hear(Vec<u8>),
    /// A line like this after any others.
    Await(Vec<u8>, Duration),
    Closed(Duration),
    Pause(Duration),
    HangUp,
    NoMore,
    SignIn,
    Select,
    ComeAgain,
    GoOn,
}

impl Case {
    /// All cases of a folder of `tests/hostile`, in order.
    pub(crate) fn all(folder: &str) -> Vec<Self> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile").join(folder);
        let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        files.sort();
        let case = |file: &std::path::PathBuf| {
            let name = format!("{folder}/{}", file.file_stem().unwrap_or_default().to_string_lossy());
            let text = fs::read_to_string(file).expect("a readable case");
            Self::read(&name, &text).unwrap_or_else(|trouble| panic!("{name}: {trouble}"))
        };
        files.iter().map(case).collect()
    }

    fn read(name: &str, text: &str) -> Result<Self, String> {
        let mut case = Self {
            name: name.to_owned(),
            rule: String::new(),
            timeouts: String::new(),
            over_tls_port: false,
            visits: 1,
            client: Vec::new(),
            provider: Vec::new(),
            never_to_client: Vec::new(),
            never_to_provider: Vec::new(),
        };
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            case.line(line).ok_or_else(|| format!("not a line of a case: {line}"))?;
        }
        if case.rule.is_empty() { Err("no rule".to_owned()) } else { Ok(case) }
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let (voice, rest) = line.split_once(' ')?;
        if voice == "!" {
            return self.header(rest);
        }
        let arrow = ["=>", "<~", "<<", "<!"].into_iter().find_map(|arrow| {
            let at = format!(" {rest}").find(&format!(" {arrow} "))?;
            (at <= "forever ".len() + 2).then(|| (arrow, rest[..at].trim(), &rest[at + 3..]))
        });
        match (voice, arrow) {
            ("B", Some(("<!", "", pattern))) => self.never_to_client.push(pattern_of(pattern)?),
            ("U", Some(("<!", "", pattern))) => self.never_to_provider.push(pattern_of(pattern)?),
            ("C" | "B", _) => self.client.push(step(voice, arrow, rest)?),
            ("P" | "U", _) => self.provider.push(step(voice, arrow, rest)?),
            _ => return None,
        }
        Some(())
    }

    fn header(&mut self, words: &str) -> Option<()> {
        match words.split_once(' ')? {
            ("rule", rule) => rule.clone_into(&mut self.rule),
            ("timeouts", keys) => {
                for key in keys.split(' ') {
                    let (key, value) = key.split_once('=')?;
                    self.timeouts += &format!("{key} = \"{value}\"\n");
                }
            }
            ("port", "imaps") => self.over_tls_port = true,
            ("visits", number) => self.visits = number.parse().ok()?,
            _ => return None,
        }
        Some(())
    }

    /// The provider's hostile visit; `reached` is the furthest step that any visit came to.
    pub(crate) fn visit(&self, visit: &mut Visit, reached: &AtomicUsize) -> Option<()> {
        if !matches!(self.provider.first(), Some(Step::Say { .. } | Step::HangUp | Step::Pause(_))) {
            visit.say(&format!("* OK [CAPABILITY {IMAP_CAPABILITIES}] Double ready"))?;
        }
        let mut tag = String::new();
        for (at, step) in self.provider.iter().enumerate() {
            match step {
                Step::Await(pattern, _) => tag = behave_until(visit, pattern)?.unwrap_or(tag),
                Step::Say { text, times, apart } => {
                    // Nobody takes it any more: the script is to go on, and its end is seen by whoever reads next.
                    let _ = say(&text.replace("\\T", &tag), *times, *apart, &mut |octets| visit.send(octets).is_some());
                }
                Step::Pause(pause) => thread::sleep(*pause),
                Step::HangUp => {
                    reached.fetch_max(at + 1, Ordering::SeqCst);
                    return visit.hang_up();
                }
                Step::GoOn => {
                    reached.fetch_max(at + 1, Ordering::SeqCst);
                    return visit.imap(&|_, _, _| Some(false));
                }
                _ => unreachable!("the reader of cases makes no such step of a provider's line"),
            }
            reached.fetch_max(at + 1, Ordering::SeqCst);
        }
        while !visit.some()?.is_empty() {}
        None
    }

    /// How many steps the provider has.
    pub(crate) fn provider_steps(&self) -> usize {
        self.provider.len()
    }

    /// Plays the client against the bridge.
    pub(crate) fn play_client(&self, port: u16, login: &str) {
        let mut client = Client::connect(port, login, &self.never_to_client);
        for step in &self.client {
            if matches!(step, Step::ComeAgain) {
                drop(client);
                client = Client::connect(port, login, &self.never_to_client);
            } else {
                client.step(step);
            }
        }
    }

    /// Fails where a provider that heard this heard what it never may.
    pub(crate) fn expect_unheard(&self, heard: &str) {
        for (line, pattern) in heard.lines().flat_map(|line| self.never_to_provider.iter().map(move |p| (line, p))) {
            assert!(!like(pattern, head(line.as_bytes())), "the provider heard: {line}");
        }
    }
}

fn step(voice: &str, arrow: Option<(&str, &str, &str)>, rest: &str) -> Option<Step> {
    match (voice, arrow) {
        ("C" | "P", Some(("=>", how, text))) => {
            let (times, apart) = match how.strip_prefix("each ") {
                Some(apart) => (1, Some(duration(apart)?)),
                None if how.is_empty() => (1, None),
                None if how == "forever" => (u64::MAX, None),
                None => (how.parse().ok()?, None),
            };
            octets(&substituted(text, 0, "")).ok()?;
            Some(Step::Say { text: text.to_owned(), times, apart })
        }
        ("B", Some(("<~", "", text))) => Some(Step::Hear(pattern_of(text)?)),
        ("B", Some(("<<", within, text))) => {
            let within = if within.is_empty() { PATIENCE } else { duration(within)? };
            Some(Step::Await(pattern_of(text)?, within))
        }
        ("U", Some(("<<", "", text))) => Some(Step::Await(pattern_of(text)?, PATIENCE)),
        ("B", None) => Some(Step::Closed(duration(rest.strip_suffix(" closed")?)?)),
        ("C", None) if rest == "signs in" => Some(Step::SignIn),
        ("C", None) if rest == "selects" => Some(Step::Select),
        ("C", None) if rest == "comes again" => Some(Step::ComeAgain),
        ("C", None) if rest == "says no more" => Some(Step::NoMore),
        ("P", None) if rest == "goes on" => Some(Step::GoOn),
        ("C" | "P", None) if rest == "hangs up" => Some(Step::HangUp),
        ("C" | "P", None) => Some(Step::Pause(duration(rest.strip_prefix("pauses ")?)?)),
        _ => None,
    }
}

/// What is compared with lines, which have lost their ends by then.
fn pattern_of(text: &str) -> Option<Vec<u8>> {
    octets(&format!("{text}\\")).ok()
}

fn duration(text: &str) -> Option<Duration> {
    match text.strip_suffix("ms") {
        Some(number) => number.parse().ok().map(Duration::from_millis),
        None => text.strip_suffix('s')?.parse().ok().map(Duration::from_secs),
    }
}

/// A line of a case with its marks filled in.
fn substituted(text: &str, number: u64, tag: &str) -> String {
    text.replace("\\#", &number.to_string()).replace("\\T", tag).replace("\\L", "x x")
}

/// Says a line so many times, until `send` says that nobody takes it.
fn say(text: &str, times: u64, apart: Option<Duration>, send: &mut dyn FnMut(&[u8]) -> bool) -> Option<()> {
    /// Lines go out in blocks of about this size.
    const BLOCK: usize = 64 * 1024;
    let line = |number: u64| octets(&text.replace("\\#", &number.to_string())).expect("it was read before");
    let always = (!text.contains("\\#")).then(|| line(0));
    let mut block = Vec::new();
    for number in 0..times {
        match &always {
            Some(line) => block.extend_from_slice(line),
            None => block.extend(line(number)),
        }
        if let Some(apart) = apart {
            for octet in block.drain(..) {
                send(&[octet]).then_some(())?;
                thread::sleep(apart);
            }
        } else if block.len() >= BLOCK {
            send(&block).then_some(())?;
            block.clear();
        }
    }
    (block.is_empty() || send(&block)).then_some(())
}

/// Answers as a well-behaved server up to a command like `pattern`; gives its tag. A line without one is what follows a
/// literal, or DONE.
fn behave_until(visit: &mut Visit, pattern: &[u8]) -> Option<Option<String>> {
    loop {
        let line = visit.line()?;
        let (tag, command) = line.split_once(' ').map_or((None, &*line), |(tag, command)| (Some(tag), command));
        if like(pattern, head(command.as_bytes())) {
            return Some(tag.map(str::to_owned));
        }
        visit.imap_answer(tag.unwrap_or_default(), command)?;
    }
}

/// As much of a line as is compared with patterns.
fn head(line: &[u8]) -> &[u8] {
    &line[..line.len().min(1000)]
}

struct Client<'a> {
    socket: TcpStream,
    lines: BufReader<TcpStream>,
    /// To the thread that writes; dropped, it ends.
    mouth: Option<Sender<Step>>,
    writer: Option<JoinHandle<()>>,
    login: &'a str,
    never: &'a [Vec<u8>],
    /// How many more lines are shown where the case fails.
    shown: u8,
}

impl<'a> Client<'a> {
    fn connect(port: u16, login: &'a str, never: &'a [Vec<u8>]) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).expect("the bridge listens");
        socket.set_nodelay(true).expect("a socket");
        let lines = BufReader::new(socket.try_clone().expect("a second handle of the socket"));
        let mut out = socket.try_clone().expect("a third");
        let (mouth, steps) = channel();
        let writer = thread::spawn(move || {
            for step in steps {
                match step {
                    // The bridge may have closed: what it said of it is read elsewhere.
                    Step::Say { text, times, apart } => {
                        let _ = say(&text, times, apart, &mut |octets| out.write_all(octets).is_ok());
                    }
                    Step::NoMore => drop(out.shutdown(Shutdown::Write)),
                    _ => drop(out.shutdown(Shutdown::Both)),
                }
            }
        });
        Self { socket, lines, mouth: Some(mouth), writer: Some(writer), login, never, shown: 40 }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Say { text, times, apart } => {
                let text = text.replace("\\L", self.login);
                self.tell(Step::Say { text, times: *times, apart: *apart });
            }
            Step::HangUp | Step::NoMore => self.tell(step.clone()),
            Step::Pause(pause) => thread::sleep(*pause),
            Step::Hear(pattern) => {
                let line = self.line(PATIENCE).unwrap_or_default();
                assert!(like(pattern, &line), "expected: {}\n     got: {}", show(pattern), show(&line));
            }
            Step::Await(pattern, within) => self.await_line(pattern, *within),
            Step::Closed(within) => {
                let end = Instant::now() + *within;
                while let Some(line) = self.line(end.saturating_duration_since(Instant::now())) {
                    assert!(Instant::now() < end, "still talking after {within:?}: {}", show(&line));
                }
            }
            Step::SignIn => {
                self.tell(line("signs LOGIN \\L".replace("\\L", self.login)));
                self.await_line(b"signs OK *", PATIENCE);
            }
            Step::Select => {
                self.tell(line("selects SELECT INBOX".to_owned()));
                self.await_line(b"selects OK *", PATIENCE);
            }
            Step::ComeAgain | Step::GoOn => unreachable!("no step of one client"),
        }
    }

    fn tell(&self, step: Step) {
        self.mouth.as_ref().and_then(|mouth| mouth.send(step).ok()).expect("the writer lives");
    }

    fn await_line(&mut self, pattern: &[u8], within: Duration) {
        let end = Instant::now() + within;
        loop {
            let line = self.line(end.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|| panic!("closed before: {}", show(pattern)));
            if like(pattern, &line) {
                return;
            }
        }
    }

    /// The next line, cut where it is long; `None` when the bridge has closed.
    fn line(&mut self, within: Duration) -> Option<Vec<u8>> {
        // No time-out at all is what zero would mean.
        self.socket.set_read_timeout(Some(within.max(Duration::from_millis(1)))).expect("a socket");
        let mut line = Vec::new();
        loop {
            let available = match self.lines.fill_buf() {
                Ok(octets) => octets,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    panic!("nothing in {within:?} behind: {}", show(&line));
                }
                // A reset is an end as well.
                Err(_) => &[],
            };
            let end = available.iter().position(|octet| *octet == b'\n').map(|at| at + 1);
            let length = end.unwrap_or(available.len());
            line.extend_from_slice(&available[..length.min(1000_usize.saturating_sub(line.len()))]);
            self.lines.consume(length);
            if end.is_some() || length == 0 {
                break;
            }
        }
        let heard = !line.is_empty();
        if let Some(shown) = self.shown.checked_sub(1).filter(|_| heard) {
            self.shown = shown;
            println!("B {}", line[..line.len().min(200)].escape_ascii());
        }
        while line.pop_if(|octet| matches!(octet, b'\r' | b'\n')).is_some() {}
        let forbidden = self.never.iter().find(|pattern| like(pattern, &line));
        assert!(forbidden.is_none(), "the client heard: {}", show(&line));
        heard.then_some(line)
    }
}

impl Drop for Client<'_> {
    fn drop(&mut self) {
        drop(self.mouth.take());
        // A writer that nobody reads waits for ever; one that has said all, and means to be heard, is let do so.
        let heard = matches!(&self.writer, Some(writer) if writer.is_finished());
        if !heard {
            thread::sleep(Duration::from_millis(100));
        }
        let _ = self.socket.shutdown(Shutdown::Both);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn line(text: String) -> Step {
    Step::Say { text, times: 1, apart: None }
}

fn show(octets: &[u8]) -> String {
    head(octets).escape_ascii().to_string()
}
