//! Access tokens that nobody has seen yet, at listeners that pass them on: what wrong ones cost the provider, the account,
//! and whoever comes with a good one.
//!
//! The provider is a pair of doubles that count what they are shown; the bridge is the real program.

use crate::harness::{
    AddAccount, Bridge, IMAP_CAPABILITIES, Lab, PATIENCE, Provider, Visit, Wire, secrets, until, words,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const ALICE: &str = "alice@tokens.test";
/// Has a password of the bridge's.
const BOB: &str = "bob@tokens.test";
/// No login at all.
const NOBODY: &str = "nobody@tokens.test";
/// A login that waits for nobody takes less, on a machine at work.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Wrong tokens at once, at each service.
const FLOOD: usize = 30;
/// Of different tokens, to each service, before the first pause.
const SHOWN: usize = 4;

/// What the doubles know of tokens.
#[derive(Default)]
pub(crate) struct Door {
    good: Mutex<HashSet<String>>,
    /// Each that was refused, with its service, as often as it was.
    refused: Mutex<Vec<(&'static str, String)>>,
    /// A wrong one is not answered as long as this stands.
    holds: AtomicBool,
    /// Nor sooner than after this.
    slow: Mutex<Duration>,
    /// What its LIST and LSUB tell besides what every token's do.
    lists: Mutex<HashMap<String, [String; 2]>>,
}

impl Door {
    pub(crate) fn opens_to(&self, token: &str) {
        locked(&self.good).insert(token.to_owned());
    }

    /// The token was taken back; what it has opened stays open.
    pub(crate) fn closes_to(&self, token: &str) {
        locked(&self.good).remove(token);
    }

    /// This token opens it, and sees this mailbox and this subscribed name besides what all see.
    pub(crate) fn shows(&self, token: &str, mailbox: &str, subscribed: &str) {
        self.opens_to(token);
        locked(&self.lists).insert(token.to_owned(), [mailbox.to_owned(), subscribed.to_owned()]);
    }

    /// The token of this response, if it is good, said when it is time.
    fn judges(&self, service: &'static str, response: &str) -> Option<String> {
        let response = String::from_utf8(STANDARD.decode(response).expect("base64")).expect("text");
        let token = response.split("Bearer ").nth(1).and_then(|rest| rest.split('\x01').next()).expect("a token");
        if locked(&self.good).contains(token) {
            return Some(token.to_owned());
        }
        locked(&self.refused).push((service, token.to_owned()));
        let slow = *locked(&self.slow);
        thread::sleep(slow);
        let _ = until(PATIENCE, || (!self.holds.load(Ordering::SeqCst)).then_some(()));
        None
    }

    pub(crate) fn refusals(&self, service: &str) -> usize {
        locked(&self.refused).iter().filter(|(at, _)| *at == service).count()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no test panicked in here")
}

pub(crate) struct House {
    pub(crate) door: Arc<Door>,
    pub(crate) bridge: Bridge,
    /// Of the listeners that pass tokens on.
    imap: u16,
    smtp: u16,
    pub(crate) doubles: [Provider; 2],
    lab: Lab,
}

impl House {
    pub(crate) fn start() -> Option<Self> {
        let lab = Lab::needing(&[])?;
        let door = Arc::new(Door::default());
        let (imap, smtp) = (imap_double(&lab, &door), smtp_double(&lab, &door));
        let ports = [crate::harness::free_port(), crate::harness::free_port()];
        let more = format!(
            "[[crm]]\nprofile = \"generic\"\npass-tokens = true\nimap = \"127.0.0.1:{}\"\nsmtp = \"127.0.0.1:{}\"\n\
             imaps = \"off\"\nsmtps = \"off\"\n",
            ports[0], ports[1]
        );
        let mut bridge = Bridge::configured(&lab, &more);
        let certificates = format!("ca={}", lab.certificates.ca.display());
        let (at, sends) = (format!("localhost:{}", imap.port), format!("localhost:{}", smtp.port));
        let add = ["account", "add", ALICE, "--imap", &at, "--smtp", &sends, "--certificates", &certificates];
        let added = bridge.cli(&[&add[..], &["--crm-token"]].concat(), b"");
        assert!(added.status.success(), "{}", words(&added));
        bridge.serve();
        Some(Self { door, bridge, imap: ports[0], smtp: ports[1], doubles: [imap, smtp], lab })
    }

    pub(crate) fn imap(&self, token: &str) -> (String, Wire) {
        self.imap_as(ALICE, token)
    }

    pub(crate) fn smtp(&self, token: &str) -> (String, Wire) {
        self.smtp_as(ALICE, token)
    }

    fn imap_as(&self, login: &str, token: &str) -> (String, Wire) {
        secrets::give_out(token);
        let mut wire = Wire::plain(self.imap);
        wire.expect("* OK");
        (wire.imap(&format!("LOGIN {login} {token}")).tagged, wire)
    }

    fn smtp_as(&self, login: &str, token: &str) -> (String, Wire) {
        secrets::give_out(token);
        let mut wire = Wire::plain(self.smtp);
        wire.expect("220");
        wire.smtp("EHLO crm.test", 250);
        wire.line(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{login}\0{token}"))));
        (wire.next(), wire)
    }

    /// What the account has in use of its places, of IMAP and of submission.
    pub(crate) fn places_in_use(&self) -> [u64; 2] {
        let output = self.bridge.cli(&["limits", "--json"], b"");
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let account = &told["in_use"]["accounts"][0];
        ["imap_lanes", "smtp_lanes"].map(|name| account[name].as_u64().unwrap_or_default())
    }
}

fn imap_double(lab: &Lab, door: &Arc<Door>) -> Provider {
    let door = door.clone();
    Provider::start(Some(&lab.certificates.good), move |visit: &mut Visit| {
        visit.say(&format!("* OK [CAPABILITY {IMAP_CAPABILITIES} AUTH=XOAUTH2] Double ready"))?;
        let shown = Mutex::new([String::new(), String::new()]);
        visit.imap(&|visit, tag, command| {
            let verb = command.split(' ').next().unwrap_or_default();
            let told = match verb {
                "LIST" => locked(&shown)[0].clone(),
                "LSUB" => locked(&shown)[1].clone(),
                _ => String::new(),
            };
            if !told.is_empty() {
                visit.say(&format!("* {verb} () \".\" {told}"))?;
            }
            let Some(response) = command.strip_prefix("AUTHENTICATE XOAUTH2 ") else { return Some(false) };
            if let Some(token) = door.judges("imap", response) {
                *locked(&shown) = locked(&door.lists).get(&token).cloned().unwrap_or_default();
                return Some(false);
            }
            visit.say(&format!("{tag} NO [AUTHENTICATIONFAILED] No such token")).map(|()| true)
        })
    })
}

fn smtp_double(lab: &Lab, door: &Arc<Door>) -> Provider {
    let door = door.clone();
    Provider::start(Some(&lab.certificates.good), move |visit: &mut Visit| {
        visit.say("220 double")?;
        loop {
            let line = visit.line()?;
            if let Some(response) = line.strip_prefix("AUTH XOAUTH2 ") {
                let good = door.judges("smtp", response);
                visit.say(if good.is_some() { "235 2.7.0 Signed in" } else { "535 5.7.8 No such token" })?;
            } else if line.starts_with("EHLO") {
                visit.say("250-double\r\n250 AUTH PLAIN XOAUTH2")?;
            } else {
                visit.say("250 2.0.0 Ok")?;
            }
        }
    })
}

#[test]
fn r26_what_is_shown_to_nobody_is_no_refusal_of_the_providers() {
    let Some(house) = House::start() else { return };
    house.door.opens_to("good-token");
    let set = |auth: &str| {
        let set = house.bridge.cli(&["account", "set", ALICE, "--smtp-auth", auth], b"");
        assert!(set.status.success(), "{}", words(&set));
    };
    // A service that wants no sign-in would let in whoever shows any token.
    set("none");
    let visits = house.doubles[1].visits();
    // More than are refused before the first pause, each a new one.
    for number in 0..=SHOWN {
        let (answer, _) = house.smtp(&format!("token-{number}"));
        assert!(answer.starts_with("535 "), "{answer}\n{}", house.bridge.log());
    }
    assert_eq!(house.doubles[1].visits(), visits);
    let why = "a client's token is not shown to this service";
    assert!(house.bridge.log().contains(why), "{}", house.bridge.log());
}

#[test]
fn r22_r26_r45_a_flood_of_wrong_tokens_costs_neither_the_mailbox_nor_its_good_ones() {
    let Some(house) = House::start() else { return };
    house.door.opens_to("good-token");
    let (answer, mut held) = house.imap("good-token");
    assert!(answer.starts_with("OK "), "{answer}\n{}", house.bridge.log());
    held.imap_ok("SELECT INBOX");
    let (answer, mut held_too) = house.smtp("good-token");
    assert!(answer.starts_with("235 "), "{answer}\n{}", house.bridge.log());
    held_too.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
    let before = house.places_in_use();

    house.door.holds.store(true, Ordering::SeqCst);
    let heard = thread::scope(|scope| {
        let house = &house;
        let imap: Vec<_> = (0..FLOOD).map(|n| scope.spawn(move || house.imap(&format!("wrong-imap-{n}")).0)).collect();
        let smtp: Vec<_> = (0..FLOOD).map(|n| scope.spawn(move || house.smtp(&format!("wrong-smtp-{n}")).0)).collect();
        let shown = until(PATIENCE, || {
            let any = house.door.refusals("imap") > 0 && house.door.refusals("smtp") > 0;
            any.then_some(())
        });
        assert!(shown.is_some(), "{}", house.bridge.log());
        // The provider thinks about them. What it has let in lately waits for none of it.
        let began = Instant::now();
        let (answer, mut wire) = house.imap("good-token");
        assert!(answer.starts_with("OK "), "{answer}\n{}", house.bridge.log());
        wire.imap_ok("SELECT INBOX");
        let (answer, mut sends) = house.smtp("good-token");
        assert!(answer.starts_with("235 "), "{answer}\n{}", house.bridge.log());
        sends.smtp(&format!("MAIL FROM:<{ALICE}>"), 250);
        let took = began.elapsed();
        assert!(took < AT_ONCE, "{took:?}");
        let in_use = house.places_in_use();
        assert_eq!(in_use, [before[0] + 1, before[1] + 1], "places of the wrong ones");
        drop((wire, sends));
        house.door.holds.store(false, Ordering::SeqCst);
        let of = |all: Vec<thread::ScopedJoinHandle<'_, String>>| -> Vec<String> {
            all.into_iter().map(|one| one.join().expect("answered")).collect()
        };
        [of(imap), of(smtp)]
    });
    let shown = ["imap", "smtp"].map(|service| house.door.refusals(service));
    let no = |answer: &str| answer.starts_with("NO [AUTHENTICATIONFAILED] ") || answer.starts_with("535 ");
    let later = |answer: &str| {
        let of_tokens = answer.contains("had not seen yet");
        of_tokens && (answer.starts_with("NO [LIMIT] ") || answer.starts_with("421 4.3.2 "))
    };
    let refused = heard.each_ref().map(|all| all.iter().filter(|answer| no(answer)).count());
    assert!(heard.iter().flatten().all(|answer| no(answer) || later(answer)), "{heard:?}");
    eprintln!(
        "r22 r26 r45: of {FLOOD} wrong tokens at each service the provider was shown {shown:?}, {refused:?} heard its no"
    );
    assert_eq!(shown, [SHOWN; 2]);
    assert_eq!(refused, shown, "who heard a no was refused by the provider");

    // A token that is new and good comes through when the pause is over.
    house.door.opens_to("new-token");
    let began = Instant::now();
    let new = until(PATIENCE, || {
        let in_both = house.imap("new-token").0.starts_with("OK ") && house.smtp("new-token").0.starts_with("235 ");
        in_both.then(|| began.elapsed())
    });
    eprintln!("r22 r26 r45: a new token was let in after {new:?}");
    assert!(new.is_some(), "{}", house.bridge.log());
    assert_eq!(["imap", "smtp"].map(|service| house.door.refusals(service)), shown);
    assert!(house.bridge.log().contains("tokens that nobody has seen yet"), "{}", house.bridge.log());
}

#[test]
fn r26_sessions_with_the_same_wrong_token_share_one_refusal() {
    let Some(house) = House::start() else { return };
    let crowd = || {
        thread::scope(|scope| {
            let one = || scope.spawn(|| (house.imap("the-same").0, house.smtp("the-same").0));
            let all: Vec<_> = (0..8).map(|_| one()).collect();
            all.into_iter().for_each(|one| {
                let (imap, smtp) = one.join().expect("answered");
                assert!(imap.starts_with("NO [AUTHENTICATIONFAILED] ") && smtp.starts_with("535 "), "{imap} {smtp}");
            });
        });
        ["imap", "smtp"].map(|service| house.door.refusals(service))
    };
    let shown = [crowd(), crowd()];
    eprintln!("r26: 8 sessions with one wrong token, twice: shown {shown:?}");
    // Twice before it is known; the sessions of a crowd need not come at the very same moment.
    assert!(shown[1].iter().all(|times| (1..=2).contains(times)), "{shown:?}");
    assert_eq!(shown[0].map(|times| times > 0), [true; 2]);
}

#[test]
fn r23_logins_of_one_account_are_no_more_like_each_other_than_two_that_are_unknown() {
    let Some(house) = House::start() else { return };
    let slow = Duration::from_millis(700);
    *locked(&house.door.slow) = slow;
    let added = house.bridge.cli(&["login", "add", ALICE, "--label", "second", "--json"], b"");
    let added: Value = serde_json::from_slice(&added.stdout).unwrap_or_else(|_| panic!("{}", words(&added)));
    added["password"].as_str().into_iter().for_each(secrets::give_out);
    let second = added["login"].as_str().expect("a login").to_owned();
    // Whoever is unknown is told what a provider said, once one was asked.
    let seen = until(PATIENCE, || house.imap_as(&second, "first-of-all").0.starts_with("NO [AUTH").then_some(()));
    assert!(seen.is_some(), "{}", house.bridge.log());
    let hears = |login: &str, token: &str| {
        let began = Instant::now();
        (house.imap_as(login, token).0, began.elapsed())
    };
    for pair in [[ALICE, &second], [NOBODY, "nobody-either@tokens.test"]] {
        // One is shown often enough for its pause, and one token so often that it is known.
        let first: Vec<_> = ["often", "often", "b", "c", "d"].map(|token| hears(pair[0], token)).into();
        let ends: Vec<_> = first.iter().map(|(words, _)| words.contains("had not seen yet")).collect();
        assert_eq!(ends, [false, false, false, false, true], "{pair:?}: {first:?}");
        for token in ["often", "never"] {
            let (words, took) = hears(pair[1], token);
            eprintln!("r23: {}, after {}: {words} in {took:?}", pair[1], pair[0]);
            assert!(
                words.starts_with("NO [AUTHENTICATIONFAILED] ") && took >= slow,
                "{pair:?} {token}: {words} {took:?}"
            );
        }
    }
}

/// What each of these logins hears of a wrong token at a service, and when.
fn told(house: &House, service: &str, token: &str) -> Vec<(String, Duration)> {
    thread::scope(|scope| {
        let one = |login: &'static str| {
            scope.spawn(move || {
                let began = Instant::now();
                let told = if service == "imap" { house.imap_as(login, token) } else { house.smtp_as(login, token) };
                (told.0, began.elapsed())
            })
        };
        let all: Vec<_> = [ALICE, BOB, NOBODY].into_iter().map(one).collect();
        all.into_iter().map(|one| one.join().expect("answered")).collect()
    })
}

#[test]
fn r23_an_unknown_login_hears_what_a_known_one_does_of_a_provider_that_is_slow_or_down() {
    let Some(house) = House::start() else { return };
    house.bridge.add_account(&AddAccount::unchecked(&house.lab, &house.doubles[0], &house.doubles[1], BOB));
    *locked(&house.door.slow) = Duration::from_millis(1500);
    for service in ["imap", "smtp"] {
        // Once so that it is known how slow the provider is: nobody is asked for a login that is not there.
        told(&house, service, "token-number-0");
        let mut shown = 0;
        for number in 1..5 {
            let told = told(&house, service, &format!("token-number-{number}"));
            shown += usize::from(!told[0].0.contains("had not seen yet"));
            assert!(told.iter().all(|(words, _)| *words == told[0].0), "{service} {number}: {told:?}");
            let [least, most] = [told.iter().min_by_key(|told| told.1), told.iter().max_by_key(|told| told.1)];
            let apart = most.expect("three").1 - least.expect("three").1;
            eprintln!(
                "r23: {service}, a slow provider, known, by password and unknown: {:?}",
                told.iter().map(|told| told.1).collect::<Vec<_>>()
            );
            assert!(apart < Duration::from_millis(400), "{service} {number}: {told:?}");
        }
        assert_eq!(shown + 1, SHOWN, "{service}: the pause is the same for all");
    }
    let asked = house.door.refusals("imap") + house.door.refusals("smtp");
    assert_eq!(asked, 2 * SHOWN, "for the one login alone whose provider judges tokens");

    let Some(mut down) = House::start() else { return };
    down.bridge.add_account(&AddAccount::unchecked(&down.lab, &down.doubles[0], &down.doubles[1], BOB));
    down.doubles.iter_mut().for_each(Provider::stop);
    for (service, begins) in [("imap", "NO [UNAVAILABLE] "), ("smtp", "454 4.7.0 ")] {
        told(&down, service, "token-number-0");
        let told = told(&down, service, "token-number-1");
        assert!(told.iter().all(|(words, _)| words.starts_with(begins)), "{service}: {told:?}");
    }
}
