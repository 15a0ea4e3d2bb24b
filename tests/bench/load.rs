//! What a CRM waits for, with the bridge and without it: `cargo bench --bench load [ROUNDS]`.
//!
//! The lab of the tests (Dovecot, Exim) is the provider, here and, behind a line that takes 20 ms each way, far away. Each
//! figure is measured straight at the provider over TLS and through the bridge by turns, and what counts is the ratio of
//! the two within a round: figures of another day or machine say little. A table of the medians goes to standard output.
//! Nothing here asserts more than that the provider's answers are OK.

#![expect(clippy::expect_used, reason = "a measurement that cannot be set up has nothing to say")]
#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "it measures time, and prints it")]

#[allow(dead_code, unused_imports, reason = "made for the tests; this takes a part of it")]
#[path = "../it/harness/mod.rs"]
mod harness;
#[allow(dead_code, reason = "made for the tests; the harness names a part of it")]
#[path = "../it/dialogue/words.rs"]
mod words;
mod dialogue {
    pub(crate) use crate::words;
}

use harness::{AddAccount, Bridge, CrmSettings, Dovecot, Exim, Lab, Layout, Program, Wire, free_port};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

const ALICE: &str = "alice@ovh.test";
const PASSWORD: &str = "hunter2";
/// A large message.
const LARGE: usize = 10_000_000;
/// From one end of the line to the other.
const FAR: Duration = Duration::from_millis(20);
/// How long a rate is measured.
const PHASE: Duration = Duration::from_secs(2);
const IDLE: usize = 500;

/// As quick a provider as Dovecot can be, so that a login costs what it must: processes that wait and are used again.
const QUICK: &str = "mail_max_userip_connections = 2000
mail_fsync = never
default_process_limit = 2000
default_client_limit = 4000
auth_cache_size = 1M
service imap-login {
  service_count = 0
  process_min_avail = 2
}
service imap {
  service_count = 1000
  process_min_avail = 4
}
";

/// Where a CRM connects, and what it says.
struct Target {
    imap: u16,
    far: u16,
    smtp: u16,
    /// Before the names of mailboxes: the bridge shows its own.
    prefix: &'static str,
    /// TLS with this authority; None: in clear, at the bridge.
    ca: Option<PathBuf>,
    login: String,
    auth: String,
}

impl Target {
    fn connect(&self, port: u16) -> Wire {
        self.ca.as_ref().map_or_else(|| Wire::plain(port), |ca| Wire::tls(port, ca, "localhost"))
    }

    fn session(&self, port: u16) -> Wire {
        let mut wire = self.connect(port);
        wire.expect("* OK");
        wire.imap_ok(&self.login);
        wire
    }

    fn login(&self) {
        let mut wire = self.session(self.imap);
        wire.imap_ok("SELECT INBOX");
        wire.imap_ok("LOGOUT");
    }

    /// What a CRM does for a page.
    fn page(&self, port: u16) -> Duration {
        let began = Instant::now();
        let mut wire = self.session(port);
        wire.imap_ok("SELECT INBOX");
        wire.imap_ok(&format!("STATUS {}Sent (MESSAGES UNSEEN UIDNEXT)", self.prefix));
        wire.imap_ok("UID FETCH 1:20 (UID FLAGS BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE)])");
        wire.imap_ok("LOGOUT");
        began.elapsed()
    }

    fn send(&self) {
        let mut wire = self.connect(self.smtp);
        wire.reply();
        wire.smtp("EHLO crm.test", 250);
        wire.smtp(&self.auth, 235);
        wire.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
        wire.smtp(&format!("RCPT TO:<{ALICE}>"), 250);
        wire.smtp("DATA", 354);
        wire.send(format!("From: {ALICE}\r\nTo: {ALICE}\r\nSubject: page\r\n\r\n").as_bytes());
        wire.send_lines(10_000);
        wire.smtp("\r\n.", 250);
        wire.smtp("QUIT", 221);
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Two digits at least.
fn digits(value: f64) -> String {
    if value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

/// How often a second, by so many at once.
fn rate(at_once: usize, deed: impl Fn() + Sync) -> f64 {
    let began = Instant::now();
    let done: usize = thread::scope(|scope| {
        let count = || {
            let mut done = 0;
            while began.elapsed() < PHASE {
                deed();
                done += 1;
            }
            done
        };
        let all: Vec<_> = (0..at_once).map(|_| scope.spawn(count)).collect();
        all.into_iter().map(|one| one.join().expect("a worker")).sum()
    });
    done as f64 / began.elapsed().as_secs_f64()
}

/// The median of so many times, in milliseconds.
fn each(times: usize, mut deed: impl FnMut() -> Duration) -> f64 {
    median((0..times).map(|_| deed().as_secs_f64() * 1000.0).collect())
}

fn timed(deed: impl FnOnce()) -> Duration {
    let began = Instant::now();
    deed();
    began.elapsed()
}

/// MB a second of messages that are fetched.
fn download(target: &Target) -> f64 {
    let mut wire = target.session(target.imap);
    wire.imap_ok(&format!("SELECT {}Large", target.prefix));
    let fetched = each(8, || {
        timed(|| {
            let tag = wire.next_tag();
            wire.line(&format!("{tag} FETCH 1 BODY.PEEK[]"));
            let announced = wire.next();
            let size = announced.rsplit_once('{').and_then(|(_, size)| size.trim_end_matches('}').parse().ok());
            wire.swallow(size.expect("a literal"));
            wire.expect(")");
            assert!(wire.answer(&tag).is_ok(), "a FETCH failed");
        })
    });
    LARGE as f64 / 1000.0 / fetched
}

/// The same of messages that are appended.
fn upload(target: &Target) -> f64 {
    let mut wire = target.session(target.imap);
    let appended = each(6, || {
        timed(|| {
            let tag = wire.next_tag();
            wire.line(&format!("{tag} APPEND {}Heap {{{LARGE}}}", target.prefix));
            wire.expect("+");
            wire.send_lines(LARGE);
            wire.line("");
            assert!(wire.answer(&tag).is_ok(), "an APPEND failed");
        })
    });
    LARGE as f64 / 1000.0 / appended
}

fn noop(target: &Target) -> f64 {
    let mut wire = target.session(target.imap);
    wire.imap_ok("SELECT INBOX");
    each(3000, || timed(|| drop(wire.imap_ok("NOOP")))) * 1000.0
}

/// A figure by its name and unit, whether more is better, and how it is taken.
type Figure = (&'static str, &'static str, fn(&Target) -> f64);

const FIGURES: [Figure; 9] = [
    ("login, one at a time", "a second", |target| rate(1, || target.login())),
    ("login, 8 at once", "a second", |target| rate(8, || target.login())),
    ("NOOP", "µs", noop),
    ("download of 10 MB", "MB/s", download),
    ("APPEND of 10 MB", "MB/s", upload),
    ("page, near", "ms", |target| each(200, || target.page(target.imap))),
    ("page, far (40 ms)", "ms", |target| each(20, || target.page(target.far))),
    ("message of 10 kB", "a second", |target| rate(1, || target.send())),
    ("messages, 4 at once", "a second", |target| rate(4, || target.send())),
];

/// A line to a port of this machine, by which each octet takes its time.
fn line_to(provider: u16) -> u16 {
    let port = free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
    thread::spawn(move || {
        for ours in listener.incoming().flatten() {
            thread::spawn(move || {
                // A handshake of TCP is a way there and back.
                thread::sleep(FAR * 2);
                let Ok(theirs) = TcpStream::connect(("127.0.0.1", provider)) else { return };
                for end in [&ours, &theirs] {
                    end.set_nodelay(true).expect("a socket");
                }
                let copy = |end: &TcpStream| end.try_clone().expect("a descriptor");
                late(copy(&ours), copy(&theirs));
                late(theirs, ours);
            });
        }
    });
    port
}

fn late(mut from: TcpStream, mut to: TcpStream) {
    let (send, receive) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut chunk = vec![0; 65_536];
        while let Ok(read) = from.read(&mut chunk) {
            if read == 0 || send.send((Instant::now() + FAR, chunk[..read].to_vec())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (due, octets) in receive {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&octets).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

/// What is kept of the processor's time and of memory.
fn costs(bridge: &Bridge, target: &Target) {
    let before = bridge.ticks();
    let began = Instant::now();
    let logins = rate(8, || target.login()) * began.elapsed().as_secs_f64();
    println!("| CPU seconds per 1,000 logins | | {:.2} | |", (bridge.ticks() - before) as f64 * 10.0 / logins);
    let pss = || proportional(bridge.pid());
    let empty = pss();
    let idle: Vec<Wire> = (0..IDLE)
        .map(|_| {
            let mut wire = target.session(target.imap);
            wire.imap_ok("SELECT INBOX");
            let tag = wire.next_tag();
            wire.line(&format!("{tag} IDLE"));
            wire.expect("+");
            wire
        })
        .collect();
    // Sessions give their buffers back a while after the last word.
    thread::sleep(Duration::from_secs(8));
    println!(
        "| memory of a session in IDLE, its TLS to the provider included | | {:.0} kB | |",
        (pss() - empty) / idle.len() as f64
    );
}

/// PSS of a process, in kB: proc(5), `smaps_rollup`.
fn proportional(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("Linux tells of its processes");
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).expect("a sum");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn lay_out(dovecot: &Dovecot) {
    dovecot.add_user(ALICE, PASSWORD);
    dovecot.fill(ALICE, "INBOX", 200);
    let mut wire = dovecot.sign_in(ALICE);
    for mailbox in ["Large", "Heap", "Old"] {
        wire.imap_ok(&format!("CREATE INBOX.{mailbox}"));
    }
    let tag = wire.next_tag();
    wire.line(&format!("{tag} APPEND INBOX.Large {{{LARGE}}}"));
    wire.expect("+");
    wire.send_lines(LARGE);
    wire.line("");
    assert!(wire.answer(&tag).is_ok(), "a large message is laid in");
}

fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores, {}", model.trim_start_matches(['\t', ' ', ':']))
}

fn main() {
    let rounds: usize = std::env::args().find_map(|word| word.parse().ok()).unwrap_or(3);
    let Some(lab) = Lab::needing(&[Program::Dovecot, Program::Exim]) else { return };
    let dovecot = Dovecot::start(&lab, Layout::Ovh, &lab.certificates.good, QUICK);
    lay_out(&dovecot);
    let exim = Exim::submission(&lab, &dovecot);
    let far = line_to(dovecot.imaps);
    let serve = |imap: u16, lanes: usize| {
        let limits = format!("[limits]\nlanes-per-account = {lanes}\nsessions-per-account = 2000\n");
        let mut bridge = Bridge::configured(&lab, &limits);
        bridge.is_quiet();
        let account = AddAccount::of(&lab, &dovecot, &exim, ALICE).uncopied();
        let crm = bridge.add_account(&AddAccount { imap: format!("localhost:{imap}"), ..account });
        // A name that is rewritten, as for most CRMs.
        assert!(bridge.cli(&["folder", "map", ALICE, "Former", "INBOX.Old"], b"").status.success(), "a name is mapped");
        bridge.serve();
        (bridge, crm)
    };
    let ((near, crm), (distant, of_distant), (idle, of_idle)) =
        (serve(dovecot.imaps, 5), serve(far, 5), serve(dovecot.imaps, 1000));
    let through = |bridge: &Bridge, far: &Bridge, crm: &CrmSettings| Target {
        imap: bridge.imap,
        far: far.imap,
        smtp: bridge.smtp,
        prefix: "",
        ca: None,
        login: crm.imap_login(),
        auth: crm.smtp_auth(),
    };
    let direct = CrmSettings { login: ALICE.to_owned(), password: PASSWORD.to_owned() };
    let direct = Target {
        imap: dovecot.imaps,
        far,
        smtp: exim.submissions,
        prefix: "INBOX.",
        ca: Some(lab.certificates.ca.clone()),
        login: direct.imap_login(),
        auth: direct.smtp_auth(),
    };
    let bridged = through(&near, &distant, &crm);
    let far_bridged = Target { login: of_distant.imap_login(), ..through(&distant, &distant, &of_distant) };
    println!("{} rounds; {}\n\n| figure | direct | bridge | ratio |\n|---|---:|---:|---:|", rounds, machine());
    for (name, unit, figure) in FIGURES {
        let target = if name.contains("far") { &far_bridged } else { &bridged };
        let taken: Vec<(f64, f64)> = (0..rounds).map(|_| (figure(&direct), figure(target))).collect();
        let of = |part: fn(&(f64, f64)) -> f64| median(taken.iter().map(part).collect());
        let (without, with, ratio) = (of(|both| both.0), of(|both| both.1), of(|both| both.1 / both.0));
        println!("| {name} | {} {unit} | {} {unit} | {ratio:.2}× |", digits(without), digits(with));
    }
    costs(&idle, &through(&idle, &distant, &of_idle));
}
