//! `passerelle demo`: the whole job in one command, on a machine that has nothing but the binary.

use crate::harness::{Lab, Leashed, PATIENCE, Program, faults, run, until, words};
use serde_json::Value;
use std::{fs, path::Path, process::Command};

/// The steps, in order.
const TITLES: [&str; 13] = [
    "two providers start on this machine",
    "the mailbox is added to the bridge",
    "the bridge serves",
    "the CRM signs in with the bridge's password",
    "it lists the folders",
    "it selects INBOX",
    "it reads a message",
    "it appends a draft",
    "it sends a message",
    "it finds the message",
    "the provider changes, the CRM's settings do not",
    "the CRM signs in as before",
    "it reads as before",
];

/// The demo where there is no home, no state, no configuration and no variable of ours.
fn demo(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_passerelle"));
    command.arg("demo").args(arguments).env_clear().env("TMPDIR", folder).current_dir(folder);
    command
}

fn lines<'a>(step: &'a Value, side: &str, by: &str) -> Vec<&'a str> {
    let said = step[side].as_array().expect("lines");
    said.iter().filter(|said| said["by"] == by).map(|said| said["line"].as_str().expect("a line")).collect()
}

#[test]
fn the_demo_shows_every_step_and_leaves_nothing() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let folder = lab.folder("demo");
    let output = run(60, &mut demo(&folder, &[]), b"");
    assert!(output.status.success(), "{}", words(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    for (index, title) in TITLES.iter().enumerate() {
        assert!(text.contains(&format!("✓ {:>2}  {title}\n", index + 1)), "{title}: {text}");
    }
    assert_eq!(text.matches('✓').count(), TITLES.len());
    // Both sides of one command, next to each other.
    let append = text.lines().find(|line| line.contains("APPEND Drafts")).expect("the APPEND is shown");
    assert!(append.contains("APPEND [Gmail]/Brouillons"), "{append}");
    assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 0, "something is left");
}

#[test]
fn the_demo_in_json_has_both_sides_and_no_secret() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let output = run(60, &mut demo(&lab.folder("demo"), &["--json"]), b"");
    assert!(output.status.success(), "{}", words(&output));
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let steps = json["steps"].as_array().expect("steps");
    let titles: Vec<_> = steps.iter().map(|step| step["title"].as_str().expect("a title")).collect();
    assert_eq!(titles, TITLES);
    assert!(steps.iter().all(|step| step["done"] == true) && json["stay"].is_null());
    for step in steps {
        let heard = lines(step, "crm", "server").join("\n");
        assert!(!heard.contains("[Gmail]/") && !heard.contains("INBOX."), "{heard}");
        for line in [lines(step, "crm", "client"), lines(step, "provider", "client")].concat() {
            let words: Vec<_> = line.split(' ').collect();
            let secret_at = match words[..] {
                [_, "LOGIN", ..] | [_, "AUTHENTICATE", ..] => 3,
                ["AUTH", ..] => 2,
                _ => continue,
            };
            assert_eq!(words.get(secret_at), Some(&"***"), "{line}");
        }
    }
    // Access tokens at the first provider, a password at the second.
    let signs_in = |step: usize| lines(&steps[step], "provider", "client").join("\n");
    assert!(signs_in(1).contains("AUTHENTICATE XOAUTH2 ***") && signs_in(1).contains("AUTH XOAUTH2 ***"));
    assert!(signs_in(3).contains("AUTHENTICATE XOAUTH2 ***") && signs_in(11).contains("AUTHENTICATE PLAIN ***"));
    let provider = lines(&steps[8], "provider", "client");
    assert!(provider.contains(&"MAIL FROM:<claire@cabinet.example>"), "{provider:?}");
}

#[test]
fn the_demo_stays_and_its_curl_lines_work() {
    let Some(lab) = Lab::needing(&[Program::Curl]) else { return };
    let folder = lab.folder("demo");
    let out = folder.join("out");
    let binary = env!("CARGO_BIN_EXE_passerelle").to_owned();
    let command = ["demo", "--stay", "--json"].map(str::to_owned);
    let mut demo = Leashed::start(&[&[binary], &command[..]].concat(), &out);
    let json = until(PATIENCE, || {
        assert!(demo.ended().is_none(), "it does not stay: {}", fs::read_to_string(&out).unwrap_or_default());
        serde_json::from_slice::<Value>(&fs::read(&out).ok()?).ok()
    });
    let json = json.expect("the demo tells its steps");
    let curl: Vec<_> = json["stay"]["curl"].as_array().expect("lines").iter().filter_map(Value::as_str).collect();
    let said: Vec<_> = curl.iter().map(|line| shell(line)).collect();
    for (said, awaited) in said.iter().zip(["\"Sent\"", "* SEARCH 6 7 8\r\n", "le devis d’été", "", "* SEARCH 9\r\n"])
    {
        assert!(said.contains(awaited), "{awaited}: {said}");
    }
    assert_eq!(said.len(), 5);
    // What the CRM block says is what curl uses; and nothing of it stands in the steps.
    let card = &json["stay"]["card"];
    let password = card["password"].as_str().expect("a password");
    assert!(curl[0].contains(password) && card["connect"][0]["host"] == "127.0.0.1");
    assert!(!json["steps"].to_string().contains(password));
    assert!(demo.terminate(PATIENCE), "it does not end when it is told to");
    faults::refuse(&fs::read_to_string(&out).expect("what it said"));
}

fn shell(line: &str) -> String {
    let output = run(30, Command::new("sh").args(["-c", &line.replace("curl ", "curl -sS --max-time 20 ")]), b"");
    assert!(output.status.success(), "{line}: {}", words(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
