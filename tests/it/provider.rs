//! The provider table as people meet it: all of it against a golden file, and the files that replace or add to it.

use crate::harness::{passerelle, refused, said};
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

#[test]
fn what_to_enter_on_a_providers_page_is_printed_and_nothing_is_made() {
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path().join("state");
    let guide = |arguments: &[&str]| said(&state, &[&["provider", "register"], arguments].concat());
    let google = guide(&["google"]);
    for line in [
        "  redirect      http://localhost:1180/oauth/callback/google\n",
        "  scope         https://mail.google.com/\n",
        "warning: External and still Testing: every sign-in ends after 7 days\n",
        "    passerelle provider register google --client-id CLIENT-ID [--secret-stdin < SECRET-FILE]\n",
    ] {
        assert!(google.contains(line), "{line}{google}");
    }
    let tenant = guide(&["microsoft365", "--for", "tenant", "--tenant", "firm.test"]);
    for line in [
        "  scope         https://outlook.office365.com/.default\n",
        "  permission    IMAP.AccessAsApp\n",
        "  permission    SMTP.SendAsApp\n",
        "  admin consent https://login.microsoftonline.com/firm.test/adminconsent?client_id=CLIENT-ID\n",
        "    New-ServicePrincipal -AppId CLIENT-ID -ObjectId OBJECT-ID\n",
        "    Add-MailboxPermission -Identity MAILBOX -User OBJECT-ID -AccessRights FullAccess\n",
        "    Add-RecipientPermission -Identity MAILBOX -Trustee OBJECT-ID -AccessRights SendAs\n",
        "not that of the app registration",
        "24 months at most",
        " --for tenant --tenant firm.test --domain DOMAIN --client-id CLIENT-ID --certificate CERT.pem --key KEY.pem\n",
    ] {
        assert!(tenant.contains(line), "{line}{tenant}");
    }
    assert!(!tenant.contains("  redirect      "), "{tenant}");
    let people = guide(&["microsoft365", "--json"]);
    let people: serde_json::Value = serde_json::from_str(&people).expect("JSON");
    assert_eq!(people["redirects"], serde_json::json!(["http://localhost:1180/oauth/callback/microsoft365"]));
    assert_eq!(people["scopes"][2], "offline_access");
    // Where people come from elsewhere, a web client wants exactly that address.
    let configuration = root.path().join("passerelle.toml");
    fs::write(&configuration, "[console]\npublic-url = \"https://mail.firm.test\"\n").expect("written");
    let public = guide(&["google", "--config", configuration.to_str().expect("text")]);
    assert!(public.contains("  redirect      https://mail.firm.test/oauth/callback/google\n"), "{public}");
    assert!(!public.contains("localhost"), "{public}");
    // Every place in every text is filled in.
    for provider in ["google", "microsoft365", "outlook", "fastmail"] {
        for whom in ["consent", "tenant", "domain"] {
            let output = passerelle(&state, &["provider", "register", provider, "--for", whom], "");
            let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(!text.contains('{') && !text.contains('}'), "{text}");
        }
    }
    let (error, code) = refused(&state, &["provider", "register", "yahoo"]);
    assert_eq!(code, Some(2));
    assert!(
        error.starts_with("error: no client can be registered at Yahoo Mail for people who sign in\nhint: "),
        "{error}"
    );
    assert!(!state.exists(), "looking makes no state");
}
