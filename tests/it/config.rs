//! Wrong configurations: a folder of `tests/configs` each, with the message awaited.
//!
//! `PASSERELLE_TEST_WRITE=1` writes the messages anew, to be read before they are committed.

use passerelle::config::Config;
use std::{path::Path, process::Command};

fn check(folder: &Path, file: &str) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_passerelle"))
        .current_dir(folder)
        .args(["config", "check", "--state", "no-such-state", "--config", file])
        .output()
        .expect("run");
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

#[test]
fn each_mistake_is_said_with_its_place_and_a_hint() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/configs");
    let mut folders: Vec<_> =
        std::fs::read_dir(root).expect("list").map(|entry| entry.expect("an entry").path()).collect();
    folders.sort();
    assert!(folders.len() >= 10);
    for folder in folders {
        let (code, message) = check(&folder, "config.toml");
        assert_eq!(code, Some(3), "{}: {message}", folder.display());
        let golden = folder.join("error");
        if std::env::var_os("PASSERELLE_TEST_WRITE").is_some() {
            std::fs::write(&golden, &message).expect("written");
        }
        let awaited = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(message, awaited, "{}", folder.display());
        assert!(message.starts_with("error: config.toml") && message.contains("\nhint: "), "{message}");
    }
}

#[test]
fn the_sample_is_good() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    assert_eq!(check(&folder, "passerelle.toml"), (Some(0), String::new()));
}

#[test]
fn the_sample_has_every_limit_and_every_time_as_it_is_without_a_file() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/passerelle.toml");
    let text = std::fs::read_to_string(sample).expect("the sample");
    let (sample, usual) = (toml::from_str::<Config>(&text).expect("a configuration"), Config::default());
    assert_eq!((&sample.limits, &sample.timeouts), (&usual.limits, &usual.timeouts));
    let usual = toml::Table::try_from(usual).expect("keys");
    for section in ["limits", "timeouts"] {
        for key in usual[section].as_table().expect("a section").keys() {
            assert!(text.lines().any(|line| line.starts_with(&format!("{key} = "))), "{section}.{key} is not told of");
        }
    }
}

#[test]
fn links_go_in_clear_to_this_machine_alone() {
    let root = tempfile::tempdir().expect("a directory");
    for (url, code) in [
        ("https://mail.example.org", 0),
        ("https://mail.example.org:8443/", 0),
        ("http://127.0.0.1:8080", 0),
        ("http://[::1]:8080", 0),
        ("http://mail.example.org", 3),
        ("http://192.0.2.1:8080", 3),
        // A name could be made to lead elsewhere.
        ("http://localhost:8080", 3),
        ("http://127.0.0.1.example.org", 3),
    ] {
        std::fs::write(root.path().join("a.toml"), format!("[console]\npublic-url = \"{url}\"\n")).expect("written");
        let (ended, message) = check(root.path(), "a.toml");
        assert_eq!(ended, Some(code), "{url}: {message}");
        assert!(code == 0 || message.contains("; or http:// and a loopback address"), "{url}: {message}");
    }
}

#[test]
fn a_file_that_is_not_there_is_said() {
    let (code, message) = check(Path::new(env!("CARGO_MANIFEST_DIR")), "no-such-file.toml");
    assert_eq!(code, Some(3));
    assert!(message.starts_with("error: cannot read the configuration: no-such-file.toml"), "{message}");
}

#[cfg(unix)]
#[test]
fn what_anyone_may_write_is_not_believed() {
    use std::{fs, os::unix::fs::PermissionsExt};
    let root = tempfile::tempdir().expect("a directory");
    let folder = root.path();
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/crm/vtiger.toml");
    fs::create_dir(folder.join("crm")).expect("made");
    fs::copy(profile, folder.join("crm/vtiger.toml")).expect("copied");
    fs::write(folder.join("passerelle.toml"), "").expect("written");
    let chmod = |name: &str, mode| {
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).expect("ours");
    };
    for (name, safe) in [("passerelle.toml", 0o664), ("crm/vtiger.toml", 0o664), ("crm", 0o775), (".", 0o775)] {
        // In a folder like /tmp nobody may remove what is another's, but anyone may put a folder there.
        chmod(name, safe | 0o1002);
        let (code, message) = check(folder, "passerelle.toml");
        let told = message.starts_with("error: anyone on this machine may write: ") && message.contains("chmod o-w");
        assert!(code == Some(3) && told, "{name}: {message}");
        chmod(name, safe);
        assert_eq!(check(folder, "passerelle.toml"), (Some(0), String::new()), "{name}");
    }
}
