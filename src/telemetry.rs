//! Where log lines go: to standard error, one event one line, whatever stands in its fields (rule R12).
//!
//! Words of providers, names of files and of mailboxes are others' text: without this they could end a line and begin one
//! of their own making, or send commands to the terminal on which a log is read. Nothing here may let a control character
//! through, or write an event in two parts.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write},
};
use tracing_subscriber::fmt::MakeWriter;

/// Makes the writer of each event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines;

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line
    }
}

/// Writes one event, which comes whole and with its line end.
#[derive(Debug)]
pub struct Line;

impl Write for Line {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write_all(line(event).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// One line of it, as JSON escapes and so in both formats.
fn line(event: &[u8]) -> String {
    let text = String::from_utf8_lossy(event);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    visible(text).into_owned() + "\n"
}

/// The text with all that is no text in it written out, line ends too: `\u000a`.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    escape(text, is_hidden)
}

/// The same for text of many lines.
#[must_use]
pub fn visible_lines(text: &str) -> Cow<'_, str> {
    escape(text, |character| character != '\n' && is_hidden(character))
}

fn escape(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if hidden(character) {
            // Writing to a String does not fail. All of them are of four digits.
            let _ = write!(shown, "\\u{:04x}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// Whether a terminal, or who splits a log into lines, may take it for more than text: C0, DEL and C1 controls, the line
/// ends of Unicode, and what turns the direction of writing.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_event_is_one_line() {
        let event = "1 INFO words=\"no\r\n2 INFO forged\u{1b}[2J\0\u{85}\u{2028}\u{202e}\u{7f}é\t\"\n";
        let shown =
            "1 INFO words=\"no\\u000d\\u000a2 INFO forged\\u001b[2J\\u0000\\u0085\\u2028\\u202e\\u007fé\\u0009\"\n";
        assert_eq!(line(event.as_bytes()), shown);
        assert_eq!(visible_lines("a\n\u{1b}b\n"), "a\n\\u001bb\n");
        assert!(matches!(visible("plain, ünd weiter"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn no_text_ends_a_line_early_or_breaks_json(text in any::<String>()) {
            let event = format!("{}\n", serde_json::json!({ "words": text }));
            let line = line(event.as_bytes());
            prop_assert_eq!(line.matches('\n').count(), 1);
            prop_assert!(!line.trim_end_matches('\n').contains(is_hidden));
            let read: serde_json::Value = serde_json::from_str(&line).expect("still JSON");
            prop_assert_eq!(read["words"].as_str(), Some(text.as_str()));
        }
    }
}
