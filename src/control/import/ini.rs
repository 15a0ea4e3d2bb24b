//! Files as Python's configparser writes and reads them (its defaults, without interpolation): sections of options.
//!
//! Written here: what there is for INI files reads another dialect (comments behind values, escapes, no lines that go on),
//! and leaves values, among them secrets, in memory. Nothing here does I/O; whoever reads the file bounds it.

use zeroize::Zeroizing;

/// What is read, in the order of the file.
pub(super) struct Ini(Vec<Section>);

struct Section {
    name: String,
    /// Names in lower case.
    options: Vec<(String, Zeroizing<String>)>,
}

/// The line that is neither section, option nor comment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}, in line {line}")]
pub struct Unreadable {
    /// From 1.
    pub line: usize,
    what: &'static str,
}

/// What other sections have where they say nothing.
const DEFAULT: &str = "DEFAULT";

impl Ini {
    pub(super) fn parse(text: &str) -> Result<Self, Unreadable> {
        let mut ini = Self(Vec::new());
        // Of the option that a deeper line goes on with.
        let mut indent = None;
        for (nth, raw) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let wrong = |what| Unreadable { line: nth + 1, what };
            let line = raw.trim();
            if line.starts_with(['#', ';']) {
                continue;
            }
            if line.is_empty() {
                continue;
            }
            let depth = raw.chars().take_while(|character| character.is_whitespace()).count();
            let last = ini.0.last_mut();
            if indent.is_some_and(|indent| depth > indent)
                && let Some((_, value)) = last.and_then(|section| section.options.last_mut())
            {
                value.push('\n');
                value.push_str(line);
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.rfind(']').and_then(|end| rest.get(..end)))
            {
                if name.is_empty() || ini.0.iter().any(|section| section.name == name) {
                    return Err(wrong("a section without a name, or there twice"));
                }
                ini.0.push(Section { name: name.to_owned(), options: Vec::new() });
                indent = None;
                continue;
            }
            let section = ini.0.last_mut().ok_or(wrong("an option before the first section"))?;
            let (name, value) = line.split_once(['=', ':']).ok_or(wrong("neither a section nor an option"))?;
            let name = name.trim().to_lowercase();
            if name.is_empty() || section.options.iter().any(|(known, _)| *known == name) {
                return Err(wrong("an option without a name, or there twice"));
            }
            section.options.push((name, Zeroizing::new(value.trim().to_owned())));
            indent = Some(depth);
        }
        Ok(ini)
    }

    /// The names of all sections but the one of defaults.
    pub(super) fn sections(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|section| section.name.as_str()).filter(|name| *name != DEFAULT)
    }

    /// An option of a section, or the default; None where it is not there or empty.
    pub(super) fn get(&self, section: &str, option: &str) -> Option<&str> {
        let of = |name: &str| {
            let section = self.0.iter().find(|section| section.name == name)?;
            section.options.iter().find(|(known, _)| known == option).map(|(_, value)| value.as_str())
        };
        of(section).or_else(|| of(DEFAULT)).filter(|value| !value.is_empty())
    }

    /// An option that is yes or no, as Python reads it.
    pub(super) fn is_on(&self, section: &str, option: &str) -> bool {
        self.get(section, option)
            .is_some_and(|value| ["1", "yes", "true", "on"].iter().any(|yes| value.eq_ignore_ascii_case(yes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_python_writes_is_read() {
        let text = "# a comment\n[Server setup]\ndocumentation = a line\n\tand more: [not a section]\n\n\tof = it\n\n\
                    [IMAP-1993]\nServer_Address = imap.example.test\nserver_port: 993\nempty =\n; another\n\
                    [alice@example.test]\nsecret = a#b;c=d\n[DEFAULT]\nscope = mail\nstarttls = True\n";
        let ini = Ini::parse(text).expect("read");
        assert_eq!(ini.sections().collect::<Vec<_>>(), ["Server setup", "IMAP-1993", "alice@example.test"]);
        assert_eq!(ini.get("Server setup", "documentation"), Some("a line\nand more: [not a section]\nof = it"));
        assert_eq!(ini.get("IMAP-1993", "server_address"), Some("imap.example.test"));
        assert_eq!(ini.get("IMAP-1993", "server_port"), Some("993"));
        assert_eq!((ini.get("IMAP-1993", "empty"), ini.get("IMAP-1993", "nothing")), (None, None));
        assert_eq!(ini.get("alice@example.test", "secret"), Some("a#b;c=d"));
        assert_eq!(ini.get("alice@example.test", "scope"), Some("mail"));
        assert!(ini.is_on("IMAP-1993", "starttls") && !ini.is_on("IMAP-1993", "server_port"));
    }

    #[test]
    fn what_is_no_such_file_is_told_by_its_line() {
        for (text, line) in [
            ("a = b\n", 1),
            ("[a]\nb\n", 2),
            ("[a]\n[a]\n", 2),
            ("[a]\nb = 1\nB = 2\n", 3),
            ("[]\n", 1),
            ("[a]\n= b\n", 2),
            ("\0\n", 1),
        ] {
            assert_eq!(Ini::parse(text).err().map(|unreadable| unreadable.line), Some(line), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(\\[|\\]|=|:|#|\\n|\\t| |a|é){0,60}") {
            let _ = Ini::parse(&text);
        }
    }
}
