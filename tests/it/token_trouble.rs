//! Token endpoints that refuse, fail, redirect, drip, or never end: what each costs, and what a CRM hears meanwhile.
//!
//! They are doubles in clear on the loopback, each for an account of its own; the bridge is the real program.

use crate::harness::{Bridge, CrmSettings, Endpoint, Lab, Provider, Visit, Wire, secrets, until, words};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

const TOKEN: &str = "a-refresh-token-of-the-toys";
/// Of the bridge, for a whole question (rule R31).
const DEADLINE: Duration = Duration::from_secs(15);
/// Token calls for one failed login (rule R30).
const CALLS: usize = 3;
/// What sockets of both ends hold of an answer that nobody reads: more was never read.
const IN_SOCKETS: u64 = 8 << 20;
/// By which the bridge may grow, built without optimisation, whatever endpoints say, in KiB.
const GROWTH: u64 = 24 << 10;

/// An IMAP server that lets every token in.
fn lets_in(lab: &Lab) -> Provider {
    Provider::start(Some(&lab.certificates.good), |visit| {
        visit.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] ready")?;
        visit.imap(&|_, _, _| Some(false))
    })
}

/// An account whose provider would let it in, if it had a token from there.
fn add(bridge: &Bridge, lab: &Lab, imap: &Provider, address: &str, endpoint: &str) -> CrmSettings {
    let (imap, certificates) = (format!("localhost:{}", imap.port), format!("ca={}", lab.certificates.ca.display()));
    let mut command = vec!["account", "add", address, "--imap", &imap, "--smtp", &imap, "--unchecked"];
    command.extend(["--certificates", &certificates, "--token-endpoint", endpoint, "--client-id", "bridge"]);
    command.extend(["--refresh-token-stdin", "--json"]);
    let output = bridge.cli(&command, format!("{TOKEN}\n").as_bytes());
    assert!(output.status.success(), "{}", words(&output));
    let made: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |key: &str| made[key].as_str().expect("text").to_owned();
    secrets::give_out(&text("password"));
    CrmSettings { login: text("login"), password: text("password") }
}

/// What IMAP answers to a login.
fn imap(bridge: &Bridge, crm: &CrmSettings) -> String {
    let mut wire = Wire::plain(bridge.imap);
    wire.expect("* OK");
    wire.imap(&crm.imap_login()).tagged
}

/// What SMTP answers to a login that is refused for now.
fn smtp(bridge: &Bridge, crm: &CrmSettings) -> String {
    let mut wire = Wire::plain(bridge.smtp);
    wire.expect("220");
    wire.smtp("EHLO crm.test", 250);
    wire.smtp(&crm.smtp_auth(), 454)
}

fn state(bridge: &Bridge, address: &str) -> Value {
    let output = bridge.cli(&["account", "show", address, "--json"], b"");
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    shown["grant"]["state"].clone()
}

#[test]
fn r30_refused_and_failing_and_silent_are_three_states_and_none_is_hammered() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let provider = lets_in(&lab);
    let mut bridge = Bridge::configured(&lab, "[timeouts]\nlogin-wait = \"2s\"\n");
    let said = Arc::new(Mutex::new((503, json!({ "error": "temporarily_unavailable" }))));
    let says = said.clone();
    let failing = Endpoint::start(move |_, _| says.lock().expect("no test panicked").clone());
    let gone = Endpoint::start(|_, _| (400, json!({ "error": "invalid_grant" })));
    // Takes the question and says nothing.
    let silent = Provider::start(None, |visit| visit.line().map(drop));
    let at_silent = format!("http://127.0.0.1:{}/token", silent.port);
    let [refused, fails, hangs] =
        [("refused@toys.test", gone.url()), ("fails@toys.test", failing.url()), ("hangs@toys.test", at_silent)]
            .map(|(address, endpoint)| (address, add(&bridge, &lab, &provider, address, &endpoint)));
    bridge.serve();
    let calls = || [gone.asked().len(), failing.asked().len(), usize::try_from(silent.visits()).expect("few")];

    // One login of each.
    let [first, second, third] = [&refused, &fails, &hangs].map(|(_, crm)| imap(&bridge, crm));
    assert!(first.starts_with("NO [CONTACTADMIN] ") && first.contains("sign in again"), "{first}");
    assert!(second.starts_with("NO [UNAVAILABLE] "), "{second}");
    assert!(third.starts_with("NO [UNAVAILABLE] "), "{third}");
    let after_one = calls();
    assert!(after_one.iter().all(|&calls| (1..=CALLS).contains(&calls)), "{after_one:?}");
    eprintln!("r30: token calls for one failed login (invalid_grant, 503, silence): {after_one:?}");

    // Ten more each way ask nobody: within 30 s there is one question at most.
    thread::scope(|scope| {
        for (_, crm) in [&refused, &fails, &hangs] {
            for _ in 0..5 {
                scope.spawn(|| assert!(imap(&bridge, crm).starts_with("NO [")));
                scope.spawn(|| drop(smtp(&bridge, crm)));
            }
        }
    });
    eprintln!("r30: and after ten more of each: {:?}", calls());
    assert_eq!(calls(), after_one, "{}", bridge.log());

    // Only a refusal of the grant is its end.
    assert_eq!(state(&bridge, refused.0), "consent-needed");
    assert_eq!((state(&bridge, fails.0), state(&bridge, hangs.0)), ("good".into(), "good".into()));
    // What failed is well again: the token is the one that was there, and nobody has consented anew.
    assert!(bridge.drain(), "{}", bridge.log());
    *said.lock().expect("no test panicked") =
        (200, json!({ "access_token": "toy-access-2", "token_type": "Bearer", "expires_in": 3600 }));
    bridge.serve();
    let answer = imap(&bridge, &fails.1);
    assert!(answer.starts_with("OK"), "{answer}\n{}", bridge.log());
    assert!(failing.asked().iter().all(|form| form["refresh_token"] == TOKEN));
}

/// Hears a question to its end.
fn question(visit: &mut Visit) -> Option<()> {
    let mut length = 0;
    loop {
        let line = visit.line()?.to_ascii_lowercase();
        if line.is_empty() {
            return visit.octets(length).map(drop);
        }
        if let Some(said) = line.strip_prefix("content-length:") {
            length = said.trim().parse().ok()?;
        }
    }
}

/// Says this for as long as it is taken.
fn for_ever(visit: &mut Visit, octets: &[u8]) -> Option<()> {
    loop {
        visit.send(octets)?;
    }
}

/// Answers with this and closes.
fn whole(visit: &mut Visit, answer: &str) -> Option<()> {
    visit.send(answer.as_bytes())?;
    visit.hang_up()
}

#[test]
fn r31_whatever_a_token_endpoint_says_is_bounded_and_passes() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let provider = lets_in(&lab);
    let mut bridge = Bridge::configured(&lab, "[timeouts]\nlogin-wait = \"3s\"\n");
    let elsewhere = Provider::start(None, |visit| whole(visit, "HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n{}"));
    let to = elsewhere.port;
    let drips = Arc::new(Mutex::new(Vec::new()));
    let dripped = drips.clone();
    let with_body =
        |status: u16, body: &str| format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let page = with_body(200, "<html><body>Welcome to the hotel's network</body></html>");
    let no_token = with_body(200, "{\"access_token\":\"two\\r\\nlines\",\"token_type\":\"Bearer\"}");
    let nested = with_body(200, &"[".repeat(60_000));
    let large = with_body(200, &format!("{{\"access_token\":\"{}\"}}", "x".repeat(70_000)));
    type Script = Box<dyn Fn(&mut Visit) -> Option<()> + Send + Sync>;
    let says = |answer: String| -> Script {
        Box::new(move |visit| {
            question(visit)?;
            whole(visit, &answer)
        })
    };
    let moods: Vec<(&str, Script)> = vec![
        (
            "endless-body",
            Box::new(|visit| {
                question(visit)?;
                visit.send(b"HTTP/1.1 200 X\r\nContent-Type: application/json\r\n\r\n{\"access_token\":\"")?;
                for_ever(visit, &[b'x'; 16 * 1024])
            }),
        ),
        (
            "endless-head",
            Box::new(|visit| {
                question(visit)?;
                visit.send(b"HTTP/1.1 200 X\r\nX-Long: ")?;
                for_ever(visit, &[b'x'; 16 * 1024])
            }),
        ),
        (
            "endless-chunks",
            Box::new(|visit| {
                question(visit)?;
                visit.send(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                for_ever(visit, b"1\r\nx\r\n")
            }),
        ),
        (
            "redirect",
            Box::new(move |visit| {
                question(visit)?;
                whole(
                    visit,
                    &format!("HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:{to}/\r\nContent-Length: 0\r\n\r\n"),
                )
            }),
        ),
        ("page", says(page)),
        ("no-token", says(no_token)),
        ("nested", says(nested)),
        ("too-long", says(large)),
        ("no-http", says("* OK IMAP4rev1 ready\r\n".to_owned())),
        ("cut", says("HTTP/1.1 200 X\r\nContent-Length: 500\r\n\r\n{\"access_token\":".to_owned())),
        (
            "drips",
            Box::new(move |visit| {
                question(visit)?;
                let began = Instant::now();
                visit.send(b"HTTP/1.1 200 X\r\nContent-Length: 500\r\n\r\n")?;
                while visit.send(b" ").is_some() && began.elapsed() < DEADLINE * 2 {
                    thread::sleep(Duration::from_millis(200));
                }
                dripped.lock().expect("no test panicked").push(began.elapsed());
                None
            }),
        ),
    ];
    let doubles: Vec<_> = moods.into_iter().map(|(name, script)| (name, Provider::start(None, script))).collect();
    let accounts: Vec<_> = doubles
        .iter()
        .map(|(name, double)| {
            let address = format!("{name}@toys.test");
            let crm = add(&bridge, &lab, &provider, &address, &format!("http://127.0.0.1:{}/token", double.port));
            (address, crm)
        })
        .collect();
    bridge.serve();
    let watch = bridge.watch();
    let slowest = AtomicUsize::new(0);
    thread::scope(|scope| {
        for (address, crm) in &accounts {
            let (bridge, slowest) = (&bridge, &slowest);
            scope.spawn(move || {
                let began = Instant::now();
                let answer = imap(bridge, crm);
                slowest.fetch_max(usize::try_from(began.elapsed().as_millis()).expect("few"), Ordering::SeqCst);
                assert!(answer.starts_with("NO [UNAVAILABLE] "), "{address}: {answer}");
                smtp(bridge, crm);
            });
        }
    });
    let ended = until(DEADLINE * 2, || (!drips.lock().expect("no test panicked").is_empty()).then_some(()));
    assert!(ended.is_some(), "who drips is heard for ever");
    let growth = watch.growth("r31: what token endpoints say");
    assert!(growth < GROWTH, "{growth} KiB");
    let dripping = drips.lock().expect("no test panicked").clone();
    eprintln!("r31: slowest answer to a CRM {slowest:?} ms, a dripping endpoint was heard for {dripping:?}");
    assert!(dripping.iter().all(|&time| time < DEADLINE + Duration::from_secs(5)), "{dripping:?}");
    for (name, double) in &doubles {
        assert!((1..=CALLS as u64).contains(&double.visits()), "{name}: {} questions", double.visits());
        assert!(double.said() < IN_SOCKETS * double.visits(), "{name}: {} octets", double.said());
        assert_eq!(state(&bridge, &format!("{name}@toys.test")), "good", "{name}");
    }
    assert_eq!(elsewhere.visits(), 0, "a refresh token went along with a redirect");
}
