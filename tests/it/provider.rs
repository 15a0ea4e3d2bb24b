//! The provider table as people meet it: all of it against a golden file, and the files that replace or add to it.

use crate::harness::{refused, said};
use std::{fs, path::Path};

/// Where the whole table stands as it is shown. After a change of the table: look at the difference, and copy.
const GOLDEN: &str = "tests/golden/providers.txt";

const OWN: &str = include_str!("../../config/providers/gandi.toml");

#[test]
fn the_table_is_as_it_was_agreed() {
    let root = tempfile::tempdir().expect("a directory");
    let list = said(root.path(), &["provider", "list"]);
    let mut whole = list.clone();
    for line in list.lines().skip(1) {
        let name = line.split_whitespace().next().expect("a name");
        whole.push('\n');
        whole.push_str(&said(root.path(), &["provider", "show", name]));
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    let agreed = fs::read_to_string(&golden).unwrap_or_default();
    if whole != agreed {
        let now = Path::new(env!("CARGO_TARGET_TMPDIR")).join("providers.txt");
        fs::write(&now, &whole).expect("written");
        panic!("the table differs; see: diff {} {}", golden.display(), now.display());
    }
}

#[test]
fn every_fact_is_there_as_json_too() {
    let root = tempfile::tempdir().expect("a directory");
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_str(&said(root.path(), &[arguments, &["--json"]].concat())).expect("JSON")
    };
    assert_eq!(json(&["provider", "list"]).as_array().map(Vec::len), Some(12));
    let google = json(&["provider", "show", "google"]);
    assert_eq!(google["imap"]["host"], "imap.gmail.com");
    assert_eq!(google["imap"]["mechanisms"][0], "xoauth2");
    assert_eq!(google["sent"]["filed"], "yes");
    assert_eq!(google["limits"]["imap-connections"], 5);
    assert_eq!(google["oauth"]["parameters"]["access_type"], "offline");
    assert!(google["imap"]["source"].as_str().is_some_and(|source| source.contains("[D,h]")));
    assert!(!root.path().join("passerelle.db").exists(), "looking makes no state");
}

#[test]
fn a_file_of_this_machine_replaces_or_adds() {
    let root = tempfile::tempdir().expect("a directory");
    let [state, beside] = ["state", "etc"].map(|name| root.path().join(name));
    for folder in [&state, &beside] {
        fs::create_dir_all(folder.join("providers")).expect("made");
    }
    let own = |host: &str| OWN.replace("mail.gandi.net", host);
    fs::write(state.join("providers/gandi.toml"), own("state.test")).expect("written");
    fs::write(state.join("providers/firm.toml"), own("firm.test")).expect("written");
    fs::write(state.join("providers/notes.txt"), "no provider").expect("written");
    assert!(said(&state, &["provider", "show", "gandi"]).contains("state.test:993"));
    assert!(said(&state, &["provider", "show", "firm"]).contains("(from a file of this machine)"));
    assert_eq!(said(&state, &["provider", "list"]).lines().count(), 14);

    let configuration = beside.join("passerelle.toml");
    fs::write(&configuration, "").expect("written");
    fs::write(beside.join("providers/gandi.toml"), own("beside.test")).expect("written");
    let arguments = ["provider", "show", "gandi", "--config", configuration.to_str().expect("text")];
    assert!(said(&state, &arguments).contains("beside.test:993"));
}

#[test]
fn a_wrong_file_is_told_with_its_line_and_key() {
    let root = tempfile::tempdir().expect("a directory");
    let file = root.path().join("providers/gandi.toml");
    fs::create_dir_all(root.path().join("providers")).expect("made");
    fs::write(&file, OWN.replace("filed = \"no\"", "filed = \"sometimes\"")).expect("written");
    let line = 1 + OWN.lines().position(|line| line == "filed = \"no\"").expect("it is there");
    for command in ["list", "show"] {
        let name = (command == "show").then_some("google");
        let arguments: Vec<&str> = ["provider", command].into_iter().chain(name).collect();
        let (error, code) = refused(root.path(), &arguments);
        assert_eq!(code, Some(3), "{error}");
        let start = format!("error: {}:{line}: sent.filed: expected ", file.display());
        assert!(error.starts_with(&start) && error.contains(": \"sometimes\"\nhint: "), "{error}");
    }
}

#[test]
fn an_unknown_name_is_not_found() {
    let root = tempfile::tempdir().expect("a directory");
    let (error, code) = refused(root.path(), &["provider", "show", "gmail"]);
    assert_eq!(code, Some(5));
    assert_eq!(error, "error: there is no provider of this name: gmail\nhint: `passerelle provider list` shows all\n");
}
