//! `passerelle limits`: the one table holds every limit, and a running bridge tells what it has in use.

use crate::harness::{AddAccount, Bridge, Lab, PATIENCE, Provider, Wire, until, words};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::Path,
};

const ALICE: &str = "alice@lab.test";
const BOB: &str = "bob@lab.test";

/// The layers that the network feeds, and those that wait for it.
const LAYERS: [&str; 12] = [
    "app",
    "console",
    "control",
    "discovery",
    "listener",
    "oauth",
    "relay",
    "rules",
    "session",
    "store/changes",
    "upstream",
    "wire",
];

/// Numbers and times that bound nothing of a peer's, each with what it is.
const NO_LIMITS: [(&str, &str); 31] = [
    ("ADDRESS_MAX", "of a web address, which stands in an answer that is bounded"),
    ("AGAIN", "the broker looks anew at a grant that another instance renews"),
    ("ANSWER_MAX", "what `limits` reads of our own bridge"),
    ("BACK_DAYS", "how long a swap can be undone"),
    ("CUT_MIN", "words of a provider are searched for pieces of a secret of this length"),
    ("FROM", "the place of a name in a list"),
    ("GROWTH", "a read that was filled is followed by one so many times as large"),
    ("HEAD", "of a sealed value, in its format"),
    ("ENCODED_MAX", "of one encoded word that we write"),
    ("FIELD_MAX", "words that are shown are cut"),
    ("ID_MAX", "of what an administrator writes"),
    ("INTERVAL_USUAL", "between polls for a code, where the provider says none"),
    ("IDENTITY_MAX", "of an address that is compared with another"),
    ("IV", "of a sealed value, in its format"),
    ("IN_VAIN", "the broker asks no endpoint whose last answer is that young"),
    ("LATER", "on a connection that is about to be closed; between the first wait and the longest"),
    ("LIFETIME_USUAL", "of a token whose provider says none"),
    ("LINE", "of a report that we write"),
    ("LITERAL_DIGITS_MAX", "the width of 63 bits in text"),
    ("MINUTE", "a minute, of which a provider says how many messages it has"),
    ("NEAR", "words of a provider that are looked at for the pause that it asks for"),
    ("PAUSE", "of a socket that only we connect to"),
    ("PAUSE_CLIENT", "of a client that its provider refuses"),
    ("RESPONSE_START", "a secret is searched for from here on"),
    ("SLOWER", "added between polls when the provider asks for it"),
    ("SPREAD_MORE", "added to the least pause, by chance"),
    ("TAG", "of a sealed value, in its format"),
    ("TAIL", "what a literal's announcement takes"),
    ("URL_MAX", "of what an administrator writes"),
    ("VERSION", "of a sealed value, in its format"),
    ("WORDS_MAX", "words that are shown are cut"),
];

#[test]
fn every_limit_of_the_code_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let table = fs::read_to_string(root.join("app/limits.rs")).expect("the table");
    let known: BTreeSet<&str> = NO_LIMITS.iter().map(|(name, _)| *name).collect();
    let told: BTreeSet<&str> = table.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    let (mut seen, mut missing) = (BTreeSet::new(), Vec::new());
    for layer in LAYERS {
        for file in sources(&root, layer) {
            let text = fs::read_to_string(&file).expect("a source");
            // The rest is tests.
            let text = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
            for name in text.lines().filter_map(number) {
                if !told.contains(name) && !known.contains(name) {
                    missing.push(format!("{}: {name}", file.display()));
                }
                seen.insert(name.to_owned());
            }
        }
    }
    assert!(missing.is_empty(), "neither in app/limits.rs nor known to be no limit:\n{}", missing.join("\n"));
    assert!(seen.len() > 60, "{}", seen.len());
    let gone: Vec<_> = known.iter().filter(|name| !seen.contains(**name)).collect();
    assert!(gone.is_empty(), "no longer in the code: {gone:?}");
}

/// A file of this name, or all in the folder.
fn sources(root: &Path, layer: &str) -> Vec<std::path::PathBuf> {
    let mut found = vec![root.join(layer).with_extension("rs")];
    let mut folders = vec![root.join(layer)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => found.push(path),
            }
        }
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs"));
    found.retain(|path| path.exists());
    found
}

/// The name of a constant that is a number or a time.
fn number(line: &str) -> Option<&str> {
    let line = ["pub(crate) ", "pub(super) ", "pub "].iter().find_map(|start| line.strip_prefix(start)).unwrap_or(line);
    let (name, rest) = line.strip_prefix("const ")?.split_once(": ")?;
    let kind = rest.split(" =").next()?;
    ["usize", "u8", "u32", "u64", "u128", "Duration"].contains(&kind).then_some(name)
}

fn limits(bridge: &Bridge) -> Value {
    let output = bridge.cli(&["limits", "--json"], b"");
    assert!(output.status.success(), "{}", words(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn of<'a>(limits: &'a Value, name: &str) -> &'a Value {
    let table = limits["limits"].as_array().expect("a table");
    table.iter().find(|limit| limit["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn a_running_bridge_tells_what_is_in_use() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let imap = Provider::imap(Some(&lab.certificates.good), |_, _, _| Some(false));
    let smtp = Provider::smtp(Some(&lab.certificates.good));
    let mut bridge = Bridge::configured(&lab, "[limits]\nbefore-login = 77\n");
    let add = |address| bridge.add_account(&AddAccount::unchecked(&lab, &imap, &smtp, address));
    let (alice, _) = (add(ALICE), add(BOB));
    // Without a bridge: the table alone, and what it would be told of.
    let before = limits(&bridge);
    assert_eq!(before["in_use"], Value::Null);
    let told = of(&before, "limits.before-login");
    assert_eq!((&told["value"], &told["set"], &told["in_use"]), (&json!("77"), &json!("configuration"), &Value::Null));
    let output = bridge.cli(&["limits"], b"");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("No bridge runs, so nothing is in use."), "{text}");
    bridge.serve();
    let mut selected = bridge.sign_in(&alice);
    selected.imap_ok("SELECT INBOX");
    let mut sends = bridge.sign_in_smtp(&alice);
    sends.smtp("MAIL FROM:<alice@lab.test>", 250);
    bridge.sign_in(&alice).imap_ok("LOGOUT");
    let mut lobby = Wire::plain(bridge.imap);
    lobby.expect("* OK");
    // What the start of the test had open goes with its own time.
    let expected = json!({
        "connections": 3,
        "before_login": 1,
        "accounts": [{ "address": ALICE, "sessions": 2, "imap_lanes": 1, "smtp_lanes": 1, "parked": 0,
            "smtp_parked": 0, "smtp_waiting": 0, "messages_in_a_minute": 1 }],
        "left_out": 0,
    });
    let seen = until(PATIENCE, || Some(limits(&bridge)).filter(|seen| seen["in_use"] == expected));
    let seen = seen.unwrap_or_else(|| panic!("{:#}", limits(&bridge)["in_use"]));
    for (name, in_use) in [("limits.connections", 3), ("limits.before-login", 1), ("limits.sessions-per-account", 2)] {
        assert_eq!(of(&seen, name)["in_use"], in_use, "{name}");
    }
    selected.imap_ok("CLOSE");
    selected.imap_ok("LOGOUT");
    drop(selected);
    let is_left = |seen: &Value| seen["in_use"]["connections"] == 2 && of(seen, "limits.parked-lanes")["in_use"] == 1;
    let parked = until(PATIENCE, || is_left(&limits(&bridge)).then_some(()));
    assert!(parked.is_some(), "{:#}", limits(&bridge)["in_use"]);
    let text = String::from_utf8_lossy(&bridge.cli(&["limits"], b"").stdout).into_owned();
    assert!(text.contains("In use now: 2 connections, 1 of them not signed in."), "{text}");
    assert!(text.contains(ALICE) && !text.contains(BOB), "{text}");
    // The socket is this user's alone; whoever connects and does not read keeps nobody waiting for long.
    let socket = bridge.state().join("serve.sock");
    assert_eq!(fs::metadata(&socket).expect("a socket").permissions().mode() & 0o777, 0o600);
    let _silent: Vec<_> = (0..5).map(|_| UnixStream::connect(&socket).expect("connected")).collect();
    limits(&bridge);
    assert!(bridge.drain());
    assert!(!socket.exists());
    assert_eq!(limits(&bridge)["in_use"], Value::Null);
}

#[test]
fn what_a_killed_bridge_leaves_is_no_bridge_and_no_hindrance() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let mut bridge = Bridge::prepare(&lab);
    bridge.serve();
    bridge.kill();
    assert!(bridge.state().join("serve.sock").exists());
    assert_eq!(limits(&bridge)["in_use"], Value::Null);
    bridge.serve();
    assert_eq!(limits(&bridge)["in_use"]["accounts"], json!([]));
}
