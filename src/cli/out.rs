//! What people and programs read. All that the command line writes goes through here, and nothing of it but text: names of
//! an imported file, words of providers and mailboxes are others', and a terminal would obey what else stands in them.
//!
//! JSON, too: it is looked at in terminals, and reads the same with its odd characters written out.

use super::exit::{Error, Exit};
use passerelle::telemetry::{visible, visible_lines};
use serde::Serialize;
use std::io::{self, Write};

/// An answer in words.
pub(super) fn text(words: &str) -> Result<(), Error> {
    write(io::stdout().lock(), &visible_lines(words)).map_err(Error::Write)
}

/// An answer for a program.
pub(super) fn json(value: &impl Serialize) -> Result<(), Error> {
    let json = serde_json::to_string_pretty(value).map_err(|error| Error::Write(error.into()))?;
    text(&(json + "\n"))
}

/// For a program, before the answer: one line.
pub(super) fn json_line(value: &impl Serialize) -> Result<(), Error> {
    let json = serde_json::to_string(value).map_err(|error| Error::Write(error.into()))?;
    text(&(json + "\n"))
}

/// Words on the way to the answer. Whoever closed the pipe does not want them.
pub(super) fn say(words: &str) {
    let _ = text(words);
}

/// The error with its causes, and what mends it: a line each, whatever stands in them.
pub(super) fn complain(error: &Error, json: bool) {
    complain_of(&error.chain(), error.hint().as_deref(), error.exit(), json);
}

/// Help and version, or what is wrong with the command line: as JSON, too, if that was asked for.
pub(super) fn misunderstood(refused: &clap::Error, json: bool) -> Exit {
    if !refused.use_stderr() {
        // Whoever closed the pipe does not want it.
        let _ = refused.print();
        return Exit::Ok;
    }
    let words = refused.to_string();
    if json {
        let first: Vec<_> = words.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
        let error = first.join(" ");
        let error = error.strip_prefix("error: ").unwrap_or(&error);
        complain_of(error, Some("each command says with --help what it takes"), Exit::Usage, true);
    } else {
        let _ = write(io::stderr().lock(), &visible_lines(&words));
    }
    Exit::Usage
}

fn complain_of(error: &str, hint: Option<&str>, exit: Exit, json: bool) {
    let text = if json {
        serde_json::json!({ "error": error, "hint": hint, "exit": exit as u8 }).to_string() + "\n"
    } else {
        let hint = hint.map(|hint| format!("hint: {}\n", visible(hint))).unwrap_or_default();
        format!("error: {}\n{hint}", visible(error))
    };
    let _ = write(io::stderr().lock(), &visible_lines(&text));
}

fn write(mut to: impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes()).and_then(|()| to.flush())
}
