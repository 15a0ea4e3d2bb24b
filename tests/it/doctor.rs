//! `passerelle doctor`: what is well is said, and what a provider says on the wire is explained by the table.

use crate::{
    harness::{AddAccount, Bridge, IMAP_CAPABILITIES, Lab, Provider, words},
    toy_house::{self, Toys},
};
use passerelle::provider::{Explanation, Explanations, Said};
use serde_json::{Value, json};
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    process::Output,
    sync::{Arc, Mutex},
    thread,
};

const ALICE: &str = "alice@lab.test";

/// When the token endpoint's clock stood still.
const NEW_YEAR: &str = "Thu, 01 Jan 2026 00:00:00 GMT";

/// What the doubles say next; none: they let in.
type Says = Arc<Mutex<Option<String>>>;

fn said(says: &Says) -> Option<String> {
    says.lock().expect("no test panicked in here").clone()
}

struct House {
    imap_says: Says,
    smtp_says: Says,
    bridge: Bridge,
    _doubles: [Provider; 2],
    _lab: Lab,
}

impl House {
    fn start() -> Option<Self> {
        let lab = Lab::needing(&[])?;
        let [imap_says, smtp_says] = [(); 2].map(|()| Says::default());
        let says = imap_says.clone();
        let imap = Provider::start(Some(&lab.certificates.good), move |visit| {
            visit.say(&format!("* OK [CAPABILITY {IMAP_CAPABILITIES}] Double ready"))?;
            visit.imap(&|visit, tag, command| {
                let Some(words) = said(&says) else { return Some(false) };
                // Microsoft says this one of the first command behind a sign-in that worked.
                let late = words.starts_with("BAD");
                if command.starts_with("AUTHENTICATE") == late {
                    return Some(false);
                }
                visit.say(&format!("{tag} {words}")).map(|()| true)
            })
        });
        let says = smtp_says.clone();
        let smtp = Provider::start(Some(&lab.certificates.good), move |visit| {
            visit.say("220 double")?;
            loop {
                let line = visit.line()?.to_ascii_uppercase();
                let words = said(&says);
                let of_sender = words.as_ref().is_some_and(|words| words.starts_with("553"));
                match (line.split(' ').next().unwrap_or_default(), words) {
                    ("EHLO", _) => visit.say("250-double\r\n250 AUTH PLAIN")?,
                    ("AUTH", Some(words)) if !of_sender => visit.say(&words)?,
                    ("MAIL", Some(words)) => visit.say(&words)?,
                    ("AUTH", _) => visit.say("235 2.7.0 Signed in")?,
                    ("QUIT", _) => return visit.say("221 2.0.0 Bye"),
                    _ => visit.say("250 2.0.0 Ok")?,
                }
            }
        });
        let mut bridge = Bridge::prepare(&lab);
        bridge.add_account(&AddAccount::unchecked(&lab, &imap, &smtp, ALICE));
        bridge.serve();
        Some(Self { imap_says, smtp_says, bridge, _doubles: [imap, smtp], _lab: lab })
    }

    fn doctor(&self) -> (Output, Value) {
        let output = self.bridge.cli(&["doctor", ALICE, "--json"], b"");
        let answer =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error} {}", words(&output)));
        (output, answer)
    }

    /// A grant that is known to be gone is not asked for again, this one is.
    fn is_granted(&self, endpoint: &str) {
        let grant = ["account", "set", ALICE, "--refresh-token-stdin", "--client-id", "c", "--unchecked"];
        let set = self.bridge.cli(&[&grant[..], &["--token-endpoint", endpoint]].concat(), b"R1\n");
        assert!(set.status.success(), "{}", words(&set));
    }

    /// The provider says what the row has as its sample: the row is what is told of it.
    fn explains(&self, row: &Explanation) {
        let (output, answer) = self.doctor();
        let findings = answer["findings"].as_array().expect("findings");
        let found = findings.iter().find(|finding| finding["explanation"] == row.id.as_str());
        let found = found.unwrap_or_else(|| panic!("{}: {answer:#}", row.id));
        assert_eq!((&found["what"], &found["severity"]), (&row.what.as_str().into(), &"problem".into()), "{found}");
        assert!(found["mend"].as_str().is_some_and(|mend| !mend.contains("ADDRESS")), "{found}");
        assert_eq!((output.status.code(), &answer["worst"]), (Some(9), &"problem".into()), "{}", words(&output));
    }
}

#[test]
fn what_is_well_is_said_and_nothing_else() {
    let Some(house) = House::start() else { return };
    let (output, answer) = house.doctor();
    assert_eq!(output.status.code(), Some(0), "{answer:#} {}", words(&output));
    let findings = answer["findings"].as_array().expect("findings");
    let checks: Vec<_> = findings.iter().map(|finding| finding["check"].as_str().expect("a name")).collect();
    for check in [
        "configuration",
        "state",
        "clock",
        "serve",
        "listen.imap",
        "listen.smtps",
        "certificate",
        "imap-dns",
        "imap-tcp",
        "imap-tls",
        "imap-sign-in",
        "folder-roles",
        "smtp-sign-in",
        "sending-rights",
        "limits",
    ] {
        assert!(checks.contains(&check), "{check} is not among {checks:?}");
    }
    assert!(findings.iter().all(|finding| finding["severity"] == "ok"), "{answer:#}");
    let told = words(&house.bridge.cli(&["doctor"], b""));
    assert!(told.contains(&format!("\n{ALICE}\n")) && told.contains("sending-rights"), "{told}");
}

#[test]
fn what_a_mail_provider_says_is_explained() {
    let Some(house) = House::start() else { return };
    for row in Explanations::built_in().iter() {
        let says = match row.on {
            Said::Imap => &house.imap_says,
            Said::Smtp => &house.smtp_says,
            Said::Token => continue,
        };
        *says.lock().expect("no test panicked in here") = Some(row.sample.clone());
        house.explains(row);
        *says.lock().expect("no test panicked in here") = None;
    }
}

/// A token endpoint that refuses in these words.
fn endpoint(answer: Says) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}/token", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let Some(body) = said(&answer) else { return };
            let mut request = Vec::new();
            let mut chunk = [0; 4096];
            // The last field of the form, whose name is no other's.
            while !String::from_utf8_lossy(&request).contains("refresh_token=R1") {
                match stream.read(&mut chunk) {
                    Ok(read) if read > 0 => request.extend_from_slice(&chunk[..read]),
                    _ => break,
                }
            }
            let head = format!(
                "HTTP/1.1 400 Bad\r\nDate: {NEW_YEAR}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _ = stream.write_all((head + &body).as_bytes());
        }
    });
    address
}

#[test]
fn what_a_token_endpoint_says_is_explained() {
    let Some(house) = House::start() else { return };
    let answer = Says::default();
    *answer.lock().expect("no test panicked in here") = Some(String::new());
    let endpoint = endpoint(answer.clone());
    for row in Explanations::built_in().iter().filter(|row| row.on == Said::Token) {
        let body = match (row.sample.split_once(": "), row.sample.split_once(' ')) {
            (Some((code, text)), _) => json!({ "error": code, "error_description": text }),
            (None, Some((code, number))) => {
                json!({ "error": code, "error_codes": [number.parse::<u64>().expect("a number")] })
            }
            (None, None) => json!({ "error": row.sample }),
        };
        let body = body.to_string();
        *answer.lock().expect("no test panicked in here") = Some(body);
        house.is_granted(&endpoint);
        house.explains(row);
        // A grant that is known to be gone is not asked for again, and why it is gone is said all the same.
        let gone = house.bridge.cli(&["account", "show", ALICE, "--json"], b"");
        let gone: Value = serde_json::from_slice(&gone.stdout).expect("JSON");
        if gone["grant"]["state"] == "consent-needed" {
            house.explains(row);
        }
    }
    house.is_granted(&endpoint);
    let (_, told) = house.doctor();
    let clock = told["findings"].as_array().expect("findings").iter().rfind(|finding| finding["check"] == "clock");
    let clock = clock.expect("of the two clocks");
    assert!(clock["what"].as_str().is_some_and(|what| what.contains(" is ahead of that of http")), "{clock}");
    assert!(clock["severity"] == "warning" && clock["account"] == ALICE, "{clock}");
    *answer.lock().expect("no test panicked in here") = None;
}

#[test]
fn a_bridge_that_does_not_run_is_a_problem_and_stops_nothing() {
    let Some(mut house) = House::start() else { return };
    assert!(house.bridge.drain());
    let (output, answer) = house.doctor();
    assert_eq!(output.status.code(), Some(9));
    let of = |check: &str| {
        let findings = answer["findings"].as_array().expect("findings");
        findings.iter().find(|finding| finding["check"] == check).cloned().unwrap_or_default()
    };
    assert_eq!(of("serve")["severity"], "problem");
    assert_eq!(of("imap-sign-in")["severity"], "ok", "{answer:#}");
}

#[test]
fn a_grant_for_less_than_was_asked_for_is_said() {
    let Some(toys) = Toys::start() else { return };
    toys.hand_over("add", toy_house::FIRST, &[]);
    let scopes = || {
        let output = toys.bridge.cli(&["doctor", toy_house::ALICE, "--json"], b"");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", words(&output)));
        let findings = answer["findings"].as_array().expect("findings").clone();
        assert!(findings.iter().any(|finding| finding["check"] == "token"), "{answer:#}");
        findings.into_iter().find(|finding| finding["check"] == "scopes")
    };
    assert_eq!(scopes(), None);
    // Its person has taken the mail away since.
    toys.knows(|known| known.scope = Some("openid"));
    let found = scopes().expect("it is said");
    assert_eq!(
        (&found["what"], &found["severity"]),
        (&"the access token is for less than was asked for; missing: mail".into(), &"warning".into())
    );
    assert!(found["mend"].as_str().is_some_and(|mend| mend.contains("account sign-in alice@toys.test`")), "{found}");
}
