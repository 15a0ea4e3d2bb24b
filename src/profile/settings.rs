//! The settings of a CRM in its own words: pages of fields, in which words in braces stand for what the bridge knows.

use super::Profile;
use serde::{Deserialize, Serialize};

/// What a person types into the CRM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// What `{imap-security}` becomes.
    pub imap_security: Security,
    /// What `{smtp-security}` becomes.
    pub smtp_security: Security,
    pub pages: Vec<Page>,
    pub source: String,
}

/// How the CRM spells the two ways to connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Security {
    pub none: String,
    pub tls: String,
}

/// One page of the CRM, or one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Page {
    pub page: String,
    pub fields: Vec<Field>,
}

/// A field's name and its value; a line of a file where the name is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field(pub String, pub String);

/// What words in braces stand for; a service that is None is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words<'a> {
    pub address: &'a str,
    pub login: &'a str,
    pub imap: Option<Service<'a>>,
    pub smtp: Option<Service<'a>>,
}

/// Where a service of the bridge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service<'a> {
    pub host: &'a str,
    pub port: u16,
    pub secured: bool,
}

/// What may stand in braces; `{{` and `}}` are the braces themselves.
const KNOWN: [&str; 13] = [
    "address",
    "drafts",
    "imap-host",
    "imap-port",
    "imap-security",
    "junk",
    "login",
    "password",
    "sent",
    "smtp-host",
    "smtp-port",
    "smtp-security",
    "trash",
];
/// Shown for what belongs to a service that no listener has.
const OFF: &str = "(off)";

impl Profile {
    /// The settings with what the bridge knows in the place of words in braces.
    #[must_use]
    pub fn filled(&self, words: &Words<'_>) -> Vec<Page> {
        let settings = &self.settings;
        let fill = |text: &String| {
            let filled = pieces(text).map(|piece| match piece {
                Piece::Text(text) => text.to_owned(),
                Piece::Word(word) => self.word(word, words),
            });
            filled.collect::<String>()
        };
        let field = |Field(name, value): &Field| Field(fill(name), fill(value));
        let page = |page: &Page| Page { page: fill(&page.page), fields: page.fields.iter().map(field).collect() };
        settings.pages.iter().map(page).collect()
    }

    fn word(&self, word: &str, words: &Words<'_>) -> String {
        let (kind, of_service) = word.split_once('-').unwrap_or((word, ""));
        let (service, security) = match kind {
            "imap" => (words.imap, &self.settings.imap_security),
            "smtp" => (words.smtp, &self.settings.smtp_security),
            "address" => return words.address.to_owned(),
            "login" => return words.login.to_owned(),
            "password" => return "(the password that was shown when the login was made)".to_owned(),
            "sent" => return self.folders.sent.clone(),
            "drafts" => return self.folders.drafts.clone(),
            "trash" => return self.folders.trash.clone(),
            "junk" => return self.folders.junk.clone(),
            // No file with another word is read.
            _ => return String::new(),
        };
        match (service, of_service) {
            (None, _) => OFF.to_owned(),
            (Some(service), "host") => service.host.to_owned(),
            (Some(service), "port") => service.port.to_string(),
            (Some(Service { secured: false, .. }), _) => security.none.clone(),
            (Some(Service { secured: true, .. }), _) => security.tls.clone(),
        }
    }
}

impl Settings {
    /// The first word in braces that stands for nothing.
    pub(super) fn unknown_word(&self) -> Option<&str> {
        let texts = self.pages.iter().flat_map(|page| {
            let fields = page.fields.iter().flat_map(|Field(name, value)| [name, value]);
            std::iter::once(&page.page).chain(fields)
        });
        let unknown = |piece| match piece {
            Piece::Word(word) if !KNOWN.contains(&word) => Some(word),
            _ => None,
        };
        texts.flat_map(|text| pieces(text)).find_map(unknown)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    /// What stands in braces, or follows one that is never closed.
    Word(&'a str),
}

/// A text cut into words in braces and what stands between them.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, behind) = if let Some(behind) = rest.strip_prefix("{{") {
            (Piece::Text("{"), behind)
        } else if let Some(behind) = rest.strip_prefix("}}") {
            (Piece::Text("}"), behind)
        } else if let Some(inside) = rest.strip_prefix(['{', '}']) {
            let (word, behind) = inside.split_once('}').unwrap_or((inside, ""));
            (Piece::Word(word), behind)
        } else {
            let (text, behind) = rest.split_at(rest.find(['{', '}']).unwrap_or(rest.len()));
            (Piece::Text(text), behind)
        };
        rest = behind;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_at_words_in_braces() {
        let cut = |text| pieces(text).collect::<Vec<_>>();
        assert_eq!(cut("a {b} c"), [Piece::Text("a "), Piece::Word("b"), Piece::Text(" c")]);
        assert_eq!(cut("{{{b}}}"), [Piece::Text("{"), Piece::Word("b"), Piece::Text("}")]);
        assert_eq!(cut("a{b"), [Piece::Text("a"), Piece::Word("b")]);
        assert_eq!(cut("a}b"), [Piece::Text("a"), Piece::Word("b")]);
        assert_eq!(cut(""), []);
    }
}
