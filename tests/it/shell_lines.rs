//! Command lines that people are told to run: a shell takes what they name for one word, whatever stands in it.

use crate::{
    failure_table,
    harness::{passerelle, words},
    toy_house::{FIRST, Toys},
};
use passerelle::{
    control::{self, Refused, Service},
    failure::{Failure, Unreachable},
    model::{Address, Endpoint, Security},
    provider::Explanations,
};
use std::{collections::BTreeSet, path::Path, process::Command};

const NEIL: &str = "o'neil@example.org";

/// The command lines in a text: between backticks, or to the end of their line or sentence.
fn lines_in(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let parts: Vec<_> = line.split('`').collect();
        let (marked, plain) = if parts.len() > 2 { (parts, Vec::new()) } else { (Vec::new(), vec![line]) };
        let marked = marked.into_iter().skip(1).step_by(2).filter(|part| part.starts_with("passerelle "));
        let plain = plain.iter().flat_map(|line| line.split(';'));
        let plain = plain.filter_map(|part| part.find("passerelle ").map(|at| &part[at..]));
        found.extend(marked.chain(plain).map(str::to_owned));
    }
    found
}

/// What a shell makes of a command line.
fn words_of(line: &str) -> Vec<String> {
    let output = Command::new("sh").args(["-c", &format!("printf '%s\\n' {line}")]).output().expect("a shell");
    assert!(output.status.success(), "{line}: {}", words(&output));
    String::from_utf8(output.stdout).expect("text").lines().map(str::to_owned).collect()
}

/// Of a text that names Neil in a command: each command names him as one word. Gives how many there are.
fn neil_is_one_word(text: &str) -> usize {
    let lines: Vec<_> = lines_in(text).into_iter().filter(|line| line.contains("neil")).collect();
    for line in &lines {
        let read = words_of(line);
        assert!(read.iter().any(|word| word == NEIL), "{line}: {read:?}");
        assert!(read.iter().all(|word| word == NEIL || !word.contains("neil")), "{line}: {read:?}");
    }
    lines.len()
}

#[test]
fn every_hint_of_a_refused_sign_in_names_its_account_as_one_word() {
    let endpoint = Endpoint::parse("mail.example.org", Security::Tls, 993).expect("an endpoint");
    let listener = "127.0.0.1:1143".parse().expect("an address");
    let unreachable = [
        Unreachable::CertificateName,
        Unreachable::CertificateTime,
        Unreachable::CertificateUnknown { key: None },
        Unreachable::Lost,
        Unreachable::NameUnknown,
        Unreachable::NoStarttls,
        Unreachable::Ourselves { listener },
        Unreachable::TimedOut,
        Unreachable::Tls,
        Unreachable::Unavailable,
    ];
    let failures: Vec<_> =
        failure_table::all().into_iter().chain(unreachable.map(Failure::ProviderUnreachable)).collect();
    let samples = Explanations::built_in();
    let samples: Vec<_> = std::iter::once(None).chain(samples.iter().map(|row| Some(row.sample.clone()))).collect();
    let mut hints = BTreeSet::new();
    for failure in &failures {
        for (service, words) in [Service::Imap, Service::Smtp]
            .into_iter()
            .flat_map(|service| samples.iter().map(move |words| (service, words)))
        {
            let refused = Refused {
                service,
                endpoint: endpoint.clone(),
                failure: failure.clone(),
                words: words.clone(),
                advice: None,
                account: Some(Address::parse(NEIL).expect("an address")),
                own_key: Some("listen.imap"),
            };
            hints.extend(control::Error::Refused(vec![refused]).hint());
        }
    }
    let commands: usize = hints.iter().map(|hint| neil_is_one_word(hint)).sum();
    assert!(hints.len() > 30 && commands > 20, "{} hints, {commands} commands", hints.len());
}

/// What a command says, all of it.
fn said(state: &Path, arguments: &[&str]) -> String {
    let output = passerelle(state, arguments, "hunter2\n");
    [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text")).concat()
}

#[test]
fn what_commands_tell_to_run_can_be_pasted_into_a_shell() {
    let root = tempfile::tempdir().expect("a directory");
    let state = root.path();
    // Nobody listens there.
    let at = ["--imap", "127.0.0.1:9", "--smtp", "127.0.0.1:9", "--certificates", "accept-any"];
    let add = [&["account", "add", NEIL, "--password-stdin", "--unchecked", "--crm", "vtiger"][..], &at].concat();
    for (command, least) in [
        (&add[..], 1),
        // There is one.
        (&add[..], 2),
        (&["account", "check", NEIL], 1),
        (&["doctor", NEIL], 2),
        (&["crm", "settings", NEIL, "--crm", "suitecrm"], 2),
        (&["login", "set", NEIL, "--crm", "suitecrm"], 1),
        (&["provider", "find", "o'neil@gmail.com"], 0),
    ] {
        let told = said(state, command);
        assert!(neil_is_one_word(&told.replace("gmail.com", "example.org")) >= least, "{command:?}: {told}");
    }
    let told = said(state, &["provider", "find", "o'neil@gmail.com"]);
    assert!(told.contains("passerelle account add 'o'\\''neil@gmail.com'"), "{told}");
}

#[test]
fn what_an_account_with_a_grant_is_told_to_run_can_be_pasted_into_a_shell() {
    let Some(toys) = Toys::start() else { return };
    let at = toys.at([toys.imap.port, toys.smtp.port]);
    let at: Vec<_> = at.iter().map(String::as_str).collect();
    let grant = ["--provider", "toys", "--refresh-token-stdin", "--client-id", "app"];
    let told = |arguments: &[&str], token: &str| {
        let output = toys.bridge.cli(arguments, format!("{token}\n").as_bytes());
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text")).concat();
        if let Some(link) = text.split_whitespace().find_map(|word| word.split_once("/sign-in/")) {
            crate::harness::secrets::give_out(link.1);
        }
        text
    };
    let link = told(&[&["account", "sign-in", NEIL, "--link", "--provider", "toys"][..], &at].concat(), "");
    assert_eq!(neil_is_one_word(&link), 1, "{link}");
    toys.done(&[&["account", "add", NEIL, "--unchecked"][..], &grant, &at].concat(), FIRST);
    toys.knows(|known| known.rotates = false);
    let swap = told(&[&["account", "swap", NEIL, "--yes"][..], &grant, &at].concat(), FIRST);
    assert_eq!(neil_is_one_word(&swap), 1, "{swap}");
    toys.knows(|known| known.revoked = true);
    for command in [&["account", "check", NEIL][..], &["doctor", NEIL]] {
        let text = told(command, "");
        assert!(neil_is_one_word(&text) > 0, "{command:?}: {text}");
    }
}
