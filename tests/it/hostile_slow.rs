//! Peers that are slow, and peers that only drip, on either side (rule R18): slow and honest lives, a drip ends in time.
//!
//! The times of the configuration are seconds here where they are minutes in life; all that is asked of a peer is the same:
//! a line, or 16 KiB of what is longer, in each `timeouts.progress`.

use crate::harness::{AddAccount, Bridge, CrmSettings, Lab, PATIENCE, Provider, Visit, Wire, until};
use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    ops::RangeInclusive,
    thread,
    time::{Duration, Instant},
};

const ALICE: &str = "alice@lab.test";
const TIMES: &str = "[timeouts]\nhandshake = \"1s\"\nbefore-login = \"3s\"\nprogress = \"2s\"\nlong-command = \"5s\"\n\
                     end-of-data = \"5s\"\n";
const PROGRESS: Duration = Duration::from_secs(2);
const LONG_COMMAND: Duration = Duration::from_secs(5);
const END_OF_DATA: Duration = LONG_COMMAND;
/// What the last words get towards a client that does not read, or goes on to send.
const FAREWELL: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(1);
const BEFORE_LOGIN: Duration = Duration::from_secs(3);
/// Browsers at once, and what the form of one may take.
const CONSOLE_PLACES: usize = 32;
const FORM: Duration = Duration::from_secs(10);
/// Between two pieces.
const BEAT: Duration = Duration::from_millis(100);
/// What is slow: 20 KiB a second, where 8 are asked for; more than twice as long as what is waited for one octet.
const SLOW: usize = 2 * 1024;
const SLOW_OCTETS: usize = 50 * SLOW;
/// A machine that is busy takes longer, never shorter.
const LATE: Duration = Duration::from_secs(3);

struct House {
    bridge: Bridge,
    crm: CrmSettings,
    _providers: [Provider; 2],
    _lab: Lab,
}

impl House {
    fn start(
        imap: impl Fn(&mut Visit, &str, &str) -> Option<bool> + Send + Sync + 'static,
        smtp: impl Fn(&mut Visit) -> Option<()> + Send + Sync + 'static,
    ) -> Option<Self> {
        let lab = Lab::needing(&[])?;
        let imap = Provider::imap(Some(&lab.certificates.good), imap);
        let smtp = Provider::start(Some(&lab.certificates.good), move |visit| {
            visit.say("220 double ESMTP")?;
            smtp(visit)
        });
        let mut bridge = Bridge::configured(&lab, TIMES);
        let crm = bridge.add_account(&AddAccount::unchecked(&lab, &imap, &smtp, ALICE));
        bridge.serve();
        Some(Self { bridge, crm, _providers: [imap, smtp], _lab: lab })
    }

    fn select(&self) -> Wire {
        let mut wire = self.bridge.sign_in(&self.crm);
        wire.imap_ok("SELECT INBOX");
        wire
    }

    fn data(&self) -> Wire {
        let mut wire = self.bridge.sign_in_smtp(&self.crm);
        wire.smtp("MAIL FROM:<alice@lab.test>", 250);
        wire.smtp("RCPT TO:<bob@lab.test>", 250);
        wire.smtp("DATA", 354);
        wire
    }
}

/// Runs them side by side, each with its name.
fn all(cases: &[(&str, &(dyn Fn() + Sync))]) {
    thread::scope(|scope| {
        for (name, case) in cases {
            let named = thread::Builder::new().name((*name).to_owned());
            named.spawn_scoped(scope, case).expect("a thread");
        }
    });
}

/// Says how long it took, which must lie between these.
fn took(what: &str, began: Instant, due: Duration) {
    let took = began.elapsed();
    let _ = writeln!(std::io::stderr(), "{what}: {took:?}");
    let expected: RangeInclusive<Duration> = due - BEAT..=due + LATE;
    assert!(expected.contains(&took), "{what}: {took:?}, expected {expected:?}");
}

/// Sends piece after piece until the other side says something or closes; that must be when it is due.
fn drips(what: &str, mut wire: Wire, piece: &[u8], due: Duration) -> String {
    let began = Instant::now();
    while wire.is_silent() && began.elapsed() < PATIENCE {
        wire.try_send(piece);
        thread::sleep(BEAT);
    }
    took(what, began, due);
    String::from_utf8_lossy(&wire.rest()).into_owned()
}

/// Octets of lines, in this many pieces with a pause behind each.
fn slowly(mut send: impl FnMut(&[u8]) -> Option<()>) -> Option<()> {
    let piece: Vec<u8> = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n".repeat(SLOW / 64);
    for _ in 0..SLOW_OCTETS / SLOW {
        send(&piece)?;
        thread::sleep(BEAT);
    }
    Some(())
}

/// The size that an APPEND announces, and whether it waits for `+`.
fn announced(command: &str) -> Option<(usize, bool)> {
    let (_, size) = command.strip_suffix('}')?.rsplit_once('{')?;
    Some((size.trim_end_matches('+').parse().ok()?, !size.ends_with('+')))
}

/// Takes a message, in pieces, with a pause before each.
fn take(visit: &mut Visit, tag: &str, command: &str, piece: usize, pause: Duration) -> Option<bool> {
    let (mut left, waits) = announced(command)?;
    if waits {
        visit.say("+ go on")?;
    }
    while left > 0 {
        thread::sleep(pause);
        let now = left.min(piece);
        visit.octets(now)?;
        left -= now;
    }
    visit.line()?;
    visit.say(&format!("{tag} OK stored"))?;
    Some(true)
}

#[test]
fn r18_a_client_may_be_slow_and_may_not_drip() {
    let imap = |visit: &mut Visit, tag: &str, command: &str| match command.starts_with("APPEND") {
        true => take(visit, tag, command, 1024, Duration::ZERO),
        false => Some(false),
    };
    let Some(house) = House::start(imap, Visit::smtp) else { return };
    let append = || {
        let mut wire = house.bridge.sign_in(&house.crm);
        wire.line(&format!("a APPEND Sent {{{SLOW_OCTETS}}}"));
        wire.expect("+");
        wire
    };
    all(&[
        ("a slow APPEND", &|| {
            let (mut wire, began) = (append(), Instant::now());
            slowly(|piece| wire.try_send(piece).then_some(())).expect("all is taken");
            wire.line("");
            assert!(wire.answer("a").is_ok());
            assert!(began.elapsed() > 2 * PROGRESS);
        }),
        ("a slow DATA", &|| {
            let (mut wire, began) = (house.data(), Instant::now());
            slowly(|piece| wire.try_send(piece).then_some(())).expect("all is taken");
            wire.smtp(".", 250);
            assert!(began.elapsed() > 2 * PROGRESS);
        }),
        ("a command that drips", &|| {
            let mut wire = house.select();
            wire.send(b"a SEARCH TEXT ");
            let said = drips("a command that drips", wire, b"x", PROGRESS);
            assert!(said.starts_with("* BYE No command in time"), "{said}");
        }),
        ("a literal that drips", &|| {
            drips("a literal that drips", append(), b"x", PROGRESS);
        }),
        ("DATA that drips, a line at a time", &|| {
            let said = drips("DATA that drips, a line at a time", house.data(), b"x\r\n", PROGRESS);
            assert!(said.starts_with("421 4.7.0 No command in time"), "{said}");
        }),
        ("a client between two commands", &|| {
            let mut wire = house.select();
            thread::sleep(2 * PROGRESS);
            wire.imap_ok("NOOP");
        }),
    ]);
}

#[test]
fn r18_a_provider_may_be_slow_and_may_not_drip() {
    let drip = |visit: &mut Visit| {
        for _ in 0..200 {
            visit.send(b"1")?;
            thread::sleep(BEAT);
        }
        Some(())
    };
    let imap = move |visit: &mut Visit, tag: &str, command: &str| {
        match command {
            "FETCH 1 BODY.PEEK[]" => {
                visit.say(&format!("* 1 FETCH (BODY[] {{{SLOW_OCTETS}}}"))?;
                slowly(|piece| visit.send(piece))?;
                visit.say(")")?;
            }
            "FETCH 2 BODY.PEEK[]" => {
                visit.say(&format!("* 2 FETCH (BODY[] {{{SLOW_OCTETS}}}"))?;
                drip(visit)?;
            }
            "FETCH 3 FLAGS" => {
                visit.send(b"* 3 FETCH (FLAGS (")?;
                drip(visit)?;
            }
            "SEARCH ALL" => {
                visit.send(b"* SEARCH")?;
                for _ in 0..SLOW_OCTETS / SLOW {
                    visit.send(" 123".repeat(SLOW / 4).as_bytes())?;
                    thread::sleep(BEAT);
                }
                visit.say("")?;
            }
            "SEARCH UNSEEN" => {
                visit.send(b"* SEARCH ")?;
                drip(visit)?;
            }
            _ => return Some(false),
        }
        visit.say(&format!("{tag} OK done"))?;
        Some(true)
    };
    let smtp = move |visit: &mut Visit| {
        let line = visit.line()?;
        match line.split(' ').next() {
            Some("EHLO") => visit.say("250-double\r\n250 AUTH PLAIN LOGIN")?,
            Some("AUTH") => visit.say("235 2.7.0 Signed in")?,
            // Else the lane would be given up before the message begins.
            Some("RSET") => visit.say("250 2.0.0 Ok")?,
            _ => {
                visit.send(b"250 2.0.0 ")?;
                drip(visit)?;
            }
        }
        Some(())
    };
    let Some(house) = House::start(imap, move |visit| {
        loop {
            smtp(visit)?
        }
    }) else {
        return;
    };
    let ends = |command: &str| {
        let mut wire = house.select();
        wire.line(&format!("a {command}"));
        let began = Instant::now();
        let said = String::from_utf8_lossy(&wire.rest()).into_owned();
        took(&format!("{command}, dripping"), began, PROGRESS);
        said
    };
    let lives = |command: &str| {
        let (mut wire, began) = (house.select(), Instant::now());
        let answer = wire.imap_ok(command);
        assert!(answer.text().len() > SLOW_OCTETS && began.elapsed() > 2 * PROGRESS, "{command}");
    };
    all(&[
        ("a slow literal", &|| lives("FETCH 1 BODY.PEEK[]")),
        ("a slow line", &|| lives("SEARCH ALL")),
        ("a literal that drips", &|| {
            let said = ends("FETCH 2 BODY.PEEK[]");
            assert!(!said.contains("BYE") && !said.contains("a NO"), "half an answer is completed: {said}");
        }),
        ("a line that drips", &|| {
            let said = ends("FETCH 3 FLAGS");
            assert!(said.starts_with("a NO [UNAVAILABLE]") || said.starts_with("* BYE [UNAVAILABLE]"), "{said}");
        }),
        ("an answer of a long command that drips", &|| drop(ends("SEARCH UNSEEN"))),
        ("a reply that drips", &|| {
            let mut wire = house.bridge.sign_in_smtp(&house.crm);
            wire.line("MAIL FROM:<alice@lab.test>");
            let began = Instant::now();
            let said = String::from_utf8_lossy(&wire.rest()).into_owned();
            took("a reply that drips", began, PROGRESS);
            assert!(said.starts_with("421 4.4.2 ") || said.starts_with("451 4.4.1 "), "{said}");
        }),
    ]);
    // And the account is as good as before.
    house.select().imap_ok("NOOP");
}

#[test]
fn r18_who_must_think_has_more_time_and_not_for_ever() {
    let think = Duration::from_secs(3);
    let imap = move |visit: &mut Visit, tag: &str, command: &str| match command {
        "SEARCH TEXT soon" => {
            thread::sleep(think);
            visit.say(&format!("* SEARCH 1\r\n{tag} OK done"))?;
            Some(true)
        }
        // Whatever comes, nothing is said.
        "SEARCH TEXT never" | "STORE 1 FLAGS ()" => loop {
            visit.line()?;
        },
        _ => Some(false),
    };
    let smtp = move |visit: &mut Visit| loop {
        let line = visit.line()?;
        match line.split(' ').next() {
            Some("EHLO") => visit.say("250-double\r\n250 AUTH PLAIN LOGIN")?,
            Some("AUTH") => visit.say("235 2.7.0 Signed in")?,
            Some("DATA") => {
                visit.say("354 go")?;
                let soon = visit.line()? == "soon";
                while visit.line()? != "." {}
                thread::sleep(think);
                if !soon {
                    visit.line()?;
                }
                visit.say("250 2.0.0 Taken")?;
            }
            _ => visit.say("250 2.0.0 Ok")?,
        }
    };
    let Some(house) = House::start(imap, smtp) else { return };
    let ends = |command: &str, due: Duration| {
        let mut wire = house.select();
        wire.line(&format!("a {command}"));
        let began = Instant::now();
        let said = String::from_utf8_lossy(&wire.rest()).into_owned();
        took(&format!("{command}, unanswered"), began, due);
        assert!(said.contains("[UNAVAILABLE]"), "{said}");
    };
    all(&[
        ("a search", &|| drop(house.select().imap_ok("SEARCH TEXT soon"))),
        ("a search for ever", &|| ends("SEARCH TEXT never", LONG_COMMAND)),
        ("a command that needs no thought", &|| ends("STORE 1 FLAGS ()", PROGRESS)),
        ("a message", &|| {
            let mut wire = house.data();
            wire.line("soon");
            wire.smtp(".", 250);
        }),
        ("a message for ever", &|| {
            let mut wire = house.data();
            wire.line("never\r\n.");
            let began = Instant::now();
            let (code, words) = wire.reply();
            took("the end of a message, unanswered", began, END_OF_DATA);
            assert!(code / 100 == 4, "{code} {words}");
        }),
    ]);
}

#[test]
fn r18_who_takes_what_it_is_given_may_be_slow_and_may_not_drip() {
    // Above what the kernel takes on the way.
    const MANY: usize = 24_000_000;
    const PIECE: usize = 128 * 1024;
    const PAUSE: Duration = Duration::from_millis(25);
    let imap = |visit: &mut Visit, tag: &str, command: &str| match command {
        "FETCH 1 BODY.PEEK[]" => {
            visit.say(&format!("* 1 FETCH (BODY[] {{{MANY}}}"))?;
            let block = vec![b'x'; 1_000_000];
            for _ in 0..MANY / block.len() {
                visit.send(&block)?;
            }
            visit.say(&format!(")\r\n{tag} OK done"))?;
            Some(true)
        }
        _ if command.starts_with("APPEND INBOX.Sent") => take(visit, tag, command, PIECE, PAUSE),
        _ if command.starts_with("APPEND") => take(visit, tag, command, 1, BEAT),
        _ => Some(false),
    };
    let Some(house) = House::start(imap, Visit::smtp) else { return };
    // What is appended to Sent goes to the provider.
    assert!(house.bridge.cli(&["account", "set", ALICE, "--sent-copy", "never"], b"").status.success());
    let append = |mailbox: &str| {
        let mut wire = house.bridge.sign_in(&house.crm);
        wire.line(&format!("a APPEND {mailbox} {{{MANY}}}"));
        wire.expect("+");
        wire
    };
    let fetch = || {
        let mut wire = house.select();
        wire.line("a FETCH 1 BODY.PEEK[]");
        wire.expect("* 1 FETCH");
        wire
    };
    let block = vec![b'x'; 1_000_000];
    all(&[
        ("a client that reads slowly", &|| {
            let (mut wire, began) = (fetch(), Instant::now());
            for _ in 0..MANY / PIECE {
                wire.swallow(PIECE as u64);
                thread::sleep(PAUSE);
            }
            wire.swallow((MANY % PIECE) as u64);
            assert_eq!(wire.next(), ")");
            assert!(wire.answer("a").is_ok());
            assert!(began.elapsed() > 2 * PROGRESS);
        }),
        ("a client that reads an octet now and then", &|| {
            let (mut wire, began) = (fetch(), Instant::now());
            let ended = until(PATIENCE, || {
                wire.swallow(1);
                house.bridge.log().contains("the client misbehaved: too slow").then_some(())
            });
            assert!(ended.is_some(), "{}", house.bridge.log());
            took("a client that reads an octet now and then", began, PROGRESS + FAREWELL);
        }),
        ("a provider that reads slowly", &|| {
            let (mut wire, began) = (append("Sent"), Instant::now());
            for _ in 0..MANY / block.len() {
                wire.send(&block);
            }
            wire.line("");
            assert!(wire.answer("a").is_ok());
            assert!(began.elapsed() > 2 * PROGRESS);
        }),
        ("a provider that reads an octet now and then", &|| {
            let (mut wire, began) = (append("INBOX"), Instant::now());
            while wire.try_send(&block) && began.elapsed() < PATIENCE {}
            took("a provider that reads an octet now and then", began, PROGRESS + FAREWELL);
        }),
    ]);
}

#[test]
fn r18_nobody_waits_at_the_door_for_longer_than_a_handshake() {
    let Some(lab) = Lab::needing(&[]) else { return };
    // Reads, and says nothing: as one that is asked for TLS, and as one that has it.
    let silent = |visit: &mut Visit| loop {
        visit.some().filter(|octets| !octets.is_empty())?;
    };
    let drip = |visit: &mut Visit| {
        for octet in b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready" {
            visit.send(&[*octet])?;
            thread::sleep(BEAT);
        }
        Some(())
    };
    let no_tls = Provider::start(None, silent);
    let no_greeting = Provider::start(Some(&lab.certificates.good), silent);
    let half_a_greeting = Provider::start(Some(&lab.certificates.good), drip);
    let mut bridge = Bridge::configured(&lab, TIMES);
    let add = |provider: &Provider, name: &str| {
        let at = [provider.port, provider.port];
        bridge.add_account(&AddAccount::at(&lab, at, &format!("{name}@lab.test")))
    };
    let crms = [
        ("no TLS", add(&no_tls, "one")),
        ("no greeting", add(&no_greeting, "two")),
        ("half a greeting", add(&half_a_greeting, "three")),
    ];
    bridge.serve();
    for (what, crm) in &crms {
        let mut wire = Wire::plain(bridge.imap);
        wire.expect("* OK");
        let began = Instant::now();
        let said = wire.imap(&crm.imap_login()).tagged;
        took(&format!("IMAP, {what}"), began, HANDSHAKE);
        assert!(said.starts_with("NO [UNAVAILABLE]"), "{said}");
        let mut wire = Wire::plain(bridge.smtp);
        wire.expect("220");
        wire.smtp("EHLO crm.test", 250);
        let began = Instant::now();
        wire.smtp(&crm.smtp_auth(), 454);
        took(&format!("SMTP, {what}"), began, HANDSHAKE);
    }
    // A client, too.
    let mut client = TcpStream::connect(("127.0.0.1", bridge.imaps)).expect("connected");
    client.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let began = Instant::now();
    assert!(matches!(std::io::Read::read(&mut client, &mut [0]), Ok(0)));
    took("a client without a ClientHello", began, HANDSHAKE);
}

#[test]
fn r18_before_login_there_is_one_time_for_all() {
    let Some(house) = House::start(|_, _, _| Some(false), Visit::smtp) else { return };
    let greeted = |port: u16| {
        let mut wire = Wire::plain(port);
        wire.next();
        wire
    };
    all(&[
        ("IMAP", &|| {
            let said = drips("IMAP before login", greeted(house.bridge.imap), b"x", BEFORE_LOGIN);
            assert!(said.starts_with("* BYE No command in time"), "{said}");
        }),
        ("SMTP", &|| {
            let said = drips("SMTP before login", greeted(house.bridge.smtp), b"x", BEFORE_LOGIN);
            assert!(said.starts_with("421 4.7.0 No command in time"), "{said}");
        }),
        ("whole commands", &|| {
            let (mut wire, began) = (greeted(house.bridge.imap), Instant::now());
            while began.elapsed() < PATIENCE {
                wire.line("a NOOP");
                if !wire.next().starts_with("a OK") {
                    break;
                }
                thread::sleep(2 * BEAT);
            }
            took("whole commands before login", began, BEFORE_LOGIN);
        }),
    ]);
}

#[test]
fn r18_browsers_that_send_their_form_slowly_give_their_places_back() {
    let Some(house) = House::start(|_, _, _| Some(false), |_| None) else { return };
    let console = ("127.0.0.1", house.bridge.console);
    let form = "POST /sign-in/x/answer HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\n\
                Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\naddress=";
    let mut slow: Vec<_> = (0..CONSOLE_PLACES)
        .map(|_| {
            let mut stream = TcpStream::connect(console).expect("it listens");
            stream.write_all(form.as_bytes()).expect("sent");
            stream
        })
        .collect();
    let answered = || {
        let mut stream = TcpStream::connect(console).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut start = [0; 12];
        stream.read_exact(&mut start).is_ok_and(|()| &start == b"HTTP/1.1 200")
    };
    let full = until(PATIENCE, || (!answered()).then_some(())).is_some();
    assert!(full, "they hold all places");
    let begun = Instant::now();
    // An octet now and then is no form.
    let free = until(FORM + LATE + PATIENCE, || {
        slow.iter_mut().for_each(|stream| drop(stream.write_all(b"x")));
        thread::sleep(BEAT);
        answered().then_some(())
    });
    assert!(free.is_some() && begun.elapsed() < FORM + LATE, "{:?}", begun.elapsed());
}
