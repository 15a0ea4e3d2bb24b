//! The README does what it says: every block fenced as `sh` runs, in order, in one shell.
//!
//! What shall only be read is fenced as `console` or `text`. The commands stay those that a person types, and this test
//! puts its own things behind their names:
//!
//! - `passerelle` and `cargo run --release --` are the binary under test, with a state and a configuration of its own;
//!   the bridge serves from the start, so `serve` returns at once where a person would open a second terminal.
//! - The ports 1143, 1587, 1993 and 1465 become free ones.
//! - `sales@example.com` is a mailbox of the lab, `imap.example.com` and `smtp.example.com` are its hosts, whose
//!   authority `account add` is told; its question for the password is answered. `account swap` goes to the same hosts
//!   under the names of another provider, and its questions are answered, too.
//! - `tests/run` and `.ci/run`, which would run this test again, and cargo's own commands are not run; the first two must
//!   be there.

use crate::harness::{Bridge, Dovecot, Exim, Lab, Program, run, words};
use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

const ADDRESS: &str = "sales@example.com";
const PASSWORD: &str = "secret";

/// The two commands that a checkout needs.
const PROMISED: [&str; 2] = ["cargo run --release -- demo", "tests/run"];

struct Block {
    line: usize,
    text: String,
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("there is a README.md")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn two_commands_are_promised() {
    let blocks = blocks(&readme());
    for command in PROMISED {
        let said = blocks.iter().any(|block| block.text.lines().any(|line| line.trim() == command));
        assert!(said, "README.md has no `sh` block with the line: {command}");
    }
}

#[test]
fn every_command_of_the_readme_works() {
    let Some(lab) = Lab::needing(&[Program::Dovecot, Program::Exim]) else { return };
    let dovecot = Dovecot::ovh(&lab);
    dovecot.add_user(ADDRESS, PASSWORD);
    let exim = Exim::submission(&lab, &dovecot);
    let mut bridge = Bridge::prepare(&lab);
    bridge.serve();

    let replaced = [
        ("1143", bridge.imap.to_string()),
        ("1587", bridge.smtp.to_string()),
        ("1993", bridge.imaps.to_string()),
        ("1465", bridge.smtps.to_string()),
        ("imap.example.com", format!("localhost:{}", dovecot.imaps)),
        ("smtp.example.com", format!("localhost:{}", exim.submissions)),
        ("imap.example.net", format!("localhost:{}", dovecot.imaps)),
        ("smtp.example.net", format!("localhost:{}", exim.submissions)),
    ];
    let script = script(&blocks(&readme()), &replaced);
    let checkout = checkout(&lab);
    // From a file: on its standard input a command could eat the rest of it.
    fs::write(checkout.join("script"), &script).expect("the script is written");
    let mut command = shell(&checkout);
    command.args(["-eu", "script"]).envs(bridge.environment());
    let output = run(120, &mut command, b"");
    assert!(output.status.success(), "{script}\n{}\n{}", words(&output), bridge.log());
}

/// The blocks as one script, which says the line of each in its output.
fn script(blocks: &[Block], replaced: &[(&str, String)]) -> String {
    let mut script = String::new();
    for block in blocks {
        let text = replaced.iter().fold(block.text.clone(), |text, (from, to)| text.replace(from, to));
        script += &format!("echo 'README.md:{}'\n{text}", block.line);
    }
    script
}

fn blocks(markdown: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    // None outside of a fence; inside, whether it is one to run.
    let mut fence = None;
    for (index, line) in markdown.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), fence) {
            (Some(_), Some(_)) => fence = None,
            (Some(language), None) => {
                fence = Some(language.trim() == "sh");
                if fence == Some(true) {
                    blocks.push(Block { line: index + 1, text: String::new() });
                }
            }
            (None, Some(true)) => {
                let block = blocks.last_mut().expect("its fence has made one");
                block.text += line;
                block.text.push('\n');
            }
            (None, _) => {}
        }
    }
    blocks
}

/// A folder that looks like a checkout, with programs of ours in `bin`.
fn checkout(lab: &Lab) -> PathBuf {
    let checkout = lab.folder("r");
    for (folder, program) in [("tests", "run"), (".ci", "run")] {
        let real = root().join(folder).join(program);
        let runs = fs::metadata(&real).is_ok_and(|metadata| metadata.permissions().mode() & 0o100 != 0);
        assert!(runs, "{} cannot be run", real.display());
        write(&checkout.join(folder).join(program), "exit 0");
    }
    let binary = env!("CARGO_BIN_EXE_passerelle");
    let ca = lab.certificates.ca.display();
    write(
        &checkout.join("bin/passerelle"),
        &format!(
            r#"case "${{1-}} ${{2-}}" in
"serve ") exit 0 ;;
"account add")
    printf '%s\n' {PASSWORD} | '{binary}' "$@" --certificates 'ca={ca}' --password-stdin
    sleep 1 # after which a running bridge knows it
    ;;
"account swap")
    case "$*" in *--back*) exec '{binary}' "$@" --yes ;; esac
    printf '%s\n' {PASSWORD} | '{binary}' "$@" --certificates 'ca={ca}' --password-stdin --yes
    ;;
*) exec '{binary}' "$@" ;;
esac"#
        ),
    );
    write(
        &checkout.join("bin/cargo"),
        r#"case "$*" in
"run --release -- "*) shift 3; exec passerelle "$@" ;;
run*) echo "not as the README promises it: cargo $*" >&2; exit 1 ;;
esac"#,
    );
    checkout
}

/// A shell in that folder, for which our programs come first.
fn shell(checkout: &Path) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("sh");
    shell.current_dir(checkout).env("PATH", format!("{}:{path}", checkout.join("bin").display()));
    shell
}

fn write(path: &Path, commands: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder of the checkout");
    fs::write(path, format!("#!/bin/sh\nset -eu\n{commands}\n")).expect("a program of the checkout");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it can run");
}

#[test]
fn blocks_to_run_are_told_from_blocks_to_read() {
    let text =
        "# T\n```sh\na 1143\n\n  b\n```\ntext\n```console\n$ no\n```\n- item\n  ```sh\n  c\n  ```\n```\nno\n```\n";
    let blocks = blocks(text);
    let script = script(&blocks, &[("1143", "7".to_owned())]);
    assert_eq!(script, "echo 'README.md:2'\na 7\n\n  b\necho 'README.md:12'\n  c\n");
}

#[test]
fn the_promised_commands_reach_our_programs() {
    let Some(lab) = Lab::needing(&[]) else { return };
    let checkout = checkout(&lab);
    let run_line = |line| run(20, shell(&checkout).args(["-euc", line]), b"").status.success();
    assert!(PROMISED.iter().all(|command| run_line(command)));
    assert!(!run_line("cargo run --relaese -- serve"));
}
