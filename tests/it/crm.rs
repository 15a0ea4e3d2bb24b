//! CRM profiles as people meet them: the table against a golden file, files that replace or add, and what to copy.

use crate::harness::{AddAccount, Bridge, CrmSettings, Lab, Wire, free_port, passerelle, refused, said, words};
use serde_json::Value;
use std::{fs, path::Path, time::Instant};

/// Where the whole table stands as it is shown. After a change of the table: look at the difference, and copy.
const GOLDEN: &str = "tests/golden/crm.txt";

const OWN: &str = include_str!("../../config/crm/odoo.toml");

/// A state with the account alice@lab.test, which was not asked for.
fn with_account(state: &Path) {
    let add = ["account", "add", "alice@lab.test", "--imap", "localhost:1", "--smtp", "localhost:2", "--unchecked"];
    let output = passerelle(state, &[&add[..], &["--password-stdin"]].concat(), "secret\n");
    assert!(output.status.success(), "{}", words(&output));
}

#[test]
fn the_table_and_its_settings_are_as_they_were_agreed() {
    let root = tempfile::tempdir().expect("a directory");
    with_account(root.path());
    let list = said(root.path(), &["crm", "list"]);
    let mut whole = list.clone();
    for line in list.lines().skip(1) {
        let name = line.split_whitespace().next().expect("a name");
        whole.push('\n');
        whole.push_str(&said(root.path(), &["crm", "show", name]));
        whole.push('\n');
        let configuration = root.path().join("passerelle.toml");
        // What has ports of its own gets them.
        let own = whole.lines().rev().take(12).any(|line| line.trim_start().starts_with("IMAP 127.0.0.2:143"));
        let text = if own { format!("[[crm]]\nprofile = \"{name}\"\n") } else { String::new() };
        fs::write(&configuration, text).expect("written");
        whole.push_str(&said(root.path(), &["crm", "settings", "alice@lab.test", "--crm", name]));
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join(GOLDEN);
    let agreed = fs::read_to_string(&golden).unwrap_or_default();
    if whole != agreed {
        let now = Path::new(env!("CARGO_TARGET_TMPDIR")).join("crm.txt");
        fs::write(&now, &whole).expect("written");
        panic!("the table differs; see: diff {} {}", golden.display(), now.display());
    }
}

#[test]
fn settings_are_there_as_json_with_the_login_of_the_crm() {
    let root = tempfile::tempdir().expect("a directory");
    with_account(root.path());
    let json = |arguments: &[&str]| -> Value {
        serde_json::from_str(&said(root.path(), &[arguments, &["--json"]].concat())).expect("JSON")
    };
    assert_eq!(json(&["crm", "list"]).as_array().map(Vec::len), Some(11));
    assert_eq!(json(&["crm", "show", "odoo"])["sender"]["policy"], "rewrite");
    let arguments = ["crm", "settings", "alice@lab.test", "--crm", "vtiger"];
    let before = json(&arguments);
    assert_eq!(before["login"], "alice@lab.test");
    assert_eq!(before["warnings"].as_array().map(Vec::len), Some(2), "no listener, no login: {before}");
    let file = root.path().join("passerelle.toml");
    let lines = format!("put two lines into {}, `[[crm]]` and `profile = \"vtiger\"`", file.display());
    assert!(before["warnings"][0].as_str().is_some_and(|words| words.contains(&lines)), "{before}");
    assert_eq!(before["pages"][0]["fields"][0], serde_json::json!(["Mail Server or IP", "127.0.0.1"]));

    let made = json(&["login", "add", "alice@lab.test", "--label", "crm", "--crm", "vtiger"]);
    assert_eq!(made["crm"], "vtiger");
    fs::write(root.path().join("passerelle.toml"), "[[crm]]\nprofile = \"vtiger\"\n").expect("written");
    let after = json(&arguments);
    assert_eq!(after["login"], "alice+crm@lab.test");
    assert_eq!(after["warnings"], serde_json::json!([]));
    assert_eq!(after["pages"][0]["fields"][0], serde_json::json!(["Mail Server or IP", "127.0.0.2"]));
    let logins = json(&["login", "list", "alice@lab.test"]);
    let crms: Vec<_> = logins.as_array().expect("a list").iter().map(|login| login["crm"].as_str()).collect();
    assert_eq!(crms, [Some("vtiger"), Some("generic")]);
}

#[test]
fn the_card_of_a_new_login_names_the_settings() {
    let root = tempfile::tempdir().expect("a directory");
    with_account(root.path());
    fs::write(root.path().join("passerelle.toml"), "[[crm]]\nprofile = \"suitecrm\"\n").expect("written");
    let card = said(root.path(), &["login", "add", "alice@lab.test", "--label", "s", "--crm", "suitecrm"]);
    assert!(card.contains("  IMAP server   127.0.0.2   port 143   no encryption\n"), "{card}");
    assert!(card.contains("passerelle crm settings alice@lab.test --crm suitecrm\n"), "{card}");
    let card = said(root.path(), &["login", "add", "alice@lab.test", "--label", "g"]);
    assert!(card.contains("port 1143") && !card.contains("crm settings"), "{card}");
}

#[test]
fn a_file_of_this_machine_replaces_or_adds() {
    let root = tempfile::tempdir().expect("a directory");
    let [state, beside] = ["state", "etc"].map(|name| root.path().join(name));
    for folder in [&state, &beside] {
        fs::create_dir_all(folder.join("crm")).expect("made");
    }
    let own = |label: &str| OWN.replace("label = \"Odoo\"", &format!("label = \"{label}\""));
    fs::write(state.join("crm/odoo.toml"), own("of the state")).expect("written");
    fs::write(state.join("crm/firm.toml"), own("of the firm")).expect("written");
    fs::write(state.join("crm/notes.txt"), "no profile").expect("written");
    assert!(said(&state, &["crm", "show", "odoo"]).starts_with("odoo: of the state (from a file of this machine)\n"));
    assert_eq!(said(&state, &["crm", "list"]).lines().count(), 13);

    let configuration = beside.join("passerelle.toml");
    fs::write(&configuration, "[listen]\ncrm = \"firm\"\n").expect("written");
    fs::write(beside.join("crm/odoo.toml"), own("beside")).expect("written");
    let arguments = ["crm", "show", "odoo", "--config", configuration.to_str().expect("text")];
    assert!(said(&state, &arguments).starts_with("odoo: beside "));
    let arguments = ["config", "check", "--config", configuration.to_str().expect("text")];
    said(&state, &arguments);
}

#[test]
fn a_wrong_file_is_told_with_its_line_and_key() {
    let root = tempfile::tempdir().expect("a directory");
    fs::create_dir_all(root.path().join("crm")).expect("made");
    let file = root.path().join("crm/odoo.toml");
    fs::write(&file, OWN.replace("policy = \"rewrite\"", "policy = \"maybe\"")).expect("written");
    let line = 1 + OWN.lines().position(|line| line == "policy = \"rewrite\"").expect("it is there");
    for arguments in [&["crm", "list"][..], &["config", "check"]] {
        let (error, code) = refused(root.path(), arguments);
        assert_eq!(code, Some(3), "{error}");
        assert!(error.starts_with(&format!("error: {}:{line}: sender.policy: ", file.display())), "{error}");
    }
}

#[test]
fn an_unknown_name_is_not_found() {
    let root = tempfile::tempdir().expect("a directory");
    with_account(root.path());
    let commands = [
        &["crm", "show", "sugar"][..],
        &["crm", "settings", "alice@lab.test", "--crm", "sugar"],
        &["login", "add", "alice@lab.test", "--label", "x", "--crm", "sugar"],
    ];
    for arguments in commands {
        let (error, code) = refused(root.path(), arguments);
        assert_eq!(code, Some(5), "{error}");
        assert_eq!(
            error,
            "error: there is no CRM profile of this name: sugar\nhint: `passerelle crm list` shows all\n"
        );
    }
}

#[test]
fn a_login_is_answered_within_the_patience_of_its_crm() {
    let Some(lab) = Lab::needing(&[]) else { return };
    // A provider that takes the connection and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let own = free_port();
    let text = format!("[[crm]]\nprofile = \"firm\"\nimap = \"127.0.0.1:{own}\"\n");
    let mut bridge = Bridge::configured(&lab, &text);
    let folder = bridge.state().join("crm");
    fs::create_dir_all(&folder).expect("made");
    fs::set_permissions(bridge.state(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("private");
    fs::write(folder.join("firm.toml"), OWN.replace("[login]\n", "[login]\nwait = 1\n")).expect("written");
    let account = AddAccount::at(&lab, [port, port], "alice@lab.test");
    let generic = bridge.add_account(&account);
    let output = bridge.cli(&["login", "add", "--label", "firm", "--crm", "firm", "--json"], b"");
    let made: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", words(&output)));
    let text = |key: &str| made[key].as_str().expect("text").to_owned();
    let firm = CrmSettings { login: text("login"), password: text("password") };
    bridge.serve();
    // The login's profile at a usual listener, and the listener's for a usual login.
    for (port, crm) in [(bridge.imap, &firm), (own, &generic)] {
        let mut wire = Wire::plain(port);
        wire.expect("* OK");
        let began = Instant::now();
        let answer = wire.imap(&crm.imap_login()).tagged;
        let took = began.elapsed();
        assert!(answer.starts_with("NO [UNAVAILABLE] "), "{answer}");
        assert!((900..2500).contains(&took.as_millis()), "{took:?}");
    }
}

#[test]
fn a_login_whose_profile_is_gone_is_told_to_try_again_later() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let mut bridge = Bridge::prepare(&lab);
    let folder = bridge.state().join("crm");
    fs::create_dir_all(&folder).expect("made");
    fs::set_permissions(bridge.state(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("private");
    fs::write(folder.join("firm.toml"), OWN).expect("written");
    let add = AddAccount::at(&lab, [1, 2], "alice@lab.test");
    let crm = bridge.add_account(&AddAccount {
        more: vec!["--unchecked".to_owned(), "--crm".to_owned(), "firm".to_owned()],
        ..add
    });
    fs::remove_file(folder.join("firm.toml")).expect("removed");
    bridge.serve();
    let mut wire = Wire::plain(bridge.imap);
    wire.expect("* OK");
    let answer = wire.imap(&crm.imap_login()).tagged;
    assert!(answer.starts_with("NO [SERVERBUG] "), "{answer}");
    assert!(bridge.log().contains("put its file back"), "{}", bridge.log());
}
