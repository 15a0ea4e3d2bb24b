//! Hostile logins: who guesses waits, longer each time (R22), learns nothing by words or time (R23), and hurts nobody.

use crate::harness::{AddAccount, Bridge, CrmSettings, Lab, PATIENCE, Program, Provider, Wire, run, until, words};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use passerelle::{
    model::{Login, Secret},
    relay::Credentials,
    store::{NewLogin, Store},
};
use std::{
    io::Write as _,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

const ALICE: &str = "alice@lab.test";
const BOB: &str = "bob@lab.test";
/// As long as a real one, and no one's.
const WRONG: &str = "wrong00-wrong00-wrong00-wrong00";

const HALF_A_SECOND: Duration = Duration::from_millis(500);

/// A running bridge for a CRM that has CRAM-MD5, too, and doubles that let everyone in.
struct House {
    bridge: Bridge,
    imap: Provider,
    smtp: Provider,
    lab: Lab,
}

impl House {
    fn start(programs: &[Program]) -> Option<Self> {
        let lab = Lab::needing(programs)?;
        let imap = Provider::imap(Some(&lab.certificates.good), |_, _, _| Some(false));
        let smtp = Provider::smtp(Some(&lab.certificates.good));
        let mut bridge = Bridge::prepare(&lab);
        bridge.listens_for("suitecrm");
        bridge.serve();
        Some(Self { bridge, imap, smtp, lab })
    }

    fn add(&self, address: &str) -> CrmSettings {
        self.bridge.add_account(&AddAccount::unchecked(&self.lab, &self.imap, &self.smtp, address))
    }
}

/// The ways to give a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Login,
    Plain,
    CramMd5,
    Smtp,
}

const WAYS: [Way; 4] = [Way::Login, Way::Plain, Way::CramMd5, Way::Smtp];

/// A connection that is greeted and has not signed in.
fn greeted(bridge: &Bridge, way: Way) -> Wire {
    let (port, greeting) = if way == Way::Smtp { (bridge.smtp, "220") } else { (bridge.imap, "* OK") };
    let mut wire = Wire::plain(port);
    wire.expect(greeting);
    wire
}

fn plain(login: &str, password: &str) -> String {
    BASE64.encode(format!("\0{login}\0{password}"))
}

/// What the bridge says to this password, without the tag, and how long that took.
fn give(wire: &mut Wire, way: Way, login: &str, password: &str) -> (String, Duration) {
    let began = Instant::now();
    let said = match way {
        Way::Login => wire.imap(&format!("LOGIN \"{login}\" \"{password}\"")).tagged,
        Way::Plain => wire.imap(&format!("AUTHENTICATE PLAIN {}", plain(login, password))).tagged,
        Way::CramMd5 => {
            let tag = wire.next_tag();
            wire.line(&format!("{tag} AUTHENTICATE CRAM-MD5"));
            wire.expect("+ ");
            // The digest of no password at all: it only has to be of the form.
            wire.line(&BASE64.encode(format!("{login} {}", "0123456789abcdef".repeat(2))));
            wire.answer(&tag).tagged
        }
        Way::Smtp => {
            wire.line(&format!("AUTH PLAIN {}", plain(login, password)));
            let (code, text) = wire.reply();
            format!("{code} {text}")
        }
    };
    (said, began.elapsed())
}

fn is_refusal(said: &str) -> bool {
    said == "NO [AUTHENTICATIONFAILED] Login or password of the mail bridge is wrong, copy both again from what it showed"
        || said == "535 5.7.8 Login or password of the mail bridge is wrong, copy both again from what it showed"
}

fn tell(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

#[test]
fn r22_each_refusal_on_a_connection_takes_longer_until_it_closes() {
    let Some(house) = House::start(&[]) else { return };
    let bridge = &house.bridge;
    let alice = house.add(ALICE);
    thread::scope(|scope| {
        for way in WAYS {
            let alice = &alice;
            scope.spawn(move || {
                let mut wire = greeted(bridge, way);
                // An account of each way's own: what others guess counts for a name, too.
                let name = format!("{way:?}@lab.test");
                let waits: Vec<Duration> = (0..5)
                    .map(|_| {
                        let (said, took) = give(&mut wire, way, &name, WRONG);
                        assert!(is_refusal(&said), "{way:?}: {said}");
                        took
                    })
                    .collect();
                tell(&format!("{way:?}: refused after {waits:?}"));
                assert!(waits.iter().all(|wait| *wait >= HALF_A_SECOND), "{way:?}: {waits:?}");
                assert!(waits.is_sorted(), "{way:?}: {waits:?}");
                assert!(waits[4] >= HALF_A_SECOND * 8, "{way:?}: {waits:?}");
                let three: Duration = waits.iter().take(3).sum();
                assert!(three < Duration::from_secs(3), "{way:?}: {three:?}");
                // The sixth finds it closed, and a right password elsewhere is let in at once.
                let last = String::from_utf8_lossy(&wire.rest()).into_owned();
                let bye =
                    if way == Way::Smtp { "" } else { "* BYE [LIMIT] Too many refused logins on this connection, mend login or password, then connect again\r\n" };
                assert_eq!(last, bye, "{way:?}");
                let began = Instant::now();
                if way == Way::Smtp {
                    bridge.sign_in_smtp(alice)
                } else {
                    bridge.sign_in(alice)
                };
                assert!(began.elapsed() < Duration::from_secs(5), "{way:?}: {:?}", began.elapsed());
            });
        }
    });
}

#[test]
fn r22_a_name_that_is_guessed_at_costs_more_on_every_connection_and_its_own_password_nothing() {
    let Some(house) = House::start(&[]) else { return };
    let (bridge, alice) = (&house.bridge, house.add(ALICE));
    house.bridge.sign_in(&alice);
    // One guess on a connection, all at once, at a name that is there and at one that is not.
    let guess = |name: &str| give(&mut greeted(bridge, Way::Login), Way::Login, name, WRONG).1;
    let names = [ALICE, "nobody@lab.test"];
    thread::scope(|scope| {
        for name in names {
            (0..20).for_each(|_| drop(scope.spawn(move || guess(name))));
        }
    });
    let after = names.map(guess);
    let other = guess("someone-else@lab.test");
    let began = Instant::now();
    bridge.sign_in(&alice);
    let right = began.elapsed();
    tell(&format!("a 21st guess: {after:?}; a first one: {other:?}; the right password: {right:?}"));
    // The eleventh is the first to cost more.
    assert!(after.iter().all(|wait| *wait >= HALF_A_SECOND * 5), "{after:?}");
    assert!(other < after[0] && other >= HALF_A_SECOND, "{other:?}");
    assert!(right < HALF_A_SECOND, "{right:?}");
}

/// One guess; the answer without its tag where it is waited for.
fn guess(wire: &mut Wire, way: Way, name: &str, stays: bool) -> Option<String> {
    let began = Instant::now();
    match way {
        Way::Smtp => wire.line(&format!("AUTH PLAIN {}", plain(name, WRONG))),
        _ => wire.line(&format!("x LOGIN \"{name}\" {WRONG}")),
    }
    let said = if stays { wire.next() } else { return None };
    let said = said.strip_prefix("x ").unwrap_or(&said);
    assert!(!is_refusal(said) || began.elapsed() >= HALF_A_SECOND, "refused after {:?}", began.elapsed());
    Some(said.to_owned())
}

/// What is said when too many wait for their refusal already.
fn is_busy(said: &str) -> bool {
    said.starts_with("* BYE [LIMIT] ") || said.starts_with("421 4.3.2 ")
}

#[test]
fn r22_honest_logins_are_unhurt_by_thirty_guessers() {
    let Some(house) = House::start(&[]) else { return };
    let (bridge, alice, bob) = (&house.bridge, house.add(ALICE), house.add(BOB));
    // Another application of the same account, with a name of its own.
    let elsewhere = bridge.add_login(ALICE, "zammad");
    let honest = [&alice, &bob, &elsewhere];
    honest.iter().for_each(|crm| drop(bridge.sign_in(crm)));
    let (over, guesses, turned_away) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    let mut slowest = Duration::ZERO;
    thread::scope(|scope| {
        for guesser in 0..30 {
            let (over, guesses, turned_away) = (&over, &guesses, &turned_away);
            scope.spawn(move || {
                let mut connections = 0;
                while !over.load(Ordering::SeqCst) {
                    // Some try names at random; some leave before the answer comes.
                    let name = if guesser % 3 == 2 { &format!("x{guesser}-{connections}@lab.test") } else { ALICE };
                    let (way, stays) = (WAYS[guesser % WAYS.len()], guesser % 2 == 0);
                    connections += 1;
                    thread::sleep(Duration::from_millis(5));
                    guesses.fetch_add(1, Ordering::SeqCst);
                    match guess(&mut greeted(bridge, way), way, name, stays) {
                        None => {}
                        Some(said) if is_refusal(&said) => {}
                        Some(said) => {
                            assert!(is_busy(&said), "{way:?}: {said}");
                            turned_away.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
        let end = Instant::now() + Duration::from_secs(4);
        while Instant::now() < end {
            for crm in honest {
                let began = Instant::now();
                drop(bridge.sign_in(crm));
                drop(bridge.sign_in_smtp(crm));
                slowest = slowest.max(began.elapsed());
            }
        }
        over.store(true, Ordering::SeqCst);
    });
    let (guesses, turned_away) = (guesses.into_inner(), turned_away.into_inner());
    tell(&format!(
        "{guesses} guesses of 30 guessers, {turned_away} turned away; slowest honest pair of logins: {slowest:?}"
    ));
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    // The places of those who had gone come back.
    let quiet = until(PATIENCE, || (bridge.sockets() < 30).then_some(()));
    assert!(quiet.is_some(), "{} sockets", bridge.sockets());
    assert!(!house.imap.heard().contains(WRONG), "no guess goes to the provider");
}

#[test]
fn r22_php_hears_of_a_wrong_password_in_time() {
    let Some(house) = House::start(&[Program::Php]) else { return };
    let alice = house.add(ALICE);
    let script = "error_reporting(0); $mailbox = imap_open($argv[1], $argv[2], $argv[3]);
        echo $mailbox === false ? 'refused: ' . implode(' | ', imap_errors()) : 'let in';";
    let mailbox = format!("{{127.0.0.1:{}/imap/notls}}INBOX", house.bridge.imap);
    let open = |password: &str| {
        let began = Instant::now();
        let output = run(30, Command::new("php").args(["-r", script, "--", &mailbox, &alice.login, password]), b"");
        assert!(output.status.success(), "{}", words(&output));
        (String::from_utf8_lossy(&output.stdout).into_owned(), began.elapsed())
    };
    let (said, took) = open(WRONG);
    tell(&format!("PHP with a wrong password: {took:?}: {said}"));
    assert!(said.starts_with("refused: ") && said.contains("password of the mail bridge is wrong"), "{said}");
    let tries = house.bridge.log().matches("a wrong password").count();
    assert_eq!(tries, 3, "{}", house.bridge.log());
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(open(&alice.password).0, "let in");
}

/// How many of each.
const SAMPLES: usize = 20;

#[test]
fn r23_an_unknown_login_and_a_wrong_password_are_alike_in_words_and_time() {
    let Some(house) = House::start(&[]) else { return };
    let bridge = &house.bridge;
    // Ten refusals of a name cost no more than the first: each way has names of its own, two of each kind.
    let known: Vec<[String; 2]> =
        WAYS.iter().map(|way| ["a", "b"].map(|name| house.add(&format!("{name}-{way:?}@lab.test")).login)).collect();
    let quartiles: Vec<(Way, [Duration; 2])> = thread::scope(|scope| {
        let ways = WAYS.iter().zip(&known).map(|(&way, known)| {
            let unknown = ["c", "d"].map(|name| format!("{name}-{way:?}@lab.test"));
            let kinds: [&[String; 2]; 2] = [known, &unknown];
            let samples = move |kinds: [&[String; 2]; 2]| {
                let mut took = [Vec::new(), Vec::new()];
                for sample in 0..SAMPLES {
                    for kind in [sample % 2, 1 - sample % 2] {
                        let mut wire = greeted(bridge, way);
                        let (said, time) = give(&mut wire, way, &kinds[kind][sample / 10], WRONG);
                        assert!(is_refusal(&said), "{way:?}: {said}");
                        took[kind].push(time);
                    }
                }
                // Names may share a count by chance, and one of the two then waits longer: half of the samples are the other's.
                took.map(|mut took| {
                    took.sort();
                    took[SAMPLES / 4]
                })
            };
            let unknown = unknown.clone();
            let known = kinds[0].clone();
            scope.spawn(move || (way, samples([&known, &unknown])))
        });
        let ways: Vec<_> = ways.collect();
        ways.into_iter().map(|way| way.join().expect("it measures")).collect()
    });
    for (way, [wrong, unknown]) in quartiles {
        tell(&format!("{way:?}: wrong password {wrong:?}, unknown login {unknown:?}, quartiles of {SAMPLES}"));
        assert!(wrong.abs_diff(unknown) < Duration::from_millis(20), "{way:?}: {wrong:?}, {unknown:?}");
    }
}

#[tokio::test]
async fn r23_the_checking_itself_tells_no_more_than_the_answer() {
    let root = tempfile::tempdir().expect("a folder");
    let store = Store::open(root.path(), None, 1_800_000_000).await.expect("a store");
    let account = crate::store::one_account(&store).await;
    let login = |text: &str| Login::parse(text).expect("a login");
    let new = NewLogin {
        user: store.account(account).await.expect("read").expect("there").owner,
        account,
        name: login(ALICE),
        label: String::new(),
        profile: "generic".into(),
        password: Secret::new("right".to_owned()),
    };
    store.add_login(&new, 1).await.expect("added");
    let plain = |name: &str| Credentials::Plain { login: login(name), password: Secret::new(WRONG.into()) };
    let cram = |name: &str| Credentials::CramMd5 { login: login(name), challenge: "<1@b>".into(), digest: [7; 16] };
    let nobody = "nobody@lab.test";
    let kinds = [plain(ALICE), plain(nobody), cram(ALICE), cram(nobody), Credentials::Nobody];
    let mut took = [const { Vec::new() }; 5];
    for _ in 0..300 {
        for (kind, took) in kinds.iter().zip(&mut took) {
            let began = Instant::now();
            assert!(store.verdict(kind).await.is_err());
            took.push(began.elapsed());
        }
    }
    let medians = took.map(|mut took| {
        took.sort();
        took[150]
    });
    tell(&format!(
        "checked in, medians of 300: plain, plain unknown, CRAM-MD5, the same unknown, no login: {medians:?}"
    ));
    let (most, least) = (medians.iter().max().expect("five"), medians.iter().min().expect("five"));
    assert!(*most - *least < Duration::from_millis(2), "{medians:?}");
}
