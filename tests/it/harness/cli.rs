//! The command line over a state of its own, where no bridge serves; for one that serves see [`super::Bridge::cli`].

use super::leash::{run, words};
use std::{
    path::Path,
    process::{Command, Output},
};

/// Runs the binary to its end, with this on standard input and nothing in its environment but the state.
pub(crate) fn passerelle(state: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_passerelle"));
    command.env_clear().env("PASSERELLE_STATE", state).args(arguments);
    run(20, &mut command, input.as_bytes())
}

/// What a command that works says.
pub(crate) fn said(state: &Path, arguments: &[&str]) -> String {
    let output = passerelle(state, arguments, "");
    assert!(output.status.success(), "{arguments:?}: {}", words(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// The error of a command, and its exit code.
pub(crate) fn refused(state: &Path, arguments: &[&str]) -> (String, Option<i32>) {
    let output = passerelle(state, arguments, "");
    (String::from_utf8(output.stderr).expect("text"), output.status.code())
}
