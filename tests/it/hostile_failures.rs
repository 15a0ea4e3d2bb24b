//! The failure table (design: failures), once as a golden file, and each of its cells by a fault that a client hears of.
//!
//! Our own trouble, and the provider's refusal of us, are transient towards the CRM: only a wrong login of the bridge
//! itself looks like one. What is said is one sentence, and holds no secret, no name of the provider's and nobody else's
//! address.

use crate::harness::{AddAccount, Bridge, CrmSettings, IMAP_CAPABILITIES, Lab, Provider, Visit, Wire, words};
use passerelle::failure::{Cap, Failure, LostTransaction, Misbehaviour, Rule, SmtpMoment, Unreachable};
use std::{
    cell::RefCell,
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Arc, Mutex},
};

const ALICE: &str = "alice@ovh.test";
const CAROL: &str = "carol@ovh.test";
/// The doubles' own name of the CRM's `Sent`.
const REMOTE: &str = "INBOX.Sent";
const GOLDEN: &str = "tests/golden/failures.txt";

/// Where a client hears of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    /// In a tagged answer.
    Imap,
    /// Unasked, before the connection closes.
    ImapBye,
    Auth,
    Command,
    /// In answer to what waited for a lane that is gone.
    Midway,
    Closing,
}

/// Where this failure can be heard. Of no wildcard: whoever adds a failure must say where it is.
fn cells(failure: &Failure) -> &'static [Cell] {
    use Cell::{Auth, Closing, Command, Imap, ImapBye, Midway};
    match failure {
        Failure::Busy(Cap::Connections | Cap::Logins) => &[ImapBye, Closing],
        Failure::Busy(Cap::Lanes | Cap::Sessions) => &[Imap, Auth],
        Failure::ClientMisbehaved(misbehaviour) => match misbehaviour {
            Misbehaviour::BareLineEnd
            | Misbehaviour::Http
            | Misbehaviour::LineTooLong
            | Misbehaviour::TooManyBadCommands
            | Misbehaviour::TooSlow => &[ImapBye, Closing],
            Misbehaviour::LiteralTooLarge => &[Imap, ImapBye],
            Misbehaviour::Nul => &[Closing],
            Misbehaviour::Syntax => &[Imap, Command],
            Misbehaviour::WrongState => &[Imap],
            // Told as Syntax is, or a provider's alone.
            Misbehaviour::LiteralSize
            | Misbehaviour::StarttlsInjection
            | Misbehaviour::TooManyLines
            | Misbehaviour::TooManyMailboxes
            | Misbehaviour::Unasked
            | Misbehaviour::Validity => &[],
        },
        Failure::Denied(Rule::Receiving) => &[Imap],
        Failure::Denied(Rule::Sender) => &[Command],
        Failure::Denied(Rule::Sending) => &[Auth],
        // With shares, in the issue on sharing; and with the spool, in that on sending.
        Failure::Denied(Rule::Rights) | Failure::OurDiskFull => &[],
        Failure::Internal(_) => &[Imap, Auth],
        Failure::ConsentNeeded | Failure::LoginRefused | Failure::SignInRefused => &[Imap, Auth],
        Failure::ProviderMisbehaved(_) => &[Imap, ImapBye, Auth, Midway],
        Failure::ProviderUnreachable(_) => &[Imap, ImapBye, Auth, Command, Midway, Closing],
    }
}

/// Each failure that a client can hear of, and where.
fn table() -> Vec<(Failure, &'static [Cell])> {
    let client = Failure::ClientMisbehaved;
    let failures = [
        Failure::Busy(Cap::Connections),
        Failure::Busy(Cap::Lanes),
        Failure::Busy(Cap::Logins),
        Failure::Busy(Cap::Sessions),
        client(Misbehaviour::BareLineEnd),
        client(Misbehaviour::Http),
        client(Misbehaviour::LineTooLong),
        client(Misbehaviour::LiteralTooLarge),
        client(Misbehaviour::Nul),
        client(Misbehaviour::Syntax),
        client(Misbehaviour::TooManyBadCommands),
        client(Misbehaviour::TooSlow),
        client(Misbehaviour::WrongState),
        Failure::ConsentNeeded,
        Failure::Denied(Rule::Receiving),
        Failure::Denied(Rule::Sender),
        Failure::Denied(Rule::Sending),
        Failure::Internal("a place in the code"),
        Failure::LoginRefused,
        Failure::ProviderMisbehaved(Misbehaviour::Syntax),
        Failure::ProviderUnreachable(Unreachable::Refused),
        Failure::SignInRefused,
    ];
    failures.into_iter().map(|failure| (failure.clone(), cells(&failure))).collect()
}

/// Cells that another test provokes, where its provider is.
const ELSEWHERE: [(&str, Cell); 2] = [
    // tokens: a grant that a real authorization server has revoked.
    ("ConsentNeeded", Cell::Imap),
    ("ConsentNeeded", Cell::Auth),
];

/// The disk's column comes with the first thing that is on it for a client: the spool.
const LATER: &[&str] = &["OurDiskFull"];

fn line(failure: &Failure, cell: Cell) -> String {
    let smtp = |moment| {
        let reply = failure.smtp(moment);
        format!("{} {} {}", reply.code, reply.enhanced, reply.text)
    };
    match cell {
        Cell::Imap | Cell::ImapBye => {
            let reply = failure.imap();
            let condition = if cell == Cell::ImapBye { "* BYE" } else { reply.condition };
            let code = reply.code.map(|code| format!("[{code}] ")).unwrap_or_default();
            format!("{condition} {code}{}", reply.text)
        }
        Cell::Auth => smtp(SmtpMoment::Auth),
        Cell::Command => smtp(SmtpMoment::Command),
        Cell::Midway => smtp(SmtpMoment::Midway),
        Cell::Closing => smtp(SmtpMoment::Closing),
    }
}

fn lost_line(lost: LostTransaction) -> String {
    let reply = lost.smtp();
    format!("{} {} {}", reply.code, reply.enhanced, reply.text)
}

/// `SignInRefused`, `Busy(Lanes)`. What is told alike, whatever became of the provider, is one row.
fn name(failure: &Failure) -> String {
    match failure {
        Failure::Internal(_) => "Internal".to_owned(),
        Failure::ProviderMisbehaved(_) => "ProviderMisbehaved".to_owned(),
        Failure::ProviderUnreachable(_) => "ProviderUnreachable".to_owned(),
        failure => format!("{failure:?}"),
    }
}

#[test]
fn the_failure_table_is_as_agreed() {
    let mut text = "# What clients hear of each failure: IMAP by RFC 3501 and 5530, SMTP by RFC 5321, 3463 and 4954.\n\
                    # Where a cell is missing, no client can hear of it there, or hears words of its command.\n"
        .to_owned();
    for (failure, cells) in table() {
        let _ = writeln!(text, "\n{}", name(&failure));
        for cell in cells {
            let _ = writeln!(text, "  {:<8} {}", format!("{cell:?}"), line(&failure, *cell));
        }
    }
    for lost in [LostTransaction::NotSent, LostTransaction::Uncertain] {
        let _ = writeln!(text, "\nLostTransaction::{lost:?}\n  Midway   {}", lost_line(lost));
    }
    for later in LATER {
        let _ = writeln!(text, "\n{later}\n  (heard by nobody before mail is spooled)");
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    let agreed = fs::read_to_string(&golden).unwrap_or_default();
    if agreed != text {
        let now = Path::new(env!("CARGO_TARGET_TMPDIR")).join("failures.txt");
        fs::write(&now, &text).expect("written");
        panic!("the table differs; see: diff {} {}", golden.display(), now.display());
    }
}

#[test]
fn what_is_not_the_crms_fault_is_transient_and_says_what_to_do() {
    for (failure, _) in table() {
        let ours = matches!(
            failure,
            Failure::Busy(Cap::Connections | Cap::Lanes)
                | Failure::ConsentNeeded
                | Failure::Internal(_)
                | Failure::ProviderMisbehaved(_)
                | Failure::ProviderUnreachable(_)
                | Failure::SignInRefused
        );
        let text = failure.imap().text;
        assert!(text.is_ascii() && !text.contains(". ") && !text.ends_with('.'), "one sentence: {text}");
        assert!(text.contains(", "), "why, and what to do or what became of it: {text}");
        if ours {
            let remedies = ["try again", "ask the administrator", "tell its administrator"];
            assert!(remedies.iter().any(|remedy| text.contains(remedy)), "what to do: {text}");
            for moment in [SmtpMoment::Auth, SmtpMoment::Command, SmtpMoment::Closing] {
                assert_eq!(failure.smtp(moment).code / 100, 4, "{failure}");
            }
            assert!(!["AUTHENTICATIONFAILED", "NOPERM"].map(Some).contains(&failure.imap().code), "{failure}");
        }
    }
}

/// How the doubles behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Good,
    /// It refuses our password.
    Refuses,
    /// It accepts the connection, and says nothing.
    Silent,
    /// It greets, and is slower than the CRM's patience from then on.
    Slow,
    /// What it says is no greeting of its protocol.
    Nonsense,
    /// It says that it is closed today.
    Closed,
}

struct House {
    moods: [Arc<Mutex<Mood>>; 2],
    imap: Provider,
    smtp: Provider,
    bridge: Bridge,
    crm: CrmSettings,
    heard: RefCell<BTreeSet<(String, Cell)>>,
    said: RefCell<Vec<String>>,
    _lab: Lab,
}

fn mood(moods: &Mutex<Mood>) -> Mood {
    *moods.lock().expect("no test panicked in here")
}

/// Greets, or does what the mood wants instead: then the visit ends.
fn greet(visit: &mut Visit, mood: Mood, [greeting, closed, nonsense]: [&str; 3]) -> Option<()> {
    match mood {
        Mood::Silent => {
            while !visit.some()?.is_empty() {}
            None
        }
        Mood::Nonsense => {
            visit.say(nonsense)?;
            visit.hang_up()?;
            None
        }
        Mood::Closed => {
            visit.say(closed)?;
            visit.hang_up()?;
            None
        }
        Mood::Good | Mood::Refuses | Mood::Slow => visit.say(greeting),
    }
}

fn imap_double(lab: &Lab, moods: Arc<Mutex<Mood>>) -> Provider {
    Provider::start(Some(&lab.certificates.good), move |visit| {
        let greeting = format!("* OK [CAPABILITY {IMAP_CAPABILITIES}] Double ready");
        greet(visit, mood(&moods), [&greeting, "* BYE closed today", "hello there"])?;
        visit.imap(&|visit, tag, command| {
            if mood(&moods) == Mood::Slow {
                std::thread::sleep(std::time::Duration::from_millis(2500));
            }
            if command.starts_with("AUTHENTICATE") && mood(&moods) == Mood::Refuses {
                visit.say(&format!("{tag} NO [AUTHENTICATIONFAILED] {ALICE} hunter2 is wrong"))?;
                return Some(true);
            }
            let answer = match command {
                "CREATE INBOX.full" | "CREATE \"INBOX.full\"" => "NO [OVERQUOTA] The mailbox is full".to_owned(),
                "STATUS INBOX.Sent (MESSAGES)" | "STATUS \"INBOX.Sent\" (MESSAGES)" => {
                    format!("NO [INUSE] {REMOTE} is locked")
                }
                "FETCH 1 (FLAGS)" => {
                    visit.say("nonsense instead of an answer")?;
                    return Some(true);
                }
                "FETCH 2 (FLAGS)" => {
                    visit.say("* BYE enough")?;
                    visit.hang_up()?;
                    return Some(true);
                }
                _ => return Some(false),
            };
            visit.say(&format!("{tag} {answer}"))?;
            Some(true)
        })
    })
}

fn smtp_double(lab: &Lab, moods: Arc<Mutex<Mood>>) -> Provider {
    Provider::start(Some(&lab.certificates.good), move |visit| {
        greet(visit, mood(&moods), ["220 double", "421 4.3.2 closed today", "* OK IMAP here"])?;
        loop {
            let line = visit.line()?;
            if mood(&moods) == Mood::Slow {
                std::thread::sleep(std::time::Duration::from_millis(2500));
            }
            match line.split(' ').next().unwrap_or_default().to_ascii_uppercase().as_str() {
                "EHLO" => visit.say("250-double\r\n250 AUTH PLAIN")?,
                "AUTH" if mood(&moods) == Mood::Refuses => visit.say("535 5.7.8 hunter2 is wrong")?,
                "AUTH" => visit.say("235 2.7.0 Signed in")?,
                "RCPT" if line.contains("nobody@") => visit.say("550 5.1.1 No such user")?,
                "RCPT" if line.contains("later@") => visit.say("451 4.3.2 Greylisted")?,
                "RCPT" if line.contains("gone@") => return visit.hang_up(),
                "RCPT" if line.contains("odd@") => visit.say("nonsense instead of a reply")?,
                "DATA" => {
                    visit.say("354 go")?;
                    let mut is_lost = false;
                    loop {
                        let line = visit.line()?;
                        is_lost |= line == "Subject: lost";
                        if line == "." {
                            break;
                        }
                    }
                    if is_lost {
                        return visit.hang_up();
                    }
                    visit.say("250 2.0.0 Taken")?;
                }
                "QUIT" => return visit.say("221 2.0.0 Bye"),
                _ => visit.say("250 2.0.0 Ok")?,
            }
        }
    })
}

impl House {
    fn start(more: &str) -> Option<Self> {
        let lab = Lab::needing(&[])?;
        let moods = [(); 2].map(|()| Arc::new(Mutex::new(Mood::Good)));
        let (imap, smtp) = (imap_double(&lab, moods[0].clone()), smtp_double(&lab, moods[1].clone()));
        let mut bridge = Bridge::configured(&lab, more);
        let crm = bridge.add_account(&AddAccount::unchecked(&lab, &imap, &smtp, ALICE));
        bridge.add_account(&AddAccount::unchecked(&lab, &imap, &smtp, CAROL));
        bridge.serve();
        let (heard, said) = (RefCell::default(), RefCell::default());
        Some(Self { moods, imap, smtp, bridge, crm, heard, said, _lab: lab })
    }

    fn are(&self, mood: Mood) {
        for moods in &self.moods {
            *moods.lock().expect("no test panicked in here") = mood;
        }
    }

    /// A client hears exactly what stands in this cell.
    fn hears(&self, failure: &Failure, cell: Cell, told: &str) {
        assert_eq!(told, line(failure, cell), "{failure:?} {cell:?}");
        self.heard.borrow_mut().insert((name(failure), cell));
        self.said.borrow_mut().push(told.to_owned());
    }

    /// Nothing that was said holds what is none of the client's.
    fn holds_no_secret(&self) {
        let said = self.said.borrow();
        assert!(!said.is_empty());
        for said in said.iter() {
            for kept in ["hunter2", &self.crm.password, CAROL, REMOTE, "passerelle", "unwrap"] {
                assert!(!said.contains(kept), "{kept} stands in: {said}");
            }
        }
    }

    fn hears_lost(&self, lost: LostTransaction, told: &str) {
        assert_eq!(told, lost_line(lost));
        self.said.borrow_mut().push(told.to_owned());
    }

    fn imap(&self) -> Wire {
        let mut wire = Wire::plain(self.bridge.imap);
        wire.expect("* OK");
        wire
    }

    fn smtp(&self) -> Wire {
        let mut wire = Wire::plain(self.bridge.smtp);
        wire.expect("220 ");
        wire.smtp("EHLO crm.test", 250);
        wire
    }

    /// Both sign-ins hear of this failure.
    fn sign_ins_hear(&self, failure: &Failure) {
        self.hears(failure, Cell::Imap, &self.imap().imap(&self.crm.imap_login()).tagged);
        let mut smtp = self.smtp();
        smtp.line(&self.crm.smtp_auth());
        self.hears(failure, Cell::Auth, &smtp.next());
    }

    /// Both sides' last words, after these octets.
    fn last_words(&self, failure: &Failure, [imap, smtp]: [&[u8]; 2]) {
        for (mut wire, octets, cell) in [(self.imap(), imap, Cell::ImapBye), (self.smtp(), smtp, Cell::Closing)] {
            wire.try_send(octets);
            let rest = String::from_utf8_lossy(&wire.rest()).into_owned();
            self.hears(failure, cell, rest.lines().last().unwrap_or_default());
        }
    }

    fn set(&self, arguments: &[&str]) {
        let output = self.bridge.cli(&[&["account", "set", ALICE], arguments].concat(), b"");
        assert!(output.status.success(), "{}", words(&output));
    }
}

fn the_provider_fails(house: &mut House) {
    let unreachable = Failure::ProviderUnreachable(Unreachable::TimedOut);
    house.are(Mood::Closed);
    house.sign_ins_hear(&unreachable);
    house.are(Mood::Nonsense);
    house.sign_ins_hear(&Failure::ProviderMisbehaved(Misbehaviour::Syntax));
    house.are(Mood::Refuses);
    house.sign_ins_hear(&Failure::SignInRefused);
    for mood in [Mood::Silent, Mood::Slow] {
        house.are(mood);
        house.sign_ins_hear(&unreachable);
        // It would go on behind the client's back, and the next login wait for it.
        house.imap.stop();
        house.smtp.stop();
        house.sign_ins_hear(&unreachable);
        house.imap.start_again();
        house.smtp.start_again();
    }
    house.are(Mood::Good);

    // In the middle. A provider that talks nonsense is closed, as one that leaves.
    for command in ["FETCH 1 (FLAGS)", "FETCH 2 (FLAGS)"] {
        let mut imap = house.bridge.sign_in(&house.crm);
        imap.imap_ok("SELECT INBOX");
        let tag = imap.next_tag();
        imap.line(&format!("{tag} {command}"));
        let rest = String::from_utf8_lossy(&imap.rest()).into_owned();
        let told = rest.lines().next().unwrap_or_default();
        assert!(told.starts_with(&format!("{tag} NO [UNAVAILABLE] ")), "{command}: {rest}");
        let last = rest.lines().last().unwrap_or_default();
        assert!(last.starts_with("* BYE [UNAVAILABLE] "), "{command}: {rest}");
        house.said.borrow_mut().extend(rest.lines().map(str::to_owned));
        let failure = match command {
            "FETCH 1 (FLAGS)" => &Failure::ProviderMisbehaved(Misbehaviour::Syntax),
            _ => &unreachable,
        };
        house.hears(failure, Cell::ImapBye, last);
    }
    // The lane of a transaction is lost, and there is no other.
    let mut smtp = house.bridge.sign_in_smtp(&house.crm);
    smtp.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
    smtp.line("RCPT TO:<gone@other.test>");
    house.hears(&unreachable, Cell::Midway, &smtp.next());
    smtp.line("RCPT TO:<bob@other.test>");
    house.hears_lost(LostTransaction::NotSent, &smtp.next());
    smtp.smtp("RSET", 250);
    smtp.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
    smtp.line("RCPT TO:<odd@other.test>");
    house.hears(&Failure::ProviderMisbehaved(Misbehaviour::Syntax), Cell::Midway, &smtp.next());
    smtp.smtp("RSET", 250);
    smtp.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
    smtp.smtp("RCPT TO:<bob@other.test>", 250);
    smtp.smtp("DATA", 354);
    smtp.send(b"Subject: lost\r\n\r\n.\r\n");
    house.hears_lost(LostTransaction::Uncertain, &smtp.next());
    house.smtp.stop();
    smtp.line(&format!("MAIL FROM:<{ALICE}>"));
    house.hears(&unreachable, Cell::Command, &smtp.next());
    house.smtp.start_again();
}

fn the_provider_refuses_a_command(house: &House) {
    let mut imap = house.bridge.sign_in(&house.crm);
    assert_eq!(imap.imap("CREATE full").tagged, "NO [OVERQUOTA] The mailbox is full");
    let locked = imap.imap("STATUS Sent (MESSAGES)").tagged;
    assert!(locked.starts_with("NO [INUSE] "), "{locked}");
    house.said.borrow_mut().push(locked);
    let mut smtp = house.bridge.sign_in_smtp(&house.crm);
    smtp.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
    assert_eq!(smtp.smtp("RCPT TO:<nobody@other.test>", 550), "5.1.1 No such user");
    assert_eq!(smtp.smtp("RCPT TO:<later@other.test>", 451), "4.3.2 Greylisted");
}

fn a_rule_says_no(house: &House) {
    let mut smtp = house.bridge.sign_in_smtp(&house.crm);
    smtp.line(&format!("MAIL FROM:<{CAROL}>"));
    house.hears(&Failure::Denied(Rule::Sender), Cell::Command, &smtp.next());
    house.set(&["--receive", "off"]);
    // What it was let in to is not there any more: it may come again.
    house.hears(&Failure::ProviderUnreachable(Unreachable::Lost), Cell::Closing, &smtp.next());
    house.hears(&Failure::Denied(Rule::Receiving), Cell::Imap, &house.imap().imap(&house.crm.imap_login()).tagged);
    house.set(&["--receive", "on", "--send", "off"]);
    let mut smtp = house.smtp();
    smtp.line(&house.crm.smtp_auth());
    house.hears(&Failure::Denied(Rule::Sending), Cell::Auth, &smtp.next());
    house.set(&["--send", "on"]);
}

fn the_client_misbehaves(house: &House) {
    let fault = Failure::ClientMisbehaved;
    let mut imap = house.imap();
    house.hears(&fault(Misbehaviour::Syntax), Cell::Imap, &imap.imap("FROB").tagged);
    house.hears(&fault(Misbehaviour::WrongState), Cell::Imap, &imap.imap("SELECT INBOX").tagged);
    let mut smtp = house.smtp();
    smtp.line("FROB");
    house.hears(&fault(Misbehaviour::Syntax), Cell::Command, &smtp.next());
    smtp.line("MAIL FROM:<alice@ovh.test>");
    // Before login it is the sign-in that is missing (RFC 4954 section 6).
    assert!(smtp.next().starts_with("530 5.7.0 "));
    let mut smtp = house.bridge.sign_in_smtp(&house.crm);
    smtp.line("RCPT TO:<bob@other.test>");
    let told = smtp.next();
    assert!(told.starts_with("503 5.5.1 "), "{told}");

    house.last_words(&fault(Misbehaviour::BareLineEnd), [b"a NOOP\rx\r\n", b"NOOP\rx\r\n"]);
    house.last_words(&fault(Misbehaviour::Http), [b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n"]);
    let long = [&b"a NOOP "[..], &[b'x'; 20_000], b"\r\n"].concat();
    house.last_words(&fault(Misbehaviour::LineTooLong), [&long, &long]);
    house.hears(&fault(Misbehaviour::LiteralTooLarge), Cell::Imap, &house.imap().imap("LOGIN {8000} {8000}").tagged);
    let mut imap = house.bridge.sign_in(&house.crm);
    imap.send(b"a SELECT {999999999+}\r\n");
    let rest = String::from_utf8_lossy(&imap.rest()).into_owned();
    house.hears(&fault(Misbehaviour::LiteralTooLarge), Cell::ImapBye, rest.lines().last().unwrap_or_default());
    let bad = b"a FROB\r\n".repeat(30);
    house.last_words(&fault(Misbehaviour::TooManyBadCommands), [&bad, &bad]);
    let mut smtp = house.bridge.sign_in_smtp(&house.crm);
    for (command, code) in [("MAIL FROM:<alice@ovh.test>", 250), ("RCPT TO:<bob@other.test>", 250), ("DATA", 354)] {
        smtp.smtp(command, code);
    }
    smtp.send(b"a\0b\r\n");
    house.hears(&fault(Misbehaviour::Nul), Cell::Closing, &smtp.next());

    let guess = |wire: &mut Wire, line: &str| {
        wire.line(line);
        wire.next()
    };
    let mut imap = house.imap();
    house.hears(&Failure::LoginRefused, Cell::Imap, &imap.imap(&format!("LOGIN {} wrong", house.crm.login)).tagged);
    let mut smtp = house.smtp();
    // alice, wrong
    house.hears(&Failure::LoginRefused, Cell::Auth, &guess(&mut smtp, "AUTH PLAIN AGFsaWNlAHdyb25n"));
}

/// The caps: with one place for a lane, two guesses at most, a few places for clients, and little time before login.
fn our_caps(house: &House) {
    let mut imap = house.bridge.sign_in(&house.crm);
    imap.imap_ok("SELECT INBOX");
    let mut second = house.bridge.sign_in(&house.crm);
    house.hears(&Failure::Busy(Cap::Lanes), Cell::Imap, &second.imap("SELECT INBOX").tagged);
    let submission = house.bridge.sign_in_smtp(&house.crm);
    let mut smtp = house.smtp();
    smtp.line(&house.crm.smtp_auth());
    house.hears(&Failure::Busy(Cap::Lanes), Cell::Auth, &smtp.next());
    // Four seats are taken.
    house.sign_ins_hear(&Failure::Busy(Cap::Sessions));
    drop((imap, second, submission, smtp));

    // Nothing is said for as long as one may.
    for (port, cell) in [(house.bridge.imap, Cell::ImapBye), (house.bridge.smtp, Cell::Closing)] {
        let mut wire = Wire::plain(port);
        wire.next();
        house.hears(&Failure::ClientMisbehaved(Misbehaviour::TooSlow), cell, &wire.next());
    }

    let mut crowd: Vec<_> = (0..40).map(|_| Wire::plain(house.bridge.imap)).collect();
    crowd.iter_mut().for_each(|wire| drop(wire.next()));
    for (port, cell) in [(house.bridge.imap, Cell::ImapBye), (house.bridge.smtp, Cell::Closing)] {
        house.hears(&Failure::Busy(Cap::Connections), cell, &Wire::plain(port).next());
    }
    drop(crowd);
}

/// One that guesses on, and more that guess at once than may wait for their refusals.
fn guessed_out(house: &House, small: &House) {
    let mut imap = house.imap();
    imap.send(format!("a LOGIN {} wrong\r\n", house.crm.login).repeat(12).as_bytes());
    let rest = String::from_utf8_lossy(&imap.rest()).into_owned();
    house.hears(&Failure::Busy(Cap::Logins), Cell::ImapBye, rest.lines().last().unwrap_or_default());
    let mut guessers: Vec<_> = (0..20).map(|_| small.smtp()).collect();
    guessers.iter_mut().for_each(|wire| wire.line("AUTH PLAIN AGFsaWNlAHdyb25n"));
    let told: Vec<_> = guessers.iter_mut().map(Wire::next).collect();
    let turned_away = told.iter().find(|told| told.starts_with("421 ")).expect("one too many");
    house.hears(&Failure::Busy(Cap::Logins), Cell::Closing, turned_away);
}

/// A fault of ours: a login whose CRM profile is not there any more.
fn our_fault(heard: &mut BTreeSet<(String, Cell)>) {
    let Some(lab) = Lab::needing(&[]) else { return };
    let moods = Arc::new(Mutex::new(Mood::Good));
    let (imap, smtp) = (imap_double(&lab, moods.clone()), smtp_double(&lab, moods.clone()));
    let mut bridge = Bridge::prepare(&lab);
    let folder = bridge.state().join("crm");
    fs::create_dir_all(&folder).expect("made");
    fs::set_permissions(bridge.state(), fs::Permissions::from_mode(0o700)).expect("private");
    let generic = include_str!("../../config/crm/generic.toml");
    fs::write(folder.join("firm.toml"), generic.replace("generic", "firm")).expect("written");
    let mut account = AddAccount::unchecked(&lab, &imap, &smtp, ALICE);
    account.more.extend(["--crm".to_owned(), "firm".to_owned()]);
    let crm = bridge.add_account(&account);
    fs::remove_file(folder.join("firm.toml")).expect("removed");
    bridge.serve();
    let (heard_now, said) = (RefCell::default(), RefCell::default());
    let moods = [moods.clone(), moods];
    let house = House { moods, imap, smtp, bridge, crm, heard: heard_now, said, _lab: lab };
    house.sign_ins_hear(&Failure::Internal("a place in the code"));
    house.holds_no_secret();
    heard.append(&mut house.heard.borrow_mut());
}

#[test]
fn every_cell_of_the_table_is_heard_by_a_client() {
    let limits = "[limits]\nlanes-per-account = 1\nsessions-per-account = 4\nconnections = 40\nbefore-login = 30\n\
                  [timeouts]\nlogin-wait = \"1s\"\nbefore-login = \"2s\"\n";
    let Some(mut house) = House::start("[timeouts]\nlogin-wait = \"1s\"\n") else { return };
    the_provider_fails(&mut house);
    the_provider_refuses_a_command(&house);
    a_rule_says_no(&house);
    the_client_misbehaves(&house);
    let Some(small) = House::start(limits) else { return };
    guessed_out(&house, &small);
    our_caps(&small);

    house.holds_no_secret();
    small.holds_no_secret();
    let mut heard = house.heard.take();
    heard.append(&mut small.heard.borrow_mut());
    our_fault(&mut heard);
    heard.extend(ELSEWHERE.map(|(name, cell)| (name.to_owned(), cell)));
    let awaited: BTreeSet<(String, Cell)> =
        table().iter().flat_map(|(failure, cells)| cells.iter().map(|cell| (name(failure), *cell))).collect();
    let missing: Vec<_> = awaited.difference(&heard).collect();
    assert!(missing.is_empty(), "nobody heard: {missing:?}");
}
