//! What is wrong with a file that people write, said so that it can be mended: file, line, key, what was expected, what
//! stands there.
//!
//! Pure: it reads no file. Such files hold no secret, so their own text may be shown.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};
use toml::de::{DeTable, DeValue};

/// Longer texts are cut when they are shown.
const SHOWN_MAX: usize = 80;

/// One mistake in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    file: PathBuf,
    /// None if the mistake is that something is not in the file.
    line: Option<usize>,
    /// Dotted, as in `listen.imap`; empty where the file is no TOML.
    key: String,
    what: String,
    found: String,
    hint: &'static str,
}

impl Mistake {
    /// What mends it, for people.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        self.hint
    }
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", in_one_line(&self.key))?;
        }
        write!(f, ": {}: {}", in_one_line(&self.what), in_one_line(&self.found))
    }
}

/// Control letters escaped: what stands in a file does not move the cursor of who reads what is wrong with it.
fn in_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() {
            line.extend(letter.escape_default());
        } else {
            line.push(letter);
        }
    }
    line
}

/// A rule between keys that is broken, before it is known where in the file.
pub struct Broken {
    /// Dotted, as in `listen.imap`.
    pub key: &'static str,
    /// What it breaks, and what was expected.
    pub what: &'static str,
    /// What stands there.
    pub found: String,
    /// What mends it.
    pub hint: &'static str,
}

impl Broken {
    /// What is broken of the rules for the names of an entry, where each entry is a file: the file's name, by which commands
    /// know it, and the label.
    #[must_use]
    pub fn of_name(name: &str, label: &str, hint: &'static str) -> Option<Self> {
        let plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
        let broken = |key, what, found: &str| Some(Self { key, what, found: found.to_owned(), hint });
        if name.is_empty() || !name.bytes().all(plain) {
            return broken("", "expected a file name of lower-case letters, digits and `-`", name);
        }
        if label.trim().is_empty() {
            return broken("label", "expected a name for people", label);
        }
        None
    }
}

/// A file's text, to find lines and keys in.
pub struct Text<'a> {
    pub file: &'a Path,
    pub text: &'a str,
    /// What helps against a key that is not known.
    pub keys: &'static str,
    /// What helps against a value of the wrong form.
    pub forms: &'static str,
}

impl Text<'_> {
    /// What the parser says, with its key.
    #[must_use]
    pub fn misread(&self, error: &toml::de::Error) -> Mistake {
        let span = error.span().unwrap_or(0..0);
        let tree = DeTable::parse(self.text).ok();
        let key = tree.as_ref().and_then(|tree| key_at(tree.get_ref(), &span)).unwrap_or_default();
        let (what, hint) = match (tree.is_some(), error.message().starts_with("unknown field")) {
            (false, _) => (
                format!("not valid TOML, {}", error.message().trim_end().replace('\n', ", ")),
                "text stands in quotes, one `key = value` a line, sections in [brackets]",
            ),
            (true, true) => (format!("unknown key, {}", expectation(error.message())), self.keys),
            (true, false) => (expectation(error.message()), self.forms),
        };
        // Where the parser lost its way is seldom where the mistake is: the whole line is shown.
        let shown = if tree.is_some() { span.clone() } else { span.start..span.start };
        Mistake {
            file: self.file.to_owned(),
            line: Some(self.line(span.start)),
            found: self.shown(&shown),
            key,
            what,
            hint,
        }
    }

    /// A broken rule, with its line if its key is in the file.
    #[must_use]
    pub fn broken(&self, broken: Broken) -> Mistake {
        self.broken_in(broken, 0)
    }

    /// The same in the nth table of a list of tables, if the key stands in one.
    #[must_use]
    pub fn broken_in(&self, broken: Broken, nth: usize) -> Mistake {
        let tree = DeTable::parse(self.text).ok();
        let span = tree.and_then(|tree| span_of(tree.get_ref(), broken.key, nth));
        Mistake {
            file: self.file.to_owned(),
            line: span.map(|span| self.line(span.start)),
            key: broken.key.to_owned(),
            what: broken.what.to_owned(),
            found: broken.found,
            hint: broken.hint,
        }
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        before.iter().filter(|octet| **octet == b'\n').count() + 1
    }

    /// The marked text, or its line where the mark is empty; cut to one line.
    fn shown(&self, span: &Range<usize>) -> String {
        let marked = self.text.get(span.clone()).filter(|text| !text.trim().is_empty());
        let text = marked.or_else(|| self.text.lines().nth(self.line(span.start) - 1)).unwrap_or_default();
        let line = text.trim().lines().next().unwrap_or_default();
        line.chars().take(SHOWN_MAX).collect()
    }
}

/// What was expected, of a message that also says what was found: that stands last, as it is in the file.
fn expectation(message: &str) -> String {
    let message = message.trim_end();
    let at = message.find("expected ").unwrap_or(0);
    message.split_at(at).1.replace('`', "").replace("expected u32", "expected a whole number from 1")
}

/// The deepest key that holds the marked text, be it in its name or in its value.
fn key_at(table: &DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let holds = |range: Range<usize>| range.start <= span.start && span.end <= range.end;
    for (key, value) in table {
        let name = key.get_ref();
        if let DeValue::Table(inner) = value.get_ref()
            && let Some(rest) = key_at(inner, span)
        {
            return Some(format!("{name}.{rest}"));
        }
        if let DeValue::Array(tables) = value.get_ref()
            && let Some(rest) = tables.iter().find_map(|table| key_at(table.get_ref().as_table()?, span))
        {
            return Some(format!("{name}.{rest}"));
        }
        if holds(key.span()) || holds(value.span()) {
            return Some(name.to_string());
        }
    }
    None
}

/// Where the value of a dotted key stands, if the file has it; in a list of tables, else where the nth begins.
fn span_of(table: &DeTable<'_>, key: &str, nth: usize) -> Option<Range<usize>> {
    let (name, rest) = key.split_once('.').map_or((key, None), |(name, rest)| (name, Some(rest)));
    let (_, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
    match (rest, value.get_ref()) {
        (None, _) => Some(value.span()),
        (Some(rest), DeValue::Table(inner)) => span_of(inner, rest, nth),
        (Some(rest), DeValue::Array(tables)) => {
            let table = tables.get(nth)?;
            let inner = table.get_ref().as_table()?;
            span_of(inner, rest, nth).or_else(|| Some(table.span()))
        }
        (Some(_), _) => None,
    }
}
