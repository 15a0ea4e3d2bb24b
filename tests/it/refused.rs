//! Accounts that their provider refuses or sends away: shown to it seldom (rule R26), told to the CRM at once, and back
//! as soon as they are right.

use crate::harness::{AddAccount, Bridge, CrmSettings, IMAP_CAPABILITIES, Lab, Provider, Wire, words};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const ALICE: &str = "alice@ovh.test";
const CAROL: &str = "carol@ovh.test";
const WORDS: &str = "Please log in via your web browser";
/// Logins of each protocol while the provider refuses.
const LOGINS: usize = 10;
/// A login that waits for no provider takes less, on a machine at work.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What the doubles answer to a sign-in; none: they let in.
type Answer = Arc<Mutex<Option<&'static str>>>;

struct House {
    imap: Provider,
    smtp: Provider,
    /// Credentials shown to either.
    shown: Arc<AtomicU64>,
    answer: Answer,
    bridge: Bridge,
    crm: CrmSettings,
    _lab: Lab,
}

impl House {
    fn start() -> Option<Self> {
        let lab = Lab::needing(&[])?;
        let (shown, answer) = (Arc::new(AtomicU64::new(0)), Answer::default());
        let told = {
            let (shown, answer) = (shown.clone(), answer.clone());
            move || {
                shown.fetch_add(1, Ordering::SeqCst);
                *answer.lock().expect("no test panicked in here")
            }
        };
        let asked = told.clone();
        let imap = Provider::start(Some(&lab.certificates.good), move |visit| {
            visit.say(&format!("* OK [CAPABILITY {IMAP_CAPABILITIES}] Double ready"))?;
            visit.imap(&|visit, tag, command| match command.starts_with("AUTHENTICATE").then(&asked).flatten() {
                Some(words) => visit.say(&format!("{tag} NO {words}")).map(|()| true),
                None => Some(false),
            })
        });
        let smtp = Provider::start(Some(&lab.certificates.good), move |visit| {
            visit.say("220 double")?;
            loop {
                let line = visit.line()?.to_ascii_uppercase();
                match line.split(' ').next().unwrap_or_default() {
                    "EHLO" => visit.say("250-double\r\n250 AUTH PLAIN")?,
                    "AUTH" => match told() {
                        Some(words) => visit.say(&format!("535 5.7.139 {words}"))?,
                        None => visit.say("235 2.7.0 Signed in")?,
                    },
                    "QUIT" => return visit.say("221 2.0.0 Bye"),
                    _ => visit.say("250 2.0.0 Ok")?,
                }
            }
        });
        let mut bridge = Bridge::prepare(&lab);
        let crm = bridge.add_account(&AddAccount::unchecked(&lab, &imap, &smtp, ALICE));
        bridge.serve();
        Some(Self { imap, smtp, shown, answer, bridge, crm, _lab: lab })
    }

    fn answers(&self, words: Option<&'static str>) {
        *self.answer.lock().expect("no test panicked in here") = words;
        self.shown.store(0, Ordering::SeqCst);
    }

    fn shown(&self) -> u64 {
        self.shown.load(Ordering::SeqCst)
    }

    fn imap_login(&self) -> String {
        let mut wire = Wire::plain(self.bridge.imap);
        wire.expect("* OK");
        wire.imap(&self.crm.imap_login()).tagged
    }

    fn smtp_login(&self) -> String {
        let mut wire = Wire::plain(self.bridge.smtp);
        wire.expect("220 ");
        wire.smtp("EHLO crm.test", 250);
        wire.line(&self.crm.smtp_auth());
        wire.next()
    }

    fn account(&self, arguments: &[&str]) -> serde_json::Value {
        let output = self.bridge.cli(&[&["account"], arguments, &["--json"]].concat(), b"");
        assert!(output.status.success(), "{}", words(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

#[test]
fn r26_wrong_credentials_are_shown_twice_and_the_crm_hears_it_at_once() {
    let Some(house) = House::start() else { return };
    house.answers(Some(WORDS));
    let mut slowest = Duration::ZERO;
    for login in 0..LOGINS {
        let began = Instant::now();
        let (imap, smtp) = (house.imap_login(), house.smtp_login());
        assert!(imap.starts_with("NO [CONTACTADMIN] ") && smtp.starts_with("454 4.7.0 "), "{imap} {smtp}");
        if login >= 2 {
            slowest = slowest.max(began.elapsed());
        }
    }
    // All at once, too.
    std::thread::scope(|scope| {
        for _ in 0..LOGINS {
            scope.spawn(|| assert!(house.imap_login().starts_with("NO [CONTACTADMIN] ")));
        }
    });
    println!("{} logins: credentials shown {} times; later ones answered in {slowest:?}", 3 * LOGINS, house.shown());
    assert_eq!(house.shown(), 4, "twice to each service");
    assert!(slowest < AT_ONCE, "{slowest:?}");
    let account = house.account(&["show", ALICE]);
    for (place, service) in ["imap", "smtp"].into_iter().enumerate() {
        let refused = &account["refused"][place];
        assert!(refused["service"] == service && refused["words"].to_string().contains(WORDS), "{account}");
    }
    let told = house.bridge.cli(&["account", "list"], b"");
    assert!(words(&told).contains("refused: alice@ovh.test: IMAP since "), "{}", words(&told));

    // Another account of the same provider goes its own way.
    house.answers(None);
    let carol = house.bridge.add_account(&AddAccount::unchecked(&house._lab, &house.imap, &house.smtp, CAROL));
    house.bridge.sign_in(&carol);
    // Still in its pause: nobody is asked.
    house.answers(None);
    assert!(house.imap_login().starts_with("NO [CONTACTADMIN] "));
    assert_eq!(house.shown(), 0);
    // Put right at the provider, and checked by hand: the CRM is back at once.
    house.account(&["check", ALICE]);
    assert!(house.imap_login().starts_with("OK "), "let in");
    assert!(house.smtp_login().starts_with("235 "), "let in");
    assert_eq!(house.account(&["show", ALICE])["refused"], serde_json::json!([]));
}

#[test]
fn r26_another_password_is_tried_at_once() {
    let Some(house) = House::start() else { return };
    house.answers(Some("[AUTHENTICATIONFAILED] wrong"));
    for _ in 0..3 {
        assert!(house.imap_login().starts_with("NO [CONTACTADMIN] "));
    }
    assert_eq!(house.shown(), 2);
    house.answers(None);
    let output = house.bridge.cli(&["account", "set", ALICE, "--password-stdin", "--unchecked"], b"another one\n");
    assert!(output.status.success(), "{}", words(&output));
    assert!(house.imap_login().starts_with("OK "), "let in");
    assert_eq!(house.account(&["show", ALICE])["refused"], serde_json::json!([]));
}

#[test]
fn a_provider_that_asks_for_a_pause_is_left_in_peace_for_so_long() {
    let Some(house) = House::start() else { return };
    house.answers(Some("Request is throttled. Suggested Backoff Time: 3000 milliseconds"));
    let began = Instant::now();
    assert!(house.imap_login().starts_with("NO [UNAVAILABLE] "));
    let after_one = house.imap.visits();
    while began.elapsed() < Duration::from_secs(2) {
        assert!(house.imap_login().starts_with("NO [UNAVAILABLE] "));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(house.imap.visits(), after_one, "nobody is asked meanwhile");
    house.answers(None);
    let back = || house.imap_login().starts_with("OK ");
    while !back() {
        assert!(began.elapsed() < Duration::from_secs(10), "back when the pause is over");
        std::thread::sleep(Duration::from_millis(200));
    }
    println!("asked to wait 3 s, back after {:?}", began.elapsed());
    assert!(began.elapsed() >= Duration::from_millis(2900));
}
