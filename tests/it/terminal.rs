//! What stands in others' files and in providers' answers reaches no terminal but as text: neither in words nor in JSON, on
//! neither stream.

use crate::{
    harness::{Provider, passerelle, words},
    layers::for_each_source,
    toy_house::{ALICE, Toys},
};
use serde_json::Value;
use std::{fs, path::Path, process::Output};

/// Clears a screen, colours it by the short form of the same, turns the direction of writing, ends a line in Unicode.
const ODD: &str = "\u{1b}[2J\u{9b}31m\u{202e}\u{2028}\u{7f}";

fn is_odd(letter: char) -> bool {
    (letter.is_control() && letter != '\n') || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Both streams, in which nothing but text stands.
fn plain(output: &Output) -> [String; 2] {
    [&output.stdout, &output.stderr].map(|octets| {
        let text = String::from_utf8(octets.clone()).expect("text");
        assert!(!text.contains(is_odd), "{}", text.escape_debug());
        text
    })
}

#[test]
fn names_of_an_imported_file_are_shown_as_text() {
    let root = tempfile::tempdir().expect("a directory");
    let file = root.path().join("emailproxy.config");
    let section = format!("ali{ODD}ce@firm.test");
    let other = "carol@firm.test";
    let text = format!(
        "[IMAP-1993]\nserver_address = imap{ODD}\nserver_port = 993\n[{section}]\ntoken_url = https://{ODD}\nclient_id = \
         {ODD}\n[{other}]\ntoken_url = https://login.microsoftonline.com/x/oauth2/v2.0/token\noauth2_flow = \
         client_credentials\nclient_id = a{ODD}\n    hint: run this\n"
    );
    fs::write(&file, text).expect("written");
    let command = ["import", "email-oauth2-proxy", &file.to_string_lossy(), "--dry-run"].map(str::to_owned);
    let command: Vec<_> = command.iter().map(String::as_str).collect();
    let [said, _] = plain(&passerelle(root.path(), &command, ""));
    assert!(said.contains("[ali\\u001b[2J\\u009b31m\\u202e"), "{said}");
    assert!(!said.lines().any(|line| line.trim_start().starts_with("hint: run this")), "{said}");

    let [said, _] = plain(&passerelle(root.path(), &[&command[..], &["--json"]].concat(), ""));
    let said: Value = serde_json::from_str(&said).expect("JSON");
    let sections: Vec<_> = said["sections"].as_array().expect("a list").iter().map(|row| &row["section"]).collect();
    assert!(sections.contains(&&Value::from(section.as_str())), "a program reads the name as it is: {said}");
    assert!(sections.contains(&&Value::from(other)), "{said}");

    // What is no such file is told without its own words; what is no file, with its name.
    fs::write(&file, format!("{ODD}\n")).expect("written");
    plain(&passerelle(root.path(), &command, ""));
    let away = format!("/nowhere/{ODD}\nhint: run this");
    let [_, told] = plain(&passerelle(root.path(), &["import", "email-oauth2-proxy", &away], ""));
    assert!(told.starts_with("error: ") && !told.contains("\nhint: run"), "{told}");
}

#[test]
fn words_of_a_provider_are_shown_as_text() {
    let Some(toys) = Toys::start() else { return };
    let certificate = &toys.lab.certificates.good;
    let imap = Provider::start(Some(certificate), |visit| {
        visit.say("* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready")?;
        visit.imap(&|visit, tag, command| match command.starts_with("AUTHENTICATE") {
            true => visit.say(&format!("{tag} NO go away{ODD}")).map(|()| true),
            false => Some(false),
        })
    });
    let smtp = Provider::start(Some(certificate), |visit| {
        visit.say("220 double")?;
        loop {
            let line = visit.line()?;
            match line.split(' ').next().unwrap_or_default() {
                "EHLO" => visit.say("250-double\r\n250 AUTH PLAIN")?,
                "QUIT" => return visit.say("221 2.0.0 Bye"),
                _ => visit.say(&format!("535 5.7.8 go away{ODD}"))?,
            }
        }
    });
    let at = toys.at([imap.port, smtp.port]);
    let mut add = vec!["account", "add", ALICE, "--provider", "generic", "--password-stdin", "--unchecked"];
    add.extend(at.iter().map(String::as_str));
    toys.done(&add, "hunter2\n");
    for command in [&["account", "check", ALICE][..], &["doctor", ALICE]] {
        for more in [&[][..], &["--json"]] {
            let output = toys.bridge.cli(&[command, more].concat(), b"");
            let said = plain(&output).concat();
            assert!(said.matches("go away").count() >= 2, "{}", words(&output));
        }
    }
}

#[test]
fn what_is_no_command_is_shown_as_text() {
    let root = tempfile::tempdir().expect("a directory");
    for more in [&[][..], &["--json"]] {
        let output = passerelle(root.path(), &[&["account", ODD][..], more].concat(), "");
        assert_eq!(output.status.code(), Some(2));
        let [_, told] = plain(&output);
        assert!(told.contains("u202e"), "{told}");
    }
}

#[test]
fn one_file_writes_what_the_command_line_says() {
    let mut seen = 0;
    for_each_source(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli"), &mut |path| {
        seen += 1;
        let text = fs::read_to_string(path).expect("a source is UTF-8");
        let writes = ["stdout().lock()", "stderr()", "print!(", "println!(", "write_all("];
        let found: Vec<_> = writes.into_iter().filter(|words| text.contains(words)).collect();
        assert!(path.ends_with("out.rs") || found.is_empty(), "{}: {found:?}", path.display());
    });
    assert!(seen > 30, "only {seen} sources found");
}
